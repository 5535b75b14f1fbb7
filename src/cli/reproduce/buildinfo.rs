//! `reproduce --buildinfo`: builds packages with exactly what a distribution's builder had.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::arguments::{Global, Reproduce};
use super::super::audit::archive::infos;
use super::super::build::{Prepared, machine_failed};
use super::super::failure::{Failure, Kind};
use super::super::output::{CommandResult, Output};
use super::super::progress::Progress;
use super::super::report::count;
use super::{as_build, first, missing};
use crate::archive::deb::buildinfo::BuildInfo;
use crate::archive::deb::index::BinaryPackage;
use crate::audit::archive::info_of;
use crate::base::{DerivationId, HostPath};
use crate::realise::again::{Again, Failed, Repeat};
use crate::realise::driver::{self, Goal};
use crate::realise::installed::{Installed, LOOKED};
use crate::realise::universe::Snapshots;

/// Builds the packages that the given files are of, and holds what comes of it against them.
pub fn run(
    folder: &HostPath,
    names: &[String],
    arguments: &Reproduce,
    global: &Global,
    output: &Output,
) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let given = infos(&arguments.buildinfo).map_err(wrong)?;
    let mut asked: Vec<String> = given.iter().map(|info| info.source.to_string()).collect();
    asked.retain(|name| names.is_empty() || names.contains(name));
    asked.sort();
    asked.dedup();
    if asked.is_empty() {
        let failure =
            Failure::input("buildinfo", "there is no `.buildinfo` of any package asked for");
        return Err(wrong(failure));
    }
    let build = as_build(arguments);
    let prepared = Prepared::new(folder, &asked, &build, global).map_err(wrong)?;
    let options = prepared.options(&build);
    check_versions(&prepared, &given).map_err(wrong)?;
    let Prepared { release, graph, wanted, machine } = &prepared;
    let world = machine.world();
    let snapshots = Arc::new(Snapshots::default());
    let goal = Goal {
        world: &world,
        graph,
        spec: Some(&release.spec),
        wanted,
        snapshots: Arc::clone(&snapshots),
    };
    let survey = driver::survey(&world, graph, wanted, &options)
        .map_err(|error| wrong(machine_failed(error)))?;
    // The driver builds again what is there: what a package needs of the release must be.
    if !missing(&prepared, &survey).is_empty() {
        prepared.begin(&options, &snapshots, output).map_err(wrong)?;
        first(&goal, &options, global).map_err(wrong)?;
    }
    machine.ready().map_err(wrong)?;
    let mut found: BTreeMap<DerivationId, Result<Vec<Judged>, Failed>> = BTreeMap::new();
    let work = |repeat: &Repeat<'_>| -> Result<Vec<Judged>, Failed> {
        let of = given
            .iter()
            .filter(|info| info_of(repeat.package(), std::slice::from_ref(*info)).is_some());
        of.map(|info| Judged::of(repeat, info)).collect()
    };
    let progress = Progress::start(global);
    let ended = driver::again(
        &goal,
        &options,
        &|event| progress.tell(event),
        &work,
        &mut |id, _, result| {
            found.insert(id, result);
        },
    );
    drop(progress);
    ended.map_err(|error| wrong(machine_failed(error)))?;
    let report = Report { prepared: &prepared, found: &found };
    output.text(&report.text());
    match report.failure() {
        None => Ok(report.document()),
        Some(failure) => Err((report.document(), failure)),
    }
}

/// Refuses files of other versions than the release builds: it has no source of those.
fn check_versions(prepared: &Prepared, given: &[BuildInfo]) -> Result<(), Failure> {
    let packages = prepared.graph.packages();
    let wanted = packages.filter(|(node, _)| prepared.wanted.contains(&node.id));
    let refused = wanted.filter(|(_, package)| info_of(package, given).is_none());
    let failures = refused.map(|(_, package)| {
        let of = given.iter().filter(|info| info.source == package.name);
        let versions: Vec<String> = of.map(|info| format!("`{}`", info.version)).collect();
        let (name, version, other) = (&package.name, &package.version, versions.join(", "));
        Failure::input(
            "buildinfo-version",
            format!(
                "the `.buildinfo` of `{name}` is of version {other}, the release builds `{version}`"
            ),
        )
        .hint("pin the archive at a state that has that version: the source comes from there")
    });
    failures.reduce(Failure::and).map_or(Ok(()), Err)
}

/// A package, built with what a file says.
struct Judged {
    listed: usize,
    installed: Installed,
    /// What came of it; none if not everything could be had.
    outputs: Option<Vec<Compared>>,
}

/// A file that is listed, and what came out under its name.
struct Compared {
    file: String,
    expected: String,
    actual: Option<String>,
}

impl Compared {
    fn verdict(&self) -> &'static str {
        match &self.actual {
            None => "failed",
            Some(actual) if *actual == self.expected => "reproduced",
            Some(_) => "differs",
        }
    }
}

impl Judged {
    fn of(repeat: &Repeat<'_>, info: &BuildInfo) -> Result<Self, Failed> {
        let installed = repeat.installed(&info.installed)?;
        let outputs = match installed.missing.is_empty() {
            true => Some(compared(info, &repeat.with(&installed.packages)?)),
            false => None,
        };
        Ok(Self { listed: info.installed.len(), installed, outputs })
    }

    fn verdict(&self) -> &'static str {
        let Some(outputs) = &self.outputs else { return "failed" };
        let verdicts: Vec<&str> = outputs.iter().map(Compared::verdict).collect();
        match verdicts.iter().all(|verdict| *verdict == "reproduced") {
            true if !verdicts.is_empty() => "reproduced",
            _ if verdicts.contains(&"differs") => "differs",
            _ => "failed",
        }
    }

    fn document(&self, name: &str, version: &str) -> Value {
        let title = |one: &Arc<BinaryPackage>| json!({ "name": one.name.as_str(), "version": one.version.as_str() });
        let lost = self.installed.missing.iter();
        let outputs = self.outputs.iter().flatten().map(|one| {
            json!({
                "file": one.file,
                "verdict": one.verdict(),
                "expected": one.expected,
                "actual": one.actual,
            })
        });
        json!({
            "name": name,
            "version": version,
            "verdict": self.verdict(),
            "inputs": {
                "listed": self.listed,
                "beside": self.installed.beside.iter().map(title).collect::<Vec<_>>(),
                "missing": lost
                    .map(|(name, version)| json!({ "name": name.as_str(), "version": version.as_str() }))
                    .collect::<Vec<_>>(),
                "looked_in": LOOKED,
            },
            "outputs": outputs.collect::<Vec<_>>(),
        })
    }

    fn text(&self, name: &str, version: &str) -> String {
        let mut text = String::new();
        let lost = &self.installed.missing;
        let listed = count(self.listed, "package");
        if lost.is_empty() {
            let _ = writeln!(text, "{name} {version}   {}   with all of {listed}", self.verdict());
        } else {
            let _ = writeln!(
                text,
                "{name} {version}   not built   {} of {listed} cannot be had in that version",
                lost.len()
            );
        }
        for (name, version) in lost {
            let _ = writeln!(text, "  missing  {name} {version}");
        }
        if !lost.is_empty() {
            let _ = writeln!(text, "  looked for in {}", LOOKED.join(", "));
        }
        let beside: Vec<String> = self
            .installed
            .beside
            .iter()
            .map(|one| format!("{} {}", one.name, one.version))
            .collect();
        if self.outputs.is_some() && !beside.is_empty() {
            let _ =
                writeln!(text, "  beside   {}: of the root here, not listed", beside.join(", "));
        }
        for one in self.outputs.iter().flatten() {
            let _ = writeln!(text, "  {:10} {}", one.verdict(), one.file);
            if let Some(actual) = one.actual.as_ref().filter(|_| one.verdict() == "differs") {
                let _ = writeln!(text, "    expected {}\n    actual   {actual}", one.expected);
            }
        }
        text
    }
}

/// What came out beside what is listed. The source is what went in, not what came out.
fn compared(info: &BuildInfo, again: &Again) -> Vec<Compared> {
    let is_binary = |name: &&String| name.ends_with(".deb") || name.ends_with(".udeb");
    let listed = info.outputs.keys().filter(is_binary);
    let of = |name: &String| again.outputs.iter().find(|output| output.file == *name);
    listed
        .map(|name| Compared {
            file: name.clone(),
            expected: info.outputs[name].to_string(),
            actual: of(name).map(|output| output.sha256.to_string()),
        })
        .collect()
}

/// What came of all of them.
struct Report<'a> {
    prepared: &'a Prepared,
    found: &'a BTreeMap<DerivationId, Result<Vec<Judged>, Failed>>,
}

impl Report<'_> {
    /// The wanted packages: name, version, what came of them.
    fn packages(&self) -> impl Iterator<Item = (&str, &str, Option<&Result<Vec<Judged>, Failed>>)> {
        let packages = self.prepared.graph.packages();
        let wanted = packages.filter(|(node, _)| self.prepared.wanted.contains(&node.id));
        wanted.map(|(node, package)| {
            (package.name.as_str(), package.version.as_str(), self.found.get(&node.id))
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, version, found) in self.packages() {
            match found {
                None => {
                    text.push_str(&format!("{name} {version}   failed   it cannot be built here\n"))
                }
                Some(Err(failed)) => {
                    let line = failed.failure.line();
                    text.push_str(&format!("{name} {version}   failed   {line}\n"));
                }
                Some(Ok(judged)) => {
                    judged.iter().for_each(|one| text.push_str(&one.text(name, version)))
                }
            }
        }
        text
    }

    fn document(&self) -> Value {
        let packages = self.packages().flat_map(|(name, version, found)| match found {
            Some(Ok(judged)) => judged.iter().map(|one| one.document(name, version)).collect(),
            other => {
                let why = match other {
                    Some(Err(failed)) => failed.failure.line(),
                    _ => "it cannot be built here".to_owned(),
                };
                vec![json!({ "name": name, "version": version, "verdict": "failed", "cause": why, "outputs": [] })]
            }
        });
        let packages: Vec<Value> = packages.collect();
        json!({ "release": self.prepared.release.document(&self.prepared.graph), "packages": packages })
    }

    fn failure(&self) -> Option<Failure> {
        let is_good = |found: Option<&Result<Vec<Judged>, Failed>>| match found {
            Some(Ok(judged)) => judged.iter().all(|one| one.verdict() == "reproduced"),
            _ => false,
        };
        let bad = self.packages().filter(|(_, _, found)| !is_good(*found)).count();
        (bad > 0).then(|| {
            let message =
                format!("{} not reproduced as the `.buildinfo` has it", count(bad, "package"));
            Failure::new(Kind::Result, "not-reproduced", message)
        })
    }
}
