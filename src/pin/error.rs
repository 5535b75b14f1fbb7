//! Why something cannot be pinned.

use std::io;

use crate::archive::deb::signature::Refusal;
use crate::archive::deb::{index, release};
use crate::base::{Diagnostic, HostPath, Sha256};
use crate::{fetch, store};

/// Shorthand of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something could not be pinned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The release asks for something that is not there.
    #[error("{}", messages(.0))]
    Input(Vec<Diagnostic>),
    /// A source that cannot be fetched.
    #[error("{}", .0.message)]
    Unreachable(Box<Diagnostic>),
    /// Nobody in the keyring signed what the mirror has.
    #[error(
        "suite `{suite}` of archive `{archive}` is not signed by a key of `{keyring}`: {refusal}"
    )]
    Signature {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The keyring, as release.toml names it.
        keyring: String,
        /// Why not.
        refusal: Refusal,
    },
    /// What was signed is not a Release file.
    #[error("suite `{suite}` of archive `{archive}`")]
    Release {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// What is wrong with it.
        source: release::Error,
    },
    /// What was signed must not be relied on now.
    #[error("suite `{suite}` of archive `{archive}` {why}")]
    Unreliable {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// Why not: expired, from the future, older than the pin, another suite.
        why: String,
    },
    /// A file of `release.lock.d/` is not the one that release.lock names.
    #[error(
        "`{path}` is not the file that release.lock names\n  expected {expected}\n  actual   {}\n\
         `perestroika update {what}` pins `{what}` anew",
        actual.map_or_else(|| "missing".to_owned(), |actual| actual.to_string())
    )]
    Kept {
        /// The file.
        path: HostPath,
        /// Its digest in release.lock.
        expected: Sha256,
        /// What it is; nothing if it is not there.
        actual: Option<Sha256>,
        /// What to update.
        what: String,
    },
    /// An index that was signed cannot be read.
    #[error("index `{path}` of suite `{suite}` of archive `{archive}`")]
    Index {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The index.
        path: String,
        /// What is wrong with it.
        source: Box<index::Error>,
    },
    /// An index that was signed is not text.
    #[error("index `{path}` of suite `{suite}` of archive `{archive}` is not UTF-8 text")]
    Encoding {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The index.
        path: String,
    },
    /// The specs use a stdlib module that this program does not have.
    #[error("the specs use the stdlib module `{0}`, which this program does not have")]
    Module(String),
    /// An operation of the system failed.
    #[error("cannot {operation} `{path}`")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: HostPath,
        /// What the system answered.
        source: io::Error,
    },
    /// Something could not be fetched.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// An error of the system, for `map_err`.
pub(super) fn system(operation: &'static str, path: &HostPath) -> impl FnOnce(io::Error) -> Error {
    let path = path.clone();
    move |source| Error::System { operation, path, source }
}

fn messages(diagnostics: &[Diagnostic]) -> String {
    let messages: Vec<&str> = diagnostics.iter().map(|one| one.message.as_str()).collect();
    messages.join("\n")
}
