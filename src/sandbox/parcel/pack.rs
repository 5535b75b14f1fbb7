//! A tree becomes a stream.
//!
//! The tree is read by whoever owns it or by root, and is not written meanwhile.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat};

use super::member::{BLOCK, Kind, Member, padding};
use super::{DEEPEST, LONE, PIECE, about, invalid};
use crate::base::Digest;

/// Written to the stream at a time.
const BUFFER: usize = 256 << 10;

/// Lists of names and values of attributes are at most so long (xattr(7)).
const ATTRIBUTES: usize = 64 << 10;

/// Writes the tree at `root`, a folder or a single file, as a stream whose BLAKE3 is returned:
/// the tree's name.
///
/// A file or folder of ours that its mode does not let us read is made readable for as long as
/// it takes. Errors name the path below the root: what the system answered, a device that is no
/// whiteout, or folders that nest too deep.
pub fn pack(root: &Path, into: impl Write) -> io::Result<Digest> {
    let hashed = Hashed { inner: into, hasher: blake3::Hasher::new() };
    let mut packing = Packing {
        out: BufWriter::with_capacity(BUFFER, hashed),
        names: BTreeMap::new(),
        piece: vec![0; PIECE],
    };
    let name = CString::new(root.as_os_str().as_bytes())?;
    let status = rustix::fs::statat(CWD, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
    let path = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => b".".as_slice(),
        _ => LONE.as_bytes(),
    };
    packing.add(CWD, &name, path, &status, 0)?;
    packing.out.write_all(&[0; 2 * BLOCK])?;
    let mut hashed = packing.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    hashed.inner.flush()?;
    Ok(Digest::from_bytes(*hashed.hasher.finalize().as_bytes()))
}

/// Hashes what goes through it.
struct Hashed<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Packing<W: Write> {
    out: BufWriter<Hashed<W>>,
    /// Where the first name of a file of several names lies.
    names: BTreeMap<(u64, u64), Vec<u8>>,
    piece: Vec<u8>,
}

impl<W: Write> Packing<W> {
    /// Adds what `name` is in `parent`, with everything in it.
    fn add(
        &mut self,
        parent: impl AsFd,
        name: &CStr,
        path: &[u8],
        status: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        let mut member = Member {
            path: path.to_vec(),
            kind: Kind::Folder,
            mode: status.st_mode & 0o7777,
            time: (status.st_mtime, u32::try_from(status.st_mtime_nsec).unwrap_or_default()),
            attributes: Vec::new(),
        };
        let write = |member: &Member, out: &mut _| member.write(out).map_err(about(path));
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => {
                if depth > DEEPEST {
                    let why = format!("folders nest deeper than {DEEPEST}");
                    return Err(about(path)(io::Error::other(why)));
                }
                let opened = Opened::new(&parent, name, status, Mode::RUSR | Mode::XUSR)
                    .map_err(about(path))?;
                member.attributes = opened.attributes().map_err(about(path))?;
                write(&member, &mut self.out)?;
                self.folder(&opened.file, path, depth)
            }
            FileType::RegularFile => {
                if status.st_nlink > 1 {
                    let identity = (status.st_dev, status.st_ino);
                    if let Some(first) = self.names.get(&identity) {
                        member.kind = Kind::Same(first.clone());
                        return write(&member, &mut self.out);
                    }
                    self.names.insert(identity, path.to_vec());
                }
                let opened = Opened::new(&parent, name, status, Mode::RUSR).map_err(about(path))?;
                member.attributes = opened.attributes().map_err(about(path))?;
                let file = opened.close().map_err(about(path))?;
                self.file(&file, member).map_err(about(path))
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent, name, Vec::new());
                let target = target.map_err(|error| about(path)(error.into()))?;
                member.kind = Kind::Link(target.into_bytes());
                // Nobody can change it, and not every file system says the same.
                member.mode = 0o777;
                write(&member, &mut self.out)
            }
            FileType::Fifo => {
                member.kind = Kind::Pipe;
                write(&member, &mut self.out)
            }
            FileType::CharacterDevice if status.st_rdev == 0 => {
                member.kind = Kind::Whiteout;
                write(&member, &mut self.out)
            }
            // Dead without the process that listens on it.
            FileType::Socket => Ok(()),
            _ => Err(about(path)(invalid("devices do not travel"))),
        }
    }

    /// Adds everything in a folder.
    fn folder(&mut self, folder: &File, path: &[u8], depth: usize) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(|error| about(path)(error.into()))? {
            let entry = entry.map_err(|error| about(path)(error.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            let below = match path {
                b"." => name.to_bytes().to_vec(),
                path => [path, name.to_bytes()].join(&b'/'),
            };
            let status = rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW);
            let status = status.map_err(|error| about(&below)(error.into()))?;
            self.add(folder, &name, &below, &status, depth + 1)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &File, mut member: Member) -> io::Result<()> {
        let size = file.metadata()?.len();
        let stretches = self.stretches(file, size)?;
        let whole = stretches.iter().eq([&(0..size)]) || size == 0;
        member.kind = Kind::File { size, stretches: (!whole).then(|| stretches.clone()) };
        member.write(&mut self.out)?;
        for Range { start, end } in stretches {
            let mut at = start;
            while at < end {
                let most = self.piece.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                file.read_exact_at(&mut self.piece[..most], at)?;
                self.out.write_all(&self.piece[..most])?;
                at += most as u64;
            }
        }
        self.out.write_all(&[0; BLOCK][..padding(member.kind.stored())])
    }

    /// Where a file holds pieces that are not all zeros.
    fn stretches(&mut self, file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
        let piece = PIECE as u64;
        let mut stretches: Vec<Range<u64>> = Vec::new();
        if size <= piece {
            if size > 0 {
                stretches.push(0..size);
            }
            return Ok(stretches);
        }
        let mut at = 0;
        while at < size {
            match rustix::fs::seek(file, SeekFrom::Data(at)) {
                Ok(begin) => at = at.max(begin / piece * piece),
                // Nothing but a hole is left.
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            }
            let end = size.min(at + piece);
            let bytes = &mut self.piece[..usize::try_from(end - at).unwrap_or(PIECE)];
            file.read_exact_at(bytes, at)?;
            if !is_zero(bytes) {
                match stretches.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => stretches.push(at..end),
                }
            }
            at = end;
        }
        Ok(stretches)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// A file or folder that can be read as long as this lives, whatever its mode says.
struct Opened {
    file: File,
    /// The mode to give back.
    closed: Option<Mode>,
}

impl Opened {
    fn new(parent: impl AsFd, name: &CStr, status: &Stat, needed: Mode) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
        let ours = status.st_uid == rustix::process::geteuid().as_raw();
        let closed = (ours && !mode.contains(needed)).then_some(mode);
        if closed.is_some() {
            rustix::fs::chmodat(&parent, name, mode | needed, AtFlags::empty())?;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent, name, flags, Mode::empty());
        match opened {
            Ok(opened) => Ok(Self { file: File::from(opened), closed }),
            Err(error) => {
                if closed.is_some() {
                    rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
                }
                Err(error.into())
            }
        }
    }

    /// Its attributes, sorted.
    fn attributes(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        use rustix::io::Errno;
        // Most have none.
        if matches!(rustix::fs::flistxattr_query(&self.file), Ok(0) | Err(Errno::NOTSUP)) {
            return Ok(Vec::new());
        }
        let mut names = Vec::with_capacity(ATTRIBUTES);
        rustix::fs::flistxattr(&self.file, rustix::buffer::spare_capacity(&mut names))?;
        let mut attributes = Vec::new();
        for name in names.split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            if !name.to_bytes().starts_with(b"user.") {
                continue;
            }
            let mut value = Vec::with_capacity(ATTRIBUTES);
            rustix::fs::fgetxattr(&self.file, name, rustix::buffer::spare_capacity(&mut value))?;
            value.shrink_to_fit();
            attributes.push((name.to_bytes().to_vec(), value));
        }
        attributes.sort();
        Ok(attributes)
    }

    /// The opened file, which can be read on, with its mode as it was.
    fn close(mut self) -> io::Result<File> {
        self.restore()?;
        self.file.try_clone()
    }

    fn restore(&mut self) -> io::Result<()> {
        match self.closed.take() {
            Some(mode) => Ok(rustix::fs::fchmod(&self.file, mode)?),
            None => Ok(()),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let _already_said_where_it_failed = self.restore();
    }
}
