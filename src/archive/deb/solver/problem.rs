//! A request over a universe as choices to be made, and pairs of packages that exclude each other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Request, Universe};
use crate::archive::deb::dependency::{Alternatives, Dependencies, Qualifier, Relation};
use crate::archive::deb::index::{BinaryPackage, MultiArch, Relations};
use crate::base::{Architecture, PackageName};

/// A package that is looked at.
pub(super) type Id = usize;

/// A choice to be made: of its options, in this order, one is needed.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// Who needs it; the request itself if `None`.
    pub owner: Option<Id>,
    /// What it needs.
    pub wanted: Wanted,
    /// The packages that would do, by alternative.
    pub options: Vec<Vec<Id>>,
}

/// What a choice is about.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// An essential package.
    Essential(PackageName),
    /// A package asked for by name.
    Package(PackageName),
    /// A relation, of this field where it is a package's.
    Relation(&'static str, Alternatives),
    /// That a package's fields can be read.
    Readable(String),
}

/// Packages that cannot be together, and why.
#[derive(Debug, Clone)]
pub(super) struct Nogood {
    /// The packages; if only one, it can never be chosen.
    pub members: Vec<Id>,
    /// Why.
    pub reason: Reason,
}

/// Why packages cannot be together.
#[derive(Debug, Clone)]
pub(super) enum Reason {
    /// One says so of the other; the request itself if `None`.
    Declared { by: Option<Id>, field: &'static str, relation: Relation, against: Id },
    /// A choice was left without options: each with what forbids it.
    Exhausted { choice: usize, options: Vec<(Id, usize)> },
}

/// The request, as far as it has been looked at.
pub(super) struct Problem<'a> {
    pub universe: &'a Universe,
    pub request: &'a Request,
    pub choices: Vec<Choice>,
    pub nogoods: Vec<Nogood>,
    packages: Vec<Known>,
    ids: HashMap<PackageName, Id>,
}

struct Known {
    package: Arc<BinaryPackage>,
    /// Its own choices, once it has been opened.
    choices: Option<Vec<usize>>,
    /// The nogoods it is a member of.
    nogoods: Vec<usize>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(universe: &'a Universe, request: &'a Request) -> Self {
        let mut problem = Self {
            universe,
            request,
            choices: Vec::new(),
            nogoods: Vec::new(),
            packages: Vec::new(),
            ids: HashMap::new(),
        };
        for relation in request.conflicts.0.iter().flat_map(|alternatives| &alternatives.0) {
            for package in universe.meant(relation, &request.architecture) {
                let against = problem.id(package);
                problem.declare(None, "Build-Conflicts", relation, against);
            }
        }
        problem
    }

    pub(super) fn package(&self, id: Id) -> Arc<BinaryPackage> {
        self.packages[id].package.clone()
    }

    /// The packages that must be in any case.
    pub(super) fn roots(&mut self) -> Vec<usize> {
        let mut roots = Vec::new();
        if self.request.essential {
            for package in self.universe.essential(&self.request.architecture) {
                let option = self.id(package);
                let wanted = Wanted::Essential(package.name.clone());
                roots.push(self.choose(None, wanted, vec![vec![option]]));
            }
        }
        let mut names: Vec<_> = self.request.packages.iter().collect();
        names.sort();
        for name in names {
            let package = self.universe.candidate(name.as_str(), &self.request.architecture);
            let options = package.map(|package| self.id(package)).into_iter().collect();
            roots.push(self.choose(None, Wanted::Package(name.clone()), vec![options]));
        }
        roots
    }

    /// What the request needs beside that.
    pub(super) fn depends(&mut self) -> Vec<usize> {
        let request = self.request;
        self.relations(None, "Build-Depends", &request.depends)
    }

    /// Looks at what a package needs and excludes.
    pub(super) fn open(&mut self, id: Id) {
        if self.packages[id].choices.is_some() {
            return;
        }
        let package = self.package(id);
        let mut choices = Vec::new();
        for (field, relations) in [("Conflicts", &package.conflicts), ("Breaks", &package.breaks)] {
            let Some(relations) = self.readable(id, field, relations, &mut choices) else {
                continue;
            };
            for relation in relations.0.iter().flat_map(|alternatives| &alternatives.0) {
                for other in self.universe.meant(relation, &self.request.architecture) {
                    let against = self.id(other);
                    if against != id && other.is_called(relation, &self.request.architecture) {
                        self.declare(Some(id), field, relation, against);
                    }
                }
            }
        }
        for (field, relations) in
            [("Pre-Depends", &package.pre_depends), ("Depends", &package.depends)]
        {
            if let Some(relations) = self.readable(id, field, relations, &mut choices) {
                choices.extend(self.relations(Some(id), field, relations));
            }
        }
        self.readable(id, "Provides", &package.provides, &mut choices);
        self.packages[id].choices = Some(choices);
    }

    /// What an opened package needs, in order.
    pub(super) fn needs(&self, id: Id) -> &[usize] {
        self.packages[id].choices.as_deref().unwrap_or_default()
    }

    /// The nogoods that a package is a member of.
    pub(super) fn nogoods_of(&self, id: Id) -> &[usize] {
        &self.packages[id].nogoods
    }

    pub(super) fn learn(&mut self, nogood: Nogood) -> usize {
        let at = self.nogoods.len();
        for &member in &nogood.members {
            self.packages[member].nogoods.push(at);
        }
        self.nogoods.push(nogood);
        at
    }

    fn id(&mut self, package: &Arc<BinaryPackage>) -> Id {
        if let Some(&id) = self.ids.get(package.name.as_str()) {
            return id;
        }
        let id = self.packages.len();
        self.ids.insert(package.name.clone(), id);
        let package = package.clone();
        self.packages.push(Known { package, choices: None, nogoods: Vec::new() });
        id
    }

    fn choose(&mut self, owner: Option<Id>, wanted: Wanted, options: Vec<Vec<Id>>) -> usize {
        self.choices.push(Choice { owner, wanted, options });
        self.choices.len() - 1
    }

    fn declare(&mut self, by: Option<Id>, field: &'static str, relation: &Relation, against: Id) {
        let members = by.into_iter().chain([against]).collect();
        let relation = relation.clone();
        self.learn(Nogood { members, reason: Reason::Declared { by, field, relation, against } });
    }

    fn relations(
        &mut self,
        owner: Option<Id>,
        field: &'static str,
        relations: &Dependencies,
    ) -> Vec<usize> {
        let (universe, architecture) = (self.universe, &self.request.architecture);
        let mut choices = Vec::new();
        for alternatives in &relations.0 {
            let mut options = Vec::new();
            for relation in &alternatives.0 {
                let satisfying = if relation.applies(architecture, &BTreeSet::new()) {
                    universe.satisfying(relation, architecture)
                } else {
                    Vec::new()
                };
                options.push(satisfying.into_iter().map(|package| self.id(package)).collect());
            }
            let wanted = Wanted::Relation(field, alternatives.clone());
            choices.push(self.choose(owner, wanted, options));
        }
        choices
    }

    /// The relations of a field, or a choice without options if nobody can read it.
    fn readable<'r>(
        &mut self,
        id: Id,
        field: &str,
        relations: &'r Relations,
        choices: &mut Vec<usize>,
    ) -> Option<&'r Dependencies> {
        match relations.get() {
            Ok(relations) => Some(relations),
            Err(error) => {
                let wanted = Wanted::Readable(format!("field `{field}`: {error}"));
                choices.push(self.choose(Some(id), wanted, Vec::new()));
                None
            }
        }
    }
}

impl BinaryPackage {
    /// Whether a dependency with this qualifier, of a package of `architecture`, takes this one.
    pub(super) fn serves(
        &self,
        qualifier: Option<&Qualifier>,
        architecture: &Architecture,
    ) -> bool {
        match qualifier {
            None | Some(Qualifier::Native) => true,
            Some(Qualifier::Any) => self.multi_arch == MultiArch::Allowed,
            Some(Qualifier::Architecture(wanted)) => wanted == architecture,
        }
    }

    /// Whether a conflict with this relation's qualifier means this package.
    fn is_called(&self, relation: &Relation, architecture: &Architecture) -> bool {
        match &relation.qualifier {
            Some(Qualifier::Architecture(wanted)) => wanted == architecture,
            _ => true,
        }
    }

    /// Whether it provides what `relation` names. A relation with a version is only satisfied by
    /// a `Provides` with one (Debian Policy 7.5).
    pub fn provides_for(&self, relation: &Relation) -> bool {
        let Ok(provides) = self.provides.get() else { return false };
        provides.0.iter().flat_map(|alternatives| &alternatives.0).any(|provided| {
            provided.name == relation.name
                && match (&relation.version, &provided.version) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(_), Some((_, version))) => relation.accepts(version),
                }
        })
    }
}
