//! `build`: a release, or some of its packages and what they need.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::arguments::{Build, Global};
use super::audit;
use super::config::Config;
use super::context::{Machine, Named, Release, named, open_store, read_lock};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::forecast;
use super::hint;
use super::kept::KeptOutline;
use super::output::{CommandResult, Output};
use super::progress::Progress;
use super::publish::withheld::withheld;
use super::report::{self, Told};
use crate::audit::closure::{Depth, certify};
use crate::audit::evidence::{Foreseen, Ground};
use crate::base::{Architecture, DerivationId, Digest, HostPath};
use crate::graph::Graph;
use crate::plan::OnFailure;
use crate::realise::driver::{self, Goal, Options, Report, Tracing};
use crate::realise::export::{self, Scope};
use crate::realise::machine::{self, Allowance};
use crate::realise::manifest::Manifest;
use crate::realise::settled::Settled;
use crate::realise::universe::Snapshots;
use crate::realise::world::World;
use crate::store::{BuiltRelease, Contents};

/// Builds all releases that were named, together.
pub fn run(arguments: &Build, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let Named { releases, names } = named(&arguments.words.words).map_err(wrong)?;
    let prepare = |folder| {
        let prepared = Prepared::new(folder, &names, arguments, global).map_err(wrong)?;
        if !arguments.dry_run && !arguments.allow_downgrade {
            prepared.publishable().map_err(wrong)?;
        }
        Ok(prepared)
    };
    let results = if arguments.dry_run {
        let forecast = |one: &Prepared| forecast::run(one, &one.options(arguments), output);
        releases.iter().map(|folder| forecast(&prepare(folder)?)).collect()
    } else {
        let begin = |folder| match settled(folder, &names, arguments, global, output) {
            Some(came) => Err(came),
            None => prepare(folder).map_err(Err),
        };
        build(releases.iter().map(begin).collect(), arguments, global, output)
    };
    together(results)
}

/// What came of a release, if it is large and all of it is there as it was last time: then there
/// is no need to look at each package.
fn settled(
    folder: &HostPath,
    names: &[String],
    arguments: &Build,
    global: &Global,
    output: &Output,
) -> Option<CommandResult> {
    if !names.is_empty() || output.wants_document() || arguments.trace {
        return None;
    }
    let kept = KeptOutline::open(folder, global).ok().filter(KeptOutline::is_checked)?;
    if kept.is_to_be_closed()? {
        return None;
    }
    let outline = kept.renewed(read_lock(folder).ok()?.as_ref())?;
    let packages = outline.entries().len();
    if packages <= report::LISTED {
        return None;
    }
    let store = open_store(global).ok()?;
    let out = out(folder, arguments);
    let settled = Settled::check(&store, outline.release, &out)?;
    let id = outline.release.short();
    output.summary(&format!(
        "{} {} · {id} · {}: all cached, nothing to build\n{}",
        outline.name,
        outline.version,
        report::count(packages, "package"),
        report::whole(&id, settled.manifest, &out),
    ));
    let registered = store.register_release(&BuiltRelease {
        folder: folder.clone(),
        name: outline.name,
        version: outline.version,
        release: outline.release,
        manifest: Some(settled.manifest),
        built: jiff::Timestamp::now(),
    });
    let failed = |error| (Value::Null, Failure::error(Kind::Machine, "store", &error));
    Some(registered.map(|()| Value::Null).map_err(failed))
}

/// Where the packages of a release are copied to.
fn out(folder: &HostPath, arguments: &Build) -> HostPath {
    match &arguments.output {
        Some(folder) => HostPath::new(folder),
        None => folder.join("out"),
    }
}

/// What came of each release, as what came of the command.
fn together(results: Vec<CommandResult>) -> CommandResult {
    let mut documents = Vec::new();
    let mut failures: Option<Failure> = None;
    for result in results {
        let (document, failure) = match result {
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

/// A release that can be built.
pub struct Prepared {
    /// Its specs and lock.
    pub release: Release,
    /// Its graph.
    pub graph: Graph,
    /// What of it is wanted.
    pub wanted: Vec<DerivationId>,
    /// What it is built with.
    pub machine: Machine,
}

impl Prepared {
    /// Reads a release and opens what it takes to build these packages of it.
    pub fn new(
        folder: &HostPath,
        names: &[String],
        arguments: &Build,
        global: &Global,
    ) -> Result<Self, Failure> {
        let release = Release::load(folder)?;
        let graph = release.graph()?;
        release.check_pins()?;
        let wanted = select(&graph, names)?;
        if !arguments.dry_run {
            check_architectures(&graph, &wanted)?;
        }
        // What would be built is told from what is there.
        let global = Global { offline: global.offline || arguments.dry_run, ..global.clone() };
        if !arguments.dry_run {
            // One that takes no writes is named before anything is begun.
            let store = open_store(&global)?;
            let key = store.make_builder_key();
            key.map_err(|error| Failure::error(Kind::Machine, "key", &error))?;
        }
        let mut machine = Machine::open(&release, &global)?;
        if !arguments.dry_run {
            let config = Config::load()?;
            machine = machine
                .enforcing(config.enforcement(arguments.require_limits), &global)?
                .failing(config.retries(), config.capsules());
        }
        Ok(Self { release, graph, wanted, machine })
    }

    /// How it is built, as the flags ask.
    pub fn options(&self, arguments: &Build) -> Options {
        options(arguments, self.machine.executor().slots())
    }

    /// Notes that it was built.
    fn register(&self, manifest: Option<Digest>) -> Result<(), Failure> {
        let Self { release, graph, machine, .. } = self;
        let store = machine.world().store;
        let spec = &release.spec.release;
        let recipe = graph.node(graph.release()).map(|node| node.derivation.to_json());
        let kept = recipe.map_or(Ok(()), |recipe| store.put_json(&recipe).map(drop));
        let registered = store.register_release(&BuiltRelease {
            folder: release.folder.clone(),
            name: spec.name.clone(),
            version: spec.version.clone(),
            release: graph.release(),
            manifest,
            built: jiff::Timestamp::now(),
        });
        kept.and(registered).map_err(|error| Failure::error(Kind::Machine, "store", &error))
    }

    /// Refuses packages that no suite of the release could get any more.
    fn publishable(&self) -> Result<(), Failure> {
        let store = self.machine.world().store;
        let (_, withheld) = withheld(&self.release, &self.graph, &self.wanted, store)?;
        match withheld.is_empty() {
            true => Ok(()),
            false => Err(Failure::in_release(&self.release.folder, withheld)),
        }
    }

    /// Refuses a release that is less closed than its release.toml demands, for certain: packages
    /// that are not built yet may come out as they have to.
    fn closed(&self, snapshots: &Snapshots) -> Result<(), Failure> {
        let required = self.release.spec.release.closure.as_ref();
        if required.is_none() {
            return Ok(());
        }
        let world = self.machine.world();
        let (graph, depth) = (&self.graph, Depth::Present);
        let ground = Ground { world: &world, graph, snapshots, depth, seen: &|_, _| {} };
        let evidence =
            ground.read(&self.wanted, &Foreseen::new()).map_err(|error| audit::unread(&error))?;
        audit::closure::lacking(&certify(&evidence), required).map_or(Ok(()), Err)
    }

    /// The line that a build begins with: what is there, and what is to be built. Of what is to
    /// be built, the names of build dependencies are checked.
    pub fn begin(
        &self,
        options: &Options,
        snapshots: &Snapshots,
        output: &Output,
    ) -> Result<(), Failure> {
        let Self { release, graph, wanted, machine } = self;
        let world = machine.world();
        let kept = world
            .store
            .settle_attempts()
            .and_then(|_| world.store.limit_capsules(&world.capsules, 0, jiff::Timestamp::now()));
        for capsule in kept.map_err(|error| Failure::error(Kind::Machine, "store", &error))? {
            let Contents { package, version, .. } = &capsule.contents;
            output.note(&format!("removed the sandbox of {package} {version}: old, or too many"));
        }
        let survey = driver::survey(&world, graph, wanted, options).map_err(machine_failed)?;
        let again = driver::untraced(&world, wanted, &survey, options).len();
        let there = survey.iter().filter(|surveyed| surveyed.there.is_some()).count();
        let cached = there - again;
        let mut executor = String::new();
        if cached < survey.len() {
            machine.ready()?;
            executor = machine.executor().told();
        }
        // What was resolved before has names that are known.
        if !driver::is_resolved(&world, graph, &survey) {
            output.under_way("reading the pinned indexes…");
            release.check_names(graph, &world, snapshots, output)?;
        }
        let spec = &release.spec.release;
        output.summary(&format!(
            "{} {} · {} · {}: {cached} cached, {} to build{}{executor}\n",
            spec.name,
            spec.version,
            graph.release().short(),
            report::count(survey.len(), "package"),
            survey.len() - cached,
            match again {
                0 => String::new(),
                _ => format!(", {again} of them again, to be traced"),
            },
        ));
        Ok(())
    }

    /// Tells what came of it, and puts it where it belongs.
    fn end(
        &self,
        report: &Report,
        elapsed: Duration,
        snapshots: &Snapshots,
        arguments: &Build,
        global: &Global,
        output: &Output,
    ) -> CommandResult {
        let Self { release, graph, machine, .. } = self;
        let world = machine.world();
        let records: Vec<_> =
            report.packages.iter().filter_map(|package| package.record.clone()).collect();
        let manifest = manifest(&world, graph, report)
            .map_err(|error| (Value::Null, machine_failed(error)))?;
        let digest = manifest.as_ref().map(Manifest::digest);
        let kept = manifest.as_ref().map(|manifest| world.store.put_json(manifest.document()));
        kept.transpose()
            .map_err(|error| (Value::Null, Failure::error(Kind::Machine, "store", &error)))?;
        let out = out(&release.folder, arguments);
        let comparisons = report::compare(&world, graph, snapshots, report, output);
        let hints = hint::hints(release, graph, &world, report, output);
        let told = Told {
            release,
            graph,
            report,
            comparisons: &comparisons,
            hints: &hints,
            manifest: digest,
            out: &out,
            executor: machine.executor().document(),
            elapsed,
        };
        let failures = told.failures();
        if failures.is_empty() {
            output.summary(&told.table());
        }
        let scope = if manifest.is_some() { Scope::Whole } else { Scope::Part };
        let all_there = report.packages.iter().all(|package| package.record.is_some());
        let closed = if all_there { self.closed(snapshots) } else { Ok(()) };
        let exported = export::export(world.store, &out, &records, manifest.as_ref(), scope);
        let registered = self.register(digest);
        let large = report.packages.len() > report::LISTED;
        if let (Some(manifest), Ok(()), Ok(()), true) = (&manifest, &exported, &closed, large) {
            // Should it not be noted, the next run looks at each package.
            let _ = Settled::note(world.store, graph.release(), manifest, &records, &out);
            if let Ok(kept) = KeptOutline::open(&release.folder, global)
                && kept.is_checked()
            {
                kept.keep(&release.spec, graph);
            }
        }
        output.failed(&failures);
        if !failures.is_empty() {
            output.summary(&told.others());
        }
        output.summary(&told.closing());
        // What failed to be built is told even if it cannot be copied out either.
        let failures = [
            told.failure(),
            told.different(),
            exported.err().map(|error| Failure::error(Kind::Machine, "export", &error)),
            registered.err(),
            closed.err(),
        ];
        match failures.into_iter().flatten().reduce(Failure::and) {
            None => Ok(told.document()),
            Some(failure) => Err((told.document(), failure)),
        }
    }
}

/// Builds in one run what nothing came of yet.
fn build(
    prepared: Vec<Result<Prepared, CommandResult>>,
    arguments: &Build,
    global: &Global,
    output: &Output,
) -> Vec<CommandResult> {
    let slots = prepared.iter().flatten().filter_map(|one| one.machine.executor().slots());
    let options = &options(arguments, slots.min());
    let begun: Vec<_> = prepared
        .into_iter()
        .map(|one| {
            let (one, snapshots) = (one?, Arc::new(Snapshots::default()));
            let begun = one.begin(options, &snapshots, output);
            begun.map(|()| (one, snapshots)).map_err(|failure| Err((Value::Null, failure)))
        })
        .collect();
    let worlds: Vec<_> = begun.iter().flatten().map(|(one, _)| one.machine.world()).collect();
    let goals: Vec<Goal<'_>> = begun
        .iter()
        .flatten()
        .zip(&worlds)
        .map(|((one, snapshots), world)| Goal {
            world,
            graph: &one.graph,
            spec: Some(&one.release.spec),
            wanted: &one.wanted,
            snapshots: Arc::clone(snapshots),
        })
        .collect();
    let began = Instant::now();
    let reports = if goals.is_empty() {
        Ok(Vec::new())
    } else {
        let progress = Progress::start(global);
        driver::build(&goals, options, &|event| progress.tell(event))
    };
    let mut reports = match reports {
        Ok(reports) => reports.into_iter(),
        Err(error) => return vec![Err((Value::Null, machine_failed(error)))],
    };
    let elapsed = began.elapsed();
    drop(goals);
    drop(worlds);
    let ended = begun.into_iter().map(|one| match one {
        Err(came) => came,
        Ok((one, snapshots)) => {
            let report = reports.next().expect("there is a report for each goal");
            one.end(&report, elapsed, &snapshots, arguments, global, output)
        }
    });
    ended.collect()
}

/// The machine's failure to begin anything.
pub fn machine_failed(error: crate::realise::Error) -> Failure {
    Failure::error(Kind::Machine, "machine", &error)
}

/// Refuses what this machine could not run: neither the build root's tools nor what is built.
fn check_architectures(graph: &Graph, wanted: &[DerivationId]) -> Result<(), Failure> {
    let packages = graph.with_needs(wanted).into_iter().map(|(_, package)| package);
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

/// How a build goes about its work, as the flags ask: never more packages at once than there are
/// slots for them.
fn options(arguments: &Build, slots: Option<NonZeroUsize>) -> Options {
    let number = |given: Option<u32>| given.and_then(|given| NonZeroUsize::new(given as usize));
    let processors = machine::processors();
    let jobs = number(arguments.jobs).unwrap_or_else(default_jobs);
    let jobs = slots.map_or(jobs, |slots| jobs.min(slots));
    let all = NonZeroUsize::new(processors.len()).unwrap_or(NonZeroUsize::MIN);
    Options {
        jobs,
        cores: number(arguments.cores).map_or(all, |most| most.min(all)),
        on_failure: if arguments.fail_fast { OnFailure::Stop } else { OnFailure::GoOn },
        allowance: Allowance::of_machine(processors, jobs),
        tracing: if arguments.trace { Tracing::On } else { Tracing::Off },
    }
}

/// How many packages are built at once where nothing is said.
pub fn default_jobs() -> NonZeroUsize {
    NonZeroUsize::new(machine::processors().len().clamp(1, 2)).unwrap_or(NonZeroUsize::MIN)
}

/// What a build does without any flag.
pub fn default_options() -> Options {
    let (processors, jobs) = (machine::processors(), default_jobs());
    Options {
        jobs,
        cores: NonZeroUsize::new(processors.len()).unwrap_or(NonZeroUsize::MIN),
        on_failure: OnFailure::GoOn,
        allowance: Allowance::of_machine(processors, jobs),
        tracing: Tracing::Off,
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
