//! Locks between processes, and between threads of one.
//!
//! A lock is flock(2) on a file that is never unlinked: unlinking would let two holders lock two
//! files of one name. The kernel drops it with its holder, however that dies.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Store;
use super::error::{Error, Result, system};
use crate::base::HostPath;

/// A held lock; dropping it releases it.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Guard {
    _file: File,
}

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

impl Store {
    /// The lock of this name, waiting as long as another process or thread holds it.
    pub fn lock(&self, name: &str) -> Result<Guard> {
        let path = self.lock_path(name)?;
        acquire(&path, FlockOperation::LockExclusive)
    }

    /// The lock of this name, unless somebody holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Guard>> {
        let path = self.lock_path(name)?;
        try_acquire(&path, FlockOperation::NonBlockingLockExclusive)
    }

    /// The lock of this name, waiting until it is free or `cancel` becomes true: then
    /// [`Error::Cancelled`], within a tenth of a second.
    pub fn lock_unless(&self, name: &str, cancel: &AtomicBool) -> Result<Guard> {
        let path = self.lock_path(name)?;
        let mut pause = FIRST_PAUSE;
        while !cancel.load(Ordering::Relaxed) {
            if let Some(guard) = try_acquire(&path, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(guard);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Error::Cancelled { path })
    }

    fn lock_path(&self, name: &str) -> Result<HostPath> {
        let plain =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'+' | b'_' | b'-');
        let good =
            (1..=200).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.');
        if good { Ok(self.path("locks").join(name)) } else { Err(Error::LockName(name.to_owned())) }
    }
}

/// Waits for the lock on the file at `path`, which is created if missing.
pub(super) fn acquire(path: &HostPath, kind: FlockOperation) -> Result<Guard> {
    let file = open(path.as_path())?;
    wait(&file, kind, path.as_path())?;
    Ok(Guard { _file: file })
}

/// Takes the lock on the file at `path` if it is free; the file is created if missing.
pub(super) fn try_acquire(path: &HostPath, kind: FlockOperation) -> Result<Option<Guard>> {
    let file = open(path.as_path())?;
    Ok(attempt(&file, kind, path.as_path())?.then_some(Guard { _file: file }))
}

/// Waits for a lock on what is already open.
pub(super) fn wait(file: &File, kind: FlockOperation, path: &Path) -> Result<()> {
    loop {
        match rustix::fs::flock(file, kind) {
            Err(Errno::INTR) => {}
            result => return result.map_err(system("lock", path)),
        }
    }
}

/// Takes a lock on what is already open, and says whether it was free.
pub(super) fn attempt(file: &File, kind: FlockOperation, path: &Path) -> Result<bool> {
    match rustix::fs::flock(file, kind) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(system("lock", path)(error)),
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(system("open", path))
}
