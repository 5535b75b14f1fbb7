//! Spec and lock in, graph out: names become edges, packages become derivations.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;

use super::derivation::{self, Derivation, RootIndex};
use super::draft::Draft;
use super::source::Lowered;
use super::{Graph, Node, Origin, PackageOrigin, edges};
use crate::base::{Architecture, DerivationId, Diagnostic};
use crate::spec::Spec;
use crate::spec::lock::{IndexKind, Lock};
use crate::spec::release::Root;

/// The graph of a release: pure, offline, the same for the same folder for ever.
///
/// # Errors
/// Everything that is wrong with the packages, all at once: missing pins, fields that packaging
/// needs, contradictions between spec and packaging, cycles.
pub fn lower(spec: &Spec, lock: &Lock) -> Result<Graph, Vec<Diagnostic>> {
    let architecture = architecture(spec).map_err(|error| vec![error])?;
    let (roots, mut errors) = partition(
        spec.release
            .roots
            .iter()
            .map(|(name, root)| Ok((name.as_str(), lower_root(name, root, lock, architecture)?))),
    );
    let roots: BTreeMap<&str, Node> = roots.into_iter().collect();
    let drafts: Vec<_> = spec
        .packages
        .par_iter()
        .map(|package| Draft::new(package, spec, lock, architecture))
        .collect();
    let (drafts, wrong) = partition(drafts.into_iter());
    errors.extend(wrong);
    errors.extend(spec.stdlib.iter().filter(|module| !lock.stdlib.contains_key(*module)).map(
        |module| {
            Diagnostic::new("unpinned", format!("stdlib module `{module}` is not pinned"))
                .hint("`perestroika lock` pins it")
        },
    ));
    // What was drafted already said which of its own sources is missing.
    errors.extend(
        spec.unpinned
            .iter()
            .filter(|_| errors.is_empty())
            .map(|remote| {
                let message = format!("{} is not pinned", remote.value);
                Diagnostic::new("unpinned", message)
                    .at(remote.span.clone(), "release.lock does not have what this needs")
                    .hint("`perestroika lock` pins it")
            })
            .collect::<Vec<_>>(),
    );
    if !errors.is_empty() {
        return Err(errors);
    }
    let edges = edges::find(&drafts)?;
    let lowered = lower_packages(drafts, &edges, &roots, architecture);

    let mut packages: Vec<_> = lowered.iter().map(|(_, package)| package.id).collect();
    packages.sort_unstable();
    let mut known = HashSet::new();
    let mut ordered = Vec::with_capacity(2 * lowered.len() + roots.len() + 1);
    for (sources, package) in lowered {
        if let Some(root) = package.derivation.package().and_then(|package| {
            roots.values().find(|root| root.id == package.root && known.insert(root.id))
        }) {
            ordered.push(root.clone());
        }
        ordered.extend(sources.into_iter().filter(|source| known.insert(source.id)));
        known.insert(package.id);
        ordered.push(package);
    }
    ordered.push(node(
        Derivation::Release(derivation::Release {
            name: spec.release.name.clone(),
            version: spec.release.version.clone(),
            customer: spec.release.customer.clone(),
            packages,
        }),
        Origin::Release,
    ));
    Ok(Graph::new(ordered))
}

/// The packages, each with the nodes of its sources, in an order in which each comes after
/// those it needs. Packages that wait for the same others are named side by side.
fn lower_packages(
    drafts: Vec<Draft<'_>>,
    edges: &edges::Edges,
    roots: &BTreeMap<&str, Node>,
    architecture: &Architecture,
) -> Vec<(Vec<Node>, Node)> {
    let mut drafts: Vec<Option<Draft<'_>>> = drafts.into_iter().map(Some).collect();
    let mut ids: Vec<Option<DerivationId>> = vec![None; drafts.len()];
    let mut done = Vec::with_capacity(drafts.len());
    for level in edges.levels() {
        let level: Vec<_> =
            level.into_iter().filter_map(|at| Some((at, drafts[at].take()?))).collect();
        let lowered: Vec<_> = level
            .into_par_iter()
            .map(|(at, draft)| {
                let mut dependencies: Vec<_> =
                    edges.needs[at].iter().filter_map(|need| ids[*need]).collect();
                dependencies.sort_unstable();
                (at, lower_package(draft, architecture, roots, dependencies))
            })
            .collect();
        for (at, lowered) in lowered {
            ids[at] = Some(lowered.1.id);
            done.push(lowered);
        }
    }
    done
}

fn partition<T>(results: impl Iterator<Item = Result<T, Diagnostic>>) -> (Vec<T>, Vec<Diagnostic>) {
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => bad.push(error),
        }
    }
    (good, bad)
}

fn node(derivation: Derivation, origin: Origin) -> Node {
    Node { id: derivation.id(), derivation, origin }
}

fn architecture(spec: &Spec) -> Result<&Architecture, Diagnostic> {
    match spec.release.architectures.as_slice() {
        [one] => Ok(one),
        _ => Err(Diagnostic::new(
            "unsupported",
            "this version builds releases of exactly one architecture",
        )
        .hint("release.toml: `architectures = [\"amd64\"]`")),
    }
}

fn lower_root(
    name: &str,
    root: &Root,
    lock: &Lock,
    architecture: &Architecture,
) -> Result<Node, Diagnostic> {
    let archive = &root.archive.value;
    let unpinned = || {
        Diagnostic::new("unpinned", format!("archive `{archive}` is not pinned for {architecture}"))
            .at(root.archive.span.clone(), format!("root `{name}` needs its indexes"))
            .hint("`perestroika lock` pins it")
    };
    let locked = lock.archives.get(archive).ok_or_else(unpinned)?;
    let indexes: Vec<RootIndex> = locked
        .suites
        .iter()
        .flat_map(|suite| suite.indexes.iter().map(move |index| (suite, index)))
        .filter(|(_, index)| match &index.kind {
            IndexKind::Packages(of) => of == architecture,
            IndexKind::Sources => false,
        })
        .map(|(suite, index)| RootIndex {
            suite: suite.suite.clone(),
            path: index.path.clone(),
            sha256: index.sha256,
        })
        .collect();
    if indexes.is_empty() {
        return Err(unpinned());
    }
    let mut packages: Vec<_> = root.packages.iter().map(|package| package.value.clone()).collect();
    packages.sort();
    packages.dedup();
    let derivation = Derivation::Root(derivation::Root {
        architecture: architecture.clone(),
        indexes,
        packages,
    });
    Ok(node(derivation, Origin::Root { name: name.to_owned(), archive: archive.clone() }))
}

/// A package and the nodes of its sources.
fn lower_package(
    draft: Draft<'_>,
    architecture: &Architecture,
    roots: &BTreeMap<&str, Node>,
    dependencies: Vec<DerivationId>,
) -> (Vec<Node>, Node) {
    let package = draft.package;
    let mut from_seed: Vec<_> = package.from_seed.iter().map(|name| name.value.clone()).collect();
    from_seed.sort();
    from_seed.dedup();
    let mut sources = Vec::new();
    let mut source = |Lowered { derivation, origin }: Lowered| {
        let source = node(Derivation::Source(derivation), origin);
        let id = source.id;
        sources.push(source);
        id
    };
    let derivation = derivation::Package {
        name: package.name.clone(),
        version: draft.version,
        architecture: architecture.clone(),
        source: source(draft.source),
        extra: draft.extra.into_iter().map(|(path, one)| (path, source(one))).collect(),
        root: roots[draft.root].id,
        dependencies,
        build_depends: draft
            .depends
            .iter()
            .flat_map(|wanted| &wanted.depends.0)
            .map(ToString::to_string)
            .collect(),
        build_conflicts: draft.conflicts.0.iter().map(ToString::to_string).collect(),
        binaries: draft.binaries.into_iter().map(|binary| binary.name).collect(),
        files: draft.files,
        changelog: draft.changelog,
        script: package.build.script.clone(),
        environment: draft.environment,
        profiles: draft.profiles.into_iter().collect(),
        outputs: package.build.outputs.clone(),
        from_seed,
    };
    let origin = PackageOrigin {
        span: package.span.clone(),
        wanted: draft.depends,
        resources: package.resources.clone(),
        without_tests: package.without_tests.clone(),
    };
    let package = node(Derivation::Package(Box::new(derivation)), Origin::Package(origin));
    (sources, package)
}
