//! What the archive of a release has: packages by name, and files that builds ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::project::{Need, Sure};
use crate::archive::deb::contents::{Provider, Wanted, providers};
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::index::{self, BinaryPackage};
use crate::archive::deb::solver::{self, Universe};
use crate::base::{Architecture, PackageName, nearest};
use crate::realise::upstream::Upstream;
use crate::spec::lock::{IndexKind, Lock};
use crate::spec::release::{Release, Root};
use crate::store::Store;

/// The packages of the archive of one root.
pub struct Catalog {
    /// The archive's name in release.toml.
    pub archive: String,
    /// Names of source packages, each with the binary packages built from it.
    sources: BTreeMap<PackageName, BTreeSet<PackageName>>,
    /// Names of binary packages, each with its source.
    binaries: BTreeMap<PackageName, PackageName>,
    /// Every build root has these.
    base: BTreeSet<PackageName>,
    /// Contents indexes in their short form.
    contents: Vec<String>,
}

/// What a name means to an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// A source package, and what is built from it.
    Source(Vec<PackageName>),
    /// A binary package of this source.
    Binary(PackageName),
    /// Nothing; perhaps this was meant.
    Nothing(Option<String>),
}

impl Catalog {
    /// Reads the pinned indexes of the archive of `root`, fetching what the store lacks.
    ///
    /// # Errors
    /// Why they cannot be had, in one line.
    pub fn read(
        release: &Release,
        root: &Root,
        lock: &Lock,
        upstream: &Upstream,
        store: &Store,
        cancel: &AtomicBool,
    ) -> Result<Self, String> {
        let archive = root.archive.value.clone();
        let architecture = release.architectures.first().cloned().unwrap_or_else(Architecture::all);
        let mut indexes: Vec<Vec<Arc<BinaryPackage>>> = Vec::new();
        for suite in lock.archives.get(&archive).iter().flat_map(|locked| &locked.suites) {
            for pinned in &suite.indexes {
                let IndexKind::Packages(of) = &pinned.kind else { continue };
                if *of != architecture && *of != Architecture::all() {
                    continue;
                }
                let mut text = String::new();
                let digest = upstream
                    .index(store, &archive, &suite.suite, &pinned.path, cancel)
                    .map_err(|error| error.to_string())?;
                store
                    .open_sound(&digest)
                    .map_err(|error| error.to_string())?
                    .read_to_string(&mut text)
                    .map_err(|error| error.to_string())?;
                indexes.push(index::packages(&text).map_err(|error| error.to_string())?);
            }
        }
        if indexes.is_empty() {
            return Err(format!("archive `{archive}` is not pinned"));
        }
        let mut catalog = Self {
            archive: archive.clone(),
            sources: BTreeMap::new(),
            binaries: BTreeMap::new(),
            base: BTreeSet::new(),
            contents: Vec::new(),
        };
        for package in indexes.iter().flatten() {
            let (name, source) = (package.name.clone(), package.source.clone());
            catalog.sources.entry(source.clone()).or_default().insert(name.clone());
            catalog.binaries.insert(name, source);
        }
        let request = solver::Request {
            architecture,
            packages: root.packages.iter().map(|package| package.value.clone()).collect(),
            essential: true,
            depends: Dependencies(Vec::new()),
            conflicts: Dependencies(Vec::new()),
        };
        let base = solver::solve(&Universe::new(indexes), &request).unwrap_or_default();
        catalog.base = base.into_iter().map(|package| package.name.clone()).collect();
        Ok(catalog)
    }

    /// The same with what is known of files: without, nothing that is needed is found.
    ///
    /// # Errors
    /// Why that cannot be had, in one line.
    pub fn with_contents(
        self,
        upstream: &Upstream,
        store: &Store,
        cancel: &AtomicBool,
    ) -> Result<Self, String> {
        let contents = upstream.contents(store, &self.archive, cancel);
        Ok(Self { contents: contents.map_err(|error| error.to_string())?, ..self })
    }

    /// What `name` means.
    pub fn named(&self, name: &str) -> Named {
        let parsed = name.parse::<PackageName>().ok();
        let binaries = parsed.as_ref().and_then(|name| self.sources.get(name));
        if let Some(binaries) = binaries {
            return Named::Source(binaries.iter().cloned().collect());
        }
        if let Some(source) = parsed.as_ref().and_then(|name| self.binaries.get(name)) {
            return Named::Binary(source.clone());
        }
        let known = self.sources.keys().chain(self.binaries.keys());
        Named::Nothing(nearest(name, known.map(PackageName::as_str)).map(str::to_owned))
    }

    /// Which packages to build with, for what a source says it needs.
    pub fn resolve(&self, needs: &[Need]) -> Resolved {
        let mut resolved = Resolved::default();
        let mut explicit = BTreeSet::new();
        for need in needs {
            let found = self.providers(&need.wanted);
            let in_base = found.iter().any(|provider| self.base.contains(&provider.package));
            if in_base {
                continue;
            }
            let is_header = matches!(need.wanted, Wanted::Header(_));
            match (found.as_slice(), need.sure) {
                ([], Sure::Said) => resolved.unknown.push(need.clone()),
                ([], Sure::Guessed) => {}
                // A package that brings a header and was asked for in another way is there.
                (all, _) if all.iter().any(|one| explicit.contains(&one.package)) => {}
                ([one, others @ ..], Sure::Said) => {
                    explicit.insert(one.package.clone());
                    let others = others.iter().map(|other| other.package.clone()).collect();
                    resolved.add(one, need, others);
                }
                ([one], Sure::Guessed) if is_header && is_at_top(one, need) => {
                    resolved.add(one, need, Vec::new());
                }
                ([one, ..], Sure::Guessed) => {
                    resolved.optional.push((one.package.clone(), need.clone()));
                }
            }
        }
        resolved
    }

    fn providers(&self, wanted: &Wanted) -> Vec<Provider> {
        let mut found = providers(&self.contents, wanted);
        found.retain(|provider| self.binaries.contains_key(&provider.package));
        // A real pkg-config rather than the package that only leads to it.
        if *wanted == Wanted::Program("pkg-config".to_owned()) {
            found.sort_by_key(|provider| provider.package.as_str() != "pkgconf");
        }
        found
    }
}

/// Whether a header lies where compilers look by themselves.
fn is_at_top(provider: &Provider, need: &Need) -> bool {
    let below = provider.path.strip_prefix("usr/include/").unwrap_or_default();
    let name = need.wanted.name();
    below == name
        || below
            .split_once('/')
            .is_some_and(|(first, rest)| rest == name && first.contains("-linux-gnu"))
}

/// What a source needs, as packages.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Packages to build with.
    pub packages: Vec<Chosen>,
    /// What the source can do without, and who would have it.
    pub optional: Vec<(PackageName, Need)>,
    /// What nobody has.
    pub unknown: Vec<Need>,
}

/// A package to build with.
#[derive(Debug)]
pub struct Chosen {
    /// The package.
    pub package: PackageName,
    /// What for.
    pub need: Need,
    /// Other packages that have it too.
    pub others: Vec<PackageName>,
}

impl Resolved {
    fn add(&mut self, provider: &Provider, need: &Need, others: Vec<PackageName>) {
        if self.packages.iter().any(|chosen| chosen.package == provider.package) {
            return;
        }
        self.packages.push(Chosen {
            package: provider.package.clone(),
            need: need.clone(),
            others,
        });
    }
}
