//! Keeping what a failed guest leaves: its writable places, copied out of its namespace before
//! that goes. Costs nothing where a guest succeeds.
//!
//! The tree is hostile: it may nest without end, hold files larger than any disk that take no
//! room, links to anywhere, and folders that nobody may read. Links are copied, never followed.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat, Timestamps};

use super::wire::{self, KeepOrder};
use crate::sandbox::Keeping;

/// Deeper folders are not copied: two descriptors are open for each.
const DEEPEST: usize = 200;

/// Copied at a time.
const PIECE: usize = 256 << 10;

/// Copies everything in `from` to the empty folder `to`, within the limits of the order. Stops
/// when the other side of `control` calls it off, or is gone.
pub fn keep(order: &KeepOrder, from: &OwnedFd, to: &OwnedFd, control: &OwnedFd) -> Keeping {
    let mut copy = Copy {
        order,
        to,
        control,
        bytes: 0,
        files: 0,
        names: BTreeMap::new(),
        buffer: vec![0; PIECE],
    };
    match copy.start(from) {
        Ok(()) => Keeping::Kept { bytes: copy.bytes, files: copy.files },
        Err(Stopped::TooLarge) => Keeping::TooLarge,
        Err(Stopped::CalledOff) => Keeping::CalledOff,
        Err(Stopped::Failed(error)) => Keeping::Failed(error.to_string()),
    }
}

/// What ends a copy early.
enum Stopped {
    TooLarge,
    CalledOff,
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Copy<'a> {
    order: &'a KeepOrder,
    to: &'a OwnedFd,
    control: &'a OwnedFd,
    bytes: u64,
    files: u64,
    /// Where the first copy of a file of several names lies.
    names: BTreeMap<(u64, u64), CString>,
    buffer: Vec<u8>,
}

impl Copy<'_> {
    fn start(&mut self, from: &OwnedFd) -> Result<(), Stopped> {
        let from = open_folder(from, c".")?;
        let to = open_folder(self.to, c".")?;
        self.folder(from, &to, "", 0)
    }

    /// Copies what is in one folder; `path` is that of `to`.
    fn folder(
        &mut self,
        from: OwnedFd,
        to: &OwnedFd,
        path: &str,
        depth: usize,
    ) -> Result<(), Stopped> {
        if depth > DEEPEST {
            let why = format!("it has folders that nest deeper than {DEEPEST}");
            return Err(Stopped::Failed(io::Error::other(why)));
        }
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let status = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.count(&status)?;
            let below = format!("{path}{}/", name.to_string_lossy());
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory => {
                    rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                    let (inner, copy) = (open_folder(&from, name)?, open_folder(to, name)?);
                    self.folder(inner, &copy, &below, depth + 1)?;
                    finish(&copy, &status)?;
                }
                FileType::RegularFile => self.file(&from, to, name, &below, &status)?,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&from, name, Vec::new())?;
                    rustix::fs::symlinkat(&target, to, name)?;
                    let times = times(&status);
                    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
                }
                FileType::Fifo => {
                    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
                    rustix::fs::mknodat(to, name, FileType::Fifo, mode, 0)?;
                }
                // A socket is dead without the process that listened on it; a guest has no others.
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts a file or folder before it is copied.
    fn count(&mut self, status: &Stat) -> Result<(), Stopped> {
        self.files += 1;
        // A file of several names takes its room once.
        let kind = FileType::from_raw_mode(status.st_mode);
        if kind == FileType::Directory || !self.names.contains_key(&identity(status)) {
            self.bytes += status.st_blocks.max(0).unsigned_abs() * 512;
        }
        if self.bytes > self.order.bytes || self.files > self.order.files {
            return Err(Stopped::TooLarge);
        }
        if self.files.is_multiple_of(64) {
            self.listen()?;
        }
        Ok(())
    }

    /// Looks whether the copy was called off.
    fn listen(&self) -> Result<(), Stopped> {
        let mut ready = [PollFd::new(self.control, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ready, Some(&at_once))? == 0 {
            return Ok(());
        }
        let mut byte = [0];
        match rustix::io::read(self.control, &mut byte)? {
            1 if byte != [wire::DROP] => Ok(()),
            _ => Err(Stopped::CalledOff),
        }
    }

    fn file(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &str,
        status: &Stat,
    ) -> Result<(), Stopped> {
        if status.st_nlink > 1 {
            if let Some(first) = self.names.get(&identity(status)) {
                rustix::fs::linkat(self.to, first, to, name, AtFlags::empty())?;
                return Ok(());
            }
            // Where names are no text a further name becomes a file of its own.
            if name.to_str().is_ok()
                && let Ok(path) = CString::new(path.trim_end_matches('/'))
            {
                self.names.insert(identity(status), path);
            }
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.content(&source, &copy, status.st_size.max(0).unsigned_abs())?;
        finish(&copy, status)?;
        Ok(())
    }

    /// Copies what a file holds; where it holds nothing, the copy holds nothing either.
    fn content(&mut self, source: &OwnedFd, copy: &OwnedFd, size: u64) -> Result<(), Stopped> {
        let (mut reader, mut writer) =
            (File::from(source.try_clone()?), File::from(copy.try_clone()?));
        let mut at = 0;
        while at < size {
            let begin = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(begin) => begin,
                // Nothing but a hole is left.
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(source, SeekFrom::Hole(begin))?;
            rustix::fs::seek(source, SeekFrom::Start(begin))?;
            rustix::fs::seek(copy, SeekFrom::Start(begin))?;
            let mut left = end - begin;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let count = reader.read(&mut self.buffer[..most])?;
                if count == 0 {
                    break;
                }
                writer.write_all(&self.buffer[..count])?;
                left -= count as u64;
                self.listen()?;
            }
            at = end;
        }
        rustix::fs::ftruncate(copy, size)?;
        Ok(())
    }
}

fn open_folder(base: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(base, name, flags, Mode::empty())
}

fn identity(status: &Stat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// Gives a copy the mode and the times of what it is a copy of.
fn finish(copy: &OwnedFd, status: &Stat) -> rustix::io::Result<()> {
    rustix::fs::fchmod(copy, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    rustix::fs::futimens(copy, &times(status))
}

fn times(status: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    }
}
