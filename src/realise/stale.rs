//! Why what is not there would be built, as far as that is known before anything is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::action::{Action, Sources};
use super::driver::Surveyed;
use super::error::{Error, Result};
use super::rebuild::{self, Build, Cause, Different, History, Need};
use super::record::Record;
use super::universe::Snapshots;
use super::world::World;
use super::{foresight, known, lists, script};
use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, Json};
use crate::graph::derivation::{Derivation, Package};
use crate::graph::diff::{self, Shelf};
use crate::graph::{Graph, Node, Origin};
use crate::spec::Spec;

/// A package of which no build was found under its recipe.
#[derive(Debug, Clone)]
pub struct Stale {
    /// Why that is so.
    pub cause: Cause,
    /// What becomes of it.
    pub outlook: Outlook,
}

/// What becomes of a stale package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// It comes to a build that is there.
    Same,
    /// It is built.
    Build,
    /// It is built, unless packages that it needs come out as they were.
    Perhaps,
}

/// Why packages are stale is worked out over these.
pub struct Ground<'a> {
    /// The store, and the pinned archives, of which nothing is fetched that is not there if it is
    /// offline.
    pub world: &'a World<'a>,
    /// The release's graph.
    pub graph: &'a Graph,
    /// Its specs.
    pub spec: &'a Spec,
    /// What was read of its pinned archives.
    pub snapshots: &'a Snapshots,
}

/// What is known when the packages of a level are looked at.
struct Past<'a> {
    history: &'a History,
    documents: &'a Shelf<'a>,
    stale: &'a BTreeMap<DerivationId, Stale>,
}

impl Ground<'_> {
    /// Why each surveyed package that is not there is stale, and what becomes of it: build roots
    /// are solved, as far as their indexes can be had.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn explain(&self, survey: &[Surveyed]) -> Result<BTreeMap<DerivationId, Stale>> {
        let history = History::of(self.world.store, self.world.folder)?;
        let mut records: BTreeMap<DerivationId, Arc<Record>> = BTreeMap::new();
        for Surveyed { derivation, there } in survey {
            records.extend(there.as_ref().map(|(_, record)| (*derivation, Arc::clone(record))));
        }
        let mut stale: BTreeMap<DerivationId, Stale> = BTreeMap::new();
        let documents = Shelf::new(self.graph);
        for level in self.levels(survey) {
            let past = Past { history: &history, documents: &documents, stale: &stale };
            let found: Vec<_> = level
                .par_iter()
                .map(|(node, package)| self.one(node, package, &past, &records))
                .collect::<Result<_>>()?;
            for ((node, _), (one, record)) in level.iter().zip(found) {
                stale.insert(node.id, one);
                records.extend(record.map(|record| (node.id, record)));
            }
        }
        Ok(stale)
    }

    /// What is not there, in groups none of which needs another of its own group or a later one.
    fn levels(&self, survey: &[Surveyed]) -> Vec<Vec<(&Node, &Package)>> {
        let mut depths: BTreeMap<DerivationId, usize> = BTreeMap::new();
        let mut levels: Vec<Vec<_>> = Vec::new();
        for one in survey.iter().filter(|one| one.there.is_none()) {
            let Some(node) = self.graph.node(one.derivation) else { continue };
            let Some(package) = node.derivation.package() else { continue };
            let below = package.dependencies.iter().filter_map(|need| depths.get(need));
            let depth = below.max().map_or(0, |depth| depth + 1);
            depths.insert(node.id, depth);
            levels.resize_with(levels.len().max(depth + 1), Vec::new);
            levels[depth].push((node, package));
        }
        levels
    }

    fn one(
        &self,
        node: &Node,
        package: &Package,
        past: &Past<'_>,
        records: &BTreeMap<DerivationId, Arc<Record>>,
    ) -> Result<(Stale, Option<Arc<Record>>)> {
        let Past { history, documents, stale } = past;
        let store = self.world.store;
        let closure: Vec<_> = self.graph.closure(node.id);
        let below: Vec<(DerivationId, &Package)> = closure
            .iter()
            .filter_map(|id| Some((*id, self.graph.node(*id)?.derivation.package()?)))
            .collect();
        let open: Vec<&(DerivationId, &Package)> =
            below.iter().filter(|(id, _)| !records.contains_key(id)).collect();
        let action = if open.is_empty() { self.action(package, &below, records) } else { None };
        if let Some(action) = &action
            && let Some(done) = known::adopted(store, action.id())?
        {
            let cause = done.record.causes.clone().unwrap_or_default();
            return Ok((Stale { cause, outlook: Outlook::Same }, Some(done.record)));
        }
        let outlook = if open.is_empty() { Outlook::Build } else { Outlook::Perhaps };
        let attempts = store.attempts(Some(&package.name), 100)?;
        let architecture = package.architecture.as_str();
        let Some(before) = history.before(store, attempts.iter(), architecture) else {
            return Ok((Stale { cause: Cause::default(), outlook: Outlook::Build }, None));
        };
        let old = rebuild::document(store, &before.action.to_string());
        let different = match (&old, &action) {
            (Some(old), Some(action)) => Different::actions(old, action.document()),
            (Some(old), None) => {
                Different { root: self.root(node.id, old, records, &open), rest: None }
            }
            (None, _) => Different::default(),
        };
        let known =
            below.iter().filter_map(|(id, below)| Some((below.name.as_str(), &**records.get(id)?)));
        let build = Build {
            store,
            package: package.name.as_str(),
            root: self.root_name(package),
            derivation: node.id,
            news: &|name| documents.get(name).or_else(|| rebuild::document(store, name)),
            spec: Some(self.spec),
        };
        let mut cause = build.cause(before, different, &rebuild::needs(known));
        for need in &package.dependencies {
            let Some((needed, stale)) = self.name(*need).zip(stale.get(need)) else { continue };
            if stale.outlook != Outlook::Same {
                let because = stale.cause.ends();
                cause.needs.push(Need { package: needed.to_owned(), because });
            }
        }
        let outlook = match outlook {
            // What is its own does not go away.
            Outlook::Perhaps if !cause.is_cascade() && !cause.is_empty() => Outlook::Build,
            outlook => outlook,
        };
        Ok((Stale { cause, outlook }, None))
    }

    /// What it comes to, if all that it needs is there and its root can be solved now.
    fn action(
        &self,
        package: &Package,
        below: &[(DerivationId, &Package)],
        records: &BTreeMap<DerivationId, Arc<Record>>,
    ) -> Option<Action> {
        let Derivation::Root(root) = &self.graph.node(package.root)?.derivation else {
            return None;
        };
        let closure: Vec<Arc<Record>> =
            below.iter().map(|(id, _)| Arc::clone(&records[id])).collect();
        let snapshot = || {
            let found = self.snapshots.get(self.world, self.graph, package.root);
            found.map_err(Error::Snapshot)
        };
        let lists = lists::choose(self.world.store, root, package, &closure, snapshot).ok()?;
        let sources = Sources::of(self.graph, package);
        let layers: Vec<&[_]> = lists.layers.iter().map(Vec::as_slice).collect();
        Some(Action::new(package, &sources, &script::script(package, &sources), &layers))
    }

    /// How its root differs from that of an action, but for what is still to be built.
    fn root(
        &self,
        id: DerivationId,
        old: &Json,
        records: &BTreeMap<DerivationId, Arc<Record>>,
        open: &[&(DerivationId, &Package)],
    ) -> Option<Vec<diff::Change>> {
        let package = self.graph.node(id)?.derivation.package()?;
        let snapshot = self.snapshots.get(self.world, self.graph, package.root).ok()?;
        let chosen = foresight::packages(self.graph, id, &snapshot, records).ok()?;
        let uncertain: BTreeSet<&str> = open
            .iter()
            .flat_map(|(_, package)| &package.binaries)
            .map(|binary| binary.as_str())
            .collect();
        let mut changes = diff::root(old, &contents(&chosen));
        changes.retain(|change| !uncertain.contains(change.item.as_str()));
        Some(changes)
    }

    fn name(&self, id: DerivationId) -> Option<&str> {
        Some(self.graph.node(id)?.derivation.package()?.name.as_str())
    }

    fn root_name(&self, package: &Package) -> &str {
        match self.graph.node(package.root).map(|node| &node.origin) {
            Some(Origin::Root { name, .. }) => name,
            _ => "",
        }
    }
}

/// Version and SHA-256 of packages, by name.
pub fn contents(packages: &[Arc<BinaryPackage>]) -> BTreeMap<String, (String, String)> {
    packages
        .iter()
        .map(|one| (one.name.to_string(), (one.version.to_string(), one.sha256.to_string())))
        .collect()
}
