//! `audit archive`: rebuilt packages against the distribution's own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::arguments::{AuditArchive, Global};
use super::super::build::default_options;
use super::super::cause::few;
use super::super::failure::{Failure, Kind};
use super::super::output::{CommandResult, Output};
use super::super::report::count;
use super::closure::shortened;
use super::{Asked, unread};
use crate::archive::deb::buildinfo::{self, BuildInfo};
use crate::audit::archive::{
    Compared, Inputs, Kinship, Tally, Theirs, compare, difference, info_of, inputs, kinship,
};
use crate::audit::difference::Difference;
use crate::graph::{Node, Origin};
use crate::realise::universe::Snapshots;
use crate::realise::{action, driver};

/// How many packages are told of one by one.
const TOLD: usize = 12;
/// How many differences are told.
const TOLD_DIFFERENCES: usize = 3;
/// How many changes of each.
const TOLD_CHANGES: usize = 4;
/// How many packages that the archive's builder had in other versions are told.
const TOLD_OTHERS: usize = 5;

/// Compares a release with the archives it was made from.
pub fn run(arguments: &AuditArchive, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let given = infos(&arguments.buildinfo).map_err(wrong)?;
    let asked = Asked::new(&arguments.words.words, global).map_err(wrong)?;
    let judged = Judged::new(&asked, &given).map_err(wrong)?;
    output.text(&judged.text());
    let document = judged.document(&asked);
    match judged.failure() {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

/// A package that was built from the archive's own source, beside what the archive has.
struct Beside {
    name: String,
    version: String,
    archive: String,
    kinship: Kinship,
    compared: Vec<Compared>,
    /// In what each that differs does, or why that is not known, by file.
    differences: Vec<(String, Result<Difference, String>)>,
    inputs: Inputs,
}

/// Everything that was compared.
struct Judged {
    title: String,
    packages: Vec<Beside>,
    /// Packages of other sources.
    elsewhere: Vec<String>,
    /// Packages that are not built as the release is now.
    unbuilt: Vec<String>,
    /// Whether any `.buildinfo` was given.
    informed: bool,
}

impl Judged {
    fn new(asked: &Asked, given: &[BuildInfo]) -> Result<Self, Failure> {
        let Asked { release, graph, wanted, machine } = asked;
        let world = machine.world();
        let survey = driver::survey(&world, graph, wanted, &default_options());
        let survey = survey.map_err(|error| unread(&error))?;
        let spec = &release.spec.release;
        let mut judged = Self {
            title: format!("{} {} · {}", spec.name, spec.version, graph.release().short()),
            packages: Vec::new(),
            elsewhere: Vec::new(),
            unbuilt: Vec::new(),
            informed: !given.is_empty(),
        };
        let snapshots = Snapshots::default();
        for found in survey.iter().filter(|one| wanted.contains(&one.derivation)) {
            let node = graph.node(found.derivation);
            let Some(package) = node.and_then(|node| node.derivation.package()) else { continue };
            let kinship = kinship(graph, package);
            if kinship == Kinship::Elsewhere {
                judged.elsewhere.push(package.name.to_string());
                continue;
            }
            let Some((_, record)) = &found.there else {
                judged.unbuilt.push(package.name.to_string());
                continue;
            };
            let snapshot = snapshots.get(&world, graph, package.root);
            let snapshot = snapshot.map_err(|error| unread(&*error))?;
            let compared = compare(package, record, &snapshot.indexes);
            let archive = snapshot.archive.as_str();
            let differences = compared.iter().filter_map(|one| match &one.theirs {
                Theirs::Differs(theirs) => {
                    let found = difference(&world, archive, theirs, &one.output);
                    let found = found.map_err(|error| chain(&error));
                    Some((one.output.file.clone(), found))
                }
                _ => None,
            });
            let document = world.store.read_json(&record.action.digest());
            let document = document.map_err(|error| unread(&error))?;
            let root: Vec<_> =
                action::root(document).unwrap_or_default().into_iter().flatten().collect();
            judged.packages.push(Beside {
                name: package.name.to_string(),
                version: package.version.clone(),
                archive: graph.node(package.root).map_or("", archive_of).to_owned(),
                kinship,
                differences: differences.collect(),
                inputs: inputs(&root, &snapshot.indexes, info_of(package, given)),
                compared,
            });
        }
        judged.elsewhere.sort();
        judged.unbuilt.sort();
        Ok(judged)
    }

    fn tally(&self) -> Tally {
        Tally::of(self.packages.iter().flat_map(|one| &one.compared))
    }

    fn text(&self) -> String {
        let mut archives: Vec<&str> = self.packages.iter().map(|one| &*one.archive).collect();
        archives.sort_unstable();
        archives.dedup();
        let mut text = format!("{}\n", self.title);
        if self.packages.is_empty() {
            text.push_str("nothing was built from an archive's own source\n");
        } else {
            let archives = archives.join(", ");
            let _ = writeln!(text, "against the binaries of {archives}, by SHA-256\n");
            self.table(&mut text);
        }
        for (names, why) in [
            (&self.elsewhere, "not of the archive's source"),
            (&self.unbuilt, "not built as the release is now"),
        ] {
            if !names.is_empty() {
                let names = few(names.iter().map(String::as_str));
                let _ = writeln!(text, "{why}: {names}");
            }
        }
        self.differences(&mut text);
        self.inputs(&mut text);
        text
    }

    fn table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "{:22} {:22} {:>7}  {:>9}  {:>6}  {:>6}",
            "package", "version", "outputs", "identical", "differ", "absent"
        );
        let mut rows: Vec<(&Beside, Tally)> =
            self.packages.iter().map(|one| (one, Tally::of(&one.compared))).collect();
        let all = rows.len();
        if all > TOLD {
            rows.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.differ));
        }
        for (one, tally) in rows.iter().take(TOLD) {
            let name = shortened(&one.name);
            let mark = if one.kinship == Kinship::Altered { " (altered)" } else { "" };
            let version = shortened(&format!("{}{mark}", one.version));
            let _ = writeln!(text, "{name:22} {version:22} {}", numbers(tally));
        }
        if all > TOLD {
            let _ = writeln!(text, "and {} more; `--json` has them all", all - TOLD);
        }
        let tally = self.tally();
        let _ = writeln!(text, "{:45} {}", "all together", numbers(&tally));
        if let Some(share) = tally.share() {
            let known = tally.identical + tally.differ;
            let _ = writeln!(
                text,
                "{}.{} % identical: {} of the {known} that the archive has too",
                share / 10,
                share % 10,
                tally.identical
            );
        }
        let others = self.packages.iter().flat_map(|one| &one.compared);
        let others: Vec<String> = others
            .filter_map(|one| match &one.theirs {
                Theirs::OtherVersion(theirs) => Some(theirs.title()),
                _ => None,
            })
            .collect();
        if !others.is_empty() {
            let others = few(others.iter().map(String::as_str));
            let _ = writeln!(text, "the archive has another build of the source: {others}");
        }
        if tally.absent > others.len() {
            text.push_str("absent: debug symbols and the like, which the index does not list\n");
        }
    }

    fn differences(&self, text: &mut String) {
        let all: Vec<_> = self
            .packages
            .iter()
            .flat_map(|one| one.differences.iter().map(move |found| (one, found)))
            .collect();
        for (one, (file, found)) in all.iter().take(TOLD_DIFFERENCES) {
            let _ = writeln!(text, "\n{file}: {}'s own, and ours", one.archive);
            let told = match found {
                Ok(difference) => difference.text(TOLD_CHANGES),
                Err(why) => format!("in what they differ is not known: {why}"),
            };
            told.lines().for_each(|line| {
                let _ = writeln!(text, "  {line}");
            });
        }
        if all.len() > TOLD_DIFFERENCES {
            let _ = writeln!(text, "\nand {} more that differ", all.len() - TOLD_DIFFERENCES);
        }
    }

    fn inputs(&self, text: &mut String) {
        if self.packages.is_empty() {
            return;
        }
        text.push_str("\nbuild inputs\n");
        let replaced: Vec<&Beside> =
            self.packages.iter().filter(|one| !one.inputs.own.is_empty()).collect();
        match replaced.len() {
            0 => text.push_str("  all from the pinned archive\n"),
            _ => text.push_str("  all from the pinned archive, but for the release's own\n"),
        }
        for one in replaced.iter().take(TOLD_OTHERS) {
            let own = few(one.inputs.own.iter().map(String::as_str));
            let _ = writeln!(text, "    {}: {own}", one.name);
        }
        if replaced.len() > TOLD_OTHERS {
            let _ = writeln!(text, "    and in {} more build roots", replaced.len() - TOLD_OTHERS);
        }
        if !self.informed {
            text.push_str(
                "  what the distribution built with is not in its archive: its .buildinfo files\n  \
                 say, where they are given (--buildinfo)\n",
            );
            return;
        }
        for one in &self.packages {
            let Some(theirs) = &one.inputs.theirs else {
                let _ = writeln!(text, "  {}: no .buildinfo of it was given", one.name);
                continue;
            };
            let (same, other) = (theirs.same, theirs.other.len());
            let _ = writeln!(
                text,
                "  {}: {same} of {} as its builder says, {other} not",
                one.name,
                count(same + other, "package")
            );
            for (name, theirs, ours) in theirs.other.iter().take(TOLD_OTHERS) {
                let ours = ours.as_deref().unwrap_or("none");
                let _ = writeln!(text, "    {name}: theirs {theirs}, here {ours}");
            }
            if other > TOLD_OTHERS {
                let _ = writeln!(text, "    and {} more", other - TOLD_OTHERS);
            }
        }
    }

    fn document(&self, asked: &Asked) -> Value {
        let tally = self.tally();
        json!({
            "release": asked.release.document(&asked.graph),
            "packages": self.packages.iter().map(Beside::document).collect::<Vec<_>>(),
            "elsewhere": self.elsewhere,
            "unbuilt": self.unbuilt,
            "summary": tally_document(&tally),
        })
    }

    fn failure(&self) -> Option<Failure> {
        let tally = self.tally();
        let failed = |code, message: String| Failure::new(Kind::Result, code, message);
        let differs = (tally.differ > 0).then(|| {
            let known = tally.identical + tally.differ;
            let message = format!("{} of {known} are not the archive's own bytes", tally.differ);
            failed("differs", message)
        });
        let unbuilt = (!self.unbuilt.is_empty()).then(|| {
            let packages = count(self.unbuilt.len(), "package");
            failed("unbuilt", format!("{packages} could not be compared: not built"))
                .hint("`perestroika build` builds what is missing")
        });
        [differs, unbuilt].into_iter().flatten().reduce(Failure::and)
    }
}

impl Beside {
    fn document(&self) -> Value {
        let output = |one: &Compared| {
            let found = self.differences.iter().find(|(file, _)| *file == one.output.file);
            let found = found.map(|(_, found)| found);
            let (known, unknown) = (
                found.and_then(|found| found.as_ref().ok()),
                found.and_then(|it| it.as_ref().err()),
            );
            let theirs = match &one.theirs {
                Theirs::Differs(theirs) | Theirs::OtherVersion(theirs) => Some(json!({
                    "version": theirs.version.as_str(),
                    "size": theirs.size,
                    "sha256": theirs.sha256.to_string(),
                })),
                Theirs::Identical | Theirs::Absent => None,
            };
            json!({
                "file": one.output.file,
                "size": one.output.size,
                "sha256": one.output.sha256.to_string(),
                "verdict": one.theirs.as_str(),
                "archive": theirs,
                "difference": known,
                "unknown": unknown,
            })
        };
        let Inputs { packages, own, theirs } = &self.inputs;
        let other = |(name, theirs, ours): &(String, String, Option<String>)| json!({ "name": name, "theirs": theirs, "ours": ours });
        let theirs = theirs.as_ref().map(|theirs| {
            json!({
                "same": theirs.same,
                "other": theirs.other.iter().map(other).collect::<Vec<_>>(),
            })
        });
        json!({
            "name": self.name,
            "version": self.version,
            "archive": self.archive,
            "altered": self.kinship == Kinship::Altered,
            "outputs": self.compared.iter().map(output).collect::<Vec<_>>(),
            "summary": tally_document(&Tally::of(&self.compared)),
            "inputs": { "packages": packages, "own": own, "buildinfo": theirs },
        })
    }
}

fn tally_document(tally: &Tally) -> Value {
    let Tally { outputs, identical, differ, absent } = tally;
    json!({ "outputs": outputs, "identical": identical, "differ": differ, "absent": absent })
}

fn numbers(tally: &Tally) -> String {
    let Tally { outputs, identical, differ, absent } = tally;
    format!("{outputs:>7}  {identical:>9}  {differ:>6}  {absent:>6}")
}

fn archive_of(root: &Node) -> &str {
    match &root.origin {
        Origin::Root { archive, .. } => archive,
        _ => "",
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// The `.buildinfo` files at these paths, and in folders among them.
pub fn infos(paths: &[PathBuf]) -> Result<Vec<BuildInfo>, Failure> {
    let unreadable = |path: &Path, error: &dyn std::error::Error| {
        let message = format!("cannot read `{}`", path.display());
        Failure::input("buildinfo", message).because(chain(error))
    };
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let found = entries.filter_map(|entry| Some(entry.ok()?.path()));
        files.extend(found.filter(|path| path.extension().is_some_and(|it| it == "buildinfo")));
    }
    let read = |path: &PathBuf| {
        let there = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !there.is_file() || there.len() > buildinfo::LARGEST {
            let message = format!("`{}` is no file, or too large", path.display());
            return Err(Failure::input("buildinfo", message));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        buildinfo::parse(&bytes).map_err(|error| unreadable(path, &error))
    };
    files.iter().map(read).collect()
}
