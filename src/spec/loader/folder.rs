use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir as Entries, FileType, Mode, OFlags, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::ignore::{self, Ignore, Kind};
use super::{Dir, Error, Loader, MAX_FILES};
use crate::base::{Digest, HostPath, ReleaseFolder, ReleasePath, Tree, TreeEntry, TreeKind};
use crate::spec::model::PackagingText;

/// The largest `debian/control` or `debian/changelog`.
const MAX_PACKAGING: u64 = 8 * 1024 * 1024;
const MAX_DEPTH: usize = 256;

/// A release folder on disk, and those that it extends. Paths are opened part by part below the
/// folder they belong to and through no symbolic link, so nothing outside it can be reached,
/// whatever else moves meanwhile.
#[derive(Debug, Clone)]
pub struct Folder(HostPath);

impl Folder {
    /// The release in `folder`, which itself may be reached through links, as may those that it
    /// extends.
    pub fn new(folder: HostPath) -> Self {
        Self(folder)
    }

    /// Opens what is at `path` in the release folder `folder`, or its top for the empty path.
    fn open(&self, folder: &ReleaseFolder, path: &str) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let top = match folder.is_own() {
            true => self.0.clone(),
            false => self.0.join(folder.as_str()),
        };
        let mut at =
            rustix::fs::open(top.as_path(), flags, Mode::empty()).map_err(|error| match error {
                Errno::NOENT | Errno::NOTDIR if !folder.is_own() => {
                    Error::Missing(folder.to_string())
                }
                error => failed(&top.to_string(), error),
            })?;
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for (index, part) in parts.iter().enumerate() {
            let so_far = || folder.name(&parts[..=index].join("/"));
            let last = index + 1 == parts.len();
            at = open_part(&at, part, last).map_err(|error| match error {
                Errno::LOOP => Error::Link(so_far()),
                Errno::NOENT => Error::Missing(so_far()),
                // O_DIRECTORY meets a link before O_NOFOLLOW does.
                Errno::NOTDIR => match kind_at(&at, part) {
                    Some(FileType::Symlink) => Error::Link(so_far()),
                    _ => Error::Missing(folder.name(path)),
                },
                // What opening a socket says.
                Errno::NXIO => {
                    Error::Kind { path: so_far(), found: "a socket", wanted: "a file or a folder" }
                }
                error => failed(&so_far(), error),
            })?;
        }
        Ok(at)
    }

    /// Rhai files in the folder `path` of a release folder, and `depth` levels below it.
    fn collect(
        &self,
        release: &ReleaseFolder,
        path: &str,
        depth: usize,
        found: &mut Vec<ReleasePath>,
    ) -> Result<(), Error> {
        let folder = self.open(release, path)?;
        for (name, kind) in entries(&folder, path)? {
            let full = if path.is_empty() { name } else { format!("{path}/{name}") };
            if full.ends_with(".rhai") {
                let plain = full.parse().map_err(|_| Error::Encoding(full.clone()))?;
                found.push(release.path(&plain));
            } else if kind == FileType::Directory && depth > 0 {
                self.collect(release, &full, depth - 1, found)?;
            }
            if found.len() > MAX_FILES {
                return Err(Error::Count(path.to_owned()));
            }
        }
        Ok(())
    }

    /// The same for a folder that need not be there.
    fn collect_all(
        &self,
        release: &ReleaseFolder,
        path: &str,
        found: &mut Vec<ReleasePath>,
    ) -> Result<(), Error> {
        match self.collect(release, path, 16, found) {
            Err(Error::Missing(missing)) if missing == release.name(path) => Ok(()),
            other => other,
        }
    }
}

impl Loader for Folder {
    fn specs(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        let mut found = Vec::new();
        self.collect(folder, "", 0, &mut found)?;
        self.collect_all(folder, "packages", &mut found)?;
        found.sort();
        Ok(found)
    }

    fn modules(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        let mut found = Vec::new();
        self.collect_all(folder, "lib", &mut found)?;
        found.sort();
        Ok(found)
    }

    fn read(&self, path: &ReleasePath, limit: u64) -> Result<Vec<u8>, Error> {
        read_file(self.open(&path.folder(), path.inside())?, path.as_str(), limit)
    }

    fn dir(&self, path: &ReleasePath) -> Result<Dir, Error> {
        let (name, folder) = (path.as_str(), path.folder());
        let top = self.open(&folder, path.inside())?;
        let below = |file: &str| format!("{}/{file}", path.inside());
        let optional = |file: &str, limit| match self.open(&folder, &below(file)) {
            Ok(open) => read_file(open, &format!("{name}/{file}"), limit).map(Some),
            // A link is kept in the tree as it is, and never read.
            Err(Error::Missing(_) | Error::Link(_)) => Ok(None),
            Err(error) => Err(error),
        };
        expect_kind(&top, name, FileType::Directory)?;
        let ignore = optional(ignore::FILE, super::MAX_TEXT)?.unwrap_or_default();
        let ignore = Ignore::parse(&String::from_utf8_lossy(&ignore));
        let mut entries = Vec::new();
        walk(&top, name, "", &ignore, 0, &mut entries)?;
        let tree = Tree::new(entries).map_err(|_| Error::Encoding(name.to_owned()))?;
        let control = optional("debian/control", MAX_PACKAGING)?;
        let changelog = optional("debian/changelog", MAX_PACKAGING)?;
        let packaging = match control.zip(changelog) {
            None => None,
            Some((control, changelog)) => Some(PackagingText {
                control: String::from_utf8(control)
                    .map_err(|_| Error::Encoding(format!("{name}/debian/control")))?,
                // Old entries of long-lived changelogs come in other encodings.
                changelog: String::from_utf8_lossy(&changelog).into_owned(),
            }),
        };
        Ok(Dir { tree, packaging })
    }
}

/// Adds everything below `folder`, which is at `below` of the source folder `top`.
fn walk(
    folder: &OwnedFd,
    top: &str,
    below: &str,
    ignore: &Ignore,
    depth: usize,
    found: &mut Vec<TreeEntry>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH || found.len() > MAX_FILES {
        return Err(Error::Count(top.to_owned()));
    }
    let here = if below.is_empty() { top.to_owned() } else { format!("{top}/{below}") };
    for (name, kind) in entries(folder, &here)? {
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let full = format!("{here}/{name}");
        let is_folder = if kind == FileType::Directory { Kind::Folder } else { Kind::Other };
        if ignore.leaves_out(&path, is_folder) {
            continue;
        }
        let kind = match kind {
            FileType::Directory => {
                let inner =
                    open_part(folder, &name, false).map_err(|error| failed(&full, error))?;
                walk(&inner, top, &path, ignore, depth + 1, found)?;
                continue;
            }
            FileType::Symlink => {
                let target = readlinkat(folder, name.as_str(), Vec::new())
                    .map_err(|error| failed(&full, error))?;
                TreeKind::Link(target.into_string().map_err(|_| Error::Encoding(full))?)
            }
            FileType::RegularFile => {
                let open = open_part(folder, &name, true).map_err(|error| failed(&full, error))?;
                hash_file(open, &full)?
            }
            other => {
                let (found, wanted) = (describe(other), "a file, a folder or a link");
                return Err(Error::Kind { path: full, found, wanted });
            }
        };
        found.push(TreeEntry { path, kind });
    }
    Ok(())
}

fn hash_file(open: OwnedFd, path: &str) -> Result<TreeKind, Error> {
    expect_kind(&open, path, FileType::RegularFile)?;
    let status = fstat(&open).map_err(|error| failed(path, error))?;
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(File::from(open))
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
    let executable = Mode::from_raw_mode(status.st_mode).contains(Mode::XUSR);
    Ok(if executable { TreeKind::Executable(digest) } else { TreeKind::File(digest) })
}

/// Opens one part of a path: never a link, and without waiting on a pipe.
fn open_part(at: &impl AsFd, part: &str, last: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    flags |= if last { OFlags::NONBLOCK | OFlags::NOCTTY } else { OFlags::DIRECTORY };
    openat(at, part, flags, Mode::empty())
}

fn kind_at(at: &impl AsFd, part: &str) -> Option<FileType> {
    let status = statat(at, part, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(status.st_mode))
}

/// Names and kinds in a folder, sorted.
fn entries(folder: &OwnedFd, path: &str) -> Result<Vec<(String, FileType)>, Error> {
    expect_kind(folder, path, FileType::Directory)?;
    let mut found = Vec::new();
    for entry in Entries::read_from(folder).map_err(|error| failed(path, error))? {
        let entry = entry.map_err(|error| failed(path, error))?;
        let name = match entry.file_name().to_str() {
            Ok("." | "..") => continue,
            Ok(name) => name.to_owned(),
            Err(_) => {
                let shown = entry.file_name().to_string_lossy();
                return Err(Error::Encoding(format!("{path}/{shown}")));
            }
        };
        let kind = match entry.file_type() {
            // Some file systems do not say it in the listing.
            FileType::Unknown => kind_at(folder, &name).unwrap_or(FileType::Unknown),
            kind => kind,
        };
        found.push((name, kind));
        if found.len() > MAX_FILES {
            return Err(Error::Count(path.to_owned()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn read_file(open: OwnedFd, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
    expect_kind(&open, path, FileType::RegularFile)?;
    let mut bytes = Vec::new();
    File::from(open)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(Error::Size { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

fn expect_kind(open: &OwnedFd, path: &str, wanted: FileType) -> Result<(), Error> {
    let status = fstat(open).map_err(|error| failed(path, error))?;
    let found = FileType::from_raw_mode(status.st_mode);
    if found == wanted {
        return Ok(());
    }
    let (found, wanted) = (describe(found), describe(wanted));
    Err(Error::Kind { path: path.to_owned(), found, wanted })
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}

fn failed(path: &str, error: Errno) -> Error {
    Error::Read { path: path.to_owned(), source: io::Error::from(error) }
}
