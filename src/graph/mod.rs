//! Derivations: names resolved into a graph whose every node is named by its content.

mod declared;
pub mod derivation;
pub mod diff;
mod draft;
mod edges;
pub mod fields;
mod lower;
pub mod names;
mod outline;
mod packaging;
pub mod query;
mod relations;
mod round;
mod source;

use std::collections::{BTreeMap, HashMap, HashSet};

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

pub use derivation::Derivation;
pub use lower::{Extent, Survey, lower, survey};
pub use outline::{Entry, Outline};

use crate::archive::deb::dependency::Dependencies;
use crate::base::{DerivationId, PackageName, ReleasePath, Span, Tree};
use crate::spec::model::Resources;

/// The derivations of a release and which needs which.
#[derive(Debug)]
pub struct Graph {
    release: DerivationId,
    nodes: DiGraph<Node, ()>,
    index: HashMap<DerivationId, NodeIndex>,
    /// What its edges follow from, and the ids of its builds.
    links: edges::Links,
    builds: Vec<DerivationId>,
}

/// A derivation and what is known of it beside its identity.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub id: DerivationId,
    /// Its recipe.
    pub derivation: Derivation,
    /// Where its bytes come from and where it was written; no part of its identity.
    pub origin: Origin,
}

/// Where a node comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A folder of the release.
    Dir {
        /// The folder.
        path: ReleasePath,
        /// What was in it when it was evaluated.
        tree: Tree,
    },
    /// A single file of the release.
    File {
        /// The file.
        path: ReleasePath,
    },
    /// A commit of a git repository.
    Git {
        /// The repository.
        url: String,
        /// What the spec calls it.
        rev: String,
        /// What it is pinned to.
        commit: String,
    },
    /// A file from elsewhere.
    Download {
        /// Where it is, in the order in which it is tried.
        urls: Vec<String>,
    },
    /// A source package of an upstream archive.
    Archive {
        /// The archive's name in release.toml.
        archive: String,
        /// The folder of its files below the archive's root.
        directory: String,
    },
    /// A chroot snapshot.
    Root {
        /// Its name in release.toml.
        name: String,
        /// The name of its archive.
        archive: String,
    },
    /// A spec.
    Package(PackageOrigin),
    /// The release itself.
    Release,
}

/// What is known of a package beside its identity.
#[derive(Debug, Clone)]
pub struct PackageOrigin {
    /// The call that made it.
    pub span: Span,
    /// Build dependencies by the place they were written at.
    pub wanted: Vec<Wanted>,
    /// Virtual packages that each of its binary packages stands for, as far as its packaging
    /// says so before it is built.
    pub provides: BTreeMap<PackageName, Vec<PackageName>>,
    /// Limits of its build.
    pub resources: Resources,
    /// Where each of its patches lies, in their order.
    pub patches: Vec<ReleasePath>,
    /// Why its tests do not run.
    pub without_tests: Option<String>,
}

/// Build dependencies that were written at one place.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What they come to for the architecture and profiles of the build.
    pub depends: Dependencies,
    /// The text as it was written.
    pub text: String,
    /// Its place in the spec; none for those of the source's own packaging.
    pub span: Option<Span>,
}

impl Graph {
    /// A graph of `nodes`, each after everything it needs; the last one is the release.
    ///
    /// # Panics
    /// If a node needs one that does not come before it.
    fn new(ordered: Vec<Node>, links: edges::Links, builds: Vec<DerivationId>) -> Self {
        let mut nodes = DiGraph::new();
        let mut index = HashMap::with_capacity(ordered.len());
        let mut release = None;
        for node in ordered {
            let id = node.id;
            let needs = needs(&node.derivation);
            let place = nodes.add_node(node);
            index.insert(id, place);
            for need in needs {
                nodes.add_edge(place, index[&need], ());
            }
            release = Some(id);
        }
        let release = release.expect("a release has a node of its own");
        Self { release, nodes, index, links, builds }
    }

    /// The release id.
    pub fn release(&self) -> DerivationId {
        self.release
    }

    /// The node of this id.
    pub fn node(&self, id: DerivationId) -> Option<&Node> {
        self.index.get(&id).map(|place| &self.nodes[*place])
    }

    /// All nodes, each after everything it needs.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.node_weights()
    }

    /// The packages, each after everything it needs.
    pub fn packages(&self) -> impl Iterator<Item = (&Node, &derivation::Package)> {
        self.nodes().filter_map(|node| Some((node, node.derivation.package()?)))
    }

    /// The package of this name.
    pub fn package(&self, name: &str) -> Option<(&Node, &derivation::Package)> {
        self.packages().find(|(_, package)| package.name.as_str() == name)
    }

    /// What a node needs directly, sorted by id.
    pub fn needs(&self, id: DerivationId) -> Vec<DerivationId> {
        let Some(place) = self.index.get(&id) else { return Vec::new() };
        let mut needs: Vec<_> =
            self.nodes.edges(*place).map(|edge| self.nodes[edge.target()].id).collect();
        needs.sort_unstable();
        needs
    }

    /// Everything a node needs directly and indirectly, each after what it needs, without the
    /// node itself.
    pub fn closure(&self, id: DerivationId) -> Vec<DerivationId> {
        let Some(start) = self.index.get(&id) else { return Vec::new() };
        let mut walk = petgraph::visit::DfsPostOrder::new(&self.nodes, *start);
        let mut found = Vec::new();
        while let Some(place) = walk.next(&self.nodes) {
            if place != *start {
                found.push(self.nodes[place].id);
            }
        }
        found
    }

    /// The packages of `ids` and all packages that they need, each after what it needs.
    pub fn with_needs(&self, ids: &[DerivationId]) -> Vec<(&Node, &derivation::Package)> {
        let mut needed: HashSet<DerivationId> = ids.iter().copied().collect();
        let packages: Vec<_> = self.packages().collect();
        let mut found: Vec<_> = packages
            .into_iter()
            .rev()
            .filter(|(node, package)| {
                let is_needed = needed.contains(&node.id);
                if is_needed {
                    needed.extend(&package.dependencies);
                }
                is_needed
            })
            .collect();
        found.reverse();
        found
    }

    /// The packages that need `id` directly.
    pub fn dependents(&self, id: DerivationId) -> Vec<DerivationId> {
        let Some(place) = self.index.get(&id) else { return Vec::new() };
        let mut found: Vec<_> = self
            .nodes
            .edges_directed(*place, petgraph::Direction::Incoming)
            .map(|edge| self.nodes[edge.source()].id)
            .collect();
        found.sort_unstable();
        found
    }
}

/// The ids that a derivation names.
pub fn needs(derivation: &Derivation) -> Vec<DerivationId> {
    match derivation {
        Derivation::Source(_) | Derivation::Root(_) => Vec::new(),
        Derivation::Package(package) => {
            let mut needs = package.dependencies.clone();
            needs.extend([package.source, package.root]);
            needs.extend(package.packaging);
            needs.extend(package.extra.values());
            needs.sort_unstable();
            needs.dedup();
            needs
        }
        Derivation::Release(release) => release.packages.clone(),
    }
}
