//! What the journal of a store shows, and whether it is as it has to be.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::base::merkle::Head;
use crate::base::{Digest, Json, Sha256};
use crate::store::{Entry, Event, Journal};

/// What was found out about a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Its entries, the oldest first; nothing for bytes that are none.
    pub entries: Vec<Option<Entry>>,
    /// The head of the tree of these entries, whatever head was written.
    pub head: Head,
    /// What proves that it continues the head it was held against, if it does.
    pub proof: Option<Vec<Sha256>>,
    /// How many of the records that count it tells of.
    pub told: usize,
    /// How many of them are older than the journal.
    pub older: usize,
    /// What does not hold.
    pub wrong: Vec<Wrong>,
}

/// Something that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The entries are not those that the head was written for.
    #[error(
        "the entries are not those of the journal's head\n  expected {written}\n  actual   {actual}"
    )]
    Head {
        /// The head that was written with the last entry.
        written: Head,
        /// The head of the entries that are there.
        actual: Head,
    },
    /// An entry is missing.
    #[error("entry {0} is missing")]
    Missing(u64),
    /// An entry is none.
    #[error("entry {0} is not what this program writes")]
    Unreadable(u64),
    /// It is not what it was with more added to it.
    #[error("the journal does not continue the one whose head was {0}")]
    Since(Head),
    /// It leaves a record out.
    #[error("record {0} counts, and the journal does not tell of it")]
    Untold(Digest),
}

/// The type of a signed head.
pub const HEAD_TYPE: &str = "application/vnd.perestroika.journal-head+json";

/// What is signed of a journal: its head, and when it was that.
pub fn head_document(head: &Head, time: Timestamp) -> Json {
    let size = i64::try_from(head.size).expect("as many as were read");
    Json::object([
        ("format", "perestroika/journal-head/1".into()),
        ("hash", Json::text(head.hash)),
        ("size", Json::Integer(size)),
        ("time", Json::Integer(time.as_millisecond())),
    ])
}

/// Judges a journal, held against a head that it had before.
pub fn judge(journal: &Journal, since: Option<Head>) -> History {
    let entries: Vec<Option<Entry>> =
        journal.entries.iter().map(|bytes| Entry::read(bytes)).collect();
    let tree = journal.tree();
    let head = tree.head(tree.size()).unwrap_or_else(Head::empty);
    let mut wrong = Vec::new();
    if head != journal.head {
        wrong.push(Wrong::Head { written: journal.head, actual: head });
    }
    wrong.extend(journal.gap.map(Wrong::Missing));
    let unread = (0..).zip(&entries).filter(|(_, entry)| entry.is_none());
    wrong.extend(unread.map(|(index, _)| Wrong::Unreadable(index)));
    let proof = since.and_then(|since| {
        let proof = tree.consistency(since.size, tree.size())?;
        head.continues(&since, &proof).then_some(proof)
    });
    if let (Some(since), None) = (since, &proof) {
        wrong.push(Wrong::Since(since));
    }
    let records: BTreeSet<Digest> = entries
        .iter()
        .flatten()
        .filter_map(|entry| match entry.event {
            Event::Record { record, .. } => Some(record),
            _ => None,
        })
        .collect();
    let (told, untold): (Vec<Digest>, Vec<Digest>) =
        journal.adopted.iter().partition(|record| records.contains(*record));
    let (older, untold): (Vec<Digest>, Vec<Digest>) =
        untold.into_iter().partition(|record| journal.older.contains(record));
    wrong.extend(untold.into_iter().map(Wrong::Untold));
    let (told, older) = (told.len(), older.len());
    History { entries, head, proof, told, older, wrong }
}
