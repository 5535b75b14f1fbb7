//! Which engine runs the next request.
//!
//! Every engine has room for so many runs at once, and one that fails again and again is left
//! alone for a while, so that a release does not hang on the one machine that is broken.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Notice;

/// How many faults in a row make an engine rest.
const FAULTS: u32 = 3;

/// How long the first rest is; each further one without a success between is twice as long.
pub const REST: Duration = Duration::from_secs(60);

/// How long no rest exceeds.
const LONGEST: Duration = Duration::from_mins(15);

/// How long a wish to cancel may go unnoticed while waiting.
const GLANCE: Duration = Duration::from_millis(50);

/// Engines, of which each run gets one.
pub struct Pool<E> {
    members: Vec<Member<E>>,
    states: Mutex<Vec<State>>,
    changed: Condvar,
    notice: Notice,
    now: Box<dyn Fn() -> Instant + Send + Sync>,
}

/// An engine of a pool.
pub struct Member<E> {
    /// What it is called in messages.
    pub name: String,
    /// The engine.
    pub engine: E,
    /// How many runs it takes at once, at least one; none for as many as come.
    pub slots: Option<usize>,
}

/// Why there is no engine for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The run was cancelled while it waited.
    Cancelled,
    /// All failed too often, and rest. It passes.
    Resting {
        /// The engine that is used again first.
        engine: String,
        /// In how long.
        passes_in: Duration,
        /// Its last fault.
        because: String,
    },
}

/// How one engine is doing.
#[derive(Default)]
struct State {
    running: usize,
    faults: u32,
    because: String,
    last_fault: Option<Instant>,
    /// When the last rest began, and how long it is; none since the last success.
    rest: Option<(Instant, Duration)>,
}

impl State {
    /// How many faults speak against it now; after a rest it gets another chance.
    fn doubt(&self) -> u32 {
        if self.rest.is_some() { 0 } else { self.faults }
    }

    /// How long it still rests at `now`.
    fn rests(&self, now: Instant) -> Option<Duration> {
        let (since, length) = self.rest?;
        length.checked_sub(now.saturating_duration_since(since)).filter(|left| !left.is_zero())
    }
}

impl<E> Pool<E> {
    /// A pool of these engines, all of them taken for healthy. `now` is the clock.
    pub fn new(
        members: Vec<Member<E>>,
        notice: Notice,
        now: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Self {
        let states = members.iter().map(|_| State::default()).collect();
        Self {
            members,
            states: Mutex::new(states),
            changed: Condvar::new(),
            notice,
            now: Box::new(now),
        }
    }

    /// Every engine, whatever its state.
    pub fn members(&self) -> &[Member<E>] {
        &self.members
    }

    /// A place on an engine that does not rest: on one that did not just fail, so that what failed
    /// is tried elsewhere; of those on the one that is used least for its slots, and among equals
    /// on the first. Waits while they are all full; one without a limit never is, and
    /// counts as idle.
    pub fn take(&self, cancel: &AtomicBool) -> Result<Lease<'_, E>, Refusal> {
        let mut states = self.states();
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(Refusal::Cancelled);
            }
            let now = (self.now)();
            let mut awake = Vec::new();
            let mut resting = Vec::new();
            for (index, (member, state)) in self.members.iter().zip(states.iter()).enumerate() {
                match state.rests(now) {
                    None => awake.push((state.doubt(), index, member.slots, state.running)),
                    Some(left) => resting.push((left, index)),
                }
            }
            if awake.is_empty()
                && let Some((passes_in, index)) = resting.into_iter().min()
            {
                let engine = self.members[index].name.clone();
                let because = states[index].because.clone();
                return Err(Refusal::Resting { engine, passes_in, because });
            }
            let free = awake
                .into_iter()
                .filter(|(_, _, slots, running)| slots.is_none_or(|slots| *running < slots.max(1)));
            // In parts of a million, so that shares of different engines compare.
            let share = |slots: Option<usize>, running: usize| {
                slots.map_or(0, |slots| running.saturating_mul(1_000_000) / slots.max(1))
            };
            if let Some((_, index, ..)) = free.min_by_key(|(doubt, _, slots, running)| {
                (*doubt, share(*slots, *running), *running)
            }) {
                states[index].running += 1;
                return Ok(Lease { pool: self, index, since: now });
            }
            let waited = self.changed.wait_timeout(states, GLANCE);
            states = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes a success of an engine, or a fault of a run that began at `since`, and gives back
    /// what is to be said of it.
    fn note(&self, index: usize, since: Instant, end: End) -> Option<String> {
        let name = &self.members[index].name;
        let now = (self.now)();
        let state = &mut self.states()[index];
        let End::Fault(because) = end else {
            state.faults = 0;
            return state.rest.take().map(|_| format!("the container engine `{name}` is back"));
        };
        state.because = because;
        // Runs that began before the rest, or before the last fault, tell of what is known already:
        // an engine that is restarted fails all of its runs at once.
        let known = state.rest.is_some_and(|(began, _)| since < began)
            || state.last_fault.is_some_and(|last| since < last);
        state.last_fault = Some(now);
        if known {
            return None;
        }
        state.faults = state.faults.saturating_add(1);
        if state.faults < FAULTS {
            return None;
        }
        let length = state.rest.map_or(REST, |(_, last)| LONGEST.min(last * 2));
        state.rest = Some((now, length));
        Some(format!(
            "the container engine `{name}` failed {} times in a row and is left alone for {} s: {}",
            state.faults,
            seconds(length),
            state.because,
        ))
    }

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        // Nothing that can panic leaves a state half changed.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a run ended, as far as its engine goes.
enum End {
    Success,
    Fault(String),
}

/// A place on an engine, given back when dropped.
pub struct Lease<'a, E> {
    pool: &'a Pool<E>,
    index: usize,
    since: Instant,
}

impl<'a, E> Lease<'a, E> {
    /// The engine.
    pub fn member(&self) -> &'a Member<E> {
        &self.pool.members[self.index]
    }

    /// Tells that the engine did its part, whatever became of the command.
    pub fn succeeded(self) {
        self.end(End::Success);
    }

    /// Tells that the engine did not do its part. A lease that is only dropped tells nothing: its
    /// run was cancelled, or wrong itself.
    pub fn failed(self, because: impl fmt::Display) {
        self.end(End::Fault(because.to_string()));
    }

    fn end(self, end: End) {
        let said = self.pool.note(self.index, self.since, end);
        if let Some(sentence) = said {
            (self.pool.notice)(&sentence);
        }
    }
}

impl<E> Drop for Lease<'_, E> {
    fn drop(&mut self) {
        self.pool.states()[self.index].running -= 1;
        self.pool.changed.notify_all();
    }
}

/// Whole seconds, rounded up.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
