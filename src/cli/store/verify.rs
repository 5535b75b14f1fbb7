//! `store verify`: everything against its name.

use std::fmt::Write as _;

use serde_json::json;

use super::super::arguments::{Global, Verify};
use super::super::context::open_store_to_look;
use super::super::failure::{Failure, Kind};
use super::super::output::{CommandResult, Output};
use super::super::progress::reading;
use super::super::report::count;
use super::broken;
use crate::realise::buildroot::Depth;
use crate::realise::verify::{Seen, Verified, verify};

/// Checks the store, and says what was wrong.
pub fn run(arguments: &Verify, global: &Global, output: &Output) -> CommandResult {
    let early = |failure| (serde_json::Value::Null, failure);
    let store = open_store_to_look(global).map_err(early)?;
    let depth = if arguments.quick { Depth::Look } else { Depth::Bytes };
    let bar = reading(global);
    let seen = |Seen { what, done, total }: Seen| {
        if bar.message() != what {
            bar.set_message(what);
        }
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let verified = verify(&store, depth, &seen);
    bar.finish_and_clear();
    let Verified { files, trees, records, damage } = verified.map_err(broken).map_err(early)?;
    let mut text = String::new();
    for one in &damage {
        let _ = writeln!(text, "damaged  {}: {}", one.path, one.what);
        if let Some(aside) = &one.aside {
            let _ = writeln!(text, "         put aside as {aside}");
        }
    }
    let files = count(files, "file");
    let _ = writeln!(
        text,
        "checked {files}, {}, {}: {}",
        count(trees, "tree"),
        count(records, "record"),
        if damage.is_empty() { "all whole".to_owned() } else { format!("{} not", damage.len()) }
    );
    output.summary(&text);
    let found = damage.iter().map(|one| {
        json!({
            "path": one.path.to_string(),
            "what": one.what,
            "aside": one.aside.as_ref().map(ToString::to_string),
        })
    });
    let document = json!({
        "trees": trees,
        "records": records,
        "damaged": found.collect::<Vec<_>>(),
    });
    if damage.is_empty() {
        return Ok(document);
    }
    let message = format!("{} of the store {}", count(damage.len(), "thing"), {
        if damage.len() == 1 { "is damaged" } else { "are damaged" }
    });
    let failure = Failure::new(Kind::Result, "damaged", message)
        .hint("what a build needs of it is fetched or built again by the next `perestroika build`");
    Err((document, failure))
}
