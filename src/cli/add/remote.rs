//! A git repository or a tarball as the source of a package.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::catalog::{Catalog, Resolved};
use super::draft::{self, Draft, quoted};
use super::project::{Build, Files, Found, Project, Sure};
use super::{LARGEST, MOST, Reach, notes, parsed_name, today};
use crate::archive::tarball::{self, Kind, Limits, Listing};
use crate::base::{Digest, Tree, TreeKind};
use crate::cli::arguments::Add;
use crate::cli::failure::{Failure, Kind as Fault};
use crate::fetch::git::{self, Revision};
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
) -> Result<(Draft, Vec<String>), Failure> {
    let wanted = parsed_name(arguments)?;
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = PACKED.iter().filter_map(|end| file.strip_suffix(end)).min_by_key(|stem| stem.len());
    let seen = match stem {
        Some(stem) => packed(url, stem, reach)?,
        None => cloned(url, file.strip_suffix(".git").unwrap_or(file), reach, arguments)?,
    };
    let needs = match (catalog, &seen.project.build) {
        (Some(catalog), Some(build)) if build.value != Build::Debian => {
            catalog.resolve(&seen.project.needs)
        }
        _ => Resolved::default(),
    };
    let version = draft::version_of(&seen.project);
    let source = match (&seen.rev, &version) {
        (Some(rev), _) => format!("git({}, {})", quoted(url), quoted(rev)),
        // So that another version is another file, too.
        (None, Some(version)) if url.matches(version.as_str()).count() > 0 => {
            format!("tarball({})", quoted(&url.replace(version.as_str(), "{version}")))
        }
        (None, _) => format!("tarball({})", quoted(url)),
    };
    let draft = draft::of(&seen.project, wanted.as_ref(), &source, Some(&seen.date), &needs)
        .map_err(|why| {
            Failure::input("not-recognised", format!("cannot write a spec for `{url}`: {why}"))
                .hint("`build: script(…)` builds anything: see the example of `perestroika init`")
        })?;
    Ok((draft, notes(&needs, catalog, &seen.project)))
}

/// What a URL leads to.
struct Seen {
    project: Project,
    /// The revision, of a repository.
    rev: Option<String>,
    /// The day of its changelog entry.
    date: String,
}

/// The files of a commit.
fn cloned(url: &str, called: &str, reach: &Reach, arguments: &Add) -> Result<Seen, Failure> {
    let Reach { store, client, cancel } = reach;
    let failed = |error: fetch::Error| Failure::error(Fault::Machine, "fetch", &error);
    let rev = match &arguments.rev {
        Some(rev) => rev.clone(),
        // What the branch that everybody gets has now.
        None => git::resolve(store, client, url, "HEAD", cancel).map_err(failed)?,
    };
    let revision = Revision { url, rev: &rev, commit: None };
    let snapshot = git::snapshot(store, client, &revision, cancel).map_err(failed)?;
    let texts = texts_of_tree(store, &snapshot.tree);
    let paths = snapshot.tree.entries().iter().map(|entry| entry.path.clone()).collect();
    let mut project = project(paths, &texts, called);
    // A tag is a version.
    let tagged = draft::version(rev.trim_start_matches(|c: char| !c.is_ascii_digit()));
    if arguments.rev.is_some() && project.version.is_none() {
        let found = |value| Found { value, from: format!("tag `{rev}`"), sure: Sure::Guessed };
        project.version = tagged.map(found);
    }
    let date = jiff::Timestamp::from_second(snapshot.date)
        .map_or_else(|_| today(), |at| at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string());
    Ok(Seen { project, rev: Some(rev), date })
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
    let failed = |error: &dyn std::error::Error| Failure::error(Fault::Machine, "fetch", error);
    let unfit = |error: &dyn std::error::Error| Failure::error(Fault::Input, "unfit-source", error);
    let parsed: Url = url.parse().map_err(|error| unfit(&error))?;
    let object = fetch::file(store, client, &[parsed], Expected::default(), cancel)
        .map_err(|error| failed(&error))?;
    let open = || store.open_object(&object.digest).map_err(|error| failed(&error));
    let mut head = Vec::new();
    open()?.take(1024).read_to_end(&mut head).map_err(|error| failed(&error))?;
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
    Ok(Seen { project: project(paths, &texts, called), rev: None, date: today() })
}

fn project(mut paths: Vec<String>, texts: &BTreeMap<String, String>, called: &str) -> Project {
    paths.sort();
    Project::of(&Files { paths, read: Box::new(|path| texts.get(path).cloned()) }, called)
}
