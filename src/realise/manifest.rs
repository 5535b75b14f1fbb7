//! MANIFEST.json: the second name of a release, that of its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::action::{self, Listed};
use super::error::{Error, Result};
use super::record::Record;
use crate::base::{DerivationId, Digest, Json, Sha256};
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
        let seed = seed(store, records.values().map(AsRef::as_ref))?;
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
            ("seed", Json::Array(seed.iter().map(Listed::to_json).collect())),
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

/// What a manifest lists.
#[derive(Debug)]
pub struct Enumerated {
    /// The manifest digest.
    pub digest: Digest,
    /// The seed.
    pub seed: BTreeSet<Listed>,
    /// The record of each derivation.
    pub records: BTreeMap<DerivationId, Digest>,
}

/// What the manifest `document` of this digest lists; nothing if it is none.
pub fn read(document: Json, digest: Digest) -> Option<Enumerated> {
    let Json::Object(mut members) = document else { return None };
    if members.remove("format") != Some(FORMAT.into()) {
        return None;
    }
    let (Some(Json::Array(seed)), Some(Json::Object(packages))) =
        (members.remove("seed"), members.remove("packages"))
    else {
        return None;
    };
    let record = |(id, record): (String, Json)| match record {
        Json::String(record) => Some((id.parse().ok()?, record.parse().ok()?)),
        _ => None,
    };
    Some(Enumerated {
        digest,
        seed: seed.into_iter().map(Listed::from_json).collect::<Option<_>>()?,
        records: packages.into_iter().map(record).collect::<Option<_>>()?,
    })
}

/// The name of a record: BLAKE3 of its document.
pub fn record_digest(record: &Record) -> Digest {
    Digest::of(&record.to_json().encode())
}

/// Every package of any build root that the release did not build, sorted by name.
fn seed<'a>(
    store: &Store,
    records: impl Iterator<Item = &'a Record> + Clone,
) -> Result<BTreeSet<Listed>> {
    let own: BTreeSet<Sha256> =
        records.clone().flat_map(|record| &record.outputs).map(|output| output.sha256).collect();
    let mut seed = BTreeSet::new();
    for record in records {
        let document = store.read_json(&record.action.digest())?;
        let layers = action::root(document).ok_or(Error::Action { action: record.action })?;
        seed.extend(layers.into_iter().flatten().filter(|package| !own.contains(&package.sha256)));
    }
    Ok(seed)
}
