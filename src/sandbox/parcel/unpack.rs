//! A stream becomes a tree.
//!
//! The stream is hostile. It can say only what [`pack`](super::pack()) says: names in one strict
//! order, so that no name comes twice and each is made in the folder that was made last; and a
//! folder is never entered again by its name but without following links.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, SeekFrom, Timespec, Timestamps, Uid,
    XattrFlags,
};

use super::member::{BLOCK, Kind, Member, padding};
use super::{DEEPEST, LONE, Limits, PIECE, about, invalid};
use crate::base::Digest;

/// Read from the stream at a time.
const BUFFER: usize = 256 << 10;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes the tree of a stream in the empty folder `into`, which becomes its root, and returns
/// the BLAKE3 of the stream: the tree's name. Everything belongs to us; or, if we are root, to
/// the owner of `into`.
///
/// The stream is read to its end, and must be one that [`pack`](super::pack()) may have written.
/// Otherwise the error is of the kind `InvalidData` or `UnexpectedEof`; it is `FileTooLarge` if
/// there is more than the limits allow. Nothing outside of `into` is touched, whatever the
/// stream says. After an error, what is there is of no use.
pub fn unpack(from: impl Read, into: &Path, limits: &Limits) -> io::Result<Digest> {
    let root = rustix::fs::openat(CWD, into, FOLDER, Mode::empty())?;
    let status = rustix::fs::fstat(&root)?;
    let owner = (rustix::process::geteuid().is_root() && status.st_uid != 0)
        .then(|| (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid)));
    let hashed = Hashed { inner: from, hasher: blake3::Hasher::new(), left: limits.bytes };
    let mut from = BufReader::with_capacity(BUFFER, hashed);
    let mut unpacking =
        Unpacking { root, owner, open: Vec::new(), closed: Vec::new(), buffer: vec![0; PIECE] };
    let mut files = 0;
    let mut lone = false;
    while let Some(member) = Member::read(&mut from)? {
        files += 1;
        if files > limits.files {
            return Err(too_large(format!("there are more than {} files", limits.files)));
        }
        let path = member.path.clone();
        if lone {
            return Err(invalid("something follows the only file"));
        }
        if files == 1 {
            lone = unpacking.start(member, &mut from).map_err(about(&path))?;
        } else {
            unpacking.add(member, &mut from).map_err(about(&path))?;
        }
    }
    if files == 0 {
        return Err(invalid("there is nothing in it"));
    }
    unpacking.finish()?;
    // The archive is over; so must be the stream.
    if from.read(&mut [0])? != 0 {
        return Err(invalid("something follows its end"));
    }
    Ok(Digest::from_bytes(*from.into_inner().hasher.finalize().as_bytes()))
}

/// Hashes what goes through it, up to a limit.
struct Hashed<R> {
    inner: R,
    hasher: blake3::Hasher,
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| too_large("there are more bytes than may come".into()))?;
        Ok(count)
    }
}

fn too_large(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, why)
}

/// A folder in the making.
struct Folder {
    name: CString,
    file: OwnedFd,
    mode: Mode,
    times: Timestamps,
    /// The name that came last; none is smaller than the empty one.
    last: CString,
}

struct Unpacking {
    root: OwnedFd,
    /// Whom everything is given to.
    owner: Option<(Uid, Gid)>,
    /// The folders that lead to the member that came last, the root first.
    open: Vec<Folder>,
    /// Folders that nobody could enter any more, with the modes that they get in the end: a hard
    /// link may still lead into them.
    closed: Vec<(Vec<u8>, Mode)>,
    buffer: Vec<u8>,
}

impl Unpacking {
    /// Makes the first member. Returns whether it is the only one.
    fn start(&mut self, member: Member, from: &mut impl Read) -> io::Result<bool> {
        if member.path == b"." && member.kind == Kind::Folder {
            let file = self.root.try_clone()?;
            self.enter(CString::default(), file, &member)?;
            return Ok(false);
        }
        if member.path == LONE.as_bytes() && !matches!(member.kind, Kind::Folder | Kind::Same(_)) {
            let parent = self.root.try_clone()?;
            let name = CString::new(LONE)?;
            self.make(&parent, &name, member, from)?;
            return Ok(true);
        }
        Err(invalid("the first member is no root"))
    }

    /// Makes any other member.
    fn add(&mut self, member: Member, from: &mut impl Read) -> io::Result<()> {
        let mut parts = Vec::new();
        for part in member.path.split(|byte| *byte == b'/') {
            if matches!(part, b"" | b"." | b"..") {
                return Err(invalid("a name is not one below the root"));
            }
            parts.push(text(part)?);
        }
        let name = parts.pop().ok_or_else(|| invalid("a name is empty"))?;
        if parts.len() > DEEPEST {
            return Err(invalid("folders nest too deep"));
        }
        while self.open.len() > parts.len() + 1 {
            self.leave()?;
        }
        let inside = self.open.iter().skip(1).map(|folder| &folder.name).eq(&parts);
        let folder = self.open.last_mut().filter(|folder| inside && folder.last < name);
        let folder = folder.ok_or_else(|| invalid("its name comes out of order"))?;
        folder.last = name.clone();
        let parent = folder.file.try_clone()?;
        self.make(&parent, &name, member, from)
    }

    fn make(
        &mut self,
        parent: &OwnedFd,
        name: &CStr,
        member: Member,
        from: &mut impl Read,
    ) -> io::Result<()> {
        let mode = Mode::from_raw_mode(member.mode);
        match &member.kind {
            Kind::Folder => {
                rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
                let file = rustix::fs::openat(parent, name, FOLDER, Mode::empty())?;
                if let Some((uid, gid)) = self.owner {
                    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
                }
                self.enter(name.to_owned(), file, &member)
            }
            Kind::File { size, stretches } => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
                let mut file = File::from(file);
                let whole = 0..*size;
                for stretch in stretches.as_deref().unwrap_or(std::slice::from_ref(&whole)) {
                    if stretches.is_some() {
                        rustix::fs::seek(&file, SeekFrom::Start(stretch.start))?;
                    }
                    self.copy(from, &mut file, stretch.end - stretch.start)?;
                }
                if stretches.is_some() {
                    rustix::fs::ftruncate(&file, *size)?;
                }
                from.read_exact(&mut [0; BLOCK][..padding(member.kind.stored())])?;
                if let Some((uid, gid)) = self.owner {
                    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
                }
                attribute(&file, &member)?;
                rustix::fs::fchmod(&file, mode)?;
                rustix::fs::futimens(&file, &times(&member))?;
                Ok(())
            }
            Kind::Same(target) => self.link(target, parent, name),
            Kind::Link(target) => {
                rustix::fs::symlinkat(text(target)?, parent, name)?;
                self.settle(parent, name, &member)
            }
            Kind::Pipe | Kind::Whiteout => {
                // The device 0:0 may be made by everybody (Linux 5.8).
                let kind = match member.kind {
                    Kind::Pipe => FileType::Fifo,
                    _ => FileType::CharacterDevice,
                };
                rustix::fs::mknodat(parent, name, kind, Mode::empty(), 0)?;
                self.settle(parent, name, &member)?;
                rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
                Ok(())
            }
        }
    }

    /// Gives owner and times to something that is not opened.
    fn settle(&self, parent: &OwnedFd, name: &CStr, member: &Member) -> io::Result<()> {
        if !member.attributes.is_empty() {
            return Err(invalid("nothing of its kind has attributes"));
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = self.owner {
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(member), flags)?)
    }

    /// Copies bytes of the stream to where a file is written.
    fn copy(&mut self, from: &mut impl Read, file: &mut File, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            from.read_exact(&mut self.buffer[..most])?;
            file.write_all(&self.buffer[..most])?;
            left -= most as u64;
        }
        Ok(())
    }

    /// Makes another name of a file that came before.
    fn link(&self, target: &[u8], parent: &OwnedFd, name: &CStr) -> io::Result<()> {
        let slash = target.iter().rposition(|byte| *byte == b'/');
        let (folder, file) = match slash {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (b".".as_slice(), target),
        };
        let file = text(file)?;
        let folder = reopen(&self.root, folder, OFlags::PATH)?;
        let status = rustix::fs::statat(&folder, &*file, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(invalid("it is another name of something that is no file"));
        }
        Ok(rustix::fs::linkat(&folder, &*file, parent, name, AtFlags::empty())?)
    }

    /// Goes into a folder that was just made.
    fn enter(&mut self, name: CString, file: OwnedFd, member: &Member) -> io::Result<()> {
        attribute(&file, member)?;
        let (mode, times) = (Mode::from_raw_mode(member.mode), times(member));
        self.open.push(Folder { name, file, mode, times, last: CString::default() });
        Ok(())
    }

    /// Leaves the innermost folder: nothing more is made in it.
    fn leave(&mut self) -> io::Result<()> {
        let Some(folder) = self.open.pop() else { return Ok(()) };
        rustix::fs::futimens(&folder.file, &folder.times)?;
        if folder.mode.contains(Mode::XUSR) || self.open.is_empty() {
            return Ok(rustix::fs::fchmod(&folder.file, folder.mode)?);
        }
        let outside = self.open.iter().skip(1).map(|folder| folder.name.as_bytes());
        let path: Vec<_> = outside.chain([folder.name.as_bytes()]).collect();
        self.closed.push((path.join(&b'/'), folder.mode));
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        while self.open.len() > 1 {
            self.leave()?;
        }
        // Inner ones come before those that they lie in.
        for (path, mode) in std::mem::take(&mut self.closed) {
            rustix::fs::fchmod(reopen(&self.root, &path, OFlags::RDONLY)?, mode)?;
        }
        self.leave()
    }
}

/// Opens a folder that was made before, by its path below the root.
fn reopen(root: &OwnedFd, path: &[u8], how: OFlags) -> io::Result<OwnedFd> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(root, path, FOLDER | how, Mode::empty(), inside)?)
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| invalid("a name has a zero byte"))
}

/// Gives a file the attributes that may travel.
fn attribute(file: impl AsFd, member: &Member) -> io::Result<()> {
    for (name, value) in &member.attributes {
        if !name.starts_with(b"user.") {
            return Err(invalid("it has an attribute that is not `user.`"));
        }
        rustix::fs::fsetxattr(&file, &**name, value, XattrFlags::empty())?;
    }
    Ok(())
}

fn times(member: &Member) -> Timestamps {
    let (seconds, nanoseconds) = member.time;
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}
