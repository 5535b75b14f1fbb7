//! When each node of a plan would start and end if estimates held.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Finish, NodeId, Plan};

/// A node's place in time, counted from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreseen {
    /// The node.
    pub node: NodeId,
    /// When it would start.
    pub start: Duration,
    /// When it would end.
    pub end: Duration,
}

/// Runs the rest of a plan on an imagined clock, every node lasting as estimated and ending well;
/// gives the nodes in the order in which they would start.
pub fn foresee(mut plan: Plan) -> Vec<Foreseen> {
    let mut foreseen = Vec::new();
    let mut running: BTreeSet<(Duration, NodeId)> = BTreeSet::new();
    let mut now = Duration::ZERO;
    loop {
        for node in plan.next() {
            let end = now.saturating_add(plan.estimate(node));
            running.insert((end, node));
            foreseen.push(Foreseen { node, start: now, end });
        }
        let Some((end, node)) = running.pop_first() else { return foreseen };
        now = end;
        plan.finish(node, Finish::Built);
    }
}
