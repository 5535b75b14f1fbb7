//! release.lock: what a release is pinned to.

use std::collections::BTreeMap;

use crate::base::{Architecture, PackageName, Sha256};

/// The content of release.lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Upstream archives, by their name in release.toml.
    pub archives: BTreeMap<String, LockedArchive>,
    /// Source packages of archives, by archive and name.
    pub sources: BTreeMap<(String, PackageName), LockedSource>,
    /// SHA-256 of each stdlib module's text kept in `release.lock.d/stdlib/`, by module.
    pub stdlib: BTreeMap<String, Sha256>,
}

/// An upstream archive at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedArchive {
    /// Its suites, in the order of release.toml.
    pub suites: Vec<LockedSuite>,
}

/// A suite at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSuite {
    /// `bookworm`.
    pub suite: String,
    /// The `Date` of its Release file, as written there.
    pub date: String,
    /// SHA-256 of the InRelease file kept at `release.lock.d/<archive>/<suite>.InRelease`.
    pub release: Sha256,
    /// The indexes, sorted by path.
    pub indexes: Vec<LockedIndex>,
}

/// An index of a suite, named by its *uncompressed* content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedIndex {
    /// Path below the suite without compression suffix: `main/binary-amd64/Packages`.
    pub path: String,
    /// What it lists.
    pub kind: IndexKind,
    /// Digest of the uncompressed bytes.
    pub sha256: Sha256,
    /// Size of the uncompressed bytes.
    pub size: u64,
}

/// What an index lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexKind {
    /// Binary packages of an architecture.
    Packages(Architecture),
    /// Source packages.
    Sources,
}

/// A source package of an archive: its files, and what the graph needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSource {
    /// Version, with epoch and revision.
    pub version: String,
    /// Where it lies below the archive's root: `pool/main/c/catdoc`.
    pub directory: String,
    /// The `.dsc` and every file it names, sorted by name.
    pub files: Vec<LockedFile>,
    /// The binary packages it builds.
    pub binaries: Vec<LockedBinary>,
    /// `Build-Depends`, `Build-Depends-Arch`, `Build-Depends-Indep`, `Build-Conflicts`,
    /// `Build-Conflicts-Arch`, `Build-Conflicts-Indep` as written, white space folded; absent
    /// fields have no entry.
    pub relations: BTreeMap<String, String>,
    /// `Rules-Requires-Root`, if not the default.
    pub requires_root: Option<String>,
}

/// A file by name, size and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// File name without directory.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// A binary package that a source builds, from its `Package-List`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBinary {
    /// Its name.
    pub name: PackageName,
    /// Architectures as written: `any`, `all`, `amd64 arm64`.
    pub architecture: String,
    /// Build profile formula as written in `Package-List` (`!stage1`), or empty.
    pub profiles: String,
    /// What it `Provides`, as the archive's index says; empty where it has no such binary.
    pub provides: String,
}
