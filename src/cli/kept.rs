//! What evaluation keeps from one run to the next: two files for each release folder, below the
//! user's cache folder. They may be lost or damaged at any time; where they cannot be, nothing is
//! kept.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};

use crate::base::{Digest, HostPath};
use crate::graph::Outline;
use crate::spec::{Cache, Footprint};

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

    /// The outline of the release's graph that was kept for the same `ground`, and what it was
    /// made from.
    pub fn outline(&self, ground: &Digest) -> Option<Outlined> {
        let bytes = read(&self.path.with_extension("outline"))?;
        let (head, content) = bytes.split_at_checked(64)?;
        let expected = [*ground.as_bytes(), checksum(content)].concat();
        (head == expected).then(|| postcard::from_bytes(content).ok())?
    }

    /// Keeps an outline in place of the one before.
    pub fn keep_outline(&self, ground: &Digest, outlined: &Outlined) {
        let Ok(content) = postcard::to_allocvec(outlined) else { return };
        let head = [*ground.as_bytes(), checksum(&content)].concat();
        replace(&self.path.with_extension("outline"), &[&head[..], &content].concat());
    }

    /// Puts what this run leaves in place of what the one before left.
    pub fn write(&self) {
        if let Some(bytes) = self.cache.renewed() {
            replace(&self.path, &bytes);
        }
    }
}

/// A graph's outline, and what it was made from.
#[derive(Serialize, Deserialize)]
pub struct Outlined {
    /// What was evaluated.
    pub footprint: Footprint,
    /// What came of it.
    pub outline: Outline,
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
