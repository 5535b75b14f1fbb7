//! How far a build is, as its events tell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::DerivationId;
use crate::realise::event::{Event, Fault, Finished, Phase, Planned, Subject};

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
    /// What has not begun, in the order of the plan.
    waiting: BTreeMap<usize, Planned>,
    /// Every package, and its place in the plan.
    known: HashMap<DerivationId, (usize, Arc<Subject>)>,
    /// What is done with.
    over: HashSet<DerivationId>,
}

/// A package that is being worked on.
pub struct Running {
    /// Which.
    pub package: Arc<Subject>,
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
            waiting: BTreeMap::new(),
            known: HashMap::new(),
            over: HashSet::new(),
        }
    }

    /// Takes what an event tells.
    pub fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Planned { packages } => self.plan(packages),
            Event::Remaining { time } => self.remaining = time.map(|time| (time, now)),
            Event::Started { package } => {
                self.begun(package);
                self.running.push(Running {
                    package: Arc::clone(package),
                    phase: None,
                    tried: false,
                    last: String::new(),
                    began: now,
                });
            }
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
            Event::Finished { package, result, .. } => {
                self.begun(package);
                self.over.insert(package.id);
                self.running.retain(|one| one.package.id != package.id);
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

    /// What has to wait for other packages, the first of the plan before the others, each with
    /// those that it waits for.
    pub fn waiting(&self) -> impl Iterator<Item = (&Subject, Vec<&Subject>)> {
        self.waiting.values().filter_map(|one| {
            let unfinished = one.needs.iter().filter(|need| !self.over.contains(need));
            let needs: Vec<&Subject> = unfinished
                .filter_map(|need| self.known.get(need))
                .map(|(_, subject)| &**subject)
                .collect();
            (!needs.is_empty()).then_some((&*one.package, needs))
        })
    }

    fn plan(&mut self, packages: &[Planned]) {
        self.total = packages.len();
        for (place, planned) in packages.iter().enumerate() {
            let subject = Arc::clone(&planned.package);
            self.known.insert(subject.id, (place, subject));
            self.waiting.insert(place, planned.clone());
        }
    }

    fn begun(&mut self, package: &Subject) {
        if let Some((place, _)) = self.known.get(&package.id) {
            self.waiting.remove(place);
        }
    }

    fn find(&mut self, package: &Subject) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.package.id == package.id)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A package of this name and version, and of nothing else.
    pub fn subject(name: &str, version: &str) -> Arc<Subject> {
        Arc::new(Subject {
            id: DerivationId::of(format!("{name} {version}").as_bytes()),
            name: name.parse().expect("a name"),
            version: version.to_owned(),
            of: Vec::new(),
        })
    }

    /// That it is to be built, after others.
    pub fn planned(package: &Arc<Subject>, needs: &[&Arc<Subject>]) -> Planned {
        let needs = needs.iter().map(|need| need.id).collect();
        Planned { package: Arc::clone(package), needs }
    }

    fn names(tally: &Tally) -> Vec<String> {
        let named = |(package, needs): (&Subject, Vec<&Subject>)| {
            let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
            format!("{package}: {}", needs.join(" "))
        };
        tally.waiting().map(named).collect()
    }

    #[test]
    fn what_waits_is_known_with_what_it_waits_for() {
        let now = Instant::now();
        let [a, b, c] = ["aa", "bb", "cc"].map(|name| subject(name, "1"));
        let mut tally = Tally::new(now);
        let packages = vec![planned(&a, &[]), planned(&b, &[&a]), planned(&c, &[&b, &a])];
        tally.take(&Event::Planned { packages }, now);
        assert_eq!(names(&tally), ["bb: aa", "cc: bb aa"]);
        tally.take(&Event::Started { package: Arc::clone(&a) }, now);
        assert_eq!(names(&tally), ["bb: aa", "cc: bb aa"]);
        let result = Finished::Skipped { because: None };
        let elapsed = Duration::ZERO;
        tally.take(&Event::Finished { package: a, result, elapsed }, now);
        assert_eq!(names(&tally), ["cc: bb"], "what is ready waits for no package");
        tally.take(&Event::Started { package: b }, now);
        assert_eq!(names(&tally), ["cc: bb"]);
    }

    #[test]
    fn two_packages_of_one_name_have_a_line_each() {
        let now = Instant::now();
        let (one, two) = (subject("aa", "1"), subject("aa", "2"));
        let mut tally = Tally::new(now);
        for package in [&one, &two] {
            tally.take(&Event::Started { package: Arc::clone(package) }, now);
        }
        tally.take(&Event::Phase { package: Arc::clone(&two), phase: Phase::Build }, now);
        let phases: Vec<bool> = tally.running.iter().map(|one| one.phase.is_some()).collect();
        assert_eq!(phases, [false, true]);
        let (result, elapsed) = (Finished::Skipped { because: None }, now.elapsed());
        tally.take(&Event::Finished { package: one, result, elapsed }, now);
        assert_eq!(tally.running.len(), 1);
        assert_eq!(tally.running[0].package, two);
    }
}
