//! The native executor: namespaces, mounts and a system call filter of the running kernel, with
//! nothing installed and for any user.
//!
//! Four processes take part. The calling program starts itself again with [`ARGUMENT`] (it has
//! threads, and only a process with one may enter a user namespace; and a fork of something
//! large is slow). That **sandbox** process enters the namespaces, puts the guest's root
//! together, watches, and reads out results. Below it, process 1 of the guest starts the
//! **command**, and ends with it. Each dies with the one above.

mod afar;
mod cgroup;
mod child;
mod collect;
mod disk;
pub(in crate::sandbox) mod filter;
mod frames;
mod freight;
mod guest;
mod keep;
mod memory;
mod namespace;
mod observe;
mod places;
mod relay;
mod run;
mod session;
mod staging;
mod story;
mod system;
mod watch;
mod wire;
mod world;

use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use super::{Enforcement, Error, Executor, Outcome, Request, Result};
use crate::base::HostPath;
use namespace::Caller;
pub(in crate::sandbox) use wire::Order;

pub(in crate::sandbox) use afar::{Afar, Ended, Hello, Stream};
pub use session::Session;
pub use system::{runs_i386, step_back};

/// The hidden first argument with which the program is a sandbox.
pub const ARGUMENT: &str = "__sandbox";

/// The hidden first argument with which the program is a container's only process.
pub const RELAY: &str = "__relay";

/// Runs commands on this machine, in this kernel's namespaces.
#[derive(Debug, Clone)]
pub struct Native {
    program: HostPath,
    enforcement: Enforcement,
}

impl Native {
    /// An executor that starts `program`, which must be this very program and hand
    /// [`child_main`] its arguments.
    pub fn new(program: HostPath) -> Self {
        Self { program, enforcement: Enforcement::Best }
    }

    /// The same executor, which runs nothing unless its limits are enforced like this.
    pub fn enforcing(self, enforcement: Enforcement) -> Self {
        Self { enforcement, ..self }
    }

    /// Runs a request with somebody at its command instead of a log: everything else is as in
    /// [`Executor::run`]. The caller's standard streams are carried to and from the command; with
    /// a terminal, the caller's own is made to hand on every key, and given back afterwards.
    pub fn enter(
        &self,
        request: &Request,
        session: Session,
        cancel: &AtomicBool,
    ) -> Result<Outcome> {
        let log = &mut std::io::sink();
        run::run(&self.program, self.enforcement, request, Some(session), log, cancel)
    }

    /// Fails if limits cannot be enforced here as demanded; a run would fail with the same error.
    pub fn check_limits(&self) -> Result<()> {
        match self.enforcement {
            Enforcement::Best => Ok(()),
            Enforcement::ControlGroup => group_for_trial().map(drop).map_err(no_group),
        }
    }
}

impl Executor for Native {
    fn run(&self, request: &Request, log: &mut dyn Write, cancel: &AtomicBool) -> Result<Outcome> {
        run::run(&self.program, self.enforcement, request, None, log, cancel)
    }
}

/// Is the sandbox's own process if the first argument says so; to be asked before anything else
/// is done, threads above all. Returns none when this is an ordinary start.
pub fn child_main(mut arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> Option<ExitCode> {
    let first = arguments.nth(1)?;
    match first.as_ref().to_str()? {
        ARGUMENT => Some(child::main()),
        RELAY => Some(relay::main()),
        _ => None,
    }
}

/// The host's user and group id that trees given to the sandbox must belong to: the caller's
/// own, or a fixed unprivileged one if that is root.
pub fn owner() -> (u32, u32) {
    match namespace::caller() {
        Caller::Root => (namespace::UNPRIVILEGED, namespace::UNPRIVILEGED),
        Caller::Ordinary(uid, gid) => (uid, gid),
        Caller::HostRoot => (0, 0),
    }
}

/// The order for a guest that a relay starts, where the caller is the one that everything belongs
/// to.
pub(in crate::sandbox) fn order_afar(request: &Request, session: Option<Session>) -> Result<Order> {
    let mut order = run::order(request, None)?;
    order.session = session;
    Ok(order)
}

/// Gives the folders that a guest of this order writes to the owner of trees, if root asks.
pub(in crate::sandbox) fn hand_over(order: &Order) -> Result<()> {
    match namespace::caller() {
        Caller::Root => staging::hand_over_all(order, namespace::UNPRIVILEGED),
        Caller::Ordinary(..) | Caller::HostRoot => Ok(()),
    }
    .map_err(run::refusal)
}

/// Whether this is root of the initial user namespace, or of one that maps every id.
pub fn is_initial_root() -> bool {
    namespace::caller() == Caller::Root
}

/// What would hold a guest to its memory here: `cgroup v2`, `cgroup v1` or `supervisor`.
pub fn limits_mechanism() -> &'static str {
    cgroup::mechanism(group_for_trial().ok())
}

/// Makes a control group and removes it. Returns its version.
fn group_for_trial() -> Result<places::Version, cgroup::Missing> {
    let group = cgroup::Group::make(1 << 30, 10)?;
    group.remove();
    Ok(group.version())
}

fn no_group(cgroup::Missing { because, remedy }: cgroup::Missing) -> Error {
    Error::Limits { because, remedy }
}
