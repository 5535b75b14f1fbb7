//! Seeing which files of its root a guest opens, without the guest being able to tell.
//!
//! The kernel reports opens in watched folders (inotify): no call of the guest waits for us or
//! answers otherwise, no number in its `/proc` changes, and whatever way a file is reached
//! (through links, by a descriptor of a folder, by being executed or loaded, by a program of
//! another architecture), it is the file itself that is reported, once it was really opened. A
//! notifying filter of system calls would cost two process switches for each call, show in
//! `/proc/self/status`, interrupt calls by signals, and only see what was asked for.
//!
//! What cannot be seen: which links led to a file, files that are only looked at (`stat`), and
//! folders of a writable root that were not there at the start. What remains to be noticed is that
//! these watches count among those that the caller's user may have at once, and so may a guest's.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{CWD, Dir, FileType, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use super::wire::{Explain, Report, Tried};
use crate::sandbox::Observed;
use crate::sandbox::doctor::Aspect;

/// How often the kernel's queue is emptied. It holds 16384 events unless the machine is told
/// otherwise, and more opens than that in this time are more than two processors get done.
const PAUSE: Duration = Duration::from_millis(5);

/// So many events at once, and the queue is emptied again without a pause.
const MANY: usize = 2048;

/// So many, and something else gets its turn first.
const MOST_AT_ONCE: usize = 100_000;

/// The most files that are told apart, and the most bytes of their paths: far more than a root
/// has, so only a root made for the purpose gets there.
const MOST_FILES: usize = 2_000_000;
const MOST_BYTES: u64 = 256 << 20;

/// Watches on every folder of a root that holds files, and what they have told.
pub struct Observer {
    inotify: OwnedFd,
    folders: HashMap<i32, Folder>,
    buffer: Box<[MaybeUninit<u8>]>,
    files: usize,
    whole: bool,
}

/// A watched folder.
struct Folder {
    /// Its guest path.
    path: Vec<u8>,
    opened: HashSet<Box<[u8]>>,
}

impl Observer {
    /// Watches the file system mounted at `root`, on which nothing else may be mounted yet.
    pub fn new(root: &str) -> Tried<Self> {
        let operation = || "watch the files of the guest's root".to_owned();
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .isolating(Aspect::Watches, operation)?;
        let buffer = vec![MaybeUninit::uninit(); 64 << 10].into_boxed_slice();
        let mut observer = Self { inotify, folders: HashMap::new(), buffer, files: 0, whole: true };
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            let place = [root.as_bytes(), &path].concat();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(CWD, &*place, flags, Mode::empty());
            let mut has_files = false;
            for entry in Dir::new(folder.trying(operation)?).trying(operation)? {
                let entry = entry.trying(operation)?;
                let name = entry.file_name().to_bytes();
                match entry.file_type() {
                    FileType::Directory if matches!(name, b"." | b"..") => {}
                    FileType::Directory => waiting.push([&path, &b"/"[..], name].concat()),
                    FileType::RegularFile | FileType::Unknown => has_files = true,
                    _ => {}
                }
            }
            if has_files {
                observer.watch(&place, path).isolating(Aspect::Watches, operation)?;
            }
        }
        Ok(observer)
    }

    fn watch(&mut self, place: &[u8], path: Vec<u8>) -> rustix::io::Result<()> {
        let flags = WatchFlags::OPEN | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW;
        let watch = inotify::add_watch(&self.inotify, place, flags)?;
        self.folders.insert(watch, Folder { path, opened: HashSet::new() });
        Ok(())
    }

    /// Takes what the kernel has told since, and says when to come again.
    pub fn drain(&mut self) -> Duration {
        let Self { inotify, folders, buffer, files, whole } = self;
        let mut reader = Reader::new(inotify, buffer);
        let mut events = 0;
        loop {
            // The command may be over its limits meanwhile.
            if events >= MOST_AT_ONCE && reader.is_buffer_empty() {
                return Duration::ZERO;
            }
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    return if events < MANY { PAUSE } else { Duration::ZERO };
                }
                Err(_) => {
                    *whole = false;
                    return PAUSE;
                }
            };
            events += 1;
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                *whole = false;
            }
            let (Some(folder), Some(name)) = (folders.get_mut(&event.wd()), event.file_name())
            else {
                continue;
            };
            let name = name.to_bytes();
            if event.events().contains(ReadFlags::ISDIR) || folder.opened.contains(name) {
                continue;
            }
            if *files < MOST_FILES {
                *files += 1;
                folder.opened.insert(name.into());
            } else {
                *whole = false;
            }
        }
    }

    /// Everything seen: the report, and the descriptor that goes with it, for [`read`].
    pub fn finish(mut self) -> Tried<(Report, OwnedFd)> {
        self.drain();
        let mut paths: Vec<Vec<u8>> = Vec::with_capacity(self.files);
        for Folder { path, opened } in self.folders.into_values() {
            paths.extend(opened.iter().map(|name| [&path, &b"/"[..], name].concat()));
        }
        paths.sort_unstable();
        let write = || -> io::Result<OwnedFd> {
            let mut file = File::from(rustix::fs::memfd_create("opened", MemfdFlags::CLOEXEC)?);
            let mut text = io::BufWriter::new(&mut file);
            for path in &paths {
                text.write_all(path)?;
                text.write_all(b"\0")?;
            }
            text.flush()?;
            drop(text);
            file.rewind()?;
            Ok(file.into())
        };
        let file = write().trying(|| "hand over which files the guest opened".into())?;
        Ok((Report::Opened { whole: self.whole }, file))
    }
}

/// The paths that were handed over. Those that are not UTF-8 are shown as if they were.
pub fn read(handed: OwnedFd, whole: bool) -> io::Result<Observed> {
    let mut text = Vec::new();
    File::from(handed).take(MOST_BYTES).read_to_end(&mut text)?;
    // What follows the last zero byte is nothing, or a path that was cut.
    let mut paths = text.split(|byte| *byte == 0);
    let rest = paths.next_back();
    let files = paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    Ok(Observed { files, whole: whole && rest.is_some_and(<[u8]>::is_empty) })
}
