//! What the ledger says against a publication.

use std::collections::{BTreeMap, BTreeSet};

use super::destination::Destination;
use crate::audit::difference::Difference;
use crate::base::nearest;
use crate::cli::arguments::Downgrade;
use crate::cli::failure::{Failure, Kind};
use crate::cli::repo::broken;
use crate::publish::Repository;
use crate::publish::item::{Item, Kind as ItemKind};
use crate::publish::layout::POOL;
use crate::publish::ledger::{Candidate, Objection};
use crate::publish::stage::Stage;
use crate::realise::world::World;

/// How many changes of a package are shown.
const SHOWN: usize = 12;

/// Asks the ledger about each package; gives why a source's packages may be downgraded, where the
/// user has said so.
pub fn judge(
    stage: &Stage<'_>,
    repository: &Repository,
    world: &World<'_>,
    destination: &Destination<'_>,
    items: &[Item],
    allowed: &Downgrade,
) -> Result<BTreeMap<String, String>, Failure> {
    let candidates: Vec<Candidate<'_>> = items.iter().map(Candidate::of).collect();
    let (name, sees) = (&destination.name, &destination.suite.seen());
    let answers = stage.ledger.judge(name, sees, &candidates).map_err(broken)?;
    let mut trace = BTreeMap::new();
    let mut failure: Option<Failure> = None;
    let mut told = BTreeSet::new();
    for (item, objection) in items.iter().zip(answers) {
        let Some(objection) = objection else { continue };
        let is_allowed = || {
            allowed.allow_downgrade.iter().any(|name| [&item.source, &item.name].contains(&name))
        };
        if matches!(objection, Objection::Downgrade { .. })
            && let Some(reason) = allowed.reason.as_ref().filter(|_| is_allowed())
        {
            trace.insert(item.source.clone(), reason.clone());
            continue;
        }
        // One of the packages that a source leads to stands for all of them.
        let word = matches!(objection, Objection::Downgrade { .. });
        if word && !told.insert(item.source.as_str()) {
            continue;
        }
        let one = refused(item, &objection, || shown(repository, world, item));
        failure = [failure, Some(one)].into_iter().flatten().reduce(Failure::and);
    }
    failure.map_or(Ok(trace), Err)
}

/// That every package that may be downgraded is one of these.
pub fn known(items: &[Item], allowed: &Downgrade) -> Result<(), Failure> {
    let names = || items.iter().flat_map(|item| [item.source.as_str(), item.name.as_str()]);
    let mut all = allowed.allow_downgrade.iter();
    let Some(unknown) = all.find(|name| !names().any(|known| known == **name)) else {
        return Ok(());
    };
    let message = format!("`--allow-downgrade {unknown}`: no package of this name is published");
    let failure = Failure::input("unknown-package", message);
    Err(match nearest(unknown, names()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure,
    })
}

/// Why a package is not published.
fn refused(item: &Item, objection: &Objection, shown: impl FnOnce() -> Option<String>) -> Failure {
    let title = format!("{} {} ({})", item.name, item.version, item.architecture);
    match objection {
        Objection::Downgrade { suite, version, generation } => {
            let message = format!(
                "{} {} is older than {version}, which generation {generation} brought to \
                 `{suite}`",
                item.source, item.version
            );
            Failure::new(Kind::Result, "downgrade", message).hint(format!(
                "clients that have {version} would not take it; `--allow-downgrade {} --reason \
                 \"…\"` publishes it all the same",
                item.source
            ))
        }
        Objection::Different { suite, payload, generation } => {
            let mut message = format!(
                "{title} is not what generation {generation} brought to `{suite}` under this \
                 version\npublished {payload}\nbuilt     {}",
                item.payload
            );
            if let Some(shown) = shown() {
                message.push('\n');
                message.push_str(shown.trim_end());
            }
            Failure::new(Kind::Result, "different", message)
                .hint("a new version is needed: clients have the other one")
        }
    }
}

/// What is different in the file that clients have.
fn shown(repository: &Repository, world: &World<'_>, item: &Item) -> Option<String> {
    let pool = repository.path(POOL);
    // The signature of a source package differs in any case.
    if item.kind == ItemKind::Source {
        return None;
    }
    let file = item.files.first()?;
    let mut new = tempfile::NamedTempFile::new().ok()?;
    let mut reader = file.open(world.store, &pool).ok()?;
    std::io::copy(&mut reader, new.as_file_mut()).ok()?;
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let found = Difference::between(name, pool.join(&file.path).as_path(), new.path()).ok()?;
    Some(found.text(SHOWN))
}
