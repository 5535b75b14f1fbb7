//! Reading what a store knows of the builds of a release: records, what went into them, and
//! whether all that they name is there.

mod objects;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use super::closure::{Built, Depth, Evidence, Fault, Index, Inputs, Looked, Subject, Wrong};
use super::error::{Error, Result};
use crate::archive::deb::index::BinaryPackage;
use crate::base::{ActionId, DerivationId, Digest, HostPath, Json};
use crate::graph::derivation::Package;
use crate::graph::{Derivation, Graph, Node};
use crate::realise::action::{self, Listed};
use crate::realise::manifest::{self, Enumerated};
use crate::realise::record::Record;
use crate::realise::universe::{Snapshot, Snapshots, offered_digest, offers_digest};
use crate::realise::world::World;
use crate::realise::{RESOLUTION_RULES, foresight};
use crate::store::{self, Store};

/// What evidence is read from, and how.
pub struct Ground<'a> {
    /// The store, and the pinned archives.
    pub world: &'a World<'a>,
    /// The release's graph.
    pub graph: &'a Graph,
    /// What was read of its pinned archives.
    pub snapshots: &'a Snapshots,
    /// How closely the store is read.
    pub depth: Depth,
    /// Told how many of how many objects were looked at.
    pub seen: &'a (dyn Fn(usize, usize) + Sync),
}

/// Build roots that were solved already.
pub type Foreseen = BTreeMap<DerivationId, Vec<Arc<BinaryPackage>>>;

/// How many documents are held in memory at once.
const AT_ONCE: usize = 256;

impl<'a> Ground<'a> {
    /// The evidence of the packages `asked` for, and of what they need; of the others, what they
    /// came to. The build roots of packages that are not built are those `foreseen`, or else are
    /// solved.
    ///
    /// # Errors
    /// A store that cannot be read, an index that cannot be had. What is missing or damaged in the
    /// store is part of the evidence.
    pub fn read(&self, asked: &[DerivationId], foreseen: &Foreseen) -> Result<Evidence<'a>> {
        let (store, graph) = (self.world.store, self.graph);
        let Some(Derivation::Release(release)) =
            graph.node(graph.release()).map(|node| &node.derivation)
        else {
            unreachable!("a graph has its release")
        };
        let asked: BTreeSet<DerivationId> =
            graph.with_needs(asked).into_iter().map(|(node, _)| node.id).collect();
        let mut faults = Vec::new();
        let mut built = built(store, graph, &mut faults)?;
        let snapshots = self.snapshots(&asked)?;
        let mut listing = Listing::default();
        let packages: Vec<(&Node, &Package)> = graph.packages().collect();
        let mut roots: HashMap<DerivationId, Inputs> = HashMap::new();
        for some in packages.chunks(AT_ONCE) {
            let some = some.par_iter().filter(|(node, _)| asked.contains(&node.id));
            let found: Vec<_> = some
                .map(|(node, package)| match built.get(&node.id) {
                    Some(built) => self.recorded(node.id, package, &built.record),
                    None => self.foreseen(node.id, package, &built, &snapshots, foreseen),
                })
                .collect::<Result<_>>()?;
            for (id, Found { root, fits, fault }) in found {
                if let (Some(built), false) = (built.get_mut(&id), fits) {
                    built.action_fits = false;
                }
                faults.extend(fault);
                roots.insert(id, listing.number(root));
            }
        }
        let manifest = enumerated(store, self.world.folder, graph, &mut faults)?;
        let objects = self.objects(&packages, &asked, &built, &roots, &listing.packages);
        let looked = Looked { depth: self.depth, objects: objects.len() };
        faults.extend(objects::look(store, &objects, self.depth, self.seen)?);
        faults.sort();
        let packages = packages.into_iter().map(|(node, recipe)| Subject {
            id: node.id,
            recipe,
            built: built.remove(&node.id),
            root: roots.remove(&node.id).unwrap_or(Inputs::Unasked),
        });
        Ok(Evidence {
            id: graph.release(),
            release,
            packages: packages.collect(),
            indexes: snapshots.into_iter().map(|(id, one)| (id, index(&one))).collect(),
            listed: listing.packages,
            manifest,
            faults,
            looked,
        })
    }

    fn snapshots(
        &self,
        asked: &BTreeSet<DerivationId>,
    ) -> Result<BTreeMap<DerivationId, Arc<Snapshot>>> {
        let asked = self.graph.packages().filter(|(node, _)| asked.contains(&node.id));
        let roots: BTreeSet<DerivationId> = asked.map(|(_, package)| package.root).collect();
        let get = |id| {
            let snapshot = self.snapshots.get(self.world, self.graph, id);
            Ok((id, snapshot.map_err(Error::Snapshot)?))
        };
        roots.into_iter().map(get).collect()
    }

    /// The build root that the action of a record lists.
    fn recorded(
        &self,
        id: DerivationId,
        package: &Package,
        record: &Record,
    ) -> Result<(DerivationId, Found)> {
        let digest = record.action.digest();
        let fault = |wrong| Fault {
            package: package.name.to_string(),
            what: "the action".to_owned(),
            digest: digest.to_string(),
            wrong,
        };
        let found = match document(self.world.store, &digest)? {
            Err(wrong) => Found::lost(fault(wrong)),
            Ok(document) => {
                let fits = action::is_of(self.graph, package, &document);
                match action::root(document) {
                    None => Found::lost(fault(Wrong::Unreadable("it lists no root".to_owned()))),
                    Some(layers) => {
                        let listed = layers.into_iter().flatten().collect();
                        Found { root: Root::Recorded(listed), fits, fault: None }
                    }
                }
            }
        };
        Ok((id, found))
    }

    /// The build root of a package that is not built.
    fn foreseen(
        &self,
        id: DerivationId,
        package: &Package,
        built: &HashMap<DerivationId, Built>,
        snapshots: &BTreeMap<DerivationId, Arc<Snapshot>>,
        foreseen: &Foreseen,
    ) -> Result<(DerivationId, Found)> {
        let root = match foreseen.get(&id) {
            Some(chosen) => Root::Foreseen(chosen.clone()),
            None => {
                let closure = self.graph.closure(id).into_iter();
                let records = closure
                    .filter_map(|need| Some((need, Arc::clone(&built.get(&need)?.record))))
                    .collect();
                match foresight::packages(self.graph, id, &snapshots[&package.root], &records) {
                    Ok(chosen) => Root::Foreseen(chosen),
                    Err(error) => Root::Unknown(error.to_string()),
                }
            }
        };
        Ok((id, Found { root, fits: true, fault: None }))
    }
}

/// What was found of a build root.
struct Found {
    root: Root,
    /// Whether the action is that of the package.
    fits: bool,
    fault: Option<Fault>,
}

impl Found {
    fn lost(fault: Fault) -> Self {
        let root = Root::Unknown("its action is lost".to_owned());
        Self { root, fits: true, fault: Some(fault) }
    }
}

/// The packages of a build root.
enum Root {
    Recorded(Vec<Listed>),
    Foreseen(Vec<Arc<BinaryPackage>>),
    Unknown(String),
}

/// Packages of build roots, each once.
#[derive(Default)]
struct Listing {
    packages: Vec<Listed>,
    numbers: HashMap<Listed, u32>,
}

impl Listing {
    fn number(&mut self, root: Root) -> Inputs {
        match root {
            Root::Recorded(listed) => {
                Inputs::Recorded(listed.into_iter().map(|one| self.one(one)).collect())
            }
            Root::Foreseen(chosen) => {
                Inputs::Foreseen(chosen.iter().map(|one| self.one(Listed::of(one))).collect())
            }
            Root::Unknown(why) => Inputs::Unknown(why),
        }
    }

    fn one(&mut self, listed: Listed) -> u32 {
        if let Some(number) = self.numbers.get(&listed) {
            return *number;
        }
        let number = u32::try_from(self.packages.len()).expect("memory ends before the numbers do");
        self.packages.push(listed.clone());
        self.numbers.insert(listed, number);
        number
    }
}

fn index(snapshot: &Snapshot) -> Index {
    let packages = snapshot.indexes.iter().flatten().chain(&snapshot.seed);
    packages.map(|package| (package.sha256, Arc::clone(package))).collect()
}

/// What each package of the release came to, whether or not all of it is there still. Packages
/// whose record is lost, and those that need them, are not among them.
fn built(
    store: &Store,
    graph: &Graph,
    faults: &mut Vec<Fault>,
) -> Result<HashMap<DerivationId, Built>> {
    let mut built: HashMap<DerivationId, Built> = HashMap::new();
    let mut offers: HashMap<DerivationId, Digest> = HashMap::new();
    for level in levels(graph) {
        let mut wanted = Vec::new();
        for (node, package) in level {
            let needs = package.dependencies.iter().map(|need| offers.get(need).copied());
            if let Some(needs) = needs.collect::<Option<Vec<Digest>>>() {
                wanted.push((node.id, offered_digest(needs), package));
            }
        }
        let asked: Vec<_> = wanted.iter().map(|(id, offered, _)| (*id, *offered)).collect();
        let known = store.known(&asked, RESOLUTION_RULES)?;
        for ((id, offered, package), found) in wanted.into_iter().zip(known) {
            let Some((action, digest)) = found else { continue };
            match record(store, action, &digest)? {
                Ok(record) => {
                    offers.insert(id, offers_digest(&record, &offered));
                    let record = Arc::new(record);
                    built.insert(id, Built { digest, record, action_fits: true });
                }
                Err(wrong) => faults.push(Fault {
                    package: package.name.to_string(),
                    what: "the record".to_owned(),
                    digest: digest.to_string(),
                    wrong,
                }),
            }
        }
    }
    Ok(built)
}

/// The packages in groups none of which needs another of its own group or a later one.
fn levels(graph: &Graph) -> Vec<Vec<(&Node, &Package)>> {
    let mut heights: HashMap<DerivationId, usize> = HashMap::new();
    let mut levels: Vec<Vec<_>> = Vec::new();
    for (node, package) in graph.packages() {
        let below = package.dependencies.iter().filter_map(|need| heights.get(need));
        let height = below.max().map_or(0, |height| height + 1);
        heights.insert(node.id, height);
        if height == levels.len() {
            levels.push(Vec::new());
        }
        levels[height].push((node, package));
    }
    levels
}

fn record(store: &Store, action: ActionId, digest: &Digest) -> Result<Result<Record, Wrong>> {
    let bytes = match store.json(digest) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err(Wrong::Missing)),
        Err(error) => return wrong(error).map(Err),
    };
    Ok(match Record::from_json(&bytes) {
        Ok(record) if record.action == action => Ok(record),
        Ok(record) => Err(Wrong::Unreadable(format!("it is of action {}", record.action))),
        Err(error) => Err(Wrong::Unreadable(error.to_string())),
    })
}

/// The document of this name, or what is wrong with it.
fn document(store: &Store, digest: &Digest) -> Result<Result<Json, Wrong>> {
    match store.read_json(digest) {
        Ok(document) => Ok(Ok(document)),
        Err(error) => wrong(error).map(Err),
    }
}

/// What is wrong with something in the store, if it is that, and not the store that is at fault.
fn wrong(error: store::Error) -> Result<Wrong> {
    match error {
        store::Error::Missing { .. } => Ok(Wrong::Missing),
        store::Error::Corrupt { actual, .. } => Ok(Wrong::Other(actual.to_string())),
        store::Error::Document { .. } => Ok(Wrong::Unreadable("not canonical JSON".to_owned())),
        error => Err(error.into()),
    }
}

/// What the manifest enumerates that was made when exactly this release was built as a whole.
fn enumerated(
    store: &Store,
    folder: &HostPath,
    graph: &Graph,
    faults: &mut Vec<Fault>,
) -> Result<Option<Enumerated>> {
    let last = store.last_release(folder)?.filter(|last| last.release == graph.release());
    let Some((release, digest)) = last.and_then(|last| Some((last.name, last.manifest?))) else {
        return Ok(None);
    };
    match document(store, &digest)? {
        Ok(document) => {
            let enumerated = manifest::read(document, digest);
            enumerated.map(Some).ok_or(Error::Manifest { digest })
        }
        Err(wrong) => {
            let (what, digest) = ("the manifest".to_owned(), digest.to_string());
            faults.push(Fault { package: release, what, digest, wrong });
            Ok(None)
        }
    }
}
