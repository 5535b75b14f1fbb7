//! What was resolved to which action, and what each action's builds gave.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Transaction};

use super::Store;
use super::batch::Batch;
use super::database::{action as action_in, digest};
use super::error::{Error, Result};
use super::journal::{self, Event};
use crate::base::{ActionId, DerivationId, Digest, Json};

/// The record that counts for an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The name of its document.
    pub digest: Digest,
    /// The document.
    pub record: Json,
    /// Whether another build of the same action gave other outputs.
    pub divergent: bool,
}

/// What keeping a record led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The name of the document that was kept.
    pub digest: Digest,
    /// The name of the action's adopted record: this one, or an earlier one.
    pub adopted: Digest,
    /// Whether builds of this action have given different outputs.
    pub divergent: bool,
}

impl Store {
    /// The action that this derivation came to when it was offered these outputs under these
    /// solver rules, if it was resolved before.
    pub fn resolution(
        &self,
        derivation: &DerivationId,
        offered: &Digest,
        rules: u32,
    ) -> Result<Option<ActionId>> {
        self.row(
            "look up a resolution",
            "SELECT action FROM resolution WHERE derivation = ?1 AND offered = ?2 AND rules = ?3",
            (derivation.as_bytes(), offered.as_bytes(), rules),
            |row| action_in(row, 0),
        )
    }

    /// The same for many recipes with what is offered to each, at once, where the action has an
    /// adopted record too: that is given by its name.
    pub fn known(
        &self,
        wanted: &[(DerivationId, Digest)],
        rules: u32,
    ) -> Result<Vec<Option<(ActionId, Digest)>>> {
        let look = || {
            self.look("look up resolutions", |transaction| {
                let mut statement = transaction.prepare_cached(
                    "SELECT record.action, record.document FROM resolution JOIN record
                 ON record.action = resolution.action AND record.adopted = 1
                 WHERE derivation = ?1 AND offered = ?2 AND rules = ?3",
                )?;
                let find = |(derivation, offered): &(DerivationId, Digest)| {
                    statement
                        .query_row((derivation.as_bytes(), offered.as_bytes(), rules), |row| {
                            Ok((action_in(row, 0)?, digest(row, 1)?))
                        })
                        .optional()
                };
                wanted.iter().map(find).collect()
            })
        };
        // Whoever collects takes a record's row along with what it speaks of: if anybody wrote
        // between the look and the hold, they are looked up again.
        let version =
            || self.row("see who writes", "PRAGMA data_version", (), |row| row.get::<_, i64>(0));
        let before = version()?;
        let found: Vec<Option<(ActionId, Digest)>> = look()?;
        let there = found.iter().flatten();
        self.hold_all(there.flat_map(|(action, record)| [action.as_bytes(), record.as_bytes()]));
        if version()? == before { Ok(found) } else { look() }
    }

    /// Remembers what [`Store::resolution`] will answer.
    pub fn remember_resolution(
        &self,
        derivation: &DerivationId,
        offered: &Digest,
        rules: u32,
        action: &ActionId,
    ) -> Result<()> {
        self.write_lightly("remember a resolution", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO resolution VALUES (?1, ?2, ?3, ?4)")?
                .execute((derivation.as_bytes(), offered.as_bytes(), rules, action.as_bytes()))
                .map(drop)
        })
    }

    /// Keeps the record of a successful build. The first of an action is adopted; one whose
    /// member `outputs` differs from the adopted one's makes the action divergent. Times and
    /// circumstances may differ.
    pub fn put_record(&self, action: &ActionId, record: &Json) -> Result<Recorded> {
        let batch = self.batch();
        let row = RecordRow::put(&batch, *action, record)?;
        batch.commit_with("keep a record", |transaction| row.write(transaction))
    }

    /// The adopted record of an action, verified; nothing if it was never built, or if its
    /// document is lost or damaged, which is then forgotten so that another can take its place.
    pub fn record(&self, action: &ActionId) -> Result<Option<Adopted>> {
        // Before the row is read: whoever collects takes the row along with what it speaks of.
        self.hold(action.as_bytes());
        let found = self.row(
            "look up a record",
            "SELECT document, (SELECT count(DISTINCT outputs) FROM record WHERE action = ?1)
             FROM record WHERE action = ?1 AND adopted = 1",
            [action.as_bytes()],
            |row| Ok((digest(row, 0)?, row.get::<_, i64>(1)?)),
        )?;
        let Some((digest, kinds)) = found else { return Ok(None) };
        let record = match self.read_json(&digest) {
            Ok(record) => record,
            Err(Error::Missing { .. } | Error::Corrupt { .. } | Error::Document { .. }) => {
                self.forget_record(action, &digest)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Adopted { digest, record, divergent: kinds > 1 }))
    }

    fn forget_record(&self, action: &ActionId, digest: &Digest) -> Result<()> {
        self.quarantine(digest)?;
        self.write("forget a lost record", |transaction| {
            transaction
                .prepare_cached("DELETE FROM record WHERE action = ?1 AND document = ?2")?
                .execute((action.as_bytes(), digest.as_bytes()))
                .map(drop)
        })
    }

    /// The names of all records of an action, the adopted one first, the others by age.
    pub fn records(&self, action: &ActionId) -> Result<Vec<Digest>> {
        self.rows(
            "list records",
            "SELECT document FROM record WHERE action = ?1 ORDER BY adopted DESC, made, document",
            [action.as_bytes()],
            |row| digest(row, 0),
        )
    }

    /// Makes another of an action's records the adopted one; [`Error::Missing`] if `record` is
    /// none of its records.
    pub fn adopt(&self, action: &ActionId, record: &Digest) -> Result<()> {
        let moved = self.write("adopt a record", |transaction| {
            let known: i64 = transaction
                .prepare_cached("SELECT count(*) FROM record WHERE action = ?1 AND document = ?2")?
                .query_row((action.as_bytes(), record.as_bytes()), |row| row.get(0))?;
            if known == 0 {
                return Ok(false);
            }
            transaction
                .prepare_cached("UPDATE record SET adopted = 0 WHERE action = ?1 AND adopted = 1")?
                .execute([action.as_bytes()])?;
            transaction
                .prepare_cached(
                    "UPDATE record SET adopted = 1 WHERE action = ?1 AND document = ?2",
                )?
                .execute((action.as_bytes(), record.as_bytes()))?;
            Ok(true)
        })?;
        if moved { Ok(()) } else { Err(Error::Missing { path: self.json_path(record) }) }
    }

    /// The names of all adopted records.
    pub fn adopted_records(&self) -> Result<BTreeSet<Digest>> {
        let sql = "SELECT document FROM record WHERE adopted = 1";
        let rows = self.rows("list adopted records", sql, (), |row| digest(row, 0))?;
        Ok(rows.into_iter().collect())
    }

    /// The actions whose builds gave different outputs.
    pub fn divergent_actions(&self) -> Result<BTreeSet<ActionId>> {
        let rows = self.rows(
            "list divergent actions",
            "SELECT action FROM record GROUP BY action HAVING count(DISTINCT outputs) > 1",
            (),
            |row| action_in(row, 0),
        )?;
        Ok(rows.into_iter().collect())
    }
}

/// The row of a record whose document is on its way into the store.
pub(super) struct RecordRow {
    action: ActionId,
    document: Digest,
    outputs: Digest,
    made: i64,
}

impl RecordRow {
    /// Puts the record's document into the batch.
    pub(super) fn put(batch: &Batch<'_>, action: ActionId, record: &Json) -> Result<Self> {
        let outputs = outputs_of(&action, record)?;
        let document = batch.put_json(record)?;
        let made = jiff::Timestamp::now().as_millisecond();
        Ok(Self { action, document, outputs, made })
    }

    /// The part of a transaction that keeps it, as [`Store::put_record`] says.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<Recorded> {
        let Self { action, document, outputs, made } = self;
        let adopted: Option<[u8; 32]> = transaction
            .prepare_cached("SELECT document FROM record WHERE action = ?1 AND adopted = 1")?
            .query_row([action.as_bytes()], |row| row.get(0))
            .optional()?;
        transaction
            .prepare_cached("INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((
                action.as_bytes(),
                document.as_bytes(),
                outputs.as_bytes(),
                adopted.is_none(),
                made,
            ))?;
        journal::note(transaction, &Event::Record { action: *action, record: *document })?;
        let kinds: i64 = transaction
            .prepare_cached("SELECT count(DISTINCT outputs) FROM record WHERE action = ?1")?
            .query_row([action.as_bytes()], |row| row.get(0))?;
        let adopted = adopted.map_or(*document, Digest::from_bytes);
        Ok(Recorded { digest: *document, adopted, divergent: kinds > 1 })
    }
}

fn outputs_of(action: &ActionId, record: &Json) -> Result<Digest> {
    match record {
        Json::Object(members) => members.get("outputs"),
        _ => None,
    }
    .map(|outputs| Digest::of(&outputs.encode()))
    .ok_or(Error::RecordWithoutOutputs { action: *action })
}
