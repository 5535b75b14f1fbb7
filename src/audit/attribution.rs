//! Which circumstance of a build shows in what comes of it: everything is varied at once, and what
//! differs then is traced back to its cause by halves.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reproduction::{Compared, Diffoscope, Error, compare};
use crate::realise::again::{Again, Failed, Repeat};
use crate::realise::event::Fault;
use crate::realise::vary::{Means, Variation};

/// What varying came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribution {
    /// What was varied, and how.
    pub varied: Vec<Told>,
    /// What was to be varied and could not be, and why.
    pub not_varied: Vec<Told>,
    /// How often it was built for that.
    pub builds: u64,
    /// What differs because of it, each with its causes.
    pub findings: Vec<Finding>,
}

/// Something that is said of a variation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// What is said of it.
    pub text: String,
}

/// Something that differs, or that the build fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The file; empty if there is none because the build fails.
    pub file: String,
    /// Where in it: names of members, outermost first.
    pub at: Vec<String>,
    /// The variations that lead to it.
    pub causes: Vec<String>,
    /// Whether each of the causes does alone.
    pub alone: Alone,
}

/// How the causes of a finding work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alone {
    /// Each of them leads to it by itself.
    Each,
    /// Only together: no half of them does.
    Together,
}

/// A place that differs: a file, and names of members. No file if the build fails.
type Place = (String, Vec<String>);

/// What varying everything came to, and where that comes from.
pub struct Varied {
    /// What is known of it.
    pub attribution: Attribution,
    /// The files as they came out with everything varied at once; none if that failed.
    pub outputs: Vec<Compared>,
}

/// Varies what can be of `wanted`, and finds the cause of whatever differs then that did not with
/// nothing varied (`plain`).
pub fn attribute(
    repeat: &Repeat<'_>,
    wanted: &BTreeSet<Variation>,
    plain: &[Compared],
) -> Result<Result<Varied, Error>, Failed> {
    let means = repeat.means(wanted)?;
    let mut search = Search { repeat, means: &means, known: places(plain), builds: 0 };
    let able = means.able(wanted);
    let told =
        |one: &Variation, text: &str| Told { name: one.as_str().to_owned(), text: text.to_owned() };
    let mut attribution = Attribution {
        varied: able.iter().map(|one| told(one, one.how())).collect(),
        not_varied: means.without.iter().map(|(one, why)| told(one, why)).collect(),
        builds: 0,
        findings: Vec::new(),
    };
    let mut left: Vec<Variation> = able.into_iter().collect();
    let mut causes = Causes::default();
    let mut outputs = Vec::new();
    // What makes the build fail hides everything else: it is left out then.
    while !left.is_empty() {
        let (found, compared) = match search.build(&left)? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        outputs = compared;
        if let Err(error) = search.trace(&left, found.clone(), &mut causes)? {
            return Ok(Err(error));
        }
        let breaking = causes.of(&failing());
        if !found.contains(&failing()) || breaking.is_empty() {
            break;
        }
        left.retain(|one| !breaking.contains(one));
    }
    attribution.builds = search.builds;
    attribution.findings = causes.findings();
    Ok(Ok(Varied { attribution, outputs }))
}

/// Where a build that fails differs.
fn failing() -> Place {
    (String::new(), Vec::new())
}

/// The variations that lead to each place that differs.
#[derive(Default)]
struct Causes(BTreeMap<Place, (BTreeSet<Variation>, Option<Alone>)>);

impl Causes {
    fn add(&mut self, place: &Place, causes: &[Variation], alone: Alone) {
        let (known, how) = self.0.entry(place.clone()).or_default();
        match (*how, alone) {
            // What does it alone says more than what does it together with others.
            (Some(Alone::Each), Alone::Together) => {}
            (Some(Alone::Together), Alone::Each) => *known = causes.iter().copied().collect(),
            _ => known.extend(causes),
        }
        if *how != Some(Alone::Each) {
            *how = Some(alone);
        }
    }

    fn of(&self, place: &Place) -> BTreeSet<Variation> {
        self.0.get(place).map(|(causes, _)| causes.clone()).unwrap_or_default()
    }

    fn findings(self) -> Vec<Finding> {
        let finding = |((file, at), (causes, alone)): (Place, (BTreeSet<Variation>, _))| Finding {
            file,
            at,
            causes: causes.iter().map(|one| one.as_str().to_owned()).collect(),
            alone: Option::unwrap_or(alone, Alone::Each),
        };
        self.0.into_iter().map(finding).collect()
    }
}

struct Search<'a> {
    repeat: &'a Repeat<'a>,
    means: &'a Means,
    /// What differs although nothing is varied.
    known: BTreeSet<Place>,
    builds: u64,
}

/// Places that differ, and the files that were compared for that.
type Found = (BTreeSet<Place>, Vec<Compared>);

impl Search<'_> {
    /// Builds with these varied.
    fn build(&mut self, varied: &[Variation]) -> Result<Result<Found, Error>, Failed> {
        self.builds += 1;
        let again = self.repeat.varied(self.means, &varied.iter().copied().collect());
        let outputs = match again {
            Ok(Again { outputs, .. }) => outputs,
            Err(failed) if failed.failure.fault == Fault::Package => {
                return Ok(Ok((BTreeSet::from([failing()]), Vec::new())));
            }
            Err(failed) => return Err(failed),
        };
        let old = &self.repeat.record.outputs;
        let compared = compare(self.repeat.store(), old, &outputs, Diffoscope::Unasked);
        Ok(compared.map(|compared| {
            let found = places(&compared).difference(&self.known).cloned().collect();
            (found, compared)
        }))
    }

    /// Finds the causes among `varied`, with all of which `found` differs.
    fn trace(
        &mut self,
        varied: &[Variation],
        found: BTreeSet<Place>,
        causes: &mut Causes,
    ) -> Result<Result<(), Error>, Failed> {
        if found.is_empty() {
            return Ok(Ok(()));
        }
        if let [one] = varied {
            found.iter().for_each(|place| causes.add(place, &[*one], Alone::Each));
            return Ok(Ok(()));
        }
        let mut explained = BTreeSet::new();
        let (first, second) = varied.split_at(varied.len() / 2);
        for half in [first, second] {
            let found = match self.build(half)? {
                Ok((found, _)) => found,
                Err(error) => return Ok(Err(error)),
            };
            explained.extend(found.iter().cloned());
            if let Err(error) = self.trace(half, found, causes)? {
                return Ok(Err(error));
            }
        }
        for place in found.difference(&explained) {
            causes.add(place, varied, Alone::Together);
        }
        Ok(Ok(()))
    }
}

/// Every place that differs.
fn places(compared: &[Compared]) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    for one in compared.iter().filter(|one| !one.is_reproduced()) {
        let changes = one.difference.iter().flat_map(|difference| &difference.changes);
        let before = places.len();
        places.extend(
            changes
                .filter(|change| !change.is_consequence())
                .map(|change| (one.file.clone(), change.at.clone())),
        );
        if places.len() == before {
            places.insert((one.file.clone(), Vec::new()));
        }
    }
    places
}
