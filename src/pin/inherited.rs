//! What a release takes over from the one that it extends: its pins of what both have. They move
//! where they were made, so that both stay at one state of each archive.

use std::collections::BTreeSet;

use super::Request;
use super::error::{Error, Result};
use super::files::Kept;
use crate::base::{Diagnostic, HostPath, PackageName};
use crate::spec::Spec;
use crate::spec::lock::{Lock, LockedArchive, LockedSource};
use crate::spec::model::Extended;
use crate::spec::release::Archive;

/// The pins of the nearest release that is extended; empty if none is.
pub(super) struct Inherited<'a> {
    spec: &'a Spec,
    base: Option<(&'a Extended, &'a Lock)>,
    folder: HostPath,
}

impl<'a> Inherited<'a> {
    /// The pins that the release of `request` inherits.
    ///
    /// # Errors
    /// A release that is extended without being locked itself, or whose lock is stale.
    pub(super) fn new(request: &Request<'a>) -> Result<Self> {
        let spec = request.spec;
        let mut base = None;
        for extended in spec.extends.iter().rev() {
            let lock = extended.lock.as_ref().ok_or_else(|| {
                let message = format!("`{}` has no release.lock", extended.folder);
                lock_first(extended, message)
            })?;
            for (folder, digest) in &lock.extends {
                let folder = extended.folder.join(folder);
                let now = spec.extends.iter().find(|other| other.folder == folder);
                if now.is_none_or(|other| other.digest != *digest) {
                    let message = format!("the lock of `{}` is stale", extended.folder);
                    return Err(lock_first(extended, message));
                }
            }
            base = Some((extended, lock));
        }
        let folder = match base {
            Some((extended, _)) => request.folder.join(extended.folder.as_str()),
            None => request.folder.clone(),
        };
        Ok(Self { spec, base, folder })
    }

    /// The folder whose `release.lock.d/` holds what these pins rest on.
    pub(super) fn folder(&self) -> &HostPath {
        &self.folder
    }

    /// The pin of an archive that the release does not define itself.
    ///
    /// # Errors
    /// A lock of the extended release that lacks it.
    pub(super) fn archive(
        &self,
        name: &str,
        archive: &Archive,
    ) -> Result<Option<&'a LockedArchive>> {
        let Some((extended, lock)) = self.base else { return Ok(None) };
        if archive.folder().is_own() {
            return Ok(None);
        }
        let locked = lock.archives.get(name).filter(|locked| {
            let has = |suite: &String| locked.suites.iter().any(|known| known.suite == *suite);
            archive.suites.iter().all(has)
        });
        match locked {
            Some(locked) => Ok(Some(locked)),
            None => {
                let message = format!("the lock of `{}` lacks archive `{name}`", extended.folder);
                Err(lock_first(extended, message))
            }
        }
    }

    /// The pin of a source of such an archive.
    pub(super) fn source(&self, archive: &str, name: &PackageName) -> Option<&'a LockedSource> {
        let (_, lock) = self.base?;
        let own = self.spec.release.archives.get(archive)?.folder().is_own();
        if own { None } else { lock.sources.get(&(archive.to_owned(), name.clone())) }
    }

    /// The text of a stdlib module.
    pub(super) fn stdlib(&self, module: &str) -> Result<Option<Vec<u8>>> {
        match self.base.and_then(|(_, lock)| lock.stdlib.get(module)) {
            Some(pin) => Kept::stdlib(&self.folder, module, pin).map(Some),
            None => Ok(None),
        }
    }

    /// Refuses to move pins that are made elsewhere.
    pub(super) fn refuse(&self, names: &[String]) -> Result<()> {
        let Some((extended, lock)) = self.base else { return Ok(()) };
        let archives = self.spec.release.archives.iter();
        let archives = archives.filter(|(_, archive)| !archive.folder().is_own());
        let archives: BTreeSet<&str> = archives.map(|(name, _)| name.as_str()).collect();
        let sources = lock.sources.keys();
        let sources = sources.filter(|(archive, _)| archives.contains(archive.as_str()));
        let sources: BTreeSet<&str> = sources.map(|(_, name)| name.as_str()).collect();
        let elsewhere = names
            .iter()
            .filter(|name| archives.contains(name.as_str()) || sources.contains(name.as_str()));
        let wrong: Vec<Diagnostic> = elsewhere
            .map(|name| {
                let message = format!("`{name}` is pinned by `{}`", extended.folder);
                Diagnostic::new("inherited", message)
                    .at(extended.span.clone(), "the release that is extended")
                    .hint("move it there; `perestroika lock` here takes it over")
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(Error::Input(wrong)) }
    }
}

fn lock_first(extended: &Extended, message: String) -> Error {
    let error = Diagnostic::new("extends", message)
        .at(extended.span.clone(), "the release that is extended")
        .hint(format!("lock `{}` first: its pins are taken over", extended.folder));
    Error::Input(vec![error])
}
