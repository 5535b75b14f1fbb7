//! Evidence about releases and what was built of them, read and judged: held against the release
//! itself, another build, an archive.

pub mod archive;
pub mod attribution;
pub mod bundle;
pub mod closure;
pub mod difference;
mod error;
pub mod evidence;
pub mod fixpoint;
pub mod history;
pub mod inputs;
pub mod provenance;
pub mod quorum;
pub mod reproduction;

pub use error::Error;
