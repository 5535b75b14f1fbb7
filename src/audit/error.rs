//! Why evidence cannot be read: what it says is never an error.

use std::sync::Arc;

use crate::base::{ActionId, Digest, HostPath};
use crate::{realise, store};

/// The result of reading evidence.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why evidence cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A record, or something pinned, cannot be read.
    #[error(transparent)]
    Realise(#[from] realise::Error),
    /// A pinned index cannot be had.
    #[error("the pinned index cannot be had")]
    Snapshot(#[source] Arc<realise::Error>),
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: HostPath,
        /// What the system answered.
        source: std::io::Error,
    },
    /// An action lists no build root.
    #[error("the action {action} lists no build root")]
    Action {
        /// The action.
        action: ActionId,
    },
    /// A document of the store is no manifest.
    #[error("the document {digest} of the store is no manifest of a release")]
    Manifest {
        /// The document.
        digest: Digest,
    },
}
