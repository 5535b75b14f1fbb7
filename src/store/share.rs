//! Places for builds, which all processes on a store share.
//!
//! A place is a lock file with the name of who holds it. Who finds none free takes a ticket, a
//! lock file too, and waits for its turn: first comes who holds the fewest places, then who has
//! waited longest. Both are looked at and written only with `.jobs` held, and end with their
//! holder, however that dies.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::Store;
use super::error::{Error, Result, system};
use super::locks::{Guard, acquire, try_acquire};
use super::scratch::random_name;
use crate::base::HostPath;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How many places or tickets there may be: a net against a damaged file.
const MOST: usize = 4096;

/// One build's part in the places that all builds of all processes on a store share.
#[derive(Debug)]
pub struct Share {
    store: Store,
    owner: String,
    jobs: NonZeroUsize,
}

impl Store {
    /// A part in the places for builds, of which there are as many as whoever wants most of them
    /// says: `jobs` is what is wanted here.
    pub fn share(&self, jobs: NonZeroUsize) -> Share {
        Share { store: self.clone(), owner: random_name(), jobs }
    }
}

/// What a lock file of a place or a ticket says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    /// Counts tickets.
    number: u64,
    jobs: usize,
    owner: String,
}

/// The held files of a kind, and the first that is free.
struct Found {
    held: Vec<Holder>,
    free: Option<HostPath>,
}

impl Share {
    /// A place, as soon as one is free and nobody has a better right to it; it is given back when
    /// the guard is dropped. When `cancel` becomes true: [`Error::Cancelled`], within a tenth of a
    /// second.
    pub fn place(&self, cancel: &AtomicBool) -> Result<Guard> {
        let mut ticket: Option<(Guard, u64)> = None;
        let mut pause = FIRST_PAUSE;
        while !cancel.load(Ordering::Relaxed) {
            {
                let _alone = acquire(&self.path("jobs".to_owned()), FlockOperation::LockExclusive)?;
                let number = ticket.as_ref().map(|(_, number)| *number);
                let tickets = self.find("ticket")?;
                if let Some(place) = self.take_place(&tickets.held, number)? {
                    return Ok(place);
                }
                if ticket.is_none() {
                    let last = tickets.held.iter().map(|holder| holder.number).max();
                    let number = last.map_or(0, |last| last.saturating_add(1));
                    ticket = self.hold(tickets.free, number)?.map(|guard| (guard, number));
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Error::Cancelled { path: self.path("jobs".to_owned()) })
    }

    /// A free place, if it is the turn of the ticket of this number, or nobody has one.
    fn take_place(&self, tickets: &[Holder], number: Option<u64>) -> Result<Option<Guard>> {
        let places = self.find("job")?;
        let everybody = || places.held.iter().chain(tickets);
        let there = everybody().map(|holder| holder.jobs).fold(self.jobs.get(), usize::max);
        if places.held.len() >= there {
            return Ok(None);
        }
        let right = |owner: &str, number: u64| {
            (places.held.iter().filter(|holder| holder.owner == owner).count(), number)
        };
        let ours = right(&self.owner, number.unwrap_or(u64::MAX));
        if tickets.iter().any(|other| right(&other.owner, other.number) < ours) {
            return Ok(None);
        }
        self.hold(places.free, 0)
    }

    /// All files of a kind; they are made one after the other, so the first gap is the end.
    fn find(&self, kind: &str) -> Result<Found> {
        let mut found = Found { held: Vec::new(), free: None };
        for index in 0..MOST {
            let path = self.path(format!("{kind}-{index}"));
            if !path.as_path().exists() {
                found.free.get_or_insert(path);
                break;
            }
            match try_acquire(&path, FlockOperation::NonBlockingLockExclusive)? {
                Some(_) => drop(found.free.get_or_insert(path)),
                None => found.held.push(read(&path)?),
            }
        }
        Ok(found)
    }

    fn hold(&self, path: Option<HostPath>, number: u64) -> Result<Option<Guard>> {
        let Some(path) = path else { return Ok(None) };
        let guard = try_acquire(&path, FlockOperation::NonBlockingLockExclusive)?;
        if guard.is_some() {
            let text = format!("{number} {} {}\n", self.jobs, self.owner);
            let file = File::options().write(true).open(&path).map_err(system("open", &path))?;
            file.set_len(0).map_err(system("write", &path))?;
            file.write_all_at(text.as_bytes(), 0).map_err(system("write", &path))?;
        }
        Ok(guard)
    }

    fn path(&self, name: String) -> HostPath {
        self.store.path("locks").join(format!(".{name}"))
    }
}

/// What a file says; one that says nothing was left by a program that died while writing it, or
/// is held by somebody who only looks whether it is free.
fn read(path: &HostPath) -> Result<Holder> {
    let mut text = String::new();
    let file = File::open(path).map_err(system("open", path))?;
    file.take(200).read_to_string(&mut text).map_err(system("read", path))?;
    let mut words = text.split_whitespace();
    let number = words.next().and_then(|word| word.parse().ok());
    let jobs = words.next().and_then(|word| word.parse().ok());
    let owner = words.next().unwrap_or_default().to_owned();
    Ok(Holder { number: number.unwrap_or_default(), jobs: jobs.unwrap_or(1), owner })
}
