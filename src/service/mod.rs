//! What the program answers over HTTP. It only reads.
//!
//! An [`Answer`] is a value, and a service is a function from [`Request`] to one; [`reply`] makes
//! of it what goes over the wire, with conditions, ranges and `HEAD` (RFC 9110); [`Server`] is the
//! one loop that does so for all who ask, within [`Limits`]. Nothing but that loop knows of sockets
//! or of `async`. [`Bank`] is the service over a store and the archives that releases are pinned
//! to, [`Depot`] the one over a repository that is published.

mod answer;
mod bank;
mod error;
mod html;
mod media;
mod repo;
mod server;

pub use answer::{Answer, Body, Conditions, Lasting, Method, Reply, Request, Status, reply};
pub use bank::{Archive, Bank, Pinned, RootList, Suite, Tally};
pub use error::{Error, Result};
pub use repo::{Depot, Unquotable, nginx};
pub use server::{Hearer, Limits, Server, Service};
