//! What is found in the build roots of a release.

use std::fmt;
use std::sync::Arc;

use crate::archive::deb::index::BinaryPackage;
use crate::base::{ActionId, DerivationId, Digest, PackageName, Sha256};

/// Something because of which a release is not closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Finding {
    /// A package of a build root is of no universe.
    #[error(
        "`{listed}` in the build root of `{package}` is neither in the pinned index nor built by \
         anything that `{package}` needs{}", match .whose {
            Some(whose) => format!(": it is built by `{whose}`"),
            None => String::new(),
        }
    )]
    Foreign {
        /// Whose build root.
        package: String,
        /// What is in it, as `name version architecture`.
        listed: String,
        /// Its digest.
        sha256: Sha256,
        /// What of the release builds it, if anything does.
        whose: Option<String>,
    },
    /// A build root has the archive's package although the release's was offered.
    #[error(
        "`{listed}` in the build root of `{package}` is the archive's, though `{by}` builds it and \
         `{package}` needs `{by}`"
    )]
    NotReplaced {
        /// Whose build root.
        package: String,
        /// What is in it, as `name version architecture`.
        listed: String,
        /// What builds it.
        by: String,
    },
    /// A package needs something that is no package of the release.
    #[error("`{package}` needs {needs}, which is no package of the release")]
    Outside {
        /// The package.
        package: String,
        /// The derivation that it needs.
        needs: DerivationId,
    },
    /// A record is of another recipe.
    #[error(
        "action {action} of the record of `{package}` is not what this program makes of its \
         derivation: another version of it built that, or somebody changed it"
    )]
    OtherRecipe {
        /// The package.
        package: String,
        /// The action.
        action: ActionId,
    },
    /// The manifest has another record for a package.
    #[error(
        "the manifest has another record of `{package}`\n  manifest {}\n  adopted  {adopted}",
        match .listed {
            Some(listed) => listed.to_string(),
            None => "none".to_owned(),
        }
    )]
    OtherRecord {
        /// The package.
        package: String,
        /// The record that is adopted.
        adopted: Digest,
        /// The record in the manifest, if it has any.
        listed: Option<Digest>,
    },
    /// A seed package of a build root is not in the manifest.
    #[error("`{listed}` in the build root of `{package}` is not in the seed of the manifest")]
    NotEnumerated {
        /// Whose build root; of several, the first.
        package: String,
        /// What is in it, as `name version architecture`.
        listed: String,
    },
    /// A seed package of the manifest is in no build root.
    #[error("`{listed}` in the seed of the manifest is in no build root")]
    Superfluous {
        /// What is in it, as `name version architecture`.
        listed: String,
    },
    /// Something is not in the store.
    #[error("{} of `{}` {}\n  named {}", .0.what, .0.package, .0.wrong, .0.digest)]
    Fault(Fault),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing from the store"),
            Self::Other(is) => write!(f, "is damaged in the store: it is {is}"),
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

/// So many packages, and the bytes of their files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub packages: usize,
    /// Bytes of the `.deb`s.
    pub bytes: u64,
}

impl Share {
    pub(super) fn add(&mut self, bytes: u64) {
        self.packages += 1;
        self.bytes += bytes;
    }
}

/// How the build root of a package is made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// Its derivation's id.
    pub derivation: DerivationId,
    /// Its action and its record, if it is built.
    pub built: Option<(ActionId, Digest)>,
    /// What the rest is known from.
    pub basis: Basis,
    /// What of its root is the release's own.
    pub own: Share,
    /// What of its root is seed.
    pub seed: Share,
    /// How much of that is shadowed.
    pub shadowed: usize,
}

/// What is known of a build root, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// The record of a build says it.
    Recorded,
    /// It is what would be chosen now.
    Foreseen,
    /// It is not known, for this reason.
    Unknown(String),
    /// It was not asked for.
    Unasked,
}

/// A package of the seed.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The package.
    pub package: Arc<BinaryPackage>,
    /// The root whose index has it.
    pub root: DerivationId,
    /// The first package whose build root has it.
    pub first: PackageName,
    /// In how many build roots it is.
    pub roots: usize,
}

/// A package of the archive in build roots of a release that builds one of that name.
#[derive(Debug, Clone)]
pub struct Shadowed {
    /// The archive's package.
    pub package: Arc<BinaryPackage>,
    /// The package of the release that builds one of that name.
    pub by: PackageName,
    /// Whether the release's can have the same bytes.
    pub same: Same,
    /// In whose build roots it is, and why.
    pub roots: Vec<(PackageName, Why)>,
    /// What asks for it in the first of them.
    pub asked_by: Vec<PackageName>,
}

/// Whether the release's package of a name can have the bytes of the archive's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Same {
    /// It has others.
    Differs,
    /// It is not built yet, from a source of that version.
    Unknown,
}

/// Why a build root has the archive's package although the release builds one of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The package builds it itself: nothing is built with what it makes.
    Itself,
    /// Its spec says `from_seed`.
    FromSeed,
    /// No build dependency leads to the package that builds it, though one could.
    NoEdge,
    /// None does, and none could: the package that builds it needs this one.
    Round,
}

impl Why {
    /// The reason as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::FromSeed => "from-seed",
            Self::NoEdge => "no-edge",
            Self::Round => "round",
        }
    }
}

/// Something that the store does not have as a document names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The package whose build names it.
    pub package: String,
    /// What it is: ``output `x_1_amd64.deb` ``.
    pub what: String,
    /// What it is named by.
    pub digest: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with something that a document names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It has these bytes instead: their digest, or their number.
    Other(String),
    /// It is not the kind of document it should be.
    Unreadable(String),
}
