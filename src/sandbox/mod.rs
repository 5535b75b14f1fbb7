//! Running one command in isolation: what is asked ([`Request`]), what came of it ([`Outcome`]),
//! and who can do it ([`Executor`]).

mod error;
mod guise;
mod request;

pub mod contract;
pub mod docker;
pub mod doctor;
pub mod native;
pub mod parcel;

pub use contract::CONTRACT;
pub use error::Error;
pub use guise::{Guise, Kernel};
pub use request::{
    Access, Collect, Enforcement, Executor, Keep, Keeping, Limits, Mount, Observe, Observed,
    Outcome, Receipt, Request, Result, Scratch, Stage, Usage, Verdict,
};
