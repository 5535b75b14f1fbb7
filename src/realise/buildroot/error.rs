//! What can go wrong while a build root is made.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::deb::package;
use crate::{sandbox, store};

/// Why there is no build root.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package file is broken or hostile.
    #[error("package `{package}` cannot be unpacked")]
    Package {
        /// Its name, version and architecture.
        package: String,
        /// What is wrong with it.
        source: package::Error,
    },
    /// The packages do not fit together.
    #[error("`{path}` is in both `{first}` and `{second}`, and neither replaces the other")]
    Conflict {
        /// The path in the root.
        path: String,
        /// A package that has it.
        first: String,
        /// Another one.
        second: String,
    },
    /// A package is not what dpkg's database can hold.
    #[error("package `{package}` has an unusable {what}")]
    Unusable {
        /// Its name.
        package: String,
        /// Which part of it.
        what: String,
    },
    /// The packages were unpacked, but a script of theirs or dpkg failed.
    #[error("the build root could not be configured: {verdict}")]
    Configure {
        /// How dpkg ended.
        verdict: String,
        /// What it printed, the last part of it.
        log: String,
    },
    /// A script of a package failed that needs more ids than there are.
    #[error(transparent)]
    Ids(Box<Ids>),
    /// A folder of dpkg's database in a lower layer cannot be understood.
    #[error("the database of the layer below is broken: {0}")]
    Database(String),
    /// Somebody told us to stop.
    #[error("stopped while a build root was made")]
    Cancelled,
    /// An operation of the system failed.
    #[error("cannot {operation} `{}`", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The store failed.
    #[error("the store failed while a build root was made")]
    Store(#[from] store::Error),
    /// The sandbox could not be had.
    #[error("the build root could not be configured in isolation")]
    Sandbox(#[from] sandbox::Error),
}

/// A package whose script failed, and what in that script needs more ids than one.
#[derive(Debug, thiserror::Error)]
#[error("package `{package}` could not be configured with one id: {reason}")]
pub struct Ids {
    /// The package.
    pub package: String,
    /// What dpkg says of it.
    pub reason: String,
    /// Which of its scripts failed: `postinst` or `preinst`.
    pub script: String,
    /// What that script calls that does less with one id than it says.
    pub calls: Vec<String>,
    /// What was printed, the last part of it.
    pub log: String,
}

impl Ids {
    const OFFERED: &str = "a build root has the id 0 alone while it is configured, and 1000 alone \
        while a package is built in it: no file of it can belong to anybody else";
}

impl Error {
    /// Whether the same may succeed a little later: what the packages themselves do wrong does not
    /// pass.
    pub fn may_pass(&self) -> bool {
        let is_full = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match self {
            Self::System { source, .. } => is_full(source),
            Self::Store(error) => error.may_pass(),
            Self::Sandbox(error) => error.may_pass(),
            _ => false,
        }
    }

    /// What is known beside the error itself: what a script called, and the last lines printed.
    pub fn reasons(&self) -> Vec<String> {
        const LINES: usize = 8;
        let last = |log: &str| {
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let from = lines.len().saturating_sub(LINES);
            lines[from..].iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
        };
        match self {
            Self::Configure { log, .. } => last(log),
            Self::Ids(ids) => {
                let calls = ids.calls.iter().map(|call| format!("its `{}`: {call}", ids.script));
                calls.chain([Ids::OFFERED.to_owned()]).chain(last(&ids.log)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl From<package::Error> for Error {
    fn from(source: package::Error) -> Self {
        Self::Package { package: String::new(), source }
    }
}

/// Names the operation and the path that an error of the system belongs to.
pub(super) fn system(
    operation: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { operation, path: path.as_ref().to_owned(), source }
}
