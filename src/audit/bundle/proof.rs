//! What proves that the journal of a store tells of records and manifests.
//!
//! `perestroika/journal-proof/1` has `entries`, each with its `index`, the `entry` and the `path`
//! up to the head (RFC 9162, 2.1.3), and `head`, the envelope of the signed head of the journal
//! as it was when it came to tell of the last of them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::error::{Error, Result};
use crate::audit::history::{HEAD_TYPE, head_document};
use crate::base::merkle::{Head, leaf};
use crate::base::{Digest, Json, PublicKey, Sha256, dsse};
use crate::store::{BuilderKey, Entry, Event, Journal};

const FORMAT: &str = "perestroika/journal-proof/1";

/// What is proved to be in a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proved {
    /// Names of records and manifests.
    pub documents: BTreeSet<Digest>,
    /// The head of the journal; none of one that tells of none of them.
    pub head: Option<Head>,
}

/// The proofs that a journal tells of these documents, as far as it does.
pub(super) fn make(journal: &Journal, documents: &BTreeSet<Digest>, key: &BuilderKey) -> Json {
    let entries = journal.entries.iter().enumerate();
    let told: Vec<(u64, &Vec<u8>, Entry)> = entries
        .filter_map(|(index, bytes)| Some((index as u64, bytes, Entry::read(bytes)?)))
        .filter(|(_, _, entry)| document(entry).is_some_and(|name| documents.contains(&name)))
        .collect();
    let mut members = vec![("format", FORMAT.into())];
    let mut proofs = Vec::new();
    if let Some((last, _, entry)) = told.last() {
        let (size, time, tree) = (last + 1, entry.time, journal.tree());
        let head = tree.head(size).unwrap_or_else(Head::empty);
        members.push(("head", key.sign(HEAD_TYPE, &head_document(&head, time))));
        for (index, bytes, _) in &told {
            let path = tree.inclusion(*index, size).unwrap_or_default();
            proofs.push(Json::object([
                ("index", Json::Integer(i64::try_from(*index).unwrap_or(i64::MAX))),
                ("entry", Json::read_canonical(bytes).expect("an entry is canonical")),
                ("path", Json::Array(path.iter().map(Json::text).collect())),
            ]));
        }
    }
    members.push(("entries", Json::Array(proofs)));
    Json::object(members)
}

/// What a document of proofs proves, by the head that this key signed.
///
/// # Errors
/// Anything in it that does not hold.
pub(super) fn check(proof: &Json, key: &PublicKey) -> Result<Proved> {
    let wrong = |why: &str| Error::Contradiction(format!("the journal's proofs: {why}"));
    let Json::Object(members) = proof else { return Err(wrong("no document")) };
    let (Some(Json::String(format)), Some(Json::Array(entries))) =
        (members.get("format"), members.get("entries"))
    else {
        return Err(wrong("they are not of the format"));
    };
    if format != FORMAT || members.len() != 2 + usize::from(members.contains_key("head")) {
        return Err(wrong("they are not of the format"));
    }
    let Some(envelope) = members.get("head") else {
        return match entries.is_empty() {
            true => Ok(Proved::default()),
            false => Err(wrong("there is no head")),
        };
    };
    let signed = dsse::open(envelope, HEAD_TYPE, key);
    let signed = signed.ok_or_else(|| wrong("the head is not signed by the key of the bundle"))?;
    let head = read_head(&signed).ok_or_else(|| wrong("what is signed is no head"))?;
    let mut documents = BTreeSet::new();
    for proof in entries {
        let (index, entry, path) = read(proof).ok_or_else(|| wrong("one is none"))?;
        let bytes = entry.encode();
        if !head.includes(index, &leaf(&bytes), &path) {
            return Err(wrong(&format!("entry {index} is not in the journal of that head")));
        }
        let told = Entry::read(&bytes).as_ref().and_then(document);
        documents.insert(told.ok_or_else(|| wrong(&format!("entry {index} tells of nothing")))?);
    }
    Ok(Proved { documents, head: Some(head) })
}

/// The record or manifest that an entry tells of.
fn document(entry: &Entry) -> Option<Digest> {
    match entry.event {
        Event::Record { record, .. } => Some(record),
        Event::Manifest { manifest, .. } => Some(manifest),
        Event::Generation { .. } | Event::Pin { .. } => None,
    }
}

fn read_head(signed: &[u8]) -> Option<Head> {
    let Json::Object(members) = Json::read_canonical(signed).ok()? else { return None };
    let number = |key: &str| match members.get(key) {
        Some(Json::Integer(number)) => Some(*number),
        _ => None,
    };
    let Some(Json::String(hash)) = members.get("hash") else { return None };
    let head = Head { size: u64::try_from(number("size")?).ok()?, hash: hash.parse().ok()? };
    let time = Timestamp::from_millisecond(number("time")?).ok()?;
    (head_document(&head, time).encode() == signed).then_some(head)
}

fn read(proof: &Json) -> Option<(u64, &Json, Vec<Sha256>)> {
    let Json::Object(members) = proof else { return None };
    let (Some(Json::Integer(index)), Some(entry), Some(Json::Array(path)), 3) =
        (members.get("index"), members.get("entry"), members.get("path"), members.len())
    else {
        return None;
    };
    let hash = |hash: &Json| match hash {
        Json::String(text) => text.parse().ok(),
        _ => None,
    };
    let path = path.iter().map(hash).collect::<Option<_>>()?;
    Some((u64::try_from(*index).ok()?, entry, path))
}
