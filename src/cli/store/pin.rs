//! `store pin` and `store unpin`: which releases stay.

use serde_json::{Value, json};

use super::super::arguments::{Global, Named};
use super::super::context::open_store;
use super::super::failure::Failure;
use super::super::output::Output;
use super::broken;
use crate::base::{DerivationId, HostPath};
use crate::store::{BuiltRelease, Store};

/// Keeps a release.
pub fn pin(arguments: &Named, global: &Global, output: &Output) -> Result<Value, Failure> {
    let store = open_store(global)?;
    let Some(built) = find(&store, &arguments.name)? else {
        return Err(unknown(&arguments.name));
    };
    if !arguments.dry_run {
        store.pin(&built).map_err(broken)?;
    }
    let pinned = if arguments.dry_run { "would pin" } else { "pinned" };
    let BuiltRelease { name, version, .. } = &built;
    output.summary(&format!("{pinned} {name} {version}  {}\n", built.release.short()));
    Ok(document(&built.release, name, version))
}

/// Lets one go.
pub fn unpin(arguments: &Named, global: &Global, output: &Output) -> Result<Value, Failure> {
    let store = open_store(global)?;
    let found = find(&store, &arguments.name)?;
    let mut pins = store.pins().map_err(broken)?.into_iter();
    let pin = pins.find(|pin| {
        found.as_ref().is_some_and(|built| built.release == pin.release)
            || is_called(&arguments.name, &pin.name, &pin.version, &pin.release)
    });
    if let Some(pin) = pin {
        if !arguments.dry_run {
            store.unpin(&pin.release).map_err(broken)?;
        }
        let unpinned = if arguments.dry_run { "would unpin" } else { "unpinned" };
        let id = pin.release.short();
        output.summary(&format!("{unpinned} {} {}  {id}\n", pin.name, pin.version));
        return Ok(document(&pin.release, &pin.name, &pin.version));
    }
    let mut imported = store.imported().map_err(broken)?.into_iter();
    let imported = imported.find(|one| {
        found.as_ref().is_none_or(|built| built.release == one.release)
            && is_called(&arguments.name, &one.name, &one.version, &one.release)
    });
    if let Some(one) = imported {
        if !arguments.dry_run {
            store.forget_imported(&one.release).map_err(broken)?;
        }
        let let_go = if arguments.dry_run { "would let go" } else { "let go" };
        let id = one.release.short();
        output.summary(&format!(
            "{let_go} what was imported of {} {}  {id}\n",
            one.name, one.version
        ));
        return Ok(document(&one.release, &one.name, &one.version));
    }
    let Some(built) = found else { return Err(unknown(&arguments.name)) };
    if !arguments.dry_run {
        store.forget_releases(&built.folder).map_err(broken)?;
    }
    let forgot = if arguments.dry_run { "would forget" } else { "forgot" };
    output.summary(&format!(
        "{forgot} the builds of {} {} in {}: they keep nothing until the next one\n",
        built.name, built.version, built.folder
    ));
    Ok(document(&built.release, &built.name, &built.version))
}

/// The newest build of the release that is meant.
fn find(store: &Store, name: &str) -> Result<Option<BuiltRelease>, Failure> {
    let mut releases = store.releases().map_err(broken)?.into_iter();
    if name == "." || name == ".." || name.contains('/') {
        let folder = HostPath::new(std::path::absolute(name).unwrap_or_else(|_| name.into()));
        return Ok(releases.find(|built| built.folder.as_path() == folder.as_path()));
    }
    Ok(releases.find(|built| is_called(name, &built.name, &built.version, &built.release)))
}

/// Whether that is a release's name, name and version, or the beginning of its id.
fn is_called(word: &str, name: &str, version: &str, release: &DerivationId) -> bool {
    const SHORTEST: usize = 6;
    let id = word.strip_prefix("b3:").unwrap_or(word);
    word == name
        || word == format!("{name}-{version}")
        || (id.len() >= SHORTEST && release.to_string().starts_with(id))
}

fn unknown(name: &str) -> Failure {
    Failure::input(
        "no-such-release",
        format!("no release called `{name}` was built with this store, or imported into it"),
    )
    .hint("`perestroika store usage` lists those that were; a folder is written with a `/`")
}

fn document(release: &DerivationId, name: &str, version: &str) -> Value {
    json!({ "release": { "name": name, "version": version, "id": release.to_string() } })
}
