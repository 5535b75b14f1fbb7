//! The calling program's side of a run: start, log, time, and the verdict.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, MemfdFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::cgroup::Group;
use super::namespace::{self, Caller};
use super::places::Version;
use super::session::{Carried, Session};
use super::story::Story;
use super::wire::{self, End, Fault, Order, Packet, Report};
use super::{ARGUMENT, cgroup, collect, observe};
use crate::base::HostPath;
use crate::sandbox::{
    Enforcement, Error, Guise, Outcome, Receipt, Request, Result, Stage, Usage, Verdict, contract,
    doctor,
};

/// How often it is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a sandbox may take to end everything once it was told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a request to its end.
pub fn run(
    program: &HostPath,
    enforcement: Enforcement,
    request: &Request,
    session: Option<Session>,
    log: &mut dyn Write,
    cancel: &AtomicBool,
) -> Result<Outcome> {
    let begun = Instant::now();
    let become_id = match namespace::caller() {
        Caller::Root => Some(namespace::UNPRIVILEGED),
        Caller::Ordinary(..) => None,
        Caller::HostRoot => return Err(root_of_the_host()),
    };
    let mut order = order(request, become_id)?;
    let file_system = match &request.stage {
        Stage::Configure { upper, .. } => fs::metadata(upper).map(|upper| upper.dev()).ok(),
        Stage::Build | Stage::Experiment { .. } => None,
    };
    order.session = session;
    order.tried = file_system.is_some_and(|device| tried().contains(&device));
    let group = match (Group::make(order.memory, order.processes), enforcement) {
        (Err(missing), Enforcement::ControlGroup) => return Err(super::no_group(missing)),
        (group, _) => Grouped(group.ok()),
    };
    order.group = group.0.clone();
    order.strict = enforcement == Enforcement::ControlGroup;
    let sandbox = Sandbox::start(program, &order)?;
    let mut story = Story::new(&request.limits, begun);
    let mut carried = Carried::default();
    let followed = sandbox.line.follow(&mut story, request, &mut carried, log, cancel);
    drop(sandbox);
    drop(carried);
    drop(group);
    open_work(request);
    followed?;
    let end = story.end.take().ok_or_else(|| Error::Lost(story.last_words()))?;
    let outcome = outcome(&order, story, end)?;
    tried().extend(file_system);
    Ok(outcome)
}

/// What came of a run that ended like this. Fails if nobody who may ended it.
pub fn outcome(order: &Order, story: Story<'_>, end: End) -> Result<Outcome> {
    let usage = Usage { wall: story.begun.elapsed(), cpu: end.cpu, memory: end.memory };
    let Some(verdict) = story.verdict(&end) else {
        return Err(Error::Lost(": something outside killed its first process".to_owned()));
    };
    let receipt = receipt(order, end.group);
    Ok(Outcome {
        verdict,
        usage,
        receipt,
        collected: story.collected,
        kept: end.kept,
        observed: story.observed,
    })
}

/// What a run came to that was killed with everything in it, without a report, for want of memory.
pub fn killed(order: &Order, story: Story<'_>) -> Outcome {
    Outcome {
        verdict: Verdict::OutOfMemory,
        usage: Usage { wall: story.begun.elapsed(), ..Usage::default() },
        receipt: receipt(order, None),
        collected: story.collected,
        kept: None,
        observed: None,
    }
}

/// File systems that an overlay was tried on with success.
fn tried() -> MutexGuard<'static, BTreeSet<u64>> {
    static TRIED: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    TRIED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn root_of_the_host() -> Error {
    Error::Request(
        "this user namespace's root is the host's root, and nothing may run as that; run as an \
         ordinary user, or as root outside the namespace"
            .into(),
    )
}

/// The order for a request, which must not contradict the contract or itself.
pub fn order(request: &Request, become_id: Option<u32>) -> Result<Order> {
    if request.layers.is_empty() {
        return Err(Error::Request("it has no layer to run on".into()));
    }
    if !request.argv.first().is_some_and(|program| program.starts_with('/')) {
        return Err(Error::Request("its command has no absolute path".into()));
    }
    let fixed = contract::environment(&request.stage).into_iter();
    let other = |(name, value): &(&str, &str)| request.env.get(*name).is_some_and(|v| v != value);
    if let Some((name, _)) = fixed.clone().find(other) {
        return Err(Error::Request(format!("the guest contract alone sets `{name}`")));
    }
    if !request.guise.is_plain() {
        return Err(Error::Request("its guise has a name that is none".into()));
    }
    let Guise { locale, time_zone, .. } = &request.guise;
    let told = |(name, value): (&str, &str)| {
        let value = match name {
            "LC_ALL" => locale,
            "TZ" => time_zone,
            _ => value,
        };
        (name.to_owned(), value.to_owned())
    };
    let mut order = Order::new(request, become_id);
    order.env.extend(fixed.map(told));
    Ok(order)
}

/// Overlayfs leaves folders behind that not even their owner may read; whoever clears up must.
pub fn open_work(request: &Request) {
    if let Stage::Configure { work, .. } | Stage::Experiment { work, .. } = &request.stage {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = rustix::fs::open(work.as_path(), flags, Mode::empty());
        // The last two mark an overlay that is not synced; the inner ones may be absent.
        for name in ["work", "incompat", "volatile"] {
            folder = folder.and_then(|folder| {
                rustix::fs::chmodat(&folder, name, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::openat(&folder, name, flags, Mode::empty())
            });
        }
    }
}

/// The control group of a run, if one could be had; removed with it.
struct Grouped(Option<Group>);

impl Drop for Grouped {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.remove();
        }
    }
}

/// A started sandbox; dropping it kills everything in it.
pub struct Sandbox {
    process: Child,
    /// Where it is heard.
    pub line: Line,
}

/// The two ends by which whoever started a sandbox hears of it: its reports, and what its command
/// prints.
pub struct Line {
    /// A socket of packets, each a report; single bytes go the other way.
    pub control: OwnedFd,
    /// A pipe.
    pub output: File,
}

impl Sandbox {
    /// Starts the program as a sandbox.
    pub fn start(program: &HostPath, order: &Order) -> Result<Self> {
        let system = |operation: &str| {
            let operation = operation.to_owned();
            move |error: io::Error| Error::System { operation, source: error }
        };
        let mut text = rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|error| system("make a memory file")(error.into()))?;
        serde_json::to_writer(&mut text, order)
            .map_err(io::Error::from)
            .and_then(|()| text.rewind())
            .map_err(system("write down the order for the sandbox"))?;
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| system("make a pair of sockets")(error.into()))?;
        let (output, into) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| system("make a pipe")(error.into()))?;
        // No environment, and a name that says nothing of this machine: the guest can read the
        // command line of its first process.
        let process = Command::new(program.as_path())
            .arg0("perestroika")
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(text))
            .stdout(Stdio::from(into))
            .stderr(Stdio::from(theirs))
            .spawn()
            .map_err(system(&format!("start `{program}` as a sandbox")))?;
        Ok(Self { process, line: Line { control, output: File::from(output) } })
    }
}

impl Line {
    /// Follows the run until nothing of it is left.
    pub fn follow(
        &self,
        story: &mut Story,
        request: &Request,
        carried: &mut Carried,
        log: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let system =
            |error| Error::System { operation: "follow the sandbox".into(), source: error };
        let mut buffer = vec![0; 64 << 10];
        let (mut printing, mut reporting) = (true, true);
        while printing || reporting {
            let none = PollFlags::empty();
            let mut ready = [
                PollFd::new(&self.output, if printing { PollFlags::IN } else { none }),
                PollFd::new(&self.control, if reporting { PollFlags::IN } else { none }),
            ];
            let pause = Timespec { tv_sec: 0, tv_nsec: PAUSE.as_nanos() as i64 };
            match poll(&mut ready, Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(system(error.into())),
            }
            let [output, control] = ready.map(|fd| !fd.revents().is_empty());
            if printing && output {
                match rustix::io::read(&self.output, &mut buffer) {
                    Ok(0) => printing = false,
                    Ok(count) => story.printed(&buffer[..count], log)?,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(system(error.into())),
                }
            }
            if reporting && control {
                match wire::receive(&self.control).map_err(system)? {
                    Packet::End => reporting = false,
                    packet => {
                        self.heard(packet, story, request, carried)?;
                        reporting = story.end.is_none();
                    }
                }
            }
            story.judge(cancel);
            if let Some(byte) = story.order(cancel) {
                self.say(byte);
            }
        }
        Ok(())
    }

    fn heard(
        &self,
        packet: Packet,
        story: &mut Story,
        request: &Request,
        carried: &mut Carried,
    ) -> Result<()> {
        match packet {
            Packet::End => {}
            Packet::Words(words) => story.words.push_str(&words),
            Packet::Report(Report::Done(end), _) => story.end = Some(end),
            Packet::Report(Report::Fault(fault), _) => return Err(refusal(fault)),
            Packet::Report(Report::NoCommand(errno), _) => {
                return Err(Error::Command {
                    command: request.argv[0]
                        .parse()
                        .map_err(|error| Error::Request(format!("{error}")))?,
                    source: io::Error::from_raw_os_error(errno),
                });
            }
            Packet::Report(Report::Stream(end), descriptor) => {
                if let Some(descriptor) = descriptor {
                    carried.take(end, descriptor).map_err(|source| Error::System {
                        operation: "carry the streams of the command".to_owned(),
                        source,
                    })?;
                }
            }
            Packet::Report(Report::Opened { whole }, descriptor) => {
                if let Some(descriptor) = descriptor {
                    let observed = observe::read(descriptor, whole).map_err(|source| {
                        let operation = "read which files the guest opened".to_owned();
                        Error::System { operation, source }
                    })?;
                    story.observed = Some(observed);
                }
            }
            Packet::Report(Report::File { name }, descriptor) => {
                if let (Some(collect), Some(descriptor)) = (&request.collect, descriptor) {
                    let to = collect.to.join(&name);
                    let system = |error| Error::System {
                        operation: format!("copy `{name}` out of the guest to `{to}`"),
                        source: error,
                    };
                    let left = request.limits.scratch.saturating_sub(story.copied);
                    match collect::take(descriptor, to.as_path(), left).map_err(system)? {
                        Some(bytes) => {
                            story.copied += bytes;
                            story.collected.push(name);
                        }
                        None => story.too_large = true,
                    }
                }
                self.say(wire::NEXT);
            }
        }
        Ok(())
    }

    /// Sends a byte. If nobody is there to hear it, the other side is gone, which its reports
    /// tell better.
    fn say(&self, byte: u8) {
        let _sent = rustix::net::send(self.control.as_fd(), &[byte], SendFlags::NOSIGNAL);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It ends everything when it hears that nobody listens, and waits until all is gone.
        let _told = rustix::net::shutdown(&self.line.control, Shutdown::Both);
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let ended = process.and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok());
        if let Some(ended) = ended {
            let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
            let _done = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&patience));
        }
        // The guest's first process is tied to its life.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

pub fn refusal(fault: Fault) -> Error {
    let Fault { aspect, operation, errno } = fault;
    let source = io::Error::from_raw_os_error(errno);
    match aspect {
        None => Error::System { operation, source },
        Some(aspect) => Error::Isolation { operation, source, remedy: doctor::remedy(aspect) },
    }
}

fn receipt(order: &Order, group: Option<Version>) -> Receipt {
    let id = order.guest_id();
    let host = match order.become_id {
        Some(id) => format!("root, as the unprivileged id {id}"),
        None => "ordinary user".to_owned(),
    };
    let (scratch, space) = match order.disk {
        Some(_) => ("disk", "counted"),
        None => ("memory", "size of the file system"),
    };
    let memory = cgroup::mechanism(group);
    let processes = match group {
        Some(_) => format!("{memory}, RLIMIT_NPROC"),
        None => "RLIMIT_NPROC".to_owned(),
    };
    Receipt(
        [
            ("executor", "native".to_owned()),
            ("contract", contract::CONTRACT.to_string()),
            ("namespaces", "user mount pid ipc uts net cgroup".to_owned()),
            ("ids", format!("one, {id} in the guest")),
            ("caller", host),
            (
                "root",
                match (&order.configure, &order.over) {
                    (None, None) => "read-only overlay".to_owned(),
                    _ => "overlay".to_owned(),
                },
            ),
            ("seccomp", "on".to_owned()),
            ("network", "loopback".to_owned()),
            ("scratch", scratch.to_owned()),
            ("limits required", if order.strict { "cgroup" } else { "none" }.to_owned()),
            ("memory limit", memory.to_owned()),
            ("process limit", processes),
            ("scratch limit", space.to_owned()),
        ]
        .into_iter()
        .chain(order.observe.then(|| ("observed", "opened files".to_owned())))
        .map(|(name, fact)| (name.to_owned(), fact))
        .collect(),
    )
}
