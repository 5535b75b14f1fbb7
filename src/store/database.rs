//! The SQLite file that says what belongs to what.
//!
//! Write-ahead log with full synchronisation: a committed row survives a power cut, and readers
//! never wait for a writer. Transactions are short and take the write lock at once, so that none
//! fails half-way because another process was first.

use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior,
};
use rustix::fs::FlockOperation;

use super::error::{Error, Result, database};
use super::locks::acquire;
use super::{Object, Store, imported, journal, ledger};
use crate::base::{ActionId, Digest, HostPath, Sha256};

/// How long a writer waits for others: their transactions take milliseconds, a slow disk longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// `user_version` of the schema below, with all that was added to it since.
const SCHEMA_VERSION: i64 = 1 + ADDED.len() as i64;

/// What later versions of the schema added, each to the one before.
const ADDED: [&str; 5] = [
    // What kind of failure an attempt ended with, and the name that all failures like it have.
    "ALTER TABLE attempt ADD COLUMN kind TEXT; ALTER TABLE attempt ADD COLUMN fingerprint BLOB;",
    // What came of building actions again.
    "CREATE TABLE reproduction (
        id INTEGER PRIMARY KEY AUTOINCREMENT, package TEXT NOT NULL, action BLOB NOT NULL,
        document BLOB NOT NULL, verdict TEXT NOT NULL, made INTEGER NOT NULL
    );
    CREATE INDEX reproduction_of_package ON reproduction (package, id);
    CREATE INDEX reproduction_of_action ON reproduction (action, id);",
    // What was kept, in the order that it was, so that nothing of it can be changed unseen.
    journal::SCHEMA,
    // What came from other stores, and who signed it.
    imported::SCHEMA,
    // What was published, so that nothing is published twice as something else.
    ledger::SCHEMA,
];

const SCHEMA: &str = "
    CREATE TABLE object (
        sha256 BLOB NOT NULL PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE resolution (
        derivation BLOB NOT NULL, offered BLOB NOT NULL, rules INTEGER NOT NULL,
        action BLOB NOT NULL,
        PRIMARY KEY (derivation, offered, rules)
    ) WITHOUT ROWID;

    CREATE TABLE record (
        action BLOB NOT NULL, document BLOB NOT NULL, outputs BLOB NOT NULL,
        adopted INTEGER NOT NULL, made INTEGER NOT NULL,
        PRIMARY KEY (action, document)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX adopted_record ON record (action) WHERE adopted = 1;

    CREATE TABLE attempt (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        package TEXT NOT NULL, derivation BLOB NOT NULL, action BLOB NOT NULL,
        started INTEGER NOT NULL, milliseconds INTEGER, verdict TEXT, summary TEXT NOT NULL,
        record BLOB, log BLOB, partial TEXT NOT NULL
    );
    CREATE INDEX attempt_of_package ON attempt (package, id);
    CREATE INDEX built_of_package ON attempt (package, id) WHERE verdict = 'built';

    CREATE TABLE layer (
        key BLOB NOT NULL, manifest BLOB NOT NULL, adopted INTEGER NOT NULL,
        PRIMARY KEY (key, manifest)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX adopted_layer ON layer (key) WHERE adopted = 1;

    CREATE TABLE unpacked (sha256 BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;

    CREATE TABLE built_release (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        folder BLOB NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        release BLOB NOT NULL, manifest BLOB, built INTEGER NOT NULL
    );
    CREATE INDEX built_in_folder ON built_release (folder, id);
";

/// Opens the database of the store at `root`, making it if it is not there.
pub(super) fn open(root: &HostPath) -> Result<Connection> {
    let path = root.join("records.sqlite");
    let failed = |operation| database(operation, &path);
    let connection = Connection::open(&path).map_err(failed("open the records"))?;
    connection.busy_timeout(PATIENCE).map_err(failed("set the patience"))?;
    connection.set_prepared_statement_cache_capacity(64);
    if (0..SCHEMA_VERSION).contains(&version(&connection, &path)?) {
        // Changing the journal's mode does not wait for others: one at a time.
        let lock = root.join("locks").join(".records");
        let _making = acquire(&lock, FlockOperation::LockExclusive)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed("set the journal's mode"))?;
        // Another process may have done it while this one waited.
        if let found @ 0..SCHEMA_VERSION = version(&connection, &path)? {
            let first = if found == 0 { SCHEMA } else { "" };
            let done = usize::try_from(found).unwrap_or(0).saturating_sub(1);
            let added = ADDED[done..].concat();
            let text = format!(
                "BEGIN IMMEDIATE; {first} {added} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            );
            connection.execute_batch(&text).map_err(failed("create the tables"))?;
        }
    }
    let found = version(&connection, &path)?;
    if found != SCHEMA_VERSION {
        let found = format!("records {found}");
        return Err(Error::Version { path: root.clone(), found, known: super::layout::VERSION });
    }
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(failed("set the synchronisation"))?;
    Ok(connection)
}

/// Opens the database of the store at `root` without writing anything. On a disk that takes no
/// writes the write-ahead log's index cannot be made: then it is read as one that nobody changes,
/// if it has no log beside it whose end only that index tells.
pub(super) fn open_to_read(root: &HostPath) -> Result<Connection> {
    let path = root.join("records.sqlite");
    let open = |uri: &str| {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection =
            Connection::open_with_flags(uri, flags).map_err(database("open the records", &path))?;
        connection.busy_timeout(PATIENCE).map_err(database("set the patience", &path))?;
        connection.set_prepared_statement_cache_capacity(64);
        let found = version(&connection, &path)?;
        if found == SCHEMA_VERSION {
            return Ok(connection);
        }
        let found = format!("records {found}");
        Err(Error::Version { path: root.clone(), found, known: super::layout::VERSION })
    };
    let uri = uri(&path);
    let is_settled = || {
        let log = std::fs::metadata(root.join("records.sqlite-wal"));
        log.map_or(true, |log| log.len() == 0)
    };
    match open(&uri) {
        Err(Error::Database { .. } | Error::ReadOnly { .. }) if is_settled() => {
            open(&format!("{uri}?immutable=1"))
        }
        opened => opened,
    }
}

/// A path as SQLite takes it with options (sqlite.org/uri.html).
fn uri(path: &HostPath) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file:");
    for byte in path.as_path().as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

fn version(connection: &Connection, path: &HostPath) -> Result<i64> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(database("read the version of the records", path))
}

impl Store {
    /// The database's file.
    pub(super) fn database_path(&self) -> HostPath {
        self.path("records.sqlite")
    }

    /// Runs one short transaction that writes.
    pub(super) fn write<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection();
        write(&mut connection, body).map_err(database(operation, self.database_path()))
    }

    /// Runs one short transaction whose rows a power cut may take, until another one is written:
    /// those of what can be found out again, or that ended with the power.
    pub(super) fn write_lightly<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection();
        let value = connection
            .pragma_update(None, "synchronous", "NORMAL")
            .and_then(|()| write(&mut connection, body));
        let restored = connection.pragma_update(None, "synchronous", "FULL");
        value
            .and_then(|value| restored.map(|()| value))
            .map_err(database(operation, self.database_path()))
    }

    /// Runs many statements that read, all of which see the same state.
    pub(super) fn look<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.connection();
        let run = || body(&connection.transaction_with_behavior(TransactionBehavior::Deferred)?);
        run().map_err(database(operation, self.database_path()))
    }

    /// The rows of one statement.
    pub(super) fn rows<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let connection = self.connection();
        let run = || {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>()
        };
        run().map_err(database(operation, self.database_path()))
    }

    /// The first row of one statement.
    pub(super) fn row<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let connection = self.connection();
        let run = || connection.prepare_cached(sql)?.query_row(params, read).optional();
        run().map_err(database(operation, self.database_path()))
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic inside a transaction has rolled it back: the connection is whole.
        self.shared.database.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn remember_objects(&self, objects: &[Object]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        self.write("remember objects", |transaction| remember_objects(transaction, objects))
    }

    pub(super) fn object_by_sha256(&self, sha256: &Sha256) -> Result<Option<Object>> {
        self.row(
            "look up an object",
            "SELECT digest, size FROM object WHERE sha256 = ?1",
            [sha256.as_bytes()],
            |row| {
                let digest = digest(row, 0)?;
                let size: i64 = row.get(1)?;
                Ok(Object { digest, sha256: *sha256, size: size.unsigned_abs() })
            },
        )
    }
}

/// One transaction that takes the write lock at once.
fn write<T>(
    connection: &mut Connection,
    body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = body(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// The part of a transaction that says what objects there are.
pub(super) fn remember_objects(
    transaction: &Transaction<'_>,
    objects: &[Object],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO object (sha256, digest, size) VALUES (?1, ?2, ?3)",
    )?;
    for Object { digest, sha256, size } in objects {
        insert.execute((sha256.as_bytes(), digest.as_bytes(), i64_of(*size)))?;
    }
    Ok(())
}

/// The digest in a column.
pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get(column).map(Digest::from_bytes)
}

/// The digest in a column that may hold none.
pub(super) fn optional<T, B: FromSql>(
    row: &Row<'_>,
    column: usize,
    wrap: impl FnOnce(B) -> T,
) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<B>>(column)?.map(wrap))
}

/// The action id in a column.
pub(super) fn action(row: &Row<'_>, column: usize) -> rusqlite::Result<ActionId> {
    row.get(column).map(ActionId::from_bytes)
}

/// A size or duration as SQLite keeps it.
pub(super) fn i64_of(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
