//! The lock operation: resolving what a release asks for and writing release.lock.
//!
//! [`lock`] pins what is new, and moves the pins it is told to; [`check`] says what it would find
//! to do, without the network; [`Locked::write`] puts the result into the release folder. What a
//! pin rests on is kept beside it in `release.lock.d/`: the `InRelease` of each suite as it was
//! signed, and the stdlib modules that evaluation uses from then on.

mod archives;
mod change;
mod error;
mod files;
mod inherited;
mod remote;
mod sources;
mod stale;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;

use crate::base::{Diagnostic, HostPath, Sha256, nearest};
use crate::fetch::{Client, Mirrors};
use crate::spec::Spec;
use crate::spec::lock::Lock;
use crate::spec::model::Package;
use crate::store::Store;

pub use change::{Change, Pin};
pub use error::{Error, Result};
pub use stale::{Kind, Stale, check, told};

use files::Kept;
use inherited::Inherited;
use remote::Key;

/// What a lock is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The release folder.
    pub folder: &'a HostPath,
    /// What its specs say.
    pub spec: &'a Spec,
    /// The lock it has.
    pub old: Option<&'a Lock>,
    /// The texts of this program's stdlib modules, by name.
    pub stdlib: &'a BTreeMap<String, String>,
    /// Where indexes are kept.
    pub store: &'a Store,
    /// Fetches what is not there.
    pub client: &'a Client,
    /// The mirrors of each archive of the release, in any order.
    pub mirrors: &'a [Mirrors],
    /// The moment that signatures, and dates of archives, are held against.
    pub now: Timestamp,
    /// Stops it.
    pub cancel: &'a AtomicBool,
}

/// Which pins move; new ones are always made.
#[derive(Debug, Clone, Copy)]
pub enum Moves<'a> {
    /// None.
    Nothing,
    /// All, but for files from elsewhere: their URLs say which they are. One that is to be
    /// fetched anew is named.
    Everything,
    /// Those of these archives (with all sources taken from them), packages (with all that they
    /// are made from), URLs, or `stdlib`.
    Names(&'a [String]),
}

/// A lock that has been made, and is not written yet.
#[derive(Debug, Clone)]
pub struct Locked {
    /// The lock.
    pub lock: Lock,
    /// What is different from the lock before, sorted.
    pub changes: Vec<Change>,
    /// The files of `release.lock.d/`, by path below it.
    files: BTreeMap<String, Vec<u8>>,
}

/// The word in [`Moves::Names`] for the stdlib.
const STDLIB: &str = "stdlib";

/// The lock of a release: what the old one has stays as it is, unless told to move; what the
/// release needs beside that is pinned as its archives have it now; what it needs no more goes.
///
/// New pins of an archive rest on an `InRelease` whose signature counts at `request.now`, that
/// has not expired, is not from the future, and is not older than the pin it replaces. What a
/// release inherits from one that it extends is pinned as that one has it. Nothing is written but
/// to the store.
///
/// # Errors
/// [`Error::Input`] where the release asks for something that is not there.
pub fn lock(request: &Request<'_>, moves: Moves<'_>) -> Result<Locked> {
    let empty = Lock::default();
    let old = request.old.unwrap_or(&empty);
    let moving = Moving::new(request, moves)?;
    let inherited = Inherited::new(request)?;
    if let Moves::Names(names) = moves {
        inherited.refuse(names)?;
    }
    let remote::Pinned { spec, git, downloads, notes } =
        remote::pin(request, old, &moving.remotes(request, old))?;
    let request = &Request { spec: &spec, ..*request };
    let mut lock = Lock { git, downloads, ..Lock::default() };
    let mut files = BTreeMap::new();

    for (name, archive) in &request.spec.release.archives {
        let pinned = match inherited.archive(name, archive)? {
            Some(known) => {
                let there = Request { folder: inherited.folder(), ..*request };
                archives::pin(&there, name, archive, Some(known), false)?
            }
            None => {
                let known = old.archives.get(name);
                archives::pin(request, name, archive, known, moving.archive(name))?
            }
        };
        files.extend(pinned.evidence);
        lock.archives.insert(name.clone(), pinned.locked);
    }
    lock.sources = sources::pin(request, &lock.archives, &files, |archive, name| {
        if let Some(source) = inherited.source(archive, name) {
            return Some(source.clone());
        }
        let key = (archive.to_owned(), name.clone());
        // An archive that moved in the extended release moves here too.
        let inherits = request.spec.release.archives[archive].folder();
        let follows = !inherits.is_own()
            && old.archives.get(archive).is_some_and(|old| *old != lock.archives[archive]);
        let stays = !follows && !moving.archive(archive) && !moving.source(name.as_str());
        stays.then(|| old.sources.get(&key).cloned()).flatten()
    })?;
    for module in &request.spec.stdlib {
        let known = old.stdlib.get(module).filter(|_| !moving.stdlib());
        let text = match (inherited.stdlib(module)?, known) {
            (Some(text), _) => text,
            (None, Some(expected)) => Kept::stdlib(request.folder, module, expected)?,
            (None, None) => request
                .stdlib
                .get(module)
                .ok_or_else(|| Error::Module(module.clone()))?
                .clone()
                .into_bytes(),
        };
        lock.stdlib.insert(module.clone(), Sha256::of(&text));
        files.insert(files::stdlib_path(module), text);
    }
    let states = request.spec.extends.iter();
    lock.extends = states.map(|extended| (extended.folder.clone(), extended.digest)).collect();
    Ok(Locked { changes: change::between(old, &lock, &notes), lock, files })
}

/// [`Moves`] whose names are known to exist.
struct Moving<'a>(Moves<'a>);

impl<'a> Moving<'a> {
    fn new(request: &Request<'_>, moves: Moves<'a>) -> Result<Self> {
        if let Moves::Names(names) = moves {
            let sources = sources::wanted(request.spec);
            let remote = |package: &&Arc<Package>| {
                package.sources().any(|source| source.value.remote().is_some())
            };
            let packages = request.spec.packages.iter().filter(remote);
            let urls = request.spec.remotes.iter().map(|remote| match remote::key(&remote.value) {
                Key::Git(url, _) | Key::Download(url) => url,
            });
            let known: Vec<&str> = sources
                .keys()
                .map(|(_, name)| name.as_str())
                .chain(packages.map(|package| package.name.as_str()))
                .chain(urls)
                .chain(request.spec.release.archives.keys().map(String::as_str))
                .chain([STDLIB])
                .collect();
            let unknown = names.iter().filter(|name| !known.contains(&name.as_str()));
            let wrong: Vec<Diagnostic> = unknown
                .map(|name| {
                    let message = format!("nothing that is pinned is called `{name}`");
                    let diagnostic = Diagnostic::new("unknown-pin", message);
                    match nearest(name, known.iter().copied()) {
                        Some(near) => diagnostic.hint(format!("`{near}` is")),
                        None => diagnostic
                            .hint("archives, packages and URLs of what comes from elsewhere, and `stdlib` are"),
                    }
                })
                .collect();
            if !wrong.is_empty() {
                return Err(Error::Input(wrong));
            }
        }
        Ok(Self(moves))
    }

    fn names(&self, name: &str) -> bool {
        match self.0 {
            Moves::Nothing => false,
            Moves::Everything => true,
            Moves::Names(names) => names.iter().any(|one| one == name),
        }
    }

    fn archive(&self, name: &str) -> bool {
        self.names(name)
    }

    fn source(&self, name: &str) -> bool {
        self.names(name)
    }

    fn stdlib(&self) -> bool {
        self.names(STDLIB)
    }

    /// What of that comes from elsewhere.
    fn remotes(&self, request: &Request<'_>, old: &Lock) -> remote::Moving {
        let mut moving = remote::Moving { stdlib: self.stdlib(), ..Default::default() };
        let Moves::Names(names) = self.0 else {
            if let Moves::Everything = self.0 {
                moving.git.extend(old.git.keys().cloned());
            }
            return moving;
        };
        let named = |name: &str| names.iter().any(|one| one == name);
        moving.git.extend(old.git.keys().filter(|(url, _)| named(url)).cloned());
        moving.downloads.extend(old.downloads.keys().filter(|url| named(url)).cloned());
        let packages = request.spec.packages.iter();
        for package in packages.filter(|package| named(package.name.as_str())) {
            for remote in package.sources().filter_map(|source| source.value.remote()) {
                match remote::key(&remote) {
                    Key::Git(url, rev) => moving.git.insert((url.to_owned(), rev.to_owned())),
                    Key::Download(url) => moving.downloads.insert(url.to_owned()),
                };
            }
        }
        moving
    }
}
