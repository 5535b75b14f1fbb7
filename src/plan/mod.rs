//! What is stale, what is ready, in which order: a state machine that runs nothing.

mod schedule;

pub use schedule::{Error, Finish, Limits, Node, NodeId, OnFailure, Plan, Skip, State, UNKNOWN};
