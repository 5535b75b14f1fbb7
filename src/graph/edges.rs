//! Which package of the release needs which other.
//!
//! An edge P → Q arises when the first alternative of a build dependency of P that any package
//! of the release offers is Q's. Nothing else makes an edge: what archive packages need among
//! themselves is the archive's affair. A build for one architecture is offered what is built for
//! it, and what is of no architecture, wherever that was built.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::declared::Offered;
use super::draft::Draft;
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

/// One edge and why it is there.
struct Reason<'a> {
    from: usize,
    to: usize,
    name: &'a PackageName,
    span: Option<Span>,
}

/// The edges between `drafts`, and what is wrong with them: packages that two builds make, and
/// loops, which are taken apart so that there is an order.
pub fn find(drafts: &[Draft<'_>]) -> (Edges, Vec<Diagnostic>) {
    let architectures: BTreeSet<&Architecture> =
        drafts.iter().map(|draft| draft.architecture).collect();
    let mut by_architecture = BTreeMap::new();
    let mut wrong = Vec::new();
    for architecture in architectures {
        by_architecture.insert(architecture, offers(drafts, architecture, &mut wrong));
    }
    let mut reasons = Vec::new();
    for (from, draft) in drafts.iter().enumerate() {
        let offers = &by_architecture[draft.architecture];
        let seed: BTreeSet<_> = draft.package.from_seed.iter().map(|name| &name.value).collect();
        for wanted in &draft.depends {
            for alternatives in &wanted.depends.0 {
                let offered = alternatives.0.iter().find_map(|relation| {
                    let makers: Vec<usize> = offers
                        .get(&relation.name)?
                        .iter()
                        .copied()
                        .filter(|maker| drafts[*maker].package.name != draft.package.name)
                        .collect();
                    let taken = !makers.is_empty() && !seed.contains(&relation.name);
                    taken.then_some((&relation.name, makers))
                });
                let Some((name, makers)) = offered else { continue };
                let span = wanted.span.clone();
                reasons.extend(makers.into_iter().map(|to| Reason {
                    from,
                    to,
                    name,
                    span: span.clone(),
                }));
            }
        }
    }
    let mut graph: DiGraph<usize, ()> = DiGraph::new();
    let places: Vec<NodeIndex> = (0..drafts.len()).map(|index| graph.add_node(index)).collect();
    let mut needs = vec![BTreeSet::new(); drafts.len()];
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
        wrong.push(cycle(drafts, &reasons, &members));
        for member in &members {
            needs[*member].retain(|need| members.binary_search(need).is_err());
        }
    }
    let order = components.into_iter().flatten().map(|place| graph[place]).collect();
    (Edges { needs, order }, wrong)
}

/// Who offers each name to builds for `architecture`: as a package of that name, or else by
/// `Provides`. Packages that more than one build makes are `wrong`.
fn offers<'a>(
    drafts: &'a [Draft<'_>],
    architecture: &Architecture,
    wrong: &mut Vec<Diagnostic>,
) -> HashMap<&'a PackageName, BTreeSet<usize>> {
    let mut real: HashMap<&PackageName, usize> = HashMap::new();
    let mut offers: HashMap<&PackageName, BTreeSet<usize>> = HashMap::new();
    let installable =
        |draft: &&Draft<'_>, binary: &&Offered| binary.all || draft.architecture == architecture;
    for (index, draft) in drafts.iter().enumerate() {
        for binary in draft.binaries.iter().filter(|binary| installable(&draft, binary)) {
            if let Some(other) = real.insert(&binary.name, index) {
                wrong.push(
                    Diagnostic::new(
                        "binary-twice",
                        format!("two packages of the release build `{}`", binary.name),
                    )
                    .at(draft.package.span.clone(), format!("`{}` does", draft.package.name))
                    .at(
                        drafts[other].package.span.clone(),
                        format!("`{}` does too", drafts[other].package.name),
                    ),
                );
            }
        }
    }
    for (index, draft) in drafts.iter().enumerate() {
        for binary in draft.binaries.iter().filter(|binary| installable(&draft, binary)) {
            offers.entry(&binary.name).or_default().insert(index);
            for name in binary.provides.iter().filter(|name| !real.contains_key(*name)) {
                offers.entry(name).or_default().insert(index);
            }
        }
    }
    offers
}

/// How many packages of a component are tried as the start of a loop.
const STARTS: usize = 1_000;

/// The shortest loop that is found inside a component, told step by step.
fn cycle(drafts: &[Draft<'_>], reasons: &[Reason<'_>], members: &[usize]) -> Diagnostic {
    let inside: HashSet<usize> = members.iter().copied().collect();
    let mut path: Vec<&Reason<'_>> = Vec::new();
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
    let name = |index: usize| drafts[index].package.name.as_str();
    let last = path.last().expect("every package of a component is on a loop");
    let told = path.iter().map(|reason| name(reason.from)).chain([name(last.to)]);
    let message = format!("build dependencies go round: {}", told.collect::<Vec<_>>().join(" -> "));
    let mut diagnostic = Diagnostic::new("cycle", message);
    for reason in &path {
        let span = reason.span.clone().unwrap_or_else(|| drafts[reason.from].package.span.clone());
        diagnostic = diagnostic.at(
            span,
            format!("`{}` needs `{}` of `{}`", name(reason.from), reason.name, name(reason.to)),
        );
    }
    diagnostic = diagnostic.hint(format!(
        "`from_seed: [\"{}\"]` in `{}` takes it from the archive instead",
        last.name,
        name(last.from)
    ));
    match members.len() - path.len() {
        0 => diagnostic,
        1 => diagnostic.hint("another package goes round with these"),
        others => diagnostic.hint(format!("{others} other packages go round with these")),
    }
}

/// The shortest loop through `start` of at most `longest` steps.
fn shortest_loop<'a, 'b>(
    reasons: &'b [Reason<'a>],
    members: &HashSet<usize>,
    start: usize,
    longest: usize,
) -> Option<Vec<&'b Reason<'a>>> {
    let mut reached: HashMap<usize, &Reason<'_>> = HashMap::new();
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
                    reached.insert(reason.to, reason);
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
fn of<'a, 'b>(reasons: &'b [Reason<'a>], from: usize) -> &'b [Reason<'a>] {
    let start = reasons.partition_point(|reason| reason.from < from);
    let end = start + reasons[start..].partition_point(|reason| reason.from == from);
    &reasons[start..end]
}
