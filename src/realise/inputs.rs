//! The folder a build finds its inputs in: script, source, injected files.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::error::{Error, Result};
use super::world::World;
use crate::base::{Digest, HostPath, ReleasePath, Tree, TreeKind};
use crate::fetch::PoolFile;
use crate::graph::derivation::{Package, Source};
use crate::graph::{Node, Origin};

/// What a build is made of.
pub struct Inputs<'a> {
    pub package: &'a Package,
    /// The package's source.
    pub source: (&'a Node, &'a Source),
    /// The source whose `debian/` folder is laid over it.
    pub packaging: Option<(&'a Node, &'a Source)>,
    /// Where each patch of the package lies in the release.
    pub patches: &'a [ReleasePath],
    pub script: &'a str,
}

/// Fills the empty folder `to` with what [`super::script`] expects. Everything in it is a copy: a
/// build that could write to it would not reach the store's objects.
pub fn prepare(world: &World<'_>, inputs: &Inputs<'_>, to: &HostPath) -> Result<()> {
    let Inputs { package, source, packaging, patches, script } = inputs;
    write(&to.join("build"), script.as_bytes())?;
    if !package.changelog.is_empty() {
        write(&to.join("changelog"), package.changelog.as_bytes())?;
    }
    for (path, text) in &package.files {
        let path = to.join("files").join(path);
        make_parent(&path)?;
        write(&path, text.as_bytes())?;
        // Rules and scripts are run, everything else is read; an executable bit harms neither
        // a source nor its packages, whose modes the packaging sets.
        if text.starts_with("#!") {
            set_mode(&path, 0o755)?;
        }
    }
    for (patch, path) in package.patches.iter().zip(*patches) {
        let bytes = read(&world.folder.join(path.as_str()), &patch.digest)?;
        let target = to.join("patches").join(&patch.name);
        make_parent(&target)?;
        write(&target, &bytes)?;
        // The action names it by its digest: whoever reads that finds it here.
        world.store.put(&bytes)?;
    }
    if let Some((node, packaging)) = packaging {
        place(world, node, packaging, &to.join("packaging"))?;
    }
    place(world, source.0, source.1, &to.join("source"))
}

/// Puts the files of a source into a new folder.
fn place(world: &World<'_>, node: &Node, source: &Source, folder: &HostPath) -> Result<()> {
    make_folder(folder)?;
    match (source, &node.origin) {
        (Source::Debian { files, .. }, Origin::Archive { archive, .. }) => {
            let wanted = wanted(node, source);
            let objects =
                world.upstream.files(world.store, archive, &wanted, &|_| {}, world.cancel)?;
            for (file, object) in files.iter().zip(objects) {
                copy_object(world, &object, &folder.join(&file.name))?;
            }
            Ok(())
        }
        (Source::Tree { .. }, Origin::Dir { path, tree }) => {
            copy_tree(tree, &world.folder.join(path.as_str()), folder)
        }
        _ => Err(Error::Unpinned { what: format!("source {}", node.id) }),
    }
}

/// The files of its archive's pool that a source consists of.
pub fn wanted(node: &Node, source: &Source) -> Vec<PoolFile> {
    let (Source::Debian { files, .. }, Origin::Archive { directory, .. }) = (source, &node.origin)
    else {
        return Vec::new();
    };
    let path = |name: &str| format!("{directory}/{name}");
    files
        .iter()
        .map(|file| PoolFile { path: path(&file.name), size: file.size, sha256: file.sha256 })
        .collect()
}

/// Copies the files of `tree` and checks each against its digest while it is copied: what was
/// evaluated is what is built, whatever happens to the folder meanwhile.
fn copy_tree(tree: &Tree, from: &HostPath, to: &HostPath) -> Result<()> {
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
        write(&target, &read(&from.join(&entry.path), digest)?)?;
        set_mode(&target, mode)?;
    }
    Ok(())
}

/// The bytes of a file of the release, which are still those that were evaluated.
fn read(path: &HostPath, expected: &Digest) -> Result<Vec<u8>> {
    if !fs::symlink_metadata(path).is_ok_and(|there| there.is_file()) {
        return Err(Error::SourceGone { path: path.to_string() });
    }
    let bytes = fs::read(path).map_err(at("read", path))?;
    let actual = Digest::of(&bytes);
    if actual != *expected {
        return Err(Error::SourceMoved { path: path.to_string(), expected: *expected, actual });
    }
    Ok(bytes)
}

fn copy_object(world: &World<'_>, digest: &Digest, to: &HostPath) -> Result<()> {
    let mut from = world.store.open_sound(digest)?;
    let mut file = File::create(to).map_err(at("create", to))?;
    std::io::copy(&mut from, &mut file).map_err(at("write", to))?;
    set_mode(to, 0o644)
}

fn make_parent(path: &HostPath) -> Result<()> {
    match path.as_path().parent() {
        Some(parent) => make_folder(&HostPath::new(parent)),
        None => Ok(()),
    }
}

fn make_folder(path: &HostPath) -> Result<()> {
    fs::create_dir_all(path).map_err(at("create", path))
}

fn write(path: &HostPath, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(at("create", path))?;
    file.write_all(bytes).map_err(at("write", path))?;
    set_mode(path, 0o644)
}

fn set_mode(path: &HostPath, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("change mode of", path))
}

/// Names the operation and the path of a failed file operation.
pub fn at(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.as_ref().display().to_string();
    move |source| Error::File { operation, path, source }
}
