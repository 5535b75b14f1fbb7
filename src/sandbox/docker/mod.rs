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
mod pool;
mod profile;
mod run;
mod site;
mod tend;
#[cfg(test)]
mod trial;
mod wall;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

pub use hosts::{Certificates, Host};

use super::native::Session;
use super::{Enforcement, Error, Executor, Outcome, Receipt, Request, Result, Usage, Verdict};
use crate::base::HostPath;
use engine::{Engine, Met, Tool};
use image::Image;
use marks::Marks;
use pool::{Lease, Member, Pool, Refusal};
use profile::Profile;

/// Where sentences for the user go: an engine that is rested, leftovers that were removed.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// How long a wish to cancel may go unnoticed while every engine rests.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs commands in containers, on one engine or several.
pub struct Docker {
    program: HostPath,
    home: HostPath,
    engines: Pool<Engine>,
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
        let member = |host: Host| Member {
            name: host.name.clone(),
            slots: host.slots,
            engine: Engine::new(host),
        };
        let members = hosts.into_iter().map(member).collect();
        let engines = Pool::new(members, Arc::clone(&notice), Instant::now);
        let marks = OnceLock::new();
        Self { program, home, engines, enforcement: Enforcement::Best, notice, marks }
    }

    /// The same executor, which runs nothing unless its limits are enforced like this.
    pub fn enforcing(self, enforcement: Enforcement) -> Self {
        Self { enforcement, ..self }
    }

    /// Fails if limits cannot be enforced as demanded, or if no engine answers; a run would fail
    /// with the same error.
    pub fn check_limits(&self) -> Result<()> {
        let mut missed = None;
        let mut met = false;
        for member in self.engines.members() {
            match member.engine.meet() {
                Ok(Met { facts, .. }) => {
                    met = true;
                    let strict = self.enforcement == Enforcement::ControlGroup;
                    if strict && facts.limits != (true, true) {
                        return Err(wall::unlimited(&["memory", "processes"]));
                    }
                }
                Err(error) => missed = Some(error),
            }
        }
        missed.filter(|_| !met).map_or(Ok(()), Err)
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

    fn take(
        &self,
        request: &Request,
        session: Option<Session>,
        log: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> Result<Outcome> {
        let lease = match self.reach_engine(cancel)? {
            Some(lease) => lease,
            None => return Ok(cancelled()),
        };
        let ended = run::run(self, &lease.member().engine, request, session, log, cancel);
        match &ended {
            Ok(_) => lease.succeeded(),
            // What it was killed in the middle of does not matter.
            Err(_) if cancel.load(Ordering::Relaxed) => return Ok(cancelled()),
            Err(error @ (Error::Engine { .. } | Error::Lost(_))) => {
                // It may be another one when it answers again.
                lease.member().engine.forget();
                lease.failed(error);
            }
            // Of the request, or of this machine.
            Err(_) => drop(lease),
        }
        ended
    }

    /// A place on an engine that answers; none if that was cancelled. One that cannot be reached
    /// costs no run: another is asked, and when there is none, they are waited for.
    fn reach_engine(&self, cancel: &AtomicBool) -> Result<Option<Lease<'_, Engine>>> {
        let engines = self.engines.members().len();
        let began = Instant::now();
        let mut missed = 0;
        loop {
            let lease = match self.wait_for_engine(cancel) {
                Ok(lease) => lease,
                Err(Refusal::Cancelled) => return Ok(None),
                Err(Refusal::Resting { engine, passes_in, because }) => {
                    return Err(Error::Engine {
                        engine,
                        operation: format!("take a run for another {} s", pool::seconds(passes_in)),
                        because: format!("like every other it failed too often, last: {because}"),
                        passes: true,
                    });
                }
            };
            let error = match lease.member().engine.meet() {
                Ok(_) => return Ok(Some(lease)),
                Err(error) => error,
            };
            missed += 1;
            let last = missed >= engines && (!error.may_pass() || began.elapsed() > pool::REST);
            if last {
                lease.failed(&error);
                return Err(error);
            }
            if missed == engines {
                let most = pool::seconds(pool::REST);
                (self.notice)(&format!("{error}; it is waited for, for {most} s at most"));
            }
            // A single one has nobody to stand in for it while it rests.
            if engines > 1 {
                lease.failed(error);
            } else {
                drop(lease);
            }
            if missed >= engines {
                pause(GLANCE * 10, cancel);
            }
        }
    }

    /// A place on an engine. When all of them rest for the first time, as while the only one is
    /// restarted, that is waited for.
    fn wait_for_engine(&self, cancel: &AtomicBool) -> Result<Lease<'_, Engine>, Refusal> {
        loop {
            match self.engines.take(cancel) {
                Err(Refusal::Resting { passes_in, .. }) if passes_in <= pool::REST => {
                    pause(passes_in, cancel);
                }
                answer => return answer,
            }
        }
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
            self.marks()?.brought(&image);
            let profile = Profile::new();
            let profile = match met.facts.podman {
                true => profile.option_in(&folder)?,
                false => profile.option(),
            };
            Ok(Tool { image, profile })
        })
    }
}

/// Waits, unless that is cancelled.
fn pause(time: Duration, cancel: &AtomicBool) {
    let until = Instant::now() + time;
    while Instant::now() < until && !cancel.load(Ordering::Relaxed) {
        thread::sleep(GLANCE);
    }
}

/// The outcome of a run that was cancelled before it had an engine.
fn cancelled() -> Outcome {
    Outcome {
        verdict: Verdict::Cancelled,
        usage: Usage::default(),
        receipt: Receipt::default(),
        collected: Vec::new(),
        kept: None,
        observed: None,
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
