//! The folder a build finds its inputs in: script, source, injected files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::error::{Error, Result};
use super::sources;
use super::world::World;
use crate::base::HostPath;
use crate::fetch::PoolFile;
use crate::graph::derivation::{Package, Source};
use crate::graph::{Node, Origin};

/// A source, and where it comes from.
pub type Placed<'a> = (&'a Node, &'a Source);

/// Fills the empty folder `inputs` with what [`super::request::script`] expects. Everything in
/// it is a copy: a build that could write to it would not reach the store's objects.
pub fn prepare(
    world: &World<'_>,
    package: &Package,
    (node, source): Placed<'_>,
    extra: &BTreeMap<&str, Placed<'_>>,
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
    sources::place(world, node, source, &folder)?;
    sources::place_pristine(world, source, &inputs.join("upstream"))?;
    for (index, (node, source)) in extra.values().enumerate() {
        let folder = inputs.join("extra").join(index.to_string());
        make_folder(&folder)?;
        sources::place(world, node, source, &folder)?;
    }
    Ok(())
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

pub(super) fn make_parent(path: &HostPath) -> Result<()> {
    match path.as_path().parent() {
        Some(parent) => make_folder(&HostPath::new(parent)),
        None => Ok(()),
    }
}

pub(super) fn make_folder(path: &HostPath) -> Result<()> {
    fs::create_dir_all(path).map_err(at("create", path))
}

pub(super) fn write(path: &HostPath, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(at("create", path))?;
    file.write_all(bytes).map_err(at("write", path))?;
    set_mode(path, 0o644)
}

pub(super) fn set_mode(path: &HostPath, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("change mode of", path))
}

/// Names the operation and the path of a failed file operation.
pub fn at(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.as_ref().display().to_string();
    move |source| Error::File { operation, path, source }
}
