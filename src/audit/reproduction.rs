//! What building a package again came to, held against its record, as a canonical document.
//!
//! Nothing of it is ever used by a build: the store keeps it beside the records.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attribution::{self, Attribution};
use super::difference::{self, Difference};
use crate::base::{ActionId, DerivationId, Digest, HostPath, Json, PackageName, Sha256};
use crate::realise::again::{Again, Failed, Repeat};
use crate::realise::diffoscope;
use crate::realise::record::{Output, Record};
use crate::realise::vary::Variation;
use crate::store::{self, Sameness, Store};

const FORMAT: &str = "perestroika/reproduction/1";

/// So many files of a package are shown to diffoscope, which takes its time.
const LOOKED_AT: usize = 5;

/// A package that was built again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reproduction {
    /// What this is, and the version of it.
    pub format: String,
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// Its recipe.
    pub derivation: DerivationId,
    /// What was done again.
    pub action: ActionId,
    /// The record that it is held against.
    pub record: Digest,
    /// `reproduced`, `differs` or `failed`.
    pub verdict: String,
    /// Why it failed; empty if it did not.
    pub failure: String,
    /// What came of each file, sorted by name.
    pub outputs: Vec<Compared>,
    /// The files that differ: they stay until the package is built again once more.
    pub kept: Vec<Digest>,
    /// Digest of its log; none if it did not come to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Digest>,
    /// What varying its circumstances came to; none if nothing was varied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// Whether the layers of its build root had the same content as those of the record.
    pub roots: Roots,
    /// The isolation that was in force.
    pub receipt: BTreeMap<String, String>,
    /// What may not matter.
    pub circumstances: BTreeMap<String, String>,
    /// When it began, in seconds since 1970; 0 if it did not.
    pub started: i64,
    /// How long it took, in milliseconds.
    pub elapsed: i64,
}

/// How the layers of two build roots compare, by their manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roots {
    /// File by file the same.
    Same,
    /// Not that, though they are of the same packages.
    Differ,
    /// There was no second one.
    Unknown,
}

/// A file, as it came out twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// Its name.
    pub file: String,
    /// `reproduced`, `differs` or, if it did not come out again, `failed`.
    pub verdict: String,
    /// As the record has it; none if it came besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Version>,
    /// As it came out now; none if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Version>,
    /// What differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// What diffoscope says of it, where that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diffoscope: Option<String>,
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// In bytes.
    pub size: u64,
    /// Its name in the store.
    pub blake3: Digest,
    /// Its name in an archive's index.
    pub sha256: Sha256,
}

/// Why no document could be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Two files could not be compared.
    #[error("cannot compare the builds of `{file}`")]
    Compare {
        /// The file.
        file: String,
        /// Why.
        source: difference::Error,
    },
    /// Files could not be handed to diffoscope.
    #[error(transparent)]
    Diffoscope(#[from] diffoscope::Error),
    /// Some bytes are no such document.
    #[error("not the document of a reproduction")]
    Document(#[from] serde_json::Error),
    /// Another format.
    #[error("the document's format is `{0}`, this version reads `{FORMAT}`")]
    Format(String),
}

/// What is built again.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The package.
    pub package: &'a PackageName,
    /// Its version.
    pub version: &'a str,
    /// Its recipe.
    pub derivation: DerivationId,
    /// What came of it before.
    pub record: &'a Record,
}

impl Reproduction {
    /// Holds what came of a second build against the record of the first, file by file.
    pub fn of(subject: &Subject<'_>, proof: Result<Proof, &Failed>) -> Self {
        let Subject { package, version, derivation, record } = subject;
        let (again, outputs, attribution) = match proof {
            Ok(Proof { again, outputs, attribution }) => (Ok(again), outputs, attribution),
            Err(failed) => (Err(failed), Vec::new(), None),
        };
        let leaks = attribution.as_ref().is_some_and(|found| !found.findings.is_empty());
        let verdict = match again {
            Err(_) => Sameness::Failed,
            Ok(_) if !leaks && outputs.iter().all(Compared::is_reproduced) => Sameness::Reproduced,
            Ok(_) => Sameness::Differs,
        };
        let other = outputs.iter().filter(|one| !one.is_reproduced());
        let kept = other.filter_map(|one| Some(one.new.as_ref()?.blake3)).collect();
        let roots = match &again {
            Ok(again) if again.layers == record.layers => Roots::Same,
            Ok(_) => Roots::Differ,
            Err(_) => Roots::Unknown,
        };
        let ran = again.as_ref().ok();
        Self {
            format: FORMAT.to_owned(),
            package: (*package).clone(),
            version: (*version).to_owned(),
            derivation: *derivation,
            action: record.action,
            record: Digest::of(&record.to_json().encode()),
            verdict: verdict.as_str().to_owned(),
            failure: again.as_ref().err().map_or_else(String::new, |one| one.failure.line()),
            outputs,
            kept,
            attribution,
            log: match &again {
                Ok(again) => Some(again.log),
                Err(failed) => failed.log,
            },
            roots,
            receipt: ran.map(|again| again.receipt.clone()).unwrap_or_default(),
            circumstances: ran.map(|again| again.circumstances.clone()).unwrap_or_default(),
            started: ran.map_or(0, |again| again.started),
            elapsed: ran.map_or(0, |again| again.elapsed),
        }
    }

    /// What it came to.
    pub fn sameness(&self) -> Sameness {
        match self.verdict.as_str() {
            "reproduced" => Sameness::Reproduced,
            "differs" => Sameness::Differs,
            _ => Sameness::Failed,
        }
    }

    /// The canonical document.
    pub fn to_json(&self) -> Json {
        let bytes = serde_json::to_vec(self).expect("strings, lists, maps and integers");
        Json::read(&bytes).expect("sizes and times are below 2^53")
    }

    /// Reads a document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let read: Self = serde_json::from_slice(bytes)?;
        if read.format == FORMAT { Ok(read) } else { Err(Error::Format(read.format)) }
    }

    /// Keeps it in the store, and says under which name.
    pub fn keep(&self, store: &Store) -> Result<Digest, Error> {
        let document = self.to_json();
        Ok(store.put_reproduction(&self.package, &self.action, self.sameness(), &document)?)
    }
}

/// What is known of how an action comes out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was never built again.
    Never,
    /// It came to the same the last so many times.
    Reproduced {
        /// How often in a row.
        times: usize,
        /// The last time.
        last: Timestamp,
    },
    /// It differs, or fails, each time since then.
    Otherwise {
        /// Which of both, the last time.
        verdict: Sameness,
        /// The first time of those in a row.
        since: Timestamp,
        /// The last time.
        last: Timestamp,
    },
}

impl State {
    /// The state after these times, the newest first.
    pub fn of(times: &[store::Reproduction]) -> Self {
        let Some(newest) = times.first() else { return Self::Never };
        let is_same = |one: &&store::Reproduction| one.verdict == Sameness::Reproduced;
        if newest.verdict == Sameness::Reproduced {
            let times = times.iter().take_while(is_same).count();
            return Self::Reproduced { times, last: newest.made };
        }
        let since = times.iter().take_while(|one| !is_same(one)).last();
        let since = since.map_or(newest.made, |one| one.made);
        Self::Otherwise { verdict: newest.verdict, since, last: newest.made }
    }

    /// When it was last built again; none if it never was.
    pub fn last(&self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Reproduced { last, .. } | Self::Otherwise { last, .. } => Some(*last),
        }
    }
}

/// A package that was built again, and held against its record.
pub struct Proof {
    again: Again,
    outputs: Vec<Compared>,
    attribution: Option<Attribution>,
}

impl Proof {
    /// Builds a package again, and then once more for each question to what these variations
    /// make of it.
    pub fn of(
        repeat: &Repeat<'_>,
        variations: &BTreeSet<Variation>,
    ) -> Result<Result<Self, Error>, Failed> {
        let again = repeat.plain()?;
        let old = &repeat.record.outputs;
        let compared = compare(repeat.store(), old, &again.outputs, Diffoscope::Asked);
        let mut outputs = match compared {
            Ok(outputs) => outputs,
            Err(error) => return Ok(Err(error)),
        };
        let mut attribution = None;
        if !variations.is_empty() {
            let varied = match attribution::attribute(repeat, variations, &outputs)? {
                Ok(varied) => varied,
                Err(error) => return Ok(Err(error)),
            };
            if outputs.iter().all(Compared::is_reproduced) && !varied.outputs.is_empty() {
                outputs = varied.outputs;
            }
            attribution = Some(varied.attribution);
        }
        Ok(Ok(Self { again, outputs, attribution }))
    }
}

impl Compared {
    /// Whether it came out the same.
    pub fn is_reproduced(&self) -> bool {
        self.verdict == Sameness::Reproduced.as_str()
    }
}

/// Whether diffoscope is asked of what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Diffoscope {
    /// Of the first files.
    Asked,
    /// It is not.
    Unasked,
}

/// Every file of either build, sorted by name.
pub(super) fn compare(
    store: &Store,
    old: &[Output],
    new: &[Output],
    ask: Diffoscope,
) -> Result<Vec<Compared>, Error> {
    let by_name = |outputs: &[Output]| -> BTreeMap<String, Version> {
        let version = |output: &Output| Version {
            size: output.size,
            blake3: output.blake3,
            sha256: output.sha256,
        };
        outputs.iter().map(|output| (output.file.clone(), version(output))).collect()
    };
    let (mut old, mut new) = (by_name(old), by_name(new));
    let mut looked = 0;
    let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    names
        .into_iter()
        .map(|file| {
            let (old, new) = (old.remove(&file), new.remove(&file));
            let mut said = None;
            let (verdict, difference) = match (&old, &new) {
                (Some(old), Some(new)) if old == new => (Sameness::Reproduced, None),
                (Some(old), Some(new)) => {
                    let [first, second] = [object(store, old)?, object(store, new)?];
                    let found = Difference::between(&file, first.as_path(), second.as_path());
                    let found =
                        found.map_err(|source| Error::Compare { file: file.clone(), source })?;
                    looked += 1;
                    if looked <= LOOKED_AT && ask == Diffoscope::Asked {
                        said = diffoscope::ask(store, &file, [&first, &second])?;
                    }
                    (Sameness::Differs, Some(found))
                }
                (None, _) => (Sameness::Differs, None),
                (Some(_), None) => (Sameness::Failed, None),
            };
            let verdict = verdict.as_str().to_owned();
            Ok(Compared { file, verdict, old, new, difference, diffoscope: said })
        })
        .collect()
}

fn object(store: &Store, version: &Version) -> Result<HostPath, Error> {
    store.object(&version.blake3).ok_or_else(|| {
        let path = HostPath::new(version.blake3.to_string());
        Error::Store(store::Error::Missing { path })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_counts_what_came_last_in_a_row() {
        let time = |second: usize| Timestamp::from_second(second as i64).expect("a time");
        let state = |verdicts: &[Sameness]| {
            // The newest first, as the store has them.
            let times = verdicts.iter().enumerate().map(|(age, verdict)| store::Reproduction {
                package: "thing".parse().expect("a name"),
                action: ActionId::of(b"a"),
                document: Digest::of(b"d"),
                verdict: *verdict,
                made: time(verdicts.len() - age),
            });
            State::of(&times.collect::<Vec<_>>())
        };
        use Sameness::{Differs, Failed, Reproduced};
        assert_eq!(state(&[]), State::Never);
        assert_eq!(
            state(&[Reproduced, Reproduced, Differs, Reproduced]),
            State::Reproduced { times: 2, last: time(4) }
        );
        assert_eq!(
            state(&[Failed, Differs, Reproduced]),
            State::Otherwise { verdict: Failed, since: time(2), last: time(3) }
        );
    }
}
