//! Bringing bytes in, each checked against its digest before it enters the store.
//!
//! A [`Client`] talks to one URL; [`Mirrors`] are the places an archive's files can come from,
//! found when the first file is needed; [`in_release`], [`index`], [`pool`] and [`pool_many`]
//! bring in what an archive has; [`file()`] brings in one file, [`git`] a commit. What is asked for by
//! digest is looked up in the store first, so nothing here touches the network when it is all
//! there. A [`Bucket`] is where bytes go to.

mod addresses;
mod archive;
mod bucket;
mod client;
mod error;
mod file;
pub mod git;
mod mirrors;

pub use archive::{
    BY_DIGEST, Index, PoolFile, Progress, Stage, in_release, index, index_digest, pool, pool_many,
    read_index,
};
pub use bucket::{Bucket, Credentials, Head};
pub use client::{Client, Network, Patience};
pub use error::{Error, Moved, Result};
pub use file::{Expected, Fetched, file};
pub use mirrors::{Mirrors, Places, Search, Url};
