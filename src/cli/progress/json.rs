//! A JSON document for every step, each on a line of its own: for programs.
//!
//! With `--json` what is wrong is told on standard output, so standard error has nothing else.
//! Every document has `event`, and one about a package `package`, `version` and `derivation`: two
//! releases of one run may have packages of one name. The others of its keys are
//!
//! | `event` | keys |
//! |---|---|
//! | `planned` | `packages`: how many are wanted |
//! | `remaining` | `milliseconds`: about how long the rest takes; null if that is not known |
//! | `started` | none |
//! | `phase` | `phase` (`solve`, `fetch`, `wait`, steps of a build root, `build`, `store`), `done` and `total` of what is counted, else null |
//! | `line` | `text`: a line of its build |
//! | `retry` | `cause`: the machine failed it; `milliseconds` until it is tried again, `failed`: how many tries did, `most`: how many there will be at most |
//! | `finished` | `status` (`built`, `cached`, `failed`, `cancelled`, `skipped`), `cause`, `milliseconds` |
//! | `note` | `text`: something said for people |
//! | `stopping` | none: an interrupt was heard |
//! | `ended` | `built`, `cached`, `failed`, `cancelled`, `skipped`: how many; `milliseconds` |

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::tally::Tally;
use super::{Display, Urgency, line, phase_kind};
use crate::base::DerivationId;
use crate::realise::event::{Event, Fault, Finished, Phase, Subject};

/// Shows events as documents.
pub struct Documents {
    tally: Tally,
    /// What was told of each package's phase: files come in many pieces.
    phases: BTreeMap<DerivationId, Value>,
}

impl Default for Documents {
    fn default() -> Self {
        Self { tally: Tally::new(Instant::now()), phases: BTreeMap::new() }
    }
}

impl Display for Documents {
    fn take(&mut self, event: Event, now: Instant) {
        self.tally.take(&event, now);
        let document = document(&event);
        if let Event::Phase { package, .. } = &event
            && self.phases.insert(package.id, document.clone()).is_some_and(|l| l == document)
        {
            return;
        }
        line(&document.to_string());
    }

    fn note(&mut self, text: &str, _: Instant) {
        line(&json!({"event": "note", "text": text}).to_string());
    }

    fn tick(&mut self, _: Instant) {}

    fn stopping(&mut self) {
        line(&json!({"event": "stopping"}).to_string());
    }

    fn end(&mut self, _: Urgency, now: Instant) {
        let Tally { built, cached, failed, cancelled, skipped, .. } = self.tally;
        let elapsed = now.saturating_duration_since(self.tally.began);
        let document = json!({
            "event": "ended", "built": built, "cached": cached, "failed": failed,
            "cancelled": cancelled, "skipped": skipped, "milliseconds": elapsed.as_millis() as u64,
        });
        line(&document.to_string());
    }
}

/// An event as one document.
fn document(event: &Event) -> Value {
    let of = |event: &str, package: &Subject| {
        json!({
            "event": event, "package": package.name.as_str(), "version": package.version,
            "derivation": package.id.to_string(),
        })
    };
    match event {
        Event::Planned { packages } => json!({"event": "planned", "packages": packages.len()}),
        Event::Remaining { time } => json!({
            "event": "remaining", "milliseconds": time.map(|time| time.as_millis() as u64),
        }),
        Event::Started { package } => of("started", package),
        Event::Phase { package, phase } => {
            let (done, total) = match phase {
                Phase::Fetch { done, total } | Phase::Root { done, total, .. } => {
                    (Some(done), Some(total))
                }
                _ => (None, None),
            };
            let mut document = of("phase", package);
            document["phase"] = phase_kind(phase).into();
            document["done"] = json!(done);
            document["total"] = json!(total);
            document
        }
        Event::Line { package, text } => {
            let mut document = of("line", package);
            document["text"] = text.as_str().into();
            document
        }
        Event::Retry { package, cause, wait, failed, most } => {
            let mut document = of("retry", package);
            document["cause"] = cause.as_str().into();
            document["milliseconds"] = (wait.as_millis() as u64).into();
            document["failed"] = (*failed).into();
            document["most"] = (*most).into();
            document
        }
        Event::Finished { package, result, elapsed } => {
            let (status, cause) = match result {
                Finished::Built { .. } => ("built", None),
                Finished::Cached { .. } => ("cached", None),
                Finished::Failed(failure) if failure.fault == Fault::Cancelled => {
                    ("cancelled", None)
                }
                Finished::Failed(failure) => ("failed", Some(failure.line())),
                Finished::Skipped { because } => {
                    ("skipped", because.as_ref().map(|root| format!("needs {root}")))
                }
            };
            let mut document = of("finished", package);
            document["status"] = status.into();
            document["cause"] = json!(cause);
            document["milliseconds"] = (elapsed.as_millis() as u64).into();
            document
        }
    }
}
