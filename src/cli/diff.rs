//! `diff`: which inputs of a release changed, and what is rebuilt because of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::address::slashed;
use super::arguments::{Diff, Global};
use super::changes::{self, Told};
use super::context::{Release, nearest, release_folder};
use super::failure::{Failure, Problem};
use super::output::{CommandResult, Output};
use super::report::count;
use super::revision::{self, Past};
use crate::base::HostPath;
use crate::graph::Graph;
use crate::graph::diff::{self, Change, Changed, Comparison, Key};

/// Prints what differs between two states of a release.
pub fn run(arguments: &Diff, _: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let (folder, old, new) = states(&arguments.states).map_err(wrong)?;
    let (before, after) = (&old, &new);
    let old = load(&folder, before, after).map_err(wrong)?;
    let new = load(&folder, after, before).map_err(wrong)?;
    let comparison = diff::graphs(&old.graph, &new.graph);
    let spec = &new.release.spec.release;
    output.text(&format!("{} {} · {} -> {}\n", spec.name, spec.version, old.title, new.title));
    output.text(&text(&comparison, &new));
    Ok(document(&comparison, &old, &new))
}

/// A state of a release, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// What lies in a folder.
    Folder(HostPath),
    /// What a commit has.
    Revision(String),
}

/// The release folder whose repository is asked, the old state and the new one.
fn states(words: &[String]) -> Result<(HostPath, State, State), Failure> {
    let head = || State::Revision("HEAD".to_owned());
    match words {
        [] => {
            let folder = nearest()?;
            Ok((folder.clone(), head(), State::Folder(folder)))
        }
        // Of a release, its own past; inside of one, another that it is held against.
        [one] => match (state(one)?, nearest()) {
            (State::Folder(folder), Ok(here)) if folder != here => {
                Ok((here.clone(), State::Folder(folder), State::Folder(here)))
            }
            (State::Folder(folder), _) => Ok((folder.clone(), head(), State::Folder(folder))),
            (old, here) => {
                let here = here?;
                Ok((here.clone(), old, State::Folder(here)))
            }
        },
        [one, two] => match (state(one)?, state(two)?) {
            (State::Folder(old), State::Folder(new)) => {
                Ok((new.clone(), State::Folder(old), State::Folder(new)))
            }
            (State::Folder(folder), old @ State::Revision(_)) => {
                Ok((folder.clone(), old, State::Folder(folder)))
            }
            (old, new) => {
                let folder = match &new {
                    State::Folder(folder) => folder.clone(),
                    State::Revision(_) => nearest()?,
                };
                Ok((folder, old, new))
            }
        },
        [folder, old, new] => {
            let State::Folder(folder) = state(folder)? else {
                let message = format!("`{folder}` is not a release folder");
                return Err(Failure::input("no-release", message)
                    .hint("of three words, the first names the release"));
            };
            Ok((folder, state(old)?, state(new)?))
        }
        _ => unreachable!("the command line takes three words at most"),
    }
}

/// The state that a word names: an existing path, or else a revision.
pub fn state(word: &String) -> Result<State, Failure> {
    let path = Path::new(word);
    if path.exists() {
        release_folder(path).map(State::Folder)
    } else {
        Ok(State::Revision(word.clone()))
    }
}

/// A state that was read.
pub struct Loaded {
    /// What it is called.
    pub title: String,
    /// Its specs and lock.
    pub release: Release,
    /// Its graph.
    pub graph: Graph,
    /// Keeps the folder of a state that is no folder of its own.
    pub past: Option<Past>,
}

/// Reads a state of the release in `folder` that is held against another.
pub fn load(folder: &HostPath, state: &State, other: &State) -> Result<Loaded, Failure> {
    match state {
        State::Folder(path) => {
            // Two folders have no past and present of their own.
            let is_present = path == folder && matches!(other, State::Revision(_));
            let title = if is_present { "working tree".to_owned() } else { slashed(path) };
            let release = Release::load(path)?;
            let graph = release.graph()?;
            Ok(Loaded { title, release, graph, past: None })
        }
        State::Revision(revision) => {
            let past = revision::read(folder, revision)?;
            let release =
                Release::load(&past.folder).map_err(|failure| as_it_was(failure, revision))?;
            let graph = release.graph().map_err(|failure| as_it_was(failure, revision))?;
            Ok(Loaded { title: past.title.clone(), release, graph, past: Some(past) })
        }
    }
}

/// The failure of a state whose files are not to be found any more.
fn as_it_was(failure: Failure, revision: &str) -> Failure {
    let what = format!("the release cannot be evaluated as it was at `{revision}`");
    let told = Failure::new(failure.kind, "old-state", what);
    failure.problems.iter().fold(told, |told, problem| match problem {
        Problem::InRelease { diagnostic, .. } => {
            let place = diagnostic
                .places
                .first()
                .map(|place| format!("{}:{}: ", place.span.file, place.span.line));
            told.because(format!("{}{}", place.unwrap_or_default(), diagnostic.message))
        }
        Problem::Chain { messages, .. } => told.because(messages.join(": ")),
    })
}

fn text(comparison: &Comparison, new: &Loaded) -> String {
    let Comparison { added, removed, changed } = comparison;
    let spec = &new.release.spec;
    let titles = Titles::new(comparison);
    let shared = shared(changed);
    let mut text = String::new();
    let mut section = |title: &str, lines: &str| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{title}\n{lines}");
        }
    };
    let mut lines = String::new();
    for (change, packages) in &shared {
        let told = changes::tell(&[(*change).clone()], "", spec);
        lines.push_str(&changes::table("", 0, &told));
        let names: Vec<String> = packages.iter().map(|key| titles.of(key)).collect();
        for row in changes::wrapped(&names.join(", "), 70) {
            let _ = writeln!(lines, "      {row}");
        }
    }
    section("changed for several", &lines);
    let own: Vec<(String, Vec<Told>)> = changed
        .iter()
        .map(|changed| {
            let own: Vec<Change> = changed
                .changes
                .iter()
                .filter(|change| !shared.contains_key(change))
                .cloned()
                .collect();
            let told = changes::tell(&own, changed.key.name.as_str(), spec);
            (titles.of(&changed.key), told)
        })
        .filter(|(_, told)| !told.is_empty())
        .collect();
    let width = own.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: String = own.iter().map(|(name, told)| changes::table(name, width, told)).collect();
    section("changed", &lines);
    let cascade: Vec<&Changed> = changed.iter().filter(|one| one.changes.is_empty()).collect();
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in &cascade {
        let because: Vec<String> = one.because.iter().map(|key| titles.of(key)).collect();
        groups.entry(because.join(", ")).or_default().push(titles.of(&one.key));
    }
    let mut lines = String::new();
    for (because, mut names) in groups {
        names.sort();
        for row in changes::wrapped(&names.join(", "), 70) {
            let _ = writeln!(lines, "  {row}");
        }
        let _ = writeln!(lines, "      because of {because}");
    }
    section("rebuilt with what they need", &lines);
    let names = |keys: &[Key]| -> String {
        keys.iter().map(|key| format!("  {}\n", titles.of(key))).collect()
    };
    section("added", &names(added));
    section("removed", &names(removed));
    let total = new.graph.packages().count();
    let own = changed.len() - cascade.len();
    let same = total - changed.len() - added.len();
    if changed.is_empty() && added.is_empty() && removed.is_empty() {
        let _ = writeln!(text, "nothing changed: {} as before", count(total, "package"));
        return text;
    }
    let mut parts = Vec::new();
    for (number, what) in [
        (own, "changed"),
        (cascade.len(), "rebuilt with what they need"),
        (added.len(), "added"),
        (removed.len(), "removed"),
        (same, "as before"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    let _ = writeln!(text, "\n{}", parts.join(", "));
    text
}

/// Changes that several packages have in common, and these packages.
fn shared(changed: &[Changed]) -> BTreeMap<&Change, Vec<&Key>> {
    let mut shared: BTreeMap<&Change, Vec<&Key>> = BTreeMap::new();
    for one in changed {
        for change in &one.changes {
            shared.entry(change).or_default().push(&one.key);
        }
    }
    shared.retain(|change, keys| keys.len() > 1 && change.field != "dependencies");
    shared.values_mut().for_each(|keys| keys.sort());
    shared
}

/// How packages are called: with their architecture where there are several.
struct Titles {
    several: bool,
}

impl Titles {
    fn new(comparison: &Comparison) -> Self {
        let Comparison { added, removed, changed } = comparison;
        let keys = added.iter().chain(removed).chain(changed.iter().map(|one| &one.key));
        let architectures: BTreeSet<_> = keys.map(|key| &key.architecture).collect();
        Self { several: architectures.len() > 1 }
    }

    fn of(&self, key: &Key) -> String {
        if self.several {
            format!("{}:{}", key.name, key.architecture)
        } else {
            key.name.to_string()
        }
    }
}

fn document(comparison: &Comparison, old: &Loaded, new: &Loaded) -> Value {
    let Comparison { added, removed, changed } = comparison;
    let spec = &new.release.spec;
    let plain =
        |key: &Key| json!({ "name": key.name.as_str(), "architecture": key.architecture.as_str() });
    let one = |changed: &Changed| {
        let mut document = plain(&changed.key);
        let name = changed.key.name.as_str();
        document["old"] = changed.old.to_string().into();
        document["new"] = changed.new.to_string().into();
        let causes = changed.changes.iter().map(|change| changes::document(change, name, spec));
        document["causes"] = causes.collect();
        document["because"] = changed.because.iter().map(|key| key.name.as_str()).collect();
        document
    };
    let (own, cascade): (Vec<&Changed>, Vec<&Changed>) =
        changed.iter().partition(|one| !one.changes.is_empty());
    json!({
        "old": old.release.document(&old.graph),
        "new": new.release.document(&new.graph),
        "changed": own.into_iter().map(one).collect::<Vec<_>>(),
        "cascade": cascade.into_iter().map(one).collect::<Vec<_>>(),
        "added": added.iter().map(plain).collect::<Vec<_>>(),
        "removed": removed.iter().map(plain).collect::<Vec<_>>(),
    })
}
