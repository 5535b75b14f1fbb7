use std::collections::BTreeMap;

use super::ignore::{self, Ignore, Kind};
use super::{Dir, Error, Loader, is_module, is_spec, nearest_path};
use crate::base::{Digest, ReleaseFolder, ReleasePath, Tree, TreeEntry, TreeKind};
use crate::spec::model::PackagingText;

/// A release, and those that it extends, that are nowhere but in memory: file contents by path.
#[derive(Debug, Clone, Default)]
pub struct Memory(pub BTreeMap<ReleasePath, Vec<u8>>);

impl Memory {
    /// The files of a folder that are `wanted`.
    fn texts(&self, folder: &ReleaseFolder, wanted: fn(&ReleasePath) -> bool) -> Vec<ReleasePath> {
        let counts = |path: &&ReleasePath| wanted(path) && path.folder() == *folder;
        self.0.keys().filter(counts).cloned().collect()
    }
}

impl Loader for Memory {
    fn specs(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        Ok(self.texts(folder, is_spec))
    }

    fn modules(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        Ok(self.texts(folder, is_module))
    }

    fn read(&self, path: &ReleasePath, limit: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.0.get(path).ok_or_else(|| Error::Missing(path.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(Error::Size { path: path.to_string(), limit });
        }
        Ok(bytes.clone())
    }

    fn dir(&self, path: &ReleasePath) -> Result<Dir, Error> {
        let below = |(name, bytes): (&ReleasePath, _)| {
            let name = name.as_str().strip_prefix(path.as_str())?.strip_prefix('/')?;
            Some((name.to_owned(), bytes))
        };
        let files: BTreeMap<String, &Vec<u8>> = self.0.iter().filter_map(below).collect();
        if files.is_empty() {
            return Err(Error::Missing(path.to_string()));
        }
        let text =
            |name: &str| files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let ignore = Ignore::parse(&text(ignore::FILE).unwrap_or_default());
        let counts = |name: &str| {
            let mut folders = name.match_indices('/').map(|(at, _)| &name[..at]);
            !ignore.leaves_out(name, Kind::Other)
                && !folders.any(|folder| ignore.leaves_out(folder, Kind::Folder))
        };
        let entries = files.iter().filter(|(name, _)| counts(name)).map(|(name, bytes)| {
            TreeEntry { path: name.clone(), kind: TreeKind::File(Digest::of(bytes)) }
        });
        let tree = Tree::new(entries.collect())
            .expect("what follows a release path in another is plain and there once");
        let packaging = text("debian/control")
            .zip(text("debian/changelog"))
            .map(|(control, changelog)| PackagingText { control, changelog });
        Ok(Dir { tree, packaging })
    }

    fn near(&self, path: &ReleasePath) -> Option<String> {
        nearest_path(path.inside(), |folder| {
            let inside = self.0.keys().filter(|one| one.folder() == path.folder());
            let below = inside.filter_map(|one| match folder {
                "" => Some(one.inside()),
                folder => one.inside().strip_prefix(folder)?.strip_prefix('/'),
            });
            let first = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
            Some(below.map(first).collect())
        })
    }
}
