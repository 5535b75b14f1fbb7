//! Debian archives and packages.

pub mod buildinfo;
pub mod changelog;
pub mod contents;
pub mod control;
pub mod dependency;
pub mod index;
pub mod package;
pub mod packaging;
pub mod release;
pub mod signature;
pub mod solver;
pub mod version;
