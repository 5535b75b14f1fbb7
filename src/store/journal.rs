//! The journal: a list that is only ever added to, of the records that were kept, the releases
//! that were built whole and the pins that moved, under one Merkle tree (RFC 9162). Whoever has
//! noted a head of it can tell later whether anything before it was changed or left out.
//!
//! An entry is canonical JSON of format `perestroika/journal/1`; the leaf is its bytes. It is
//! written in the transaction that writes what it tells of. Nothing is removed from it: it
//! outlives what it names.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::Store;
use super::database::{digest, i64_of};
use super::error::Result;
use crate::base::merkle::{Frontier, Head, Tree, leaf};
use crate::base::{ActionId, DerivationId, Digest, Json, Sha256};

const FORMAT: &str = "perestroika/journal/1";

/// The part of the schema that holds it. The records that a store has already when it gets a
/// journal are told apart for ever.
pub(super) const SCHEMA: &str = "
    CREATE TABLE journal (position INTEGER PRIMARY KEY, document BLOB, entry BLOB NOT NULL);
    CREATE INDEX journal_of_document ON journal (document);
    CREATE TABLE journal_head (
        one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, hash BLOB NOT NULL,
        tops BLOB NOT NULL
    );
    CREATE TABLE journal_checked (
        one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, hash BLOB NOT NULL
    );
    CREATE TABLE before_journal (document BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;
    INSERT OR IGNORE INTO before_journal SELECT document FROM record;
";

/// What an entry tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The record of a build was kept.
    Record {
        /// What was built.
        action: ActionId,
        /// The name of the record.
        record: Digest,
    },
    /// All of a release was built.
    Manifest {
        /// The release's name.
        name: String,
        /// Its version.
        version: String,
        /// Its id.
        release: DerivationId,
        /// The name of its manifest.
        manifest: Digest,
    },
    /// Clients of a repository got another generation of it.
    Generation {
        /// The name of its first generation.
        repository: Digest,
        /// Which one it was, counted from 1.
        number: u64,
        /// The name of its GENERATION.json.
        generation: Digest,
    },
    /// A release was pinned to something else.
    Pin {
        /// The release's name.
        name: String,
        /// Its version.
        version: String,
        /// What is pinned.
        pin: String,
        /// To what it was; nothing for what was not pinned yet.
        old: Option<String>,
        /// To what it is; nothing for what is not pinned any more.
        new: Option<String>,
        /// The BLAKE3 of the release.lock that says so.
        lock: Digest,
    },
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it tells of.
    pub event: Event,
    /// When it was written, to the millisecond.
    pub time: Timestamp,
}

/// The journal as it was at one moment.
#[derive(Debug, Clone)]
pub struct Journal {
    /// The bytes of its entries, the oldest first.
    pub entries: Vec<Vec<u8>>,
    /// The head that was written with the last of them.
    pub head: Head,
    /// The head that [`Store::note_checked_head`] was last told of.
    pub checked: Option<Head>,
    /// The records that count for their actions.
    pub adopted: BTreeSet<Digest>,
    /// The records that the store had before it had a journal.
    pub older: BTreeSet<Digest>,
    /// Where the numbers of entries have a gap: the number that was expected there.
    pub gap: Option<u64>,
}

/// What is kept of the tree is not that of a tree.
#[derive(Debug, thiserror::Error)]
#[error("the journal's head is damaged: `perestroika audit history` says what still holds")]
struct DamagedHead;

impl Entry {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut members = vec![
            ("format", FORMAT.into()),
            ("time", Json::Integer(self.time.as_millisecond())),
            ("kind", self.event.kind().into()),
        ];
        match &self.event {
            Event::Record { action, record } => {
                members.extend([("action", Json::text(action)), ("record", Json::text(record))]);
            }
            Event::Manifest { name, version, release, manifest } => members.extend([
                ("name", name.into()),
                ("version", version.into()),
                ("release", Json::text(release)),
                ("manifest", Json::text(manifest)),
            ]),
            Event::Generation { repository, number, generation } => members.extend([
                ("repository", Json::text(repository)),
                ("number", Json::Integer(i64_of(*number))),
                ("generation", Json::text(generation)),
            ]),
            Event::Pin { name, version, pin, old, new, lock } => {
                members.extend([
                    ("name", name.into()),
                    ("version", version.into()),
                    ("pin", pin.into()),
                    ("lock", Json::text(lock)),
                ]);
                members.extend(old.as_ref().map(|old| ("old", old.into())));
                members.extend(new.as_ref().map(|new| ("new", new.into())));
            }
        }
        Json::object(members).encode()
    }

    /// Reads the canonical bytes of an entry, and nothing else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let Json::Object(members) = Json::read_canonical(bytes).ok()? else { return None };
        let text = |key: &str| match members.get(key) {
            Some(Json::String(text)) => Some(text.clone()),
            _ => None,
        };
        let Some(Json::Integer(time)) = members.get("time") else { return None };
        let event = match text("kind")?.as_str() {
            "record" => Event::Record {
                action: text("action")?.parse().ok()?,
                record: text("record")?.parse().ok()?,
            },
            "manifest" => Event::Manifest {
                name: text("name")?,
                version: text("version")?,
                release: text("release")?.parse().ok()?,
                manifest: text("manifest")?.parse().ok()?,
            },
            "generation" => Event::Generation {
                repository: text("repository")?.parse().ok()?,
                number: match members.get("number") {
                    Some(Json::Integer(number)) => u64::try_from(*number).ok()?,
                    _ => return None,
                },
                generation: text("generation")?.parse().ok()?,
            },
            "pin" => Event::Pin {
                name: text("name")?,
                version: text("version")?,
                pin: text("pin")?,
                old: text("old"),
                new: text("new"),
                lock: text("lock")?.parse().ok()?,
            },
            _ => return None,
        };
        let entry = Self { event, time: Timestamp::from_millisecond(*time).ok()? };
        // The format, and that there is nothing besides.
        (entry.encode() == bytes).then_some(entry)
    }
}

impl Event {
    /// What kind it is, as one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Record { .. } => "record",
            Self::Manifest { .. } => "manifest",
            Self::Generation { .. } => "generation",
            Self::Pin { .. } => "pin",
        }
    }

    /// The document that it is about, and told of once.
    const fn document(&self) -> Option<&Digest> {
        match self {
            Self::Record { record, .. } => Some(record),
            Self::Manifest { manifest, .. } => Some(manifest),
            Self::Generation { generation, .. } => Some(generation),
            Self::Pin { .. } => None,
        }
    }
}

impl Journal {
    /// The tree of the entries, whatever the head says.
    pub fn tree(&self) -> Tree {
        Tree::new(self.entries.iter().map(|entry| leaf(entry)).collect())
    }
}

impl Store {
    /// Adds entries to the journal, in this order. A record or manifest that it tells of already
    /// is not told of again.
    pub fn add_to_journal(&self, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        self.write("add to the journal", |transaction| {
            events.iter().try_for_each(|event| note(transaction, event))
        })
    }

    /// Remembers the head up to which the journal was found to be as it has to be.
    pub fn note_checked_head(&self, head: &Head) -> Result<()> {
        let Head { size, hash } = head;
        self.write_lightly("note what was checked", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO journal_checked (one, size, hash) VALUES (1, ?1, ?2)",
                )?
                .execute((i64_of(*size), hash.as_bytes()))
                .map(drop)
        })
    }

    /// All of the journal.
    pub fn journal(&self) -> Result<Journal> {
        self.look("read the journal", |transaction| {
            let list = |sql: &str| -> rusqlite::Result<BTreeSet<Digest>> {
                transaction.prepare_cached(sql)?.query_map((), |row| digest(row, 0))?.collect()
            };
            let rows: Vec<(i64, Vec<u8>)> = transaction
                .prepare_cached("SELECT position, entry FROM journal ORDER BY position")?
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let gap = (0..).zip(&rows).find(|(expected, (found, _))| expected != found);
            let head_of = |table: &str| {
                let sql = format!("SELECT size, hash FROM {table}");
                transaction.prepare_cached(&sql)?.query_row((), head).optional()
            };
            Ok(Journal {
                gap: gap.map(|(expected, _)| expected.unsigned_abs()),
                entries: rows.into_iter().map(|(_, entry)| entry).collect(),
                head: head_of("journal_head")?.unwrap_or_else(Head::empty),
                checked: head_of("journal_checked")?,
                adopted: list("SELECT document FROM record WHERE adopted = 1")?,
                older: list("SELECT document FROM before_journal")?,
            })
        })
    }
}

/// The part of a transaction that adds an entry, unless what it tells of is told of already.
pub(super) fn note(transaction: &Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    let document = event.document().map(Digest::as_bytes);
    let known = transaction
        .prepare_cached("SELECT 1 FROM journal WHERE document = ?1")?
        .exists([document])?;
    if known {
        return Ok(());
    }
    let found: Option<(Head, Vec<u8>)> = transaction
        .prepare_cached("SELECT size, hash, tops FROM journal_head")?
        .query_row((), |row| Ok((head(row)?, row.get(2)?)))
        .optional()?;
    let mut frontier = match found {
        Some((head, tops)) => {
            let (tops, rest) = tops.as_chunks();
            let tops = tops.iter().copied().map(Sha256::from_bytes).collect();
            Frontier::new(head.size, tops)
                .filter(|frontier| rest.is_empty() && frontier.head() == head)
                .ok_or_else(|| {
                    rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, DamagedHead.into())
                })?
        }
        None => Frontier::default(),
    };
    // Whole milliseconds are what an entry holds.
    let entry = Entry { event: event.clone(), time: Timestamp::now() }.encode();
    let position = i64_of(frontier.head().size);
    frontier.push(leaf(&entry));
    transaction
        .prepare_cached("INSERT INTO journal (position, document, entry) VALUES (?1, ?2, ?3)")?
        .execute((position, document, entry))?;
    let Head { size, hash } = frontier.head();
    let tops: Vec<u8> = frontier.tops().iter().flat_map(|top| *top.as_bytes()).collect();
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO journal_head (one, size, hash, tops) VALUES (1, ?1, ?2, ?3)",
        )?
        .execute((i64_of(size), hash.as_bytes(), tops))
        .map(drop)
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let size: i64 = row.get(0)?;
    Ok(Head { size: size.unsigned_abs(), hash: row.get(1).map(Sha256::from_bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let (name, version) = ("demo".to_owned(), "1.0".to_owned());
        let pin = |old: Option<&str>, new: Option<&str>| Event::Pin {
            name: name.clone(),
            version: version.clone(),
            pin: "bookworm main".to_owned(),
            old: old.map(ToOwned::to_owned),
            new: new.map(ToOwned::to_owned),
            lock: Digest::of(b"lock"),
        };
        let events = [
            Event::Record { action: ActionId::of(b"action"), record: Digest::of(b"record") },
            Event::Manifest {
                name: name.clone(),
                version: version.clone(),
                release: DerivationId::of(b"release"),
                manifest: Digest::of(b"manifest"),
            },
            Event::Generation {
                repository: Digest::of(b"repository"),
                number: 7,
                generation: Digest::of(b"generation"),
            },
            pin(None, Some("a")),
            pin(Some("a"), Some("b")),
            pin(Some("b"), None),
        ];
        let time = Timestamp::from_millisecond(1_800_000_000_123).expect("a time");
        events.into_iter().map(|event| Entry { event, time }).collect()
    }

    #[test]
    fn entries_read_back_what_they_are_written_as() {
        for entry in entries() {
            assert_eq!(Entry::read(&entry.encode()), Some(entry));
        }
        let text = String::from_utf8(entries()[0].encode()).expect("JSON is text");
        let (action, record) = (ActionId::of(b"action"), Digest::of(b"record"));
        assert_eq!(
            text,
            format!(
                "{{\"action\":\"{action}\",\"format\":\"perestroika/journal/1\",\
                 \"kind\":\"record\",\"record\":\"{record}\",\"time\":1800000000123}}"
            )
        );
    }

    #[test]
    fn what_is_no_entry_is_not_read_as_one() {
        for entry in entries() {
            let text = String::from_utf8(entry.encode()).expect("JSON is text");
            for (old, new) in [
                ("journal/1", "journal/2"),
                ("{", "{ "),
                ("\"time\":18", "\"time\":\"18"),
                ("\"time\":1800000000123", "\"time\":9007199254740991"),
                ("\"format\"", "\"besides\":1,\"format\""),
                ("\"kind\":\"", "\"kind\":\"other-"),
            ] {
                let other = text.replacen(old, new, 1);
                assert_ne!(other, text);
                assert_eq!(Entry::read(other.as_bytes()), None, "{other}");
            }
            for end in 0..text.len() {
                assert_eq!(Entry::read(&text.as_bytes()[..end]), None);
            }
        }
    }
}
