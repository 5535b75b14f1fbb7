//! All packages there are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use crate::archive::deb::dependency::Relation;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{Architecture, PackageName, nearest};

/// The packages a build root may hold. Cheap to clone and to [replace](Self::replace) in.
#[derive(Debug, Clone, Default)]
pub struct Universe {
    archive: Arc<Shelf>,
    release: Arc<Shelf>,
}

impl Universe {
    /// The packages of an archive's suites, given in order of preference at equal versions.
    pub fn new(suites: Vec<Vec<Arc<BinaryPackage>>>) -> Self {
        // The one field that must be read of every package; done here, on all cores.
        suites.par_iter().flatten().for_each(|package| {
            let _ = package.provides.get();
        });
        let archive = Shelf::new(suites.into_iter().flatten());
        Self { archive: Arc::new(archive), release: Arc::default() }
    }

    /// This universe with `packages` in the place of all the archive's packages of these names,
    /// whatever their versions, and of all that were so placed before.
    #[must_use]
    pub fn replace(&self, packages: Vec<Arc<BinaryPackage>>) -> Self {
        Self { archive: self.archive.clone(), release: Arc::new(Shelf::new(packages)) }
    }

    /// The package called `name` that a root for `architecture` would hold.
    pub fn candidate(
        &self,
        name: &str,
        architecture: &Architecture,
    ) -> Option<&Arc<BinaryPackage>> {
        let all = self.release.names.get(name).or_else(|| self.archive.names.get(name))?;
        all.iter().find(|package| fits(package, architecture))
    }

    /// The packages that satisfy `relation` in a root for `architecture`, in the order they would
    /// be tried.
    pub fn satisfying(
        &self,
        relation: &Relation,
        architecture: &Architecture,
    ) -> Vec<&Arc<BinaryPackage>> {
        let mut all = self.meant(relation, architecture);
        all.retain(|package| package.serves(relation.qualifier.as_ref(), architecture));
        all.sort_by_key(|package| {
            (
                package.name != relation.name,
                !package.essential,
                !package.important,
                package.priority,
                Reverse(&package.name),
            )
        });
        all
    }

    /// The packages that `relation` speaks of by name, version and `Provides`, sorted by name.
    pub(super) fn meant(
        &self,
        relation: &Relation,
        architecture: &Architecture,
    ) -> Vec<&Arc<BinaryPackage>> {
        let name = relation.name.as_str();
        let mut all = Vec::new();
        if let Some(package) = self.candidate(name, architecture)
            && relation.accepts(&package.version)
        {
            all.push(package);
        }
        for shelf in [&self.archive, &self.release] {
            for package in shelf.providers.get(name).into_iter().flatten() {
                let candidate = self.candidate(package.name.as_str(), architecture);
                if candidate.is_some_and(|candidate| Arc::ptr_eq(candidate, package))
                    && !all.iter().any(|known| Arc::ptr_eq(known, package))
                    && package.provides_for(relation)
                {
                    all.push(package);
                }
            }
        }
        // Sorted, for what is learnt in a search must not hang on the order of an index.
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The essential packages of a root for `architecture`, sorted by name.
    pub fn essential(&self, architecture: &Architecture) -> Vec<&Arc<BinaryPackage>> {
        let names = [&self.archive, &self.release].into_iter().flat_map(|shelf| &shelf.essential);
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.dedup();
        let candidates = names.into_iter().filter_map(|n| self.candidate(n.as_str(), architecture));
        candidates.filter(|package| package.essential).collect()
    }

    /// The known name that `name` was most likely meant to be.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let shelves = [&self.archive, &self.release];
        let names =
            shelves.into_iter().flat_map(|shelf| shelf.names.keys().chain(shelf.providers.keys()));
        nearest(name, names.map(PackageName::as_str))
    }
}

/// Packages, to be found by name and by what they provide.
#[derive(Debug, Default)]
struct Shelf {
    /// Highest version first.
    names: HashMap<PackageName, Vec<Arc<BinaryPackage>>>,
    providers: HashMap<PackageName, Vec<Arc<BinaryPackage>>>,
    /// Names of which any version is essential.
    essential: Vec<PackageName>,
}

impl Shelf {
    fn new(packages: impl IntoIterator<Item = Arc<BinaryPackage>>) -> Self {
        let mut shelf = Self::default();
        for package in packages {
            // A package whose `Provides` is unreadable provides nothing, and is itself refused
            // with the reason when somebody wants it.
            for provided in package.provides.get().into_iter().flat_map(|all| &all.0) {
                for relation in &provided.0 {
                    let providers = shelf.providers.entry(relation.name.clone()).or_default();
                    if !providers.last().is_some_and(|last| Arc::ptr_eq(last, &package)) {
                        providers.push(package.clone());
                    }
                }
            }
            if package.essential {
                shelf.essential.push(package.name.clone());
            }
            match shelf.names.get_mut(package.name.as_str()) {
                Some(versions) => {
                    let later = versions.iter().position(|known| known.version < package.version);
                    versions.insert(later.unwrap_or(versions.len()), package);
                }
                None => {
                    shelf.names.insert(package.name.clone(), vec![package]);
                }
            }
        }
        shelf
    }
}

fn fits(package: &BinaryPackage, architecture: &Architecture) -> bool {
    package.architecture == *architecture || package.architecture.as_str() == "all"
}
