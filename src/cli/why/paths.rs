//! `why PKG DEP`: how a package comes to need another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Found, broken};
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, PackageName, nearest};
use crate::cli::build;
use crate::cli::failure::Failure;
use crate::graph::derivation::Derivation;
use crate::graph::query::{self, Paths};
use crate::graph::{Origin, fields};
use crate::realise::driver;
use crate::realise::record::Record;
use crate::realise::universe::{self, Snapshot, Snapshots};

/// How many ways are told.
const MOST: usize = 10;
/// Of how many packages the build roots are looked into, the nearest first.
const ROOTS: usize = 64;

/// A step of a way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A package of the release.
    Package(DerivationId),
    /// What every build root of this package begins with.
    Base(DerivationId),
    /// A binary package in the build root of this package.
    Binary(DerivationId, PackageName),
    /// What is looked for.
    Goal,
}

/// Prints every way from a package to what it needs.
pub fn answer(
    asked: &Asked<'_>,
    (node, package): Found<'_>,
    needed: &str,
) -> Result<Value, Failure> {
    let Asked { graph, output, .. } = asked;
    let of_release: BTreeSet<DerivationId> = graph
        .packages()
        .filter(|(_, package)| {
            let binary = |binary: &PackageName| binary.as_str() == needed;
            package.name.as_str() == needed || package.binaries.iter().any(binary)
        })
        .map(|(node, _)| node.id)
        .collect();
    let start = Step::Package(node.id);
    let in_release = |step: &Step| match step {
        Step::Package(id) if of_release.contains(id) => vec![Step::Goal],
        Step::Package(id) => packages_below(asked, *id),
        _ => Vec::new(),
    };
    let mut found = query::paths(&start, &Step::Goal, in_release, MOST);
    let mut notes = Vec::new();
    if of_release.contains(&node.id) {
        let name = &package.name;
        notes.push(format!("`{needed}` is what `{name}` itself is"));
    } else if found.paths.is_empty() {
        let roots = Roots::new(asked, node.id)?;
        let is_known = roots.names.is_empty() || roots.names.contains(needed);
        if of_release.is_empty() && roots.unknown.is_empty() && !is_known {
            return Err(unknown(asked, &roots, needed));
        }
        notes.extend(roots.notes());
        found = query::paths(&start, &Step::Goal, |step| roots.below(asked, step, needed), MOST);
    }
    output.text(&text(asked, &found, &package.name, needed));
    for note in &notes {
        output.note(note);
    }
    let path = |path: &Vec<Step>| -> Value {
        path.iter()
            .filter(|step| !matches!(step, Step::Goal))
            .map(|step| document(asked, step))
            .collect()
    };
    Ok(json!({
        "paths": found.paths.iter().map(path).collect::<Vec<_>>(),
        "cut": found.cut,
        "notes": notes,
    }))
}

/// A name that nothing has is a mistake, and not something that is not needed.
fn unknown(asked: &Asked<'_>, roots: &Roots, needed: &str) -> Failure {
    let message = format!("neither this release nor its archives have `{needed}`");
    let failure = Failure::input("unknown-package", message);
    let of_release = asked.graph.packages().flat_map(|(_, package)| {
        let binaries = package.binaries.iter().map(PackageName::as_str);
        binaries.chain([package.name.as_str()])
    });
    match nearest(needed, of_release.chain(roots.names.iter().map(String::as_str))) {
        Some(near) => failure.hint(format!("there is `{near}`")),
        None => failure.hint("a build root has binary packages: `libxml2-dev`, not `libxml2.h`"),
    }
}

fn packages_below(asked: &Asked<'_>, id: DerivationId) -> Vec<Step> {
    let needs = asked.graph.needs(id).into_iter();
    let is_package = |id: &DerivationId| {
        asked.graph.node(*id).is_some_and(|node| node.derivation.package().is_some())
    };
    needs.filter(is_package).map(Step::Package).collect()
}

/// The build roots of a package and what it needs of the release, as far as they can be known.
struct Roots {
    roots: BTreeMap<DerivationId, BuildRoot>,
    /// Packages that must be built before their dependents' build roots can be known.
    unbuilt: Vec<String>,
    /// Packages whose build roots cannot be known for another reason, and why.
    unknown: Vec<(String, String)>,
    /// How many packages were too far away to be looked at.
    beyond: usize,
    /// All names that the archives have or provide; none where their indexes are not at hand.
    names: BTreeSet<String>,
}

/// Who pulls in whom in a build root.
struct BuildRoot {
    /// What the build dependencies pull in.
    wanted: BTreeSet<PackageName>,
    /// What is there because every build root has it.
    base: BTreeSet<PackageName>,
    pulls: BTreeMap<PackageName, BTreeSet<PackageName>>,
}

impl Roots {
    fn new(asked: &Asked<'_>, start: DerivationId) -> Result<Self, Failure> {
        let Asked { graph, machine, .. } = asked;
        let world = machine.world();
        let survey = driver::survey(&world, graph, &[start], &build::default_options())
            .map_err(|error| broken(&error))?;
        let records: BTreeMap<DerivationId, Arc<Record>> =
            survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1))).collect();
        let mut found = Self {
            roots: BTreeMap::new(),
            unbuilt: Vec::new(),
            unknown: Vec::new(),
            beyond: 0,
            names: BTreeSet::new(),
        };
        let snapshots = Snapshots::default();
        let mut read = BTreeSet::new();
        let near = nearest_first(asked, start);
        found.beyond = near.len().saturating_sub(ROOTS);
        for id in near.into_iter().take(ROOTS) {
            let Some(Derivation::Package(package)) = graph.node(id).map(|node| &node.derivation)
            else {
                continue;
            };
            let name = package.name.to_string();
            let snapshot = match snapshots.get(&world, graph, package.root) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    found.unknown.push((name, error.to_string()));
                    continue;
                }
            };
            if read.insert(package.root) {
                found.names.extend(names(&snapshot));
            }
            let closure: Vec<DerivationId> = graph
                .closure(id)
                .into_iter()
                .filter(|id| {
                    graph.node(*id).is_some_and(|node| node.derivation.package().is_some())
                })
                .collect();
            let lacks = closure.iter().any(|id| !records.contains_key(id));
            if lacks {
                found.unbuilt.push(name);
                continue;
            }
            let closure: Vec<_> = closure.iter().map(|id| Arc::clone(&records[id])).collect();
            let Some(Derivation::Root(root)) =
                graph.node(package.root).map(|node| &node.derivation)
            else {
                continue;
            };
            match universe::solve(&snapshot, root, package, &closure) {
                Ok(lists) => {
                    let all: Vec<Arc<BinaryPackage>> = lists.layers.concat();
                    let wanted: Dependencies =
                        package.build_depends.join(", ").parse().unwrap_or_default();
                    let base = all
                        .iter()
                        .filter(|one| one.essential || root.packages.contains(&one.name))
                        .map(|one| one.name.clone())
                        .collect();
                    let wanted = query::pulled(&all, &wanted);
                    let pulls = query::pulls(&all);
                    found.roots.insert(id, BuildRoot { wanted, base, pulls });
                }
                Err(error) => found.unknown.push((name, error.to_string())),
            }
        }
        Ok(found)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.unbuilt.is_empty() {
            notes.push(format!(
                "not looked into: the build roots of {}, before what they need is built",
                self.unbuilt.join(", ")
            ));
        }
        for (name, why) in &self.unknown {
            notes.push(format!("not looked into: the build root of {name}: {why}"));
        }
        if self.beyond > 0 {
            notes.push(format!("not looked into: the build roots of {} more", self.beyond));
        }
        notes
    }

    fn below(&self, asked: &Asked<'_>, step: &Step, needed: &str) -> Vec<Step> {
        let binaries = |owner: DerivationId, names: &BTreeSet<PackageName>| -> Vec<Step> {
            names.iter().map(|name| Step::Binary(owner, name.clone())).collect()
        };
        match step {
            Step::Package(id) => {
                let mut next = packages_below(asked, *id);
                if let Some(root) = self.roots.get(id) {
                    next.extend(binaries(*id, &root.wanted));
                    next.push(Step::Base(*id));
                }
                next
            }
            Step::Base(id) => {
                self.roots.get(id).map_or_else(Vec::new, |root| binaries(*id, &root.base))
            }
            Step::Binary(_, name) if name.as_str() == needed => vec![Step::Goal],
            Step::Binary(id, name) => self
                .roots
                .get(id)
                .and_then(|root| root.pulls.get(name))
                .map_or_else(Vec::new, |names| binaries(*id, names)),
            Step::Goal => Vec::new(),
        }
    }
}

/// The names of all packages of a snapshot, and of what they provide.
fn names(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for package in snapshot.indexes.iter().flatten() {
        names.insert(package.name.to_string());
        let provided = package.provides.get().into_iter().flat_map(|provided| &provided.0);
        names.extend(provided.flat_map(|one| &one.0).map(|one| one.name.to_string()));
    }
    names
}

/// A package and all that it needs of the release, the nearest first.
fn nearest_first(asked: &Asked<'_>, start: DerivationId) -> Vec<DerivationId> {
    let mut found = vec![start];
    let mut seen = BTreeSet::from([start]);
    let mut at = 0;
    while let Some(id) = found.get(at).copied() {
        at += 1;
        for step in packages_below(asked, id) {
            if let Step::Package(id) = step
                && seen.insert(id)
            {
                found.push(id);
            }
        }
    }
    found
}

fn text(asked: &Asked<'_>, found: &Paths<Step>, name: &PackageName, needed: &str) -> String {
    if found.paths.is_empty() {
        return format!("{name} does not need {needed}, as far as is known\n");
    }
    let mut text = String::new();
    for (index, path) in found.paths.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        write_path(asked, path, &mut text);
    }
    if found.cut {
        let _ =
            writeln!(text, "\nthere are more ways: these are the {} shortest", found.paths.len());
    }
    text
}

fn write_path(asked: &Asked<'_>, path: &[Step], text: &mut String) {
    let mut before: Option<&Step> = None;
    let mut depth = 0;
    for step in path {
        let lead = "  ".repeat(depth);
        match (before, step) {
            (_, Step::Goal) => continue,
            (Some(Step::Package(from)), Step::Package(to)) => {
                let _ =
                    writeln!(text, "{lead}needs {}{}", name_of(asked, *to), by(asked, *from, *to));
            }
            (_, Step::Package(id)) => {
                let _ = writeln!(text, "{lead}{}", name_of(asked, *id));
            }
            (_, Step::Base(_)) => {
                let _ = writeln!(text, "{lead}is built in a root that begins with");
            }
            (Some(Step::Package(_)), Step::Binary(_, name)) => {
                let _ = writeln!(text, "{lead}is built with {name}");
            }
            (Some(Step::Base(_)), Step::Binary(_, name)) => {
                let _ = writeln!(text, "{lead}{name}");
            }
            (_, Step::Binary(_, name)) => {
                let _ = writeln!(text, "{lead}which pulls in {name}");
            }
        }
        depth += 1;
        before = Some(step);
    }
}

/// The build dependency that makes an edge, in brackets.
fn by(asked: &Asked<'_>, from: DerivationId, to: DerivationId) -> String {
    let (Some(from), Some(to)) = (asked.graph.node(from), asked.graph.node(to)) else {
        return String::new();
    };
    let (Origin::Package(origin), Derivation::Package(needed)) = (&from.origin, &to.derivation)
    else {
        return String::new();
    };
    let leads = fields::leads(origin, needed);
    let Some((text, span)) = leads.first() else { return String::new() };
    let place = span.as_ref().map(|span| format!(", {}:{}", span.file, span.line));
    format!(" by `{text}`{}", place.unwrap_or_default())
}

fn name_of(asked: &Asked<'_>, id: DerivationId) -> String {
    let package = asked.graph.node(id).and_then(|node| node.derivation.package());
    package.map(|package| package.name.to_string()).unwrap_or_default()
}

fn document(asked: &Asked<'_>, step: &Step) -> Value {
    match step {
        Step::Package(id) => json!({ "kind": "package", "name": name_of(asked, *id) }),
        Step::Base(id) => json!({ "kind": "base", "name": name_of(asked, *id) }),
        Step::Binary(id, name) => {
            json!({ "kind": "binary", "name": name.as_str(), "root": name_of(asked, *id) })
        }
        Step::Goal => Value::Null,
    }
}
