//! `audit`: what the evidence says of a release. One file for each way to look at it.

mod inputs;

use super::arguments::{Audit, AuditCommand, Global};
use super::context::{Machine, Release, named_one};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::base::DerivationId;
use crate::graph::Graph;

/// Judges the release as it was asked to be, or in every way.
pub fn run(arguments: &Audit, global: &Global, output: &Output) -> CommandResult {
    match &arguments.command {
        Some(AuditCommand::Inputs(words)) => inputs::run(&words.words, global, output),
        None => inputs::run(&arguments.words.words, global, output),
    }
}

/// A release that is judged.
struct Asked {
    /// Its specs and lock.
    release: Release,
    /// Its graph.
    graph: Graph,
    /// The packages that were named, or all.
    wanted: Vec<DerivationId>,
    /// Where the evidence is.
    machine: Machine,
}

impl Asked {
    /// Reads the release that is named, whose lock must be that of its specs.
    fn new(words: &[String], global: &Global) -> Result<Self, Failure> {
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
fn unread(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "evidence", error)
}
