use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Dir, Error, Folder, Loader, is_module, is_spec};
use crate::base::{ReleaseFolder, ReleasePath};

/// A release folder as an editor sees it: texts that are not saved count in place of the files.
#[derive(Debug, Clone)]
pub struct Overlay {
    below: Folder,
    texts: BTreeMap<ReleasePath, Arc<str>>,
    dirs: Dirs,
}

/// The folders hashed for one evaluation, kept for the next ones.
#[derive(Debug, Clone, Default)]
pub struct Dirs(Arc<Mutex<BTreeMap<ReleasePath, Dir>>>);

impl Overlay {
    /// `texts` above the files of `below`. What was hashed into `dirs` is not hashed again.
    pub fn new(below: Folder, texts: BTreeMap<ReleasePath, Arc<str>>, dirs: Dirs) -> Self {
        Self { below, texts, dirs }
    }

    /// `found` with the texts of a folder that are `wanted`.
    fn with_texts(
        &self,
        mut found: Vec<ReleasePath>,
        folder: &ReleaseFolder,
        wanted: fn(&ReleasePath) -> bool,
    ) -> Vec<ReleasePath> {
        let counts = |path: &&ReleasePath| wanted(path) && path.folder() == *folder;
        found.extend(self.texts.keys().filter(counts).cloned());
        found.sort();
        found.dedup();
        found
    }
}

impl Loader for Overlay {
    fn specs(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        Ok(self.with_texts(self.below.specs(folder)?, folder, is_spec))
    }

    fn modules(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        Ok(self.with_texts(self.below.modules(folder)?, folder, is_module))
    }

    fn read(&self, path: &ReleasePath, limit: u64) -> Result<Vec<u8>, Error> {
        match self.texts.get(path) {
            Some(text) if text.len() as u64 > limit => {
                Err(Error::Size { path: path.to_string(), limit })
            }
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => self.below.read(path, limit),
        }
    }

    fn dir(&self, path: &ReleasePath) -> Result<Dir, Error> {
        let dirs = || self.dirs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = dirs().get(path) {
            return Ok(dir.clone());
        }
        let dir = self.below.dir(path)?;
        dirs().insert(path.clone(), dir.clone());
        Ok(dir)
    }

    fn near(&self, path: &ReleasePath) -> Option<String> {
        self.below.near(path)
    }
}
