//! Blobs at `objects/<hash>` and JSON documents at `json/<hash>.json`, each named by the BLAKE3
//! of exactly its bytes, read-only, never changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::PoisonError;

use super::Store;
use super::error::{Error, Result, system};
use super::lease::touch;
use super::verify::Damage;
use crate::base::{Digest, HostPath, Json, Sha256};

/// A kept blob under both its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its BLAKE3: its name here.
    pub digest: Digest,
    /// Its SHA-256: its name in a distribution's archive.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

impl Store {
    /// Keeps these bytes and gives their name; durable when this returns.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        match self.find(&Sha256::of(bytes))? {
            // The row came after the file: it is durable.
            Some(object) => Ok(object.digest),
            None => self.put_file(bytes, None).map(|object| object.digest),
        }
    }

    /// Keeps what `reader` gives, hashed while it streams; durable when this returns.
    ///
    /// With an expectation (SHA-256 and size in bytes) other bytes are refused before they get a
    /// name, and no more than the expected size is read. A failing reader is [`Error::Input`].
    pub fn put_file(&self, reader: impl Read, expect: Option<(Sha256, u64)>) -> Result<Object> {
        let batch = self.batch();
        let object = batch.put_file(reader, expect)?;
        batch.commit()?;
        Ok(object)
    }

    /// Keeps all of these bytes, made durable together; gives their names in the same order.
    pub fn put_many<'a>(&self, blobs: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Digest>> {
        let batch = self.batch();
        let digests = blobs.into_iter().map(|bytes| batch.put(bytes)).collect::<Result<_>>()?;
        batch.commit()?;
        Ok(digests)
    }

    /// Keeps a JSON document in its canonical form and gives its name; durable when this returns.
    pub fn put_json(&self, document: &Json) -> Result<Digest> {
        let batch = self.batch();
        let digest = batch.put_json(document)?;
        batch.commit()?;
        Ok(digest)
    }

    /// Where the blob of this name is, if it is kept. Read-only: copy it, never link it out.
    pub fn object(&self, digest: &Digest) -> Option<HostPath> {
        let path = self.object_path(digest);
        self.has(&path, digest).then_some(path)
    }

    /// Keeps these blobs, as far as they are there, while this store is open, at the cost of
    /// asking for one.
    pub fn hold_objects<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        self.hold_all(digests.into_iter().map(Digest::as_bytes));
    }

    /// The blob of this SHA-256, if it is kept.
    pub fn find(&self, sha256: &Sha256) -> Result<Option<Object>> {
        let Some(object) = self.object_by_sha256(sha256)? else { return Ok(None) };
        Ok(self.object(&object.digest).map(|_| object))
    }

    /// The blob of this name, open for reading; not verified.
    pub fn open_object(&self, digest: &Digest) -> Result<File> {
        open(&self.object_path(digest))
    }

    /// The bytes of the blob of this name, verified.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        read_verified(&self.object_path(digest), digest)
    }

    /// Reads the blob of this name through and compares it with its name.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let path = self.object_path(digest);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(open(&path)?).map_err(system("read", &path))?;
        check(path, digest, Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// The blob of this name, open for reading after it was read through and found whole. A
    /// damaged one is [`Error::PutAside`]: the next run fetches or builds it anew.
    pub fn open_sound(&self, digest: &Digest) -> Result<File> {
        match self.verify(digest) {
            Ok(()) => self.open_object(digest),
            Err(Error::Corrupt { path, expected, actual }) => {
                self.quarantine(digest)?;
                Err(Error::PutAside { path, expected, actual })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the file of this name is kept; if so it stays while this store is open.
    pub(super) fn has(&self, path: &HostPath, digest: &Digest) -> bool {
        self.hold(digest.as_bytes());
        let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
        found.is_some_and(|found| {
            touch(path, &found);
            true
        })
    }

    /// The JSON document of this name, if it is kept: its canonical bytes, verified.
    pub fn json(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        self.hold(digest.as_bytes());
        match read_verified(&self.json_path(digest), digest) {
            Err(Error::Missing { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    /// The JSON document of this name as a value; a missing one is [`Error::Missing`].
    pub fn read_json(&self, digest: &Digest) -> Result<Json> {
        self.hold(digest.as_bytes());
        let path = self.json_path(digest);
        let bytes = read_verified(&path, digest)?;
        Json::read_canonical(&bytes).map_err(|source| Error::Document { path, source })
    }

    /// Moves a damaged blob or document of this name out of the way, so that it can be fetched or
    /// built again; gives where it went. Nothing happens to what is whole or not there.
    pub fn quarantine(&self, digest: &Digest) -> Result<Option<HostPath>> {
        for path in [self.object_path(digest), self.json_path(digest)] {
            match read_verified(&path, digest) {
                Err(Error::Corrupt { .. }) => {}
                Ok(_) | Err(Error::Missing { .. }) => continue,
                Err(_) if !is_file(&path) => {}
                Err(error) => return Err(error),
            }
            let aside = self.put_aside(&path)?;
            let mut damage = self.shared.damage.lock().unwrap_or_else(PoisonError::into_inner);
            let what = "its bytes are not those of its name".to_owned();
            damage.push(Damage { path, what, aside: Some(aside.clone()) });
            return Ok(Some(aside));
        }
        Ok(None)
    }

    /// Where the document of this name is, or would be.
    pub fn document_path(&self, digest: &Digest) -> HostPath {
        self.json_path(digest)
    }

    pub(super) fn object_path(&self, digest: &Digest) -> HostPath {
        self.path("objects").join(digest.to_string())
    }

    pub(super) fn json_path(&self, digest: &Digest) -> HostPath {
        self.path("json").join(format!("{digest}.json"))
    }
}

pub(super) fn is_file(path: &HostPath) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// Opens a plain file: a link or a pipe in the store is none of ours.
pub(super) fn open(path: &HostPath) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.clone() },
        _ => system("open", path)(error),
    })?;
    let found = file.metadata().map_err(system("look at", path))?;
    if !found.is_file() {
        return Err(system("read", path)(io::Error::other("not a plain file")));
    }
    Ok(file)
}

fn read_verified(path: &HostPath, digest: &Digest) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(system("read", path))?;
    check(path.clone(), digest, Digest::of(&bytes))?;
    Ok(bytes)
}

fn check(path: HostPath, expected: &Digest, actual: Digest) -> Result<()> {
    if *expected == actual {
        Ok(())
    } else {
        Err(Error::Corrupt { path, expected: *expected, actual })
    }
}
