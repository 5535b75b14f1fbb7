//! Retention: generations that nothing needs any more, and the indexes and packages that only
//! they name.
//!
//! Everything is read first. Whatever cannot be read stops the prune before anything is removed.
//! Then the generations go, by rename, and after them their files: a killed run leaves files that
//! no generation names, which the next one finds.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::error::{Error, Result, at};
use super::layout::{BY_HASH, GENERATIONS, KEYS, POOL, PRIVATE, Repository};
use super::named::Named;
use super::{Generation, Published};
use crate::base::{DerivationId, HostPath};

/// What stays beyond what is needed.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How many generations, the newest first.
    pub keep: usize,
    /// How long what clients read stays after it was replaced, in days: of a generation all, so
    /// that a client that has read its InRelease finds its packages.
    pub days: u32,
    /// Releases whose last published generation stays.
    pub pinned: BTreeSet<DerivationId>,
}

/// What goes, and what stays.
#[derive(Debug)]
pub struct Pruning {
    /// Every generation, the oldest first.
    pub generations: Vec<Judged>,
    /// Files below `by-hash` and `pool` that go, by path.
    pub files: Vec<Gone>,
    /// How many of those stay.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Bytes of what goes, generations' own documents included.
    pub freed: u64,
    left: Vec<HostPath>,
}

/// A generation that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its number.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub date: i64,
    /// Why it stays; it goes if there is no reason.
    pub because: Option<String>,
}

/// A file that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its path in the repository.
    pub path: String,
    /// In bytes.
    pub size: u64,
}

/// What a prune calls a generation that it has taken away, in the staging folder.
const TAKEN: &str = "pruned-";
const DAY: i64 = 86_400;

/// Removes what nothing needs; `now` is in seconds since 1970. Costs what there is to read, and
/// once the number of files.
///
/// # Errors
/// Those of reading a generation, before anything is removed; [`Error::System`] while removing.
/// Run it again then: it goes on.
pub fn prune(repository: &Repository, retention: &Retention, now: i64) -> Result<Pruning> {
    let _guard = repository.lock()?;
    let pruning = judge(repository, retention, now)?;
    remove(repository, &pruning)?;
    Ok(pruning)
}

/// What [`prune`] would remove now.
///
/// # Errors
/// Those of reading a generation.
pub fn foresee(repository: &Repository, retention: &Retention, now: i64) -> Result<Pruning> {
    let _guard = repository.lock()?;
    judge(repository, retention, now)
}

fn judge(repository: &Repository, retention: &Retention, now: i64) -> Result<Pruning> {
    let numbers = repository.generations()?;
    let read = numbers.iter().map(|number| repository.generation(*number));
    let generations = read.collect::<Result<Vec<Generation>>>()?;
    let judged = reasons(repository, &generations, retention, now)?;
    let mut named = Named::default();
    let mut freed = 0;
    for (generation, judged) in generations.iter().zip(&judged) {
        if judged.because.is_some() {
            named.add(repository, generation)?;
        } else {
            freed += own_bytes(&repository.generation_path(generation.number))?;
        }
    }
    let left = left_behind(repository)?;
    for folder in &left {
        freed += own_bytes(folder)?;
    }
    let mut pruning =
        Pruning { generations: judged, files: Vec::new(), kept: 0, kept_bytes: 0, freed, left };
    for top in [BY_HASH, POOL] {
        each_file(repository, top, &mut |path, size| {
            if named.files.contains_key(&path) {
                pruning.kept += 1;
                pruning.kept_bytes += size;
            } else {
                pruning.freed += size;
                pruning.files.push(Gone { path, size });
            }
        })?;
    }
    pruning.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pruning)
}

/// Why each generation stays, if it does.
fn reasons(
    repository: &Repository,
    generations: &[Generation],
    retention: &Retention,
    now: i64,
) -> Result<Vec<Judged>> {
    let live = repository.live()?;
    let links = links(repository)?;
    let since = now.saturating_sub(i64::from(retention.days).saturating_mul(DAY));
    let last_of_pinned = |release: &DerivationId| {
        generations.iter().rev().find(|one| published(one).any(|there| there.id == *release))
    };
    let pinned: BTreeSet<u64> =
        retention.pinned.iter().filter_map(last_of_pinned).map(|one| one.number).collect();
    let first_of_last = generations.len().saturating_sub(retention.keep);
    let judge = |(index, one): (usize, &Generation)| {
        // A generation was live until the next one that was made.
        let replaced = generations.get(index + 1).map_or(i64::MAX, |next| next.date);
        let because = if live == Some(one.number) {
            Some("clients read it".to_owned())
        } else if let Some((link, _)) = links.iter().find(|(_, number)| *number == one.number) {
            Some(format!("`{}` leads to it", link.display()))
        } else if pinned.contains(&one.number) {
            let names = published(one).filter(|there| retention.pinned.contains(&there.id));
            let name = names.map(|there| format!("{} {}", there.name, there.version)).next();
            Some(format!("it published {}, which is pinned", name.unwrap_or_default()))
        } else if index >= first_of_last {
            Some(match retention.keep {
                1 => "it is the last one".to_owned(),
                keep => format!("it is one of the last {keep}"),
            })
        } else if one.date > since || replaced > since {
            Some(match retention.days {
                1 => "clients read it within a day".to_owned(),
                days => format!("clients read it within {days} days"),
            })
        } else {
            None
        };
        Judged { number: one.number, date: one.date, because }
    };
    Ok(generations.iter().enumerate().map(judge).collect())
}

fn published(generation: &Generation) -> impl Iterator<Item = &Published> {
    generation.suites.values().filter_map(|state| state.published.as_ref())
}

/// The symbolic links of the repository that lead into a generation, wherever they lie but in
/// what is laid out by this tool, and where they lead in the end.
fn links(repository: &Repository) -> Result<Vec<(PathBuf, u64)>> {
    let root = repository.root();
    let generations = repository.path(GENERATIONS);
    let generations = fs::canonicalize(&generations).map_err(at("resolve", &generations))?;
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        for entry in fs::read_dir(&here).map_err(at("read", &here))? {
            let entry = entry.map_err(at("read", &here))?;
            let name = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(at("look at", &root.join(&name)))?;
            let ours = [BY_HASH, GENERATIONS, KEYS, POOL, PRIVATE];
            if kind.is_dir() && !ours.iter().any(|known| name == Path::new(known)) {
                folders.push(name);
            } else if kind.is_symlink() {
                match fs::canonicalize(root.join(&name)) {
                    Ok(target) => found.extend(below(&target, &generations).map(|to| (name, to))),
                    // What leads nowhere needs nothing.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(at("follow", &root.join(&name))(error)),
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

fn below(target: &Path, generations: &Path) -> Option<u64> {
    match target.strip_prefix(generations).ok()?.components().next()? {
        Component::Normal(number) => number.to_str()?.parse().ok(),
        _ => None,
    }
}

/// What earlier runs took away and did not remove.
fn left_behind(repository: &Repository) -> Result<Vec<HostPath>> {
    let staging = repository.staging();
    let entries = match fs::read_dir(&staging) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at("read", &staging))?,
    };
    let mut left = Vec::new();
    for entry in entries {
        let name = entry.map_err(at("read", &staging))?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(TAKEN)) {
            left.push(staging.join(name));
        }
    }
    left.sort();
    Ok(left)
}

/// Bytes that go when a folder goes: those of files that have no other name.
fn own_bytes(folder: &HostPath) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let (mut bytes, mut folders) = (0, vec![folder.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let entry = entry.map_err(at("read", &folder))?;
            let path = folder.join(entry.file_name());
            let there = entry.metadata().map_err(at("look at", &path))?;
            if there.is_dir() {
                folders.push(path);
            } else if there.nlink() == 1 {
                bytes += there.len();
            }
        }
    }
    Ok(bytes)
}

/// Every file, link and the like below a folder of the repository, with its size.
fn each_file(repository: &Repository, top: &str, see: &mut dyn FnMut(String, u64)) -> Result<()> {
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let here = repository.path(&folder);
        for entry in fs::read_dir(&here).map_err(at("read", &here))? {
            let entry = entry.map_err(at("read", &here))?;
            let name = entry.file_name().into_string().map_err(|name| Error::Damaged {
                path: here.join(name),
                reason: "its name is not UTF-8".to_owned(),
            })?;
            let path = format!("{folder}/{name}");
            let there = entry.metadata().map_err(at("look at", &repository.path(&path)))?;
            if there.is_dir() {
                folders.push(path);
            } else {
                see(path, there.len());
            }
        }
    }
    Ok(())
}

fn remove(repository: &Repository, pruning: &Pruning) -> Result<()> {
    let staging = repository.staging();
    fs::create_dir_all(&staging).map_err(at("create", &staging))?;
    let mut taken = pruning.left.clone();
    for judged in pruning.generations.iter().filter(|judged| judged.because.is_none()) {
        let from = repository.generation_path(judged.number);
        let to = staging.join(format!("{TAKEN}{}", judged.number));
        fs::rename(&from, &to).map_err(at("take away", &from))?;
        taken.push(to);
    }
    // A generation must not come back after its files are gone.
    repository.sync(&repository.path(GENERATIONS))?;
    let mut folders = BTreeSet::new();
    for gone in &pruning.files {
        let path = repository.path(&gone.path);
        fs::remove_file(&path).map_err(at("remove", &path))?;
        let parents = Path::new(&gone.path).ancestors().skip(1);
        // What the repository began with stays: `by-hash/SHA256`, `pool` and its components.
        folders.extend(parents.map(Path::to_owned).filter(|path| path.iter().count() > 2));
    }
    // The deepest first.
    for folder in folders.iter().rev() {
        let path = repository.path(folder);
        match fs::remove_dir(&path) {
            Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => {
                return Err(at("remove", &path)(error));
            }
            _ => {}
        }
    }
    for folder in taken {
        fs::remove_dir_all(&folder).map_err(at("remove", &folder))?;
    }
    Ok(())
}
