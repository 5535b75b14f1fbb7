//! Why nothing can be served.

use std::io;
use std::net::SocketAddr;

use crate::base::HostPath;
use crate::{archive, store};

/// Shorthand of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something keeps a service from beginning or going on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The loop cannot run.
    #[error("cannot {operation}")]
    Loop {
        /// What was tried.
        operation: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// The file that an archive's pin rests on cannot be read.
    #[error("cannot read `{path}`")]
    Evidence {
        /// The file.
        path: HostPath,
        /// What the system answered.
        source: io::Error,
    },
    /// The file that an archive's pin rests on is not what was pinned.
    #[error("`{path}` is not what release.lock pins: `perestroika lock` brings it back")]
    Unfounded {
        /// The file.
        path: HostPath,
    },
    /// An index of an archive is not what it should be.
    #[error("index `{path}` of archive `{archive}`: {what}")]
    Index {
        /// The archive.
        archive: String,
        /// The index.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Two releases would have one address.
    #[error("two releases are called `{0}`: serve them one by one")]
    Twice(String),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What an archive's pin rests on cannot be understood.
    #[error("the Release file of suite `{suite}` of archive `{archive}`")]
    Release {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// What is wrong with it.
        source: archive::deb::release::Error,
    },
}
