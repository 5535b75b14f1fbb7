//! Everything a build may touch.

use std::sync::atomic::AtomicBool;

use super::retry::Retries;
use super::upstream::Upstream;
use crate::base::HostPath;
use crate::sandbox::Executor;
use crate::store::{CapsuleLimits, Store};

/// Everything a build may touch.
pub struct World<'a> {
    /// What is kept between runs.
    pub store: &'a Store,
    /// What runs builds.
    pub executor: &'a dyn Executor,
    /// Where pinned files come from.
    pub upstream: &'a Upstream,
    /// The release folder, whose sources are read again when they are built.
    pub folder: &'a HostPath,
    /// How a fault of the machine is met.
    pub retries: Retries,
    /// What is kept of failed builds.
    pub capsules: CapsuleLimits,
    /// Becomes true when the build is to stop.
    pub cancel: &'a AtomicBool,
}
