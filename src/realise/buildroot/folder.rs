//! Writing below one folder and nowhere else: no step of a path may be a link, whatever a package
//! holds (openat2(2), `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat,
    fchmod, futimens, linkat, mkdirat, openat2, symlinkat, utimensat,
};

use super::error::{Error, system};
use crate::base::HostPath;

/// Whom everything in a root belongs to on the host; `None` is whoever runs us.
pub(super) type Owner = Option<(u32, u32)>;

/// A folder that is being filled.
pub(super) struct Folder {
    path: HostPath,
    root: OwnedFd,
    /// The last parent folder used: neighbours come one after the other.
    parent: Option<(String, OwnedFd)>,
    owner: Owner,
}

impl Folder {
    /// A new folder at `path`.
    pub(super) fn create(path: &HostPath, owner: Owner) -> Result<Self, Error> {
        fs::create_dir(path).map_err(system("create", path))?;
        let folder = Self::open(path, owner)?;
        folder.adopt()?;
        Ok(folder)
    }

    /// A folder that exists.
    pub(super) fn open(path: &HostPath, owner: Owner) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path.as_path(), flags, Mode::empty())
            .map_err(|error| system("open", path)(error.into()))?;
        Ok(Self { path: path.clone(), root, parent: None, owner })
    }

    /// A new folder below it, with folders above it as needed; fine if it is there.
    pub(super) fn directory(&mut self, path: &str, mode: u32) -> Result<(), Error> {
        let full = self.path.join(path);
        let owner = self.owner;
        let (parent, name) = self.parent(path)?;
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                own(parent, name, owner).map_err(system("give away", &full))?;
                // Modes of folders keep the sticky bit; set-group-id would spread to new files.
                rustix::fs::chmodat(
                    parent,
                    name,
                    Mode::from_raw_mode(mode & 0o1777),
                    AtFlags::empty(),
                )
                .map_err(|error| system("protect", &full)(error.into()))
            }
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(system("create", &full)(error.into())),
        }
    }

    /// A new, empty file to be written and then settled.
    pub(super) fn file(&mut self, path: &str) -> Result<File, Error> {
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        beneath(parent, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(system("create", &full))
    }

    /// Gives a written file its owner, mode and time.
    pub(super) fn settle(
        &self,
        file: &File,
        path: &str,
        mode: u32,
        time: u64,
    ) -> Result<(), Error> {
        let settle = || {
            if let Some((uid, gid)) = self.owner {
                rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            fchmod(file, Mode::from_raw_mode(mode))?;
            futimens(file, &times(time))
        };
        settle().map_err(|error| system("settle", self.path.join(path))(error.into()))
    }

    /// A new symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str, time: u64) -> Result<(), Error> {
        let full = self.path.join(path);
        let owner = self.owner;
        let (parent, name) = self.parent(path)?;
        let make = || {
            symlinkat(target, parent, name)?;
            utimensat(parent, name, &times(time), AtFlags::SYMLINK_NOFOLLOW)
        };
        make().map_err(|error| system("link", &full)(error.into()))?;
        own(parent, name, owner).map_err(system("give away", &full))
    }

    /// Another name for a file of the host, which must be ours; a copy where the file system
    /// allows no more names of it.
    pub(super) fn hard_link(&mut self, from: &HostPath, path: &str) -> Result<(), Error> {
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        match linkat(rustix::fs::CWD, from.as_path(), parent, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::MLINK | rustix::io::Errno::XDEV) => self.copy(from, path),
            Err(error) => Err(system("link", &full)(error.into())),
        }
    }

    fn copy(&mut self, from: &HostPath, path: &str) -> Result<(), Error> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let mut source = File::open(from).map_err(system("open", from))?;
        let metadata = source.metadata().map_err(system("look at", from))?;
        let mut file = self.file(path)?;
        io::copy(&mut source, &mut file).map_err(system("write", self.path.join(path)))?;
        let time = u64::try_from(metadata.mtime()).unwrap_or(0);
        self.settle(&file, path, metadata.permissions().mode() & 0o777, time)
    }

    /// The open folder that `path` lies in, made if it is not there, and the last part of `path`.
    fn parent<'a>(&mut self, path: &'a str) -> Result<(&OwnedFd, &'a str), Error> {
        let Some((above, name)) = path.rsplit_once('/') else { return Ok((&self.root, path)) };
        if self.parent.as_ref().is_none_or(|(known, _)| known != above) {
            let fd = self.enter(above)?;
            self.parent = Some((above.to_owned(), fd));
        }
        let (_, fd) = self.parent.as_ref().expect("it was just set");
        Ok((fd, name))
    }

    fn enter(&mut self, path: &str) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match beneath(&self.root, path, flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directory(path, 0o755)?;
                beneath(&self.root, path, flags, Mode::empty())
            }
            found => found,
        }
        .map_err(system("enter", self.path.join(path)))
    }

    /// Gives the folder itself to the owner of what is in it.
    pub(super) fn adopt(&self) -> Result<(), Error> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        std::os::unix::fs::lchown(&self.path, Some(uid), Some(gid))
            .map_err(system("give away", &self.path))
    }
}

fn own(parent: &OwnedFd, name: &str, owner: Owner) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
}

fn times(seconds: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time }
}

fn beneath(
    folder: &OwnedFd,
    path: impl AsRef<Path>,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(folder, path.as_ref(), flags, mode, resolve) {
            // A rename somewhere on the machine made the kernel unsure (openat2(2)).
            Err(rustix::io::Errno::AGAIN) => {}
            found => return found.map_err(Into::into),
        }
    }
}
