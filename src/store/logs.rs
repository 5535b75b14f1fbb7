//! Build logs: plain text while they grow, so that anybody can follow them; afterwards compressed
//! and named by the BLAKE3 of their text (`zstdcat logs/<digest>.zst | b3sum` checks one by hand).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::FlockOperation;

use super::Store;
use super::error::{Error, Result, system};
use super::locks::{attempt, wait};
use super::objects::open;
use super::scratch::random_name;
use crate::base::{Digest, HostPath};

/// No log is longer than this many bytes, whatever its writer was told.
pub(super) const LONGEST: u64 = 1 << 28;

const COMPRESSION: i32 = 3;

/// A log that is being written. Dropped unfinished, or with its process killed, its text stays
/// readable as far as it came.
#[derive(Debug)]
pub struct LogWriter {
    store: Store,
    partial: HostPath,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    limit: u64,
    dropped: u64,
}

/// A finished log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The BLAKE3 of its text: its name.
    pub digest: Digest,
    /// The size of its text in bytes.
    pub size: u64,
    /// How many bytes came after the limit and were not kept; the text's last line says so too.
    pub dropped: u64,
}

impl Store {
    /// A new log of at most `limit` bytes (and never more than 256 MiB).
    pub(super) fn log_writer(&self, limit: u64) -> Result<LogWriter> {
        let partial = self.path("logs").join(format!("{}.partial", random_name()));
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        // Where logs are looked for it is locked from the first moment: one that is not is taken
        // for that of a process that died.
        let room = self.scratch()?;
        let unseen = room.path().join("log");
        let file = options.open(&unseen).map_err(system("create", &unseen))?;
        wait(&file, FlockOperation::LockExclusive, unseen.as_path())?;
        fs::rename(&unseen, &partial).map_err(system("create", &partial))?;
        Ok(LogWriter {
            store: self.clone(),
            partial,
            file,
            hasher: blake3::Hasher::new(),
            size: 0,
            limit: limit.min(LONGEST),
            dropped: 0,
        })
    }

    /// Finishes a growing log whose writer died, with a last line that says so; nothing if its
    /// writer lives, or if it is gone.
    pub(super) fn close_log(&self, partial: &HostPath) -> Result<Option<Log>> {
        let mut options = OpenOptions::new();
        let mut file = match options.read(true).append(true).open(partial) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system("open", partial)(error)),
        };
        if !attempt(&file, FlockOperation::NonBlockingLockExclusive, partial.as_path())? {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        let size = io::copy(&mut file, &mut hasher).map_err(system("read", partial))?;
        let mut log = LogWriter {
            store: self.clone(),
            partial: partial.clone(),
            file,
            hasher,
            size,
            limit: LONGEST,
            dropped: 0,
        };
        log.mark("the log ends here: the program was ended while this was built")?;
        log.finish().map(Some)
    }

    /// The text of a finished log, verified.
    pub fn read_log(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.log_path(digest);
        let mut text = Vec::new();
        zstd::stream::read::Decoder::new(open(&path)?)
            .and_then(|decoder| decoder.take(LONGEST + 1024).read_to_end(&mut text))
            .map_err(system("decompress", &path))?;
        let actual = Digest::of(&text);
        if actual == *digest {
            Ok(text)
        } else {
            Err(Error::Corrupt { path, expected: *digest, actual })
        }
    }

    /// Writes the text of a finished log elsewhere, and gives its size in bytes. It is verified as
    /// it passes: what was written is not to be used if this fails.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not what its name says, [`Error::Missing`] if it is not kept.
    pub fn copy_log(&self, digest: &Digest, to: &mut dyn Write) -> Result<u64> {
        let path = self.log_path(digest);
        let mut hasher = blake3::Hasher::new();
        let size = zstd::stream::read::Decoder::new(open(&path)?)
            .and_then(|decoder| {
                let mut text = decoder.take(LONGEST + 1024);
                io::copy(&mut text, &mut Tee { hasher: &mut hasher, to })
            })
            .map_err(system("decompress", &path))?;
        let actual = Digest::from_bytes(*hasher.finalize().as_bytes());
        if actual == *digest {
            Ok(size)
        } else {
            Err(Error::Corrupt { path, expected: *digest, actual })
        }
    }

    /// Whether a finished log of this name is kept; if so it stays while this store is open.
    pub fn has_log(&self, digest: &Digest) -> bool {
        self.has(&self.log_path(digest), digest)
    }

    pub(super) fn log_path(&self, digest: &Digest) -> HostPath {
        self.path("logs").join(format!("{digest}.zst"))
    }
}

impl LogWriter {
    /// The file with the text so far.
    pub fn path(&self) -> &HostPath {
        &self.partial
    }

    /// Adds to the log, keeping what its limit leaves room for.
    pub fn append(&mut self, text: &[u8]) -> Result<()> {
        self.write_all(text).map_err(system("write", &self.partial))
    }

    /// Says something in the log that the build did not print, on a line of its own in brackets,
    /// whatever the limit.
    pub fn mark(&mut self, words: &str) -> Result<()> {
        let line = format!("\n[{words}]\n");
        self.keep(line.as_bytes()).map_err(system("write", &self.partial))
    }

    /// Another handle of the file: as long as one is open, the log counts as being written.
    pub(super) fn lease(&self) -> Result<File> {
        self.file.try_clone().map_err(system("keep open", &self.partial))
    }

    /// Compresses the log and gives it its name; durable when this returns. The growing file
    /// stays until the attempt it belongs to is finished.
    pub fn finish(mut self) -> Result<Log> {
        let store = self.store.clone();
        let batch = store.batch();
        let log = batch.put_log(&mut self)?;
        batch.commit()?;
        Ok(log)
    }

    /// What the log is, now that nothing is added to it any more.
    pub(super) fn end(&mut self) -> Result<Log> {
        if self.dropped > 0 {
            self.mark(&format!("the log is cut here: {} more bytes", self.dropped))?;
        }
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        Ok(Log { digest, size: self.size, dropped: self.dropped })
    }

    /// Writes it as it is kept.
    pub(super) fn compress(&self, to: &mut File, path: &HostPath) -> Result<()> {
        compress(open(&self.partial)?, to, path)
    }

    fn keep(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        self.hasher.update(text);
        self.size += text.len() as u64;
        Ok(())
    }
}

/// Writes to both.
struct Tee<'a> {
    hasher: &'a mut blake3::Hasher,
    to: &'a mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Write for LogWriter {
    /// Takes all of `text`, keeping what the limit leaves room for.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let (kept, dropped) = text.split_at(room.min(text.len()));
        let kept = if self.dropped > 0 { &[] } else { kept };
        self.keep(kept)?;
        self.dropped += dropped.len() as u64;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the text of a log as it is kept.
pub(super) fn compress(mut text: impl Read, to: &mut File, path: &HostPath) -> Result<()> {
    zstd::stream::write::Encoder::new(to, COMPRESSION)
        .and_then(|mut encoder| io::copy(&mut text, &mut encoder).map(|_| encoder))
        .and_then(zstd::stream::write::Encoder::finish)
        .map(drop)
        .map_err(system("write", path))
}

/// Whether somebody still writes the growing log at `path`.
pub(super) fn is_growing(path: &HostPath) -> Result<bool> {
    match open(path) {
        Ok(file) => {
            attempt(&file, FlockOperation::NonBlockingLockShared, path.as_path()).map(|free| !free)
        }
        Err(Error::Missing { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
