//! The order of builds: properties over random graphs, and the few rules by name.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use perestroika::plan::{
    Error, Finish, Limits, Node, NodeId, OnFailure, Plan, Skip, State, UNKNOWN, foresee,
};
use proptest::prelude::*;

fn limits(jobs: usize, memory: Option<u64>) -> Limits {
    Limits { jobs: at_least_one(jobs), memory, cores: NonZeroUsize::MIN }
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("at least one")
}

fn node(needs: &[usize], seconds: u64) -> Node {
    let needs = needs.iter().copied().map(NodeId).collect();
    Node { needs, estimate: Some(Duration::from_secs(seconds)), ..Node::default() }
}

fn plan(nodes: Vec<Node>, jobs: usize, on_failure: OnFailure) -> Plan {
    Plan::new(nodes, limits(jobs, None), on_failure).expect("a plan")
}

fn ids<const N: usize>(numbers: [usize; N]) -> Vec<NodeId> {
    numbers.map(NodeId).into()
}

/// What a run of a plan looked like.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    started: Vec<NodeId>,
    ended: BTreeMap<NodeId, Finish>,
    skipped: BTreeMap<NodeId, Skip>,
    /// Seconds until the last end.
    length: u64,
}

/// Runs a plan on an imagined clock, every node lasting as estimated, and checks at each step
/// what must always hold.
fn simulate(nodes: &[Node], limits: Limits, on_failure: OnFailure, fate: &[Finish]) -> Trace {
    let mut plan = Plan::new(nodes.to_vec(), limits, on_failure).expect("no cycle");
    let mut trace = Trace::default();
    let mut running: BTreeSet<(u64, NodeId)> = BTreeSet::new();
    let mut now = 0;
    while !plan.done() {
        for id in plan.next() {
            assert!(!trace.started.contains(&id), "{id:?} starts once");
            for need in &nodes[id.0].needs {
                let end = trace.ended.get(need);
                assert!(matches!(end, Some(Finish::Built | Finish::Cached)), "{id:?} is too early");
            }
            trace.started.push(id);
            running.insert((now + nodes[id.0].estimate.unwrap_or(UNKNOWN).as_secs(), id));
        }
        assert!(running.len() <= limits.jobs.get(), "too many jobs");
        let limit = limits.memory.unwrap_or(u64::MAX);
        let memory: u64 = running.iter().map(|(_, id)| nodes[id.0].memory.min(limit)).sum();
        assert!(memory <= limit, "too much memory: {memory}");
        let cores = |id: &NodeId| nodes[id.0].cores.map(|cores| cores.min(limits.cores).get());
        let cores: usize = running.iter().filter_map(|(_, id)| cores(id)).sum();
        assert!(cores <= limits.cores.get(), "too many processors: {cores}");
        let Some((end, id)) = running.pop_first() else {
            assert!(plan.done(), "nothing runs and nothing is handed out");
            break;
        };
        now = end;
        trace.ended.insert(id, fate[id.0]);
        for skipped in plan.finish(id, fate[id.0]) {
            let Some(State::Skipped(skip)) = plan.state(skipped) else {
                panic!("{skipped:?} was said to be skipped")
            };
            assert_eq!(trace.skipped.insert(skipped, skip), None, "{skipped:?} is skipped once");
        }
    }
    assert!(running.is_empty(), "done while something runs");
    trace.length = now;
    trace
}

fn graphs() -> impl Strategy<Value = Vec<Node>> {
    let needs = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let node = (needs, 0..100u64, 0..50u64, 0..5usize, 0..3usize);
    prop::collection::vec(node, 0..40).prop_map(|raw| {
        type Raw = (Vec<prop::sample::Index>, u64, u64, usize, usize);
        let node = |(index, (needs, seconds, memory, cores, group)): (usize, Raw)| Node {
            needs: needs
                .iter()
                .filter(|_| index > 0)
                .map(|need: &prop::sample::Index| NodeId(need.index(index)))
                .collect(),
            estimate: (seconds > 0).then(|| Duration::from_secs(seconds)),
            memory,
            cores: NonZeroUsize::new(cores),
            group,
        };
        raw.into_iter().enumerate().map(node).collect()
    })
}

fn fates() -> impl Strategy<Value = Vec<Finish>> {
    let fate = prop_oneof![
        6 => Just(Finish::Built),
        2 => Just(Finish::Cached),
        1 => Just(Finish::Failed),
        1 => Just(Finish::Cancelled),
    ];
    prop::collection::vec(fate, 40)
}

fn policies() -> impl Strategy<Value = OnFailure> {
    prop_oneof![Just(OnFailure::GoOn), Just(OnFailure::Stop)]
}

/// Everything that a node needs, directly or through others.
fn closure(nodes: &[Node], id: NodeId) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut reached = vec![id];
    while let Some(id) = reached.pop() {
        reached.extend(nodes[id.0].needs.iter().filter(|need| found.insert(**need)));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_node_ends_exactly_once_and_for_a_reason(
        nodes in graphs(), fate in fates(), on_failure in policies(),
        jobs in 1..6usize, memory in prop::option::of(0..80u64), cores in 1..5usize,
    ) {
        let limits = Limits { cores: at_least_one(cores), ..limits(jobs, memory) };
        let trace = simulate(&nodes, limits, on_failure, &fate);
        prop_assert_eq!(&trace, &simulate(&nodes, limits, on_failure, &fate), "deterministic");
        let is_bad = |id: &NodeId| matches!(fate[id.0], Finish::Failed | Finish::Cancelled);
        for id in (0..nodes.len()).map(NodeId) {
            let needs = closure(&nodes, id);
            match trace.skipped.get(&id) {
                None => prop_assert!(trace.ended.contains_key(&id), "{:?} is lost", id),
                Some(_) if trace.ended.contains_key(&id) => {
                    prop_assert!(false, "{:?} ended twice", id);
                }
                Some(Skip::Needs(root)) => {
                    prop_assert!(needs.contains(root) && is_bad(root));
                    prop_assert!(trace.ended.contains_key(root), "a root failure did run");
                }
                Some(Skip::Stopped(root)) => {
                    prop_assert_eq!(on_failure, OnFailure::Stop);
                    prop_assert!(root.is_some_and(|root| is_bad(&root)));
                }
            }
            if on_failure == OnFailure::GoOn {
                let doomed = needs.iter().any(is_bad);
                prop_assert_eq!(trace.skipped.contains_key(&id), doomed);
            }
        }
    }

    #[test]
    fn without_limits_but_jobs_none_idles_while_something_is_ready(
        nodes in graphs(), jobs in 1..6usize,
    ) {
        let fate = vec![Finish::Built; 40];
        let uncounted = |node: Node| Node { cores: None, ..node };
        let nodes: Vec<Node> = nodes.into_iter().map(uncounted).collect();
        let length = simulate(&nodes, limits(jobs, None), OnFailure::GoOn, &fate).length;
        // Graham's bound for any list schedule: the best is at least the chain and the share.
        let seconds = |node: &Node| node.estimate.unwrap_or(UNKNOWN).as_secs();
        let work: u64 = nodes.iter().map(seconds).sum();
        let mut chains: Vec<u64> = Vec::new();
        for node in &nodes {
            let before = node.needs.iter().map(|need| chains[need.0]).max().unwrap_or(0);
            chains.push(before + seconds(node));
        }
        let chain = chains.into_iter().max().unwrap_or(0);
        let jobs = jobs as u64;
        prop_assert!(length >= chain.max(work.div_ceil(jobs)));
        prop_assert!(length * jobs <= work + (jobs - 1) * chain);
    }

    #[test]
    fn any_needs_at_all_give_a_plan_or_an_error(
        needs in prop::collection::vec(prop::collection::vec(0..12usize, 0..3), 0..10),
    ) {
        let nodes: Vec<Node> = needs.iter().map(|needs| node(needs, 1)).collect();
        if let Ok(mut plan) = Plan::new(nodes, limits(3, None), OnFailure::GoOn) {
            while !plan.done() {
                let ids = plan.next();
                prop_assert!(!ids.is_empty());
                ids.into_iter().for_each(|id| drop(plan.finish(id, Finish::Built)));
            }
        }
    }
}

#[test]
fn the_longest_way_to_the_end_starts_first() {
    // 0 is long itself; 1 is short, but a longer chain hangs on it.
    let mut plan =
        plan(vec![node(&[], 50), node(&[], 1), node(&[1], 60), node(&[], 50)], 1, OnFailure::GoOn);
    assert_eq!(plan.next(), ids([1]));
    assert_eq!(plan.next(), ids([]));
    plan.finish(NodeId(1), Finish::Built);
    assert_eq!(plan.next(), ids([2]));
    plan.finish(NodeId(2), Finish::Built);
    assert_eq!(plan.next(), ids([0]), "equal ways go by the list");
}

#[test]
fn a_failure_skips_what_needs_it_and_nothing_else() {
    let nodes = vec![node(&[], 9), node(&[], 1), node(&[0], 1), node(&[2, 1], 1), node(&[1], 1)];
    let mut plan = plan(nodes, 2, OnFailure::GoOn);
    assert_eq!(plan.next(), ids([0, 1]));
    assert_eq!(plan.finish(NodeId(0), Finish::Failed), ids([2, 3]));
    plan.finish(NodeId(1), Finish::Built);
    assert_eq!(plan.next(), ids([4]));
    plan.finish(NodeId(4), Finish::Built);
    assert!(plan.done());
    let needs = Skip::Needs(NodeId(0));
    assert_eq!(plan.skipped().collect::<Vec<_>>(), [(NodeId(2), needs), (NodeId(3), needs)]);
    assert_eq!(plan.failed().collect::<Vec<_>>(), ids([0]));
}

#[test]
fn fail_fast_starts_nothing_more_but_waits_for_what_runs() {
    let mut plan = plan(vec![node(&[], 3), node(&[], 2), node(&[], 1)], 2, OnFailure::Stop);
    assert_eq!(plan.next(), ids([0, 1]));
    assert_eq!(plan.finish(NodeId(0), Finish::Failed), ids([2]));
    assert_eq!(plan.state(NodeId(2)), Some(State::Skipped(Skip::Stopped(Some(NodeId(0))))));
    assert!(!plan.done());
    assert_eq!(plan.next(), ids([]));
    plan.finish(NodeId(1), Finish::Built);
    assert!(plan.done());
}

#[test]
fn stopping_leaves_only_what_runs() {
    let mut plan = plan(vec![node(&[], 1), node(&[0], 1), node(&[], 1)], 1, OnFailure::GoOn);
    assert_eq!(plan.next(), ids([0]));
    assert_eq!(plan.stop(), ids([1, 2]));
    assert_eq!(plan.finish(NodeId(0), Finish::Built), ids([]));
    assert!(plan.done());
}

#[test]
fn what_is_cached_passes_by_without_room() {
    let mut plan = plan(vec![node(&[], 9), node(&[], 1), node(&[1], 1)], 1, OnFailure::GoOn);
    assert_eq!(plan.next(), ids([0]));
    assert_eq!(plan.ready().collect::<Vec<_>>(), ids([1]));
    plan.finish(NodeId(1), Finish::Cached);
    assert_eq!(plan.ready().collect::<Vec<_>>(), ids([2]));
}

#[test]
fn small_nodes_do_not_starve_a_large_one() {
    let with_memory = |seconds, memory| Node { memory, ..node(&[], seconds) };
    let mut nodes = vec![with_memory(9, 4), with_memory(8, 8)];
    nodes.extend((0..6).map(|_| with_memory(1, 2)));
    let mut plan = Plan::new(nodes, limits(8, Some(10)), OnFailure::GoOn).expect("a plan");
    assert_eq!(plan.next(), ids([0, 2]), "one small node fits beside the large one, two do not");
    plan.finish(NodeId(2), Finish::Built);
    assert_eq!(plan.next(), ids([3]));
    plan.finish(NodeId(0), Finish::Built);
    assert_eq!(plan.next(), ids([1]), "now the large one");
}

#[test]
fn a_held_up_node_is_not_forgotten_while_all_jobs_are_taken() {
    let with_memory = |seconds, memory| Node { memory, ..node(&[], seconds) };
    let mut nodes = vec![with_memory(9, 1), with_memory(9, 1), with_memory(8, 9)];
    nodes.extend((0..4).map(|_| with_memory(1, 1)));
    let mut plan = Plan::new(nodes, limits(3, Some(10)), OnFailure::GoOn).expect("a plan");
    assert_eq!(plan.next(), ids([0, 1, 3]));
    assert_eq!(plan.next(), ids([]));
    plan.finish(NodeId(0), Finish::Built);
    assert_eq!(plan.next(), ids([]), "a second small one would hold the large one up");
    plan.finish(NodeId(1), Finish::Built);
    assert_eq!(plan.next(), ids([2]));
}

#[test]
fn a_node_larger_than_all_memory_gets_all_of_it() {
    let nodes = vec![Node { memory: 100, ..node(&[], 2) }, Node { memory: 1, ..node(&[], 1) }];
    let mut plan = Plan::new(nodes, limits(2, Some(10)), OnFailure::GoOn).expect("a plan");
    assert_eq!(plan.next(), ids([0]));
    plan.finish(NodeId(0), Finish::Built);
    assert_eq!(plan.next(), ids([1]));
}

#[test]
fn nodes_that_say_how_many_processors_they_take_share_them() {
    let wide = |seconds, cores| Node { cores: NonZeroUsize::new(cores), ..node(&[], seconds) };
    let nodes = vec![wide(9, 3), wide(8, 2), node(&[], 7), wide(6, 1), wide(1, 99)];
    let limits = Limits { cores: at_least_one(4), ..limits(4, None) };
    let mut plan = Plan::new(nodes, limits, OnFailure::GoOn).expect("a plan");
    // The second one waits for two processors; what would keep them from it waits too.
    assert_eq!(plan.next(), ids([0, 2]));
    plan.finish(NodeId(0), Finish::Built);
    assert_eq!(plan.next(), ids([1, 3]));
    plan.finish(NodeId(1), Finish::Built);
    plan.finish(NodeId(2), Finish::Built);
    assert_eq!(plan.next(), ids([]), "more than there are: alone with all of them");
    plan.finish(NodeId(3), Finish::Built);
    assert_eq!(plan.next(), ids([4]));
}

#[test]
fn any_number_of_jobs_may_run_whose_processors_nobody_counts() {
    let nodes = (0..9).map(|_| node(&[], 1)).collect();
    let limits = Limits { cores: at_least_one(2), ..limits(8, None) };
    let mut plan = Plan::new(nodes, limits, OnFailure::GoOn).expect("a plan");
    assert_eq!(plan.next().len(), 8);
}

#[test]
fn two_releases_get_the_same_time_whichever_has_the_longer_chain() {
    let of = |group, seconds| Node { group, ..node(&[], seconds) };
    // Six long ones of the first, short ones of the second: turns are by time, not by number.
    let mut nodes: Vec<Node> = (0..6).map(|_| of(0, 30)).collect();
    nodes.extend((0..12).map(|_| of(1, 10)));
    let trace = simulate(&nodes, limits(1, None), OnFailure::GoOn, &[Finish::Built; 18]);
    let groups: Vec<usize> = trace.started.iter().map(|id| nodes[id.0].group).collect();
    assert_eq!(groups[..12], [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1]);

    // Who comes late has not saved up what the other one used meanwhile.
    let mut nodes: Vec<Node> = (0..8).map(|_| of(0, 10)).collect();
    nodes.push(of(1, 1));
    nodes[8].needs = ids([0, 1, 2, 3]);
    nodes.extend((0..4).map(|_| Node { needs: ids([8]), ..of(1, 10) }));
    let trace = simulate(&nodes, limits(1, None), OnFailure::GoOn, &[Finish::Built; 13]);
    let groups: Vec<usize> = trace.started.iter().map(|id| nodes[id.0].group).collect();
    let late = groups.iter().position(|group| *group == 1).expect("it starts");
    let next = &groups[late..late + 6];
    assert!(next.iter().filter(|group| **group == 0).count() >= 2, "{groups:?}");
}

#[test]
fn what_is_foreseen_is_what_happens_if_estimates_hold() {
    let nodes = vec![node(&[], 10), node(&[0], 20), node(&[], 60), node(&[1, 2], 5)];
    let foreseen = foresee(plan(nodes.clone(), 2, OnFailure::GoOn));
    let told: Vec<_> =
        foreseen.iter().map(|one| (one.node.0, one.start.as_secs(), one.end.as_secs())).collect();
    assert_eq!(told, [(2, 0, 60), (0, 0, 10), (1, 10, 30), (3, 60, 65)]);
    let trace = simulate(&nodes, limits(2, None), OnFailure::GoOn, &[Finish::Built; 4]);
    assert_eq!(trace.started, foreseen.iter().map(|one| one.node).collect::<Vec<_>>());
    assert_eq!(trace.length, 65);
}

#[test]
fn a_cycle_and_a_missing_need_are_named() {
    let cycle = vec![node(&[], 1), node(&[0, 2], 1), node(&[1], 1), node(&[2], 1)];
    let error = Plan::new(cycle, limits(1, None), OnFailure::GoOn).expect_err("a cycle");
    assert_eq!(error, Error::Cycle(ids([1, 2, 3])));
    let error = Plan::new(vec![node(&[7], 1)], limits(1, None), OnFailure::GoOn);
    let unknown = Error::Unknown { node: NodeId(0), need: NodeId(7) };
    assert_eq!(error.expect_err("nobody"), unknown);
}

#[test]
fn the_remaining_time_is_the_chain_or_the_share() {
    let nodes = vec![node(&[], 10), node(&[0], 20), node(&[], 60)];
    let mut plan = plan(nodes, 2, OnFailure::GoOn);
    assert_eq!(plan.remaining(|_| Duration::ZERO), Duration::from_secs(60));
    assert_eq!(plan.next(), ids([2, 0]));
    assert_eq!(plan.remaining(|_| Duration::from_secs(10)), Duration::from_secs(50));
    plan.finish(NodeId(2), Finish::Built);
    assert_eq!(plan.remaining(|_| Duration::from_secs(99)), Duration::from_secs(20));
}
