//! A git repository or a tarball as the source of a package.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::catalog::{Catalog, Resolved};
use super::draft::{self, Draft, Finding, quoted};
use super::project::{Build, Files, Found, Project, Sure};
use super::{LARGEST, MOST, Note, Reach, notes, parsed_name, today};
use crate::archive::tarball::{self, Kind, Limits, Listing};
use crate::base::{Digest, Tree, TreeKind};
use crate::cli::arguments::Add;
use crate::cli::failure::{Failure, Kind as Fault};
use crate::fetch::git::{self, Named, Revision};
use crate::fetch::{self, Expected, Url};
use crate::store::Store;

/// How files that are unpacked end.
const PACKED: [&str; 9] =
    [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2", ".tbz2", ".zip"];

/// What would be added for a URL.
pub fn plan(
    url: &str,
    reach: &Reach,
    catalog: Option<&Catalog>,
    arguments: &Add,
) -> Result<(Draft, Vec<Note>), Failure> {
    let wanted = parsed_name(arguments)?;
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = PACKED.iter().filter_map(|end| file.strip_suffix(end)).min_by_key(|stem| stem.len());
    let seen = match stem {
        Some(stem) => packed(url, stem, reach)?,
        None => cloned(url, file.strip_suffix(".git").unwrap_or(file), reach, arguments)?,
    };
    // A spec whose source has packaging of its own says no version.
    let own = seen.project.build.as_ref().is_some_and(|build| build.value == Build::Debian);
    let version = draft::version_of(&seen.project).filter(|_| !own);
    let needs = match catalog {
        Some(catalog) if !own => catalog.resolve(&seen.project.needs),
        _ => Resolved::default(),
    };
    let source = source(url, &seen, version.as_deref());
    let mut draft = draft::of(&seen.project, wanted.as_ref(), &source, Some(&seen.date), &needs)
        .map_err(|why| {
            Failure::input("not-recognised", format!("cannot write a spec for `{url}`: {why}"))
                .hint("`build: script(…)` builds anything: see the example of `perestroika init`")
        })?;
    draft.findings.extend(seen.chosen);
    Ok((draft, notes(&needs, catalog, &seen.project)))
}

/// The source as a spec says it; where the version is a part of it, another one is another source
/// too.
fn source(url: &str, seen: &Seen, version: Option<&str>) -> String {
    let late = |text: &str| match version {
        Some(version) if text.contains(version) => text.replace(version, "{version}"),
        _ => text.to_owned(),
    };
    match &seen.rev {
        Some(rev) if seen.named == Named::Tag => {
            format!("git({}, {})", quoted(url), quoted(&late(rev)))
        }
        Some(rev) => format!("git({}, {})", quoted(url), quoted(rev)),
        None => format!("tarball({})", quoted(&late(url))),
    }
}

/// What a URL leads to.
struct Seen {
    project: Project,
    /// The revision, of a repository.
    rev: Option<String>,
    /// What kind of name that is.
    named: Named,
    /// Why that revision, where nobody named one.
    chosen: Option<Finding>,
    /// The day of its changelog entry.
    date: String,
}

/// The files of a commit.
fn cloned(url: &str, called: &str, reach: &Reach, arguments: &Add) -> Result<Seen, Failure> {
    let Reach { store, client, cancel } = reach;
    let (rev, chosen) = match &arguments.rev {
        Some(rev) => (rev.clone(), None),
        None => {
            let found = chosen(url, called, reach)?;
            (found.value.clone(), Some(found))
        }
    };
    let revision = Revision { url, rev: &rev, commit: None };
    let snapshot = git::snapshot(store, client, &revision, cancel).map_err(failed)?;
    let texts = texts_of_tree(store, &snapshot.tree);
    let paths = snapshot.tree.entries().iter().map(|entry| entry.path.clone()).collect();
    let mut project = project(paths, &texts, called);
    // A tag is a version.
    let tagged = draft::version(rev.trim_start_matches(|c: char| !c.is_ascii_digit()));
    if snapshot.named == Named::Tag && project.version.is_none() {
        let found = |value| Found { value, from: format!("tag `{rev}`"), sure: Sure::Guessed };
        project.version = tagged.map(found);
    }
    let date = jiff::Timestamp::from_second(snapshot.date)
        .map_or_else(|_| today(), |at| at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string());
    Ok(Seen { project, rev: Some(rev), named: snapshot.named, chosen, date })
}

/// The revision to begin with: a spec says a name, and the lock says which commit that is.
fn chosen(url: &str, called: &str, reach: &Reach) -> Result<Finding, Failure> {
    let Reach { store, client, cancel } = reach;
    let names = git::names(store, client, url, cancel).map_err(failed)?;
    let finding = |value: &str, why: &str| Finding {
        field: "source",
        value: value.to_owned(),
        why: format!("{why}; `--rev` names another"),
        sure: Sure::Guessed,
    };
    if let Some(tag) = names.newest_release(called) {
        return Ok(finding(tag, "the tag of the newest release"));
    }
    let first = names.default.as_ref().or(names.branches.first());
    match first.or(names.tags.last()) {
        Some(name) => Ok(finding(name, "no tag looks like a release: the default branch")),
        None => Err(Failure::input("empty", format!("`{url}` has no branch and no tag"))),
    }
}

/// What was named on the command line is there or not, and it is as it is: only the way to it is
/// the machine's.
fn failed(error: fetch::Error) -> Failure {
    use fetch::Error as Fetch;
    match &error {
        Fetch::Unfit { .. } => Failure::error(Fault::Input, "unfit-source", &error),
        Fetch::Url(_) => Failure::error(Fault::Input, "bad-url", &error),
        Fetch::Missing { urls, .. } => {
            let urls: Vec<String> = urls.iter().map(|url| format!("`{url}`")).collect();
            Failure::input("missing-file", format!("there is no file at {}", urls.join(", ")))
                .hint("a repository is told from a file by how its URL ends: `.tar.gz`, `.zip` …")
        }
        Fetch::Store(_) => Failure::error(Fault::Machine, "store", &error),
        _ => Failure::error(Fault::Machine, "fetch", &error),
    }
}

/// The texts of a tree whose contents are in the store.
fn texts_of_tree(store: &Store, tree: &Tree) -> BTreeMap<String, String> {
    let mut budget = MOST;
    let text = |digest: &Digest, budget: &mut u64| {
        let mut bytes = Vec::new();
        store.open_object(digest).ok()?.take(LARGEST + 1).read_to_end(&mut bytes).ok()?;
        *budget = budget.checked_sub(bytes.len() as u64)?;
        (bytes.len() as u64 <= LARGEST).then(|| String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut texts = BTreeMap::new();
    for entry in tree.entries() {
        let (TreeKind::File(digest) | TreeKind::Executable(digest)) = &entry.kind else { continue };
        if let Some(text) = text(digest, &mut budget) {
            texts.insert(entry.path.clone(), text);
        }
    }
    texts
}

/// The files of a tarball.
fn packed(url: &str, called: &str, reach: &Reach) -> Result<Seen, Failure> {
    let Reach { store, client, cancel } = reach;
    let broken = |error: &dyn std::error::Error| Failure::error(Fault::Machine, "store", error);
    let unfit = |error: &tarball::Error| {
        let message = format!("`{url}` cannot be a source");
        let failure = Failure::input("unfit-source", message).because(error.to_string());
        match std::error::Error::source(error) {
            Some(cause) => failure.because(cause.to_string()),
            None => failure,
        }
    };
    let parsed: Url = url.parse().map_err(failed)?;
    let found =
        fetch::file(store, client, &[parsed], Expected::default(), cancel).map_err(failed)?;
    let object = found.object;
    let open = || store.open_object(&object.digest).map_err(|error| broken(&error));
    let mut head = Vec::new();
    open()?.take(1024).read_to_end(&mut head).map_err(|error| broken(&error))?;
    let format = tarball::detect(&head).ok_or_else(|| unfit(&tarball::Error::Unknown))?;
    let listing =
        Listing::read(format, open()?, Limits::default()).map_err(|error| unfit(&error))?;
    let mut texts = BTreeMap::new();
    let mut budget = MOST;
    let read: Result<(), tarball::Error> = listing.each(open()?, |entry, content| {
        let is_file = matches!(entry.kind, Kind::File | Kind::Executable);
        let mut bytes = Vec::new();
        if is_file && budget > 0 {
            let read = content.take(LARGEST + 1).read_to_end(&mut bytes);
            read.map_err(|error| tarball::Error::Read(format, error))?;
            budget = budget.saturating_sub(bytes.len() as u64);
            if bytes.len() as u64 <= LARGEST {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                texts.insert(entry.path.clone(), text);
            }
        }
        Ok(())
    });
    read.map_err(|error| unfit(&error))?;
    let paths = listing.entries().map(|entry| entry.path.clone()).collect();
    let project = project(paths, &texts, called);
    Ok(Seen { project, rev: None, named: Named::Commit, chosen: None, date: today() })
}

fn project(mut paths: Vec<String>, texts: &BTreeMap<String, String>, called: &str) -> Project {
    paths.sort();
    Project::of(&Files { paths, read: Box::new(|path| texts.get(path).cloned()) }, called)
}
