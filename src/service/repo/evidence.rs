//! How something was built, from the store: only builds that a kept generation speaks of.

use std::io::{Seek as _, SeekFrom};

use super::Depot;
use super::view::View;
use crate::audit::provenance::statement;
use crate::base::{ActionId, Digest, Json};
use crate::realise::action::{self, Listed};
use crate::realise::record::Record;
use crate::service::answer::{Answer, Body, Status};
use crate::service::media::{JSON, TEXT};
use crate::store::Store;

/// What is known of a build.
pub(super) struct Evidence {
    /// What was done.
    pub action: ActionId,
    /// What came of it.
    pub record: Record,
    /// The name of the record.
    pub digest: Digest,
    /// What went in.
    pub document: Json,
    /// The packages of its build root, layer by layer.
    pub root: Vec<Vec<Listed>>,
    /// How many builds of the same are recorded.
    pub builds: usize,
    /// Whether they came to different results.
    pub divergent: bool,
}

impl Evidence {
    /// What the store knows of an action; none if it has no record of it, or not whole.
    pub(super) fn of(store: &Store, action: ActionId) -> Option<Self> {
        let adopted = store.record(&action).ok()??;
        let record = Record::from_json(&adopted.record.encode()).ok()?;
        let document = store.read_json(&action.digest()).ok()?;
        let root = action::root(document.clone())?;
        let builds = store.records(&action).ok()?.len();
        let (digest, divergent) = (adopted.digest, adopted.divergent);
        Some(Self { action, record, digest, document, root, builds, divergent })
    }

    /// Its statement, if it was built with this store.
    pub(super) fn statement(&self, store: &Store) -> Option<Json> {
        if !store.made_records().ok()?.contains(&self.digest) {
            return None;
        }
        let builder = store.builder_key().ok()??.id();
        statement::of_record(&self.record, &self.digest, &self.document, &builder)
    }
}

/// The build of this id, if a kept generation speaks of it and the store knows it.
pub(super) fn find(depot: &Depot, view: &View, action: &str) -> Option<Evidence> {
    let action = action.parse::<ActionId>().ok().filter(|action| view.actions.contains(action))?;
    Evidence::of(depot.store.as_ref()?, action)
}

/// A document about a build, or its log.
pub(super) fn document(depot: &Depot, view: &View, action: &str, name: &str) -> Option<Answer> {
    let store = depot.store.as_ref()?;
    let evidence = find(depot, view, action)?;
    let named = |digest: Digest| {
        let bytes = store.json(&digest).ok()??;
        Some(Answer::found(JSON, digest, Body::Bytes(bytes)))
    };
    match name {
        "log" => log(store, &evidence.record.log),
        "record.json" => named(evidence.digest),
        "action.json" => named(evidence.action.digest()),
        "derivation.json" => named(evidence.record.derivation.digest()),
        "provenance.json" => {
            let bytes = evidence.statement(store)?.encode();
            Some(Answer::found(JSON, Digest::of(&bytes), Body::Bytes(bytes)))
        }
        _ => None,
    }
}

/// A whole log, which may be large: it is unpacked into a file without a name, and sent from there
/// if it is sound.
fn log(store: &Store, digest: &Digest) -> Option<Answer> {
    let mut file = tempfile::tempfile().ok()?;
    let size = store.copy_log(digest, &mut file).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    Some(Answer::found(TEXT, digest, Body::File { file, size }))
}

/// The end of a log, at most so many bytes and from the beginning of a line, and whether that is
/// not all of it; none if it is not kept, or damaged.
pub(super) fn end_of_log(store: &Store, digest: &Digest, most: usize) -> Option<(String, bool)> {
    let mut end = End { bytes: Vec::new(), most, cut: false };
    store.copy_log(digest, &mut end).ok()?;
    let End { bytes, cut, .. } = end;
    let bytes = &bytes[bytes.len().saturating_sub(most)..];
    let begin = match cut {
        true => bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1),
        false => 0,
    };
    Some((String::from_utf8_lossy(&bytes[begin..]).into_owned(), cut))
}

/// Keeps the end of what is written.
struct End {
    bytes: Vec<u8>,
    most: usize,
    cut: bool,
}

impl std::io::Write for End {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.cut |= self.bytes.len() > self.most;
        if self.bytes.len() > self.most.saturating_mul(2) {
            self.bytes.drain(..self.bytes.len() - self.most);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The answer where a build is not known here.
pub(super) fn unknown(action: &str) -> Answer {
    let text = format!(
        "of build {action} nothing is known here: no generation that is kept speaks of it, or the \
         store of this machine has no record of it\n"
    );
    Answer::text(Status::Missing, text)
}
