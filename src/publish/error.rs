//! What can go wrong with a repository.

use std::io;

use super::sign;
use crate::base::{HostPath, Sha256, json};
use crate::store;

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// A folder that is something else.
    #[error("`{0}` is not empty, and it is no repository of this tool")]
    NoRepository(HostPath),
    /// There is no repository yet.
    #[error("there is no repository in `{0}`")]
    Absent(HostPath),
    /// Another version made it.
    #[error("the repository `{path}` has the layout `{found}`, this version knows `{known}`")]
    Layout {
        /// The repository.
        path: HostPath,
        /// What it says.
        found: String,
        /// What this version knows.
        known: &'static str,
    },
    /// A generation that is not there.
    #[error("the repository `{path}` has no generation {number}")]
    NoGeneration {
        /// The repository.
        path: HostPath,
        /// What was asked for.
        number: u64,
    },
    /// A document that does not say what it has to.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: HostPath,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger is not the one that the store knows.
    #[error("the ledger of `{path}` is not what was noted: {reason}")]
    Ledger {
        /// The repository.
        path: HostPath,
        /// What is different.
        reason: String,
    },
    /// A package that cannot be published.
    #[error("cannot publish `{what}`: {reason}")]
    Package {
        /// Which.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file in the pool of the same name is another one.
    #[error(
        "`{path}` is another file in generation {generation}\nexpected {wanted}\nactual   {found}"
    )]
    Pool {
        /// The file.
        path: String,
        /// The digest of what is there.
        found: Sha256,
        /// That of what was to be put there.
        wanted: Sha256,
        /// A generation that names it.
        generation: u64,
    },
    /// Nobody could sign.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A document that is no canonical JSON.
    #[error("`{path}` is damaged")]
    Json {
        /// The file.
        path: HostPath,
        /// What is wrong with it.
        source: json::Error,
    },
}

/// An error of the system: what was tried, on which path.
pub fn at(operation: &'static str, path: &HostPath) -> impl FnOnce(io::Error) -> Error {
    let path = path.clone();
    move |source| Error::System { operation, path, source }
}
