//! A line for every step: for logs and continuous integration. Nothing of it moves the cursor.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::tally::{Running, Tally};
use super::text::clean;
use super::{
    Display, STOPPED_NOW, STOPPING, Urgency, clock, end_text, line, phase_kind, retry_text,
};
use crate::base::DerivationId;
use crate::realise::event::{Event, Phase};

/// After this long without a line there is one that says what goes on: services end what is
/// silent for some minutes.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How many packages such a line names.
const NAMED: usize = 4;

/// Shows events as lines.
pub struct Plain {
    tally: Tally,
    phases: BTreeMap<DerivationId, &'static str>,
    verbose: bool,
    last: Instant,
}

impl Plain {
    /// Shows steps; if `verbose`, what builds print too.
    pub fn new(verbose: bool) -> Self {
        let now = Instant::now();
        Self { tally: Tally::new(now), phases: BTreeMap::new(), verbose, last: now }
    }

    /// The line that an event is worth, if any.
    fn told(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Planned { .. } | Event::Remaining { .. } => None,
            Event::Started { package } => Some(format!("{}: begins", package.title())),
            Event::Phase { package, phase } => {
                let kind = phase_kind(phase);
                let quick = matches!(phase, Phase::Wait | Phase::Solve | Phase::Keep);
                if self.phases.insert(package.id, kind) == Some(kind) || quick {
                    return None;
                }
                Some(match phase {
                    Phase::Fetch { total, .. } => format!("{package}: fetch {total} files"),
                    Phase::Root { step, total, .. } if *total > 0 => {
                        format!("{package}: build root: {step} {total} packages")
                    }
                    Phase::Root { step, .. } => format!("{package}: build root: {step}"),
                    _ => format!("{package}: {kind}"),
                })
            }
            Event::Line { package, text } => {
                self.verbose.then(|| format!("{package}| {}", clean(text)))
            }
            Event::Retry { package, cause, wait, failed, most } => {
                self.phases.remove(&package.id);
                Some(format!("{package}: {}", retry_text(cause, *wait, *failed, *most)))
            }
            Event::Finished { package, result, elapsed } => {
                Some(format!("{}: {}", package.title(), end_text(result, *elapsed)?))
            }
        }
    }

    /// What goes on, if nothing was said for long.
    fn heartbeat(&self, now: Instant) -> Option<String> {
        let running = &self.tally.running;
        if running.is_empty() || now.saturating_duration_since(self.last) < HEARTBEAT {
            return None;
        }
        let named = |one: &Running| {
            let phase = one.phase.as_ref().map_or("begins", phase_kind);
            format!(
                "{} ({phase}, {})",
                one.package,
                clock(now.saturating_duration_since(one.began))
            )
        };
        let mut parts: Vec<String> = running.iter().take(NAMED).map(named).collect();
        if running.len() > NAMED {
            parts.push(format!("{} more", running.len() - NAMED));
        }
        let mut text = format!("{}/{} done", self.tally.done(), self.tally.total);
        text.push_str(&format!(", running: {}", parts.join(", ")));
        if let Some(left) = self.tally.remaining(now) {
            text.push_str(&format!("; about {} left", clock(left)));
        }
        Some(text)
    }

    fn say(&mut self, text: &str, now: Instant) {
        self.last = now;
        line(text);
    }
}

impl Display for Plain {
    fn take(&mut self, event: Event, now: Instant) {
        self.tally.take(&event, now);
        if let Some(text) = self.told(&event) {
            self.say(&text, now);
        }
    }

    fn note(&mut self, text: &str, now: Instant) {
        self.say(&clean(text), now);
    }

    fn tick(&mut self, now: Instant) {
        if let Some(text) = self.heartbeat(now) {
            self.say(&text, now);
        }
    }

    fn stopping(&mut self) {
        line(STOPPING);
    }

    fn end(&mut self, urgency: Urgency, _: Instant) {
        match urgency {
            Urgency::None => {}
            Urgency::Soon => line(&self.tally.kept()),
            Urgency::Now => line(STOPPED_NOW),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tally::tests::{planned, subject};
    use super::*;

    #[test]
    fn a_long_silence_is_broken_every_half_minute() {
        let mut plain = Plain::new(false);
        let begun = plain.last;
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        let planned = (0..9).map(|n| planned(&subject(&format!("n{n}"), "1"), &[]));
        plain.take(Event::Planned { packages: planned.collect() }, begun);
        assert_eq!(plain.heartbeat(after(40)), None, "nothing is running");
        for name in ["a1", "b2", "c3", "d4", "e5", "f6"] {
            let package = subject(name, "1");
            plain.take(Event::Started { package: Arc::clone(&package) }, after(1));
            plain.take(Event::Phase { package, phase: Phase::Build }, after(2));
        }
        plain.take(Event::Remaining { time: Some(Duration::from_secs(100)) }, after(2));
        assert_eq!(plain.heartbeat(after(31)), None);
        assert_eq!(
            plain.heartbeat(after(32)).expect("it is time"),
            "0/9 done, running: a1 (build, 31s), b2 (build, 31s), c3 (build, 31s), \
             d4 (build, 31s), 2 more; about 1m 10s left"
        );
        plain.tick(after(32));
        assert_eq!(plain.heartbeat(after(61)), None);
        assert!(plain.heartbeat(after(62)).is_some());
    }
}
