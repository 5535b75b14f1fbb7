//! Debian archives and packages.

pub mod control;
pub mod dependency;
pub mod index;
pub mod solver;
pub mod version;
