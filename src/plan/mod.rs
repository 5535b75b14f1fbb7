//! What is stale, what is ready, in which order: a state machine that runs nothing.

mod forecast;
mod schedule;

pub use forecast::{Foreseen, foresee};
pub use schedule::{Error, Finish, Limits, Node, NodeId, OnFailure, Plan, Skip, State, UNKNOWN};
