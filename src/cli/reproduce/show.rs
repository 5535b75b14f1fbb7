//! `reproduce --show`: what was found when packages were last built again.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::{attributed, compared};
use crate::audit::difference;
use crate::audit::reproduction::{Reproduction, Roots};
use crate::base::HostPath;
use crate::cli::arguments::Global;
use crate::cli::build::{default_options, machine_failed};
use crate::cli::context::{Machine, Release};
use crate::cli::eval::select;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::progress::duration;
use crate::cli::report::count;
use crate::realise::{cause, driver};
use crate::store;

/// Prints it, for the recipes and inputs as they are now.
pub fn run(
    folder: &HostPath,
    names: &[String],
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let release = Release::load(folder)?;
    let graph = release.graph()?;
    let wanted = select(&graph, names)?;
    let machine = Machine::open(&release, global)?;
    let world = machine.world();
    let survey =
        driver::survey(&world, &graph, &wanted, &default_options()).map_err(machine_failed)?;
    let (mut text, mut documents) = (String::new(), Vec::new());
    for one in survey.iter().filter(|one| wanted.contains(&one.derivation)) {
        let Some(package) = graph.node(one.derivation).and_then(|it| it.derivation.package())
        else {
            continue;
        };
        let title = format!("{} {}", package.name, package.version);
        let times = match &one.there {
            Some((action, _)) => {
                world.store.reproductions(action).map_err(|error| broken(&error))?
            }
            None => Vec::new(),
        };
        let last = times.first().map(|last| world.store.json(&last.document));
        let last = last.transpose().map_err(|error| broken(&error))?.flatten();
        let Some(bytes) = last else {
            let why = if one.there.is_some() { "never built again" } else { "not built yet" };
            let _ = writeln!(text, "{title}   {why}");
            continue;
        };
        let found = Reproduction::from_json(&bytes)
            .map_err(|error| Failure::error(Kind::Machine, "evidence", &error))?;
        text.push_str(&told(&title, &found, &times));
        documents.push(json!({
            "name": package.name.as_str(),
            "version": package.version,
            "derivation": one.derivation.to_string(),
            "verdict": found.verdict,
            "outputs": serde_json::to_value(&found.outputs).unwrap_or_default(),
            "reproduction": serde_json::to_value(&found).unwrap_or_default(),
            "times": times.iter().map(|one| json!({
                "verdict": one.verdict.as_str(),
                "made": one.made.to_string(),
                "document": one.document.to_string(),
            })).collect::<Vec<_>>(),
        }));
    }
    output.text(&text);
    Ok(json!({ "release": release.document(&graph), "packages": documents }))
}

fn told(title: &str, found: &Reproduction, times: &[store::Reproduction]) -> String {
    let mut text = format!("{title}   {}", found.verdict);
    if let Some(last) = times.first() {
        let took = Duration::from_millis(found.elapsed.unsigned_abs());
        let when = last.made.strftime("%Y-%m-%d %H:%M:%S");
        let _ = write!(text, "   {when} in {}", duration(took));
    }
    let same = times.iter().take_while(|one| one.verdict == store::Sameness::Reproduced).count();
    if same > 1 {
        let _ = write!(text, ", {same} times in a row");
    }
    let _ = writeln!(text, "   {}", count(found.outputs.len(), "file"));
    if !found.failure.is_empty() {
        let _ = writeln!(text, "          {}", found.failure);
    }
    if found.roots == Roots::Differ {
        text.push_str(
            "          its build root was put together otherwise, of the same packages\n",
        );
    }
    for one in found.outputs.iter().filter(|one| one.verdict != "reproduced") {
        text.push_str(&compared(one, difference::MOST));
        for line in one.diffoscope.iter().flat_map(|said| said.lines()) {
            let _ = writeln!(text, "            {}", cause::plain(line, 1000));
        }
    }
    if let Some(attribution) = &found.attribution {
        text.push_str(&attributed(attribution, difference::MOST));
    }
    for (what, digest) in [("record", Some(found.record)), ("log", found.log)] {
        if let Some(digest) = digest {
            let _ = writeln!(text, "          {what:6}  {digest}");
        }
    }
    text
}

fn broken(error: &store::Error) -> Failure {
    Failure::error(Kind::Machine, "store", error)
}
