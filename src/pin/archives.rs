//! Pins of upstream archives: what a suite consists of.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use jiff::{SignedDuration, Timestamp};

use super::Request;
use super::error::{Error, Result, system};
use super::files::{Kept, evidence_path};
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::signature::{signed_text, verify};
use crate::base::{Architecture, Diagnostic, Sha256};
use crate::fetch::{self, Index, Mirrors};
use crate::spec::lock::{IndexKind, LockedArchive, LockedIndex, LockedSuite};
use crate::spec::release::Archive;

/// An archive, pinned, and what that rests on.
pub(super) struct Pinned {
    pub(super) locked: LockedArchive,
    /// `InRelease` files by their path below `release.lock.d/`.
    pub(super) evidence: BTreeMap<String, Vec<u8>>,
}

/// How far an archive's clock may be ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// Pins an archive: suites that `old` has stay, unless the archive moves; indexes that a suite
/// lacks are taken from the Release file it rests on.
pub(super) fn pin(
    request: &Request<'_>,
    name: &str,
    archive: &Archive,
    old: Option<&LockedArchive>,
    moves: bool,
) -> Result<Pinned> {
    let place = Place { request, name, archive, mirrors: mirrors(request, name) };
    let mut pinned =
        Pinned { locked: LockedArchive { suites: Vec::new() }, evidence: BTreeMap::new() };
    for suite in &archive.suites {
        let old = old.and_then(|old| old.suites.iter().find(|known| known.suite == *suite));
        let (bytes, release) = match old.filter(|_| !moves) {
            Some(old) => place.kept(old)?,
            None => place.current(suite, old)?,
        };
        pinned.locked.suites.push(place.suite(suite, old, &bytes, &release)?);
        pinned.evidence.insert(evidence_path(name, suite), bytes);
    }
    Ok(pinned)
}

/// The mirrors of an archive, among those of a request.
pub(super) fn mirrors<'a>(request: &Request<'a>, archive: &str) -> &'a Mirrors {
    let found = request.mirrors.iter().find(|mirrors| mirrors.archive() == archive);
    found.expect("a request brings the mirrors of each archive of its release")
}

/// The indexes that a suite must have for a release: per component, the binary packages of each
/// architecture (and those of `all`, where they are apart), and the sources, if it has any.
///
/// # Errors
/// What the suite lacks.
pub(super) fn wanted(
    release: &ReleaseFile,
    archive: &Archive,
    architectures: &[Architecture],
) -> Result<Vec<(String, IndexKind)>, String> {
    let has = |path: &str| {
        ["", ".xz", ".gz"].iter().any(|end| release.files.contains_key(&format!("{path}{end}")))
    };
    let mut indexes = Vec::new();
    for component in &archive.components {
        if !release.components.contains(component) {
            let known = release.components.join("`, `");
            return Err(format!("has no component `{component}`: it has `{known}`"));
        }
        for architecture in architectures {
            let path = format!("{component}/binary-{architecture}/Packages");
            if !has(&path) {
                return Err(format!("has no packages of architecture `{architecture}`"));
            }
            indexes.push((path, IndexKind::Packages(architecture.clone())));
        }
        let all = Architecture::all();
        let path = format!("{component}/binary-all/Packages");
        if release.all_apart && !architectures.contains(&all) && has(&path) {
            indexes.push((path, IndexKind::Packages(all)));
        }
        let path = format!("{component}/source/Sources");
        if has(&path) {
            indexes.push((path, IndexKind::Sources));
        }
    }
    indexes.sort();
    indexes.dedup();
    Ok(indexes)
}

/// An archive of a release.
struct Place<'a> {
    request: &'a Request<'a>,
    name: &'a str,
    archive: &'a Archive,
    mirrors: &'a Mirrors,
}

impl Place<'_> {
    /// What a pin rests on: the file kept beside the lock, or if that is gone, the same file from
    /// a mirror.
    fn kept(&self, old: &LockedSuite) -> Result<(Vec<u8>, ReleaseFile)> {
        let Request { folder, client, cancel, .. } = *self.request;
        let bytes = match Kept::evidence(folder, self.name, old) {
            Ok(bytes) => bytes,
            Err(error @ Error::Kept { .. }) => {
                match fetch::in_release(client, self.mirrors, &old.suite, cancel) {
                    Ok(bytes) if Sha256::of(&bytes) == old.release => bytes,
                    Err(cancelled @ fetch::Error::Cancelled) => return Err(cancelled.into()),
                    _ => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let text = signed_text(&bytes)
            .map_err(|refusal| self.unreliable(&old.suite, refusal.to_string()))?;
        let release = self.parse(&old.suite, &text)?;
        Ok((bytes, release))
    }

    /// What the archive says now, signed and fit to be relied on.
    fn current(&self, suite: &str, old: Option<&LockedSuite>) -> Result<(Vec<u8>, ReleaseFile)> {
        let Request { folder, client, cancel, now, .. } = *self.request;
        let keyring = &self.archive.keyring;
        let path = folder.join(keyring.value.as_str());
        let keys = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no keyring `{}`", keyring.value);
                let why = format!("who must have signed archive `{}`", self.name);
                let diagnostic = Diagnostic::new("no-keyring", message);
                return Err(Error::Input(vec![diagnostic.at(keyring.span.clone(), why)]));
            }
            result => result.map_err(system("read", &path))?,
        };
        let bytes = fetch::in_release(client, self.mirrors, suite, cancel)?;
        let verified = verify(&bytes, &keys, now).map_err(|refusal| Error::Signature {
            archive: self.name.to_owned(),
            suite: suite.to_owned(),
            keyring: keyring.value.to_string(),
            refusal,
        })?;
        let release = self.parse(suite, &verified.text)?;
        if let Some(why) = unreliable(&release, suite, old, now) {
            return Err(self.unreliable(suite, why));
        }
        Ok((bytes, release))
    }

    fn suite(
        &self,
        suite: &str,
        old: Option<&LockedSuite>,
        bytes: &[u8],
        release: &ReleaseFile,
    ) -> Result<LockedSuite> {
        let evidence = Sha256::of(bytes);
        let old = old.filter(|old| old.release == evidence);
        let architectures = &self.request.spec.release.architectures;
        let wanted = wanted(release, self.archive, architectures).map_err(|lack| {
            let message = format!("suite `{suite}` of archive `{}` {lack}", self.name);
            Error::Input(vec![Diagnostic::new("unknown-index", message)])
        })?;
        let mut indexes = Vec::new();
        for (path, kind) in wanted {
            let known = old.and_then(|old| old.indexes.iter().find(|index| index.path == path));
            indexes.push(match (known, release.files.get(&path)) {
                (Some(known), _) => known.clone(),
                (None, Some((size, sha256))) => {
                    LockedIndex { path, kind, sha256: *sha256, size: *size }
                }
                // Not every archive lists what it does not serve: then it has to be unpacked.
                (None, None) => {
                    let Request { store, client, cancel, .. } = *self.request;
                    let index = Index { suite, path: &path, expected: None, release, evidence };
                    let object = fetch::index(store, client, self.mirrors, &index, cancel)?;
                    LockedIndex { path, kind, sha256: object.sha256, size: object.size }
                }
            });
        }
        Ok(LockedSuite {
            suite: suite.to_owned(),
            date: release.date_text.clone(),
            release: evidence,
            indexes,
        })
    }

    fn parse(&self, suite: &str, text: &str) -> Result<ReleaseFile> {
        ReleaseFile::parse(text).map_err(|source| Error::Release {
            archive: self.name.to_owned(),
            suite: suite.to_owned(),
            source,
        })
    }

    fn unreliable(&self, suite: &str, why: String) -> Error {
        Error::Unreliable { archive: self.name.to_owned(), suite: suite.to_owned(), why }
    }
}

/// Why a Release file must not be relied on, if it must not.
fn unreliable(
    release: &ReleaseFile,
    suite: &str,
    old: Option<&LockedSuite>,
    now: Timestamp,
) -> Option<String> {
    // A mirror could offer one suite, rightly signed, under the name of another.
    let called = [&release.suite, &release.codename];
    let base = suite.split('/').next();
    if !called.iter().any(|name| name.as_deref() == Some(suite) || name.as_deref() == base) {
        let names: Vec<&str> = called.iter().filter_map(|name| name.as_deref()).collect();
        return Some(format!("calls itself `{}`", names.join("`, `")));
    }
    if release.date.duration_since(now) > AHEAD {
        return Some(format!(
            "is from the future ({}): is this machine's clock right?",
            release.date_text
        ));
    }
    if let Some(end) = release.valid_until.filter(|end| *end < now) {
        return Some(format!("was valid until {end}: the mirror is stale, or serves an old state"));
    }
    let before = old.and_then(|old| crate::archive::deb::release::date(&old.date));
    if before.is_some_and(|before| release.date < before) {
        let old = old.map(|old| old.date.as_str()).unwrap_or_default();
        return Some(format!(
            "is older at this mirror ({}) than the pin ({old}): remove the pin to go back",
            release.date_text
        ));
    }
    None
}
