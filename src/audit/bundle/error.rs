//! What can be wrong with a bundle.

use std::io;

use crate::base::{Digest, HostPath};
use crate::store;

/// Shorthand of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a bundle cannot be made, or is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// Something has the name already.
    #[error("`{0}` is there already: nothing is overwritten")]
    Exists(HostPath),
    /// Somebody else writes the same bundle.
    #[error("another process is writing `{0}`")]
    Busy(HostPath),
    /// Some file that is no bundle.
    #[error("`{path}` is no bundle: {why}")]
    None {
        /// The file.
        path: HostPath,
        /// What is missing of one.
        why: &'static str,
    },
    /// A part of a bundle is not what it should be.
    #[error("`{part}` of the bundle is damaged: {why}")]
    Damaged {
        /// The path of a member, or which part it is.
        part: String,
        /// What is wrong with it.
        why: String,
    },
    /// A bundle whose signature is not by its key.
    #[error("`BUNDLE.sig.json` of the bundle is no signature by its key: somebody changed it")]
    Unsigned,
    /// A bundle that lacks something it has to have.
    #[error("the bundle lacks {what}")]
    Incomplete {
        /// What.
        what: String,
    },
    /// Parts of a bundle that do not belong together.
    #[error("the bundle contradicts itself: {0}")]
    Contradiction(String),
    /// Something that a delta builds on.
    #[error(
        "`{name}` is in the bundle that this delta was made against, and not here\n  \
         that bundle {base}"
    )]
    Elsewhere {
        /// Its path.
        name: String,
        /// The name of the other bundle.
        base: Digest,
    },
    /// Something that the release needs and the store does not have.
    #[error("{what} is not in the store")]
    Lost {
        /// What, and whose.
        what: String,
    },
    /// Something changed while it was read.
    #[error("`{what}` is not what it was named by\n  expected {expected}\n  actual   {actual}")]
    Moved {
        /// What.
        what: String,
        /// Its name.
        expected: Digest,
        /// What its bytes are.
        actual: Digest,
    },
    /// More than a bundle can hold.
    #[error("{what}: more than a bundle holds")]
    Large {
        /// What there is too much of.
        what: String,
    },
    /// The release folder cannot be read.
    #[error("cannot read the release folder")]
    Folder(#[from] crate::spec::loader::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Something pinned cannot be had.
    #[error(transparent)]
    Realise(#[from] crate::realise::Error),
    /// It was called off.
    #[error("interrupted")]
    Cancelled,
}

impl Error {
    /// A part that is not what it should be.
    pub(super) fn damaged(part: impl ToString, why: impl ToString) -> Self {
        Self::Damaged { part: part.to_string(), why: why.to_string() }
    }

    /// Whether what was read is at fault, and not who reads.
    pub fn is_of_the_bundle(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Unsigned
                | Self::Incomplete { .. }
                | Self::Contradiction(_)
                | Self::Elsewhere { .. }
        )
    }
}

/// Names the operation and the path of what the system refused.
pub(super) fn system(operation: &'static str, path: &HostPath) -> impl FnOnce(io::Error) -> Error {
    let path = path.clone();
    move |source| Error::System { operation, path, source }
}
