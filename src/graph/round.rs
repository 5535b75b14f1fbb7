//! The graph of a later round: the same recipes, over a seed.

use std::collections::HashMap;

use super::derivation::{self, Derivation};
use super::{Graph, Node};
use crate::base::{DerivationId, Digest};

impl Graph {
    /// The same release in a round whose roots prefer the packages of `seed`, a digest of their
    /// list, to those of their indexes. Sources stay what they are; roots, packages and the release
    /// get ids of their own. The nodes are in the same order.
    #[must_use]
    pub fn round(&self, seed: Digest) -> Self {
        let mut ids: HashMap<DerivationId, DerivationId> = HashMap::new();
        let mut ordered = Vec::new();
        for Node { id, derivation, origin } in self.nodes() {
            let derivation = seeded(derivation, seed, &ids);
            let node = Node { id: derivation.id(), derivation, origin: origin.clone() };
            ids.insert(*id, node.id);
            ordered.push(node);
        }
        let builds = self.builds.iter().map(|id| ids[id]).collect();
        Self::new(ordered, self.links.clone(), builds)
    }
}

/// A derivation over a seed, what it needs being called otherwise now.
fn seeded(
    derivation: &Derivation,
    seed: Digest,
    ids: &HashMap<DerivationId, DerivationId>,
) -> Derivation {
    let renamed = |old: &[DerivationId]| {
        let mut new: Vec<DerivationId> = old.iter().map(|id| ids[id]).collect();
        new.sort_unstable();
        new
    };
    match derivation {
        Derivation::Source(source) => Derivation::Source(source.clone()),
        Derivation::Root(root) => {
            Derivation::Root(derivation::Root { seed: Some(seed), ..root.clone() })
        }
        Derivation::Package(package) => Derivation::Package(Box::new(derivation::Package {
            root: ids[&package.root],
            dependencies: renamed(&package.dependencies),
            seed: Some(seed),
            ..(**package).clone()
        })),
        Derivation::Release(release) => Derivation::Release(derivation::Release {
            packages: renamed(&release.packages),
            ..release.clone()
        }),
    }
}
