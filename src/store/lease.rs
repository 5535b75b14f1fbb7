//! What running processes use, so that collecting never takes it from under them.
//!
//! A process appends the names of what it looks up or puts to the file `held` of its temporary
//! folder, before it looks whether the thing is there. The lease is that folder's: it ends with
//! the process, however that dies, so nothing here needs to be written out. Names are noted with
//! `locks/.gc` shared; whoever collects takes it alone, reads all the notes, and moves away only
//! what nobody noted. So a note comes either before that, and the thing stays, or after, and the
//! thing is not found. No clock has a say.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::error::{Error, Result, system};
use super::locks::{Guard, acquire, attempt, try_acquire, wait};
use super::objects::open;
use super::{Access, Store};

/// The name of anything that can be collected: a BLAKE3, or the SHA-256 of a package file.
pub(super) type Name = [u8; 32];

const NOTES: &str = "held";

/// How long a collector waits for notes that take microseconds. Somebody who cannot note, because
/// the disk is full, keeps it waiting for as long as he runs.
const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(2);

/// What this process has noted.
#[derive(Debug, Default)]
pub(super) struct Lease {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    noted: HashSet<Name>,
    notes: Option<File>,
    gate: Option<File>,
    /// Held instead of notes, where there is no room for them.
    barrier: Option<Guard>,
}

impl Store {
    /// Keeps what has this name from being collected while this store is open.
    pub(super) fn hold(&self, name: &Name) {
        self.hold_all(std::iter::once(name));
    }

    /// Does so with many names: the cost of one.
    pub(super) fn hold_all<'a>(&self, names: impl Iterator<Item = &'a Name>) {
        if self.shared.access == Access::ReadOnly {
            return; // nothing can be collected either
        }
        let mut state = self.shared.lease.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.barrier.is_some() {
            return;
        }
        let fresh: Vec<Name> = names.filter(|name| !state.noted.contains(*name)).copied().collect();
        if fresh.is_empty() {
            return;
        }
        if self.note(&mut state, &fresh).is_ok() {
            state.noted.extend(fresh);
        } else {
            state.barrier = acquire(&self.gate(), FlockOperation::LockShared).ok();
        }
    }

    fn note(&self, state: &mut State, names: &[Name]) -> Result<()> {
        let path = self.temporary()?.join(NOTES);
        if state.notes.is_none() {
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(0o600);
            state.notes = Some(options.open(&path).map_err(system("create", &path))?);
        }
        let gate = self.gate();
        if state.gate.is_none() {
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(0o600);
            state.gate = Some(options.open(&gate).map_err(system("open", &gate))?);
        }
        let (Some(notes), Some(lock)) = (&mut state.notes, &state.gate) else { return Ok(()) };
        wait(lock, FlockOperation::LockShared, gate.as_path())?;
        let noted = notes.write_all(names.as_flattened());
        wait(lock, FlockOperation::Unlock, gate.as_path())?;
        noted.map_err(system("write", &path))
    }

    /// The names that running processes hold, this one included. Complete only for whoever holds
    /// [`Store::close_gate`].
    pub(super) fn held(&self) -> Result<HashSet<Name>> {
        let folder = self.path("scratch");
        let mut held = HashSet::new();
        for entry in fs::read_dir(&folder).map_err(system("list", &folder))? {
            let path = entry.map_err(system("list", &folder))?.path();
            let Ok(lease) = File::open(&path) else { continue };
            if attempt(&lease, FlockOperation::NonBlockingLockShared, &path)? {
                continue; // its process is dead
            }
            let path = self.path("scratch").join(path.file_name().unwrap_or_default());
            let mut notes = Vec::new();
            match open(&path.join(NOTES)) {
                Ok(mut file) => {
                    file.read_to_end(&mut notes).map_err(system("read", path.join(NOTES)))?;
                }
                Err(Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
            // A note that did not fit is none: its process holds the gate instead.
            held.extend(notes.as_chunks::<32>().0);
        }
        Ok(held)
    }

    /// Keeps everybody from noting anything until the guard is dropped.
    pub(super) fn close_gate(&self) -> Result<Guard> {
        let begun = Instant::now();
        loop {
            let gate = self.gate();
            let taken = try_acquire(&gate, FlockOperation::NonBlockingLockExclusive)?;
            match taken {
                Some(guard) => return Ok(guard),
                None if begun.elapsed() > PATIENCE => return Err(Error::Busy { path: gate }),
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    fn gate(&self) -> crate::base::HostPath {
        self.path("locks").join(".gc")
    }
}

/// Notes on the disk that a thing was used, at most once a day: by that, and by nothing else, the
/// time of its last access is told. What cannot be noted is only collected sooner.
pub(super) fn touch(path: &crate::base::HostPath, found: &fs::Metadata) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
    use std::os::unix::fs::MetadataExt as _;
    const DAY: u64 = 24 * 60 * 60;
    let now = jiff::Timestamp::now().as_second();
    if found.atime().abs_diff(now) < DAY {
        return;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    };
    let _ = utimensat(CWD, path.as_path(), &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Opens a plain file without leaving a trace of that where the system allows it: being looked
/// at by a collector is no use.
pub(super) fn open_quietly(path: &crate::base::HostPath) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true);
    match options.custom_flags(flags | libc::O_NOATIME).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            options.custom_flags(flags).open(path)
        }
        opened => opened,
    }
}
