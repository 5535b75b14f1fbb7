//! The one event loop of a build: it owns the plan, hands packages to threads, and takes what
//! came of them.

mod again;

use std::collections::{BTreeSet, HashMap, hash_map};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub use again::{Take, Work, again};

use super::cause::{Cause, Kind};
use super::enter::{self, Entry as Guest, Way};
use super::error::Result;
use super::event::{Event, Failure, Fault, Finished, Planned, Subject};
use super::machine::Allowance;
use super::package::{self, Done, Job};
use super::rebuild::History;
use super::record::Record;
use super::subjects::subjects;
use super::trace::{self, Outputs};
use super::universe::{self, Snapshots};
use super::world::World;
use super::{known, lists, request};
use crate::base::{ActionId, DerivationId, Digest, PackageName};
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node, Origin};
use crate::plan::{self, Finish, NodeId, OnFailure, Plan, Skip};
use crate::spec::Spec;
use crate::spec::model::Resources;
use crate::store::Share;

/// How a build goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Packages at once.
    pub jobs: NonZeroUsize,
    /// Processors of one package at most.
    pub cores: NonZeroUsize,
    /// What a failure means for the others.
    pub on_failure: OnFailure,
    /// What the builds may use together, or each of them.
    pub allowance: Allowance,
    /// Whether builds are traced.
    pub tracing: Tracing,
}

/// Whether the builds of a run are traced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tracing {
    /// None is.
    #[default]
    Off,
    /// All are, and what is wanted is built again if it never was traced. What that comes to is
    /// compared with what is there, which stays what counts.
    On,
}

/// A release in a build, and what of it is wanted.
pub struct Goal<'a> {
    /// Everything its builds may touch.
    pub world: &'a World<'a>,
    /// Its graph.
    pub graph: &'a Graph,
    /// The specs that the graph comes from, for the places where things were written.
    pub spec: Option<&'a Spec>,
    /// What is wanted of it; what that needs is wanted too.
    pub wanted: &'a [DerivationId],
    /// What was read of its pinned archives.
    pub snapshots: Arc<Snapshots>,
}

/// What came of every package of a release, in the order of its graph.
#[derive(Debug)]
pub struct Report {
    /// The packages.
    pub packages: Vec<Reported>,
}

/// What came of one package.
#[derive(Debug)]
pub struct Reported {
    /// Its derivation.
    pub derivation: DerivationId,
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// How it ended.
    pub result: Finished,
    /// Its record, if it is there.
    pub record: Option<Arc<Record>>,
    /// How long it was worked on.
    pub elapsed: Duration,
    /// If it was built again, for its trace alone: how that compares to what was there.
    pub again: Option<Outputs>,
}

/// Builds what is wanted of each release, and everything that needs; gives a report for each. The
/// releases share the machine evenly, and what several of them have is built once. A package that
/// fails is part of the report; an error means that nothing could be begun.
pub fn build(
    goals: &[Goal<'_>],
    options: &Options,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Vec<Report>> {
    let mut run = Run::new(goals, options, &BTreeSet::new(), tell)?;
    tell(Event::Planned { packages: run.planned() });
    thread::scope(|scope| {
        let (results, inbox) = mpsc::channel();
        loop {
            run.take_what_is_there();
            for id in run.plan.next() {
                let job = run.start(id);
                let results = results.clone();
                scope.spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| package::realise(&job)))
                        .unwrap_or_else(|_| Err(package::defect(&job.package.name)));
                    // The loop waits for every job it started.
                    let _ = results.send((id, result));
                });
            }
            if run.plan.done() {
                break;
            }
            tell(Event::Remaining { time: run.remaining() });
            let (id, result) = inbox.recv().expect("a plan that is not done has something running");
            run.take(id, result);
            if goals.iter().any(|goal| goal.world.cancel.load(Ordering::Relaxed)) {
                run.plan.stop();
            }
        }
    });
    Ok(run.reports())
}

/// What a package comes to without building.
#[derive(Debug)]
pub struct Surveyed {
    /// The package.
    pub derivation: DerivationId,
    /// Its action and record; none if it, or something it needs, would have to be built.
    pub there: Option<(ActionId, Arc<Record>)>,
}

/// What would be used of each wanted package without building: its action and record, or nothing
/// if it, or something it needs, would have to be built. In the order of the graph.
pub fn survey(
    world: &World<'_>,
    graph: &Graph,
    wanted: &[DerivationId],
    options: &Options,
) -> Result<Vec<Surveyed>> {
    let goals = [Goal { world, graph, spec: None, wanted, snapshots: Arc::default() }];
    let options = Options { tracing: Tracing::Off, ..options.clone() };
    let mut run = Run::new(&goals, &options, &BTreeSet::new(), &|_| {})?;
    run.take_what_is_there();
    Ok(run
        .packages
        .iter()
        .map(|entry| {
            let there = entry.done.as_ref().map(|done| (done.action, Arc::clone(&done.record)));
            Surveyed { derivation: entry.node.id, there }
        })
        .collect())
}

/// What is wanted and there, and would be built again in a run that traces.
pub fn untraced(
    world: &World<'_>,
    wanted: &[DerivationId],
    survey: &[Surveyed],
    options: &Options,
) -> BTreeSet<DerivationId> {
    if options.tracing == Tracing::Off {
        return BTreeSet::new();
    }
    let there = survey.iter().filter(|one| wanted.contains(&one.derivation));
    let untraced = there.filter(|one| {
        let record = one.there.as_ref().map(|(_, record)| record);
        record.is_some_and(|record| !trace::is_there(world.store, record))
    });
    untraced.map(|one| one.derivation).collect()
}

/// Whether the build roots of all packages that are not there were chosen before, over what is
/// there: then no index is needed to build them.
pub fn is_resolved(world: &World<'_>, graph: &Graph, survey: &[Surveyed]) -> bool {
    let there = |id: &DerivationId| {
        let found = survey.iter().find(|surveyed| surveyed.derivation == *id)?;
        found.there.as_ref().map(|(_, record)| Arc::clone(record))
    };
    let is_resolved = |id: DerivationId| {
        let package = graph.node(id).and_then(|node| node.derivation.package())?;
        let closure = graph.closure(id);
        let needs = closure.iter().filter(|need| {
            graph.node(**need).is_some_and(|node| node.derivation.package().is_some())
        });
        let records: Vec<_> = needs.map(there).collect::<Option<_>>()?;
        lists::is_known(world.store, package, &records).then_some(())
    };
    let mut stale = survey.iter().filter(|surveyed| surveyed.there.is_none());
    stale.clone().count() <= FEW && stale.all(|one| is_resolved(one.derivation).is_some())
}

/// Beside more builds than these, reading an index takes no time.
const FEW: usize = 20;

/// A guest of the package `id` to be entered; everything it needs of the release must be built,
/// and for [`Way::Installed`] the package itself.
pub fn enter(
    world: &World<'_>,
    graph: &Graph,
    id: DerivationId,
    options: &Options,
    way: Way,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Result<Guest, Box<Failure>>> {
    let wanted = [id];
    let goals = [Goal { world, graph, spec: None, wanted: &wanted, snapshots: Arc::default() }];
    let mut run = Run::new(&goals, options, &BTreeSet::new(), tell)?;
    run.take_what_is_there();
    let place = run.places[&id];
    let own = &run.packages[place.0];
    let is_missing =
        |entry: &&Entry<'_>| entry.done.is_none() && (entry.node.id != id || way == Way::Installed);
    let missing = run.packages.iter().filter(is_missing).map(|entry| entry.package.name.as_str());
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        let text = format!("not built yet: {}", missing.join(", "));
        let cause = Cause::new(Kind::Input, text);
        return Ok(Err(Box::new(Failure::new(Fault::Input, &own.package.name, cause))));
    }
    let record = own.done.as_ref().map(|done| Arc::clone(&done.record));
    Ok(enter::enter(&run.start(place), way, record.as_ref()))
}

/// The packages of a release as a plan, in the order of the graph: what is wanted, and all that
/// it needs. Those of `instant` take no time.
pub fn plan(
    world: &World<'_>,
    graph: &Graph,
    wanted: &[DerivationId],
    options: &Options,
    instant: &BTreeSet<DerivationId>,
) -> Result<Plan> {
    let goals = [Goal { world, graph, spec: None, wanted, snapshots: Arc::default() }];
    Ok(Run::new(&goals, options, instant, &|_| {})?.plan)
}

/// The state of a build.
struct Run<'a> {
    goals: &'a [Goal<'a>],
    options: &'a Options,
    tell: &'a (dyn Fn(Event) + Sync),
    share: Arc<Share>,
    plan: Plan,
    packages: Vec<Entry<'a>>,
    /// What events call each.
    subjects: Vec<Arc<Subject>>,
    places: HashMap<DerivationId, NodeId>,
    running: BTreeSet<NodeId>,
    /// Packages that were built before, so that it is known how long they take.
    known: BTreeSet<NodeId>,
    /// Ready packages that were looked up in vain.
    stale: BTreeSet<NodeId>,
    histories: Vec<Option<Arc<History>>>,
}

struct Entry<'a> {
    /// The first release that has it.
    goal: usize,
    /// Whether it was asked for, by any of them, and is not only needed.
    is_wanted: bool,
    node: &'a Node,
    package: &'a Package,
    /// The processors it was given.
    cores: Vec<u32>,
    began: Option<Instant>,
    elapsed: Duration,
    done: Option<Done>,
    /// The name of what it offers, once it is there.
    offers: Option<Digest>,
    failure: Option<Box<Failure>>,
}

impl<'a> Run<'a> {
    fn new(
        goals: &'a [Goal<'a>],
        options: &'a Options,
        instant: &BTreeSet<DerivationId>,
        tell: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Self> {
        let mut packages: Vec<Entry<'_>> = Vec::new();
        let mut places = HashMap::new();
        for (index, goal) in goals.iter().enumerate() {
            for (node, package) in goal.graph.with_needs(goal.wanted) {
                if let hash_map::Entry::Vacant(place) = places.entry(node.id) {
                    place.insert(NodeId(packages.len()));
                    packages.push(Entry::new(index, node, package));
                }
            }
        }
        let told: Vec<_> =
            packages.iter().map(|entry| (entry.goal, entry.node, entry.package)).collect();
        let subjects = subjects(goals, &told);
        for id in goals.iter().flat_map(|goal| goal.wanted) {
            if let Some(NodeId(place)) = places.get(id) {
                packages[*place].is_wanted = true;
            }
        }
        let store = goals.first().expect("something is to be built").world.store;
        let durations = store.durations()?;
        let is_known = |id: &NodeId| durations.contains_key(&packages[id.0].package.name);
        let known = (0..packages.len()).map(NodeId).filter(is_known).collect();
        let estimate = |entry: &Entry<'_>| match instant.contains(&entry.node.id) {
            true => Some(Duration::ZERO),
            false => durations.get(&entry.package.name).copied(),
        };
        let nodes = packages.iter().map(|entry| plan::Node {
            needs: entry.package.dependencies.iter().map(|id| places[id]).collect(),
            estimate: estimate(entry),
            memory: entry.resources().memory.unwrap_or(0),
            cores: entry.resources().cores.and_then(|cores| NonZeroUsize::new(cores as usize)),
            group: entry.goal,
        });
        let limits = plan::Limits {
            jobs: options.jobs,
            memory: Some(options.allowance.machine_memory),
            cores: NonZeroUsize::new(options.allowance.cores.len()).unwrap_or(NonZeroUsize::MIN),
        };
        let plan = Plan::new(nodes.collect(), limits, options.on_failure)
            .expect("the graph has no cycles and all that its nodes need");
        Ok(Self {
            goals,
            options,
            tell,
            share: Arc::new(store.share(options.jobs)),
            plan,
            subjects,
            packages,
            places,
            known,
            running: BTreeSet::new(),
            stale: BTreeSet::new(),
            histories: goals.iter().map(|_| None).collect(),
        })
    }

    /// All packages and what they need, as it is told.
    fn planned(&self) -> Vec<Planned> {
        let planned = |(subject, entry): (&Arc<Subject>, &Entry<'_>)| Planned {
            package: Arc::clone(subject),
            needs: entry.package.dependencies.clone(),
        };
        self.subjects.iter().zip(&self.packages).map(planned).collect()
    }

    /// Finishes every ready package whose record is there; that makes more of them ready.
    fn take_what_is_there(&mut self) {
        loop {
            let ready: Vec<NodeId> =
                self.plan.ready().filter(|id| !self.stale.contains(id)).collect();
            if ready.is_empty() {
                return;
            }
            let wanted: Vec<(DerivationId, Digest)> =
                ready.iter().map(|id| (self.packages[id.0].node.id, self.offered(*id))).collect();
            let store = self.goals[0].world.store;
            for (id, found) in ready.into_iter().zip(known::look_up(store, &wanted)) {
                let demanded = self.tracing(id) == package::Tracing::Demanded;
                match found.filter(|done| !demanded || trace::is_there(store, &done.record)) {
                    Some(done) => self.take(id, Ok(done)),
                    // What cannot be looked up is told by the job itself.
                    None => drop(self.stale.insert(id)),
                }
            }
        }
    }

    fn tracing(&self, id: NodeId) -> package::Tracing {
        let entry = &self.packages[id.0];
        match self.options.tracing {
            Tracing::Off => package::Tracing::Off,
            Tracing::On if entry.is_wanted => package::Tracing::Demanded,
            Tracing::On => package::Tracing::InPassing,
        }
    }

    /// The name of all that is offered to a package whose needs are there.
    fn offered(&self, id: NodeId) -> Digest {
        let needs = self.packages[id.0].package.dependencies.iter();
        universe::offered_digest(needs.filter_map(|need| self.packages[self.places[need].0].offers))
    }

    /// Everything that it takes to have a package that begins now.
    fn start(&mut self, id: NodeId) -> Job<'a> {
        let cores = self.processors(id);
        let promised = self.promised();
        let history = self.history(self.packages[id.0].goal);
        self.running.insert(id);
        let entry = &mut self.packages[id.0];
        entry.began = Some(Instant::now());
        entry.cores.clone_from(&cores);
        let subject = Arc::clone(&self.subjects[id.0]);
        (self.tell)(Event::Started { package: Arc::clone(&subject) });
        let entry = &self.packages[id.0];
        let goal = &self.goals[entry.goal];
        let below = goal.graph.closure(entry.node.id);
        let below = below.iter().filter_map(|need| self.places.get(need));
        let below = below.map(|place| &self.packages[place.0]);
        let needs: Vec<_> = below
            .filter_map(|entry| {
                Some((&entry.package.name, Arc::clone(&entry.done.as_ref()?.record)))
            })
            .collect();
        Job {
            subject,
            world: goal.world,
            graph: goal.graph,
            spec: goal.spec,
            history,
            snapshots: Arc::clone(&goal.snapshots),
            node: entry.node,
            package: entry.package,
            closure: needs.iter().map(|(_, record)| Arc::clone(record)).collect(),
            needs,
            offered: self.offered(id),
            share: Arc::clone(&self.share),
            allowance: Allowance { cores, ..self.options.allowance.clone() },
            promised,
            tracing: self.tracing(id),
            tell: self.tell,
        }
    }

    /// The processors of a package that begins now: those that the fewest others were given.
    fn processors(&self, id: NodeId) -> Vec<u32> {
        let all = &self.options.allowance.cores;
        let given = |core: u32| {
            self.running.iter().filter(|one| self.packages[one.0].cores.contains(&core)).count()
        };
        let most = self.options.cores.get();
        let count = self.packages[id.0].resources().cores;
        let count = count.map_or(most, |cores| most.min(cores.max(1) as usize));
        let mut cores = all.clone();
        cores.sort_by_key(|core| given(*core));
        cores.truncate(count);
        cores.sort_unstable();
        cores
    }

    /// Bytes of scratch that the packages being worked on may use.
    fn promised(&self) -> u64 {
        let limits = self.running.iter().map(|id| {
            request::limits(self.packages[id.0].resources(), &self.options.allowance).scratch
        });
        limits.fold(0, u64::saturating_add)
    }

    fn history(&mut self, goal: usize) -> Arc<History> {
        let Goal { world, .. } = self.goals[goal];
        // Without it, a cause may be held against another release's build.
        let read = || Arc::new(History::of(world.store, world.folder).unwrap_or_default());
        Arc::clone(self.histories[goal].get_or_insert_with(read))
    }

    /// Takes what came of a package, and tells of it and of those it brings down.
    fn take(&mut self, id: NodeId, result: Result<Done, Box<Failure>>) {
        let offered = self.offered(id);
        self.running.remove(&id);
        let entry = &mut self.packages[id.0];
        entry.elapsed = entry.began.map(|began| began.elapsed()).unwrap_or_default();
        let finish = match result {
            Ok(done) => {
                let finish = if done.cached { Finish::Cached } else { Finish::Built };
                entry.offers = Some(universe::offers_digest(&done.record, &offered));
                entry.done = Some(done);
                finish
            }
            Err(failure) => {
                let cancelled = failure.fault == Fault::Cancelled;
                entry.failure = Some(failure);
                if cancelled { Finish::Cancelled } else { Finish::Failed }
            }
        };
        let skipped = self.plan.finish(id, finish);
        for id in [id].into_iter().chain(skipped) {
            let entry = &self.packages[id.0];
            (self.tell)(Event::Finished {
                package: Arc::clone(&self.subjects[id.0]),
                result: self.result(id),
                elapsed: entry.elapsed,
            });
        }
    }

    /// About how long the rest takes. A guess is no help: of half of it at least that must be known.
    fn remaining(&self) -> Option<Duration> {
        let unfinished = self.plan.states().filter_map(|(id, state)| match state {
            plan::State::Waiting | plan::State::Ready | plan::State::Running => Some(id),
            plan::State::Finished(_) | plan::State::Skipped(_) => None,
        });
        let (known, unknown): (Vec<_>, Vec<_>) = unfinished.partition(|id| self.known.contains(id));
        let elapsed = |id: NodeId| self.packages[id.0].began.map(|began| began.elapsed());
        let enough = known.len() >= unknown.len();
        enough.then(|| self.plan.remaining(|id| elapsed(id).unwrap_or_default()))
    }

    fn result(&self, id: NodeId) -> Finished {
        let entry = &self.packages[id.0];
        if let Some(done) = &entry.done {
            let action = done.action;
            return if done.cached {
                Finished::Cached { action }
            } else {
                Finished::Built { action }
            };
        }
        if let Some(failure) = &entry.failure {
            return Finished::Failed(failure.clone());
        }
        let because = match self.plan.state(id) {
            Some(plan::State::Skipped(Skip::Needs(root) | Skip::Stopped(Some(root)))) => {
                Some(self.packages[root.0].package.name.clone())
            }
            _ => None,
        };
        Finished::Skipped { because }
    }

    fn reports(self) -> Vec<Report> {
        let report = |goal: &Goal<'_>| {
            let packages = goal.graph.with_needs(goal.wanted).into_iter().map(|(node, package)| {
                let place = self.places[&node.id];
                let entry = &self.packages[place.0];
                Reported {
                    derivation: node.id,
                    name: package.name.clone(),
                    version: package.version.clone(),
                    result: self.result(place),
                    record: entry.done.as_ref().map(|done| Arc::clone(&done.record)),
                    elapsed: entry.elapsed,
                    again: entry.done.as_ref().and_then(|done| done.again),
                }
            });
            Report { packages: packages.collect() }
        };
        self.goals.iter().map(report).collect()
    }
}

impl<'a> Entry<'a> {
    fn new(goal: usize, node: &'a Node, package: &'a Package) -> Self {
        Self {
            goal,
            is_wanted: false,
            node,
            package,
            cores: Vec::new(),
            began: None,
            elapsed: Duration::ZERO,
            done: None,
            offers: None,
            failure: None,
        }
    }

    fn resources(&self) -> &'a Resources {
        match &self.node.origin {
            Origin::Package(origin) => &origin.resources,
            _ => unreachable!("a package comes from a spec"),
        }
    }
}
