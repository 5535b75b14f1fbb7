//! What evaluation keeps from one run to the next: a file for each release folder, below the
//! user's cache folder. It may be lost or damaged at any time; where it cannot be, nothing is kept.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use etcetera::BaseStrategy as _;

use crate::base::{Digest, HostPath};
use crate::spec::Cache;

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
        let small = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file() && it.len() < LARGEST);
        let bytes = if small { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        Some(Self { path, cache: Cache::new(bytes, &program, now) })
    }

    /// What evaluation uses.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What was answered to `question`, if it is the one that was asked last.
    pub fn answer(&self, question: &Digest) -> Option<String> {
        let path = self.answers();
        let small = fs::symlink_metadata(&path).is_ok_and(|it| it.is_file() && it.len() < LARGEST);
        let bytes = small.then(|| fs::read(&path).ok())??;
        let (head, text) = bytes.split_at_checked(64)?;
        let expected = [*question.as_bytes(), *Digest::of(text).as_bytes()].concat();
        (head == expected).then(|| String::from_utf8(text.to_owned()).ok())?
    }

    /// Keeps an answer in place of the one before.
    pub fn keep_answer(answers: &Path, question: &Digest, text: &str) {
        let head = [*question.as_bytes(), *Digest::of(text.as_bytes()).as_bytes()].concat();
        replace(answers, &[&head, text.as_bytes()].concat());
    }

    /// Where the answer is kept.
    pub fn answers(&self) -> PathBuf {
        self.path.with_extension("answer")
    }

    /// Puts what this run leaves in place of what the one before left.
    pub fn write(self) {
        if let Some(bytes) = self.cache.renewed() {
            replace(&self.path, &bytes);
        }
    }
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
