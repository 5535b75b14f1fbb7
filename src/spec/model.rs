//! What a release folder says, before any name is resolved.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use source::{Download, Facts, Remote, Source, Unfilled, Unpack, check_late};

use super::cache::Footprint;
use super::lock::Lock;
use super::release::Release;
use crate::base::{
    Architecture, Diagnostic, Digest, PackageName, ReleaseFolder, ReleasePath, Span,
};

/// A release as its specs describe it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// release.toml.
    pub release: Release,
    /// The packages, sorted by name; names are unique.
    pub packages: Vec<Arc<Package>>,
    /// The stdlib modules that the specs used (`debian`, `script`, …).
    pub stdlib: BTreeSet<String>,
    /// What evaluation asked for that the lock has to pin, beside archives and what is taken from
    /// them.
    pub remotes: Vec<Located<Remote>>,
    /// Those of them that the lock which was evaluated with does not pin. The packages of a spec
    /// that needed one to go on are missing.
    pub unpinned: Vec<Located<Remote>>,
    /// The releases that it extends, nearest first.
    pub extends: Vec<Extended>,
    /// What it was evaluated from, where that can be compared later.
    pub footprint: Option<Footprint>,
}

/// A release that another one extends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended {
    /// Its folder, from that of the release that is worked on.
    pub folder: ReleaseFolder,
    /// Where it is named.
    pub span: Option<Span>,
    /// What names the state of its specs and its lock.
    pub digest: Digest,
    /// What it is pinned to; nothing if it has no release.lock.
    pub lock: Option<Lock>,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place; values that Rhai code computed have that of their field.
    pub span: Option<Span>,
}

/// A package as its spec describes it: what is not said is `None` or empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Package {
    /// The source package's name.
    pub name: PackageName,
    /// The call that made it: `package(…)` or `rebuild(…)`, in a higher layer `prev(…)`.
    pub span: Span,
    /// The calls that made it in the layers below, nearest first.
    pub below: Vec<Span>,
    /// Where each field was written, by field name.
    pub fields: BTreeMap<String, Span>,
    /// Upstream version. Of a source with its own packaging: what it must say.
    pub version: Option<String>,
    /// Distribution revision.
    pub revision: Option<String>,
    /// Appended to the version: `+demo1`.
    pub suffix: Option<String>,
    /// A changelog entry to be added.
    pub changes: Option<Changes>,
    /// One line for the package's description.
    pub summary: Option<String>,
    /// The rest of the description.
    pub description: Option<String>,
    /// Where the project lives.
    pub homepage: Option<String>,
    /// SPDX expression.
    pub license: Option<String>,
    /// Archive section.
    pub section: Option<String>,
    /// `Name <address>`; the release's by default.
    pub maintainer: Option<String>,
    /// What is built.
    pub source: Located<Source>,
    /// Other sources, by the path in the source folder that they are put at: the files of a
    /// folder below it, a single file as it.
    pub extra: BTreeMap<String, Located<Source>>,
    /// Patches of the release, applied in this order.
    pub patches: Vec<Located<Patch>>,
    /// The date of everything built, where neither `changes` nor the source has one: `2026-11-22`,
    /// or an RFC 3339 time.
    pub date: Option<String>,
    /// The name of a `[root.NAME]`; the only one by default.
    pub root: Option<Located<String>>,
    /// The architectures it is built for; all of the release's by default. Of an inherited
    /// package some may be those of the extended release only.
    pub architectures: Vec<Architecture>,
    /// What it is for one architecture, where that is different: other values of the same fields.
    pub on: BTreeMap<Architecture, Self>,
    /// Build dependencies in the distribution's own syntax, one or more per string, in addition
    /// to those of the source's own packaging.
    pub build_depends: Vec<Located<String>>,
    /// How it is built.
    pub build: Builder,
    /// Environment of the build.
    pub env: BTreeMap<String, String>,
    /// Binary packages, where packaging is generated; one of the package's name by default.
    pub binaries: Vec<Binary>,
    /// Names that this package's build root takes from the seed although the release builds them.
    pub from_seed: Vec<Located<PackageName>>,
    /// Why tests do not run.
    pub without_tests: Option<String>,
    /// What a build may use.
    pub resources: Resources,
}

impl Spec {
    /// Where a stdlib module is used first: what says how a package is built. A module that only
    /// others use is so where packaging is generated, which is what they are for.
    pub fn user_of(&self, module: &str) -> Option<Span> {
        let uses = |package: &&Package| package.build.name == module;
        let generates = |package: &&Package| package.build.packaging == Packaging::Generated;
        let packages = || self.packages.iter().map(AsRef::as_ref);
        let user = packages().find(uses).or_else(|| packages().find(generates))?;
        user.fields.get("build").cloned()
    }
}

impl Package {
    /// What it is for a build for `architecture`.
    pub fn for_architecture(&self, architecture: &Architecture) -> &Self {
        self.on.get(architecture).unwrap_or(self)
    }

    /// The fields that generated packaging needs and that it does not have: each with an example.
    pub fn lacking(&self) -> Vec<(&'static str, &'static str)> {
        const DATES: &str =
            "`date: \"2026-11-22\"`, or `changes: #{ date: \"2026-11-22\", text: \"…\" }`";
        let fields = [
            ("version", "`version: \"1.0\"`", self.version.is_none()),
            ("summary", "`summary: \"…\"`", self.summary.is_none()),
            ("license", "`license: \"MIT\"`", self.license.is_none()),
            ("date", DATES, self.is_undated()),
        ];
        let lacking = fields.into_iter().filter(|(_, _, lacking)| *lacking);
        lacking.map(|(name, example, _)| (name, example)).collect()
    }

    /// Whether nothing says of when it is; a commit does.
    pub fn is_undated(&self) -> bool {
        let commit = matches!(self.source.value, Source::Git { .. });
        self.changes.is_none() && self.date.is_none() && !commit
    }

    /// An error about it, with the places of the layers that it went through: where the error
    /// lies first.
    pub fn told(&self, error: Diagnostic) -> Diagnostic {
        through_layers(error, &self.span, &self.below)
    }

    /// Its own source and all others that it is made from.
    pub fn sources(&self) -> impl Iterator<Item = &Located<Source>> {
        [&self.source].into_iter().chain(self.extra.values())
    }
}

/// Names as a sentence has them: `` `a`, `b` and `c` ``.
pub fn all_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match &*names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.concat(),
    }
}

/// An error about a package, and where that comes from if layers changed it: where the error lies
/// first, then the call of the layer that has it, then those of the layers below.
pub(super) fn through_layers(mut error: Diagnostic, span: &Span, below: &[Span]) -> Diagnostic {
    if below.is_empty() {
        return error;
    }
    let layers = std::iter::once((span, "changed by this layer"));
    let layers = layers.chain(below.iter().map(|span| (span, "the package of a layer below")));
    for (span, label) in layers {
        if !error.places.iter().any(|place| place.span == *span) {
            error = error.at(span.clone(), label);
        }
    }
    error
}

/// A changelog entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// `2026-11-22`, or an RFC 3339 time.
    pub date: String,
    /// What changed.
    pub text: String,
    /// Who changed it, `Name <address>`; the package's maintainer by default.
    pub author: Option<String>,
}

/// A patch of the release: a unified difference, applied with one leading folder stripped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Its name in the package, unique there.
    pub name: String,
    /// Where it lies.
    pub path: ReleasePath,
    /// Digest of its bytes.
    pub digest: Digest,
    /// What it changes.
    pub to: Patched,
}

/// What a patch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Patched {
    /// The source, outside of `debian/`.
    Source,
    /// Files below `debian/`.
    Packaging,
}

impl std::fmt::Display for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path)
    }
}

/// The texts of a `debian/` folder that say what is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagingText {
    /// `debian/control`.
    pub control: String,
    /// `debian/changelog`.
    pub changelog: String,
}

/// How a package is built: data that the stdlib returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// The stdlib module that made it.
    pub name: String,
    /// Whose `debian/` folder counts.
    pub packaging: Packaging,
    /// Build dependencies that this way of building needs.
    pub needs: Vec<String>,
    /// What each binary package of generated packaging depends on, beside its own `depends` and
    /// the shared libraries: substitution variables such as `${python3:Depends}`.
    pub depends: Vec<String>,
    /// The architecture of binary packages of generated packaging that do not state theirs.
    pub architecture: Portability,
    /// Files put into the source folder before the build, by path there.
    pub files: BTreeMap<String, String>,
    /// The shell script that builds, run in the source folder with `sh -e`.
    pub script: String,
    /// The same for the architectures beside the first, where the packages of no architecture
    /// are left out; without it only the first can be built for.
    pub script_any: Option<String>,
    /// Patterns of the files it leaves, relative to the source folder's parent: `*.deb`.
    pub outputs: Vec<String>,
}

/// Whose packaging a build uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packaging {
    /// The source's own `debian/`.
    Own,
    /// One generated from the package's fields.
    Generated,
    /// The `debian/` folder of another source, in place of the source's own.
    Other(Box<Source>),
}

/// Whether a binary package is the same on every architecture (Debian Policy 5.6.8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Portability {
    /// `Architecture: any`: built for each.
    #[default]
    Any,
    /// `Architecture: all`: one for all of them.
    All,
}

/// A binary package of generated packaging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// Its name.
    pub name: PackageName,
    /// Where it can be used; what the builder says by default.
    pub architecture: Option<Portability>,
    /// Relations to other packages, by the key in the spec: `depends`, `provides`, …; beside the
    /// dependencies that the distribution's tools find.
    pub relations: BTreeMap<String, Vec<Located<String>>>,
    /// Archive section; the package's by default.
    pub section: Option<String>,
    /// `same`, `foreign` or `allowed`.
    pub multi_arch: Option<String>,
    /// One line; the package's by default.
    pub summary: Option<String>,
    /// The rest of the description; the package's by default.
    pub description: Option<String>,
    /// Patterns of installed files that belong to it, each of which must match something. The
    /// only binary package of a source has none: it takes everything.
    pub files: Vec<String>,
    /// Patterns that may match nothing.
    pub optional: Vec<String>,
}

/// Limits of a build; `None` means the tool's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Seconds in all.
    pub time: Option<u64>,
    /// Seconds without a line of output.
    pub silence: Option<u64>,
    /// Processor cores.
    pub cores: Option<u32>,
    /// Bytes of scratch space.
    pub scratch: Option<u64>,
}
