//! How far a build is, as its events tell.

use std::time::{Duration, Instant};

use crate::base::PackageName;
use crate::realise::event::{Event, Fault, Finished, Phase};

/// How far a build is.
pub struct Tally {
    /// Packages that are wanted.
    pub total: usize,
    /// Packages that were built.
    pub built: usize,
    /// Packages that were there.
    pub cached: usize,
    /// Packages that failed.
    pub failed: usize,
    /// Packages that were called off while they were worked on.
    pub cancelled: usize,
    /// Packages that will not begin.
    pub skipped: usize,
    /// What is being worked on, what began first before the others.
    pub running: Vec<Running>,
    /// When the build began.
    pub began: Instant,
    remaining: Option<(Duration, Instant)>,
}

/// A package that is being worked on.
pub struct Running {
    /// Its name.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// What it is at; nothing if it has just begun, or waits to be tried again.
    pub phase: Option<Phase>,
    /// Whether it was tried before, and the machine failed it.
    pub tried: bool,
    /// The last line that its build printed.
    pub last: String,
    /// When it began.
    pub began: Instant,
}

impl Tally {
    /// A build that begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            total: 0,
            built: 0,
            cached: 0,
            failed: 0,
            cancelled: 0,
            skipped: 0,
            running: Vec::new(),
            began: now,
            remaining: None,
        }
    }

    /// Takes what an event tells.
    pub fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Planned { packages } => self.total = *packages,
            Event::Remaining { time } => self.remaining = time.map(|time| (time, now)),
            Event::Started { package, version } => self.running.push(Running {
                package: package.clone(),
                version: version.clone(),
                phase: None,
                tried: false,
                last: String::new(),
                began: now,
            }),
            Event::Phase { package, phase } => {
                if let Some(running) = self.find(package) {
                    running.phase = Some(phase.clone());
                    running.last.clear();
                }
            }
            Event::Line { package, text } => {
                if let Some(running) = self.find(package) {
                    running.last.clone_from(text);
                }
            }
            Event::Retry { package, .. } => {
                if let Some(running) = self.find(package) {
                    (running.phase, running.tried) = (None, true);
                    running.last.clear();
                }
            }
            Event::Finished { package, version, result, .. } => {
                let is_it = |one: &Running| one.package == *package && one.version == *version;
                if let Some(place) = self.running.iter().position(is_it) {
                    self.running.remove(place);
                }
                *match result {
                    Finished::Built { .. } => &mut self.built,
                    Finished::Cached { .. } => &mut self.cached,
                    Finished::Failed(failure) if failure.fault == Fault::Cancelled => {
                        &mut self.cancelled
                    }
                    Finished::Failed(_) => &mut self.failed,
                    Finished::Skipped { .. } => &mut self.skipped,
                } += 1;
            }
        }
    }

    /// Packages that are done with, one way or the other.
    pub fn done(&self) -> usize {
        self.there() + self.failed + self.cancelled + self.skipped
    }

    /// Packages that are there.
    pub fn there(&self) -> usize {
        self.built + self.cached
    }

    /// About how long it will take from now on; nothing if that is not known, or if it takes
    /// longer than was known.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        let (time, told) = self.remaining?;
        let left = time.checked_sub(now.saturating_duration_since(told))?;
        (left >= Duration::from_secs(1) && self.done() < self.total).then_some(left)
    }

    /// What is kept of a build that was stopped, in one line.
    pub fn kept(&self) -> String {
        let (there, total) = (self.there(), self.total);
        format!(
            "stopped: {there} of {total} packages are built and kept; the same command goes on from there"
        )
    }

    fn find(&mut self, package: &PackageName) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.package == *package)
    }
}
