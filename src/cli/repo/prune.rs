//! `repo prune`: removes generations that nothing needs, and what only they name.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::arguments::{Global, RepoPrune};
use super::super::context::open_store;
use super::super::failure::{Failure, Kind};
use super::super::output::Output;
use super::super::report::{bytes, count};
use super::{broken, open};
use crate::publish::prune::{Judged, Pruning, Retention, foresee, prune};

/// Prunes, or foresees it.
pub fn run(arguments: &RepoPrune, global: &Global, output: &Output) -> Result<Value, Failure> {
    let repository = open(&arguments.repo)?;
    let pins = open_store(global)?.pins();
    let pins = pins.map_err(|error| Failure::error(Kind::Machine, "store", &error))?;
    let retention = Retention {
        keep: arguments.keep,
        days: arguments.keep_days,
        pinned: pins.into_iter().map(|pin| pin.release).collect(),
    };
    let now = jiff::Timestamp::now().as_second();
    let found = match arguments.dry_run {
        true => foresee(&repository, &retention, now),
        false => prune(&repository, &retention, now),
    };
    let pruning = found.map_err(broken)?;
    output.summary(&told(&pruning, arguments.dry_run, global.verbose));
    Ok(document(&pruning))
}

fn told(pruning: &Pruning, dry_run: bool, verbose: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut text = String::new();
    for Judged { number, date, because } in &pruning.generations {
        let date = day(*date);
        let _ = match because {
            Some(because) => writeln!(text, "kept  generation {number} of {date}: {because}"),
            None => writeln!(text, "{verb}  generation {number} of {date}"),
        };
    }
    if dry_run || verbose {
        for gone in &pruning.files {
            let _ = writeln!(text, "{verb}  {}  {}", gone.path, bytes(gone.size));
        }
    }
    let generations = pruning.generations.iter().filter(|one| one.because.is_none()).count();
    let _ = writeln!(
        text,
        "{verb} {} and {}, {}; {} of {} stay",
        count(generations, "generation"),
        count(pruning.files.len(), "file"),
        bytes(pruning.freed),
        count(usize::try_from(pruning.kept).unwrap_or(usize::MAX), "file"),
        bytes(pruning.kept_bytes),
    );
    text
}

/// A moment's day, in UTC.
fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.strftime("%Y-%m-%d").to_string())
        .unwrap_or_else(|_| seconds.to_string())
}

fn document(pruning: &Pruning) -> Value {
    let generations = pruning.generations.iter().map(|one| {
        json!({
            "number": one.number,
            "date": one.date,
            "removed": one.because.is_none(),
            "because": one.because,
        })
    });
    let files = pruning.files.iter().map(|gone| json!({ "path": gone.path, "bytes": gone.size }));
    json!({
        "generations": generations.collect::<Vec<_>>(),
        "files": files.collect::<Vec<_>>(),
        "freed": pruning.freed,
        "kept": { "files": pruning.kept, "bytes": pruning.kept_bytes },
    })
}
