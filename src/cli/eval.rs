//! `eval`: the graph of a release.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Eval, Global};
use super::context::{Release, named_one};
use super::failure::Failure;
use super::output::{CommandResult, Output};
use crate::base::{DerivationId, nearest};
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node, Origin};

/// Prints the packages of a release, or their tree.
pub fn run(arguments: &Eval, _global: &Global, output: &Output) -> CommandResult {
    let (release, graph, wanted) = load(arguments).map_err(|failure| (Value::Null, failure))?;
    let spec = &release.spec.release;
    if arguments.tree {
        output.text(&tree(&graph, &wanted, arguments.invert));
    } else {
        let mut text = format!("{} {} · {}\n", spec.name, spec.version, graph.release().short());
        let width = wanted.iter().map(|(_, package)| package.name.as_str().len()).max();
        for (node, package) in &wanted {
            let width = width.unwrap_or_default();
            let _ = writeln!(
                text,
                "  {:width$}  {}  {}",
                package.name,
                node.id.short(),
                package.version
            );
        }
        output.text(&text);
    }
    let packages: Vec<Value> =
        wanted.iter().map(|(node, package)| document(&graph, node, package)).collect();
    Ok(json!({
        "release": {
            "name": spec.name,
            "version": spec.version,
            "id": graph.release().to_string(),
        },
        "packages": packages,
    }))
}

fn load(arguments: &Eval) -> Result<(Release, Graph, Vec<(Node, Package)>), Failure> {
    let (folder, names) = named_one(&arguments.words.words)?;
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    let wanted = select(&graph, &names)?
        .into_iter()
        .filter_map(|id| match graph.node(id) {
            Some(node) => match &node.derivation {
                crate::graph::Derivation::Package(package) => Some((node.clone(), package.clone())),
                _ => None,
            },
            None => None,
        })
        .collect();
    Ok((release, graph, wanted))
}

/// The packages of these names, or all; sorted by name.
pub fn select(graph: &Graph, names: &[String]) -> Result<Vec<DerivationId>, Failure> {
    let mut all: Vec<_> =
        graph.packages().map(|(node, package)| (package.name.as_str(), node.id)).collect();
    all.sort_unstable();
    for name in names {
        if !all.iter().any(|(known, _)| known == name) {
            let failure =
                Failure::input("unknown-package", format!("the release has no package `{name}`"));
            return Err(match nearest(name, all.iter().map(|(known, _)| *known)) {
                Some(near) => failure.hint(format!("it has `{near}`")),
                None => failure
                    .hint("`perestroika eval` lists its packages; a folder is written with a `/`"),
            });
        }
    }
    Ok(all
        .into_iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|wanted| wanted == name))
        .map(|(_, id)| id)
        .collect())
}

fn document(graph: &Graph, node: &Node, package: &Package) -> Value {
    let spec = match &node.origin {
        Origin::Package(origin) => format!("{}:{}", origin.span.file, origin.span.line),
        _ => String::new(),
    };
    let depends: Vec<&str> = package
        .dependencies
        .iter()
        .filter_map(|id| graph.node(*id))
        .filter_map(|node| match &node.derivation {
            crate::graph::Derivation::Package(package) => Some(package.name.as_str()),
            _ => None,
        })
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    json!({
        "name": package.name.as_str(),
        "version": package.version,
        "derivation": node.id.to_string(),
        "spec": spec,
        "depends": depends,
    })
}

/// Packages and what they need (or what needs them), indented. What was told in full before is
/// marked and not told again.
fn tree(graph: &Graph, wanted: &[(Node, Package)], invert: bool) -> String {
    let mut text = String::new();
    let mut told = BTreeSet::new();
    for (node, _) in wanted {
        branch(graph, node.id, invert, "", "", &mut told, &mut text);
    }
    text
}

fn branch(
    graph: &Graph,
    id: DerivationId,
    invert: bool,
    lead: &str,
    below: &str,
    told: &mut BTreeSet<DerivationId>,
    text: &mut String,
) {
    let Some(node) = graph.node(id) else { return };
    let crate::graph::Derivation::Package(package) = &node.derivation else { return };
    let next = if invert { graph.dependents(id) } else { package.dependencies.clone() };
    let mut next: Vec<_> = next
        .into_iter()
        .filter_map(|id| match &graph.node(id)?.derivation {
            crate::graph::Derivation::Package(package) => Some((package.name.clone(), id)),
            _ => None,
        })
        .collect();
    next.sort();
    let again = !told.insert(id) && !next.is_empty();
    let mark = if again { " (see above)" } else { "" };
    let _ = writeln!(text, "{lead}{} {} {}{mark}", package.name, package.version, id.short());
    if again {
        return;
    }
    let count = next.len();
    for (index, (_, id)) in next.into_iter().enumerate() {
        let last = index + 1 == count;
        let lead = format!("{below}{}", if last { "└── " } else { "├── " });
        let below = format!("{below}{}", if last { "    " } else { "│   " });
        branch(graph, id, invert, &lead, &below, told, text);
    }
}
