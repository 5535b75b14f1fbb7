//! `build -n`: what would be built, and why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::build::Prepared;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::base::DerivationId;
use crate::graph::{Derivation, Graph};
use crate::realise::driver::{self, Options, Surveyed};
use crate::store::Verdict;

/// Prints what a build would do. Nothing is fetched, written or built.
pub fn run(prepared: &Prepared, options: &Options, output: &Output) -> CommandResult {
    let Prepared { release, graph, wanted, machine } = prepared;
    let world = &machine.world();
    let broken = |error: &dyn std::error::Error| {
        (Value::Null, Failure::error(Kind::Machine, "machine", error))
    };
    let survey = driver::survey(world, graph, wanted, options).map_err(|error| broken(&error))?;
    let spec = &release.spec.release;
    let stale: BTreeMap<DerivationId, String> = survey
        .iter()
        .filter(|surveyed| surveyed.there.is_none())
        .filter_map(|surveyed| Some((surveyed.derivation, name(graph, surveyed.derivation)?)))
        .collect();
    output.text(&format!(
        "{} {} · {} · {} cached, {} to build\n",
        spec.name,
        spec.version,
        graph.release().short(),
        survey.len() - stale.len(),
        stale.len(),
    ));
    let mut packages = Vec::new();
    for Surveyed { derivation: id, there } in &survey {
        let Some(Derivation::Package(package)) = graph.node(*id).map(|node| &node.derivation)
        else {
            continue;
        };
        let needs: Vec<&String> =
            package.dependencies.iter().filter_map(|need| stale.get(need)).collect();
        let (status, why) = if there.is_some() {
            ("cached", String::new())
        } else {
            let attempts =
                world.store.attempts(Some(&package.name), 100).map_err(|error| broken(&error))?;
            let built = attempts.iter().find(|attempt| attempt.verdict == Verdict::Built);
            let why = match built {
                None => "not built before".to_owned(),
                Some(attempt) if attempt.derivation != *id && needs.is_empty() => {
                    "its recipe changed".to_owned()
                }
                Some(_) if !needs.is_empty() => "what it needs is built first".to_owned(),
                Some(_) => "what it is built with changed".to_owned(),
            };
            ("build", why)
        };
        let after = needs.iter().map(|name| name.as_str()).collect::<Vec<_>>();
        let waits = if after.is_empty() {
            String::new()
        } else {
            format!("; may stay cached if the packages of {} come out the same", after.join(", "))
        };
        output.text(
            format!("  {status:7} {} {}  {why}{waits}", package.name, package.version).trim_end(),
        );
        output.text("\n");
        packages.push(json!({
            "name": package.name.as_str(),
            "version": package.version,
            "derivation": id.to_string(),
            "status": status,
            "why": why,
            "waits_for": after,
        }));
    }
    Ok(json!({
        "release": release.document(graph),
        "packages": packages,
    }))
}

fn name(graph: &Graph, id: DerivationId) -> Option<String> {
    match &graph.node(id)?.derivation {
        Derivation::Package(package) => Some(package.name.to_string()),
        _ => None,
    }
}
