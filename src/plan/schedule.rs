//! The order of builds: longest way to the end first, within limits, past failures.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

/// How long a node is taken to last of which nothing is known.
pub const UNKNOWN: Duration = Duration::from_secs(60);

/// A node of a [`Plan`]: its place in the list that the plan was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Something to be built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// What must be there before it starts.
    pub needs: Vec<NodeId>,
    /// How long it took last time; [`UNKNOWN`] is assumed otherwise.
    pub estimate: Option<Duration>,
    /// The memory in bytes that it is counted with while it runs.
    pub memory: u64,
    /// The processors that it is counted with; without, its share among the jobs.
    pub cores: Option<NonZeroUsize>,
    /// What it is built for: the groups of a plan get the same time, whoever is longer.
    pub group: usize,
}

/// How much may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes at once.
    pub jobs: NonZeroUsize,
    /// Bytes of memory at once. A node that alone exceeds it is counted with all of it.
    pub memory: Option<u64>,
    /// Processors that the nodes share. A node that wants more is counted with all of them.
    pub cores: NonZeroUsize,
}

/// What a failure means for nodes that do not need the failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They go on.
    GoOn,
    /// None of them starts any more; what runs is left to finish.
    Stop,
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finish {
    /// It was built.
    Built,
    /// It was there.
    Cached,
    /// It cannot be had: what needs it is skipped.
    Failed,
    /// It was called off: what needs it is skipped.
    Cancelled,
}

/// Why a node never started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It needs this node, which failed or was called off, directly or through others.
    Needs(NodeId),
    /// Everything stopped, because of this node or by [`Plan::stop`].
    Stopped(Option<NodeId>),
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Something it needs is not there yet.
    Waiting,
    /// It may start as soon as there is room.
    Ready,
    /// It was handed out.
    Running,
    /// It ended.
    Finished(Finish),
    /// It will not start.
    Skipped(Skip),
}

/// Why a list of nodes is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A need that is not in the list.
    #[error("node {} needs node {}, which is not there", .node.0, .need.0)]
    Unknown {
        /// The node.
        node: NodeId,
        /// What it needs.
        need: NodeId,
    },
    /// Nodes that need themselves through one another, or something that does.
    #[error("{} nodes can never start: they need one another", .0.len())]
    Cycle(Vec<NodeId>),
}

/// A set of nodes on their way to being built. It runs nothing and knows no clock: the same calls
/// give the same answers.
///
/// Every node ends exactly once, finished or skipped, and starts only after all that it needs was
/// built or cached. As long as the plan is not done, either something runs or [`Plan::next`]
/// hands something out.
#[derive(Debug, Clone)]
pub struct Plan {
    entries: Vec<Entry>,
    groups: Vec<Group>,
    running: BTreeSet<NodeId>,
    /// The most urgent node, if it waits for memory or processors.
    held_up: Option<NodeId>,
    /// Those that run although it waits.
    overtook: BTreeSet<NodeId>,
    unfinished: usize,
    limits: Limits,
    on_failure: OnFailure,
}

#[derive(Debug, Clone)]
struct Entry {
    state: State,
    estimate: Duration,
    /// Its estimate and that of the longest chain of nodes that need it.
    way: Duration,
    weight: Weight,
    group: usize,
    missing: usize,
    dependents: Vec<NodeId>,
}

/// Nodes that are built for one purpose.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Longest way to the end first, then in the order of the list.
    ready: BTreeSet<(Reverse<Duration>, NodeId)>,
    running: usize,
    /// What was handed out of it should last so long in all.
    served: Duration,
}

/// What a node takes of the machine.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    memory: u64,
    /// In processors times jobs, so that the share of a job is a whole number.
    cores: u64,
}

impl Plan {
    /// A plan of these nodes; the place of each in the list is its id.
    pub fn new(nodes: Vec<Node>, limits: Limits, on_failure: OnFailure) -> Result<Self, Error> {
        let mut entries: Vec<Entry> = nodes.iter().map(|node| Entry::new(node, limits)).collect();
        for (index, node) in nodes.iter().enumerate() {
            let id = NodeId(index);
            for need in node.needs.iter().collect::<BTreeSet<_>>() {
                let unknown = Error::Unknown { node: id, need: *need };
                entries.get_mut(need.0).ok_or(unknown)?.dependents.push(id);
                entries[index].missing += 1;
            }
        }
        for id in order(&entries)?.into_iter().rev() {
            let ways = entries[id.0].dependents.iter().map(|other| entries[other.0].way);
            let longest = ways.max().unwrap_or_default();
            entries[id.0].way = entries[id.0].estimate.saturating_add(longest);
        }
        let unfinished = entries.len();
        let groups = nodes.iter().map(|node| node.group + 1).max().unwrap_or_default();
        let mut plan = Self {
            entries,
            groups: vec![Group::default(); groups],
            running: BTreeSet::new(),
            held_up: None,
            overtook: BTreeSet::new(),
            unfinished,
            limits,
            on_failure,
        };
        (0..unfinished).map(NodeId).for_each(|id| plan.ready_if_nothing_is_missing(id));
        Ok(plan)
    }

    /// The nodes to start now, most urgent first; they count as running from here on.
    ///
    /// Of several groups, the one that got the least time so far comes first. A node that does not
    /// fit into the memory or beside the processors left waits, and is overtaken only by nodes
    /// that leave room for it: many small ones cannot starve a large one.
    #[expect(clippy::should_implement_trait, reason = "a plan is no iterator: more may come later")]
    pub fn next(&mut self) -> Vec<NodeId> {
        let limit = self.limit();
        let mut used = self.weight_of(&self.running);
        let mut overtaking = self.weight_of(&self.overtook);
        let mut held_up = None;
        let mut chosen = Vec::new();
        let mut served: Vec<Duration> = self.groups.iter().map(|group| group.served).collect();
        let mut waiting: Vec<_> =
            self.groups.iter().map(|group| group.ready.iter().peekable()).collect();
        while self.running.len() + chosen.len() < self.limits.jobs.get() {
            let groups = (0..waiting.len()).filter(|group| waiting[*group].peek().is_some());
            let Some(group) = groups.collect::<Vec<_>>().into_iter().min_by_key(|g| served[*g])
            else {
                break;
            };
            let Some((_, id)) = waiting[group].next() else { break };
            let Entry { weight, estimate, .. } = &self.entries[id.0];
            let fits = (used + *weight).within(limit);
            match held_up {
                None if fits => {}
                None => {
                    held_up = Some(*id);
                    continue;
                }
                Some(NodeId(first)) => {
                    let together = overtaking + *weight + self.entries[first].weight;
                    if !fits || !together.within(limit) {
                        continue;
                    }
                    overtaking = overtaking + *weight;
                    self.overtook.insert(*id);
                }
            }
            used = used + *weight;
            served[group] = served[group].saturating_add(*estimate);
            chosen.push(*id);
        }
        for id in &chosen {
            let key = self.key(*id);
            let group = &mut self.groups[self.entries[id.0].group];
            group.ready.remove(&key);
            group.running += 1;
            group.served = served[self.entries[id.0].group];
            self.running.insert(*id);
            self.entries[id.0].state = State::Running;
        }
        self.held_up = held_up.or(self.held_up).filter(|id| self.state(*id) == Some(State::Ready));
        if self.held_up.is_none() {
            self.overtook.clear();
        }
        chosen
    }

    /// The nodes that could start but for the limits, group by group, most urgent first. What
    /// turns out to be cached may be finished as [`Finish::Cached`] straight from here, without
    /// taking room.
    pub fn ready(&self) -> impl Iterator<Item = NodeId> {
        self.groups.iter().flat_map(|group| &group.ready).map(|(_, id)| *id)
    }

    /// How long a node should last: its estimate, or [`UNKNOWN`].
    pub fn estimate(&self, id: NodeId) -> Duration {
        self.entries.get(id.0).map_or(UNKNOWN, |entry| entry.estimate)
    }

    /// Takes the end of a node that was handed out (or that is ready, if cached), and gives the
    /// nodes that will not start because of it.
    ///
    /// # Panics
    /// If the node is neither: the caller has lost count.
    pub fn finish(&mut self, id: NodeId, finish: Finish) -> Vec<NodeId> {
        let before = self.entries[id.0].state;
        let ready = before == State::Ready && finish == Finish::Cached;
        assert!(before == State::Running || ready, "node {} was not handed out", id.0);
        let key = self.key(id);
        let group = &mut self.groups[self.entries[id.0].group];
        group.ready.remove(&key);
        group.running -= usize::from(before == State::Running);
        self.running.remove(&id);
        self.overtook.remove(&id);
        self.end(id, State::Finished(finish));
        match finish {
            Finish::Built | Finish::Cached => {
                for dependent in self.entries[id.0].dependents.clone() {
                    self.entries[dependent.0].missing -= 1;
                    self.ready_if_nothing_is_missing(dependent);
                }
                Vec::new()
            }
            Finish::Failed | Finish::Cancelled => {
                let mut skipped = self.skip_dependents(id);
                if self.on_failure == OnFailure::Stop {
                    skipped.extend(self.skip_all(Skip::Stopped(Some(id))));
                }
                skipped
            }
        }
    }

    /// Lets nothing start any more, and gives the nodes that will not. What runs is still to be
    /// finished.
    pub fn stop(&mut self) -> Vec<NodeId> {
        self.skip_all(Skip::Stopped(None))
    }

    /// Whether every node has finished or was skipped.
    pub fn done(&self) -> bool {
        self.unfinished == 0
    }

    /// Where a node stands; nothing if there is none of that id.
    pub fn state(&self, id: NodeId) -> Option<State> {
        self.entries.get(id.0).map(|entry| entry.state)
    }

    /// All nodes and where they stand, in the order of the list.
    pub fn states(&self) -> impl Iterator<Item = (NodeId, State)> {
        self.entries.iter().enumerate().map(|(index, entry)| (NodeId(index), entry.state))
    }

    /// The nodes that did not start, and why.
    pub fn skipped(&self) -> impl Iterator<Item = (NodeId, Skip)> {
        self.states().filter_map(|(id, state)| match state {
            State::Skipped(skip) => Some((id, skip)),
            _ => None,
        })
    }

    /// The nodes that failed by themselves.
    pub fn failed(&self) -> impl Iterator<Item = NodeId> {
        let failed = State::Finished(Finish::Failed);
        self.states().filter(move |(_, state)| *state == failed).map(|(id, _)| id)
    }

    /// About how long the rest takes if estimates hold: the longest chain or the work shared among
    /// the jobs, whichever is longer. `elapsed` says how long a running node has been at it.
    pub fn remaining(&self, elapsed: impl Fn(NodeId) -> Duration) -> Duration {
        let mut work = Duration::ZERO;
        let mut chain = Duration::ZERO;
        for (id, state) in self.states() {
            let passed = match state {
                State::Waiting | State::Ready => Duration::ZERO,
                State::Running => elapsed(id).min(self.entries[id.0].estimate),
                State::Finished(_) | State::Skipped(_) => continue,
            };
            work = work.saturating_add(self.entries[id.0].estimate - passed);
            chain = chain.max(self.entries[id.0].way - passed);
        }
        let jobs = u32::try_from(self.limits.jobs.get()).unwrap_or(u32::MAX);
        chain.max(work / jobs)
    }

    fn key(&self, id: NodeId) -> (Reverse<Duration>, NodeId) {
        (Reverse(self.entries[id.0].way), id)
    }

    fn ready_if_nothing_is_missing(&mut self, id: NodeId) {
        let key = self.key(id);
        let entry = &mut self.entries[id.0];
        if entry.state != State::Waiting || entry.missing > 0 {
            return;
        }
        entry.state = State::Ready;
        let group = entry.group;
        if !self.groups[group].is_active() {
            // Who had nothing to do has not saved that time up.
            let others = self.groups.iter().filter(|other| other.is_active());
            let least = others.map(|other| other.served).min().unwrap_or_default();
            self.groups[group].served = self.groups[group].served.max(least);
        }
        self.groups[group].ready.insert(key);
    }

    fn weight_of(&self, ids: &BTreeSet<NodeId>) -> Weight {
        ids.iter().fold(Weight::default(), |sum, id| sum + self.entries[id.0].weight)
    }

    fn limit(&self) -> Weight {
        Weight {
            memory: self.limits.memory.unwrap_or(u64::MAX),
            cores: whole(self.limits.cores).saturating_mul(whole(self.limits.jobs)),
        }
    }

    fn end(&mut self, id: NodeId, state: State) {
        self.entries[id.0].state = state;
        self.unfinished -= 1;
    }

    fn skip_dependents(&mut self, root: NodeId) -> Vec<NodeId> {
        let mut skipped = Vec::new();
        let mut reached = vec![root];
        while let Some(id) = reached.pop() {
            for dependent in self.entries[id.0].dependents.clone() {
                if self.entries[dependent.0].state == State::Waiting {
                    self.end(dependent, State::Skipped(Skip::Needs(root)));
                    skipped.push(dependent);
                    reached.push(dependent);
                }
            }
        }
        skipped.sort_unstable();
        skipped
    }

    fn skip_all(&mut self, skip: Skip) -> Vec<NodeId> {
        self.groups.iter_mut().for_each(|group| group.ready.clear());
        let startable = |state| matches!(state, State::Waiting | State::Ready);
        let skipped: Vec<NodeId> =
            self.states().filter(|(_, state)| startable(*state)).map(|(id, _)| id).collect();
        skipped.iter().for_each(|id| self.end(*id, State::Skipped(skip)));
        skipped
    }
}

impl Entry {
    fn new(node: &Node, limits: Limits) -> Self {
        let cores = match node.cores {
            Some(cores) => whole(cores.min(limits.cores)).saturating_mul(whole(limits.jobs)),
            None => whole(limits.cores),
        };
        let memory = node.memory.min(limits.memory.unwrap_or(u64::MAX));
        Self {
            state: State::Waiting,
            estimate: node.estimate.unwrap_or(UNKNOWN),
            way: Duration::ZERO,
            weight: Weight { memory, cores },
            group: node.group,
            missing: 0,
            dependents: Vec::new(),
        }
    }
}

impl Group {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.ready.is_empty()
    }
}

impl Weight {
    fn within(self, limit: Self) -> bool {
        self.memory <= limit.memory && self.cores <= limit.cores
    }
}

impl std::ops::Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let memory = self.memory.saturating_add(other.memory);
        Self { memory, cores: self.cores.saturating_add(other.cores) }
    }
}

fn whole(number: NonZeroUsize) -> u64 {
    u64::try_from(number.get()).unwrap_or(u64::MAX)
}

/// The nodes in an order in which each comes after all it needs.
fn order(entries: &[Entry]) -> Result<Vec<NodeId>, Error> {
    let mut missing: Vec<usize> = entries.iter().map(|entry| entry.missing).collect();
    let mut order: Vec<NodeId> =
        (0..entries.len()).filter(|index| missing[*index] == 0).map(NodeId).collect();
    let mut next = 0;
    while let Some(id) = order.get(next).copied() {
        next += 1;
        for dependent in &entries[id.0].dependents {
            missing[dependent.0] -= 1;
            if missing[dependent.0] == 0 {
                order.push(*dependent);
            }
        }
    }
    if order.len() == entries.len() {
        return Ok(order);
    }
    let stuck = (0..entries.len()).filter(|index| missing[*index] > 0).map(NodeId);
    Err(Error::Cycle(stuck.collect()))
}
