//! What the store holds, how much room each thing takes, and when it was last used.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rayon::prelude::*;

use super::Store;
use super::error::{Result, system};
use super::lease::Name;
use crate::base::{Digest, HostPath};

/// What kind of thing takes room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A blob.
    Object,
    /// A JSON document.
    Document,
    /// A layer of a build root.
    Layer,
    /// A package, unpacked.
    Unpacked,
    /// A build log.
    Log,
    /// What can be made anew from pinned files.
    Derived,
    /// Something that was damaged.
    Quarantine,
}

impl Kind {
    /// All of them, in the order they are told in.
    pub const ALL: [Self; 7] = [
        Self::Object,
        Self::Document,
        Self::Layer,
        Self::Unpacked,
        Self::Log,
        Self::Derived,
        Self::Quarantine,
    ];

    /// The word for many of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "objects",
            Self::Document => "documents",
            Self::Layer => "layers",
            Self::Unpacked => "unpacked packages",
            Self::Log => "logs",
            Self::Derived => "derived",
            Self::Quarantine => "quarantine",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Object => "objects",
            Self::Document => "json",
            Self::Layer => "layers",
            Self::Unpacked => "unpacked",
            Self::Log => "logs",
            Self::Derived => "derived",
            Self::Quarantine => "quarantine",
        }
    }
}

/// One thing that the store holds.
#[derive(Debug, Clone)]
pub struct Thing {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Where it is.
    pub path: HostPath,
    /// When it was last used, in seconds since 1970, to about a day. For what is damaged: when it
    /// was put aside. Orders what is collected, and decides nothing else.
    pub used: i64,
    /// The room it takes, in bytes, without what it shares with others that were counted before.
    pub bytes: u64,
    /// What the rest of the store calls it, if it is called anything.
    pub(super) name: Option<Name>,
    pub(super) size: Size,
}

/// Room on the disk in bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Size {
    /// Of what has one name only.
    own: u64,
    /// Of files that have several names: their inodes.
    shared: Vec<(u64, u64)>,
}

/// How much room things take together: a file of many names takes it once, and gives it back with
/// the last of them.
#[derive(Debug, Default)]
pub(super) struct Room {
    names: HashMap<u64, u32>,
    /// In bytes.
    pub(super) total: u64,
}

impl Room {
    /// Adds a thing; gives by how much that is more.
    pub(super) fn add(&mut self, size: &Size) -> u64 {
        let mut more = size.own;
        for (inode, bytes) in &size.shared {
            let names = self.names.entry(*inode).or_default();
            *names += 1;
            if *names == 1 {
                more += bytes;
            }
        }
        self.total += more;
        more
    }

    /// Takes a thing away; gives by how much that is less.
    pub(super) fn remove(&mut self, size: &Size) -> u64 {
        let mut less = size.own;
        for (inode, bytes) in &size.shared {
            let names = self.names.entry(*inode).or_default();
            *names = names.saturating_sub(1);
            if *names == 0 {
                less += bytes;
            }
        }
        self.total = self.total.saturating_sub(less);
        less
    }
}

impl Store {
    /// Everything that could be collected, with its size.
    pub(super) fn things(&self) -> Result<Vec<Thing>> {
        let mut things = Vec::new();
        for kind in Kind::ALL {
            let folder = self.path(kind.folder());
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(system("list", &folder))?,
            };
            for entry in entries {
                let name = entry.map_err(system("list", &folder))?.file_name();
                let Some(text) = name.to_str() else { continue };
                let path = folder.join(text);
                // Somebody else may have collected it by now.
                let Ok(found) = fs::symlink_metadata(&path) else { continue };
                let used = if kind == Kind::Quarantine { found.ctime() } else { found.atime() };
                let digest = text.trim_end_matches(".json").trim_end_matches(".zst").parse();
                let name = digest.ok().map(|digest: Digest| *digest.as_bytes());
                // What is called nothing that the store gives is somebody else's.
                if name.is_none() && !matches!(kind, Kind::Log | Kind::Derived | Kind::Quarantine) {
                    continue;
                }
                things.push(Thing { kind, path, used, bytes: 0, name, size: Size::default() });
            }
        }
        things.par_iter_mut().for_each(|thing| measure(thing.path.as_path(), &mut thing.size));
        Ok(things)
    }

    /// Room that is not collected, in bytes: the records, the sandboxes of failed builds, which
    /// have a limit of their own, and the folders of running processes.
    pub fn fixed_room(&self) -> [(&'static str, u64); 3] {
        let room = |names: &[&str]| {
            let mut size = Size::default();
            names.iter().for_each(|name| measure(self.path(name).as_path(), &mut size));
            Room::default().add(&size)
        };
        let records = ["records.sqlite", "records.sqlite-wal", "records.sqlite-shm", "pins"];
        [
            ("records", room(&records)),
            ("failed sandboxes", room(&["capsules"])),
            ("running processes", room(&["scratch"])),
        ]
    }

    /// What is free on the store's file system for its owner, in bytes.
    pub fn free_room(&self) -> Result<u64> {
        let found =
            rustix::fs::statvfs(self.root().as_path()).map_err(system("look at", self.root()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// Adds what is at `path` and below. What cannot be looked at, or goes meanwhile, counts nothing.
fn measure(path: &Path, size: &mut Size) {
    const BLOCK: u64 = 512;
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let bytes = found.blocks() * BLOCK;
        if found.is_dir() {
            size.own += bytes;
            waiting.extend(list(&path));
        } else if found.nlink() > 1 {
            size.shared.push((found.ino(), bytes));
        } else {
            size.own += bytes;
        }
    }
}

/// What is in a folder, which is not to count as used because of that.
fn list(folder: &Path) -> Vec<std::path::PathBuf> {
    use rustix::fs::{Dir, Mode, OFlags};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let open = |flags| rustix::fs::open(folder, flags, Mode::empty());
    let opened = open(flags | OFlags::NOATIME).or_else(|_| open(flags));
    let entries = opened.and_then(Dir::new).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| folder.join(OsStr::from_bytes(entry.file_name().to_bytes())))
        .filter(|path| !is_dots(path))
        .collect()
}

fn is_dots(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/.")
        || path.as_os_str().as_encoded_bytes().ends_with(b"/..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_two_names_takes_its_room_once_and_gives_it_back_with_the_last() {
        let one = Size { own: 10, shared: vec![(1, 100)] };
        let two = Size { own: 20, shared: vec![(1, 100), (2, 5)] };
        let mut room = Room::default();
        assert_eq!((room.add(&one), room.add(&two), room.total), (110, 25, 135));
        assert_eq!((room.remove(&one), room.total), (10, 125));
        assert_eq!((room.remove(&two), room.total), (125, 0));
    }
}
