//! The second executor: the same guest, made by the same child of this program, inside a
//! container of any engine that speaks Docker's API.
//!
//! The container is the outer wall, and the engine's: no capability, no new privileges, no
//! network, a root of one file that cannot be written, limits on memory, processes and
//! processors. Inside it this program makes the guest of the contract as it does on the host, so
//! what a build sees is the same by construction.

mod carry;
mod container;
mod engine;
mod hosts;
mod image;
mod layers;
mod marks;
mod places;
mod profile;
mod run;
mod site;
#[cfg(test)]
mod trial;

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

pub use hosts::{Certificates, Host};

use super::doctor::Finding;
use super::native::Session;
use super::{Enforcement, Error, Executor, Outcome, Request, Result};
use crate::base::HostPath;
use engine::{Engine, Met, Tool};
use image::Image;
use marks::Marks;
use profile::Profile;

/// Where sentences for the user go: an engine that is rested, leftovers that were removed.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs commands in containers, on one engine or several.
pub struct Docker {
    program: HostPath,
    home: HostPath,
    engines: Vec<Engine>,
    enforcement: Enforcement,
    notice: Notice,
    marks: OnceLock<Marks>,
}

impl Docker {
    /// An executor on these engines, of which there must be one at least. `program` is this very
    /// program, which must be statically linked. `home` is a folder of the caller's: containers
    /// and volumes are marked as belonging to it, and only those are ever removed. No engine is
    /// asked anything yet.
    pub fn new(program: HostPath, home: HostPath, hosts: Vec<Host>, notice: Notice) -> Self {
        let engines = hosts.into_iter().map(Engine::new).collect();
        let marks = OnceLock::new();
        Self { program, home, engines, enforcement: Enforcement::Best, notice, marks }
    }

    /// The same executor, which runs nothing unless its limits are enforced like this.
    pub fn enforcing(self, enforcement: Enforcement) -> Self {
        Self { enforcement, ..self }
    }

    /// Fails if limits cannot be enforced as demanded; a run would fail with the same error.
    pub fn check_limits(&self) -> Result<()> {
        for engine in &self.engines {
            let limits = engine.meet()?.facts.limits;
            if self.enforcement == Enforcement::ControlGroup && limits != (true, true) {
                return Err(container::unlimited(&["memory", "processes"]));
            }
        }
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
        self.take(request, Some(session), &mut std::io::sink(), cancel)
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
        let _ = (&self.home, all, &self.notice);
        Ok(Swept::default())
    }

    fn take(
        &self,
        request: &Request,
        session: Option<Session>,
        log: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> Result<Outcome> {
        run::run(self, &self.engines[0], request, session, log, cancel)
    }

    /// The marks of this run, made when the first container is.
    fn marks(&self) -> Result<&Marks> {
        if let Some(marks) = self.marks.get() {
            return Ok(marks);
        }
        let marks = Marks::new(&self.home).map_err(|source| Error::System {
            operation: format!("mark containers as those of `{}`", self.home),
            source,
        })?;
        Ok(self.marks.get_or_init(|| marks))
    }

    /// The tool image and the profile, on this engine; made and loaded once.
    fn tool(&self, engine: &Engine, met: &Met) -> Result<Tool> {
        engine.tool(|| {
            let folder = self.home.join(marks::FOLDER);
            let image = Image::of(&self.program, &folder)?;
            let operation = || format!("load the image `{}`", image.name());
            let image = engine.ask(operation, image.ensure(&met.client))?;
            let profile = Profile::new();
            let profile = match met.facts.podman {
                true => profile.option_in(&folder)?,
                false => profile.option(),
            };
            Ok(Tool { image, profile })
        })
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
        self.take(request, None, log, cancel)
    }
}
