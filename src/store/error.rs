//! What can go wrong with the store.

use std::io;
use std::path::Path;

use crate::base::{Digest, HostPath, Sha256, json};

/// Shorthand of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The store could not do what was asked.
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
    /// The file system, or the user's share of it, is full.
    #[error(
        "no space left to {operation} `{path}`: free some there, or name a store elsewhere with \
         `--store DIR`"
    )]
    Full {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: HostPath,
        /// What the system answered.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system takes no writes.
    #[error(
        "cannot {operation} `{path}`: it is read-only; mount it writable, or name a store \
         elsewhere with `--store DIR`"
    )]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: HostPath,
    },
    /// The key that the store signs with cannot be used.
    #[error("the builder key `{path}` {what}")]
    Key {
        /// Its file.
        path: HostPath,
        /// What is wrong with it, and what to do.
        what: &'static str,
    },
    /// Something else has the store's name.
    #[error("`{0}` is no folder, so it cannot be the store: name another with `--store DIR`")]
    NoFolder(HostPath),
    /// SQLite refused.
    #[error("cannot {operation} in `{path}`")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// The database's file.
        path: HostPath,
        /// What SQLite answered.
        source: rusqlite::Error,
    },
    /// A row of the database is not what this program writes.
    #[error("a row of `{table}` in `{path}` is damaged: {what}")]
    Row {
        /// The table.
        table: &'static str,
        /// The database's file.
        path: HostPath,
        /// What is wrong with it.
        what: String,
    },
    /// The store would lie on a file system whose locks cannot be trusted.
    #[error(
        "`{path}` is on a network file system ({kind}), where locks between processes are not \
         safe: name a store on a local disk with `--store DIR`"
    )]
    Network {
        /// The folder.
        path: HostPath,
        /// The file system's name.
        kind: String,
    },
    /// The store's layout is another program's.
    #[error(
        "the store `{path}` has layout `{found}`, this program knows `{known}`: use the program \
         that made it, or another store with `--store DIR`"
    )]
    Version {
        /// The store.
        path: HostPath,
        /// What its `version` file says.
        found: String,
        /// What this program writes.
        known: &'static str,
    },
    /// The store is another user's: what is written to it now, its owner could not use.
    #[error(
        "the store `{path}` belongs to user id {owner}, and this is user id {user}: run as its \
         owner, or name another store with `--store DIR`"
    )]
    Owner {
        /// The store.
        path: HostPath,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A folder with other things in it.
    #[error(
        "`{path}` is no store and not empty (it holds `{holds}`): name an empty or new folder \
         with `--store DIR`"
    )]
    Foreign {
        /// The folder.
        path: HostPath,
        /// One name in it.
        holds: String,
    },
    /// Nothing of that name is kept.
    #[error("the store has no `{path}`")]
    Missing {
        /// Where it would be.
        path: HostPath,
    },
    /// Kept bytes are not those that their name promises.
    #[error("`{path}` is damaged\n  expected {expected}\n  actual   {actual}")]
    Corrupt {
        /// The file.
        path: HostPath,
        /// Its name.
        expected: Digest,
        /// The BLAKE3 of what is there.
        actual: Digest,
    },
    /// Kept bytes were not those that their name promises, and are kept under it no longer.
    #[error(
        "`{path}` was damaged and is put aside: run again to have it made anew\n  \
         expected {expected}\n  actual   {actual}"
    )]
    PutAside {
        /// Where it was.
        path: HostPath,
        /// Its name.
        expected: Digest,
        /// The BLAKE3 of what was there.
        actual: Digest,
    },
    /// A document of the right name that is not canonical JSON.
    #[error("`{path}` is not canonical JSON")]
    Document {
        /// The file.
        path: HostPath,
        /// Why not.
        source: json::Error,
    },
    /// The bytes that came are not those that were expected; nothing was kept.
    #[error(
        "the bytes are not the expected ones\n  expected {expected} ({expected_size} bytes)\n  \
         actual   {actual} ({actual_size} bytes)"
    )]
    Unexpected {
        /// The expected SHA-256.
        expected: Sha256,
        /// The expected size.
        expected_size: u64,
        /// The SHA-256 of what came.
        actual: Sha256,
        /// How many bytes came.
        actual_size: u64,
    },
    /// More bytes came than were expected; nothing was kept.
    #[error("more than the expected {expected_size} bytes came\n  expected {expected}")]
    Oversized {
        /// The expected SHA-256.
        expected: Sha256,
        /// The expected size.
        expected_size: u64,
    },
    /// The reader whose bytes were to be kept failed.
    #[error("cannot read what is to be stored")]
    Input(#[source] io::Error),
    /// A name that cannot be a lock's.
    #[error("`{0}` cannot name a lock: 1 to 200 of `a-z 0-9 . + _ -`, not first a `.`")]
    LockName(String),
    /// The wait for a lock was cancelled.
    #[error("cancelled while waiting for the lock `{path}`")]
    Cancelled {
        /// The lock's file.
        path: HostPath,
    },
    /// Somebody's use of the store cannot be told from his notes.
    #[error(
        "`{path}` stays locked: a process on this store has no room to note what it uses; collect \
         when it has ended"
    )]
    Busy {
        /// The lock's file.
        path: HostPath,
    },
    /// Two collect at once.
    #[error("another process is collecting in `{path}`: one at a time does it")]
    Collecting {
        /// The store.
        path: HostPath,
    },
    /// A pin that is not what this program writes.
    #[error("the pin `{path}` is damaged: pin the release again")]
    Pin {
        /// The file.
        path: HostPath,
        /// Why it cannot be read.
        source: serde_json::Error,
    },
    /// A record without the member that divergence is judged by.
    #[error("a record of action `{action}` has no `outputs`")]
    RecordWithoutOutputs {
        /// The action.
        action: crate::base::ActionId,
    },
}

impl Error {
    /// Whether the same may succeed a little later: space may be freed, another process may let
    /// go of the database, and what was damaged and put aside is made anew.
    pub fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode;
        match self {
            Self::Full { .. } | Self::PutAside { .. } => true,
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ),
            _ => false,
        }
    }

    /// Whether it is that nothing can be written there.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::ReadOnly { .. } => true,
            Self::System { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// Turns the system's answer to `operation` on `path` into an error.
pub(super) fn system<E: Into<io::Error>>(
    operation: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(E) -> Error {
    move |source| {
        let source = source.into();
        let path = HostPath::new(path.as_ref());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::Full { operation, path, source: source.into() }
            }
            io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { operation, path },
            _ => Error::System { operation, path, source },
        }
    }
}

/// Turns SQLite's answer to `operation` in the database at `path` into an error.
pub(super) fn database(
    operation: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    move |source| {
        let path = HostPath::new(path.as_ref());
        // The index of the write-ahead log cannot grow: SQLite has no code of its own for why.
        let index = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
        match source.sqlite_error_code() {
            _ if source.sqlite_error().is_some_and(|error| error.extended_code == index) => {
                Error::Full { operation, path, source: source.into() }
            }
            Some(ErrorCode::DiskFull) => Error::Full { operation, path, source: source.into() },
            Some(ErrorCode::ReadOnly) => Error::ReadOnly { operation, path },
            _ => Error::Database { operation, path, source },
        }
    }
}
