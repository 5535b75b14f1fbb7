//! Patches tried on the files that they are for, before there is a build root.

mod debian;

use std::collections::BTreeSet;
use std::io::Read as _;

use super::error::{Error, Result};
use super::inputs::{Inputs, Placed, at};
use super::sources;
use super::world::World;
use crate::archive::patch::{Files, Patch, Tried};
use crate::archive::tarball::{self, Kind, Limits, Listing};
use crate::base::{Digest, ReleasePath, Tree, TreeKind};
use crate::graph::derivation::{Package, Patched, Source};
use crate::graph::{Graph, Node, Origin};

/// The largest file that is looked at, in bytes.
const LARGEST: u64 = 64 << 20;

/// The unpacked source as far as it matters: of each path of interest, what is known.
type Known = Option<Files>;

/// What trying patches came to, if they do not surely fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// They apply.
    Fine,
    /// That cannot be told here.
    Unclear,
}

/// Tries the patches of a package of a graph as far as the store has its source: nothing is
/// fetched.
///
/// # Errors
/// [`Error::Patch`] for one that surely does not apply.
pub fn foresee(world: &World<'_>, graph: &Graph, node: &Node, package: &Package) -> Result<Found> {
    check(world, &Inputs::of(graph, node, package, ""))
}

/// Tries the patches of a package on its source, which is in the store or in the release.
///
/// What cannot be told here is left to the program `patch` in the build root: files that another
/// input lays over the source, and whatever is no plain text.
///
/// # Errors
/// [`Error::Patch`] for one that surely does not apply.
pub(super) fn check(world: &World<'_>, inputs: &Inputs<'_>) -> Result<Found> {
    let Inputs { package, source, packaging, extra, patches, script: _ } = inputs;
    let mut texts = Vec::new();
    for (patch, path) in package.patches.iter().zip(*patches) {
        texts.push(sources::read_file(&world.folder.join(path.as_str()), &patch.digest)?);
    }
    let mut tried: Vec<(&ReleasePath, Patch<'_>)> = Vec::new();
    for ((patch, path), text) in package.patches.iter().zip(*patches).zip(&texts) {
        let Some(parsed) = Patch::parse(text) else { break };
        let names = parsed.names();
        let covers = |path: &str| {
            let inside = format!("{path}/");
            names.iter().any(|name| *name == path || name.starts_with(&inside))
        };
        if patch.to == Patched::Packaging && packaging.is_some()
            || extra.keys().any(|path| covers(path))
            || package.files.keys().any(|path| covers(path))
            // It begins with what the release says.
            || covers("debian/changelog")
        {
            break;
        }
        tried.push((path, parsed));
    }
    let wanted: BTreeSet<&str> = tried.iter().flat_map(|(_, patch)| patch.names()).collect();
    let found = if tried.len() == package.patches.len() { Found::Fine } else { Found::Unclear };
    if wanted.is_empty() {
        return Ok(found);
    }
    let Some(mut files) = files(world, *source, &wanted)? else { return Ok(Found::Unclear) };
    for (path, patch) in tried {
        match patch.apply(&mut files) {
            Tried::Applies => {}
            Tried::Unclear => return Ok(Found::Unclear),
            Tried::Fails(mismatch) => {
                return Err(Error::Patch { path: path.clone(), mismatch: Box::new(mismatch) });
            }
        }
    }
    Ok(found)
}

fn files(world: &World<'_>, (node, source): Placed<'_>, wanted: &BTreeSet<&str>) -> Result<Known> {
    match (source, &node.origin) {
        (Source::Tree { .. }, Origin::Dir { path, tree }) => {
            let folder = world.folder.join(path.as_str());
            of_tree(wanted, tree, |path, digest| sources::read_file(&folder.join(path), digest))
        }
        (Source::Tree { tree }, Origin::Git { .. }) => {
            let Some(tree) = sources::kept_tree(world, tree)? else { return Ok(None) };
            of_tree(wanted, &tree, |_, digest| Ok(world.store.read(digest)?))
        }
        (Source::Tarball { sha256, .. }, _) => {
            let Some(object) = world.store.find(sha256)? else { return Ok(None) };
            of_tarball(world, &object.digest, "", wanted)
        }
        (Source::Debian { files, .. }, _) => debian::files(world, files, wanted),
        _ => Ok(None),
    }
}

fn nothing(wanted: &BTreeSet<&str>) -> Files {
    wanted.iter().map(|path| ((*path).to_owned(), None)).collect()
}

fn of_tree(
    wanted: &BTreeSet<&str>,
    tree: &Tree,
    read: impl Fn(&str, &Digest) -> Result<Vec<u8>>,
) -> Result<Known> {
    let mut files = nothing(wanted);
    for (path, content) in &mut files {
        match tree.get(path).map(|entry| &entry.kind) {
            Some(TreeKind::File(digest) | TreeKind::Executable(digest)) => {
                *content = Some(read(path, digest)?);
            }
            Some(TreeKind::Link(_)) => return Ok(None),
            None => {}
        }
    }
    Ok(Some(files))
}

/// The wanted files of a tarball that is unpacked at `folder`, which is empty or ends in `/`.
fn of_tarball(
    world: &World<'_>,
    object: &Digest,
    folder: &str,
    wanted: &BTreeSet<&str>,
) -> Result<Known> {
    let mut files = nothing(wanted);
    let is_whole = visit(world, object, |path, content| {
        let slot = files.get_mut(&format!("{folder}{path}"));
        slot.map_or(Taken::Left, |slot| {
            *slot = content();
            if slot.is_some() { Taken::Read } else { Taken::Unfit }
        })
    })?;
    Ok(is_whole.then_some(files))
}

/// What became of a member of a tarball.
enum Taken {
    Left,
    Read,
    /// It was wanted, and is no plain file.
    Unfit,
}

/// Shows the members of a tarball by path, each with what reads it; whether they could all be
/// shown, and those that were wanted be read.
fn visit(
    world: &World<'_>,
    object: &Digest,
    mut visit: impl FnMut(&str, &mut dyn FnMut() -> Option<Vec<u8>>) -> Taken,
) -> Result<bool> {
    let mut head = Vec::new();
    let file = world.store.open_object(object)?;
    file.take(1024).read_to_end(&mut head).map_err(at("read", object.to_string()))?;
    let open = || world.store.open_object(object);
    let Some(format) = tarball::detect(&head) else { return Ok(false) };
    let Ok(listing) = Listing::read(format, open()?, Limits::default()) else { return Ok(false) };
    let mut is_whole = true;
    let shown: Result<(), tarball::Error> = listing.each(open()?, |entry, content| {
        let is_file = matches!(entry.kind, Kind::File | Kind::Executable);
        let taken = visit(&entry.path, &mut || {
            let mut bytes = Vec::new();
            let read = is_file && content.take(LARGEST + 1).read_to_end(&mut bytes).is_ok();
            (read && bytes.len() as u64 <= LARGEST).then_some(bytes)
        });
        is_whole &= !matches!(taken, Taken::Unfit);
        Ok(())
    });
    Ok(is_whole && shown.is_ok())
}
