//! Trees between a relay and whoever speaks to it, for an engine that does not share our files.
//!
//! Before a relay gets its order it takes trees and gives them, one after the other. A tree is a
//! parcel in pieces; both sides compute its digest, and the one that sends says what it is.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};

use super::afar::Stream;
use super::frames::{self, Kind};
use crate::base::Digest;
use crate::sandbox::parcel::{self, Limits};

/// Bytes of a tree in one frame.
const PIECE: usize = 256 << 10;

/// What comes from us is as large as it is.
const ENDLESS: Limits = Limits { bytes: u64::MAX, files: u64::MAX };

impl Stream {
    /// Makes the tree at `tree` in an empty folder of a relay that has no order yet. When this
    /// returns it is there, and is this tree: the relay answered with its digest. Fails when
    /// `cancel` becomes true.
    pub fn bring(&mut self, tree: &Path, to: &str, cancel: &AtomicBool) -> io::Result<Digest> {
        let brought = self.try_bring(tree, to, cancel);
        match brought {
            // Whoever stopped listening may have said why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(last_words(&mut self.from).unwrap_or(error))
            }
            brought => brought,
        }
    }

    fn try_bring(&mut self, tree: &Path, to: &str, cancel: &AtomicBool) -> io::Result<Digest> {
        frames::write(&mut self.to, Kind::Bring, to.as_bytes())?;
        let digest = parcel::pack(tree, Pieces { to: &mut self.to, cancel })?;
        let text = digest.to_string();
        frames::write(&mut self.to, Kind::ContentEnd, text.as_bytes())?;
        match frames::read(&mut self.from)? {
            Some((Kind::Brought, bytes)) if bytes == text.as_bytes() => Ok(digest),
            Some((Kind::Brought, _)) => Err(io::Error::other("another tree arrived than was sent")),
            answer => Err(unexpected(answer)),
        }
    }

    /// Makes the tree at `path` of a relay that has no order in `into`, an empty folder here.
    /// Errors as of [`parcel::unpack`]; fails when `cancel` becomes true.
    pub fn fetch(
        &mut self,
        path: &str,
        into: &Path,
        limits: &Limits,
        cancel: &AtomicBool,
    ) -> io::Result<Digest> {
        frames::write(&mut self.to, Kind::Fetch, path.as_bytes())?;
        let mut content = Content::new(&mut self.from, Some(cancel));
        let digest = parcel::unpack(&mut content, into, limits)?;
        match content.sent()? == digest.to_string().as_bytes() {
            true => Ok(digest),
            false => Err(io::Error::other("another tree arrived than was sent")),
        }
    }

    /// Returns when everything in this folder of a relay that has no order is on disk.
    pub fn settle(&mut self, folder: &str) -> io::Result<()> {
        frames::write(&mut self.to, Kind::Settle, folder.as_bytes())?;
        match frames::read(&mut self.from)? {
            Some((Kind::Settled, _)) => Ok(()),
            answer => Err(unexpected(answer)),
        }
    }

    /// Ends a relay that has no order.
    pub fn dismiss(mut self) {
        let _gone = frames::write(&mut self.to, Kind::Goodbye, b"");
    }
}

/// Takes the tree that a relay is brought.
pub fn take(to: &[u8], from: &mut impl Read, answer: &mut impl Write) -> io::Result<()> {
    let into = Path::new(OsStr::from_bytes(to));
    let mut content = Content::new(from, None);
    let digest = parcel::unpack(&mut content, into, &ENDLESS)?;
    content.sent()?;
    frames::write(answer, Kind::Brought, digest.to_string().as_bytes())
}

/// Puts the file system of a folder on disk.
pub fn settle(folder: &[u8], answer: &mut impl Write) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::syncfs(rustix::fs::openat(CWD, folder, flags, Mode::empty())?)?;
    frames::write(answer, Kind::Settled, b"")
}

/// Gives a tree that a relay is asked for.
pub fn give(path: &[u8], to: &mut impl Write) -> io::Result<()> {
    let never = AtomicBool::new(false);
    let path = Path::new(OsStr::from_bytes(path));
    let digest = parcel::pack(path, Pieces { to, cancel: &never })?;
    frames::write(to, Kind::ContentEnd, digest.to_string().as_bytes())
}

fn unexpected(answer: Option<(Kind, Vec<u8>)>) -> io::Error {
    match answer {
        None => io::ErrorKind::UnexpectedEof.into(),
        Some((Kind::Words, text)) => io::Error::other(String::from_utf8_lossy(&text).into_owned()),
        Some(_) => io::Error::new(io::ErrorKind::InvalidData, "it does not answer the question"),
    }
}

/// What a relay said before it ended.
fn last_words(from: &mut impl Read) -> Option<io::Error> {
    let answer = frames::read(from).ok()??;
    (answer.0 == Kind::Words).then(|| unexpected(Some(answer)))
}

fn called_off(cancel: &AtomicBool) -> io::Result<()> {
    match cancel.load(Ordering::Relaxed) {
        // Not `Interrupted`, after which everybody tries again.
        true => Err(io::Error::other("it was called off")),
        false => Ok(()),
    }
}

/// Bytes become frames.
struct Pieces<'a, W> {
    to: &'a mut W,
    cancel: &'a AtomicBool,
}

impl<W: Write> Write for Pieces<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        called_off(self.cancel)?;
        let piece = &bytes[..bytes.len().min(PIECE)];
        frames::write(self.to, Kind::Content, piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Frames become bytes.
struct Content<'a, R> {
    from: &'a mut R,
    piece: Vec<u8>,
    /// How much of the piece was read.
    at: usize,
    /// What was said at the end.
    end: Option<Vec<u8>>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a, R: Read> Content<'a, R> {
    fn new(from: &'a mut R, cancel: Option<&'a AtomicBool>) -> Self {
        Self { from, piece: Vec::new(), at: 0, end: None, cancel }
    }

    /// What the other side says of what it sent.
    fn sent(self) -> io::Result<Vec<u8>> {
        self.end.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && self.end.is_none() {
            self.cancel.map_or(Ok(()), called_off)?;
            match frames::read(self.from)? {
                Some((Kind::Content, piece)) => (self.piece, self.at) = (piece, 0),
                Some((Kind::ContentEnd, said)) => self.end = Some(said),
                answer => return Err(unexpected(answer)),
            }
        }
        let rest = &self.piece[self.at..];
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
