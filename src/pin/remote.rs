//! Pins of sources that come from elsewhere, made in rounds: what a spec asks for may depend on
//! what was pinned before.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use jiff::Timestamp;

use super::Request;
use super::change::Pin;
use super::error::{Error, Result};
use crate::archive::deb::packaging;
use crate::archive::tarball::{self, Kind, Limits, Listing};
use crate::base::{Diagnostic, Digest, Format, Sha256, Span, Tree, TreeKind};
use crate::fetch::git::{self, Named, Revision};
use crate::fetch::{self, Expected, Fetched, Url};
use crate::spec::lock::{
    Lock, LockedBinary, LockedCommit, LockedDownload, LockedGit, LockedHistory, LockedPackaging,
};
use crate::spec::model::{Facts, Located, Remote, Unpack};
use crate::spec::{self, Spec};

/// How often a release is evaluated again because it asks for something new.
const MAX_ROUNDS: usize = 8;

/// The largest `debian/control` and `debian/changelog` that are read, in bytes.
const MAX_TEXT: u64 = 16 << 20;

/// What moves.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Revisions of git repositories.
    pub git: BTreeSet<(String, String)>,
    /// Files, by their first URL.
    pub downloads: BTreeSet<String>,
    /// The stdlib.
    pub stdlib: bool,
}

/// What the rounds came to.
pub(super) struct Pinned<'a> {
    /// What the specs say, evaluated with all pins.
    pub spec: Cow<'a, Spec>,
    /// The pins; nothing of archives.
    pub git: BTreeMap<(String, String), Arc<LockedGit>>,
    /// The pins of files.
    pub downloads: BTreeMap<String, Arc<LockedDownload>>,
    /// What is to be told of pins that were made.
    pub notes: Notes,
}

/// What is to be told of pins that were made.
pub(super) type Notes = BTreeMap<Pin, &'static str>;

/// Pins what the specs ask for and evaluates them again, until they ask for nothing more.
pub(super) fn pin<'a>(request: &Request<'a>, old: &Lock, moving: &Moving) -> Result<Pinned<'a>> {
    let mut pins = Lock {
        stdlib: if moving.stdlib { BTreeMap::new() } else { old.stdlib.clone() },
        git: old.git.clone(),
        downloads: old.downloads.clone(),
        ..Lock::default()
    };
    pins.git.retain(|key, _| !moving.git.contains(key));
    pins.downloads.retain(|url, _| !moving.downloads.contains(url));
    let moves = pins.git.len() < old.git.len()
        || pins.downloads.len() < old.downloads.len()
        // Another stdlib may make other addresses, of what is asked for through it.
        || pins.stdlib.len() < old.stdlib.len() && !request.spec.remotes.is_empty();
    // What a release extends has been pinned there.
    if let Some(base) = request.spec.extends.first().and_then(|extended| extended.lock.as_ref()) {
        pins.git.extend(base.git.clone());
        pins.downloads.extend(base.downloads.clone());
    }
    let mut notes = Notes::new();
    let mut spec = Cow::Borrowed(request.spec);
    if moves {
        spec = Cow::Owned(evaluate(request, &pins)?);
    }
    for _ in 0..MAX_ROUNDS {
        if spec.unpinned.is_empty() {
            break;
        }
        for wanted in merged(&spec.unpinned)? {
            one(request, &wanted, &mut pins, &mut notes)?;
        }
        spec = Cow::Owned(evaluate(request, &pins)?);
    }
    if !spec.unpinned.is_empty() {
        let endless = |remote: &Located<Remote>| {
            let message =
                format!("{} is asked for after {MAX_ROUNDS} rounds of pins", remote.value);
            Diagnostic::new("endless", message)
                .at(remote.span.clone(), "what this asks for depends on what was pinned for it")
                .hint("an address that is made of facts of a commit must come to rest")
        };
        return Err(Error::Input(spec.unpinned.iter().map(endless).collect()));
    }
    let Lock { mut git, mut downloads, .. } = pins;
    let asked: BTreeSet<Key<'_>> = spec.remotes.iter().map(|remote| key(&remote.value)).collect();
    git.retain(|(url, rev), _| asked.contains(&Key::Git(url, rev)));
    downloads.retain(|url, _| asked.contains(&Key::Download(url)));
    drop(asked);
    Ok(Pinned { git, downloads, notes, spec })
}

/// What names a pin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    /// A revision of a repository.
    Git(&'a str, &'a str),
    /// The first URL of a file.
    Download(&'a str),
}

/// What names the pin of a source.
pub(super) fn key(remote: &Remote) -> Key<'_> {
    match remote {
        Remote::Git { url, rev, .. } => Key::Git(url, rev),
        Remote::Download { urls, .. } => {
            Key::Download(urls.first().map(String::as_str).unwrap_or_default())
        }
    }
}

fn evaluate(request: &Request<'_>, pins: &Lock) -> Result<Spec> {
    spec::load(request.folder, Some(pins)).map_err(Error::Input)
}

/// The same, with one of each name that asks for all that is asked for under it.
fn merged(unpinned: &[Located<Remote>]) -> Result<Vec<Located<Remote>>> {
    let mut all: BTreeMap<Key<'_>, Located<Remote>> = BTreeMap::new();
    for wanted in unpinned {
        let known = all.entry(key(&wanted.value)).or_insert_with(|| wanted.clone());
        match (&mut known.value, &wanted.value) {
            (Remote::Git { facts, .. }, Remote::Git { facts: more, .. }) => {
                *facts = (*facts).max(*more);
            }
            (
                Remote::Download { sha256, unpack, .. },
                Remote::Download { sha256: hash, unpack: more, .. },
            ) => {
                if let (Some(one), Some(other)) = (&sha256, hash)
                    && one != other
                {
                    let message = format!("{} is said to be two different files", wanted.value);
                    let diagnostic = Diagnostic::new("two-hashes", message)
                        .at(wanted.span.clone(), format!("{other} here"))
                        .at(known.span.clone(), format!("and {one} here"));
                    return Err(Error::Input(vec![diagnostic]));
                }
                *sha256 = (*sha256).or(*hash);
                *unpack = (*unpack).max(*more);
            }
            _ => {}
        }
    }
    Ok(all.into_values().collect())
}

/// Pins one source.
fn one(
    request: &Request<'_>,
    wanted: &Located<Remote>,
    pins: &mut Lock,
    notes: &mut Notes,
) -> Result<()> {
    let place = Place { request, what: wanted.value.to_string(), span: wanted.span.clone() };
    match &wanted.value {
        Remote::Git { url, rev, facts } => {
            let key = (url.clone(), rev.clone());
            let mut pin = match pins.git.get(&key) {
                Some(pin) => LockedGit::clone(pin),
                None => {
                    let (pin, named) = place.commit(url, rev)?;
                    let before = request.old.and_then(|old| old.git.get(&key));
                    let moved = before.is_some_and(|before| before.commit != pin.commit);
                    if moved && named == Named::Tag {
                        let note = "the tag was moved upstream: a release that is another one now";
                        notes.insert(Pin::Git { url: url.clone(), rev: rev.clone() }, note);
                    }
                    pin
                }
            };
            if *facts == Facts::History && pin.history.is_none() {
                pin.history = Some(place.history(url, rev, &pin.commit)?);
            }
            pins.git.insert(key, Arc::new(pin));
        }
        Remote::Download { urls, sha256, unpack } => {
            let Some(first) = urls.first() else { return Ok(()) };
            let known = pins.downloads.get(first).map(|pin| pin.sha256);
            let known = known.filter(|_| sha256.is_none());
            let pin = place.download(urls, sha256.or(known), *unpack)?;
            if sha256.is_none() && known.is_none() {
                let note = "trusted as it came: the spec gives no hash";
                notes.insert(Pin::Download(first.clone()), note);
            }
            pins.downloads.insert(first.clone(), Arc::new(pin));
        }
    }
    Ok(())
}

/// A source that is being pinned.
struct Place<'a> {
    request: &'a Request<'a>,
    what: String,
    span: Option<Span>,
}

impl Place<'_> {
    fn commit(&self, url: &str, rev: &str) -> Result<(LockedGit, Named)> {
        let Request { store, client, cancel, .. } = *self.request;
        let revision = Revision { url, rev, commit: None };
        let snapshot =
            git::snapshot(store, client, &revision, cancel).map_err(|error| self.failed(error))?;
        let packaging = self.tree_packaging(&snapshot.tree)?;
        let pin = LockedGit {
            commit: snapshot.commit,
            date: self.date(snapshot.date)?,
            tree: snapshot.tree.digest(),
            history: None,
            packaging,
        };
        Ok((pin, snapshot.named))
    }

    fn history(&self, url: &str, rev: &str, commit: &str) -> Result<LockedHistory> {
        let Request { store, client, cancel, .. } = *self.request;
        let revision = Revision { url, rev, commit: Some(commit) };
        let history =
            git::history(store, client, &revision, cancel).map_err(|error| self.failed(error))?;
        let entry = |one: git::Commit| {
            let git::Commit { commit, date, author, subject } = one;
            Ok(LockedCommit { commit, date: self.date(date)?, author, subject })
        };
        let log = history.log.into_iter().map(entry).collect::<Result<_>>()?;
        Ok(LockedHistory { tag: history.tag, commits: history.commits, log })
    }

    fn download(
        &self,
        urls: &[String],
        sha256: Option<Sha256>,
        unpack: Unpack,
    ) -> Result<LockedDownload> {
        let Request { store, client, cancel, .. } = *self.request;
        let parsed: Vec<Url> = urls
            .iter()
            .map(|url| url.parse().map_err(|error| self.failed(error)))
            .collect::<Result<_>>()?;
        let expected = Expected { sha256, size: None };
        let Fetched { object, from } = fetch::file(store, client, &parsed, expected, cancel)
            .map_err(|error| self.failed(error))?;
        // What is wrong with it is wrong at the place that had it.
        let what = from.map_or_else(|| self.what.clone(), |url| format!("`{url}`"));
        let place = Place { request: self.request, what, span: self.span.clone() };
        let mut pin = LockedDownload {
            size: object.size,
            sha256: object.sha256,
            format: None,
            packaging: None,
        };
        if unpack == Unpack::Always {
            let open = || store.open_object(&object.digest);
            let mut head = Vec::new();
            open()?
                .take(1024)
                .read_to_end(&mut head)
                .map_err(|error| place.unfit("unfit-source", error.to_string()))?;
            let format =
                tarball::detect(&head).ok_or_else(|| place.refused(tarball::Error::Unknown))?;
            let listing = Listing::read(format, open()?, Limits::default())
                .map_err(|error| place.refused(error))?;
            pin.packaging = place.tarball_packaging(&listing, open()?)?;
            pin.format = Some(format);
        }
        Ok(pin)
    }

    /// What the `debian/` folder of a tarball says.
    fn tarball_packaging(&self, listing: &Listing, file: File) -> Result<Option<LockedPackaging>> {
        let (mut control, mut changelog) = (None, None);
        let there = |name: &str| listing.entries().any(|entry| entry.path == name);
        if !there("debian/control") || !there("debian/changelog") {
            return Ok(None);
        }
        let read: Result<(), tarball::Error> = listing.each(file, |entry, content| {
            let slot = match (entry.path.as_str(), &entry.kind) {
                ("debian/control", Kind::File | Kind::Executable) => &mut control,
                ("debian/changelog", Kind::File | Kind::Executable) => &mut changelog,
                _ => return Ok(()),
            };
            let mut text = Vec::new();
            content
                .take(MAX_TEXT)
                .read_to_end(&mut text)
                .map_err(|error| tarball::Error::Read(Format::Tar, error))?;
            *slot = Some(String::from_utf8_lossy(&text).into_owned());
            Ok(())
        });
        read.map_err(|error| self.refused(error))?;
        match control.zip(changelog) {
            Some((control, changelog)) => self.packaging(&control, &changelog),
            None => Ok(None),
        }
    }

    /// What the `debian/` folder of a commit says.
    fn tree_packaging(&self, tree: &Tree) -> Result<Option<LockedPackaging>> {
        let text = |path: &str| -> Result<Option<String>> {
            let digest: &Digest = match tree.get(path).map(|entry| &entry.kind) {
                Some(TreeKind::File(digest) | TreeKind::Executable(digest)) => digest,
                Some(TreeKind::Link(_)) | None => return Ok(None),
            };
            let mut text = Vec::new();
            let file = self.request.store.open_object(digest)?;
            file.take(MAX_TEXT)
                .read_to_end(&mut text)
                .map_err(|error| self.unfit("unfit-source", error.to_string()))?;
            Ok(Some(String::from_utf8_lossy(&text).into_owned()))
        };
        match text("debian/control")?.zip(text("debian/changelog")?) {
            Some((control, changelog)) => self.packaging(&control, &changelog),
            None => Ok(None),
        }
    }

    /// What a `debian/` folder says. One that says nothing usable counts as none: it may be an
    /// example of upstream's, and whoever builds by it hears that there is none.
    fn packaging(&self, control: &str, changelog: &str) -> Result<Option<LockedPackaging>> {
        let Ok(said) = packaging::read(control, changelog) else { return Ok(None) };
        let binary = |one: packaging::Binary| LockedBinary {
            name: one.name,
            architecture: one.architecture,
            profiles: one.profiles,
            provides: one.provides,
        };
        Ok(Some(LockedPackaging {
            source: said.source,
            version: said.version.to_string(),
            date: self.date(said.date)?,
            binaries: said.binaries.into_iter().map(binary).collect(),
            relations: said.relations,
        }))
    }

    fn date(&self, second: i64) -> Result<String> {
        let date = Timestamp::from_second(second);
        date.map(|date| date.to_string()).map_err(|_| {
            self.unfit("unfit-source", "it has a date beyond all calendars".to_owned())
        })
    }

    fn refused(&self, error: tarball::Error) -> Error {
        let why = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        self.unfit("unfit-source", why)
    }

    fn unfit(&self, code: &'static str, why: String) -> Error {
        Error::Input(vec![self.diagnostic(code, why)])
    }

    fn diagnostic(&self, code: &'static str, why: String) -> Diagnostic {
        let message = format!("{}: {why}", self.what);
        Diagnostic::new(code, message).at(self.span.clone(), "asked for here")
    }

    fn failed(&self, error: fetch::Error) -> Error {
        use fetch::Error as Fetch;
        let mut why = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            why.push_str(&format!("\n{cause}"));
            source = cause.source();
        }
        match error {
            Fetch::Cancelled | Fetch::Store(_) => Error::Fetch(error),
            Fetch::Unfit { what, why, .. } => {
                self.unfit("unfit-source", format!("{what}: {why}"))
            }
            Fetch::WrongDigest { expected, actual, .. } => self.unfit(
                "wrong-hash",
                format!("is not the file that the spec names\n  expected {expected}\n  actual   {actual}"),
            ),
            Fetch::Url(_) => self.unfit("bad-value", why),
            Fetch::Missing { urls, .. } => {
                let urls: Vec<String> = urls.iter().map(|url| format!("`{url}`")).collect();
                let message = format!("there is no file at {}", urls.join(", "));
                let diagnostic = Diagnostic::new("missing-file", message)
                    .at(self.span.clone(), "asked for here")
                    .hint("a `{version}` in a URL is the package's `version`");
                Error::Input(vec![diagnostic])
            }
            // Most of them name the place themselves.
            _ => Error::Unreachable(Box::new(
                Diagnostic::new("fetch", why).at(self.span.clone(), "asked for here"),
            )),
        }
    }
}
