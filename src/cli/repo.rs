//! `repo`: a repository as it is served, its mirrors, and what goes from it.

mod adopt;
mod change;
mod look;
mod prune;
mod push;

use super::arguments::{self, Global, RepoFolder};
use super::context::nearest;
use super::failure::{Failure, Kind};
use super::key;
use super::output::{CommandResult, Output};
use crate::base::HostPath;
use crate::publish::{Error, Repository};

/// Does what is asked of a repository.
pub fn run(command: &arguments::Repo, global: &Global, output: &Output) -> CommandResult {
    let result = match command {
        arguments::Repo::Adopt(arguments) => adopt::run(arguments, global, output),
        arguments::Repo::List(arguments) => look::list(arguments, output),
        arguments::Repo::Show(arguments) => look::show(arguments, output),
        arguments::Repo::Diff(arguments) => look::diff(arguments, output),
        arguments::Repo::Promote(arguments) => change::promote(arguments, global, output),
        arguments::Repo::Withdraw(arguments) => change::withdraw(arguments, global, output),
        arguments::Repo::Rollback(arguments) => change::rollback(arguments, global, output),
        arguments::Repo::Refresh(arguments) => change::refresh(arguments, global, output),
        arguments::Repo::Prune(arguments) => prune::run(arguments, global, output),
        arguments::Repo::Push(arguments) => push::run(arguments, global, output),
    };
    result.map_err(|failure| (serde_json::Value::Null, failure))
}

/// The repository that is meant: the one named, or `repo` of the nearest release folder.
pub fn open(named: &RepoFolder) -> Result<Repository, Failure> {
    let folder = match &named.repo {
        Some(folder) => HostPath::new(std::path::absolute(folder).unwrap_or(folder.clone())),
        None => nearest()
            .map_err(|failure| failure.hint("or name the repository: `--repo DIR`"))?
            .join("repo"),
    };
    Repository::open(folder).map_err(broken)
}

/// Why something with a repository failed.
pub fn broken(error: Error) -> Failure {
    if let Error::Sign(error) = &error {
        return key::unsigned(error);
    }
    let kind = match &error {
        Error::Pool { .. } => Kind::Result,
        Error::Absent(_) | Error::NoRepository(_) | Error::NoGeneration { .. } => Kind::Input,
        _ => Kind::Machine,
    };
    let failure = Failure::error(kind, "repository", &error);
    match error {
        Error::Absent(_) => failure.hint("`perestroika publish` makes it"),
        Error::Pool { .. } => failure.hint("a new version is needed: clients have the other one"),
        Error::Ledger { .. } => failure.hint(
            "bring back the newest copy, of a backup or mirror; one that is only for trying takes \
             a store of its own: `--store DIR`",
        ),
        _ => failure,
    }
}
