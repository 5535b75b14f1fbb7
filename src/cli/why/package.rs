//! `why PKG`: why a package was or would be rebuilt.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::reason::{self, Reason};
use super::{Asked, Found, broken};
use crate::cli::build;
use crate::cli::changes;
use crate::cli::failure::Failure;
use crate::cli::progress::duration;
use crate::graph::diff;
use crate::realise::driver;
use crate::store::{Attempt, Verdict};

/// Holds the package's recipe against what was built of it before.
pub fn answer(asked: &Asked<'_>, (node, package): Found<'_>) -> Result<Value, Failure> {
    let Asked { release, graph, machine, output } = asked;
    let world = machine.world();
    let name = package.name.as_str();
    let survey = driver::survey(&world, graph, &[node.id], &build::default_options())
        .map_err(|error| broken(&error))?;
    let there = survey.iter().find(|one| one.derivation == node.id);
    let action = there.and_then(|one| one.there.as_ref()).map(|(action, _)| *action);
    let mut attempts = reason::attempts(world.store, Some(&package.name))?;
    let architecture = Some(package.architecture.as_str());
    attempts.retain(|attempt| reason::is_for(world.store, attempt, architecture));
    let built = |attempt: &&Attempt| attempt.verdict == Verdict::Built;
    let made = action
        .and_then(|action| attempts.iter().filter(built).find(|attempt| attempt.action == action));
    let (status, before, reason) = match (action, made) {
        (Some(_), Some(made)) => {
            let before = reason::before(world.store, &attempts, made);
            ("built", before, reason::of_attempt(world.store, made, before))
        }
        (Some(_), None) => ("built", None, Reason::Same),
        (None, _) => {
            let before = attempts.iter().find(built);
            let documents = diff::documents(graph);
            let reason = match before {
                None => Reason::First,
                Some(before) if before.derivation == node.id => Reason::Same,
                Some(before) => {
                    reason::of_recipes(world.store, before.derivation, node.id, &documents)
                }
            };
            ("stale", before, reason)
        }
    };

    let mut text = format!("{name} {} · {}\n", package.version, node.id.short());
    let line = match (status, made, before) {
        ("built", Some(made), Some(before)) => {
            format!("built {}; the build before was {}", told(made), told(before))
        }
        ("built", Some(made), None) => format!("built {} for the first time", told(made)),
        ("built", None, _) => "built; when and why is not known to this store".to_owned(),
        (_, _, Some(before)) => format!("would be rebuilt; its last build was {}", told(before)),
        (..) => "would be built: this store has no build of it".to_owned(),
    };
    let _ = writeln!(text, "{line}");
    let table = reason.table(name, &release.spec);
    if table.is_empty() {
        match (status, &reason, before) {
            ("stale", Reason::Same, _) => text.push_str(
                "its recipe is the same: something it needs is to be built first, or its files are lost\n",
            ),
            ("built", Reason::Same, Some(_)) => {
                text.push_str("nothing that went into it changed: its files were lost\n");
            }
            _ => {}
        }
    } else {
        let _ = write!(text, "\nwhat changed\n{table}");
    }
    let moved = moved(asked, made, before);
    if let Some(told) = &moved {
        let _ = write!(text, "\nits build root\n{told}");
    }
    if let Some(made) = made.filter(|made| made.derivation != node.id) {
        let _ = writeln!(
            text,
            "\nits recipe changed since ({} then), but came to the same build",
            made.derivation.short()
        );
    }
    let own =
        matches!(&reason, Reason::Recipe(causes) if causes.iter().any(|(one, _)| one == name));
    if status == "stale" && matches!(reason, Reason::Recipe(_)) && !own {
        text.push_str("\nit stays as it is if what it needs comes out the same\n");
    }
    if let Some(failed) = attempts.first().filter(|last| last.derivation == node.id && !built(last))
    {
        let _ =
            writeln!(text, "\nits last attempt {}: {}", failed.verdict.as_str(), failed.summary);
    }
    output.text(&text);
    Ok(json!({
        "package": {
            "name": name,
            "version": package.version,
            "derivation": node.id.to_string(),
            "status": status,
        },
        "before": before.map(|before| json!({
            "derivation": before.derivation.to_string(),
            "action": before.action.to_string(),
            "started": before.started.to_string(),
        })),
        "causes": reason.documents(name, &release.spec),
    }))
}

/// What really changed of a build root whose recipe moved, where both were put together.
fn moved(asked: &Asked<'_>, made: Option<&Attempt>, before: Option<&Attempt>) -> Option<String> {
    let (made, before) = (made?, before?);
    if made.derivation == before.derivation {
        return None;
    }
    let world = asked.machine.world();
    let mut changes = reason::root(world.store, before, made);
    changes.retain(|change| change.field == "root");
    let spec = &asked.release.spec;
    let told = changes::tell(&changes, "", spec);
    let rows = told.iter().flat_map(|told| changes::wrapped(&told.what, 76));
    let text: String = rows.map(|row| format!("  {row}\n")).collect();
    (!text.is_empty()).then_some(text)
}

fn told(attempt: &Attempt) -> String {
    let took = attempt.duration.map(|took| format!(" in {}", duration(took)));
    let when = attempt.started.strftime("%Y-%m-%d %H:%M:%S");
    format!("{when}{}", took.unwrap_or_default())
}
