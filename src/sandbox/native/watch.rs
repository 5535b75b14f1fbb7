//! Watching what a guest uses: memory without a control group, and scratch.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::system;
use super::wire::{End, Order, Stop};

/// How often a guest is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Looking may take this share of the time at most.
const SHARE: u32 = 20;

/// Less than this much free counts as full.
const FULL_BYTES: u64 = 64 << 10;

/// Fewer free files than this count as full.
const FULL_FILES: u64 = 4;

/// The state of the watch.
pub struct Watch {
    scratch: OwnedFd,
    in_memory: bool,
    allowed: u64,
    page: u64,
    largest: u64,
    full: bool,
    took: Duration,
}

impl Watch {
    /// A watch over the guest of this order, from within its mount namespace.
    pub fn new(order: &Order, scratch: OwnedFd) -> Self {
        Self {
            scratch,
            in_memory: order.disk.is_none(),
            allowed: order.memory,
            page: system::page_size(),
            largest: 0,
            full: false,
            took: Duration::ZERO,
        }
    }

    /// How long to wait until the next look.
    pub fn pause(&self) -> Duration {
        PAUSE.max(self.took * SHARE).min(Duration::from_millis(900))
    }

    /// Looks once, and says whether the guest must end.
    pub fn look(&mut self) -> Option<Stop> {
        let begun = Instant::now();
        let scratch = if self.in_memory { self.scratch_used() } else { 0 };
        let memory = scratch + processes_memory(self.page);
        self.largest = self.largest.max(memory);
        self.took = begun.elapsed();
        (memory > self.allowed).then_some(Stop::Memory)
    }

    /// What was seen, as the frame of a report.
    pub fn end(self) -> End {
        End {
            command: None,
            stopped: None,
            full: self.full,
            out_of_memory: false,
            cpu: Duration::ZERO,
            memory: Some(self.largest),
        }
    }

    fn scratch_used(&mut self) -> u64 {
        let Ok(space) = rustix::fs::fstatvfs(&self.scratch) else { return 0 };
        let free = space.f_bfree * space.f_frsize;
        self.full |= free < FULL_BYTES || space.f_ffree < FULL_FILES;
        (space.f_blocks * space.f_frsize).saturating_sub(free)
    }
}

/// Memory of all processes of the guest that is not backed by a file.
///
/// `/proc` here is the guest's own, as this process shares its mounts.
fn processes_memory(page: u64) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let names = processes.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|name| {
            let text = fs::read_to_string(format!("/proc/{}/statm", name.display())).ok()?;
            let mut numbers = text.split(' ').filter_map(|word| word.parse::<u64>().ok());
            let resident = numbers.nth(1)?;
            let shared = numbers.next()?;
            Some(resident.saturating_sub(shared) * page)
        })
        .sum()
}
