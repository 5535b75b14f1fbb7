//! `publish`: packages of a release into a suite, signed, tried, and switched to in one step.

mod changes;
pub mod complete;
pub mod destination;
pub mod keys;
pub mod objection;
pub mod withheld;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use super::arguments::{Global, Publish};
use super::audit::closure::lacking;
use super::audit::unread;
use super::build::{default_options, machine_failed};
use super::context::{Machine, Release, named_one};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::{duration, reading};
use super::repo::broken;
use super::report::count;
use crate::audit::closure::{Depth, certify};
use crate::audit::evidence::{Foreseen, Ground};
use crate::base::{DerivationId, HostPath};
use crate::graph::Graph;
use crate::publish::item::Item;
use crate::publish::ledger::Candidate;
use crate::publish::stage::{Contents, Stage};
use crate::publish::suite::change;
use crate::publish::{Published, Reason};
use crate::realise::driver;
use crate::realise::manifest::Manifest;
use crate::realise::record::Record;
use crate::realise::universe::Snapshots;
use crate::realise::world::World;
use complete::Finale;
use destination::Destination;
use keys::Keys;

/// Publishes what was asked for.
pub fn run(arguments: &Publish, global: &Global, output: &Output) -> CommandResult {
    publish(arguments, global, output).map_err(|failure| (Value::Null, failure))
}

fn publish(arguments: &Publish, global: &Global, output: &Output) -> Result<Value, Failure> {
    let began = Instant::now();
    let (folder, names) = named_one(&arguments.words)?;
    let release = Release::load(&folder)?;
    let destination = Destination::find(&release, arguments.to.as_deref())?;
    // Without a key nothing is begun.
    let now = Timestamp::now();
    let signers = destination.signers(&release, &arguments.place, now, output)?;
    let graph = release.graph()?;
    release.check_pins()?;
    let wanted = select(&graph, &names)?;
    let machine = Machine::open(&release, global)?;
    let world = machine.world();
    let built = Built::survey(&world, &graph, &wanted)?;
    closed(&release, &world, &graph, &wanted)?;

    let repository = destination.repository(&folder, &arguments.place)?;
    let mut stage = Stage::begin(world.store, &repository, now).map_err(broken)?;
    let mut items = items(&world, &graph, &built, &destination, &stage, &signers)?;
    let mut indexes = stage.indexes(&destination.name).map_err(broken)?;
    let keys = Keys::new(&release, &destination, &repository, &mut indexes, &signers)?;
    items.push(keys.package.clone());
    let trace =
        objection::judge(&stage, &repository, &world, &destination, &items, &arguments.downgrade)?;
    let architectures = stage.architectures(&destination.name, &release.spec.release.architectures);
    let mut changes =
        change(&mut indexes, world.store, &destination.name, &items, &[], &architectures)
            .map_err(broken)?;
    for change in &mut changes {
        change.downgrade = trace.get(&change.source).cloned();
    }
    let head = format!(
        "{} {} · {} · to {}",
        release.spec.release.name,
        release.spec.release.version,
        graph.release().short(),
        destination.name
    );
    if changes.is_empty() {
        stage.give_up().map_err(broken)?;
        output.summary(&format!("{head}: it has all of this already\n"));
        return Ok(destination.document(&repository, None, &[]));
    }
    if arguments.place.dry_run {
        stage.give_up().map_err(broken)?;
        output.text(&format!("{head}\n{}", destination::listed(&changes)));
        return Ok(destination.document(&repository, None, &changes));
    }
    let bar = reading(global);
    bar.set_message("files");
    bar.set_length(items.iter().map(|item| item.files.len() as u64).sum());
    let filled = stage.fill_pool(&items, &|| bar.inc(1));
    bar.finish_and_clear();
    filled.map_err(broken)?;
    keys.write(&repository)?;
    let spec = &release.spec.release;
    let published = Published {
        name: spec.name.clone(),
        version: spec.version.clone(),
        id: graph.release(),
        manifest: built.manifest.as_ref().map(Manifest::digest),
    };
    let manifest = built.manifest.as_ref().map(|manifest| manifest.document().encode());
    let contents = Contents {
        indexes,
        changes: changes.clone(),
        architectures: &architectures,
        published: Some((published, manifest)),
    };
    stage.put(&destination.name, destination.suite, contents, &signers).map_err(broken)?;
    let staged = stage.finish(Reason::Publish, &signers).map_err(broken)?;
    let finale = Finale {
        world: &world,
        release: &release,
        destination: &destination,
        repository: &repository,
        signers: &signers,
        rehearse: arguments.place.rehearse.unwrap_or(destination.suite.rehearse),
    };
    let done = finale.complete(staged, global, output)?;
    if let Some(folder) = &arguments.changes {
        let folder = HostPath::new(folder);
        let name = &destination.name;
        let written = changes::write(&folder, &items, &repository, name, &signers, now)?;
        output.note(&format!("{} in {folder}", count(written, ".changes file")));
    }
    output.summary(&format!(
        "{head}\n{}{}generation {} of {} in {}: {}\n",
        destination::listed(&changes),
        complete::line(done.verdict.as_ref()),
        done.generation.number,
        repository.root(),
        duration(began.elapsed()),
        count(changes.len(), "change"),
    ));
    Ok(destination.document(&repository, Some(&done), &changes))
}

/// What is built of a release.
struct Built {
    /// The packages that are asked for.
    records: BTreeMap<DerivationId, Arc<Record>>,
    /// If all of it is.
    manifest: Option<Manifest>,
}

impl Built {
    fn survey(world: &World<'_>, graph: &Graph, wanted: &[DerivationId]) -> Result<Self, Failure> {
        let all: Vec<DerivationId> = graph.packages().map(|(node, _)| node.id).collect();
        let survey =
            driver::survey(world, graph, &all, &default_options()).map_err(machine_failed)?;
        let there = survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1)));
        let mut records: BTreeMap<DerivationId, Arc<Record>> = there.collect();
        let manifest = match records.len() == all.len() {
            true => Some(Manifest::new(world.store, graph, &records).map_err(machine_failed)?),
            false => None,
        };
        let missing: Vec<&str> = graph
            .packages()
            .filter(|(node, _)| wanted.contains(&node.id) && !records.contains_key(&node.id))
            .map(|(_, package)| package.name.as_str())
            .collect();
        if let [first, ..] = missing[..] {
            let message = match missing.len() {
                1 => format!("`{first}` is not built as the release is now"),
                more => format!("{more} packages are not built as the release is now: {first}, …"),
            };
            return Err(Failure::new(Kind::Result, "unbuilt", message)
                .hint("`perestroika build` builds what is missing"));
        }
        records.retain(|id, _| wanted.contains(id));
        Ok(Self { records, manifest })
    }
}

/// Refuses a release that is less closed than its release.toml demands.
fn closed(
    release: &Release,
    world: &World<'_>,
    graph: &Graph,
    wanted: &[DerivationId],
) -> Result<(), Failure> {
    let required = release.spec.release.closure.as_ref();
    if required.is_none() {
        return Ok(());
    }
    let (snapshots, depth) = (Snapshots::default(), Depth::Present);
    let ground = Ground { world, graph, snapshots: &snapshots, depth, seen: &|_, _| {} };
    let evidence = ground.read(wanted, &Foreseen::new()).map_err(|error| unread(&error))?;
    lacking(&certify(&evidence), required).map_or(Ok(()), Err)
}

fn items(
    world: &World<'_>,
    graph: &Graph,
    built: &Built,
    destination: &Destination<'_>,
    stage: &Stage<'_>,
    signers: &crate::publish::sign::Signers,
) -> Result<Vec<Item>, Failure> {
    let component = &destination.suite.component;
    let pooled = |path: &str| stage.pooled(path);
    let sign = |text: &str| Ok(signers.clear_sign(text, stage.date())?);
    let mut items = Vec::new();
    for (derivation, record) in &built.records {
        let of =
            Item::of_record(world.store, graph, record, *derivation, component, &pooled, &sign);
        items.extend(of.map_err(broken)?);
    }
    Ok(items)
}

impl Candidate<'_> {
    /// A package as the ledger is asked about it.
    fn of(item: &Item) -> Candidate<'_> {
        Candidate {
            name: &item.name,
            architecture: &item.architecture,
            version: &item.version,
            payload: Some(item.payload),
        }
    }
}
