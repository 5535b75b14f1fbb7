//! Trying a generation with the real apt before clients read it.
//!
//! The client is a root of the release's own pinned archive: what is essential, and apt. In the
//! sandbox, which has no network but its own loopback, a web server offers the staged generation
//! and the pinned archive, each signed by its own key and by no other. There apt reads the indexes
//! first; what of the archive it would fetch for each new package comes into the store by digest;
//! then each package is installed, and removed again, in a root of its own, and once more over the
//! version that clients have now. No two packages meet, so none can spoil what is said of another.

mod client;
mod error;
mod guest;
mod reason;
mod round;

use std::fmt;

use crate::archive::deb::version::Version;
use crate::base::{Architecture, HostPath, PackageName};
use crate::realise::world::World;

pub use error::{Error, Result};

/// What is rehearsed.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal<'a> {
    /// The repository's folder, which has `pool` and `by-hash`; what the staged generation names is
    /// there already.
    pub repository: &'a HostPath,
    /// The folder that has the `dists` of the staged generation.
    pub staged: &'a HostPath,
    /// The folder that has the `dists` which clients read now; none if there are none.
    pub previous: Option<&'a HostPath>,
    /// The public key that the repository is signed with, binary or armoured.
    pub key: &'a [u8],
    /// The suites that are different from what they were, each tried by a client of its own.
    pub suites: &'a [Suite],
    /// Who the client is.
    pub client: Client<'a>,
    /// How much is tried.
    pub extent: Extent,
}

/// A suite, and what is new in it.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its components.
    pub components: Vec<String>,
    /// Suites of the same repository, with their components, that its clients read too.
    pub beside: Vec<(String, Vec<String>)>,
    /// Its new packages.
    pub candidates: Vec<Candidate>,
}

/// A new binary package, no udeb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Its architecture; `all` is tried by every client, others by those of that architecture.
    pub architecture: Architecture,
    /// The version that clients have now; none if they have none, or are not to come from it.
    pub old: Option<Version>,
}

/// A machine that has a distribution and uses the repository.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The pinned archive that it was installed from, by its name in release.toml.
    pub archive: &'a str,
    /// The keys of which one has signed that archive.
    pub keys: &'a [u8],
    /// What it runs on.
    pub architecture: &'a Architecture,
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The client reads the indexes, first those that clients read now, then the staged ones.
    Update,
    /// That, and each new package is installed, upgraded to and removed.
    Full,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The client's root is made; see [`crate::realise::buildroot::Progress`].
    Root {
        /// The step.
        step: &'static str,
        /// So many packages are through it.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// The client reads the indexes of a suite.
    Update(&'a str),
    /// Files of the pinned archive are fetched.
    Fetch {
        /// So many are there.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// A package was tried.
    Package {
        /// The package.
        name: &'a PackageName,
        /// So many trials are over.
        done: usize,
        /// Of so many.
        total: usize,
    },
}

/// What came of a rehearsal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many packages were installed and removed.
    pub installed: usize,
    /// How many packages took the place of the version that clients have now, and were removed.
    pub upgraded: usize,
    /// How many packages are of architectures that the client is not of; they were not tried.
    pub elsewhere: usize,
    /// Upgrades that could not be tried because of what clients have now.
    pub unproven: Vec<Refused>,
    /// What does not work; the switch must not be made. Sorted by suite and package.
    pub failures: Vec<Refused>,
}

impl Verdict {
    /// What came of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.installed += other.installed;
        self.upgraded += other.upgraded;
        self.elsewhere += other.elsewhere;
        self.unproven.extend(other.unproven);
        self.failures.extend(other.failures);
        self
    }
}

/// Something that a client cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The suite.
    pub suite: String,
    /// The package and its new version; none if no index can be read.
    pub package: Option<(PackageName, Version)>,
    /// What was tried.
    pub stage: Stage,
    /// The lines of apt and dpkg that say why.
    pub why: Vec<String>,
    /// The end of what apt, dpkg and the package's scripts printed.
    pub log: String,
}

/// What a client was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It read the indexes.
    Update,
    /// It installed a package that it did not have.
    Install,
    /// It installed a package over the version that clients have now.
    Upgrade,
    /// It removed and purged a package.
    Remove,
}

impl Stage {
    /// The stage as a document says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Remove => "remove",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, version)) = &self.package else {
            return write!(f, "the indexes of suite `{}` cannot be read", self.suite);
        };
        let what = match self.stage {
            Stage::Update | Stage::Install => "cannot be installed",
            Stage::Upgrade => "cannot be upgraded to",
            Stage::Remove => "cannot be removed",
        };
        write!(f, "{name} {version} {what}")
    }
}

/// Has the client try everything; `told` hears what is being done, from several threads.
///
/// # Errors
/// What has nothing to do with the generation: no client can be made of the archive, files of it
/// are not to be had, there is no sandbox, somebody told us to stop.
pub fn rehearse(
    world: &World<'_>,
    rehearsal: &Rehearsal<'_>,
    told: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Verdict> {
    let prepared = client::prepare(world, rehearsal, told)?;
    let mut verdict = Verdict::default();
    for suite in rehearsal.suites {
        round::rehearse(world, rehearsal, &prepared, suite, told, &mut verdict)?;
    }
    let key = |one: &Refused| (one.suite.clone(), one.package.clone(), one.stage);
    verdict.failures.sort_by_key(key);
    verdict.unproven.sort_by_key(key);
    Ok(verdict)
}
