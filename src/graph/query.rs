//! Questions to a graph: which ways lead from one node to another, and what hangs on a node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use super::Graph;
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, PackageName};

/// How many steps are tried before a search gives up: a net, for graphs full of loops.
const MAX_STEPS: usize = 200_000;

/// Ways from a node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths<N> {
    /// The nodes of each, both ends among them; shortest first, then in the order of nodes.
    pub paths: Vec<Vec<N>>,
    /// Whether there may be more than were asked for.
    pub cut: bool,
}

/// The shortest ways from `start` to `goal`, at most `most` of them, none of which meets a node
/// twice. `next` gives what a node leads to.
pub fn paths<N: Ord + Clone>(
    start: &N,
    goal: &N,
    next: impl Fn(&N) -> Vec<N>,
    most: usize,
) -> Paths<N> {
    let edges = reach(start, &next);
    let away = distances(goal, &edges);
    let mut found = Paths { paths: Vec::new(), cut: false };
    let Some(least) = away.get(start) else { return found };
    // What is taken first could come to the shortest way of all that are left.
    let mut front = BinaryHeap::from([Reverse((*least, vec![start.clone()]))]);
    let mut steps = 0;
    while let Some(Reverse((_, path))) = front.pop() {
        let here = &path[path.len() - 1];
        if here == goal {
            if found.paths.len() == most {
                found.cut = true;
                break;
            }
            found.paths.push(path);
            continue;
        }
        steps += 1;
        if steps > MAX_STEPS {
            found.cut = true;
            break;
        }
        for next in &edges[here] {
            if let Some(rest) = away.get(next)
                && !path.contains(next)
            {
                let mut longer = path.clone();
                longer.push(next.clone());
                front.push(Reverse((longer.len() - 1 + rest, longer)));
            }
        }
    }
    found
}

/// The packages that hang on any of `ids`, directly or not, each after what it needs; without
/// `ids` themselves.
pub fn dependents(graph: &Graph, ids: &BTreeSet<DerivationId>) -> Vec<DerivationId> {
    let mut touched = ids.clone();
    let mut found = Vec::new();
    for (node, _) in graph.packages() {
        let needs = super::needs(&node.derivation);
        if !touched.contains(&node.id) && needs.iter().any(|need| touched.contains(need)) {
            touched.insert(node.id);
            found.push(node.id);
        }
    }
    found
}

/// Which packages of a build root pull in which others: by the first alternative of each of their
/// dependencies that the root can satisfy.
pub fn pulls(root: &[Arc<BinaryPackage>]) -> BTreeMap<PackageName, BTreeSet<PackageName>> {
    let shelf = Shelf::new(root);
    root.iter()
        .map(|package| {
            let relations = [&package.pre_depends, &package.depends];
            let wanted = relations.into_iter().filter_map(|relations| relations.get().ok());
            let mut needs: BTreeSet<PackageName> =
                wanted.flat_map(|wanted| shelf.pulled(wanted)).collect();
            needs.remove(&package.name);
            (package.name.clone(), needs)
        })
        .collect()
}

/// The packages of a build root that these dependencies pull in, likewise.
pub fn pulled(root: &[Arc<BinaryPackage>], wanted: &Dependencies) -> BTreeSet<PackageName> {
    Shelf::new(root).pulled(wanted).collect()
}

/// The packages of a build root by what they go by.
struct Shelf<'a>(BTreeMap<&'a PackageName, Vec<&'a BinaryPackage>>);

impl<'a> Shelf<'a> {
    fn new(root: &'a [Arc<BinaryPackage>]) -> Self {
        let mut shelf: BTreeMap<_, Vec<&BinaryPackage>> = BTreeMap::new();
        for package in root {
            shelf.entry(&package.name).or_default().insert(0, package);
            for provided in package.provides.get().into_iter().flat_map(|all| &all.0) {
                for relation in &provided.0 {
                    shelf.entry(&relation.name).or_default().push(package);
                }
            }
        }
        Self(shelf)
    }

    fn pulled<'b>(&'b self, wanted: &'b Dependencies) -> impl Iterator<Item = PackageName> + 'b {
        wanted.0.iter().filter_map(|alternatives| {
            alternatives.0.iter().find_map(|relation| {
                let found = self.0.get(&relation.name)?.iter().find(|package| {
                    let named = package.name == relation.name && relation.accepts(&package.version);
                    named || package.provides_for(relation)
                })?;
                Some(found.name.clone())
            })
        })
    }
}

/// Everything that can be reached from `start`, and what each leads to.
fn reach<N: Ord + Clone>(start: &N, next: &impl Fn(&N) -> Vec<N>) -> BTreeMap<N, BTreeSet<N>> {
    let mut edges = BTreeMap::new();
    let mut open = vec![start.clone()];
    while let Some(node) = open.pop() {
        if edges.contains_key(&node) {
            continue;
        }
        let next: BTreeSet<N> = next(&node).into_iter().collect();
        open.extend(next.iter().cloned());
        edges.insert(node, next);
    }
    edges
}

/// How many steps each node is away from `goal`; those that do not lead there are left out.
fn distances<N: Ord + Clone>(goal: &N, edges: &BTreeMap<N, BTreeSet<N>>) -> BTreeMap<N, usize> {
    let mut back: BTreeMap<&N, Vec<&N>> = BTreeMap::new();
    for (from, to) in edges {
        for to in to {
            back.entry(to).or_default().push(from);
        }
    }
    let mut away = BTreeMap::new();
    let mut front: Vec<&N> = Vec::new();
    if let Some((goal, _)) = edges.get_key_value(goal) {
        away.insert(goal.clone(), 0);
        front.push(goal);
    }
    let mut steps = 0;
    while !front.is_empty() {
        steps += 1;
        let mut further = Vec::new();
        for node in front {
            for from in back.get(node).into_iter().flatten() {
                if !away.contains_key(*from) {
                    away.insert((*from).clone(), steps);
                    further.push(*from);
                }
            }
        }
        front = further;
    }
    away
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Sha256;
    use proptest::prelude::*;

    fn edges(list: &[(u8, u8)]) -> impl Fn(&u8) -> Vec<u8> {
        |node: &u8| list.iter().filter(|(from, _)| from == node).map(|(_, to)| *to).collect()
    }

    #[test]
    fn ways_come_shortest_first_and_no_more_than_asked_for() {
        let list = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (3, 4), (2, 0), (5, 4)];
        let all = paths(&0, &4, edges(&list), 10);
        assert_eq!(all.paths, [vec![0, 3, 4], vec![0, 1, 3, 4], vec![0, 2, 3, 4]]);
        assert!(!all.cut);
        let two = paths(&0, &4, edges(&list), 2);
        assert_eq!(two.paths, all.paths[..2]);
        assert!(two.cut);
        assert_eq!(paths(&4, &0, edges(&list), 9), Paths { paths: Vec::new(), cut: false });
        assert_eq!(paths(&1, &1, edges(&list), 9).paths, [vec![1]]);
    }

    #[test]
    fn a_build_root_tells_who_pulls_in_whom() {
        let package = |name: &str, rest: &str| {
            let control = format!(
                "Package: {name}\nVersion: 2\nArchitecture: all\nMaintainer: A <a@b.example>\n{rest}\n"
            );
            let package =
                BinaryPackage::from_control(&control, name, 1, Sha256::of(name.as_bytes()));
            Arc::new(package.expect("a control file"))
        };
        let root = [
            package("aa", "Depends: absent | virtual (>= 1) | bb, cc (>= 3) | cc (>= 2), aa"),
            package("bb", "Provides: virtual (= 1)"),
            package("cc", "Pre-Depends: bb:any"),
        ];
        let told: Vec<String> = pulls(&root)
            .iter()
            .map(|(name, needs)| {
                let needs: Vec<&str> = needs.iter().map(PackageName::as_str).collect();
                format!("{name}: {}", needs.join(" "))
            })
            .collect();
        assert_eq!(told, ["aa: bb cc", "bb: ", "cc: bb"]);
        let wanted = "cc (>= 9) | virtual, nothing".parse().expect("dependencies");
        let found: Vec<String> = pulled(&root, &wanted).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["bb"]);
    }

    /// All ways without a node twice, by walking everywhere.
    fn everywhere(list: &[(u8, u8)], path: &mut Vec<u8>, goal: u8, found: &mut BTreeSet<Vec<u8>>) {
        let here = path[path.len() - 1];
        if here == goal {
            found.insert(path.clone());
            return;
        }
        for next in edges(list)(&here) {
            if !path.contains(&next) {
                path.push(next);
                everywhere(list, path, goal, found);
                path.pop();
            }
        }
    }

    proptest! {
        #[test]
        fn all_ways_are_found_in_any_graph(
            list in proptest::collection::vec((0..7u8, 0..7u8), 0..25),
            start in 0..7u8,
            goal in 0..7u8,
            most in 0..40usize,
        ) {
            let mut expected = BTreeSet::new();
            everywhere(&list, &mut vec![start], goal, &mut expected);
            let mut expected: Vec<_> = expected.into_iter().collect();
            expected.sort_by_key(|path| (path.len(), path.clone()));
            let found = paths(&start, &goal, edges(&list), most);
            prop_assert_eq!(found.cut, expected.len() > most);
            expected.truncate(most);
            prop_assert_eq!(found.paths, expected);
        }
    }
}
