//! Making one read-only layer of its two halves: what was unpacked, and what scripts wrote over it
//! (the upper folder of an overlay); then taking out what differs from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT, utimensat};

use super::Member;
use super::configure::Halves;
use super::error::{Error, system};
use super::manifest::{Entry, EntryKind, Manifest};
use super::normal::{self, Treatment};
use super::place::{Placed, Placement};
use super::unpacked::What;
use crate::base::{Digest, HostPath};

/// Merges the halves into the first one and says what it holds. `time` is what every later time
/// becomes.
pub(super) fn settle(
    halves: &Halves,
    members: &[Member],
    placement: &Placement,
    below: &Manifest,
    time: u64,
) -> Result<Manifest, Error> {
    let mut layer = Layer {
        path: &halves.farm,
        below,
        time,
        known: known(members, placement),
        set_id: set_id(members, below),
        modes: BTreeMap::new(),
        opaque: BTreeSet::new(),
    };
    layer.merge(&halves.upper, "")?;
    let mut manifest = Manifest::default();
    layer.take_stock("", &mut manifest)?;
    Ok(manifest)
}

/// What packages shipped, by path: these files need not be read again.
fn known(members: &[Member], placement: &Placement) -> BTreeMap<String, Entry> {
    let entry = |(path, placed): (&String, &Placed)| {
        let &Placed::Item(index, number) = placed else { return None };
        let item = &members[index].unpacked.contents.items[number];
        let kind = match &item.what {
            What::Directory => EntryKind::Directory,
            What::File { size, blake3, .. } => EntryKind::File { size: *size, blake3: *blake3 },
            What::Link(target) => EntryKind::Link(target.clone()),
        };
        Some((path.clone(), Entry { mode: item.mode, time: item.time, kind }))
    };
    placement.iter().filter_map(entry).collect()
}

/// Programs with set-id bits, which their files in the tree lack.
fn set_id(members: &[Member], below: &Manifest) -> BTreeMap<(u64, Digest, u32), u32> {
    let items = members.iter().flat_map(|member| &member.unpacked.contents.items);
    let here = items.filter_map(|item| match item.what {
        What::File { size, blake3, .. } => Some((size, blake3, item.mode)),
        _ => None,
    });
    let there = below.entries.values().filter_map(|entry| match entry.kind {
        EntryKind::File { size, blake3 } => Some((size, blake3, entry.mode)),
        _ => None,
    });
    here.chain(there)
        .filter(|(.., mode)| mode & 0o6000 != 0)
        .map(|(size, blake3, mode)| ((size, blake3, mode & 0o1777), mode))
        .collect()
}

struct Layer<'a> {
    path: &'a HostPath,
    below: &'a Manifest,
    time: u64,
    known: BTreeMap<String, Entry>,
    /// Modes that files and folders should have where the tree's own may differ.
    modes: BTreeMap<String, u32>,
    opaque: BTreeSet<String>,
    /// Programs that packages ship with set-id bits: size, digest and mode without them, and with.
    set_id: BTreeMap<(u64, Digest, u32), u32>,
}

/// What overlayfs writes into an upper folder instead of a file (its `userxattr` form).
const OPAQUE: &str = "user.overlay.opaque";
const WHITEOUT: &str = "user.overlay.whiteout";

impl Layer<'_> {
    /// Moves what is in `folder`, the upper half's `path`, into the layer.
    fn merge(&mut self, folder: &HostPath, path: &str) -> Result<(), Error> {
        for (name, metadata) in entries(folder)? {
            let from = folder.join(&name);
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let to = self.path.join(&path);
            if is_whiteout(&from, &metadata) {
                self.discard(&path)?;
                if self.below.entries.contains_key(&path) {
                    fs::rename(&from, &to).map_err(system("move", &from))?;
                }
            } else if normal::treatment(&path) == Treatment::Drop {
                // What the layer has there itself is dropped when its stock is taken.
            } else if metadata.is_dir() {
                self.merge_folder(&from, &path, &metadata)?;
            } else if metadata.is_file() {
                self.merge_file(&from, &path, &metadata)?;
            } else if metadata.is_symlink() {
                self.discard(&path)?;
                fs::rename(&from, &to).map_err(system("move", &from))?;
            }
            // Sockets and pipes are of running processes, and there are none any more.
        }
        Ok(())
    }

    fn merge_folder(
        &mut self,
        from: &HostPath,
        path: &str,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        let to = self.path.join(path);
        let mode = metadata.mode() & 0o7777;
        if has_attribute(from, OPAQUE) {
            self.discard(path)?;
            if self.below.entries.contains_key(path) {
                self.opaque.insert(path.to_owned());
            }
        }
        if !fs::symlink_metadata(&to).is_ok_and(|there| there.is_dir()) {
            self.discard(path)?;
            fs::create_dir(&to).map_err(system("create", &to))?;
            std::os::unix::fs::lchown(&to, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(system("give away", &to))?;
            if self.opaque.contains(path) {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(to.as_path(), OPAQUE, b"y", flags)
                    .map_err(|error| system("mark", &to)(error.into()))?;
            }
        }
        // Closed to ourselves, neither half could be worked on.
        for folder in [from, &to] {
            fs::set_permissions(folder, Permissions::from_mode(mode & 0o1777 | 0o700))
                .map_err(system("open up", folder))?;
        }
        self.modes.insert(path.to_owned(), mode);
        self.merge(from, path)
    }

    fn merge_file(
        &mut self,
        from: &HostPath,
        path: &str,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        let to = self.path.join(path);
        let mode = metadata.mode() & 0o7777;
        if let Some(shipped) = self.known.get(path)
            && let EntryKind::File { size, blake3 } = shipped.kind
            && (shipped.mode, shipped.time, size) == (mode, seconds(metadata), metadata.len())
            && hash(from)? == blake3
        {
            // dpkg unpacked what is there already, shared with other roots.
            return Ok(());
        }
        let moved_here = !self.known.contains_key(path) && !self.below.entries.contains_key(path);
        let known_mode = if moved_here { self.shipped_mode(from, metadata)? } else { None };
        self.discard(path)?;
        self.modes.insert(path.to_owned(), known_mode.unwrap_or(mode));
        if mode & 0o6000 != 0 {
            fs::set_permissions(from, Permissions::from_mode(mode & 0o777))
                .map_err(system("protect", from))?;
        }
        for attribute in ["user.overlay.origin", "user.overlay.impure"] {
            let _ = rustix::fs::removexattr(from.as_path(), attribute);
        }
        fs::rename(from, &to).map_err(system("move", from))
    }

    /// The mode of a program with set-id bits that a script has moved: the file has lost them.
    fn shipped_mode(&self, file: &HostPath, metadata: &Metadata) -> Result<Option<u32>, Error> {
        let (size, mode) = (metadata.len(), metadata.mode() & 0o1777);
        if !self.set_id.keys().any(|(known, _, with)| (*known, *with) == (size, mode)) {
            return Ok(None);
        }
        Ok(self.set_id.get(&(size, hash(file)?, mode)).copied())
    }

    /// Removes what the layer itself has at `path`.
    fn discard(&mut self, path: &str) -> Result<(), Error> {
        let within = (format!("{path}/"), format!("{path}0"));
        for doomed in keys(&self.known, &within) {
            self.known.remove(&doomed);
        }
        for doomed in keys(&self.modes, &within) {
            self.modes.remove(&doomed);
        }
        self.known.remove(path);
        self.modes.remove(path);
        let to = self.path.join(path);
        match fs::symlink_metadata(&to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(system("look at", &to)(error)),
            Ok(metadata) if metadata.is_dir() => {
                fs::remove_dir_all(&to).map_err(system("remove", &to))
            }
            Ok(_) => fs::remove_file(&to).map_err(system("remove", &to)),
        }
    }

    /// Writes down what is in the layer's folder `path`, in its final form.
    fn take_stock(&mut self, path: &str, manifest: &mut Manifest) -> Result<(), Error> {
        let folder = self.path.join(path);
        for (name, metadata) in entries(&folder)? {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let full = self.path.join(&path);
            let whiteout = is_whiteout(&full, &metadata);
            if !whiteout {
                match normal::treatment(&path) {
                    Treatment::Keep => {}
                    Treatment::Drop => {
                        self.discard(&path)?;
                        continue;
                    }
                    Treatment::Rewrite(rewrite) if metadata.is_file() => {
                        self.rewrite(&path, &metadata, rewrite)?;
                    }
                    Treatment::Rewrite(_) => {}
                }
            }
            let kind = if whiteout {
                EntryKind::Whiteout
            } else if metadata.is_dir() {
                self.take_stock(&path, manifest)?;
                match self.opaque.contains(&path) {
                    true => EntryKind::OpaqueDirectory,
                    false => EntryKind::Directory,
                }
            } else if metadata.is_symlink() {
                let target = fs::read_link(&full).map_err(system("read", &full))?;
                EntryKind::Link(target.to_string_lossy().into_owned())
            } else {
                match self.known.get(&path).map(|shipped| &shipped.kind) {
                    Some(known @ EntryKind::File { .. }) => known.clone(),
                    _ => {
                        let size = fs::symlink_metadata(&full).map_err(system("look at", &full))?;
                        EntryKind::File { size: size.len(), blake3: hash(&full)? }
                    }
                }
            };
            let entry = self.finish(&path, &full, &metadata, kind)?;
            manifest.entries.insert(path, entry);
        }
        Ok(())
    }

    /// Gives a path its final mode and time.
    fn finish(
        &self,
        path: &str,
        full: &HostPath,
        metadata: &Metadata,
        kind: EntryKind,
    ) -> Result<Entry, Error> {
        let is_directory = metadata.is_dir();
        let mode = match kind {
            EntryKind::Link(_) | EntryKind::Whiteout => 0,
            _ => match (self.modes.get(path), self.known.get(path)) {
                (Some(mode), _) => *mode,
                (None, Some(shipped)) => shipped.mode,
                (None, None) => metadata.mode() & 0o7777,
            },
        };
        if is_directory && metadata.mode() & 0o7777 != mode & 0o1777 {
            fs::set_permissions(full, Permissions::from_mode(mode & 0o1777))
                .map_err(system("protect", full))?;
        }
        if kind == EntryKind::Whiteout {
            return Ok(Entry { mode, time: 0, kind });
        }
        // The time of a folder is that of the last change in it, so always now.
        let time = if is_directory { self.time } else { seconds(metadata).min(self.time) };
        if is_directory || seconds(metadata) != time {
            set_time(full, time).map_err(system("set the time of", full))?;
        }
        Ok(Entry { mode, time, kind })
    }

    fn rewrite(
        &mut self,
        path: &str,
        metadata: &Metadata,
        rewrite: normal::Rewrite,
    ) -> Result<(), Error> {
        let full = self.path.join(path);
        let old = fs::read(&full).map_err(system("read", &full))?;
        let new = rewrite(&old, self.time);
        if new == old {
            return Ok(());
        }
        let mode = self.known.get(path).map_or(metadata.mode() & 0o7777, |known| known.mode);
        let mode = self.modes.get(path).copied().unwrap_or(mode);
        // A new file: the old one may be shared with other roots.
        self.discard(path)?;
        fs::write(&full, new).map_err(system("write", &full))?;
        fs::set_permissions(&full, Permissions::from_mode(mode & 0o777))
            .map_err(system("protect", &full))?;
        std::os::unix::fs::lchown(&full, Some(metadata.uid()), Some(metadata.gid()))
            .map_err(system("give away", &full))?;
        set_time(&full, self.time).map_err(system("set the time of", &full))?;
        self.modes.insert(path.to_owned(), mode);
        Ok(())
    }
}

/// A folder's entries by name.
fn entries(folder: &HostPath) -> Result<BTreeMap<String, Metadata>, Error> {
    let list = || {
        fs::read_dir(folder)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().into_string().map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, "a file name is not UTF-8")
                })?;
                Ok((name, entry.metadata()?))
            })
            .collect::<io::Result<_>>()
    };
    list().map_err(system("list", folder))
}

/// The paths from `start` up to and without `end`: `0` is what follows `/`.
fn keys<T>(of: &BTreeMap<String, T>, (start, end): &(String, String)) -> Vec<String> {
    let range = (Bound::Included(start), Bound::Excluded(end));
    of.range::<String, _>(range).map(|(path, _)| path.clone()).collect()
}

fn is_whiteout(path: &HostPath, metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    (kind.is_char_device() && metadata.rdev() == 0)
        || (kind.is_file() && metadata.len() == 0 && has_attribute(path, WHITEOUT))
}

fn has_attribute(path: &HostPath, name: &str) -> bool {
    rustix::fs::lgetxattr(path.as_path(), name, &mut [0_u8; 16]).is_ok()
}

fn hash(path: &HostPath) -> Result<Digest, Error> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(path).map_err(system("open", path))?;
    io::copy(&mut file, &mut hasher).map_err(system("read", path))?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

fn seconds(metadata: &Metadata) -> u64 {
    u64::try_from(metadata.mtime()).unwrap_or(0)
}

fn set_time(path: impl AsRef<Path>, seconds: u64) -> io::Result<()> {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: keep, last_modification: time };
    utimensat(rustix::fs::CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
