//! `audit history`: the journal of what was built and pinned, and whether it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::unread;
use crate::audit::history::{HEAD_TYPE, History, Wrong, head_document, judge};
use crate::base::merkle::{Head, leaf};
use crate::base::{ActionId, PackageName, Sha256};
use crate::cli::arguments::{AuditHistory, Global};
use crate::cli::context::{Release, named_one, nearest, open_store_to_look};
use crate::cli::eval::select;
use crate::cli::failure::{Failure, Kind};
use crate::cli::key;
use crate::cli::output::{CommandResult, Output};
use crate::cli::report::count;
use crate::store::{Entry, Event, Journal, Store};

/// How many entries are listed; a document has them all.
const LISTED: usize = 40;

/// Lists the entries of the release that is named, or of all, and checks the journal.
pub fn run(arguments: &AuditHistory, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let scope = Scope::new(&arguments.words.words).map_err(wrong)?;
    let store = open_store_to_look(global).map_err(wrong)?;
    let read = || Ok((store.journal()?, packages(&store)?));
    let (journal, packages) = read().map_err(|error: crate::store::Error| wrong(unread(&error)))?;
    let since = arguments.since.or(journal.checked);
    let told = Told { history: judge(&journal, since), journal, packages, scope, since };
    output.text(&told.text());
    let mut document = told.document();
    match told.failure(arguments) {
        Some(failure) => Err((document, failure)),
        None => {
            let ended = told.remember(&store).and_then(|()| {
                let path = arguments.head.as_ref();
                path.map(|path| told.sign(&store, path)).transpose()
            });
            match ended {
                Ok(signed) => document["signed"] = signed.into(),
                Err(failure) => return Err((document, failure)),
            }
            Ok(document)
        }
    }
}

/// What is listed.
enum Scope {
    /// All there is.
    Store,
    /// What belongs to a release; of some of its packages, their records alone.
    Release { name: String, packages: BTreeSet<PackageName>, whole: bool },
}

impl Scope {
    fn new(words: &[String]) -> Result<Self, Failure> {
        if words.is_empty() && nearest().is_err() {
            return Ok(Self::Store);
        }
        let (folder, names) = named_one(words)?;
        let release = Release::load(&folder)?;
        let graph = release.graph()?;
        let wanted = select(&graph, &names)?;
        let packages = wanted.iter().filter_map(|id| graph.node(*id)?.derivation.package());
        Ok(Self::Release {
            name: release.spec.release.name.clone(),
            packages: packages.map(|package| package.name.clone()).collect(),
            whole: names.is_empty(),
        })
    }

    fn has(&self, event: &Event, built: &BTreeMap<ActionId, PackageName>) -> bool {
        let Self::Release { name, packages, whole } = self else { return true };
        match event {
            Event::Record { action, .. } => {
                built.get(action).is_some_and(|package| packages.contains(package))
            }
            Event::Manifest { name: of, .. } | Event::Pin { name: of, .. } => *whole && of == name,
            // A repository is that of several releases.
            Event::Generation { .. } => *whole,
        }
    }
}

/// The package that each action is of, as far as an attempt at it is known.
fn packages(store: &Store) -> crate::store::Result<BTreeMap<ActionId, PackageName>> {
    let attempts = store.attempts(None, u32::MAX)?;
    Ok(attempts.into_iter().map(|one| (one.action, one.package)).collect())
}

/// A journal that was judged.
struct Told {
    journal: Journal,
    history: History,
    packages: BTreeMap<ActionId, PackageName>,
    scope: Scope,
    since: Option<Head>,
}

impl Told {
    /// The entries that are listed, the newest first, with their numbers.
    fn listed(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.history.entries.iter().enumerate().rev();
        let entries = entries.filter_map(|(index, entry)| Some((index, entry.as_ref()?)));
        entries.filter(move |(_, entry)| self.scope.has(&entry.event, &self.packages))
    }

    fn text(&self) -> String {
        let History { entries, head, proof, told, older, wrong } = &self.history;
        let mut text = String::new();
        let width = entries.len().to_string().len();
        for (index, entry) in self.listed().take(LISTED) {
            let time = entry.time.strftime("%Y-%m-%d %H:%M:%S");
            let (kind, told) = (entry.event.kind(), self.line(&entry.event));
            let _ = writeln!(text, "{index:width$}  {time}  {kind:<8}  {told}");
        }
        match self.listed().count() {
            0 => text.push_str("the journal tells of nothing here yet\n"),
            all if all > LISTED => {
                let _ = writeln!(text, "and {} older; `--json` has them all", all - LISTED);
            }
            _ => {}
        }
        text.push('\n');
        let tree = !wrong.iter().any(|wrong| {
            matches!(wrong, Wrong::Head { .. } | Wrong::Missing(_) | Wrong::Unreadable(_))
        });
        if tree {
            let size = entries.len();
            let _ = writeln!(text, "holds  the tree of all entries, {size}, is that of the head");
        }
        if let (Some(since), Some(_)) = (self.since, proof) {
            let _ = writeln!(text, "holds  it continues {since}");
        }
        if !wrong.iter().any(|wrong| matches!(wrong, Wrong::Untold(_))) {
            let records = count(told + older, "record");
            let older = match older {
                0 => String::new(),
                older => format!(", but for {older} that are older than the journal"),
            };
            let _ = writeln!(text, "holds  it tells of all {records} that count{older}");
        }
        let _ = writeln!(text, "head   {head}");
        text
    }

    fn line(&self, event: &Event) -> String {
        match event {
            Event::Record { record, action } => match self.packages.get(action) {
                Some(package) => format!("{package}  {}", record.short()),
                None => format!("{}  of action {}", record.short(), action.short()),
            },
            Event::Manifest { name, version, release, manifest } => {
                format!("{name} {version}  {}  of release {}", manifest.short(), release.short())
            }
            Event::Generation { repository, number, generation } => {
                format!("{number}  {}  of repository {}", generation.short(), repository.short())
            }
            Event::Pin { name, version, pin, old, new, lock: _ } => {
                let told = match (old, new) {
                    (Some(old), Some(new)) => format!("{old} -> {new}"),
                    (None, Some(new)) => format!("pinned to {new}"),
                    (Some(old), None) => format!("dropped ({old})"),
                    (None, None) => String::new(),
                };
                format!("{name} {version}  {pin}: {told}")
            }
        }
    }

    fn document(&self) -> Value {
        let History { head, proof, told, older, wrong, .. } = &self.history;
        let of_head = |head: &Head| json!({ "size": head.size, "hash": head.hash.to_string() });
        let entries = self.listed().map(|(index, entry)| {
            let bytes = &self.journal.entries[index];
            let package = match &entry.event {
                Event::Record { action, .. } => self.packages.get(action),
                _ => None,
            };
            json!({
                "index": index,
                "leaf": leaf(bytes).to_string(),
                "package": package.map(PackageName::as_str),
                "entry": serde_json::from_slice::<Value>(bytes).unwrap_or_default(),
            })
        });
        let proof = proof.as_ref().filter(|_| self.since.is_some());
        let hashes = |proof: &Vec<Sha256>| proof.iter().map(Sha256::to_string).collect::<Vec<_>>();
        json!({
            "head": of_head(head),
            "since": self.since.as_ref().map(of_head),
            "consistency": proof.map(hashes),
            "records": { "told": told, "older": older },
            "wrong": wrong.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "entries": entries.collect::<Vec<_>>(),
        })
    }

    fn failure(&self, arguments: &AuditHistory) -> Option<Failure> {
        let failure = |wrong: &Wrong| {
            let failure = Failure::new(Kind::Result, "journal", wrong);
            match (wrong, arguments.since) {
                (Wrong::Since(_), None) => failure.hint(format!(
                    "that is the head that was checked last; if the store was put back to an \
                     earlier state on purpose, begin anew with `--since {}`",
                    Head::empty()
                )),
                _ => failure,
            }
        };
        self.history.wrong.iter().map(failure).reduce(Failure::and)
    }

    /// Writes the head to a file, signed. Gives the envelope.
    fn sign(&self, store: &Store, path: &Path) -> Result<Value, Failure> {
        let statement = head_document(&self.history.head, jiff::Timestamp::now());
        let envelope = key::builder(store)?.sign(HEAD_TYPE, &statement).encode();
        fs::write(path, &envelope).map_err(|error| {
            let told = format!("cannot write `{}`", path.display());
            Failure::new(Kind::Machine, "system", told).because(error.to_string())
        })?;
        Ok(serde_json::from_slice(&envelope).unwrap_or_default())
    }

    /// Notes that it holds up to here, for the next time. A store that takes no writes is only
    /// looked at.
    fn remember(&self, store: &Store) -> Result<(), Failure> {
        let head = &self.history.head;
        if self.journal.checked.as_ref() == Some(head) {
            return Ok(());
        }
        match store.note_checked_head(head) {
            Err(error) if !error.is_read_only() => {
                Err(Failure::error(Kind::Machine, "store", &error))
            }
            _ => Ok(()),
        }
    }
}
