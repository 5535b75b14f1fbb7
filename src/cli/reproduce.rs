//! `reproduce`: builds again what was built, and says whether the same came of it.

mod buildinfo;
mod bundle;
mod fixpoint;
mod queue;
mod report;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::arguments::{Build, Global, Reproduce, Words};
use super::build::{Prepared, machine_failed};
use super::context::named_one;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::Progress;
use super::report::count;
use crate::audit::reproduction::{self, Proof, Reproduction, Subject};
use crate::base::DerivationId;
use crate::realise::again::{Failed, Repeat};
use crate::realise::driver::{self, Goal, Options, Surveyed};
use crate::realise::event::{Failure as Stopped, Finished};
use crate::realise::record::Record;
use crate::realise::universe::Snapshots;
use crate::realise::vary::Variation;
use crate::store::Store;
use report::{Proved, Report, Stay};

/// Builds again, or shows what came of it the last time.
pub fn run(arguments: &Reproduce, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    if let Some((file, names)) = bundle::among(&arguments.words.words) {
        return bundle::run(file, &names, arguments, global, output);
    }
    if arguments.key.is_some() {
        return Err(wrong(Failure::input(
            "no-bundle",
            "`--key` is about a bundle, and none is named",
        )));
    }
    let (folder, names) = named_one(&arguments.words.words).map_err(wrong)?;
    if !arguments.buildinfo.is_empty() {
        return buildinfo::run(&folder, &names, arguments, global, output);
    }
    if arguments.show {
        return show::run(&folder, &names, global, output).map_err(wrong);
    }
    if arguments.queue && arguments.status {
        return queue::status(&folder, &names, global, output).map_err(wrong);
    }
    let build = as_build(arguments);
    let prepared = Prepared::new(&folder, &names, &build, global).map_err(wrong)?;
    let options = prepared.options(&build);
    if arguments.fixpoint {
        let most = arguments.rounds.map_or(fixpoint::MOST, |rounds| rounds as usize);
        return match arguments.dry_run {
            true => fixpoint::forecast(prepared, &options, most, output).map_err(wrong),
            false => fixpoint::run(prepared, &options, most, global, output),
        };
    }
    if arguments.dry_run {
        return forecast(&prepared, &options, output).map_err(wrong);
    }
    let order = if arguments.queue { Order::Queued } else { Order::Together };
    prove(&prepared, &options, order, &variations(&arguments.vary), global, output)
}

/// In which order packages are built again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Several at once, and what is not there first of all.
    Together,
    /// Several at once, in a store that is thrown away.
    Bundled,
    /// One after the other, what waited longest first.
    Queued,
}

/// The variations of these names.
fn variations(names: &[String]) -> BTreeSet<Variation> {
    let is_wanted =
        |one: &Variation| names.iter().any(|name| name == "all" || name == one.as_str());
    Variation::ALL.into_iter().filter(is_wanted).collect()
}

/// The build that what is not there yet is built with.
fn as_build(arguments: &Reproduce) -> Build {
    let Reproduce {
        words,
        jobs,
        cores,
        fail_fast,
        require_limits,
        vary: _,
        queue: _,
        status: _,
        buildinfo: _,
        fixpoint: _,
        rounds: _,
        show: _,
        key: _,
        dry_run,
    } = arguments;
    Build {
        words: Words { words: words.words.clone() },
        jobs: *jobs,
        cores: *cores,
        fail_fast: *fail_fast,
        output: None,
        require_limits: *require_limits,
        trace: false,
        allow_downgrade: true,
        dry_run: *dry_run,
    }
}

/// The wanted packages that are not there.
fn missing(prepared: &Prepared, survey: &[Surveyed]) -> BTreeSet<DerivationId> {
    let missing = survey.iter().filter(|one| one.there.is_none()).map(|one| one.derivation);
    missing.filter(|id| prepared.wanted.contains(id)).collect()
}

fn forecast(prepared: &Prepared, options: &Options, output: &Output) -> Result<Value, Failure> {
    let Prepared { release, graph, wanted, machine } = prepared;
    let survey =
        driver::survey(&machine.world(), graph, wanted, options).map_err(machine_failed)?;
    let missing = missing(prepared, &survey);
    let mut packages = Vec::new();
    let mut text = String::new();
    for (node, package) in graph.packages().filter(|(node, _)| wanted.contains(&node.id)) {
        let (times, why) = match missing.contains(&node.id) {
            true => (2, "twice: it was never built"),
            false => (1, "once more"),
        };
        text.push_str(&format!("  {} {}   {why}\n", package.name, package.version));
        packages.push(json!({
            "name": package.name.as_str(),
            "version": package.version,
            "derivation": node.id.to_string(),
            "builds": times,
        }));
    }
    output.text(&text);
    Ok(json!({ "release": release.document(graph), "packages": packages }))
}

fn prove(
    prepared: &Prepared,
    options: &Options,
    order: Order,
    variations: &BTreeSet<Variation>,
    global: &Global,
    output: &Output,
) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let Prepared { release, graph, wanted, machine } = prepared;
    let world = machine.world();
    let snapshots = Arc::new(Snapshots::default());
    let goal = Goal {
        world: &world,
        graph,
        spec: Some(&release.spec),
        wanted,
        snapshots: Arc::clone(&snapshots),
    };
    let survey = driver::survey(&world, graph, wanted, options)
        .map_err(|error| wrong(machine_failed(error)))?;
    let mut unbuilt = BTreeMap::new();
    let mut queued = Vec::new();
    if order == Order::Queued {
        queued = queue::begin(prepared, &survey, output).map_err(wrong)?;
    } else if survey.iter().any(|one| one.there.is_none()) {
        prepared.begin(options, &snapshots, output).map_err(wrong)?;
        unbuilt = first(&goal, options, global).map_err(wrong)?;
    }
    machine.ready().map_err(wrong)?;
    output.summary(&format!(
        "{} {} · {} · {} to build again{}\n",
        release.spec.release.name,
        release.spec.release.version,
        graph.release().short(),
        count(
            match order {
                Order::Queued => queued.len(),
                Order::Together | Order::Bundled => wanted.len() - unbuilt.len(),
            },
            "package"
        ),
        machine.executor().told(),
    ));

    let mut proved: BTreeMap<DerivationId, Proved> = BTreeMap::new();
    let mut broken: Option<Failure> = None;
    let progress = Progress::start(global);
    let work = |repeat: &Repeat<'_>| Proof::of(repeat, variations);
    let mut take = |id, record: &Arc<Record>, proof: Result<Result<Proof, _>, Failed>| {
        let Some(package) = graph.node(id).and_then(|node| node.derivation.package()) else {
            return;
        };
        let subject =
            Subject { package: &package.name, version: &package.version, derivation: id, record };
        match keep(world.store, &subject, proof) {
            Ok(one) => drop(proved.insert(id, one)),
            Err(error) => broken = broken.take().or(Some(unkept(&error))),
        }
    };
    let tell = |event| progress.tell(event);
    let ended = match order {
        Order::Together | Order::Bundled => driver::again(&goal, options, &tell, &work, &mut take),
        Order::Queued => queued.chunks(1).try_for_each(|wanted| {
            if world.cancel.load(Ordering::Relaxed) {
                return Ok(());
            }
            let goal = Goal { wanted, snapshots: Arc::clone(&snapshots), ..goal };
            driver::again(&goal, options, &tell, &work, &mut take)
        }),
    };
    drop(progress);
    ended.map_err(|error| wrong(machine_failed(error)))?;
    proved.extend(unbuilt.into_iter().map(|(id, failure)| (id, Proved::Unbuilt(failure))));
    let wanted: &[DerivationId] = if order == Order::Queued { &queued } else { wanted };
    let stay = if order == Order::Bundled { Stay::Gone } else { Stay::Kept };
    let report = Report { release, graph, wanted, proved: &proved, stay };
    output.summary(&report.table());
    output.failed(&report.failures());
    output.text(&report.differences());
    output.summary(&report.closing());
    let mut document = report.document();
    document["executor"] = machine.executor().document();
    match [report.failure(), broken].into_iter().flatten().reduce(Failure::and) {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

/// Builds what is not there, as `build` does. Gives those that could not be.
fn first(
    goal: &Goal<'_>,
    options: &Options,
    global: &Global,
) -> Result<BTreeMap<DerivationId, Option<Box<Stopped>>>, Failure> {
    let progress = Progress::start(global);
    let goals = std::slice::from_ref(goal);
    let reports = driver::build(goals, options, &|event| progress.tell(event));
    let packages = reports.map_err(machine_failed)?.into_iter().flat_map(|one| one.packages);
    let wanted = packages.filter(|one| goal.wanted.contains(&one.derivation));
    Ok(wanted
        .filter_map(|one| match one.result {
            Finished::Built { .. } | Finished::Cached { .. } => None,
            Finished::Failed(failure) => Some((one.derivation, Some(failure))),
            Finished::Skipped { .. } => Some((one.derivation, None)),
        })
        .collect())
}

/// Writes down what came of building a package again.
fn keep(
    store: &Store,
    subject: &Subject<'_>,
    proof: Result<Result<Proof, reproduction::Error>, Failed>,
) -> Result<Proved, reproduction::Error> {
    let (found, failure) = match proof {
        Ok(proof) => (Reproduction::of(subject, Ok(proof?)), None),
        Err(failed) => (Reproduction::of(subject, Err(&failed)), Some(failed.failure)),
    };
    let document = found.keep(store)?;
    Ok(Proved::Again { found: Box::new(found), document, failure })
}

fn unkept(error: &reproduction::Error) -> Failure {
    Failure::error(Kind::Machine, "evidence", error)
}
