//! Files and folders that were read, and whether they are as they were.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::encoded;
use crate::base::{Digest, ReleasePath};
use crate::spec::loader::{Dir, Kind, Loader, State};

/// How old times must be to tell versions of a file apart, in nanoseconds: file systems count in
/// steps of up to two seconds.
const YOUNG: i64 = 3_000_000_000;

/// The largest file that a spec may take as a source.
const MAX_SOURCE: u64 = 64 << 20;

/// Something that was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Input {
    pub path: ReleasePath,
    pub kind: Kind,
    pub content: Digest,
    /// What the file system kept of it before it was read.
    pub state: Option<State>,
    /// When that was.
    pub seen: i64,
}

impl Input {
    /// Whether a change since would show in the state.
    fn shows_changes(&self) -> bool {
        self.state.is_some_and(|state| state.newest.saturating_add(YOUNG) < self.seen)
    }
}

/// Inputs that are looked at, each at most once.
pub(super) struct Inputs<'a> {
    loader: &'a dyn Loader,
    /// When that is, in nanoseconds since 1970.
    now: i64,
    inputs: Vec<Input>,
    /// As they are now, or nothing if they have changed.
    looked: Vec<OnceLock<Option<Input>>>,
}

impl<'a> Inputs<'a> {
    pub fn new(inputs: Vec<Input>, loader: &'a dyn Loader, now: i64) -> Self {
        let looked = inputs.iter().map(|_| OnceLock::new()).collect();
        Self { loader, now, inputs, looked }
    }

    /// An input as it was.
    pub fn get(&self, index: u32) -> Option<&Input> {
        self.inputs.get(index as usize)
    }

    /// An input as it is now, if its content is the same.
    pub fn same(&self, index: u32) -> Option<&Input> {
        let (input, looked) = (self.get(index)?, self.looked.get(index as usize)?);
        looked.get_or_init(|| self.renewed(input)).as_ref()
    }

    /// Whether the input is as it was, and nothing new is known of that.
    pub fn is_as_before(&self, index: u32) -> bool {
        let then = self.get(index).map(|input| input.seen);
        then.is_some() && self.same(index).map(|now| now.seen) == then
    }

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
        let now = Input { state, seen: self.now, ..input.clone() };
        // What tells no more than before is not worth keeping anew.
        Some(if now.shows_changes() { now } else { input.clone() })
    }
}

/// The name of all that [`Loader::dir`] gives.
pub(super) fn content_of(dir: &Dir) -> Digest {
    let Dir { tree, packaging } = dir;
    let mut hasher = blake3::Hasher::new();
    hasher.update(tree.digest().as_bytes());
    hasher.update(&encoded(packaging));
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
