//! What is there already: looked up for many packages at once, without solving anything.

use std::sync::Arc;

use rayon::prelude::*;

use super::error::{Error, Result};
use super::package::{Done, RESOLUTION_RULES};
use super::record::Record;
use crate::base::{ActionId, DerivationId, Digest};
use crate::store::Store;

/// What would be used without building anything, for each recipe with what is offered to it: the
/// action it came to when it was offered the same before, and its record. Nothing also for what
/// cannot be read: who builds it meets the reason.
pub fn look_up(store: &Store, wanted: &[(DerivationId, Digest)]) -> Vec<Option<Done>> {
    let Ok(known) = store.known(wanted, RESOLUTION_RULES) else {
        return wanted.iter().map(|_| None).collect();
    };
    let done = |(action, digest): (ActionId, Digest)| match read(store, &digest) {
        Some(record) => is_whole(store, &record).then(|| Done::cached(action, record)),
        None => adopted(store, action).ok().flatten(),
    };
    known.into_par_iter().map(|found| found.and_then(done)).collect()
}

/// The adopted record of an action, if all its outputs are still there.
pub fn adopted(store: &Store, action: ActionId) -> Result<Option<Done>> {
    let Some(adopted) = store.record(&action)? else { return Ok(None) };
    let record = Record::from_json(&adopted.record.encode())
        .map_err(|source| Error::Record { digest: adopted.digest, source })?;
    Ok(is_whole(store, &record).then(|| Done::cached(action, record)))
}

fn read(store: &Store, digest: &Digest) -> Option<Record> {
    Record::from_json(&store.json(digest).ok()??).ok()
}

fn is_whole(store: &Store, record: &Record) -> bool {
    store.hold_objects(record.outputs.iter().map(|output| &output.blake3));
    record.outputs.iter().all(|output| store.object(&output.blake3).is_some())
}

impl Done {
    fn cached(action: ActionId, record: Record) -> Self {
        Self { action, record: Arc::new(record), cached: true, again: None }
    }
}
