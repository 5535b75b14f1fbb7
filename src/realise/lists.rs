//! The lists of build roots, kept: who asks the same again needs no index of an archive.
//!
//! What is kept is a text of paragraphs as an index has them, layer after layer with a form feed
//! between, by the name of the whole question. It can be made anew at any time.

use std::sync::Arc;

use super::error::Result;
use super::package::RESOLUTION_RULES;
use super::record::Record;
use super::universe::{self, RootLists, Snapshot};
use crate::archive::deb::index::{self, BinaryPackage};
use crate::base::{Digest, Json};
use crate::graph::derivation::{Package, Root};
use crate::store::Store;

/// Also says how the text is written.
const KIND: &str = "root-lists-1";

const BETWEEN: &str = "\u{c}\n";

/// The lists of the build root of `package`, with what its closure
/// offers. `snapshot` is asked for only if they were never chosen.
pub fn choose(
    store: &Store,
    root: &Root,
    package: &Package,
    closure: &[Arc<Record>],
    snapshot: impl FnOnce() -> Result<Arc<Snapshot>>,
) -> Result<RootLists> {
    let offered = universe::offered(package, closure)?;
    let question = question(package, &offered);
    if let Some(lists) = known(store, &question) {
        return Ok(lists);
    }
    let lists = universe::solve(&*snapshot()?, root, package, closure)?;
    let layers: Vec<String> = lists.layers.iter().map(|layer| written(layer)).collect();
    // A store that takes nothing will say so of what matters.
    let _kept = store.put_derived(KIND, &question, &layers.join(BETWEEN));
    Ok(lists)
}

/// Whether [`choose`] would answer without a snapshot.
pub fn is_known(store: &Store, package: &Package, closure: &[Arc<Record>]) -> bool {
    universe::offered(package, closure)
        .is_ok_and(|offered| known(store, &question(package, &offered)).is_some())
}

fn known(store: &Store, question: &Digest) -> Option<RootLists> {
    let text = store.derived(KIND, question).ok()??;
    let layers: Option<Vec<_>> =
        text.split(BETWEEN).map(|layer| index::packages(layer).ok()).collect();
    Some(RootLists { layers: layers? })
}

/// Everything that decides the lists.
fn question(package: &Package, offered: &[Arc<BinaryPackage>]) -> Digest {
    let offered = offered.iter().map(|one| Json::text(one.sha256)).collect();
    let document = Json::object([
        ("rules", RESOLUTION_RULES.into()),
        ("root", Json::text(package.root)),
        ("depends", Json::array(&package.build_depends)),
        ("conflicts", Json::array(&package.build_conflicts)),
        ("offered", Json::Array(offered)),
    ]);
    Digest::of(&document.encode())
}

fn written(layer: &[Arc<BinaryPackage>]) -> String {
    let paragraphs: Vec<String> = layer.iter().map(|package| package.to_paragraph()).collect();
    paragraphs.join("\n")
}
