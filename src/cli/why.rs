//! `why`: why packages were or would be rebuilt, and how one comes to need another.

mod last;
mod package;
mod paths;
mod reason;

use serde_json::Value;

use super::arguments::{Global, Why};
use super::context::{Machine, Release, named_one};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::graph::Graph;

/// Answers for the last build, for a package, or for a package and what it needs.
pub fn run(arguments: &Why, global: &Global, output: &Output) -> CommandResult {
    answer(arguments, global, output).map_err(|failure| (Value::Null, failure))
}

fn answer(arguments: &Why, global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(&arguments.words.words)?;
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    // What is not there is told, and not fetched.
    let global = Global { offline: true, ..global.clone() };
    let machine = Machine::open(&release, &global)?;
    let asked = Asked { release: &release, graph: &graph, machine: &machine, output };
    match names.as_slice() {
        [] => last::answer(&asked),
        [name] => package::answer(&asked, asked.package(name)?),
        [name, needed] => paths::answer(&asked, asked.package(name)?, needed),
        _ => Err(Failure::input("unexpected", "`why` takes at most two names")
            .hint("`perestroika why PKG DEP` prints how PKG comes to need DEP")),
    }
}

/// What every answer is taken from.
struct Asked<'a> {
    release: &'a Release,
    graph: &'a Graph,
    machine: &'a Machine,
    output: &'a Output,
}

type Found<'a> = (&'a crate::graph::Node, &'a crate::graph::derivation::Package);

impl<'a> Asked<'a> {
    fn package(&self, name: &str) -> Result<Found<'a>, Failure> {
        select(self.graph, &[name.to_owned()])?;
        Ok(self.graph.package(name).expect("it was selected"))
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "store", error)
}
