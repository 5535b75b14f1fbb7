//! What a failed build lacked, and which package of the archive would have provided it.

use std::collections::BTreeMap;

use super::address::shown;
use super::context::Release;
use super::output::Output;
use crate::archive::deb::contents::{Provider, Wanted, providers};
use crate::base::{DerivationId, PackageName};
use crate::graph::{Graph, Origin, PackageOrigin};
use crate::realise::driver::{Report, Reported};
use crate::realise::event::{Fault, Finished};
use crate::realise::lacks::lacks;
use crate::realise::world::World;

/// Hints by derivation.
pub type Hints = BTreeMap<DerivationId, Vec<String>>;

/// How many packages that provide the same are named.
const NAMED: usize = 3;

/// Looks through the logs of failed builds for what they lacked, and finds who has it in the
/// pinned archive. Whatever cannot be read or fetched gives no hint: it is not what failed.
pub fn hints(
    release: &Release,
    graph: &Graph,
    world: &World<'_>,
    report: &Report,
    output: &Output,
) -> Hints {
    let mut hints = Hints::new();
    let mut indexes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &report.packages {
        let wanted = lacked(world, package);
        let Some(archive) = archive(graph, package).filter(|_| !wanted.is_empty()) else {
            continue;
        };
        let contents = indexes.entry(archive.clone()).or_insert_with(|| {
            output.note(&format!("looking up who provides `{}`…", wanted[0].name()));
            world.upstream.contents(world.store, &archive, world.cancel).unwrap_or_default()
        });
        let told = wanted.iter().filter_map(|wanted| {
            let found = providers(contents, wanted);
            told(release, graph, package, wanted, &found)
        });
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            hints.insert(package.derivation, told);
        }
    }
    hints
}

/// What the log of a package whose own build failed says is missing.
fn lacked(world: &World<'_>, package: &Reported) -> Vec<Wanted> {
    match &package.result {
        Finished::Failed(failure) if failure.fault == Fault::Package => {}
        _ => return Vec::new(),
    }
    let attempt = world.store.attempts(Some(&package.name), 1).ok().and_then(|mut one| one.pop());
    let Some(attempt) = attempt.filter(|one| one.derivation == package.derivation) else {
        return Vec::new();
    };
    let log = world.store.attempt_log(&attempt).map(|(text, _)| text).unwrap_or_default();
    lacks(&String::from_utf8_lossy(&log))
}

/// The archive of a package's build root.
fn archive(graph: &Graph, package: &Reported) -> Option<String> {
    let recipe = graph.node(package.derivation)?.derivation.package()?;
    match &graph.node(recipe.root)?.origin {
        Origin::Root { archive, .. } => Some(archive.clone()),
        _ => None,
    }
}

/// What to do about one thing that was missing.
fn told(
    release: &Release,
    graph: &Graph,
    package: &Reported,
    wanted: &Wanted,
    found: &[Provider],
) -> Option<String> {
    let node = graph.node(package.derivation)?;
    let Origin::Package(origin) = &node.origin else { return None };
    let recipe = node.derivation.package()?;
    let asked = |name: &PackageName| {
        recipe.build_depends.iter().any(|text| {
            let end = text.find([' ', '(', ':', '[', '<', '|']).unwrap_or(text.len());
            &text[..end] == name.as_str()
        })
    };
    if let Some(there) = found.iter().find(|provider| asked(&provider.package)) {
        return Some(format!(
            "`{}` is in the build root, as `/{}` of `{}`: it is looked for elsewhere",
            wanted.name(),
            there.path,
            there.package
        ));
    }
    let names: Vec<String> =
        found.iter().take(NAMED).map(|provider| format!("`{}`", provider.package)).collect();
    let (list, it) = match names.split_last()? {
        (one, []) => (one.clone(), "it"),
        (last, rest) => (format!("{} or {last}", rest.join(", ")), "one"),
    };
    let (field, place) = place(release, &package.name, origin);
    let verb = if names.len() == 1 { "provides" } else { "provide" };
    Some(format!("{list} {verb} `{}`: add {it} to {field} ({place})", wanted.name()))
}

/// The field that lists a package's build dependencies, and where it stands.
pub fn place(
    release: &Release,
    name: &PackageName,
    origin: &PackageOrigin,
) -> (&'static str, String) {
    let control = origin.wanted.iter().filter_map(|wanted| wanted.span.as_ref());
    let own = control.clone().find(|span| span.file.as_str().ends_with("/debian/control"));
    let package = release.spec.packages.iter().find(|package| package.name == *name);
    let field = package.and_then(|package| package.fields.get("build_depends"));
    let (field, span) = match (own, field) {
        (Some(span), None) => ("Build-Depends", span),
        (_, Some(span)) => ("build_depends", span),
        (None, None) => ("build_depends", &origin.span),
    };
    let file = shown(&release.folder.join(span.file.as_str()));
    (field, format!("{file}:{}", span.line))
}
