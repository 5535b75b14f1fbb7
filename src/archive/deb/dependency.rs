//! Relations between packages: `Depends`, `Build-Depends`, `Provides` and their kin
//! (Debian Policy 7.1; architecture wildcards 11.1.1; build profiles as deb-src-control(5) has
//! them).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::version::Version;
use crate::base::{Architecture, PackageName};

mod architecture;
mod parse;

pub use architecture::matches as architecture_matches;
pub use parse::Error;

/// How a version has to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `<<`
    Less,
    /// `<=`
    LessEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterEqual,
    /// `>>`
    Greater,
}

/// Which architecture of a package is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// `:any`: whichever, if the package is `Multi-Arch: allowed`.
    Any,
    /// `:native`: that of the machine that builds.
    Native,
    /// `:amd64`
    Architecture(Architecture),
}

/// A term of an architecture list: `[linux-any !hurd-i386]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchitectureTerm {
    /// Whether `!` stands before it.
    pub negated: bool,
    /// An architecture or a wildcard.
    pub name: String,
}

/// A term of a build profile formula: `<!nocheck !cross>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileTerm {
    /// Whether `!` stands before it.
    pub negated: bool,
    /// A build profile.
    pub name: String,
}

/// One package that would do: `foo:any (>= 1.0) [linux-any] <!nocheck>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package, which may be virtual.
    pub name: PackageName,
    /// Which architecture of it.
    pub qualifier: Option<Qualifier>,
    /// Which versions of it; all if `None`.
    pub version: Option<(Operator, Version)>,
    /// Where the relation counts; everywhere if empty.
    pub architectures: Vec<ArchitectureTerm>,
    /// With which profiles it counts: if all terms of any group hold; always if empty.
    pub profiles: Vec<Vec<ProfileTerm>>,
}

/// Packages of which any one would do: `a | b`. Never empty when parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternatives(pub Vec<Relation>);

/// The value of a relationship field: `a, b | c`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies(pub Vec<Alternatives>);

impl Dependencies {
    /// What of this counts for `architecture` and the active build `profiles`, without the
    /// restrictions that said so. Alternatives of which nothing is left are gone.
    pub fn reduce(&self, architecture: &Architecture, profiles: &BTreeSet<String>) -> Self {
        let kept = self.0.iter().filter_map(|alternatives| {
            let kept: Vec<Relation> = alternatives
                .0
                .iter()
                .filter(|relation| relation.applies(architecture, profiles))
                .map(Relation::unrestricted)
                .collect();
            (!kept.is_empty()).then_some(Alternatives(kept))
        });
        Self(kept.collect())
    }
}

impl Relation {
    /// Whether a package of this name with this version would do.
    pub fn accepts(&self, version: &Version) -> bool {
        self.version.as_ref().is_none_or(|(operator, wanted)| operator.holds(version, wanted))
    }

    /// Whether it counts for `architecture` and the active build `profiles`.
    pub fn applies(&self, architecture: &Architecture, profiles: &BTreeSet<String>) -> bool {
        (self.architectures.is_empty() || architecture::concerns(&self.architectures, architecture))
            && profiles_hold(&self.profiles, profiles)
    }

    fn unrestricted(&self) -> Self {
        Self {
            name: self.name.clone(),
            qualifier: self.qualifier.clone(),
            version: self.version.clone(),
            architectures: Vec::new(),
            profiles: Vec::new(),
        }
    }
}

impl Operator {
    /// Whether `version` stands in this relation to `wanted`.
    pub fn holds(self, version: &Version, wanted: &Version) -> bool {
        match self {
            Self::Less => version < wanted,
            Self::LessEqual => version <= wanted,
            Self::Equal => version == wanted,
            Self::GreaterEqual => version >= wanted,
            Self::Greater => version > wanted,
        }
    }
}

/// Whether a build profile formula holds: all terms of any group, or no group at all.
pub fn profiles_hold(formula: &[Vec<ProfileTerm>], active: &BTreeSet<String>) -> bool {
    formula.is_empty()
        || formula
            .iter()
            .any(|group| group.iter().all(|term| active.contains(&term.name) != term.negated))
}

/// The formula of a `profile=` entry of a source's `Package-List`, where `+` stands between
/// groups and `,` between terms: `!stage1,!nodoc+cross`. Empty text: no formula.
pub fn package_list_profiles(text: &str) -> Vec<Vec<ProfileTerm>> {
    let group = |group: &str| group.split(',').map(profile_term).collect();
    if text.is_empty() { Vec::new() } else { text.split('+').map(group).collect() }
}

/// Whether an architecture field as written (`any`, `all`, `linux-any hurd-any`) holds for
/// packages of `architecture`; `all` holds for itself alone.
pub fn architectures_hold(text: &str, architecture: &Architecture) -> bool {
    text.split([' ', '\t', '\n', ',']).any(|word| architecture_matches(architecture.as_str(), word))
}

fn profile_term(text: &str) -> ProfileTerm {
    match text.strip_prefix('!') {
        Some(name) => ProfileTerm { negated: true, name: name.to_owned() },
        None => ProfileTerm { negated: false, name: text.to_owned() },
    }
}

impl FromStr for Dependencies {
    type Err = Error;

    /// Reads the value of a relationship field. White space, continuation lines and superfluous
    /// commas do not matter; `<` and `>` mean `<=` and `>=` as they did of old.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse::dependencies(text)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<<",
            Self::LessEqual => "<=",
            Self::Equal => "=",
            Self::GreaterEqual => ">=",
            Self::Greater => ">>",
        })
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Native => f.write_str("native"),
            Self::Architecture(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for ArchitectureTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.name)
    }
}

impl fmt::Display for ProfileTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.name)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        if let Some((operator, version)) = &self.version {
            write!(f, " ({operator} {version})")?;
        }
        if !self.architectures.is_empty() {
            f.write_str(" [")?;
            joined(f, &self.architectures, " ")?;
            f.write_str("]")?;
        }
        for group in &self.profiles {
            f.write_str(" <")?;
            joined(f, group, " ")?;
            f.write_str(">")?;
        }
        Ok(())
    }
}

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, &self.0, " | ")
    }
}

impl fmt::Display for Dependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, &self.0, ", ")
    }
}

fn joined<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: &[T], between: &str) -> fmt::Result {
    for (at, one) in all.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        write!(f, "{one}")?;
    }
    Ok(())
}
