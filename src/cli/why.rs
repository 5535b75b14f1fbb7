//! `why`: why packages were or would be rebuilt, and how one comes to need another.

mod last;
mod package;
mod paths;
mod reason;

use serde_json::{Value, json};

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
        [name] => match asked.packages(name)?.as_slice() {
            [one] => package::answer(&asked, *one),
            several => {
                let documents: Result<Vec<Value>, Failure> =
                    several.iter().map(|one| package::answer(&asked, *one)).collect();
                Ok(json!({ "packages": documents? }))
            }
        },
        [name, needed] => {
            // The first architecture is the one that also builds what has none.
            let all = asked.packages(name)?;
            paths::answer(&asked, *all.first().expect("it was selected"), needed)
        }
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
    /// The packages of a name: one for each architecture that it is built for, in the order of
    /// the release's.
    fn packages(&self, name: &str) -> Result<Vec<Found<'a>>, Failure> {
        select(self.graph, &[name.to_owned()])?;
        let of_name = |(_, package): &Found<'a>| package.name.as_str() == name;
        let mut all: Vec<Found<'a>> = self.graph.packages().filter(of_name).collect();
        let order = &self.release.spec.release.architectures;
        all.sort_by_key(|(_, package)| order.iter().position(|one| *one == package.architecture));
        Ok(all)
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "store", error)
}
