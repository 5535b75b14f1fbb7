//! What a build came from, in the forms that others read: an in-toto statement with SLSA
//! provenance, a `.buildinfo`, an SPDX document. All of it is made from records: the same records
//! give the same bytes, and nothing is built.

mod info;
mod purl;
pub mod spdx;
pub mod statement;

pub use info::{build_info, weak_digests};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::{Error, Result};
use crate::base::{DerivationId, Digest, Json, Sha256};
use crate::graph::derivation::{Derivation, Package};
use crate::graph::{Graph, Origin};
use crate::realise::action::{self, Listed};
use crate::realise::manifest::record_digest;
use crate::realise::record::Record;
use crate::realise::world::World;

/// A package that was built, and all that is known of it.
#[derive(Debug)]
pub struct Build<'a> {
    /// The package.
    pub package: &'a Package,
    /// What came of it.
    pub record: Arc<Record>,
    /// The name of the record.
    pub digest: Digest,
    /// What went in.
    pub action: Json,
    /// The packages of its build root, layer by layer, the lowest first.
    pub root: Vec<Vec<Listed>>,
    /// Those of them that the packages which it needs built, by digest.
    pub own: BTreeSet<Sha256>,
    /// Who distributes the others: the `Origin` of the pinned archive.
    pub vendor: String,
}

/// The builds of packages of a release.
#[derive(Debug)]
pub struct Builds<'a> {
    /// Those that are built as the release is now, in the order of the graph.
    pub built: Vec<Build<'a>>,
    /// The names of those that are not.
    pub unbuilt: Vec<String>,
}

/// Reads the builds of these packages of a release, of whose packages `records` are those that
/// count.
///
/// # Errors
/// A store that cannot be read; an action that it has not, or not whole.
pub fn builds<'a>(
    world: &World<'_>,
    graph: &'a Graph,
    wanted: &[DerivationId],
    records: &BTreeMap<DerivationId, Arc<Record>>,
) -> Result<Builds<'a>> {
    let mut vendors: BTreeMap<DerivationId, String> = BTreeMap::new();
    let mut builds = Builds { built: Vec::new(), unbuilt: Vec::new() };
    for (node, package) in graph.packages().filter(|(node, _)| wanted.contains(&node.id)) {
        let Some(record) = records.get(&node.id) else {
            builds.unbuilt.push(package.name.to_string());
            continue;
        };
        let vendor = match vendors.get(&package.root) {
            Some(vendor) => vendor.clone(),
            None => {
                let vendor = vendor(world, graph, package.root)?;
                vendors.insert(package.root, vendor.clone());
                vendor
            }
        };
        let needs = graph.closure(node.id).into_iter().filter_map(|need| records.get(&need));
        let own = needs.flat_map(|need| &need.outputs).map(|output| output.sha256).collect();
        let action = world.store.read_json(&record.action.digest())?;
        let root = action::root(action.clone()).ok_or(Error::Action { action: record.action })?;
        builds.built.push(Build {
            package,
            digest: record_digest(record),
            record: Arc::clone(record),
            action,
            root,
            own,
            vendor,
        });
    }
    Ok(builds)
}

/// Who distributes the packages of an archive: what its signed Release file says, else what
/// release.toml calls it.
fn vendor(world: &World<'_>, graph: &Graph, root: DerivationId) -> Result<String> {
    let node = graph.node(root).expect("a package's root is in its graph");
    let (Origin::Root { archive, .. }, Derivation::Root(recipe)) = (&node.origin, &node.derivation)
    else {
        unreachable!("a package's root is a root")
    };
    let suite = recipe.indexes.first().map_or("", |index| &index.suite);
    Ok(world.upstream.origin(archive, suite)?.unwrap_or_else(|| archive.clone()))
}

impl Build<'_> {
    /// The packages of its build root, in their order.
    pub fn inputs(&self) -> impl Iterator<Item = &Listed> {
        self.root.iter().flatten()
    }

    /// When it began, and when it had ended.
    fn times(&self) -> (jiff::Timestamp, jiff::Timestamp) {
        times(&self.record)
    }

    /// The version of the program that built it.
    fn tool(&self) -> Option<&str> {
        tool(&self.record)
    }
}

/// When a build began, and when it had ended.
fn times(record: &Record) -> (jiff::Timestamp, jiff::Timestamp) {
    let Record { started, elapsed, .. } = record;
    let milliseconds = started.saturating_mul(1000);
    let time = |milliseconds| jiff::Timestamp::from_millisecond(milliseconds);
    let began = time(milliseconds).unwrap_or_default();
    (began, time(milliseconds.saturating_add(*elapsed)).unwrap_or(began))
}

/// The version of the program that a build was done with.
fn tool(record: &Record) -> Option<&str> {
    record.circumstances.get("tool").map(String::as_str)
}
