//! Building a package with exactly the packages in its root that a list of names and versions has,
//! such as that of a distribution's builder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::{self, Action, Listed};
use super::again::{Again, Failed, Known, Repeat, insist};
use super::error::Result;
use super::package::{Job, Resolved};
use super::record::Record;
use super::script;
use super::universe::RootLists;
use super::verdict::failure;
use crate::archive::deb::index::BinaryPackage;
use crate::archive::deb::version::Version;
use crate::base::PackageName;

/// A list of packages, as far as they can be had.
#[derive(Debug)]
pub struct Installed {
    /// What the root is made of, sorted by name; with what is beside the list.
    pub packages: Vec<Arc<BinaryPackage>>,
    /// Packages of the pinned base whose names are not in the list: a list names what a package
    /// was built with, and builds here need their own tools.
    pub beside: Vec<Arc<BinaryPackage>>,
    /// What is listed, and nowhere to be had in that version.
    pub missing: Vec<(PackageName, Version)>,
}

/// Where [`Repeat::installed`] looks, as it is told.
pub const LOOKED: [&str; 3] = [
    "the pinned archive of its root",
    "what the release builds that it needs",
    "what this store's builds were made with",
];

impl Repeat<'_> {
    /// The packages of these names and versions, of its architecture or of all.
    pub fn installed(&self, wanted: &BTreeMap<PackageName, Version>) -> Result<Installed, Failed> {
        find(self.job(), wanted)
            .map_err(|error| Failed { failure: failure(self.job(), &error), log: None })
    }

    /// Builds it with exactly these packages in its root, whatever it would take itself.
    pub fn with(&self, packages: &[Arc<BinaryPackage>]) -> Result<Again, Failed> {
        insist(self.job(), &|| given(self.job(), packages), &|_, _| {})
    }
}

fn find(job: &Job<'_>, wanted: &BTreeMap<PackageName, Version>) -> Result<Installed> {
    let known = Known::of(job)?;
    let is_ours = |architecture: &str| {
        architecture == "all" || architecture == job.package.architecture.as_str()
    };
    let mut found: BTreeMap<PackageName, Arc<BinaryPackage>> = BTreeMap::new();
    for package in known.all().filter(|package| is_ours(package.architecture.as_str())) {
        if wanted.get(&package.name) == Some(&package.version) {
            found.insert(package.name.clone(), Arc::clone(package));
        }
    }
    let lacks: BTreeMap<&str, &Version> = wanted
        .iter()
        .filter(|(name, _)| !found.contains_key(*name))
        .map(|(name, version)| (name.as_str(), version))
        .collect();
    if !lacks.is_empty() {
        let is_wanted = |one: &Listed| {
            is_ours(&one.architecture)
                && lacks.get(one.name.as_str()).is_some_and(|it| it.as_str() == one.version)
        };
        for listed in built_with(job)?.into_iter().filter(is_wanted) {
            // One that was collected since is as good as one that never was.
            if let Ok(package) = known.find(job, &listed) {
                found.insert(package.name.clone(), package);
            }
        }
    }
    let missing = wanted.iter().filter(|(name, _)| !found.contains_key(*name));
    let missing = missing.map(|(name, version)| (name.clone(), version.clone())).collect();
    let snapshot = job.snapshot()?;
    let base = snapshot.base(job.root())?.iter();
    let beside: Vec<_> = base.filter(|one| !wanted.contains_key(&one.name)).cloned().collect();
    let mut packages: Vec<_> = found.into_values().chain(beside.iter().cloned()).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Installed { packages, beside, missing })
}

/// Every package that is listed in the root of a build that this store has a record of.
fn built_with(job: &Job<'_>) -> Result<BTreeSet<Listed>> {
    let store = job.world.store;
    let mut all = BTreeSet::new();
    for digest in store.adopted_records()? {
        let record = store.json(&digest)?.and_then(|bytes| Record::from_json(&bytes).ok());
        let Some(record) = record else { continue };
        let Ok(document) = store.read_json(&record.action.digest()) else { continue };
        all.extend(action::root(document).into_iter().flatten().flatten());
    }
    Ok(all)
}

/// What is done with such a root.
fn given(job: &Job<'_>, packages: &[Arc<BinaryPackage>]) -> Result<Resolved> {
    let (snapshot, root) = (job.snapshot()?, job.root());
    let lists = RootLists::new(packages.to_vec(), snapshot.base(root)?, snapshot.strata(root)?);
    let sources = job.sources();
    let script = script::script(job.package, &sources);
    let slices: Vec<&[_]> = lists.layers.iter().map(Vec::as_slice).collect();
    let action = Action::new(job.package, &sources, &script, &slices);
    Ok(Resolved { action, lists, script })
}
