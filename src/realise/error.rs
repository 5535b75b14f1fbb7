//! What can stop a package, apart from its own build failing.

use crate::base::Digest;
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
    /// A source folder that changed while it was built.
    #[error("`{path}` changed since it was evaluated\n  evaluated {expected}\n  now       {actual}")]
    SourceMoved {
        /// The folder.
        path: String,
        /// Its digest at evaluation.
        expected: Digest,
        /// Its digest now.
        actual: Digest,
    },
    /// A folder of the release could not be read again.
    #[error("cannot read source folder `{path}`")]
    Source {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A record of the store that cannot be read.
    #[error("record {digest} cannot be used")]
    Record {
        /// The record.
        digest: Digest,
        /// Why.
        source: super::record::Error,
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
    Root(#[from] super::buildroot::Error),
    /// The sandbox could not be had.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// Told to stop.
    #[error("cancelled")]
    Cancelled,
}
