//! What packages a build may see: the pinned index, in later rounds the seed in its place where both
//! have a name, and over them what the release itself built.

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex, OnceLock};

use super::error::{Error, Result};
use super::package::Job;
use super::record::{Output, Record};
use super::seed::Seed;
use super::world::World;
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::index::{self, BinaryPackage};
use crate::archive::deb::solver::{self, Universe};
use crate::base::{Architecture, DerivationId, Digest, Json, PackageName};
use crate::graph::derivation::{Derivation, Package, Root, RootIndex};
use crate::graph::{Graph, Origin};

/// The pinned packages of each root, read once per run and only if anything needs them.
#[derive(Default)]
pub struct Snapshots {
    roots: Mutex<BTreeMap<DerivationId, Arc<OnceLock<Shared>>>>,
}

type Shared = Result<Arc<Snapshot>, Arc<Error>>;

/// Packages, sorted by name.
type List = Vec<Arc<BinaryPackage>>;

/// A root's pinned packages, and those its base consists of.
pub struct Snapshot {
    /// The archive's name in release.toml: where its files are fetched from.
    pub archive: String,
    /// The packages of each index, in order of preference.
    pub indexes: Vec<Vec<Arc<BinaryPackage>>>,
    /// Those of its seed, sorted by name: none of the indexes' packages of these names is chosen.
    pub seed: Vec<Arc<BinaryPackage>>,
    universe: OnceLock<Universe>,
    base: OnceLock<Result<Vec<Arc<BinaryPackage>>, Arc<Error>>>,
    strata: OnceLock<Result<Vec<List>, Arc<Error>>>,
}

impl Snapshots {
    /// The snapshot of the root node `id`.
    pub fn get(&self, world: &World<'_>, graph: &Graph, id: DerivationId) -> Shared {
        let slot = {
            let mut roots = self.roots.lock().expect("nobody panics while holding it");
            Arc::clone(roots.entry(id).or_default())
        };
        let got =
            slot.get_or_init(|| read(world, graph, id).map(Arc::new).map_err(Arc::new)).clone();
        if got.as_ref().is_err_and(|error| error.may_pass()) {
            // Whoever asks again is to be answered anew.
            let mut roots = self.roots.lock().expect("nobody panics while holding it");
            if roots.get(&id).is_some_and(|there| Arc::ptr_eq(there, &slot)) {
                roots.remove(&id);
            }
        }
        got
    }
}

impl Snapshot {
    /// The snapshot that these indexes of an archive make up, in order of preference.
    pub fn new(archive: String, indexes: Vec<Vec<Arc<BinaryPackage>>>) -> Self {
        let (universe, base, strata) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { archive, indexes, seed: Vec::new(), universe, base, strata }
    }

    /// Everything in it, to choose from.
    pub fn universe(&self) -> &Universe {
        self.universe.get_or_init(|| {
            let seeded: HashSet<&PackageName> = self.seed.iter().map(|one| &one.name).collect();
            let kept = |index: &List| {
                let kept = index.iter().filter(|package| !seeded.contains(&package.name));
                kept.cloned().collect()
            };
            let suites = match self.seed.is_empty() {
                true => self.indexes.clone(),
                false => self.indexes.iter().map(kept).chain([self.seed.clone()]).collect(),
            };
            Universe::new(suites)
        })
    }

    /// The packages that every build root over this snapshot has, sorted by name.
    pub fn base(&self, root: &Root) -> Result<&[Arc<BinaryPackage>]> {
        self.base
            .get_or_init(|| {
                solver::solve(self.universe(), &base_request(root))
                    .map_err(|unsolvable| Error::Unsolvable { because: unsolvable.because })
                    .map_err(Arc::new)
            })
            .as_deref()
            .map_err(|error| Error::Snapshot(Arc::clone(error)))
    }

    /// What each stratum leads to beside the base, sorted by name.
    pub fn strata(&self, root: &Root) -> Result<&[List]> {
        let lead = |stratum: &Vec<String>| {
            self.closure(root, stratum).map_err(|error| match error {
                Error::Unsolvable { because } => {
                    Error::Stratum { stratum: stratum.join(", "), because }
                }
                other => other,
            })
        };
        self.strata
            .get_or_init(|| root.strata.iter().map(lead).collect::<Result<_>>().map_err(Arc::new))
            .as_deref()
            .map_err(|error| Error::Snapshot(Arc::clone(error)))
    }

    /// What these dependencies lead to beside the base, in the pinned index alone; sorted by name.
    pub fn closure(&self, root: &Root, depends: &[String]) -> Result<Vec<Arc<BinaryPackage>>> {
        let request = solver::Request { depends: dependencies(depends), ..base_request(root) };
        let base = self.base(root)?;
        let mut all = solver::solve(self.universe(), &request)
            .map_err(|unsolvable| Error::Unsolvable { because: unsolvable.because })?;
        all.retain(|package| !contains(base, package));
        Ok(all)
    }
}

/// Whether a list that is sorted by name has exactly this package.
fn contains(list: &[Arc<BinaryPackage>], package: &BinaryPackage) -> bool {
    let start = list.partition_point(|other| other.name < package.name);
    let named = list[start..].iter().take_while(|other| other.name == package.name);
    named.into_iter().any(|other| other.sha256 == package.sha256)
}

fn read(world: &World<'_>, graph: &Graph, id: DerivationId) -> Result<Snapshot> {
    let node = graph.node(id).expect("a package's root is a node of its graph");
    let (Derivation::Root(root), Origin::Root { archive, .. }) = (&node.derivation, &node.origin)
    else {
        unreachable!("a package's root is a root");
    };
    let mut indexes = Vec::new();
    for RootIndex { suite, path, sha256: _ } in &root.indexes {
        let damaged = |reason: String| Error::Index { path: path.clone(), reason };
        let digest = world.upstream.index(world.store, archive, suite, path, world.cancel)?;
        let mut text = String::new();
        world
            .store
            .open_sound(&digest)?
            .read_to_string(&mut text)
            .map_err(|error| damaged(format!("cannot be read: {error}")))?;
        indexes.push(index::packages(&text).map_err(|error| damaged(error.to_string()))?);
    }
    let seed = match &root.seed {
        Some(seed) => Seed::read(world.store, seed)?.packages(world.store, &root.architecture)?,
        None => Vec::new(),
    };
    Ok(Snapshot { seed, ..Snapshot::new(archive.clone(), indexes) })
}

fn base_request(root: &Root) -> solver::Request {
    solver::Request {
        architecture: root.architecture.clone(),
        packages: root.packages.clone(),
        essential: true,
        depends: Dependencies(Vec::new()),
        conflicts: Dependencies(Vec::new()),
    }
}

/// A build root as lists of packages: the snapshot's base, the strata that it has whole, and what
/// else this package needs. If something of the base is replaced, everything is in one list.
#[derive(Debug, Clone)]
pub struct RootLists {
    /// What each layer holds, the lowest first, each in canonical order; none of them is empty.
    pub layers: Vec<Vec<Arc<BinaryPackage>>>,
}

impl RootLists {
    /// All packages, layer after layer.
    pub fn packages(&self) -> impl Iterator<Item = &Arc<BinaryPackage>> {
        self.layers.iter().flatten()
    }

    /// The lists of a root of these packages.
    pub fn new(
        mut all: Vec<Arc<BinaryPackage>>,
        base: &[Arc<BinaryPackage>],
        strata: &[List],
    ) -> Self {
        if !base.iter().all(|package| contains(&all, package)) {
            all.sort_by(|a, b| a.name.cmp(&b.name));
            return Self { layers: vec![all] };
        }
        let whole = strata.iter().filter(|it| it.iter().all(|package| contains(&all, package)));
        let lists: Vec<&[Arc<BinaryPackage>]> =
            [base].into_iter().chain(whole.map(Vec::as_slice)).collect();
        let mut layers = Vec::new();
        for list in lists {
            let (here, rest) = all.into_iter().partition(|package| contains(list, package));
            layers.push(here);
            all = rest;
        }
        layers.push(all);
        layers.retain(|layer| !layer.is_empty());
        Self { layers }
    }
}

/// Chooses the packages of a build root: a pure function of the snapshot, the package and the
/// records of its closure.
pub fn solve(
    snapshot: &Snapshot,
    root: &Root,
    package: &Package,
    closure: &[Arc<Record>],
) -> Result<RootLists> {
    let all = choose(snapshot, root, package, offered(package, closure)?)?;
    Ok(RootLists::new(all, snapshot.base(root)?, snapshot.strata(root)?))
}

/// A clean root with the package's own binary packages, as its record has them, and what they need.
pub fn with_installed(job: &Job<'_>, record: &Record) -> Result<RootLists> {
    let (snapshot, root) = (job.snapshot()?, job.root());
    let mut offered = offered(job.package, &job.closure)?;
    let mut own = Vec::new();
    for output in record.outputs.iter().filter(|output| output.is_offered()) {
        own.push(Arc::new(binary(output)?));
    }
    let wanted = own.iter().map(|one| format!("{} (= {})", one.name, one.version));
    let depends = dependencies(&wanted.collect::<Vec<_>>());
    offered.extend(own);
    let request = solver::Request { depends, ..base_request(root) };
    let all = solver::solve(&snapshot.universe().replace(offered), &request)
        .map_err(|unsolvable| Error::Unsolvable { because: unsolvable.because })?;
    Ok(RootLists::new(all, snapshot.base(root)?, snapshot.strata(root)?))
}

/// All packages of a build root to which the release offers `offered`, sorted by name.
pub fn choose(
    snapshot: &Snapshot,
    root: &Root,
    package: &Package,
    offered: Vec<Arc<BinaryPackage>>,
) -> Result<Vec<Arc<BinaryPackage>>> {
    let universe = snapshot.universe().replace(offered);
    let request = solver::Request {
        depends: dependencies(&package.build_depends),
        conflicts: dependencies(&package.build_conflicts),
        ..base_request(root)
    };
    solver::solve(&universe, &request)
        .map_err(|unsolvable| Error::Unsolvable { because: unsolvable.because })
}

/// Dependencies of a derivation.
pub(super) fn dependencies(texts: &[String]) -> Dependencies {
    texts.join(", ").parse().expect("the graph wrote it from parsed dependencies")
}

/// The binary packages that a closure offers to `package`: all its outputs but debug symbols,
/// those `from_seed`, and those of the package's own name space.
pub(super) fn offered(
    package: &Package,
    closure: &[Arc<Record>],
) -> Result<Vec<Arc<BinaryPackage>>> {
    let mut found = Vec::new();
    for output in closure.iter().flat_map(|record| &record.outputs).filter(|one| one.is_offered()) {
        let binary = binary(output)?;
        // A closure may have builds for other architectures, for their packages of none.
        let fits = binary.architecture == package.architecture
            || binary.architecture == Architecture::all();
        if fits && !is_kept_out(package, &binary.name) {
            found.push(Arc::new(binary));
        }
    }
    Ok(found)
}

pub(super) fn binary(output: &Output) -> Result<BinaryPackage> {
    BinaryPackage::from_control(&output.control, &output.file, output.size, output.sha256)
        .map_err(|error| Error::Output { file: output.file.clone(), reason: error.to_string() })
}

/// Whether the build root of `package` takes this name from the seed, whoever offers it: from the
/// archive in the first round, from what the round before left in the others.
pub fn is_kept_out(package: &Package, name: &PackageName) -> bool {
    package.from_seed.contains(name) || package.binaries.contains(name)
}

/// The name of all that is offered to a package, for looking up resolutions: made of the names
/// of what each package offers that it needs directly.
pub fn offered_digest(below: impl IntoIterator<Item = Digest>) -> Digest {
    let mut below: Vec<Digest> = below.into_iter().collect();
    below.sort_unstable();
    Digest::of(&Json::Array(below.iter().map(Json::text).collect()).encode())
}

/// The name of what a package that came out like this offers to those that need it: its own
/// outputs, and `below`, all that was offered to itself.
pub fn offers_digest(record: &Record, below: &Digest) -> Digest {
    let outputs = record.outputs.iter().filter(|output| output.is_offered());
    let outputs = outputs.map(|output| {
        Json::object([("file", output.file.as_str().into()), ("sha256", Json::text(output.sha256))])
    });
    let members = [("below", Json::text(below)), ("outputs", Json::Array(outputs.collect()))];
    Digest::of(&Json::object(members).encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_takes_the_place_of_all_that_the_archive_has_of_its_names() {
        let list = |packages: &[(&str, &str, &str)]| {
            let paragraph = |(name, version, more): &(&str, &str, &str)| {
                let digest = crate::base::Sha256::of(format!("{name} {version}").as_bytes());
                format!(
                    "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: {name}.deb\n\
                     Size: 1\nSHA256: {digest}\n{more}"
                )
            };
            let paragraphs: Vec<String> = packages.iter().map(paragraph).collect();
            index::packages(&paragraphs.join("\n")).expect("an index")
        };
        let stable = list(&[("tool", "2", "Provides: api\n"), ("other", "1", "")]);
        let updates = list(&[("tool", "3", "Provides: api\nEssential: yes\n")]);
        let snapshot = Snapshot {
            seed: list(&[("tool", "1", "")]),
            ..Snapshot::new("upstream".to_owned(), vec![stable, updates])
        };
        let architecture: Architecture = "amd64".parse().expect("an architecture");
        let version = |universe: &Universe, name: &str| {
            universe.candidate(name, &architecture).map(|package| package.version.to_string())
        };
        let universe = snapshot.universe();
        assert_eq!(version(universe, "tool").as_deref(), Some("1"));
        assert_eq!(version(universe, "other").as_deref(), Some("1"));
        assert!(universe.essential(&architecture).is_empty());
        let api = dependencies(&["api".to_owned()]);
        assert_eq!(universe.satisfying(&api.0[0].0[0], &architecture).len(), 0);
        // What the closure of a package offers goes before both.
        let over = universe.replace(list(&[("tool", "0", "")]));
        assert_eq!(version(&over, "tool").as_deref(), Some("0"));
        assert_eq!(version(&over, "other").as_deref(), Some("1"));
    }
}
