//! How much of a folder on disk is used, counted a little at a time.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

/// How long one step of counting may take: whoever counts must also listen.
const STEP: Duration = Duration::from_millis(20);

/// What a whole folder takes.
#[derive(Clone, Copy, Default)]
pub struct Taken {
    /// Bytes of blocks.
    pub bytes: u64,
    /// Files and folders.
    pub files: u64,
}

/// A count in progress.
#[derive(Default)]
pub struct Count {
    pending: Vec<String>,
    taken: Taken,
}

impl Count {
    /// Goes on counting. Returns what the folder takes once all of it was seen, and begins anew
    /// with the next step. What vanishes meanwhile, or lies so deep that no path leads there, is
    /// not counted; the free space of the whole file system is watched besides.
    pub fn step(&mut self, folder: &OwnedFd) -> Option<Taken> {
        let begun = Instant::now();
        if self.pending.is_empty() {
            self.pending.push(".".to_owned());
            self.taken = Taken::default();
        }
        while let Some(path) = self.pending.pop() {
            self.add(folder, &path);
            if begun.elapsed() > STEP {
                return None;
            }
        }
        Some(self.taken)
    }

    fn add(&mut self, base: &OwnedFd, path: &str) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let Ok(folder) = rustix::fs::openat2(base, path, flags, Mode::empty(), inside) else {
            return;
        };
        let Ok(entries) = Dir::read_from(&folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(status) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            // A file of several names counts in parts.
            let names = u64::from(status.st_nlink.max(1) as u32);
            let kind = FileType::from_raw_mode(status.st_mode);
            let share = if kind == FileType::Directory { 1 } else { names };
            self.taken.bytes += status.st_blocks.max(0).unsigned_abs() * 512 / share;
            self.taken.files += 1;
            if kind == FileType::Directory
                && let Ok(name) = name.to_str()
            {
                self.pending.push(format!("{path}/{name}"));
            }
        }
    }
}
