//! What moving pins leads to: which packages get other ids, and how long building them takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::build;
use super::changes;
use super::context::Release;
use super::failure::Failure;
use super::output::Output;
use super::progress::duration;
use super::report::count;
use crate::base::{DerivationId, PackageName};
use crate::graph::diff::{self, Changed, Comparison};
use crate::graph::{Graph, lower, query};
use crate::pin::{Locked, Pin};
use crate::plan::{self, NodeId, OnFailure, Plan};
use crate::spec::loader::{Dirs, Folder, Overlay};
use crate::spec::model::{Package, Remote, Source};
use crate::spec::{Spec, load_from};
use crate::store::Store;

/// What the moved pins of a release lead to.
pub struct Cascade {
    spec: Spec,
    graph: Graph,
    comparison: Comparison,
    durations: BTreeMap<PackageName, Duration>,
}

/// What one pin leads to.
pub struct Effect {
    /// Packages with an input that the pin is, by name.
    changed: BTreeSet<String>,
    /// Packages that change because these do.
    cascade: BTreeSet<String>,
    /// How long they take one after another, as far as that is known.
    work: Duration,
    /// Of how many it is not known.
    unknown: usize,
}

impl Cascade {
    /// Evaluates the release as `locked` would pin it, and holds it against what it is.
    pub fn new(release: &Release, locked: &Locked, store: &Store) -> Result<Self, Failure> {
        let wrong = |diagnostics| Failure::in_release(&release.folder, diagnostics);
        let texts = locked.modules().map(|(path, text)| (path, Arc::from(text))).collect();
        let folder = Folder::new(release.folder.clone());
        let loader = Overlay::new(folder, texts, Dirs::default());
        let spec = load_from(Arc::new(loader), Some(&locked.lock)).map_err(wrong)?;
        let graph = lower(&spec, &locked.lock).map_err(wrong)?;
        let comparison = diff::graphs(&release.graph()?, &graph);
        // An estimate is worth nothing more than its records.
        let durations = store.durations().unwrap_or_default();
        Ok(Self { spec, graph, comparison, durations })
    }

    /// The specs as they are with the moved pins.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Their graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What a moved pin leads to.
    pub fn of(&self, pin: &Pin) -> Effect {
        let touched: BTreeSet<DerivationId> = self
            .comparison
            .changed
            .iter()
            .filter(|changed| self.touches(pin, changed))
            .map(|changed| changed.new)
            .collect();
        let name = |id: &DerivationId| {
            let package = self.graph.node(*id)?.derivation.package()?;
            Some(package.name.to_string())
        };
        let cascade = query::dependents(&self.graph, &touched);
        let all: Vec<DerivationId> = touched.iter().chain(&cascade).copied().collect();
        let (work, unknown) = self.work(&all);
        Effect {
            changed: touched.iter().filter_map(name).collect(),
            cascade: cascade.iter().filter_map(name).collect(),
            work,
            unknown,
        }
    }

    fn touches(&self, pin: &Pin, changed: &Changed) -> bool {
        let package = self.spec.packages.iter().find(|package| package.name == changed.key.name);
        let Some(package) = package else { return false };
        let has = |fields: &[&str]| {
            changed.changes.iter().any(|change| fields.contains(&change.field.as_str()))
        };
        match pin {
            Pin::Suite { suite, .. } => {
                let of_suite = format!("{suite} ");
                let mut roots = changed.changes.iter().filter(|change| change.field == "root");
                roots.any(|change| change.item.starts_with(&of_suite))
            }
            Pin::Stdlib(module) => {
                let made = self.spec.packages.iter().any(|one| one.build.name == *module);
                // One that makes no builder itself serves those that do.
                (package.build.name == *module || !made)
                    && has(&["script", "files", "outputs", "build_depends", "environment"])
            }
            pin => has(&["source", "extra", "version"]) && is_from(pin, package),
        }
    }

    fn work(&self, ids: &[DerivationId]) -> (Duration, usize) {
        let known = |id: &DerivationId| {
            let package = self.graph.node(*id)?.derivation.package()?;
            self.durations.get(&package.name).copied()
        };
        let times: Vec<Duration> = ids.iter().filter_map(known).collect();
        (times.iter().sum(), ids.len() - times.len())
    }

    /// Every package with another id.
    fn all(&self) -> Vec<DerivationId> {
        let is_new = |key: &diff::Key| self.comparison.added.contains(key);
        let added = self.graph.packages().filter(|(_, package)| is_new(&diff::key(package)));
        let added = added.map(|(node, _)| node.id);
        self.comparison.changed.iter().map(|changed| changed.new).chain(added).collect()
    }

    /// About how long it takes to build everything with another id, as `build` would.
    fn time(&self, ids: &[DerivationId]) -> Duration {
        let places: BTreeMap<DerivationId, NodeId> =
            ids.iter().enumerate().map(|(place, id)| (*id, NodeId(place))).collect();
        let node = |id: &DerivationId| {
            let package = self.graph.node(*id).and_then(|node| node.derivation.package());
            let needs = package.iter().flat_map(|package| &package.dependencies);
            plan::Node {
                needs: needs.filter_map(|need| places.get(need)).copied().collect(),
                estimate: package.and_then(|package| self.durations.get(&package.name)).copied(),
                memory: 0,
                cores: None,
                group: 0,
            }
        };
        let limits = plan::Limits {
            jobs: build::default_jobs(),
            memory: None,
            cores: build::default_jobs(),
        };
        let plan = Plan::new(ids.iter().map(node).collect(), limits, OnFailure::GoOn);
        plan.map(|plan| plan.remaining(|_| Duration::ZERO)).unwrap_or_default()
    }

    /// Tells what all moved pins together lead to, and gives it as a document.
    pub fn tell(&self, output: &Output) -> Value {
        let ids = self.all();
        let total = self.graph.packages().count();
        let (work, unknown) = self.work(&ids);
        let mut text =
            format!("\n{} of {} would be built anew", ids.len(), count(total, "package"));
        let time = self.time(&ids);
        if ids.is_empty() {
            text = format!("\nno package changes: {} as before", count(total, "package"));
        } else if work > Duration::ZERO {
            text.push_str(&format!(", in about {}", duration(time)));
        }
        if unknown > 0 {
            text.push_str(&format!("; how long {unknown} of them take is not known yet"));
        }
        output.text(&format!("{text}\n"));
        if !ids.is_empty() {
            output.text("what comes to the same build root as before is not built\n");
        }
        json!({
            "packages": ids.len(),
            "milliseconds": time.as_millis() as u64,
            "unknown": unknown,
        })
    }
}

impl Effect {
    /// The lines that tell of it.
    pub fn text(&self) -> String {
        let Self { changed, cascade, work, unknown } = self;
        if changed.is_empty() {
            return "    changes no package\n".to_owned();
        }
        let list = |names: &BTreeSet<String>| {
            names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        let mut put = |title: &str, names: &str| {
            for (index, row) in changes::wrapped(names, 60).iter().enumerate() {
                let title = if index == 0 { title } else { "" };
                text.push_str(&format!("    {title:14}{row}\n"));
            }
        };
        put("changes", &list(changed));
        if !cascade.is_empty() {
            put("and with them", &list(cascade));
        }
        if *work > Duration::ZERO {
            let rest = match unknown {
                0 => String::new(),
                unknown => format!(", and {unknown} of unknown duration"),
            };
            put("work", &format!("{}{rest}", duration(*work)));
        }
        text
    }

    /// The same as a document.
    pub fn document(&self) -> Value {
        json!({
            "changed": self.changed,
            "cascade": self.cascade,
            "milliseconds": self.work.as_millis() as u64,
            "unknown": self.unknown,
        })
    }
}

/// Whether what a pin pins is among a package's sources.
fn is_from(pin: &Pin, package: &Package) -> bool {
    let told = pin.to_string();
    let all = [&package.source].into_iter().chain(package.extra.values());
    all.map(|source| &source.value).any(|source| match (pin, source) {
        (Pin::Source { name, .. }, Source::Archive { name: from }) => name == from,
        (Pin::Source { .. }, _) | (_, Source::Archive { .. }) => false,
        (_, source) => match source.remote() {
            Some(Remote::Git { url, rev, .. }) => {
                told.contains(&format!("`{url}`")) && told.contains(&format!("`{rev}`"))
            }
            Some(Remote::Download { urls, .. }) => {
                urls.first().is_some_and(|url| told.contains(&format!("`{url}`")))
            }
            None => false,
        },
    })
}
