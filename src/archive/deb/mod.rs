//! Debian archives and packages.

pub mod package;
