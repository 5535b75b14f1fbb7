//! Many files made durable together.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rusqlite::Transaction;

use super::error::{Error, Result, system};
use super::logs::{self, Log, LogWriter};
use super::remove::sync_folder;
use super::{Object, Store, database};
use crate::base::{Digest, HostPath, Json, Sha256, Sha256Hasher};

/// Blobs, documents and logs on their way into the store; any number of threads may put into one.
///
/// Nothing has a name before [`Batch::commit`] or [`Batch::flush`], which sync all, then rename
/// all, then sync the folders, then write the table: a crash leaves whole files or none. Dropped
/// without a commit, everything put since is forgotten.
#[derive(Debug)]
pub struct Batch<'a> {
    store: &'a Store,
    pending: Mutex<Vec<Pending>>,
}

#[derive(Debug)]
struct Pending {
    /// Where the bytes wait; nothing if the store has them already.
    waiting: Option<HostPath>,
    target: HostPath,
    object: Option<Object>,
}

/// Up to this many files are synced one by one; syncfs(2) writes out whatever else is dirty.
const MOST_SYNCED_ALONE: usize = 8;

const PIECE: usize = 128 * 1024;

impl Store {
    /// An empty batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch { store: self, pending: Mutex::default() }
    }
}

impl Batch<'_> {
    /// Adds these bytes and gives their name.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let target = self.store.object_path(&digest);
        if !self.store.has(&target, &digest) {
            return self.put_file(bytes, None).map(|object| object.digest);
        }
        let object = Object { digest, sha256: Sha256::of(bytes), size: bytes.len() as u64 };
        self.add(None, target, &digest, Some(object));
        Ok(digest)
    }

    /// Adds what `reader` gives, as [`Store::put_file`].
    pub fn put_file(&self, mut reader: impl Read, expect: Option<(Sha256, u64)>) -> Result<Object> {
        let mut hashes = (blake3::Hasher::new(), Sha256Hasher::new());
        let mut size: u64 = 0;
        let waiting = self.write(|file, path| {
            let mut piece = vec![0; PIECE];
            loop {
                let count = match reader.read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Error::Input(error)),
                };
                size += count as u64;
                if let Some((expected, expected_size)) = expect
                    && size > expected_size
                {
                    return Err(Error::Oversized { expected, expected_size });
                }
                hashes.0.update(&piece[..count]);
                hashes.1.update(&piece[..count]);
                file.write_all(&piece[..count]).map_err(system("write", path))?;
            }
        })?;
        let digest = Digest::from_bytes(*hashes.0.finalize().as_bytes());
        let object = Object { digest, sha256: hashes.1.finish(), size };
        if let Some((expected, expected_size)) = expect
            && (object.sha256, size) != (expected, expected_size)
        {
            discard(&waiting);
            let (actual, actual_size) = (object.sha256, size);
            return Err(Error::Unexpected { expected, expected_size, actual, actual_size });
        }
        self.add(Some(waiting), self.store.object_path(&digest), &digest, Some(object));
        Ok(object)
    }

    /// Adds a JSON document in its canonical form and gives its name.
    pub fn put_json(&self, document: &Json) -> Result<Digest> {
        let bytes = document.encode();
        let digest = Digest::of(&bytes);
        let target = self.store.json_path(&digest);
        let write = |file: &mut File, path: &HostPath| {
            file.write_all(&bytes).map_err(system("write", path))
        };
        let known = self.store.has(&target, &digest);
        let waiting = if known { None } else { Some(self.write(write)?) };
        self.add(waiting, target, &digest, None);
        Ok(digest)
    }

    /// Adds a log that nothing is added to any more, compressed. Its growing file stays until the
    /// attempt it belongs to is finished.
    pub fn put_log(&self, log: &mut LogWriter) -> Result<Log> {
        let kept = log.end()?;
        let target = self.store.log_path(&kept.digest);
        let known = self.store.has(&target, &kept.digest);
        let compress = |file: &mut File, path: &HostPath| log.compress(file, path);
        let waiting = if known { None } else { Some(self.write(compress)?) };
        self.add(waiting, target, &kept.digest, None);
        Ok(kept)
    }

    /// Adds the text of a log that another store has kept, compressed, and gives its name.
    pub fn put_log_text(&self, text: &[u8]) -> Result<Digest> {
        let digest = Digest::of(text);
        let target = self.store.log_path(&digest);
        let compress = |file: &mut File, path: &HostPath| logs::compress(text, file, path);
        let known = self.store.has(&target, &digest);
        let waiting = if known { None } else { Some(self.write(compress)?) };
        self.add(waiting, target, &digest, None);
        Ok(digest)
    }

    /// Makes everything that was put durable and gives it its names.
    pub fn commit(self) -> Result<()> {
        self.flush()
    }

    /// Does so with everything that was put so far, while others go on putting.
    pub fn flush(&self) -> Result<()> {
        let objects = self.name_all()?;
        self.store.remember_objects(&objects)
    }

    /// Does so and, with the table's part of that, writes other rows.
    pub(super) fn commit_with<T>(
        self,
        operation: &'static str,
        rows: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let objects = self.name_all()?;
        self.store.write(operation, |transaction| {
            database::remember_objects(transaction, &objects)?;
            rows(transaction)
        })
    }

    /// Syncs all files, then names them, then syncs the folders.
    fn name_all(&self) -> Result<Vec<Object>> {
        let mut pending =
            std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        let waiting: Vec<&HostPath> = pending.iter().filter_map(|p| p.waiting.as_ref()).collect();
        if waiting.len() <= MOST_SYNCED_ALONE {
            at_once(&waiting, |path| {
                let file = File::open(path).map_err(system("open", path))?;
                file.sync_all().map_err(system("write", path))
            })?;
        } else {
            self.store.sync_all()?;
        }
        for entry in pending.iter_mut() {
            if let Some(path) = &entry.waiting {
                fs::rename(path, &entry.target).map_err(system("name", &entry.target))?;
                entry.waiting = None;
            }
        }
        let folders = ["objects", "json", "logs"].map(|name| self.store.path(name));
        let holds_some = |folder: &&HostPath| {
            pending.iter().any(|entry| entry.target.as_path().starts_with(folder))
        };
        let folders: Vec<&HostPath> = folders.iter().filter(holds_some).collect();
        at_once(&folders, |folder| sync_folder(folder.as_path()).map_err(system("sync", folder)))?;
        Ok(pending.iter().filter_map(|entry| entry.object).collect())
    }

    /// Has a new temporary file written, and removes it again if that fails.
    fn write(&self, fill: impl FnOnce(&mut File, &HostPath) -> Result<()>) -> Result<HostPath> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = self.store.temporary()?;
        let path = folder.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o444);
        let mut file = options.open(&path).map_err(system("create", &path))?;
        // Whatever the umask: a build, which runs as another id, may be shown an object.
        let readable = file.set_permissions(Permissions::from_mode(0o444));
        match readable.map_err(system("protect", &path)).and_then(|()| fill(&mut file, &path)) {
            Ok(()) => Ok(path),
            Err(error) => {
                discard(&path);
                Err(error)
            }
        }
    }

    fn add(
        &self,
        waiting: Option<HostPath>,
        target: HostPath,
        digest: &Digest,
        object: Option<Object>,
    ) {
        // Even for what is there already the folder is synced: whoever renamed it may not have
        // come to that yet.
        let waiting = waiting.filter(|waiting| {
            let known = self.store.has(&target, digest);
            if known {
                discard(waiting);
            }
            !known
        });
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push(Pending { waiting, target, object });
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let pending = self.pending.get_mut().unwrap_or_else(PoisonError::into_inner);
        pending.iter().filter_map(|entry| entry.waiting.as_ref()).for_each(discard);
    }
}

/// Does this with each path, all at the same time: the file system makes one write of several
/// syncs that wait for it together.
fn at_once(
    paths: &[&HostPath],
    sync: impl Fn(&HostPath) -> Result<()> + Copy + Send,
) -> Result<()> {
    let Some((first, others)) = paths.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let others: Vec<_> = others.iter().map(|path| scope.spawn(move || sync(path))).collect();
        let all = others.into_iter().map(|other| other.join().expect("syncing does not panic"));
        sync(first).and(all.fold(Ok(()), Result::and))
    })
}

/// Removes a file that nobody will name. If that fails it goes with the temporary folder.
fn discard(path: &HostPath) {
    let _ = fs::remove_file(path);
}
