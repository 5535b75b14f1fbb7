//! What is kept of a graph from one run to the next: its packages by name, version and id, and
//! what decides which of them needs which other. Of what a few changed specs come to, and the
//! outline of the graph before, follows the outline of the graph as it is now: only packages that
//! changed, and those that need them, are made anew.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Graph;
use super::edges::{Edges, Link, Links, Numbers};
use super::lower::{self, Ground};
use super::{Derivation, Origin};
use crate::base::{Architecture, DerivationId, PackageName};
use crate::spec::lock::Lock;
use crate::spec::{Since, Spec};

/// The packages of a release and which needs which, without their recipes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    /// The release's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The release id.
    pub release: DerivationId,
    links: Links,
    /// What is known of each of `links.builds`.
    builds: Vec<Built>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Built {
    id: DerivationId,
    version: String,
    /// The packages of the release that it needs, sorted by id.
    needs: Vec<DerivationId>,
    /// The call that made it: `packages/a.rhai:3`.
    place: String,
}

/// A package of an outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a PackageName,
    /// Its version.
    pub version: &'a str,
    /// The architecture it is built for.
    pub architecture: &'a Architecture,
    /// Its derivation.
    pub id: DerivationId,
    /// The call that made it: `packages/a.rhai:3`.
    pub place: &'a str,
    /// The packages of the release that it needs, sorted by id.
    pub needs: &'a [DerivationId],
}

/// The part of all packages that may have to be made anew for this to be quicker than making all
/// of them: one in so many.
const PART: usize = 4;

impl Outline {
    /// The outline of a graph.
    pub fn of(graph: &Graph) -> Self {
        let built = |id: &DerivationId| {
            let node = graph.node(*id)?;
            let package = node.derivation.package()?;
            let Origin::Package(origin) = &node.origin else { return None };
            Some(Built {
                id: *id,
                version: package.version.clone(),
                needs: package.dependencies.clone(),
                place: format!("{}:{}", origin.span.file, origin.span.line),
            })
        };
        let builds = graph.builds.iter().filter_map(built).collect();
        let release = graph.release();
        let (name, version) = match graph.node(release).map(|node| &node.derivation) {
            Some(Derivation::Release(release)) => (release.name.clone(), release.version.clone()),
            _ => unreachable!("a graph has the node of its release"),
        };
        Self { name, version, release, links: graph.links.clone(), builds }
    }

    /// The packages, sorted by name, and as in the graph where there are several of one name.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries: Vec<Entry<'_>> = self
            .links
            .builds
            .iter()
            .zip(&self.builds)
            .map(|(link, built)| Entry {
                name: &self.links.names[link.package as usize],
                version: &built.version,
                architecture: &link.architecture,
                id: built.id,
                place: &built.place,
                needs: &built.needs,
            })
            .collect();
        entries.sort_by(|a, b| (a.name, a.id).cmp(&(b.name, b.id)));
        entries
    }

    /// Whether a package asks for something that none asked for in `before`, or something is no
    /// longer offered that was.
    pub fn asks_anew(&self, before: &Self) -> bool {
        let asks = |outline: &Self| -> BTreeSet<Vec<PackageName>> {
            let name = |number: &u32| outline.links.names[*number as usize].clone();
            let all = outline.links.builds.iter().flat_map(|build| &build.asks);
            all.map(|alternatives| alternatives.iter().map(name).collect()).collect()
        };
        let offers = |outline: &Self| -> BTreeSet<PackageName> {
            let all = outline.links.builds.iter().flat_map(|build| &build.offers);
            all.map(|offer| outline.links.names[offer.name as usize].clone()).collect()
        };
        !asks(self).is_subset(&asks(before)) || !offers(before).is_subset(&offers(self))
    }

    /// The outline of the release as it is `since` this one was taken; nothing where that cannot
    /// be told, or is no quicker than lowering the whole release: [`super::lower`] does.
    pub fn renewed(&self, since: &mut Since<'_>, lock: &Lock) -> Option<Self> {
        let stays = |build: &Link| since.kept.contains(&self.links.names[build.package as usize]);
        let stays: Vec<bool> = self.links.builds.iter().map(stays).collect();
        if since.changed.packages.is_empty() && stays.iter().all(|stays| *stays) {
            return Some(self.clone());
        }
        let ground = Ground::new(&since.changed, lock)?;
        let drafts = ground.drafts(&since.changed)?;
        let mut numbers = Numbers::of(self.links.names.clone());
        let kept = self.links.builds.iter().zip(&stays).filter(|(_, stays)| **stays);
        let mut builds: Vec<Link> = kept.map(|(build, _)| build.clone()).collect();
        let before = self.builds.iter().zip(&stays).filter(|(_, stays)| **stays);
        let mut built: Vec<Option<Built>> = before.map(|(built, _)| Some(built.clone())).collect();
        for draft in &drafts {
            builds.push(numbers.link(draft));
            built.push(None);
        }
        drop(drafts);
        let links = Links { names: numbers.names(), builds };
        let (edges, knots) = links.edges();
        if !knots.are_none() {
            return None;
        }

        let old = |build: &Link| self.id_of(build, &links);
        let mut pass = Pass { links: &links, edges: &edges, built, moved: BTreeSet::new() };
        pass.over(&ground, &since.changed, old)?;
        if !pass.moved.is_empty() {
            let again = pass.dependents();
            if again.len() > links.builds.len() / PART {
                return None;
            }
            let names: BTreeSet<&PackageName> =
                again.iter().map(|at| &links.names[links.builds[*at].package as usize]).collect();
            let whole = since.packages(|name| names.contains(name))?;
            again.iter().for_each(|at| pass.built[*at] = None);
            pass.over(&ground, &whole, |_| None)?;
        }
        let builds = pass.built.into_iter().collect::<Option<Vec<Built>>>()?;
        let mut packages: Vec<_> = builds.iter().map(|built| built.id).collect();
        packages.sort_unstable();
        let release = lower::release(&since.changed, packages).id;
        let (name, version) = (self.name.clone(), self.version.clone());
        Some(Self { name, version, release, links, builds })
    }

    /// The id of what `build` of `links` was.
    fn id_of(&self, build: &Link, links: &Links) -> Option<DerivationId> {
        let name = &links.names[build.package as usize];
        let mut all = self.links.builds.iter().zip(&self.builds);
        all.find(|(old, _)| {
            self.links.names[old.package as usize] == *name
                && old.architecture == build.architecture
        })
        .map(|(_, built)| built.id)
    }
}

/// Builds whose ids are being found.
struct Pass<'a> {
    links: &'a Links,
    edges: &'a Edges,
    /// What is known of them; nothing for those that are to be made.
    built: Vec<Option<Built>>,
    /// Those whose ids are not what they were, or cannot stay what they are.
    moved: BTreeSet<usize>,
}

impl Pass<'_> {
    /// Makes what is to be made of the packages of `spec`, in the order of the edges, and notes
    /// what is not what `old` says, or has other needs than before.
    fn over(
        &mut self,
        ground: &Ground,
        spec: &Spec,
        old: impl Fn(&Link) -> Option<DerivationId>,
    ) -> Option<()> {
        let wanted: BTreeMap<(&PackageName, &Architecture), usize> = (0..self.built.len())
            .filter(|at| self.built[*at].is_none())
            .map(|at| {
                let build = &self.links.builds[at];
                ((&self.links.names[build.package as usize], &build.architecture), at)
            })
            .collect();
        let drafts = ground.drafts(spec)?;
        let mut drafts: BTreeMap<usize, _> = drafts
            .into_iter()
            .filter_map(|draft| {
                Some((*wanted.get(&(&draft.package.name, draft.architecture))?, draft))
            })
            .collect();
        for at in self.edges.order.iter().copied() {
            let needs = self.edges.needs[at].iter();
            let needs = needs.map(|need| self.built[*need].as_ref().map(|built| built.id));
            let mut needs: Vec<DerivationId> = needs.collect::<Option<_>>()?;
            needs.sort_unstable();
            match &self.built[at] {
                Some(built) if built.needs == needs => {}
                Some(_) => {
                    self.moved.insert(at);
                }
                None => {
                    let draft = drafts.remove(&at)?;
                    let span = &draft.package.span;
                    let place = format!("{}:{}", span.file, span.line);
                    let version = draft.version.clone();
                    let (_, node) = lower::lower_package(draft, &ground.roots, needs.clone());
                    if old(&self.links.builds[at]) != Some(node.id) {
                        self.moved.insert(at);
                    }
                    self.built[at] = Some(Built { id: node.id, version, needs, place });
                }
            }
        }
        Some(())
    }

    /// What moved, and everything that needs it.
    fn dependents(&self) -> Vec<usize> {
        let mut reached = self.moved.clone();
        for at in &self.edges.order {
            if self.edges.needs[*at].iter().any(|need| reached.contains(need)) {
                reached.insert(*at);
            }
        }
        reached.into_iter().collect()
    }
}
