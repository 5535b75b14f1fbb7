//! Why a package is built: which of its inputs are not what they were when it was built before.
//!
//! Recipes, actions and the lists of source folders stay in the store, so that what changed can be
//! said from what to what. The answer is kept in the record: it holds years later, wherever the
//! specs are then.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::error::Result;
use super::record::Record;
use crate::base::{ActionId, DerivationId, Digest, HostPath, Json};
use crate::graph::diff::{self, Change};
use crate::graph::fields;
use crate::spec::Spec;
use crate::store::{Attempt, Store, Verdict};

/// Why a package was or would be built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// The build before; none if there is none.
    pub before: Option<Before>,
    /// What changed of its own recipe.
    pub own: Vec<Input>,
    /// Packages of the archive in its build root that changed.
    pub root: Vec<Input>,
    /// Packages of the release that it needs, and that are not what they were.
    pub needs: Vec<Need>,
}

/// A build that something is held against.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Its recipe.
    pub derivation: DerivationId,
    /// Everything that went into it.
    pub action: ActionId,
}

/// An input that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The package whose input it is; of a build root, what the root is called.
    pub package: String,
    /// The field of the recipe: `version`, `source`, `patches`, `root`, …
    pub field: String,
    /// What of it: a file, an index, a package of the root; empty where the field is one thing.
    pub item: String,
    /// What it was; none if it was not there. Long texts are cut.
    pub old: Option<String>,
    /// What it is; none if it is not there any more. Long texts are cut.
    pub new: Option<String>,
    /// Where it was written, as `file:line` of the release.
    pub place: Option<String>,
}

/// A package of the release that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Its name.
    pub package: String,
    /// What that comes from in the end: inputs of itself, or of what it needs.
    pub because: Vec<Input>,
}

/// How many inputs of a kind are kept.
const MOST: usize = 200;
/// How many inputs are kept of a package that is needed.
const FEW: usize = 8;
/// How many characters of a text are kept.
const LONGEST: usize = 300;

/// Recipes that a release had before, by which its own builds are told from those of others.
#[derive(Debug, Default)]
pub struct History(BTreeSet<DerivationId>);

impl History {
    /// Those of the last builds of the release in this folder.
    pub fn of(store: &Store, folder: &HostPath) -> Result<Self> {
        const BUILDS: usize = 20;
        let releases = store.releases()?;
        let ours = releases.iter().filter(|built| built.folder == *folder).take(BUILDS);
        let different: BTreeSet<DerivationId> = ours.map(|built| built.release).collect();
        let mut recipes = BTreeSet::new();
        for release in different {
            recipes.extend(packages(store, release).into_iter().flatten());
        }
        Ok(Self(recipes))
    }

    /// Whether a build of the release is among these attempts; where the release was never built
    /// in its folder, any build counts.
    pub fn has_built<'a>(&self, mut attempts: impl Iterator<Item = &'a Attempt>) -> bool {
        attempts.any(|attempt| {
            let ours = self.0.is_empty() || self.0.contains(&attempt.derivation);
            attempt.verdict == Verdict::Built && ours
        })
    }

    /// The build that a new one is held against: the last one of this release, or else of any,
    /// for the same architecture.
    pub fn before<'a>(
        &self,
        store: &Store,
        attempts: impl Iterator<Item = &'a Attempt>,
        architecture: &str,
    ) -> Option<&'a Attempt> {
        let built: Vec<&Attempt> =
            attempts.filter(|attempt| attempt.verdict == Verdict::Built).collect();
        let (ours, others): (Vec<_>, Vec<_>) =
            built.into_iter().partition(|attempt| self.0.contains(&attempt.derivation));
        ours.into_iter().chain(others).find(|attempt| {
            let of = self::architecture(store, attempt.derivation);
            of.is_none_or(|of| of == architecture)
        })
    }
}

/// The recipes of the packages of a release, if the store has its document.
pub fn packages(store: &Store, release: DerivationId) -> Option<Vec<DerivationId>> {
    let Some(Json::Object(members)) = document(store, &release.to_string()) else { return None };
    let Some(Json::Array(ids)) = members.get("packages") else { return None };
    let id = |package: &Json| match package {
        Json::String(id) => id.parse().ok(),
        _ => None,
    };
    Some(ids.iter().filter_map(id).collect())
}

/// What a package is built for, if the store has its recipe.
pub fn architecture(store: &Store, derivation: DerivationId) -> Option<String> {
    let Some(Json::Object(members)) = document(store, &derivation.to_string()) else { return None };
    match members.get("architecture") {
        Some(Json::String(name)) => Some(name.clone()),
        _ => None,
    }
}

/// A JSON document of the store by its name; none if it is not there or damaged.
pub fn document(store: &Store, name: &str) -> Option<Json> {
    let digest: Digest = name.parse().ok()?;
    Json::read(&store.json(&digest).ok()??).ok()
}

/// A build that is to be explained.
pub struct Build<'a> {
    /// Where everything is kept.
    pub store: &'a Store,
    /// The package's name.
    pub package: &'a str,
    /// What its root is called.
    pub root: &'a str,
    /// Its recipe.
    pub derivation: DerivationId,
    /// Documents that need not be in the store yet.
    pub news: diff::Documents<'a>,
    /// The specs, for the places where things were written.
    pub spec: Option<&'a Spec>,
}

/// What is different between what goes into two builds, as far as that is known.
#[derive(Debug, Default)]
pub struct Different {
    /// Packages of the build root.
    pub root: Option<Vec<Change>>,
    /// Everything else.
    pub rest: Option<Vec<Change>>,
}

impl Different {
    /// What is different between two actions.
    pub fn actions(old: &Json, new: &Json) -> Self {
        let (root, rest) =
            diff::actions(old, new).into_iter().partition(|change| change.field == "root");
        Self { root: Some(root), rest: Some(rest) }
    }
}

impl Build<'_> {
    /// Why it is made, where `different` is not as it was for the build before; `needs` says which
    /// binary packages come from which package of the release, and why that one was built.
    pub fn cause(
        &self,
        before: &Attempt,
        different: Different,
        needs: &BTreeMap<String, Need>,
    ) -> Cause {
        let Different { root, rest } = different;
        let mut cause = Cause {
            before: Some(Before { derivation: before.derivation, action: before.action }),
            ..Cause::default()
        };
        let recipe = self.recipe(before);
        let own = recipe.as_ref().or(rest.as_ref()).cloned().unwrap_or_default();
        // What changed in the recipe only, and led to the same inputs, is no reason.
        let led = |change: &Change| match change.field.as_str() {
            "root" | "dependencies" | "seed" => false,
            "build_depends" | "build_conflicts" | "from_seed" => {
                root.as_ref().is_none_or(|root| !root.is_empty())
            }
            _ => rest.as_ref().is_none_or(|rest| !rest.is_empty()),
        };
        let rules = rest.iter().flatten();
        let rules = rules.filter(|change| matches!(&*change.field, "assembly" | "contract"));
        let own = own.iter().filter(|change| led(change)).chain(rules);
        cause.own = own.take(MOST).map(|change| self.input(change)).collect();
        cause.own.sort();
        cause.own.dedup();
        let listed = root.unwrap_or_else(|| {
            let indexes = recipe.into_iter().flatten().filter(|change| change.field == "root");
            indexes.collect()
        });
        let mut named = BTreeSet::new();
        for change in &listed {
            match needs.get(&change.item) {
                Some(need) if named.insert(&need.package) => cause.needs.push(need.clone()),
                Some(_) => {}
                None if cause.root.len() < MOST => {
                    let input = Input { package: self.root.to_owned(), ..self.input(change) };
                    cause.root.push(input);
                }
                None => {}
            }
        }
        cause
    }

    /// What changed of its own recipe; none if the old one is not known any more.
    fn recipe(&self, before: &Attempt) -> Option<Vec<Change>> {
        if before.derivation == self.derivation {
            return None;
        }
        let olds = |name: &str| document(self.store, name);
        let old = olds(&before.derivation.to_string())?;
        let new = (self.news)(&self.derivation.to_string())?;
        Some(diff::recipes(&old, &new, &olds, self.news).changes)
    }

    fn input(&self, change: &Change) -> Input {
        let Change { field, item, old, new } = change;
        let span = self.spec.and_then(|spec| fields::changed(spec, self.package, change));
        let cut = |text: &Option<String>| text.as_deref().map(cut);
        Input {
            package: self.package.to_owned(),
            field: field.clone(),
            item: item.clone(),
            old: cut(old),
            new: cut(new),
            place: span.map(|span| format!("{}:{}", span.file, span.line)),
        }
    }
}

impl Cause {
    /// What it comes to in the end: its own inputs, or those of what it needs, or else its root's.
    pub fn ends(&self) -> Vec<Input> {
        let needs = || self.needs.iter().flat_map(|need| need.because.iter().cloned());
        let mut ends: Vec<Input> = match (self.own.is_empty(), self.needs.is_empty()) {
            (false, _) => self.own.clone(),
            (true, false) => needs().collect(),
            (true, true) => self.root.clone(),
        };
        ends.sort();
        ends.dedup();
        ends.truncate(FEW);
        ends
    }

    /// Whether nothing is known to have changed.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.root.is_empty() && self.needs.is_empty()
    }

    /// Whether only what it needs of the release makes it be built.
    pub fn is_cascade(&self) -> bool {
        self.own.is_empty() && self.root.is_empty() && !self.needs.is_empty()
    }

    /// In a line, as records without a structured cause have it.
    pub fn line(&self) -> String {
        let Some(before) = &self.before else { return "not built before".to_owned() };
        match (self.own.is_empty(), self.needs.is_empty(), self.root.is_empty()) {
            (false, ..) => format!("its recipe changed since {}", before.derivation),
            (true, true, true) => format!("the same as {}, whose files were lost", before.action),
            _ => format!("what it is built with changed since {}", before.action),
        }
    }

    /// As part of a record.
    pub fn to_json(&self) -> Json {
        let Self { before, own, root, needs } = self;
        let list = |inputs: &[Input]| Json::Array(inputs.iter().map(Input::to_json).collect());
        let need = |Need { package, because }: &Need| {
            Json::object([("package", package.into()), ("because", list(because))])
        };
        let mut members = vec![
            ("own", list(own)),
            ("root", list(root)),
            ("needs", Json::Array(needs.iter().map(need).collect())),
        ];
        members.extend(before.iter().map(|Before { derivation, action }| {
            let members = [("derivation", Json::text(derivation)), ("action", Json::text(action))];
            ("before", Json::object(members))
        }));
        Json::object(members)
    }
}

impl Input {
    fn to_json(&self) -> Json {
        let Self { package, field, item, old, new, place } = self;
        let mut members =
            vec![("package", package.into()), ("field", field.into()), ("item", item.into())];
        let optional = [("old", old), ("new", new), ("place", place)];
        let told =
            optional.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?.into())));
        members.extend(told);
        Json::object(members)
    }
}

/// Which binary packages each package of a closure left, and why it was built.
pub fn needs<'a>(closure: impl Iterator<Item = (&'a str, &'a Record)>) -> BTreeMap<String, Need> {
    let mut needs = BTreeMap::new();
    for (package, record) in closure {
        let because = record.causes.as_ref().map(Cause::ends).unwrap_or_default();
        for output in record.outputs.iter().filter(|output| output.is_offered()) {
            let binary = output.file.split('_').next().unwrap_or_default().to_owned();
            needs.insert(binary, Need { package: package.to_owned(), because: because.clone() });
        }
    }
    needs
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
