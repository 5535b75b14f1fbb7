//! `status`: how a release stands, on one screen.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::address::slashed;
use super::arguments::{Global, Status};
use super::build;
use super::context::{Machine, Named, Release, named};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::duration;
use super::publish::withheld;
use super::repo;
use super::report::count;
use crate::base::Digest;
use crate::graph::Graph;
use crate::publish::Generation;
use crate::realise::driver::{self, Surveyed};
use crate::realise::rebuild::History;
use crate::store::{BuiltRelease, Verdict};

/// How many packages of a release are told of one by one: the rest of a screen is for its pins.
const TOLD: usize = 14;
/// The same where several releases share the screen.
const TOLD_OF_SEVERAL: usize = 4;

/// How many attempts are looked through for one that succeeded.
const LOOKED_AT: u32 = 100;

/// Prints the standing of every release that was named.
pub fn run(arguments: &Status, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let Named { releases, names } = named(&arguments.words.words).map_err(wrong)?;
    let mut documents = Vec::new();
    let mut behind = false;
    let most = if releases.len() > 1 { TOLD_OF_SEVERAL } else { TOLD };
    for (index, folder) in releases.iter().enumerate() {
        let release = Release::load(folder).map_err(wrong)?;
        let standing = Standing::new(&release, &names, global).map_err(wrong)?;
        if index > 0 {
            output.text("\n");
        }
        output.text(&standing.text(&release, most));
        behind |= standing.packages.iter().any(|one| one.status != Word::Built);
        documents.push(standing.document(&release));
    }
    let document = match documents.len() {
        1 => documents.remove(0),
        _ => json!({ "releases": documents }),
    };
    if !behind {
        return Ok(document);
    }
    // The screen has said it: the exit code alone is left to tell.
    Err((document, Failure { kind: Kind::Result, problems: Vec::new() }))
}

/// How a package stands, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Divergent,
    Failed,
    Stale,
    Unbuilt,
    Built,
}

impl Word {
    const ALL: [Self; 5] = [Self::Divergent, Self::Failed, Self::Stale, Self::Unbuilt, Self::Built];

    fn as_str(self) -> &'static str {
        match self {
            Self::Divergent => "divergent",
            Self::Failed => "failed",
            Self::Stale => "stale",
            Self::Unbuilt => "unbuilt",
            Self::Built => "built",
        }
    }
}

/// How a package stands.
struct Package {
    title: String,
    status: Word,
    detail: String,
    document: Value,
}

/// How a release stands.
struct Standing {
    graph: Graph,
    last: Option<BuiltRelease>,
    /// What was built of exactly this release, as a whole.
    manifest: Option<Digest>,
    /// The gravest first, then in the order of the graph.
    packages: Vec<Package>,
    /// What clients read of it.
    live: Option<Generation>,
}

impl Standing {
    fn new(release: &Release, names: &[String], global: &Global) -> Result<Self, Failure> {
        let graph = release.graph()?;
        let wanted = select(&graph, names)?;
        let machine = Machine::open(release, global)?;
        let world = machine.world();
        let broken = |error: &dyn std::error::Error| Failure::error(Kind::Machine, "store", error);
        let survey = driver::survey(&world, &graph, &wanted, &build::default_options())
            .map_err(|error| broken(&error))?;
        let divergent = world.store.divergent_actions().map_err(|error| broken(&error))?;
        let last = world.store.last_release(&release.folder).map_err(|error| broken(&error))?;
        let history = History::of(world.store, &release.folder).map_err(|error| broken(&error))?;
        let ours = last.as_ref().filter(|last| last.release == graph.release());
        let manifest = ours.and_then(|last| last.manifest);
        let mut packages = Vec::new();
        for Surveyed { derivation: id, there } in &survey {
            let Some(package) = graph.node(*id).and_then(|node| node.derivation.package()) else {
                continue;
            };
            let (status, detail) = match there {
                Some((action, _)) if divergent.contains(action) => {
                    (Word::Divergent, "its builds gave different bytes".to_owned())
                }
                Some((_, record)) => {
                    let took = Duration::from_millis(record.elapsed.unsigned_abs());
                    (Word::Built, format!("in {}", duration(took)))
                }
                None => {
                    // The newest first.
                    let attempts = world.store.attempts(Some(&package.name), LOOKED_AT);
                    let attempts = attempts.map_err(|error| broken(&error))?;
                    let built = history.has_built(attempts.iter());
                    let last = attempts.into_iter().next().filter(|last| last.derivation == *id);
                    let word = if built { Word::Stale } else { Word::Unbuilt };
                    match last.as_ref().map(|last| last.verdict) {
                        Some(Verdict::Failed | Verdict::Fault) => {
                            (Word::Failed, last.map(|last| last.summary).unwrap_or_default())
                        }
                        Some(Verdict::Running) => (word, "is being built now".to_owned()),
                        Some(Verdict::Interrupted | Verdict::Cancelled) => {
                            (word, "its last build was interrupted".to_owned())
                        }
                        Some(Verdict::Built) | None if built => (word, String::new()),
                        Some(Verdict::Built) | None => (word, "never built".to_owned()),
                    }
                }
            };
            packages.push(Package {
                title: format!("{} {}", package.name, package.version),
                status,
                detail,
                document: json!({
                    "name": package.name.as_str(),
                    "version": package.version,
                    "derivation": id.to_string(),
                    "status": status.as_str(),
                }),
            });
        }
        let live = match withheld::repository(&release.folder)? {
            Some(repository) => match repository.live().map_err(repo::broken)? {
                Some(number) => Some(repository.generation(number).map_err(repo::broken)?),
                None => None,
            },
            None => None,
        };
        Ok(Self { graph, last, manifest, packages, live })
    }

    /// So many packages of this status.
    fn count(&self, status: Word) -> usize {
        self.packages.iter().filter(|package| package.status == status).count()
    }

    fn text(&self, release: &Release, most: usize) -> String {
        let spec = &release.spec.release;
        let mut text = format!("{} {}\n", spec.name, spec.version);
        let _ = writeln!(text, "release   {}", self.graph.release().short());
        let manifest = match self.manifest {
            Some(manifest) => manifest.short(),
            None => "not built as a whole yet".to_owned(),
        };
        let _ = writeln!(text, "manifest  {manifest}");
        for line in pins(release) {
            let _ = writeln!(text, "pinned    {line}");
        }
        if let Some(last) = &self.last {
            let when = last.built.strftime("%Y-%m-%d %H:%M");
            let now = if last.release == self.graph.release() { "" } else { ", as it was then" };
            let _ = writeln!(text, "built     {when}{now}");
        }
        for line in self.published(release) {
            let _ = writeln!(text, "published {line}");
        }
        let counts = Word::ALL.iter().filter(|word| self.count(**word) > 0);
        let counts = counts.map(|word| format!("{} {}", self.count(*word), word.as_str()));
        let counts: Vec<String> = counts.collect();
        let total = count(self.packages.len(), "package");
        let _ = writeln!(text, "\n{total}: {}", counts.join(", "));

        let all = self.packages.len() <= most;
        let mut told: Vec<&Package> =
            self.packages.iter().filter(|one| all || one.status != Word::Built).collect();
        told.sort_by_key(|package| package.status);
        let width = told.iter().take(most).map(|one| one.title.chars().count()).max();
        let width = width.unwrap_or_default();
        for Package { title, status, detail, .. } in told.iter().take(most) {
            let pad = if detail.is_empty() { 0 } else { width };
            let line = format!("  {:9} {title:pad$}  {detail}", status.as_str());
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if told.len() > most {
            let _ = writeln!(text, "  and {} more; `--json` has them all", told.len() - most);
        }
        if self.count(Word::Stale) > 0 {
            let folder = slashed(&release.folder);
            let _ = writeln!(text, "why: perestroika build {folder} -n");
        }
        text
    }

    /// A line for each suite that the release publishes to.
    fn published(&self, release: &Release) -> Vec<String> {
        let line = |name: &String| {
            let state = self.live.as_ref().and_then(|live| live.suites.get(name));
            let Some(state) = state else { return format!("{name}: nothing yet") };
            let what = match &state.published {
                Some(published) if published.id == self.graph.release() => "this",
                Some(_) => "the release as it was then",
                None => "another tool's packages",
            };
            let end = match state.valid_until {
                Some(end) if end < jiff::Timestamp::now().as_second() => {
                    "; EXPIRED: `perestroika repo refresh` signs it again".to_owned()
                }
                Some(end) => {
                    let end = jiff::Timestamp::from_second(end).unwrap_or_default();
                    format!("; valid until {}", end.strftime("%F %H:%M UTC"))
                }
                None => String::new(),
            };
            format!("{name}: {what}{end}")
        };
        release.spec.release.suites.keys().map(line).collect()
    }

    fn document(&self, release: &Release) -> Value {
        let counts = Word::ALL.map(|word| (word.as_str().to_owned(), self.count(word).into()));
        let archives = release.lock.iter().flat_map(|lock| &lock.archives);
        let suites = archives.flat_map(|(name, archive)| {
            archive.suites.iter().map(move |suite| {
                json!({
                    "archive": name,
                    "suite": suite.suite,
                    "date": suite.date,
                    "days": age(&suite.date),
                })
            })
        });
        json!({
            "release": release.built_document(&self.graph, self.manifest),
            "pins": suites.collect::<Vec<_>>(),
            "built": self.last.as_ref().map(|last| last.built.to_string()),
            "summary": serde_json::Map::from_iter(counts),
            "published": self.live.as_ref().map(|live| &live.suites),
            "packages": self.packages.iter().map(|one| one.document.clone()).collect::<Vec<_>>(),
        })
    }
}

/// A line for each pinned suite, with its age, and one for what else is pinned.
fn pins(release: &Release) -> Vec<String> {
    let Some(lock) = &release.lock else { return vec!["nothing yet".to_owned()] };
    let mut lines = Vec::new();
    for (name, archive) in &lock.archives {
        for suite in &archive.suites {
            let age = match age(&suite.date) {
                Some(days) if days > 0 => format!(", {} old", count(days, "day")),
                _ => String::new(),
            };
            lines.push(format!("{name}: {} of {}{age}", suite.suite, suite.date));
        }
    }
    let others = [
        (lock.sources.len(), "source package"),
        (lock.git.len(), "commit"),
        (lock.downloads.len(), "file"),
        (lock.stdlib.len(), "stdlib module"),
    ];
    let others = others.iter().filter(|(number, _)| *number > 0);
    let others: Vec<String> = others.map(|(number, what)| count(*number, what)).collect();
    if !others.is_empty() {
        lines.push(others.join(", "));
    }
    lines
}

/// How many days ago a suite was made.
fn age(date: &str) -> Option<usize> {
    let made = crate::archive::deb::release::date(date)?;
    let hours = jiff::Timestamp::now().duration_since(made).as_hours();
    usize::try_from(hours / 24).ok()
}
