//! The files of a Debian source package, as `dpkg-source` unpacks them (dpkg-source(1), "Source
//! package formats").

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use super::{Known, LARGEST, Taken, of_tarball, visit};
use crate::archive::patch::{Files, Patch, Tried};
use crate::graph::derivation::SourceFile;
use crate::realise::error::Result;
use crate::realise::world::World;

/// The wanted files, with the packaging's own patches applied; none where that cannot be told.
pub(super) fn files(
    world: &World<'_>,
    files: &[SourceFile],
    wanted: &BTreeSet<&str>,
) -> Result<Known> {
    let packed: Vec<&SourceFile> =
        files.iter().filter(|file| !file.name.ends_with(".asc")).collect();
    let named = |part: &str| packed.iter().find(|file| file.name.contains(part)).copied();
    let main = named(".orig.tar.").or_else(|| match packed.as_slice() {
        // The `.dsc` and what is native.
        [one, other] => [one, other].into_iter().find(|file| file.name.contains(".tar.")).copied(),
        _ => None,
    });
    let Some(main) = main.and_then(|file| world.store.find(&file.sha256).transpose()) else {
        return Ok(None);
    };
    let Some(mut known) = of_tarball(world, &main?.digest, "", wanted)? else { return Ok(None) };
    for file in packed.iter().filter(|file| file.name.contains(".orig-")) {
        let name = file.name.split_once(".orig-").and_then(|(_, rest)| rest.split_once(".tar."));
        let (Some((component, _)), Some(object)) = (name, world.store.find(&file.sha256)?) else {
            return Ok(None);
        };
        let folder = format!("{component}/");
        let Some(more) = of_tarball(world, &object.digest, &folder, wanted)? else {
            return Ok(None);
        };
        // It takes the place of a folder of that name.
        known.extend(more.into_iter().filter(|(path, _)| path.starts_with(&folder)));
    }
    if let Some(file) = named(".debian.tar.") {
        return with_packaging(world, file, known);
    }
    if let Some(file) = named(".diff.gz") {
        return with_difference(world, file, known);
    }
    Ok(Some(known))
}

/// Format `3.0 (quilt)`: `debian/` comes from a tarball of its own, with a series of patches.
fn with_packaging(world: &World<'_>, file: &SourceFile, mut known: Files) -> Result<Known> {
    let Some(object) = world.store.find(&file.sha256)? else { return Ok(None) };
    known
        .iter_mut()
        .filter(|(path, _)| path.starts_with("debian/"))
        .for_each(|(_, text)| *text = None);
    let mut patches: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let is_whole = visit(world, &object.digest, |path, content| {
        // The only folder at the top, which is left out of paths.
        let path = path.strip_prefix("debian/").unwrap_or(path);
        let slot = known.get_mut(&format!("debian/{path}"));
        let patch = path.strip_prefix("patches/");
        if slot.is_none() && patch.is_none() {
            return Taken::Left;
        }
        let Some(bytes) = content() else {
            // Patches may lie in folders.
            return if slot.is_none() { Taken::Left } else { Taken::Unfit };
        };
        if let Some(name) = patch {
            patches.insert(name.to_owned(), bytes.clone());
        }
        if let Some(slot) = slot {
            *slot = Some(bytes);
        }
        Taken::Read
    })?;
    // A vendor's own series counts before the common one.
    if !is_whole || patches.keys().any(|name| name.ends_with(".series")) {
        return Ok(None);
    }
    let series = patches.get("series").map(|text| String::from_utf8_lossy(text).into_owned());
    for line in series.iter().flat_map(|text| text.lines()) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let Some(text) = patches.get(name).filter(|_| words.all(|word| word == "-p1")) else {
            return Ok(None);
        };
        if !apply(text, &mut known) {
            return Ok(None);
        }
    }
    Ok(Some(known))
}

/// Format `1.0`: one difference holds `debian/` and all changes.
fn with_difference(world: &World<'_>, file: &SourceFile, mut known: Files) -> Result<Known> {
    let Some(object) = world.store.find(&file.sha256)? else { return Ok(None) };
    let mut text = Vec::new();
    let packed = world.store.open_object(&object.digest)?;
    let read = flate2::read::MultiGzDecoder::new(packed).take(LARGEST + 1).read_to_end(&mut text);
    let is_whole = read.is_ok() && text.len() as u64 <= LARGEST && apply(&text, &mut known);
    Ok(is_whole.then_some(known))
}

/// Applies a patch of the packaging; whether what it makes of the known files is known.
fn apply(text: &[u8], known: &mut Files) -> bool {
    match Patch::parse(text) {
        Some(patch) => patch.apply(known) == Tried::Applies,
        None => {
            let text = String::from_utf8_lossy(text);
            !known.keys().any(|path| text.contains(path.as_str()))
        }
    }
}
