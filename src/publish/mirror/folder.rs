//! A mirror in a folder of this machine.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::error::{Error, Result, at, in_one_line};
use super::snapshot::{LATEST, SNAPSHOTS, led_to, unneeded};
use super::view::{Content, Entry, View, proof};
use super::{Mode, Pushed, Snapshots, Wish, stop_if};
use crate::base::HostPath;
use crate::publish::layout::{BY_HASH, DISTS, GENERATIONS, KEYS, POOL};
use crate::publish::named::Proof;
use crate::publish::{Generation, Repository};

/// What was done for an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// It was there.
    None,
    /// A second name was given to what was there.
    Linked,
    /// It was copied.
    Copied,
    /// It was there and was something else: it was copied.
    Mended,
}

/// A place that files are copied to.
struct Place<'a> {
    repository: &'a Repository,
    top: HostPath,
    /// The snapshot before it.
    before: Option<HostPath>,
    mode: Mode,
}

/// Brings a view to a folder.
pub fn push(
    repository: &Repository,
    view: &View,
    root: &HostPath,
    wish: &Wish<'_>,
    now: i64,
) -> Result<Pushed> {
    let mut pushed = Pushed { generation: view.generation.number, ..Pushed::default() };
    let place = match wish.snapshots {
        Snapshots::None => Place { repository, top: root.clone(), before: None, mode: wish.mode },
        Snapshots::Kept { .. } => {
            let name = view.snapshot();
            let latest = link_at(&root.join(LATEST))?;
            let latest = latest.as_deref().and_then(led_to).filter(|latest| *latest != name);
            let before = latest.map(|latest| root.join(SNAPSHOTS).join(latest));
            let top = root.join(SNAPSHOTS).join(&name);
            pushed.snapshot = Some(name);
            Place { repository, top, before, mode: wish.mode }
        }
    };
    expect_mirror(root)?;
    expect_mirror(&place.top)?;
    expect_same(repository, view, &place.top)?;
    let total = view.stages().iter().map(|(_, entries)| entries.len()).sum();
    let done = AtomicUsize::new(0);
    for (what, entries) in view.stages() {
        stage(&place, what, entries, wish, (&done, total), &mut pushed)?;
    }
    pushed.files = total;
    if wish.mode == Mode::Push {
        // Everything is on the disk before the link says that it is there.
        write_out(&place.top)?;
        lead(&place.top, DISTS, &view.dists())?;
        if let Some(name) = &pushed.snapshot {
            lead(root, LATEST, &format!("{SNAPSHOTS}/{name}"))?;
        }
    }
    if let Snapshots::Kept { days } = wish.snapshots {
        pushed.removed = retire(root, pushed.snapshot.as_deref(), days, now, wish.mode)?;
    }
    Ok(pushed)
}

/// That a folder is not there, or has nothing but what a mirror has.
fn expect_mirror(folder: &HostPath) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("read", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(at("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let is_its = match name.as_str() {
            DISTS | LATEST => is_link,
            GENERATIONS | BY_HASH | POOL | KEYS | SNAPSHOTS => true,
            // What a killed push left begins with a dot; links keep what they lead to.
            other => is_link || other.starts_with('.'),
        };
        if !is_its {
            return Err(Error::Foreign { path: folder.clone(), name });
        }
    }
    Ok(())
}

/// That the mirror is of no other repository, as far as the generation that is brought there tells.
fn expect_same(repository: &Repository, view: &View, top: &HostPath) -> Result<()> {
    let number = view.generation.number;
    let part = format!("{GENERATIONS}/{number}/{DISTS}/GENERATION.json");
    let (own, there) = (repository.path(&part), top.join(&part));
    match fs::read(&there) {
        // One that cannot be read is damaged, and is brought there again.
        Ok(bytes)
            if Generation::read(&bytes, &there).is_ok()
                && fs::read(&own).map_err(at("read", &own))? != bytes =>
        {
            Err(Error::OtherMirror { path: top.clone(), number })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at("read", &there)(error)),
    }
}

/// Brings some entries there, and names all that failed.
fn stage(
    place: &Place<'_>,
    what: &'static str,
    entries: &[Entry],
    wish: &Wish<'_>,
    (done, total): (&AtomicUsize, usize),
    pushed: &mut Pushed,
) -> Result<()> {
    let bytes = AtomicU64::new(0);
    let one = |entry: &Entry| {
        stop_if(wish.cancel)?;
        let deed = place.bring(entry);
        if let (Ok(Deed::Copied | Deed::Mended), Content::File(proof)) = (&deed, &entry.content) {
            bytes.fetch_add(proof.size, Ordering::Relaxed);
        }
        (wish.seen)(what, done.fetch_add(1, Ordering::Relaxed) + 1, total);
        deed
    };
    let deeds: Vec<Result<Deed>> = entries.par_iter().map(one).collect();
    let mut failed = Vec::new();
    for (entry, deed) in entries.iter().zip(deeds) {
        match deed {
            Ok(Deed::None) => {}
            Ok(Deed::Linked | Deed::Copied) => pushed.sent.push(entry.path.clone()),
            Ok(Deed::Mended) => pushed.mended.push(entry.path.clone()),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => failed.push((entry.path.clone(), in_one_line(&error))),
        }
    }
    pushed.bytes += bytes.into_inner();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Failed { target: wish.target.to_string(), what, failed }),
    }
}

impl Place<'_> {
    fn bring(&self, entry: &Entry) -> Result<Deed> {
        let there = self.top.join(&entry.path);
        match &entry.content {
            Content::Link(target) if link_at(&there)?.as_ref() == Some(target) => Ok(Deed::None),
            Content::Link(target) => self.put(&there, |fresh| {
                symlink(target, fresh).map_err(at("link", fresh)).map(|()| Deed::Linked)
            }),
            Content::File(expected) => {
                let stale = match found(&there, expected)? {
                    Some(true) => return Ok(Deed::None),
                    Some(false) => true,
                    None => false,
                };
                let twins = self.twins(entry, expected)?;
                self.put(&there, |fresh| self.fill(fresh, entry, expected, &twins, stale))
            }
        }
    }

    /// Makes what `fill` makes under another name first.
    fn put(&self, path: &HostPath, fill: impl Fn(&HostPath) -> Result<Deed>) -> Result<Deed> {
        if self.mode == Mode::Foresee {
            return Ok(Deed::Copied);
        }
        let (folder, name) = match (path.as_path().parent(), path.as_path().file_name()) {
            (Some(folder), Some(name)) => (HostPath::new(folder), name.to_string_lossy()),
            _ => return Err(Error::Name(path.clone())),
        };
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        let fresh = folder.join(format!(".{name}.part"));
        remove_if_there(&fresh)?;
        let deed = fill(&fresh)?;
        fs::rename(&fresh, path).map_err(at("rename to", path))?;
        Ok(deed)
    }

    /// The same file of this mirror under other names.
    fn twins(&self, entry: &Entry, expected: &Proof) -> Result<Vec<HostPath>> {
        let before = self.before.iter().map(|before| before.join(&entry.path));
        let by_digest = self.top.join(format!("by-hash/SHA256/{}", expected.sha256));
        let mut twins = Vec::new();
        for twin in before.chain([by_digest]) {
            if found(&twin, expected)? == Some(true) {
                twins.push(twin);
            }
        }
        Ok(twins)
    }

    fn fill(
        &self,
        fresh: &HostPath,
        entry: &Entry,
        expected: &Proof,
        twins: &[HostPath],
        stale: bool,
    ) -> Result<Deed> {
        for twin in twins {
            // A file can have too many names already.
            if fs::hard_link(twin, fresh).is_ok() {
                return Ok(Deed::Linked);
            }
        }
        let from = self.repository.path(&entry.path);
        // The system clones it where the file system can.
        fs::copy(&from, fresh).map_err(at("copy", &from))?;
        fs::set_permissions(fresh, fs::Permissions::from_mode(0o644))
            .map_err(at("change the mode of", fresh))?;
        let actual = proof(fresh)?;
        if actual != *expected {
            return Err(Error::Copy { path: from, expected: *expected, actual });
        }
        Ok(if stale { Deed::Mended } else { Deed::Copied })
    }
}

/// Whether the file that has to be at a path is; nothing if nothing is there.
fn found(path: &HostPath, expected: &Proof) -> Result<Option<bool>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("look at", path)(error)),
        Ok(there) if !there.is_file() || there.len() != expected.size => Ok(Some(false)),
        Ok(_) => Ok(Some(proof(path)? == *expected)),
    }
}

/// Where a link leads; nothing if there is none.
fn link_at(path: &HostPath) -> Result<Option<String>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            Ok(None)
        }
        Err(error) => Err(at("read the link", path)(error)),
    }
}

fn remove_if_there(path: &HostPath) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Moves a link by rename, for good.
fn lead(folder: &HostPath, name: &str, target: &str) -> Result<()> {
    let (link, fresh) = (folder.join(name), folder.join(format!(".{name}.part")));
    if link_at(&link)?.as_deref() == Some(target) {
        return Ok(());
    }
    remove_if_there(&fresh)?;
    symlink(target, &fresh).map_err(at("link", &fresh))?;
    fs::rename(&fresh, &link).map_err(at("rename to", &link))?;
    write_out(folder)
}

/// Waits until everything on the folder's file system is on the disk.
fn write_out(folder: &HostPath) -> Result<()> {
    let file = File::open(folder).map_err(at("open", folder))?;
    rustix::fs::syncfs(&file).map_err(|error| at("write out", folder)(error.into()))
}

/// Removes snapshots that are old and that no link leads to.
fn retire(
    root: &HostPath,
    current: Option<&str>,
    days: u32,
    now: i64,
    mode: Mode,
) -> Result<Vec<String>> {
    let folder = root.join(SNAPSHOTS);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.map_err(at("read", &folder))?;
    let names: Vec<String> = entries
        .iter()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let mut links = links(root)?;
    links.extend(current.map(|current| format!("{SNAPSHOTS}/{current}")));
    let gone = unneeded(&names, &links, days, now);
    if mode == Mode::Push {
        for name in &gone {
            let path = folder.join(name);
            fs::remove_dir_all(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(gone)
}

/// Where the links of a mirror lead that do not lie in a snapshot.
fn links(root: &HostPath) -> Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    let snapshots = root.join(SNAPSHOTS);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let entry = entry.map_err(at("read", &folder))?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(at("look at", &path))?;
            if kind.is_symlink() {
                found.extend(link_at(&path)?);
            } else if kind.is_dir() && folder != snapshots {
                folders.push(path);
            }
        }
    }
    Ok(found)
}
