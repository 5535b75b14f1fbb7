//! Reading a release folder: release.toml, release.lock and the Rhai specs, up to a [`Spec`]
//! whose names are not resolved yet.

mod document;
pub mod lock;
pub mod model;
pub mod release;
mod text;

pub use model::Spec;
