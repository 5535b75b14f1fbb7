//! What makes a generation out of what the repository has: `promote`, `withdraw`, `rollback` and
//! `refresh`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use super::broken;
use crate::cli::arguments::{Global, Place, RepoPromote, RepoRefresh, RepoRollback, RepoWithdraw};
use crate::cli::context::{Machine, Release, named_one};
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;
use crate::cli::progress::duration;
use crate::cli::publish::complete::{self, Finale};
use crate::cli::publish::destination::{Destination, listed, repository_folder};
use crate::cli::publish::objection;
use crate::cli::report::count;
use crate::publish::item::Item;
use crate::publish::stage::{Contents, Stage};
use crate::publish::suite::{Indexes, change, difference};
use crate::publish::{Change, Error, Generation, Published, Reason, Repository, State};
use crate::spec::release::Rehearse;

/// A release and the repository that it publishes to.
struct Scene<'a> {
    release: Release,
    repository: Repository,
    place: &'a Place,
    global: &'a Global,
    output: &'a Output,
    began: Instant,
}

/// What a generation will be.
struct Next<'r> {
    indexes: Indexes<'r>,
    changes: Vec<Change>,
    architectures: Vec<String>,
    published: Option<(Published, Option<Vec<u8>>)>,
    reason: Reason,
    /// The most that is tried of it.
    rehearse: Rehearse,
}

impl<'a> Scene<'a> {
    /// The release among the words, and the other words.
    fn read(
        words: &[String],
        place: &'a Place,
        global: &'a Global,
        output: &'a Output,
    ) -> Result<(Self, Vec<String>), Failure> {
        let began = Instant::now();
        let (folder, names) = named_one(words)?;
        let release = Release::load(&folder)?;
        let repository = Repository::open(repository_folder(&folder, place)).map_err(broken)?;
        Ok((Self { release, repository, place, global, output, began }, names))
    }

    /// Makes the generation that `next` says, and switches to it.
    fn make(
        &self,
        suite: &str,
        next: impl FnOnce(&Stage<'_>, &Machine, &Destination<'_>) -> Result<Next<'a>, Failure>,
    ) -> Result<Value, Failure>
    where
        Self: 'a,
    {
        let Self { release, repository, place, global, output, began } = self;
        let destination = Destination::find(release, Some(suite))?;
        let now = Timestamp::now();
        let signers = destination.signers(release, place, now, output)?;
        let machine = Machine::open(release, global)?;
        let world = machine.world();
        let mut stage = Stage::begin(world.store, repository, now).map_err(broken)?;
        let next = match next(&stage, &machine, &destination) {
            Ok(next) => next,
            Err(failure) => {
                stage.give_up().map_err(broken)?;
                return Err(failure);
            }
        };
        let Next { indexes, changes, architectures, published, reason, rehearse } = next;
        let renews = reason == Reason::Refresh;
        if place.dry_run || changes.is_empty() && !renews {
            stage.give_up().map_err(broken)?;
            let text = match changes.is_empty() {
                true => format!("nothing in `{suite}` changes\n"),
                false => format!("to {suite}\n{}", listed(&changes)),
            };
            output.text(&text);
            return Ok(destination.document(repository, None, &changes));
        }
        let contents =
            Contents { indexes, changes: changes.clone(), architectures: &architectures, published };
        stage.put(suite, destination.suite, contents, &signers).map_err(broken)?;
        let staged = stage.finish(reason, &signers).map_err(broken)?;
        let finale = Finale {
            world: &world,
            release,
            destination: &destination,
            repository,
            signers: &signers,
            rehearse: place.rehearse.unwrap_or(destination.suite.rehearse.min(rehearse)),
        };
        let done = finale.complete(staged, global, output)?;
        output.summary(&format!(
            "{}{}generation {} of {} in {}: {}\n",
            listed(&changes),
            complete::line(done.verdict.as_ref()),
            done.generation.number,
            repository.root(),
            duration(began.elapsed()),
            match renews {
                true => format!("`{suite}` signed anew"),
                false => count(changes.len(), "change"),
            },
        ));
        Ok(destination.document(repository, Some(&done), &changes))
    }
}
