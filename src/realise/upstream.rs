//! What a release takes from elsewhere, as its lock pins it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::sync::atomic::AtomicBool;

use super::error::{Error, Result};
use super::inputs::at;
use crate::archive::deb::contents;
use crate::archive::deb::index::{self, SourcePackage};
use crate::archive::deb::release::ReleaseFile;
use crate::base::{Digest, HostPath, PackageName, Sha256};
use crate::fetch::git::{self, Revision, Snapshot};
use crate::fetch::{self, Client, Expected, Index, Mirrors, PoolFile, Progress, Url};
use crate::spec::lock::{IndexKind, Lock, LockedIndex, LockedSuite};

/// How many files are fetched at once.
const FETCHES: usize = 8;

/// The kind of what is kept of Contents indexes, and the version of its rules.
const CONTENTS: &str = "contents-2";

/// Where the Contents indexes may be that belong to an index of packages: those of Debian are
/// beside each component, older archives have one for all.
fn contents_paths(index: &LockedIndex) -> Vec<String> {
    let IndexKind::Packages(architecture) = &index.kind else { return Vec::new() };
    let component = index.path.split_once("/binary-").map_or("", |(component, _)| component);
    vec![
        format!("{component}/Contents-{architecture}"),
        format!("{component}/Contents-all"),
        format!("Contents-{architecture}"),
    ]
}

/// The upstream archives of a release.
pub struct Upstream {
    folder: HostPath,
    lock: Lock,
    client: Client,
    mirrors: BTreeMap<String, Mirrors>,
    /// Release files that are not in the folder yet, by path below it.
    evidence: BTreeMap<String, Vec<u8>>,
}

impl Upstream {
    /// The archives that `lock` pins, by their names in release.toml. Nothing is fetched before
    /// something is needed that the store does not have.
    pub fn new(folder: HostPath, lock: Lock, client: Client, mirrors: Vec<Mirrors>) -> Self {
        let mirrors =
            mirrors.into_iter().map(|mirrors| (mirrors.archive().to_owned(), mirrors)).collect();
        Self { folder, lock, client, mirrors, evidence: BTreeMap::new() }
    }

    /// The same, where these files, by path below the release folder, are taken before what lies
    /// there: what a lock rests on that is not written yet.
    pub fn with_evidence(self, evidence: BTreeMap<String, Vec<u8>>) -> Self {
        Self { evidence, ..self }
    }

    /// The suites of an archive as they are pinned.
    pub fn suites(&self, archive: &str) -> Option<&[LockedSuite]> {
        Some(&self.lock.archives.get(archive)?.suites)
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

    /// What an archive's pinned `Sources` indexes say of these source packages, each in its highest
    /// version; those that they do not have are left out.
    pub fn sources(
        &self,
        store: &crate::store::Store,
        archive: &str,
        names: &BTreeSet<&PackageName>,
        cancel: &AtomicBool,
    ) -> Result<BTreeMap<PackageName, SourcePackage>> {
        let missing = || Error::Unpinned { what: archive.to_owned() };
        let locked = self.lock.archives.get(archive).ok_or_else(missing)?;
        let mut best: BTreeMap<PackageName, SourcePackage> = BTreeMap::new();
        for suite in &locked.suites {
            let sources = suite.indexes.iter().filter(|index| index.kind == IndexKind::Sources);
            for LockedIndex { path, .. } in sources {
                let damaged = |reason: String| Error::Index { path: path.clone(), reason };
                let digest = self.index(store, archive, &suite.suite, path, cancel)?;
                let mut text = String::new();
                store
                    .open_sound(&digest)?
                    .read_to_string(&mut text)
                    .map_err(|error| damaged(format!("cannot be read: {error}")))?;
                let found =
                    index::sources(&text, names).map_err(|error| damaged(error.to_string()))?;
                for (name, source) in found {
                    if best.get(&name).is_none_or(|best| best.version < source.version) {
                        best.insert(name, source);
                    }
                }
            }
        }
        Ok(best)
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
        Ok(fetch::file(store, &self.client, &urls, expected, cancel)?.object.digest)
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

    /// What an archive's Contents indexes say of the files that builds ask for, one text for each
    /// index; none where the archive has no such indexes. Fetched as the pinned Release files
    /// name them, and kept in a shorter form.
    pub fn contents(
        &self,
        store: &crate::store::Store,
        archive: &str,
        cancel: &AtomicBool,
    ) -> Result<Vec<String>> {
        let missing = || Error::Unpinned { what: archive.to_owned() };
        let locked = self.lock.archives.get(archive).ok_or_else(missing)?;
        let mirrors = self.mirrors.get(archive).ok_or_else(missing)?;
        let mut texts = Vec::new();
        for suite in &locked.suites {
            let release = self.evidence(archive, &suite.suite, &suite.release)?;
            let paths: BTreeSet<String> = suite.indexes.iter().flat_map(contents_paths).collect();
            for path in &paths {
                let Some(from) = fetch::index_digest(&release, path) else { continue };
                if let Some(text) = store.derived(CONTENTS, &from)? {
                    texts.push(text);
                    continue;
                }
                let (suite, evidence) = (suite.suite.as_str(), suite.release);
                let index = Index { suite, path, expected: None, release: &release, evidence };
                let mut kept = Vec::new();
                fetch::read_index(&self.client, mirrors, &index, cancel, |text| {
                    contents::reduce(text, &mut kept)
                })?;
                let damaged = |_| Error::Index {
                    path: path.clone(),
                    reason: "is not UTF-8 where it should be".to_owned(),
                };
                let text = String::from_utf8(kept).map_err(damaged)?;
                store.put_derived(CONTENTS, &from, &text)?;
                texts.push(text);
            }
        }
        Ok(texts)
    }

    /// Whose archive this is: the `Origin` that the Release file of this pinned suite states, if it
    /// states any.
    pub fn origin(&self, archive: &str, suite: &str) -> Result<Option<String>> {
        let missing = || Error::Unpinned { what: format!("{archive} {suite}") };
        let locked = self.lock.archives.get(archive).ok_or_else(missing)?;
        let suite = locked.suites.iter().find(|known| known.suite == suite).ok_or_else(missing)?;
        let origin = self.evidence(archive, &suite.suite, &suite.release)?.origin;
        Ok(origin.filter(|origin| !origin.is_empty()))
    }

    /// The signed Release file of a pinned suite, as it was when it was pinned.
    pub fn in_release(&self, archive: &str, suite: &str) -> Result<Vec<u8>> {
        let missing = || Error::Unpinned { what: format!("{archive} {suite}") };
        let suites = self.suites(archive).ok_or_else(missing)?;
        let locked = suites.iter().find(|known| known.suite == suite).ok_or_else(missing)?;
        self.evidence_bytes(archive, suite, &locked.release).map(|(bytes, _)| bytes)
    }

    /// The Release file kept when the archive was pinned. Its signature was checked then; that it
    /// is the same file still is checked here.
    fn evidence(&self, archive: &str, suite: &str, expected: &Sha256) -> Result<ReleaseFile> {
        let (bytes, path) = self.evidence_bytes(archive, suite, expected)?;
        let damaged = |reason: String| Error::Index { path: path.to_string(), reason };
        let text = crate::archive::deb::signature::signed_text(&bytes)
            .map_err(|error| damaged(error.to_string()))?;
        ReleaseFile::parse(&text).map_err(|error| damaged(error.to_string()))
    }

    fn evidence_bytes(
        &self,
        archive: &str,
        suite: &str,
        expected: &Sha256,
    ) -> Result<(Vec<u8>, HostPath)> {
        let name = format!("release.lock.d/{archive}/{suite}.InRelease");
        let path = self.folder.join(&name);
        let bytes = match self.evidence.get(&name) {
            Some(bytes) => bytes.clone(),
            None => fs::read(&path).map_err(at("read", &path))?,
        };
        let actual = Sha256::of(&bytes);
        if actual != *expected {
            return Err(Error::Evidence { path: path.to_string(), expected: *expected, actual });
        }
        Ok((bytes, path))
    }
}
