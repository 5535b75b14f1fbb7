//! `reproduce --fixpoint`: a release in rounds, each built on what the one before left.

mod report;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::audit::closure::{Certificate, Depth, certify};
use crate::audit::evidence::{Foreseen, Ground};
use crate::audit::fixpoint::{Came, Closure, End, Fixpoint, Round, Rounds};
use crate::base::{DerivationId, Digest};
use crate::cli::arguments::Global;
use crate::cli::audit::{closure, unread};
use crate::cli::build::{Prepared, machine_failed};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{CommandResult, Output};
use crate::cli::progress::Progress;
use crate::graph::Graph;
use crate::realise::driver::{self, Goal, Options, Reported};
use crate::realise::event::Finished;
use crate::realise::record::Record;
use crate::realise::seed::Seed;
use crate::realise::universe::Snapshots;
use crate::realise::world::World;
use report::{Stopped, Told};

/// How many rounds there are at most, unless another number is asked for.
pub const MOST: usize = 8;

/// Builds round after round, until one comes out as one before, or `most` were built.
pub fn run(
    mut prepared: Prepared,
    options: &Options,
    most: usize,
    global: &Global,
    output: &Output,
) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    prepared.wanted = members(&prepared.graph, &prepared.wanted);
    let Prepared { release, graph: first, wanted, machine } = &prepared;
    let world = machine.world();
    let mut rounds = Rounds::new(first.with_needs(wanted).into_iter().map(|(_, package)| package));
    let mut later: Option<Graph> = None;
    let mut seed = None;
    let (stopped, snapshots) = loop {
        let graph = later.as_ref().unwrap_or(first);
        let snapshots = Arc::new(Snapshots::default());
        if later.is_none() {
            prepared.begin(options, &snapshots, output).map_err(wrong)?;
        }
        output.summary(&report::begins(rounds.last() + 1, seed));
        let wanted = &counterparts(first, graph, wanted);
        let (world, spec) = (&world, Some(&release.spec));
        let goal = Goal { world, graph, spec, wanted, snapshots: Arc::clone(&snapshots) };
        let packages = build(&goal, options, global).map_err(wrong)?;
        let came = packages.iter().map(came).collect::<Option<Vec<Came>>>();
        let Some(came) = came else { break (Some(Stopped { packages }), snapshots) };
        rounds.push(Round { release: graph.release(), seed, packages: came });
        keep(world, graph).map_err(wrong)?;
        output.summary(&report::came(&rounds));
        if rounds.end() != End::Open || rounds.last() == most {
            break (None, snapshots);
        }
        let next =
            next_seed(packages.iter().filter_map(|one| one.record.as_deref())).map_err(wrong)?;
        let kept = world.store.put_json(&next.to_json());
        let digest = kept.map_err(|error| wrong(broken(&error)))?;
        seed = Some((digest, next.len()));
        later = Some(first.round(digest));
    };

    let graph = later.as_ref().unwrap_or(first);
    let whole = wanted.len() == first.packages().count();
    let mut certificate = None;
    if stopped.is_none() && rounds.end() == End::Fixpoint {
        let wanted = counterparts(first, graph, wanted);
        certificate = Some(certified(&world, graph, &wanted, &snapshots).map_err(wrong)?);
    }
    let found = match stopped {
        Some(_) => None,
        None => {
            let closure = certificate.as_ref().map(Closure::of);
            let found = Fixpoint::of(world.store, &rounds, closure);
            Some(found.map_err(|error| wrong(super::unkept(&error)))?)
        }
    };
    let document = match &found {
        Some(found) if whole => {
            Some(found.keep(world.store).map_err(|error| wrong(super::unkept(&error)))?)
        }
        _ => None,
    };
    let rounds = &rounds;
    let told = Told { release, graph: first, rounds, found: found.as_ref(), stopped, document };
    output.summary(&told.table());
    output.failed(&told.failures());
    output.text(&told.differences());
    output.summary(&told.closing());
    let required = release.spec.release.closure.as_ref().filter(|_| whole);
    let lacking = certificate.as_ref().and_then(|one| closure::lacking(one, Some(required?)));
    match [told.failure(), lacking].into_iter().flatten().reduce(Failure::and) {
        None => Ok(told.document()),
        Some(failure) => Err((told.document(), failure)),
    }
}

/// What would be done: as far as that is known from what is there.
pub fn forecast(
    mut prepared: Prepared,
    options: &Options,
    most: usize,
    output: &Output,
) -> Result<Value, Failure> {
    prepared.wanted = members(&prepared.graph, &prepared.wanted);
    let Prepared { release, graph: first, wanted, machine } = &prepared;
    let world = machine.world();
    let mut rounds = Rounds::new(first.with_needs(wanted).into_iter().map(|(_, package)| package));
    let mut later: Option<Graph> = None;
    let mut seed = None;
    let mut documents = Vec::new();
    let ends = loop {
        let graph = later.as_ref().unwrap_or(first);
        let wanted = counterparts(first, graph, wanted);
        let survey = driver::survey(&world, graph, &wanted, options).map_err(machine_failed)?;
        let there = survey.iter().filter_map(|one| {
            let (_, record) = one.there.as_ref()?;
            let (derivation, record) = (one.derivation, Arc::clone(record));
            Some(Came { derivation, record, built: false })
        });
        let there: Vec<Came> = there.collect();
        let number = rounds.last() + 1;
        output.text(&report::foreseen(number, there.len(), survey.len()));
        documents.push(json!({
            "round": number,
            "release": graph.release().to_string(),
            "there": there.len(),
            "to_build": survey.len() - there.len(),
        }));
        if there.len() < survey.len() {
            break false;
        }
        let next = next_seed(there.iter().map(|one| &*one.record))?;
        rounds.push(Round { release: graph.release(), seed, packages: there });
        if rounds.end() != End::Open || rounds.last() == most {
            break true;
        }
        seed = Some((next.digest(), next.len()));
        later = Some(first.round(next.digest()));
    };
    output.text(&report::outlook(&rounds, ends, most));
    Ok(json!({ "release": release.document(first), "rounds": documents }))
}

/// These packages, what they need, and what makes what any of these takes from the seed: nothing
/// else goes round with them.
fn members(graph: &Graph, wanted: &[DerivationId]) -> Vec<DerivationId> {
    let mut wanted: BTreeSet<DerivationId> = wanted.iter().copied().collect();
    loop {
        let asked: Vec<DerivationId> = wanted.iter().copied().collect();
        let needed = graph.with_needs(&asked);
        let names: BTreeSet<_> = needed.iter().flat_map(|(_, one)| &one.from_seed).collect();
        let makes = graph
            .packages()
            .filter(|(_, one)| one.binaries.iter().any(|binary| names.contains(binary)));
        wanted.extend(makes.map(|(node, _)| node.id));
        wanted.extend(needed.iter().map(|(node, _)| node.id));
        if wanted.len() == asked.len() {
            return asked;
        }
    }
}

/// What packages of the first round are in the graph of another.
fn counterparts(first: &Graph, graph: &Graph, wanted: &[DerivationId]) -> Vec<DerivationId> {
    let both = first.nodes().zip(graph.nodes());
    both.filter(|(node, _)| wanted.contains(&node.id)).map(|(_, node)| node.id).collect()
}

fn build(goal: &Goal<'_>, options: &Options, global: &Global) -> Result<Vec<Reported>, Failure> {
    let progress = Progress::start(global);
    let goals = std::slice::from_ref(goal);
    let reports = driver::build(goals, options, &|event| progress.tell(event));
    let reports = reports.map_err(machine_failed)?;
    Ok(reports.into_iter().flat_map(|report| report.packages).collect())
}

/// What came of a package; nothing if it is not there.
fn came(package: &Reported) -> Option<Came> {
    let built = matches!(package.result, Finished::Built { .. });
    let record = Arc::clone(package.record.as_ref()?);
    Some(Came { derivation: package.derivation, record, built })
}

/// What the next round is built on.
fn next_seed<'a>(records: impl Iterator<Item = &'a Record>) -> Result<Seed, Failure> {
    Seed::of(records).map_err(machine_failed)
}

/// Keeps the recipe of a round as a whole: it leads to all the others.
fn keep(world: &World<'_>, graph: &Graph) -> Result<Digest, Failure> {
    let node = graph.node(graph.release()).expect("a graph has its release");
    world.store.put_json(&node.derivation.to_json()).map_err(|error| broken(&error))
}

/// How closed a round is.
fn certified(
    world: &World<'_>,
    graph: &Graph,
    wanted: &[DerivationId],
    snapshots: &Snapshots,
) -> Result<Certificate, Failure> {
    let ground = Ground { world, graph, snapshots, depth: Depth::Present, seen: &|_, _| {} };
    let evidence = ground.read(wanted, &Foreseen::new()).map_err(|error| unread(&error))?;
    let certificate = certify(&evidence);
    world.store.put_json(&certificate.to_json()).map_err(|error| broken(&error))?;
    Ok(certificate)
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "store", error)
}
