//! `why` alone: the last build of the release, by cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Asked, broken, reason};
use crate::base::{DerivationId, PackageName};
use crate::cli::cause::{self as told, Told};
use crate::cli::changes;
use crate::cli::failure::Failure;
use crate::realise::rebuild::{self, Cause, History};
use crate::store::{Attempt, Verdict};

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
    let packages: Option<BTreeSet<DerivationId>> =
        rebuild::packages(world.store, last.release).map(|ids| ids.into_iter().collect());
    let history = History::of(world.store, &release.folder).map_err(|error| broken(&error))?;
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
    let mut by_package: BTreeMap<&PackageName, Vec<&Attempt>> = BTreeMap::new();
    for attempt in &attempts {
        by_package.entry(&attempt.package).or_default().push(attempt);
    }
    let run: Vec<(&Attempt, Cause)> = run
        .into_values()
        .map(|attempt| {
            let of_package = by_package[&attempt.package].iter().copied();
            (attempt, reason::of_attempt(asked, &history, attempt, of_package).0)
        })
        .collect();
    let members = run.iter().map(|one| (one, one.0.package.as_str(), &one.1));
    let groups: Vec<(Told, Vec<&(&Attempt, Cause)>)> = told::grouped(members);

    let when = last.built.strftime("%Y-%m-%d %H:%M:%S");
    let mut text = format!("{} {}, built {when}\n", last.name, last.version);
    if run.is_empty() {
        text.push_str("nothing was to be built\n");
    } else {
        let told =
            groups.iter().map(|(told, members)| format!("{} {}", members.len(), told.line()));
        let told = format!("{} rebuilt: {}", run.len(), told.collect::<Vec<_>>().join(", "));
        for row in changes::wrapped(&told, 98) {
            let _ = writeln!(text, "{row}");
        }
    }
    let digits = run.len().to_string().len();
    for (told, members) in &groups {
        let _ = writeln!(text, "\n  {:>digits$} {}", members.len(), told.line());
        let name = |attempt: &Attempt| match attempt.verdict {
            Verdict::Built => attempt.package.to_string(),
            verdict => format!("{} ({})", attempt.package, verdict.as_str()),
        };
        let names: Vec<String> = members.iter().map(|(attempt, _)| name(attempt)).collect();
        for row in changes::wrapped(&names.join(", "), 92 - digits) {
            let _ = writeln!(text, "  {:digits$}   {row}", "");
        }
    }
    output.text(&text);
    let group = |(told, members): &(Told, Vec<&(&Attempt, Cause)>)| {
        let details: BTreeSet<String> = members
            .iter()
            .flat_map(|(attempt, cause)| told::documents(cause, attempt.package.as_str()))
            .map(|document| document.to_string())
            .collect();
        let details: Vec<Value> =
            details.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        json!({
            "cause": told.text,
            "place": told.place,
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
