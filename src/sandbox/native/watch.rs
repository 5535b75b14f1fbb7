//! Watching what a guest uses: scratch always, memory where no control group does.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::cgroup::Hold;
use super::disk::Count;
use super::memory;
use super::wire::{End, Order, Stop};

/// How often a guest is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks there are at least this many times the time a look takes.
const SHARE: u32 = 20;

/// The longest time between two looks.
const LONGEST: Duration = Duration::from_millis(900);

/// Less than this much free counts as full.
const FULL_BYTES: u64 = 64 << 10;

/// Fewer free files than this count as full.
const FULL_FILES: u64 = 4;

/// What a build on disk must leave free of the file system it shares with others.
const LEFT_BYTES: u64 = 256 << 20;

/// Descriptors are looked through once in so many looks.
const SELDOM: u64 = 16;

/// The state of the watch.
pub struct Watch {
    scratch: OwnedFd,
    disk: Option<Count>,
    group: Option<Hold>,
    allowed: u64,
    space: u64,
    files: u64,
    largest: u64,
    held: u64,
    full: bool,
    looks: u64,
    took: Duration,
}

impl Watch {
    /// A watch over the guest of this order, from within its mount namespace.
    pub fn new(order: &Order, scratch: OwnedFd, group: Option<Hold>) -> Self {
        Self {
            scratch,
            disk: order.disk.as_ref().map(|_| Count::default()),
            group,
            allowed: order.memory,
            space: order.scratch,
            files: order.inodes,
            largest: 0,
            held: 0,
            full: false,
            looks: 0,
            took: Duration::ZERO,
        }
    }

    /// How long to wait until the next look.
    pub fn pause(&self) -> Duration {
        PAUSE.max(self.took * SHARE).min(LONGEST)
    }

    /// Looks once, and says whether the guest must end.
    pub fn look(&mut self) -> Option<Stop> {
        let begun = Instant::now();
        let stop = self.look_at_scratch().or_else(|| self.look_at_memory());
        self.looks += 1;
        self.took = begun.elapsed();
        stop
    }

    /// What was seen, as the frame of a report.
    pub fn end(self) -> End {
        let group = self.group.as_ref();
        End {
            command: None,
            stopped: None,
            full: self.full,
            group: group.map(Hold::version),
            out_of_memory: group.is_some_and(Hold::ran_out),
            cpu: Duration::ZERO,
            memory: group.map_or(Some(self.largest), Hold::largest),
            kept: None,
        }
    }

    fn look_at_scratch(&mut self) -> Option<Stop> {
        let (used, free, free_files) = self.scratch_space()?;
        let Some(count) = &mut self.disk else {
            // The kernel itself holds a file system in memory to its size.
            self.full |= free < FULL_BYTES || free_files < FULL_FILES;
            self.largest = self.largest.max(used);
            return None;
        };
        let over = count
            .step(&self.scratch)
            .is_some_and(|taken| taken.bytes > self.space || taken.files > self.files);
        (over || free < LEFT_BYTES).then_some(Stop::Space)
    }

    fn look_at_memory(&mut self) -> Option<Stop> {
        if self.group.is_some() {
            return None;
        }
        if self.looks.is_multiple_of(SELDOM) {
            self.held = memory::held();
        }
        let scratch = match self.disk {
            Some(_) => 0,
            None => self.scratch_space().map_or(0, |(used, ..)| used),
        };
        let mut used = scratch + memory::at_most() + self.held;
        if used > self.allowed {
            used = scratch + memory::exactly().max(self.held);
        }
        self.largest = self.largest.max(used);
        (used > self.allowed).then_some(Stop::Memory)
    }

    /// Bytes used and free, and files free.
    fn scratch_space(&self) -> Option<(u64, u64, u64)> {
        let space = rustix::fs::fstatvfs(&self.scratch).ok()?;
        let free = space.f_bfree * space.f_frsize;
        Some(((space.f_blocks * space.f_frsize).saturating_sub(free), free, space.f_ffree))
    }
}
