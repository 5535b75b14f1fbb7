//! What is known of a release while its specs are being written.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::archive::{self, Archive};
use crate::base::{DerivationId, Diagnostic, HostPath, ReleasePath, Sha256};
use crate::graph::{self, Extent, Graph, Origin, names};
use crate::spec::language::{self, Function};
use crate::spec::loader::{Loader as _, MAX_TEXT, Overlay};
use crate::spec::lock::{self, Lock};
use crate::spec::release::{self, Release};
use crate::spec::{self, Spec};

/// The largest lock that is read.
const MAX_LOCK: u64 = 64 << 20;

/// Everything that was understood of a release; what a mistake hides is as it was before.
#[derive(Clone, Default)]
pub struct Knowledge {
    /// release.toml.
    pub release: Option<Arc<Release>>,
    /// What the specs say.
    pub spec: Option<Arc<Spec>>,
    /// What they come to.
    pub graph: Option<Arc<Graph>>,
    /// The pinned archives by name, as far as the store has their indexes.
    pub archives: BTreeMap<String, Arc<Archive>>,
    /// The stdlib as it evaluates here.
    pub modules: Vec<Module>,
    pins: BTreeMap<String, Vec<Sha256>>,
}

/// A module of the stdlib.
#[derive(Clone)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its file, where the release pins one.
    pub file: Option<ReleasePath>,
    /// Its text.
    pub text: Arc<str>,
    /// What it defines.
    pub functions: Vec<Function>,
}

impl Module {
    /// Whether its functions are called as `module::function`.
    pub fn is_namespace(&self) -> bool {
        language::is_namespace(&self.name)
    }
}

impl Knowledge {
    /// What is known without a release: the language itself.
    pub fn of_language() -> Self {
        Self { modules: modules(None, &Lock::default()), ..Self::default() }
    }

    /// Evaluates a release anew. What is known of archives that are pinned no longer is forgotten.
    pub fn renew(&self, loader: &Arc<Overlay>) -> (Self, Vec<Diagnostic>) {
        let mut next = self.clone();
        let mut diagnostics = Vec::new();
        let mut evaluate = || next.evaluate(loader).unwrap_or_else(|errors| errors);
        match catch_unwind(AssertUnwindSafe(&mut evaluate)) {
            Ok(found) => diagnostics.extend(found),
            Err(_) => diagnostics
                .push(Diagnostic::new("internal", "the evaluation of the release broke off")),
        }
        (next, diagnostics)
    }

    fn evaluate(&mut self, loader: &Arc<Overlay>) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let lock = read_lock(loader)?;
        let text = |name: &str, limit| {
            let path: ReleasePath = name.parse().ok()?;
            String::from_utf8(loader.read(&path, limit).ok()?).ok()
        };
        if let Some(Ok(release)) = text(release::FILE, MAX_TEXT).map(|text| release::parse(&text)) {
            self.release = Some(Arc::new(release));
        }
        let known = lock.clone().unwrap_or_default();
        self.modules = modules(Some(loader), &known);
        self.pins = self.pinned(&known);
        self.archives.retain(|name, archive| {
            self.pins.get(name).is_some_and(|digests| digests == archive.digests())
        });
        let spec::Survey { spec, lacks, wrong } = spec::survey(loader.clone(), lock.as_ref(), None);
        let Some(spec) = spec else { return Err(wrong) };
        let survey = graph::survey(&spec, &known);
        let extent = if lacks { Extent::Part } else { survey.extent };
        let unknown = self.unknown(&survey.graph, extent);
        // Of what is being written, the last whole state knows more than what is left of it now.
        if wrong.is_empty() {
            self.spec = Some(Arc::new(spec));
            if survey.wrong.is_empty() {
                self.graph = Some(Arc::new(survey.graph));
            }
        }
        Ok([wrong, survey.wrong, unknown].concat())
    }

    /// Whether there are pinned archives of which nothing is known.
    pub fn lacks_archives(&self) -> bool {
        self.archives.len() < self.pins.len()
    }

    /// Reads the archives that are not known yet from a store; whether it had any.
    pub fn learn(&mut self, store: &HostPath) -> bool {
        let before = self.archives.len();
        for (name, digests) in &self.pins {
            if !self.archives.contains_key(name)
                && let Some(archive) = Archive::read(store, digests)
            {
                self.archives.insert(name.clone(), Arc::new(archive));
            }
        }
        self.archives.len() > before
    }

    fn pinned(&self, lock: &Lock) -> BTreeMap<String, Vec<Sha256>> {
        let architecture = self.release.as_ref().and_then(|it| it.architectures.first());
        let Some(architecture) = architecture else { return BTreeMap::new() };
        let archives = lock.archives.iter();
        archives
            .map(|(name, locked)| (name.clone(), archive::digests(locked, architecture)))
            .collect()
    }

    /// Build dependencies that neither the release nor its archives have.
    fn unknown(&self, graph: &Graph, extent: Extent) -> Vec<Diagnostic> {
        let mut indexes: BTreeMap<DerivationId, &[Vec<_>]> = BTreeMap::new();
        for node in graph.nodes() {
            if let (Origin::Root { archive, .. }, graph::Derivation::Root(root)) =
                (&node.origin, &node.derivation)
                && let Some(known) = self.archives.get(archive)
                && root.indexes.iter().map(|index| &index.sha256).eq(known.digests())
            {
                indexes.insert(node.id, &known.indexes);
            }
        }
        names::unknown(graph, &indexes, extent)
    }
}

fn read_lock(loader: &Overlay) -> Result<Option<Lock>, Vec<Diagnostic>> {
    let wrong = |message: String| vec![Diagnostic::new("unreadable", message)];
    let path: ReleasePath = lock::FILE.parse().expect("a plain name");
    match loader.read(&path, MAX_LOCK).map(String::from_utf8) {
        Ok(Ok(text)) => lock::parse(&text).map(Some),
        Ok(Err(_)) => Err(wrong("`release.lock` is not UTF-8".to_owned())),
        Err(spec::loader::Error::Missing(_)) => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The stdlib: the texts that the lock pins, the program's own where it pins none.
fn modules(loader: Option<&Arc<Overlay>>, lock: &Lock) -> Vec<Module> {
    let own = spec::stdlib::MODULES.iter().map(|(name, text)| {
        let pinned = || {
            let expected: &Sha256 = lock.stdlib.get(*name)?;
            let file: ReleasePath = format!("release.lock.d/stdlib/{name}.rhai").parse().ok()?;
            let bytes = loader?.read(&file, MAX_TEXT).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            (Sha256::of(text.as_bytes()) == *expected).then_some((file, text))
        };
        let (file, text) =
            pinned().map_or_else(|| (None, (*text).to_owned()), |(file, text)| (Some(file), text));
        let functions = language::functions(&text);
        Module { name: (*name).to_owned(), file, text: text.into(), functions }
    });
    own.collect()
}
