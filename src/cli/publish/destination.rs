//! The suite that is published to, who signs it, and the repository that has it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::complete::{self, Done};
use crate::base::{HostPath, nearest};
use crate::cli::arguments::Place;
use crate::cli::context::Release;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::output::Output;
use crate::cli::repo::broken;
use crate::publish::sign::{Signers, WARN_DAYS};
use crate::publish::{Change, Error, Repository};
use crate::spec::release::Suite;

/// A suite of a release.
pub struct Destination<'a> {
    /// Its name.
    pub name: String,
    /// What release.toml says of it.
    pub suite: &'a Suite,
}

impl<'a> Destination<'a> {
    /// The suite of this name; without a name, the only one.
    pub fn find(release: &'a Release, name: Option<&str>) -> Result<Self, Failure> {
        let suites = &release.spec.release.suites;
        let known = || suites.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if suites.is_empty() {
            let message = format!("`{}` publishes to nothing", release.folder);
            return Err(Failure::input("no-suite", message).hint(
                "a table of release.toml says to what: `[publish.stable]` with \
                 `format = \"deb\"` and `key = \"keys/NAME.pgp\"`",
            ));
        }
        let name = match (name, suites.len()) {
            (Some(name), _) => name,
            (None, 1) => suites.keys().next().map(String::as_str).unwrap_or_default(),
            (None, _) => {
                let message = format!("which suite is meant? This release has {}", known());
                return Err(Failure::input("which-suite", message).hint("`--to SUITE` says it"));
            }
        };
        match suites.get(name) {
            Some(suite) => Ok(Self { name: name.to_owned(), suite }),
            None => {
                let failure =
                    Failure::input("unknown-suite", format!("this release has no suite `{name}`"));
                Err(match nearest(name, suites.keys().map(String::as_str)) {
                    Some(near) => failure.hint(format!("it has `{near}`")),
                    None => failure.hint(format!("it has {}", known())),
                })
            }
        }
    }

    /// Everyone who signs the suite; keys that soon expire are said.
    pub fn signers(
        &self,
        release: &Release,
        place: &Place,
        at: Timestamp,
        output: &Output,
    ) -> Result<Signers, Failure> {
        let paths = self.suite.keys.iter().map(|key| release.folder.join(key.value.as_str()));
        let files = paths.map(key::public_file).collect::<Result<Vec<_>, Failure>>()?;
        let places = key::places(&place.key_file)?;
        let signers =
            Signers::for_keys(&files, &places, at).map_err(|error| key::unsigned(&error))?;
        for warning in signers.warnings(at, WARN_DAYS) {
            output.note(&format!("warning: {warning}"));
        }
        Ok(signers)
    }

    /// The repository; it is made if it is not there yet.
    pub fn repository(&self, folder: &HostPath, place: &Place) -> Result<Repository, Failure> {
        Repository::open_or_create(repository_folder(folder, place)).map_err(broken)
    }

    /// The repository to see what would come of it; an empty one in `scratch` stands for one that
    /// is not there yet.
    pub fn foreseen(
        &self,
        folder: &HostPath,
        place: &Place,
        scratch: &HostPath,
    ) -> Result<Repository, Failure> {
        match Repository::open(repository_folder(folder, place)) {
            Err(Error::Absent(_)) => {
                Repository::open_or_create(scratch.join("repo")).map_err(broken)
            }
            opened => opened.map_err(broken),
        }
    }

    /// What was published, for programs.
    pub fn document(
        &self,
        repository: &Repository,
        done: Option<&Done>,
        changes: &[Change],
    ) -> Value {
        json!({
            "repository": repository.root().to_string(),
            "suite": self.name,
            "generation": done.map(|done| done.generation.number),
            "rehearsal": complete::document(done.and_then(|done| done.verdict.as_ref())),
            "changes": changes,
        })
    }
}

/// The folder of a release's repository.
pub fn repository_folder(release: &HostPath, place: &Place) -> HostPath {
    match &place.repo {
        Some(folder) => {
            HostPath::new(std::path::absolute(folder).unwrap_or_else(|_| folder.clone()))
        }
        None => release.join("repo"),
    }
}

/// The changes as people read them, a source package in a line.
pub fn listed(changes: &[Change]) -> String {
    let mut sources: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        sources.entry(&change.source).or_default().push(change);
    }
    let width = sources.keys().map(|name| name.len()).max().unwrap_or_default();
    let mut rows = Vec::new();
    for (source, changes) in sources {
        let main = changes
            .iter()
            .find(|change| change.name == source && change.architecture == "source")
            .or_else(|| changes.first());
        let versions = main.map_or(String::new(), |change| versions(change));
        let binaries = || changes.iter().filter(|change| change.architecture != "source");
        let there: BTreeSet<&str> = binaries()
            .filter(|change| change.new.is_some())
            .map(|change| change.name.as_str())
            .collect();
        let gone: BTreeSet<&str> = binaries()
            .map(|change| change.name.as_str())
            .filter(|name| !there.contains(name))
            .collect();
        // Where all of it goes, the version has said so.
        let lost = if there.is_empty() { "" } else { "-" };
        let gone = gone.into_iter().map(|name| format!("{lost}{name}"));
        let mut all: Vec<String> = match there.len() {
            0..=4 => there.iter().map(|name| (*name).to_owned()).collect(),
            more => vec![format!("{more} packages")],
        };
        all.extend(gone);
        let all = all.join(", ");
        rows.push((source, versions, all));
    }
    let wide = rows.iter().map(|(_, versions, _)| versions.len()).max().unwrap_or_default();
    let line = |(source, versions, all): &(&str, String, String)| {
        format!("  {source:width$}  {versions:wide$}  {all}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn versions(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) if old == new => new.clone(),
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (None, Some(new)) => format!("+ {new}"),
        (Some(old), None) => format!("- {old}"),
        (None, None) => String::new(),
    }
}
