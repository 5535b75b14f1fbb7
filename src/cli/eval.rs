//! `eval`: the graph of a release, a derivation in all its fields, the value of an expression.

mod dot;
mod origin;
mod tree;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Eval, Global};
use super::context::{Machine, Release, named_one, read_lock, store_folder};
use super::failure::Failure;
use super::output::{CommandResult, Output};
use crate::base::{DerivationId, nearest};
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node, Origin, fields};
use crate::realise::universe::Snapshots;
use crate::spec::expression;

/// Prints the packages of a release, or their tree; of packages that were named, their fields and
/// where these came from; of an expression, its value.
pub fn run(arguments: &Eval, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    if let Some(expression) = &arguments.expression {
        return express(expression, &arguments.words.words, output).map_err(wrong);
    }
    let Loaded { release, graph, wanted, top } = load(arguments, global, output).map_err(wrong)?;
    let wanted: Vec<(&Node, &Package)> = wanted
        .iter()
        .filter_map(|id| graph.node(*id))
        .filter_map(|node| Some((node, node.derivation.package()?)))
        .collect();
    let mut packages: Vec<Value> = match output.wants_document() || top == Top::Named {
        true => wanted.iter().map(|(node, package)| document(&graph, node, package)).collect(),
        false => Vec::new(),
    };
    if arguments.tree {
        let direction =
            if arguments.invert { tree::Direction::NeededBy } else { tree::Direction::Needs };
        output.text(&tree::tree(&graph, &wanted, direction, top));
    } else if arguments.dot {
        output.text(&dot::digraph(&release.spec.release.name, &graph, &wanted));
    } else if top == Top::Named {
        let lock = release.lock.clone().unwrap_or_default();
        for (index, ((node, package), document)) in wanted.iter().zip(&mut packages).enumerate() {
            let fields = fields::fields(&graph, node, &release.spec, &lock);
            let gap = if index > 0 { "\n" } else { "" };
            let head = format!("{gap}{} {} · {}\n", package.name, package.version, node.id.short());
            output.text(&format!("{head}{}", origin::table(&fields)));
            document["fields"] = fields.iter().map(origin::document).collect();
        }
    } else {
        output.text(&list(&release, &graph, &wanted));
    }
    let document = json!({
        "release": release.document(&graph),
        "packages": packages,
    });
    // The program ends here: giving all of it back piece by piece takes longer than reading it.
    std::mem::forget((release, graph));
    Ok(document)
}

fn list(release: &Release, graph: &Graph, wanted: &[(&Node, &Package)]) -> String {
    let spec = &release.spec.release;
    let mut text = format!("{} {} · {}\n", spec.name, spec.version, graph.release().short());
    let width = wanted.iter().map(|(_, package)| package.name.as_str().len()).max();
    for (node, package) in wanted {
        let width = width.unwrap_or_default();
        let architecture = match spec.architectures.as_slice() {
            [_] => String::new(),
            _ => format!("  {}", package.architecture),
        };
        let _ = writeln!(
            text,
            "  {:width$}  {}  {}{architecture}",
            package.name,
            node.id.short(),
            package.version
        );
    }
    text
}

fn express(expression: &str, words: &[String], output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(words)?;
    if let Some(name) = names.first() {
        let message = format!("`-e` evaluates an expression, not the package `{name}`");
        return Err(Failure::input("unexpected", message)
            .hint("an expression of several words is one argument: quote it"));
    }
    let lock = read_lock(&folder)?;
    let value = expression::evaluate(&folder, lock.as_ref(), expression)
        .map_err(|errors| Failure::in_expression(&folder, expression, errors))?;
    output.text(&format!("{value}\n"));
    Ok(json!({ "value": origin::as_json(&value) }))
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
