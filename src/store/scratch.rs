//! Temporary folders in the store, which vanish with whoever made them.
//!
//! The lease is a flock on the folder itself: the kernel drops it with its holder. Between the
//! making of a folder and its lease a maker holds `locks/.scratch` shared, and a sweeper takes it
//! alone, so a folder without a lease is a dead one.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use super::Store;
use super::error::{Result, system};
use super::locks::{acquire, attempt, try_acquire, wait};
use super::remove::remove_tree;
use crate::base::HostPath;

/// A folder of one's own in the store, mode 0700, removed with everything in it when dropped; if
/// the process is killed, by a later one.
#[derive(Debug)]
pub struct Scratch {
    path: HostPath,
    _lease: File,
}

const MOST_SWEPT: usize = 200;

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &HostPath {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept by a later run: the lease ends here.
        let _ = remove_tree(self.path.as_path());
    }
}

impl Store {
    /// A new, empty temporary folder on the store's file system.
    pub fn scratch(&self) -> Result<Scratch> {
        let _making = acquire(&self.makers_lock(), FlockOperation::LockShared)?;
        let path = loop {
            let path = self.path("scratch").join(random_name());
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(system("create", &path)(error)),
            }
        };
        let lease = File::open(&path).map_err(system("open", &path))?;
        wait(&lease, FlockOperation::LockExclusive, path.as_path())?;
        Ok(Scratch { path, _lease: lease })
    }

    /// Removes the temporary folders of processes that died; gives how many. What cannot be
    /// removed stays for a later sweep.
    pub fn sweep(&self) -> Result<usize> {
        let folder = self.path("scratch");
        let mut dead: Vec<(PathBuf, File)> = Vec::new();
        {
            let alone = try_acquire(&self.makers_lock(), FlockOperation::NonBlockingLockExclusive)?;
            if alone.is_none() {
                return Ok(0);
            }
            for entry in fs::read_dir(&folder).map_err(system("list", &folder))?.take(MOST_SWEPT) {
                let path = entry.map_err(system("list", &folder))?.path();
                // Somebody may be removing it at this moment, or have closed it to its owner.
                let _ = super::remove::open_up(&path);
                let Ok(lease) = File::open(&path) else { continue };
                if attempt(&lease, FlockOperation::NonBlockingLockExclusive, &path)? {
                    dead.push((path, lease));
                }
            }
        }
        Ok(dead.iter().filter(|(path, _)| remove_tree(path).is_ok()).count())
    }

    fn makers_lock(&self) -> HostPath {
        self.path("locks").join(".scratch")
    }
}

/// Sixteen hex digits that nobody else picks.
pub(super) fn random_name() -> String {
    let hasher = std::hash::RandomState::new().build_hasher();
    format!("{:016x}", hasher.finish())
}
