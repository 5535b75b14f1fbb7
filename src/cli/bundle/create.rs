//! `bundle create`: the file is written once everything that belongs into it was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::{failed, open, with_bar};
use crate::audit::bundle::{self, Gathered, Kind as Extent, Name, Whole};
use crate::audit::closure::{Depth, certify};
use crate::audit::evidence::{Foreseen, Ground};
use crate::base::{DerivationId, Digest, HostPath};
use crate::cli::arguments::{BundleCreate, Global};
use crate::cli::audit::unread;
use crate::cli::build::{default_options, machine_failed};
use crate::cli::context::{Machine, Release, nearest, release_folder};
use crate::cli::failure::{Failure, Kind};
use crate::cli::key;
use crate::cli::output::Output;
use crate::cli::progress::{duration, reading};
use crate::cli::report::{bytes, count};
use crate::graph::Graph;
use crate::realise::driver;
use crate::realise::manifest::Manifest;
use crate::realise::record::Record;
use crate::realise::universe::Snapshots;
use crate::realise::world::World;

/// Writes the bundle of a release.
pub fn run(arguments: &BundleCreate, global: &Global, output: &Output) -> Result<Value, Failure> {
    let began = Instant::now();
    let file = std::path::absolute(&arguments.file).unwrap_or_else(|_| arguments.file.clone());
    let file = HostPath::new(file);
    if std::fs::symlink_metadata(&file).is_ok() && !arguments.dry_run {
        return Err(failed(bundle::Error::Exists(file)));
    }
    let folder = match &arguments.release {
        Some(folder) => release_folder(folder)?,
        None => nearest()?,
    };
    let old = arguments.delta.as_deref().map(open).transpose()?;
    let kind = match (&old, arguments.records) {
        (Some(_), _) => Extent::Delta,
        (None, true) => Extent::Records,
        (None, false) => Extent::Whole,
    };
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    release.check_pins()?;
    let machine = Machine::open(&release, global)?;
    let world = machine.world();
    let key = key::builder(world.store)?;
    let records = records(&world, &graph)?;
    let manifest = Manifest::new(world.store, &graph, &records).map_err(machine_failed)?;
    let last = world.store.last_release(&folder).map_err(|error| failed(error.into()))?;
    if last.is_none_or(|last| last.manifest != Some(manifest.digest())) {
        return Err(unbuilt("the release was not built here as a whole as it is now"));
    }
    let certificate = certificate(&world, &graph, global)?;
    let whole = Whole {
        world: &world,
        graph: &graph,
        spec: &release.spec,
        lock: &release.lock.clone().unwrap_or_default(),
        records: &records,
        manifest: &manifest,
        certificate: &certificate,
        key: &key,
    };
    let gathered = bundle::gather(&whole, kind, old.as_ref()).map_err(failed)?;
    let mut text = head(&release, &graph, manifest.digest());
    let mut document = json!({
        "release": release.built_document(&graph, Some(manifest.digest())),
        "bundle": {
            "file": file.to_string(),
            "kind": kind,
            "members": gathered.contents.len(),
            "elsewhere": gathered.index.elsewhere.len(),
            "unpacked": gathered.unpacked,
            "signed_by": key.id().to_string(),
        },
    });
    if arguments.dry_run {
        text.push_str(&foretold(&gathered));
        output.text(&text);
        return Ok(document);
    }
    let written = with_bar(global, "writing", |seen| {
        bundle::write(&file, gathered, world.store, &key, seen, world.cancel)
    })?;
    let kept = match written.kept {
        0 => String::new(),
        kept => format!(", {kept} of them from a run that broke off"),
    };
    text.push_str(&format!(
        "wrote {}: {}{kept}, {} ({} unpacked), in {}\nbundle    {}\nsigned by {}\n",
        arguments.file.display(),
        count(written.members, "member"),
        bytes(written.length),
        bytes(written.unpacked),
        duration(began.elapsed()),
        written.id,
        key.id(),
    ));
    output.summary(&text);
    document["bundle"]["id"] = written.id.to_string().into();
    document["bundle"]["size"] = written.length.into();
    Ok(document)
}

/// The record of every package.
fn records(
    world: &World<'_>,
    graph: &Graph,
) -> Result<BTreeMap<DerivationId, Arc<Record>>, Failure> {
    let all: Vec<DerivationId> = graph.packages().map(|(node, _)| node.id).collect();
    let survey = driver::survey(world, graph, &all, &default_options()).map_err(machine_failed)?;
    let there = survey.into_iter().filter_map(|one| Some((one.derivation, one.there?.1)));
    let records: BTreeMap<_, _> = there.collect();
    match all.len() - records.len() {
        0 => Ok(records),
        missing => {
            let all = count(all.len(), "package");
            Err(unbuilt(&format!("{missing} of {all} not built as the release is now")))
        }
    }
}

fn unbuilt(message: &str) -> Failure {
    Failure::new(Kind::Result, "unbuilt", message)
        .hint("`perestroika build` builds what is missing: a bundle is of a whole release")
}

/// The closure certificate, as `audit closure` makes it.
pub fn certificate(
    world: &World<'_>,
    graph: &Graph,
    global: &Global,
) -> Result<crate::base::Json, Failure> {
    let all: Vec<DerivationId> = graph.packages().map(|(node, _)| node.id).collect();
    let snapshots = Snapshots::default();
    let bar = reading(global);
    bar.set_message("objects");
    let seen = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let depth = Depth::Bytes;
    let ground = Ground { world, graph, snapshots: &snapshots, depth, seen: &seen };
    let evidence = ground.read(&all, &Foreseen::new());
    bar.finish_and_clear();
    Ok(certify(&evidence.map_err(|error| unread(&error))?).to_json())
}

fn head(release: &Release, graph: &Graph, manifest: Digest) -> String {
    let (id, spec) = (graph.release().short(), &release.spec.release);
    format!("{} {} · {id} · manifest {}\n", spec.name, spec.version, manifest.short())
}

/// What would be in the file.
fn foretold(gathered: &Gathered) -> String {
    let of = |is_one: fn(&Name) -> bool| {
        let these = gathered.contents.iter().filter(|(name, _)| is_one(name));
        these.fold((0, 0), |(number, size), (_, content)| (number + 1, size + content.size))
    };
    let rows = [
        ("document", of(|name| matches!(name, Name::Document(_)))),
        ("log", of(|name| matches!(name, Name::Log(_)))),
        ("file", of(|name| matches!(name, Name::Object(_)))),
    ];
    let mut text = String::from("it would have\n");
    for (what, (number, size)) in rows {
        text.push_str(&format!("  {:14} {:>10}\n", count(number, what), bytes(size)));
    }
    if !gathered.index.elsewhere.is_empty() {
        let elsewhere = count(gathered.index.elsewhere.len(), "member");
        text.push_str(&format!("and leave out {elsewhere} that the other bundle has\n"));
    }
    text
}
