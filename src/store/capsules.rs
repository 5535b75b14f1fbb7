//! Capsules: what failed builds left, kept so that somebody can go in and look.
//!
//! ```text
//! capsules/ATTEMPT/capsule.json   what was run in it, and over which layers
//!                  scratch/       the writable places, as the build left them
//!                  inputs/        what the build was given
//!                  before/        the sources as they were when it was first entered
//!                  over/          what was written to the root in experiments
//! ```
//! A capsule is there once it has its name: it is put together elsewhere and renamed. Its lease is
//! a flock on its folder, so one that somebody is in is not taken away. The layers that it names
//! are needed as long as it is there: they are roots of whoever collects garbage.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::Store;
use super::error::{Error, Result, system};
use super::locks::attempt;
use super::objects::open;
use super::remove::{remove_tree, sync_folder};
use crate::base::HostPath;

/// How much room capsules may take, and how long they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapsuleLimits {
    /// Bytes of all of them; 0 keeps none.
    pub bytes: u64,
    /// Age.
    pub age: Duration,
}

impl Default for CapsuleLimits {
    fn default() -> Self {
        Self { bytes: 10 << 30, age: Duration::from_secs(14 * 24 * 3600) }
    }
}

/// How many bytes a document may have.
const LARGEST: u64 = 16 << 20;

/// What a capsule says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Its recipe.
    pub derivation: String,
    /// Everything that went into the run.
    pub action: String,
    /// The layers it lies over, the lowest first: names below `layers` of the store.
    pub layers: Vec<String>,
    /// The command that failed.
    pub argv: Vec<String>,
    /// Its environment beside that of the guest contract.
    pub env: BTreeMap<String, String>,
    /// The guest folder it began in.
    pub cwd: String,
    /// The guest folder of the sources.
    pub sources: String,
    /// Where the guest finds `inputs`.
    pub inputs: String,
    /// When it was kept, in seconds since 1970.
    pub made: i64,
    /// How much room it took when it was kept, in bytes.
    pub bytes: u64,
}

/// What a failed build left.
#[derive(Debug, Clone)]
pub struct Capsule {
    /// The attempt.
    pub attempt: i64,
    /// Its folder.
    pub path: HostPath,
    /// What it says of itself.
    pub contents: Contents,
}

/// The form of a capsule that this program writes and reads.
const FORMAT: &str = "perestroika/capsule/1";

#[derive(Serialize, Deserialize)]
struct Document<C> {
    format: String,
    #[serde(flatten)]
    contents: C,
}

/// Somebody is in a capsule; dropped, they are not any more.
#[derive(Debug)]
#[must_use = "the capsule is free when this is dropped"]
pub struct Entered {
    _lease: File,
}

impl Store {
    /// Keeps the folder `from`, which must lie in a [`super::Scratch`], as the capsule of an
    /// attempt.
    pub fn keep_capsule(&self, attempt: i64, contents: &Contents, from: &HostPath) -> Result<()> {
        let folder = self.capsule_folder()?;
        let path = from.join("capsule.json");
        let document = Document { format: FORMAT.to_owned(), contents };
        File::create(&path)
            .and_then(|file| serde_json::to_writer(file, &document).map_err(Into::into))
            .map_err(system("write", &path))?;
        let target = folder.join(attempt.to_string());
        fs::rename(from, &target).map_err(system("name", &target))?;
        sync_folder(folder.as_path()).map_err(system("sync", &folder))
    }

    /// The capsule of an attempt; none if there is none, or one that another program made.
    pub fn capsule(&self, attempt: i64) -> Result<Option<Capsule>> {
        let path = self.path("capsules").join(attempt.to_string());
        let document = path.join("capsule.json");
        let mut bytes = Vec::new();
        match open(&document) {
            Ok(file) => file
                .take(LARGEST)
                .read_to_end(&mut bytes)
                .map(drop)
                .map_err(system("read", &document))?,
            Err(Error::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let known = serde_json::from_slice::<Document<Contents>>(&bytes).ok();
        let known = known.filter(|document| document.format == FORMAT);
        Ok(known.map(|document| Capsule { attempt, path, contents: document.contents }))
    }

    /// The layers of a capsule, the lowest first; an error if one of them is gone.
    pub fn capsule_layers(&self, capsule: &Capsule) -> Result<Vec<HostPath>> {
        let of = |name: &String| {
            let path = self.path("layers").join(name);
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_name && path.as_path().is_dir() { Ok(path) } else { Err(Error::Missing { path }) }
        };
        capsule.contents.layers.iter().map(of).collect()
    }

    /// All capsules, the oldest first. What cannot be read is left out.
    pub fn capsules(&self) -> Result<Vec<Capsule>> {
        let folder = self.path("capsules");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(system("list", &folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(system("list", &folder))?.file_name();
            let attempt = name.to_str().and_then(|name| name.parse().ok());
            if let Some(Ok(Some(capsule))) = attempt.map(|attempt| self.capsule(attempt)) {
                found.push(capsule);
            }
        }
        found.sort_by_key(|capsule: &Capsule| (capsule.contents.made, capsule.attempt));
        Ok(found)
    }

    /// Goes into a capsule, unless somebody is in it.
    pub fn enter_capsule(&self, capsule: &Capsule) -> Result<Option<Entered>> {
        let lease = File::open(&capsule.path).map_err(system("open", &capsule.path))?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        let free = attempt(&lease, operation, capsule.path.as_path())?;
        Ok(free.then_some(Entered { _lease: lease }))
    }

    /// Removes capsules that are too old, and then the oldest ones until `more` bytes fit beside
    /// the others; gives those removed. One that somebody is in stays.
    pub fn limit_capsules(
        &self,
        limits: &CapsuleLimits,
        more: u64,
        now: Timestamp,
    ) -> Result<Vec<Capsule>> {
        let all = self.capsules()?;
        let mut room =
            all.iter().map(|capsule| capsule.contents.bytes).fold(more, u64::saturating_add);
        let mut removed = Vec::new();
        for capsule in all {
            // A clock that went back makes none of them old.
            let seconds = now.as_second().saturating_sub(capsule.contents.made);
            let is_old = u64::try_from(seconds).is_ok_and(|age| age > limits.age.as_secs());
            if !is_old && room <= limits.bytes {
                continue;
            }
            if let Some(_entered) = self.enter_capsule(&capsule)? {
                self.remove_capsule(&capsule)?;
                room = room.saturating_sub(capsule.contents.bytes);
                removed.push(capsule);
            }
        }
        Ok(removed)
    }

    /// Out of its name first: half of a capsule is none.
    fn remove_capsule(&self, capsule: &Capsule) -> Result<()> {
        let scratch = self.scratch()?;
        let dead = scratch.path().join("capsule");
        fs::rename(&capsule.path, &dead).map_err(system("remove", &capsule.path))?;
        remove_tree(dead.as_path()).map_err(system("remove", &dead))
    }

    /// Where capsules are; a store of an earlier program has no such folder.
    fn capsule_folder(&self) -> Result<HostPath> {
        let folder = self.path("capsules");
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(system("create", &folder)(error))
            }
            _ => Ok(folder),
        }
    }
}
