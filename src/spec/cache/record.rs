//! What evaluation reads, noted while it does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::inputs::{Input, content_of};
use super::{Fate, encoded};
use crate::base::{Digest, ReleaseFolder, ReleasePath};
use crate::spec::engine::Evaluated;
use crate::spec::loader::{Dir, Error, Kind, Loader, State};

/// Everything that evaluation read; nothing for what was different when it was read again.
pub(in crate::spec) struct Record {
    now: i64,
    inputs: Mutex<BTreeMap<(Kind, ReleasePath), Option<Input>>>,
}

impl Record {
    /// A record of what is read from `now` on, in nanoseconds since 1970.
    pub(in crate::spec) fn new(now: i64) -> Self {
        Self { now, inputs: Mutex::default() }
    }

    /// What was read; nothing for what was not, or was different each time.
    pub(super) fn read(&self, kind: Kind, path: &ReleasePath) -> Option<Input> {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.get(&(kind, path.clone())).cloned().flatten()
    }

    fn note(&self, path: &ReleasePath, kind: Kind, state: Option<State>, content: Digest) {
        let input = Input { path: path.clone(), kind, content, state, seen: self.now };
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inputs.entry((kind, path.clone())).or_insert_with(|| Some(input));
        if known.as_ref().is_some_and(|known| known.content != content) {
            *known = None;
        }
    }
}

/// A loader that remembers what one thread reads for a file.
pub(in crate::spec) struct Recorder {
    loader: Arc<dyn Loader>,
    record: Arc<Record>,
    /// Nothing once something was read that cannot be compared.
    reads: Mutex<Option<Vec<(Kind, ReleasePath)>>>,
}

impl Recorder {
    pub(in crate::spec) fn new(loader: Arc<dyn Loader>, record: Arc<Record>) -> Self {
        Self { loader, record, reads: Mutex::new(Some(Vec::new())) }
    }

    /// What came of a file that was evaluated last.
    pub(in crate::spec) fn fate(&self, path: &ReleasePath, result: &Evaluated) -> Fate {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut reads) = reads.replace(Vec::new()) else { return Fate::Forgotten };
        if !result.errors.is_empty() {
            return Fate::Forgotten;
        }
        reads.extend(result.folders.iter().map(|path| (Kind::Folder, path.clone())));
        reads.sort();
        reads.dedup();
        // Itself first.
        reads.sort_by_key(|(kind, read)| (*kind != Kind::File || read != path) as u8);
        Fate::New(reads, encoded(result))
    }

    fn push(&self, read: Option<(Kind, &ReleasePath)>) {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        match (read, &mut *reads) {
            (Some((kind, path)), Some(reads)) => reads.push((kind, path.clone())),
            _ => *reads = None,
        }
    }
}

impl Loader for Recorder {
    fn specs(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        self.push(None);
        self.loader.specs(folder)
    }

    fn modules(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        self.push(None);
        self.loader.modules(folder)
    }

    fn read(&self, path: &ReleasePath, limit: u64) -> Result<Vec<u8>, Error> {
        let state = self.loader.state(path, Kind::File);
        let bytes = self.loader.read(path, limit).inspect_err(|_| self.push(None))?;
        self.record.note(path, Kind::File, state, Digest::of(&bytes));
        self.push(Some((Kind::File, path)));
        Ok(bytes)
    }

    fn state(&self, path: &ReleasePath, kind: Kind) -> Option<State> {
        self.push(None);
        self.loader.state(path, kind)
    }

    fn dir(&self, path: &ReleasePath) -> Result<Dir, Error> {
        let state = self.loader.state(path, Kind::Folder);
        let dir = self.loader.dir(path).inspect_err(|_| self.push(None))?;
        self.record.note(path, Kind::Folder, state, content_of(&dir));
        self.push(Some((Kind::Folder, path)));
        Ok(dir)
    }

    fn near(&self, path: &ReleasePath) -> Option<String> {
        self.push(None);
        self.loader.near(path)
    }
}
