//! Whether build roots can be had, as far as that is known before anything is built.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Error, Result};
use super::record::Record;
use super::universe::{Snapshot, choose, dependencies, is_kept_out};
use crate::archive::deb::dependency::{Alternatives, Relation};
use crate::archive::deb::index::BinaryPackage;
use crate::archive::deb::solver::Universe;
use crate::base::{Architecture, DerivationId, PackageName, Sha256};
use crate::graph::derivation::{Derivation, Package, Root};
use crate::graph::{Graph, Origin};

/// Whether a build root can be had.
#[derive(Debug, Clone)]
pub enum Foresight {
    /// It has these packages.
    Fine(Vec<Arc<BinaryPackage>>),
    /// A build dependency has a name that nobody has: whoever checks names tells of it.
    UnknownName(PackageName),
    /// Build dependencies whose names are known, in no version that would do.
    Unmet(Vec<Unmet>),
    /// No choice of packages will do; each line is a fact that follows from those before.
    Unsolvable(Vec<String>),
}

/// A build dependency of which there is no version that would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What is asked for.
    pub asked: Alternatives,
    /// What there is by these names, each with its version.
    pub there: Vec<String>,
}

/// Whether a build root of `package` can be had: see [`packages`].
///
/// # Errors
/// Records of the store that cannot be read.
pub fn foresee(
    graph: &Graph,
    package: DerivationId,
    snapshot: &Snapshot,
    records: &BTreeMap<DerivationId, Arc<Record>>,
) -> Result<Foresight> {
    let (root, recipe) = recipe(graph, package);
    let offered = offered(graph, package, snapshot, records)?;
    let universe = snapshot.universe().replace(offered.clone());
    let named = |relation: &Relation| {
        let any = Relation { version: None, qualifier: None, ..relation.clone() };
        universe.satisfying(&any, &root.architecture)
    };
    let met = |relation: &Relation| {
        let any = Relation { qualifier: None, ..relation.clone() };
        !universe.satisfying(&any, &root.architecture).is_empty()
    };
    let (mut unknown, mut unmet) = (None, Vec::new());
    for asked in dependencies(&recipe.build_depends).0 {
        if asked.0.iter().any(met) {
            continue;
        }
        let mut there: Vec<String> = Vec::new();
        for package in asked.0.iter().flat_map(named) {
            let package = format!("`{}` {}", package.name, package.version);
            if !there.contains(&package) {
                there.push(package);
            }
        }
        match there.is_empty() {
            true => unknown = unknown.or_else(|| Some(asked.0.first()?.name.clone())),
            false => unmet.push(Unmet { asked, there }),
        }
    }
    if !unmet.is_empty() {
        return Ok(Foresight::Unmet(unmet));
    }
    if let Some(name) = unknown {
        return Ok(Foresight::UnknownName(name));
    }
    match choose(snapshot, root, recipe, offered) {
        Ok(chosen) => Ok(Foresight::Fine(chosen)),
        Err(Error::Unsolvable { because }) => Ok(Foresight::Unsolvable(because)),
        Err(error) => Err(error),
    }
}

/// The packages of the build root of `package`, chosen from the pinned archive and from what its
/// static closure offers. Of what is built, `records` know it; the rest is taken to come out as
/// the archive has a package of the same name, or else without dependencies of its own.
///
/// # Errors
/// No choice of packages will do; records of the store that cannot be read.
pub fn packages(
    graph: &Graph,
    package: DerivationId,
    snapshot: &Snapshot,
    records: &BTreeMap<DerivationId, Arc<Record>>,
) -> Result<Vec<Arc<BinaryPackage>>> {
    let (root, recipe) = recipe(graph, package);
    choose(snapshot, root, recipe, offered(graph, package, snapshot, records)?)
}

/// What the closure of a package presumably offers to it.
fn offered(
    graph: &Graph,
    package: DerivationId,
    snapshot: &Snapshot,
    records: &BTreeMap<DerivationId, Arc<Record>>,
) -> Result<Vec<Arc<BinaryPackage>>> {
    let (root, recipe) = recipe(graph, package);
    let mut offered = Vec::new();
    for id in graph.closure(package) {
        let Some(other) = graph.node(id).and_then(|node| node.derivation.package()) else {
            continue;
        };
        let binaries = match records.get(&id) {
            Some(record) => recorded(record)?,
            None => expected(graph, id, other, snapshot.universe(), &root.architecture)?,
        };
        offered.extend(binaries.into_iter().filter(|one| !is_kept_out(recipe, &one.name)));
    }
    Ok(offered.into_iter().map(Arc::new).collect())
}

fn recipe(graph: &Graph, id: DerivationId) -> (&Root, &Package) {
    let package = graph.node(id).and_then(|node| node.derivation.package());
    let package = package.expect("a package of the graph");
    match graph.node(package.root).map(|node| &node.derivation) {
        Some(Derivation::Root(root)) => (root, package),
        _ => unreachable!("a package's root is a root"),
    }
}

/// The binary packages that a record has.
fn recorded(record: &Record) -> Result<Vec<BinaryPackage>> {
    let offered = record.outputs.iter().filter(|output| output.is_offered());
    offered
        .map(|output| {
            BinaryPackage::from_control(&output.control, &output.file, output.size, output.sha256)
                .map_err(|error| Error::Output {
                    file: output.file.clone(),
                    reason: error.to_string(),
                })
        })
        .collect()
}

/// The binary packages that a package which is not built yet will presumably leave.
fn expected(
    graph: &Graph,
    id: DerivationId,
    package: &Package,
    universe: &Universe,
    architecture: &Architecture,
) -> Result<Vec<BinaryPackage>> {
    let provides = match graph.node(id).map(|node| &node.origin) {
        Some(Origin::Package(origin)) => &origin.provides,
        _ => &BTreeMap::new(),
    };
    let binary = |name: &PackageName| {
        let known = universe.candidate(name.as_str(), architecture);
        if let Some(known) = known.filter(|known| known.source == package.name) {
            // The same source again: what it needs stays, its version may be another.
            let mut binary = BinaryPackage::clone(known);
            if let Some(version) = package.version.parse().ok().filter(|v| *v > binary.version) {
                binary.version = version;
            }
            return Ok(binary);
        }
        let list = |names: &[PackageName]| {
            names.iter().map(PackageName::as_str).collect::<Vec<_>>().join(", ")
        };
        let mut control = format!(
            "Package: {name}\nVersion: {}\nArchitecture: {architecture}\n",
            package.version
        );
        if let Some(provides) = provides.get(name).filter(|provides| !provides.is_empty()) {
            control.push_str(&format!("Provides: {}\n", list(provides)));
        }
        BinaryPackage::from_control(&control, name.as_str(), 0, Sha256::of(b""))
            .map_err(|error| Error::Output { file: name.to_string(), reason: error.to_string() })
    };
    package.binaries.iter().map(binary).collect()
}
