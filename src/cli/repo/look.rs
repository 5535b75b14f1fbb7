//! What a repository has and had: `list`, `show` and `diff`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{broken, open};
use crate::cli::arguments::{RepoDiff, RepoList, RepoShow};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::publish::destination::listed;
use crate::cli::report::count;
use crate::publish::suite::{Indexes, difference};
use crate::publish::{Generation, Reason, Repository, State};

/// The suites, and the generations.
pub fn list(arguments: &RepoList, output: &Output) -> Result<Value, Failure> {
    let repository = open(&arguments.repo)?;
    let live = repository.live().map_err(broken)?;
    let mut all = Vec::new();
    for number in repository.generations().map_err(broken)? {
        all.push(repository.generation(number).map_err(broken)?);
    }
    let mut text = String::new();
    let current = all.iter().find(|generation| Some(generation.number) == live);
    if let Some(current) = current {
        for (name, state) in &current.suites {
            text.push_str(&suite_line(name, state));
        }
        text.push('\n');
    } else {
        text.push_str("nothing was published yet\n");
    }
    for generation in all.iter().rev() {
        let mark = if Some(generation.number) == live { '*' } else { ' ' };
        let Generation { number, date, reason, changes, .. } = generation;
        let suites: BTreeSet<&str> = changes.iter().map(|change| change.suite.as_str()).collect();
        let suites = suites.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "{mark} {number:>4}  {}  {:10} {:>12}  {suites}",
            moment(*date),
            word(reason),
            count(changes.len(), "change"),
        );
    }
    output.text(&text);
    Ok(json!({
        "repository": repository.root().to_string(),
        "live": live,
        "generations": all.iter().map(without_changes).collect::<Vec<_>>(),
    }))
}

/// One generation.
pub fn show(arguments: &RepoShow, output: &Output) -> Result<Value, Failure> {
    let repository = open(&arguments.repo)?;
    let number = number(&repository, arguments.generation)?;
    let generation = repository.generation(number).map_err(broken)?;
    let mut text = format!(
        "generation {number} of {}, {}: {}\n",
        repository.root(),
        moment(generation.date),
        reason(&generation.reason),
    );
    for (name, state) in &generation.suites {
        text.push_str(&suite_line(name, state));
        if let Some(published) = &state.published {
            let manifest = published.manifest.as_ref().map_or_else(
                || "not all of it was built".to_owned(),
                |manifest| format!("manifest {}", manifest.short()),
            );
            let (name, version) = (&published.name, &published.version);
            let _ = writeln!(text, "  of {name} {version} · {} · {manifest}", published.id.short());
        }
    }
    if !generation.changes.is_empty() {
        let _ = writeln!(text, "\n{}:", count(generation.changes.len(), "change"));
        text.push_str(&listed(&generation.changes));
    }
    for change in generation.changes.iter().filter(|change| change.architecture == "source") {
        if let Some(why) = &change.downgrade {
            let _ = writeln!(text, "  {} may be older: {why}", change.name);
        }
    }
    output.text(&text);
    Ok(serde_json::to_value(&generation).unwrap_or_default())
}

/// What is different in two generations.
pub fn diff(arguments: &RepoDiff, output: &Output) -> Result<Value, Failure> {
    let repository = open(&arguments.repo)?;
    let new = number(&repository, arguments.new)?;
    let (old, new) = (
        repository.generation(arguments.old).map_err(broken)?,
        repository.generation(new).map_err(broken)?,
    );
    let names: BTreeSet<&String> = old.suites.keys().chain(new.suites.keys()).collect();
    let mut changes = Vec::new();
    let mut text = String::new();
    for name in names {
        let read = |generation: &Generation| match generation.suites.get(name) {
            Some(state) => Indexes::read(&repository, generation.number, name, state),
            None => Ok(Indexes::none(&repository)),
        };
        let (mut before, mut after) = (read(&old).map_err(broken)?, read(&new).map_err(broken)?);
        let found = difference(name, &mut before, &mut after).map_err(broken)?;
        if !found.is_empty() {
            let _ = write!(text, "{name}\n{}", listed(&found));
        }
        changes.extend(found);
    }
    if changes.is_empty() {
        text.push_str("the same packages\n");
    }
    output.text(&text);
    Ok(json!({ "old": old.number, "new": new.number, "changes": changes }))
}

/// The generation that is meant: without a number the one that clients read.
fn number(repository: &Repository, given: Option<u64>) -> Result<u64, Failure> {
    match (given, repository.live().map_err(broken)?) {
        (Some(number), _) | (None, Some(number)) => Ok(number),
        (None, None) => {
            let message = format!("nothing was ever published to `{}`", repository.root());
            Err(Failure::input("nothing-published", message).hint("`perestroika publish` does"))
        }
    }
}

fn suite_line(name: &str, state: &State) -> String {
    let packages = usize::try_from(state.packages).unwrap_or(usize::MAX);
    let end = match state.valid_until {
        Some(end) => {
            let is_over = end < Timestamp::now().as_second();
            format!("{} {}", if is_over { "EXPIRED" } else { "valid until" }, moment(end))
        }
        None => "valid for ever".to_owned(),
    };
    format!(
        "{name}: {}, {}, {}, {end}\n",
        count(packages, "package"),
        state.components.join("+"),
        state.architectures.join("+"),
    )
}

fn without_changes(generation: &Generation) -> Value {
    let mut value = serde_json::to_value(generation).unwrap_or_default();
    value["changes"] = generation.changes.len().into();
    value
}

fn moment(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%F %H:%M UTC").to_string()
}

fn word(reason: &Reason) -> &'static str {
    match reason {
        Reason::Publish => "publish",
        Reason::Promote { .. } => "promote",
        Reason::Withdraw { .. } => "withdraw",
        Reason::Rollback { .. } => "rollback",
        Reason::Refresh => "refresh",
        Reason::Adopt { .. } => "adopt",
    }
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Publish => "published".to_owned(),
        Reason::Promote { from } => format!("promoted from {from}"),
        Reason::Withdraw { because } => format!("withdrawn: {because}"),
        Reason::Rollback { to } => format!("rolled back to generation {to}"),
        Reason::Refresh => "signed anew".to_owned(),
        Reason::Adopt { from } => format!("taken over from {from}"),
    }
}
