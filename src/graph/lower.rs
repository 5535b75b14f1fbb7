//! Spec and lock in, graph out: names become edges, packages become derivations.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;

use super::derivation::{self, Derivation, RootIndex};
use super::draft::{Draft, Makes};
use super::edges::{Edges, Links};
use super::source::Lowered;
use super::{Graph, Node, Origin, PackageOrigin, relations};
use crate::archive::deb::dependency::Dependencies;
use crate::base::{Architecture, DerivationId, Diagnostic};
use crate::spec::Spec;
use crate::spec::lock::{IndexKind, Lock};
use crate::spec::model::{self, Extended, Located, Package};
use crate::spec::release::Root;

/// The graph of a release: pure, offline, the same for the same folder for ever.
///
/// # Errors
/// Everything that is wrong with the packages, all at once: missing pins, fields that packaging
/// needs, contradictions between spec and packaging, cycles.
pub fn lower(spec: &Spec, lock: &Lock) -> Result<Graph, Vec<Diagnostic>> {
    let Survey { graph, wrong, .. } = survey(spec, lock);
    if wrong.is_empty() { Ok(graph) } else { Err(wrong) }
}

/// As much of a graph as can be made of a release.
#[derive(Debug)]
pub struct Survey {
    /// The graph of the packages with which nothing is wrong, without the edges of loops: to look
    /// at, not to build.
    pub graph: Graph,
    /// How much of the release that is.
    pub extent: Extent,
    /// What is wrong, as [`lower`] tells it.
    pub wrong: Vec<Diagnostic>,
}

/// How much of a release a graph has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// All packages and edges.
    Whole,
    /// All packages: what each makes and asks for is known, not all of what leads where.
    Packages,
    /// Some packages: others may make what these ask for.
    Part,
}

/// As much of the graph of a release as can be made, whatever is wrong with the rest.
pub fn survey(spec: &Spec, lock: &Lock) -> Survey {
    let (ground, mut wrong) = Ground::with_errors(spec, lock);
    let roots_are_whole = wrong.is_empty();
    let mut extent = if roots_are_whole { Extent::Whole } else { Extent::Part };
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    for (package, (drafted, errors)) in spec.packages.iter().zip(ground.all_drafts(spec)) {
        if !errors.is_empty() {
            extent = extent.max(if drafted.is_empty() { Extent::Part } else { Extent::Packages });
        }
        drafts.extend(drafted);
        wrong.extend(errors.into_iter().map(|error| package.told(error)));
    }
    if !roots_are_whole {
        drafts.retain(|draft| ground.has(draft));
    }
    wrong.extend(unpinned_modules(spec, lock));
    wrong.extend(moved(spec, lock));
    if !spec.unpinned.is_empty() {
        extent = Extent::Part;
    }
    // What was drafted already said which of its own sources is missing.
    if wrong.is_empty() {
        wrong.extend(spec.unpinned.iter().map(|remote| {
            Diagnostic::new("unpinned", format!("{} is not pinned", remote.value))
                .at(remote.span.clone(), "release.lock does not have what this needs")
                .hint("`perestroika lock` pins it")
        }));
    }
    let links = Links::new(&drafts);
    let (edges, knots) = links.edges();
    if !knots.are_none() {
        extent = extent.max(Extent::Packages);
        wrong.extend(knots.told(&links, &drafts));
    }
    Survey { graph: assemble(spec, drafts, links, &edges, &ground.roots), extent, wrong }
}

/// The graph of `drafts`.
fn assemble(
    spec: &Spec,
    drafts: Vec<Draft<'_>>,
    links: Links,
    edges: &Edges,
    roots: &Roots,
) -> Graph {
    let lowered = lower_packages(drafts, edges, roots);
    let mut builds: Vec<(usize, DerivationId)> =
        lowered.iter().map(|(at, _, package)| (*at, package.id)).collect();
    builds.sort_unstable();
    let builds: Vec<DerivationId> = builds.into_iter().map(|(_, id)| id).collect();
    let mut packages = builds.clone();
    packages.sort_unstable();
    let folders: HashMap<DerivationId, Origin> = lowered
        .iter()
        .flat_map(|(_, sources, _)| sources)
        .filter(|source| matches!(source.origin, Origin::Dir { .. }))
        .map(|source| (source.id, source.origin.clone()))
        .collect();
    let mut known = HashSet::new();
    let mut ordered = Vec::with_capacity(2 * lowered.len() + roots.len() + 1);
    for (_, sources, package) in lowered {
        if let Some(root) = package.derivation.package().and_then(|package| {
            let mut roots = roots.values();
            roots.find(|root| root.id == package.root && known.insert(root.id))
        }) {
            ordered.push(root.clone());
        }
        for mut source in sources.into_iter().filter(|source| known.insert(source.id)) {
            // What is in the folder of the release is not fetched for being elsewhere too.
            if let Some(folder) = folders.get(&source.id) {
                source.origin = folder.clone();
            }
            ordered.push(source);
        }
        known.insert(package.id);
        ordered.push(package);
    }
    ordered.push(release(spec, packages));
    Graph::new(ordered, links, builds)
}

/// The node of the release, of packages sorted by id.
pub fn release(spec: &Spec, packages: Vec<DerivationId>) -> Node {
    node(
        Derivation::Release(derivation::Release {
            name: spec.release.name.clone(),
            version: spec.release.version.clone(),
            customer: spec.release.customer.clone(),
            packages,
        }),
        Origin::Release,
    )
}

/// The roots of a release, by their name and architecture.
type Roots = BTreeMap<(String, Architecture), Node>;

/// What packages are lowered on.
pub struct Ground<'a> {
    lock: &'a Lock,
    /// The roots.
    pub roots: Roots,
}

impl<'a> Ground<'a> {
    /// What the packages of `spec` are lowered on, unless something is wrong with it.
    pub fn new(spec: &Spec, lock: &'a Lock) -> Option<Self> {
        let (ground, errors) = Self::with_errors(spec, lock);
        let pinned = spec.stdlib.iter().all(|module| lock.stdlib.contains_key(module));
        (errors.is_empty() && pinned && spec.unpinned.is_empty()).then_some(ground)
    }

    fn with_errors(spec: &Spec, lock: &'a Lock) -> (Self, Vec<Diagnostic>) {
        let architectures = &spec.release.architectures;
        let all = spec.release.roots.iter().flat_map(|(name, root)| {
            architectures.iter().map(move |architecture| (name, root, architecture))
        });
        let (mut roots, mut errors) = (Roots::new(), Vec::new());
        for (name, root, architecture) in all {
            match lower_root(name, root, lock, architecture) {
                Ok(node) => {
                    roots.insert((name.clone(), architecture.clone()), node);
                }
                Err(error) => errors.push(error),
            }
        }
        (Self { lock, roots }, errors)
    }

    /// The builds of the packages of `spec`, unless something is wrong with one.
    pub fn drafts<'b>(&self, spec: &'b Spec) -> Option<Vec<Draft<'b>>> {
        let mut drafts = Vec::new();
        for (drafted, errors) in self.all_drafts(spec) {
            if !errors.is_empty() {
                return None;
            }
            drafts.extend(drafted);
        }
        Some(drafts)
    }

    fn all_drafts<'b>(&self, spec: &'b Spec) -> Vec<(Vec<Draft<'b>>, Vec<Diagnostic>)> {
        spec.packages.par_iter().map(|package| builds(package, spec, self.lock)).collect()
    }

    /// Whether the root of a draft is there.
    fn has(&self, draft: &Draft<'_>) -> bool {
        self.roots.contains_key(&(draft.root.to_owned(), draft.architecture.clone()))
    }
}

/// The stdlib modules that are used and not pinned.
fn unpinned_modules(spec: &Spec, lock: &Lock) -> Vec<Diagnostic> {
    let missing = spec.stdlib.iter().filter(|module| !lock.stdlib.contains_key(*module));
    missing
        .map(|module| {
            Diagnostic::new("unpinned", format!("stdlib module `{module}` is not pinned"))
                .at(spec.user_of(module), "used here")
                .hint("`perestroika lock` pins it")
        })
        .collect()
}

/// The packages, each with the nodes of its sources, in an order in which each comes after
/// those it needs. Packages that wait for the same others are named side by side.
fn lower_packages(
    drafts: Vec<Draft<'_>>,
    edges: &Edges,
    roots: &Roots,
) -> Vec<(usize, Vec<Node>, Node)> {
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
                (at, lower_package(draft, roots, dependencies))
            })
            .collect();
        for (at, (sources, package)) in lowered {
            ids[at] = Some(package.id);
            done.push((at, sources, package));
        }
    }
    done
}

/// What of the releases that are extended is not in the state that is pinned: what was locked
/// together is evaluated together.
fn moved(spec: &Spec, lock: &Lock) -> Vec<Diagnostic> {
    let wrong = |extended: &Extended| {
        let Extended { folder, span, digest, lock: _ } = extended;
        let (message, label) = match lock.extends.get(folder) {
            Some(pinned) if pinned == digest => return None,
            Some(_) => (format!("`{folder}` has changed since it was pinned"), "its specs or lock"),
            None => (format!("the extended release `{folder}` is not pinned"), ""),
        };
        let error = Diagnostic::new("stale-lock", message).at(span.clone(), label);
        Some(error.hint("`perestroika lock` takes it over as it is now"))
    };
    spec.extends.iter().filter_map(wrong).collect()
}

fn node(derivation: Derivation, origin: Origin) -> Node {
    Node { id: derivation.id(), derivation, origin }
}

/// The builds of a package: one for each of its architectures that it makes anything for. The
/// first also makes the packages of no architecture. And what is wrong with them: a relation that
/// is none is left out of a build, anything else leaves none of them.
fn builds<'a>(
    package: &'a Package,
    spec: &'a Spec,
    lock: &Lock,
) -> (Vec<Draft<'a>>, Vec<Diagnostic>) {
    let wanted = |architecture: &&Architecture| {
        package.architectures.is_empty() || package.architectures.contains(architecture)
    };
    let mut drafts = Vec::new();
    let mut wrong: Vec<Diagnostic> = Vec::new();
    let mut sound = true;
    for architecture in spec.release.architectures.iter().filter(wanted) {
        let makes = if drafts.is_empty() { Makes::Everything } else { Makes::OfArchitecture };
        let package = package.for_architecture(architecture);
        let mut errors = relations::wrong_of_binaries(package);
        match Draft::new(package, spec, lock, architecture, makes) {
            Ok(draft) if draft.leaves_out => {
                errors.extend(relations::wrong_of_build(package));
                drafts.push(draft);
            }
            Ok(draft) => drafts.push(draft),
            Err(error) => {
                errors.extend(relations::wrong_of_build(package));
                errors.push(error);
                sound = false;
            }
        }
        // Most of what is wrong for one architecture is so for the next one.
        errors.retain(|error| !wrong.contains(error));
        wrong.extend(errors);
    }
    if !sound {
        return (Vec::new(), wrong);
    }
    // A build that makes nothing is one only where it is all there is: then it says so.
    if drafts.iter().any(|draft| !draft.binaries.is_empty()) {
        drafts.retain(|draft| !draft.binaries.is_empty());
    } else {
        drafts.truncate(1);
    }
    (drafts, wrong)
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
    let strata = root.strata.iter().map(|stratum| lower_stratum(stratum, architecture));
    let derivation = Derivation::Root(derivation::Root {
        architecture: architecture.clone(),
        indexes,
        packages,
        strata: strata.collect::<Result<_, _>>()?,
        seed: None,
    });
    Ok(node(derivation, Origin::Root { name: name.to_owned(), archive: archive.clone() }))
}

/// The dependencies of a stratum, as they hold for an architecture.
fn lower_stratum(
    stratum: &[Located<String>],
    architecture: &Architecture,
) -> Result<Vec<String>, Diagnostic> {
    let mut found = Vec::new();
    for Located { value, span } in stratum {
        let depends: Dependencies = value.parse().map_err(|error| {
            Diagnostic::new("dependency-syntax", format!("{error}"))
                .at(span.clone(), "in this stratum")
        })?;
        let depends = depends.reduce(architecture, &BTreeSet::new());
        found.extend(depends.0.iter().map(ToString::to_string));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A package and the nodes of its sources.
pub fn lower_package(
    draft: Draft<'_>,
    roots: &Roots,
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
        architecture: draft.architecture.clone(),
        source: source(draft.source),
        packaging: draft.packaging.map(&mut source),
        patches: package.patches.iter().map(|patch| lower_patch(&patch.value)).collect(),
        extra: draft.extra.into_iter().map(|(path, one)| (path, source(one))).collect(),
        root: roots[&(draft.root.to_owned(), draft.architecture.clone())].id,
        dependencies,
        build_depends: draft
            .depends
            .iter()
            .flat_map(|wanted| &wanted.depends.0)
            .map(ToString::to_string)
            .collect(),
        build_conflicts: draft.conflicts.0.iter().map(ToString::to_string).collect(),
        binaries: draft.binaries.iter().map(|binary| binary.name.clone()).collect(),
        files: draft.files,
        changelog: draft.changelog,
        script: draft.script.to_owned(),
        environment: draft.environment,
        profiles: draft.profiles.into_iter().collect(),
        outputs: package.build.outputs.clone(),
        from_seed,
        seed: None,
    };
    let origin = PackageOrigin {
        span: package.span.clone(),
        wanted: draft.depends,
        provides: draft.binaries.into_iter().map(|binary| (binary.name, binary.provides)).collect(),
        resources: package.resources.clone(),
        patches: package.patches.iter().map(|patch| patch.value.path.clone()).collect(),
        without_tests: package.without_tests.clone(),
    };
    let package = node(Derivation::Package(Box::new(derivation)), Origin::Package(origin));
    (sources, package)
}

fn lower_patch(patch: &model::Patch) -> derivation::Patch {
    derivation::Patch {
        name: patch.name.clone(),
        digest: patch.digest,
        to: match patch.to {
            model::Patched::Source => derivation::Patched::Source,
            model::Patched::Packaging => derivation::Patched::Packaging,
        },
    }
}
