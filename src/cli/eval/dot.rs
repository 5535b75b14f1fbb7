//! The graph in the language of Graphviz (graphviz.org/doc/info/lang.html).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::base::DerivationId;
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node};

/// The packages `wanted` and everything they need of the release, an arrow from each to what it
/// needs directly. Nodes are called by their ids; the label is for people.
pub fn digraph(title: &str, graph: &Graph, wanted: &[(&Node, &Package)]) -> String {
    let mut shown: BTreeSet<DerivationId> = wanted.iter().map(|(node, _)| node.id).collect();
    shown.extend(wanted.iter().flat_map(|(node, _)| graph.closure(node.id)));
    let mut text = format!("digraph {} {{\n", quoted(title));
    text.push_str("    rankdir=LR;\n    node [shape=box, fontname=\"sans-serif\"];\n");
    let mut packages: Vec<_> =
        graph.packages().filter(|(node, _)| shown.contains(&node.id)).collect();
    packages.sort_by_key(|(node, package)| (&package.name, node.id));
    let architectures: BTreeSet<_> =
        packages.iter().map(|(_, package)| &package.architecture).collect();
    for (node, Package { name, version, architecture, .. }) in &packages {
        let label = match architectures.len() {
            1 => format!("{name}\n{version}"),
            _ => format!("{name}:{architecture}\n{version}"),
        };
        let (id, label) = (quoted(&node.id.short()), quoted(&label));
        let _ = writeln!(text, "    {id} [label={label}];");
    }
    for (node, package) in &packages {
        let mut needs: Vec<_> = package
            .dependencies
            .iter()
            .filter_map(|id| Some((&graph.node(*id)?.derivation.package()?.name, id)))
            .collect();
        needs.sort();
        for (_, need) in needs {
            let _ =
                writeln!(text, "    {} -> {};", quoted(&node.id.short()), quoted(&need.short()));
        }
    }
    text.push_str("}\n");
    text
}

/// A quoted string. Only `"` ends one; a backslash begins an escape of the label, as the one for
/// the end of a line.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}
