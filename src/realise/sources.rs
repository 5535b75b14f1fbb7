//! Sources, brought into the store and from there into a folder, each file checked against what
//! it is pinned to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::symlink;

use super::error::{Error, Result};
use super::inputs::{self, at, make_folder, make_parent, set_mode, write};
use super::world::World;
use crate::archive::tarball::{Kind, Limits, Listing};
use crate::base::{Digest, Format, HostPath, Sha256, Tree, TreeKind};
use crate::fetch::git::Revision;
use crate::graph::derivation::{Source, SourceFile};
use crate::graph::{Node, Origin};

/// Makes sure that what a source needs of elsewhere is in the store; files of archives are
/// fetched with the packages of the build root.
pub fn fetch(world: &World<'_>, node: &Node, source: &Source) -> Result<()> {
    match (source, &node.origin) {
        (Source::Tree { tree }, Origin::Git { .. }) => pinned_tree(world, node, tree).map(drop),
        (
            Source::Tarball { size, sha256, .. } | Source::File(SourceFile { size, sha256, .. }),
            Origin::Download { urls },
        ) => world.upstream.download(world.store, urls, *sha256, *size, world.cancel).map(drop),
        _ => Ok(()),
    }
}

/// Fills the empty `folder` with a source.
pub fn place(world: &World<'_>, node: &Node, source: &Source, folder: &HostPath) -> Result<()> {
    match (source, &node.origin) {
        (Source::Debian { files, .. }, Origin::Archive { archive, .. }) => {
            let wanted = inputs::wanted(node, source);
            let objects =
                world.upstream.files(world.store, archive, &wanted, &|_| {}, world.cancel)?;
            for (file, object) in files.iter().zip(objects) {
                copy_object(world, &object, &folder.join(&file.name))?;
            }
            Ok(())
        }
        (Source::Tree { .. }, Origin::Dir { path, tree }) => {
            copy_folder(tree, &world.folder.join(path.as_str()), folder)
        }
        (Source::Tree { tree }, Origin::Git { .. }) => {
            copy_tree(world, &pinned_tree(world, node, tree)?, folder)
        }
        (Source::Tarball { format, size, sha256 }, Origin::Download { urls }) => {
            let object =
                world.upstream.download(world.store, urls, *sha256, *size, world.cancel)?;
            unpack(world, *format, &object, folder)
        }
        (Source::File(file), Origin::Download { urls }) => {
            let SourceFile { name, size, sha256 } = file;
            let object =
                world.upstream.download(world.store, urls, *sha256, *size, world.cancel)?;
            copy_object(world, &object, &folder.join(name))
        }
        (Source::File(file), Origin::File { path }) => {
            copy_file(file, &world.folder.join(path.as_str()), folder)
        }
        _ => unreachable!("a source's origin is of its kind"),
    }
}

/// Puts a tarball as it came into `folder`, by the name `orig.tar.xz` (and so on): packaging may
/// need it untouched. Nothing happens for other sources.
pub fn place_pristine(world: &World<'_>, source: &Source, folder: &HostPath) -> Result<()> {
    let Source::Tarball { format, sha256, .. } = source else { return Ok(()) };
    let Some(object) = world.store.find(sha256)? else {
        return Err(Error::Unpinned { what: format!("the tarball {sha256}") });
    };
    make_folder(folder)?;
    copy_object(world, &object.digest, &folder.join(format!("orig.{format}")))
}

/// The tree that a commit is pinned to: from the store, or else fetched and compared.
pub(super) fn pinned_tree(world: &World<'_>, node: &Node, digest: &Digest) -> Result<Tree> {
    if let Some(tree) = kept_tree(world, digest)? {
        return Ok(tree);
    }
    let Origin::Git { url, rev, commit } = &node.origin else {
        unreachable!("only a commit's tree is pinned")
    };
    let revision = Revision { url, rev, commit: Some(commit) };
    let snapshot = world.upstream.snapshot(world.store, &revision, world.cancel)?;
    let actual = snapshot.tree.digest();
    if actual != *digest {
        let what = format!("commit {commit} of `{url}`");
        return Err(Error::OtherTree { what, expected: *digest, actual });
    }
    Ok(snapshot.tree)
}

/// The tree of this name, if the store has it with all its files.
pub(super) fn kept_tree(world: &World<'_>, digest: &Digest) -> Result<Option<Tree>> {
    let Some(document) = world.store.json(digest)? else { return Ok(None) };
    let tree = Tree::from_json(&document)
        .map_err(|error| Error::Tree { digest: *digest, why: error.to_string() })?;
    let there = |kind: &TreeKind| match kind {
        TreeKind::File(digest) | TreeKind::Executable(digest) => {
            world.store.object(digest).is_some()
        }
        TreeKind::Link(_) => true,
    };
    let is_whole = tree.entries().iter().all(|entry| there(&entry.kind));
    Ok(is_whole.then_some(tree))
}

/// Unpacks a tarball that is in the store.
fn unpack(world: &World<'_>, format: Format, object: &Digest, folder: &HostPath) -> Result<()> {
    let file = world.store.open_sound(object)?;
    let listing = Listing::read(format, file, Limits::default())?;
    let file = world.store.open_object(object)?;
    listing.each(file, |entry, content| {
        let target = folder.join(&entry.path);
        make_parent(&target)?;
        match &entry.kind {
            Kind::Folder => make_folder(&target),
            Kind::File => stream(content, &target, 0o644),
            Kind::Executable => stream(content, &target, 0o755),
            Kind::Link(link) => symlink(link, &target).map_err(at("create", &target)),
            Kind::Same(other) => {
                let other = folder.join(other);
                fs::copy(&other, &target).map(drop).map_err(at("copy", &other))
            }
        }
    })
}

/// Copies the files of `tree` from a folder of the release and checks each against its digest
/// while it is copied: what was evaluated is what is built, whatever happens to the folder
/// meanwhile.
fn copy_folder(tree: &Tree, from: &HostPath, to: &HostPath) -> Result<()> {
    for entry in tree.entries() {
        let target = to.join(&entry.path);
        make_parent(&target)?;
        let (digest, mode) = match &entry.kind {
            TreeKind::File(digest) => (digest, 0o644),
            TreeKind::Executable(digest) => (digest, 0o755),
            TreeKind::Link(link) => {
                symlink(link, &target).map_err(at("create", &target))?;
                continue;
            }
        };
        write(&target, &read_file(&from.join(&entry.path), digest)?)?;
        set_mode(&target, mode)?;
    }
    Ok(())
}

/// The bytes of a file of the release, which are still those that were evaluated.
pub fn read_file(path: &HostPath, expected: &Digest) -> Result<Vec<u8>> {
    let bytes = read_plain(path)?;
    let actual = Digest::of(&bytes);
    if actual != *expected {
        return Err(Error::SourceMoved { path: path.to_string(), expected: *expected, actual });
    }
    Ok(bytes)
}

/// Copies a file of the release, likewise.
fn copy_file(file: &SourceFile, from: &HostPath, to: &HostPath) -> Result<()> {
    let SourceFile { name, size: _, sha256 } = file;
    let bytes = read_plain(from)?;
    if Sha256::of(&bytes) != *sha256 {
        return Err(Error::SourceGone { path: from.to_string() });
    }
    write(&to.join(name), &bytes)
}

fn read_plain(path: &HostPath) -> Result<Vec<u8>> {
    if !fs::symlink_metadata(path).is_ok_and(|there| there.is_file()) {
        return Err(Error::SourceGone { path: path.to_string() });
    }
    fs::read(path).map_err(at("read", path))
}

/// Copies the files of `tree` from the store.
fn copy_tree(world: &World<'_>, tree: &Tree, to: &HostPath) -> Result<()> {
    for entry in tree.entries() {
        let target = to.join(&entry.path);
        make_parent(&target)?;
        let mode = match &entry.kind {
            TreeKind::File(_) => 0o644,
            TreeKind::Executable(_) => 0o755,
            TreeKind::Link(_) => 0,
        };
        match &entry.kind {
            TreeKind::File(digest) | TreeKind::Executable(digest) => {
                copy_object(world, digest, &target)?;
                set_mode(&target, mode)?;
            }
            TreeKind::Link(link) => symlink(link, &target).map_err(at("create", &target))?,
        }
    }
    Ok(())
}

fn copy_object(world: &World<'_>, digest: &Digest, to: &HostPath) -> Result<()> {
    let mut from = world.store.open_sound(digest)?;
    stream(&mut from, to, 0o644)
}

fn stream(from: &mut dyn Read, to: &HostPath, mode: u32) -> Result<()> {
    let mut file = File::create(to).map_err(at("create", to))?;
    io::copy(from, &mut file).map_err(at("write", to))?;
    set_mode(to, mode)
}
