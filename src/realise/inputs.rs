//! The folder a build finds its inputs in: script, source, injected files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::error::{Error, Result};
use super::sources;
use super::world::World;
use crate::base::{DerivationId, HostPath, ReleasePath};
use crate::fetch::PoolFile;
use crate::graph::derivation::{Derivation, Package, Source};
use crate::graph::{Graph, Node, Origin};

/// A source, and where it comes from.
pub type Placed<'a> = (&'a Node, &'a Source);

/// What a build is made of.
pub struct Inputs<'a> {
    pub package: &'a Package,
    /// The package's source.
    pub source: Placed<'a>,
    /// The source whose `debian/` folder is laid over it.
    pub packaging: Option<Placed<'a>>,
    /// Other sources, by the path they are put at.
    pub extra: BTreeMap<&'a str, Placed<'a>>,
    /// Where each patch of the package lies in the release.
    pub patches: &'a [ReleasePath],
    pub script: &'a str,
}

impl<'a> Inputs<'a> {
    /// What a package of this graph is made of, by this script.
    pub fn of(graph: &'a Graph, node: &'a Node, package: &'a Package, script: &'a str) -> Self {
        let source = |id: DerivationId| {
            let node = graph.node(id).expect("the graph has what its nodes need");
            match &node.derivation {
                Derivation::Source(source) => (node, source),
                _ => unreachable!("a package's source is a source"),
            }
        };
        let Origin::Package(origin) = &node.origin else {
            unreachable!("a package comes from a spec")
        };
        let extra = package.extra.iter();
        Self {
            package,
            source: source(package.source),
            packaging: package.packaging.map(source),
            extra: extra.map(|(path, id)| (path.as_str(), source(*id))).collect(),
            patches: &origin.patches,
            script,
        }
    }
}

/// Fills the empty folder `to` with what [`super::script`] expects. Everything in it is a copy: a
/// build that could write to it would not reach the store's objects.
pub fn prepare(world: &World<'_>, inputs: &Inputs<'_>, to: &HostPath) -> Result<()> {
    let Inputs { package, source, packaging, extra, patches, script } = inputs;
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
        let bytes = sources::read_file(&world.folder.join(path.as_str()), &patch.digest)?;
        let target = to.join("patches").join(&patch.name);
        make_parent(&target)?;
        write(&target, &bytes)?;
        // The action names it by its digest: whoever reads that finds it here.
        world.store.put(&bytes)?;
    }
    place(world, *source, &to.join("source"))?;
    sources::place_pristine(world, source.1, &to.join("upstream"))?;
    if let Some(packaging) = packaging {
        place(world, *packaging, &to.join("packaging"))?;
    }
    for (index, source) in extra.values().enumerate() {
        place(world, *source, &to.join("extra").join(index.to_string()))?;
    }
    Ok(())
}

fn place(world: &World<'_>, (node, source): Placed<'_>, folder: &HostPath) -> Result<()> {
    make_folder(folder)?;
    sources::place(world, node, source, folder)
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
