//! What two locks differ in, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::remote::Notes;
use crate::base::{PackageName, ReleaseFolder};
use crate::spec::lock::Lock;

/// Something that is pinned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// A suite of an archive.
    Suite {
        /// The archive's name in release.toml.
        archive: String,
        /// The suite.
        suite: String,
    },
    /// A source package of an archive.
    Source {
        /// The archive's name in release.toml.
        archive: String,
        /// The source.
        name: PackageName,
    },
    /// A revision of a git repository.
    Git {
        /// The repository.
        url: String,
        /// A branch, a tag or a commit.
        rev: String,
    },
    /// A file from elsewhere, by the first of its URLs.
    Download(String),
    /// A module of the stdlib.
    Stdlib(String),
    /// A release that is extended, by its folder.
    Extended(ReleaseFolder),
}

/// A pin that is different: made, moved, or dropped. Shown as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The pin.
    pub pin: Pin,
    /// What it was: a suite's date, a source's version, a module's short digest.
    pub old: Option<String>,
    /// What it is.
    pub new: Option<String>,
    /// What the pin rests on, where that must be said.
    pub note: Option<&'static str>,
}

/// All that is different, sorted by pin, with what is to be told of some of it.
pub(super) fn between(old: &Lock, new: &Lock, notes: &Notes) -> Vec<Change> {
    let (old, new) = (pins(old), pins(new));
    let all: BTreeSet<&Pin> = old.keys().chain(new.keys()).collect();
    let different = all.into_iter().filter(|pin| old.get(*pin) != new.get(*pin));
    let shown = |pins: &BTreeMap<Pin, Content>, pin| pins.get(pin).map(|one| one.shown.clone());
    different
        .map(|pin| Change {
            pin: pin.clone(),
            old: shown(&old, pin),
            new: shown(&new, pin),
            note: notes.get(pin).copied(),
        })
        .collect()
}

/// A pin's content: what is compared, and what is shown of it.
#[derive(PartialEq)]
struct Content {
    whole: String,
    shown: String,
}

fn pins(lock: &Lock) -> BTreeMap<Pin, Content> {
    let mut pins = BTreeMap::new();
    for (archive, locked) in &lock.archives {
        for suite in &locked.suites {
            let pin = Pin::Suite { archive: archive.clone(), suite: suite.suite.clone() };
            let content = Content { whole: format!("{suite:?}"), shown: suite.date.clone() };
            pins.insert(pin, content);
        }
    }
    for ((archive, name), source) in &lock.sources {
        let pin = Pin::Source { archive: archive.clone(), name: name.clone() };
        let content = Content { whole: format!("{source:?}"), shown: source.version.clone() };
        pins.insert(pin, content);
    }
    for ((url, rev), git) in &lock.git {
        let pin = Pin::Git { url: url.clone(), rev: rev.clone() };
        let shown = git.commit.get(..12).unwrap_or_default().to_owned();
        pins.insert(pin, Content { whole: format!("{git:?}"), shown });
    }
    for (url, file) in &lock.downloads {
        let digest = file.sha256.to_string();
        let shown = format!("{} ({} bytes)", &digest[..12], file.size);
        pins.insert(Pin::Download(url.clone()), Content { whole: format!("{file:?}"), shown });
    }
    for (module, sha256) in &lock.stdlib {
        let whole = sha256.to_string();
        let content = Content { shown: whole[..12].to_owned(), whole };
        pins.insert(Pin::Stdlib(module.clone()), content);
    }
    for (folder, digest) in &lock.extends {
        let whole = digest.to_string();
        let content = Content { shown: whole[..12].to_owned(), whole };
        pins.insert(Pin::Extended(folder.clone()), content);
    }
    pins
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suite { archive, suite } => write!(f, "archive `{archive}` suite `{suite}`"),
            Self::Source { archive, name } => write!(f, "source `{name}` of `{archive}`"),
            Self::Git { url, rev } => write!(f, "git `{url}` `{rev}`"),
            Self::Download(url) => write!(f, "`{url}`"),
            Self::Stdlib(module) => write!(f, "stdlib `{module}`"),
            Self::Extended(folder) => write!(f, "extended release `{folder}`"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pin, old, new, note } = self;
        match (old, new) {
            (Some(old), Some(new)) if old == new => write!(f, "{pin}: {new}, other contents"),
            (Some(old), Some(new)) => write!(f, "{pin}: {old} -> {new}"),
            (None, Some(new)) => write!(f, "{pin}: pinned to {new}"),
            (Some(old), None) => write!(f, "{pin}: dropped ({old})"),
            (None, None) => write!(f, "{pin}"),
        }?;
        note.map_or(Ok(()), |note| write!(f, ", {note}"))
    }
}
