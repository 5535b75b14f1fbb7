//! A sandbox for somebody elsewhere: this process starts it here, and carries what both sides say
//! over one stream of bytes each way.
//!
//! It is the only process of a container, as an ordinary user without any capability. Whoever is
//! at the other end decides everything; when nobody is there any more, everything ends.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::SendFlags;

use super::frames::{self, Hello, Kind, PIECE};
use super::freight;
use super::run::{Line, Sandbox};
use super::session::{self, End};
use super::wire::{self, Order, Packet, Report};
use crate::base::HostPath;

/// How long nothing may be heard from the other side.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often the other side hears that this one is there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often that is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Is a relay: its orders come on standard input, and it answers on standard output.
pub fn main() -> ExitCode {
    match relay() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            let _told = frames::write(&mut io::stdout().lock(), Kind::Words, text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn relay() -> io::Result<()> {
    // Not the library's own: what those have read ahead, no poll knows of.
    let mut from = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    let mut to = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    let text = loop {
        match frames::read(&mut from)? {
            Some((Kind::Order, text)) => break text,
            Some((Kind::Bring, folder)) => freight::take(&folder, &mut from, &mut to)?,
            Some((Kind::Fetch, path)) => freight::give(&path, &mut to)?,
            Some((Kind::Settle, folder)) => freight::settle(&folder, &mut to)?,
            // Some are started for nothing else.
            Some((Kind::Goodbye, _)) | None => return Ok(()),
            Some(_) => return Err(io::Error::other("no order came")),
        }
    };
    let order: Order = serde_json::from_slice(&text)?;
    frames::write(&mut to, Kind::Hello, &serde_json::to_vec(&hello(&order))?)?;
    // Whoever asked for it looks at the answer first.
    match frames::read(&mut from)? {
        Some((Kind::Alive, _)) => {}
        _ => return Ok(()),
    }
    let program = HostPath::new(std::env::current_exe()?);
    let sandbox = Sandbox::start(&program, &order).map_err(io::Error::other)?;
    let most = order.scratch.saturating_add(1);
    let relay = Relay { from, to, line: &sandbox.line, streams: Streams::default(), most };
    relay.carry()
}

struct Relay<'a> {
    from: File,
    to: File,
    line: &'a Line,
    streams: Streams,
    /// The most bytes of one file that anybody takes.
    most: u64,
}

/// The caller's ends of the streams of a session.
#[derive(Default)]
struct Streams {
    input: Option<OwnedFd>,
    /// What did not fit into the input yet.
    waiting: VecDeque<u8>,
    ended: bool,
    outputs: Vec<(End, OwnedFd)>,
}

impl Relay<'_> {
    /// Carries until the other side says goodbye, or is gone.
    fn carry(mut self) -> io::Result<()> {
        let (mut printing, mut reporting) = (true, true);
        let mut buffer = vec![0; PIECE];
        let mut heard = Instant::now();
        let mut said = Instant::now();
        loop {
            if said.elapsed() > HEARTBEAT {
                said = Instant::now();
                frames::write(&mut self.to, Kind::Alive, b"")?;
            }
            let none = PollFlags::empty();
            let flags = |on: bool| if on { PollFlags::IN } else { none };
            let feeding = !self.streams.waiting.is_empty();
            let mut ready = vec![
                PollFd::new(&self.from, PollFlags::IN),
                PollFd::new(&self.line.output, flags(printing)),
                PollFd::new(&self.line.control, flags(reporting)),
            ];
            if let Some(input) = &self.streams.input {
                ready.push(PollFd::new(input, if feeding { PollFlags::OUT } else { none }));
            }
            let first = ready.len();
            ready.extend(self.streams.outputs.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)));
            let pause = Timespec { tv_sec: PAUSE.as_secs().cast_signed(), tv_nsec: 0 };
            match poll(&mut ready, Some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            for index in (first..ready.len()).rev().filter(|index| ready[*index]) {
                self.show(index - first, &mut buffer)?;
            }
            if printing && ready[1] {
                match (&self.line.output).read(&mut buffer)? {
                    0 => {
                        printing = false;
                        frames::write(&mut self.to, Kind::PrintedEnd, b"")?;
                    }
                    count => frames::write(&mut self.to, Kind::Printed, &buffer[..count])?,
                }
            }
            if reporting && ready[2] {
                reporting = self.report(&mut buffer)?;
            }
            if feeding && first > 3 && ready[3] {
                self.feed()?;
            }
            if ready[0] {
                heard = Instant::now();
                match frames::read(&mut self.from)? {
                    None | Some((Kind::Goodbye, _)) => return Ok(()),
                    Some((kind, bytes)) => self.hear(kind, bytes)?,
                }
            } else if heard.elapsed() > PATIENCE {
                return Err(io::Error::other("nothing was heard of whoever started this"));
            }
        }
    }

    /// Carries a report on. False after the last one.
    fn report(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match wire::receive(&self.line.control)? {
            Packet::End => return Ok(false),
            Packet::Words(words) => {
                frames::write(&mut self.to, Kind::Words, words.as_bytes())?;
            }
            Packet::Report(report, descriptor) => {
                let text = serde_json::to_vec(&report)?;
                match (report, descriptor) {
                    (Report::Stream(end), Some(descriptor)) => {
                        frames::write(&mut self.to, Kind::Report, &text)?;
                        self.streams.take(end, descriptor)?;
                    }
                    (_, Some(descriptor)) => {
                        frames::write(&mut self.to, Kind::Offer, &text)?;
                        let mut content = File::from(descriptor).take(self.most);
                        loop {
                            match content.read(buffer)? {
                                0 => break,
                                count => {
                                    let piece = &buffer[..count];
                                    frames::write(&mut self.to, Kind::Content, piece)?;
                                }
                            }
                        }
                        frames::write(&mut self.to, Kind::ContentEnd, b"")?;
                    }
                    (Report::Done(mut end), None) => {
                        end.out_of_memory |= ran_out();
                        let text = serde_json::to_vec(&Report::Done(end))?;
                        frames::write(&mut self.to, Kind::Report, &text)?;
                        return Ok(false);
                    }
                    (_, None) => frames::write(&mut self.to, Kind::Report, &text)?,
                }
            }
        }
        Ok(true)
    }

    fn hear(&mut self, kind: Kind, bytes: Vec<u8>) -> io::Result<()> {
        match kind {
            Kind::Byte => {
                // If nobody is there to hear it, the sandbox's reports tell better.
                let _sent =
                    rustix::net::send(self.line.control.as_fd(), &bytes, SendFlags::NOSIGNAL);
            }
            Kind::Input => {
                self.streams.waiting.extend(bytes);
                self.feed()?;
            }
            Kind::InputEnd => {
                self.streams.ended = true;
                self.feed()?;
            }
            Kind::Size => {
                let terminal = self.streams.outputs.iter().find(|(end, _)| *end == End::Terminal);
                if let (Some((_, master)), [rows, more_rows, columns, more_columns]) =
                    (terminal, &bytes[..])
                {
                    let rows = u16::from_le_bytes([*rows, *more_rows]);
                    session::resize(master, rows, u16::from_le_bytes([*columns, *more_columns]));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands on as much input as is taken, and says so once all is.
    fn feed(&mut self) -> io::Result<()> {
        let streams = &mut self.streams;
        let Some(input) = &streams.input else {
            streams.waiting.clear();
            return Ok(());
        };
        let before = streams.waiting.len();
        while !streams.waiting.is_empty() {
            match rustix::io::write(input, streams.waiting.make_contiguous()) {
                Ok(count) => drop(streams.waiting.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // Nobody reads it.
                Err(_) => {
                    streams.waiting.clear();
                    streams.ended = true;
                }
            }
        }
        if streams.ended {
            streams.input = None;
        }
        if before > 0 {
            frames::write(&mut self.to, Kind::Taken, b"")?;
        }
        Ok(())
    }

    /// Carries what the command of a session wrote.
    fn show(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let (end, descriptor) = &self.streams.outputs[index];
        let end = *end as u8;
        buffer[0] = end;
        match rustix::io::read(descriptor, &mut buffer[1..]) {
            Ok(0) | Err(rustix::io::Errno::IO) => {
                self.streams.outputs.remove(index);
                frames::write(&mut self.to, Kind::StreamEnd, &[end])
            }
            Ok(count) => frames::write(&mut self.to, Kind::Stream, &buffer[..=count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Streams {
    fn take(&mut self, end: End, descriptor: OwnedFd) -> io::Result<()> {
        if matches!(end, End::Terminal | End::Input) {
            let input = descriptor.try_clone()?;
            rustix::fs::fcntl_setfl(&input, OFlags::NONBLOCK)?;
            self.input = Some(input);
        }
        if end != End::Input {
            self.outputs.push((end, descriptor));
        }
        Ok(())
    }
}

/// Whether the kernel killed a process of this container for want of memory, as its control group
/// tells where it can be read: not every engine says so.
fn ran_out() -> bool {
    ["memory.events", "memory/memory.oom_control"].iter().any(|name| {
        let text = fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count != "0")
    })
}

/// What is around this process.
fn hello(order: &Order) -> Hello {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    let interfaces = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let interfaces = interfaces.lines().filter_map(|line| line.split_once(':'));
    let root = rustix::fs::statvfs("/").map(|root| root.f_flag);
    Hello {
        version: frames::VERSION,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        capabilities: vec![field("CapPrm"), field("CapBnd")],
        no_new_privileges: field("NoNewPrivs") == "1",
        seccomp: field("Seccomp").parse().unwrap_or(0),
        interfaces: interfaces.map(|(name, _)| name.trim().to_owned()).collect(),
        read_only: root.is_ok_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::RDONLY)),
        memory: ["memory/memory.limit_in_bytes", "memory.max"].iter().find_map(|name| {
            let path = format!("/sys/fs/cgroup/{name}");
            fs::read_to_string(path).ok()?.trim().parse().ok()
        }),
        owner: order.layers.first().and_then(|layer| Some(fs::metadata(layer).ok()?.uid())),
    }
}
