//! `log`: the attempts at building, or the log of one.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::{Global, Log};
use super::context::{Release, named_one, open_store_to_look};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::duration;
use crate::base::PackageName;
use crate::graph::Graph;
use crate::store::{Attempt, Completeness, Next, Store, Verdict};

/// How many attempts are listed.
const LISTED: u32 = 50;

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Lists attempts, or prints the log of the package that was named.
pub fn run(arguments: &Log, global: &Global, output: &Output) -> CommandResult {
    print(arguments, global, output).map_err(|failure| (Value::Null, failure))
}

fn print(arguments: &Log, global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(&arguments.words.words)?;
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    select(&graph, &names)?;
    let store = open_store_to_look(global)?;
    match names.as_slice() {
        [] if arguments.follow || arguments.attempt.is_some() => {
            Err(Failure::input("one-package", "no package is named whose log is to be printed")
                .hint("`perestroika log` lists the attempts with their packages"))
        }
        [] => list(&store, &graph, output),
        [name] => {
            let name = name
                .parse::<PackageName>()
                .map_err(|error| Failure::error(Kind::Input, "name", &error))?;
            one(&store, &graph, &name, arguments, output)
        }
        _ => Err(Failure::input("one-package", "the log of one package is printed at a time")),
    }
}

fn list(store: &Store, graph: &Graph, output: &Output) -> Result<Value, Failure> {
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
            "{time}  {:<11} {took:>8}  {}  {} #{}  {}",
            attempt.verdict.as_str(),
            attempt.derivation.short(),
            attempt.package,
            attempt.number,
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
    arguments: &Log,
    output: &Output,
) -> Result<Value, Failure> {
    // Another release on the same store may have a package of this name.
    let ours = |attempt: &Attempt| graph.node(attempt.derivation).is_some();
    let attempts = store.attempts(Some(name), u32::MAX).map_err(machine)?;
    let attempt = match arguments.attempt {
        None => attempts.iter().find(|one| ours(one)).or(attempts.first()),
        Some(number) => attempts.iter().find(|attempt| attempt.number == number),
    };
    let Some(attempt) = attempt else {
        return Err(match attempts.len() {
            0 => Failure::input("no-log", format!("`{name}` was never built with this store"))
                .hint("a package that another release or store built has its log there"),
            1 => Failure::input("no-attempt", format!("`{name}` has one attempt: 1")),
            count => Failure::input("no-attempt", format!("`{name}` has attempts 1 to {count}")),
        });
    };
    let (attempt, text) = match arguments.follow {
        true => follow(store, attempt, output)?,
        false => {
            let (text, completeness) = store.attempt_log(attempt).map_err(machine)?;
            output.text(&String::from_utf8_lossy(&text));
            if completeness == Completeness::Partial {
                output.note("(this is as far as it came)");
            }
            (attempt.clone(), text)
        }
    };
    if !ours(&attempt) {
        output.note("(this is of another recipe: as the release is now, it was never built)");
    }
    let mut document = document(&attempt);
    document["log"] = String::from_utf8_lossy(&text).into();
    Ok(document)
}

/// Prints a log as it grows, until its attempt has ended. Gives the attempt as it ended, and the
/// whole log.
fn follow(
    store: &Store,
    attempt: &Attempt,
    output: &Output,
) -> Result<(Attempt, Vec<u8>), Failure> {
    let mut text = Vec::new();
    match store.follow_log(attempt).map_err(machine)? {
        // It has ended: there is nothing to wait for.
        None => {
            text = store.attempt_log(attempt).map_err(machine)?.0;
            output.text(&String::from_utf8_lossy(&text));
        }
        Some(mut following) => {
            let mut buffer = vec![0; 64 << 10];
            let mut shown = 0;
            loop {
                match following.read(&mut buffer).map_err(machine)? {
                    Next::Text(count) => text.extend_from_slice(&buffer[..count]),
                    Next::Nothing => std::thread::sleep(PAUSE),
                    Next::End => break,
                }
                // What is printed ends with a line: a character may be half there.
                let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                if whole > shown {
                    output.text(&String::from_utf8_lossy(&text[shown..whole]));
                    output.flush();
                    shown = whole;
                }
            }
            output.text(&String::from_utf8_lossy(&text[shown..]));
        }
    }
    let ended = store.attempt(attempt.id).map_err(machine)?.unwrap_or_else(|| attempt.clone());
    output.note(&match (ended.verdict, ended.duration) {
        (verdict @ (Verdict::Built | Verdict::Cancelled), took) => {
            let took = took.map(|took| format!(" in {}", duration(took))).unwrap_or_default();
            format!("({}{took})", verdict.as_str())
        }
        (verdict, _) if ended.summary.is_empty() => format!("({})", verdict.as_str()),
        (verdict, _) => format!("({}: {})", verdict.as_str(), ended.summary),
    });
    Ok((ended, text))
}

fn machine(error: crate::store::Error) -> Failure {
    Failure::error(Kind::Machine, "store", &error)
}

fn document(attempt: &Attempt) -> Value {
    json!({
        "package": attempt.package.as_str(),
        "attempt": attempt.number,
        "derivation": attempt.derivation.to_string(),
        "action": attempt.action.to_string(),
        "started": attempt.started.to_string(),
        "milliseconds": attempt.duration.map(|duration| duration.as_millis() as u64),
        "verdict": attempt.verdict.as_str(),
        "kind": attempt.kind,
        "fingerprint": attempt.fingerprint.map(|digest| digest.to_string()),
        "summary": attempt.summary,
    })
}
