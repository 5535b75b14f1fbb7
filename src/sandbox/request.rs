//! The contract between who wants something built and who runs it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Guise;
use crate::base::{GuestPath, HostPath};

/// One command and the whole world it may see. Nothing in it names a package, a store or a
/// release: an executor needs no knowledge of them.
#[derive(Debug, Clone)]
pub struct Request {
    /// Root file system: read-only trees, the lowest first.
    pub layers: Vec<HostPath>,
    /// Files and folders bound into it, parents before children.
    pub mounts: Vec<Mount>,
    /// The command; its first word is an absolute guest path.
    pub argv: Vec<String>,
    /// The whole environment besides what the guest contract fixes.
    pub env: BTreeMap<String, String>,
    /// Working folder; made if it is not there and lies on scratch.
    pub cwd: GuestPath,
    /// Which of the two guests of the contract.
    pub stage: Stage,
    /// What it may use.
    pub limits: Limits,
    /// Where a build's writable folders live.
    pub scratch: Scratch,
    /// Files to bring out afterwards.
    pub collect: Option<Collect>,
    /// Where to keep what is left on scratch if it does not succeed.
    pub keep: Option<Keep>,
    /// What it is told of itself.
    pub guise: Guise,
    /// What to note of what it does.
    pub observe: Observe,
}

/// What is noted of what a command does. It cannot tell, and nothing about it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Observe {
    /// Nothing.
    #[default]
    Nothing,
    /// Which files of the layers it and what it starts open; in folders that are there when it
    /// begins, as all are that a build can see.
    Opens,
}

/// Which files of the layers a command opened: to read, execute or map them, whatever way led
/// there. Files that it only looked at, links and folders are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Guest paths, sorted, without a link in them.
    pub files: Vec<String>,
    /// Whether these are all: a command can open files faster than can be noted.
    pub whole: bool,
}

/// Keeping what a command that failed leaves on scratch.
#[derive(Debug, Clone)]
pub struct Keep {
    /// An existing empty host folder; what is put there can be the [`Scratch::Disk`] of a later
    /// request, which then finds everything as it was. On the file system of the scratch that is
    /// on disk.
    pub to: HostPath,
    /// At most so many bytes; of more, nothing is kept.
    pub bytes: u64,
    /// At most so many files and folders.
    pub files: u64,
}

/// What came of [`Keep`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeping {
    /// Everything is there but sockets.
    Kept {
        /// How much room it takes.
        bytes: u64,
        /// How many files and folders it has.
        files: u64,
    },
    /// It would be more than was allowed.
    TooLarge,
    /// Somebody asked to stop meanwhile.
    CalledOff,
    /// It could not be copied, for this reason.
    Failed(String),
}

/// A host file or folder at a place of the guest.
#[derive(Debug, Clone)]
pub struct Mount {
    /// On the host; of the store.
    pub source: HostPath,
    /// In the guest; made where the executor owns the place (below `/build`, `/run`, `/tmp`).
    pub target: GuestPath,
    /// Whether the guest may write.
    pub access: Access,
}

/// Whether a mount may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Read and written.
    Writable,
}

/// The two guests of the contract.
#[derive(Debug, Clone)]
pub enum Stage {
    /// Packages are being configured: uid 0, and everything written to the root lands in
    /// `upper`, an empty folder that becomes a layer (whiteouts and opaque folders as overlay
    /// `user.overlay.*` attributes).
    Configure {
        /// The future layer.
        upper: HostPath,
        /// An empty folder beside `upper`, for overlayfs itself. The folder that both lie in
        /// is given to `native::owner()` too when root runs this.
        work: HostPath,
    },
    /// A package is being built: uid 1000, the root read-only, scratch on `/build`, `/tmp`,
    /// `/var/tmp`, `/run` and `/dev/shm`.
    Build,
    /// The same with a root that can be written: an overlay over the layers holds what is, for
    /// experiments. No build is run like this.
    Experiment {
        /// What was written: empty at first, then as an earlier request left it.
        upper: HostPath,
        /// An empty folder beside `upper`, for overlayfs itself.
        work: HostPath,
    },
}

/// What a command may use at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time in all.
    pub wall: Duration,
    /// Time without a byte of output.
    pub silence: Duration,
    /// Bytes of memory, scratch in memory included.
    pub memory: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Bytes of scratch.
    pub scratch: u64,
    /// Files on scratch.
    pub inodes: u64,
    /// Bytes of output that are kept; a command that prints more is stopped.
    pub output: u64,
    /// Processors it may run on, by number; empty means all.
    pub cores: Vec<u32>,
}

/// What must hold a command to its memory and its number of processes: a demand of whoever runs
/// the machine, not of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// The best that can be had: a control group, or else a supervisor.
    #[default]
    Best,
    /// A control group; where none can be had, nothing is run.
    ControlGroup,
}

/// Where a build's writable folders live.
#[derive(Debug, Clone)]
pub enum Scratch {
    /// In memory (tmpfs).
    Memory,
    /// In this folder of the host: empty, or as an earlier request left it.
    Disk(HostPath),
}

/// Files that are copied out of the guest once all its processes are gone, whatever the verdict.
/// Only plain files are taken, never through a link.
#[derive(Debug, Clone)]
pub struct Collect {
    /// The guest folder they lie in (not below it).
    pub from: GuestPath,
    /// File name patterns: `*` and `?` as in the shell.
    pub patterns: Vec<String>,
    /// An existing empty host folder they are copied to.
    pub to: HostPath,
}

/// How a command ended, and what it took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// What it used.
    pub usage: Usage,
    /// The isolation that was in force.
    pub receipt: Receipt,
    /// Names of the files collected, sorted.
    pub collected: Vec<String>,
    /// What was kept of scratch; none if it was not asked for, or there was no reason.
    pub kept: Option<Keeping>,
    /// What it opened, where that was asked for.
    pub observed: Option<Observed>,
}

/// How a command ended. A failed build is one of these, never an `Err`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It exited with 0.
    Built,
    /// It exited with this code.
    Failed(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It took longer than [`Limits::wall`].
    TimedOut,
    /// It was silent for longer than [`Limits::silence`].
    Silent,
    /// It needed more than [`Limits::memory`].
    OutOfMemory,
    /// Its scratch was full when it failed.
    OutOfSpace,
    /// It printed more than [`Limits::output`].
    OutOfOutput,
    /// We were told to stop.
    Cancelled,
}

/// What a command used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// From the start of the sandbox to the end of its last process.
    pub wall: Duration,
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// Largest memory use seen, in bytes, where the mechanism tells.
    pub memory: Option<u64>,
}

/// The isolation that was really in force: short facts by name, such as `namespaces`,
/// `seccomp`, `limits`, `executor`. It goes into the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt(pub BTreeMap<String, String>);

/// Why a command could not be run as asked: always the machine's fault, never the package's.
pub type Result<T, E = super::Error> = std::result::Result<T, E>;

/// Something that can run a [`Request`].
pub trait Executor: Send + Sync {
    /// Runs the command to its end. Its output (both streams, in order) goes to `log` as it
    /// comes and is drained to the end. Sets nothing up halfway: if any part of the isolation
    /// cannot be had, nothing runs. When `cancel` becomes true, every process is killed within
    /// a second.
    fn run(&self, request: &Request, log: &mut dyn Write, cancel: &AtomicBool) -> Result<Outcome>;
}
