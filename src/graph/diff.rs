//! What differs between two recipes, and between two graphs: changed inputs, and what changes
//! only because something it needs did.
//!
//! Recipes are compared as the documents they are named by, so that one of this release can be
//! held against one that is left of it in a store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Derivation, Graph, Node, Origin};
use crate::base::{Architecture, DerivationId, Digest, Json, PackageName};

/// An input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The derivation's field: `version`, `source`, `root`, `script`, …
    pub field: String,
    /// What of it: a file of the source, an index of the root, a variable of the environment;
    /// empty where the field is one thing.
    pub item: String,
    /// What it was; nothing if it was not there.
    pub old: Option<String>,
    /// What it is; nothing if it is not there any more.
    pub new: Option<String>,
}

/// A dependency on a package of the release whose recipe is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// The package's name.
    pub name: String,
    /// The document of its old recipe.
    pub old: String,
    /// The document of its new one.
    pub new: String,
}

/// How two recipes of a package differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Its own inputs, sorted.
    pub changes: Vec<Change>,
    /// What it needs of the release, sorted by name.
    pub moved: Vec<Moved>,
}

/// What tells packages of a release apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its name.
    pub name: PackageName,
    /// What it is built for.
    pub architecture: Architecture,
}

/// A package that is in both graphs, with another recipe in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The package.
    pub key: Key,
    /// Its old id.
    pub old: DerivationId,
    /// Its new id.
    pub new: DerivationId,
    /// What changed of its own inputs; empty if it changes only because of others.
    pub changes: Vec<Change>,
    /// The nearest packages below it whose own inputs changed, sorted.
    pub because: Vec<Key>,
}

/// What differs between two graphs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Packages that only the new graph has, sorted.
    pub added: Vec<Key>,
    /// Packages that only the old graph has, sorted.
    pub removed: Vec<Key>,
    /// Packages whose recipes differ, each after those it needs.
    pub changed: Vec<Changed>,
}

/// Gives a document by the hash it is named by: a derivation, or the tree of a source. What is
/// not known any more is none.
pub type Documents<'a> = &'a dyn Fn(&str) -> Option<Json>;

/// How the recipe `new` of a package differs from `old`. What the two name is looked up, to say
/// what of it changed; where that is not known, its hash is all that is said.
pub fn recipes(old: &Json, new: &Json, olds: Documents<'_>, news: Documents<'_>) -> Difference {
    let mut difference = Difference::default();
    let (old, new) = (members(old), members(new));
    for field in keys(&old, &new) {
        let (before, after) = (old.get(field), new.get(field));
        if before == after {
            continue;
        }
        match (field, before, after) {
            ("format" | "kind", ..) => {}
            ("dependencies", ..) => {
                dependencies(before, after, olds, news, &mut difference);
            }
            _ => {
                let mut field = Comparing { field, olds, news, changes: &mut difference.changes };
                field.values("", before, after);
            }
        }
    }
    difference.changes.sort();
    difference.changes.dedup();
    difference.moved.sort();
    difference
}

/// What differs between two graphs.
pub fn graphs(old: &Graph, new: &Graph) -> Comparison {
    let (olds, news) = (by_key(old), by_key(new));
    let (old_documents, new_documents) = (documents(old), documents(new));
    let mut comparison = Comparison {
        added: news.keys().filter(|key| !olds.contains_key(key)).cloned().collect(),
        removed: olds.keys().filter(|key| !news.contains_key(key)).cloned().collect(),
        changed: Vec::new(),
    };
    let mut nearest: BTreeMap<DerivationId, BTreeSet<Key>> = BTreeMap::new();
    for (node, package) in new.packages() {
        let key = key(package);
        let Some(before) = olds.get(&key).filter(|before| before.id != node.id) else { continue };
        let difference = recipes(
            &before.derivation.to_json(),
            &node.derivation.to_json(),
            &old_documents,
            &new_documents,
        );
        let because: BTreeSet<Key> = package
            .dependencies
            .iter()
            .filter_map(|need| nearest.get(need))
            .flatten()
            .cloned()
            .collect();
        let up = if difference.changes.is_empty() {
            because.clone()
        } else {
            BTreeSet::from([key.clone()])
        };
        nearest.insert(node.id, up);
        comparison.changed.push(Changed {
            key,
            old: before.id,
            new: node.id,
            changes: difference.changes,
            because: because.into_iter().collect(),
        });
    }
    comparison
}

/// Why the recipe `new` of a package is not `old`, both named by their documents: the packages
/// whose own inputs changed, with what changed, the package itself first if it is one of them. Of
/// what it needs only the nearest are told: below a package that changed itself nothing is looked
/// for, but below the one that is asked about.
pub fn causes(
    old: &str,
    new: &str,
    olds: Documents<'_>,
    news: Documents<'_>,
) -> Vec<(String, Vec<Change>)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let top = Moved { name: String::new(), old: old.to_owned(), new: new.to_owned() };
    let mut open = VecDeque::from([top]);
    while let Some(moved) = open.pop_front() {
        if !seen.insert((moved.old.clone(), moved.new.clone())) {
            continue;
        }
        let (Some(before), Some(after)) = (olds(&moved.old), news(&moved.new)) else {
            let Moved { name, old, new } = moved;
            let change = Change {
                field: "recipe".to_owned(),
                item: String::new(),
                old: Some(old),
                new: Some(new),
            };
            found.push((name, vec![change]));
            continue;
        };
        let difference = recipes(&before, &after, olds, news);
        let is_top = seen.len() == 1;
        if difference.changes.is_empty() || is_top {
            open.extend(difference.moved);
        }
        if !difference.changes.is_empty() {
            let name = members(&after).get("name").map(shown).unwrap_or_default();
            found.push((name, difference.changes));
        }
    }
    found
}

/// What is different between the actions of two builds: packages of the build root by name, with
/// their versions, and whatever else went in.
pub fn actions(old: &Json, new: &Json) -> Vec<Change> {
    let (mut old, mut new) = (members(old), members(new));
    let (before, after) = (packages(old.remove("root")), packages(new.remove("root")));
    let none = |_: &str| None;
    let rest = recipes(&Json::Object(old), &Json::Object(new), &none, &none);
    let mut changes = rest.changes;
    changes.extend(lists(&before, &after));
    changes.sort();
    changes
}

/// What is different between the build root of an action and a list of packages: version and
/// SHA-256 by name.
pub fn root(old: &Json, new: &BTreeMap<String, (String, String)>) -> Vec<Change> {
    lists(&packages(members(old).remove("root")), new)
}

/// What is different between two lists of packages: version and content by name.
pub fn lists(
    old: &BTreeMap<String, (String, String)>,
    new: &BTreeMap<String, (String, String)>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for name in keys(old, new) {
        let (old, new) = (old.get(name), new.get(name));
        if old == new {
            continue;
        }
        let same_version = old.zip(new).is_some_and(|(old, new)| old.0 == new.0);
        let told = |one: Option<&(String, String)>| {
            let (version, content) = one?;
            Some(if same_version { content.clone() } else { version.clone() })
        };
        let (field, item) = ("root".to_owned(), name.to_owned());
        changes.push(Change { field, item, old: told(old), new: told(new) });
    }
    changes
}

/// Version and content of each package of a build root, by name.
fn packages(root: Option<Json>) -> BTreeMap<String, (String, String)> {
    let Some(Json::Array(layers)) = root else { return BTreeMap::new() };
    let packages = layers.into_iter().flat_map(|layer| match layer {
        Json::Array(packages) => packages,
        _ => Vec::new(),
    });
    packages
        .map(|package| {
            let package = members(&package);
            let text = |key: &str| package.get(key).map(shown).unwrap_or_default();
            (text("name"), (text("version"), text("sha256")))
        })
        .collect()
}

/// The documents of a graph: of its derivations, and of the trees of its sources.
pub fn documents(graph: &Graph) -> impl Fn(&str) -> Option<Json> + '_ {
    let shelf = Shelf::new(graph);
    move |name| shelf.get(name)
}

/// What tells a package apart.
pub fn key(package: &super::derivation::Package) -> Key {
    Key { name: package.name.clone(), architecture: package.architecture.clone() }
}

fn by_key(graph: &Graph) -> BTreeMap<Key, &Node> {
    graph.packages().map(|(node, package)| (key(package), node)).collect()
}

/// The documents of a graph, by the hash they are named by.
pub struct Shelf<'a> {
    graph: &'a Graph,
    trees: BTreeMap<String, &'a crate::base::Tree>,
}

impl<'a> Shelf<'a> {
    /// The documents of this graph.
    pub fn new(graph: &'a Graph) -> Self {
        let trees = graph.nodes().filter_map(|node| match (&node.derivation, &node.origin) {
            (
                Derivation::Source(super::derivation::Source::Tree { tree: digest }),
                Origin::Dir { tree, .. },
            ) => Some((digest.to_string(), tree)),
            _ => None,
        });
        Self { graph, trees: trees.collect() }
    }

    /// The document of this name.
    pub fn get(&self, name: &str) -> Option<Json> {
        if let Some(tree) = self.trees.get(name) {
            return Some(tree.to_json());
        }
        let id: Digest = name.parse().ok()?;
        let node = self.graph.node(DerivationId::from_bytes(*id.as_bytes()))?;
        Some(node.derivation.to_json())
    }
}

/// A field while its two values are compared.
struct Comparing<'a> {
    field: &'a str,
    olds: Documents<'a>,
    news: Documents<'a>,
    changes: &'a mut Vec<Change>,
}

impl Comparing<'_> {
    fn note(&mut self, item: &str, old: Option<String>, new: Option<String>) {
        let (field, item) = (self.field.to_owned(), item.to_owned());
        self.changes.push(Change { field, item, old, new });
    }

    /// Compares two values of which at least one is there.
    fn values(&mut self, item: &str, old: Option<&Json>, new: Option<&Json>) {
        match (old, new) {
            (Some(old), Some(new)) if old == new => {}
            (Some(Json::Object(old)), Some(Json::Object(new))) => {
                for key in keys(old, new) {
                    self.values(&below(item, key), old.get(key), new.get(key));
                }
            }
            (Some(Json::Object(one)), None) | (None, Some(Json::Object(one))) => {
                for (key, value) in one {
                    let (before, after) =
                        if old.is_some() { (Some(value), None) } else { (None, Some(value)) };
                    self.values(&below(item, key), before, after);
                }
            }
            (Some(Json::Array(old)), Some(Json::Array(new))) => self.lists(item, old, new),
            (Some(Json::Array(old)), None) => self.lists(item, old, &[]),
            (None, Some(Json::Array(new))) => self.lists(item, &[], new),
            (Some(Json::String(old)), Some(Json::String(new))) => self.texts(item, old, new),
            (old, new) => self.note(item, old.map(shown), new.map(shown)),
        }
    }

    /// Two texts: those that name documents we know are compared as these.
    fn texts(&mut self, item: &str, old: &str, new: &str) {
        match ((self.olds)(old), (self.news)(new)) {
            (Some(before), Some(after)) => {
                let (before, after) = (members(&before), members(&after));
                for member in keys(&before, &after) {
                    let (before, after) = (before.get(member), after.get(member));
                    let item = match member {
                        "format" | "kind" => continue,
                        // What these two hold has names of its own.
                        "tree" | "entries" | "files" | "indexes" => item.to_owned(),
                        _ => below(item, member),
                    };
                    self.values(&item, before, after);
                }
            }
            _ => self.note(item, Some(old.to_owned()), Some(new.to_owned())),
        }
    }

    /// Two lists: of things with names, which of them changed; of others, which came and went.
    fn lists(&mut self, item: &str, old: &[Json], new: &[Json]) {
        let named = |list: &[Json]| -> Option<BTreeMap<String, Json>> {
            let named: Option<BTreeMap<_, _>> =
                list.iter().map(|one| Some((name_of(one)?, one.clone()))).collect();
            named.filter(|named| named.len() == list.len())
        };
        if let (Some(before), Some(after)) = (named(old), named(new)) {
            let order = self.changes.len();
            for key in keys(&before, &after) {
                let (before, after) = (before.get(key), after.get(key));
                if before != after {
                    self.note(&below(item, key), before.map(content), after.map(content));
                }
            }
            if self.changes.len() > order {
                return;
            }
        } else {
            let count = |list: &[Json]| {
                let mut count: BTreeMap<String, usize> = BTreeMap::new();
                for one in list {
                    *count.entry(shown(one)).or_default() += 1;
                }
                count
            };
            let (before, after) = (count(old), count(new));
            let order = self.changes.len();
            for key in keys(&before, &after) {
                let (had, has) = (before.get(key).unwrap_or(&0), after.get(key).unwrap_or(&0));
                if had > has {
                    self.note(item, Some(key.to_owned()), None);
                } else if has > had {
                    self.note(item, None, Some(key.to_owned()));
                }
            }
            if self.changes.len() > order {
                return;
            }
        }
        let told = |list: &[Json]| Some(list.iter().map(shown).collect::<Vec<_>>().join(", "));
        self.note(&below(item, "order"), told(old), told(new));
    }
}

fn dependencies(
    old: Option<&Json>,
    new: Option<&Json>,
    olds: Documents<'_>,
    news: Documents<'_>,
    difference: &mut Difference,
) {
    let named = |value: Option<&Json>, documents: Documents<'_>| -> BTreeMap<String, String> {
        let Some(Json::Array(ids)) = value else { return BTreeMap::new() };
        ids.iter()
            .map(|id| {
                let id = shown(id);
                let document = documents(&id).map(|document| members(&document));
                let name = document.as_ref().and_then(|all| all.get("name")).map(shown);
                (name.unwrap_or_else(|| id.clone()), id)
            })
            .collect()
    };
    let (old, new) = (named(old, olds), named(new, news));
    for name in keys(&old, &new) {
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                let (name, old, new) = (name.to_owned(), old.clone(), new.clone());
                difference.moved.push(Moved { name, old, new });
            }
            (old, new) => difference.changes.push(Change {
                field: "dependencies".to_owned(),
                item: name.to_owned(),
                old: old.cloned(),
                new: new.cloned(),
            }),
        }
    }
}

fn members(document: &Json) -> BTreeMap<String, Json> {
    match document {
        Json::Object(members) => members.clone(),
        _ => BTreeMap::new(),
    }
}

fn keys<'a, T, U>(old: &'a BTreeMap<String, T>, new: &'a BTreeMap<String, U>) -> BTreeSet<&'a str> {
    old.keys().chain(new.keys()).map(String::as_str).collect()
}

fn below(item: &str, key: &str) -> String {
    if item.is_empty() { key.to_owned() } else { format!("{item} {key}") }
}

/// What a thing of a list goes by: the path of a file, the name of a package, the suite and path
/// of an index.
fn name_of(one: &Json) -> Option<String> {
    let Json::Object(members) = one else { return None };
    let text = |key: &str| members.get(key).map(shown);
    match (text("suite"), text("path").or_else(|| text("name"))) {
        (Some(suite), Some(path)) => Some(format!("{suite} {path}")),
        (None, path) => path,
        (Some(_), None) => None,
    }
}

/// What a thing of a list holds beside its name.
fn content(one: &Json) -> String {
    let Json::Object(members) = one else { return shown(one) };
    let plain = Json::from("file");
    let rest = members.iter().filter(|(key, value)| match key.as_str() {
        "suite" | "path" | "name" | "size" => false,
        "kind" => **value != plain,
        _ => true,
    });
    let mut rest: Vec<String> = rest.map(|(_, value)| shown(value)).collect();
    // What kind of thing it is comes last.
    rest.sort_by_key(|text| std::cmp::Reverse(text.len()));
    rest.join(" ")
}

/// A value as people read it.
fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => String::from_utf8_lossy(&other.encode()).into_owned(),
    }
}

#[cfg(test)]
mod tests;
