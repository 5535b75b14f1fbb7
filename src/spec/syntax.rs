//! The tokens of a spec with nothing lost: for tools that work on text as its author is writing
//! it, whole or not. Evaluation does not use them.

mod layout;
mod token;

pub use layout::layout;
pub use token::{Kind, Token, interpolations, tokens};
