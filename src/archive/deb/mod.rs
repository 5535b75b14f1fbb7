//! Debian archives and packages.

pub mod release;
pub mod signature;
pub mod source;
