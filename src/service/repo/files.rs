//! The public files of a repository, as they are opened.
//!
//! No link is ever followed: the two that the layout knows, `dists` and `by-hash`, are resolved
//! here, and everything else is opened with openat2(2), `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, statx,
};
use rustix::io::Errno;

use crate::base::Sha256;
use crate::publish::Repository;
use crate::publish::layout::{BY_HASH, DISTS, GENERATIONS, KEYS, POOL};

/// Where a public path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To an index by its digest.
    Digest(Sha256),
    /// To this file of the generation that clients read: a path below its `dists`.
    Live(String),
    /// To a file that stays what it is: a path below the root.
    Kept(String),
}

impl Place {
    /// Where a request's path leads; none if it is not public.
    pub(super) fn of(path: &str) -> Option<Self> {
        let hidden = |part: &str| part.is_empty() || part.starts_with('.');
        if path.split('/').any(hidden) {
            return None;
        }
        let (first, rest) = path.split_once('/')?;
        match first {
            DISTS => Some(by_digest(rest).unwrap_or_else(|| Self::Live(rest.to_owned()))),
            GENERATIONS => Some(by_digest(rest).unwrap_or_else(|| Self::Kept(path.to_owned()))),
            BY_HASH => by_digest(path),
            POOL | KEYS => Some(Self::Kept(path.to_owned())),
            _ => None,
        }
    }
}

/// The index that a path which ends with `by-hash/SHA256/HEX` leads to.
fn by_digest(path: &str) -> Option<Place> {
    let mut parts = path.rsplitn(3, '/');
    let (digest, algorithm, before) = (parts.next()?, parts.next()?, parts.next()?);
    let is_link = before == BY_HASH || before.ends_with("/by-hash");
    let digest = digest.parse().ok().filter(|_| is_link && algorithm == "SHA256")?;
    Some(Place::Digest(digest))
}

/// A file that was opened.
pub(super) struct Opened {
    /// It.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
    /// What is this file's and no other's, not even that of one that takes its place: its files
    /// are never written again.
    pub tag: String,
    /// When it was written.
    pub modified: Option<Timestamp>,
}

impl Opened {
    /// Opens the file at a path below the repository's root; none if there is no such file.
    pub(super) fn at(repository: &Repository, path: &str) -> io::Result<Option<Self>> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, repository.root().as_path(), folder, Mode::empty())?;
        let file = match beneath(&root, path) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = statx(&file, "", AtFlags::EMPTY_PATH, wanted)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Ok(None);
        }
        let modified = Timestamp::from_second(stat.stx_mtime.tv_sec).ok();
        Ok(Some(Self { file: file.into(), size: stat.stx_size, tag: tag(&stat), modified }))
    }

    /// All of it, if it is no larger than `most` bytes.
    pub(super) fn read(self, most: u64) -> io::Result<Vec<u8>> {
        if self.size > most {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or_default());
        self.file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn beneath(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // A pipe is opened without waiting for who writes it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // A rename somewhere on the machine made the kernel unsure (openat2(2)).
            Err(Errno::AGAIN) => {}
            found => return found,
        }
    }
}

/// Where the file lies, when it was made there, when it was written, and its size. A file system
/// that does not know when a file was made tells of its last change.
fn tag(stat: &Statx) -> String {
    let knows = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let made = if knows { &stat.stx_btime } else { &stat.stx_ctime };
    let written = &stat.stx_mtime;
    format!(
        "{:x}-{:x}.{:x}-{:x}.{:x}-{:x}",
        stat.stx_ino, made.tv_sec, made.tv_nsec, written.tv_sec, written.tv_nsec, stat.stx_size
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_public_has_a_place() {
        let live = |path: &str| Some(Place::Live(path.to_owned()));
        assert_eq!(Place::of("dists/stable/InRelease"), live("stable/InRelease"));
        assert_eq!(Place::of("dists/by-hash"), live("by-hash"));
        for kept in ["pool/main/g/greet/greet_1_all.deb", "keys/a.asc", "generations/1/dists/x"] {
            assert_eq!(Place::of(kept), Some(Place::Kept(kept.to_owned())));
        }
        let digest = Sha256::of(b"");
        for folder in ["", "dists/stable/", "generations/7/dists/stable/main/source/"] {
            let path = format!("{folder}by-hash/SHA256/{digest}");
            assert_eq!(Place::of(&path), Some(Place::Digest(digest)), "{path}");
        }
        for none in [
            "",
            "dists",
            "pool",
            ".perestroika/format",
            "by-hash/SHA256/x",
            "by-hash/MD5Sum/d41d8cd98f00b204e9800998ecf8427e",
            "dists/.hidden",
            "pool/main/.perestroika",
            "pool/../.perestroika/format",
            "pool/./x",
            "pool//x",
            "pool/",
            "other/x",
        ] {
            assert_eq!(Place::of(none), None, "{none}");
        }
    }
}
