//! A release that is built in rounds, each on what the round before left: in which round each
//! package settled, and which never do.
//!
//! Round 1 is the release as it is built first, on the pinned archive. Where a round comes out as
//! the one before, every later one would: that is the fixpoint. Where it comes out as an earlier
//! one, the rounds go in a circle for ever.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::closure::{Certificate, Share};
use super::reproduction::{self, Compared, Diffoscope, compare};
use crate::base::{ActionId, Architecture, DerivationId, Digest, Json, PackageName};
use crate::graph::derivation::Package;
use crate::realise::RESOLUTION_RULES;
use crate::realise::manifest::record_digest;
use crate::realise::record::{Output, Record};
use crate::store::{Sameness, Store};

const FORMAT: &str = "perestroika/fixpoint/1";

/// The rounds of a release so far.
#[derive(Debug)]
pub struct Rounds {
    members: Vec<Member>,
    rounds: Vec<Round>,
    end: End,
}

/// A package of the release, whatever its recipe is in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// What it is built for.
    pub architecture: Architecture,
}

/// A round that was built as a whole.
#[derive(Debug)]
pub struct Round {
    /// The release id in this round.
    pub release: DerivationId,
    /// Its seed, and how many packages that has; none in the first round.
    pub seed: Option<(Digest, usize)>,
    /// What came of each package, in the order of the members.
    pub packages: Vec<Came>,
}

/// What a package came to in a round.
#[derive(Debug)]
pub struct Came {
    /// Its recipe in this round.
    pub derivation: DerivationId,
    /// What came of it.
    pub record: Arc<Record>,
    /// Whether it was built by this run.
    pub built: bool,
}

/// How a package was had in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was built.
    Built,
    /// Exactly the same goes into it as in the round before, so the same comes of it.
    Same,
    /// It was there: a build of exactly this was made before.
    There,
}

/// Where rounds lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last round came out as the one before.
    Fixpoint,
    /// The last round came out as this earlier one, but not as those between.
    Circle(usize),
    /// Neither, so far.
    Open,
}

/// How a package stands after the rounds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It came out in this round as in all later ones.
    Settled(usize),
    /// It does not: it came out otherwise in this round than in the one before, the last time.
    Moving(usize),
}

impl Rounds {
    /// No round yet of these packages.
    pub fn new<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Self {
        let member = |package: &Package| Member {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
        };
        let members = packages.into_iter().map(member).collect();
        Self { members, rounds: Vec::new(), end: End::Open }
    }

    /// Adds the next round.
    ///
    /// # Panics
    /// If it does not have as many packages as there are members.
    pub fn push(&mut self, round: Round) {
        assert_eq!(round.packages.len(), self.members.len(), "a round has all of a release");
        self.rounds.push(round);
        let last = self.last();
        let is_as =
            |number: &usize| (0..self.members.len()).all(|member| self.same(*number, last, member));
        self.end = match (1..last).rev().find(is_as) {
            Some(number) if number + 1 == last => End::Fixpoint,
            Some(number) => End::Circle(number),
            None => End::Open,
        };
    }

    /// How many rounds there were; the number of the last one.
    pub fn last(&self) -> usize {
        self.rounds.len()
    }

    /// The packages.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The rounds; the first has number 1.
    pub fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// How a package was had in a round.
    pub fn how(&self, number: usize, member: usize) -> How {
        let came = |number: usize| &self.rounds[number - 1].packages[member];
        let action = |number: usize| came(number).record.action;
        match came(number).built {
            true => How::Built,
            false if number > 1 && action(number) == action(number - 1) => How::Same,
            false => How::There,
        }
    }

    /// The packages that came out otherwise in this round than in the one before.
    pub fn moved(&self, number: usize) -> Vec<usize> {
        let members = 0..self.members.len();
        members.filter(|member| number > 1 && self.moves(number, *member)).collect()
    }

    /// Where they lead to.
    pub fn end(&self) -> End {
        self.end
    }

    /// How a package stands; there must have been a round.
    pub fn standing(&self, member: usize) -> Standing {
        let last = self.last();
        let moved = (2..=last).rev().find(|number| self.moves(*number, member));
        let from = match self.end {
            End::Fixpoint => last + 1,
            End::Circle(number) => number + 1,
            End::Open => last,
        };
        match moved {
            Some(number) if number >= from => Standing::Moving(number),
            moved => Standing::Settled(moved.unwrap_or(1)),
        }
    }

    /// The rounds, in short.
    pub fn outline(&self) -> Vec<RoundOf> {
        let round = |number: usize| {
            let Round { release, seed, packages } = &self.rounds[number - 1];
            let same = |member: &usize| self.how(number, *member) == How::Same;
            RoundOf {
                release: *release,
                seed: seed.map(|(digest, _)| digest),
                seeded: seed.map_or(0, |(_, count)| count),
                same: (0..packages.len()).filter(same).count(),
                moved: self.moved(number).len(),
            }
        };
        (1..=self.last()).map(round).collect()
    }

    fn moves(&self, number: usize, member: usize) -> bool {
        !self.same(number - 1, number, member)
    }

    /// Whether a package has the same files in two rounds.
    fn same(&self, one: usize, other: usize, member: usize) -> bool {
        let names = |number| {
            self.outputs(number, member).iter().map(|output| (&output.file, output.blake3))
        };
        names(one).eq(names(other))
    }

    fn outputs(&self, number: usize, member: usize) -> &[Output] {
        &self.rounds[number - 1].packages[member].record.outputs
    }
}

/// What building a release in rounds came to, as a canonical document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixpoint {
    /// What this is, and the version of it.
    pub format: String,
    /// The release id.
    pub release: DerivationId,
    /// `fixpoint`, `circle` or `open`.
    pub end: String,
    /// The number of the earlier round that the last one came out as, where they go in a circle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<usize>,
    /// The rounds.
    pub rounds: Vec<RoundOf>,
    /// The packages, in the order of the graph.
    pub packages: Vec<Settling>,
    /// How closed the release is at the fixpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<Closure>,
}

/// A round, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundOf {
    /// The release id in this round.
    pub release: DerivationId,
    /// The digest of its seed; none in the first round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Digest>,
    /// How many packages the seed has.
    pub seeded: usize,
    /// How many packages exactly the same went into as in the round before.
    pub same: usize,
    /// How many came out otherwise than in the round before.
    pub moved: usize,
}

/// A package through all rounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settling {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// What it is built for.
    pub architecture: Architecture,
    /// The round since which it comes out the same; none if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<usize>,
    /// What came of it in each round.
    pub rounds: Vec<Entry>,
    /// If it does not settle: the round in which it came out otherwise the last time, and its
    /// files then and in the round before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Differs>,
}

/// A package in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its recipe.
    pub derivation: DerivationId,
    /// What was done.
    pub action: ActionId,
    /// What came of it.
    pub record: Digest,
}

/// How a package differs from one round to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Differs {
    /// The later round.
    pub round: usize,
    /// Its files, sorted by name; `old` is the earlier round's.
    pub outputs: Vec<Compared>,
}

/// How closed a release is at the fixpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closure {
    /// The certificate.
    pub certificate: Digest,
    /// Its level.
    pub level: String,
    /// How many packages of build roots are the release's own.
    pub own: usize,
    /// How many are of the archive.
    pub seed: usize,
    /// Bytes of the first.
    pub own_bytes: u64,
    /// Bytes of the others.
    pub seed_bytes: u64,
}

impl Closure {
    /// What a certificate comes to.
    pub fn of(certificate: &Certificate) -> Self {
        let Share { packages: own, bytes: own_bytes } = certificate.own;
        let Share { packages: seed, bytes: seed_bytes } = certificate.seed_share();
        let level = certificate.level_word().to_owned();
        let certificate = Digest::of(&certificate.to_json().encode());
        Self { certificate, level, own, seed, own_bytes, seed_bytes }
    }
}

impl Fixpoint {
    /// What these rounds of a release came to; files that still differ are compared.
    ///
    /// # Errors
    /// A store that does not have these files, or in which they cannot be read.
    ///
    /// # Panics
    /// If there was no round.
    pub fn of(
        store: &Store,
        rounds: &Rounds,
        closure: Option<Closure>,
    ) -> Result<Self, reproduction::Error> {
        let end = rounds.end();
        let (word, circle) = match end {
            End::Fixpoint => ("fixpoint", None),
            End::Circle(number) => ("circle", Some(number)),
            End::Open => ("open", None),
        };
        let numbers = || 1..=rounds.last();
        let settling = |(place, member): (usize, &Member)| {
            let entry = |number: usize| {
                let Came { derivation, record, built: _ } =
                    &rounds.rounds[number - 1].packages[place];
                Entry {
                    derivation: *derivation,
                    action: record.action,
                    record: record_digest(record),
                }
            };
            let (settled, differs) = match rounds.standing(place) {
                Standing::Settled(number) => (Some(number), None),
                Standing::Moving(number) => {
                    let [old, new] = [number - 1, number].map(|one| rounds.outputs(one, place));
                    let outputs = compare(store, old, new, Diffoscope::Asked)?;
                    (None, Some(Differs { round: number, outputs }))
                }
            };
            let Member { name, version, architecture } = member.clone();
            let rounds = numbers().map(entry).collect();
            Ok(Settling { package: name, version, architecture, settled, rounds, differs })
        };
        Ok(Self {
            format: FORMAT.to_owned(),
            release: rounds.rounds.first().expect("there was a round").release,
            end: word.to_owned(),
            circle,
            rounds: rounds.outline(),
            packages: rounds
                .members
                .iter()
                .enumerate()
                .map(settling)
                .collect::<Result<_, reproduction::Error>>()?,
            closure,
        })
    }

    /// The canonical document.
    pub fn to_json(&self) -> Json {
        let bytes = serde_json::to_vec(self).expect("strings, lists, maps and integers");
        Json::read(&bytes).expect("sizes and numbers are below 2^53")
    }

    /// Keeps it, and with it all that the rounds left, as long as the release is kept; gives its
    /// name.
    ///
    /// # Errors
    /// A store that takes no writes.
    pub fn keep(&self, store: &Store) -> Result<Digest, reproduction::Error> {
        let digest = store.put_json(&self.to_json())?;
        // What a release was resolved to is kept with it.
        let action = ActionId::from_bytes(*digest.as_bytes());
        store.remember_resolution(&self.release, &question(), RESOLUTION_RULES, &action)?;
        Ok(digest)
    }

    /// What the rounds of this very release came to the last time; none if there were none, or if
    /// that is not there any more.
    pub fn last(store: &Store, release: DerivationId) -> Option<(Digest, Self)> {
        let noted = store.resolution(&release, &question(), RESOLUTION_RULES).ok()??;
        let bytes = store.json(&noted.digest()).ok()??;
        let read: Self = serde_json::from_slice(&bytes).ok()?;
        (read.format == FORMAT).then_some((noted.digest(), read))
    }
}

impl Settling {
    /// Whether it comes out the same.
    pub fn sameness(&self) -> Sameness {
        if self.settled.is_some() { Sameness::Reproduced } else { Sameness::Differs }
    }
}

/// Stands for what is offered to a release: nothing, but that it is built in rounds.
fn question() -> Digest {
    Digest::of(FORMAT.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Sha256;

    /// Rounds in which each package comes out as these letters say, one for each round; a capital
    /// is built from other inputs than the round before.
    fn rounds(packages: &[&str]) -> Rounds {
        let members = (0..packages.len()).map(|place| Member {
            name: format!("package{place}").parse().expect("a name"),
            version: "1".to_owned(),
            architecture: Architecture::all(),
        });
        let mut rounds = Rounds { members: members.collect(), rounds: Vec::new(), end: End::Open };
        for number in 0..packages[0].len() {
            let came = packages.iter().enumerate().map(|(place, letters)| {
                let letter = letters.as_bytes()[number];
                let bytes = [letter.to_ascii_lowercase()];
                let actions =
                    letters.as_bytes()[..=number].iter().filter(|it| it.is_ascii_uppercase());
                let action = format!("{place} {}", actions.count());
                let output = Output {
                    file: "x".to_owned(),
                    size: 1,
                    blake3: Digest::of(&bytes),
                    sha256: Sha256::of(&bytes),
                    control: String::new(),
                };
                let record = Record {
                    action: ActionId::of(action.as_bytes()),
                    derivation: DerivationId::of(b"d"),
                    outputs: vec![output],
                    layers: Vec::new(),
                    log: Digest::of(b""),
                    receipt: BTreeMap::new(),
                    circumstances: BTreeMap::new(),
                    started: 0,
                    elapsed: 0,
                    cause: String::new(),
                    causes: None,
                    trace: None,
                };
                let derivation = DerivationId::of(format!("{place} {number}").as_bytes());
                Came { derivation, record: Arc::new(record), built: letter.is_ascii_uppercase() }
            });
            let packages = came.collect();
            let release = DerivationId::of(format!("{number}").as_bytes());
            rounds.push(Round { release, seed: None, packages });
        }
        rounds
    }

    #[test]
    fn a_round_like_the_one_before_is_the_fixpoint() {
        let rounds = rounds(&["AAA", "ABB", "Aaa"]);
        assert_eq!(rounds.end(), End::Fixpoint);
        assert_eq!(rounds.moved(1), [0; 0]);
        assert_eq!(rounds.moved(2), [1]);
        assert_eq!(rounds.moved(3), [0; 0]);
        use Standing::Settled;
        let standing = [0, 1, 2].map(|member| rounds.standing(member));
        assert_eq!(standing, [Settled(1), Settled(2), Settled(1)]);
        assert_eq!(rounds.how(1, 2), How::Built);
        assert_eq!(rounds.how(2, 0), How::Built);
        assert_eq!(rounds.how(2, 2), How::Same);
    }

    #[test]
    fn a_single_round_is_none() {
        let rounds = rounds(&["A"]);
        assert_eq!(rounds.end(), End::Open);
        assert_eq!(rounds.standing(0), Standing::Settled(1));
    }

    #[test]
    fn rounds_that_come_back_go_in_a_circle() {
        // The second package is as before in the last round, and still never settles.
        let rounds = rounds(&["XABCA", "XABBA", "XAAAA", "XXXXX"]);
        assert_eq!(rounds.end(), End::Circle(2));
        use Standing::{Moving, Settled};
        let standing = [0, 1, 2, 3].map(|member| rounds.standing(member));
        assert_eq!(standing, [Moving(5), Moving(5), Settled(2), Settled(1)]);
        let rounds = self::rounds(&["ABCA", "ABAA"]);
        assert_eq!(rounds.end(), End::Circle(1));
        assert_eq!([0, 1].map(|member| rounds.standing(member)), [Moving(4), Moving(3)]);
    }

    #[test]
    fn what_moves_in_the_last_of_many_rounds_has_not_settled() {
        let rounds = rounds(&["ABCD", "ABBB", "AABC", "AAAA"]);
        assert_eq!(rounds.end(), End::Open);
        use Standing::{Moving, Settled};
        let standing = [0, 1, 2, 3].map(|member| rounds.standing(member));
        assert_eq!(standing, [Moving(4), Settled(2), Moving(4), Settled(1)]);
    }
}
