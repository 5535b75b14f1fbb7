//! A repository as its clients and its readers meet it.
//!
//! ```text
//! /                               its suites, for people
//! /dists/…, /pool/…, /keys/…      for apt, as they lie in the repository
//! /generations/…, /by-hash/…      what was read before, and every index by its digest
//! /sources/SUITE.sources          a suite in apt's words
//! /browse/SUITE?q=WORDS           its packages
//! /browse/SUITE/PACKAGE           one of them
//! /browse/generations             what changed when
//! /browse/generation/N            what changed then
//! /browse/build/ACTION            how something was built
//! /browse/build/ACTION/log        its whole log, and beside it the documents `record.json`,
//!                                 `action.json`, `derivation.json` and `provenance.json`
//! ```
//!
//! **One request is answered from one file.** What is below `/dists` is that of the generation
//! which is live when the request comes, so a client that reads an `InRelease`, and after a switch
//! an index by its plain path, reads two generations; what it got then has not the digest that it
//! expects, and it asks again. No client that asks by digest (`Acquire-By-Hash`, apt since 1.2) ever
//! does: the indexes of every generation that is kept are there under their digests. A date is
//! that of the suite's Release file, and who has another is sent what there is; so nothing that
//! was switched away is ever said to be unchanged.

mod evidence;
mod files;
mod nginx;
mod page;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use jiff::Timestamp;

use super::answer::{Answer, Body, Lasting, Request, Status};
use super::media::{OCTETS, TEXT, media};
use crate::publish::layout::{DISTS, GENERATIONS};
use crate::publish::{self, Repository};
use crate::store::Store;
use files::{Opened, Place};
use view::View;

pub use nginx::{Unquotable, nginx};

/// Files of this size and below are sent as they are read, in bytes.
const SMALL: u64 = 64 << 10;

/// A repository, and what is known of what its packages were built from.
pub struct Depot {
    repository: Repository,
    store: Option<Store>,
    address: String,
    dates: Mutex<Option<Arc<Dates>>>,
    view: RwLock<Option<Arc<View>>>,
    reading: Mutex<()>,
}

/// When what clients read was made.
struct Dates {
    number: u64,
    generation: Option<Timestamp>,
    suites: BTreeMap<String, Timestamp>,
}

impl Depot {
    /// What a repository answers, with what this store knows of the builds that it has packages
    /// of. `address` is what the server is called where a client does not say: `127.0.0.1:8118`.
    pub fn new(repository: Repository, store: Option<Store>, address: String) -> Self {
        Self {
            repository,
            store,
            address,
            dates: Mutex::default(),
            view: RwLock::default(),
            reading: Mutex::default(),
        }
    }

    /// What it says to a request.
    pub fn answer(&self, request: &Request) -> Answer {
        let path = request.path.as_str();
        let host = request.host.as_deref().unwrap_or(&self.address);
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let read = |answer: &dyn Fn(&View) -> Answer| match self.view() {
            Ok(Some(view)) => answer(&view),
            Ok(None) => page::nothing(),
            Err(_) => failed(),
        };
        match first {
            "" => read(&|view| page::suites(self, view, host)),
            "sources" => read(&|view| page::sources_file(self, view, rest, host)),
            "browse" => read(&|view| self.browse(view, rest, request)),
            _ => match Place::of(path) {
                Some(place) => self.file(&place),
                None => missing(path),
            },
        }
    }

    fn browse(&self, view: &View, path: &str, request: &Request) -> Answer {
        let parts: Vec<&str> = path.split('/').collect();
        let host = request.host.as_deref().unwrap_or(&self.address);
        let found = match parts[..] {
            [""] => Some(page::suites(self, view, host)),
            ["generations"] => Some(page::generations(view, request)),
            ["generation", number] => page::generation(view, number, request),
            ["build", action] => Some(page::build(self, view, action)),
            ["build", action, document] => evidence::document(self, view, action, document),
            _ => view.suite(path).and_then(|(suite, name)| match name {
                "" => Some(page::packages(suite, request)),
                name => page::package(self, view, suite, name),
            }),
        };
        found.unwrap_or_else(|| {
            let text = format!("there is no `/browse/{path}`; `/` says what there is\n");
            Answer::text(Status::Missing, text)
        })
    }

    fn file(&self, place: &Place) -> Answer {
        match place {
            Place::Digest(sha256) => {
                let path = format!("by-hash/SHA256/{sha256}");
                match Opened::at(&self.repository, &path) {
                    Ok(Some(opened)) => {
                        let tag = sha256.to_string();
                        Answer { lasting: Lasting::Ever, ..sent(Opened { tag, ..opened }, OCTETS) }
                    }
                    Ok(None) => missing(&path),
                    Err(_) => failed(),
                }
            }
            Place::Kept(path) => match Opened::at(&self.repository, path) {
                Ok(Some(opened)) => sent(opened, media(path)),
                Ok(None) => missing(path),
                Err(_) => failed(),
            },
            Place::Live(path) => self.live(path),
        }
    }

    /// A file of the generation that clients read now.
    fn live(&self, path: &str) -> Answer {
        let Ok(number) = self.repository.live() else { return failed() };
        let Some(number) = number else { return nothing_yet() };
        match Opened::at(&self.repository, &format!("{GENERATIONS}/{number}/{DISTS}/{path}")) {
            Ok(Some(opened)) => {
                let dates = self.dates(number);
                let suite = path.split_once('/').and_then(|(suite, _)| dates.suites.get(suite));
                let modified = suite.copied().or(dates.generation);
                let answer = sent(Opened { modified, ..opened }, media(path));
                Answer { lasting: Lasting::Moving, ..answer }
            }
            Ok(None) => missing(&format!("{DISTS}/{path}")),
            Err(_) => failed(),
        }
    }

    /// When the suites of this generation were made.
    fn dates(&self, number: u64) -> Arc<Dates> {
        let mut known = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dates) = known.as_ref().filter(|dates| dates.number == number) {
            return Arc::clone(dates);
        }
        let generation = self.repository.generation(number).ok();
        let names = generation.iter().flat_map(|generation| generation.suites.keys());
        let suites = names.filter_map(|name| {
            Some((name.clone(), view::release(&self.repository, number, name)?.date))
        });
        let suites = suites.collect();
        let generation = generation.and_then(|one| Timestamp::from_second(one.date).ok());
        let dates = Arc::new(Dates { number, generation, suites });
        *known = Some(Arc::clone(&dates));
        dates
    }

    /// What the generation lists that clients read now, read once; none if nothing was published
    /// yet. While one thread reads, the others have the generation before.
    fn view(&self) -> publish::Result<Option<Arc<View>>> {
        let Some(number) = self.repository.live()? else { return Ok(None) };
        let current = || self.view.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = current();
        if known.as_ref().is_some_and(|view| view.number == number) {
            return Ok(known);
        }
        let _reading = match (self.reading.try_lock(), &known) {
            (Ok(guard), _) => guard,
            (Err(TryLockError::WouldBlock), Some(_)) => return Ok(known),
            (Err(_), _) => self.reading.lock().unwrap_or_else(PoisonError::into_inner),
        };
        // Somebody else may have read it meanwhile.
        let known = current();
        if known.as_ref().is_some_and(|view| view.number == number) {
            return Ok(known);
        }
        let none = BTreeMap::new();
        let kept = known.as_ref().map_or(&none, |view| &view.kept);
        let view = Arc::new(View::read(&self.repository, number, kept)?);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&view));
        Ok(Some(view))
    }
}

/// A file, from its beginning.
fn sent(opened: Opened, kind: &'static str) -> Answer {
    let (tag, modified, size) = (opened.tag.clone(), opened.modified, opened.size);
    let body = match size {
        0..=SMALL => match opened.read(SMALL) {
            Ok(bytes) => Body::Bytes(bytes),
            Err(_) => return failed(),
        },
        _ => Body::File { file: opened.file, size },
    };
    Answer { modified, ..Answer::found(kind, tag, body) }
}

fn missing(path: &str) -> Answer {
    let text = format!("there is no `{path}` in this repository; `/` says what there is\n");
    Answer { kind: TEXT, ..Answer::text(Status::Missing, text) }
}

fn nothing_yet() -> Answer {
    Answer::text(Status::Missing, "nothing was published to this repository yet\n")
}

/// What went wrong is not told: the repository's place on this host is nobody's business.
fn failed() -> Answer {
    Answer::text(Status::Failed, "the repository cannot be read\n")
}
