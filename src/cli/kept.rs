//! What evaluation keeps from one run to the next: two files for each release folder, below the
//! user's cache folder. They may be lost or damaged at any time; where they cannot be, nothing is
//! kept.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};

use super::arguments::Global;
use super::context::store_folder;
use super::failure::Failure;
use crate::base::{Digest, HostPath};
use crate::graph::{Graph, Outline};
use crate::spec::loader::Folder;
use crate::spec::lock::Lock;
use crate::spec::{self, Cache, Footprint, Spec};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 4 << 30;

/// The cache of a release folder, and where it lies.
pub struct Kept {
    path: PathBuf,
    cache: Cache,
}

impl Kept {
    /// Reads what is kept of `folder`; nothing where there is no place to keep anything.
    pub fn open(folder: &HostPath) -> Option<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let now = i64::try_from(now.as_nanos()).ok()?;
        let program = program()?;
        let caches = etcetera::choose_base_strategy().ok()?.cache_dir().join("perestroika/eval");
        fs::create_dir_all(&caches).ok()?;
        let folder = fs::canonicalize(folder.as_path()).ok()?;
        let path = caches.join(Digest::of(folder.as_os_str().as_encoded_bytes()).to_string());
        let results = path.clone();
        let cache = Cache::new(move || read(&results).unwrap_or_default(), &program, now);
        Some(Self { path, cache })
    }

    /// What evaluation uses.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Puts what this run leaves in place of what the one before left.
    pub fn write(&self) {
        if let Some(bytes) = self.cache.renewed() {
            replace(&self.path, &bytes);
        }
    }
}

/// The outline that is kept of a release's graph: its list of packages without evaluating it.
pub struct KeptOutline {
    folder: HostPath,
    results: Option<Kept>,
    /// What names all that the outline depends on beside the specs: what is pinned, and the store
    /// whose indexes names are looked up in.
    ground: Digest,
    checked: bool,
}

/// An outline, and what it was made from.
#[derive(Serialize, Deserialize)]
struct Outlined {
    footprint: Footprint,
    outline: Outline,
    /// Whether release.toml demands a closure: what it says is part of the footprint.
    to_be_closed: bool,
}

impl KeptOutline {
    /// What is kept of the release in `folder`.
    pub fn open(folder: &HostPath, global: &Global) -> Result<Self, Failure> {
        let store = store_folder(global)?;
        let checked = store.join("version").as_path().exists();
        let lock = folder.join("release.lock");
        let is_file = fs::metadata(&lock).is_ok_and(|lock| lock.is_file());
        let lock = is_file.then(|| fs::read(&lock).ok()).flatten().unwrap_or_default();
        let store = store.as_path().as_os_str().as_encoded_bytes();
        let parts = [Digest::of(&lock), Digest::of(store)].map(|part| *part.as_bytes()).concat();
        let ground = Digest::of(&[&parts[..], &[checked as u8]].concat());
        Ok(Self { folder: folder.clone(), results: Kept::open(folder), ground, checked })
    }

    /// The results of evaluation that are kept beside it.
    pub fn results(&self) -> Option<&Kept> {
        self.results.as_ref()
    }

    /// Whether the names that packages ask for are looked up: not without a store.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// Whether the release has to be closed, so that each of its packages is looked at when it is
    /// built; nothing where there is no outline.
    pub fn is_to_be_closed(&self) -> Option<bool> {
        self.read().map(|outlined| outlined.to_be_closed)
    }

    /// The outline, brought up to date; nothing where there is none, or what changed is more than
    /// it can take in.
    pub fn renewed(&self, lock: Option<&Lock>) -> Option<Outline> {
        let before = self.read()?;
        let loader = Arc::new(Folder::new(self.folder.clone()));
        let cache = self.results.as_ref()?.cache();
        let mut since = spec::since(loader, lock, cache, &before.footprint)?;
        let outline = before.outline.renewed(&mut since, &lock.cloned().unwrap_or_default())?;
        // Names that nobody asked for before are looked up with the whole graph at hand.
        if outline != before.outline && outline.asks_anew(&before.outline) {
            return None;
        }
        if !since.as_before {
            let (footprint, to_be_closed) = (since.footprint, before.to_be_closed);
            self.write(&Outlined { footprint, outline: outline.clone(), to_be_closed });
        }
        Some(outline)
    }

    /// Keeps the outline of a graph whose names were looked up, where they are.
    pub fn keep(&self, spec: &Spec, graph: &Graph) {
        if let Some(footprint) = spec.footprint.clone() {
            let to_be_closed = spec.release.closure.is_some();
            self.write(&Outlined { footprint, outline: Outline::of(graph), to_be_closed });
        }
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.results.as_ref()?.path.with_extension("outline"))
    }

    fn read(&self) -> Option<Outlined> {
        let bytes = read(&self.path()?)?;
        let (head, content) = bytes.split_at_checked(64)?;
        let expected = [*self.ground.as_bytes(), checksum(content)].concat();
        (head == expected).then(|| postcard::from_bytes(content).ok())?
    }

    fn write(&self, outlined: &Outlined) {
        let (Some(path), Ok(content)) = (self.path(), postcard::to_allocvec(outlined)) else {
            return;
        };
        let head = [*self.ground.as_bytes(), checksum(&content)].concat();
        replace(&path, &[&head[..], &content].concat());
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let small = fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() < LARGEST);
    small.then(|| fs::read(path).ok())?
}

fn checksum(content: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update_rayon(content).finalize().as_bytes()
}

fn replace(path: &Path, bytes: &[u8]) {
    let written = path.parent().and_then(|parent| {
        let mut file = tempfile::NamedTempFile::new_in(parent).ok()?;
        file.write_all(bytes).ok()?;
        file.persist(path).ok()
    });
    // What cannot be kept is evaluated again.
    drop(written);
}

/// What tells this program from every other build of it.
fn program() -> Option<Vec<u8>> {
    let file = fs::metadata(std::env::current_exe().ok()?).ok()?;
    let numbers = [file.dev(), file.ino(), file.size()].into_iter();
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    let times = times.into_iter().map(|time| time as u64);
    let version = env!("CARGO_PKG_VERSION").bytes();
    Some(numbers.chain(times).flat_map(u64::to_le_bytes).chain(version).collect())
}
