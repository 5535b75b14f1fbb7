//! Why a repository is not taken over.

use crate::archive::deb::release;
use crate::archive::deb::signature::Refusal;
use crate::base::Sha256;
use crate::fetch;
use crate::store;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a repository is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be had.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// Nobody vouches for a suite.
    #[error("suite `{suite}` is not signed by any of these keys: {refusal}")]
    Refused {
        /// The suite.
        suite: String,
        /// What is wrong with its signature.
        refusal: Refusal,
    },
    /// A suite that has expired.
    #[error("suite `{suite}` was valid until {until}")]
    Expired {
        /// The suite.
        suite: String,
        /// The moment.
        until: jiff::Timestamp,
    },
    /// A Release file that cannot be read.
    #[error("the Release file of suite `{suite}` cannot be used")]
    Release {
        /// The suite.
        suite: String,
        /// Why not.
        source: release::Error,
    },
    /// An index that cannot be used.
    #[error("`{path}` of suite `{suite}` cannot be used: {reason}")]
    Index {
        /// The suite.
        suite: String,
        /// The index, below the suite.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A package that is there as two files.
    #[error(transparent)]
    Different(Box<Different>),
    /// It cannot be put into the repository.
    #[error(transparent)]
    Publish(#[from] crate::publish::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A package that is there as two files.
#[derive(Debug, thiserror::Error)]
#[error("`{file}` is one file in `{one}` and another in `{other}`\n{first}\n{second}")]
pub struct Different {
    /// The file's name.
    pub file: String,
    /// A suite.
    pub one: String,
    /// Another, or the same.
    pub other: String,
    /// The digest in the one.
    pub first: Sha256,
    /// The digest in the other.
    pub second: Sha256,
}
