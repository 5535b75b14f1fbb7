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

mod footprint;
mod inputs;
mod record;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::api::World;
use super::engine::Evaluated;
use super::loader::{Kind, Loader};
use super::lock::Lock;
use crate::base::{Digest, PackageName, ReleasePath};
use footprint::{Places, Step};
use inputs::{Input, Inputs};

pub use footprint::Footprint;
pub(super) use record::{Record, Recorder};

/// What earlier runs left, and what the next run shall find.
pub struct Cache {
    read: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
    bytes: OnceLock<Vec<u8>>,
    program: Vec<u8>,
    now: i64,
    renewed: Mutex<Option<Vec<u8>>>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("program", &self.program).finish_non_exhaustive()
    }
}

/// Said first, and part of what names a result.
const FORMAT: &[u8] = b"perestroika/eval/1\n";

impl Cache {
    /// A cache of the bytes that an earlier run left, which are read when they are needed. Bytes
    /// that are none of ours, of another version or damaged are an empty cache.
    ///
    /// `program` names the program that evaluates: results of another one do not count. `now`
    /// is the time in nanoseconds since 1970, asked for before anything of the release is read.
    pub fn new(
        read: impl Fn() -> Vec<u8> + Send + Sync + 'static,
        program: &[u8],
        now: i64,
    ) -> Self {
        Self {
            read: Box::new(read),
            bytes: OnceLock::new(),
            program: program.to_owned(),
            now,
            renewed: Mutex::new(None),
        }
    }

    /// The bytes for the next run, where they are others than before.
    pub fn renewed(&self) -> Option<Vec<u8>> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).take()
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
        let by_path = files.iter().enumerate().filter_map(|(index, file)| {
            let own = *file.inputs.first()? as usize;
            Some((inputs.get(own)?.path.clone(), index))
        });
        let by_path = by_path.collect();
        let inputs = Inputs::new(inputs, loader, self.now);
        Opened { cache: self, key, inputs, files, by_path }
    }

    /// When what is read now was asked for, in nanoseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    fn kept(&self) -> Option<Kept<'_>> {
        let bytes = self.bytes.get_or_init(|| (self.read)());
        let rest = bytes.strip_prefix(FORMAT)?;
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
    inputs: Inputs<'a>,
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
        let same = file.inputs.iter().all(|input| self.inputs.same(*input).is_some());
        let result = same.then(|| postcard::from_bytes(file.result).ok())??;
        Some((result, Fate::Same(index)))
    }

    /// The footprint of files, each of which comes with the names of its packages; nothing if one
    /// of them cannot be compared later.
    pub(super) fn footprint(
        &self,
        files: Vec<(Fate, Vec<PackageName>)>,
        record: &Record,
    ) -> Option<Footprint> {
        let mut places = Places::default();
        let files = files.into_iter().map(|(fate, packages)| {
            let inputs = self.inputs_of(&fate, record)?;
            let inputs = inputs.iter().map(|input| places.place(input)).collect();
            Some(Step { inputs, packages })
        });
        let files = files.collect::<Option<_>>()?;
        Some(Footprint { key: self.key, inputs: places.inputs, files })
    }

    /// Keeps what the files came to for the next run, and gives their footprint.
    pub(super) fn close(
        self,
        files: Vec<(Fate, Vec<PackageName>)>,
        record: &Record,
    ) -> Option<Footprint> {
        let as_before = |(fate, _): &(Fate, _)| match fate {
            Fate::Same(index) => {
                self.files[*index].inputs.iter().all(|input| self.inputs.is_as_before(*input))
            }
            Fate::New(..) | Fate::Forgotten => false,
        };
        if files.len() != self.files.len() || !files.iter().all(as_before) {
            self.keep(&files, record);
        }
        self.footprint(files, record)
    }

    fn keep(&self, files: &[(Fate, Vec<PackageName>)], record: &Record) {
        let mut places = Places::default();
        let files = files.iter().filter_map(|(fate, _)| {
            let inputs = self.inputs_of(fate, record)?;
            let result = match fate {
                Fate::Same(index) => self.files[*index].result,
                Fate::New(_, result) => result,
                Fate::Forgotten => return None,
            };
            Some(File { inputs: inputs.iter().map(|input| places.place(input)).collect(), result })
        });
        let files = files.collect();
        let content = encoded(&Kept { key: self.key, inputs: places.inputs, files });
        let bytes = [FORMAT, &checksum(&content), &content].concat();
        *self.cache.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// What a file was read from, as it is now; nothing if that cannot be compared later.
    fn inputs_of(&self, fate: &Fate, record: &Record) -> Option<Vec<Input>> {
        match fate {
            Fate::Same(index) => {
                let inputs = self.files[*index].inputs.iter();
                inputs.map(|input| self.inputs.same(*input).cloned()).collect()
            }
            Fate::New(reads, _) => {
                reads.iter().map(|(kind, path)| record.read(*kind, path)).collect()
            }
            Fate::Forgotten => None,
        }
    }

    /// What evaluation reads through from now on.
    pub(super) fn record(&self) -> Record {
        Record::new(self.cache.now)
    }
}
