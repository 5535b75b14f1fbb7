//! `root`: the chroot snapshots that packages are built on, what is in them, and what of them the
//! store holds.

mod diff;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::arguments::{Global, Root, RootCommand};
use super::build::default_options;
use super::cause::few;
use super::changes::wrapped;
use super::context::{Machine, Release, named_one};
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::report::{bytes, count};
use crate::base::{DerivationId, Digest, Json, nearest};
use crate::graph::{Graph, Node, derivation};
use crate::realise::buildroot::{EntryKind, Manifest};
use crate::realise::bump::of_graph;
use crate::realise::record::Record;
use crate::realise::universe::Snapshots;
use crate::realise::{driver, rebuild};
use crate::store::Store;

/// Answers what was asked of the roots of a release.
pub fn run(arguments: &Root, global: &Global, output: &Output) -> CommandResult {
    let answer = match &arguments.command {
        RootCommand::List(words) => list(&words.words, global, output),
        RootCommand::Show(words) => show(&words.words, global, output),
        RootCommand::Diff(words) => diff::run(&words.states, global, output),
    };
    answer.map_err(|failure| (Value::Null, failure))
}

/// A release whose roots are looked at.
struct Asked {
    release: Release,
    graph: Graph,
    machine: Machine,
}

impl Asked {
    fn new(release: Release, global: &Global) -> Result<Self, Failure> {
        let graph = release.graph()?;
        let machine = Machine::open(&release, global)?;
        Ok(Self { release, graph, machine })
    }

    fn roots(&self) -> Vec<(&Node, &derivation::Root, &str)> {
        of_graph(&self.graph).collect()
    }

    /// The packages that are built on a root.
    fn users(&self, root: DerivationId) -> Vec<&derivation::Package> {
        let packages = self.graph.packages().map(|(_, package)| package);
        packages.filter(|package| package.root == root).collect()
    }

    /// What a root's archive is pinned to: the date of each of its suites.
    fn dates(&self, archive: &str) -> String {
        let lock = self.release.lock.iter();
        let suites = lock.filter_map(|lock| lock.archives.get(archive));
        let suites = suites.flat_map(|archive| &archive.suites);
        let dates: Vec<String> =
            suites.map(|suite| format!("{} of {}", suite.suite, suite.date)).collect();
        dates.join(", ")
    }

    /// The records of what is built as the release is now.
    fn records(&self) -> Result<BTreeMap<DerivationId, std::sync::Arc<Record>>, Failure> {
        let wanted: Vec<DerivationId> = self.graph.packages().map(|(node, _)| node.id).collect();
        let world = self.machine.world();
        let survey = driver::survey(&world, &self.graph, &wanted, &default_options());
        let survey = survey.map_err(|error| broken(&error))?;
        Ok(survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1))).collect())
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "store", error)
}

/// A layer of build roots that is in use.
struct Layer<'a> {
    manifest: Digest,
    /// How many layers it lies on.
    above: usize,
    packages: usize,
    users: Vec<&'a str>,
}

fn list(words: &[String], global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(words)?;
    if let Some(name) = names.first() {
        let message = format!("`root list` takes a release folder, not `{name}`");
        return Err(Failure::input("unexpected", message)
            .hint(format!("`perestroika root show {name}` shows one")));
    }
    let asked = Asked::new(Release::load(&folder)?, global)?;
    let store = asked.machine.world().store;
    let records = asked.records()?;
    let kept: BTreeSet<Digest> = store.layers().map_err(|error| broken(&error))?;
    let sizes: BTreeMap<Digest, Option<u64>> =
        kept.par_iter().map(|manifest| (*manifest, size(store, manifest))).collect();
    let spec = &asked.release.spec.release;
    let mut text = format!("{} {}\n", spec.name, spec.version);
    let mut documents = Vec::new();
    let mut ours = BTreeSet::new();
    for (node, root, name) in asked.roots() {
        let users = asked.users(node.id);
        let layers = layers(&asked, node.id, &records);
        let archive = archive(node);
        let (dates, architecture) = (asked.dates(archive), &root.architecture);
        let users = count(users.len(), "package");
        let _ = writeln!(text, "\nroot {name} · {architecture} · {dates} · {users} built on it");
        if layers.is_empty() {
            let _ = writeln!(text, "  nothing of it is in the store: it is made when it is needed");
        }
        let mut told = Vec::new();
        for Layer { manifest, above, packages, users } in &layers {
            ours.insert(*manifest);
            let size = sizes.get(manifest).copied().flatten();
            let what = match above {
                0 => count(*packages, "package"),
                _ => format!("+ {}", count(*packages, "package")),
            };
            let bytes = match (size, kept.contains(manifest)) {
                (Some(size), _) => bytes(size),
                (None, true) => "?".to_owned(),
                (None, false) => "gone".to_owned(),
            };
            let lead = format!("  {what:15} {bytes:>10}   ");
            let names = wrapped(&users.join(", "), 100 - lead.chars().count());
            for (index, row) in names.iter().enumerate() {
                let lead = if index == 0 { lead.clone() } else { " ".repeat(30) };
                let _ = writeln!(text, "{lead}{row}");
            }
            told.push(json!({
                "manifest": manifest.to_string(),
                "above": above,
                "packages": packages,
                "size": size,
                "stored": kept.contains(manifest),
                "used_by": users,
            }));
        }
        documents.push(json!({
            "name": name,
            "derivation": node.id.to_string(),
            "architecture": architecture.as_str(),
            "archive": archive,
            "pinned": dates,
            "used_by": asked.users(node.id).iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
            "layers": told,
        }));
    }
    let used: BTreeSet<&str> = asked.roots().iter().map(|(_, _, name)| *name).collect();
    for name in spec.roots.keys().filter(|name| !used.contains(name.as_str())) {
        let _ = writeln!(text, "\nroot {name}: no package is built on it");
    }
    let others: Vec<&Digest> = kept.iter().filter(|manifest| !ours.contains(*manifest)).collect();
    let rest: u64 = others.iter().filter_map(|manifest| sizes[*manifest]).sum();
    if !others.is_empty() {
        let layers = count(others.len(), "layer");
        let _ =
            writeln!(text, "\nof other releases, or as this one was: {layers}, {}", bytes(rest));
    }
    output.text(&text);
    Ok(json!({
        "release": asked.release.document(&asked.graph),
        "roots": documents,
        "others": { "layers": others.len(), "size": rest },
    }))
}

fn archive(node: &Node) -> &str {
    match &node.origin {
        crate::graph::Origin::Root { archive, .. } => archive,
        _ => "",
    }
}

/// The layers that the build roots over a root consist of, the lowest first, then by size.
fn layers<'a>(
    asked: &'a Asked,
    root: DerivationId,
    records: &BTreeMap<DerivationId, std::sync::Arc<Record>>,
) -> Vec<Layer<'a>> {
    let store = asked.machine.world().store;
    let mut layers: BTreeMap<(usize, Digest), Layer<'a>> = BTreeMap::new();
    for (node, package) in asked.graph.packages().filter(|(_, package)| package.root == root) {
        let Some(record) = records.get(&node.id) else { continue };
        let listed = build_root(store, record);
        for (above, manifest) in record.layers.iter().enumerate() {
            let layer = layers.entry((above, *manifest)).or_insert_with(|| Layer {
                manifest: *manifest,
                above,
                packages: listed.get(above).map_or(0, Vec::len),
                users: Vec::new(),
            });
            layer.users.push(package.name.as_str());
        }
    }
    let mut layers: Vec<Layer<'a>> = layers.into_values().collect();
    layers.sort_by_key(|layer| (layer.above, usize::MAX - layer.users.len(), layer.users[0]));
    layers
}

/// A package of a build root: name, version, architecture.
type Listed = (String, String, String);

/// The packages of each layer of the build root that a record's action lists.
fn build_root(store: &Store, record: &Record) -> Vec<Vec<Listed>> {
    let document = rebuild::document(store, &record.action.to_string());
    let Some(Json::Object(members)) = document else { return Vec::new() };
    let Some(Json::Array(layers)) = members.get("root") else { return Vec::new() };
    let text = |package: &Json, key: &str| match package {
        Json::Object(members) => match members.get(key) {
            Some(Json::String(text)) => text.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    let layer = |layer: &Json| match layer {
        Json::Array(packages) => packages
            .iter()
            .map(|one| (text(one, "name"), text(one, "version"), text(one, "architecture")))
            .collect(),
        _ => Vec::new(),
    };
    layers.iter().map(layer).collect()
}

/// The bytes of the files of a layer, if its manifest is there.
fn size(store: &Store, manifest: &Digest) -> Option<u64> {
    let manifest = Manifest::from_json(&store.json(manifest).ok()??).ok()?;
    let sizes = manifest.entries.values().map(|entry| match entry.kind {
        EntryKind::File { size, .. } => size,
        _ => 0,
    });
    Some(sizes.sum())
}

fn show(words: &[String], global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(words)?;
    let asked = Asked::new(Release::load(&folder)?, global)?;
    let roots = asked.roots();
    let name = match (names.as_slice(), roots.as_slice()) {
        ([name], _) => name.as_str(),
        ([], [(_, _, name)]) => name,
        ([], _) => {
            let known = roots.iter().map(|(_, _, name)| *name).collect::<BTreeSet<_>>();
            let known = known.into_iter().collect::<Vec<_>>().join("`, `");
            return Err(Failure::input("which-root", "the release has several roots")
                .hint(format!("name one of `{known}`, or a package: its build root is shown")));
        }
        _ => {
            let message = format!("`root show` takes one name, not {}", names.len());
            return Err(Failure::input("unexpected", message));
        }
    };
    let of_name: Vec<_> = roots.iter().filter(|(_, _, known)| *known == name).collect();
    if of_name.is_empty() && asked.release.spec.release.roots.contains_key(name) {
        let message = format!("no package of the release is built on root `{name}`");
        return Err(Failure::input("unused-root", message));
    }
    if of_name.is_empty() {
        return show_package(&asked, name, output);
    }
    let snapshots = Snapshots::default();
    let world = asked.machine.world();
    let mut documents = Vec::new();
    let mut text = String::new();
    for (node, root, _) in of_name {
        let snapshot = snapshots.get(&world, &asked.graph, node.id);
        let snapshot = snapshot.map_err(|error| broken(&*error))?;
        let base = snapshot.base(root).map_err(|error| broken(&error))?;
        let packages: Vec<Listed> = base
            .iter()
            .map(|one| {
                let architecture = one.architecture.to_string();
                (one.name.to_string(), one.version.to_string(), architecture)
            })
            .collect();
        let users: Vec<&str> =
            asked.users(node.id).iter().map(|package| package.name.as_str()).collect();
        let dates = asked.dates(archive(node));
        let _ = writeln!(
            text,
            "root {name} · {} · {dates} · {}",
            root.architecture,
            count(packages.len(), "package")
        );
        write_packages(&packages, &mut text);
        write_names("built on it", &users, &mut text);
        documents.push(json!({
            "name": name,
            "derivation": node.id.to_string(),
            "architecture": root.architecture.as_str(),
            "pinned": dates,
            "packages": listed(&packages),
            "used_by": users,
        }));
    }
    output.text(&text);
    Ok(json!({ "release": asked.release.document(&asked.graph), "roots": documents }))
}

/// The build root of a package, as its record has it.
fn show_package(asked: &Asked, name: &str, output: &Output) -> Result<Value, Failure> {
    let Some((node, package)) = asked.graph.package(name) else {
        let names = asked.graph.packages().map(|(_, package)| package.name.as_str());
        let roots = asked.roots();
        let known: Vec<&str> = names.chain(roots.iter().map(|(_, _, name)| *name)).collect();
        let message = format!("the release has no root `{name}`, and no package either");
        let failure = Failure::input("unknown-root", message);
        return Err(match nearest(name, known) {
            Some(near) => failure.hint(format!("it has `{near}`")),
            None => failure,
        });
    };
    let records = asked.records()?;
    let Some(record) = records.get(&node.id) else {
        let message =
            format!("`{name}` is not built as the release is now: it has no build root yet");
        return Err(Failure::new(Kind::Result, "not-built", message).hint(format!(
            "`perestroika build {name}` makes it; `root show` shows what it lies on"
        )));
    };
    let store = asked.machine.world().store;
    let layers = build_root(store, record);
    let mut text = format!("the build root of {name} {}\n", package.version);
    let mut documents = Vec::new();
    for (above, (packages, manifest)) in layers.iter().zip(&record.layers).enumerate() {
        let size = size(store, manifest);
        let told = size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
        let _ =
            writeln!(text, "\nlayer {} · {}{told}", above + 1, count(packages.len(), "package"));
        write_packages(packages, &mut text);
        documents.push(json!({
            "manifest": manifest.to_string(),
            "size": size,
            "packages": listed(packages),
        }));
    }
    output.text(&text);
    Ok(json!({
        "release": asked.release.document(&asked.graph),
        "package": { "name": name, "version": package.version, "action": record.action.to_string() },
        "layers": documents,
    }))
}

fn write_packages(packages: &[Listed], text: &mut String) {
    let widest = packages.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    for (name, version, architecture) in packages {
        let all = if architecture == "all" { "  all" } else { "" };
        let _ = writeln!(text, "  {name:widest$}  {version}{all}");
    }
}

fn write_names(title: &str, names: &[&str], text: &mut String) {
    let lead = format!("{title}: ");
    let rows = wrapped(&names.join(", "), 98 - lead.len());
    for (index, row) in rows.iter().enumerate() {
        let lead = if index == 0 { lead.clone() } else { " ".repeat(lead.len()) };
        let _ = writeln!(text, "{lead}{row}");
    }
}

fn listed(packages: &[Listed]) -> Vec<Value> {
    let one = |(name, version, architecture): &Listed| json!({ "name": name, "version": version, "architecture": architecture });
    packages.iter().map(one).collect()
}

/// A size as people say it.
/// The packages that use something, in a few words.
fn told(users: &[&str], all: usize) -> String {
    if users.len() == all && all > 1 { format!("all {all}") } else { few(users.iter().copied()) }
}
