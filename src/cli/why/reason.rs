//! Why an attempt was made: as its record has it, or else as the documents of the store tell.

use std::collections::BTreeMap;

use super::Asked;
use crate::base::PackageName;
use crate::cli::failure::Failure;
use crate::graph::Origin;
use crate::graph::diff;
use crate::realise::rebuild::{Build, Cause, Different, History, Input, Need, document};
use crate::realise::record::Record;
use crate::store::{Attempt, Store};

/// Why an attempt was made, and the build before it if there is one. `attempts` are those at the
/// same package, newest first.
pub fn of_attempt<'a>(
    asked: &Asked<'_>,
    history: &History,
    attempt: &Attempt,
    attempts: impl Iterator<Item = &'a Attempt>,
) -> (Cause, Option<&'a Attempt>) {
    let world = asked.machine.world();
    let store = world.store;
    let architecture = crate::realise::rebuild::architecture(store, attempt.derivation);
    let earlier = attempts.filter(|one| one.id < attempt.id && one.package == attempt.package);
    let recorded = recorded(store, attempt);
    let before = match &recorded {
        Some(Cause { before: Some(before), .. }) => {
            let action = before.action;
            earlier.filter(|one| one.record.is_some()).find(|one| one.action == action)
        }
        Some(Cause { before: None, .. }) => None,
        None => history.before(store, earlier, architecture.as_deref().unwrap_or_default()),
    };
    let cause = match (recorded, before) {
        (Some(cause), _) => cause,
        (None, None) => Cause::default(),
        (None, Some(before)) => reckoned(asked, attempt, before),
    };
    (cause, before)
}

/// What the record of an attempt has, if there is one, and it says.
fn recorded(store: &Store, attempt: &Attempt) -> Option<Cause> {
    let bytes = store.json(&attempt.record?).ok()??;
    Record::from_json(&bytes).ok()?.causes
}

/// What is different between two attempts, as far as the store still has what went into them.
fn reckoned(asked: &Asked<'_>, attempt: &Attempt, before: &Attempt) -> Cause {
    let world = asked.machine.world();
    let store = world.store;
    let documents = |name: &str| document(store, name);
    let of = |attempt: &Attempt| documents(&attempt.action.to_string());
    let different = match (of(before), of(attempt)) {
        (Some(old), Some(new)) => Different::actions(&old, &new),
        _ => Different::default(),
    };
    let (old, new) = (before.derivation.to_string(), attempt.derivation.to_string());
    let ends: Vec<Input> = diff::causes(&old, &new, &documents, &documents)
        .into_iter()
        .filter(|(name, _)| name != attempt.package.as_str() && !name.is_empty())
        .flat_map(|(package, changes)| {
            changes.into_iter().map(move |diff::Change { field, item, old, new }| Input {
                package: package.clone(),
                field,
                item,
                old,
                new,
                place: None,
            })
        })
        .collect();
    let mut needs = BTreeMap::new();
    for (_, package) in asked.graph.packages() {
        for binary in &package.binaries {
            let need = Need { package: package.name.to_string(), because: ends.clone() };
            needs.insert(binary.to_string(), need);
        }
    }
    let build = Build {
        store,
        package: attempt.package.as_str(),
        root: root_name(asked, &attempt.package),
        derivation: attempt.derivation,
        news: &documents,
        spec: Some(&asked.release.spec),
    };
    build.cause(before, different, &needs)
}

/// What the root of a package is called now.
fn root_name<'a>(asked: &'a Asked<'_>, package: &PackageName) -> &'a str {
    let root = asked.graph.package(package.as_str()).map(|(_, package)| package.root);
    match root.and_then(|root| asked.graph.node(root)).map(|node| &node.origin) {
        Some(Origin::Root { name, .. }) => name,
        _ => "",
    }
}

/// The build attempts of a store, newest first.
pub fn attempts(store: &Store, package: Option<&PackageName>) -> Result<Vec<Attempt>, Failure> {
    store.attempts(package, u32::MAX).map_err(|error| super::broken(&error))
}
