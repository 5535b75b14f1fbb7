//! `reproduce --queue`: through a release in the background, and how each package stands.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::audit::reproduction::State;
use crate::base::{DerivationId, HostPath};
use crate::cli::arguments::Global;
use crate::cli::build::{Prepared, default_options, machine_failed};
use crate::cli::context::{Machine, Release};
use crate::cli::eval::select;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::report::count;
use crate::realise::driver::{self, Surveyed};
use crate::sandbox::native;
use crate::store::{Sameness, Store};

/// Steps back behind everything else on this machine, and gives the packages that are there, what
/// waited longest first.
pub fn begin(
    prepared: &Prepared,
    survey: &[Surveyed],
    output: &Output,
) -> Result<Vec<DerivationId>, Failure> {
    native::step_back().map_err(|error| Failure::error(Kind::Machine, "priority", &error))?;
    let world = prepared.machine.world();
    let mut waiting = Vec::new();
    let mut unbuilt = 0;
    for one in survey.iter().filter(|one| prepared.wanted.contains(&one.derivation)) {
        match state(world.store, one)? {
            Some(state) => waiting.push((state.last(), one.derivation)),
            None => unbuilt += 1,
        }
    }
    if unbuilt > 0 {
        output.note(&format!("{} left out: never built", count(unbuilt, "package")));
    }
    waiting.sort_unstable();
    Ok(waiting.into_iter().map(|(_, id)| id).collect())
}

/// How a package stands; none if it is not built.
fn state(store: &Store, one: &Surveyed) -> Result<Option<State>, Failure> {
    let Some((action, _)) = &one.there else { return Ok(None) };
    let times = store.reproductions(action);
    let times = times.map_err(|error| Failure::error(Kind::Machine, "store", &error))?;
    Ok(Some(State::of(&times)))
}

/// Prints how each package stands.
pub fn status(
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
    let mut lines = Vec::new();
    for one in survey.iter().filter(|one| wanted.contains(&one.derivation)) {
        if let Some(package) = graph.node(one.derivation).and_then(|it| it.derivation.package()) {
            lines.push((one.derivation, package, state(world.store, one)?));
        }
    }
    let title = |(_, package, _): &(_, &crate::graph::derivation::Package, _)| {
        format!("{} {}", package.name, package.version)
    };
    let width = lines.iter().map(|line| title(line).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        let _ = writeln!(text, " {:width$}   {}", title(line), told(line.2.as_ref()));
    }
    output.text(&text);
    let documents = lines.iter().map(|(id, package, state)| {
        let mut document = json!({
            "name": package.name.as_str(),
            "version": package.version,
            "derivation": id.to_string(),
            "state": word(state.as_ref()),
        });
        match state {
            Some(State::Reproduced { times, last }) => {
                document["times"] = (*times).into();
                document["last"] = last.to_string().into();
            }
            Some(State::Otherwise { since, last, .. }) => {
                document["since"] = since.to_string().into();
                document["last"] = last.to_string().into();
            }
            Some(State::Never) | None => {}
        }
        document
    });
    Ok(json!({ "release": release.document(&graph), "packages": documents.collect::<Vec<_>>() }))
}

fn word(state: Option<&State>) -> &'static str {
    match state {
        None => "unbuilt",
        Some(State::Never) => "never",
        Some(State::Reproduced { .. }) => Sameness::Reproduced.as_str(),
        Some(State::Otherwise { verdict, .. }) => verdict.as_str(),
    }
}

fn told(state: Option<&State>) -> String {
    const DAY: &str = "%Y-%m-%d %H:%M";
    match state {
        None => "not built yet".to_owned(),
        Some(State::Never) => "never built again".to_owned(),
        Some(State::Reproduced { times, last }) => {
            format!("reproduced {}, last {}", count(*times, "time"), last.strftime(DAY))
        }
        Some(State::Otherwise { verdict, since, .. }) => {
            format!("{} since {}", verdict.as_str(), since.strftime(DAY))
        }
    }
}
