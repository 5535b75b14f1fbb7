//! `root diff`: what changed between two roots, or between two states of one, and what uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{Asked, broken, told};
use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, HostPath};
use crate::cli::arguments::Global;
use crate::cli::bump::version;
use crate::cli::context::{nearest, release_folder};
use crate::cli::diff::{Loaded, State, load, state};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::report::count;
use crate::cli::revision::Past;
use crate::graph::diff::{self, Change};
use crate::realise::foresight;
use crate::realise::stale::contents;
use crate::realise::universe::Snapshots;

/// Prints what differs between the packages of two roots.
pub fn run(words: &[String], global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, old, new) = match words {
        [old, new] => (nearest()?, old, new),
        [folder, old, new] => (release_folder(Path::new(folder))?, old, new),
        _ => {
            return Err(Failure::input("two-roots", "`root diff` holds two roots against another")
                .hint("name two of [RELEASE] ROOT ROOT, or of a root and a revision"));
        }
    };
    let present = State::Folder(folder.clone());
    let here = load(&folder, &present, &present)?;
    let roots: BTreeSet<String> =
        crate::realise::bump::of_graph(&here.graph).map(|(_, _, name)| name.to_owned()).collect();
    let (old, new) =
        (Side::new(&folder, old, &roots, global)?, Side::new(&folder, new, &roots, global)?);
    let mut text = String::new();
    let mut documents = Vec::new();
    let pairs = pairs(&old, &new);
    if pairs.is_empty() {
        return Err(Failure::input("no-root", "the two states have no root in common"));
    }
    for (before, after) in pairs {
        let compared = Compared::new(&old, before, &new, after)?;
        compared.write(&mut text);
        documents.push(compared.document());
    }
    output.text(&text);
    Ok(json!({ "roots": documents }))
}

/// A state of a release, and the root of it that was named, if one was.
struct Side {
    title: String,
    named: Option<String>,
    asked: Asked,
    snapshots: Snapshots,
    _past: Option<Past>,
}

impl Side {
    fn new(
        folder: &HostPath,
        word: &String,
        roots: &BTreeSet<String>,
        global: &Global,
    ) -> Result<Self, Failure> {
        let named = roots.contains(word).then(|| word.clone());
        let state = match &named {
            Some(_) => State::Folder(folder.clone()),
            None => state(word)?,
        };
        let past = State::Revision(String::new());
        let loaded = load(folder, &state, &past).map_err(|failure| {
            let known: Vec<String> = roots.iter().map(|name| format!("`{name}`")).collect();
            failure.hint(format!("the roots of the release are {}", known.join(", ")))
        })?;
        let Loaded { title, release, past, .. } = loaded;
        let asked = Asked::new(release, global)?;
        let title = named.clone().unwrap_or(title);
        Ok(Self { title, named, asked, snapshots: Snapshots::default(), _past: past })
    }

    fn roots(&self) -> BTreeMap<(&str, &str), DerivationId> {
        let roots = self.asked.roots().into_iter();
        roots.map(|(node, root, name)| ((name, root.architecture.as_str()), node.id)).collect()
    }
}

/// The roots that are held against one another: of one architecture, and those that were named,
/// or else of one name.
fn pairs(old: &Side, new: &Side) -> Vec<(DerivationId, DerivationId)> {
    let (before, after) = (old.roots(), new.roots());
    let mut pairs = Vec::new();
    for ((name, architecture), id) in &before {
        if old.named.as_ref().is_some_and(|named| named != name) {
            continue;
        }
        // A root that was named on one side alone is the same one on the other.
        let wanted = match (&old.named, &new.named) {
            (_, Some(named)) if old.named.is_some() || named == name => named.as_str(),
            (_, Some(_)) => continue,
            (_, None) => name,
        };
        pairs.extend(after.get(&(wanted, *architecture)).map(|other| (*id, *other)));
    }
    pairs
}

/// Two roots side by side.
struct Compared<'a> {
    title: String,
    size: usize,
    /// What changed of the snapshot.
    snapshot: Vec<Change>,
    /// What changed of the build roots over it, and in whose.
    others: BTreeMap<Change, Vec<&'a str>>,
    users: Vec<&'a str>,
}

impl<'a> Compared<'a> {
    fn new(
        old: &'a Side,
        before: DerivationId,
        new: &'a Side,
        after: DerivationId,
    ) -> Result<Self, Failure> {
        let (old_base, new_base) = (base(old, before)?, base(new, after)?);
        let snapshot = diff::lists(&contents(&old_base), &contents(&new_base));
        let users = new.asked.users(after);
        let names: Vec<&str> = users.iter().map(|package| package.name.as_str()).collect();
        let (old_lists, new_lists) = (lists(old, before), lists(new, after));
        let mut others: BTreeMap<Change, Vec<&str>> = BTreeMap::new();
        for name in &names {
            let (Some(before), Some(after)) = (old_lists.get(*name), new_lists.get(*name)) else {
                continue;
            };
            for change in diff::lists(before, after) {
                if !snapshot.contains(&change) {
                    others.entry(change).or_default().push(name);
                }
            }
        }
        let title = match (&old.named, &new.named) {
            (Some(old), Some(new)) => format!("root {old} -> {new}"),
            _ => {
                let root = root_name(new, after);
                format!("root {root} · {} -> {}", old.title, new.title)
            }
        };
        Ok(Self { title, size: new_base.len(), snapshot, others, users: names })
    }

    fn write(&self, text: &mut String) {
        let Self { title, size, snapshot, others, users } = self;
        if !text.is_empty() {
            text.push('\n');
        }
        let number = snapshot.len();
        let _ = writeln!(text, "{title}: {number} of {} differ", count(*size, "package"));
        let items = snapshot.iter().chain(others.keys());
        let names = items.clone().map(|one| one.item.chars().count()).max().unwrap_or_default();
        let versions = items.map(|one| version(one).chars().count()).max().unwrap_or_default();
        let (names, versions) = (names.min(40), versions.min(50));
        for change in snapshot {
            let line = format!("  {:names$}  {}", change.item, version(change));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !snapshot.is_empty() && !users.is_empty() {
            super::write_names("built on it", users, text);
        }
        if !others.is_empty() {
            text.push_str("\nin build roots over it\n");
        }
        for (change, who) in others {
            let who = told(who, users.len());
            let line = format!("  {:names$}  {:versions$}  {who}", change.item, version(change));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }

    fn document(&self) -> Value {
        let Self { title, size, snapshot, others, users } = self;
        let one = |change: &Change, users: &[&str], in_snapshot: bool| {
            json!({
                "package": change.item,
                "old": change.old,
                "new": change.new,
                "snapshot": in_snapshot,
                "used_by": users,
            })
        };
        let changes = snapshot.iter().map(|change| one(change, users, true));
        let others = others.iter().map(|(change, users)| one(change, users, false));
        json!({
            "title": title,
            "packages": size,
            "changes": changes.chain(others).collect::<Vec<_>>(),
        })
    }
}

fn base(side: &Side, root: DerivationId) -> Result<Vec<std::sync::Arc<BinaryPackage>>, Failure> {
    let Asked { graph, machine, .. } = &side.asked;
    let recipe = match graph.node(root).map(|node| &node.derivation) {
        Some(crate::graph::Derivation::Root(recipe)) => recipe,
        _ => unreachable!("a root of the graph"),
    };
    let missing = |failure: Failure| {
        let message = format!("the packages of root {} cannot be had", side.title);
        failure
            .messages()
            .into_iter()
            .fold(Failure::new(Kind::Machine, "index", message), Failure::because)
    };
    let snapshot = side.snapshots.get(&machine.world(), graph, root);
    let snapshot = snapshot.map_err(|error| missing(broken(&*error)))?;
    let base = snapshot.base(recipe).map_err(|error| missing(broken(&error)))?;
    Ok(base.to_vec())
}

/// What the build roots over a root consist of, by package, without what the release builds; those
/// that cannot be solved are left out.
fn lists(side: &Side, root: DerivationId) -> BTreeMap<&str, BTreeMap<String, (String, String)>> {
    use rayon::prelude::*;
    let Asked { graph, machine, .. } = &side.asked;
    let Ok(snapshot) = side.snapshots.get(&machine.world(), graph, root) else {
        return BTreeMap::new();
    };
    let none = BTreeMap::new();
    let packages: Vec<_> = graph.packages().filter(|(_, package)| package.root == root).collect();
    packages
        .par_iter()
        .filter_map(|(node, package)| {
            let chosen = foresight::packages(graph, node.id, &snapshot, &none).ok()?;
            let mut list = contents(&chosen);
            for below in graph.closure(node.id) {
                let below = graph.node(below).and_then(|node| node.derivation.package());
                for binary in below.into_iter().flat_map(|below| &below.binaries) {
                    list.remove(binary.as_str());
                }
            }
            Some((package.name.as_str(), list))
        })
        .collect()
}

fn root_name(side: &Side, id: DerivationId) -> &str {
    let roots = side.asked.roots();
    let found = roots.into_iter().find(|(node, ..)| node.id == id);
    found.map_or("", |(_, _, name)| name)
}
