//! What can go wrong on the way to a file.

use std::io;

use super::mirrors::Url;
use crate::base::{HostPath, Sha256};
use crate::store;

/// Shorthand of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fetching is forbidden.
    #[error("`{0}` is not in the store, and `--offline` forbids to fetch it")]
    Offline(String),
    /// No mirror is known, or none of those known to apt has the suite.
    #[error(
        "no mirror of archive `{archive}` {}\n  name one by any of:\n  \
         `--mirror {archive}=URL`\n  \
         the environment variable `{variable}`\n  \
         `mirrors = [\"URL\"]` in `[archive.{archive}]` of release.toml\n  \
         `{archive} = [\"URL\"]` in `[mirrors]` of the user's config.toml{}\n  \
         the host's own apt sources, if they carry its suites{}",
        if .asked.is_empty() { "is known" } else { "can be used" },
        place(.config), answers(.asked)
    )]
    NoMirror {
        /// The archive.
        archive: String,
        /// The environment variable that would name one.
        variable: String,
        /// The user's configuration, if there is a place for it.
        config: Option<HostPath>,
        /// The host's apt mirrors that were asked, and why they will not do.
        asked: Vec<(Url, String)>,
    },
    /// A file that says where mirrors are is not what it should be.
    #[error("`{path}`: {what}")]
    Configuration {
        /// The file, or the variable.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A text that is not a place to fetch from.
    #[error("`{0}` is not a mirror: http://, https:// or file:/// and no white space is expected")]
    Url(String),
    /// The server cannot be talked to, or not to the end.
    #[error("cannot fetch `{url}` ({attempts} {})", if *.attempts == 1 { "attempt" } else { "attempts" })]
    Unreachable {
        /// What was tried.
        url: Url,
        /// How often.
        attempts: u32,
        /// What the last attempt met.
        source: io::Error,
    },
    /// The server answers, but neither with the file nor with its absence.
    #[error("`{url}` answered {status}")]
    Status {
        /// What was tried.
        url: Url,
        /// HTTP status code.
        status: u16,
    },
    /// An object store refuses a request.
    #[error("`{url}` answered {status}{}", if .said.is_empty() { String::new() } else { format!(": {said}") })]
    Refused {
        /// What was asked for.
        url: Url,
        /// HTTP status code.
        status: u16,
        /// What it says of it.
        said: String,
    },
    /// The server sends us elsewhere, and we do not go.
    #[error("`{url}` leads to `{to}`: {why}")]
    Redirect {
        /// What was tried.
        url: Url,
        /// Where it leads.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// No mirror has the file.
    #[error(
        "`{what}` is missing at {}\nit can come from a store or bundle that has it, or from \
         another mirror, such as one that keeps snapshots{}",
        places(.urls), digest(.sha256)
    )]
    Missing {
        /// The file, by its path in the archive.
        what: String,
        /// Where it was looked for.
        urls: Vec<Url>,
        /// The digest by which it can be recognised.
        sha256: Option<Sha256>,
    },
    /// The file is larger than it may be.
    #[error("`{url}` is larger than the {limit} bytes it may have")]
    TooLarge {
        /// What was tried.
        url: Url,
        /// Bytes.
        limit: u64,
    },
    /// Other bytes than were asked for.
    #[error(
        "`{url}` is not the file that was asked for\n  expected {expected} ({expected_size} bytes)\n  \
         actual   {actual} ({actual_size} bytes)"
    )]
    WrongDigest {
        /// What was fetched.
        url: Url,
        /// The digest asked for.
        expected: Sha256,
        /// The size asked for, in bytes.
        expected_size: u64,
        /// The digest that came.
        actual: Sha256,
        /// The size that came, in bytes.
        actual_size: u64,
    },
    /// The suite has changed since it was locked, and the mirror keeps no older indexes.
    #[error(transparent)]
    Moved(Box<Moved>),
    /// A compressed index that cannot be unpacked.
    #[error("`{url}` cannot be unpacked")]
    Unpack {
        /// What was fetched.
        url: Url,
        /// What the decoder says.
        source: io::Error,
    },
    /// The suite's Release file lists no such index.
    #[error("suite `{suite}` has no index `{path}`")]
    NoIndex {
        /// The suite.
        suite: String,
        /// The index, without compression suffix.
        path: String,
    },
    /// A git repository has no such thing, or one that cannot be a source.
    #[error("`{url}`: {what}: {why}")]
    Unfit {
        /// The repository.
        url: String,
        /// What is wrong in it.
        what: String,
        /// Why.
        why: String,
    },
    /// A git repository does not give what was asked for.
    #[error("`{url}`: {what}: {why}")]
    Git {
        /// The repository.
        url: String,
        /// What was tried.
        what: String,
        /// Why.
        why: String,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Store(store::Error),
}

impl Error {
    /// Whether the same may succeed a little later: a server that cannot be reached or is busy, a
    /// store that is full. What a server says clearly does not change by asking again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Git { .. } => true,
            // Request timeout, too early, too many requests, and whatever fails in the server.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Store(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// An index that its mirror has replaced by a newer one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "index `{path}` of suite `{suite}` has moved on at {mirror}\n  pinned {pinned}\n\
     the pinned one can come from a store or bundle that has it, or from a mirror that keeps \
     snapshots; `perestroika update` pins the present one"
)]
pub struct Moved {
    /// The suite.
    pub suite: String,
    /// The index, without compression suffix.
    pub path: String,
    /// Where it was looked for.
    pub mirror: Url,
    /// The digest of the pinned index, uncompressed.
    pub pinned: Sha256,
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

fn answers(mirrors: &[(Url, String)]) -> String {
    mirrors.iter().map(|(url, why)| format!("\n    not {url}: {why}")).collect()
}

fn place(config: &Option<HostPath>) -> String {
    config.as_ref().map(|path| format!(" ({path})")).unwrap_or_default()
}

fn places(urls: &[Url]) -> String {
    let quoted: Vec<String> = urls.iter().map(|url| format!("`{url}`")).collect();
    quoted.join(", ")
}

fn digest(sha256: &Option<Sha256>) -> String {
    sha256.map(|digest| format!("\n  SHA-256 {digest}")).unwrap_or_default()
}
