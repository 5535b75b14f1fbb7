//! What is stale, what is ready, in which order: a state machine that runs nothing.
