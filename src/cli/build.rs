//! `build`: a release, or some of its packages and what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::{Build, Global};
use super::config::Config;
use super::context::{Machine, Named, Release, named};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::hint;
use super::output::{CommandResult, Output};
use super::progress::Progress;
use super::report::{self, Told};
use crate::base::{Architecture, DerivationId, HostPath};
use crate::graph::Graph;
use crate::plan::OnFailure;
use crate::realise::driver::{self, Options, Report};
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
        failures = [failures, failure].into_iter().flatten().reduce(Failure::and);
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
    release.check_pins().map_err(early)?;
    let wanted = select(&graph, names).map_err(early)?;
    if !arguments.dry_run {
        check_architectures(&graph, &wanted).map_err(early)?;
    }
    let mut machine = Machine::open(&release, global).map_err(early)?;
    if !arguments.dry_run {
        let config = Config::load().map_err(early)?;
        let enforcement = config.enforcement(arguments.require_limits);
        machine = machine.enforcing(enforcement).map_err(early)?;
    }
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
    output.summary(&format!(
        "{} {} · {} · {}: {cached} cached, {} to build\n",
        spec.name,
        spec.version,
        graph.release().short(),
        report::count(survey.len(), "package"),
        survey.len() - cached,
    ));
    let report = {
        let progress = Progress::start(global);
        let tell = |event| progress.tell(event);
        driver::build(&world, &graph, &wanted, &options, &snapshots, &tell)
            .map_err(|error| machine_failed(&error))?
    };

    let records: Vec<_> =
        report.packages.iter().filter_map(|package| package.record.clone()).collect();
    let manifest = manifest(&world, &graph, &report).map_err(|error| machine_failed(&error))?;
    let digest = manifest.as_ref().map(Manifest::digest);
    let out = match &arguments.output {
        Some(folder) => HostPath::new(folder),
        None => folder.join("out"),
    };
    let comparisons = report::compare(&world, &graph, &snapshots, &report, output);
    let hints = hint::hints(&release, &graph, &world, &report, output);
    let told = Told {
        release: &release,
        graph: &graph,
        report: &report,
        comparisons: &comparisons,
        hints: &hints,
        manifest: digest,
        out: &out,
    };
    output.summary(&told.table());
    let scope = if manifest.is_some() { Scope::Whole } else { Scope::Part };
    let exported = export::export(world.store, &out, &records, manifest.as_ref(), scope);
    let recipe = graph.node(graph.release()).map(|node| node.derivation.to_json());
    let kept = recipe.map_or(Ok(()), |recipe| world.store.put_json(&recipe).map(drop));
    let registered = world.store.register_release(&BuiltRelease {
        folder: folder.clone(),
        name: spec.name.clone(),
        version: spec.version.clone(),
        release: graph.release(),
        manifest: digest,
        built: jiff::Timestamp::now(),
    });
    output.summary(&told.closing());
    // What failed to be built is told even if it cannot be copied out either.
    let failures = [
        told.failure(),
        exported.err().map(|error| Failure::error(Kind::Machine, "export", &error)),
        kept.and(registered).err().map(|error| Failure::error(Kind::Machine, "store", &error)),
    ];
    match failures.into_iter().flatten().reduce(Failure::and) {
        None => Ok(told.document()),
        Some(failure) => Err((told.document(), failure)),
    }
}

/// Refuses what this machine could not run: neither the build root's tools nor what is built.
fn check_architectures(graph: &Graph, wanted: &[DerivationId]) -> Result<(), Failure> {
    let all = wanted.iter().flat_map(|id| graph.closure(*id).into_iter().chain([*id]));
    let packages = all.filter_map(|id| graph.node(id)?.derivation.package());
    let foreign = packages.filter(|package| !machine::runs(&package.architecture));
    let mut names: BTreeMap<&Architecture, BTreeSet<&str>> = BTreeMap::new();
    for package in foreign {
        names.entry(&package.architecture).or_default().insert(package.name.as_str());
    }
    let failures = names.into_iter().map(|(architecture, names)| {
        let message = format!("this machine cannot run programs of architecture `{architecture}`");
        let count = report::count(names.len(), "package");
        let first = names.first().copied().unwrap_or_default();
        Failure::new(Kind::Machine, "architecture", message)
            .because(format!("{count} would be built for it: `{first}` first"))
            .hint("build on a machine of that architecture; `architectures` in release.toml says what a release is built for")
    });
    failures.reduce(Failure::and).map_or(Ok(()), Err)
}

fn options(arguments: &Build) -> Options {
    let cores = machine::processors();
    let jobs = arguments.jobs.and_then(|jobs| NonZeroUsize::new(jobs as usize));
    let jobs = jobs.unwrap_or_else(default_jobs);
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

/// How many packages are built at once where nothing is said.
pub fn default_jobs() -> NonZeroUsize {
    NonZeroUsize::new(machine::processors().len().clamp(1, 2)).unwrap_or(NonZeroUsize::MIN)
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
