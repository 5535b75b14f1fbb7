//! Comparing what is kept with its name, and putting aside what is damaged.

use std::fs;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::Store;
use super::database::{action, digest};
use super::error::{Error, Result, system};
use super::inventory::{Kind, Thing};
use super::lease::open_quietly;
use super::remove::open_up;
use super::scratch::random_name;
use crate::base::{ActionId, Digest, HostPath, Json};

/// Something that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it was found.
    pub path: HostPath,
    /// What is wrong with it.
    pub what: String,
    /// Where it is now, if it was put aside.
    pub aside: Option<HostPath>,
}

/// A tree that builds share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedTree {
    /// [`Kind::Layer`] or [`Kind::Unpacked`].
    pub kind: Kind,
    /// Where it is.
    pub path: HostPath,
    /// Of a layer: the name of its manifest.
    pub manifest: Option<Digest>,
    name: super::lease::Name,
}

impl Store {
    /// Reads every blob, document and finished log through, on all processors, and puts aside
    /// what its name does not fit. Gives how many were read, and what was wrong. Does not count
    /// as a use of anything. Tells `seen` how many of how many were read.
    pub fn verify_all(&self, seen: &(dyn Fn(usize, usize) + Sync)) -> Result<(usize, Vec<Damage>)> {
        let mut things = self.things()?;
        things.retain(|thing| {
            matches!(thing.kind, Kind::Object | Kind::Document | Kind::Log) && thing.name.is_some()
        });
        let done = AtomicUsize::new(0);
        let verify = |thing| {
            let found = self.verify_one(thing)?;
            seen(done.fetch_add(1, Ordering::Relaxed) + 1, things.len());
            Ok(found)
        };
        let found: Vec<Option<Damage>> = things.par_iter().map(verify).collect::<Result<_>>()?;
        Ok((things.len(), found.into_iter().flatten().collect()))
    }

    fn verify_one(&self, thing: &Thing) -> Result<Option<Damage>> {
        let path = &thing.path;
        let Some(name) = thing.name else { return Ok(None) };
        let expected = Digest::from_bytes(name);
        let file = match open_quietly(path) {
            // Collected meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(system("open", path))?,
        };
        let mut hasher = blake3::Hasher::new();
        let hashed = match thing.kind {
            Kind::Log => zstd::stream::read::Decoder::new(file).and_then(|text| {
                hasher.update_reader(text.take(super::logs::LONGEST * 2)).map(drop)
            }),
            _ => hasher.update_reader(file).map(drop),
        };
        let actual = Digest::from_bytes(*hasher.finalize().as_bytes());
        let what = match hashed {
            Err(error) => format!("cannot be read: {error}"),
            Ok(()) if actual != expected => format!("its bytes are those of {actual}"),
            Ok(()) if thing.kind == Kind::Document && !self.is_canonical(path) => {
                "is not canonical JSON".to_owned()
            }
            Ok(()) => return Ok(None),
        };
        let aside = Some(self.put_aside(path)?);
        Ok(Some(Damage { path: path.clone(), what, aside }))
    }

    fn is_canonical(&self, path: &HostPath) -> bool {
        let mut bytes = Vec::new();
        let read = open_quietly(path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.is_ok() && Json::read_canonical(&bytes).is_ok()
    }

    /// The trees that builds share.
    pub fn shared_trees(&self) -> Result<Vec<SharedTree>> {
        let layers = self.rows(
            "list layers",
            "SELECT key, manifest FROM layer WHERE adopted = 1 ORDER BY key",
            (),
            |row| Ok((digest(row, 0)?, digest(row, 1)?)),
        )?;
        let unpacked = self.rows(
            "list unpacked packages",
            "SELECT sha256 FROM unpacked ORDER BY sha256",
            (),
            |row| digest(row, 0),
        )?;
        let layers = layers.into_iter().map(|(key, manifest)| SharedTree {
            kind: Kind::Layer,
            path: self.path("layers").join(key.to_string()),
            manifest: Some(manifest),
            name: *key.as_bytes(),
        });
        let unpacked = unpacked.into_iter().map(|name| SharedTree {
            kind: Kind::Unpacked,
            path: self.path("unpacked").join(name.to_string()),
            manifest: None,
            name: *name.as_bytes(),
        });
        // A row whose tree is gone is believed by nobody.
        Ok(layers.chain(unpacked).filter(|tree| tree.path.as_path().is_dir()).collect())
    }

    /// Forgets a damaged tree, so that it is made anew when it is needed, and puts it aside unless
    /// a running process uses it; gives where it went.
    pub fn put_aside_tree(&self, tree: &SharedTree) -> Result<Option<HostPath>> {
        let sql = match tree.kind {
            Kind::Layer => "DELETE FROM layer WHERE key = ?1",
            _ => "DELETE FROM unpacked WHERE sha256 = ?1",
        };
        self.write("forget a damaged tree", |transaction| {
            transaction.execute(sql, [&tree.name]).map(drop)
        })?;
        let _closed = self.close_gate()?;
        if self.held()?.contains(&tree.name) {
            return Ok(None);
        }
        open_up(tree.path.as_path()).map_err(system("open up", &tree.path))?;
        self.put_aside(&tree.path).map(Some)
    }

    /// The adopted record of every action.
    pub fn records_of_actions(&self) -> Result<Vec<(ActionId, Digest)>> {
        self.rows(
            "list records",
            "SELECT action, document FROM record WHERE adopted = 1 ORDER BY action",
            (),
            |row| Ok((action(row, 0)?, digest(row, 1)?)),
        )
    }

    /// Moves something damaged into `quarantine/`; gives where it is now.
    pub(super) fn put_aside(&self, path: &HostPath) -> Result<HostPath> {
        let name = path.as_path().file_name().unwrap_or_default().to_string_lossy();
        let aside = self.path("quarantine").join(format!("{name}-{}", random_name()));
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::Missing { path: path.clone() })
            }
            moved => moved.map_err(system("quarantine", path)).map(|()| aside),
        }
    }
}
