//! How closed a release is, and what keeps it from being more so.

use std::fmt;

use super::{Basis, Certificate, Finding, Same, Seed, Shadowed, Why};
use crate::base::PackageName;
use crate::spec::release::Level;

/// What keeps a release below a level, for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is not closed.
    Open(Box<Finding>),
    /// A build root has the archive's package although the release builds one of that name.
    Shadowed {
        /// Whose build root.
        root: PackageName,
        /// What is in it, as `name version architecture`.
        package: String,
        /// What of the release builds it.
        by: PackageName,
        /// Why it is there all the same.
        why: Why,
        /// In how many other build roots it is.
        others: usize,
    },
    /// A build root has a package of the seed.
    Seed {
        /// Whose build root.
        root: PackageName,
        /// What is in it, as `name version architecture`.
        package: String,
        /// How many other packages there are in the seed.
        others: usize,
    },
}

impl Certificate {
    /// Whether the record of every package was looked at: if not, what was found is what would be
    /// so if the rest came out as foreseen.
    pub fn is_complete(&self) -> bool {
        self.packages.iter().all(|one| one.basis == Basis::Recorded)
    }

    /// The highest level that nothing known rules out; none if the release is not closed.
    pub fn possible(&self) -> Option<Level> {
        Level::ALL.into_iter().rev().find(|level| self.reasons(*level).is_empty())
    }

    /// The level that is proved; none if the release is not closed, or not all of it was looked at.
    pub fn proved(&self) -> Option<Level> {
        self.possible().filter(|_| self.is_complete())
    }

    /// What keeps the release below a level, whatever comes of packages that are not built yet.
    pub fn reasons(&self, level: Level) -> Vec<Reason> {
        let open = self.findings.iter().cloned().map(Box::new).map(Reason::Open);
        let mut reasons: Vec<Reason> = open.collect();
        if level >= Level::Own {
            let shadowed = self.shadowed.iter().filter(|one| one.same == Same::Differs);
            reasons.extend(shadowed.filter_map(Shadowed::reason));
        }
        if level == Level::SelfHosted && reasons.is_empty() {
            let may_go = |seed: &&Seed| {
                let mut same = self.shadowed.iter().filter(|one| one.same == Same::Unknown);
                same.any(|one| one.package.sha256 == seed.package.sha256)
            };
            let stays: Vec<&Seed> = self.seed.iter().filter(|seed| !may_go(seed)).collect();
            reasons.extend(stays.first().map(|seed| Reason::Seed {
                root: seed.first.clone(),
                package: seed.package.title(),
                others: stays.len() - 1,
            }));
        }
        reasons
    }
}

impl Shadowed {
    fn reason(&self) -> Option<Reason> {
        let (root, why) = self.roots.first()?;
        Some(Reason::Shadowed {
            root: root.clone(),
            package: self.package.title(),
            by: self.by.clone(),
            why: *why,
            others: self.roots.len() - 1,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(finding) => write!(f, "{finding}"),
            Self::Shadowed { root, package, by, why, others } => {
                write!(
                    f,
                    "`{package}` in the build root of `{root}` is the archive's, though `{by}` \
                     builds it: "
                )?;
                match why {
                    Why::Itself => write!(f, "nothing is built with what it makes itself")?,
                    Why::FromSeed => write!(f, "`from_seed` of `{root}` says so")?,
                    Why::NoEdge => write!(f, "no build dependency of `{root}` leads to `{by}`")?,
                    Why::Round => write!(f, "`{by}` is itself built with `{root}`")?,
                }
                match others {
                    0 => Ok(()),
                    1 => write!(f, " (and in one other build root)"),
                    others => write!(f, " (and in {others} other build roots)"),
                }
            }
            Self::Seed { root, package, others } => {
                write!(f, "`{package}` in the build root of `{root}` is seed")?;
                match others {
                    0 => Ok(()),
                    1 => write!(f, ", and one more package"),
                    others => write!(f, ", and so are {others} more packages"),
                }
            }
        }
    }
}
