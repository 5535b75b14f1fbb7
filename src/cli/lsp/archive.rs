//! The packages of a pinned archive, as far as the store has its indexes: never the network's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::archive::deb::index::{self, BinaryPackage};
use crate::base::{Architecture, HostPath, PackageName, Sha256};
use crate::spec::lock::{IndexKind, LockedArchive};
use crate::store::Store;

/// The packages of an archive for one architecture.
pub struct Archive {
    digests: Vec<Sha256>,
    /// Those of each index, in order of preference.
    pub indexes: Vec<Vec<Arc<BinaryPackage>>>,
    /// Names of binary packages, sorted.
    binaries: Vec<PackageName>,
    /// Versions of source packages by their names.
    sources: BTreeMap<PackageName, String>,
    summaries: BTreeMap<Box<str>, Box<str>>,
}

/// The digests of an archive's package indexes for an architecture.
pub fn digests(locked: &LockedArchive, architecture: &Architecture) -> Vec<Sha256> {
    let of_packages = IndexKind::Packages(architecture.clone());
    let indexes = locked.suites.iter().flat_map(|suite| &suite.indexes);
    indexes.filter(|index| index.kind == of_packages).map(|index| index.sha256).collect()
}

impl Archive {
    /// The archive that these indexes make up; nothing where the store lacks one of them.
    pub fn read(store: &HostPath, digests: &[Sha256]) -> Option<Self> {
        if digests.is_empty() || !store.join("version").as_path().exists() {
            return None;
        }
        let store = Store::open(store).ok()?;
        let mut indexes = Vec::new();
        let mut summaries = BTreeMap::new();
        for digest in digests {
            let object = store.find(digest).ok()??;
            let text = String::from_utf8(store.read(&object.digest).ok()?).ok()?;
            indexes.push(index::packages(&text).ok()?);
            summaries.append(&mut index::summaries(&text));
        }
        Some(Self::new(digests.to_vec(), indexes, summaries))
    }

    fn new(
        digests: Vec<Sha256>,
        indexes: Vec<Vec<Arc<BinaryPackage>>>,
        summaries: BTreeMap<Box<str>, Box<str>>,
    ) -> Self {
        let mut binaries = BTreeSet::new();
        let mut sources = BTreeMap::new();
        for package in indexes.iter().flatten() {
            binaries.insert(package.name.clone());
            sources
                .entry(package.source.clone())
                .or_insert_with(|| package.source_version.to_string());
        }
        Self { digests, indexes, binaries: binaries.into_iter().collect(), sources, summaries }
    }

    /// The indexes that it was read from.
    pub fn digests(&self) -> &[Sha256] {
        &self.digests
    }

    /// Names of binary packages that begin with `start`, then those that have it elsewhere.
    pub fn binaries_like(&self, start: &str, most: usize) -> Vec<&PackageName> {
        let first = self.binaries.partition_point(|name| name.as_str() < start);
        let begins = self.binaries[first..]
            .iter()
            .take_while(|name| name.as_str().starts_with(start))
            .take(most);
        let begins: Vec<_> = begins.collect();
        let room = most - begins.len();
        let contains = self
            .binaries
            .iter()
            .filter(|name| name.as_str().find(start).is_some_and(|at| at > 0))
            .take(room);
        begins.into_iter().chain(contains).collect()
    }

    /// The same of source packages, with their versions.
    pub fn sources_like(&self, start: &str, most: usize) -> Vec<(&PackageName, &str)> {
        let begins = self.sources.iter().filter(|(name, _)| name.as_str().starts_with(start));
        let contains = self
            .sources
            .iter()
            .filter(|(name, _)| name.as_str().find(start).is_some_and(|at| at > 0));
        begins.chain(contains).take(most).map(|(name, version)| (name, version.as_str())).collect()
    }

    /// The best version of a binary package: the highest, that of the first index among equals.
    pub fn binary(&self, name: &str) -> Option<&BinaryPackage> {
        let of_name = self.indexes.iter().flatten().filter(|package| package.name.as_str() == name);
        // Of several equal ones `max_by` takes the last.
        of_name
            .map(AsRef::as_ref)
            .reduce(|best, next| if next.version > best.version { next } else { best })
    }

    /// The packages that provide a name none of them has.
    pub fn providers(&self, name: &str, most: usize) -> Vec<&PackageName> {
        let provides = |package: &&Arc<BinaryPackage>| {
            package.provides.text().contains(name)
                && package.provides.get().is_ok_and(|provides| {
                    let mut relations = provides.0.iter().flat_map(|any| &any.0);
                    relations.any(|relation| relation.name.as_str() == name)
                })
        };
        let found = self.indexes.iter().flatten().filter(provides);
        found.map(|package| &package.name).take(most).collect()
    }

    /// The version of a source package, and what is built from it.
    pub fn source(&self, name: &str) -> Option<(&str, Vec<&PackageName>)> {
        let (_, version) = self.sources.iter().find(|(known, _)| known.as_str() == name)?;
        let built = self.indexes.iter().flatten().filter(|it| it.source.as_str() == name);
        let built: BTreeSet<_> = built.map(|package| &package.name).collect();
        Some((version, built.into_iter().collect()))
    }

    /// What a binary package is, in one line.
    pub fn summary(&self, name: &str) -> &str {
        self.summaries.get(name).map_or("", AsRef::as_ref)
    }
}
