//! Which packages a build root holds: a pure function of (universe, request, [`RULES`]).
//!
//! # The rules
//!
//! 1. A name has one candidate: the release's package of that name, else the archive's in its
//!    highest version, else (several suites have that version) the first suite's.
//! 2. The essential packages and those asked for by name are in. Then their dependencies are
//!    followed depth first in the order they are written, `Pre-Depends` before `Depends`; then
//!    the request's own dependencies, likewise. Nothing is recommended.
//! 3. A package's dependency that something already chosen satisfies asks for nothing more,
//!    whichever of its alternatives that is: as apt does.
//! 4. A dependency of the request is stricter: its first alternative is taken if that is possible
//!    at all, though a later one may be there already: as the distribution's own builders do.
//! 5. Of several packages that satisfy one relation, the one of that very name comes first, then
//!    essential ones, then protected ones, then by priority, then by name, the last first: as apt
//!    does, whose last resort is the order of its cache, which for an index sorted by name mostly
//!    is this one.
//! 6. Where this ends in a conflict, the latest choice that had a part in it is made anew, with
//!    the next possibility. What was learnt about packages that do not go together is kept, so
//!    the same dead end is never entered twice.

use std::sync::Arc;

use super::dependency::Dependencies;
use super::index::BinaryPackage;
use crate::base::{Architecture, PackageName};

mod explain;
mod problem;
mod search;
mod universe;

pub use universe::Universe;

/// The version of the rules: it changes whenever some request may get another answer.
pub const RULES: u32 = 1;

/// What a build root is asked to hold.
#[derive(Debug, Clone)]
pub struct Request {
    /// The architecture it is for; packages of it and of `all` are considered.
    pub architecture: Architecture,
    /// Packages that must be in it; real ones, not virtual.
    pub packages: Vec<PackageName>,
    /// Whether all essential packages must be in it, too.
    pub essential: bool,
    /// What else must be satisfied, without restrictions ([`Dependencies::reduce`]).
    pub depends: Dependencies,
    /// What must not be in it, without restrictions.
    pub conflicts: Dependencies,
}

/// There is no such build root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no set of packages is what is asked for:\n  {}", .because.join("\n  "))]
pub struct Unsolvable {
    /// Why not: each line a fact, each following from what is asked for and the lines before.
    pub because: Vec<String>,
}

/// The packages of the build root that `request` asks for, sorted by name.
///
/// The order in which the universe was given does not matter, nor that of `packages`; that of
/// `depends` does where it leaves a choice (rule 2).
pub fn solve(
    universe: &Universe,
    request: &Request,
) -> Result<Vec<Arc<BinaryPackage>>, Unsolvable> {
    let mut problem = problem::Problem::new(universe, request);
    match search::search(&mut problem) {
        Ok(chosen) => {
            let mut chosen: Vec<_> = chosen.into_iter().map(|id| problem.package(id)).collect();
            chosen.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(chosen)
        }
        Err(defeat) => Err(Unsolvable { because: explain::because(&problem, &defeat) }),
    }
}

#[cfg(test)]
mod tests;
