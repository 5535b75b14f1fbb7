//! What a build tells while it goes on. Progress bars, plain lines and JSON are only readers.

use std::time::Duration;

use super::cause::{Cause, Kind};
use crate::base::{ActionId, Digest, PackageName};

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
    /// The machine failed it, and it is tried again after a while.
    Retry {
        /// Which package.
        package: PackageName,
        /// What failed.
        cause: String,
        /// How long it waits.
        wait: Duration,
        /// How many tries failed.
        failed: u32,
        /// How many there will be at most.
        most: u32,
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
    /// What kind of failure it is.
    pub kind: Kind,
    /// What went wrong, in one line.
    pub cause: String,
    /// The name that this failure has in whatever package it is met.
    pub fingerprint: Digest,
    /// Why that was, the nearest reason first.
    pub reasons: Vec<String>,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// The last lines of the build's log.
    pub tail: Vec<String>,
    /// The number of the attempt among those at this package, if one was begun.
    pub attempt: Option<u64>,
    /// Whether its sandbox was kept.
    pub kept: Kept,
    /// Whether trying again a little later may help.
    pub may_pass: bool,
}

/// Whether the sandbox of a failed build was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// There is nothing to keep: nothing was run, or it was called off.
    Nothing,
    /// It was, so that `shell` can enter it.
    Capsule {
        /// Older ones that had to make room.
        removed: Vec<String>,
    },
    /// It was not, for this reason.
    Not(String),
}

impl Failure {
    /// A failure of `package` with this cause, and nothing else that is known of it.
    pub fn new(fault: Fault, package: &PackageName, cause: Cause) -> Self {
        let fingerprint = cause.fingerprint(package);
        let Cause { kind, text } = cause;
        Self {
            fault,
            kind,
            cause: text,
            fingerprint,
            reasons: Vec::new(),
            hint: None,
            tail: Vec::new(),
            attempt: None,
            kept: Kept::Nothing,
            may_pass: false,
        }
    }

    /// The kind and the cause in one line.
    pub fn line(&self) -> String {
        Cause::new(self.kind, self.cause.clone()).line()
    }
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
