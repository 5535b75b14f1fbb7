//! `eval`: the graph of a release, a derivation in all its fields, the value of an expression.

mod dot;
mod origin;
mod tree;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Eval, Global};
use super::context::{Machine, Release, named_one, read_lock, store_folder};
use super::failure::Failure;
use super::kept::{Kept, KeptOutline};
use super::output::{CommandResult, Output};
use crate::base::{DerivationId, HostPath, nearest};
use crate::graph::derivation::Package;
use crate::graph::{Entry, Graph, Node, Origin, Outline, fields};
use crate::realise::universe::Snapshots;
use crate::spec::expression;
use crate::spec::lock::Lock;

/// Prints the packages of a release, or their tree; of packages that were named, their fields and
/// where these came from; of an expression, its value.
pub fn run(arguments: &Eval, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    if let Some(expression) = &arguments.expression {
        return express(expression, &arguments.words.words, output).map_err(wrong);
    }
    let (folder, names) = named_one(&arguments.words.words).map_err(wrong)?;
    let lock = read_lock(&folder).map_err(wrong)?;
    if names.is_empty() && !arguments.tree && !arguments.dot {
        return list(&folder, lock, global, output).map_err(wrong);
    }
    let release = Release::load_kept(&folder, lock, Kept::open(&folder).as_ref()).map_err(wrong)?;
    let graph = release.graph().map_err(wrong)?;
    check_names(&release, &graph, global, output).map_err(wrong)?;
    let wanted = select(&graph, &names).map_err(wrong)?;
    let top = if names.is_empty() { Top::Roots } else { Top::Named };
    let wanted: Vec<(&Node, &Package)> = wanted
        .iter()
        .filter_map(|id| graph.node(*id))
        .filter_map(|node| Some((node, node.derivation.package()?)))
        .collect();
    let mut packages: Vec<Value> =
        wanted.iter().map(|(node, package)| document(&graph, node, package)).collect();
    if arguments.tree {
        let direction =
            if arguments.invert { tree::Direction::NeededBy } else { tree::Direction::Needs };
        output.text(&tree::tree(&graph, &wanted, direction, top));
    } else if arguments.dot {
        output.text(&dot::digraph(&release.spec.release.name, &graph, &wanted));
    } else {
        let lock = release.lock.clone().unwrap_or_default();
        for (index, ((node, package), document)) in wanted.iter().zip(&mut packages).enumerate() {
            let fields = fields::fields(&graph, node, &release.spec, &lock);
            let gap = if index > 0 { "\n" } else { "" };
            let head = format!("{gap}{} {} · {}\n", package.name, package.version, node.id.short());
            output.text(&format!("{head}{}", origin::table(&fields)));
            document["fields"] = fields.iter().map(origin::document).collect();
        }
    }
    let document = json!({
        "release": release.document(&graph),
        "packages": packages,
    });
    // The program ends here: giving all of it back piece by piece takes longer than reading it.
    std::mem::forget((release, graph));
    Ok(document)
}

/// All packages of a release: of what was kept where that is enough, else of its graph.
fn list(
    folder: &HostPath,
    lock: Option<Lock>,
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let kept = KeptOutline::open(folder, global)?;
    let outline = match kept.renewed(lock.as_ref()) {
        Some(outline) => {
            if !kept.is_checked() {
                output.note(NO_STORE);
            }
            outline
        }
        None => {
            let release = Release::load_kept(folder, lock, kept.results())?;
            let graph = release.graph()?;
            let checked = check_names(&release, &graph, global, output)?;
            if checked != Checked::Partly {
                kept.keep(&release.spec, &graph);
            }
            let outline = Outline::of(&graph);
            // The program ends soon: giving all of it back piece by piece takes long.
            std::mem::forget((release, graph));
            outline
        }
    };
    Ok(printed(&outline, output))
}

/// Prints an outline, and gives it as a document.
fn printed(outline: &Outline, output: &Output) -> Value {
    let entries = outline.entries();
    let mut text = format!("{} {} · {}\n", outline.name, outline.version, outline.release.short());
    let width = entries.iter().map(|entry| entry.name.as_str().len()).max().unwrap_or_default();
    let first = entries.first().map(|entry| entry.architecture);
    let one = entries.iter().all(|entry| Some(entry.architecture) == first);
    for Entry { name, version, architecture, id, .. } in &entries {
        let _ = write!(text, "  {name:width$}  {}  {version}", id.short());
        if !one {
            let _ = write!(text, "  {architecture}");
        }
        text.push('\n');
    }
    output.text(&text);
    if !output.wants_document() {
        return Value::Null;
    }
    let names: HashMap<DerivationId, &str> =
        entries.iter().map(|entry| (entry.id, entry.name.as_str())).collect();
    let package = |entry: &Entry<'_>| {
        let depends: BTreeSet<&str> =
            entry.needs.iter().filter_map(|id| names.get(id).copied()).collect();
        json!({
            "name": entry.name.as_str(),
            "version": entry.version,
            "derivation": entry.id.to_string(),
            "spec": entry.place,
            "depends": depends,
        })
    };
    json!({
        "release": {
            "name": outline.name,
            "version": outline.version,
            "id": outline.release.to_string(),
        },
        "packages": entries.iter().map(package).collect::<Vec<_>>(),
    })
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

/// How far names were checked against the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    /// All of them, where there is a store.
    All,
    /// There is no store yet.
    NoStore,
    /// Something could not be had.
    Partly,
}

/// What stands at the top of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Top {
    /// Everything that was named.
    Named,
    /// What is below nothing else.
    Roots,
}

const NO_STORE: &str = "names not checked against the archive: there is no store yet";

/// Checks names against the archive if the store happens to hold its index: evaluation needs
/// nothing but the release folder.
fn check_names(
    release: &Release,
    graph: &Graph,
    global: &Global,
    output: &Output,
) -> Result<Checked, Failure> {
    if !store_folder(global)?.join("version").as_path().exists() {
        output.note(NO_STORE);
        return Ok(Checked::NoStore);
    }
    let offline = Global { offline: true, ..global.clone() };
    let machine = match Machine::open(release, &offline) {
        Ok(machine) => machine,
        Err(failure) => {
            output.note(&format!("names not checked against the archive: {}", failure.summary()));
            return Ok(Checked::Partly);
        }
    };
    let all = release.check_names(graph, &machine.world(), &Snapshots::default(), output)?;
    Ok(if all { Checked::All } else { Checked::Partly })
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
