//! Upstream distribution archives, pure over bytes: their formats, signatures and solver.

pub mod deb;
pub mod patch;
pub mod tarball;
