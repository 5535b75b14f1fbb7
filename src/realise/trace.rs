//! Traces: which files of its build root a build really opened, package by package.
//!
//! A trace is a document of its own beside the record that names it, as it lists thousands of
//! files. It says all that is needed to judge it later, when indexes and layers may be gone: what
//! was declared, what each package of the root needs, and which of them every root has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::buildroot::Owners;
use super::error::{Error, Result};
use super::record::{self, Record, Traced};
use super::universe::{RootLists, dependencies};
use crate::archive::deb::dependency::{Alternatives, Dependencies};
use crate::archive::deb::index::BinaryPackage;
use crate::archive::deb::solver::Universe;
use crate::base::{Architecture, HostPath, Json};
use crate::graph::derivation::{Package, Root};
use crate::sandbox::Observed;
use crate::store::{Batch, Store};

const FORMAT: &str = "perestroika/trace/1";

/// What a build opened of its root.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Whether that is all it opened.
    pub extent: Extent,
    /// What it declared, in the order of its derivation.
    pub declared: Vec<Declared>,
    /// Names of the packages that every build root over its base has, sorted.
    pub base: BTreeSet<String>,
    /// The packages of its root, sorted by name.
    pub packages: Vec<Opened>,
    /// Files that came with no package: made when packages were configured; sorted.
    pub others: Vec<String>,
}

/// Whether a trace has everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// It has.
    Whole,
    /// The build opened files faster than could be noted, so some may be missing.
    Cut,
}

/// A build dependency, and what it is satisfied by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// As the derivation has it.
    pub dependency: String,
    /// Names of packages of the root, sorted.
    pub packages: BTreeSet<String>,
}

/// A package of a build root, and what was opened of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Names of the packages of the root that satisfy what it depends on, sorted.
    pub needs: BTreeSet<String>,
    /// Guest paths, sorted.
    pub files: Vec<String>,
    /// Where no file of it was opened: its links that lead to files of others that were. Nothing
    /// tells whether these links were used.
    #[serde(default)]
    pub links: BTreeSet<String>,
    /// Where no file of it was opened: whether it has any that could be.
    #[serde(default)]
    pub holds: Holds,
}

/// Whether a package has anything but folders and documentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It has.
    #[default]
    Something,
    /// It is there for what it needs.
    Nothing,
}

/// A traced record of an action.
#[derive(Debug, Clone)]
pub struct Found {
    /// The trace.
    pub trace: Trace,
    /// How the build that was traced compares to the one that counts.
    pub outputs: Outputs,
}

/// How the outputs of two builds compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Byte for byte the same.
    Identical,
    /// Not all of them.
    Different,
}

impl Outputs {
    /// How those of `one` compare to those of `other`.
    pub fn of(one: &Record, other: &Record) -> Self {
        if one.outputs == other.outputs { Self::Identical } else { Self::Different }
    }
}

/// The trace of a build that counts: its own, else that of another build of the same action,
/// preferably one with the same outputs. Nothing if no build of it was traced, or if the trace is
/// lost.
pub fn find(store: &Store, record: &Record) -> Result<Option<Found>> {
    let read = |outputs, traced: &Traced| -> Result<Option<Found>> {
        let Some(document) = store.json(&traced.document)? else { return Ok(None) };
        let trace = Trace::from_json(&document)
            .map_err(|source| Error::Record { digest: traced.document, source })?;
        Ok(Some(Found { trace, outputs }))
    };
    let own = record.trace.as_ref().map(|traced| read(Outputs::Identical, traced));
    if let Some(found) = own.transpose()?.flatten() {
        return Ok(Some(found));
    }
    let mut others = Vec::new();
    for digest in store.records(&record.action)? {
        // One that cannot be read counts for nothing, here as elsewhere.
        let document = store.json(&digest)?;
        others.extend(document.and_then(|document| Record::from_json(&document).ok()));
    }
    others.sort_by_key(|other| Outputs::of(other, record) != Outputs::Identical);
    for other in others {
        let found = other.trace.as_ref().map(|traced| read(Outputs::of(&other, record), traced));
        if let Some(found) = found.transpose()?.flatten() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether [`find`] finds one.
pub fn is_there(store: &Store, record: &Record) -> bool {
    matches!(find(store, record), Ok(Some(_)))
}

/// Puts into a batch what a build of `package` opened of the root over `base` that these lists and
/// `layers` are.
pub fn keep(
    batch: &Batch<'_>,
    package: &Package,
    base: &Root,
    lists: &RootLists,
    layers: &[HostPath],
    observed: &Observed,
) -> Result<Traced> {
    let trace = Trace::new(package, base, lists, &Owners::read(layers)?, observed);
    let opened = trace.packages.iter().filter(|package| !package.files.is_empty());
    Ok(Traced {
        document: batch.put_json(&trace.to_json())?,
        extent: trace.extent,
        packages: opened.count() as u64,
        files: observed.files.len() as u64,
    })
}

impl Trace {
    fn new(
        package: &Package,
        base: &Root,
        lists: &RootLists,
        owners: &Owners,
        observed: &Observed,
    ) -> Self {
        let mut files: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut others = Vec::new();
        for file in &observed.files {
            let packages = owners.of(file);
            if packages.is_empty() {
                others.push(file.clone());
            }
            for package in packages {
                files.entry(package).or_default().push(file.clone());
            }
        }
        let unopened: BTreeSet<&str> =
            lists.packages().map(|package| package.name.as_str()).collect();
        let unopened = unopened.into_iter().filter(|name| !files.contains_key(name)).collect();
        let is_opened =
            |path: &str| observed.files.binary_search_by(|file| file.as_str().cmp(path)).is_ok();
        let mut links = owners.links(&unopened, is_opened);
        let hollow = owners.hollow(&unopened);
        let root = InRoot::new(lists, &package.architecture);
        let mut packages: Vec<Opened> = lists
            .packages()
            .map(|package| Opened {
                name: package.name.to_string(),
                version: package.version.to_string(),
                architecture: package.architecture.to_string(),
                needs: root.needs(package),
                files: files.remove(package.name.as_str()).unwrap_or_default(),
                links: links.remove(package.name.as_str()).unwrap_or_default(),
                holds: match hollow.contains(package.name.as_str()) {
                    true => Holds::Nothing,
                    false => Holds::Something,
                },
            })
            .collect();
        packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        let declared = package.build_depends.iter().map(|dependency| Declared {
            dependency: dependency.clone(),
            packages: root.satisfying(&dependencies(std::slice::from_ref(dependency))),
        });
        Self {
            extent: if observed.whole { Extent::Whole } else { Extent::Cut },
            declared: declared.collect(),
            base: of_base(base, lists, &packages),
            packages,
            others,
        }
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let Self { extent, declared, base, packages, others } = self;
        let declared = declared.iter().map(|Declared { dependency, packages }| {
            let packages = Json::array(packages);
            Json::object([("dependency", dependency.into()), ("packages", packages)])
        });
        Json::object([
            ("format", FORMAT.into()),
            ("extent", extent.as_str().into()),
            ("declared", Json::Array(declared.collect())),
            ("base", Json::array(base)),
            ("packages", Json::Array(packages.iter().map(Opened::to_json).collect())),
            ("others", Json::array(others)),
        ])
    }

    /// Reads a document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, record::Error> {
        record::read(bytes, FORMAT)
    }
}

impl Extent {
    /// Its word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
        }
    }
}

impl Opened {
    fn to_json(&self) -> Json {
        let Self { name, version, architecture, needs, files, links, holds } = self;
        let mut members = vec![
            ("name", name.into()),
            ("version", version.into()),
            ("architecture", architecture.into()),
            ("needs", Json::array(needs)),
            ("files", Json::array(files)),
        ];
        if !links.is_empty() {
            members.push(("links", Json::array(links)));
        }
        if *holds == Holds::Nothing {
            members.push(("holds", "nothing".into()));
        }
        Json::object(members)
    }
}

/// The essential packages of a root, those that its base names, and all they need.
fn of_base(base: &Root, lists: &RootLists, packages: &[Opened]) -> BTreeSet<String> {
    let needs: BTreeMap<&str, &BTreeSet<String>> =
        packages.iter().map(|package| (package.name.as_str(), &package.needs)).collect();
    let essential = lists.packages().filter(|package| package.essential).map(|one| &one.name);
    let mut waiting: Vec<&str> =
        essential.chain(&base.packages).map(|name| name.as_str()).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        let Some(needs) = needs.get(name) else { continue };
        if found.insert(name.to_owned()) {
            waiting.extend(needs.iter().map(String::as_str));
        }
    }
    found
}

/// The packages of a root, to find among them what satisfies a dependency.
struct InRoot<'a> {
    universe: Universe,
    architecture: &'a Architecture,
}

impl<'a> InRoot<'a> {
    fn new(lists: &RootLists, architecture: &'a Architecture) -> Self {
        let all = lists.packages().cloned().collect();
        Self { universe: Universe::new(vec![all]), architecture }
    }

    fn needs(&self, package: &BinaryPackage) -> BTreeSet<String> {
        let fields = [&package.pre_depends, &package.depends];
        // A field that could not be read was refused when the root was solved.
        let fields = fields.into_iter().filter_map(|field| field.get().ok());
        fields.flat_map(|depends| self.satisfying(depends)).collect()
    }

    /// What satisfies the first alternative that anything satisfies, of each dependency.
    fn satisfying(&self, dependencies: &Dependencies) -> BTreeSet<String> {
        let first = |Alternatives(relations): &Alternatives| {
            let found =
                relations.iter().map(|one| self.universe.satisfying(one, self.architecture));
            found.into_iter().find(|packages| !packages.is_empty()).unwrap_or_default()
        };
        let packages = dependencies.0.iter().flat_map(first);
        packages.map(|package| package.name.to_string()).collect()
    }
}
