//! `audit`: what the evidence says of a release. One file for each way to look at it.

pub mod archive;
pub mod closure;
mod history;
mod inputs;
mod provenance;
pub mod quorum;

use serde_json::Value;

use super::arguments::{Audit, AuditArchive, AuditCommand, AuditHistory, Global, Words};
use super::context::{Machine, Release, named_one};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::base::DerivationId;
use crate::graph::Graph;

/// Judges the release as it was asked to be, or in every way.
pub fn run(arguments: &Audit, global: &Global, output: &Output) -> CommandResult {
    match &arguments.command {
        Some(AuditCommand::Closure(words)) => closure::run(&words.words, global, output),
        Some(AuditCommand::Archive(words)) => archive::run(words, global, output),
        Some(AuditCommand::Inputs(words)) => inputs::run(&words.words, global, output),
        Some(AuditCommand::History(arguments)) => history::run(arguments, global, output),
        Some(AuditCommand::Provenance(arguments)) => provenance::run(arguments, global, output),
        Some(AuditCommand::Quorum(arguments)) => quorum::run(arguments, global, output),
        None => every(&arguments.words.words, global, output),
    }
}

/// A way to judge a release: its name and what does it.
type Way = (&'static str, fn(&[String], &Global, &Output) -> CommandResult);

const WAYS: [Way; 5] = [
    ("closure", closure::run),
    ("archive", against_the_archive),
    ("inputs", inputs::run),
    ("quorum", quorum::run_where_asked),
    ("history", since_the_last_time),
];

fn against_the_archive(words: &[String], global: &Global, output: &Output) -> CommandResult {
    let words = Words { words: words.to_vec() };
    archive::run(&AuditArchive { words, buildinfo: Vec::new() }, global, output)
}

fn since_the_last_time(words: &[String], global: &Global, output: &Output) -> CommandResult {
    let words = Words { words: words.to_vec() };
    history::run(&AuditHistory { words, since: None, head: None }, global, output)
}

fn every(words: &[String], global: &Global, output: &Output) -> CommandResult {
    let mut document = serde_json::Map::new();
    let mut failures: Option<Failure> = None;
    for (index, (name, judge)) in WAYS.into_iter().enumerate() {
        if index > 0 {
            output.text("\n");
        }
        let (found, failure) = match judge(words, global, output) {
            Ok(found) => (found, None),
            Err((found, failure)) => (found, Some(failure)),
        };
        document.insert(name.to_owned(), found);
        if failure.as_ref().is_some_and(|failure| failure.kind == Kind::Input) {
            // The others would say the same.
            return failure.map_or(Ok(Value::Null), |failure| Err((document.into(), failure)));
        }
        failures = [failures, failure].into_iter().flatten().reduce(Failure::and);
    }
    match failures {
        None => Ok(document.into()),
        Some(failure) => Err((document.into(), failure)),
    }
}

/// A release that is judged.
pub struct Asked {
    /// Its specs and lock.
    pub release: Release,
    /// Its graph.
    pub graph: Graph,
    /// The packages that were named, or all.
    pub wanted: Vec<DerivationId>,
    /// Where the evidence is.
    pub machine: Machine,
}

impl Asked {
    /// Reads the release that is named, whose lock must be that of its specs.
    pub fn new(words: &[String], global: &Global) -> Result<Self, Failure> {
        let (folder, names) = named_one(words)?;
        let release = Release::load(&folder)?;
        let graph = release.graph()?;
        release.check_pins()?;
        let wanted = select(&graph, &names)?;
        let machine = Machine::open(&release, global)?;
        Ok(Self { release, graph, wanted, machine })
    }
}

/// The evidence cannot be read.
pub fn unread(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "evidence", error)
}
