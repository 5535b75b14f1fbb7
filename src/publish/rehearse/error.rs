//! What can stop a rehearsal.

use std::io;

use crate::base::HostPath;
use crate::realise::buildroot;
use crate::{realise, sandbox, store};

/// A result of a rehearsal.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can stop a rehearsal, whatever the generation is like.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pinned archive makes no client.
    #[error("no client with apt can be made of the pinned archive `{archive}`")]
    NoClient {
        /// The archive.
        archive: String,
        /// Why not.
        because: Vec<String>,
    },
    /// The client's apt does not take the pinned archive.
    #[error("apt does not accept the archive `{archive}` as it is pinned: {why}")]
    Archive {
        /// The archive.
        archive: String,
        /// What apt says.
        why: String,
    },
    /// The archive's index cannot be read.
    #[error("the pinned index `{path}` {reason}")]
    Index {
        /// Its path below the suite.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The guest ended before it told what came of it.
    #[error("the client ended while it read the indexes of suite `{suite}`: {how}")]
    Guest {
        /// The suite.
        suite: String,
        /// How it ended.
        how: String,
    },
    /// A file operation failed.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: HostPath,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody told us to stop.
    #[error("the rehearsal was stopped")]
    Cancelled,
    /// Something of the archive could not be had.
    #[error(transparent)]
    Realise(#[from] realise::Error),
    /// The client's root could not be made.
    #[error(transparent)]
    Root(#[from] buildroot::Error),
    /// The sandbox could not be had.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Reasons beside those of its sources.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::NoClient { because, .. } => because.clone(),
            Self::Realise(error) => error.reasons(),
            Self::Root(error) => error.reasons(),
            _ => Vec::new(),
        }
    }
}

/// Names the operation and the path of a failed file operation.
pub(super) fn at(operation: &'static str, path: &HostPath) -> impl FnOnce(io::Error) -> Error {
    let path = path.clone();
    move |source| Error::File { operation, path, source }
}
