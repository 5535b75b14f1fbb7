//! Making a plan true: fetching, assembling build roots, building, recording.

pub mod action;
pub mod buildroot;
mod capsule;
pub mod cause;
pub mod comparison;
pub mod driver;
pub mod edits;
pub mod enter;
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
pub mod retry;
mod script;
mod sources;
pub mod universe;
pub mod upstream;
mod verdict;
pub mod world;

pub use error::Error;
