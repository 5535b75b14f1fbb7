//! Perestroika builds and rebuilds whole releases of native Linux packages, provably.
//!
//! The modules are the pipeline: `spec` reads a release folder, `graph` turns it into derivations
//! named by their own hash, `plan` decides what is stale, `realise` builds it in a `sandbox` and
//! keeps it in the `store`, from where `publish` makes repositories, where `audit` reads the
//! evidence, and which `service` lends out. `tests/layers.rs` holds which module may use which.

pub mod archive;
pub mod audit;
pub mod base;
pub mod cli;
pub mod fetch;
pub mod graph;
pub mod pin;
pub mod plan;
pub mod publish;
pub mod realise;
pub mod sandbox;
pub mod service;
pub mod spec;
pub mod store;
