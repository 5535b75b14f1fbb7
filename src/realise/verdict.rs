//! What an attempt that was no success comes to: whose fault it was, and why.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::cause::{Cause, Kind};
use super::error::Error;
use super::event::{Failure, Fault};
use super::package::Job;
use super::{cause, request};
use crate::sandbox::{Outcome, Verdict};
use crate::store;

/// What is known of a run beside its outcome.
pub struct Evidence<'a> {
    /// The end of its log.
    pub log: &'a str,
    /// Its last lines.
    pub tail: &'a [String],
    /// How many processes the kernel of this machine killed for want of memory meanwhile.
    pub oom_kills: u64,
}

/// Turns an outcome that is no success into the failure to be shown.
pub fn verdict(
    job: &Job<'_>,
    outcome: &Outcome,
    evidence: &Evidence<'_>,
) -> Result<(), Box<Failure>> {
    let limits = request::limits(job.resources(), &job.allowance);
    let own = |kind, text: String| Cause::new(kind, text);
    let (cause, hint) = match outcome.verdict {
        Verdict::Built => return Ok(()),
        Verdict::Failed(code) => {
            let found = cause::pick(evidence.log);
            (
                found.unwrap_or_else(|| own(Kind::Other, format!("its build exited with {code}"))),
                None,
            )
        }
        Verdict::Signalled(signal) => {
            (own(Kind::Killed, format!("its build was ended by signal {signal}")), None)
        }
        Verdict::TimedOut => (
            own(Kind::Time, format!("its build took longer than {} s", limits.wall.as_secs())),
            Some("raise the limit in its spec, for example `resources: #{ time: \"2h\" }`"),
        ),
        Verdict::Silent => (
            own(
                Kind::Time,
                format!("its build printed nothing for {} s", limits.silence.as_secs()),
            ),
            Some("raise the limit in its spec, for example `resources: #{ silence: \"1h\" }`"),
        ),
        Verdict::OutOfMemory => (
            own(
                Kind::Memory,
                format!("its build needed more than {} MiB of memory", limits.memory >> 20),
            ),
            Some("raise the limit in its spec, for example `resources: #{ memory: \"8 GiB\" }`"),
        ),
        Verdict::OutOfSpace => (
            own(
                Kind::Space,
                format!("its build filled its {} MiB of scratch space", limits.scratch >> 20),
            ),
            Some("raise the limit in its spec, for example `resources: #{ scratch: \"40 GiB\" }`"),
        ),
        Verdict::OutOfOutput => (
            own(Kind::Output, format!("its build printed more than {} MiB", limits.output >> 20)),
            None,
        ),
        Verdict::Cancelled => {
            let cause = own(Kind::Machine, "cancelled".to_owned());
            return Err(Box::new(Failure::new(Fault::Cancelled, &job.package.name, cause)));
        }
    };
    if was_the_machine(outcome.verdict, &cause, evidence.oom_kills) {
        let cause = own(
            Kind::Machine,
            "this machine ran out of memory, and its kernel killed a program of the build".into(),
        );
        return Err(Box::new(Failure {
            reasons: vec!["its own limit of memory was not what it ran into".to_owned()],
            hint: Some("fewer builds at once (`-j`) need less memory"),
            tail: evidence.tail.to_vec(),
            may_pass: true,
            ..Failure::new(Fault::Machine, &job.package.name, cause)
        }));
    }
    let tail = evidence.tail.to_vec();
    let failure = Failure::new(Fault::Package, &job.package.name, cause);
    Err(Box::new(Failure { hint, tail, ..failure }))
}

/// Whether a run ended, as far as it shows, because this machine's kernel killed a program of it
/// for want of memory; what its own limit ends has a verdict of its own.
fn was_the_machine(verdict: Verdict, cause: &Cause, oom_kills: u64) -> bool {
    const KILL: i32 = 9;
    oom_kills > 0
        && match verdict {
            Verdict::Signalled(signal) => signal == KILL,
            Verdict::Failed(_) => cause.kind == Kind::Killed,
            _ => false,
        }
}

/// The failure that an error comes to.
pub fn failure(job: &Job<'_>, error: &Error) -> Box<Failure> {
    let mut messages = VecDeque::from([error.to_string()]);
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        messages.push_back(cause.to_string());
        source = cause.source();
    }
    let text = messages.pop_front().unwrap_or_default();
    let mut reasons: Vec<String> = messages.into();
    reasons.extend(error.reasons());
    let cancelled = job.world.cancel.load(Ordering::Relaxed);
    let fault = if cancelled { Fault::Cancelled } else { error.fault() };
    let kind = match fault {
        _ if matches!(error, Error::Patch { .. }) => Kind::Patch,
        Fault::Package => Kind::Packaging,
        Fault::Input => Kind::Input,
        Fault::Machine | Fault::Cancelled => Kind::Machine,
    };
    let failure = Failure::new(fault, &job.package.name, Cause::new(kind, text));
    let may_pass = fault == Fault::Machine && error.may_pass();
    Box::new(Failure { reasons, hint: error.hint(), may_pass, ..failure })
}

/// The failure of a package whose thread panicked: the panic's own words are on standard error.
pub fn defect(package: &crate::base::PackageName) -> Box<Failure> {
    let cause = Cause::new(Kind::Machine, "a defect of this program stopped it");
    Box::new(Failure::new(Fault::Machine, package, cause))
}

/// How the store remembers an attempt that failed like this.
pub fn remembered(fault: Fault) -> store::Verdict {
    match fault {
        Fault::Cancelled => store::Verdict::Cancelled,
        Fault::Machine => store::Verdict::Fault,
        Fault::Package | Fault::Input => store::Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_killed_is_not_the_packages_fault() {
        let killed = Cause::new(Kind::Killed, "a program of the build was killed");
        let other = Cause::new(Kind::Compiler, "x.c:1: error: y");
        for (verdict, cause, kills, machine) in [
            (Verdict::Failed(2), &killed, 1, true),
            (Verdict::Signalled(9), &killed, 1, true),
            // A package may kill itself, or fail while others are killed.
            (Verdict::Failed(2), &killed, 0, false),
            (Verdict::Signalled(11), &killed, 1, false),
            (Verdict::Failed(2), &other, 3, false),
            // Its own limit.
            (Verdict::OutOfMemory, &killed, 1, false),
        ] {
            assert_eq!(was_the_machine(verdict, cause, kills), machine, "{verdict:?} {cause:?}");
        }
    }
}
