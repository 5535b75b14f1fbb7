//! The tokens of a spec with nothing lost: for tools that work on text as its author is writing
//! it, whole or not. Evaluation does not use them.

mod token;

pub use token::{Kind, Token, interpolations, tokens};
