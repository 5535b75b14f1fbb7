//! Writing a bundle: one pass, with a few MiB of memory, whatever its size.
//!
//! What was written before a kill stays as `FILE.partial`, and the next time is gone on with: a
//! member's path says what its bytes are, so that each is checked before it is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FlockOperation, RenameFlags, renameat_with};
use zstd::bulk::Compressor;

use super::content::{Content, Gathered};
use super::error::{Error, Result, system};
use super::frame;
use super::index::{INDEX, KEY, Member, Name, SIGNATURE, head};
use super::{BUNDLE_TYPE, Seen, tar};
use crate::base::{Digest, HostPath, Json, Sha256Hasher, dsse};
use crate::store::{BuilderKey, Store};

/// A bundle that was written.
#[derive(Debug)]
pub struct Written {
    /// The name of its index.
    pub id: Digest,
    /// How many members it has.
    pub members: usize,
    /// Bytes of them, unpacked.
    pub unpacked: u64,
    /// Bytes of the file.
    pub length: u64,
    /// How many of the members were there from a run before.
    pub kept: usize,
}

/// Writes a bundle to a new file, signed by this key.
///
/// # Errors
/// A file that is there; what of the content is not what it is named by; a full disk, which is
/// given back what was written.
pub fn write(
    path: &HostPath,
    gathered: Gathered,
    store: &Store,
    key: &BuilderKey,
    seen: Seen<'_>,
    cancel: &AtomicBool,
) -> Result<Written> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(Error::Exists(path.clone()));
    }
    let mut writer = Writer::new(path)?;
    let done = writer.all(gathered, store, key, seen, cancel);
    if let Err(Error::System { source, .. }) = &done
        && source.kind() == io::ErrorKind::StorageFull
    {
        // Nothing more will fit behind it.
        let _ = fs::remove_file(&writer.partial);
    }
    done
}

struct Writer {
    path: HostPath,
    partial: HostPath,
    file: File,
    offset: u64,
    compressor: Compressor<'static>,
    /// Whether the file may go on with what is to be written.
    goes_on: bool,
    kept: usize,
}

impl Writer {
    fn new(path: &HostPath) -> Result<Self> {
        let mut name = path.as_path().as_os_str().to_owned();
        name.push(".partial");
        let partial = HostPath::new(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // Whoever may write to the folder could have put a way to another file there.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&partial).map_err(system("create", &partial))?;
        let found = file.metadata().map_err(system("look at", &partial))?;
        if !found.is_file() || found.nlink() != 1 {
            let odd = io::Error::other("what is there is no plain file of its own: remove it");
            return Err(system("write", &partial)(odd));
        }
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Busy(path.clone()));
        }
        let compressor = frame::compressor().map_err(system("compress", &partial))?;
        let path = path.clone();
        Ok(Self { path, partial, file, offset: 0, compressor, goes_on: true, kept: 0 })
    }

    fn all(
        &mut self,
        gathered: Gathered,
        store: &Store,
        key: &BuilderKey,
        seen: Seen<'_>,
        cancel: &AtomicBool,
    ) -> Result<Written> {
        let Gathered { mut index, contents, unpacked } = gathered;
        let mut done = 0;
        for (name, content) in contents {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let size = content.size;
            index.members.push(self.member(name, content, store)?);
            done += size;
            seen(done, unpacked);
        }
        let id = self.end(&index.encode(), key)?;
        let members = index.members.len();
        Ok(Written { id, members, unpacked, length: self.offset, kept: self.kept })
    }

    fn member(&mut self, name: Name, content: Content, store: &Store) -> Result<Member> {
        if content.size > tar::LARGEST {
            return Err(Error::Large {
                what: format!("{} ({} bytes)", content.what, content.size),
            });
        }
        if self.goes_on {
            if let Some(member) = self.keep(name, content.size)? {
                self.kept += 1;
                return Ok(member);
            }
            self.goes_on = false;
            self.file.set_len(self.offset).map_err(system("cut", &self.partial))?;
        }
        let offset = self.offset;
        let mut reader = content.open(store)?;
        let mut hashes = Hashes::default();
        let mut left = content.size;
        let mut frames = Vec::new();
        for (number, size) in frame::pieces(content.size).enumerate() {
            let mut piece = Vec::with_capacity(size);
            if number == 0 {
                piece.extend_from_slice(&tar::header(&name.to_string(), content.size));
            }
            let begin = piece.len();
            let wanted = ((size - begin) as u64).min(left);
            let read = reader.by_ref().take(wanted).read_to_end(&mut piece);
            let read = read.map_err(|source| content.unreadable(source))? as u64;
            hashes.update(&piece[begin..]);
            left -= read;
            piece.resize(size, 0);
            let frame = self.compressor.compress(&piece);
            let frame = frame.map_err(system("compress", &self.partial))?;
            frames.push((Digest::of(&frame), frame.len() as u64));
            self.put(&frame)?;
        }
        // One byte more than there should be is found, too.
        let mut more = [0];
        let longer = reader.read(&mut more).map_err(|source| content.unreadable(source))?;
        hashes.update(&more[..longer]);
        let (actual, sha256) = hashes.finish();
        if actual != name.digest() {
            let what = content.what.clone();
            return Err(Error::Moved { what, expected: name.digest(), actual });
        }
        let sha256 = matches!(name, Name::Object(_)).then_some(sha256);
        Ok(Member { path: name, size: content.size, sha256, frames, offset })
    }

    /// The member that the file has here from a run before, if that is this one.
    fn keep(&mut self, name: Name, size: u64) -> Result<Option<Member>> {
        let mut offset = self.offset;
        let mut hashes = Hashes::default();
        let mut left = size;
        let mut frames = Vec::new();
        for (number, piece_size) in frame::pieces(size).enumerate() {
            let mut buffer = vec![0; frame::LARGEST.min(piece_size + (piece_size >> 7) + 4096)];
            let there = read_at(&self.file, &mut buffer, offset);
            let there = there.map_err(system("read", &self.partial))?;
            let Some(length) = frame::length(&buffer[..there]) else { return Ok(None) };
            let frame = &buffer[..length];
            let Ok(piece) = frame::decompress(frame, piece_size) else { return Ok(None) };
            let header = tar::header(&name.to_string(), size);
            let content = match number {
                0 => piece.strip_prefix(&header),
                _ => Some(&piece[..]),
            };
            let Some(content) = content else { return Ok(None) };
            let (content, padding) = content.split_at((content.len() as u64).min(left) as usize);
            if padding.iter().any(|byte| *byte != 0) {
                return Ok(None);
            }
            left -= content.len() as u64;
            hashes.update(content);
            frames.push((Digest::of(frame), length as u64));
            offset += length as u64;
        }
        let (digest, sha256) = hashes.finish();
        if digest != name.digest() {
            return Ok(None);
        }
        let sha256 = matches!(name, Name::Object(_)).then_some(sha256);
        let member = Member { path: name, size, sha256, frames, offset: self.offset };
        self.offset = offset;
        Ok(Some(member))
    }

    /// Writes the tail and the trailer, and gives the file its name.
    fn end(&mut self, index: &[u8], key: &BuilderKey) -> Result<Digest> {
        self.file.set_len(self.offset).map_err(system("cut", &self.partial))?;
        let id = Digest::of(index);
        let signature: Json = key.sign(BUNDLE_TYPE, &head(&id));
        debug_assert!(dsse::open(&signature, BUNDLE_TYPE, &key.public()).is_some());
        let tail = [
            tar::whole(INDEX, index),
            tar::whole(SIGNATURE, &signature.encode()),
            tar::whole(KEY, key.public_pem().as_bytes()),
            tar::END.to_vec(),
        ];
        let trailer = frame::trailer(self.offset);
        self.put(&frame::stored(&tail.concat()))?;
        self.put(&trailer)?;
        self.file.sync_all().map_err(system("write", &self.partial))?;
        let (from, to) = (self.partial.as_path(), self.path.as_path());
        let named = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can do that.
            Err(rustix::io::Errno::INVAL) => rustix::fs::rename(from, to),
            named => named,
        };
        match named {
            Err(rustix::io::Errno::EXIST) => Err(Error::Exists(self.path.clone())),
            named => named.map_err(|error| system("name", &self.path)(error.into())),
        }?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = HostPath::new(folder.unwrap_or(std::path::Path::new(".")));
        let synced = File::open(&folder).and_then(|open| open.sync_all());
        synced.map_err(system("write", &folder))?;
        Ok(id)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.offset).and_then(|()| self.file.flush());
        written.map_err(system("write", &self.partial))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// Both digests of something.
#[derive(Default)]
struct Hashes(blake3::Hasher, Sha256Hasher);

impl Hashes {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
        self.1.update(bytes);
    }

    fn finish(self) -> (Digest, crate::base::Sha256) {
        (Digest::from_bytes(*self.0.finalize().as_bytes()), self.1.finish())
    }
}

/// As much as there is, at most what fits.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut there = 0;
    while there < buffer.len() {
        match file.read_at(&mut buffer[there..], offset + there as u64) {
            Ok(0) => break,
            Ok(count) => there += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}
