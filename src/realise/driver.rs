//! The one event loop of a build: it owns the plan, hands packages to threads, and takes what
//! came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::error::Result;
use super::event::{Event, Failure, Fault, Finished};
use super::machine::Allowance;
use super::package::{self, Done, Job};
use super::record::Record;
use super::request;
use super::universe::Snapshots;
use super::world::World;
use crate::base::{ActionId, DerivationId, PackageName};
use crate::graph::derivation::Package;
use crate::graph::{Graph, Node, Origin};
use crate::plan::{self, Finish, NodeId, OnFailure, Plan, Skip};

/// How a build goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Packages at once.
    pub jobs: NonZeroUsize,
    /// What a failure means for the others.
    pub on_failure: OnFailure,
    /// What each build may use.
    pub allowance: Allowance,
}

/// What came of every package, in the order of the graph.
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
}

/// Builds `wanted` and everything they need. A package that fails is part of the report; an
/// error means that nothing could be begun.
pub fn build(
    world: &World<'_>,
    graph: &Graph,
    wanted: &[DerivationId],
    options: &Options,
    snapshots: &Arc<Snapshots>,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let mut run = Run::new(world, graph, wanted, options, snapshots, tell)?;
    tell(Event::Planned { packages: run.packages.len() });
    thread::scope(|scope| {
        let (results, inbox) = mpsc::channel();
        loop {
            run.take_what_is_there();
            for id in run.plan.next() {
                let job = run.job(id);
                let results = results.clone();
                run.started(id);
                scope.spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| package::realise(&job)))
                        .unwrap_or_else(|_| Err(package::defect()));
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
            if world.cancel.load(Ordering::Relaxed) {
                run.plan.stop();
            }
        }
    });
    Ok(run.report())
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
    let mut run = Run::new(world, graph, wanted, options, &Arc::default(), &|_| {})?;
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

/// The state of a build.
struct Run<'a> {
    world: &'a World<'a>,
    graph: &'a Graph,
    options: &'a Options,
    tell: &'a (dyn Fn(Event) + Sync),
    snapshots: Arc<Snapshots>,
    plan: Plan,
    packages: Vec<Entry<'a>>,
    places: BTreeMap<DerivationId, NodeId>,
    /// Packages that were built before, so that it is known how long they take.
    known: BTreeSet<NodeId>,
    /// Ready packages that were looked up in vain.
    stale: BTreeSet<NodeId>,
}

struct Entry<'a> {
    node: &'a Node,
    package: &'a Package,
    began: Option<Instant>,
    elapsed: Duration,
    done: Option<Done>,
    failure: Option<Box<Failure>>,
}

impl<'a> Run<'a> {
    fn new(
        world: &'a World<'a>,
        graph: &'a Graph,
        wanted: &[DerivationId],
        options: &'a Options,
        snapshots: &Arc<Snapshots>,
        tell: &'a (dyn Fn(Event) + Sync),
    ) -> Result<Self> {
        let mut needed: BTreeSet<DerivationId> = wanted.iter().copied().collect();
        needed.extend(wanted.iter().flat_map(|id| graph.closure(*id)));
        let packages: Vec<Entry<'_>> = graph
            .packages()
            .filter(|(node, _)| needed.contains(&node.id))
            .map(|(node, package)| Entry {
                node,
                package,
                began: None,
                elapsed: Duration::ZERO,
                done: None,
                failure: None,
            })
            .collect();
        let places: BTreeMap<_, _> = packages
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.node.id, NodeId(place)))
            .collect();
        let durations = world.store.durations()?;
        let is_known = |id: &NodeId| durations.contains_key(&packages[id.0].package.name);
        let known = (0..packages.len()).map(NodeId).filter(is_known).collect();
        let nodes = packages
            .iter()
            .map(|entry| plan::Node {
                needs: entry.package.dependencies.iter().map(|id| places[id]).collect(),
                estimate: durations.get(&entry.package.name).copied(),
                memory: match &entry.node.origin {
                    Origin::Package(origin) => origin.resources.memory.unwrap_or(0),
                    _ => 0,
                },
            })
            .collect();
        let limits =
            plan::Limits { jobs: options.jobs, memory: Some(options.allowance.machine_memory) };
        let plan = Plan::new(nodes, limits, options.on_failure)
            .expect("the graph has no cycles and all that its nodes need");
        Ok(Self {
            world,
            graph,
            options,
            tell,
            snapshots: Arc::clone(snapshots),
            plan,
            packages,
            places,
            known,
            stale: BTreeSet::new(),
        })
    }

    /// Finishes every ready package whose record is there; that makes more of them ready.
    fn take_what_is_there(&mut self) {
        loop {
            let ready: Vec<NodeId> =
                self.plan.ready().filter(|id| !self.stale.contains(id)).collect();
            if ready.is_empty() {
                return;
            }
            for id in ready {
                match package::look_up(&self.job(id)) {
                    Ok(Some(done)) => self.take(id, Ok(done)),
                    // What cannot be looked up is told by the job itself.
                    Ok(None) | Err(_) => {
                        self.stale.insert(id);
                    }
                }
            }
        }
    }

    fn job(&self, id: NodeId) -> Job<'a> {
        let entry = &self.packages[id.0];
        let closure = self
            .graph
            .closure(entry.node.id)
            .iter()
            .filter_map(|need| self.places.get(need))
            .filter_map(|place| self.packages[place.0].done.as_ref())
            .map(|done| Arc::clone(&done.record))
            .collect();
        Job {
            world: self.world,
            graph: self.graph,
            snapshots: Arc::clone(&self.snapshots),
            node: entry.node,
            package: entry.package,
            closure,
            allowance: self.options.allowance.clone(),
            promised: self.promised(id),
            tell: self.tell,
        }
    }

    /// Bytes of scratch that the packages being worked on, beside this one, may use.
    fn promised(&self, id: NodeId) -> u64 {
        let entries = self.packages.iter().enumerate().filter(|(place, entry)| {
            let over = entry.done.is_some() || entry.failure.is_some();
            *place != id.0 && entry.began.is_some() && !over
        });
        entries
            .filter_map(|(_, entry)| match &entry.node.origin {
                Origin::Package(origin) => Some(&origin.resources),
                _ => None,
            })
            .map(|resources| request::limits(resources, &self.options.allowance).scratch)
            .fold(0, u64::saturating_add)
    }

    fn started(&mut self, id: NodeId) {
        let entry = &mut self.packages[id.0];
        entry.began = Some(Instant::now());
        (self.tell)(Event::Started {
            package: entry.package.name.clone(),
            version: entry.package.version.clone(),
        });
    }

    /// Takes what came of a package, and tells of it and of those it brings down.
    fn take(&mut self, id: NodeId, result: Result<Done, Box<Failure>>) {
        let entry = &mut self.packages[id.0];
        entry.elapsed = entry.began.map(|began| began.elapsed()).unwrap_or_default();
        let finish = match result {
            Ok(done) => {
                let finish = if done.cached { Finish::Cached } else { Finish::Built };
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
                package: entry.package.name.clone(),
                version: entry.package.version.clone(),
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

    fn report(self) -> Report {
        let results: Vec<Finished> =
            (0..self.packages.len()).map(|place| self.result(NodeId(place))).collect();
        let packages = self
            .packages
            .into_iter()
            .zip(results)
            .map(|(entry, result)| Reported {
                derivation: entry.node.id,
                name: entry.package.name.clone(),
                version: entry.package.version.clone(),
                result,
                record: entry.done.map(|done| done.record),
                elapsed: entry.elapsed,
            })
            .collect();
        Report { packages }
    }
}
