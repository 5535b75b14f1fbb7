//! Why a package was built, as far as the store can tell.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::base::{DerivationId, Digest, Json};
use crate::cli::changes;
use crate::cli::failure::Failure;
use crate::graph::diff::{self, Change};
use crate::spec::Spec;
use crate::store::{Attempt, Store, Verdict};

/// Why a package was built, or would be.
pub enum Reason {
    /// It never was before.
    First,
    /// Its recipe is another: whose own inputs changed, itself first.
    Recipe(Vec<(String, Vec<Change>)>),
    /// Its recipe is the same, but what that came to is not: packages of its build root, or the
    /// rules by which it is put together.
    Surroundings(Vec<Change>),
    /// Nothing changed: what was there is lost, or something it needs is to be had first.
    Same,
}

/// The build of the same package before this one, for the same architecture.
pub fn before<'a>(store: &Store, attempts: &'a [Attempt], this: &Attempt) -> Option<&'a Attempt> {
    let built = |one: &&Attempt| {
        one.verdict == Verdict::Built && one.id < this.id && one.package == this.package
    };
    let ours = architecture(store, this.derivation);
    attempts.iter().filter(built).find(|one| is_for(store, one, ours.as_deref()))
}

/// Whether an attempt was one for this architecture, as far as its recipe is still known.
pub fn is_for(store: &Store, attempt: &Attempt, ours: Option<&str>) -> bool {
    let theirs = architecture(store, attempt.derivation);
    theirs.as_deref().zip(ours).is_none_or(|(theirs, ours)| theirs == ours)
}

fn architecture(store: &Store, derivation: DerivationId) -> Option<String> {
    let Some(Json::Object(document)) = stored(store, &derivation.to_string()) else { return None };
    match document.get("architecture") {
        Some(Json::String(name)) => Some(name.clone()),
        _ => None,
    }
}

/// Why the recipe `new` was built where `old` had been.
pub fn of_recipes(
    store: &Store,
    old: DerivationId,
    new: DerivationId,
    news: diff::Documents<'_>,
) -> Reason {
    let olds = |name: &str| stored(store, name);
    Reason::Recipe(diff::causes(&old.to_string(), &new.to_string(), &olds, news))
}

/// Why an attempt was made, where `before` is the build before it.
pub fn of_attempt(store: &Store, attempt: &Attempt, before: Option<&Attempt>) -> Reason {
    let Some(before) = before else { return Reason::First };
    if before.derivation != attempt.derivation {
        let news = |name: &str| stored(store, name);
        return of_recipes(store, before.derivation, attempt.derivation, &news);
    }
    if before.action == attempt.action {
        return Reason::Same;
    }
    Reason::Surroundings(root(store, before, attempt))
}

/// What is different of what went into two builds.
pub fn root(store: &Store, old: &Attempt, new: &Attempt) -> Vec<Change> {
    let document = |attempt: &Attempt| stored(store, &attempt.action.to_string());
    match (document(old), document(new)) {
        (Some(old), Some(new)) => diff::actions(&old, &new),
        _ => Vec::new(),
    }
}

/// A document of the store.
pub fn stored(store: &Store, name: &str) -> Option<Json> {
    let digest: Digest = name.parse().ok()?;
    let bytes = store.json(&digest).ok()??;
    Json::read(&bytes).ok()
}

impl Reason {
    /// The reason in some words, the same for all packages that share it.
    pub fn summary(&self, package: &str) -> String {
        match self {
            Self::First => "built for the first time".to_owned(),
            Self::Same => "built again from the same inputs".to_owned(),
            Self::Surroundings(changes) if changes.is_empty() => {
                "what they are built with changed".to_owned()
            }
            Self::Surroundings(changes) => {
                let items: BTreeSet<&str> = changes.iter().map(|one| one.item.as_str()).collect();
                format!("built with another {}", few(items.into_iter()))
            }
            Self::Recipe(causes) => {
                let own = causes.iter().find(|(name, _)| name == package);
                let fields = |changes: &[Change]| {
                    let fields: BTreeSet<&str> =
                        changes.iter().map(|change| change.field.as_str()).collect();
                    few(fields.into_iter())
                };
                match own {
                    Some((_, changes)) if changes.iter().all(|one| one.field == "root") => {
                        let items: BTreeSet<&str> =
                            changes.iter().map(|one| one.item.as_str()).collect();
                        format!("root moved ({})", few(items.into_iter()))
                    }
                    Some((_, changes)) => format!("own {} changed", fields(changes)),
                    None if causes.is_empty() => "another recipe".to_owned(),
                    None => {
                        let told = causes
                            .iter()
                            .map(|(name, changes)| format!("{name}'s {}", fields(changes)));
                        let told: Vec<String> = told.collect();
                        format!("because of {}", few(told.iter().map(String::as_str)))
                    }
                }
            }
        }
    }

    /// All that is behind it, a line or more for each package.
    pub fn table(&self, package: &str, spec: &Spec) -> String {
        let one = |name: &str, changes: &[Change], width: usize| {
            changes::table(name, width, &changes::tell(changes, name, spec))
        };
        match self {
            Self::First | Self::Same => String::new(),
            Self::Surroundings(changes) => one(package, changes, package.len()),
            Self::Recipe(causes) => {
                let width = causes.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
                causes.iter().map(|(name, changes)| one(name, changes, width)).collect()
            }
        }
    }

    /// The same as documents.
    pub fn documents(&self, package: &str, spec: &Spec) -> Vec<Value> {
        let one = |kind: &str, name: &str, changes: &[Change]| -> Vec<Value> {
            let document = |change: &Change| {
                let mut document = changes::document(change, name, spec);
                document["kind"] = kind.into();
                document["package"] = name.into();
                document
            };
            changes.iter().map(document).collect()
        };
        match self {
            Self::First => vec![json!({ "kind": "first", "package": package })],
            Self::Same => vec![json!({ "kind": "same", "package": package })],
            Self::Surroundings(changes) => one("surroundings", package, changes),
            Self::Recipe(causes) => causes
                .iter()
                .flat_map(|(name, changes)| {
                    one(if name == package { "own" } else { "cascade" }, name, changes)
                })
                .collect(),
        }
    }
}

/// The build attempts of a store, newest first.
pub fn attempts(
    store: &Store,
    package: Option<&crate::base::PackageName>,
) -> Result<Vec<Attempt>, Failure> {
    store.attempts(package, u32::MAX).map_err(|error| super::broken(&error))
}

/// Names, not too many of them.
fn few<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 3;
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let more = names.len().saturating_sub(MOST);
    let mut text = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
