//! What most commands begin with: the release folder, its specs and lock, the store.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use super::arguments::Global;
use super::failure::{Failure, Kind};
use crate::base::HostPath;
use crate::graph::{Graph, lower};
use crate::spec::lock::{self, Lock};
use crate::spec::{self, Spec};
use crate::store::Store;

/// Release folders and other words, told apart as DESIGN's command line does.
pub struct Named {
    /// The release folders named, or the nearest parent with a release.toml.
    pub releases: Vec<HostPath>,
    /// Every other word.
    pub names: Vec<String>,
}

/// Tells release folders from names.
pub fn named(words: &[String]) -> Result<Named, Failure> {
    let (folders, names): (Vec<_>, Vec<_>) =
        words.iter().cloned().partition(|word| word == "." || word == ".." || word.contains('/'));
    let releases = if folders.is_empty() {
        vec![nearest()?]
    } else {
        folders.iter().map(|folder| release_folder(Path::new(folder))).collect::<Result<_, _>>()?
    };
    Ok(Named { releases, names })
}

/// Tells one release folder from names.
pub fn named_one(words: &[String]) -> Result<(HostPath, Vec<String>), Failure> {
    let Named { mut releases, names } = named(words)?;
    match releases.len() {
        1 => Ok((releases.remove(0), names)),
        count => Err(Failure::input("one-release", format!("{count} releases were named"))
            .hint("this command takes one release folder")),
    }
}

fn release_folder(folder: &Path) -> Result<HostPath, Failure> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if absolute.join("release.toml").is_file() {
        return Ok(HostPath::new(absolute));
    }
    let what = if absolute.is_dir() { "has no release.toml" } else { "is not a folder" };
    Err(Failure::input("no-release", format!("`{}` {what}", folder.display())))
}

fn nearest() -> Result<HostPath, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::error(Kind::Machine, "working-folder", &error))?;
    here.ancestors()
        .find(|folder| folder.join("release.toml").is_file())
        .map(HostPath::new)
        .ok_or_else(|| {
            Failure::input("no-release", "no release.toml here or in any folder above")
                .hint("name the release folder: `perestroika COMMAND path/to/release`")
        })
}

/// A release read from its folder.
pub struct Release {
    /// The folder.
    pub folder: HostPath,
    /// What its specs say.
    pub spec: Spec,
    /// What it is pinned to; empty if it has no release.lock yet.
    pub lock: Option<Lock>,
}

impl Release {
    /// Reads the folder: pure and offline.
    pub fn load(folder: &HostPath) -> Result<Self, Failure> {
        let wrong = |diagnostics| Failure::in_release(folder, diagnostics);
        let path = folder.join("release.lock");
        let lock = match std::fs::read_to_string(&path) {
            Ok(text) => Some(lock::parse(&text).map_err(wrong)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let spec = spec::load(folder, lock.as_ref()).map_err(wrong)?;
        Ok(Self { folder: folder.clone(), spec, lock })
    }

    /// The graph of its packages.
    pub fn graph(&self) -> Result<Graph, Failure> {
        let empty = Lock::default();
        lower(&self.spec, self.lock.as_ref().unwrap_or(&empty))
            .map_err(|diagnostics| Failure::in_release(&self.folder, diagnostics))
    }
}

fn unreadable(path: &HostPath, error: &std::io::Error) -> Failure {
    Failure::input("unreadable", format!("cannot read `{path}`: {error}"))
}

/// The store that the flags, the environment or the user's data folder name.
pub fn store_folder(global: &Global) -> Result<HostPath, Failure> {
    if let Some(folder) = &global.store {
        return Ok(HostPath::new(folder));
    }
    let data: PathBuf = etcetera::choose_base_strategy()
        .map(|strategy| strategy.data_dir())
        .map_err(|_| {
            Failure::new(Kind::Machine, "no-home", "there is no home folder for the store")
                .hint("name a folder for it: `--store DIR` or PERESTROIKA_STORE")
        })?;
    Ok(HostPath::new(data.join("perestroika")))
}

/// Opens the store, creating it if need be.
pub fn open_store(global: &Global) -> Result<Store, Failure> {
    let folder = store_folder(global)?;
    Store::open(&folder).map_err(|error| Failure::error(Kind::Machine, "store", &error))
}
