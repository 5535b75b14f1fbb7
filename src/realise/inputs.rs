//! The folder a build finds its inputs in: script, source, injected files.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::error::{Error, Result};
use super::world::World;
use crate::base::{Digest, HostPath, Tree, TreeKind};
use crate::fetch::PoolFile;
use crate::graph::derivation::{Package, Source};
use crate::graph::{Node, Origin};

/// Fills the empty folder `inputs` with what [`super::request::script`] expects. Everything in
/// it is a copy: a build that could write to it would not reach the store's objects.
pub fn prepare(
    world: &World<'_>,
    package: &Package,
    source_node: &Node,
    source: &Source,
    script: &str,
    inputs: &HostPath,
) -> Result<()> {
    write(&inputs.join("build"), script.as_bytes())?;
    if !package.changelog.is_empty() {
        write(&inputs.join("changelog"), package.changelog.as_bytes())?;
    }
    for (path, text) in &package.files {
        let path = inputs.join("files").join(path);
        make_parent(&path)?;
        write(&path, text.as_bytes())?;
        // Rules and scripts are run, everything else is read; an executable bit harms neither
        // a source nor its packages, whose modes the packaging sets.
        if text.starts_with("#!") {
            set_mode(&path, 0o755)?;
        }
    }
    let folder = inputs.join("source");
    make_folder(&folder)?;
    match (source, &source_node.origin) {
        (Source::Debian { files, .. }, Origin::Archive { archive, .. }) => {
            let wanted = wanted(source_node, source);
            let objects =
                world.upstream.files(world.store, archive, &wanted, &|_| {}, world.cancel)?;
            for (file, object) in files.iter().zip(objects) {
                copy_object(world, &object, &folder.join(&file.name))?;
            }
            Ok(())
        }
        (Source::Tree { .. }, Origin::Dir { path, tree }) => {
            copy_tree(tree, &world.folder.join(path.as_str()), &folder)
        }
        _ => Err(Error::Unpinned { what: format!("source {}", source_node.id) }),
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
        let source = from.join(&entry.path);
        if !fs::symlink_metadata(&source).is_ok_and(|there| there.is_file()) {
            return Err(Error::SourceGone { path: source.to_string() });
        }
        let bytes = fs::read(&source).map_err(at("read", &source))?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(Error::SourceMoved { path: source.to_string(), expected: *digest, actual });
        }
        write(&target, &bytes)?;
        set_mode(&target, mode)?;
    }
    Ok(())
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
