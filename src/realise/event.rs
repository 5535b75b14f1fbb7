//! What a build tells while it goes on. Progress bars, plain lines and JSON are only readers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cause::{Cause, Kind};
use crate::base::{ActionId, DerivationId, Digest, PackageName};

/// The package that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What tells it from every other: two releases may have packages of one name.
    pub id: DerivationId,
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// What tells people which one it is, where others of the run have its name: its release, its
    /// architecture.
    pub of: Vec<String>,
}

/// The name, and which one of several it is: `greet`, `greet (b, i386)`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of.as_slice() {
            [] => write!(f, "{}", self.name),
            of => write!(f, "{} ({})", self.name, of.join(", ")),
        }
    }
}

impl Subject {
    /// The same with its version.
    pub fn title(&self) -> String {
        match self.of.as_slice() {
            [] => format!("{} {}", self.name, self.version),
            of => format!("{} {} ({})", self.name, self.version, of.join(", ")),
        }
    }
}

/// A package that is wanted, or needed by one.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Which.
    pub package: Arc<Subject>,
    /// What must be there before it begins.
    pub needs: Vec<DerivationId>,
}

/// Something that happened to one package, or to the build.
#[derive(Debug, Clone)]
pub enum Event {
    /// The build begins.
    Planned {
        /// What is wanted and what that needs.
        packages: Vec<Planned>,
    },
    /// The outlook changed.
    Remaining {
        /// About how long the rest takes; none if too little of it was ever built before.
        time: Option<Duration>,
    },
    /// A package is being worked on.
    Started {
        /// Which.
        package: Arc<Subject>,
    },
    /// It entered a phase, or got further in it.
    Phase {
        /// Which package.
        package: Arc<Subject>,
        /// The phase.
        phase: Phase,
    },
    /// Its build printed a line.
    Line {
        /// Which package.
        package: Arc<Subject>,
        /// The line, control characters removed, at most 200 characters.
        text: String,
    },
    /// The machine failed it, and it is tried again after a while.
    Retry {
        /// Which package.
        package: Arc<Subject>,
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
        package: Arc<Subject>,
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
