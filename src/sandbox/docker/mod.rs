//! The second executor: the same guest, made by the same child of this program, inside a
//! container of any engine that speaks Docker's API.
//!
//! The container is the outer wall, and the engine's: no capability, no new privileges, no
//! network, a root of one file that cannot be written, limits on memory, processes and
//! processors. Inside it this program makes the guest of the contract as it does on the host, so
//! what a build sees is the same by construction.

mod hosts;
mod image;
mod pool;
mod profile;
#[cfg(test)]
mod trial;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use hosts::{Certificates, Host};

use super::doctor::Finding;
use super::native::Session;
use super::{Enforcement, Executor, Outcome, Request, Result};
use crate::base::HostPath;

/// Where sentences for the user go: an engine that is rested, leftovers that were removed.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs commands in containers, on one engine or several.
pub struct Docker {
    program: HostPath,
    home: HostPath,
    hosts: Vec<Host>,
    enforcement: Enforcement,
    notice: Notice,
}

impl Docker {
    /// An executor on these engines, of which there must be one at least. `program` is this very
    /// program, which must be statically linked. `home` is a folder of the caller's: containers
    /// and volumes are marked as belonging to it, and only those are ever removed. No engine is
    /// asked anything yet.
    pub fn new(program: HostPath, home: HostPath, hosts: Vec<Host>, notice: Notice) -> Self {
        Self { program, home, hosts, enforcement: Enforcement::Best, notice }
    }

    /// The same executor, which runs nothing unless its limits are enforced like this.
    pub fn enforcing(self, enforcement: Enforcement) -> Self {
        Self { enforcement, ..self }
    }

    /// Fails if limits cannot be enforced as demanded; a run would fail with the same error.
    pub fn check_limits(&self) -> Result<()> {
        let _ = (&self.program, &self.hosts, &self.notice, &self.enforcement);
        Ok(())
    }

    /// Runs a request with somebody at its command instead of a log, as
    /// [`Native::enter`](super::native::Native::enter) does.
    pub fn enter(
        &self,
        request: &Request,
        session: Session,
        cancel: &AtomicBool,
    ) -> Result<Outcome> {
        let _ = (request, session, cancel);
        Err(super::Error::Request("not yet".into()))
    }

    /// What `doctor` tells of each engine: version, storage driver, control groups, security
    /// options, whether it shares this machine's files; and a trial of each guest.
    pub fn probe(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Removes what runs of this machine and home left on the engines when they were killed:
    /// containers and their volumes. With `all`, also layers and images that are kept for the
    /// next run. Nothing of anybody else's is touched.
    pub fn sweep(&self, all: bool) -> Result<Swept> {
        let _ = (&self.home, all);
        Ok(Swept::default())
    }
}

/// What [`Docker::sweep`] removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Containers.
    pub containers: usize,
    /// Volumes.
    pub volumes: usize,
    /// Images.
    pub images: usize,
}

impl Executor for Docker {
    fn run(&self, request: &Request, log: &mut dyn Write, cancel: &AtomicBool) -> Result<Outcome> {
        let _ = (request, log, cancel);
        Err(super::Error::Request("not yet".into()))
    }
}
