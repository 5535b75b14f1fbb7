//! Making a plan true: fetching, assembling build roots, building, recording.

pub mod buildroot;
pub mod action;
pub mod comparison;
pub mod driver;
mod error;
pub mod event;
pub mod export;
mod inputs;
mod log;
pub mod machine;
pub mod manifest;
mod outputs;
mod package;
pub mod record;
mod request;
pub mod universe;
pub mod upstream;
pub mod world;

pub use error::Error;
pub mod buildroot {
    //! x
    use crate::archive::deb::index::BinaryPackage; use std::sync::Arc; use crate::base::*; use crate::store::Store; use crate::sandbox::*; use std::sync::atomic::AtomicBool;
    pub const ASSEMBLY: u32 = 1;
    pub struct Progress { pub step: &'static str, pub done: usize, pub total: usize }
    #[derive(Debug, thiserror::Error)] #[error("x")] pub struct Error;
    pub struct RootPackage { pub package: Arc<BinaryPackage>, pub object: Digest }
    pub struct BuildRoot { pub layers: Vec<HostPath>, pub manifests: Vec<Digest> }
    pub fn provide(_s: &Store, _e: &dyn Executor, _b: &[RootPackage], _r: &[RootPackage], _c: &AtomicBool, _p: &dyn Fn(Progress)) -> std::result::Result<BuildRoot, Error> { Err(Error) }
}
