use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{
    AtFlags, Dir as Entries, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2,
    readlinkat, statat,
};
use rustix::io::Errno;

use super::ignore::{self, Ignore};
use super::{Dir, Error, Kind, Loader, MAX_FILES, State, nearest_path};
use crate::base::{Digest, HostPath, ReleaseFolder, ReleasePath, Tree, TreeEntry, TreeKind};
use crate::spec::model::PackagingText;

/// The largest `debian/control` or `debian/changelog`.
const MAX_PACKAGING: u64 = 8 * 1024 * 1024;
const MAX_DEPTH: usize = 256;

/// A release folder on disk, and those that it extends. Paths are opened below the folder they
/// belong to and through no symbolic link, so nothing outside it can be reached, whatever else
/// moves meanwhile.
#[derive(Debug, Clone)]
pub struct Folder {
    path: HostPath,
    /// The folder itself, once something in it was asked for.
    top: Arc<OnceLock<OwnedFd>>,
}

impl Folder {
    /// The release in `folder`, which itself may be reached through links, as may those that it
    /// extends.
    pub fn new(folder: HostPath) -> Self {
        Self { path: folder, top: Arc::default() }
    }

    fn top(&self) -> Result<&OwnedFd, Error> {
        if let Some(top) = self.top.get() {
            return Ok(top);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let top = rustix::fs::open(self.path.as_path(), flags, Mode::empty())
            .map_err(|error| failed(&self.path.to_string(), error))?;
        Ok(self.top.get_or_init(|| top))
    }

    /// Opens what is at `path` in the release folder `folder`, or its top for the empty path.
    fn open(&self, folder: &ReleaseFolder, path: &str) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // One call to the system instead of one for each part. Where it fails, for whatever
        // reason, the parts tell which of them is why; some sandboxes do not allow it at all.
        if folder.is_own()
            && !path.is_empty()
            && let Ok(open) = openat2(self.top()?, path, flags, Mode::empty(), resolve)
        {
            return Ok(open);
        }
        self.open_parts(folder, path)
    }

    fn open_parts(&self, folder: &ReleaseFolder, path: &str) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let top = match folder.is_own() {
            true => self.path.clone(),
            false => self.path.join(folder.as_str()),
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
    fn state(&self, path: &ReleasePath, kind: Kind) -> Option<State> {
        let mut seen = Seen::default();
        match kind {
            Kind::File => {
                let top = self.top().ok().filter(|_| path.folder().is_own())?;
                let status = statat(top, path.inside(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
                is_file.then(|| seen.add("", &status))?;
            }
            Kind::Folder => self.look(path, &mut seen).ok()?,
        }
        Some(seen.state())
    }

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
        walk(&top, name, "", &ignore, 0, &mut |found| {
            if entries.len() >= MAX_FILES {
                return Err(Error::Count(name.to_owned()));
            }
            entries.push(TreeEntry { path: found.path.to_owned(), kind: found.read()? });
            Ok(())
        })?;
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

    fn near(&self, path: &ReleasePath) -> Option<String> {
        nearest_path(path.inside(), |folder| {
            let open = self.open(&path.folder(), folder).ok()?;
            let names = entries(&open, folder).ok()?.into_iter().map(|(name, _)| name);
            Some(names.collect())
        })
    }
}

impl Folder {
    /// All files and links of a release folder but those of version control, what was built or
    /// published, and what its `.perestroikaignore` leaves out.
    pub fn everything(&self, folder: &ReleaseFolder) -> Result<Tree, Error> {
        let top = self.open(folder, "")?;
        let mut entries = Vec::new();
        let ignore = match open_part(&top, ignore::FILE, true) {
            Ok(open) => {
                let (path, kind) = (ignore::FILE.to_owned(), hash_file(open, ignore::FILE)?);
                entries.push(TreeEntry { path, kind });
                let open = self.open(folder, ignore::FILE)?;
                read_file(open, ignore::FILE, super::MAX_TEXT)?
            }
            Err(Errno::NOENT) => Vec::new(),
            Err(error) => return Err(failed(&folder.name(ignore::FILE), error)),
        };
        let ignore = Ignore::parse(&String::from_utf8_lossy(&ignore));
        let name = folder.to_string();
        walk(&top, &name, "", &ignore, 0, &mut |found| {
            if entries.len() >= MAX_FILES {
                return Err(Error::Count(name.clone()));
            }
            entries.push(TreeEntry { path: found.path.to_owned(), kind: found.read()? });
            Ok(())
        })?;
        Tree::new(entries).map_err(|_| Error::Encoding(name))
    }

    /// Looks at everything that [`Loader::dir`] would read.
    fn look(&self, path: &ReleasePath, seen: &mut Seen) -> Result<(), Error> {
        let (name, folder) = (path.as_str(), path.folder());
        let top = self.open(&folder, path.inside())?;
        let mut ignore = Vec::new();
        for file in [ignore::FILE, "debian/control", "debian/changelog"] {
            match statat(&top, file, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => seen.add(file, &status),
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(failed(name, error)),
            }
            if file == ignore::FILE {
                let open = self.open(&folder, &format!("{}/{file}", path.inside()))?;
                ignore = read_file(open, &format!("{name}/{file}"), super::MAX_TEXT)?;
            }
        }
        let ignore = Ignore::parse(&String::from_utf8_lossy(&ignore));
        walk(&top, name, "", &ignore, 0, &mut |found| {
            let status = statat(found.folder, found.name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| failed(&found.full, error))?;
            seen.add(found.path, &status);
            Ok(())
        })
    }
}

/// What was seen of files without reading them.
#[derive(Default)]
struct Seen {
    hasher: blake3::Hasher,
    newest: i64,
}

impl Seen {
    fn add(&mut self, path: &str, status: &Stat) {
        self.hasher.update(&(path.len() as u64).to_le_bytes());
        self.hasher.update(path.as_bytes());
        let modified = nanoseconds(status.st_mtime, status.st_mtime_nsec as i64);
        let changed = nanoseconds(status.st_ctime, status.st_ctime_nsec as i64);
        for number in [
            status.st_dev,
            status.st_ino,
            u64::from(status.st_mode),
            status.st_size as u64,
            modified as u64,
            changed as u64,
        ] {
            self.hasher.update(&number.to_le_bytes());
        }
        self.newest = self.newest.max(modified).max(changed);
    }

    fn state(self) -> State {
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        State { digest, newest: self.newest }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Something below a source folder.
struct Found<'a> {
    /// The folder it is in.
    folder: &'a OwnedFd,
    name: &'a str,
    /// Its path in the source folder.
    path: &'a str,
    /// Its path in the release.
    full: String,
    kind: FileType,
}

impl Found<'_> {
    fn read(&self) -> Result<TreeKind, Error> {
        match self.kind {
            FileType::Symlink => {
                let target = readlinkat(self.folder, self.name, Vec::new())
                    .map_err(|error| failed(&self.full, error))?;
                let target =
                    target.into_string().map_err(|_| Error::Encoding(self.full.clone()))?;
                Ok(TreeKind::Link(target))
            }
            FileType::RegularFile => {
                let open = open_part(self.folder, self.name, true)
                    .map_err(|error| failed(&self.full, error))?;
                hash_file(open, &self.full)
            }
            other => {
                let (found, wanted) = (describe(other), "a file, a folder or a link");
                Err(Error::Kind { path: self.full.clone(), found, wanted })
            }
        }
    }
}

/// Visits everything below `folder` but folders, which is at `below` of the source folder `top`.
fn walk(
    folder: &OwnedFd,
    top: &str,
    below: &str,
    ignore: &Ignore,
    depth: usize,
    visit: &mut impl FnMut(&Found<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Count(top.to_owned()));
    }
    let here = if below.is_empty() { top.to_owned() } else { format!("{top}/{below}") };
    for (name, kind) in entries(folder, &here)? {
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let full = format!("{here}/{name}");
        let is_folder = match kind {
            FileType::Directory => ignore::Kind::Folder,
            _ => ignore::Kind::Other,
        };
        if ignore.leaves_out(&path, is_folder) {
            continue;
        }
        if kind == FileType::Directory {
            let inner = open_part(folder, &name, false).map_err(|error| failed(&full, error))?;
            // What was published from a release is no part of it, any more than what was built.
            if path == "repo" && open_part(&inner, ".perestroika", false).is_ok() {
                continue;
            }
            walk(&inner, top, &path, ignore, depth + 1, visit)?;
        } else {
            visit(&Found { folder, name: &name, path: &path, full, kind })?;
        }
    }
    Ok(())
}

fn hash_file(open: OwnedFd, path: &str) -> Result<TreeKind, Error> {
    let status = expect_kind(&open, path, FileType::RegularFile)?;
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
    let status = expect_kind(&open, path, FileType::RegularFile)?;
    // One more than there should be, so that the end is found without asking again.
    let size = u64::try_from(status.st_size).unwrap_or_default().min(limit) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    File::from(open)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > limit {
        return Err(Error::Size { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

fn expect_kind(open: &OwnedFd, path: &str, wanted: FileType) -> Result<Stat, Error> {
    let status = fstat(open).map_err(|error| failed(path, error))?;
    let found = FileType::from_raw_mode(status.st_mode);
    if found == wanted {
        return Ok(status);
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
