//! What generations name: the indexes that their Release files list, and the files of the pool
//! that those indexes list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::error::{Error, Result, at};
use super::layout::{BY_HASH, DISTS, POOL, Repository};
use super::{Generation, State};
use crate::archive::deb::control::{Paragraph, paragraphs};
use crate::archive::deb::release::ReleaseFile;
use crate::base::{HostPath, Sha256};

/// What a file has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// In bytes.
    pub size: u64,
    /// Of all its bytes.
    pub sha256: Sha256,
}

/// What some generations name. Each index is read once, however many of them have it.
#[derive(Debug, Default)]
pub struct Named {
    /// Files below `by-hash` and `pool`, by their paths in the repository.
    pub files: BTreeMap<String, Proof>,
    /// Digests of the Release files that were read.
    releases: BTreeSet<Sha256>,
    /// Digests of the indexes that were read.
    indexes: BTreeSet<Sha256>,
}

impl Named {
    /// Adds what a generation names.
    ///
    /// # Errors
    /// [`Error::System`] or [`Error::Damaged`] for whatever cannot be read, or is not what the
    /// generation says it is: half of the names would be worse than none.
    pub fn add(&mut self, repository: &Repository, generation: &Generation) -> Result<()> {
        let dists = repository.generation_path(generation.number).join(DISTS);
        for (name, state) in &generation.suites {
            self.add_suite(&dists.join(name), state)?;
        }
        Ok(())
    }

    fn add_suite(&mut self, folder: &HostPath, state: &State) -> Result<()> {
        if !self.releases.insert(state.release) {
            return Ok(());
        }
        let path = folder.join("Release");
        let text = read(&path, |bytes| Sha256::of(bytes) == state.release)?;
        let release =
            ReleaseFile::parse(&text).map_err(|error| damaged(&path, error.to_string()))?;
        for (name, (size, sha256)) in &release.files {
            let proof = Proof { size: *size, sha256: *sha256 };
            self.insert(&path, format!("{BY_HASH}/SHA256/{sha256}"), proof)?;
            let (parent, file) = name.rsplit_once('/').unwrap_or(("", name));
            let plain = file.split('.').next().unwrap_or_default();
            if !matches!(plain, "Packages" | "Sources") {
                continue;
            }
            if file == plain {
                self.add_index(&folder.join(name), plain, &proof)?;
            } else if !release.files.contains_key(format!("{parent}/{plain}").trim_matches('/')) {
                return Err(damaged(&path, format!("it lists `{name}`, but no `{plain}` there")));
            }
        }
        Ok(())
    }

    fn add_index(&mut self, path: &HostPath, kind: &str, proof: &Proof) -> Result<()> {
        if !self.indexes.insert(proof.sha256) {
            return Ok(());
        }
        let text = read(path, |bytes| {
            bytes.len() as u64 == proof.size && Sha256::of(bytes) == proof.sha256
        })?;
        for paragraph in paragraphs(&text) {
            let paragraph = paragraph.map_err(|error| damaged(path, error.to_string()))?;
            let row = match kind {
                "Packages" => package(&paragraph).map(|row| vec![row]),
                _ => source(&paragraph),
            };
            let row = row.ok_or_else(|| {
                let reason = format!("line {}: no files that could be found", paragraph.line());
                damaged(path, reason)
            })?;
            for (name, proof) in row {
                self.insert(path, name, proof)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, by: &HostPath, name: String, proof: Proof) -> Result<()> {
        match self.files.get(&name) {
            Some(known) if *known != proof => {
                Err(damaged(by, format!("`{name}` is another file elsewhere")))
            }
            Some(_) => Ok(()),
            None => {
                self.files.insert(name, proof);
                Ok(())
            }
        }
    }
}

/// The text of a file that is what it has to be.
fn read(path: &HostPath, is_right: impl Fn(&[u8]) -> bool) -> Result<String> {
    let bytes = fs::read(path).map_err(at("read", path))?;
    if !is_right(&bytes) {
        return Err(damaged(path, "it is not what the generation says it is".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| damaged(path, error.to_string()))
}

fn damaged(path: &HostPath, reason: String) -> Error {
    Error::Damaged { path: path.clone(), reason }
}

/// The file of a row of `Packages`.
fn package(row: &Paragraph<'_>) -> Option<(String, Proof)> {
    let proof =
        Proof { size: row.get("Size")?.parse().ok()?, sha256: row.get("SHA256")?.parse().ok()? };
    Some((pooled(row.get("Filename")?)?, proof))
}

/// The files of a row of `Sources`.
fn source(row: &Paragraph<'_>) -> Option<Vec<(String, Proof)>> {
    let folder = row.get("Directory")?;
    let lines = row.get("Checksums-Sha256")?.lines().filter(|line| !line.trim_ascii().is_empty());
    let file = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
        let proof = Proof { size: size.parse().ok()?, sha256: sha256.parse().ok()? };
        Some((pooled(&format!("{folder}/{name}"))?, proof))
    };
    lines.map(file).collect()
}

/// A path below `pool` that cannot lead out of it.
fn pooled(path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let is_plain = path.strip_prefix(POOL)?.strip_prefix('/')?.split('/').all(|part| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_graphic())
    });
    is_plain.then(|| path.to_owned())
}
