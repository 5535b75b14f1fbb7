//! An archive at the state that a release is pinned to: which paths it has, and what they are.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;

use jiff::Timestamp;

use crate::archive::deb::index;
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::signature::signed_text;
use crate::base::{Architecture, HostPath, Sha256};
use crate::service::error::{Error, Result};
use crate::spec::lock::{IndexKind, Lock, LockedArchive, LockedIndex, LockedSuite};
use crate::spec::release::{self, Release};
use crate::store::Store;

/// A release, as a bank knows it.
pub struct Pinned {
    /// Name and version: `demo-1.0`.
    pub title: String,
    /// Its archives, sorted by name.
    pub(super) archives: Vec<Archive>,
    /// What its roots consist of.
    pub(super) roots: Vec<RootList>,
}

/// What a root of a release consists of, which every build root over it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootList {
    /// Its name, and where it is there for several architectures, `-` and the architecture.
    pub name: String,
    /// Its packages with their versions, sorted by name.
    pub packages: Vec<(String, String)>,
}

impl RootList {
    /// `name=version`, as apt takes it, a line.
    pub fn text(&self) -> String {
        let line = |(name, version): &(String, String)| format!("{name}={version}\n");
        self.packages.iter().map(line).collect()
    }
}

/// A suite as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// The date of its Release file, as written there.
    pub date: String,
    /// Until when clients believe it, unless they are told not to look.
    pub valid_until: Option<Timestamp>,
    /// Pinned indexes that no client can get: the store does not hold them, or not in a form that
    /// the Release file lists.
    pub lacks: Vec<String>,
}

/// How much of what an archive lists is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Binary packages listed.
    pub packages: usize,
    /// How many of them were held when the service began.
    pub packages_held: usize,
    /// Files of source packages listed.
    pub sources: usize,
    /// How many of them were held then.
    pub sources_held: usize,
}

/// An archive at a state.
pub struct Archive {
    /// Its name in release.toml.
    pub name: String,
    /// Its suites.
    pub suites: Vec<Suite>,
    /// Its components.
    pub components: Vec<String>,
    /// The architectures whose packages are pinned, without `all`.
    pub architectures: Vec<Architecture>,
    /// Whether source packages are pinned.
    pub has_sources: bool,
    /// The file of the release that holds the keys which it was locked with, and its digest.
    pub keyring: (String, Option<Sha256>),
    /// The newest date of its suites.
    pub date: Timestamp,
    /// How much of it is held.
    pub tally: Tally,
    locked: LockedArchive,
    entries: HashMap<Box<str>, Entry>,
}

/// What a path of an archive is.
pub(super) enum Entry {
    /// A signed Release file.
    Evidence {
        /// It.
        bytes: Vec<u8>,
        /// Its digest.
        sha256: Sha256,
    },
    /// A file that a Release file lists.
    Listed {
        /// Its digest.
        sha256: Sha256,
    },
    /// A file that an index lists.
    Pool {
        /// Its digest.
        sha256: Sha256,
        /// The package it is, or belongs to.
        of: Box<str>,
    },
}

impl Pinned {
    /// The archives of a release in `folder` as `lock` pins them, and what of them the store has.
    ///
    /// # Errors
    /// Where the files that the pins rest on are not there, or an index is damaged. One that is
    /// not in the store is no error: [`Suite::lacks`] has it.
    pub fn read(store: &Store, folder: &HostPath, release: &Release, lock: &Lock) -> Result<Self> {
        let archives = release.archives.iter().filter_map(|(name, archive)| {
            let locked = lock.archives.get(name)?;
            Some(Archive::read(store, folder, name, archive, locked))
        });
        Ok(Self {
            title: format!("{}-{}", release.name, release.version),
            archives: archives.collect::<Result<_>>()?,
            roots: Vec::new(),
        })
    }

    /// The same, with what its roots consist of.
    #[must_use]
    pub fn with_roots(self, roots: Vec<RootList>) -> Self {
        Self { roots, ..self }
    }

    /// Its archives.
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    pub(super) fn archive(&self, name: &str) -> Option<&Archive> {
        self.archives.iter().find(|archive| archive.name == name)
    }

    pub(super) fn root(&self, name: &str) -> Option<&RootList> {
        self.roots.iter().find(|root| root.name == name)
    }
}

impl Archive {
    fn read(
        store: &Store,
        folder: &HostPath,
        name: &str,
        archive: &release::Archive,
        locked: &LockedArchive,
    ) -> Result<Self> {
        let keyring = archive.keyring.value.as_str();
        let keys = fs::read(folder.join(keyring)).ok().map(|bytes| Sha256::of(&bytes));
        let mut read = Self {
            name: name.to_owned(),
            suites: Vec::new(),
            components: archive.components.clone(),
            architectures: Vec::new(),
            has_sources: false,
            keyring: (keyring.to_owned(), keys),
            date: Timestamp::UNIX_EPOCH,
            tally: Tally::default(),
            locked: locked.clone(),
            entries: HashMap::new(),
        };
        for suite in &locked.suites {
            read.take_suite(store, folder, suite)?;
        }
        read.architectures.sort();
        read.architectures.dedup();
        Ok(read)
    }

    /// Whether both are one state.
    pub(super) fn pins(&self, other: &Self) -> bool {
        self.locked == other.locked
    }

    /// What is at a path.
    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    fn take_suite(&mut self, store: &Store, folder: &HostPath, suite: &LockedSuite) -> Result<()> {
        let LockedSuite { suite: name, date, release: sha256, indexes } = suite;
        let path = folder.join(format!("release.lock.d/{}/{name}.InRelease", self.name));
        let bytes =
            fs::read(&path).map_err(|source| Error::Evidence { path: path.clone(), source })?;
        if Sha256::of(&bytes) != *sha256 {
            return Err(Error::Unfounded { path });
        }
        let text = signed_text(&bytes).map_err(|_| Error::Unfounded { path })?;
        let file = ReleaseFile::parse(&text).map_err(|source| Error::Release {
            archive: self.name.clone(),
            suite: name.clone(),
            source,
        })?;
        self.date = self.date.max(file.date);
        for (path, (_, sha256)) in &file.files {
            self.list(name, path, *sha256);
        }
        let mut lacks = Vec::new();
        for index in indexes {
            self.list(name, &index.path, index.sha256);
            if !self.take_index(store, index)? || !file.files.contains_key(&index.path) {
                lacks.push(index.path.clone());
            }
        }
        self.list_evidence(name, bytes, *sha256);
        self.suites.push(Suite {
            name: name.clone(),
            date: date.clone(),
            valid_until: file.valid_until,
            lacks,
        });
        Ok(())
    }

    fn list_evidence(&mut self, suite: &str, bytes: Vec<u8>, sha256: Sha256) {
        let path = format!("dists/{suite}/InRelease");
        self.entries.insert(path.into(), Entry::Evidence { bytes, sha256 });
    }

    /// Lists a file of a suite under its name and under its digest.
    fn list(&mut self, suite: &str, path: &str, sha256: Sha256) {
        let below = path.rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
        let below = below.unwrap_or_default();
        let by_hash = format!("dists/{suite}/{below}by-hash/SHA256/{sha256}");
        let plain = format!("dists/{suite}/{path}");
        self.entries.insert(by_hash.into(), Entry::Listed { sha256 });
        self.entries.insert(plain.into(), Entry::Listed { sha256 });
    }

    /// Lists what an index lists; whether the store has the index.
    fn take_index(&mut self, store: &Store, index: &LockedIndex) -> Result<bool> {
        let Some(object) = store.find(&index.sha256)? else { return Ok(false) };
        let damaged = |what: String| Error::Index {
            archive: self.name.clone(),
            path: index.path.clone(),
            what,
        };
        let mut text = String::new();
        store
            .open_sound(&object.digest)?
            .read_to_string(&mut text)
            .map_err(|error| damaged(error.to_string()))?;
        match &index.kind {
            IndexKind::Packages(architecture) => {
                if *architecture != Architecture::all() {
                    self.architectures.push(architecture.clone());
                }
                let packages =
                    index::packages(&text).map_err(|error| damaged(error.to_string()))?;
                for package in packages {
                    self.tally.packages += 1;
                    let held = store.find(&package.sha256)?.is_some();
                    self.tally.packages_held += usize::from(held);
                    self.pool(&package.filename, package.sha256, &package.title());
                }
            }
            IndexKind::Sources => {
                self.has_sources = true;
                let sources =
                    index::every_source(&text).map_err(|error| damaged(error.to_string()))?;
                for source in sources {
                    let title = format!("source {} {}", source.name, source.version);
                    for file in &source.files {
                        self.tally.sources += 1;
                        let held = store.find(&file.sha256)?.is_some();
                        self.tally.sources_held += usize::from(held);
                        let path = match source.directory.as_str() {
                            "" => file.name.clone(),
                            directory => format!("{directory}/{}", file.name),
                        };
                        self.pool(&path, file.sha256, &title);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Lists a file of the pool. Where two suites have two files of one name, the first counts,
    /// as it does for the release.
    fn pool(&mut self, path: &str, sha256: Sha256, of: &str) {
        let entry = self.entries.entry(path.into());
        entry.or_insert_with(|| Entry::Pool { sha256, of: of.into() });
    }
}
