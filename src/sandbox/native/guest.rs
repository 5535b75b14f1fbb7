//! The first process of the guest, and the command it starts.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::cgroup::Hold;
use super::filter::{Filter, ForeignIds, Programs};
use super::session::{self, Inside};
use super::staging::{attach, clone};
use super::system::{self, Fork, MountAttributes, set_mount_attributes};
use super::wire::{Explain, Fault, Order, Tried};
use crate::sandbox::contract;
use crate::sandbox::doctor::Aspect;

/// What the guest's first process tells the sandbox, a line each.
#[derive(Serialize, Deserialize)]
pub enum Event {
    /// It is there, and waits for the start.
    Arrived {
        /// It is in its control group.
        grouped: bool,
    },
    /// It could not be set up.
    Fault(Fault),
    /// The program could not be executed.
    NoCommand(i32),
    /// The command ended, by code or by signal.
    Ended(Result<i32, i32>),
}

/// The ends of pipes that the first process holds.
pub struct Ends {
    /// A byte comes when it may start; nothing if the sandbox is gone.
    pub start: OwnedFd,
    /// Where its [`Event`]s go.
    pub events: OwnedFd,
    /// Where the output of the command goes.
    pub output: OwnedFd,
    /// What somebody who is at the command has it use instead.
    pub inside: Option<Inside>,
}

/// Is process 1 of the guest: finishes the world, starts the command, buries orphans, and ends
/// with the command, which takes every other process with it.
pub fn first_process(order: &Order, group: Option<&Hold>, ends: Ends) -> ! {
    let mut events = File::from(ends.events);
    let grouped = group.is_some_and(|group| group.enter().is_ok());
    let outcome = tell(&mut events, &Event::Arrived { grouped })
        .trying(|| "tell of the guest".into())
        .and_then(|()| prepare(order, ends.start))
        .and_then(|filter| run(order, &filter, ends.output, ends.inside, &mut events));
    let event = match outcome {
        Ok(event) => event,
        Err(fault) => Event::Fault(fault),
    };
    let _told = tell(&mut events, &event);
    system::exit(0)
}

fn tell(mut events: impl Write, event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    events.write_all(&line)
}

fn prepare(order: &Order, start: OwnedFd) -> Tried<Filter> {
    // Without the sandbox's own process nobody would hold this one to its limits.
    set_parent_process_death_signal(Some(Signal::KILL)).trying(|| "tie the guest to us".into())?;
    let mut byte = [0];
    File::from(start).read_exact(&mut byte).trying(|| "wait for the start".into())?;
    // From within its control group, so that the guest sees itself at the top.
    system::unshare(UnshareFlags::NEWCGROUP)
        .isolating(Aspect::UserNamespaces, || "enter a control group namespace".into())?;
    processes()?;
    pivot()?;
    limits(order)?;
    // If the machine as a whole runs short, a build is the one to go. Its caller's value, which
    // may only be raised, would show.
    std::fs::write("/proc/self/oom_score_adj", "1000")
        .trying(|| "offer the guest to the kernel first".into())?;
    system::personality(order.guise.kernel).trying(|| "set the personality".into())?;
    affinity(order)?;
    let foreign = match order.configure {
        Some(_) => ForeignIds::Succeed,
        None => ForeignIds::Refused,
    };
    let filter = Filter::new(order.guest_id(), foreign, programs(order))
        .isolating(Aspect::Seccomp, || "make the filter of system calls".into())?;
    capabilities(order)?;
    // The guest runs as the same id, but must not look into this process.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).trying(|| "hide process 1".into())?;
    rustix::thread::set_name(c"init").trying(|| "name process 1".into())?;
    filter.apply().isolating(Aspect::Seccomp, || "filter system calls".into())?;
    Ok(filter)
}

/// Whose programs the root holds, as the command tells that is run in it. What lies about the root
/// here only chooses between two filters of the same rules.
fn programs(order: &Order) -> Programs {
    let mut header = [0; 20];
    let program = order.argv.first().map(File::open);
    let read = program.and_then(Result::ok).map(|mut file| file.read_exact(&mut header));
    // ELF of 32 bits (byte 4), little-endian (byte 5), for EM_386 (bytes 18 and 19): elf(5).
    let is_i386 = header.starts_with(b"\x7fELF\x01\x01") && header[18..] == [3, 0];
    if matches!(read, Some(Ok(()))) && is_i386 { Programs::WithI386 } else { Programs::Native }
}

/// A fresh `/proc`, which only a process of its namespace can mount, and what of it is closed.
fn processes() -> Tried<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "root/proc", "proc", flags, None::<&std::ffi::CStr>)
        .isolating(Aspect::Proc, || "mount `/proc`".into())?;
    let attributes = MountAttributes::READ_ONLY
        .and(MountAttributes::NO_SUID)
        .and(MountAttributes::NO_DEVICES)
        .and(MountAttributes::NO_EXEC);
    for name in contract::PROC_READ_ONLY {
        cover(&format!("root/proc/{name}"), |path| path.to_owned(), attributes)?;
    }
    let masked = MountAttributes::READ_ONLY.and(MountAttributes::NO_SUID);
    for name in contract::PROC_MASKED {
        let with = |path: &Path| if path.is_dir() { "empty" } else { "null" }.into();
        cover(&format!("root/proc/{name}"), with, masked)?;
    }
    Ok(())
}

/// Mounts something over a path, if it is there at all.
fn cover(
    path: &str,
    with: impl FnOnce(&Path) -> std::path::PathBuf,
    attributes: MountAttributes,
) -> Tried<()> {
    let operation = || format!("close `/{}`", path.trim_start_matches("root/"));
    let place = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        place => place.trying(operation)?,
    };
    let source = clone(&with(Path::new(path)))?;
    set_mount_attributes(&source, attributes).isolating(Aspect::Mounts, operation)?;
    attach(source, place).isolating(Aspect::Mounts, operation)
}

/// Makes the assembled root the only one there is.
fn pivot() -> Tried<()> {
    let operation = || "make the guest's root the only one".to_owned();
    rustix::process::chdir("root").trying(operation)?;
    rustix::process::pivot_root(".", ".").isolating(Aspect::Mounts, operation)?;
    unmount(".", UnmountFlags::DETACH).isolating(Aspect::Mounts, operation)?;
    rustix::process::chdir("/").trying(operation)
}

fn limits(order: &Order) -> Tried<()> {
    let unlimited = (None, None);
    // The sandbox and process 1 count as well: they have the same id in the same namespace.
    let processes = Some(u64::from(order.processes) + 2);
    let none = (Some(0), Some(0));
    for (name, resource, (soft, hard)) in [
        ("open files", Resource::Nofile, contract::OPEN_FILES),
        ("stack", Resource::Stack, contract::STACK),
        ("core files", Resource::Core, none),
        ("processes", Resource::Nproc, (processes, processes)),
        ("locked memory", Resource::Memlock, contract::LOCKED),
        ("message queues", Resource::Msgqueue, contract::QUEUES),
        ("pending signals", Resource::Sigpending, contract::SIGNALS),
        ("nice", Resource::Nice, none),
        ("real-time priority", Resource::Rtprio, none),
        ("real-time", Resource::Rttime, unlimited),
        ("processor time", Resource::Cpu, unlimited),
        ("file size", Resource::Fsize, unlimited),
        ("data", Resource::Data, unlimited),
        ("resident memory", Resource::Rss, unlimited),
        ("address space", Resource::As, unlimited),
        ("locks", Resource::Locks, unlimited),
    ] {
        let limit = Rlimit { current: soft, maximum: hard };
        let shown = |value: Option<u64>| value.map_or("unlimited".into(), |n| n.to_string());
        rustix::process::setrlimit(resource, limit).isolating(Aspect::Limits, || {
            format!("set the limit of {name} to {} (at most {})", shown(soft), shown(hard))
        })?;
    }
    Ok(())
}

fn affinity(order: &Order) -> Tried<()> {
    if order.cores.is_empty() {
        return Ok(());
    }
    let mut cores = rustix::thread::CpuSet::new();
    for core in &order.cores {
        if (*core as usize) < rustix::thread::CpuSet::MAX_CPU {
            cores.set(*core as usize);
        }
    }
    rustix::thread::sched_setaffinity(None, &cores)
        .trying(|| format!("run on processors {:?}", order.cores))
}

/// What somebody who configures packages needs to act on files that are all the guest's own.
const CONFIGURING: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

fn capabilities(order: &Order) -> Tried<()> {
    let operation = || "drop capabilities".to_owned();
    let keep = match order.configure {
        Some(_) => CONFIGURING,
        None => CapabilitySet::empty(),
    };
    rustix::thread::set_no_new_privs(true).isolating(Aspect::Seccomp, operation)?;
    rustix::thread::clear_ambient_capability_set().trying(operation)?;
    system::bound_capabilities(keep.bits()).trying(operation)?;
    let sets =
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).trying(operation)
}

fn run(
    order: &Order,
    _behind: &Filter,
    output: OwnedFd,
    inside: Option<Inside>,
    events: &mut File,
) -> Tried<Event> {
    let texts = |items: Vec<String>| {
        let texts: Result<Vec<_>, _> = items.into_iter().map(CString::new).collect();
        texts.trying(|| "pass a text with a zero byte to the command".into())
    };
    let arguments = texts(order.argv.clone())?;
    let environment =
        texts(order.env.iter().map(|(name, value)| format!("{name}={value}")).collect())?;
    let child = match system::fork().trying(|| "start the command".into())? {
        Fork::Parent(child) => child,
        Fork::Child => {
            let answer = match ready_to_execute(order, &output, inside.as_ref()) {
                Err(fault) => Event::Fault(fault),
                Ok(()) => {
                    let arguments: Vec<_> = arguments.iter().map(CString::as_c_str).collect();
                    let environment: Vec<_> = environment.iter().map(CString::as_c_str).collect();
                    let error = system::execute(arguments[0], &arguments, &environment);
                    Event::NoCommand(error.raw_os_error().unwrap_or(libc::EIO))
                }
            };
            let _told = tell(&*events, &answer);
            system::exit(127)
        }
    };
    // Only the command and what it starts hold these: with the last of them they end.
    drop((output, inside));
    Ok(Event::Ended(bury(child)?))
}

/// The last steps of the process that becomes the command.
fn ready_to_execute(order: &Order, output: &OwnedFd, inside: Option<&Inside>) -> Tried<()> {
    let operation = || "prepare the command".to_owned();
    rustix::process::setsid().trying(operation)?;
    if let Some(Inside { input, output, errors, is_terminal }) = inside {
        for (end, place) in [(input, 0), (output, 1), (errors, 2)] {
            system::redirect(end, place).trying(operation)?;
        }
        if *is_terminal {
            session::take_terminal().trying(operation)?;
        }
    } else {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .trying(operation)?;
        system::redirect(null, 0).trying(operation)?;
        system::redirect(output, 1).trying(operation)?;
        system::redirect(output, 2).trying(operation)?;
    }
    rustix::process::umask(Mode::from_raw_mode(order.guise.umask));
    system::default_signals();
    rustix::process::chdir(&*order.cwd).trying(|| format!("enter `{}`", order.cwd))
}

/// Waits for every process that ends until the command does.
fn bury(command: Pid) -> Tried<Result<i32, i32>> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => {
                let signal = status.terminating_signal();
                return Ok(status.exit_status().ok_or(signal.unwrap_or(libc::SIGKILL)));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).trying(|| "wait for the command".into()),
        }
    }
}
