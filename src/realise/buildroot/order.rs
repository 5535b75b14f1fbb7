//! The order in which the root's own dpkg unpacks and configures what it must.

use std::collections::{BTreeMap, BTreeSet};

use super::Member;
use super::database::Database;
use crate::archive::deb::dependency::{Operator, Relation};
use crate::archive::deb::index::Relations;

/// One run of dpkg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// `--unpack` of these packages, by index.
    Unpack(Vec<usize>, Dependencies),
    /// `--configure` of these.
    Configure(Vec<usize>, Dependencies),
    /// `--configure --pending`: all that is left, triggers included.
    Finish,
}

/// Whether dpkg insists on dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dependencies {
    /// As always.
    Heeded,
    /// Where the first packages of a root depend on one another.
    Forced,
}

/// What is configured first, in this order, whatever it depends on: `/etc/passwd` and
/// `/etc/group`, then the basic folders, then `awk`, for the scripts of all others.
const FIRST: [&str; 5] = ["base-passwd", "base-files", "mawk", "original-awk", "gawk"];

/// The packages without which no script can run: the essential ones and all they depend on.
/// There are none if they are in a layer below.
pub(super) fn bootstrap(members: &[Member], database: &Database) -> BTreeSet<usize> {
    let offers = Offers::new(members);
    let essential = |index: &usize| {
        let package = &members[*index].root.package;
        package.essential && !database.has(&package.name)
    };
    let first = (0..members.len()).filter(essential).collect();
    offers.closure(first)
}

/// The runs of dpkg that take `members` from unpacked natively, but for those in `delegated`, to
/// configured.
pub(super) fn steps(
    members: &[Member],
    bootstrap: &BTreeSet<usize>,
    delegated: &BTreeSet<usize>,
) -> Vec<Step> {
    let offers = Offers::new(members);
    let mut run = Run { steps: Vec::new(), unpacked: BTreeSet::new(), configured: BTreeSet::new() };
    run.unpacked = (0..members.len()).filter(|index| !delegated.contains(index)).collect();
    for name in FIRST {
        let found = bootstrap.iter().find(|i| members[**i].root.package.name.as_str() == name);
        if let Some(&index) = found {
            run.unpack(&BTreeSet::from([index]), Dependencies::Forced);
            run.configure(&BTreeSet::from([index]), Dependencies::Forced);
        }
    }
    run.unpack(bootstrap, Dependencies::Forced);
    if !delegated.is_subset(&run.unpacked) {
        run.configure(bootstrap, Dependencies::Heeded);
    }
    let mut visiting = BTreeSet::new();
    for &index in delegated {
        run.unpack_in_order(index, members, &offers, &mut visiting);
    }
    run.steps.push(Step::Finish);
    run.steps
}

struct Run {
    steps: Vec<Step>,
    unpacked: BTreeSet<usize>,
    configured: BTreeSet<usize>,
}

impl Run {
    fn unpack(&mut self, wanted: &BTreeSet<usize>, dependencies: Dependencies) {
        let new: Vec<usize> = wanted.difference(&self.unpacked).copied().collect();
        if new.is_empty() {
            return;
        }
        self.unpacked.extend(&new);
        match self.steps.last_mut() {
            Some(Step::Unpack(last, how)) if *how == dependencies => last.extend(new),
            _ => self.steps.push(Step::Unpack(new, dependencies)),
        }
    }

    fn configure(&mut self, wanted: &BTreeSet<usize>, dependencies: Dependencies) {
        let new: Vec<usize> = wanted.difference(&self.configured).copied().collect();
        if new.is_empty() {
            return;
        }
        self.configured.extend(&new);
        self.steps.push(Step::Configure(new, dependencies));
    }

    /// Unpacks a package once everything it pre-depends on is configured (Debian Policy 7.2).
    fn unpack_in_order(
        &mut self,
        index: usize,
        members: &[Member],
        offers: &Offers<'_>,
        visiting: &mut BTreeSet<usize>,
    ) {
        // Packages that pre-depend on one another in a circle cannot be installed at all; dpkg
        // says so better than we could.
        if self.unpacked.contains(&index) || !visiting.insert(index) {
            return;
        }
        let before = offers.targets(index, &members[index].root.package.pre_depends);
        let before = offers.closure(before);
        for &other in &before {
            self.unpack_in_order(other, members, offers, visiting);
        }
        self.configure(&before, Dependencies::Heeded);
        self.unpack(&BTreeSet::from([index]), Dependencies::Heeded);
    }
}

/// Which members a name stands for.
struct Offers<'a> {
    members: &'a [Member],
    by_name: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Offers<'a> {
    fn new(members: &'a [Member]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            by_name.entry(member.root.package.name.as_str()).or_default().push(index);
        }
        for (index, member) in members.iter().enumerate() {
            let Ok(provides) = member.root.package.provides.get() else { continue };
            for relation in provides.0.iter().flat_map(|alternatives| &alternatives.0) {
                by_name.entry(relation.name.as_str()).or_default().push(index);
            }
        }
        Self { members, by_name }
    }

    /// These packages and all that they depend on within the layer.
    fn closure(&self, first: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = first.clone();
        let mut open: Vec<usize> = first.into_iter().collect();
        while let Some(index) = open.pop() {
            let package = &self.members[index].root.package;
            for relations in [&package.pre_depends, &package.depends] {
                for target in self.targets(index, relations) {
                    if all.insert(target) {
                        open.push(target);
                    }
                }
            }
        }
        all
    }

    /// The members that may satisfy these relations of a package. Every member that satisfies one
    /// of the alternatives counts: more than enough is enough.
    fn targets(&self, index: usize, relations: &Relations) -> BTreeSet<usize> {
        let Ok(dependencies) = relations.get() else { return BTreeSet::new() };
        dependencies
            .0
            .iter()
            .flat_map(|alternatives| &alternatives.0)
            .flat_map(|relation| self.satisfying(relation))
            .filter(|target| *target != index)
            .collect()
    }

    fn satisfying(&self, relation: &'a Relation) -> impl Iterator<Item = usize> {
        let named = self.by_name.get(relation.name.as_str()).into_iter().flatten().copied();
        named.filter(move |index| {
            let package = &self.members[*index].root.package;
            if package.name == relation.name {
                return relation.accepts(&package.version);
            }
            let Ok(provides) = package.provides.get() else { return false };
            provides.0.iter().flat_map(|alternatives| &alternatives.0).any(|provided| {
                provided.name == relation.name
                    && match (&relation.version, &provided.version) {
                        (None, _) => true,
                        (Some(_), Some((Operator::Equal, version))) => relation.accepts(version),
                        (Some(_), _) => false,
                    }
            })
        })
    }
}
