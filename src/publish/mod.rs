//! Repositories that stock clients read: what they hold is a value, made from records; how it
//! gets to disk is one step.
//!
//! A [`Generation`] is a state of all suites of a repository that never changes again. The next
//! one is staged beside it, signed, tried with the real client, and switched to by renaming one
//! link. [`layout`] says where everything lies. An index is a [`table`] whose pieces are
//! compressed each on its own, so that one package more costs what one package costs, whatever
//! the size of the suite.

pub mod adopt;
pub mod generation;
pub mod index;
pub mod item;
pub mod layout;
pub mod ledger;
pub mod mirror;
pub mod prune;
pub mod rehearse;
pub mod sign;
pub mod stage;
pub mod suite;
pub mod table;

mod error;
mod named;

pub use error::{Error, Result};
pub use generation::{Change, Generation, Published, Reason, State};
pub use layout::Repository;
