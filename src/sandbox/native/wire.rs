//! What the calling program and the sandbox's own process say to each other.
//!
//! The order is JSON in a memory file (standard input). Afterwards each side sends packets over
//! a socket: reports as JSON, one of them with a descriptor, and single bytes the other way.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::cgroup::Group;
use super::places::Version;
use super::session::{self, Session};
use crate::sandbox::doctor::Aspect;
use crate::sandbox::{Access, Guise, Keeping, Observe, Request, Scratch, Stage};

/// Asks for the end of everything in the sandbox.
pub const KILL: u8 = b'k';
/// Asks for the same, and that nothing be kept of it.
pub const DROP: u8 = b'd';
/// Asks for the next collected file.
pub const NEXT: u8 = b'n';

/// The largest packet.
const PACKET: usize = 64 << 10;

/// A request in the form that crosses over.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub layers: Vec<PathBuf>,
    pub mounts: Vec<Bind>,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    /// Upper and work folder; none while a package is built.
    pub configure: Option<(PathBuf, PathBuf)>,
    /// Upper and work folder of an experiment.
    pub over: Option<(PathBuf, PathBuf)>,
    /// Whether overlays were tried on that file system before.
    pub tried: bool,
    pub memory: u64,
    pub processes: u32,
    pub scratch: u64,
    pub inodes: u64,
    pub cores: Vec<u32>,
    pub disk: Option<PathBuf>,
    pub collect: Option<(String, Vec<String>)>,
    pub keep: Option<KeepOrder>,
    pub guise: Guise,
    /// Whether to note which files of the layers are opened.
    pub observe: bool,
    /// Whether somebody is at the command.
    pub session: Option<Session>,
    /// The unprivileged host id to become, for the initial namespace's root.
    pub become_id: Option<u32>,
    /// A control group made for this run.
    pub group: Option<Group>,
    /// Whether nothing may run outside of that group.
    pub strict: bool,
}

/// Where scratch is kept, and how much of it.
#[derive(Serialize, Deserialize)]
pub struct KeepOrder {
    pub to: PathBuf,
    pub bytes: u64,
    pub files: u64,
}

/// One mount of a request.
#[derive(Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: String,
    pub writable: bool,
}

impl Order {
    /// The order for a request.
    pub fn new(request: &Request, become_id: Option<u32>) -> Self {
        let Request {
            layers,
            mounts,
            argv,
            env,
            cwd,
            stage,
            limits,
            scratch,
            collect,
            keep,
            guise,
            observe,
        } = request;
        let path = |path: &crate::base::HostPath| path.as_path().to_owned();
        Self {
            layers: layers.iter().map(path).collect(),
            mounts: mounts
                .iter()
                .map(|mount| Bind {
                    source: path(&mount.source),
                    target: mount.target.to_string(),
                    writable: mount.access == Access::Writable,
                })
                .collect(),
            argv: argv.clone(),
            env: env.clone(),
            cwd: cwd.to_string(),
            configure: match stage {
                Stage::Configure { upper, work } => Some((path(upper), path(work))),
                Stage::Build | Stage::Experiment { .. } => None,
            },
            over: match stage {
                Stage::Experiment { upper, work } => Some((path(upper), path(work))),
                Stage::Build | Stage::Configure { .. } => None,
            },
            tried: false,
            memory: limits.memory,
            processes: limits.processes,
            scratch: limits.scratch,
            inodes: limits.inodes,
            cores: limits.cores.clone(),
            disk: match scratch {
                Scratch::Memory => None,
                Scratch::Disk(folder) => Some(path(folder)),
            },
            collect: collect
                .as_ref()
                .map(|collect| (collect.from.to_string(), collect.patterns.clone())),
            keep: keep.as_ref().map(|keep| KeepOrder {
                to: path(&keep.to),
                bytes: keep.bytes,
                files: keep.files,
            }),
            guise: guise.clone(),
            observe: *observe == Observe::Opens,
            session: None,
            become_id,
            group: None,
            strict: false,
        }
    }

    /// The id that the guest sees itself as.
    pub fn guest_id(&self) -> u32 {
        if self.configure.is_some() { 0 } else { 1000 }
    }
}

/// Something that the sandbox could not do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What part of the isolation fails with it; none for any other operation.
    pub aspect: Option<Aspect>,
    /// What was tried, on what.
    pub operation: String,
    /// What the kernel answered.
    pub errno: i32,
}

/// The result of a step of the sandbox.
pub type Tried<T> = Result<T, Fault>;

/// Turns the system's answer into a fault that says what was tried.
pub trait Explain<T> {
    /// For a step that the isolation rests on.
    fn isolating(self, aspect: Aspect, operation: impl FnOnce() -> String) -> Tried<T>;
    /// For any other step.
    fn trying(self, operation: impl FnOnce() -> String) -> Tried<T>;
}

impl<T, E: Into<io::Error>> Explain<T> for Result<T, E> {
    fn isolating(self, aspect: Aspect, operation: impl FnOnce() -> String) -> Tried<T> {
        self.map_err(|error| fault(Some(aspect), operation(), error.into()))
    }

    fn trying(self, operation: impl FnOnce() -> String) -> Tried<T> {
        self.map_err(|error| fault(None, operation(), error.into()))
    }
}

fn fault(aspect: Option<Aspect>, operation: String, error: io::Error) -> Fault {
    Fault { aspect, operation, errno: error.raw_os_error().unwrap_or(libc::EIO) }
}

/// What the sandbox reports.
#[derive(Serialize, Deserialize)]
pub enum Report {
    /// It cannot be set up; nothing was run.
    Fault(Fault),
    /// The program of the command could not be executed, with the kernel's answer.
    NoCommand(i32),
    /// An end of the streams of a session, which comes along.
    Stream(session::End),
    /// A collected file, whose descriptor comes along. Waits for [`NEXT`].
    File { name: String },
    /// The files of the layers that were opened, whose paths come along; and whether they are all.
    Opened { whole: bool },
    /// Everything in it is dead, and nothing more will come.
    Done(End),
}

/// The end of a run.
#[derive(Serialize, Deserialize)]
pub struct End {
    /// Exit code or signal of the command; none if it was killed before it ended.
    pub command: Option<Result<i32, i32>>,
    /// Why the sandbox itself ended it.
    pub stopped: Option<Stop>,
    /// Whether scratch was seen full.
    pub full: bool,
    /// The control group that was in force.
    pub group: Option<Version>,
    /// Whether the kernel killed a process for want of memory.
    pub out_of_memory: bool,
    /// Processor time of all processes.
    pub cpu: Duration,
    /// Largest use of memory seen.
    pub memory: Option<u64>,
    /// What was kept of scratch.
    pub kept: Option<Keeping>,
}

/// Why the sandbox ended a command by itself.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Too much memory.
    Memory,
    /// Too much scratch on disk.
    Space,
}

/// Sends a report.
pub fn send(
    socket: impl AsFd,
    report: &Report,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let text = serde_json::to_vec(report)?;
    let descriptors = descriptor.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A packet as it came.
pub enum Packet {
    /// A report, and the descriptor that came with it.
    Report(Report, Option<OwnedFd>),
    /// Something else: the last words of a process that panics.
    Words(String),
    /// The other side is gone.
    End,
}

/// Receives a packet.
pub fn receive(socket: impl AsFd) -> io::Result<Packet> {
    let mut text = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if message.bytes == 0 {
        return Ok(Packet::End);
    }
    let text = &text[..message.bytes];
    Ok(match serde_json::from_slice(text) {
        Ok(report) => Packet::Report(report, descriptor),
        Err(_) => Packet::Words(String::from_utf8_lossy(text).into_owned()),
    })
}
