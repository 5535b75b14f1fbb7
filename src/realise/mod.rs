//! Making a plan true: fetching, assembling build roots, building, recording.

pub mod action;
pub mod buildroot;
pub mod comparison;
pub mod driver;
mod error;
pub mod event;
pub mod export;
pub mod foresight;
mod inputs;
pub mod lacks;
mod log;
pub mod machine;
pub mod manifest;
mod outputs;
mod package;
mod patches;
pub mod record;
mod request;
mod script;
mod sources;
pub mod universe;
pub mod upstream;
pub mod verify;
pub mod world;

pub use error::Error;
