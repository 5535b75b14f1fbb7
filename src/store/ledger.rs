//! The index over the ledgers of repositories: which package was published where, and when. The
//! ledger itself is the chain of a repository's generations, each of which names the one before
//! it by its digest, and of which the journal tells.

use rusqlite::OptionalExtension as _;

use super::Store;
use super::database::{digest, i64_of};
use super::error::Result;
use super::journal::{self, Event};
use crate::base::{Digest, Sha256};

/// The part of the schema that holds it. A repository is named by its first generation.
pub(super) const SCHEMA: &str = "
    CREATE TABLE generation (
        repository BLOB NOT NULL, number INTEGER NOT NULL, document BLOB NOT NULL,
        PRIMARY KEY (repository, number)
    ) WITHOUT ROWID;
    CREATE TABLE published (
        repository BLOB NOT NULL, name TEXT NOT NULL, architecture TEXT NOT NULL,
        suite TEXT NOT NULL, generation INTEGER NOT NULL, version TEXT NOT NULL,
        payload BLOB NOT NULL, lower INTEGER NOT NULL, derivation BLOB,
        PRIMARY KEY (repository, name, architecture, suite, generation, version)
    ) WITHOUT ROWID;
";

/// A package that a generation put into a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// `amd64`, `all` or `source`.
    pub architecture: String,
    /// The suite.
    pub suite: String,
    /// The generation's number.
    pub generation: u64,
    /// Its version.
    pub version: String,
    /// Digest of what it carries, without signatures.
    pub payload: Sha256,
    /// Whether it was to take the place of a newer version.
    pub lower: bool,
    /// What it was built from, if it was built here.
    pub derivation: Option<Digest>,
}

impl Store {
    /// Notes a generation of the repository whose first generation is `repository`, and what it
    /// put where. One that is noted already stays as it is.
    pub fn note_generation(
        &self,
        repository: &Digest,
        number: u64,
        document: &Digest,
        entries: &[Entry],
    ) -> Result<()> {
        self.write("note a generation", |transaction| {
            let fresh = transaction
                .prepare_cached(
                    "INSERT OR IGNORE INTO generation (repository, number, document)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute((repository.as_bytes(), i64_of(number), document.as_bytes()))?;
            if fresh == 0 {
                return Ok(());
            }
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO published (repository, name, architecture, suite,
                 generation, version, payload, lower, derivation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for entry in entries {
                insert.execute((
                    repository.as_bytes(),
                    &entry.name,
                    &entry.architecture,
                    &entry.suite,
                    i64_of(entry.generation),
                    &entry.version,
                    entry.payload.as_bytes(),
                    entry.lower,
                    entry.derivation.as_ref().map(Digest::as_bytes),
                ))?;
            }
            let event =
                Event::Generation { repository: *repository, number, generation: *document };
            journal::note(transaction, &event)
        })
    }

    /// The number and digest of the newest generation that is noted of a repository.
    pub fn last_generation(&self, repository: &Digest) -> Result<Option<(u64, Digest)>> {
        self.row(
            "look up a generation",
            "SELECT number, document FROM generation WHERE repository = ?1
             ORDER BY number DESC LIMIT 1",
            [repository.as_bytes()],
            |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), digest(row, 1)?)),
        )
    }

    /// What was ever published under each of these names, the oldest first.
    pub fn published(&self, repository: &Digest, names: &[&str]) -> Result<Vec<Vec<Entry>>> {
        self.look("look up what was published", |transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT name, architecture, suite, generation, version, payload, lower, derivation
                 FROM published WHERE repository = ?1 AND name = ?2 ORDER BY generation",
            )?;
            let mut of = |name: &&str| -> rusqlite::Result<Vec<Entry>> {
                let entry = |row: &rusqlite::Row<'_>| {
                    let derivation: Option<[u8; 32]> = row.get(7)?;
                    Ok(Entry {
                        name: row.get(0)?,
                        architecture: row.get(1)?,
                        suite: row.get(2)?,
                        generation: row.get::<_, i64>(3)?.unsigned_abs(),
                        version: row.get(4)?,
                        payload: row.get(5).map(Sha256::from_bytes)?,
                        lower: row.get(6)?,
                        derivation: derivation.map(Digest::from_bytes),
                    })
                };
                statement.query_map((repository.as_bytes(), name), entry)?.collect()
            };
            names.iter().map(&mut of).collect()
        })
    }

    /// The digest of a generation that is noted.
    pub fn noted_generation(&self, repository: &Digest, number: u64) -> Result<Option<Digest>> {
        self.look("look up a generation", |transaction| {
            transaction
                .prepare_cached(
                    "SELECT document FROM generation WHERE repository = ?1 AND number = ?2",
                )?
                .query_row((repository.as_bytes(), i64_of(number)), |row| digest(row, 0))
                .optional()
        })
    }
}
