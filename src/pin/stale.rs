//! Whether a lock is what its release needs.

use std::collections::BTreeSet;
use std::fmt;

use super::files::Kept;
use super::remote::{self, Key};
use super::{archives, sources};
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::signature::signed_text;
use crate::base::{Diagnostic, HostPath, ReleaseFolder, ReleasePath, Span};
use crate::spec::Spec;
use crate::spec::lock::{self, Lock};
use crate::spec::model::Extended;

/// How many things that are not pinned are named at one file.
const NAMED: usize = 20;

/// Something that a lock lacks, or has without need. Shown as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// How it is stale.
    pub kind: Kind,
    /// What is: a part of the sentence that is shown.
    pub what: String,
    /// The line that asks for it, or in release.lock that has it; none for what no line says.
    pub span: Option<Span>,
}

/// How a lock is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no lock at all.
    Absent,
    /// Something is not pinned.
    Missing,
    /// Something is pinned that the release does not use.
    Unused,
    /// The release that is extended is not in the state that is pinned.
    Moved,
    /// A pin rests on a file that is missing or another one.
    Unfounded,
}

impl Stale {
    fn new(kind: Kind, what: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self { kind, what: what.into(), span: span.into() }
    }

    /// The file that asks for it and finds it not pinned.
    fn asking(&self) -> Option<&ReleasePath> {
        let span = self.span.as_ref().filter(|_| self.kind == Kind::Missing);
        span.map(|span| &span.file)
    }

    /// The same as it is shown: at its line, with the command that helps.
    pub fn diagnostic(&self) -> Diagnostic {
        let (label, hint) = match self.kind {
            Kind::Absent => ("", Some("`perestroika lock` makes it")),
            Kind::Missing => ("release.lock does not have it", Some("`perestroika lock` pins it")),
            Kind::Unused => ("nothing asks for it", Some("`perestroika lock` drops it")),
            Kind::Moved => {
                ("its specs or lock", Some("`perestroika lock` takes it over as it is now"))
            }
            // The message says what pins it anew.
            Kind::Unfounded => ("", None),
        };
        let error = Diagnostic::new("stale-lock", self.to_string()).at(self.span.clone(), label);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What is stale as it is shown; what one file asks for and is not pinned is told at once, at the
/// first of its lines.
pub fn told(stale: &[Stale]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut files = BTreeSet::new();
    for one in stale {
        let Some(file) = one.asking() else {
            diagnostics.push(one.diagnostic());
            continue;
        };
        if files.insert(file) {
            let missing: Vec<&Stale> =
                stale.iter().filter(|other| other.asking() == Some(file)).collect();
            diagnostics.push(together(&missing));
        }
    }
    diagnostics
}

/// What one file asks for and is not pinned.
fn together(missing: &[&Stale]) -> Diagnostic {
    if let [one] = missing {
        return one.diagnostic();
    }
    let mut message = format!("{} things are not pinned", missing.len());
    for one in missing.iter().take(NAMED) {
        message.push_str(&format!("\n  {}", one.what));
    }
    if missing.len() > NAMED {
        message.push_str(&format!("\n  and {} more", missing.len() - NAMED));
    }
    let first = missing.iter().filter_map(|one| one.span.as_ref()).min().cloned();
    Diagnostic::new("stale-lock", message)
        .at(first, "release.lock does not have them")
        .hint("`perestroika lock` pins them")
}

/// What `lock` would find to do; nothing if the lock is what the release needs. Reads nothing but
/// the release folder.
pub fn check(folder: &HostPath, spec: &Spec, lock: Option<&Lock>) -> Vec<Stale> {
    let Some(lock) = lock else { return vec![Stale::new(Kind::Absent, "", None)] };
    let places = Places::read(folder);
    let mut stale = Vec::new();
    check_extended(spec, lock, &places, &mut stale);
    check_archives(folder, spec, lock, &places, &mut stale);
    stale.extend(
        spec.unpinned
            .iter()
            .map(|remote| Stale::new(Kind::Missing, remote.value.to_string(), remote.span.clone())),
    );
    check_remotes(spec, lock, &places, &mut stale);
    let wanted = sources::wanted(spec);
    let title = |(archive, name): &(String, _)| format!("source `{name}` of archive `{archive}`");
    let missing = wanted.iter().filter(|(key, _)| !lock.sources.contains_key(key));
    stale.extend(
        missing.map(|(key, span)| Stale::new(Kind::Missing, title(key), Some(span.clone()))),
    );
    let unused = lock.sources.keys().filter(|key| !wanted.contains_key(key));
    stale.extend(unused.map(|key| {
        let place = places.table(&["source", &key.0, key.1.as_str()]);
        Stale::new(Kind::Unused, title(key), place)
    }));
    for module in &spec.stdlib {
        let title = format!("stdlib module `{module}`");
        match lock.stdlib.get(module) {
            None => stale.push(Stale::new(Kind::Missing, title, spec.user_of(module))),
            Some(sha256) => {
                let kept = Kept::stdlib(folder, module, sha256);
                stale.extend(kept.err().map(|error| {
                    Stale::new(Kind::Unfounded, error.to_string(), spec.user_of(module))
                }));
            }
        }
    }
    let unused = lock.stdlib.keys().filter(|module| !spec.stdlib.contains(*module));
    stale.extend(unused.map(|module| {
        let place = places.key(&["stdlib"], module);
        Stale::new(Kind::Unused, format!("stdlib module `{module}`"), place)
    }));
    if !spec.unpinned.is_empty() {
        // A spec that waits for a pin has not said yet what it needs.
        stale.retain(|one| one.kind != Kind::Unused);
    }
    stale
}

fn check_extended(spec: &Spec, lock: &Lock, places: &Places, stale: &mut Vec<Stale>) {
    let title = |folder: &ReleaseFolder| format!("the extended release `{folder}`");
    for Extended { folder, digest, span, .. } in &spec.extends {
        let kind = match lock.extends.get(folder) {
            None => Kind::Missing,
            Some(pinned) if pinned != digest => Kind::Moved,
            Some(_) => continue,
        };
        stale.push(Stale::new(kind, title(folder), span.clone()));
    }
    let extended =
        |folder: &ReleaseFolder| spec.extends.iter().any(|extended| extended.folder == *folder);
    let unused = lock.extends.keys().filter(|folder| !extended(folder));
    stale.extend(unused.map(|folder| {
        let place = places.key(&["extends"], &folder.to_string());
        Stale::new(Kind::Unused, title(folder), place)
    }));
    let Some(Extended { folder, lock: Some(base), span, .. }) = spec.extends.first() else {
        return;
    };
    let inherited = spec.release.archives.iter().filter(|(_, archive)| !archive.folder().is_own());
    for (name, _) in inherited {
        let releases = |lock: &Lock| -> Option<Vec<_>> {
            let suites = &lock.archives.get(name)?.suites;
            Some(suites.iter().map(|suite| (suite.suite.clone(), suite.release)).collect())
        };
        if releases(base) != releases(lock) {
            let what = format!(
                "archive `{name}` is not pinned as `{folder}` has it\n\
                 `perestroika lock` takes that over"
            );
            stale.push(Stale::new(Kind::Unfounded, what, span.clone()));
        }
    }
}

fn check_remotes(spec: &Spec, lock: &Lock, places: &Places, stale: &mut Vec<Stale>) {
    let asked: BTreeSet<Key<'_>> =
        spec.remotes.iter().map(|remote| remote::key(&remote.value)).collect();
    let git = lock.git.keys().filter(|(url, rev)| !asked.contains(&Key::Git(url, rev)));
    stale.extend(git.map(|(url, rev)| {
        let place = places.table(&["git", url, rev]);
        Stale::new(Kind::Unused, format!("git `{url}` `{rev}`"), place)
    }));
    let files = lock.downloads.keys().filter(|url| !asked.contains(&Key::Download(url)));
    stale.extend(
        files.map(|url| {
            Stale::new(Kind::Unused, format!("`{url}`"), places.table(&["download", url]))
        }),
    );
}

fn check_archives(
    folder: &HostPath,
    spec: &Spec,
    lock: &Lock,
    places: &Places,
    stale: &mut Vec<Stale>,
) {
    for (name, archive) in &spec.release.archives {
        let here = || Some(archive.span.clone());
        let locked_at = || places.table(&["archive", name, "suites"]);
        let suites = lock.archives.get(name).map(|locked| &*locked.suites).unwrap_or_default();
        for suite in &archive.suites {
            let title = format!("suite `{suite}` of archive `{name}`");
            let Some(locked) = suites.iter().find(|known| known.suite == *suite) else {
                stale.push(Stale::new(Kind::Missing, title, here()));
                continue;
            };
            let bytes = match Kept::evidence(folder, name, locked) {
                Ok(bytes) => bytes,
                Err(error) => {
                    stale.push(Stale::new(Kind::Unfounded, error.to_string(), here()));
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
                    stale.push(Stale::new(Kind::Unfounded, format!("{title} {why}"), here()));
                    continue;
                }
            };
            let has = |path: &str| locked.indexes.iter().any(|index| index.path == path);
            let missing = wanted.iter().filter(|(path, _)| !has(path));
            stale.extend(missing.map(|(path, _)| {
                Stale::new(Kind::Missing, format!("`{path}` of {title}"), here())
            }));
            let needs = |path: &str| wanted.iter().any(|(wanted, _)| wanted == path);
            let unused = locked.indexes.iter().filter(|index| !needs(&index.path));
            stale.extend(unused.map(|one| {
                Stale::new(Kind::Unused, format!("`{}` of {title}", one.path), locked_at())
            }));
        }
        let unused = suites.iter().filter(|known| !archive.suites.contains(&known.suite));
        stale.extend(unused.map(|known| {
            let what = format!("suite `{}` of archive `{name}`", known.suite);
            Stale::new(Kind::Unused, what, locked_at())
        }));
        let order: Vec<_> = suites.iter().map(|known| &known.suite).collect();
        if stale.is_empty() && order != archive.suites.iter().collect::<Vec<_>>() {
            let what = format!("the order of suites of archive `{name}`");
            stale.push(Stale::new(Kind::Missing, what, here()));
        }
    }
    let unused = lock.archives.keys().filter(|name| !spec.release.archives.contains_key(*name));
    stale.extend(unused.map(|name| {
        let place = places.table(&["archive", name, "suites"]);
        Stale::new(Kind::Unused, format!("archive `{name}`"), place)
    }));
}

/// Where things stand in release.lock.
struct Places(String);

impl Places {
    fn read(folder: &HostPath) -> Self {
        Self(std::fs::read_to_string(folder.join(lock::FILE)).unwrap_or_default())
    }

    /// The line that begins a table.
    fn table(&self, path: &[&str]) -> Option<Span> {
        let (number, line) = self.lines().find(|(_, line)| is_head(line, path))?;
        span(number, line)
    }

    /// The line of a key in a table.
    fn key(&self, path: &[&str], key: &str) -> Option<Span> {
        let mut lines = self.lines().skip_while(|(_, line)| !is_head(line, path)).skip(1);
        let is_key = |line: &str| {
            let key_there = line.split_once(" = ").map(|(key, _)| key.trim());
            key_there.is_some_and(|there| there == key || there == lock::key(key))
        };
        let (number, line) = lines.find(|(_, line)| is_key(line) || line.starts_with('['))?;
        if line.starts_with('[') { None } else { span(number, line) }
    }

    fn lines(&self) -> impl Iterator<Item = (u32, &str)> {
        (1..).zip(self.0.lines())
    }
}

fn span(line: u32, text: &str) -> Option<Span> {
    let length = u32::try_from(text.chars().count()).ok()?;
    Some(Span { file: lock::FILE.parse().ok()?, line, column: 1, length })
}

/// Whether a line of release.lock begins the table of this path, or the first of a list of them.
fn is_head(line: &str, path: &[&str]) -> bool {
    let keys: Vec<String> = path.iter().map(|key| lock::key(key)).collect();
    let keys = keys.join(".");
    let inside = line.trim().trim_start_matches('[').trim_end_matches(']');
    line.starts_with('[') && inside == keys
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match self.kind {
            Kind::Absent => write!(f, "there is no release.lock"),
            Kind::Missing => write!(f, "{what} is not pinned"),
            Kind::Moved => write!(f, "{what} has changed since it was pinned"),
            Kind::Unused => write!(f, "{what} is pinned without need"),
            Kind::Unfounded => write!(f, "{what}"),
        }
    }
}
