//! One package, from its derivation to its record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, Sources};
use super::buildroot::{self, RootPackage};
use super::error::{Error, Result};
use super::event::{Event, Failure, Fault, Phase, Subject};
use super::machine::Allowance;
use super::rebuild::{self, Cause, Different, History};
use super::record::{Output, Record};
use super::refused::refused;
use super::request::{self, Folders, Room};
use super::seed::Seed;
use super::trace::Outputs;
use super::universe::{RootLists, Snapshot, Snapshots};
pub use super::verdict::defect;
use super::verdict::{Evidence, failure, remembered, verdict};
use super::world::World;
use super::{
    capsule, inputs, known, lists, log, machine, outputs, patches, retry, script, sources, trace,
};
use crate::archive::deb::index::BinaryPackage;
use crate::archive::deb::solver;
use crate::base::{ActionId, DerivationId, Digest, PackageName};
use crate::fetch::{self, PoolFile};
use crate::graph::derivation::{Derivation, Package, Root, Source, SourceFile};
use crate::graph::{Graph, Node, Origin, PackageOrigin};
use crate::sandbox::{self, Keep, Keeping, Observe, Request, Verdict};
use crate::spec::Spec;
use crate::spec::model::Resources;
use crate::store::{self, Batch, LogWriter, NewAttempt, Share};

/// A package that is to be had, and everything that takes.
pub struct Job<'a> {
    /// What events call it.
    pub subject: Arc<Subject>,
    pub world: &'a World<'a>,
    pub graph: &'a Graph,
    pub snapshots: Arc<Snapshots>,
    pub node: &'a Node,
    pub package: &'a Package,
    /// The specs it comes from.
    pub spec: Option<&'a Spec>,
    /// Recipes that the release had before.
    pub history: Arc<History>,
    /// The records of everything it needs of the release, directly and indirectly, by name.
    pub needs: Vec<(&'a PackageName, Arc<Record>)>,
    /// The same without the names.
    pub closure: Vec<Arc<Record>>,
    /// The name of all that is offered to it.
    pub offered: Digest,
    /// Its part in the places for builds.
    pub share: Arc<Share>,
    pub allowance: Allowance,
    /// Bytes of scratch that the builds already running may use.
    pub promised: u64,
    /// Whether it is to be traced.
    pub tracing: Tracing,
    pub tell: &'a (dyn Fn(Event) + Sync),
}

/// Whether a package is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracing {
    /// It is not.
    Off,
    /// It is, if it has to be built.
    InPassing,
    /// It is, and built again if it never was.
    Demanded,
}

/// A package that is there.
pub struct Done {
    pub action: ActionId,
    pub record: Arc<Record>,
    pub cached: bool,
    /// If it was built although a record was there: how what it came to now compares to that.
    pub again: Option<Outputs>,
}

/// The version of everything that turns a derivation and its offers into an action.
pub const RESOLUTION_RULES: u32 =
    (solver::RULES << 24) | (script::RULES << 16) | (buildroot::ASSEMBLY << 8) | sandbox::CONTRACT;

/// Looks the package up, or builds it. What the machine fails is tried again, a few times; what
/// the package fails is not.
pub fn realise(job: &Job<'_>) -> Result<Done, Box<Failure>> {
    insist(job, || once(job))
}

/// Tries something again that the machine fails, a few times.
pub(super) fn insist<T>(
    job: &Job<'_>,
    once: impl Fn() -> Result<T, Box<Failure>>,
) -> Result<T, Box<Failure>> {
    let mut failed = 0;
    loop {
        let mut failure = match once() {
            Err(failure) if failure.may_pass => failure,
            result => return result,
        };
        failed += 1;
        let retries = job.world.retries;
        let Some(wait) = retries.next(failed) else { return Err(failure) };
        (job.tell)(Event::Retry {
            package: Arc::clone(&job.subject),
            cause: failure.line(),
            wait,
            failed,
            most: retries.times + 1,
        });
        if !retry::wait(wait, job.world.cancel) {
            failure.fault = Fault::Cancelled;
            return Err(failure);
        }
    }
}

fn once(job: &Job<'_>) -> Result<Done, Box<Failure>> {
    let store = job.world.store;
    let known = known::look_up(store, &[(job.node.id, job.offered)]).pop().flatten();
    if let Some(done) = known.filter(|done| job.takes(&done.record)) {
        return Ok(done);
    }
    job.phase(Phase::Solve);
    let resolved = resolve(job).map_err(|error| failure(job, &error))?;
    let adopted = || -> Result<Option<Done>, Box<Failure>> {
        let found = known::adopted(store, resolved.action.id());
        let found = found.map_err(|error| failure(job, &error))?;
        Ok(found.filter(|done| job.takes(&done.record)))
    };
    if let Some(done) = adopted()? {
        return Ok(done);
    }
    job.phase(Phase::Wait);
    let lock = format!("action-{}", resolved.action.id());
    let _mine =
        store.lock_unless(&lock, job.world.cancel).map_err(|error| failure(job, &error.into()))?;
    // Another process may have built it while this one waited.
    if let Some(done) = adopted()? {
        return Ok(done);
    }
    let _place = job.share.place(job.world.cancel).map_err(|error| failure(job, &error.into()))?;
    build(job, &resolved)
}

/// A package's action and the root that it needs.
pub struct Resolved {
    pub(super) action: Action,
    pub(super) lists: RootLists,
    pub(super) script: String,
}

/// Chooses the packages of its build root, and with them its action.
pub fn resolve(job: &Job<'_>) -> Result<Resolved> {
    let store = job.world.store;
    let lists = lists::choose(store, job.root(), job.package, &job.closure, || job.snapshot())?;
    let sources = job.sources();
    let script = script::script(job.package, &sources);
    let layers: Vec<&[_]> = lists.layers.iter().map(Vec::as_slice).collect();
    let action = Action::new(job.package, &sources, &script, &layers);
    let batch = store.batch();
    batch.put_json(action.document())?;
    let ids = [job.node.id, job.package.root, job.package.source];
    let others = job.package.packaging.iter().chain(job.package.extra.values());
    for id in ids.into_iter().chain(others.copied()) {
        let node = job.graph.node(id).expect("a node of the graph");
        batch.put_json(&node.derivation.to_json())?;
        // Which files of a folder changed is told by holding its lists against one another.
        if let Origin::Dir { tree, .. } = &node.origin {
            batch.put_json(&tree.to_json())?;
        }
    }
    batch.commit()?;
    store.remember_resolution(&job.node.id, &job.offered, RESOLUTION_RULES, &action.id())?;
    Ok(Resolved { action, lists, script })
}

fn build(job: &Job<'_>, resolved: &Resolved) -> Result<Done, Box<Failure>> {
    let run = |error: &Error| failure(job, error);
    let world = job.world;
    let causes = cause(job, &resolved.action).map_err(|error| run(&error))?;
    let mut laid =
        lay_out(job, resolved).map_err(|error| refused(job, resolved.action.id(), &error))?;
    laid.request.observe = match job.tracing {
        Tracing::Off => Observe::Nothing,
        Tracing::InPassing | Tracing::Demanded => Observe::Opens,
    };

    let action = resolved.action.id();
    let new = NewAttempt { package: job.package.name.clone(), derivation: job.node.id, action };
    let (mut attempt, writer) = world
        .store
        .start_attempt(&new, laid.request.limits.output)
        .map_err(|error| run(&error.into()))?;
    let ran = self::run(job, &laid, writer)?;
    let Laid { root, scratch, folders, request } = laid;
    let Ran { ended, mut writer, keeping, started, elapsed } = ran;
    let (outcome, outputs, batch) = match ended {
        Ok(ended) => ended,
        Err(mut failure) => {
            let number = world.store.attempt(attempt.id()).ok().flatten();
            failure.attempt = number.map(|attempt| attempt.number);
            if let Some(keeping) = keeping {
                let id = attempt.id();
                failure.kept =
                    capsule::keep(job, action, id, &scratch, &folders, &request, &keeping);
            }
            attempt.blame(failure.kind.as_str(), failure.fingerprint);
            // The failure is what the user must hear of, even if noting it fails too.
            let log = writer.finish().ok();
            let _ = attempt.finish(remembered(failure.fault), &failure.line(), log.as_ref());
            return Err(failure);
        }
    };
    let trace = outcome.observed.as_ref().map(|observed| {
        let (base, lists) = (job.root(), &resolved.lists);
        trace::keep(&batch, job.package, base, lists, &root.layers, observed)
    });
    let trace = trace.transpose().map_err(|error| run(&error))?;
    let kept = batch.put_log(&mut writer).map_err(|error| run(&error.into()))?;
    let record = Record {
        action,
        derivation: job.node.id,
        outputs,
        layers: root.manifests,
        log: kept.digest,
        circumstances: circumstances(&job.allowance, &outcome.receipt.0),
        receipt: outcome.receipt.0,
        started,
        elapsed: i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
        cause: causes.line(),
        causes: Some(causes),
        trace,
    };
    let keep = || -> Result<Done> {
        let recorded = attempt.succeed(batch, &record.to_json(), &kept)?;
        // If the action was built before, the earlier record counts, unless files of it are lost.
        let mut done = known::adopted(world.store, action)?;
        let again = done.as_ref().filter(|_| recorded.adopted != recorded.digest);
        let again = again.map(|done| Outputs::of(&done.record, &record));
        if done.is_none() {
            world.store.adopt(&action, &recorded.digest)?;
            done = known::adopted(world.store, action)?;
        }
        let done = done.ok_or(Error::RecordLost { action })?;
        Ok(Done { cached: false, again, ..done })
    };
    keep().map_err(|error| run(&error))
}

/// How a run ended, and what is left of it either way.
pub(super) struct Ran<'a> {
    /// Its outcome, and what it made, on its way to the store.
    pub(super) ended: Result<(sandbox::Outcome, Vec<Output>, Batch<'a>), Box<Failure>>,
    /// Its log, which nothing more is written to.
    pub(super) writer: LogWriter,
    /// What became of its scratch.
    pub(super) keeping: Option<Keeping>,
    /// In seconds since 1970.
    pub(super) started: i64,
    pub(super) elapsed: Duration,
}

/// Runs what was laid out, with its output going to `writer`.
pub(super) fn run<'a>(
    job: &Job<'a>,
    laid: &Laid,
    writer: LogWriter,
) -> Result<Ran<'a>, Box<Failure>> {
    let run = |error: &Error| failure(job, error);
    let world = job.world;
    let Laid { root: _, scratch: _, folders, request } = laid;
    job.phase(Phase::Build);
    let started = jiff::Timestamp::now().as_second();
    let clock = Instant::now();
    let mut log = log::Tee::new(writer, |text| {
        (job.tell)(Event::Line { package: Arc::clone(&job.subject), text: text.to_owned() });
    });
    let killed = machine::oom_kills();
    let outcome = world.executor.run(request, &mut log, world.cancel);
    let elapsed = clock.elapsed();
    let (mut writer, tail) = log.finish();
    job.phase(Phase::Keep);
    let is_success = matches!(&outcome, Ok(outcome) if outcome.verdict == Verdict::Built);
    let log = if is_success { String::new() } else { log::ending(&writer) };
    let oom_kills = if is_success { 0 } else { machine::oom_kills().saturating_sub(killed) };
    if matches!(&outcome, Ok(outcome) if outcome.verdict == Verdict::OutOfOutput) {
        let words = format!("the log is cut here: more than {} bytes", request.limits.output);
        writer.mark(&words).map_err(|error| run(&error.into()))?;
    }
    let keeping: Option<Keeping> = outcome.as_ref().ok().and_then(|one| one.kept.clone());
    let ended = outcome
        .map_err(Error::from)
        .map_err(|error| run(&error))
        .and_then(|outcome| {
            let evidence = Evidence { log: &log, tail: &tail, oom_kills };
            verdict(job, &outcome, &evidence).map(|()| outcome)
        })
        .and_then(|outcome| {
            source_package(job)
                .and_then(|source| {
                    let collected = &outcome.collected;
                    outputs::keep(world.store, job.package, &folders.outputs, collected, source)
                })
                .map(|(outputs, batch)| (outcome, outputs, batch))
                .map_err(|error| run(&error))
        });
    Ok(Ran { ended, writer, keeping, started, elapsed })
}

/// Everything that a build needs, in its place.
pub struct Laid {
    pub root: buildroot::BuildRoot,
    pub scratch: store::Scratch,
    pub folders: Folders,
    pub request: Request,
}

/// Puts everything in its place that a build needs.
pub fn lay_out(job: &Job<'_>, resolved: &Resolved) -> Result<Laid> {
    let world = job.world;
    let inputs = inputs::Inputs::of(job.graph, job.node, job.package, &resolved.script);
    let root = build_root(job, &resolved.lists, Purpose::Build(&inputs))?;
    let scratch = world.store.scratch()?;
    let keep =
        capsule::place(&scratch, &world.capsules).map_err(inputs::at("create", scratch.path()))?;
    let folders = make_folders(&scratch, root.layers.clone(), keep)?;
    inputs::prepare(world, &inputs, &folders.inputs)?;
    let request = request::request(
        job.package,
        script::outputs(job.package, &job.sources()),
        job.resources(),
        &folders,
        &job.allowance,
        Room { available: machine::available_memory(), promised: job.promised },
    );
    Ok(Laid { root, scratch, folders, request })
}

/// What a root is put together for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// To build with these inputs.
    Build(&'a inputs::Inputs<'a>),
    /// To hold the package's own packages, of this record.
    Installed(&'a Record),
}

/// Fetches the packages of the build root, and with them the source, whose failings and those of
/// its patches are so known before any work is done; then puts the root together.
pub fn build_root(
    job: &Job<'_>,
    lists: &RootLists,
    purpose: Purpose<'_>,
) -> Result<buildroot::BuildRoot> {
    let world = job.world;
    let own = match purpose {
        Purpose::Installed(record) => Some(record),
        Purpose::Build(_) => None,
    };
    let mut ours: BTreeMap<_, _> = BTreeMap::new();
    let records = job.closure.iter().map(AsRef::as_ref).chain(own);
    for output in records.flat_map(|record| &record.outputs) {
        ours.insert(output.sha256, output.blake3);
    }
    if let Some(seed) = &job.root().seed {
        ours.extend(Seed::read(world.store, seed)?.objects(world.store)?);
    }
    let sources: Vec<inputs::Placed<'_>> = [job.source()]
        .into_iter()
        .chain(job.packaging())
        .chain(job.extra().into_values())
        .collect();
    for (node, source) in &sources {
        sources::fetch(world, node, source)?;
    }
    let packages: Vec<PoolFile> = lists
        .packages()
        .filter(|package| !ours.contains_key(&package.sha256))
        .map(|package| PoolFile {
            path: package.filename.clone(),
            size: package.size,
            sha256: package.sha256,
        })
        .collect();
    let progress = |progress: fetch::Progress| {
        job.phase(Phase::Fetch { done: progress.files_done, total: progress.files });
    };
    let archive = job.archive();
    let files = sources.iter().flat_map(|(node, source)| inputs::wanted(node, source));
    let wanted: Vec<PoolFile> = packages.into_iter().chain(files).collect();
    let objects = world.upstream.files(world.store, archive, &wanted, &progress, world.cancel)?;
    if let Purpose::Build(inputs) = purpose {
        patches::check(world, inputs)?;
    }
    ours.extend(wanted.iter().map(|file| file.sha256).zip(objects));
    let packages = |list: &[Arc<BinaryPackage>]| -> Vec<RootPackage> {
        list.iter()
            .map(|package| RootPackage {
                object: ours[&package.sha256],
                package: Arc::clone(package),
            })
            .collect()
    };
    let layers: Vec<Vec<RootPackage>> = lists.layers.iter().map(|list| packages(list)).collect();
    let progress = |progress: buildroot::Progress| {
        let buildroot::Progress { step, done, total } = progress;
        job.phase(Phase::Root { step, done, total });
    };
    Ok(buildroot::provide(world.store, world.executor, &layers, world.cancel, &progress)?)
}

/// The files of the archive's own source package, where that is what was built: they are part of
/// what comes of it.
fn source_package(job: &Job<'_>) -> Result<Vec<Output>> {
    let (node, source) = job.source();
    let (Source::Debian { files, .. }, Origin::Archive { archive, .. }) = (source, &node.origin)
    else {
        return Ok(Vec::new());
    };
    if script::makes_source_package(job.package, &job.sources()) {
        return Ok(Vec::new());
    }
    let (world, wanted) = (job.world, inputs::wanted(node, source));
    let objects = world.upstream.files(world.store, archive, &wanted, &|_| {}, world.cancel)?;
    let output = |(file, blake3): (&SourceFile, Digest)| Output {
        file: file.name.clone(),
        size: file.size,
        blake3,
        sha256: file.sha256,
        control: String::new(),
    };
    Ok(files.iter().zip(objects).map(output).collect())
}

fn make_folders(
    scratch: &store::Scratch,
    layers: Vec<crate::base::HostPath>,
    keep: Option<Keep>,
) -> Result<Folders> {
    let folder = |name: &str| {
        let path = scratch.path().join(name);
        std::fs::create_dir(&path).map_err(inputs::at("create", &path)).map(|()| path)
    };
    Ok(Folders {
        layers,
        inputs: folder("inputs")?,
        outputs: folder("outputs")?,
        scratch: folder("disk")?,
        keep,
    })
}

/// Why this package is built: what the record will answer to `why`.
fn cause(job: &Job<'_>, action: &Action) -> Result<Cause> {
    let (store, id) = (job.world.store, job.node.id);
    let attempts = store.attempts(Some(&job.package.name), 100)?;
    let architecture = job.package.architecture.as_str();
    let Some(before) = job.history.before(store, attempts.iter(), architecture) else {
        return Ok(Cause::default());
    };
    let old = rebuild::document(store, &before.action.to_string());
    let different = old.map(|old| Different::actions(&old, action.document()));
    let needs = job.needs.iter().map(|(name, record)| (name.as_str(), &**record));
    let build = rebuild::Build {
        store,
        package: job.package.name.as_str(),
        root: job.root_name(),
        derivation: id,
        news: &|name| rebuild::document(store, name),
        spec: job.spec,
    };
    Ok(build.cause(before, different.unwrap_or_default(), &rebuild::needs(needs)))
}

/// What may not matter, kept for when it does.
pub(super) fn circumstances(
    allowance: &Allowance,
    receipt: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let system = rustix::system::uname();
    let own = || system.release().to_string_lossy().into_owned();
    // A container runs on the kernel of its engine, which may be another machine.
    let kernel = receipt.get("outer kernel").cloned().unwrap_or_else(own);
    BTreeMap::from([
        ("cores".to_owned(), allowance.cores.len().to_string()),
        ("kernel".to_owned(), kernel),
        ("machine".to_owned(), system.machine().to_string_lossy().into_owned()),
        ("tool".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

impl Job<'_> {
    /// Whether this record does, or the package must be built even so.
    fn takes(&self, record: &Record) -> bool {
        self.tracing != Tracing::Demanded || trace::is_there(self.world.store, record)
    }

    pub(super) fn phase(&self, phase: Phase) {
        (self.tell)(Event::Phase { package: Arc::clone(&self.subject), phase });
    }

    /// The pinned packages of its root.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>> {
        self.snapshots.get(self.world, self.graph, self.package.root).map_err(Error::Snapshot)
    }

    pub(super) fn root(&self) -> &Root {
        match &self.get(self.package.root).derivation {
            Derivation::Root(root) => root,
            _ => unreachable!("a package's root is a root"),
        }
    }

    fn root_name(&self) -> &str {
        self.root_origin().0
    }

    /// The archive of its root.
    fn archive(&self) -> &str {
        self.root_origin().1
    }

    fn root_origin(&self) -> (&str, &str) {
        match &self.get(self.package.root).origin {
            Origin::Root { name, archive, .. } => (name, archive),
            _ => unreachable!("a package's root is a root"),
        }
    }

    fn source(&self) -> (&Node, &Source) {
        self.source_of(self.package.source)
    }

    /// The source whose `debian/` folder is laid over the package's source.
    fn packaging(&self) -> Option<(&Node, &Source)> {
        self.package.packaging.map(|id| self.source_of(id))
    }

    /// The other sources, by the path they are put at.
    fn extra(&self) -> BTreeMap<&str, (&Node, &Source)> {
        let extra = self.package.extra.iter();
        extra.map(|(path, id)| (path.as_str(), self.source_of(*id))).collect()
    }

    /// What all of these are.
    pub(super) fn sources(&self) -> Sources<'_> {
        Sources::of(self.graph, self.package)
    }

    fn source_of(&self, id: DerivationId) -> (&Node, &Source) {
        let node = self.get(id);
        match &node.derivation {
            Derivation::Source(source) => (node, source),
            _ => unreachable!("a package's source is a source"),
        }
    }

    pub(super) fn resources(&self) -> &Resources {
        &self.origin().resources
    }

    fn origin(&self) -> &PackageOrigin {
        match &self.node.origin {
            Origin::Package(origin) => origin,
            _ => unreachable!("a package comes from a spec"),
        }
    }

    fn get(&self, id: DerivationId) -> &Node {
        self.graph.node(id).expect("the graph has what its nodes need")
    }
}
