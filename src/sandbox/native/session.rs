//! A person, or a program, at the guest's command: a terminal of the guest's own, or three
//! streams. Nothing of the caller's is handed in: what goes in and comes out is carried over, so
//! the guest holds no descriptor of the host.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::wire::{self, Explain, Report, Tried};

/// How somebody is at the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Session {
    /// By a terminal: job control, sizes, signals from keys.
    Terminal,
    /// By standard input, output and error.
    Streams,
}

/// The ends that the command gets.
pub struct Inside {
    pub input: OwnedFd,
    pub output: OwnedFd,
    pub errors: OwnedFd,
    /// Whether they are a terminal, which is to be the command's own.
    pub is_terminal: bool,
}

/// An end that the caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum End {
    /// The master of the terminal.
    Terminal = b't',
    /// Where standard input is written.
    Input = b'i',
    /// Where standard output is read.
    Output = b'o',
    /// Where standard error is read.
    Errors = b'e',
}

/// Makes the ends, in the sandbox's own process while the root is still at `root`; hands the
/// caller's over.
pub fn open(session: Session, control: &OwnedFd) -> Tried<Inside> {
    let operation = || "make a terminal for the command".to_owned();
    let send = |end: End, descriptor: &OwnedFd| {
        let descriptor = std::os::fd::AsFd::as_fd(descriptor);
        wire::send(control, &Report::Stream(end), Some(descriptor))
            .trying(|| "hand a stream over".to_owned())
    };
    match session {
        Session::Terminal => {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let master =
                rustix::fs::open("root/dev/pts/ptmx", flags, Mode::empty()).trying(operation)?;
            let terminal = other_end(&master).trying(operation)?;
            send(End::Terminal, &master)?;
            let again = || terminal.try_clone().trying(operation);
            Ok(Inside { input: again()?, output: again()?, errors: terminal, is_terminal: true })
        }
        Session::Streams => {
            let pipe = || pipe_with(PipeFlags::CLOEXEC).trying(|| "make a pipe".to_owned());
            let (input, feed) = pipe()?;
            let (read, output) = pipe()?;
            let (read_errors, errors) = pipe()?;
            send(End::Input, &feed)?;
            send(End::Output, &read)?;
            send(End::Errors, &read_errors)?;
            Ok(Inside { input, output, errors, is_terminal: false })
        }
    }
}

/// Unlocks a new terminal and opens the end that programs use.
fn other_end(master: &OwnedFd) -> io::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the number outlives the call; the second call takes a number alone.
    let opened = unsafe {
        if libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags)
    };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Makes the terminal at descriptor 0 the one of this session, of which this process is the
/// leader.
pub fn take_terminal() -> io::Result<()> {
    // SAFETY: no pointers.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The caller's side: carries everything between its own streams and the command's. Dropped, it
/// brings out what is left, and gives the caller's terminal back as it was.
#[derive(Default)]
pub struct Carried {
    _raw: Option<Raw>,
    done: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

impl Carried {
    /// Takes an end over, and carries from or to it from now on.
    pub fn take(&mut self, end: End, descriptor: OwnedFd) -> io::Result<()> {
        match end {
            End::Terminal => {
                let resized = Arc::new(AtomicBool::new(true));
                signal_hook::flag::register(signal_hook::consts::SIGWINCH, Arc::clone(&resized))?;
                self._raw = Raw::new();
                let writer = descriptor.try_clone()?;
                thread::spawn(move || feed(writer));
                let done = Arc::clone(&self.done);
                self.readers
                    .push(thread::spawn(move || show_terminal(descriptor, &resized, &done)));
            }
            End::Input => {
                thread::spawn(move || feed(descriptor));
            }
            End::Output => {
                let copy = move || show(File::from(descriptor), io::stdout());
                self.readers.push(thread::spawn(copy));
            }
            End::Errors => {
                let copy = move || show(File::from(descriptor), io::stderr());
                self.readers.push(thread::spawn(copy));
            }
        }
        Ok(())
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Carries standard input in. Whoever waits for a key that never comes waits alone: the thread
/// ends with the program.
fn feed(to: OwnedFd) {
    let mut to = File::from(to);
    let mut buffer = [0; 4096];
    loop {
        match io::stdin().read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if to.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Carries out what comes, until no program holds the other end.
///
/// Not by `io::copy`, which splices: a splice into a file notes the position where it began and
/// puts that back when nothing came. Where output and errors go to one file (`> log 2>&1`), each
/// would take back what the other wrote, and what is written next would cover it.
fn show(mut from: File, mut to: impl Write) {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Carries what the terminal shows out, and new sizes in, until no program holds it.
fn show_terminal(master: OwnedFd, resized: &AtomicBool, done: &AtomicBool) {
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut buffer = [0; 16 << 10];
    let mut out = io::stdout();
    loop {
        if resized.swap(false, Ordering::Relaxed) {
            copy_size(&master);
        }
        let ending = done.load(Ordering::Relaxed);
        let mut ready = [PollFd::new(&master, PollFlags::IN)];
        match poll(&mut ready, Some(&pause)) {
            Ok(0) if ending => return,
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match rustix::io::read(&master, &mut buffer) {
            // The last program that held the other end is gone (EIO).
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if out.write_all(&buffer[..count]).and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
        }
    }
}

/// Gives the guest's terminal the size of the caller's, if that is one.
fn copy_size(master: &OwnedFd) {
    // SAFETY: all zero is a valid size, and it outlives both calls.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        if libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) == 0 {
            libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size);
        }
    }
}

/// Gives a terminal this many rows and columns.
pub fn resize(master: &OwnedFd, rows: u16, columns: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the size outlives the call.
    unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size);
    }
}

/// The rows and columns of a terminal; none if it is none.
pub fn size(terminal: &OwnedFd) -> Option<(u16, u16)> {
    // SAFETY: all zero is a valid size, which outlives the call.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let answer = libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size);
        (answer == 0).then_some((size.ws_row, size.ws_col))
    }
}

/// A terminal of this side that hands on everything as it is: the end for whoever shows it, and
/// the end for whoever carries it.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/ptmx", flags, Mode::empty())?;
    let terminal = other_end(&master)?;
    // SAFETY: all zero is a valid `termios`, which outlives the calls.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::cfmakeraw(&raw mut settings);
        if libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const settings) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((master, terminal))
}

/// The caller's terminal, handing on every key as it is; as it was before when dropped.
struct Raw(libc::termios);

impl Raw {
    /// None if standard input is no terminal.
    fn new() -> Option<Self> {
        // SAFETY: all zero is a valid `termios`, which outlives the calls.
        unsafe {
            let mut before: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &raw mut before) != 0 {
                return None;
            }
            let mut raw = before;
            libc::cfmakeraw(&raw mut raw);
            (libc::tcsetattr(0, libc::TCSANOW, &raw const raw) == 0).then_some(Self(before))
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the settings are those that the system gave.
        unsafe {
            libc::tcsetattr(0, libc::TCSADRAIN, &raw const self.0);
        }
    }
}
