//! `why` alone: the last build of the release, by cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::reason::{self, Reason};
use super::{Asked, broken};
use crate::base::{DerivationId, Json, PackageName};
use crate::cli::changes;
use crate::cli::failure::Failure;
use crate::store::{Attempt, Store, Verdict};

/// Groups what the last build of the release did by why it did it.
pub fn answer(asked: &Asked<'_>) -> Result<Value, Failure> {
    let Asked { release, graph, machine, output } = asked;
    let world = machine.world();
    let spec = &release.spec.release;
    let releases = world.store.releases().map_err(|error| broken(&error))?;
    let mut ours = releases.iter().filter(|built| built.folder == release.folder);
    let Some(last) = ours.next() else {
        output.text(&format!("{} {} was not built with this store yet\n", spec.name, spec.version));
        return Ok(json!({ "causes": [] }));
    };
    let since = ours.next().map(|before| before.built);
    let attempts = reason::attempts(world.store, None)?;
    let packages = packages_of(world.store, last.release);
    let known = |attempt: &Attempt| match &packages {
        Some(packages) => packages.contains(&attempt.derivation),
        None => graph.package(attempt.package.as_str()).is_some(),
    };
    // The newest attempt at each package counts.
    let mut run: BTreeMap<(&PackageName, DerivationId), &Attempt> = BTreeMap::new();
    for attempt in &attempts {
        let during =
            since.is_none_or(|since| attempt.started > since) && attempt.started <= last.built;
        if during && known(attempt) {
            run.entry((&attempt.package, attempt.derivation)).or_insert(attempt);
        }
    }
    let mut groups: BTreeMap<String, Vec<(&Attempt, Reason)>> = BTreeMap::new();
    for attempt in run.values() {
        let before = reason::before(world.store, &attempts, attempt);
        let reason = reason::of_attempt(world.store, attempt, before);
        let summary = reason.summary(attempt.package.as_str());
        groups.entry(summary).or_default().push((attempt, reason));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(summary, members)| (usize::MAX - members.len(), summary.clone()));

    let when = last.built.strftime("%Y-%m-%d %H:%M:%S");
    let mut text = format!("{} {}, built {when}: ", last.name, last.version);
    if run.is_empty() {
        text.push_str("nothing was to be built\n");
    } else {
        let _ = writeln!(text, "{} rebuilt", run.len());
    }
    let digits = run.len().to_string().len();
    for (summary, members) in &groups {
        let _ = writeln!(text, "  {:>digits$} {summary}{}", members.len(), place(asked, members));
        let name = |attempt: &Attempt| match attempt.verdict {
            Verdict::Built => attempt.package.to_string(),
            verdict => format!("{} ({})", attempt.package, verdict.as_str()),
        };
        let names: Vec<String> = members.iter().map(|(attempt, _)| name(attempt)).collect();
        for row in changes::wrapped(&names.join(", "), 76 - digits) {
            let _ = writeln!(text, "  {:digits$}   {row}", "");
        }
    }
    output.text(&text);
    let group = |(summary, members): &(String, Vec<(&Attempt, Reason)>)| {
        let details: BTreeSet<String> = members
            .iter()
            .flat_map(|(attempt, reason)| reason.documents(attempt.package.as_str(), &release.spec))
            .map(|document| document.to_string())
            .collect();
        let details: Vec<Value> =
            details.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        json!({
            "cause": summary,
            "packages": members.iter().map(|(one, _)| one.package.as_str()).collect::<Vec<_>>(),
            "changes": details,
        })
    };
    Ok(json!({
        "built": last.built.to_string(),
        "release": last.release.to_string(),
        "causes": groups.iter().map(group).collect::<Vec<_>>(),
    }))
}

/// Where what a group shares was written, in brackets.
fn place(asked: &Asked<'_>, members: &[(&Attempt, Reason)]) -> String {
    let spec = &asked.release.spec;
    let places: BTreeSet<String> = members
        .iter()
        .filter_map(|(_, reason)| match reason {
            Reason::Recipe(causes) => Some(causes),
            _ => None,
        })
        .flatten()
        .flat_map(|(name, changes)| changes::tell(changes, name, spec))
        .filter_map(|told| told.span.map(|span| format!("{}:{}", span.file, span.line)))
        .collect();
    let mut places = places.into_iter();
    match (places.next(), places.next()) {
        (Some(place), None) => format!(" ({place})"),
        _ => String::new(),
    }
}

/// The recipes of a release that was built here.
fn packages_of(store: &Store, release: DerivationId) -> Option<BTreeSet<DerivationId>> {
    let Some(Json::Object(document)) = reason::stored(store, &release.to_string()) else {
        return None;
    };
    let Some(Json::Array(packages)) = document.get("packages") else { return None };
    let id = |package: &Json| match package {
        Json::String(id) => id.parse().ok(),
        _ => None,
    };
    Some(packages.iter().filter_map(id).collect())
}
