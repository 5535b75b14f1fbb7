//! Releases that stay until they are let go: a file for each in `pins/`, named by the release's id.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;

use serde::Deserialize;

use super::error::{Error, Result, system};
use super::remove::sync_folder;
use super::{BuiltRelease, Store};
use crate::base::{DerivationId, Digest, HostPath, Json};

/// A release that is kept whatever becomes of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    format: Format,
    /// The release's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub release: DerivationId,
    /// The name of its manifest; none if not all of it was built.
    #[serde(default)]
    pub manifest: Option<Digest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Format {
    #[serde(rename = "perestroika/pin/1")]
    One,
}

impl Store {
    /// Keeps a release that was built; durable when this returns.
    pub fn pin(&self, built: &BuiltRelease) -> Result<()> {
        let folder = self.path("pins");
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(system("create", &folder)(error));
            }
            _ => {}
        }
        sync_folder(self.root().as_path()).map_err(system("sync", self.root()))?;
        let members = [
            ("format", "perestroika/pin/1".into()),
            ("name", (&built.name).into()),
            ("version", (&built.version).into()),
            ("release", Json::text(built.release)),
        ];
        let manifest = built.manifest.map(|manifest| ("manifest", Json::text(manifest)));
        let document = Json::object(members.into_iter().chain(manifest));
        let path = self.pin_path(&built.release);
        let waiting = self.temporary()?.join(format!("pin-{}", built.release));
        fs::write(&waiting, document.encode()).map_err(system("write", &waiting))?;
        let written = fs::File::open(&waiting).map_err(system("open", &waiting))?;
        written.sync_all().map_err(system("sync", &waiting))?;
        fs::rename(&waiting, &path).map_err(system("name", &path))?;
        sync_folder(folder.as_path()).map_err(system("sync", &folder))
    }

    /// Lets a pinned release go; says whether it was pinned.
    pub fn unpin(&self, release: &DerivationId) -> Result<bool> {
        let path = self.pin_path(release);
        match fs::remove_file(&path) {
            Ok(()) => {
                let folder = self.path("pins");
                sync_folder(folder.as_path()).map_err(system("sync", &folder)).map(|()| true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(system("remove", &path)(error)),
        }
    }

    /// The pinned releases, by name and version.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let folder = self.path("pins");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(system("list", &folder))?,
        };
        let mut pins = Vec::new();
        for entry in entries {
            let path = HostPath::new(entry.map_err(system("list", &folder))?.path());
            let bytes = fs::read(&path).map_err(system("read", &path))?;
            pins.push(read(&bytes).map_err(|source| Error::Pin { path, source })?);
        }
        pins.sort_by(|a, b| {
            (&a.name, &a.version, a.release).cmp(&(&b.name, &b.version, b.release))
        });
        Ok(pins)
    }

    fn pin_path(&self, release: &DerivationId) -> HostPath {
        self.path("pins").join(release.to_string())
    }
}

fn read(bytes: &[u8]) -> serde_json::Result<Pin> {
    serde_json::from_slice(bytes)
}
