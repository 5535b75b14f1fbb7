//! The sandbox's own process: between the calling program and the guest.
//!
//! It is inside the guest's user and mount namespaces, with every capability there, but outside
//! its process namespace: the guest cannot see it, and it outlives the guest to read out what
//! was used and made.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use super::cgroup::Hold;
use super::guest::{self, Ends, Event};
use super::observe::Observer;
use super::system::{self, Fork};
use super::watch::Watch;
use super::wire::{self, End, Explain, Fault, Order, Report, Tried};
use super::{collect, keep, namespace, session, staging, world};
use crate::sandbox::doctor::Aspect;

/// Is a sandbox: reads its order from standard input and answers on standard error.
pub fn main() -> ExitCode {
    // Before it opens anything of its own: whatever the caller left open.
    if system::close_from(3).is_err() {
        return ExitCode::FAILURE;
    }
    let control = match rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 10) {
        Ok(control) => control,
        Err(_) => return ExitCode::FAILURE,
    };
    let report = match sandbox(&control) {
        Ok(end) => Report::Done(end),
        Err(Refusal::Fault(fault)) => Report::Fault(fault),
        Err(Refusal::NoCommand(errno)) => Report::NoCommand(errno),
    };
    if wire::send(&control, &report, None).is_err() {
        return ExitCode::FAILURE;
    }
    // A socket that is closed with something unread in it takes the report back.
    while rustix::io::read(&control, &mut [0; 16]).is_ok_and(|count| count > 0) {}
    ExitCode::SUCCESS
}

/// What is to become of the scratch of a guest that did not succeed.
#[derive(PartialEq, Eq)]
enum Wish {
    Keep,
    Drop,
}

/// Why nothing was run.
enum Refusal {
    Fault(Fault),
    NoCommand(i32),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn sandbox(control: &OwnedFd) -> Result<End, Refusal> {
    let (order, output) = take_over()?;
    let mut group = order.group.as_ref().and_then(|group| group.hold().ok());
    match order.become_id {
        Some(id) => {
            namespace::leave_host_mounts()?;
            staging::gather(&order, Some(id))?;
            namespace::become_unprivileged(id)?;
            namespace::enter(order.guest_id(), &order.guise.host_name)?;
        }
        None => {
            namespace::enter(order.guest_id(), &order.guise.host_name)?;
            staging::gather(&order, None)?;
        }
    }
    let mut places = world::assemble(&order)?;
    let inside = order.session.map(|session| session::open(session, control)).transpose()?;
    let (mut guest, mut start) = begin(&order, output, inside, group.as_ref())?;
    // A group that may be made can still be closed to us; then the watch takes its place.
    let entered = matches!(guest.next()?, Some(Event::Arrived { grouped: true }));
    group = group.filter(|group| entered && group.confirms(guest.first));
    if order.strict && group.is_none() {
        let refused: std::io::Result<()> = Err(rustix::io::Errno::ACCESS.into());
        refused.isolating(Aspect::ControlGroup, || "move the guest to its control group".into())?;
    }
    start.write_all(b"s").trying(|| "start the guest".into())?;
    drop(start);
    let scratch = places.scratch.try_clone().trying(|| "open scratch".into())?;
    let watch = Watch::new(&order, scratch, group);
    let (mut end, wish) = accompany(&mut guest, control, watch, places.observer.as_mut())?;
    if let Some(observer) = places.observer {
        let (report, paths) = observer.finish()?;
        wire::send(control, &report, Some(paths.as_fd())).trying(|| "report".into())?;
    }
    collect::offer(&order, control)?;
    if let (Some(keep), Some(to)) = (&order.keep, &places.keep)
        && end.command != Some(Ok(0))
        && wish == Wish::Keep
    {
        end.kept = Some(keep::keep(keep, &places.scratch, to, control));
    }
    Ok(end)
}

/// Reads the order and lets go of everything inherited.
fn take_over() -> Tried<(Order, OwnedFd)> {
    let operation = || "read the order".to_owned();
    let order: Order = serde_json::from_reader(std::io::stdin().lock())
        .map_err(std::io::Error::from)
        .trying(operation)?;
    let output = rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 10).trying(operation)?;
    // Signals for a terminal's foreground are for the calling program to judge.
    rustix::process::setsid().trying(operation)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .trying(operation)?;
    system::redirect(&null, 0).trying(operation)?;
    system::redirect(&null, 1).trying(operation)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok((order, output))
}

/// The guest, seen from outside.
struct Guest {
    first: Pid,
    events: BufReader<File>,
}

impl Guest {
    /// The next thing it tells; none once it is ending.
    fn next(&mut self) -> Tried<Option<Event>> {
        let operation = || "read what the guest tells".to_owned();
        let mut line = String::new();
        if self.events.read_line(&mut line).trying(operation)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).map_err(std::io::Error::from).trying(operation)
    }
}

fn begin(
    order: &Order,
    output: OwnedFd,
    inside: Option<session::Inside>,
    group: Option<&Hold>,
) -> Tried<(Guest, File)> {
    let operation = || "start the guest".to_owned();
    let (start, go) = pipe_with(PipeFlags::CLOEXEC).trying(operation)?;
    let (events, tell) = pipe_with(PipeFlags::CLOEXEC).trying(operation)?;
    system::unshare(UnshareFlags::NEWPID)
        .isolating(Aspect::UserNamespaces, || "enter a process namespace".into())?;
    match system::fork().trying(operation)? {
        Fork::Child => {
            drop((go, events));
            guest::first_process(order, group, Ends { start, events: tell, output, inside })
        }
        Fork::Parent(first) => {
            Ok((Guest { first, events: BufReader::new(File::from(events)) }, File::from(go)))
        }
    }
}

fn accompany(
    guest: &mut Guest,
    control: &OwnedFd,
    mut watch: Watch,
    mut observer: Option<&mut Observer>,
) -> Result<(End, Wish), Refusal> {
    let mut wish = Wish::Keep;
    let mut command = None;
    let mut stopped = None;
    let mut refusal = None;
    let mut looked = Instant::now();
    'running: loop {
        let mut ready = [
            PollFd::new(guest.events.get_ref(), PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
        ];
        let mut pause = watch.pause().saturating_sub(looked.elapsed());
        if let Some(observer) = &mut observer {
            // Not polled, which would wake this process for each file.
            pause = pause.min(observer.drain());
        }
        let pause = Timespec { tv_sec: 0, tv_nsec: pause.as_nanos() as i64 };
        match poll(&mut ready, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => Err(error).trying(|| "watch the guest".into())?,
        }
        let [mut told, asked] = ready.map(|fd| !fd.revents().is_empty());
        // Several lines may have come at once, and poll only knows of the pipe.
        while told || guest.events.buffer().contains(&b'\n') {
            match guest.next()? {
                None => break 'running,
                Some(Event::Arrived { .. }) => {}
                Some(Event::Fault(fault)) => refusal = Some(Refusal::Fault(fault)),
                Some(Event::NoCommand(errno)) => refusal = Some(Refusal::NoCommand(errno)),
                Some(Event::Ended(how)) => command = Some(how),
            }
            told = false;
        }
        if asked {
            let mut byte = [0];
            let read = rustix::io::retry_on_intr(|| rustix::io::read(control, &mut byte));
            // Whoever is gone wants nothing any more.
            wish = if read == Ok(1) && byte == [wire::KILL] { Wish::Keep } else { Wish::Drop };
        }
        if looked.elapsed() >= watch.pause() {
            stopped = watch.look();
            looked = Instant::now();
        }
        if asked || stopped.is_some() {
            break;
        }
    }
    watch.look();
    let _gone = rustix::process::kill_process(guest.first, Signal::KILL);
    // The kernel lets process 1 end only after every other one of the namespace has.
    let cpu = system::wait(guest.first).trying(|| "wait for the guest".into())?;
    match refusal {
        Some(refusal) => Err(refusal),
        None => Ok((End { command, stopped, cpu, ..watch.end() }, wish)),
    }
}
