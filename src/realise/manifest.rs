//! MANIFEST.json: the second name of a release, that of its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::{Error, Result};
use super::record::Record;
use crate::base::{DerivationId, Digest, Json};
use crate::graph::Graph;
use crate::graph::derivation::{Derivation, Release};
use crate::store::Store;

const FORMAT: &str = "perestroika/manifest/1";

/// A release's manifest: its recipe, its seed, and the adopted record of each package.
#[derive(Debug)]
pub struct Manifest {
    document: Json,
    digest: Digest,
}

/// A package of the seed: one that roots used and the release did not build.
/// A binary package, as documents name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeedPackage {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    pub(super) sha256: String,
}

impl Manifest {
    /// The manifest of a release of which every package has a record.
    pub fn new(
        store: &Store,
        graph: &Graph,
        records: &BTreeMap<DerivationId, Arc<Record>>,
    ) -> Result<Self> {
        let node = graph.node(graph.release()).expect("a graph has its release");
        let Derivation::Release(Release { name, version, customer, packages: _ }) =
            &node.derivation
        else {
            unreachable!("the release node is a release");
        };
        let seed = seed(store, records.values().map(AsRef::as_ref))?.into_iter().map(
            |SeedPackage { name, version, architecture, sha256 }| {
                Json::object([
                    ("name", name.into()),
                    ("version", version.into()),
                    ("architecture", architecture.into()),
                    ("sha256", sha256.into()),
                ])
            },
        );
        let packages = records
            .iter()
            .map(|(id, record)| (id.to_string(), Json::text(record_digest(record))))
            .collect();
        let document = Json::object([
            ("format", FORMAT.into()),
            ("release", Json::text(graph.release())),
            ("name", name.into()),
            ("version", version.into()),
            ("customer", customer.into()),
            ("seed", Json::Array(seed.collect())),
            ("packages", Json::Object(packages)),
        ]);
        let digest = Digest::of(&document.encode());
        Ok(Self { document, digest })
    }

    /// The manifest digest: BLAKE3 of the file's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The canonical JSON document.
    pub fn document(&self) -> &Json {
        &self.document
    }
}

/// The name of a record: BLAKE3 of its document.
pub fn record_digest(record: &Record) -> Digest {
    Digest::of(&record.to_json().encode())
}

/// Every package of any build root that the release did not build, sorted by name.
fn seed<'a>(
    store: &Store,
    records: impl Iterator<Item = &'a Record> + Clone,
) -> Result<BTreeSet<SeedPackage>> {
    let own: BTreeSet<String> = records
        .clone()
        .flat_map(|record| &record.outputs)
        .map(|output| output.sha256.to_string())
        .collect();
    let mut seed = BTreeSet::new();
    for record in records {
        let document = store.read_json(&record.action.digest())?;
        for package in root_packages(&document).ok_or(Error::Action { action: record.action })? {
            if !own.contains(&package.sha256) {
                seed.insert(package);
            }
        }
    }
    Ok(seed)
}

/// The packages that an action document lists as its root.
fn root_packages(document: &Json) -> Option<Vec<SeedPackage>> {
    root_layers(document).map(|layers| layers.concat())
}

/// The same layer by layer, the lowest first.
pub(super) fn root_layers(document: &Json) -> Option<Vec<Vec<SeedPackage>>> {
    let Json::Object(members) = document else { return None };
    let Some(Json::Array(layers)) = members.get("root") else { return None };
    let layer = |layer: &Json| match layer {
        Json::Array(packages) => packages.iter().map(root_package).collect(),
        _ => None,
    };
    layers.iter().map(layer).collect()
}

fn root_package(package: &Json) -> Option<SeedPackage> {
    let Json::Object(members) = package else { return None };
    let text = |key: &str| match members.get(key) {
        Some(Json::String(text)) => Some(text.clone()),
        _ => None,
    };
    Some(SeedPackage {
        name: text("name")?,
        version: text("version")?,
        architecture: text("architecture")?,
        sha256: text("sha256")?,
    })
}
