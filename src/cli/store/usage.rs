//! `store usage`: one screen of what takes how much room, and for whom.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::arguments::Global;
use super::super::context::open_store_to_look;
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::report::count;
use super::{broken, room};
use crate::store::{Aim, Fate, Kind};

/// Prints it.
pub fn run(global: &Global, output: &Output) -> Result<Value, Failure> {
    let store = open_store_to_look(global)?;
    let collection = store.foresee(Aim::Unneeded).map_err(broken)?;
    let free = store.free_room().map_err(broken)?;
    let mut text = format!(
        "{}\n{} in all, {} free on its disk\n\n",
        store.root(),
        room(collection.before),
        room(free)
    );
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        let things = || collection.things.iter().filter(move |(thing, ..)| thing.kind == kind);
        let bytes: u64 = things().map(|(thing, ..)| thing.bytes).sum();
        let freed = things().map(|(_, fate, _)| match fate {
            Fate::Removed(bytes) => *bytes,
            Fate::Kept => 0,
        });
        let freed: u64 = freed.sum();
        let could_go = if freed > 0 { format!("{} could go", room(freed)) } else { String::new() };
        let line = format!(
            "  {:<18} {:>8} {:>12}   {could_go}",
            kind.as_str(),
            things().count(),
            room(bytes)
        );
        let _ = writeln!(text, "{}", line.trim_end());
        kinds.push(json!({
            "kind": kind.as_str(),
            "count": things().count(),
            "bytes": bytes,
            "unneeded": freed,
        }));
    }
    for (what, bytes) in store.fixed_room() {
        let _ = writeln!(text, "  {what:<18} {:>8} {:>12}", "", room(bytes));
        kinds.push(json!({ "kind": what, "count": null, "bytes": bytes, "unneeded": 0 }));
    }

    let (pins, releases) = (store.pins().map_err(broken)?, store.kept_releases().map_err(broken)?);
    text.push_str("\nkept\n");
    for pin in &pins {
        let _ = writeln!(text, "  {} {}  {}  pinned", pin.name, pin.version, pin.release.short());
    }
    for built in &releases {
        let gone = if built.folder.as_path().is_dir() { "" } else { ", which is gone" };
        let part = if built.manifest.is_some() { "built" } else { "a part of it, built" };
        let (name, version, id) = (&built.name, &built.version, built.release.short());
        let _ = writeln!(text, "  {name} {version}  {id}  {part} in {}{gone}", built.folder);
    }
    let imported = store.imported().map_err(broken)?;
    for one in &imported {
        let _ = writeln!(text, "  {} {}  {}  imported", one.name, one.version, one.release.short());
    }
    if pins.is_empty() && releases.is_empty() && imported.is_empty() {
        text.push_str("  nothing: no release was built, pinned or imported\n");
    }
    let freed = collection.before.saturating_sub(collection.after);
    let doomed = collection.things.iter().filter(|(_, fate, _)| *fate != Fate::Kept).count();
    if doomed > 0 {
        let things = count(doomed, "thing");
        let _ = writeln!(
            text,
            "\n`perestroika store gc` would free {} of {things}; with -n it says which",
            room(freed)
        );
    }
    output.text(&text);
    Ok(json!({
        "store": store.root().to_string(),
        "bytes": collection.before,
        "free": free,
        "unneeded": freed,
        "kinds": kinds,
        "pins": pins.iter().map(|pin| json!({
            "name": pin.name,
            "version": pin.version,
            "release": pin.release.to_string(),
            "manifest": pin.manifest.map(|manifest| manifest.to_string()),
        })).collect::<Vec<_>>(),
        "imported": imported.iter().map(|one| json!({
            "name": one.name,
            "version": one.version,
            "release": one.release.to_string(),
            "manifest": one.manifest.to_string(),
            "bundle": one.bundle.to_string(),
            "signed_by": one.key.to_string(),
        })).collect::<Vec<_>>(),
        "releases": releases.iter().map(|built| json!({
            "name": built.name,
            "version": built.version,
            "release": built.release.to_string(),
            "manifest": built.manifest.map(|manifest| manifest.to_string()),
            "folder": built.folder.to_string(),
        })).collect::<Vec<_>>(),
    }))
}
