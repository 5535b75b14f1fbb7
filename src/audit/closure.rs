//! Whether a release is closed: whether all that its builds took in is something it builds itself,
//! or a package of its enumerated seed. A pure function of [`Evidence`], which [`super::evidence`]
//! reads from a store.
//!
//! The *universe* of a package is the pinned index of its root, in later rounds what the round before
//! left, and what the packages that its edges lead to built. A package of its build root is
//! - *own*: one that its closure built, or one of the index whose bytes the release built too;
//! - *seed*: any other of the index; *shadowed* seed, if the release builds one of that name;
//! - neither: then the release is not closed.

mod certificate;
mod found;
mod level;
pub mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use certificate::Certificate;
pub use found::{Basis, Fault, Finding, Same, Seed, Shadowed, Share, Standing, Why, Wrong};
pub use level::Reason;

use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, Digest, PackageName, Sha256};
use crate::graph::derivation::{Package, Release};
use crate::realise::action::Listed;
use crate::realise::manifest::Enumerated;
use crate::realise::record::Record;
use crate::realise::universe::is_kept_out;

/// All that is known of what went into the builds of a release.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The release id.
    pub id: DerivationId,
    /// The release.
    pub release: &'a Release,
    /// The pinned packages of each root, by the digests of their files.
    pub indexes: BTreeMap<DerivationId, Index>,
    /// The packages that build roots list, each once; lists are numbers of these.
    pub listed: Vec<Listed>,
    /// The packages of the release, each after what it needs.
    pub packages: Vec<Subject<'a>>,
    /// What the release's manifest enumerates, if it was built as a whole.
    pub manifest: Option<Enumerated>,
    /// What the store does not have as its documents name it.
    pub faults: Vec<Fault>,
    /// How the store was read.
    pub looked: Looked,
}

/// The packages of a root's pinned indexes, by the digests of their files.
pub type Index = HashMap<Sha256, Arc<BinaryPackage>>;

/// A package of the release, and what went into its build.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its derivation's id.
    pub id: DerivationId,
    /// Its derivation.
    pub recipe: &'a Package,
    /// What it came to, if it is built as the release is now.
    pub built: Option<Built>,
    /// The packages of its build root.
    pub root: Inputs,
}

/// A build of a package.
#[derive(Debug)]
pub struct Built {
    /// The name of its record.
    pub digest: Digest,
    /// Its record.
    pub record: Arc<Record>,
    /// Whether its action is that of the package's derivation.
    pub action_fits: bool,
}

/// The packages of a build root, as numbers of [`Evidence::listed`].
#[derive(Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Those that the action of the package's record lists.
    Recorded(Vec<u32>),
    /// Those that would be chosen now; of what the release builds, names alone count.
    Foreseen(Vec<u32>),
    /// They cannot be known, for this reason.
    Unknown(String),
    /// They were not asked for.
    Unasked,
}

/// How the store was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// How closely.
    pub depth: Depth,
    /// How many different objects, documents and logs were looked for.
    pub objects: usize,
}

/// How closely a store is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Whether everything is there, at its size.
    Present,
    /// Whether its bytes are those of its digest.
    Bytes,
}

/// Judges the evidence.
pub fn certify(evidence: &Evidence<'_>) -> Certificate {
    let ground = Ground::new(evidence);
    let mut certificate = Certificate::new(evidence);
    let mut tally = Tally::default();
    for place in 0..evidence.packages.len() {
        let standing = ground.judge(place, &mut tally);
        certificate.packages.push(standing);
    }
    tally.findings.extend(ground.differences(&tally));
    tally.findings.extend(evidence.faults.iter().cloned().map(Finding::Fault));
    for number in &tally.own {
        certificate.own.add(ground.size(*number));
    }
    certificate.seed = tally.seed.into_values().collect();
    certificate.seed.sort_by(|a, b| a.package.name.cmp(&b.package.name));
    certificate.shadowed = tally.shadowed.into_values().collect();
    certificate.findings = tally.findings.into_iter().collect();
    certificate
}

/// What is looked up for every package.
struct Ground<'a> {
    evidence: &'a Evidence<'a>,
    places: HashMap<DerivationId, usize>,
    /// The packages that declare each binary package.
    makers: HashMap<&'a str, Vec<usize>>,
    /// The packages whose builds left a file of this digest that others may build with, and its
    /// size.
    outputs: HashMap<Sha256, Vec<(usize, u64)>>,
    /// Of each package, a bit for every package that its edges lead to.
    closures: Vec<Vec<u64>>,
}

/// What was found in the build roots so far.
#[derive(Default)]
struct Tally {
    /// By number.
    own: BTreeSet<u32>,
    seed: BTreeMap<u32, Seed>,
    shadowed: BTreeMap<u32, Shadowed>,
    findings: BTreeSet<Finding>,
}

/// What a package of a build root is.
enum Part {
    Own,
    Seed(Arc<BinaryPackage>),
    Shadowed(Arc<BinaryPackage>, usize),
    NotReplaced(usize),
    Foreign,
}

impl<'a> Ground<'a> {
    fn new(evidence: &'a Evidence<'a>) -> Self {
        let mut makers: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut outputs: HashMap<Sha256, Vec<(usize, u64)>> = HashMap::new();
        for (place, subject) in evidence.packages.iter().enumerate() {
            for name in &subject.recipe.binaries {
                makers.entry(name.as_str()).or_default().push(place);
            }
            let built = subject.built.iter().flat_map(|built| &built.record.outputs);
            for output in built.filter(|output| output.is_offered()) {
                outputs.entry(output.sha256).or_default().push((place, output.size));
            }
        }
        let places = evidence.packages.iter().enumerate();
        let places: HashMap<_, _> = places.map(|(place, subject)| (subject.id, place)).collect();
        let words = evidence.packages.len().div_ceil(64);
        let mut closures: Vec<Vec<u64>> = Vec::with_capacity(evidence.packages.len());
        for subject in &evidence.packages {
            let mut closure = vec![0; words];
            let needs = subject.recipe.dependencies.iter().filter_map(|need| places.get(need));
            for need in needs.filter(|need| **need < closures.len()) {
                closure[need / 64] |= 1 << (need % 64);
                let below = closure.iter_mut().zip(&closures[*need]);
                below.for_each(|(word, other)| *word |= other);
            }
            closures.push(closure);
        }
        Self { evidence, places, makers, outputs, closures }
    }

    /// How the build root of a package is made up; what is in it goes to `tally`.
    fn judge(&self, place: usize, tally: &mut Tally) -> Standing {
        let subject = &self.evidence.packages[place];
        let recipe = subject.recipe;
        let name = || recipe.name.to_string();
        let (basis, numbers): (Basis, &[u32]) = match &subject.root {
            Inputs::Recorded(numbers) => (Basis::Recorded, numbers),
            Inputs::Foreseen(numbers) => (Basis::Foreseen, numbers),
            Inputs::Unknown(why) => (Basis::Unknown(why.clone()), &[]),
            Inputs::Unasked => (Basis::Unasked, &[]),
        };
        let built = subject.built.as_ref();
        if let Some(built) = built.filter(|built| !built.action_fits) {
            tally
                .findings
                .insert(Finding::OtherRecipe { package: name(), action: built.record.action });
        }
        for needs in recipe.dependencies.iter().filter(|id| !self.places.contains_key(id)) {
            tally.findings.insert(Finding::Outside { package: name(), needs: *needs });
        }
        let (mut own, mut seed, mut shadows) = (Share::default(), Share::default(), 0);
        for number in numbers {
            let part = self.part(place, *number, &basis);
            let listed = || title(&self.evidence.listed[*number as usize]);
            match part {
                Part::Own => {
                    own.add(self.size(*number));
                    tally.own.insert(*number);
                }
                Part::Seed(package) => {
                    seed.add(package.size);
                    tally.seed(*number, package, recipe);
                }
                Part::Shadowed(package, by) => {
                    seed.add(package.size);
                    shadows += 1;
                    tally.seed(*number, Arc::clone(&package), recipe);
                    let shadowed = tally
                        .shadowed
                        .entry(*number)
                        .or_insert_with(|| self.shadowed(package, by, place, numbers));
                    shadowed.roots.push((recipe.name.clone(), self.why(place, by, *number)));
                }
                Part::NotReplaced(by) => {
                    let by = self.evidence.packages[by].recipe.name.to_string();
                    let found = Finding::NotReplaced { package: name(), listed: listed(), by };
                    tally.findings.insert(found);
                }
                Part::Foreign => {
                    let sha256 = self.evidence.listed[*number as usize].sha256;
                    let whose = self.outputs.get(&sha256).and_then(|makers| makers.first());
                    let whose = whose
                        .map(|(maker, _)| self.evidence.packages[*maker].recipe.name.to_string());
                    let (package, listed) = (name(), listed());
                    tally.findings.insert(Finding::Foreign { package, listed, sha256, whose });
                }
            }
        }
        Standing {
            name: recipe.name.clone(),
            version: recipe.version.clone(),
            derivation: subject.id,
            built: built.map(|built| (built.record.action, built.digest)),
            basis,
            own,
            seed,
            shadowed: shadows,
        }
    }

    fn part(&self, place: usize, number: u32, basis: &Basis) -> Part {
        let subject = &self.evidence.packages[place];
        let listed = &self.evidence.listed[number as usize];
        let kept_out =
            listed.name.parse().is_ok_and(|name: PackageName| is_kept_out(subject.recipe, &name));
        let makers = self.makers.get(listed.name.as_str()).map_or(&[][..], Vec::as_slice);
        let fits = |place: &&usize| {
            let architecture = self.evidence.packages[**place].recipe.architecture.as_str();
            listed.architecture == "all" || listed.architecture == architecture
        };
        let maker = makers.iter().find(fits).copied();
        let offered = maker.filter(|maker| !kept_out && self.leads(place, *maker));
        let outputs = self.outputs.get(&listed.sha256).map_or(&[][..], Vec::as_slice);
        let own = match basis {
            // What is not built yet has no bytes to go by.
            Basis::Foreseen => offered.is_some(),
            _ => !kept_out && outputs.iter().any(|(maker, _)| self.leads(place, *maker)),
        };
        if own && self.is_output(listed, outputs, basis) {
            return Part::Own;
        }
        let index = self.evidence.indexes.get(&subject.recipe.root);
        let known = index.and_then(|index| index.get(&listed.sha256));
        let Some(known) = known.filter(|known| is(listed, known)) else { return Part::Foreign };
        match (maker, offered) {
            // The release built these very bytes.
            _ if !outputs.is_empty() => Part::Own,
            (None, _) => Part::Seed(Arc::clone(known)),
            (_, Some(maker)) => Part::NotReplaced(maker),
            (Some(maker), None) => Part::Shadowed(Arc::clone(known), maker),
        }
    }

    /// Whether a package is listed as the control file of the output says.
    fn is_output(&self, listed: &Listed, outputs: &[(usize, u64)], basis: &Basis) -> bool {
        if *basis == Basis::Foreseen {
            return true;
        }
        outputs.iter().any(|(maker, _)| {
            let built = self.evidence.packages[*maker].built.as_ref();
            let outputs = built.into_iter().flat_map(|built| &built.record.outputs);
            let mut same = outputs.filter(|output| output.sha256 == listed.sha256);
            same.any(|output| {
                let (control, file) = (&output.control, &output.file);
                BinaryPackage::from_control(control, file, output.size, output.sha256)
                    .is_ok_and(|package| is(listed, &package))
            })
        })
    }

    fn size(&self, number: u32) -> u64 {
        let sha256 = &self.evidence.listed[number as usize].sha256;
        let output = self.outputs.get(sha256).and_then(|makers| makers.first());
        let archive = || self.evidence.indexes.values().find_map(|index| index.get(sha256));
        output.map_or_else(|| archive().map_or(0, |package| package.size), |(_, size)| *size)
    }

    fn shadowed(
        &self,
        package: Arc<BinaryPackage>,
        by: usize,
        place: usize,
        numbers: &[u32],
    ) -> Shadowed {
        let maker = &self.evidence.packages[by];
        let may_be_same =
            maker.built.is_none() && package.source_version.as_str() == maker.recipe.version;
        let index = self.evidence.indexes.get(&self.evidence.packages[place].recipe.root);
        let others = numbers
            .iter()
            .filter_map(|number| index?.get(&self.evidence.listed[*number as usize].sha256));
        let asking = others.filter(|other| asks(other, &package));
        Shadowed {
            by: maker.recipe.name.clone(),
            same: if may_be_same { Same::Unknown } else { Same::Differs },
            roots: Vec::new(),
            asked_by: asking.map(|other| other.name.clone()).collect(),
            package,
        }
    }

    fn why(&self, place: usize, by: usize, number: u32) -> Why {
        let (recipe, maker) =
            (self.evidence.packages[place].recipe, self.evidence.packages[by].recipe);
        let name = &self.evidence.listed[number as usize].name;
        if recipe.name == maker.name {
            Why::Itself
        } else if recipe.from_seed.iter().any(|seed| seed.as_str() == name) {
            Why::FromSeed
        } else if self.leads(by, place) {
            Why::Round
        } else {
            Why::NoEdge
        }
    }

    /// Whether the edges of a package lead to another.
    fn leads(&self, place: usize, to: usize) -> bool {
        self.closures[place][to / 64] & (1 << (to % 64)) != 0
    }

    /// Where the manifest differs from what the build roots have.
    fn differences(&self, tally: &Tally) -> Vec<Finding> {
        let Some(manifest) = &self.evidence.manifest else { return Vec::new() };
        let mut found = Vec::new();
        for subject in &self.evidence.packages {
            let Some(built) = &subject.built else { continue };
            let listed = manifest.records.get(&subject.id).copied();
            if listed != Some(built.digest) {
                let package = subject.recipe.name.to_string();
                found.push(Finding::OtherRecord { package, adopted: built.digest, listed });
            }
        }
        let mut known: BTreeSet<&Listed> = BTreeSet::new();
        for (number, seed) in &tally.seed {
            let listed = &self.evidence.listed[*number as usize];
            known.insert(listed);
            if !manifest.seed.contains(listed) {
                let (package, listed) = (seed.first.to_string(), title(listed));
                found.push(Finding::NotEnumerated { package, listed });
            }
        }
        let is_recorded = |subject: &Subject<'_>| matches!(subject.root, Inputs::Recorded(_));
        if self.evidence.packages.iter().all(is_recorded) {
            let superfluous = manifest.seed.iter().filter(|listed| !known.contains(listed));
            found.extend(superfluous.map(|one| Finding::Superfluous { listed: title(one) }));
        }
        found
    }
}

impl Tally {
    fn seed(&mut self, number: u32, package: Arc<BinaryPackage>, recipe: &Package) {
        let (root, first) = (recipe.root, recipe.name.clone());
        self.seed.entry(number).or_insert(Seed { package, root, first, roots: 0 }).roots += 1;
    }
}

fn title(listed: &Listed) -> String {
    format!("{} {} {}", listed.name, listed.version, listed.architecture)
}

/// Whether a list means this package.
fn is(listed: &Listed, package: &BinaryPackage) -> bool {
    let Listed { name, version, architecture, sha256 } = listed;
    package.sha256 == *sha256
        && package.name.as_str() == name
        && package.architecture.as_str() == architecture
        && package.version.as_str() == version
}

/// Whether a package depends on another, by its name or by what it provides.
fn asks(package: &BinaryPackage, other: &BinaryPackage) -> bool {
    let provided = other.provides.get().into_iter().flat_map(|provides| &provides.0);
    let provided = provided.flat_map(|one| &one.0).map(|relation| &relation.name);
    let names: Vec<&PackageName> = [&other.name].into_iter().chain(provided).collect();
    let fields = [&package.pre_depends, &package.depends];
    let mut asked = fields
        .into_iter()
        .filter_map(|field| field.get().ok())
        .flat_map(|field| &field.0)
        .flat_map(|alternatives| &alternatives.0);
    package.name != other.name && asked.any(|relation| names.contains(&&relation.name))
}
