//! `eval`: the graph of a release, a derivation in all its fields, the value of an expression.

mod dot;
mod origin;
mod tree;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::{Eval, Global};
use super::context::{Machine, Release, named_one, read_lock, store_folder};
use super::failure::Failure;
use super::kept::Kept;
use super::output::{CommandResult, Output};
use crate::base::{DerivationId, Digest, HostPath, nearest};
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node, Origin, fields};
use crate::realise::universe::Snapshots;
use crate::spec::loader::Folder;
use crate::spec::lock::Lock;
use crate::spec::{self, expression};

/// Prints the packages of a release, or their tree; of packages that were named, their fields and
/// where these came from; of an expression, its value.
pub fn run(arguments: &Eval, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    if let Some(expression) = &arguments.expression {
        return express(expression, &arguments.words.words, output).map_err(wrong);
    }
    let mut asked = Asked::new(arguments, global, output).map_err(wrong)?;
    if let Some(answer) = asked.answer() {
        if asked.checked == Checked::NoStore {
            output.note(NO_STORE);
        }
        output.text(&answer);
        return Ok(Value::Null);
    }
    let Loaded { release, graph, wanted, top, checked } =
        load(&mut asked, global, output).map_err(wrong)?;
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
        let text = list(&release, &graph, &wanted);
        output.text(&text);
        asked.keep(checked, &text);
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

/// What is asked of a release, and what was answered to that before.
///
/// The list of all packages is a function of what the release's graph is made from, and of
/// whether there is a store to check names against: with the same of all that, it is the same.
struct Asked {
    folder: HostPath,
    names: Vec<String>,
    lock: Option<Lock>,
    kept: Option<Kept>,
    /// What names the question; nothing where it was not asked with the same input before.
    question: Option<Digest>,
    answers: Option<PathBuf>,
    /// How names can be checked now.
    checked: Checked,
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

impl Asked {
    fn new(arguments: &Eval, global: &Global, output: &Output) -> Result<Self, Failure> {
        let (folder, names) = named_one(&arguments.words.words)?;
        let lock = read_lock(&folder)?;
        let kept = Kept::open(&folder);
        let store = store_folder(global)?;
        let there = store.join("version").as_path().exists();
        let checked = if there { Checked::All } else { Checked::NoStore };
        let is_list = names.is_empty() && !arguments.tree && !arguments.dot;
        let question = kept.as_ref().filter(|_| is_list && !output.wants_document());
        let question = question.and_then(|kept| {
            let loader = Arc::new(Folder::new(folder.clone()));
            let seal = spec::sealed(loader, lock.as_ref(), kept.cache())?;
            let lock = std::fs::read(folder.join("release.lock")).unwrap_or_default();
            let (lock, store) =
                (Digest::of(&lock), Digest::of(store.as_path().as_os_str().as_encoded_bytes()));
            let parts = [seal, lock, store].map(|part| *part.as_bytes()).concat();
            Some(Digest::of(&[&parts[..], &[there as u8]].concat()))
        });
        let answers = kept.as_ref().map(Kept::answers);
        Ok(Self { folder, names, lock, kept, question, answers, checked })
    }

    /// The text that was printed for the same question before.
    fn answer(&self) -> Option<String> {
        self.kept.as_ref()?.answer(&self.question?)
    }

    /// Keeps the text for the next time, if nothing about it could turn out otherwise then.
    fn keep(&self, checked: Checked, text: &str) {
        if let (Some(question), Some(answers)) = (&self.question, &self.answers)
            && checked == self.checked
        {
            Kept::keep_answer(answers, question, text);
        }
    }
}

struct Loaded {
    release: Release,
    graph: Graph,
    wanted: Vec<DerivationId>,
    top: Top,
    checked: Checked,
}

/// What stands at the top of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Top {
    /// Everything that was named.
    Named,
    /// What is below nothing else.
    Roots,
}

fn load(asked: &mut Asked, global: &Global, output: &Output) -> Result<Loaded, Failure> {
    let release = Release::load_kept(&asked.folder, asked.lock.take(), asked.kept.take())?;
    let graph = release.graph()?;
    let checked = check_names(&release, &graph, global, output)?;
    let wanted = select(&graph, &asked.names)?;
    let top = if asked.names.is_empty() { Top::Roots } else { Top::Named };
    Ok(Loaded { release, graph, wanted, top, checked })
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
