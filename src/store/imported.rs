//! What came here in bundles of other stores: it is kept until it is let go, and the records in
//! it are evidence. No build uses them, unless they were kept as records, too.

use jiff::Timestamp;
use rusqlite::Row;

use super::Store;
use super::database::{action, digest};
use super::error::Result;
use crate::base::{ActionId, DerivationId, Digest, Sha256};

/// The part of the schema that holds it.
pub(super) const SCHEMA: &str = "
    CREATE TABLE imported (
        bundle BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL,
        release BLOB NOT NULL, manifest BLOB NOT NULL, key BLOB NOT NULL, made INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE witness (
        document BLOB NOT NULL, id BLOB NOT NULL, action BLOB NOT NULL, key TEXT NOT NULL,
        signature BLOB NOT NULL, PRIMARY KEY (document, id)
    ) WITHOUT ROWID;
    CREATE INDEX witness_of_action ON witness (action);
";

/// A bundle that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The name of its index, which names all that was in it.
    pub bundle: Digest,
    /// The release's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub release: DerivationId,
    /// The name of its manifest.
    pub manifest: Digest,
    /// The key that signed the bundle.
    pub key: Sha256,
}

/// Somebody else's signature of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What was done.
    pub action: ActionId,
    /// The name of the record.
    pub record: Digest,
    /// The id of the key.
    pub id: Sha256,
    /// The key, in PEM.
    pub key: String,
    /// The name of the document that is the signature: a DSSE envelope of the record.
    pub signature: Digest,
}

impl Store {
    /// Keeps what is in a bundle, whose documents and files are here already, and notes who
    /// signed its records. Records of this store's own builds need no other witness.
    pub fn keep_imported(&self, imported: &Imported, witnesses: &[Witness]) -> Result<()> {
        let Imported { bundle, name, version, release, manifest, key } = imported;
        self.write("keep what was imported", |transaction| {
            let made = Timestamp::now().as_millisecond();
            transaction
                .prepare_cached(
                    "INSERT OR IGNORE INTO imported VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute((
                    bundle.as_bytes(),
                    name,
                    version,
                    release.as_bytes(),
                    manifest.as_bytes(),
                    key.as_bytes(),
                    made,
                ))?;
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO witness SELECT ?1, ?2, ?3, ?4, ?5
                 WHERE NOT EXISTS (SELECT 1 FROM record WHERE document = ?1)
                 OR EXISTS (SELECT 1 FROM witness WHERE document = ?1)",
            )?;
            for Witness { action, record, id, key, signature } in witnesses {
                insert.execute((
                    record.as_bytes(),
                    id.as_bytes(),
                    action.as_bytes(),
                    key,
                    signature.as_bytes(),
                ))?;
            }
            Ok(())
        })
    }

    /// The bundles that were imported, in the order of their releases' names.
    pub fn imported(&self) -> Result<Vec<Imported>> {
        self.rows(
            "list what was imported",
            "SELECT bundle, name, version, release, manifest, key FROM imported
             ORDER BY name, version, bundle",
            (),
            |row| {
                Ok(Imported {
                    bundle: digest(row, 0)?,
                    name: row.get(1)?,
                    version: row.get(2)?,
                    release: row.get(3).map(DerivationId::from_bytes)?,
                    manifest: digest(row, 4)?,
                    key: row.get(5).map(Sha256::from_bytes)?,
                })
            },
        )
    }

    /// Lets all bundles of a release go; says whether there were any.
    pub fn forget_imported(&self, release: &DerivationId) -> Result<bool> {
        self.write("let go what was imported", |transaction| {
            let sql = "DELETE FROM imported WHERE release = ?1";
            transaction.execute(sql, [release.as_bytes()]).map(|count| count > 0)
        })
    }

    /// Who else has signed this record.
    pub fn witnesses_of(&self, record: &Digest) -> Result<Vec<Witness>> {
        let sql = format!("{SELECT} WHERE document = ?1 ORDER BY id");
        self.rows("look up signatures", &sql, [record.as_bytes()], witness)
    }

    /// Who else has signed records of this action, and which.
    pub fn witnesses(&self, action: &ActionId) -> Result<Vec<Witness>> {
        let sql = format!("{SELECT} WHERE action = ?1 ORDER BY id, document");
        self.rows("look up signatures", &sql, [action.as_bytes()], witness)
    }
}

const SELECT: &str = "SELECT action, document, id, key, signature FROM witness";

fn witness(row: &Row<'_>) -> rusqlite::Result<Witness> {
    Ok(Witness {
        action: action(row, 0)?,
        record: digest(row, 1)?,
        id: row.get(2).map(Sha256::from_bytes)?,
        key: row.get(3)?,
        signature: digest(row, 4)?,
    })
}
