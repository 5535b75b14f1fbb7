//! What can stop a package, apart from its own build failing.

use std::sync::Arc;

use super::buildroot;
use super::event::Fault;
use crate::archive::patch::{Mismatch, Why};
use crate::base::{ActionId, Digest, ReleasePath, Sha256};
use crate::{fetch, sandbox, store};

/// The result of a step of a build.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a package could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No choice of packages satisfies its build dependencies.
    #[error("no build root satisfies its build dependencies")]
    Unsolvable {
        /// The chain of reasons.
        because: Vec<String>,
    },
    /// A stratum of release.toml that leads nowhere.
    #[error("no choice of packages satisfies the stratum `[{stratum}]` of its root")]
    Stratum {
        /// Its dependencies.
        stratum: String,
        /// Why.
        because: Vec<String>,
    },
    /// A pinned index that is not one.
    #[error("the pinned index `{path}` {reason}")]
    Index {
        /// Its path below the suite.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An output that is not what its name says.
    #[error("output `{file}`: {reason}")]
    Output {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The build left other packages than it declares.
    #[error("its build left other packages than its packaging declares")]
    OtherOutputs {
        /// Declared, but not there.
        missing: Vec<String>,
        /// There, but not declared.
        unexpected: Vec<String>,
    },
    /// Something that the lock does not pin.
    #[error("{what} is not pinned")]
    Unpinned {
        /// What.
        what: String,
    },
    /// A Release file kept as evidence that is not the one that was pinned.
    #[error("`{path}` is not the file that was pinned\n  expected {expected}\n  actual   {actual}")]
    Evidence {
        /// The file.
        path: String,
        /// Its pinned digest.
        expected: Sha256,
        /// Its digest now.
        actual: Sha256,
    },
    /// A source folder that changed while it was built.
    #[error(
        "`{path}` changed since it was evaluated\n  evaluated {expected}\n  now       {actual}"
    )]
    SourceMoved {
        /// The folder.
        path: String,
        /// Its digest at evaluation.
        expected: Digest,
        /// Its digest now.
        actual: Digest,
    },
    /// A file of a source folder that vanished, or became something else, while it was built.
    #[error("`{path}` is no longer the file that was evaluated")]
    SourceGone {
        /// The file.
        path: String,
    },
    /// A commit whose files are not those that were pinned.
    #[error(
        "{what} has other files than the lock says\n  expected {expected}\n  actual   {actual}"
    )]
    OtherTree {
        /// The commit.
        what: String,
        /// The digest of the tree that is pinned.
        expected: Digest,
        /// That of the tree it has.
        actual: Digest,
    },
    /// A document of the store that is no tree.
    #[error("the document {digest} of the store is no tree: {why}")]
    Tree {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// A patch that does not apply.
    #[error("patch `{path}` does not apply to `{}`", mismatch.file)]
    Patch {
        /// Where it lies in the release.
        path: ReleasePath,
        /// Where it does not.
        mismatch: Box<Mismatch>,
    },
    /// A tarball that cannot be unpacked.
    #[error("its tarball cannot be unpacked")]
    Tarball(#[from] crate::archive::tarball::Error),
    /// A record of the store that cannot be read.
    #[error("record {digest} cannot be used")]
    Record {
        /// The record.
        digest: Digest,
        /// Why.
        source: super::record::Error,
    },
    /// An action document of the store that is none.
    #[error("the document of action {action} does not list its build root")]
    Action {
        /// The action.
        action: ActionId,
    },
    /// An action that this version of the program would not do the same way.
    #[error(
        "this version of the program builds it otherwise than it was built\n  recorded {recorded}\n  \
         now      {now}"
    )]
    OtherAction {
        /// What was recorded.
        recorded: ActionId,
        /// What the same inputs come to now.
        now: ActionId,
    },
    /// A package of a recorded build root that is nowhere to be had.
    #[error(
        "`{package}` of its recorded build root is in neither the store nor the pinned archive"
    )]
    NotToBeHad {
        /// Name, version and architecture.
        package: String,
        /// Its digest.
        sha256: Sha256,
    },
    /// A document that is named as a seed is none.
    #[error("the document {digest} of the store is no seed of a round")]
    Seed {
        /// The document.
        digest: Digest,
    },
    /// A package of a seed is not there any more.
    #[error("`{package}` of the seed is not in the store any more")]
    SeedLost {
        /// Name, version and architecture.
        package: String,
        /// Its digest.
        sha256: Sha256,
    },
    /// A file operation failed.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something could not be fetched.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The build root could not be made.
    #[error(transparent)]
    Root(#[from] buildroot::Error),
    /// The sandbox could not be had.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The root's pinned packages could not be had; every package over that root says so.
    #[error(transparent)]
    Snapshot(Arc<Self>),
    /// A record that was just written is not there.
    #[error("the record of action {action} vanished from the store, or files of it did")]
    RecordLost {
        /// The action.
        action: ActionId,
    },
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unsolvable { .. }
            | Self::Stratum { .. }
            | Self::Unpinned { .. }
            | Self::Evidence { .. }
            | Self::SourceMoved { .. }
            | Self::OtherTree { .. }
            | Self::Patch { .. }
            | Self::Tarball(_)
            | Self::OtherAction { .. }
            | Self::NotToBeHad { .. }
            | Self::SourceGone { .. } => Fault::Input,
            Self::Output { .. }
            | Self::OtherOutputs { .. }
            | Self::Root(buildroot::Error::Ids(_)) => Fault::Package,
            Self::Index { .. }
            | Self::Tree { .. }
            | Self::Record { .. }
            | Self::RecordLost { .. }
            | Self::Action { .. }
            | Self::Seed { .. }
            | Self::SeedLost { .. }
            | Self::File { .. }
            | Self::Store(_)
            | Self::Fetch(_)
            | Self::Root(_)
            | Self::Sandbox(_) => Fault::Machine,
            Self::Snapshot(error) => error.fault(),
        }
    }

    /// Whether the same may succeed a little later, by itself or because somebody helps. That is
    /// tried; everything else is told at once.
    ///
    /// The list: the store is full or another process holds its database, a damaged object was
    /// put aside, a server cannot be reached or says that it is busy, a git repository does not
    /// answer, and the executor itself failed (a process or mount could not be had, or the
    /// sandbox was killed from outside). Not on it: isolation that this machine does not give, a
    /// file that no mirror has, bytes that are not those that are pinned.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store(error) => error.may_pass(),
            Self::Fetch(error) => error.may_pass(),
            Self::Sandbox(error) => error.may_pass(),
            Self::Root(error) => error.may_pass(),
            Self::Snapshot(error) => error.may_pass(),
            Self::File { source, .. } => is_full(source),
            Self::Unsolvable { .. }
            | Self::Stratum { .. }
            | Self::Patch { .. }
            | Self::Index { .. }
            | Self::Output { .. }
            | Self::OtherOutputs { .. }
            | Self::Unpinned { .. }
            | Self::Evidence { .. }
            | Self::SourceMoved { .. }
            | Self::SourceGone { .. }
            | Self::OtherTree { .. }
            | Self::Tree { .. }
            | Self::Tarball(_)
            | Self::Record { .. }
            | Self::Action { .. }
            | Self::OtherAction { .. }
            | Self::NotToBeHad { .. }
            | Self::Seed { .. }
            | Self::SeedLost { .. }
            | Self::RecordLost { .. } => false,
        }
    }

    /// Reasons beside those of its sources.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Unsolvable { because } | Self::Stratum { because, .. } => because.clone(),
            Self::OtherOutputs { missing, unexpected } => {
                let list = |what: &str, names: &[String]| {
                    (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
                };
                [list("missing", missing), list("not declared", unexpected)]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::Patch { path, mismatch } => vec![refusal(path, mismatch)],
            Self::NotToBeHad { sha256, .. } | Self::SeedLost { sha256, .. } => {
                vec![format!("sha256 {sha256}")]
            }
            Self::Root(error) => error.reasons(),
            Self::Snapshot(error) => error.reasons(),
            _ => Vec::new(),
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::SourceMoved { .. } | Self::SourceGone { .. } => {
                Some("run the command again: it evaluates the folder as it is now")
            }
            Self::Root(buildroot::Error::Ids(_)) => {
                Some("build without that package, or with one whose scripts do not look at owners")
            }
            Self::Stratum { .. } => Some("`strata` of its `[root.NAME]` in release.toml has it"),
            Self::Patch { mismatch, .. } if mismatch.why == Why::Applied => {
                Some("leave it out if the source has it by now")
            }
            Self::Patch { .. } => {
                Some("patches are applied in their order, with one folder stripped and no fuzz")
            }
            Self::OtherAction { .. } => {
                Some("build it with this version first, or prove it with the one that built it")
            }
            Self::Snapshot(error) => error.hint(),
            _ => None,
        }
    }
}

/// Whether the system says that there is no room.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Why a patch does not apply, with the first lines of the hunk.
fn refusal(path: &ReleasePath, mismatch: &Mismatch) -> String {
    const SHOWN: usize = 16;
    let Mismatch { file, line, why, hunk } = mismatch;
    let why = match why {
        Why::NoFile => format!("`{file}` is not there"),
        Why::There => format!("`{file}` is there already"),
        Why::NotFound => format!("`{file}` does not have the lines that it changes"),
        Why::Applied => format!("`{file}` has the lines already that it would make"),
    };
    let mut text = format!("{path}:{line}: {why}");
    for line in hunk.iter().take(SHOWN) {
        text.push_str("\n    ");
        text.extend(line.chars().filter(|letter| *letter == '\t' || !letter.is_control()));
    }
    if hunk.len() > SHOWN {
        text.push_str(&format!("\n    … and {} more lines", hunk.len() - SHOWN));
    }
    text
}
