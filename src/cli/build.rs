//! `build`: a release, or some of its packages and what they need.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::{Build, Global};
use super::context::{Machine, Named, Release, named};
use super::eval::select;
use super::failure::{Failure, Kind, Problem};
use super::output::{CommandResult, Output};
use super::progress::{Progress, duration};
use crate::base::{Digest, HostPath};
use crate::graph::{Derivation, Graph, Origin};
use crate::plan::OnFailure;
use crate::realise::comparison::{Archive, Comparison};
use crate::realise::driver::{self, Options, Report, Reported};
use crate::realise::event::{Fault, Finished};
use crate::realise::export::{self, Scope};
use crate::realise::machine::{self, Allowance};
use crate::realise::manifest::Manifest;
use crate::realise::universe::Snapshots;
use crate::realise::world::World;
use crate::store::BuiltRelease;

/// Builds every release that was named, one after the other.
pub fn run(arguments: &Build, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let Named { releases, names } = named(&arguments.words.words).map_err(wrong)?;
    let mut documents = Vec::new();
    let mut failures: Option<Failure> = None;
    for folder in &releases {
        let (document, failure) = match build(folder, &names, arguments, global, output) {
            Ok(document) => (document, None),
            Err((document, failure)) => (document, Some(failure)),
        };
        documents.push(document);
        failures = match (failures, failure) {
            (Some(mut all), Some(more)) => {
                all.kind = all.kind.max(more.kind);
                all.problems.extend(more.problems);
                Some(all)
            }
            (all, more) => all.or(more),
        };
    }
    let document = match documents.len() {
        1 => documents.remove(0),
        _ => json!({ "releases": documents }),
    };
    failures.map_or(Ok(document.clone()), |failure| Err((document, failure)))
}

fn build(
    folder: &HostPath,
    names: &[String],
    arguments: &Build,
    global: &Global,
    output: &Output,
) -> CommandResult {
    let early = |failure| (Value::Null, failure);
    let release = Release::load(folder).map_err(early)?;
    let graph = release.graph().map_err(early)?;
    let wanted = select(&graph, names).map_err(early)?;
    let machine = Machine::open(&release, global).map_err(early)?;
    let world = machine.world();
    let options = options(arguments);
    let machine_failed =
        |error: &dyn std::error::Error| early(Failure::error(Kind::Machine, "machine", error));

    if arguments.dry_run {
        return super::forecast::run(&release, &graph, &world, &wanted, &options, output);
    }
    let spec = &release.spec.release;
    let survey = driver::survey(&world, &graph, &wanted, &options)
        .map_err(|error| machine_failed(&error))?;
    let snapshots = Arc::new(Snapshots::default());
    if survey.iter().any(|surveyed| surveyed.there.is_none()) {
        output.note("reading the pinned indexes…");
        release.check_names(&graph, &world, &snapshots, output).map_err(early)?;
    }
    let cached = survey.iter().filter(|surveyed| surveyed.there.is_some()).count();
    output.text(&format!(
        "{} {} · {} · {}: {cached} cached, {} to build\n",
        spec.name,
        spec.version,
        graph.release().short(),
        count(survey.len(), "package"),
        survey.len() - cached,
    ));
    let report = {
        let progress = Progress::start(global, options.jobs.get());
        let tell = |event| progress.tell(event);
        driver::build(&world, &graph, &wanted, &options, &snapshots, &tell)
            .map_err(|error| machine_failed(&error))?
    };

    let records: Vec<_> =
        report.packages.iter().filter_map(|package| package.record.clone()).collect();
    let comparisons = compare(&world, &graph, &snapshots, &report, output);
    output.text(&table(&report, &comparisons, &graph));
    let out = match &arguments.output {
        Some(folder) => HostPath::new(folder),
        None => folder.join("out"),
    };
    let manifest = manifest(&world, &graph, &report).map_err(|error| machine_failed(&error))?;
    let scope = if names.is_empty() { Scope::Whole } else { Scope::Part };
    export::export(world.store, &out, &records, manifest.as_ref(), scope)
        .map_err(|error| machine_failed(&error))?;
    let digest = manifest.as_ref().map(Manifest::digest);
    world
        .store
        .register_release(&BuiltRelease {
            folder: folder.clone(),
            name: spec.name.clone(),
            version: spec.version.clone(),
            release: graph.release(),
            manifest: digest,
            built: jiff::Timestamp::now(),
        })
        .map_err(|error| machine_failed(&error))?;
    output.text(&closing(&report, &graph, digest, &out, folder));
    let document = document(&release, &graph, &report, &comparisons, digest);
    match failure(&report, folder, &graph) {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

fn options(arguments: &Build) -> Options {
    let cores = machine::processors();
    let jobs = arguments.jobs.map_or(cores.len().clamp(1, 2), |jobs| jobs as usize);
    let jobs = NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN);
    let cores = match arguments.cores {
        Some(most) => cores.into_iter().take(most as usize).collect(),
        None => cores,
    };
    Options {
        jobs,
        on_failure: if arguments.fail_fast { OnFailure::Stop } else { OnFailure::GoOn },
        allowance: Allowance::of_machine(cores, jobs),
    }
}

/// What a build does without any flag.
pub fn default_options() -> Options {
    let cores = machine::processors();
    Options {
        jobs: NonZeroUsize::MIN,
        on_failure: OnFailure::GoOn,
        allowance: Allowance::of_machine(cores, NonZeroUsize::MIN),
    }
}

/// Output file name → how it compares to the distribution's own.
type Comparisons = BTreeMap<String, Comparison>;

/// Compares what is there with each package's own archive. An archive whose indexes cannot be
/// had is no reason to fail now: everything is built.
fn compare(
    world: &World<'_>,
    graph: &Graph,
    snapshots: &Snapshots,
    report: &Report,
    output: &Output,
) -> Comparisons {
    let mut by_root: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in &report.packages {
        let Some(record) = &package.record else { continue };
        if let Some(Derivation::Package(recipe)) =
            graph.node(package.derivation).map(|node| &node.derivation)
        {
            by_root.entry(recipe.root).or_default().push(Arc::clone(record));
        }
    }
    let mut found = Comparisons::new();
    for (root, records) in by_root {
        match snapshots.get(world, graph, root) {
            Err(error) => output.note(&format!("not compared with the archive: {error}")),
            Ok(snapshot) => {
                let archive = Archive::new(&snapshot.indexes, &records);
                for output in records.iter().flat_map(|record| &record.outputs) {
                    found.insert(output.file.clone(), archive.compare(output));
                }
            }
        }
    }
    found
}

fn manifest(
    world: &World<'_>,
    graph: &Graph,
    report: &Report,
) -> Result<Option<Manifest>, crate::realise::Error> {
    let records: BTreeMap<_, _> = report
        .packages
        .iter()
        .filter_map(|package| Some((package.derivation, Arc::clone(package.record.as_ref()?))))
        .collect();
    if records.len() < graph.packages().count() {
        return Ok(None);
    }
    Manifest::new(world.store, graph, &records).map(Some)
}

fn table(report: &Report, comparisons: &Comparisons, graph: &Graph) -> String {
    let title = |package: &Reported| format!("{} {}", package.name, package.version);
    let width = report.packages.iter().map(|package| title(package).chars().count()).max();
    let mut text = String::new();
    for package in &report.packages {
        let (status, time) = match &package.result {
            Finished::Built { .. } => ("built", duration(package.elapsed)),
            Finished::Cached { .. } => ("cached", String::new()),
            Finished::Failed(failure) if failure.fault == Fault::Cancelled => {
                ("cancelled", duration(package.elapsed))
            }
            Finished::Failed(_) => ("failed", duration(package.elapsed)),
            Finished::Skipped { .. } => ("skipped", String::new()),
        };
        let line = format!(
            " {:width$}   {status:9} {time:>8}   {}",
            title(package),
            beside(package, comparisons, graph),
            width = width.unwrap_or_default()
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `identical to bookworm's own 5/5`, where the archive has any of these files.
fn beside(package: &Reported, comparisons: &Comparisons, graph: &Graph) -> String {
    let Some(record) = &package.record else { return String::new() };
    let known: Vec<_> = record
        .outputs
        .iter()
        .filter_map(|output| comparisons.get(&output.file))
        .filter(|comparison| **comparison != Comparison::Absent)
        .collect();
    if known.is_empty() {
        return String::new();
    }
    let same = known.iter().filter(|comparison| ***comparison == Comparison::Identical).count();
    let archive = match graph.node(package.derivation).map(|node| &node.derivation) {
        Some(Derivation::Package(recipe)) => match graph.node(recipe.root).map(|node| &node.origin)
        {
            Some(Origin::Root { archive, .. }) => archive.as_str(),
            _ => "the archive",
        },
        _ => "the archive",
    };
    format!("identical to {archive}'s own {same}/{}", known.len())
}

fn closing(
    report: &Report,
    graph: &Graph,
    manifest: Option<Digest>,
    out: &HostPath,
    folder: &HostPath,
) -> String {
    let mut text = String::new();
    match manifest {
        Some(manifest) => {
            let _ = writeln!(
                text,
                "release {}  manifest {}   check: b3sum {}",
                graph.release().short(),
                manifest.short(),
                shown(&out.join("MANIFEST.json")),
            );
        }
        None if report.packages.iter().all(|package| package.record.is_some()) => {
            let _ = writeln!(
                text,
                "release {}   part of it is in {}; `perestroika build {}` builds the rest",
                graph.release().short(),
                shown(out),
                shown(folder),
            );
        }
        None => {
            let tally = |wanted: fn(&Finished) -> bool| {
                report.packages.iter().filter(|package| wanted(&package.result)).count()
            };
            let failed = tally(|result| matches!(result, Finished::Failed(_)));
            let skipped = tally(|result| matches!(result, Finished::Skipped { .. }));
            let there = report.packages.len() - failed - skipped;
            let _ = writeln!(text, "{failed} failed, {skipped} skipped, {there} there");
        }
    }
    text
}

/// A path as short as it can be written from here.
fn shown(path: &HostPath) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.as_path().strip_prefix(&here).unwrap_or(path.as_path()).display().to_string()
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What failed, each with its cause and the end of its log.
fn failure(report: &Report, folder: &HostPath, graph: &Graph) -> Option<Failure> {
    let mut problems = Vec::new();
    let mut kind = None;
    for package in &report.packages {
        let Finished::Failed(failed) = &package.result else { continue };
        let this = match failed.fault {
            Fault::Package => Kind::Result,
            Fault::Input => Kind::Input,
            Fault::Machine => Kind::Machine,
            Fault::Cancelled => Kind::Interrupted,
        };
        kind = kind.max(Some(this));
        if failed.fault == Fault::Cancelled {
            continue;
        }
        let mut messages =
            vec![format!("{} {} failed: {}", package.name, package.version, failed.cause)];
        messages.extend(failed.reasons.iter().cloned());
        let mut hints: Vec<String> = failed.hint.map(str::to_owned).into_iter().collect();
        if !failed.tail.is_empty() {
            let last = &failed.tail[failed.tail.len().saturating_sub(20)..];
            messages.push(format!("the last lines of its log\n    {}", last.join("\n    ")));
            hints.push(format!(
                "`perestroika log {} {}` prints all of it",
                slashed(folder),
                package.name
            ));
        }
        if let Some(Origin::Package(origin)) =
            graph.node(package.derivation).map(|node| &node.origin)
        {
            hints.push(format!(
                "its spec: {}:{}",
                shown(&folder.join(origin.span.file.as_str())),
                origin.span.line
            ));
        }
        problems.push(Problem::Chain { code: "build-failed", messages, hints });
    }
    kind.map(|kind| Failure { kind, problems })
}

/// A folder so written that the command line takes it for one.
fn slashed(folder: &HostPath) -> String {
    let short = shown(folder);
    match short.as_str() {
        "" => ".".to_owned(),
        short if short.contains('/') => short.to_owned(),
        short => format!("./{short}"),
    }
}

fn document(
    release: &Release,
    graph: &Graph,
    report: &Report,
    comparisons: &Comparisons,
    manifest: Option<Digest>,
) -> Value {
    let mut summary = BTreeMap::from([("built", 0), ("cached", 0), ("failed", 0), ("skipped", 0)]);
    let packages: Vec<Value> = report
        .packages
        .iter()
        .map(|package| {
            let (status, action) = match &package.result {
                Finished::Built { action } => ("built", Some(action.to_string())),
                Finished::Cached { action } => ("cached", Some(action.to_string())),
                Finished::Failed(_) => ("failed", None),
                Finished::Skipped { .. } => ("skipped", None),
            };
            *summary.entry(status).or_default() += 1;
            let outputs = package.record.iter().flat_map(|record| &record.outputs);
            let outputs: Vec<Value> = outputs
                .map(|output| {
                    let comparison = comparisons.get(&output.file);
                    json!({
                        "file": output.file,
                        "size": output.size,
                        "blake3": output.blake3.to_string(),
                        "sha256": output.sha256.to_string(),
                        "archive": comparison.unwrap_or(&Comparison::Absent).as_str(),
                    })
                })
                .collect();
            json!({
                "name": package.name.as_str(),
                "version": package.version,
                "derivation": package.derivation.to_string(),
                "action": action,
                "status": status,
                "outputs": outputs,
            })
        })
        .collect();
    json!({
        "release": release.built_document(graph, manifest),
        "packages": packages,
        "summary": summary,
    })
}
