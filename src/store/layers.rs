//! Trees that are built once and shared: layers of build roots, and unpacked packages.
//!
//! A tree is staged in a temporary folder, written out, renamed into place, then registered: what
//! has no row is rubbish of a killed process and is replaced.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use rusqlite::OptionalExtension;
use rustix::fs::FlockOperation;

use super::database::digest;
use super::error::{Result, system};
use super::locks::acquire;
use super::remove::{open_up, sync_folder};
use super::{Scratch, Store};
use crate::base::{Digest, HostPath, Sha256};

/// A kept layer of a build root. It is read-only by agreement: everybody shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its tree.
    pub path: HostPath,
    /// The manifest of the tree that is kept, the first one made.
    pub manifest: Digest,
    /// Whether it was made more than once with different manifests.
    pub divergent: bool,
}

/// A tree in the making; dropped without being committed, it is removed.
#[derive(Debug)]
pub struct StagedLayer {
    scratch: Scratch,
    tree: HostPath,
}

impl StagedLayer {
    /// The tree: an empty folder of mode 0755, to be filled.
    pub fn path(&self) -> &HostPath {
        &self.tree
    }

    /// A private folder beside the tree, for what is only needed while it is made (an overlay's
    /// work folder must be on the file system of its upper one).
    pub fn beside(&self) -> &HostPath {
        self.scratch.path()
    }
}

impl Store {
    /// The layer that was made for this key, if it is kept.
    pub fn layer(&self, key: &Digest) -> Result<Option<Layer>> {
        let path = self.path("layers").join(key.to_string());
        if !path.as_path().is_dir() {
            return Ok(None);
        }
        self.row(
            "look up a layer",
            "SELECT manifest, (SELECT count(*) FROM layer WHERE key = ?1)
             FROM layer WHERE key = ?1 AND adopted = 1",
            [key.as_bytes()],
            |row| {
                let divergent = row.get::<_, i64>(1)? > 1;
                Ok(Layer { path, manifest: digest(row, 0)?, divergent })
            },
        )
    }

    /// The manifests of all layers that are kept.
    pub fn layers(&self) -> Result<BTreeSet<Digest>> {
        let rows = self.rows(
            "list layers",
            "SELECT key, manifest FROM layer WHERE adopted = 1",
            (),
            |row| Ok((digest(row, 0)?, digest(row, 1)?)),
        )?;
        let folder = self.path("layers");
        let kept =
            rows.into_iter().filter(|(key, _)| folder.join(key.to_string()).as_path().is_dir());
        Ok(kept.map(|(_, manifest)| manifest).collect())
    }

    /// A new tree to be filled, on the store's file system.
    pub fn stage_layer(&self) -> Result<StagedLayer> {
        let scratch = self.scratch()?;
        let tree = scratch.path().join("tree");
        DirBuilder::new().mode(0o755).create(&tree).map_err(system("create", &tree))?;
        // The umask has a say in mkdir(2), and must have none in a layer.
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755))
            .map_err(system("protect", &tree))?;
        Ok(StagedLayer { scratch, tree })
    }

    /// Keeps a staged tree as the layer of `key`; durable when this returns. If the key has a
    /// layer already, that one stays and is given; a different manifest marks it divergent.
    pub fn commit_layer(
        &self,
        key: &Digest,
        staged: StagedLayer,
        manifest: &Digest,
    ) -> Result<Layer> {
        self.sync_all()?;
        let _alone = self.lock_commits()?;
        let path = self.path("layers").join(key.to_string());
        let kept = self.layer(key)?;
        if kept.is_none() {
            self.install(&path, &staged)?;
        }
        self.sync_parent(&path)?;
        let forget = kept.is_none();
        let (adopted, count) = self.write("register a layer", |transaction| {
            if forget {
                // Rows of a layer that somebody removed by hand.
                transaction.execute("DELETE FROM layer WHERE key = ?1", [key.as_bytes()])?;
            }
            let adopted: Option<[u8; 32]> = transaction
                .prepare_cached("SELECT manifest FROM layer WHERE key = ?1 AND adopted = 1")?
                .query_row([key.as_bytes()], |row| row.get(0))
                .optional()?;
            transaction
                .prepare_cached("INSERT OR IGNORE INTO layer VALUES (?1, ?2, ?3)")?
                .execute((key.as_bytes(), manifest.as_bytes(), adopted.is_none()))?;
            let count: i64 = transaction
                .prepare_cached("SELECT count(*) FROM layer WHERE key = ?1")?
                .query_row([key.as_bytes()], |row| row.get(0))?;
            Ok((adopted.map_or(*manifest, Digest::from_bytes), count))
        })?;
        Ok(Layer { path, manifest: adopted, divergent: count > 1 })
    }

    /// The unpacked tree of the package file of this SHA-256, if it is kept.
    pub fn unpacked(&self, sha256: &Sha256) -> Result<Option<HostPath>> {
        let path = self.unpacked_path(sha256);
        if !path.as_path().is_dir() {
            return Ok(None);
        }
        let known = self.row(
            "look up an unpacked package",
            "SELECT 1 FROM unpacked WHERE sha256 = ?1",
            [sha256.as_bytes()],
            |_| Ok(()),
        )?;
        Ok(known.map(|()| path))
    }

    /// Forgets the unpacked tree of a package file: the next one kept takes its place. Roots that
    /// were made of it have their own names of its files.
    pub fn forget_unpacked(&self, sha256: &Sha256) -> Result<()> {
        self.write("forget an unpacked package", |transaction| {
            let sql = "DELETE FROM unpacked WHERE sha256 = ?1";
            transaction.execute(sql, [sha256.as_bytes()]).map(drop)
        })
    }

    /// Keeps a staged tree as the unpacked one of a package file; durable when this returns.
    pub fn commit_unpacked(&self, sha256: &Sha256, staged: StagedLayer) -> Result<HostPath> {
        self.commit_many_unpacked(vec![(*sha256, staged)])?;
        Ok(self.unpacked_path(sha256))
    }

    /// Keeps many staged trees, each as the unpacked one of its package file, written out
    /// together: the cost of one. Those that are kept already stay as they are.
    pub fn commit_many_unpacked(&self, trees: Vec<(Sha256, StagedLayer)>) -> Result<()> {
        self.sync_all()?;
        let _alone = self.lock_commits()?;
        for (sha256, staged) in &trees {
            if self.unpacked(sha256)?.is_none() {
                self.install(&self.unpacked_path(sha256), staged)?;
            }
        }
        let folder = self.path("unpacked");
        sync_folder(folder.as_path()).map_err(system("sync", &folder))?;
        self.write("register unpacked packages", |transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO unpacked VALUES (?1)")?;
            trees.iter().try_for_each(|(sha256, _)| insert.execute([sha256.as_bytes()]).map(drop))
        })
    }

    fn unpacked_path(&self, sha256: &Sha256) -> HostPath {
        self.path("unpacked").join(sha256.to_string())
    }

    fn lock_commits(&self) -> Result<super::Guard> {
        acquire(&self.path("locks").join(".commit"), FlockOperation::LockExclusive)
    }

    /// Renames a staged tree into place, moving rubbish there out of the way.
    fn install(&self, target: &HostPath, staged: &StagedLayer) -> Result<()> {
        if fs::symlink_metadata(target).is_ok() {
            let rubbish = self.scratch()?;
            let aside = rubbish.path().join("rubbish");
            open_up(target.as_path()).map_err(system("open up", target))?;
            fs::rename(target, &aside).map_err(system("move away", target))?;
        }
        // Renaming a folder writes its `..`, which a read-only one refuses.
        let tree = staged.path();
        let mode = fs::metadata(tree).map_err(system("look at", tree))?.permissions();
        open_up(tree.as_path()).map_err(system("open up", tree))?;
        fs::rename(tree, target).map_err(system("name", target))?;
        fs::set_permissions(target, mode).map_err(system("protect", target))
    }

    fn sync_parent(&self, path: &HostPath) -> Result<()> {
        let folder = path.as_path().parent().unwrap_or(path.as_path());
        sync_folder(folder).map_err(system("sync", folder))
    }
}
