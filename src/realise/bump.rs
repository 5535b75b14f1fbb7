//! What another state of the archives leads to, before it is adopted: which packages of the build
//! roots change, and which packages of the release are built because of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::error::{Error, Result};
use super::foresight;
use super::record::Record;
use super::stale::contents;
use super::universe::{Snapshot, Snapshots};
use super::world::World;
use crate::archive::deb::index::BinaryPackage;
use crate::base::DerivationId;
use crate::graph::derivation::{Derivation, Package, Root};
use crate::graph::diff::{self, Change, Changed, Key};
use crate::graph::{Graph, Node, Origin};

/// A state of a release.
pub struct Side<'a> {
    /// Where its pinned archives are read.
    pub world: &'a World<'a>,
    /// Its graph.
    pub graph: &'a Graph,
    /// What was read of its pinned archives.
    pub snapshots: &'a Snapshots,
    /// What is built of it.
    pub records: &'a BTreeMap<DerivationId, Arc<Record>>,
}

/// What changes from one state to another.
#[derive(Debug)]
pub struct Bump {
    /// Every root that both states have, by name and architecture, in that order.
    pub roots: Vec<RootChange>,
    /// Every package that both states have and whose recipe is not the same, each after what it
    /// needs.
    pub packages: Vec<PackageChange>,
}

/// What changes of the packages that a chroot snapshot consists of.
#[derive(Debug, Clone)]
pub struct RootChange {
    /// What it is called.
    pub name: String,
    /// Of how many packages it consists.
    pub size: usize,
    /// What changes of them.
    pub changes: Vec<Change>,
}

/// What changes of what goes into a package.
#[derive(Debug, Clone)]
pub struct PackageChange {
    /// The package.
    pub key: Key,
    /// Its new recipe.
    pub id: DerivationId,
    /// Its own inputs.
    pub own: Vec<Change>,
    /// Packages of the archive in its build root, those of the snapshot among them.
    pub root: Vec<Change>,
    /// Why its build root cannot be had now, if so.
    pub unsolvable: Vec<String>,
    /// Packages of the release that it needs directly, and that are or may be built too.
    pub needs: Vec<Key>,
}

impl PackageChange {
    /// Whether it must be built, whatever becomes of what it needs.
    pub fn is_sure(&self) -> bool {
        !(self.own.is_empty() && self.root.is_empty() && self.unsolvable.is_empty())
    }

    /// Whether nothing that goes into it changes.
    pub fn stays(&self) -> bool {
        !self.is_sure() && self.needs.is_empty()
    }
}

/// What changes between two states of a release, where what it builds itself comes out the same.
///
/// # Errors
/// Indexes that cannot be had; a snapshot that cannot be put together.
pub fn between(old: &Side<'_>, new: &Side<'_>) -> Result<Bump> {
    let (before, after) = (old.roots()?, new.roots()?);
    let mut roots = Vec::new();
    for (name, new) in &after {
        if let Some(old) = before.get(name) {
            let changes = diff::lists(&contents(old), &contents(new));
            roots.push(RootChange { name: name.0.clone(), size: new.len(), changes });
        }
    }
    let comparison = diff::graphs(old.graph, new.graph);
    let records = carried(old, new);
    let lists: Vec<(Vec<Change>, Vec<String>)> = comparison
        .changed
        .par_iter()
        .map(|changed| listed(old, new, changed, &records))
        .collect::<Result<_>>()?;
    let mut touched: BTreeMap<DerivationId, Key> = BTreeMap::new();
    let mut packages = Vec::new();
    for (changed, (root, unsolvable)) in comparison.changed.into_iter().zip(lists) {
        let Changed { key, new: id, changes, .. } = changed;
        let own = changes.into_iter().filter(|change| change.field != "root").collect();
        let below = recipe(new.graph, id).map(|package| package.dependencies.as_slice());
        let below = below.unwrap_or_default().iter();
        let needs = below.filter_map(|need| touched.get(need)).cloned().collect();
        let package = PackageChange { key, id, own, root, unsolvable, needs };
        if !package.stays() {
            touched.insert(id, package.key.clone());
        }
        packages.push(package);
    }
    Ok(Bump { roots, packages })
}

/// What roots consist of, by name and architecture.
type Roots = BTreeMap<(String, String), Vec<Arc<BinaryPackage>>>;

impl Side<'_> {
    /// What each root consists of, by its name and architecture.
    fn roots(&self) -> Result<Roots> {
        let mut roots = Roots::new();
        for (node, root, name) in of_graph(self.graph) {
            let snapshot = self.snapshot(node.id)?;
            let base = snapshot.base(root)?.to_vec();
            roots.insert((name.to_owned(), root.architecture.to_string()), base);
        }
        Ok(roots)
    }

    fn snapshot(&self, root: DerivationId) -> Result<Arc<Snapshot>> {
        self.snapshots.get(self.world, self.graph, root).map_err(Error::Snapshot)
    }
}

/// The roots of a graph and what they are called.
pub fn of_graph(graph: &Graph) -> impl Iterator<Item = (&Node, &Root, &str)> {
    graph.nodes().filter_map(|node| match (&node.derivation, &node.origin) {
        (Derivation::Root(root), Origin::Root { name, .. }) => Some((node, root, name.as_str())),
        _ => None,
    })
}

/// The records of the old state by the recipes of the new one.
fn carried(old: &Side<'_>, new: &Side<'_>) -> BTreeMap<DerivationId, Arc<Record>> {
    let known: BTreeMap<Key, &Arc<Record>> = old
        .graph
        .packages()
        .filter_map(|(node, package)| Some((diff::key(package), old.records.get(&node.id)?)))
        .collect();
    let packages = new.graph.packages();
    packages
        .filter_map(|(node, package)| Some((node.id, Arc::clone(known.get(&diff::key(package))?))))
        .collect()
}

/// What changes of the archive's packages in the build root of a package, or why it has none now.
fn listed(
    old: &Side<'_>,
    new: &Side<'_>,
    changed: &Changed,
    carried: &BTreeMap<DerivationId, Arc<Record>>,
) -> Result<(Vec<Change>, Vec<String>)> {
    let list = |side: &Side<'_>, id: DerivationId, records: &BTreeMap<_, _>| {
        let package = recipe(side.graph, id).expect("a package of the graph");
        let snapshot = side.snapshot(package.root)?;
        foresight::packages(side.graph, id, &snapshot, records)
    };
    let ours: BTreeSet<&str> = [(old.graph, changed.old), (new.graph, changed.new)]
        .into_iter()
        .flat_map(|(graph, id)| graph.closure(id).into_iter().map(move |id| (graph, id)))
        .filter_map(|(graph, id)| recipe(graph, id))
        .flat_map(|package| &package.binaries)
        .map(|binary| binary.as_str())
        .collect();
    let before = match list(old, changed.old, old.records) {
        Ok(before) => contents(&before),
        // Then anything is a change.
        Err(Error::Unsolvable { .. }) => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    match list(new, changed.new, carried) {
        Ok(after) => {
            let mut changes = diff::lists(&before, &contents(&after));
            changes.retain(|change| !ours.contains(change.item.as_str()));
            Ok((changes, Vec::new()))
        }
        Err(Error::Unsolvable { because }) => Ok((Vec::new(), because)),
        Err(error) => Err(error),
    }
}

fn recipe(graph: &Graph, id: DerivationId) -> Option<&Package> {
    graph.node(id)?.derivation.package()
}
