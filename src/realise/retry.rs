//! Trying again after a fault of the machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a fault of the machine is met with another try, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How many more times.
    pub times: u32,
    /// The wait before the first of them; each further one is four times as long.
    pub first: Duration,
}

/// Growth of the wait from one try to the next.
const GROWTH: u32 = 4;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);

/// How often a wait looks whether it was called off.
const SLICE: Duration = Duration::from_millis(50);

impl Default for Retries {
    fn default() -> Self {
        Self { times: 2, first: Duration::from_secs(1) }
    }
}

impl Retries {
    /// How long to wait before the next try, after so many that failed; none if that was enough.
    pub fn next(&self, failed: u32) -> Option<Duration> {
        let again = failed.checked_sub(1).filter(|again| *again < self.times)?;
        let factor = GROWTH.saturating_pow(again);
        Some(self.first.saturating_mul(factor).min(LONGEST))
    }
}

/// Waits, and says whether it was not called off meanwhile.
pub fn wait(duration: Duration, cancel: &AtomicBool) -> bool {
    let until = Instant::now() + duration;
    while !cancel.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(SLICE));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_and_the_tries_end() {
        let retries = Retries { times: 3, first: Duration::from_secs(2) };
        let waits: Vec<_> =
            (1..6).map(|failed| retries.next(failed).map(|it| it.as_secs())).collect();
        assert_eq!(waits, [Some(2), Some(8), Some(32), None, None]);
        assert_eq!(Retries { times: 0, ..retries }.next(1), None);
        let far = Retries { times: 100, ..retries }.next(90);
        assert_eq!(far, Some(LONGEST));
    }

    #[test]
    fn a_wait_that_is_called_off_ends_at_once() {
        assert!(!wait(Duration::from_secs(3600), &AtomicBool::new(true)));
        assert!(wait(Duration::ZERO, &AtomicBool::new(false)));
    }
}
