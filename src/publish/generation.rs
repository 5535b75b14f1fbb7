//! What a generation says of itself: GENERATION.json, canonical JSON of format
//! `perestroika/generation/1`, beside the suites.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::base::{ActionId, DerivationId, Digest, HostPath, Json, Sha256};

const FORMAT: &str = "perestroika/generation/1";

/// A state of all suites of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    format: String,
    /// Counted from 1, without gaps in the order of the switches.
    pub number: u64,
    /// When it was made, in seconds since 1970; later than the one before it, unless that was
    /// dated in the future.
    pub date: i64,
    /// BLAKE3 of the GENERATION.json before it; for the first a random number, so that no two
    /// repositories begin alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// Why it was made.
    pub reason: Reason,
    /// Each suite, by its name.
    pub suites: BTreeMap<String, State>,
    /// What is different from the one before it, sorted.
    pub changes: Vec<Change>,
}

/// Why a generation was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Reason {
    /// Packages of a release were published.
    Publish,
    /// Packages went from one suite to another.
    Promote {
        /// The suite that had them.
        from: String,
    },
    /// Packages were taken away.
    Withdraw {
        /// What the user said.
        because: String,
    },
    /// A suite is again what it was in an earlier generation.
    Rollback {
        /// That one.
        to: u64,
    },
    /// The same again, signed anew.
    Refresh,
    /// Another tool's repository was taken over.
    Adopt {
        /// Where it was.
        from: String,
    },
}

/// A suite in a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// SHA-256 of its Release file, which names all its indexes.
    pub release: Sha256,
    /// Its components, sorted; that of debug symbols among them.
    pub components: Vec<String>,
    /// Its architectures, sorted.
    pub architectures: Vec<String>,
    /// Until when it is valid, in seconds since 1970; none for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<i64>,
    /// How many packages its indexes list, sources among them; one of several architectures counts
    /// once.
    pub packages: u64,
    /// The release that was published to it last; none in a repository that was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

/// A release that was published to a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub id: DerivationId,
    /// Its manifest's digest; none if not all of it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
}

/// One package that a suite has got, or does not have any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The suite.
    pub suite: String,
    /// The package's name.
    pub name: String,
    /// `amd64`, `all`, or `source`.
    pub architecture: String,
    /// The version that was there; none if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The version that is there now; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Its component; of a package of the installer, `COMPONENT/debian-installer`.
    pub component: String,
    /// The source package it was built from.
    pub source: String,
    /// Digest of what the new one carries, without signatures: see the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Sha256>,
    /// What it was built from; none for what was not built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derivation: Option<DerivationId>,
    /// How it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// Why an older version may take the place of a newer one, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downgrade: Option<String>,
}

impl Generation {
    /// A generation of these suites; its changes are sorted.
    pub fn new(
        number: u64,
        date: i64,
        previous: Option<Digest>,
        reason: Reason,
        suites: BTreeMap<String, State>,
        mut changes: Vec<Change>,
    ) -> Self {
        changes.sort();
        Self { format: FORMAT.to_owned(), number, date, previous, reason, suites, changes }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).expect("strings, numbers, lists and maps");
        Json::read(&bytes).expect("what has just been written").encode()
    }

    /// Reads the canonical bytes of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Json`] or [`Error::Damaged`] if they are not such.
    pub fn read(bytes: &[u8], path: &HostPath) -> Result<Self> {
        Json::read_canonical(bytes).map_err(|source| Error::Json { path: path.clone(), source })?;
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        let read: Self =
            serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if read.format == FORMAT {
            Ok(read)
        } else {
            let found = read.format.escape_debug();
            Err(damaged(format!("the format is `{found}`, this version reads `{FORMAT}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_reads_back_from_its_document() {
        let state = State {
            release: Sha256::of(b"release"),
            components: vec!["main".to_owned()],
            architectures: vec!["amd64".to_owned()],
            valid_until: None,
            packages: 1,
            published: None,
        };
        let change = Change {
            suite: "stable".to_owned(),
            name: "greet".to_owned(),
            architecture: "amd64".to_owned(),
            old: None,
            new: Some("1.0-1".to_owned()),
            component: "main".to_owned(),
            source: "greet".to_owned(),
            payload: Some(Sha256::of(b"greet")),
            derivation: None,
            action: None,
            downgrade: None,
        };
        let path = HostPath::new("GENERATION.json");
        for reason in [Reason::Publish, Reason::Rollback { to: 3 }] {
            let suites = BTreeMap::from([("stable".to_owned(), state.clone())]);
            let made = Generation::new(4, 5, None, reason, suites, vec![change.clone()]);
            let bytes = made.encode();
            assert_eq!(Generation::read(&bytes, &path).expect("its own document"), made);
            for end in 0..bytes.len() {
                assert!(Generation::read(&bytes[..end], &path).is_err(), "{end}");
            }
        }
    }
}
