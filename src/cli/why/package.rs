//! `why PKG`: why a package was or would be rebuilt.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Asked, Found, broken, reason};
use crate::cli::build;
use crate::cli::cause as told;
use crate::cli::changes;
use crate::cli::failure::Failure;
use crate::cli::progress::duration;
use crate::graph::diff;
use crate::realise::driver;
use crate::realise::rebuild::{self, History};
use crate::realise::stale::{Ground, Outlook};
use crate::realise::universe::Snapshots;
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
    let architecture = package.architecture.as_str();
    attempts.retain(|attempt| {
        let of = rebuild::architecture(world.store, attempt.derivation);
        of.is_none_or(|of| of == architecture)
    });
    let history = History::of(world.store, &release.folder).map_err(|error| broken(&error))?;
    let built = |attempt: &&Attempt| attempt.verdict == Verdict::Built;
    let made = action
        .and_then(|action| attempts.iter().filter(built).find(|attempt| attempt.action == action));
    let mut outlook = Outlook::Same;
    let (status, before, cause) = match (action, made) {
        (Some(_), Some(made)) => {
            let (cause, before) = reason::of_attempt(asked, &history, made, attempts.iter());
            ("built", before, Some(cause))
        }
        (Some(_), None) => ("built", None, None),
        (None, _) => {
            let snapshots = Snapshots::default();
            let spec = &release.spec;
            let ground = Ground { world: &world, graph, spec, snapshots: &snapshots };
            let mut stale = ground.explain(&survey).map_err(|error| broken(&error))?;
            let stale = stale.remove(&node.id).expect("what is not there is stale");
            outlook = stale.outlook;
            let before = history.before(world.store, attempts.iter(), architecture);
            ("stale", before, Some(stale.cause))
        }
    };
    let cause = cause.unwrap_or_default();

    let mut text = format!("{name} {} · {}\n", package.version, node.id.short());
    let line = match (status, made, before) {
        ("built", Some(made), Some(before)) => {
            format!("built {}; the build before was {}", run(made), run(before))
        }
        ("built", Some(made), None) => format!("built {} for the first time", run(made)),
        ("built", None, _) => "built; when and why is not known to this store".to_owned(),
        (_, _, Some(before)) => format!("would be rebuilt; its last build was {}", run(before)),
        (..) => "would be built: this store has no build of it".to_owned(),
    };
    let _ = writeln!(text, "{line}");
    let table = told::table(&cause, name);
    match (status, before) {
        _ if !table.is_empty() => {
            let _ = write!(text, "\nwhat changed\n{table}");
        }
        ("stale", Some(_)) if outlook == Outlook::Build => {
            text.push_str("nothing that is known of its inputs changed: its files are lost\n");
        }
        ("built", Some(_)) => {
            text.push_str("nothing that went into it changed: its files were lost\n");
        }
        _ => {}
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
    match (status, outlook) {
        ("stale", Outlook::Perhaps) if before.is_some() => {
            text.push_str("\nit stays as it is if what it needs comes out the same\n");
        }
        ("stale", Outlook::Same) => {
            text.push_str("\nthat leads to a build which is there: nothing is to be built\n");
        }
        _ => {}
    }
    if let Some(last) = attempts.first().filter(|last| last.derivation == node.id && !built(last)) {
        let _ = writeln!(text, "\n{}", told_last(last));
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
        "causes": told::documents(&cause, name),
    }))
}

/// What came of an attempt that built nothing.
fn told_last(attempt: &Attempt) -> String {
    let came = match attempt.verdict {
        Verdict::Running => "is running".to_owned(),
        Verdict::Interrupted => "was interrupted".to_owned(),
        Verdict::Cancelled => "was called off".to_owned(),
        Verdict::Built | Verdict::Failed | Verdict::Fault => {
            format!("failed: {}", attempt.summary)
        }
    };
    format!("its last attempt {came}")
}

/// What really changed of a build root whose recipe moved, where both were put together.
fn moved(asked: &Asked<'_>, made: Option<&Attempt>, before: Option<&Attempt>) -> Option<String> {
    let (made, before) = (made?, before?);
    if made.derivation == before.derivation {
        return None;
    }
    let world = asked.machine.world();
    let document = |attempt: &Attempt| rebuild::document(world.store, &attempt.action.to_string());
    let mut changes = diff::actions(&document(before)?, &document(made)?);
    changes.retain(|change| change.field == "root");
    let told = changes::tell(&changes, "", &asked.release.spec);
    let rows = told.iter().flat_map(|told| changes::wrapped(&told.what, 76));
    let text: String = rows.map(|row| format!("  {row}\n")).collect();
    (!text.is_empty()).then_some(text)
}

fn run(attempt: &Attempt) -> String {
    let took = attempt.duration.map(|took| format!(" in {}", duration(took)));
    let when = attempt.started.strftime("%Y-%m-%d %H:%M:%S");
    format!("{when}{}", took.unwrap_or_default())
}
