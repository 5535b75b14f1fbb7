//! Whether a lock is what its release needs.

use std::collections::BTreeSet;
use std::fmt;

use super::files::Kept;
use super::remote::{self, Key};
use super::{archives, sources};
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::signature::signed_text;
use crate::base::{HostPath, ReleaseFolder};
use crate::spec::Spec;
use crate::spec::lock::Lock;
use crate::spec::model::Extended;

/// Something that a lock lacks, or has without need. Shown as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// There is no lock at all.
    Absent,
    /// Something is not pinned.
    Missing(String),
    /// Something is pinned that the release does not use.
    Unused(String),
    /// The release that is extended is not in the state that is pinned.
    Moved(String),
    /// A pin rests on a file that is missing or another one.
    Unfounded(String),
}

/// What `lock` would find to do; nothing if the lock is what the release needs. Reads nothing but
/// the release folder.
pub fn check(folder: &HostPath, spec: &Spec, lock: Option<&Lock>) -> Vec<Stale> {
    let Some(lock) = lock else { return vec![Stale::Absent] };
    let mut stale = Vec::new();
    check_extended(spec, lock, &mut stale);
    check_archives(folder, spec, lock, &mut stale);
    stale.extend(spec.unpinned.iter().map(|remote| Stale::Missing(remote.value.to_string())));
    check_remotes(spec, lock, &mut stale);
    let wanted = sources::wanted(spec);
    let title = |(archive, name): &(String, _)| format!("source `{name}` of archive `{archive}`");
    let missing = wanted.keys().filter(|key| !lock.sources.contains_key(key));
    stale.extend(missing.map(|key| Stale::Missing(title(key))));
    let unused = lock.sources.keys().filter(|key| !wanted.contains_key(key));
    stale.extend(unused.map(|key| Stale::Unused(title(key))));
    for module in &spec.stdlib {
        match lock.stdlib.get(module) {
            None => stale.push(Stale::Missing(format!("stdlib `{module}`"))),
            Some(sha256) => {
                let kept = Kept::stdlib(folder, module, sha256);
                stale.extend(kept.err().map(|error| Stale::Unfounded(error.to_string())));
            }
        }
    }
    let unused = lock.stdlib.keys().filter(|module| !spec.stdlib.contains(*module));
    stale.extend(unused.map(|module| Stale::Unused(format!("stdlib `{module}`"))));
    if !spec.unpinned.is_empty() {
        // A spec that waits for a pin has not said yet what it needs.
        stale.retain(|one| !matches!(one, Stale::Unused(_)));
    }
    stale
}

fn check_extended(spec: &Spec, lock: &Lock, stale: &mut Vec<Stale>) {
    for Extended { folder, digest, .. } in &spec.extends {
        match lock.extends.get(folder) {
            None => stale.push(Stale::Missing(format!("extended release `{folder}`"))),
            Some(pinned) if pinned != digest => stale.push(Stale::Moved(folder.to_string())),
            Some(_) => {}
        }
    }
    let extended =
        |folder: &ReleaseFolder| spec.extends.iter().any(|extended| extended.folder == *folder);
    let unused = lock.extends.keys().filter(|folder| !extended(folder));
    stale.extend(unused.map(|folder| Stale::Unused(format!("extended release `{folder}`"))));
    let Some(Extended { folder, lock: Some(base), .. }) = spec.extends.first() else { return };
    let inherited = spec.release.archives.iter().filter(|(_, archive)| !archive.folder().is_own());
    for (name, _) in inherited {
        let releases = |lock: &Lock| -> Option<Vec<_>> {
            let suites = &lock.archives.get(name)?.suites;
            Some(suites.iter().map(|suite| (suite.suite.clone(), suite.release)).collect())
        };
        if releases(base) != releases(lock) {
            let what = format!("archive `{name}` is not pinned as `{folder}` has it");
            stale.push(Stale::Unfounded(what));
        }
    }
}

fn check_remotes(spec: &Spec, lock: &Lock, stale: &mut Vec<Stale>) {
    let asked: BTreeSet<Key<'_>> =
        spec.remotes.iter().map(|remote| remote::key(&remote.value)).collect();
    let git = lock.git.keys().filter(|(url, rev)| !asked.contains(&Key::Git(url, rev)));
    stale.extend(git.map(|(url, rev)| Stale::Unused(format!("git `{url}` `{rev}`"))));
    let files = lock.downloads.keys().filter(|url| !asked.contains(&Key::Download(url)));
    stale.extend(files.map(|url| Stale::Unused(format!("`{url}`"))));
}

fn check_archives(folder: &HostPath, spec: &Spec, lock: &Lock, stale: &mut Vec<Stale>) {
    for (name, archive) in &spec.release.archives {
        let suites = lock.archives.get(name).map(|locked| &*locked.suites).unwrap_or_default();
        for suite in &archive.suites {
            let title = format!("suite `{suite}` of archive `{name}`");
            let Some(locked) = suites.iter().find(|known| known.suite == *suite) else {
                stale.push(Stale::Missing(title));
                continue;
            };
            let bytes = match Kept::evidence(folder, name, locked) {
                Ok(bytes) => bytes,
                Err(error) => {
                    stale.push(Stale::Unfounded(error.to_string()));
                    continue;
                }
            };
            let release = signed_text(&bytes).ok();
            let release = release.and_then(|text| ReleaseFile::parse(&text).ok());
            let wanted = release
                .ok_or_else(|| "rests on a file that is no Release file".to_owned())
                .and_then(|file| archives::wanted(&file, archive, &spec.release.architectures));
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(why) => {
                    stale.push(Stale::Unfounded(format!("{title} {why}")));
                    continue;
                }
            };
            let has = |path: &str| locked.indexes.iter().any(|index| index.path == path);
            let missing = wanted.iter().filter(|(path, _)| !has(path));
            stale.extend(missing.map(|(path, _)| Stale::Missing(format!("`{path}` of {title}"))));
            let needs = |path: &str| wanted.iter().any(|(wanted, _)| wanted == path);
            let unused = locked.indexes.iter().filter(|index| !needs(&index.path));
            stale.extend(unused.map(|one| Stale::Unused(format!("`{}` of {title}", one.path))));
        }
        let unused = suites.iter().filter(|known| !archive.suites.contains(&known.suite));
        stale
            .extend(unused.map(|known| {
                Stale::Unused(format!("suite `{}` of archive `{name}`", known.suite))
            }));
        let order: Vec<_> = suites.iter().map(|known| &known.suite).collect();
        if stale.is_empty() && order != archive.suites.iter().collect::<Vec<_>>() {
            stale.push(Stale::Missing(format!("the order of suites of archive `{name}`")));
        }
    }
    let unused = lock.archives.keys().filter(|name| !spec.release.archives.contains_key(*name));
    stale.extend(unused.map(|name| Stale::Unused(format!("archive `{name}`"))));
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "there is no release.lock"),
            Self::Missing(what) => write!(f, "not pinned: {what}"),
            Self::Moved(folder) => {
                write!(f, "the extended release `{folder}` has changed since it was pinned")
            }
            Self::Unused(what) => write!(f, "pinned without need: {what}"),
            Self::Unfounded(what) => write!(f, "{what}"),
        }
    }
}
