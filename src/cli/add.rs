//! `add`: a spec for what there is, found out from the thing itself.

mod catalog;
mod draft;
mod folder;
mod license;
mod project;
mod remote;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::address::{shown, slashed};
use super::arguments::{Add, Global};
use super::context::{Release, client, mirrors, named_one, open_store};
use super::failure::{Failure, Kind, Problem};
use super::interrupt::cancel_on_interrupt;
use super::lock;
use super::output::{CommandResult, Output};
use crate::base::{HostPath, PackageName};
use crate::fetch::Client;
use crate::realise::upstream::Upstream;
use crate::spec::{self, Spec, release};
use crate::store::Store;

use catalog::{Catalog, Named, Resolved};
use draft::Draft;
use project::{Project, Sure};

/// The largest file that is looked into, in bytes.
const LARGEST: u64 = 1 << 20;

/// Most bytes that are looked into in all.
const MOST: u64 = 64 << 20;

/// What brings things in from elsewhere.
struct Reach {
    store: Store,
    client: Client,
    cancel: Arc<AtomicBool>,
}

/// Writes a spec for each thing that was named, and pins what it needs.
pub fn run(arguments: &Add, global: &Global, output: &Output) -> CommandResult {
    let (folder, things) = sort(&arguments.words).map_err(|failure| (Value::Null, failure))?;
    add(&folder, &things, arguments, global, output).map_err(|failure| (Value::Null, failure))
}

/// Tells the release from what is to be added: the release is a folder with a release.toml.
fn sort(words: &[String]) -> Result<(HostPath, Vec<String>), Failure> {
    let is_release = |word: &String| {
        !is_of_archive(word)
            && !word.contains("://")
            && Path::new(word).join(release::FILE).is_file()
    };
    let (releases, things): (Vec<_>, Vec<_>) = words.iter().cloned().partition(is_release);
    let (folder, _) = named_one(&releases)?;
    if things.is_empty() {
        return Err(Failure::input("nothing-to-add", "there is nothing to add")
            .hint("name a folder, a URL, or a package of the archive: `perestroika add zlib`"));
    }
    Ok((folder, things))
}

/// A spec that is about to be written, and the folder that is copied for it.
struct Addition {
    draft: Draft,
    /// Where the spec goes.
    path: HostPath,
    copy: Option<folder::Copy>,
    /// What is worth telling beside the spec.
    notes: Vec<Note>,
}

fn add(
    folder: &HostPath,
    things: &[String],
    arguments: &Add,
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let mut release = open(folder)?;
    if release.lock.is_none() && !arguments.dry_run {
        // Without pins nothing can be looked up.
        match lock::pin(&release, global, output) {
            Ok(_) => release = open(folder)?,
            Err(failure) if failure.kind == Kind::Machine => {}
            Err(failure) => return Err(failure),
        }
    }
    let reach = Reach {
        store: open_store(global)?,
        client: client(global),
        cancel: cancel_on_interrupt()?,
    };
    let catalog = match read_catalog(&release, things, &reach, global, output) {
        Ok(catalog) => Some(catalog),
        Err(why) => {
            output.note(&format!("nothing is looked up in the archive: {why}"));
            None
        }
    };
    let mut additions: Vec<Addition> = Vec::new();
    let mut taken: BTreeSet<PackageName> = BTreeSet::new();
    for thing in things {
        let addition = plan(thing, &release, &reach, catalog.as_ref(), arguments)?;
        refuse_known(&release, &addition, &taken)?;
        taken.insert(addition.draft.name.clone());
        additions.push(addition);
    }
    if !arguments.dry_run {
        write(&additions)?;
    }
    for addition in &additions {
        tell(addition, arguments, output);
    }
    let documents: Vec<Value> = additions.iter().map(document).collect();
    let document = json!({ "added": documents });
    if arguments.dry_run {
        return Ok(document);
    }
    let release = match Release::load(folder) {
        Ok(release) => release,
        Err(failure) => {
            // A release that could be read before must be so afterwards.
            take_back(&additions);
            return Err(failure);
        }
    };
    for change in &lock::pin(&release, global, output)?.changes {
        output.summary(&format!("{change}\n"));
    }
    Release::load(folder)?.graph()?;
    let names: Vec<&str> = additions.iter().map(|one| one.draft.name.as_str()).collect();
    output.summary(&format!(
        "\nNext:\n  perestroika check {place}\n  perestroika build {place} {}\n",
        names.join(" "),
        place = slashed(folder),
    ));
    Ok(document)
}

/// The release; one that has no spec yet is a release here.
fn open(folder: &HostPath) -> Result<Release, Failure> {
    let failure = match Release::load(folder) {
        Ok(release) => return Ok(release),
        Err(failure) => failure,
    };
    let is_empty = matches!(&failure.problems[..],
        [Problem::InRelease { diagnostic, .. }] if diagnostic.code == "no-specs");
    let text = fs::read_to_string(folder.join(release::FILE)).unwrap_or_default();
    match release::parse(&text) {
        Ok(release) if is_empty => {
            let spec = Spec {
                release,
                packages: Vec::new(),
                stdlib: BTreeSet::new(),
                remotes: Vec::new(),
                unpinned: Vec::new(),
                extends: Vec::new(),
                footprint: None,
            };
            let lock = fs::read_to_string(folder.join(spec::lock::FILE)).ok();
            let lock = lock.and_then(|text| spec::lock::parse(&text).ok());
            Ok(Release { folder: folder.clone(), spec, lock })
        }
        _ => Err(failure),
    }
}

fn read_catalog(
    release: &Release,
    things: &[String],
    reach: &Reach,
    global: &Global,
    output: &Output,
) -> Result<Catalog, String> {
    let Some(lock) = &release.lock else { return Err("there is no release.lock".to_owned()) };
    let Some(root) = release.spec.release.roots.values().next() else {
        return Err("release.toml has no root".to_owned());
    };
    output.under_way("reading the pinned indexes…");
    let Reach { store, client, cancel } = reach;
    let mirrors = mirrors(release, global).map_err(|failure| failure.summary().to_owned())?;
    let upstream = Upstream::new(release.folder.clone(), lock.clone(), client.clone(), mirrors);
    let catalog = Catalog::read(&release.spec.release, root, lock, &upstream, store, cancel)?;
    if things.iter().all(|thing| is_of_archive(thing)) {
        return Ok(catalog);
    }
    catalog.with_contents(&upstream, store, cancel)
}

/// What would be added for one word.
fn plan(
    thing: &str,
    release: &Release,
    reach: &Reach,
    catalog: Option<&Catalog>,
    arguments: &Add,
) -> Result<Addition, Failure> {
    let (draft, copy, notes) = if is_of_archive(thing) {
        (of_archive(thing, release, catalog)?, None, Vec::new())
    } else if thing.contains("://") {
        let (draft, notes) = remote::plan(thing, reach, catalog, arguments)?;
        (draft, None, notes)
    } else {
        folder::plan(thing, release, catalog, arguments)?
    };
    let path = release.folder.join(format!("packages/{}.rhai", draft.name));
    Ok(Addition { draft, path, copy, notes })
}

/// Whether a word is a package of the archive rather than a folder or a URL.
fn is_of_archive(word: &str) -> bool {
    word != "." && word != ".." && !word.contains(['/', ':'])
}

/// A package of the archive.
fn of_archive(name: &str, release: &Release, catalog: Option<&Catalog>) -> Result<Draft, Failure> {
    let Some(catalog) = catalog else {
        return Err(Failure::new(
            Kind::Machine,
            "no-archive",
            format!("cannot look up `{name}`: the archive's indexes are not there"),
        )
        .hint("a folder is written with a `/`: `./NAME`"));
    };
    let roots = &release.spec.release.roots;
    let root = roots.keys().next().filter(|_| roots.len() > 1).map(String::as_str);
    let archive = &catalog.archive;
    match catalog.named(name) {
        Named::Source(binaries) => {
            let name = name.parse().map_err(|error| Failure::error(Kind::Input, "name", &error))?;
            Ok(draft::rebuilt(&name, archive, root, &binaries))
        }
        Named::Binary(source) => Err(Failure::input(
            "binary-package",
            format!("`{name}` is a binary package of archive `{archive}`"),
        )
        .hint(format!("source package `{source}` builds it: `perestroika add {source}`"))),
        Named::Nothing(near) => {
            let failure =
                Failure::input("unknown-package", format!("archive `{archive}` has no `{name}`"));
            Err(match near {
                _ if Path::new(name).is_dir() => {
                    failure.hint(format!("the folder of that name is written `./{name}`"))
                }
                Some(near) => failure.hint(format!("it has `{near}`")),
                None => failure.hint("a folder is written with a `/`: `./NAME`"),
            })
        }
    }
}

/// Something that is not in the spec, but worth knowing.
struct Note {
    /// What happened to it.
    what: &'static str,
    /// What it is.
    value: String,
    why: String,
}

/// What is not in the spec, but worth knowing.
fn notes(resolved: &Resolved, catalog: Option<&Catalog>, project: &Project) -> Vec<Note> {
    let optional = resolved.optional.iter().map(|(package, need)| Note {
        what: "left out",
        value: package.to_string(),
        why: format!("{} can use `{}`: add it if it should", need.from, need.wanted.name()),
    });
    let unknown = resolved.unknown.iter().map(|need| Note {
        what: "not found",
        value: need.wanted.name().to_owned(),
        why: format!("{} asks for it, and no package of the archive has it", need.from),
    });
    let mut notes: Vec<Note> = optional.chain(unknown).collect();
    if catalog.is_none() && !project.needs.is_empty() {
        notes.push(Note {
            what: "not looked up",
            value: "build_depends".to_owned(),
            why: "without the archive's indexes it is for you to write".to_owned(),
        });
    }
    notes
}

/// The name that was asked for.
fn parsed_name(arguments: &Add) -> Result<Option<PackageName>, Failure> {
    let parsed = arguments.name.as_ref().map(|name| name.parse());
    parsed.transpose().map_err(|error| Failure::error(Kind::Input, "name", &error))
}

/// The day, in UTC.
fn today() -> String {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// Nothing is overwritten, and no name is given twice.
fn refuse_known(
    release: &Release,
    addition: &Addition,
    taken: &BTreeSet<PackageName>,
) -> Result<(), Failure> {
    let name = &addition.draft.name;
    if taken.contains(name) {
        return Err(Failure::input("duplicate-package", format!("`{name}` is to be added twice")));
    }
    if let Some(known) = release.spec.packages.iter().find(|package| package.name == *name) {
        let span = &known.span;
        let place = shown(&release.folder.join(span.file.as_str()));
        return Err(Failure::input(
            "duplicate-package",
            format!("the release has a package `{name}` already: {place}:{}", span.line),
        )
        .hint("`--name NAME` gives the new one another name"));
    }
    if fs::symlink_metadata(&addition.path).is_ok() {
        return Err(Failure::input(
            "not-overwritten",
            format!("`{}` is there already, and is not overwritten", shown(&addition.path)),
        )
        .hint("`--name NAME` gives the new package another name"));
    }
    Ok(())
}

fn tell(addition: &Addition, arguments: &Add, output: &Output) {
    let Addition { draft, path, copy, notes } = addition;
    let would = if arguments.dry_run { "would write" } else { "wrote" };
    let mut text = String::new();
    if let Some(copy) = copy {
        let would = if arguments.dry_run { "would copy" } else { "copied" };
        let _ = writeln!(text, "{would} {} to {}", copy.from, shown(&copy.to));
    }
    let _ = writeln!(text, "{would} {}:\n", shown(path));
    for line in draft.text.lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
    for finding in &draft.findings {
        let sure = match finding.sure {
            Sure::Said => "",
            Sure::Guessed => "  (a guess: please check)",
        };
        let _ = writeln!(text, "  {:13} {:24} {}{sure}", finding.field, finding.value, finding.why);
    }
    for Note { what, value, why } in notes {
        let _ = writeln!(text, "  {what:13} {value:24} {why}");
    }
    output.summary(&text);
}

fn document(addition: &Addition) -> Value {
    let Addition { draft, path, notes, copy } = addition;
    let findings: Vec<Value> = draft
        .findings
        .iter()
        .map(|finding| {
            json!({
                "field": finding.field,
                "value": finding.value,
                "why": finding.why,
                "sure": finding.sure == Sure::Said,
            })
        })
        .collect();
    let notes: Vec<Value> = notes
        .iter()
        .map(|Note { what, value, why }| json!({ "what": what, "value": value, "why": why }))
        .collect();
    json!({
        "name": draft.name.as_str(),
        "file": path.to_string(),
        "copied": copy.as_ref().map(|copy| copy.to.to_string()),
        "spec": draft.text,
        "findings": findings,
        "notes": notes,
    })
}

fn write(additions: &[Addition]) -> Result<(), Failure> {
    let result = additions.iter().try_for_each(|Addition { draft, path, copy, .. }| {
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Machine, "write", format!("cannot write `{path}`"))
                .because(error.to_string())
        };
        if let Some(copy) = copy {
            copy.make()?;
        }
        let parent = path.as_path().parent().unwrap_or(path.as_path());
        fs::create_dir_all(parent).map_err(failed)?;
        // Whole or not at all, whatever happens meanwhile: half a spec would count as one.
        let mut file = tempfile::Builder::new()
            .prefix(".add-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(parent)
            .map_err(failed)?;
        file.write_all(draft.text.as_bytes()).map_err(failed)?;
        file.persist_noclobber(path).map_err(|error| failed(error.error)).map(drop)
    });
    if result.is_err() {
        take_back(additions);
    }
    result
}

/// Removes what was written.
fn take_back(additions: &[Addition]) {
    for Addition { draft, path, copy, .. } in additions {
        // What stands there now may be another's.
        if fs::read_to_string(path).is_ok_and(|text| text == draft.text) {
            let _ = fs::remove_file(path);
        }
        if let Some(copy) = copy {
            copy.take_back();
        }
    }
}
