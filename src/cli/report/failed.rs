//! What failed: a block for every cause, whoever it struck, and what became of the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Reported, Told, is_cancelled};
use crate::base::Digest;
use crate::cli::address::{command, shown};
use crate::cli::failure::{Failure, Kind, Problem, Told as WasTold};
use crate::cli::progress::duration;
use crate::graph::Origin;
use crate::realise::event::{Failure as Failed, Fault, Finished, Kept};

/// How many lines of a failed build's log are shown.
const TAIL: usize = 20;

/// For how many causes the last lines are shown: after a mass rebuild they would hide the causes.
const TAILS: usize = 10;

/// Packages that failed for one cause, the first of them first.
struct Cluster<'a> {
    failed: &'a Failed,
    packages: Vec<&'a Reported>,
}

impl Told<'_> {
    /// What failed, by cause: each with the packages it struck, what may help, and the end of the
    /// first one's log. Empty if nothing failed.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for (number, cluster) in self.clusters().iter().enumerate() {
            self.block(cluster, number < TAILS, &mut text);
        }
        text
    }

    /// What became of the packages that did not fail, a line for each end; and which older
    /// sandboxes made room for those that were kept.
    pub fn others(&self) -> String {
        let mut text = String::new();
        let kept = self.report.packages.iter().filter_map(|package| match &package.result {
            Finished::Failed(failed) => match &failed.kept {
                Kept::Capsule { removed } => Some(removed),
                Kept::Nothing | Kept::Not(_) => None,
            },
            _ => None,
        });
        for removed in kept.flatten() {
            let _ = writeln!(text, "removed   the sandbox of {removed}, to make room");
        }
        let mut skipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let [mut built, mut cached, mut cancelled] = [const { Vec::new() }; 3];
        for package in &self.report.packages {
            let name = package.name.to_string();
            match &package.result {
                Finished::Built { .. } => built.push(name),
                Finished::Cached { .. } => cached.push(name),
                Finished::Skipped { because } => {
                    let why = because.as_ref().map(|root| format!(" (needs {root})"));
                    skipped.entry(why.unwrap_or_default()).or_default().push(name);
                }
                result if is_cancelled(result) => cancelled.push(name),
                Finished::Failed(_) => {}
            }
        }
        let mut line = |word: &str, names: &[String], why: &str| {
            if !names.is_empty() {
                let _ = writeln!(text, "{word:9} {}{why}", names.join(", "));
            }
        };
        for (why, names) in &skipped {
            line("skipped", names, why);
        }
        line("cancelled", &cancelled, "");
        line("built", &built, "");
        line("cached", &cached, "");
        text
    }

    /// The causes, for a document.
    pub fn failures_document(&self) -> Vec<Value> {
        let of = |cluster: &Cluster<'_>| {
            let names = cluster.packages.iter().map(|package| package.name.as_str());
            json!({
                "kind": cluster.failed.kind.as_str(),
                "cause": cluster.failed.cause,
                "fingerprint": cluster.failed.fingerprint.to_string(),
                "packages": names.collect::<Vec<_>>(),
            })
        };
        self.clusters().iter().map(of).collect()
    }

    /// What failed, for the exit code and for a document: people were told of it.
    pub fn failure(&self) -> Option<Failure> {
        let mut problems = Vec::new();
        let mut kind = None;
        for package in &self.report.packages {
            let Finished::Failed(failed) = &package.result else { continue };
            kind = kind.max(Some(kind_of(failed.fault)));
            if failed.fault != Fault::Cancelled {
                problems.push(self.problem(package, failed));
            }
        }
        kind.map(|kind| Failure { kind, problems })
    }

    fn clusters(&self) -> Vec<Cluster<'_>> {
        let mut clusters: Vec<Cluster<'_>> = Vec::new();
        let mut places: BTreeMap<Digest, usize> = BTreeMap::new();
        for package in &self.report.packages {
            let Finished::Failed(failed) = &package.result else { continue };
            if failed.fault == Fault::Cancelled {
                continue;
            }
            let place = *places.entry(failed.fingerprint).or_insert(clusters.len());
            match clusters.get_mut(place) {
                Some(cluster) => cluster.packages.push(package),
                None => clusters.push(Cluster { failed, packages: vec![package] }),
            }
        }
        clusters
    }

    fn block(&self, cluster: &Cluster<'_>, with_tail: bool, text: &mut String) {
        let Cluster { failed, packages } = cluster;
        let first = packages[0];
        let line = failed.line();
        let mut lines = line.lines();
        let cause = lines.next().unwrap_or_default();
        let _ = match packages.as_slice() {
            [one] => {
                let Reported { name, version, elapsed, .. } = one;
                writeln!(text, "failed    {name} {version} · {cause} · {}", duration(*elapsed))
            }
            many => writeln!(text, "failed    {} packages · {cause}", many.len()),
        };
        let mut say = |word: &str, what: &str| {
            let mut lines = what.lines();
            let _ = writeln!(text, "          {word}{}", lines.next().unwrap_or_default());
            for line in lines {
                let _ =
                    writeln!(text, "          {:width$}{line}", "", width = word.chars().count());
            }
        };
        for line in lines {
            say("", line);
        }
        if packages.len() > 1 {
            let names = packages.iter().map(|one| format!("{} {}", one.name, one.version));
            say("", &names.collect::<Vec<_>>().join(", "));
        }
        for reason in &failed.reasons {
            say("because: ", reason);
        }
        for hint in self.hints_of(first, failed) {
            say("help: ", &hint);
        }
        if with_tail && !failed.tail.is_empty() {
            let last = &failed.tail[failed.tail.len().saturating_sub(TAIL)..];
            say("… ", &format!("the last {} lines of {}'s log …", last.len(), first.name));
            for line in last {
                say("  ", line);
            }
        }
        let name = first.name.as_str();
        if failed.attempt.is_some() {
            say("log     ", &command("log", &self.release.folder, name));
        }
        match &failed.kept {
            Kept::Nothing => {}
            Kept::Capsule { .. } => {
                say("enter   ", &command("shell", &self.release.folder, name));
            }
            Kept::Not(why) => say("", &format!("its sandbox was not kept: {why}")),
        }
        if let Some(place) = self.place(first) {
            say("spec    ", &place);
        }
    }

    /// What may help; what was found in the archive first.
    fn hints_of(&self, package: &Reported, failed: &Failed) -> Vec<String> {
        let mut hints = self.hints.get(&package.derivation).cloned().unwrap_or_default();
        hints.extend(failed.hint.map(str::to_owned));
        hints
    }

    /// Where the package is written, as the reader finds it.
    fn place(&self, package: &Reported) -> Option<String> {
        let node = self.graph.node(package.derivation)?;
        let Origin::Package(origin) = &node.origin else { return None };
        let file = shown(&self.release.folder.join(origin.span.file.as_str()));
        Some(format!("{file}:{}", origin.span.line))
    }

    fn problem(&self, package: &Reported, failed: &Failed) -> Problem {
        let folder = &self.release.folder;
        let Reported { name, version, .. } = package;
        let mut messages = vec![format!("{name} {version} failed: {}", failed.line())];
        messages.extend(failed.reasons.iter().cloned());
        let mut hints = self.hints_of(package, failed);
        if !failed.tail.is_empty() {
            let last = &failed.tail[failed.tail.len().saturating_sub(TAIL)..];
            messages.push(format!("the last lines of its log\n    {}", last.join("\n    ")));
        }
        if failed.attempt.is_some() {
            hints.push(format!("`{}` prints its log", command("log", folder, name.as_str())));
        }
        if let Kept::Capsule { .. } = failed.kept {
            hints.push(format!("`{}` enters its sandbox", command("shell", folder, name.as_str())));
        }
        if let Some(place) = self.place(package) {
            hints.push(format!("its spec: {place}"));
        }
        Problem::Chain { code: "build-failed", messages, hints, told: WasTold::Already }
    }
}

/// The exit code that a fault comes to.
pub fn kind_of(fault: Fault) -> Kind {
    match fault {
        Fault::Package => Kind::Result,
        Fault::Input => Kind::Input,
        Fault::Machine => Kind::Machine,
        Fault::Cancelled => Kind::Interrupted,
    }
}
