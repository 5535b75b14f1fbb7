//! The client's root, and the pinned archive as it is served to it.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{Error, Result, at};
use super::{Extent, Progress, Rehearsal};
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::index::{self, BinaryPackage};
use crate::archive::deb::solver::{self, Universe};
use crate::base::{Architecture, HostPath};
use crate::fetch::PoolFile;
use crate::realise::buildroot::{self, RootPackage};
use crate::realise::world::World;
use crate::spec::lock::{IndexKind, LockedIndex, LockedSuite};
use crate::store::Scratch;

/// What every client has beside what is essential.
const APT: &str = "apt";

/// What all suites are rehearsed with.
pub(super) struct Prepared {
    /// The client's root, the lowest layer first.
    pub layers: Vec<HostPath>,
    /// The pinned archive as far as it is needed: `dists`, and what of its pool was fetched.
    pub archive: HostPath,
    /// The archive's sources in apt's words, without their keys.
    pub sources: Vec<Served>,
    /// What the archive's pinned indexes list, by its path.
    pool: HashMap<String, Arc<BinaryPackage>>,
    /// One at a time puts files into the archive's folder.
    filling: Mutex<()>,
    scratch: Scratch,
}

/// A suite of the pinned archive.
pub(super) struct Served {
    pub suite: String,
    pub components: Vec<String>,
}

impl Prepared {
    /// A new folder that goes with all the others.
    pub fn folder(&self, name: &str) -> Result<HostPath> {
        folder(&self.scratch.path().join(name))
    }

    /// Fetches what the archive has at these paths, and serves it. Paths that it does not list are
    /// left alone: nobody is served what is not pinned. How many are served that were not before.
    pub fn serve(
        &self,
        world: &World<'_>,
        archive: &str,
        paths: &[String],
        told: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<usize> {
        let _alone = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files: Vec<(HostPath, PoolFile)> = Vec::new();
        for package in paths.iter().filter_map(|path| self.pool.get(path)) {
            let to = self.archive.join(&package.filename);
            if !to.as_path().exists() && !files.iter().any(|(other, _)| *other == to) {
                let path = package.filename.clone();
                let file = PoolFile { path, size: package.size, sha256: package.sha256 };
                files.push((to, file));
            }
        }
        let progress = |progress: crate::fetch::Progress| {
            told(Progress::Fetch { done: progress.files_done, total: progress.files });
        };
        let wanted: Vec<PoolFile> = files.iter().map(|(_, file)| file.clone()).collect();
        let objects =
            world.upstream.files(world.store, archive, &wanted, &progress, world.cancel)?;
        for ((to, _), object) in files.iter().zip(&objects) {
            self.place(world, object, to)?;
        }
        Ok(files.len())
    }

    /// Puts an object of the store where it is served, as another name of the same file.
    fn place(&self, world: &World<'_>, object: &crate::base::Digest, to: &HostPath) -> Result<()> {
        if let Some(parent) = to.as_path().parent() {
            folder(&HostPath::new(parent))?;
        }
        world.store.verify(object)?;
        let from = world.store.object(object).ok_or_else(|| Error::File {
            operation: "find",
            path: to.clone(),
            source: ErrorKind::NotFound.into(),
        })?;
        fs::hard_link(&from, to).map_err(at("serve", to))
    }
}

/// Makes the client's root, and what of the archive it begins with.
pub(super) fn prepare(
    world: &World<'_>,
    rehearsal: &Rehearsal<'_>,
    told: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Prepared> {
    let name = rehearsal.client.archive;
    let architecture = rehearsal.client.architecture;
    let missing = || crate::realise::Error::Unpinned { what: format!("archive `{name}`") };
    let locked = world.upstream.suites(name).ok_or_else(missing)?;
    let scratch = world.store.scratch()?;
    let archive = folder(&scratch.path().join("archive"))?;
    let mut prepared = Prepared {
        layers: Vec::new(),
        archive,
        sources: Vec::new(),
        pool: HashMap::new(),
        filling: Mutex::default(),
        scratch,
    };
    let mut indexes = Vec::new();
    for suite in locked {
        indexes.extend(prepared.take_suite(world, rehearsal, suite, architecture)?);
    }
    prepared.layers = root(world, rehearsal, indexes, told)?;
    Ok(prepared)
}

impl Prepared {
    /// The packages of each pinned index of a suite; where packages are to be installed, the suite
    /// is served as it is pinned.
    fn take_suite(
        &mut self,
        world: &World<'_>,
        rehearsal: &Rehearsal<'_>,
        suite: &LockedSuite,
        architecture: &Architecture,
    ) -> Result<Vec<Vec<Arc<BinaryPackage>>>> {
        let name = rehearsal.client.archive;
        let dists = self.archive.join("dists").join(&suite.suite);
        let is_ours = |index: &&LockedIndex| match &index.kind {
            IndexKind::Packages(of) => of == architecture || *of == Architecture::all(),
            IndexKind::Sources => false,
        };
        let mut served = Served { suite: suite.suite.clone(), components: Vec::new() };
        let mut lists = Vec::new();
        for index in suite.indexes.iter().filter(is_ours) {
            let path = &index.path;
            let damaged = |reason: String| Error::Index { path: path.clone(), reason };
            let object =
                world.upstream.index(world.store, name, &suite.suite, path, world.cancel)?;
            let mut text = String::new();
            world
                .store
                .open_sound(&object)?
                .read_to_string(&mut text)
                .map_err(|error| damaged(format!("cannot be read: {error}")))?;
            let list = index::packages(&text).map_err(|error| damaged(error.to_string()))?;
            if rehearsal.extent == Extent::Full {
                self.place(world, &object, &dists.join(path))?;
                let component = path.split_once("/binary-").map_or("", |(component, _)| component);
                if !served.components.iter().any(|known| known == component) {
                    served.components.push(component.to_owned());
                }
                for package in &list {
                    let path = package.filename.clone();
                    self.pool.entry(path).or_insert_with(|| Arc::clone(package));
                }
            }
            lists.push(list);
        }
        if rehearsal.extent == Extent::Full {
            let evidence = world.upstream.in_release(name, &suite.suite)?;
            folder(&dists)?;
            write(&dists.join("InRelease"), &evidence)?;
            self.sources.push(served);
        }
        Ok(lists)
    }
}

/// The layers of a root of what is essential, and apt.
fn root(
    world: &World<'_>,
    rehearsal: &Rehearsal<'_>,
    indexes: Vec<Vec<Arc<BinaryPackage>>>,
    told: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Vec<HostPath>> {
    let archive = rehearsal.client.archive;
    let request = solver::Request {
        architecture: rehearsal.client.architecture.clone(),
        packages: vec![APT.parse().expect("a name")],
        essential: true,
        depends: Dependencies(Vec::new()),
        conflicts: Dependencies(Vec::new()),
    };
    let chosen = solver::solve(&Universe::new(indexes), &request).map_err(|unsolvable| {
        Error::NoClient { archive: archive.to_owned(), because: unsolvable.because }
    })?;
    let file = |package: &Arc<BinaryPackage>| PoolFile {
        path: package.filename.clone(),
        size: package.size,
        sha256: package.sha256,
    };
    let files: Vec<PoolFile> = chosen.iter().map(file).collect();
    let progress = |progress: crate::fetch::Progress| {
        told(Progress::Fetch { done: progress.files_done, total: progress.files });
    };
    let objects = world.upstream.files(world.store, archive, &files, &progress, world.cancel)?;
    let packages: Vec<RootPackage> = chosen
        .into_iter()
        .zip(objects)
        .map(|(package, object)| RootPackage { package, object })
        .collect();
    let progress = |buildroot::Progress { step, done, total }| {
        told(Progress::Root { step, done, total });
    };
    let root =
        buildroot::provide(world.store, world.executor, &[packages], world.cancel, &progress)?;
    Ok(root.layers)
}

/// A folder that everybody may read, with the folders above it; fine if it is there.
pub(super) fn folder(path: &HostPath) -> Result<HostPath> {
    match fs::create_dir(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .map_err(at("change the mode of", path))?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = path.as_path().parent().map(HostPath::new);
            let parent = parent.ok_or(error).map_err(at("create", path))?;
            folder(&parent)?;
            return folder(path);
        }
        Err(error) => return Err(at("create", path)(error)),
    }
    Ok(path.clone())
}

/// A file that everybody may read.
pub(super) fn write(path: &HostPath, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(at("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .map_err(at("change the mode of", path))
}
