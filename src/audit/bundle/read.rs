//! Opening a bundle, and reading what is in it; nothing is believed before it was checked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use super::error::{Error, Result, system};
use super::frame::{self, TRAILER_SIZE};
use super::index::{INDEX, Index, KEY, Member, Name, SIGNATURE, head};
use super::{BUNDLE_TYPE, tar};
use crate::base::{Digest, HostPath, Json, PublicKey, Sha256, Sha256Hasher, dsse};

/// The largest tail: it is read into memory.
const LARGEST_TAIL: u64 = 1 << 30;

/// The largest document.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// A bundle whose tail was read: its index is signed by its key, and lists all of the file.
#[derive(Debug)]
pub struct Bundle {
    /// The index.
    pub index: Index,
    /// The BLAKE3 of the index: what names the bundle.
    pub id: Digest,
    /// The key that signed it, whosoever that is.
    pub key: PublicKey,
    /// How long the file is, in bytes.
    pub length: u64,
    path: HostPath,
    file: File,
}

impl Bundle {
    /// Whether a file ends like a bundle.
    pub fn is_one(path: &HostPath) -> bool {
        open_plain(path).is_ok_and(|(file, length)| trailer(&file, length).is_some())
    }

    /// Reads the tail of a bundle.
    ///
    /// # Errors
    /// A file that cannot be read or is no bundle; an index, a signature or a key that are not
    /// what they should be, to the last byte.
    pub fn open(path: &HostPath) -> Result<Self> {
        let (file, length) = open_plain(path).map_err(system("open", path))?;
        let none = |why| Error::None { path: path.clone(), why };
        let Some(begin) = trailer(&file, length) else {
            return Err(none("its trailer is none; it may have been cut off, or added to"));
        };
        let end = length - TRAILER_SIZE as u64;
        if begin > end || end - begin > LARGEST_TAIL {
            return Err(Error::damaged("trailer", "the tail cannot begin where it says"));
        }
        let mut frame = vec![0; usize::try_from(end - begin).unwrap_or_default()];
        file.read_exact_at(&mut frame, begin).map_err(system("read", path))?;
        let tail = frame::read_stored(&frame).ok_or_else(|| {
            Error::damaged("tail", "it is not one zstd frame of raw blocks as bundles have it")
        })?;
        drop(frame);
        let part = |name: &'static str| {
            move |tar| {
                tar::split(tar, name).ok_or_else(|| Error::damaged(name, "not its tar header"))
            }
        };
        let (text, rest) = part(INDEX)(&tail)?;
        let (signature, rest) = part(SIGNATURE)(rest)?;
        let (key, rest) = part(KEY)(rest)?;
        if rest != tar::END {
            return Err(Error::damaged("tail", "its tar does not end after the key"));
        }
        let key: PublicKey = std::str::from_utf8(key)
            .ok()
            .and_then(|key| key.parse().ok())
            .ok_or_else(|| Error::damaged(KEY, "not an Ed25519 public key in PEM"))?;
        let id = Digest::of(text);
        let envelope =
            Json::read_canonical(signature).map_err(|error| Error::damaged(SIGNATURE, error))?;
        let signed = dsse::open(&envelope, BUNDLE_TYPE, &key).ok_or(Error::Unsigned)?;
        if signed != head(&id).encode() {
            return Err(Error::damaged(INDEX, "it is not the index that its signature names"));
        }
        let index = Index::read(text, begin)?;
        if !index.keys.contains(&key.to_string()) {
            return Err(Error::damaged(INDEX, "the key that signed it is not among its keys"));
        }
        Ok(Self { index, id, key, length, path: path.clone(), file })
    }

    /// Where it lies.
    pub fn path(&self) -> &HostPath {
        &self.path
    }

    /// What a member has in it, each frame checked before it is unpacked. That it is the content
    /// which the path names is for who reads it to see.
    pub(super) fn content<'a>(&'a self, member: &'a Member) -> Content<'a> {
        Content {
            bundle: self,
            member,
            number: 0,
            offset: member.offset,
            left: member.size,
            piece: Vec::new(),
            at: 0,
        }
    }

    /// Reads a member through and holds it against its path; a document has to be canonical, too.
    ///
    /// # Errors
    /// [`Error::Damaged`], which names it.
    pub fn check(&self, member: &Member) -> Result<()> {
        if let Name::Document(_) = member.path {
            return self.document(member).map(drop);
        }
        let mut content = self.content(member);
        let mut hashes = (blake3::Hasher::new(), Sha256Hasher::new());
        let is_object = member.sha256.is_some();
        while content.next_piece()? {
            hashes.0.update(content.rest());
            if is_object {
                hashes.1.update(content.rest());
            }
        }
        let digest = Digest::from_bytes(*hashes.0.finalize().as_bytes());
        let sha256 = member.sha256.map(|_| hashes.1.finish());
        same(member, digest, sha256)
    }

    /// Reads the frames of a member and holds them against the index, without unpacking them.
    pub(super) fn check_frames(&self, member: &Member) -> Result<()> {
        let mut offset = member.offset;
        for number in 0..member.frames.len() {
            offset += self.frame(member, number, offset)?.len() as u64;
        }
        Ok(())
    }

    /// A document of the bundle.
    pub fn document(&self, member: &Member) -> Result<Json> {
        let bytes = self.bytes(member)?;
        Json::read_canonical(&bytes).map_err(|error| Error::damaged(member.path, error))
    }

    /// The bytes of a member that is no object, checked against its path.
    pub(super) fn bytes(&self, member: &Member) -> Result<Vec<u8>> {
        if member.size > LARGEST_DOCUMENT {
            return Err(Error::Large { what: format!("`{}`", member.path) });
        }
        let mut bytes = Vec::new();
        let mut content = self.content(member);
        while content.next_piece()? {
            bytes.extend_from_slice(content.rest());
        }
        same(member, Digest::of(&bytes), None).map(|()| bytes)
    }

    /// A frame of a member, as the index names it.
    fn frame(&self, member: &Member, number: usize, offset: u64) -> Result<Vec<u8>> {
        let (expected, size) = &member.frames[number];
        let mut frame = vec![0; usize::try_from(*size).unwrap_or_default()];
        self.file.read_exact_at(&mut frame, offset).map_err(system("read", &self.path))?;
        let actual = Digest::of(&frame);
        if actual == *expected {
            return Ok(frame);
        }
        let count = member.frames.len();
        let of = if count == 1 { String::new() } else { format!("{} of {count} ", number + 1) };
        let why = format!(
            "its frame {of}at byte {offset} is not that of the index\n  expected {expected}\n  \
             actual   {actual}"
        );
        Err(Error::damaged(member.path, why))
    }
}

/// That a member's bytes are those that it is named by.
pub(super) fn same(member: &Member, digest: Digest, sha256: Option<Sha256>) -> Result<()> {
    let expected = member.path.digest();
    if digest != expected {
        let why = format!("its bytes are others\n  expected {expected}\n  actual   {digest}");
        return Err(Error::damaged(member.path, why));
    }
    match (sha256, member.sha256) {
        (Some(actual), Some(expected)) if actual != expected => {
            let why = format!("its SHA-256 is another\n  expected {expected}\n  actual   {actual}");
            Err(Error::damaged(member.path, why))
        }
        _ => Ok(()),
    }
}

/// The bytes of a member, piece by piece.
pub(super) struct Content<'a> {
    bundle: &'a Bundle,
    member: &'a Member,
    number: usize,
    offset: u64,
    /// How much of it was not given yet.
    left: u64,
    piece: Vec<u8>,
    at: usize,
}

impl Content<'_> {
    /// Goes on to the next piece; false after the last.
    fn next_piece(&mut self) -> Result<bool> {
        let Self { bundle, member, .. } = *self;
        let mut sizes = frame::pieces(member.size);
        let Some(size) = sizes.nth(self.number) else { return Ok(false) };
        let frame = bundle.frame(member, self.number, self.offset)?;
        let wrong = |why: &str| {
            let why = format!("its frame at byte {}: {why}", self.offset);
            Error::damaged(member.path, why)
        };
        let mut piece = frame::decompress(&frame, size).map_err(wrong)?;
        let mut at = 0;
        if self.number == 0 {
            let header = tar::header(&member.path.to_string(), member.size);
            if !piece.starts_with(&header) {
                return Err(wrong("its tar header is not the one that it has to have"));
            }
            at = header.len();
        }
        let content = ((piece.len() - at) as u64).min(self.left) as usize;
        if piece[at + content..].iter().any(|byte| *byte != 0) {
            return Err(wrong("something stands behind its end"));
        }
        piece.truncate(at + content);
        self.left -= content as u64;
        self.offset += frame.len() as u64;
        self.number += 1;
        (self.piece, self.at) = (piece, at);
        Ok(true)
    }

    /// What of the current piece was not given yet.
    fn rest(&self) -> &[u8] {
        &self.piece[self.at..]
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest().is_empty() {
            if !self.next_piece().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.rest().len());
        buffer[..count].copy_from_slice(&self.rest()[..count]);
        self.at += count;
        Ok(count)
    }
}

/// A plain file, opened to be read, and how long it is. Whatever else lies there is an error.
pub fn open_plain(path: &HostPath) -> io::Result<(File, u64)> {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    // Opening a pipe must not wait for somebody to write to it.
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if found.is_file() {
        Ok((file, found.len()))
    } else {
        Err(io::Error::other("not a plain file"))
    }
}

/// Where the tail begins, if there is a trailer that says so.
fn trailer(file: &File, length: u64) -> Option<u64> {
    let mut bytes = [0; TRAILER_SIZE];
    let begin = length.checked_sub(TRAILER_SIZE as u64)?;
    file.read_exact_at(&mut bytes, begin).ok()?;
    frame::read_trailer(&bytes)
}
