//! What can go wrong on the way to a mirror. Clients of the mirror then read what they read before.

use std::io;

use crate::base::{HostPath, Sha256};
use crate::publish::named::Proof;
use crate::{fetch, publish};

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong on the way to a mirror.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] publish::Error),
    /// The system refused.
    #[error("cannot {operation} `{path}`")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: HostPath,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to bring anywhere.
    #[error("nothing was ever published to the repository `{0}`")]
    Unpublished(HostPath),
    /// A file of the repository is not what its indexes say.
    #[error(
        "`{path}` is damaged: it has {size} bytes, not the {} of the one with the SHA-256 {}",
        .expected.size, .expected.sha256
    )]
    Source {
        /// The file.
        path: HostPath,
        /// What it has to be.
        expected: Proof,
        /// What it has, in bytes.
        size: u64,
    },
    /// An index of the repository that its Release file does not list.
    #[error("`{path}` is damaged: its Release file lists no index with the SHA-256 {actual}")]
    Unlisted {
        /// The index.
        path: HostPath,
        /// Its digest.
        actual: Sha256,
    },
    /// Neither file nor folder nor link, or not UTF-8.
    #[error("`{0}` cannot be on a mirror: a plain file, folder or link with a name in UTF-8 can")]
    Name(HostPath),
    /// A mirror of the repository in the repository.
    #[error("`{0}` is in the repository itself: a mirror lies elsewhere")]
    Inside(HostPath),
    /// A folder of other things.
    #[error("`{path}` is no mirror of a repository: it has `{name}`")]
    Foreign {
        /// The folder.
        path: HostPath,
        /// What a mirror does not have.
        name: String,
    },
    /// The mirror of another repository, or of a copy that went its own way.
    #[error("`{path}` is the mirror of another repository: its generation {number} is another one")]
    OtherMirror {
        /// The mirror.
        path: HostPath,
        /// The generation.
        number: u64,
    },
    /// Somebody else is at it.
    #[error("another push to `{0}` is under way")]
    Busy(String),
    /// Other bytes than were copied.
    #[error(
        "`{path}` is not what it has to be\n  expected {} ({} bytes)\n  actual   {} ({} bytes)",
        .expected.sha256, .expected.size, .actual.sha256, .actual.size
    )]
    Copy {
        /// The file.
        path: HostPath,
        /// What it has to be.
        expected: Proof,
        /// What it is.
        actual: Proof,
    },
    /// Some files did not get there.
    #[error("{} {what} did not get to `{target}`\n  {}", .failed.len(), few(.failed))]
    Failed {
        /// Where they had to go.
        target: String,
        /// What they are.
        what: &'static str,
        /// Each one, and why.
        failed: Vec<(String, String)>,
    },
    /// What got there is not what was sent.
    #[error(
        "{} of `{target}` differ from the repository after they were sent twice\n  {}",
        .paths.len(), .paths.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ")
    )]
    Differs {
        /// Where.
        target: String,
        /// Which, by their paths.
        paths: Vec<String>,
    },
    /// rsync cannot be run.
    #[error("cannot run `rsync`, which brings a repository to `{target}`")]
    Program {
        /// Where it was to go.
        target: String,
        /// Why not.
        source: io::Error,
    },
    /// rsync failed.
    #[error("rsync failed on the {what} for `{target}` ({status})\n  {}", .said.join("\n  "))]
    Rsync {
        /// What it was to bring, or to do.
        what: String,
        /// Where.
        target: String,
        /// How it ended.
        status: String,
        /// The first of what it said.
        said: Vec<String>,
    },
    /// A link at the far end did not move.
    #[error("the link `{link}` of `{target}` does not lead to `{expected}` after it was sent")]
    Link {
        /// The link.
        link: String,
        /// Where.
        target: String,
        /// Where it has to lead.
        expected: String,
    },
    /// Snapshots without links.
    #[error("an object store has no links, so `{0}` can have no snapshots")]
    NoLinks(String),
    /// More than fits into one request.
    #[error("`{path}` has {size} bytes; an object store takes at most {limit} at once")]
    TooLarge {
        /// The file.
        path: String,
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// Nobody says who we are.
    #[error("no keys for `{target}`: {reason}")]
    Credentials {
        /// Where they are needed.
        target: String,
        /// What was looked for.
        reason: String,
    },
    /// The object store refused.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// Nothing is to leave this machine.
    #[error("`{0}` is not on this machine, and `--offline` forbids to reach it")]
    Offline(String),
    /// Told to stop.
    #[error("stopped; the mirror is as it was, and the next push goes on")]
    Cancelled,
}

/// How many files an error names.
pub const SHOWN: usize = 10;

fn few(failed: &[(String, String)]) -> String {
    let mut lines: Vec<String> =
        failed.iter().take(SHOWN).map(|(path, why)| format!("`{path}`: {why}")).collect();
    if failed.len() > SHOWN {
        lines.push(format!("and {} more", failed.len() - SHOWN));
    }
    lines.join("\n  ")
}

/// An error of the system: what was tried, on which path.
pub fn at(operation: &'static str, path: &HostPath) -> impl FnOnce(io::Error) -> Error {
    let path = path.clone();
    move |source| Error::System { operation, path, source }
}

/// An error and its causes, in one line.
pub fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}
