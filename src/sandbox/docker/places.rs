//! Where everything that a guest is made of lies in its container.

use std::fs;
use std::path::{Path, PathBuf};

use bollard::models::{Mount, MountType, MountVolumeOptions};

use super::engine::Facts;
use crate::sandbox::native::Order;
use crate::sandbox::{Error, Result};

/// What a container must be given so that an order's paths lead somewhere in it.
#[derive(Debug, Default)]
pub struct Places {
    /// The mounts.
    pub mounts: Vec<Mount>,
}

impl Places {
    /// For an engine that has the caller's files: each is mounted where it is. The order's paths
    /// become those of the container.
    ///
    /// # Errors
    /// What is not there, which some engines would make; a path that the engine cannot take.
    pub fn shared(order: &mut Order, facts: &Facts) -> Result<Self> {
        let mut places = Self::default();
        for (index, layer) in order.layers.iter_mut().enumerate() {
            *layer = places.bind(layer, format!("/layers/{index}"), true);
        }
        for (index, mount) in order.mounts.iter_mut().enumerate() {
            mount.source = places.bind(&mount.source, format!("/mounts/{index}"), !mount.writable);
        }
        for (upper, work) in [&mut order.configure, &mut order.over].into_iter().flatten() {
            // Overlayfs wants both on one mount; where they share no folder the child says so.
            let (Some(folder), Some(name), Some(beside)) =
                (upper.parent(), upper.file_name(), work.file_name())
            else {
                continue;
            };
            let inside = places.bind(folder, "/made".to_owned(), false);
            if work.parent() == Some(folder) {
                (*upper, *work) = (inside.join(name), inside.join(beside));
            }
        }
        if let Some(disk) = &mut order.disk {
            *disk = places.bind(disk, "/scratch".to_owned(), false);
        }
        if let Some(keep) = &mut order.keep {
            keep.to = places.bind(&keep.to, "/keep".to_owned(), false);
        }
        for source in places.mounts.iter().filter_map(|mount| mount.source.as_deref()) {
            takes(facts, source)?;
        }
        Ok(places)
    }

    /// Mounts a volume.
    pub fn volume(&mut self, name: &str, target: String, read_only: bool) {
        self.mounts.push(Mount {
            typ: Some(MountType::VOLUME),
            source: Some(name.to_owned()),
            target: Some(target),
            read_only: Some(read_only),
            volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
            ..Mount::default()
        });
    }

    /// Mounts a file or folder of the engine's machine. Returns where it is in the container.
    pub fn bind(&mut self, source: &Path, target: String, read_only: bool) -> PathBuf {
        self.mounts.push(Mount {
            typ: Some(MountType::BIND),
            source: Some(source.to_string_lossy().into_owned()),
            target: Some(target.clone()),
            read_only: Some(read_only),
            ..Mount::default()
        });
        PathBuf::from(target)
    }
}

/// Fails if an engine cannot mount this.
fn takes(facts: &Facts, source: &str) -> Result<()> {
    fs::metadata(source).map_err(|error| Error::System {
        operation: format!("find `{source}` for a container"),
        source: error,
    })?;
    match facts.podman && source.contains([',', ':']) {
        false => Ok(()),
        true => Err(Error::Request(format!(
            "Podman takes no path with a comma or a colon, as `{source}` has; the store must lie \
             elsewhere"
        ))),
    }
}
