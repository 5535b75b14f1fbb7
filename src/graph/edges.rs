//! Which package of the release needs which other.
//!
//! An edge P → Q arises when the first alternative of a build dependency of P that any package
//! of the release offers is Q's. Nothing else makes an edge: what archive packages need among
//! themselves is the archive's affair. A build for one architecture is offered what is built for
//! it, and what is of no architecture, wherever that was built.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use crate::archive::deb::dependency::Alternatives;
use crate::base::{Architecture, Diagnostic, PackageName, Span};

/// For each draft, the places of those it needs; and an order in which each comes after them.
pub struct Edges {
    pub needs: Vec<BTreeSet<usize>>,
    pub order: Vec<usize>,
}

impl Edges {
    /// The drafts in levels: each needs only such of lower ones.
    pub fn levels(&self) -> Vec<Vec<usize>> {
        let mut level = vec![0; self.needs.len()];
        let mut levels: Vec<Vec<usize>> = Vec::new();
        for &at in &self.order {
            level[at] = self.needs[at].iter().map(|need| level[*need] + 1).max().unwrap_or(0);
            if level[at] == levels.len() {
                levels.push(Vec::new());
            }
            levels[level[at]].push(at);
        }
        levels
    }
}

/// What decides which package needs which other: the names that builds offer and ask for, each
/// name a number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The names, by number.
    pub names: Vec<PackageName>,
    /// The builds.
    pub builds: Vec<Link>,
}

/// What a build offers and asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its package.
    pub package: u32,
    /// What it is built for.
    pub architecture: Architecture,
    /// The packages it makes.
    pub offers: Vec<Offer>,
    /// The names of the alternatives of each build dependency, in the order they are written.
    pub asks: Vec<Vec<u32>>,
    /// What it takes from the seed whoever offers it.
    pub from_seed: Vec<u32>,
}

/// A package that a build makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name.
    pub name: u32,
    /// The virtual packages it stands for.
    pub provides: Vec<u32>,
    /// Whether it is of no architecture.
    pub all: bool,
}

/// Numbers for names.
#[derive(Debug, Default)]
pub struct Numbers {
    names: Vec<PackageName>,
    known: HashMap<PackageName, u32>,
}

impl Numbers {
    /// Numbers that go on where `names` end.
    pub fn of(names: Vec<PackageName>) -> Self {
        let known = (0..).zip(&names).map(|(number, name)| (name.clone(), number)).collect();
        Self { names, known }
    }

    /// What a build of this draft offers and asks for.
    pub fn link(&mut self, draft: &Draft<'_>) -> Link {
        Link {
            package: self.number(&draft.package.name),
            architecture: draft.architecture.clone(),
            offers: draft
                .binaries
                .iter()
                .map(|binary| Offer {
                    name: self.number(&binary.name),
                    provides: binary.provides.iter().map(|name| self.number(name)).collect(),
                    all: binary.all,
                })
                .collect(),
            asks: asked(draft)
                .map(|(alternatives, _)| {
                    alternatives.0.iter().map(|one| self.number(&one.name)).collect()
                })
                .collect(),
            from_seed: draft
                .package
                .from_seed
                .iter()
                .map(|name| self.number(&name.value))
                .collect(),
        }
    }

    /// The names, by number.
    pub fn names(self) -> Vec<PackageName> {
        self.names
    }

    fn number(&mut self, name: &PackageName) -> u32 {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("memory ends before the numbers do");
        self.names.push(name.clone());
        self.known.insert(name.clone(), number);
        number
    }
}

impl Links {
    /// The links of drafts, in their order.
    pub fn new(drafts: &[Draft<'_>]) -> Self {
        let mut numbers = Numbers::default();
        let builds = drafts.iter().map(|draft| numbers.link(draft)).collect();
        Self { names: numbers.names(), builds }
    }

    /// The edges, and what is wrong with them: loops are taken apart so that there is an order.
    pub fn edges(&self) -> (Edges, Knots) {
        let architectures: BTreeSet<&Architecture> =
            self.builds.iter().map(|build| &build.architecture).collect();
        let mut knots = Knots::default();
        let offers: BTreeMap<&Architecture, Vec<Vec<u32>>> = architectures
            .into_iter()
            .map(|architecture| (architecture, self.offers(architecture, &mut knots.twice)))
            .collect();
        let reasons: Vec<Reason> = (0..)
            .zip(&self.builds)
            .flat_map(|(from, build)| self.reasons(from, build, &offers[&build.architecture]))
            .collect();
        let mut graph: DiGraph<usize, ()> =
            DiGraph::with_capacity(self.builds.len(), reasons.len());
        let places: Vec<NodeIndex> =
            (0..self.builds.len()).map(|index| graph.add_node(index)).collect();
        let mut needs = vec![BTreeSet::new(); self.builds.len()];
        for reason in &reasons {
            if needs[reason.from].insert(reason.to) {
                graph.add_edge(places[reason.from], places[reason.to], ());
            }
        }
        // Tarjan's components come out with everything a component needs before it.
        let components = tarjan_scc(&graph);
        for component in components.iter().filter(|component| component.len() > 1) {
            let mut members: Vec<usize> = component.iter().map(|place| graph[*place]).collect();
            members.sort_unstable();
            for member in &members {
                needs[*member].retain(|need| members.binary_search(need).is_err());
            }
            knots.loops.push(Loop { members: members.len(), path: cycle(&reasons, &members) });
        }
        let order = components.into_iter().flatten().map(|place| graph[place]).collect();
        (Edges { needs, order }, knots)
    }

    fn reasons(&self, from: usize, build: &Link, offers: &[Vec<u32>]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (ask, alternatives) in build.asks.iter().enumerate() {
            let makers = |name: &u32| {
                let makers = offers[*name as usize].iter().map(|maker| *maker as usize);
                makers.filter(|maker| self.builds[*maker].package != build.package)
            };
            let taken =
                |name: &&u32| makers(name).next().is_some() && !build.from_seed.contains(name);
            if let Some(name) = alternatives.iter().find(taken) {
                reasons.extend(makers(name).map(|to| Reason { from, to, ask, name: *name }));
            }
        }
        reasons
    }

    /// Who offers each name to builds for `architecture`: as a package of that name, or else by
    /// `Provides`. Packages that more than one build makes are put to `twice`.
    fn offers(&self, architecture: &Architecture, twice: &mut Vec<Twice>) -> Vec<Vec<u32>> {
        let mut real: Vec<Option<u32>> = vec![None; self.names.len()];
        let mut offers: Vec<Vec<u32>> = vec![Vec::new(); self.names.len()];
        let installable =
            |build: &Link, offer: &Offer| offer.all || build.architecture == *architecture;
        let all = || {
            let builds = (0_u32..).zip(&self.builds);
            builds.flat_map(|(index, build)| {
                let made = build.offers.iter().filter(move |offer| installable(build, offer));
                made.map(move |offer| (index, offer))
            })
        };
        for (index, offer) in all() {
            if let Some(other) = real[offer.name as usize].replace(index) {
                let (first, second) = (other as usize, index as usize);
                twice.push(Twice { name: offer.name, first, second });
            }
        }
        for (index, offer) in all() {
            let virtuals = offer.provides.iter().filter(|name| real[**name as usize].is_none());
            for name in [&offer.name].into_iter().chain(virtuals) {
                let makers = &mut offers[*name as usize];
                if makers.last() != Some(&index) {
                    makers.push(index);
                }
            }
        }
        offers
    }
}

/// One edge and why it is there.
#[derive(Debug, Clone, Copy)]
struct Reason {
    from: usize,
    to: usize,
    /// Which of its build dependencies.
    ask: usize,
    /// The name of it that is offered.
    name: u32,
}

/// Why edges cannot be as they are asked for.
#[derive(Debug, Default)]
pub struct Knots {
    twice: Vec<Twice>,
    loops: Vec<Loop>,
}

/// A package that two builds make.
#[derive(Debug)]
struct Twice {
    name: u32,
    first: usize,
    second: usize,
}

/// Builds that need one another.
#[derive(Debug)]
struct Loop {
    /// How many.
    members: usize,
    /// The shortest way round that was found.
    path: Vec<Reason>,
}

impl Knots {
    /// Whether there are any.
    pub fn are_none(&self) -> bool {
        self.twice.is_empty() && self.loops.is_empty()
    }

    /// What is to be said of them, to who wrote `drafts`.
    pub fn told(&self, links: &Links, drafts: &[Draft<'_>]) -> Vec<Diagnostic> {
        let twice = self.twice.iter().map(|Twice { name, first, second }| {
            let (first, second) = (drafts[*first].package, drafts[*second].package);
            let name = &links.names[*name as usize];
            Diagnostic::new("binary-twice", format!("two packages of the release build `{name}`"))
                .at(second.span.clone(), format!("`{}` does", second.name))
                .at(first.span.clone(), format!("`{}` does too", first.name))
        });
        let loops = self.loops.iter().map(|one| one.told(links, drafts));
        twice.chain(loops).collect()
    }
}

impl Loop {
    fn told(&self, links: &Links, drafts: &[Draft<'_>]) -> Diagnostic {
        let Self { members, path } = self;
        let name = |index: usize| drafts[index].package.name.as_str();
        let last = path.last().expect("every package of a component is on a loop");
        let told = path.iter().map(|reason| name(reason.from)).chain([name(last.to)]);
        let told = told.collect::<Vec<_>>().join(" -> ");
        let mut diagnostic =
            Diagnostic::new("cycle", format!("build dependencies go round: {told}"));
        let asked_for = |reason: &Reason| &links.names[reason.name as usize];
        for reason in path {
            let place = asked(&drafts[reason.from]).nth(reason.ask).and_then(|(_, span)| span);
            let span = place.unwrap_or(&drafts[reason.from].package.span).clone();
            let (from, to) = (name(reason.from), name(reason.to));
            diagnostic =
                diagnostic.at(span, format!("`{from}` needs `{}` of `{to}`", asked_for(reason)));
        }
        diagnostic = diagnostic.hint(format!(
            "`from_seed: [\"{}\"]` in `{}` takes it from the archive instead",
            asked_for(last),
            name(last.from)
        ));
        match members - path.len() {
            0 => diagnostic,
            1 => diagnostic.hint("another package goes round with these"),
            others => diagnostic.hint(format!("{others} other packages go round with these")),
        }
    }
}

/// The build dependencies of a draft, each with its place in the spec.
fn asked<'a>(draft: &'a Draft<'_>) -> impl Iterator<Item = (&'a Alternatives, Option<&'a Span>)> {
    let wanted = draft.depends.iter();
    wanted.flat_map(|wanted| wanted.depends.0.iter().map(|one| (one, wanted.span.as_ref())))
}

/// How many packages of a component are tried as the start of a loop.
const STARTS: usize = 1_000;

/// The shortest loop that is found inside a component.
fn cycle(reasons: &[Reason], members: &[usize]) -> Vec<Reason> {
    let inside: HashSet<usize> = members.iter().copied().collect();
    let mut path: Vec<Reason> = Vec::new();
    for start in members.iter().take(STARTS) {
        let shorter = match path.len() {
            0 => members.len(),
            2 => break,
            length => length - 1,
        };
        if let Some(found) = shortest_loop(reasons, &inside, *start, shorter) {
            path = found;
        }
    }
    path
}

/// The shortest loop through `start` of at most `longest` steps.
fn shortest_loop(
    reasons: &[Reason],
    members: &HashSet<usize>,
    start: usize,
    longest: usize,
) -> Option<Vec<Reason>> {
    let mut reached: HashMap<usize, Reason> = HashMap::new();
    let mut front = vec![start];
    let mut steps = 0;
    while !reached.contains_key(&start) {
        if front.is_empty() || steps == longest {
            return None;
        }
        steps += 1;
        let mut next = Vec::new();
        for from in front {
            for reason in of(reasons, from) {
                if members.contains(&reason.to) && !reached.contains_key(&reason.to) {
                    reached.insert(reason.to, *reason);
                    next.push(reason.to);
                }
            }
        }
        front = next;
    }
    let mut path = vec![reached[&start]];
    while path[path.len() - 1].from != start {
        path.push(reached[&path[path.len() - 1].from]);
    }
    path.reverse();
    Some(path)
}

/// The edges from one draft: they are in the order of the drafts.
fn of(reasons: &[Reason], from: usize) -> &[Reason] {
    let start = reasons.partition_point(|reason| reason.from < from);
    let end = start + reasons[start..].partition_point(|reason| reason.from == from);
    &reasons[start..end]
}
