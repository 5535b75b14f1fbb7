//! Whether trees that builds share are still what they were when they were made.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::manifest::{EntryKind, Manifest};
use super::unpacked::{Unpacked, What};
use crate::base::{Digest, HostPath};

/// How closely a tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every path is there, of its kind and size.
    Look,
    /// And every file has its bytes.
    Bytes,
}

/// What is wrong with a layer's tree, by its manifest's document; nothing if it is whole.
pub fn layer_is_whole(tree: &HostPath, manifest: &[u8], depth: Depth) -> Result<(), String> {
    let manifest = Manifest::from_json(manifest).map_err(|error| error.to_string())?;
    let mut left = list(tree.as_path())?;
    for (path, entry) in &manifest.entries {
        let there = left.remove(Path::new(path));
        if !there && entry.kind != EntryKind::Whiteout {
            return Err(format!("`{path}` is missing"));
        }
        let full = tree.join(path);
        match &entry.kind {
            EntryKind::File { size, blake3 } => file_is_whole(&full, path, *size, blake3, depth)?,
            EntryKind::Link(target) => {
                if fs::read_link(&full).ok().as_deref() != Some(Path::new(target)) {
                    return Err(format!("`{path}` is not the link that it was"));
                }
            }
            EntryKind::Directory | EntryKind::OpaqueDirectory => {
                if !fs::symlink_metadata(&full).is_ok_and(|found| found.is_dir()) {
                    return Err(format!("`{path}` is no folder"));
                }
            }
            EntryKind::Whiteout => {}
        }
    }
    match left.first() {
        Some(path) => Err(format!("`{}` does not belong there", path.display())),
        None => Ok(()),
    }
}

/// What is wrong with an unpacked package; nothing if it is whole.
pub fn unpacked_is_whole(tree: &HostPath, depth: Depth) -> Result<(), String> {
    let unpacked = Unpacked::load(tree.clone()).map_err(|error| error.to_string())?;
    if !unpacked.is_whole() {
        return Err("files of it are missing".to_owned());
    }
    for item in &unpacked.contents.items {
        if let What::File { size, blake3, .. } = &item.what {
            file_is_whole(&unpacked.file(&item.path), &item.path, *size, blake3, depth)?;
        }
    }
    Ok(())
}

fn file_is_whole(
    full: &HostPath,
    path: &str,
    size: u64,
    expected: &Digest,
    depth: Depth,
) -> Result<(), String> {
    let found = fs::symlink_metadata(full).map_err(|error| format!("`{path}`: {error}"))?;
    if !found.is_file() || found.size() != size {
        return Err(format!("`{path}` is not the file that it was"));
    }
    if depth == Depth::Look {
        return Ok(());
    }
    let mut hasher = blake3::Hasher::new();
    let hashed = fs::File::open(full).and_then(|file| hasher.update_reader(file).map(drop));
    hashed.map_err(|error| format!("`{path}` cannot be read: {error}"))?;
    let actual = Digest::from_bytes(*hasher.finalize().as_bytes());
    if actual == *expected { Ok(()) } else { Err(format!("`{path}` has other bytes")) }
}

/// Every path below `tree`, relative to it, without whiteouts.
fn list(tree: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let mut paths = BTreeSet::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(folder) = waiting.pop() {
        let unreadable = |error| format!("`{}`: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            let path = entry.path();
            if kind.is_dir() {
                waiting.push(path.clone());
            }
            if !kind.is_char_device()
                && let Ok(relative) = path.strip_prefix(tree)
            {
                paths.insert(relative.to_owned());
            }
        }
    }
    Ok(paths)
}
