//! `log`: the attempts at building, or the log of one.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Global, Log};
use super::context::{Release, named_one, open_store};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::duration;
use crate::base::PackageName;
use crate::graph::Graph;
use crate::store::{Attempt, Completeness, Store};

/// How many attempts are listed.
const LISTED: u32 = 50;

/// Lists attempts, or prints the log of the package that was named.
pub fn run(arguments: &Log, global: &Global, output: &Output) -> CommandResult {
    print(arguments, global, output).map_err(|failure| (Value::Null, failure))
}

fn print(arguments: &Log, global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(&arguments.words.words)?;
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    select(&graph, &names)?;
    let store = open_store(global)?;
    match names.as_slice() {
        [] => list(&store, &graph, output),
        [name] => {
            let name = name
                .parse::<PackageName>()
                .map_err(|error| Failure::error(Kind::Input, "name", &error))?;
            one(&store, &graph, &name, arguments.attempt, output)
        }
        _ => Err(Failure::input("one-package", "the log of one package is printed at a time")),
    }
}

fn list(store: &Store, graph: &Graph, output: &Output) -> Result<Value, Failure> {
    let machine = |error| Failure::error(Kind::Machine, "store", &error);
    let attempts: Vec<Attempt> = store
        .attempts(None, LISTED * 10)
        .map_err(machine)?
        .into_iter()
        .filter(|attempt| graph.package(attempt.package.as_str()).is_some())
        .take(LISTED as usize)
        .collect();
    let mut text = String::new();
    for attempt in &attempts {
        let time = attempt.started.strftime("%Y-%m-%d %H:%M:%S");
        let took = attempt.duration.map(duration).unwrap_or_default();
        let line = format!(
            "{time}  {:<11} {took:>8}  {}  {}  {}",
            attempt.verdict.as_str(),
            attempt.derivation.short(),
            attempt.package,
            attempt.summary
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if attempts.is_empty() {
        text.push_str("nothing of this release was built yet\n");
    }
    output.text(&text);
    Ok(json!({ "attempts": attempts.iter().map(document).collect::<Vec<_>>() }))
}

fn one(
    store: &Store,
    graph: &Graph,
    name: &PackageName,
    number: Option<u64>,
    output: &Output,
) -> Result<Value, Failure> {
    let machine = |error| Failure::error(Kind::Machine, "store", &error);
    let mut attempts = store.attempts(Some(name), u32::MAX).map_err(machine)?;
    attempts.reverse();
    let count = attempts.len();
    // Another release on the same store may have a package of this name.
    let ours = |attempt: &Attempt| graph.node(attempt.derivation).is_some();
    let index = match number {
        None => attempts.iter().rposition(ours).or(count.checked_sub(1)),
        Some(number) => usize::try_from(number).ok().and_then(|number| number.checked_sub(1)),
    };
    let Some(attempt) = index.and_then(|index| attempts.get(index)) else {
        return Err(match count {
            0 => Failure::input("no-log", format!("`{name}` was never built with this store"))
                .hint("a package that another release or store built has its log there"),
            _ => Failure::input("no-attempt", format!("`{name}` has attempts 1 to {count}")),
        });
    };
    let (text, completeness) = store.attempt_log(attempt).map_err(machine)?;
    output.text(&String::from_utf8_lossy(&text));
    if !ours(attempt) {
        output.note("(this is of another recipe: as the release is now, it was never built)");
    }
    if completeness == Completeness::Partial {
        output.note("(this is as far as it came)");
    }
    let mut document = document(attempt);
    document["log"] = String::from_utf8_lossy(&text).into();
    Ok(document)
}

fn document(attempt: &Attempt) -> Value {
    json!({
        "package": attempt.package.as_str(),
        "derivation": attempt.derivation.to_string(),
        "action": attempt.action.to_string(),
        "started": attempt.started.to_string(),
        "milliseconds": attempt.duration.map(|duration| duration.as_millis() as u64),
        "verdict": attempt.verdict.as_str(),
        "summary": attempt.summary,
    })
}
