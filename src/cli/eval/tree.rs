//! The graph as an indented tree.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Top;
use crate::base::DerivationId;
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node};

/// Which way a tree is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Below a package stands what it needs.
    Needs,
    /// Below a package stands what needs it.
    NeededBy,
}

impl Direction {
    fn next(self, graph: &Graph, node: &Node) -> Vec<DerivationId> {
        let mut next: Vec<_> = match self {
            Self::Needs => graph.needs(node.id),
            Self::NeededBy => graph.dependents(node.id),
        }
        .into_iter()
        .filter_map(|id| Some((&graph.node(id)?.derivation.package()?.name, id)))
        .collect();
        next.sort();
        next.into_iter().map(|(_, id)| id).collect()
    }
}

/// Packages and what is below them, indented. What was told in full before is marked and not told again.
pub fn tree(graph: &Graph, wanted: &[(&Node, &Package)], direction: Direction, top: Top) -> String {
    let below: BTreeSet<DerivationId> =
        wanted.iter().flat_map(|(node, _)| direction.next(graph, node)).collect();
    let mut tree = Tree { graph, direction, told: BTreeSet::new(), text: String::new() };
    for (node, package) in wanted {
        if top == Top::Named || !below.contains(&node.id) {
            tree.branch(node, package, "", "");
        }
    }
    tree.text
}

struct Tree<'a> {
    graph: &'a Graph,
    direction: Direction,
    told: BTreeSet<DerivationId>,
    text: String,
}

impl Tree<'_> {
    fn branch(&mut self, node: &Node, package: &Package, lead: &str, below: &str) {
        let next = self.direction.next(self.graph, node);
        let again = !self.told.insert(node.id) && !next.is_empty();
        let mark = if again { " (see above)" } else { "" };
        let Package { name, version, .. } = package;
        let _ = writeln!(self.text, "{lead}{name} {version} {}{mark}", node.id.short());
        if again {
            return;
        }
        let count = next.len();
        for (index, id) in next.into_iter().enumerate() {
            let Some(node) = self.graph.node(id) else { continue };
            let Some(package) = node.derivation.package() else { continue };
            let last = index + 1 == count;
            let lead = format!("{below}{}", if last { "└── " } else { "├── " });
            let below = format!("{below}{}", if last { "    " } else { "│   " });
            self.branch(node, package, &lead, &below);
        }
    }
}
