//! What makes a generation out of what the repository has: `promote`, `withdraw`, `rollback` and
//! `refresh`.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use super::broken;
use crate::base::nearest;
use crate::cli::arguments::{Global, Place, RepoPromote, RepoRefresh, RepoRollback, RepoWithdraw};
use crate::cli::context::{Machine, Release, named_one};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::progress::duration;
use crate::cli::publish::complete::{self, Finale};
use crate::cli::publish::destination::{Destination, listed, repository_folder};
use crate::cli::publish::objection;
use crate::cli::report::count;
use crate::publish::item::Item;
use crate::publish::sign::Signers;
use crate::publish::stage::{Contents, Stage};
use crate::publish::suite::{self, Indexes};
use crate::publish::{Change, Published, Reason, Repository};
use crate::spec::release::Rehearse;

/// Puts packages of one suite into another.
pub fn promote(
    arguments: &RepoPromote,
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let place = &arguments.place;
    let scene = Scene::read(&arguments.words, place, global, output)?;
    let mut making = scene.begin(&arguments.to)?;
    let mut from = scene.listed(&making.stage, &arguments.from)?;
    let mut items = Vec::new();
    for name in scene.names()? {
        let found = from.of_source(name).map_err(broken)?;
        if found.is_empty() {
            return Err(absent(&mut from, name, &arguments.from));
        }
        items.extend(found);
    }
    for item in &mut items {
        item.carry(&scene.repository).map_err(broken)?;
        // What is in a suite's own component goes into the other's own.
        let own = scene.release.spec.release.suites.get(&arguments.from);
        if own.is_some_and(|own| own.component == item.component) {
            item.component.clone_from(&making.destination.suite.component);
        }
    }
    let world = scene.machine.world();
    let (stage, destination) = (&making.stage, &making.destination);
    let trace = objection::judge(
        stage,
        &scene.repository,
        &world,
        destination,
        &items,
        &arguments.downgrade,
    )?;
    let architectures = scene.architectures(&making.stage, &arguments.from);
    let mut indexes = making.stage.indexes(&arguments.to).map_err(broken)?;
    let name = &making.destination.name;
    let mut changes = suite::change(&mut indexes, world.store, name, &items, &[], &architectures)
        .map_err(broken)?;
    for change in &mut changes {
        change.downgrade = trace.get(&change.source).cloned();
    }
    making.rehearse = Rehearse::Full;
    let reason = Reason::Promote { from: arguments.from.clone() };
    making.end(Next { indexes, changes, architectures, published: None, reason })
}

/// Takes packages out of a suite.
pub fn withdraw(
    arguments: &RepoWithdraw,
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let scene = Scene::read(&arguments.words, &arguments.place, global, output)?;
    let making = scene.begin(&arguments.from)?;
    let mut indexes = scene.listed(&making.stage, &arguments.from)?;
    let mut gone: Vec<Item> = Vec::new();
    for name in scene.names()? {
        let found = indexes.of_source(name).map_err(broken)?;
        if found.is_empty() {
            return Err(absent(&mut indexes, name, &arguments.from));
        }
        gone.extend(found);
    }
    let architectures = scene.architectures(&making.stage, &arguments.from);
    let world = scene.machine.world();
    let name = &making.destination.name;
    let changes = suite::change(&mut indexes, world.store, name, &[], &gone, &architectures)
        .map_err(broken)?;
    let reason = Reason::Withdraw { because: arguments.reason.clone() };
    making.end(Next { indexes, changes, architectures, published: None, reason })
}

/// Makes a suite what it was.
pub fn rollback(
    arguments: &RepoRollback,
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let scene = Scene::read(&arguments.words, &arguments.place, global, output)?;
    let (name, number) = match &scene.names[..] {
        [name] => (name, None),
        [name, number] => match number.parse::<u64>() {
            Ok(number) => (name, Some(number)),
            Err(_) => {
                let message = format!("`{number}` is no number of a generation");
                return Err(
                    Failure::input("no-number", message).hint("`perestroika repo list` lists them")
                );
            }
        },
        _ => {
            let message = "one suite is rolled back, to one generation";
            return Err(Failure::input("unexpected", message));
        }
    };
    let making = scene.begin(name)?;
    let mut now = scene.listed(&making.stage, name)?;
    let live = making.stage.previous.as_ref().map_or(0, |generation| generation.number);
    let number = match number {
        Some(number) => number,
        None => scene.before_last_change(name, live)?,
    };
    let generation = scene.repository.generation(number).map_err(broken)?;
    let Some(state) = generation.suites.get(name) else {
        let message = format!("generation {number} has no suite `{name}`");
        return Err(
            Failure::input("no-suite", message).hint("`perestroika repo list` lists what there is")
        );
    };
    let mut then = Indexes::read(&scene.repository, number, name, state).map_err(broken)?;
    let mut changes = suite::difference(name, &mut now, &mut then).map_err(broken)?;
    for change in &mut changes {
        change.downgrade = Some(format!("rolled back to generation {number}"));
    }
    let manifest = scene.repository.manifest(number, name).map_err(broken)?;
    let published = state.published.clone().map(|published| (published, manifest));
    let architectures = state.architectures.clone();
    let reason = Reason::Rollback { to: number };
    making.end(Next { indexes: then, changes, architectures, published, reason })
}

/// Signs suites anew.
pub fn refresh(
    arguments: &RepoRefresh,
    global: &Global,
    output: &Output,
) -> Result<Value, Failure> {
    let scene = Scene::read(&arguments.words, &arguments.place, global, output)?;
    let known = match scene.repository.live().map_err(broken)? {
        Some(number) => scene.repository.generation(number).map_err(broken)?.suites,
        None => return Err(never_published(&scene.repository)),
    };
    let suites = &scene.release.spec.release.suites;
    let names: Vec<&String> = match &scene.names[..] {
        [] => suites.keys().filter(|name| known.contains_key(*name)).collect(),
        names => names.iter().collect(),
    };
    let mut documents = Vec::new();
    for name in names {
        let making = scene.begin(name)?;
        let indexes = scene.listed(&making.stage, name)?;
        let architectures = scene.architectures(&making.stage, name);
        let (changes, reason) = (Vec::new(), Reason::Refresh);
        let next = Next { indexes, changes, architectures, published: None, reason };
        documents.push(making.end(next)?);
    }
    Ok(Value::Array(documents))
}

/// A release, and the repository that it publishes to.
struct Scene<'a> {
    release: Release,
    repository: Repository,
    machine: Machine,
    /// The words that are no release folder.
    names: Vec<String>,
    place: &'a Place,
    global: &'a Global,
    output: &'a Output,
    began: Instant,
}

/// A generation that is being made.
struct Making<'s> {
    scene: &'s Scene<'s>,
    stage: Stage<'s>,
    destination: Destination<'s>,
    signers: Signers,
    /// The most that is tried of it.
    rehearse: Rehearse,
}

/// What a generation will have.
struct Next<'r> {
    indexes: Indexes<'r>,
    changes: Vec<Change>,
    architectures: Vec<String>,
    published: Option<(Published, Option<Vec<u8>>)>,
    reason: Reason,
}

impl<'a> Scene<'a> {
    fn read(
        words: &[String],
        place: &'a Place,
        global: &'a Global,
        output: &'a Output,
    ) -> Result<Self, Failure> {
        let began = Instant::now();
        let (folder, names) = named_one(words)?;
        let release = Release::load(&folder)?;
        let repository = Repository::open(repository_folder(&folder, place)).map_err(broken)?;
        let machine = Machine::open(&release, global)?;
        Ok(Self { release, repository, machine, names, place, global, output, began })
    }

    /// The packages that are named.
    fn names(&self) -> Result<&[String], Failure> {
        if self.names.is_empty() {
            return Err(Failure::input("no-package", "no package is named"));
        }
        Ok(&self.names)
    }

    /// Begins a generation with another state of a suite.
    fn begin(&self, suite: &str) -> Result<Making<'_>, Failure> {
        let destination = Destination::find(&self.release, Some(suite))?;
        let now = Timestamp::now();
        let signers = destination.signers(&self.release, self.place, now, self.output)?;
        let store = self.machine.world().store;
        let stage = Stage::begin(store, &self.repository, now).map_err(broken)?;
        Ok(Making { scene: self, stage, destination, signers, rehearse: Rehearse::Update })
    }

    /// What a suite lists now, which must be there.
    fn listed(&self, stage: &Stage<'a>, suite: &str) -> Result<Indexes<'a>, Failure> {
        let Some(generation) = &stage.previous else {
            return Err(never_published(&self.repository));
        };
        if generation.suites.contains_key(suite) {
            return stage.indexes(suite).map_err(broken);
        }
        let message = format!("`{}` has no suite `{suite}`", self.repository.root());
        let failure = Failure::input("unknown-suite", message);
        Err(match nearest(suite, generation.suites.keys().map(String::as_str)) {
            Some(near) => failure.hint(format!("it has `{near}`")),
            None => failure.hint("`perestroika repo list` lists what there is"),
        })
    }

    fn architectures(&self, stage: &Stage<'_>, suite: &str) -> Vec<String> {
        let state = stage.previous.as_ref().and_then(|generation| generation.suites.get(suite));
        state.map(|state| state.architectures.clone()).unwrap_or_default()
    }

    /// The newest generation in which a suite was not yet what it is.
    fn before_last_change(&self, suite: &str, live: u64) -> Result<u64, Failure> {
        let numbers = self.repository.generations().map_err(broken)?;
        let mut last = None;
        for number in numbers.into_iter().rev().filter(|number| *number <= live) {
            let generation = self.repository.generation(number).map_err(broken)?;
            let here = generation.changes.iter().any(|change| change.suite == suite);
            match last {
                // The first one that changed it; the one before that is meant.
                None if here => last = Some(number),
                None => {}
                Some(_) if generation.suites.contains_key(suite) => return Ok(number),
                Some(_) => break,
            }
        }
        let message = format!("no generation is kept that has another `{suite}`");
        Err(Failure::input("no-generation", message).hint("`perestroika repo list` lists them"))
    }
}

impl Making<'_> {
    /// Makes the generation and switches to it.
    fn end(self, next: Next<'_>) -> Result<Value, Failure> {
        let Self { scene, mut stage, destination, signers, rehearse } = self;
        let Scene { release, repository, machine, place, global, output, .. } = scene;
        let Next { indexes, changes, architectures, published, reason } = next;
        let name = destination.name.as_str();
        let renews = reason == Reason::Refresh;
        if place.dry_run || changes.is_empty() && !renews {
            stage.give_up().map_err(broken)?;
            output.text(&match (changes.is_empty(), renews) {
                (true, true) => format!("`{name}` would be signed anew\n"),
                (true, false) => format!("nothing in `{name}` would change\n"),
                (false, _) => format!("in {name}\n{}", listed(&changes)),
            });
            return Ok(destination.document(repository, None, &changes));
        }
        let told = changes.clone();
        let contents = Contents { indexes, changes, architectures: &architectures, published };
        stage.put(name, destination.suite, contents, &signers).map_err(broken)?;
        let staged = stage.finish(reason, &signers).map_err(broken)?;
        let finale = Finale {
            world: &machine.world(),
            release,
            destination: &destination,
            repository,
            signers: &signers,
            rehearse: place.rehearse.unwrap_or(destination.suite.rehearse.min(rehearse)),
        };
        let done = finale.complete(staged, global, output)?;
        output.summary(&format!(
            "{}{}generation {} of {} in {}: {}\n",
            listed(&told),
            complete::line(done.verdict.as_ref()),
            done.generation.number,
            repository.root(),
            duration(scene.began.elapsed()),
            match renews {
                true => format!("`{name}` signed anew"),
                false => count(told.len(), "change"),
            },
        ));
        Ok(destination.document(repository, Some(&done), &told))
    }
}

fn never_published(repository: &Repository) -> Failure {
    let message = format!("nothing was ever published to `{}`", repository.root());
    Failure::input("nothing-published", message).hint("`perestroika publish` does")
}

/// Why a package cannot be had from a suite.
fn absent(indexes: &mut Indexes<'_>, name: &str, suite: &str) -> Failure {
    let mut sources = Vec::new();
    let read = indexes.each(|_, _, paragraph| {
        sources.push(suite::source_of(paragraph).to_owned());
        Ok(())
    });
    if let Err(error) = read {
        return broken(error);
    }
    let failure =
        Failure::input("unknown-package", format!("`{suite}` has no source package `{name}`"));
    match nearest(name, sources.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("it has `{near}`")),
        None => failure.hint("`perestroika repo show` lists what came last"),
    }
}
