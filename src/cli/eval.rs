//! `eval`: the graph of a release.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Eval, Global};
use super::context::{Machine, Release, named_one, store_folder};
use super::failure::Failure;
use super::output::{CommandResult, Output};
use crate::base::{DerivationId, nearest};
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node, Origin};
use crate::realise::universe::Snapshots;

/// Prints the packages of a release, or their tree.
pub fn run(arguments: &Eval, global: &Global, output: &Output) -> CommandResult {
    let Loaded { release, graph, wanted, top } =
        load(arguments, global, output).map_err(|failure| (Value::Null, failure))?;
    let wanted: Vec<(&Node, &Package)> = wanted
        .iter()
        .filter_map(|id| graph.node(*id))
        .filter_map(|node| Some((node, node.derivation.package()?)))
        .collect();
    let spec = &release.spec.release;
    if arguments.tree {
        let direction = if arguments.invert { Direction::NeededBy } else { Direction::Needs };
        output.text(&tree(&graph, &wanted, direction, top));
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
    let packages: Vec<Value> = match output.wants_document() {
        true => wanted.iter().map(|(node, package)| document(&graph, node, package)).collect(),
        false => Vec::new(),
    };
    let document = json!({
        "release": release.document(&graph),
        "packages": packages,
    });
    // The program ends here: giving all of it back piece by piece takes longer than reading it.
    std::mem::forget((release, graph));
    Ok(document)
}

struct Loaded {
    release: Release,
    graph: Graph,
    wanted: Vec<DerivationId>,
    top: Top,
}

/// What stands at the top of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Top {
    /// Everything that was named.
    Named,
    /// What is below nothing else.
    Roots,
}

fn load(arguments: &Eval, global: &Global, output: &Output) -> Result<Loaded, Failure> {
    let (folder, names) = named_one(&arguments.words.words)?;
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    check_names(&release, &graph, global, output)?;
    let wanted = select(&graph, &names)?;
    let top = if names.is_empty() { Top::Roots } else { Top::Named };
    Ok(Loaded { release, graph, wanted, top })
}

/// Checks names against the archive if the store happens to hold its index: evaluation needs
/// nothing but the release folder.
fn check_names(
    release: &Release,
    graph: &Graph,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    if !store_folder(global)?.join("version").as_path().exists() {
        output.note("names not checked against the archive: there is no store yet");
        return Ok(());
    }
    let offline = Global { offline: true, ..global.clone() };
    let machine = match Machine::open(release, &offline) {
        Ok(machine) => machine,
        Err(failure) => {
            output.note(&format!("names not checked against the archive: {}", failure.summary()));
            return Ok(());
        }
    };
    release.check_names(graph, &machine.world(), &Snapshots::default(), output)
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
    let depends: BTreeSet<&str> = package
        .dependencies
        .iter()
        .filter_map(|id| Some(graph.node(*id)?.derivation.package()?.name.as_str()))
        .collect();
    json!({
        "name": package.name.as_str(),
        "version": package.version,
        "derivation": node.id.to_string(),
        "spec": spec,
        "depends": depends,
    })
}

/// Which way a tree is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
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
fn tree(graph: &Graph, wanted: &[(&Node, &Package)], direction: Direction, top: Top) -> String {
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
