//! `check`: all that can be known of a release without building it.

mod closure;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::arguments::{Check, Global};
use super::audit::quorum::trusted;
use super::build::default_options;
use super::context::{Machine, Named, Release, Surveyed, named, open_store_to_look};
use super::eval::select;
use super::failure::{Failure, Kind, Problem};
use super::key;
use super::output::{CommandResult, Output};
use super::publish::withheld::withheld;
use super::report::count;
use crate::archive::deb::dependency::Alternatives;
use crate::archive::deb::index::BinaryPackage;
use crate::audit::evidence::Foreseen;
use crate::base::{DerivationId, Diagnostic, HostPath, PackageName, Span};
use crate::graph::derivation;
use crate::graph::{Derivation, Extent, Graph, Node, Origin, Survey, Wanted, names, survey};
use crate::pin;
use crate::realise::foresight::{Foresight, Unmet, foresee};
use crate::realise::patches::{self, Found};
use crate::realise::record::Record;
use crate::realise::strata;
use crate::realise::universe::{Snapshot, Snapshots};
use crate::realise::{Error, driver};
use crate::spec::lock::Lock;
use crate::spec::model::{Located, Package, Source};

/// Checks every release that was named.
pub fn run(arguments: &Check, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let Named { releases, names } = named(&arguments.words.words).map_err(wrong)?;
    let mut documents = Vec::new();
    let mut failures: Option<Failure> = None;
    for folder in &releases {
        let mut report = Report::default();
        let failure = check(folder, &names, &mut report, global, output).err();
        output.text(&report.table());
        documents.push(report.document());
        failures = [failures, failure, report.failure()].into_iter().flatten().reduce(Failure::and);
    }
    let document = match documents.len() {
        1 => documents.remove(0),
        _ => json!({ "releases": documents }),
    };
    failures.map_or(Ok(document.clone()), |failure| Err((document, failure)))
}

/// What the checks found, in their order.
#[derive(Default)]
struct Report {
    title: String,
    release: Value,
    lines: Vec<Line>,
    advice: Vec<String>,
    strata: Vec<Value>,
}

/// What one check found.
struct Line {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    problems: Vec<Problem>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing is wrong.
    Fine,
    /// Something is.
    Wrong,
    /// The machine did not let us see, or what the release says of where to look.
    Unchecked(Kind),
    /// What it looks at could not be made: an earlier check says why.
    Waits,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Wrong => "wrong",
            Self::Unchecked(_) => "unchecked",
            Self::Waits => "waits",
        }
    }
}

/// The checks, in their order.
const CHECKS: [&str; 10] = [
    "specs",
    "pins",
    "packages",
    "names",
    "build roots",
    "closure",
    "patches",
    "from_seed",
    "versions",
    "published",
];

/// Those of them that need the pinned indexes.
const ARCHIVE_CHECKS: [&str; 3] = ["names", "build roots", "closure"];

impl Report {
    /// Adds what a check found; `detail` says what was looked at.
    fn add(&mut self, name: &'static str, detail: impl Into<String>, problems: Vec<Problem>) {
        let verdict = if problems.is_empty() { Verdict::Fine } else { Verdict::Wrong };
        let mut detail = detail.into();
        if !problems.is_empty() {
            detail = format!("{} in {detail}", count(problems.len(), "problem"));
        }
        self.lines.push(Line { name, verdict, detail, problems });
    }

    /// Adds what would make something better that is not wrong.
    fn advise(&mut self, advice: String, details: Vec<String>) {
        self.advice.push(advice);
        self.advice.extend(details.into_iter().map(|detail| format!("  {detail}")));
    }

    /// Says of checks that they could not be made, with the first line of why; the whole of it is
    /// told below.
    fn unchecked(&mut self, names: &[&'static str], failure: Failure) {
        let detail = failure.summary().lines().next().unwrap_or_default().to_owned();
        let verdict = Verdict::Unchecked(failure.kind);
        let mut problems = failure.problems;
        self.lines.extend(names.iter().map(|name| Line {
            name,
            verdict,
            detail: detail.clone(),
            problems: std::mem::take(&mut problems),
        }));
    }

    /// Says of every check that did not come that it waits.
    fn rest_waits(&mut self) {
        for name in CHECKS {
            if !self.lines.iter().any(|line| line.name == name) {
                let (verdict, detail) = (Verdict::Waits, "for what is wrong above".to_owned());
                self.lines.push(Line { name, verdict, detail, problems: Vec::new() });
            }
        }
    }

    fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for Line { name, verdict, detail, .. } in &self.lines {
            text.push_str(&format!("  {:9}  {name:11}  {detail}\n", verdict.word()));
        }
        for (index, line) in self.advice.iter().enumerate() {
            let head = if index == 0 { "advice" } else { "" };
            text.push_str(&format!("  {head:9}  {line}\n"));
        }
        text
    }

    fn document(&self) -> Value {
        let line = |line: &Line| {
            json!({
                "check": line.name,
                "verdict": line.verdict.word(),
                "detail": line.detail,
                "problems": line.problems.len(),
            })
        };
        json!({
            "release": self.release,
            "checks": self.lines.iter().map(line).collect::<Vec<_>>(),
            "strata": self.strata,
        })
    }

    fn failure(self) -> Option<Failure> {
        let kind = self.lines.iter().filter_map(|line| match line.verdict {
            Verdict::Fine | Verdict::Waits => None,
            Verdict::Wrong => Some(Kind::Result),
            Verdict::Unchecked(kind) => Some(kind),
        });
        let kind = kind.max()?;
        let problems = self.lines.into_iter().flat_map(|line| line.problems).collect();
        Some(Failure { kind, problems })
    }
}

/// Does all checks that can be done. An error is one of the words that were given.
fn check(
    folder: &HostPath,
    names: &[String],
    report: &mut Report,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    report.title = folder.to_string();
    let surveyed = match Release::survey(folder) {
        Ok(surveyed) => surveyed,
        Err(Failure { problems: wrong, .. }) => Surveyed { release: None, lacks: true, wrong },
    };
    let stale = surveyed.stale();
    let Surveyed { release, lacks, mut wrong } = surveyed;
    let Some(release) = release else {
        report.add("specs", "what was read", wrong);
        report.rest_waits();
        return Ok(());
    };
    let spec = &release.spec;
    report.title = format!("{} {}", spec.release.name, spec.release.version);
    let specs_are_whole = wrong.is_empty();
    wrong.extend(trusted(&release).err().into_iter().flat_map(|failure| failure.problems));
    let what = if specs_are_whole { "" } else { "what was read: " };
    report.add("specs", format!("{what}{}", count(spec.packages.len(), "package")), wrong);
    let problems = |found: Vec<Diagnostic>| Failure::in_release(folder, found).problems;
    let pins_are_whole = stale.is_empty();
    report.add("pins", pinned(&release), problems(pin::told(&stale)));
    let empty = Lock::default();
    let Survey { graph, extent, mut wrong } = survey(spec, release.lock.as_ref().unwrap_or(&empty));
    let graph_is_whole = wrong.is_empty();
    // What is not pinned was told by the line above.
    wrong.retain(|error| pins_are_whole || !matches!(error.code, "unpinned" | "stale-lock"));
    if graph_is_whole || !wrong.is_empty() {
        report.add("packages", "fields, packaging and cycles".to_owned(), problems(wrong));
    }
    let extent = if lacks { Extent::Part } else { extent };
    let whole = specs_are_whole && graph_is_whole;
    if whole {
        report.title = format!("{} · {}", report.title, graph.release().short());
        report.release = release.document(&graph);
    }
    let wanted = match select(&graph, names) {
        Ok(wanted) => wanted,
        Err(failure) if extent != Extent::Part => return Err(failure),
        // The package may be one that could not be read.
        Err(_) => Vec::new(),
    };
    let chosen: Vec<&Package> = spec
        .packages
        .iter()
        .map(AsRef::as_ref)
        .filter(|package| {
            names.is_empty() || names.iter().any(|name| name == package.name.as_str())
        })
        .collect();
    match Machine::open(&release, global) {
        Ok(machine) => {
            let seen = Seen { graph: &graph, extent, wanted: &wanted };
            against_the_archive(&release, &seen, &machine, report, output);
            if whole {
                patches(&release, &seen, &machine, report);
            }
        }
        Err(failure) => {
            report.unchecked(&["names", "build roots", "closure", "patches"], failure);
        }
    }
    if whole {
        let seeds: usize = chosen.iter().map(|package| package.from_seed.len()).sum();
        let idle = chosen.iter().flat_map(|package| idle_seeds(&graph, package)).collect();
        report.add("from_seed", count(seeds, "name"), problems(idle));
    }
    let unnamed = chosen.iter().filter_map(|package| without_suffix(package)).collect();
    report.add("versions", count(chosen.len(), "package"), problems(unnamed));
    if whole {
        published(&release, &graph, &wanted, global, report);
    }
    report.rest_waits();
    Ok(())
}

fn pinned(release: &Release) -> String {
    let Some(lock) = &release.lock else { return "release.lock".to_owned() };
    let counts = [
        (lock.archives.len(), "archive"),
        (lock.sources.len() + lock.git.len() + lock.downloads.len(), "source"),
        (lock.stdlib.len(), "stdlib module"),
    ];
    counts.map(|(number, what)| count(number, what)).join(", ")
}

/// What is looked at.
struct Seen<'a> {
    graph: &'a Graph,
    extent: Extent,
    wanted: &'a [DerivationId],
}

/// The checks that need the pinned indexes, which are fetched where the store lacks them.
fn against_the_archive(
    release: &Release,
    seen: &Seen<'_>,
    machine: &Machine,
    report: &mut Report,
    output: &Output,
) {
    let &Seen { graph, extent, wanted } = seen;
    let world = machine.world();
    let unseen = |error: &dyn std::error::Error| Failure::error(Kind::Machine, "unchecked", error);
    output.under_way("reading the pinned indexes…");
    let snapshots = Snapshots::default();
    let mut found: BTreeMap<DerivationId, Arc<Snapshot>> = BTreeMap::new();
    for node in graph.nodes().filter(|node| matches!(node.origin, Origin::Root { .. })) {
        match snapshots.get(&world, graph, node.id) {
            Ok(snapshot) => {
                found.insert(node.id, snapshot);
            }
            Err(error) => return report.unchecked(&ARCHIVE_CHECKS, unseen(&*error)),
        }
    }
    if found.is_empty() {
        return;
    }
    let indexes = found.iter().map(|(id, snapshot)| (*id, &*snapshot.indexes)).collect();
    let mut unknown = names::unknown_in_roots(&release.spec, graph, &indexes);
    let roots_are_whole = unknown.is_empty();
    unknown.extend(names::unknown(graph, &indexes, extent));
    let unknown = Failure::in_release(&release.folder, unknown).problems;
    let packages: usize = found.values().flat_map(|one| &one.indexes).map(Vec::len).sum();
    report.add(
        "names",
        format!("{} of {}", dependencies(graph), count(packages, "archive package")),
        unknown,
    );
    if extent == Extent::Part {
        return;
    }
    let solved = extent == Extent::Whole && roots_are_whole;

    let survey = match driver::survey(&world, graph, wanted, &default_options()) {
        Ok(survey) => survey,
        Err(error) => return report.unchecked(&["build roots"], unseen(&error)),
    };
    let records: BTreeMap<DerivationId, Arc<Record>> =
        survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1))).collect();
    let foreseen: Vec<_> = wanted
        .par_iter()
        .filter_map(|id| {
            let snapshot = &found[&graph.node(*id)?.derivation.package()?.root];
            Some((*id, foresee(graph, *id, snapshot, &records)))
        })
        .collect();
    let mut unsolvable = Vec::new();
    let mut packages = BTreeSet::new();
    let mut chosen: Foreseen = Foreseen::new();
    for (id, foreseen) in foreseen {
        match foreseen {
            Ok(Foresight::Fine(root)) => {
                packages.insert(root.len());
                chosen.insert(id, root);
            }
            Ok(Foresight::UnknownName(_)) => {}
            Ok(Foresight::Unmet(unmet)) => {
                let known = |one: &&Unmet| extent == Extent::Whole || !is_own(graph, one);
                let unmet = unmet.iter().filter(known);
                unsolvable.extend(unmet.filter_map(|unmet| told_unmet(graph, id, unmet)));
            }
            // Without the edges of loops, a root may lack what it will have.
            Ok(Foresight::Unsolvable(_)) if !solved => {}
            Ok(Foresight::Unsolvable(because)) => unsolvable.extend(told(graph, id, &because)),
            Err(error) => return report.unchecked(&["build roots"], unseen(&error)),
        }
    }
    if !solved && unsolvable.is_empty() {
        return;
    }
    let sizes = match (packages.first(), packages.last()) {
        (Some(least), Some(most)) if least != most => format!(" of {least} to {most} packages"),
        (Some(size), _) => format!(" of {size} packages"),
        _ => String::new(),
    };
    let unsolvable = Failure::in_release(&release.folder, unsolvable).problems;
    report.add("build roots", format!("{}{sizes}", count(wanted.len(), "root")), unsolvable);
    if solved {
        closure::closure(release, seen, (&world, &snapshots), &chosen, report);
    }
    let mut build_roots: BTreeMap<DerivationId, Vec<_>> = BTreeMap::new();
    for (id, root) in chosen {
        if let Some(recipe) = graph.node(id).and_then(|node| node.derivation.package()) {
            build_roots.entry(recipe.root).or_default().push(root);
        }
    }
    for (id, lists) in build_roots {
        strata(graph, id, &found[&id], &lists, report);
    }
}

/// Proposes strata of a root, where they would save time.
fn strata(
    graph: &Graph,
    id: DerivationId,
    snapshot: &Snapshot,
    lists: &[Vec<Arc<BinaryPackage>>],
    report: &mut Report,
) {
    let Some(node) = graph.node(id) else { return };
    let (Derivation::Root(root), Origin::Root { name, .. }) = (&node.derivation, &node.origin)
    else {
        return;
    };
    let Ok(proposals) = strata::propose(snapshot, root, lists) else { return };
    let Some(worth) = proposals.iter().map(|one| one.saved).reduce(|a, b| a + b) else { return };
    let known = root.strata.iter().map(|stratum| format!("{stratum:?}"));
    let new = proposals.iter().map(|one| format!("[\"{}\"]", one.depends));
    let list = known.chain(new).collect::<Vec<_>>().join(", ");
    let title = match graph.nodes().filter(|node| is_root(node)).count() {
        1 => format!("[root.{name}]"),
        _ => format!("[root.{name}] of {}", root.architecture),
    };
    let advice = format!(
        "`strata = [{list}]` in {title} would save about {} of making build roots",
        rough(worth)
    );
    let each = proposals.iter().map(|one| {
        format!(
            "{}: {} in {} of {}",
            one.depends,
            count(one.packages, "package"),
            one.roots,
            count(one.of, "build root"),
        )
    });
    report.advise(advice, each.collect());
    report.strata.extend(proposals.iter().map(|one| {
        json!({
            "root": name,
            "architecture": root.architecture.to_string(),
            "depends": one.depends.to_string(),
            "packages": one.packages,
            "roots": one.roots,
            "of": one.of,
            "seconds": one.saved.as_secs(),
        })
    }));
}

/// Tries patches on sources that the store has.
fn patches(release: &Release, seen: &Seen<'_>, machine: &Machine, report: &mut Report) {
    let &Seen { graph, wanted, .. } = seen;
    let world = machine.world();
    let patched: Vec<(&Node, &derivation::Package)> = wanted
        .iter()
        .filter_map(|id| graph.node(*id))
        .filter_map(|node| Some((node, node.derivation.package()?)))
        .filter(|(_, package)| !package.patches.is_empty())
        .collect();
    let tried: Vec<_> = patched
        .par_iter()
        .map(|(node, package)| (package, patches::foresee(&world, graph, node, package)))
        .collect();
    let (mut all, mut untried, mut wrong) = (0, 0, Vec::new());
    let mut names = BTreeSet::new();
    for (package, found) in tried {
        // One of another architecture has the same patches.
        if !names.insert(&package.name) {
            continue;
        }
        all += package.patches.len();
        match found {
            Ok(Found::Fine) => {}
            Ok(Found::Unclear) => untried += package.patches.len(),
            Err(error @ Error::Patch { .. }) => wrong.push(told_patch(release, package, &error)),
            Err(error) => {
                let failure = Failure::error(Kind::Machine, "unchecked", &error);
                return report.unchecked(&["patches"], failure);
            }
        }
    }
    let mut detail = format!("{all} {}", if all == 1 { "patch" } else { "patches" });
    if untried > 0 {
        detail.push_str(&format!(", {untried} left to the build: their sources are not here"));
    }
    let wrong = Failure::in_release(&release.folder, wrong).problems;
    report.add("patches", detail, wrong);
}

/// A patch that does not apply, where the spec names it.
fn told_patch(release: &Release, package: &derivation::Package, error: &Error) -> Diagnostic {
    let spec = release.spec.packages.iter().find(|one| one.name == package.name);
    let named = spec.and_then(|spec| match error {
        Error::Patch { path, .. } => spec.patches.iter().find(|one| one.value.path == *path),
        _ => None,
    });
    let place = named.and_then(|patch| patch.span.clone());
    let reasons: String = error.reasons().iter().map(|reason| format!("\n  {reason}")).collect();
    let diagnostic = Diagnostic::new("patch", format!("{error}{reasons}"))
        .at(place.or_else(|| spec.map(|spec| spec.span.clone())), "");
    error.hint().into_iter().fold(diagnostic, Diagnostic::hint)
}

fn is_root(node: &Node) -> bool {
    matches!(node.origin, Origin::Root { .. })
}

/// A time of which only the size is known.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// How many build dependencies the packages have.
fn dependencies(graph: &Graph) -> String {
    let all: usize = graph.packages().map(|(_, package)| package.build_depends.len()).sum();
    let word = if all == 1 { "dependency" } else { "dependencies" };
    format!("{all} {word}")
}

/// A build root that cannot be had.
fn told(graph: &Graph, id: DerivationId, because: &[String]) -> Option<Diagnostic> {
    let node = graph.node(id)?;
    let (Origin::Package(origin), Some(package)) = (&node.origin, node.derivation.package()) else {
        return None;
    };
    let message = format!(
        "no build root satisfies the build dependencies of `{}`\n  {}",
        package.name,
        because.join("\n  ")
    );
    let diagnostic = Diagnostic::new("unsolvable", message);
    let begins = |wanted: &&Wanted| {
        let asked = |one: &Alternatives| format!("`{one}` is asked for");
        wanted.span.is_some() && wanted.depends.0.iter().any(|one| because.contains(&asked(one)))
    };
    Some(match origin.wanted.iter().find(begins) {
        Some(wanted) => diagnostic.at(wanted.span.clone(), "this is part of it"),
        None => diagnostic.at(origin.span.clone(), "of this package"),
    })
}

/// A build dependency of which there is no version that would do.
fn told_unmet(graph: &Graph, id: DerivationId, unmet: &Unmet) -> Option<Diagnostic> {
    let node = graph.node(id)?;
    let (Origin::Package(origin), Some(package)) = (&node.origin, node.derivation.package()) else {
        return None;
    };
    let Unmet { asked, there } = unmet;
    let message = format!("no version satisfies the build dependency `{asked}`");
    let wanted = origin.wanted.iter().find(|wanted| wanted.depends.0.contains(asked));
    let (place, whose) = match wanted.and_then(|wanted| wanted.span.clone()) {
        Some(span) => (span, String::new()),
        None => (origin.span.clone(), format!(", and the packaging of `{}` asks", package.name)),
    };
    let label = format!("there is {}{whose}", there.join(", "));
    Some(
        Diagnostic::new("unsolvable", message)
            .at(place, label)
            .hint("ask for a version that is there, or build a newer one in this release"),
    )
}

/// Asks the ledgers of the suites that the release publishes to.
fn published(
    release: &Release,
    graph: &Graph,
    wanted: &[DerivationId],
    global: &Global,
    report: &mut Report,
) {
    if release.spec.release.suites.is_empty() {
        return report.add("published", "the release publishes to nothing", Vec::new());
    }
    let keys = key::unfit(release);
    if !keys.is_empty() {
        return report.add("published", "the keys of its suites", keys);
    }
    let asked =
        open_store_to_look(global).and_then(|store| withheld(release, graph, wanted, &store));
    match asked {
        Ok((0, _)) => report.add("published", "nothing yet", Vec::new()),
        Ok((suites, found)) => {
            let problems = Failure::in_release(&release.folder, found).problems;
            report.add("published", count(suites, "suite"), problems);
        }
        Err(failure) => report.unchecked(&["published"], failure),
    }
}

/// Whether the release builds a package that is asked for.
fn is_own(graph: &Graph, unmet: &Unmet) -> bool {
    let names = unmet.asked.0.iter().map(|relation| &relation.name);
    let mut own = names.flat_map(|name| {
        graph.packages().filter(move |(_, package)| package.binaries.contains(name))
    });
    own.next().is_some()
}

/// Names of `from_seed` that change nothing: the release does not build them, or this package
/// never gets them from it.
fn idle_seeds(graph: &Graph, package: &Package) -> Vec<Diagnostic> {
    let Some((node, _)) = graph.package(package.name.as_str()) else { return Vec::new() };
    let Origin::Package(origin) = &node.origin else { return Vec::new() };
    let offers = |id: DerivationId, name: &PackageName| match graph.node(id).map(|n| &n.origin) {
        Some(Origin::Package(origin)) => origin
            .provides
            .iter()
            .any(|(binary, provides)| binary == name || provides.contains(name)),
        _ => false,
    };
    let asked: BTreeSet<&PackageName> = origin
        .wanted
        .iter()
        .flat_map(|wanted| &wanted.depends.0)
        .flat_map(|alternatives| &alternatives.0)
        .map(|relation| &relation.name)
        .collect();
    let closure = graph.closure(node.id);
    let mut idle = Vec::new();
    for Located { value: name, span } in &package.from_seed {
        let maker = graph
            .packages()
            .map(|(other, _)| other.id)
            .find(|other| *other != node.id && offers(*other, name));
        let (message, label) = match maker {
            None => ("the release builds no", "the archive's is taken anyway"),
            Some(maker) if !asked.contains(name) && !closure.contains(&maker) => {
                ("nothing would bring in the release's", "no build dependency leads to it")
            }
            Some(_) => continue,
        };
        idle.push(
            Diagnostic::new("idle-seed", format!("`from_seed` has no effect: {message} `{name}`"))
                .at(span.clone().or_else(|| Some(package.span.clone())), label)
                .hint("leave it out"),
        );
    }
    idle
}

/// Fields that make an archive's package another than the archive's.
const ALTERING: [&str; 7] =
    ["patches", "extra", "build_depends", "build", "env", "binaries", "revision"];

/// A package of the archive that is not as the archive has it, under the archive's version.
fn without_suffix(package: &Package) -> Option<Diagnostic> {
    if !matches!(package.source.value, Source::Archive { .. }) || package.suffix.is_some() {
        return None;
    }
    // What `rebuild` itself says stands where the name does; `debian()` is what it says.
    let own = package.fields.get("source");
    let alters = |field: &str, span: &Span| {
        Some(span) != own && !(field == "build" && package.build.name == "debian")
    };
    let (field, span) = ALTERING.iter().find_map(|field| {
        let span = package.fields.get(*field)?;
        alters(field, span).then_some((field, span))
    })?;
    let message = format!(
        "`{}` is altered, but keeps the archive's version: two packages would have one name",
        package.name
    );
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let example = format!("`suffix: \"+demo1\", changes: #{{ date: \"{today}\", text: \"…\" }}`");
    Some(
        Diagnostic::new("no-suffix", message)
            .at(span.clone(), format!("`{field}` alters it"))
            .hint(format!("give it a version of its own: {example}")),
    )
}
