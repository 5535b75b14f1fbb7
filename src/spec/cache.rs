//! Results of evaluation, kept from one run to the next.
//!
//! What a spec file came to is used again if all that it came from is as it was: the program, the
//! stdlib, release.toml and what the lock says of remote sources for all files together; its own
//! text, the modules it imports and the folders and files it takes as sources for each. A file
//! with mistakes is evaluated anew each time.
//!
//! Whether a file is as it was is told by what the file system keeps of it (device, inode, size,
//! times), as git does with its index, and like there not by that alone where a time is so young
//! that the file could have been written again without the times showing it: then its content is
//! compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::api::World;
use super::engine::Evaluated;
use super::loader::{Dir, Error, Kind, Loader, State};
use super::lock::Lock;
use crate::base::{Digest, ReleaseFolder, ReleasePath};

/// What earlier runs left, and what the next run shall find.
#[derive(Debug)]
pub struct Cache {
    bytes: Vec<u8>,
    program: Vec<u8>,
    now: i64,
    renewed: Mutex<Option<Vec<u8>>>,
}

/// Said first, and part of what names a result.
const FORMAT: &[u8] = b"perestroika/eval/1\n";

/// How old times must be to tell versions of a file apart, in nanoseconds: file systems count in
/// steps of up to two seconds.
const YOUNG: i64 = 3_000_000_000;

/// The largest file that a spec may take as a source.
const MAX_SOURCE: u64 = 64 << 20;

impl Cache {
    /// A cache of the bytes that an earlier run left. Bytes that are none of ours, of another
    /// version or damaged are an empty cache.
    ///
    /// `program` names the program that evaluates: results of another one do not count. `now`
    /// is the time in nanoseconds since 1970, asked for before anything of the release is read.
    pub fn new(bytes: Vec<u8>, program: &[u8], now: i64) -> Self {
        Self { bytes, program: program.to_owned(), now, renewed: Mutex::new(None) }
    }

    /// The bytes for the next run, where they are others than before.
    pub fn renewed(self) -> Option<Vec<u8>> {
        self.renewed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of what is the same for all files of a release.
    pub(super) fn key(&self, world: &World, modules: &[(String, ReleasePath, String)]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        add(FORMAT);
        add(&self.program);
        add(format!("{:?} {:?}", world.release, world.architectures).as_bytes());
        for (name, file, text) in modules {
            [name, file.as_str(), text].iter().for_each(|part| add(part.as_bytes()));
        }
        let Lock { git, downloads, .. } = &*world.pins;
        for ((url, rev), pin) in git {
            [url, rev].iter().for_each(|part| add(part.as_bytes()));
            add(&encoded(&**pin));
        }
        add(b"downloads");
        for (url, pin) in downloads {
            add(url.as_bytes());
            add(&encoded(&**pin));
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// What is kept under `key`.
    pub(super) fn open<'a>(&'a self, key: Digest, loader: &'a dyn Loader) -> Opened<'a> {
        let kept = self.kept().filter(|kept| kept.key == key);
        let Kept { inputs, files, .. } =
            kept.unwrap_or_else(|| Kept { key, inputs: Vec::new(), files: Vec::new() });
        let same = inputs.iter().map(|_| OnceLock::new()).collect();
        let by_path = files.iter().enumerate().filter_map(|(index, file)| {
            let own = *file.inputs.first()? as usize;
            Some((inputs.get(own)?.path.clone(), index))
        });
        let by_path = by_path.collect();
        Opened { cache: self, key, loader, inputs, same, files, by_path }
    }

    /// What names all that the spec files `files` come to under `key`, if it is kept of each of
    /// them and nothing that they came from has changed.
    pub(super) fn seal(
        &self,
        key: Digest,
        loader: &dyn Loader,
        files: &[ReleasePath],
    ) -> Option<Digest> {
        let opened = self.open(key, loader);
        let known = opened.files.len() == files.len()
            && files.iter().all(|file| opened.by_path.contains_key(file));
        if !known || !(0..opened.inputs.len()).into_par_iter().all(|index| opened.is_same(index)) {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes());
        for Input { path, kind, content, state: _, seen: _ } in &opened.inputs {
            hasher.update(&(path.as_str().len() as u64).to_le_bytes());
            hasher.update(path.as_str().as_bytes());
            hasher.update(&[(*kind == Kind::Folder) as u8]);
            hasher.update(content.as_bytes());
        }
        Some(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    fn kept(&self) -> Option<Kept<'_>> {
        let rest = self.bytes.strip_prefix(FORMAT)?;
        let (expected, content) = rest.split_first_chunk::<32>()?;
        (checksum(content) == *expected).then(|| postcard::from_bytes(content).ok())?
    }
}

/// BLAKE3 on all processors: this is the largest part of reading a cache.
fn checksum(content: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update_rayon(content).finalize().as_bytes()
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a value in memory has a length")
}

/// The content of a cache.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    key: Digest,
    /// Everything that was read.
    inputs: Vec<Input>,
    #[serde(borrow)]
    files: Vec<File<'a>>,
}

/// Something that was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Input {
    path: ReleasePath,
    kind: Kind,
    content: Digest,
    /// What the file system kept of it before it was read.
    state: Option<State>,
    /// When that was.
    seen: i64,
}

impl Input {
    /// Whether a change since would show in the state.
    fn shows_changes(&self) -> bool {
        self.state.is_some_and(|state| state.newest.saturating_add(YOUNG) < self.seen)
    }
}

/// A spec file.
#[derive(Serialize, Deserialize)]
struct File<'a> {
    /// What its evaluation read, by place among the inputs; itself first.
    inputs: Vec<u32>,
    /// What it came to.
    result: &'a [u8],
}

/// A cache in use.
pub(super) struct Opened<'a> {
    cache: &'a Cache,
    key: Digest,
    loader: &'a dyn Loader,
    inputs: Vec<Input>,
    /// Those of the inputs that were looked at: as they are now, or nothing if they have changed.
    same: Vec<OnceLock<Option<Input>>>,
    files: Vec<File<'a>>,
    by_path: HashMap<ReleasePath, usize>,
}

/// What is known of a file after a run.
#[derive(Default)]
pub(super) enum Fate {
    /// It is as it was.
    Same(usize),
    /// It was evaluated: what it read, itself first, and what it came to.
    New(Vec<(Kind, ReleasePath)>, Vec<u8>),
    /// It has mistakes, or read what cannot be compared.
    #[default]
    Forgotten,
}

impl Opened<'_> {
    /// What the file came to, if that still holds.
    pub(super) fn get(&self, path: &ReleasePath) -> Option<(Evaluated, Fate)> {
        let index = *self.by_path.get(path)?;
        let file = &self.files[index];
        let same = file.inputs.iter().all(|input| self.is_same(*input as usize));
        let result = same.then(|| postcard::from_bytes(file.result).ok())??;
        Some((result, Fate::Same(index)))
    }

    fn is_same(&self, index: usize) -> bool {
        let (Some(input), Some(same)) = (self.inputs.get(index), self.same.get(index)) else {
            return false;
        };
        same.get_or_init(|| self.renewed(input)).is_some()
    }

    /// The input as it is now, if its content is the same.
    fn renewed(&self, input: &Input) -> Option<Input> {
        let state = self.loader.state(&input.path, input.kind);
        if state.is_some() && state == input.state && input.shows_changes() {
            return Some(input.clone());
        }
        let content = match input.kind {
            Kind::File => Digest::of(&self.loader.read(&input.path, MAX_SOURCE).ok()?),
            Kind::Folder => content_of(&self.loader.dir(&input.path).ok()?),
        };
        if content != input.content {
            return None;
        }
        let now = Input { state, seen: self.cache.now, ..input.clone() };
        // What tells no more than before is not worth keeping anew.
        Some(if now.shows_changes() { now } else { input.clone() })
    }

    /// Keeps what the files came to for the next run.
    pub(super) fn close(self, fates: Vec<Fate>, record: &Record) {
        let as_before = |fate: &Fate| match fate {
            Fate::Same(index) => self.files[*index].inputs.iter().all(|input| {
                let input = *input as usize;
                let now = self.same[input].get().and_then(Option::as_ref);
                now.is_some_and(|now| now.seen == self.inputs[input].seen)
            }),
            Fate::New(..) | Fate::Forgotten => false,
        };
        if fates.len() == self.files.len() && fates.iter().all(as_before) {
            return;
        }
        let recorded = record.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Kept { key: self.key, inputs: Vec::new(), files: Vec::new() };
        let mut places: HashMap<(Kind, ReleasePath), u32> = HashMap::new();
        let mut place = |input: &Input, inputs: &mut Vec<Input>| {
            *places.entry((input.kind, input.path.clone())).or_insert_with(|| {
                inputs.push(input.clone());
                inputs.len() as u32 - 1
            })
        };
        for fate in &fates {
            let (found, result): (Option<Vec<&Input>>, &[u8]) = match fate {
                Fate::Same(index) => {
                    let File { inputs, result } = &self.files[*index];
                    let now = |input: &u32| self.same[*input as usize].get()?.as_ref();
                    (inputs.iter().map(now).collect(), result)
                }
                Fate::New(reads, result) => {
                    let now = |read: &(Kind, ReleasePath)| {
                        recorded.get(read).and_then(|input| input.as_ref())
                    };
                    (reads.iter().map(now).collect(), result)
                }
                Fate::Forgotten => continue,
            };
            let Some(found) = found else { continue };
            let inputs = found.into_iter().map(|input| place(input, &mut kept.inputs)).collect();
            kept.files.push(File { inputs, result });
        }
        let content = encoded(&kept);
        let bytes = [FORMAT, &checksum(&content), &content].concat();
        *self.cache.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// What evaluation reads through from now on.
    pub(super) fn record(&self) -> Record {
        Record { now: self.cache.now, inputs: Mutex::default() }
    }
}

/// Everything that evaluation read; nothing for what was different when it was read again.
pub(super) struct Record {
    now: i64,
    inputs: Mutex<BTreeMap<(Kind, ReleasePath), Option<Input>>>,
}

impl Record {
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
pub(super) struct Recorder {
    loader: Arc<dyn Loader>,
    record: Arc<Record>,
    /// Nothing once something was read that cannot be compared.
    reads: Mutex<Option<Vec<(Kind, ReleasePath)>>>,
}

impl Recorder {
    pub(super) fn new(loader: Arc<dyn Loader>, record: Arc<Record>) -> Self {
        Self { loader, record, reads: Mutex::new(Some(Vec::new())) }
    }

    /// What came of a file that was evaluated last.
    pub(super) fn fate(&self, path: &ReleasePath, result: &Evaluated) -> Fate {
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
}

/// The name of all that [`Loader::dir`] gives.
fn content_of(dir: &Dir) -> Digest {
    let Dir { tree, packaging } = dir;
    let mut hasher = blake3::Hasher::new();
    hasher.update(tree.digest().as_bytes());
    hasher.update(&encoded(packaging));
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
