//! Repositories that stock clients read: what they hold is a value, made from records; how it
//! gets to disk is one step.
//!
//! An index is a [`table`] whose pieces are compressed each on its own, so that one package more
//! costs what one package costs, whatever the size of the suite.

pub mod table;
