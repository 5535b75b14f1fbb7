//! What a release takes from elsewhere, as its lock pins it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicBool;

use super::error::{Error, Result};
use super::inputs::at;
use crate::archive::deb::release::ReleaseFile;
use crate::base::{Digest, HostPath, Sha256};
use crate::fetch::git::{self, Revision, Snapshot};
use crate::fetch::{self, Client, Expected, Index, Mirrors, PoolFile, Progress, Url};
use crate::spec::lock::Lock;

/// How many files are fetched at once.
const FETCHES: usize = 8;

/// The upstream archives of a release.
pub struct Upstream {
    folder: HostPath,
    lock: Lock,
    client: Client,
    mirrors: BTreeMap<String, Mirrors>,
}

impl Upstream {
    /// The archives that `lock` pins, by their names in release.toml. Nothing is fetched before
    /// something is needed that the store does not have.
    pub fn new(folder: HostPath, lock: Lock, client: Client, mirrors: Vec<Mirrors>) -> Self {
        let mirrors =
            mirrors.into_iter().map(|mirrors| (mirrors.archive().to_owned(), mirrors)).collect();
        Self { folder, lock, client, mirrors }
    }

    /// The object that holds a pinned index, uncompressed.
    pub fn index(
        &self,
        store: &crate::store::Store,
        archive: &str,
        suite: &str,
        path: &str,
        cancel: &AtomicBool,
    ) -> Result<Digest> {
        let missing = || Error::Unpinned { what: format!("{archive} {suite} {path}") };
        let locked = self.lock.archives.get(archive).ok_or_else(missing)?;
        let suite = locked.suites.iter().find(|known| known.suite == suite).ok_or_else(missing)?;
        let index = suite.indexes.iter().find(|known| known.path == path).ok_or_else(missing)?;
        if let Some(object) = store.find(&index.sha256)? {
            return Ok(object.digest);
        }
        let release = self.evidence(archive, &suite.suite, &suite.release)?;
        let wanted = Index {
            suite: &suite.suite,
            path,
            expected: Some((index.sha256, index.size)),
            release: &release,
            evidence: suite.release,
        };
        let mirrors = self.mirrors.get(archive).ok_or_else(missing)?;
        Ok(fetch::index(store, &self.client, mirrors, &wanted, cancel)?.digest)
    }

    /// The objects that hold these files of an archive, in this order.
    pub fn files(
        &self,
        store: &crate::store::Store,
        archive: &str,
        files: &[PoolFile],
        progress: &(dyn Fn(Progress) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Vec<Digest>> {
        let missing = || Error::Unpinned { what: archive.to_owned() };
        let mirrors = self.mirrors.get(archive).ok_or_else(missing)?;
        let objects =
            fetch::pool_many(store, &self.client, mirrors, files, FETCHES, progress, cancel)?;
        Ok(objects.into_iter().map(|object| object.digest).collect())
    }

    /// The object that holds a file from elsewhere.
    pub fn download(
        &self,
        store: &crate::store::Store,
        urls: &[String],
        sha256: Sha256,
        size: u64,
        cancel: &AtomicBool,
    ) -> Result<Digest> {
        let urls: Vec<Url> = urls.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
        let expected = Expected { sha256: Some(sha256), size: Some(size) };
        Ok(fetch::file(store, &self.client, &urls, expected, cancel)?.digest)
    }

    /// The files of a commit.
    pub fn snapshot(
        &self,
        store: &crate::store::Store,
        revision: &Revision<'_>,
        cancel: &AtomicBool,
    ) -> Result<Snapshot> {
        Ok(git::snapshot(store, &self.client, revision, cancel)?)
    }

    /// The Release file kept when the archive was pinned. Its signature was checked then; that it
    /// is the same file still is checked here.
    fn evidence(&self, archive: &str, suite: &str, expected: &Sha256) -> Result<ReleaseFile> {
        let path = self.folder.join(format!("release.lock.d/{archive}/{suite}.InRelease"));
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        let actual = Sha256::of(&bytes);
        if actual != *expected {
            return Err(Error::Evidence { path: path.to_string(), expected: *expected, actual });
        }
        let damaged = |reason: String| Error::Index { path: path.to_string(), reason };
        let text = crate::archive::deb::signature::signed_text(&bytes)
            .map_err(|error| damaged(error.to_string()))?;
        ReleaseFile::parse(&text).map_err(|error| damaged(error.to_string()))
    }
}
