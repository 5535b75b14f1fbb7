//! `store gc`: removes what nothing needs, or says what that would be.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::arguments::{Gc, Global};
use super::super::config::Config;
use super::super::context::open_store;
use super::super::executor::{self, Choice, Runner, swept_text};
use super::super::failure::{Failure, Kind};
use super::super::output::{CommandResult, Output};
use super::super::report::count;
use super::{broken, room};
use crate::sandbox::Enforcement;
use crate::sandbox::docker::Swept;
use crate::store::{Aim, Collection, Fate, Store, Thing};

/// Collects, or foresees it.
pub fn run(arguments: &Gc, global: &Global, output: &Output) -> CommandResult {
    let early = |failure| (Value::Null, failure);
    let store = open_store(global).map_err(early)?;
    // What is wrong with the words is told before anything is removed.
    let config = Config::load().map_err(early)?;
    let hosts = executor::asked_for(global, &config).map_err(early)?;
    let aim = arguments.max_size.map_or(Aim::Unneeded, Aim::Size);
    let found = if arguments.dry_run { store.foresee(aim) } else { store.collect(aim) };
    let collection = found.map_err(broken).map_err(early)?;
    let text = told(&store, &collection, arguments, global.verbose);
    output.summary(&text);
    let mut document = document(&store, &collection);
    if let Some(hosts) = hosts {
        let engines = Runner::open(Choice::Docker(hosts), store.root(), Enforcement::Best, global);
        document["engines"] = swept(&engines.map_err(early)?, arguments, output);
    }
    match aim {
        Aim::Size(most) if collection.after > most => Err((document, too_large(&collection, most))),
        _ => Ok(document),
    }
}

/// What goes from container engines. One that does not answer keeps nobody from freeing room here.
fn swept(engines: &Runner, arguments: &Gc, output: &Output) -> Value {
    let (verb, swept) = match arguments.dry_run {
        true => ("would remove", engines.foresee_sweep()),
        false => ("removed", engines.sweep()),
    };
    match swept {
        Ok(swept) => {
            if let Some(text) = swept_text(&swept) {
                output.summary(&format!("{verb} {text} of container engines\n"));
            }
            let Swept { containers, volumes, images } = swept;
            json!({ "containers": containers, "volumes": volumes, "images": images })
        }
        Err(error) => {
            output.note(&format!("nothing is removed from container engines: {error}"));
            Value::Null
        }
    }
}

/// Every thing that goes, what stays by reason, and the sum.
fn told(store: &Store, collection: &Collection, arguments: &Gc, verbose: bool) -> String {
    let mut text = String::new();
    let verb = if arguments.dry_run { "would remove" } else { "removed" };
    let mut kept: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    let (mut removed, mut freed) = (0, 0);
    for (thing, fate, because) in &collection.things {
        let name = name(store, thing);
        match fate {
            Fate::Removed(bytes) => {
                (removed, freed) = (removed + 1, freed + bytes);
                if arguments.dry_run || verbose {
                    let _ = writeln!(text, "{verb}  {name}  {}: {because}", room(*bytes));
                }
            }
            Fate::Kept => {
                let (things, bytes) = kept.entry(because).or_default();
                (*things, *bytes) = (*things + 1, *bytes + thing.bytes);
                if verbose {
                    let _ = writeln!(text, "kept  {name}  {}: {because}", room(thing.bytes));
                }
            }
        }
    }
    for (because, (things, bytes)) in kept {
        let _ = writeln!(text, "kept  {}, {}: {because}", count(things, "thing"), room(bytes));
    }
    let would = if arguments.dry_run { "would take" } else { "takes" };
    let _ = writeln!(
        text,
        "{verb} {}, {}: the store {would} {}",
        count(removed, "thing"),
        room(freed),
        room(collection.after)
    );
    text
}

/// A thing's path below the store.
fn name(store: &Store, thing: &Thing) -> String {
    let path = thing.path.as_path();
    path.strip_prefix(store.root()).unwrap_or(path).display().to_string()
}

fn too_large(collection: &Collection, most: u64) -> Failure {
    let message = format!(
        "the store takes {}, more than {}: all of it is needed",
        room(collection.after),
        room(most)
    );
    Failure::new(Kind::Result, "too-large", message).hint(
        "`perestroika store usage` lists the releases that need it; `store unpin NAME` lets one go",
    )
}

fn document(store: &Store, collection: &Collection) -> Value {
    let things: Vec<Value> = collection
        .things
        .iter()
        .map(|(thing, fate, because)| {
            let (removed, bytes) = match fate {
                Fate::Removed(bytes) => (true, *bytes),
                Fate::Kept => (false, thing.bytes),
            };
            json!({
                "path": name(store, thing),
                "kind": thing.kind.as_str(),
                "bytes": bytes,
                "removed": removed,
                "because": because,
            })
        })
        .collect();
    json!({ "before": collection.before, "after": collection.after, "things": things })
}
