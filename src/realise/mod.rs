//! Making a plan true: fetching, assembling build roots, building, recording.

pub mod action;
pub mod buildroot;
pub mod bump;
pub mod comparison;
pub mod driver;
mod error;
pub mod event;
pub mod export;
pub mod foresight;
mod inputs;
mod known;
pub mod lacks;
mod log;
pub mod machine;
pub mod manifest;
mod outputs;
mod package;
mod patches;
pub mod rebuild;
pub mod record;
mod request;
mod script;
pub mod settled;
mod sources;
pub mod stale;
pub mod strata;
pub mod universe;
pub mod upstream;
pub mod world;

pub use error::Error;
pub use package::RESOLUTION_RULES;
