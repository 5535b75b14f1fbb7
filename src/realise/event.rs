//! What a build tells while it goes on. Progress bars, plain lines and JSON are only readers.

use std::time::Duration;

use crate::base::{ActionId, PackageName};

/// Something that happened to one package, or to the build.
#[derive(Debug, Clone)]
pub enum Event {
    /// The build begins.
    Planned {
        /// How many packages are wanted.
        packages: usize,
    },
    /// The outlook changed.
    Remaining {
        /// About how long the rest takes; none if too little of it was ever built before.
        time: Option<Duration>,
    },
    /// A package is being worked on.
    Started {
        /// Which.
        package: PackageName,
        /// Its version.
        version: String,
    },
    /// It entered a phase, or got further in it.
    Phase {
        /// Which package.
        package: PackageName,
        /// The phase.
        phase: Phase,
    },
    /// Its build printed a line.
    Line {
        /// Which package.
        package: PackageName,
        /// The line, control characters removed, at most 200 characters.
        text: String,
    },
    /// It is done with.
    Finished {
        /// Which package.
        package: PackageName,
        /// Its version.
        version: String,
        /// How it ended.
        result: Finished,
        /// How long it was worked on.
        elapsed: Duration,
    },
}

/// What a package is waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Its build root's packages are being chosen.
    Solve,
    /// Files are being fetched.
    Fetch {
        /// How many are there.
        done: usize,
        /// How many are needed.
        total: usize,
    },
    /// Another process or build is making what it needs.
    Wait,
    /// Its build root is being made.
    Root {
        /// What is being done: `unpack`, `configure`, …
        step: &'static str,
        /// Packages done.
        done: usize,
        /// Packages in all.
        total: usize,
    },
    /// Its commands run.
    Build,
    /// Its outputs are being stored.
    Keep,
}

/// How a package ended.
#[derive(Debug, Clone)]
pub enum Finished {
    /// It was built.
    Built {
        /// The action it was.
        action: ActionId,
    },
    /// A record of the same action was there.
    Cached {
        /// The action it was.
        action: ActionId,
    },
    /// It failed.
    Failed(Box<Failure>),
    /// Something it needs failed.
    Skipped {
        /// The package that failed first; none if everything was called off.
        because: Option<PackageName>,
    },
}

/// Why a package could not be had.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// What went wrong, in one line.
    pub cause: String,
    /// Why that was, the nearest reason first.
    pub reasons: Vec<String>,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// The last lines of the build's log.
    pub tail: Vec<String>,
}

/// Whose fault a failure is: it decides the exit code and whether trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The package's: it fails again.
    Package,
    /// The user's input: dependencies that cannot be had.
    Input,
    /// The machine's: no space, no network, no isolation.
    Machine,
    /// Nobody's: the build was told to stop.
    Cancelled,
}
