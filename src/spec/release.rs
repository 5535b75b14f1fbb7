//! release.toml: what a release is made of.

use std::collections::BTreeMap;

use super::model::Located;
use crate::base::{Architecture, PackageName, ReleasePath};

/// The content of release.toml.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Namespace of a customer; empty by default.
    pub customer: String,
    /// `Name <address>`.
    pub maintainer: String,
    /// The architectures; the first one also builds the `all` packages.
    pub architectures: Vec<Architecture>,
    /// `[archive.NAME]`.
    pub archives: BTreeMap<String, Archive>,
    /// `[root.NAME]`.
    pub roots: BTreeMap<String, Root>,
    /// `[parameters]`: strings, integers, booleans.
    pub parameters: BTreeMap<String, toml::Value>,
}

/// An upstream archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its format.
    pub format: Format,
    /// Suites, in order of preference at equal versions.
    pub suites: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// File of the OpenPGP keys of which one must have signed it.
    pub keyring: Located<ReleasePath>,
    /// Places to fetch it from, if the release names any.
    pub mirrors: Vec<String>,
}

/// A packaging format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Debian packages.
    Deb,
}

/// A chroot snapshot: the base of build roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The archive it comes from.
    pub archive: Located<String>,
    /// Packages beside the essential ones.
    pub packages: Vec<Located<PackageName>>,
}
