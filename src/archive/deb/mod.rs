//! Debian archives and packages.
