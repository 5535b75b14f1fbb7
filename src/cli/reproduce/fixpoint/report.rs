//! What came of the rounds: a line for each, the table, what differs, the document.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::report::{differing, failed, first_line};
use crate::audit::fixpoint::{Closure, End, Fixpoint, How, Member, Rounds, Settling, Standing};
use crate::base::{Architecture, Digest};
use crate::cli::address::command;
use crate::cli::cause::few;
use crate::cli::context::Release;
use crate::cli::failure::{Failure, Kind, Problem, Told as Heard};
use crate::cli::report::{bytes, count, kind_of};
use crate::graph::Graph;
use crate::realise::driver::Reported;
use crate::realise::event::{Failure as Cause, Fault, Finished};

/// A round that could not be built as a whole.
pub struct Stopped {
    /// What came of its packages.
    pub packages: Vec<Reported>,
}

impl Stopped {
    /// Whether packages were called off.
    fn is_interrupted(&self) -> bool {
        self.packages.iter().any(|package| match &package.result {
            Finished::Failed(failure) => failure.fault == Fault::Cancelled,
            Finished::Skipped { because } => because.is_none(),
            Finished::Built { .. } | Finished::Cached { .. } => false,
        })
    }
}

/// Everything there is to tell.
pub struct Told<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its graph in the first round.
    pub graph: &'a Graph,
    /// The rounds that were built as a whole.
    pub rounds: &'a Rounds,
    /// What they came to; none if one stopped.
    pub found: Option<&'a Fixpoint>,
    /// The round that was not.
    pub stopped: Option<Stopped>,
    /// The name under which the store keeps what was found.
    pub document: Option<Digest>,
}

/// What a round begins with.
pub fn begins(number: usize, seed: Option<(Digest, usize)>) -> String {
    let seed = seed.map_or_else(
        || "on the archive".to_owned(),
        |(digest, packages)| format!("seed of {}, {}", count(packages, "package"), digest.short()),
    );
    format!("round {number:<3} {seed}\n")
}

/// What came of the last of these rounds.
pub fn came(rounds: &Rounds) -> String {
    let number = rounds.last();
    let of = |wanted: How| {
        let members = 0..rounds.members().len();
        members.filter(|member| rounds.how(number, *member) == wanted).count()
    };
    let parts = [
        (of(How::Built), "built"),
        (of(How::There), "there"),
        (of(How::Same), "not built again (same inputs)"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    let moved = rounds.moved(number);
    let names = moved.iter().map(|member| rounds.members()[*member].name.as_str());
    let came = match (number, moved.len()) {
        (1, _) => String::new(),
        (_, 0) => format!("; all as in round {}", number - 1),
        (_, some) => format!("; {some} not as in round {}: {}", number - 1, few(names)),
    };
    format!("          {}{came}\n", parts.join(", "))
}

/// A line on a round that was not built yet, or was.
pub fn foreseen(number: usize, there: usize, all: usize) -> String {
    let rest = match all - there {
        0 => String::new(),
        rest if number == 1 => format!(", {rest} to build"),
        rest => format!(", {rest} to build unless the same is in their build roots as before"),
    };
    format!("round {number:<3} {there} of {} there{rest}\n", count(all, "package"))
}

/// What is known of the rounds after those that are there.
pub fn outlook(rounds: &Rounds, ends: bool, most: usize) -> String {
    match ends {
        true => format!("{}: nothing to build\n", end(rounds)),
        false => format!(
            "what later rounds build follows from that; there are {} at most\n",
            count(most, "round")
        ),
    }
}

/// Where rounds led to.
fn end(rounds: &Rounds) -> String {
    let last = rounds.last();
    match rounds.end() {
        End::Fixpoint => format!("fixpoint: round {last} came out as round {}", last - 1),
        End::Circle(earlier) => {
            format!("no fixpoint: round {last} came out as round {earlier}, so they go in a circle")
        }
        End::Open => format!("no fixpoint in {}", count(last, "round")),
    }
}

impl Told<'_> {
    /// A line for every package; none before a second round is there.
    pub fn table(&self) -> String {
        if self.stopped.is_some() || self.rounds.last() < 2 {
            return String::new();
        }
        let titles: Vec<String> = self.rounds.members().iter().map(|one| self.title(one)).collect();
        let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (member, title) in titles.iter().enumerate() {
            let word = match self.rounds.standing(member) {
                Standing::Settled(number) => format!("settled in round {number}"),
                Standing::Moving(_) if self.rounds.end() == End::Open => "not settled".to_owned(),
                Standing::Moving(_) => "never settles".to_owned(),
            };
            let changed = (2..=self.rounds.last())
                .filter(|number| self.rounds.how(*number, member) != How::Same)
                .map(|number| number.to_string());
            let changed: Vec<String> = changed.collect();
            let inputs = match changed.len() {
                0 => "inputs never changed".to_owned(),
                1 => format!("inputs changed in round {}", changed[0]),
                _ => format!("inputs changed in rounds {}", changed.join(", ")),
            };
            let _ = writeln!(text, " {title:width$}   {word:18}   {inputs}");
        }
        text
    }

    /// Why packages failed, with the ends of their logs.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for (member, failure) in self.failed() {
            text.push_str(&failed(&self.title(member), failure));
        }
        text
    }

    /// What still differs from one round to the next, the first of it.
    pub fn differences(&self) -> String {
        let mut text = String::new();
        for (settling, member) in self.settlings() {
            let Some(differs) = &settling.differs else { continue };
            let title = self.title(member);
            let _ = writeln!(
                text,
                "differs   {title}, in round {} from round {}",
                differs.round,
                differs.round - 1
            );
            text.push_str(&differing(&differs.outputs));
            let again = command("reproduce", &self.release.folder, member.name.as_str());
            let _ = writeln!(text, "          does the same come of the same inputs? {again}");
        }
        text
    }

    /// Where the rounds led to, and how closed the release is there.
    pub fn closing(&self) -> String {
        if let Some(stopped) = &self.stopped {
            let number = self.rounds.last() + 1;
            let there = stopped.packages.iter().filter(|one| one.record.is_some()).count();
            let all = count(stopped.packages.len(), "package");
            return format!(
                "round {number} stopped: {there} of {all} there; the next run goes on from here\n"
            );
        }
        let moving = (0..self.rounds.members().len())
            .filter(|member| matches!(self.rounds.standing(*member), Standing::Moving(_)))
            .count();
        let mut text = end(self.rounds);
        match self.rounds.end() {
            End::Fixpoint => {}
            End::Circle(_) => {
                let _ = write!(text, "; {} never settle", count(moving, "package"));
            }
            End::Open => {
                let _ = write!(
                    text,
                    "; {} did not settle, `--rounds` allows more",
                    count(moving, "package")
                );
            }
        }
        text.push('\n');
        if let Some(closure) = self.found.and_then(|found| found.closure.as_ref()) {
            text.push_str(&closed(closure));
        }
        if let Some(document) = self.document {
            let _ = writeln!(text, "kept as {}", document.short());
        }
        text
    }

    /// What the command ends with; people were told of it.
    pub fn failure(&self) -> Option<Failure> {
        let mut problems = Vec::new();
        let mut kind = None;
        let mut add = |code, message: String| {
            let (messages, hints, told) = (vec![message], Vec::new(), Heard::Already);
            problems.push(Problem::Chain { code, messages, hints, told });
        };
        if let Some(stopped) = &self.stopped {
            for (member, failure) in self.failed() {
                kind = kind.max(Some(kind_of(failure.fault)));
                add("failed", format!("{}: {}", self.title(member), first_line(failure)));
            }
            if stopped.is_interrupted() {
                kind = kind.max(Some(Kind::Interrupted));
            }
        } else {
            for (settling, member) in self.settlings() {
                if settling.settled.is_none() {
                    kind = kind.max(Some(Kind::Result));
                    add("unsettled", format!("{}: does not settle", self.title(member)));
                }
            }
        }
        kind.map(|kind| Failure { kind, problems })
    }

    /// The same as a document.
    pub fn document(&self) -> Value {
        let how = |number: usize, place: usize| match self.rounds.how(number, place) {
            How::Built => "built",
            How::There => "there",
            How::Same => "same",
        };
        let settled = |(place, (settling, member)): (usize, (&Settling, &Member))| {
            let rounds = (1..=settling.rounds.len()).zip(&settling.rounds).map(|(number, one)| {
                json!({
                    "derivation": one.derivation.to_string(),
                    "action": one.action.to_string(),
                    "record": one.record.to_string(),
                    "status": how(number, place),
                })
            });
            let outputs = settling.differs.as_ref().map(|differs| &*differs.outputs);
            json!({
                "name": member.name.as_str(),
                "version": member.version,
                "architecture": member.architecture.as_str(),
                "verdict": settling.sameness().as_str(),
                "settled": settling.settled,
                "rounds": rounds.collect::<Vec<_>>(),
                "outputs": serde_json::to_value(outputs.unwrap_or_default()).unwrap_or_default(),
            })
        };
        let failed = |(member, failure): (&Member, &Cause)| {
            json!({
                "name": member.name.as_str(),
                "version": member.version,
                "architecture": member.architecture.as_str(),
                "verdict": "failed",
                "cause": failure.line(),
                "outputs": [],
            })
        };
        let packages: Vec<Value> = match self.stopped {
            None => self.settlings().enumerate().map(settled).collect(),
            Some(_) => self.failed().map(failed).collect(),
        };
        let closure = self.found.and_then(|found| found.closure.as_ref());
        json!({
            "release": self.release.document(self.graph),
            "end": self.found.map_or("stopped", |found| &found.end),
            "circle": self.found.and_then(|found| found.circle),
            "rounds": serde_json::to_value(self.rounds.outline()).unwrap_or_default(),
            "packages": packages,
            "closure": closure.map(|closure| serde_json::to_value(closure).unwrap_or_default()),
            "document": self.document.map(|document| document.to_string()),
        })
    }

    /// The packages that failed in the round that stopped, not those that were called off.
    fn failed(&self) -> impl Iterator<Item = (&Member, &Cause)> {
        let packages = self.stopped.iter().flat_map(|stopped| &stopped.packages);
        self.rounds.members().iter().zip(packages).filter_map(|(member, package)| {
            match &package.result {
                Finished::Failed(failure) if failure.fault != Fault::Cancelled => {
                    Some((member, &**failure))
                }
                _ => None,
            }
        })
    }

    fn settlings(&self) -> impl Iterator<Item = (&Settling, &Member)> {
        let packages = self.found.iter().flat_map(|found| &found.packages);
        packages.zip(self.rounds.members())
    }

    /// Name and version, and the architecture where there are several.
    fn title(&self, member: &Member) -> String {
        let Member { name, version, architecture } = member;
        let several =
            |one: &Architecture| self.release.spec.release.architectures.first() != Some(one);
        match self.rounds.members().iter().any(|member| several(&member.architecture)) {
            true => format!("{name} {version} ({architecture})"),
            false => format!("{name} {version}"),
        }
    }
}

/// How much of the build roots is the release's own; of part of a release, that alone.
fn closed(closure: &Closure) -> String {
    let Closure { certificate: _, level, own, seed, own_bytes, seed_bytes } = closure;
    let share = |packages: usize, size: u64| {
        let packages = count(packages, "package");
        format!("{packages} ({})", bytes(size))
    };
    let level = if level == UNPROVED { String::new() } else { format!("closure {level}, ") };
    format!(
        "{level}build roots have {} of the release, {} of the archive\n",
        share(*own, *own_bytes),
        share(*seed, *seed_bytes),
    )
}

/// The level where not all of a release was looked at.
const UNPROVED: &str = "unproved";
