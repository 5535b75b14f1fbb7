//! `repo adopt`: another tool's repository becomes a generation of ours.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::broken;
use crate::cli::arguments::{Global, RepoAdopt};
use crate::cli::context::{Machine, Release, client, nearest, release_folder};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::progress::{duration, reading};
use crate::cli::publish::complete::{self, Finale};
use crate::cli::publish::destination::Destination;
use crate::cli::publish::keys::Keys;
use crate::cli::publish::objection;
use crate::cli::report::{bytes, count};
use crate::fetch::Progress;
use crate::publish::adopt::{Error, Found, Origin, Trust};
use crate::publish::generation::State;
use crate::publish::item::{self, Item};
use crate::publish::sign::Signers;
use crate::publish::stage::{Contents, Stage};
use crate::publish::suite::{self, change};
use crate::publish::{Change, Reason, Repository};

/// How many older versions are named.
const SHOWN: usize = 10;

/// A suite of theirs, and the one of ours that it becomes.
struct Taken<'a> {
    found: Found,
    destination: Destination<'a>,
    signers: Signers,
}

/// Takes a repository over.
pub fn run(arguments: &RepoAdopt, global: &Global, output: &Output) -> Result<Value, Failure> {
    let began = Instant::now();
    let folder = match &arguments.release {
        Some(folder) => release_folder(folder)?,
        None => nearest().map_err(|failure| failure.hint("or name it: `--release DIR`"))?,
    };
    let release = Release::load(&folder)?;
    let origin = origin(arguments, global)?;
    let pairs = pairs(&origin, &release, arguments)?;
    // Without a key nothing is begun.
    let now = Timestamp::now();
    let mut targets = Vec::new();
    for (there, ours) in pairs {
        let destination = Destination::find(&release, Some(&ours)).map_err(|failure| {
            failure.hint(format!(
                "`[publish.{ours}]` in release.toml makes it one; `--to {there}=SUITE` names \
                 another"
            ))
        })?;
        let signers = destination.signers(&release, &arguments.place, now, output)?;
        targets.push((there, destination, signers));
    }
    let machine = Machine::open(&release, global)?;
    let world = machine.world();
    let keys = keyring(arguments)?;
    let trust = keys.as_deref().map_or(Trust::Folder, Trust::Keys);
    let mut taken = Vec::new();
    for (there, destination, signers) in targets {
        let found = origin.suite(world.store, &there, &trust, now, world.cancel);
        let found = found.map_err(|error| refused(&error))?;
        let lost = lost(&found, &destination);
        if !lost.is_empty() {
            output.note(&format!(
                "note: clients know `{there}` by fields that release.toml does not say; \
                 they complain of others:\n[publish.{}]\n{lost}",
                destination.name
            ));
        }
        tell_older(&found, output);
        taken.push(Taken { found, destination, signers });
    }
    let listed: String = taken.iter().map(Taken::line).collect();
    if arguments.place.dry_run {
        output.text(&listed);
        return Ok(document(&taken, None, &[]));
    }

    let bar = reading(global);
    bar.set_message("files");
    let brought = {
        let mut all: Vec<&mut Found> = taken.iter_mut().map(|taken| &mut taken.found).collect();
        let told = |progress: Progress| {
            bar.set_length(progress.files as u64);
            bar.set_position(progress.files_done as u64);
        };
        origin.bring(world.store, &mut all, &told, world.cancel)
    };
    brought.map_err(|error| refused(&error))?;
    let repository = taken[0].destination.repository(&folder, &arguments.place)?;
    let mut stage = Stage::begin(world.store, &repository, now).map_err(broken)?;
    taken.iter().try_for_each(|taken| taken.refuse_published(&stage))?;
    let mut items = Vec::new();
    let mut traces = Vec::new();
    for Taken { found, destination, .. } in &mut taken {
        let some = found.items(world.store, &repository).map_err(broken)?;
        let allowed = &arguments.downgrade;
        traces.push(objection::judge(&stage, &repository, &world, destination, &some, allowed)?);
        items.push(some);
    }
    bar.set_position(0);
    let all: Vec<Item> = items.iter().flatten().cloned().collect();
    bar.set_length(all.iter().map(|item| item.files.len() as u64).sum());
    let filled = stage.fill_pool(&all, &|| bar.inc(1));
    bar.finish_and_clear();
    filled.map_err(broken)?;

    let (mut changes, mut keys) = (Vec::new(), Vec::new());
    for (Taken { found, destination, signers }, (items, trace)) in
        taken.iter().zip(items.iter().zip(&traces))
    {
        let name = destination.name.as_str();
        let mut indexes = stage.indexes(name).map_err(broken)?;
        // Clients need them before anything else; the suite itself has what it had.
        keys.push(Keys::new(&release, destination, &repository, &mut indexes, signers)?);
        let gone = gone(&mut indexes, items).map_err(broken)?;
        let architectures = &found.architectures;
        let changed = change(&mut indexes, world.store, name, items, &gone, architectures);
        let mut changed = changed.map_err(broken)?;
        for change in &mut changed {
            change.downgrade = trace.get(&change.source).cloned();
        }
        changed.extend(found.known(name, &stage.ledger).map_err(broken)?);
        changes.extend(changed.iter().cloned());
        let contents = Contents { indexes, changes: changed, architectures, published: None };
        stage.put(name, destination.suite, contents, signers).map_err(broken)?;
    }
    if changes.is_empty() {
        stage.give_up().map_err(broken)?;
        output.summary(&format!("{listed}it has all of this already\n"));
        return Ok(document(&taken, None, &[]));
    }
    keys.iter().try_for_each(|keys| keys.write(&repository))?;
    let (first, others) = taken.split_first().expect("a repository without suites is refused");
    let reason = Reason::Adopt { from: named(arguments) };
    let staged = stage.finish(reason, &first.signers).map_err(broken)?;
    let finale = Finale {
        world: &world,
        release: &release,
        destination: &first.destination,
        repository: &repository,
        signers: &first.signers,
        rehearse: arguments.place.rehearse.unwrap_or(first.destination.suite.rehearse),
    };
    let others: Vec<_> = others.iter().map(|one| (&one.destination, &one.signers)).collect();
    let done = finale.complete_with(&others, staged, global, output)?;
    output.summary(&format!(
        "{listed}{}generation {} of {} in {}: {}\n",
        complete::line(done.verdict.as_ref()),
        done.generation.number,
        repository.root(),
        duration(began.elapsed()),
        count(changes.len(), "change"),
    ));
    Ok(document(&taken, Some((&repository, &done)), &changes))
}

fn origin(arguments: &RepoAdopt, global: &Global) -> Result<Origin, Failure> {
    let from = &arguments.from;
    if from.contains("://") {
        if arguments.trust_folder {
            let message = "`--trust-folder` is for folders of this machine";
            return Err(Failure::input("unauthenticated", message)
                .hint("`--keyring FILE` names the keys that sign what is at a URL"));
        }
        return Origin::at_url(from, client(global)).map_err(|error| refused(&error));
    }
    let folder = std::path::absolute(from).unwrap_or_else(|_| from.into());
    if folder.join("dists").is_dir() {
        return Ok(Origin::in_folder(crate::base::HostPath::new(folder)));
    }
    let failure =
        Failure::input("no-repository", format!("`{from}` has no `dists`: it is no repository"));
    Err(match folder.join("public/dists").is_dir() {
        true => failure.hint(format!("`{from}/public` is one")),
        false => failure.hint(
            "the folder is meant that clients see: reprepro's outdir, aptly's \
                               public folder",
        ),
    })
}

/// Which suites are meant, and which of ours they become.
fn pairs(
    origin: &Origin,
    release: &Release,
    arguments: &RepoAdopt,
) -> Result<Vec<(String, String)>, Failure> {
    let names = match &arguments.suites[..] {
        [] => match origin.suites().map_err(|error| refused(&error))? {
            Some(names) => names,
            None if arguments.to.is_empty() => {
                release.spec.release.suites.keys().cloned().collect()
            }
            None => arguments.to.iter().map(|(there, _)| there.clone()).collect(),
        },
        names => names.to_vec(),
    };
    if let Some((unknown, _)) = arguments.to.iter().find(|(there, _)| !names.contains(there)) {
        let message = format!("`--to` names suite `{unknown}`, which is not taken over");
        return Err(Failure::input("unknown-suite", message));
    }
    let of = |name: &String| arguments.to.iter().find(|(there, _)| there == name);
    let ours = |name: &String| of(name).map_or_else(|| name.clone(), |(_, ours)| ours.clone());
    let pairs: Vec<_> = names.iter().map(|name| (name.clone(), ours(name))).collect();
    let mut seen = BTreeSet::new();
    if let Some((_, twice)) = pairs.iter().find(|(_, ours)| !seen.insert(ours)) {
        let message = format!("`{twice}` cannot become two suites at once");
        return Err(Failure::input("two-suites", message)
            .hint("one after the other, the older first: the ledger then knows both"));
    }
    match pairs.is_empty() {
        true => Err(Failure::input("no-suite", format!("`{}` has no suite", arguments.from))),
        false => Ok(pairs),
    }
}

fn keyring(arguments: &RepoAdopt) -> Result<Option<Vec<u8>>, Failure> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| {
            let message = format!("cannot read the keyring `{}`: {error}", Path::display(path));
            Failure::input("no-keyring", message)
        })
    };
    arguments.keyring.as_ref().map(read).transpose()
}

/// The origin as the ledger keeps it.
fn named(arguments: &RepoAdopt) -> String {
    match arguments.trust_folder {
        true => format!("{} (trusted as it is: no signature was checked)", arguments.from),
        false => arguments.from.clone(),
    }
}

fn refused(error: &Error) -> Failure {
    match error {
        Error::Fetch(inner) => Failure::error(Kind::Machine, "fetch", inner),
        Error::Publish(_) | Error::Store(_) => Failure::error(Kind::Machine, "repository", error),
        Error::Refused { .. } => Failure::error(Kind::Result, "unauthenticated", error)
            .hint("`--keyring FILE` names the keys of which one signs the repository"),
        Error::Expired { .. } => Failure::error(Kind::Result, "expired", error)
            .hint("let the tool that made it sign it again first"),
        _ => Failure::error(Kind::Result, "unusable", error),
    }
}

impl Taken<'_> {
    fn line(&self) -> String {
        let Self { found, destination, .. } = self;
        let sources = found.rows.iter().filter(|row| row.item.kind == item::Kind::Source).count();
        format!(
            "  {} -> {}  {}, {}, {}\n",
            found.name,
            destination.name,
            count(found.rows.len() - sources, "package"),
            count(sources, "source"),
            bytes(found.size()),
        )
    }

    /// What was published here must not go because another repository does not have it.
    fn refuse_published(&self, stage: &Stage<'_>) -> Result<(), Failure> {
        let name = &self.destination.name;
        let state = stage.previous.as_ref().and_then(|previous| previous.suites.get(name));
        match state {
            Some(State { published: Some(published), .. }) => {
                let release = format!("{} {}", published.name, published.version);
                let message = format!("`{name}` has {release}, which was published to it");
                Err(Failure::input("published", message)
                    .hint("another suite can take the repository over: `--to SUITE=OURS`"))
            }
            _ => Ok(()),
        }
    }
}

/// What a suite of ours has that it will have no more.
fn gone(indexes: &mut suite::Indexes<'_>, items: &[Item]) -> crate::publish::Result<Vec<Item>> {
    let stays: BTreeSet<Key<'_>> = items.iter().map(key).collect();
    let mut gone = Vec::new();
    indexes.each(|kind, component, paragraph| {
        let item = suite::item(kind, component, paragraph)?;
        if !stays.contains(&key(&item)) {
            gone.push(item);
        }
        Ok(())
    })?;
    Ok(gone)
}

/// Lines for release.toml: fields that clients compare, or act upon, and that ours would not have.
fn lost(found: &Found, destination: &Destination<'_>) -> String {
    let suite = destination.suite;
    let mut lines = String::new();
    for (field, key, ours) in [
        ("Origin", "origin", suite.origin.as_deref()),
        ("Label", "label", suite.label.as_deref()),
        ("Codename", "codename", suite.codename.as_deref().or(Some(&destination.name))),
        ("Description", "description", suite.description.as_deref()),
    ] {
        if let Some(theirs) = found.release.field(field).filter(|it| Some(it.as_str()) != ours) {
            lines.push_str(&format!("{key} = {}\n", Value::String(theirs)));
        }
    }
    lines.trim_end().to_owned()
}

fn tell_older(found: &Found, output: &Output) {
    let names: Vec<String> = found
        .older
        .iter()
        .take(SHOWN)
        .map(|row| format!("{} {} ({})", row.item.name, row.item.version, row.item.architecture))
        .collect();
    if !names.is_empty() {
        let more = match found.older.len() - names.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        output.note(&format!(
            "note: `{}` has newer versions of these, which are taken; the ledger gets them all: \
             {}{more}",
            found.name,
            names.join(", ")
        ));
    }
    for field in ["NotAutomatic", "ButAutomaticUpgrades"] {
        if found.release.field(field).is_some_and(|value| value == "yes") {
            let name = &found.name;
            output.note(&format!("note: `{name}` says `{field}: yes`, which ours does not"));
        }
    }
}

fn document(
    taken: &[Taken<'_>],
    done: Option<(&Repository, &complete::Done)>,
    changes: &[Change],
) -> Value {
    let suites = taken.iter().map(|Taken { found, destination, .. }| {
        json!({
            "from": found.name,
            "suite": destination.name,
            "packages": found.rows.len(),
            "older": found.older.len(),
            "bytes": found.size(),
            "signers": found.release.signers,
        })
    });
    json!({
        "repository": done.map(|(repository, _)| repository.root().to_string()),
        "generation": done.map(|(_, done)| done.generation.number),
        "rehearsal": complete::document(done.and_then(|(_, done)| done.verdict.as_ref())),
        "suites": suites.collect::<Vec<_>>(),
        "changes": changes,
    })
}

/// What tells a package of a suite from all others.
type Key<'a> = (item::Kind, &'a str, &'a str, &'a str);

fn key(item: &Item) -> Key<'_> {
    let Item { kind, component, name, architecture, .. } = item;
    (*kind, component, name, architecture)
}
