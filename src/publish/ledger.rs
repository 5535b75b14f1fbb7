//! The ledger of a repository: every package that was ever published in it. It only grows. It is
//! the chain of the generations, each of which names the one before it; the store keeps an index
//! of it, and tells of each generation in its journal.

use std::fs;

use super::error::{Error, Result, at};
use super::generation::Generation;
use super::layout::Repository;
use crate::archive::deb::version::Version;
use crate::base::{Digest, HostPath, Sha256};
use crate::store::{LedgerEntry, Store};

/// The ledger of a repository, as far as its clients know.
pub struct Ledger<'a> {
    store: &'a Store,
    /// The name of its first generation; none before that.
    repository: Option<Digest>,
    /// The newest generation and its digest.
    last: Option<(u64, Digest)>,
}

/// Why a package must not be published, or not as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// A newer version was published.
    Downgrade {
        /// The suite that had it.
        suite: String,
        /// It.
        version: String,
        /// The generation that brought it.
        generation: u64,
    },
    /// The same version was published as something else.
    Different {
        /// The suite that had it.
        suite: String,
        /// What it carried.
        payload: Sha256,
        /// The generation that brought it.
        generation: u64,
    },
}

/// A package that is to be published.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// `amd64`, `all` or `source`.
    pub architecture: &'a str,
    /// Its version.
    pub version: &'a str,
    /// What it carries; none if that is not known yet.
    pub payload: Option<Sha256>,
}

impl<'a> Ledger<'a> {
    /// The ledger of a repository. What the store does not know of it yet is noted.
    ///
    /// # Errors
    /// [`Error::Ledger`] if the store knows another one, [`Error::Damaged`] if a generation does
    /// not name the one before it.
    pub fn open(store: &'a Store, repository: &Repository) -> Result<Self> {
        let live = repository.live()?;
        let mut ledger = Self { store, repository: None, last: None };
        let Some(live) = live else { return Ok(ledger) };
        let first = Digest::of(&bytes(repository, 1)?.1);
        let known = store.last_generation(&first)?;
        ledger.repository = Some(first);
        let begin = match known {
            None => 1,
            Some((number, _)) if number > live => {
                return Err(Error::Ledger {
                    path: repository.root().clone(),
                    reason: format!(
                        "clients read generation {live}, and this store has noted generation \
                         {number}: it looks like an older copy"
                    ),
                });
            }
            Some((number, digest)) => {
                let found = Digest::of(&bytes(repository, number)?.1);
                if found != digest {
                    return Err(Error::Ledger {
                        path: repository.root().clone(),
                        reason: format!(
                            "its generation {number} is {}, and this store has noted {}",
                            found.short(),
                            digest.short()
                        ),
                    });
                }
                ledger.last = Some((number, digest));
                number + 1
            }
        };
        for number in begin..=live {
            let (digest, generation) = read(repository, number)?;
            let before = ledger.last.map(|(_, digest)| digest);
            let follows = number == 1 || generation.previous == before;
            if !follows || generation.number != number {
                return Err(Error::Damaged {
                    path: repository.ledger_path(number),
                    reason: "it does not name the generation before it".to_owned(),
                });
            }
            ledger.note(number, digest, &generation)?;
        }
        Ok(ledger)
    }

    /// The ledger of a repository as far as the store knows it; nothing is written.
    ///
    /// # Errors
    /// Those of reading the repository.
    pub fn look(store: &'a Store, repository: &Repository) -> Result<Self> {
        let repository = match repository.live()? {
            Some(_) => Some(Digest::of(&bytes(repository, 1)?.1)),
            None => None,
        };
        Ok(Self { store, repository, last: None })
    }

    /// Notes that clients have got a generation.
    ///
    /// # Errors
    /// Those of the store.
    pub fn note(&mut self, number: u64, digest: Digest, generation: &Generation) -> Result<()> {
        let repository = *self.repository.get_or_insert(digest);
        let entries: Vec<LedgerEntry> = generation
            .changes
            .iter()
            .filter_map(|change| {
                Some(LedgerEntry {
                    name: change.name.clone(),
                    architecture: change.architecture.clone(),
                    suite: change.suite.clone(),
                    generation: number,
                    version: change.new.clone()?,
                    payload: change.payload?,
                    lower: change.downgrade.is_some(),
                    derivation: change.derivation.map(|id| id.digest()),
                })
            })
            .collect();
        self.store.note_generation(&repository, number, &digest, &entries)?;
        self.last = Some((number, digest));
        Ok(())
    }

    /// The newest generation and its digest.
    pub fn last(&self) -> Option<(u64, Digest)> {
        self.last
    }

    /// What was published under each of these names.
    ///
    /// # Errors
    /// Those of the store.
    pub fn history(&self, names: &[&str]) -> Result<Vec<Vec<LedgerEntry>>> {
        match &self.repository {
            Some(repository) => Ok(self.store.published(repository, names)?),
            None => Ok(names.iter().map(|_| Vec::new()).collect()),
        }
    }

    /// What stands against publishing each of these to `suite`, whose clients may use `sees` too.
    ///
    /// # Errors
    /// Those of the store.
    pub fn judge(
        &self,
        suite: &str,
        sees: &[String],
        candidates: &[Candidate<'_>],
    ) -> Result<Vec<Option<Objection>>> {
        let names: Vec<&str> = candidates.iter().map(|candidate| candidate.name).collect();
        let histories = self.history(&names)?;
        let pairs = candidates.iter().zip(&histories);
        Ok(pairs.map(|(candidate, history)| object(suite, sees, candidate, history)).collect())
    }
}

/// What stands against a package, by what was published under its name, the oldest first.
pub fn object(
    suite: &str,
    sees: &[String],
    candidate: &Candidate<'_>,
    history: &[LedgerEntry],
) -> Option<Objection> {
    let is_source = |architecture: &str| architecture == super::item::SOURCE;
    let of_kind: Vec<&LedgerEntry> = history
        .iter()
        .filter(|entry| is_source(&entry.architecture) == is_source(candidate.architecture))
        .collect();
    let other = of_kind.iter().rev().find(|entry| {
        entry.version == candidate.version
            && entry.architecture == candidate.architecture
            && candidate.payload.is_some_and(|payload| payload != entry.payload)
    });
    if let Some(other) = other {
        return Some(Objection::Different {
            suite: other.suite.clone(),
            payload: other.payload,
            generation: other.generation,
        });
    }
    let version: Version = candidate.version.parse().ok()?;
    std::iter::once(suite)
        .chain(sees.iter().map(String::as_str))
        .filter_map(|suite| {
            // One architecture's package is not another's; `all` is everybody's.
            let clients = |entry: &&&LedgerEntry| {
                entry.suite == suite
                    && (entry.architecture == candidate.architecture
                        || entry.architecture == "all"
                        || candidate.architecture == "all")
            };
            let mut newest: Option<(Version, &LedgerEntry)> = None;
            for entry in of_kind.iter().filter(clients) {
                let Ok(version) = entry.version.parse::<Version>() else { continue };
                // One that was meant to go back is where it begins again.
                if entry.lower || newest.as_ref().is_none_or(|(newest, _)| *newest < version) {
                    newest = Some((version, entry));
                }
            }
            newest
        })
        .filter(|(newest, _)| *newest > version)
        .max_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, entry)| Objection::Downgrade {
            suite: entry.suite.clone(),
            version: entry.version.clone(),
            generation: entry.generation,
        })
}

/// A generation as the ledger has it, and its digest.
fn read(repository: &Repository, number: u64) -> Result<(Digest, Generation)> {
    let (path, bytes) = bytes(repository, number)?;
    Ok((Digest::of(&bytes), Generation::read(&bytes, &path)?))
}

/// The bytes of a generation as the ledger has it, and where they are.
fn bytes(repository: &Repository, number: u64) -> Result<(HostPath, Vec<u8>)> {
    let kept = repository.ledger_path(number);
    let path = match kept.as_path().exists() {
        true => kept,
        // Switched to, and killed before the ledger had it.
        false => repository.generation_path(number).join("dists/GENERATION.json"),
    };
    let bytes = fs::read(&path).map_err(at("read", &path))?;
    Ok((path, bytes))
}
