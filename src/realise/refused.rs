//! What is refused before anything is run: an attempt all the same, with a log that says why.

use super::error::Error;
use super::event::Failure;
use super::package::Job;
use super::verdict::{failure, remembered};
use crate::base::ActionId;
use crate::store::{self, NewAttempt};

/// The largest log of a refusal, in bytes.
const LOG: u64 = 1 << 20;

/// The failure of a package for which nothing was run. Patches that do not apply are the
/// package's own doing: they are noted as an attempt at it.
pub fn refused(job: &Job<'_>, action: ActionId, error: &Error) -> Box<Failure> {
    let mut failure = failure(job, error);
    if matches!(error, Error::Patch { .. }) {
        // The failure is what the user must hear of, even if noting it fails too.
        failure.attempt = note(job, action, &failure).unwrap_or_default();
    }
    failure
}

/// Notes the failure as an attempt; its number among those at the package.
fn note(job: &Job<'_>, action: ActionId, failure: &Failure) -> store::Result<Option<u64>> {
    let store = job.world.store;
    let new = NewAttempt { package: job.package.name.clone(), derivation: job.node.id, action };
    let (mut attempt, mut writer) = store.start_attempt(&new, LOG)?;
    let lines = [format!("error: {}", failure.cause)].into_iter().chain(failure.reasons.clone());
    writer.append(lines.map(|line| format!("{line}\n")).collect::<String>().as_bytes())?;
    let log = writer.finish()?;
    let id = attempt.id();
    attempt.blame(failure.kind.as_str(), failure.fingerprint);
    attempt.finish(remembered(failure.fault), &failure.line(), Some(&log))?;
    Ok(store.attempt(id)?.map(|attempt| attempt.number))
}
