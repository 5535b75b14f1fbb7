//! Collecting: what nothing needs is removed, beside running processes.
//!
//! Rows go first and for good, then the files are moved away under a name nobody looks for, then
//! they are removed: killed anywhere in between, the store holds less, and believes nothing that
//! is not there. `lease` says why nothing in use is ever among it.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::Store;
use super::error::{Error, Result, system};
use super::inventory::{Kind, Room, Thing};
use super::lease::Name;
use super::locks::try_acquire;
use super::logs::is_growing;
use super::reach::{IN_USE, Reach};
use super::remove::{open_up, remove_tree};
use crate::base::{Digest, HostPath};

/// So many things are moved away while nobody may begin to use anything.
const BATCH: usize = 256;

const DAY: i64 = 24 * 60 * 60;

/// What is put aside as damaged is looked at, if at all, within so many days.
const QUARANTINE_DAYS: i64 = 30;

/// What can be made anew is kept so many days after its last use.
const DERIVED_DAYS: i64 = 30;

/// How far a collection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// All that nothing needs.
    Unneeded,
    /// Until the store takes no more than so many bytes: what nothing needs, the least recently
    /// used first; then what can be made anew from what is kept.
    Size(u64),
}

/// What becomes of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes, giving so many bytes back.
    Removed(u64),
    /// It stays.
    Kept,
}

/// What came, or would come, of a collection.
#[derive(Debug)]
pub struct Collection {
    /// Every thing, what becomes of it, and why.
    pub things: Vec<(Thing, Fate, String)>,
    /// Bytes that the store took before.
    pub before: u64,
    /// And takes after.
    pub after: u64,
}

/// How soon a thing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Nothing needs it.
    Unneeded,
    /// Nothing needs it yet, or any more; it is too young to go unless room is short.
    Spare,
    /// It can be made anew from what is kept.
    Remade,
    /// Never.
    Needed,
}

impl Store {
    /// What [`Store::collect`] would do now.
    pub fn foresee(&self, aim: Aim) -> Result<Collection> {
        let things = self.things()?;
        let mut reach = Reach::new(self, &things)?;
        reach.add_held(self.held()?);
        self.decide(things, &reach, aim)
    }

    /// Removes what nothing needs, as far as `aim` says. Nothing that a built or pinned release
    /// needs, or that a running process uses, is touched; any process may go on meanwhile.
    pub fn collect(&self, aim: Aim) -> Result<Collection> {
        let lock = self.path("locks").join(".collect");
        let alone = try_acquire(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let Some(_alone) = alone else {
            return Err(Error::Collecting { path: self.root().clone() });
        };
        while self.sweep()? > 0 {}
        let things = self.things()?;
        let mut reach = Reach::new(self, &things)?;
        reach.add_held(self.held()?);
        let mut collection = self.decide(things, &reach, aim)?;
        let mut doomed: Vec<usize> = (0..collection.things.len())
            .filter(|index| matches!(collection.things[*index].1, Fate::Removed(_)))
            .collect();
        // Documents first: a record that is forgotten asks for none of the rest.
        doomed.sort_by_key(|index| collection.things[*index].0.kind != Kind::Document);
        let objects = doomed.iter().map(|index| &collection.things[*index].0);
        let objects = objects.filter(|thing| thing.kind == Kind::Object);
        let records = reach.records_of(&objects.filter_map(|thing| thing.name).collect());
        let records = list(records.into_iter());
        self.execute(&[format!("DELETE FROM record WHERE document IN ({records})")])?;
        for batch in doomed.chunks(BATCH) {
            self.remove(batch, &mut reach, &mut collection)?;
        }
        Ok(collection)
    }

    fn decide(&self, things: Vec<Thing>, reach: &Reach<'_>, aim: Aim) -> Result<Collection> {
        let (mut room, mut things) = (Room::default(), things);
        // What layers share with unpacked packages is told as the layers'.
        things.sort_by_key(|thing| thing.kind);
        for thing in &mut things {
            thing.bytes = room.add(&thing.size);
        }
        let other: u64 = self.fixed_room().iter().map(|(_, bytes)| bytes).sum();
        let before = room.total + other;
        let now = Timestamp::now().as_second();
        let mut ranked = Vec::new();
        for thing in things {
            let (rank, because) = self.rank(&thing, reach, now)?;
            ranked.push((rank, thing, because));
        }
        ranked.sort_by(|(a, one, _), (b, two, _)| {
            (a, one.used, &one.path).cmp(&(b, two.used, &two.path))
        });
        let things = ranked.into_iter().map(|(rank, thing, because)| {
            let goes = match (aim, rank) {
                (_, Rank::Needed) => false,
                (Aim::Unneeded, rank) => rank == Rank::Unneeded,
                (Aim::Size(most), _) => room.total + other > most,
            };
            if goes {
                let freed = room.remove(&thing.size);
                return (thing, Fate::Removed(freed), because);
            }
            let because = match rank {
                Rank::Unneeded => format!("{because}, and there is room"),
                _ => because,
            };
            (thing, Fate::Kept, because)
        });
        let things = things.collect();
        Ok(Collection { things, before, after: room.total + other })
    }

    /// How soon a thing goes, and why then or why not sooner.
    fn rank(&self, thing: &Thing, reach: &Reach<'_>, now: i64) -> Result<(Rank, String)> {
        let days = now.saturating_sub(thing.used) / DAY;
        let unneeded = || {
            let age = match days {
                i64::MIN..=0 => "used today".to_owned(),
                1 => "used yesterday".to_owned(),
                days => format!("last used {days} days ago"),
            };
            (Rank::Unneeded, format!("nothing needs it, {age}"))
        };
        let kept = reach.keeps(thing).map(str::to_owned);
        Ok(match (thing.kind, kept) {
            (Kind::Quarantine, _) if days < QUARANTINE_DAYS => {
                (Rank::Spare, format!("put aside {days} days ago"))
            }
            (Kind::Quarantine, _) => (Rank::Unneeded, format!("put aside {days} days ago")),
            (Kind::Derived, _) if days < DERIVED_DAYS => {
                (Rank::Remade, format!("can be made anew, last used {days} days ago"))
            }
            (Kind::Log, None) if thing.name.is_none() => match self.partial(thing)? {
                Some(because) => (Rank::Needed, because.to_owned()),
                None => unneeded(),
            },
            (Kind::Unpacked, Some(because)) => {
                let rank = if because == IN_USE { Rank::Needed } else { Rank::Remade };
                (rank, because)
            }
            (_, Some(because)) => (Rank::Needed, because),
            (Kind::Document, None) => match thing.name.filter(|name| reach.is_manifest(name)) {
                Some(_) => (Rank::Needed, "of a layer that is there".to_owned()),
                None => unneeded(),
            },
            (_, None) => unneeded(),
        })
    }

    /// Why a log that was never finished is kept, if it is.
    fn partial(&self, thing: &Thing) -> Result<Option<&'static str>> {
        if is_growing(&thing.path)? {
            return Ok(Some("it is being written"));
        }
        let name = thing.path.as_path().file_name().unwrap_or_default().to_string_lossy();
        let known = self.row(
            "look up a log",
            "SELECT 1 FROM attempt WHERE partial = ?1 AND log IS NULL",
            [name],
            |_| Ok(()),
        )?;
        Ok(known.map(|()| "all that is left of a run that broke off"))
    }

    fn remove(
        &self,
        batch: &[usize],
        reach: &mut Reach<'_>,
        collection: &mut Collection,
    ) -> Result<()> {
        let condemned = self.scratch()?;
        {
            let _closed = self.close_gate()?;
            reach.add_held(self.held()?);
            let mut doomed: Vec<usize> = Vec::new();
            for index in batch {
                let (thing, fate, because) = &mut collection.things[*index];
                // An unpacked package goes although it is needed: it can be unpacked again.
                let in_use = |because: &&str| thing.kind != Kind::Unpacked || *because == IN_USE;
                if let Some(reason) = reach.keeps(thing).filter(in_use) {
                    if let Fate::Removed(bytes) = fate {
                        collection.after += *bytes;
                    }
                    (*fate, *because) = (Fate::Kept, reason.to_owned());
                } else {
                    doomed.push(*index);
                }
            }
            let doomed: Vec<&Thing> =
                doomed.iter().map(|index| &collection.things[*index].0).collect();
            self.forget(&doomed)?;
            for (number, thing) in doomed.iter().enumerate() {
                move_away(&thing.path, &condemned.path().join(number.to_string()))?;
                for manifest in thing.layer().into_iter().flat_map(|key| reach.manifests_of(key)) {
                    // It may be another layer's too, or what a record is shown with.
                    let manifest = Digest::from_bytes(*manifest);
                    if !self.is_manifest(&manifest)? && !reach.reaches(manifest.as_bytes()) {
                        let aside = condemned.path().join(format!("{number}-{manifest}"));
                        move_away(&self.json_path(&manifest), &aside)?;
                    }
                }
            }
        }
        // What cannot be removed goes with its folder, by a later sweep.
        let _ = fs::read_dir(condemned.path()).map(|entries| {
            entries.flatten().filter(|entry| entry.path().is_dir()).for_each(|entry| {
                let _ = remove_tree(&entry.path());
            });
        });
        Ok(())
    }

    /// Forgets what the records say of these things.
    fn forget(&self, things: &[&Thing]) -> Result<()> {
        let of = |kind: Kind| {
            let names = things.iter().filter(|thing| thing.kind == kind);
            list(names.filter_map(|thing| thing.name))
        };
        let documents = of(Kind::Document);
        self.execute(&[
            format!("DELETE FROM record WHERE document IN ({documents})"),
            format!("DELETE FROM record WHERE action IN ({documents})"),
            format!("DELETE FROM reproduction WHERE document IN ({documents})"),
            format!("DELETE FROM witness WHERE document IN ({documents})"),
            format!("DELETE FROM witness WHERE signature IN ({documents})"),
            format!("DELETE FROM object WHERE digest IN ({})", of(Kind::Object)),
            format!("DELETE FROM layer WHERE key IN ({})", of(Kind::Layer)),
            format!("DELETE FROM unpacked WHERE sha256 IN ({})", of(Kind::Unpacked)),
            format!("UPDATE attempt SET log = NULL WHERE log IN ({})", of(Kind::Log)),
        ])
    }

    fn execute(&self, statements: &[String]) -> Result<()> {
        self.write("forget what is collected", |transaction| {
            let mut needed = statements.iter().filter(|statement| !statement.ends_with("()"));
            needed.try_for_each(|statement| transaction.execute(statement, ()).map(drop))
        })
    }

    fn is_manifest(&self, manifest: &Digest) -> Result<bool> {
        let sql = "SELECT 1 FROM layer WHERE manifest = ?1 LIMIT 1";
        let found = self.row("look up a manifest", sql, [manifest.as_bytes()], |_| Ok(()))?;
        Ok(found.is_some())
    }
}

impl Thing {
    /// Its key, if it is a layer.
    fn layer(&self) -> Option<&Name> {
        self.name.as_ref().filter(|_| self.kind == Kind::Layer)
    }
}

/// Names as SQL lists them.
fn list(names: impl Iterator<Item = Name>) -> String {
    names.map(|name| format!("x'{}'", Digest::from_bytes(name))).collect::<Vec<_>>().join(",")
}

/// Moves what is there, if it is, under a name that nobody looks for.
fn move_away(path: &HostPath, aside: &HostPath) -> Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if is_folder {
        // Renaming a folder writes its `..`.
        open_up(path.as_path()).map_err(system("open up", path))?;
    }
    match fs::rename(path, Path::new(aside.as_path())) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(system("remove", path)(error))
        }
        _ => Ok(()),
    }
}
