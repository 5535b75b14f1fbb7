//! `status`: how a release stands, on one screen.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::arguments::{Global, Status};
use super::build;
use super::context::{Machine, Named, Release, named};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::duration;
use crate::graph::Derivation;
use crate::realise::driver::{self, Surveyed};
use crate::store::Verdict;

/// How many attempts are looked through for one that succeeded.
const LOOKED_AT: u32 = 100;

/// Prints the standing of every release that was named.
pub fn run(arguments: &Status, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let Named { releases, names } = named(&arguments.words.words).map_err(wrong)?;
    let mut documents = Vec::new();
    let mut behind = Vec::new();
    for folder in &releases {
        let release = Release::load(folder).map_err(wrong)?;
        let document = one(&release, &names, global, output).map_err(wrong)?;
        let of = |package: &&Value| package["status"] != "built";
        let packages = document["packages"].as_array();
        behind.push(packages.map_or(0, |packages| packages.iter().filter(of).count()));
        documents.push(document);
    }
    let document = match documents.len() {
        1 => documents.remove(0),
        _ => json!({ "releases": documents }),
    };
    if behind.iter().all(|count| *count == 0) {
        return Ok(document);
    }
    // The screen has said it: the exit code alone is left to tell.
    Err((document, Failure { kind: Kind::Result, problems: Vec::new() }))
}

fn one(
    release: &Release,
    names: &[String],
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let graph = release.graph()?;
    let wanted = select(&graph, names)?;
    let machine = Machine::open(release, global)?;
    let world = machine.world();
    let broken = |error: &dyn std::error::Error| Failure::error(Kind::Machine, "store", error);
    let survey = driver::survey(&world, &graph, &wanted, &build::default_options())
        .map_err(|error| broken(&error))?;
    let divergent = world.store.divergent_actions().map_err(|error| broken(&error))?;
    let spec = &release.spec.release;
    let last = world.store.last_release(&release.folder).map_err(|error| broken(&error))?;
    let manifest =
        last.as_ref().filter(|last| last.release == graph.release()).and_then(|last| last.manifest);

    let mut text = format!("{} {}\n", spec.name, spec.version);
    let _ = writeln!(text, "release   {}", graph.release().short());
    let _ = writeln!(
        text,
        "manifest  {}",
        manifest.map_or_else(|| "not built as a whole yet".to_owned(), |digest| digest.short())
    );
    for (name, archive) in release.lock.iter().flat_map(|lock| &lock.archives) {
        for suite in &archive.suites {
            let _ = writeln!(text, "pinned    {name}: {} of {}", suite.suite, suite.date);
        }
    }
    text.push('\n');
    let mut packages = Vec::new();
    for Surveyed { derivation: id, there } in &survey {
        let Some(Derivation::Package(package)) = graph.node(*id).map(|node| &node.derivation)
        else {
            continue;
        };
        // The newest first.
        let attempts =
            world.store.attempts(Some(&package.name), LOOKED_AT).map_err(|error| broken(&error))?;
        let was_built = attempts.iter().any(|attempt| attempt.verdict == Verdict::Built);
        let failed = attempts.first().filter(|attempt| {
            attempt.derivation == *id && matches!(attempt.verdict, Verdict::Failed | Verdict::Fault)
        });
        let (status, detail) = match (there, failed) {
            (Some((action, _)), _) if divergent.contains(action) => {
                ("divergent", "its builds gave different bytes".to_owned())
            }
            (Some((_, record)), _) => {
                let took = std::time::Duration::from_millis(record.elapsed.unsigned_abs());
                ("built", format!("in {}", duration(took)))
            }
            (None, Some(attempt)) => ("failed", attempt.summary.clone()),
            (None, None) if was_built => ("stale", String::new()),
            (None, None) => ("unbuilt", "never built".to_owned()),
        };
        let _ = writeln!(
            text,
            "{}",
            format!("  {status:9} {} {}  {detail}", package.name, package.version).trim_end()
        );
        packages.push(json!({
            "name": package.name.as_str(),
            "version": package.version,
            "derivation": id.to_string(),
            "status": status,
        }));
    }
    output.text(&text);
    Ok(json!({
        "release": release.built_document(&graph, manifest),
        "packages": packages,
    }))
}
