//! What came of a build: the table, the closing lines, the failures, the document.

mod failed;

pub use failed::kind_of;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::address::{shown, slashed};
use super::context::Release;
use super::failure::{Failure, Kind};
use super::hint::Hints;
use super::output::Output;
use super::progress::duration;
use crate::base::{Digest, HostPath};
use crate::graph::{Graph, Origin};
use crate::realise::comparison::{Archive, Comparison};
use crate::realise::driver::{Report, Reported};
use crate::realise::event::{Failure as Failed, Fault, Finished, Kept};
use crate::realise::trace::Outputs;
use crate::realise::universe::Snapshots;
use crate::realise::world::World;

/// Output file name → how it compares to the distribution's own.
pub type Comparisons = BTreeMap<String, Comparison>;

/// How many packages may be cached before they are only counted.
pub const LISTED: usize = 40;

/// Compares what is there with each package's own archive. An archive whose indexes cannot be
/// had is no reason to fail now: everything is built.
pub fn compare(
    world: &World<'_>,
    graph: &Graph,
    snapshots: &Snapshots,
    report: &Report,
    output: &Output,
) -> Comparisons {
    let mut by_root: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in &report.packages {
        let Some(record) = &package.record else { continue };
        let recipe = graph.node(package.derivation).and_then(|node| node.derivation.package());
        if let Some(recipe) = recipe {
            by_root.entry(recipe.root).or_default().push(Arc::clone(record));
        }
    }
    let mut found = Comparisons::new();
    for (root, records) in by_root {
        match snapshots.get(world, graph, root) {
            Err(error) => output.note(&format!("not compared with the archive: {error}")),
            Ok(snapshot) => {
                let archive = Archive::new(&snapshot.indexes, &records);
                for output in records.iter().flat_map(|record| &record.outputs) {
                    found.insert(output.file.clone(), archive.compare(output));
                }
            }
        }
    }
    found
}

/// Everything there is to tell of a build.
pub struct Told<'a> {
    /// What was built.
    pub release: &'a Release,
    /// Its graph.
    pub graph: &'a Graph,
    /// What came of each package.
    pub report: &'a Report,
    /// How the outputs compare.
    pub comparisons: &'a Comparisons,
    /// What may help those that failed.
    pub hints: &'a Hints,
    /// The name of all that was built; none if not everything was.
    pub manifest: Option<Digest>,
    /// Where the packages were copied to.
    pub out: &'a HostPath,
    /// What ran the builds, as a document.
    pub executor: Value,
    /// How long all of it took.
    pub elapsed: Duration,
}

impl Told<'_> {
    /// A line for every package: how it ended, and how it compares to the distribution's own. What
    /// went wrong comes last, next to where it is explained; many that are cached are counted.
    pub fn table(&self) -> String {
        let title = |package: &Reported| {
            let Reported { name, version, derivation, .. } = package;
            let recipe = self.graph.node(*derivation).and_then(|one| one.derivation.package());
            match (&*self.release.spec.release.architectures, recipe) {
                ([_], _) | (_, None) => format!("{name} {version}"),
                (_, Some(recipe)) => format!("{name} {version} {}", recipe.architecture),
            }
        };
        let is_cached = |package: &&Reported| matches!(package.result, Finished::Cached { .. });
        let cached = self.report.packages.iter().filter(is_cached).count();
        let mut text = String::new();
        let mut packages: Vec<&Reported> = self.report.packages.iter().collect();
        if cached > LISTED {
            packages.retain(|package| !is_cached(package));
            text.push_str(&format!(" {} cached\n", count(cached, "package")));
        }
        packages.sort_by_key(|package| rank(&package.result));
        let width = packages.iter().map(|one| title(one).chars().count()).max().unwrap_or(0);
        for package in packages {
            let took = match &package.result {
                Finished::Built { .. } | Finished::Failed(_) => duration(package.elapsed),
                Finished::Cached { .. } | Finished::Skipped { .. } => String::new(),
            };
            let line = format!(
                " {:width$}   {:9} {took:>8}   {}",
                title(package),
                status(&package.result),
                self.beside(package),
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push_str(&self.again());
        text
    }

    /// What was built again for its trace alone, and came out as it was.
    fn again(&self) -> String {
        let packages = self.report.packages.iter();
        let same = packages.filter(|package| package.again == Some(Outputs::Identical));
        let names: Vec<&str> = same.map(|package| package.name.as_str()).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!(" built again to be traced, same bytes: {}\n", names.join(", ")),
        }
    }

    /// That a package came out otherwise when it was built again.
    pub fn different(&self) -> Option<Failure> {
        let packages = self.report.packages.iter();
        let different = packages.filter(|package| package.again == Some(Outputs::Different));
        let failures = different.map(|Reported { name, .. }| {
            Failure::new(
                Kind::Result,
                "differs",
                format!("`{name}` came out otherwise when it was built again to be traced"),
            )
            .because("the same inputs, and other outputs: its build is not reproducible")
            .hint("the first build stays what counts; both records are kept")
        });
        failures.reduce(Failure::and)
    }

    /// `identical to bookworm's own 5/5`, where the archive has any of these files.
    fn beside(&self, package: &Reported) -> String {
        let outputs = package.record.iter().flat_map(|record| &record.outputs);
        let known: Vec<Comparison> = outputs
            .filter_map(|output| self.comparisons.get(&output.file).copied())
            .filter(|comparison| *comparison != Comparison::Absent)
            .collect();
        let recipe = self.graph.node(package.derivation).and_then(|one| one.derivation.package());
        let root = recipe.and_then(|recipe| self.graph.node(recipe.root));
        match root.map(|root| &root.origin) {
            Some(Origin::Root { archive, .. }) if !known.is_empty() => {
                let same = known.iter().filter(|one| **one == Comparison::Identical).count();
                format!("identical to {archive}'s own {same}/{}", known.len())
            }
            _ => String::new(),
        }
    }

    /// How many packages ended how if anything was done, and the names of what is there now.
    pub fn closing(&self) -> String {
        let mut text = self.counts().unwrap_or_default();
        let id = self.graph.release().short();
        let out = shown(self.out);
        let packages = &self.report.packages;
        if let Some(manifest) = self.manifest {
            text.push_str(&whole(&id, manifest, self.out));
        } else if packages.iter().all(|package| package.record.is_some()) {
            let folder = slashed(&self.release.folder);
            text.push_str(&format!(
                "release {id}   part of it is in {out}; `perestroika build {folder}` builds the rest\n"
            ));
        }
        text
    }

    /// `1 failed, 4 built, 2 cached in 2m 31s`; nothing if all was there before.
    fn counts(&self) -> Option<String> {
        let mut counts: BTreeMap<(u8, &str), usize> = BTreeMap::new();
        for package in &self.report.packages {
            // What went wrong comes first.
            let order = u8::MAX - rank(&package.result);
            *counts.entry((order, status(&package.result))).or_default() += 1;
        }
        let told: Vec<String> =
            counts.iter().map(|((_, what), count)| format!("{count} {what}")).collect();
        let is_idle = counts.keys().all(|(_, what)| *what == "cached");
        (!is_idle).then(|| format!("{} in {}\n", told.join(", "), duration(self.elapsed)))
    }

    /// The same as a document.
    pub fn document(&self) -> Value {
        let mut summary =
            BTreeMap::from([("built", 0), ("cached", 0), ("failed", 0), ("skipped", 0)]);
        for package in &self.report.packages {
            *summary.entry(word(&package.result)).or_default() += 1;
        }
        let packages: Vec<Value> =
            self.report.packages.iter().map(|package| self.package_document(package)).collect();
        json!({
            "release": self.release.built_document(self.graph, self.manifest),
            "packages": packages,
            "summary": summary,
            "executor": self.executor,
            "failures": self.failures_document(),
        })
    }

    fn package_document(&self, package: &Reported) -> Value {
        let action = match &package.result {
            Finished::Built { action } | Finished::Cached { action } => Some(action.to_string()),
            Finished::Failed(_) | Finished::Skipped { .. } => None,
        };
        let failure = match &package.result {
            Finished::Failed(failed) => failure_document(failed),
            _ => Value::Null,
        };
        let outputs: Vec<Value> = package
            .record
            .iter()
            .flat_map(|record| &record.outputs)
            .map(|output| {
                let comparison = self.comparisons.get(&output.file);
                json!({
                    "file": output.file,
                    "size": output.size,
                    "blake3": output.blake3.to_string(),
                    "sha256": output.sha256.to_string(),
                    "archive": comparison.unwrap_or(&Comparison::Absent).as_str(),
                })
            })
            .collect();
        let receipt = package.record.as_ref().map(|record| &record.receipt);
        let of_receipt = |name: &str| receipt.and_then(|receipt| receipt.get(name));
        json!({
            "name": package.name.as_str(),
            "version": package.version,
            "derivation": package.derivation.to_string(),
            "action": action,
            "status": word(&package.result),
            "failure": failure,
            "executor": of_receipt("executor"),
            "engine": of_receipt("outer engine"),
            "again": package.again.map(|again| match again {
                Outputs::Identical => "identical",
                Outputs::Different => "differs",
            }),
            "outputs": outputs,
        })
    }
}

fn failure_document(failed: &Failed) -> Value {
    let (kept, why) = match &failed.kept {
        Kept::Nothing => (false, None),
        Kept::Capsule { .. } => (true, None),
        Kept::Not(why) => (false, Some(why)),
    };
    json!({
        "kind": failed.kind.as_str(),
        "cause": failed.cause,
        "fingerprint": failed.fingerprint.to_string(),
        "attempt": failed.attempt,
        "capsule": kept,
        "no_capsule": why,
    })
}

/// The names of a release that is there as a whole.
pub fn whole(id: &str, manifest: Digest, out: &HostPath) -> String {
    let (manifest, out) = (manifest.short(), shown(out));
    format!("release {id}  manifest {manifest}   check: b3sum {out}/MANIFEST.json\n")
}

/// What is listed first: what was there, what was built, what was not, what failed.
fn rank(result: &Finished) -> u8 {
    match result {
        Finished::Cached { .. } => 0,
        Finished::Built { .. } => 1,
        Finished::Skipped { .. } => 2,
        result if is_cancelled(result) => 3,
        Finished::Failed(_) => 4,
    }
}

/// One of the four words of the documents.
fn word(result: &Finished) -> &'static str {
    match result {
        Finished::Built { .. } => "built",
        Finished::Cached { .. } => "cached",
        Finished::Failed(_) => "failed",
        Finished::Skipped { .. } => "skipped",
    }
}

/// The word for people, who also hear of what they called off.
fn status(result: &Finished) -> &'static str {
    match result {
        result if is_cancelled(result) => "cancelled",
        other => word(other),
    }
}

fn is_cancelled(result: &Finished) -> bool {
    matches!(result, Finished::Failed(failure) if failure.fault == Fault::Cancelled)
}

/// `1 package`, `2 packages`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `512 B`, `1.5 MiB`.
pub fn bytes(size: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| size >= *unit) {
        #[expect(clippy::cast_precision_loss, reason = "one digit of it is shown")]
        Some((unit, name)) => format!("{:.1} {name}", size as f64 / unit as f64),
        None => format!("{size} B"),
    }
}
