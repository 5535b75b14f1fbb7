//! A release of which everything is there: noted when it was built as a whole, so that building
//! it again need not look at each package.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;

use super::error::Result;
use super::manifest::{Manifest, record_digest};
use super::package::RESOLUTION_RULES;
use super::record::Record;
use crate::base::{ActionId, DerivationId, Digest, HostPath, Json};
use crate::store::Store;

const FORMAT: &str = "perestroika/settled/1";

/// What a release came to when it was built as a whole.
#[derive(Debug, Deserialize)]
pub struct Settled {
    format: String,
    /// The name of all that was built.
    pub manifest: Digest,
    /// The adopted record of each package.
    records: Vec<Digest>,
    /// Every file that it left: name, size, and its name in the store.
    outputs: Vec<(String, u64, Digest)>,
    /// Where they were copied to.
    out: String,
    /// When the youngest of these copies was changed last, in nanoseconds since 1970.
    copied: String,
}

impl Settled {
    /// Notes that a release is there as a whole, with copies of its files in `out`.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn note(
        store: &Store,
        release: DerivationId,
        manifest: &Manifest,
        records: &[Arc<Record>],
        out: &HostPath,
    ) -> Result<()> {
        let outputs = || records.iter().flat_map(|record| &record.outputs);
        let files = outputs().map(|output| (output.file.as_str(), output.size));
        let Some(copied) = youngest(out, files) else { return Ok(()) };
        let output = |(file, size, blake3): (&str, u64, &Digest)| {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            Json::Array(vec![file.into(), Json::Integer(size), Json::text(blake3)])
        };
        let outputs = outputs().map(|one| output((one.file.as_str(), one.size, &one.blake3)));
        let records = records.iter().map(|record| Json::text(record_digest(record)));
        let document = Json::object([
            ("format", FORMAT.into()),
            ("manifest", Json::text(manifest.digest())),
            ("records", Json::Array(records.collect())),
            ("outputs", Json::Array(outputs.collect())),
            ("out", Json::text(out)),
            // More than an integer of JSON holds.
            ("copied", Json::text(copied)),
        ]);
        let digest = store.put_json(&document)?;
        let settled = ActionId::from_bytes(*digest.as_bytes());
        Ok(store.remember_resolution(&release, &whole(), RESOLUTION_RULES, &settled)?)
    }

    /// What the release came to, if everything is there still: each record adopted, each file in
    /// the store, each copy in `out` as it was made.
    pub fn check(store: &Store, release: DerivationId, out: &HostPath) -> Option<Self> {
        let noted = store.resolution(&release, &whole(), RESOLUTION_RULES).ok()??;
        let bytes = store.json(&noted.digest()).ok()??;
        let settled: Self = serde_json::from_slice(&bytes).ok()?;
        let adopted: BTreeSet<Digest> = store.adopted_records().ok()?;
        let holds = settled.format == FORMAT
            && settled.out == out.to_string()
            && settled.records.iter().all(|record| adopted.contains(record))
            && settled.outputs.par_iter().all(|(_, _, blake3)| store.object(blake3).is_some())
            && std::fs::read(out.join("MANIFEST.json"))
                .is_ok_and(|bytes| Digest::of(&bytes) == settled.manifest);
        let files = settled.outputs.iter().map(|(file, size, _)| (file.as_str(), *size));
        let as_copied = holds && youngest(out, files)? <= settled.copied.parse().ok()?;
        as_copied.then_some(settled)
    }
}

/// When the youngest of these files was changed last; none if one is missing or of another size.
fn youngest<'a>(folder: &HostPath, files: impl Iterator<Item = (&'a str, u64)>) -> Option<i64> {
    let mut times = files.map(|(name, size)| {
        let there = std::fs::symlink_metadata(folder.join(name)).ok()?;
        let same = there.is_file() && there.len() == size;
        same.then(|| there.ctime().saturating_mul(1_000_000_000).saturating_add(there.ctime_nsec()))
    });
    times.try_fold(0, |latest: i64, time| Some(latest.max(time?)))
}

/// Stands for what is offered to a release: nothing, but that it is one.
fn whole() -> Digest {
    Digest::of(FORMAT.as_bytes())
}
