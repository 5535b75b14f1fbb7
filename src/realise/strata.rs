//! Which strata would save time: sets of packages that many build roots have in common.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use super::error::Result;
use super::universe::{RootLists, Snapshot};
use crate::archive::deb::index::BinaryPackage;
use crate::base::{PackageName, Sha256};
use crate::graph::derivation::Root;

/// A stratum that is worth it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The dependency that leads to it.
    pub depends: PackageName,
    /// How many packages it has beside the base and the strata below it.
    pub packages: usize,
    /// How many different build roots have all of it.
    pub roots: usize,
    /// How many different ones there are.
    pub of: usize,
    /// About how much time it saves where all of them are made.
    pub saved: Duration,
}

/// About how long a package takes to be put into a root and configured there, as measured over
/// the build dependencies of curl and of libxml2 on two processors.
const A_PACKAGE: Duration = Duration::from_millis(35);

/// About how long another layer takes, whatever is in it.
const A_LAYER: Duration = Duration::from_millis(700);

/// What is saved at least by a stratum that is proposed.
const WORTH_IT: Duration = Duration::from_secs(3);

/// How many strata a root has at most, and how many names are tried.
const MOST: usize = 4;
const TRIED: usize = 400;

/// The strata that would save time beside those that `root` has, those that most roots have
/// first, for build roots of these packages.
///
/// # Errors
/// The root itself cannot be had.
pub fn propose(
    snapshot: &Snapshot,
    root: &Root,
    build_roots: &[Vec<Arc<BinaryPackage>>],
) -> Result<Vec<Proposal>> {
    let (base, strata) = (snapshot.base(root)?, snapshot.strata(root)?);
    // What is above the layers that are shared already; roots of the same packages are one.
    let tops: BTreeMap<BTreeSet<Sha256>, Vec<Arc<BinaryPackage>>> = build_roots
        .iter()
        .map(|list| RootLists::new(list.clone(), base, strata))
        .filter(|lists| lists.layers.len() > 1 && lists.layers[0].len() == base.len())
        .filter_map(|mut lists| lists.layers.pop())
        .map(|top| (top.iter().map(|package| package.sha256).collect(), top))
        .collect();
    let mut counts: BTreeMap<&PackageName, usize> = BTreeMap::new();
    for package in tops.values().flatten() {
        *counts.entry(&package.name).or_default() += 1;
    }
    let mut names: Vec<(&PackageName, usize)> =
        counts.into_iter().filter(|(_, count)| *count > 1).collect();
    names.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.as_str().len()));
    names.truncate(TRIED);
    let candidates: Vec<Candidate<'_>> = names
        .into_par_iter()
        .filter_map(|(name, _)| {
            let closure = snapshot.closure(root, &[name.to_string()]).ok()?;
            Some(Candidate {
                name,
                packages: closure.iter().map(|package| package.sha256).collect(),
            })
        })
        .collect();
    let mut left: Vec<HashSet<Sha256>> =
        tops.keys().map(|top| top.iter().copied().collect()).collect();
    let whole: Vec<HashSet<Sha256>> = left.clone();
    let mut chosen: Vec<&Candidate<'_>> = Vec::new();
    while chosen.len() < MOST {
        let tried = candidates.iter().map(|one| (one.saved(&whole, &left), one));
        let best = tried.max_by_key(|(saved, one)| (*saved, std::cmp::Reverse(one.name)));
        let Some((_, best)) = best.filter(|(saved, _)| *saved >= WORTH_IT) else { break };
        best.take(&whole, &mut left);
        chosen.push(best);
    }
    chosen.sort_by_key(|one| (std::cmp::Reverse(one.users(&whole).count()), one.name));
    let mut left = whole.clone();
    let proposal = |one: &Candidate<'_>| {
        let saved = one.saved(&whole, &left);
        let packages = one.users(&whole).map(|at| one.packages.intersection(&left[at]).count());
        let packages = packages.max().unwrap_or(0);
        one.take(&whole, &mut left);
        let roots = one.users(&whole).count();
        Proposal { depends: one.name.clone(), packages, roots, of: whole.len(), saved }
    };
    Ok(chosen.into_iter().map(proposal).collect())
}

/// What may be a stratum.
struct Candidate<'a> {
    name: &'a PackageName,
    packages: HashSet<Sha256>,
}

impl Candidate<'_> {
    /// The roots that have all of it, by place.
    fn users(&self, whole: &[HashSet<Sha256>]) -> impl Iterator<Item = usize> {
        let has_all = |(_, root): &(usize, &HashSet<Sha256>)| self.packages.is_subset(root);
        whole.iter().enumerate().filter(has_all).map(|(at, _)| at)
    }

    /// The time it saves where `left` of each root is in no layer that is shared: all but one of
    /// the roots find it made, and all have one more layer to make.
    fn saved(&self, whole: &[HashSet<Sha256>], left: &[HashSet<Sha256>]) -> Duration {
        let users: Vec<usize> = self.users(whole).collect();
        let new = |at: &usize| self.packages.intersection(&left[*at]).count();
        let most = users.iter().map(new).max().unwrap_or(0);
        let times = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let all: usize = users.iter().map(new).sum();
        (A_PACKAGE * times(all - most)).saturating_sub(A_LAYER)
    }

    /// Takes it out of what is left of the roots that have it.
    fn take(&self, whole: &[HashSet<Sha256>], left: &mut [HashSet<Sha256>]) {
        let users: Vec<usize> = self.users(whole).collect();
        for at in users {
            left[at].retain(|package| !self.packages.contains(package));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::archive::deb::index;

    /// An archive of an essential package, two tools of `size` packages each, the second of which
    /// needs the first, and a library for each of `count` build roots.
    fn snapshot(size: usize, count: usize) -> Snapshot {
        let mut text = String::new();
        let mut package = |name: &str, fields: &str| {
            let digest = Sha256::of(name.as_bytes());
            let _ = write!(
                text,
                "Package: {name}\nVersion: 1\nArchitecture: amd64\n{fields}Filename: {name}.deb\n\
                 Size: 1\nSHA256: {digest}\n\n"
            );
        };
        package("base", "Essential: yes\n");
        let parts = |tool: &str| {
            (0..size).map(|part| format!("{tool}-{part}")).collect::<Vec<_>>().join(", ")
        };
        package("tool", &format!("Depends: {}\n", parts("part")));
        package("python", &format!("Depends: tool, {}\n", parts("module")));
        (0..size).for_each(|part| package(&format!("part-{part}"), ""));
        (0..size).for_each(|part| package(&format!("module-{part}"), ""));
        (0..count).for_each(|number| package(&format!("library-{number}"), ""));
        Snapshot::new("upstream".to_owned(), vec![index::packages(&text).expect("an index")])
    }

    fn root(strata: &[&str]) -> Root {
        Root {
            architecture: "amd64".parse().expect("an architecture"),
            indexes: Vec::new(),
            packages: Vec::new(),
            strata: strata.iter().map(|name| vec![(*name).to_owned()]).collect(),
            seed: None,
        }
    }

    /// The build root of `wanted`.
    fn list(snapshot: &Snapshot, root: &Root, wanted: &[String]) -> Vec<Arc<BinaryPackage>> {
        let base = snapshot.base(root).expect("a base").to_vec();
        [base, snapshot.closure(root, wanted).expect("a root")].concat()
    }

    /// Twenty roots with the first tool, five of which have the second one.
    fn lists(snapshot: &Snapshot, root: &Root) -> Vec<Vec<Arc<BinaryPackage>>> {
        let wanted = |number: usize| {
            let tool = if number.is_multiple_of(4) { "python" } else { "tool" };
            vec![tool.to_owned(), format!("library-{number}")]
        };
        (0..20).map(|number| list(snapshot, root, &wanted(number))).collect()
    }

    #[test]
    fn what_most_roots_have_in_common_comes_first() {
        let (snapshot, root) = (snapshot(50, 20), root(&[]));
        let found = propose(&snapshot, &root, &lists(&snapshot, &root)).expect("a root");
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.depends.as_str(), one.packages, one.roots, one.of))
            .collect();
        assert_eq!(told, [("tool", 51, 20, 20), ("python", 51, 5, 20)]);
        assert!(found[0].saved > found[1].saved);
    }

    #[test]
    fn what_is_there_or_saves_little_is_not_proposed() {
        let (large, small) = (snapshot(50, 20), snapshot(1, 20));
        let there = root(&["tool", "python"]);
        assert_eq!(propose(&large, &there, &lists(&large, &there)).expect("a root"), []);
        let none = root(&[]);
        assert_eq!(propose(&small, &none, &lists(&small, &none)).expect("a root"), []);
        let alone = &lists(&large, &none)[..1];
        assert_eq!(propose(&large, &none, alone).expect("a root"), []);
    }

    #[test]
    fn a_stratum_is_a_layer_of_every_root_that_has_all_of_it() {
        let snapshot = snapshot(2, 2);
        let root = root(&["python", "tool"]);
        let (base, strata) = (snapshot.base(&root).unwrap(), snapshot.strata(&root).unwrap());
        let layers = |wanted: &[&str]| -> Vec<usize> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let lists = RootLists::new(list(&snapshot, &root, &wanted), base, strata);
            lists.layers.iter().map(Vec::len).collect()
        };
        assert_eq!(layers(&["library-0"]), [1, 1]);
        assert_eq!(layers(&["part-0", "library-0"]), [1, 2]);
        assert_eq!(layers(&["tool", "library-0"]), [1, 3, 1]);
        assert_eq!(layers(&["python"]), [1, 6], "the second one lies in the first");
        assert_eq!(layers(&[]), [1]);
    }
}
