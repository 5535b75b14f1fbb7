//! Whether a store is whole: every name fits its bytes, every tree its manifest, and every record
//! has what it speaks of.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::buildroot::{Depth, layer_is_whole, unpacked_is_whole};
use super::record::Record;
use crate::store::{Damage, Kind, Result, SharedTree, Store};

/// What was looked at, and what was wrong.
#[derive(Debug)]
pub struct Verified {
    /// Blobs, documents and logs.
    pub files: usize,
    /// Layers and unpacked packages.
    pub trees: usize,
    /// Adopted records.
    pub records: usize,
    /// What was damaged, and what is missing.
    pub damage: Vec<Damage>,
}

/// How far verifying has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// `files`, then `trees`.
    pub what: &'static str,
    /// So many of them were looked at.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// Looks at everything in the store, trees at this depth, and puts aside what is damaged.
pub fn verify(store: &Store, depth: Depth, seen: &(dyn Fn(Seen) + Sync)) -> Result<Verified> {
    let (files, mut damage) =
        store.verify_all(&|done, total| seen(Seen { what: "files", done, total }))?;
    let trees = store.shared_trees()?;
    let done = AtomicUsize::new(0);
    let look = |tree| {
        let found = tree_damage(store, tree, depth)?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        seen(Seen { what: "trees", done, total: trees.len() });
        Ok(found)
    };
    let found: Vec<Option<Damage>> = trees.par_iter().map(look).collect::<Result<_>>()?;
    damage.extend(found.into_iter().flatten());
    let records = store.records_of_actions()?;
    for (action, digest) in &records {
        let document = store.document_path(digest);
        let missing = match store.json(digest)? {
            None => Some("the record of an action is missing".to_owned()),
            Some(bytes) => match Record::from_json(&bytes) {
                Err(error) => Some(format!("is no record: {error}")),
                Ok(record) => record
                    .outputs
                    .iter()
                    .find(|output| store.object(&output.blake3).is_none())
                    .map(|output| format!("its output `{}` is missing", output.file)),
            },
        };
        if let Some(what) = missing {
            let what = format!("{what} (action {})", action.short());
            damage.push(Damage { path: document, what, aside: None });
        }
    }
    Ok(Verified { files, trees: trees.len(), records: records.len(), damage })
}

fn tree_damage(store: &Store, tree: &SharedTree, depth: Depth) -> Result<Option<Damage>> {
    let whole = match (tree.kind, &tree.manifest) {
        (Kind::Layer, Some(manifest)) => match store.json(manifest)? {
            Some(document) => layer_is_whole(&tree.path, &document, depth),
            None => Err("its manifest is missing".to_owned()),
        },
        _ => unpacked_is_whole(&tree.path, depth),
    };
    // What is gone as a whole was collected meanwhile.
    let Err(what) = whole else { return Ok(None) };
    if !tree.path.as_path().is_dir() {
        return Ok(None);
    }
    let aside = store.put_aside_tree(tree)?;
    Ok(Some(Damage { path: tree.path.clone(), what, aside }))
}
