//! Reading a release folder: release.toml, release.lock and the Rhai specs, up to a [`Spec`]
//! whose names are not resolved yet.

mod api;
mod cache;
mod document;
mod engine;
pub mod expression;
mod extends;
pub mod language;
mod load;
pub mod loader;
pub mod lock;
pub mod model;
mod parameters;
pub mod release;
pub mod stdlib;
pub mod syntax;
mod text;

pub use cache::{Cache, Footprint};
pub use load::{Since, Survey, load, load_from, load_with, since, survey};
pub use model::Spec;
