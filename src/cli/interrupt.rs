//! Interrupts: the first one asks to stop, the second one stops.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::failure::{Failure, Kind};

/// How soon the program is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// When it is done.
    None,
    /// As soon as it can end well.
    Soon,
    /// Now.
    Now,
}

/// The flag that the first interrupt sets, once somebody asked for it. Signals come to the
/// process, so there is one.
static CANCEL: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// Whether there was a second one.
static NOW: AtomicBool = AtomicBool::new(false);

/// How many displays say themselves what is happening.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// How long a display may take to put the terminal in order. It may be unable to write.
const ORDER: Duration = Duration::from_millis(500);

/// A flag that the first interrupt sets. The second one ends the program at once, with exit code
/// 130; a display that [`Shows`] interrupts may first leave the terminal as it should be.
pub fn cancel_on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let mut there = CANCEL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cancel) = &*there {
        return Ok(Arc::clone(cancel));
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::error(Kind::Machine, "signals", &error))?;
    let cancel = Arc::new(AtomicBool::new(false));
    *there = Some(Arc::clone(&cancel));
    let heard = Arc::clone(&cancel);
    std::thread::spawn(move || {
        for _ in signals.forever() {
            hear(&heard);
        }
    });
    Ok(cancel)
}

/// How soon the program is to end.
pub fn urgency() -> Urgency {
    if NOW.load(Ordering::Relaxed) {
        return Urgency::Now;
    }
    let cancel = CANCEL.lock().unwrap_or_else(PoisonError::into_inner);
    match &*cancel {
        Some(cancel) if cancel.load(Ordering::Relaxed) => Urgency::Soon,
        _ => Urgency::None,
    }
}

/// Ends the program as the second interrupt does.
pub fn leave() -> ! {
    signal_hook::low_level::exit(130)
}

/// A display that says itself what an interrupt leads to, and asks for [`urgency`] often.
pub struct Shows(());

impl Shows {
    /// From now on, until it is dropped.
    pub fn begin() -> Self {
        SHOWN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Shows {
    fn drop(&mut self) {
        SHOWN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hear(cancel: &AtomicBool) {
    let shown = SHOWN.load(Ordering::Relaxed) > 0;
    if !cancel.swap(true, Ordering::Relaxed) {
        if !shown {
            let _ = std::io::stderr().write_all(b"stopping; again to stop now\n");
        }
        return;
    }
    NOW.store(true, Ordering::Relaxed);
    if shown {
        // The display leaves.
        std::thread::sleep(ORDER);
    }
    leave();
}
