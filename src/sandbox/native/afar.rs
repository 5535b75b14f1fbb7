//! Following a sandbox that a relay started elsewhere: what comes over the stream is put into the
//! same two ends that a sandbox of this machine has, so that whoever follows it sees no difference.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::frames::{self, Kind};
use super::run::{self, Line};
use super::session::{self, Carried, End};
use super::story::Story;
use super::wire::{self, Order, Report};
use crate::sandbox::{Error, Outcome, Request, Result};

pub use super::frames::Hello;

/// How often somebody who follows says that they are still there.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a relay may take to end everything when all was called off.
const PATIENCE: Duration = Duration::from_millis(600);

/// How long a relay may say nothing at all: it says every few seconds that it is there.
const SILENCE: Duration = Duration::from_secs(60);

/// In so many looks in a row it must be found silent.
const LOOKS: u32 = 10;

/// How often it is looked whether everything was heard.
const GLANCE: Duration = Duration::from_millis(1);

/// How long the stream of a relay that was killed may stay open.
const PARTING: Duration = Duration::from_secs(1);

/// How long a relay may take to end everything when what is left is to be kept, which has to be
/// copied.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// The two directions of a relay's stream.
pub struct Stream {
    /// What the relay says.
    pub from: Box<dyn Read + Send>,
    /// What it hears.
    pub to: Box<dyn Write + Send>,
}

/// A relay that has been given its order, and waits.
pub struct Afar<'a> {
    order: &'a Order,
    from: Box<dyn Read + Send>,
    to: Voice,
    /// What it found around itself.
    pub hello: Hello,
}

/// How a run elsewhere ended: as its outcome, or with the stream, after these last words.
pub enum Ended {
    /// All of it was heard.
    Whole(Box<Outcome>),
    /// The relay, or the way to it, is gone. What it would have been if whoever ran the relay
    /// killed it for want of memory, and its last words.
    Broken(Box<Outcome>, String),
    /// Whoever ran the relay does not even say that it is gone.
    Silent,
}

/// One writer for all who say something to the relay.
type Voice = Arc<Mutex<Box<dyn Write + Send>>>;

fn say(voice: &Voice, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    frames::write(&mut *held(voice), kind, bytes)
}

fn held<T: ?Sized>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Afar<'a> {
    /// Gives a relay its order, and hears what it finds around itself. It runs nothing before
    /// [`Self::follow`].
    pub fn greet(mut stream: Stream, order: &'a Order) -> io::Result<Self> {
        let text = serde_json::to_vec(order)?;
        frames::write(&mut stream.to, Kind::Order, &text)?;
        let hello: Hello = match frames::read(&mut stream.from)? {
            Some((Kind::Hello, text)) => serde_json::from_slice(&text)?,
            Some((Kind::Words, text)) => {
                return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()));
            }
            Some(_) => return Err(io::Error::other("it does not say who it is")),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if hello.version != frames::VERSION {
            return Err(io::Error::other("another version of this program answered"));
        }
        Ok(Self { order, from: stream.from, to: Arc::new(Mutex::new(stream.to)), hello })
    }

    /// Has it run, and follows it to its end. `kill` is called, once, if it does not end in time
    /// after it was called off.
    pub fn follow(
        self,
        request: &Request,
        log: &mut dyn Write,
        cancel: &AtomicBool,
        kill: impl FnOnce() + Send,
    ) -> Result<Ended> {
        let system = |operation: &'static str| {
            move |source: io::Error| Error::System { operation: operation.to_owned(), source }
        };
        let Self { order, from, to, .. } = self;
        let begun = Instant::now();
        let flags = SocketFlags::CLOEXEC;
        let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| system("make a pair of sockets")(error.into()))?;
        let (output, into) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| system("make a pipe")(error.into()))?;
        let line = Line { control, output: File::from(output) };
        let ours = theirs.try_clone().map_err(system("make a pair of sockets"))?;
        let (hand, taken) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::new(Instant::now()));
        let output = Arc::new(Mutex::new(Some(into)));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let abandoned = AtomicBool::new(false);
        let incoming = Incoming {
            from,
            control: theirs,
            output: Arc::clone(&output),
            heard: Arc::clone(&heard),
            offer: None,
            streams: Arc::clone(&streams),
            hand,
            ended: Arc::clone(&ended),
            words: String::new(),
        };
        let mut story = Story::new(&request.limits, begun);
        let mut carried = Carried::default();
        say(&to, Kind::Alive, b"").map_err(system("start the guest"))?;
        let (followed, words) = thread::scope(|scope| {
            let hearing: JoinHandle<String> = thread::spawn(move || incoming.hear());
            let outgoing = Outgoing {
                control: ours,
                to: &to,
                taken,
                ended: &ended,
                heard: &heard,
                output: &output,
                streams: &streams,
                abandoned: &abandoned,
            };
            scope.spawn(move || outgoing.speak(order.session.is_some(), kill));
            let followed = line.follow(&mut story, request, &mut carried, log, cancel);
            if followed.is_ok() && story.end.is_some() {
                let _gone = say(&to, Kind::Goodbye, b"");
            }
            // Both others end with their ends of it.
            let _told = shutdown(&line.control, Shutdown::Both);
            drop(line);
            while !hearing.is_finished() && !abandoned.load(Ordering::SeqCst) {
                thread::sleep(GLANCE);
            }
            // One that is abandoned ends whenever its stream does.
            let words = hearing.is_finished().then(|| hearing.join().unwrap_or_default());
            (followed, words)
        });
        drop(carried);
        run::open_work(request);
        followed?;
        Ok(match (story.end.take(), words) {
            (Some(end), _) => Ended::Whole(Box::new(run::outcome(order, story, end)?)),
            (None, Some(words)) => {
                let words = format!("{words}{}", story.words);
                Ended::Broken(Box::new(run::killed(order, story)), words)
            }
            (None, None) => Ended::Silent,
        })
    }
}

/// What comes from the relay.
struct Incoming {
    from: Box<dyn Read + Send>,
    control: OwnedFd,
    output: Arc<Mutex<Option<OwnedFd>>>,
    heard: Arc<Mutex<Instant>>,
    /// Where the content of what was offered goes, as long as it is taken.
    offer: Option<File>,
    streams: Arc<Mutex<Streams>>,
    /// Where the ends go that are carried the other way.
    hand: Sender<Feed>,
    ended: Arc<AtomicBool>,
    words: String,
}

/// Where what the command of a session writes goes, by its end.
type Streams = Vec<(u8, File)>;

/// The end of a session's stream that is carried to the relay.
enum Feed {
    /// This end, which is a terminal or a pipe.
    From(OwnedFd),
    /// The last piece was taken in.
    Taken,
}

impl Incoming {
    /// Hears the relay out, and returns its last words.
    fn hear(mut self) -> String {
        loop {
            match frames::read(&mut self.from) {
                Ok(None) => break,
                Ok(Some((kind, bytes))) => {
                    *held(&self.heard) = Instant::now();
                    if self.sort(kind, &bytes).is_err() {
                        // Nobody follows any more.
                        break;
                    }
                }
                Err(error) => {
                    self.words.push_str(&error.to_string());
                    break;
                }
            }
        }
        // In this order: the second wakes whoever looks at the first.
        *held(&self.output) = None;
        self.ended.store(true, Ordering::SeqCst);
        let _told = shutdown(&self.control, Shutdown::Both);
        self.words
    }

    fn sort(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        match kind {
            Kind::Printed => {
                let output = held(&self.output).as_ref().map(OwnedFd::try_clone).transpose()?;
                if let Some(output) = output {
                    File::from(output).write_all(bytes)?;
                }
            }
            Kind::PrintedEnd => *held(&self.output) = None,
            Kind::Alive => {}
            Kind::Words => self.words.push_str(&String::from_utf8_lossy(bytes)),
            Kind::Report => match serde_json::from_slice(bytes)? {
                Report::Stream(end) => self.stream(end)?,
                report => wire::send(&self.control, &report, None)?,
            },
            Kind::Offer => {
                let report: Report = serde_json::from_slice(bytes)?;
                let (content, into) = pipe_with(PipeFlags::CLOEXEC)?;
                wire::send(&self.control, &report, Some(content.as_fd()))?;
                self.offer = Some(File::from(into));
            }
            Kind::Content => {
                // Whoever takes it may have enough.
                let taken = self.offer.as_mut().is_some_and(|offer| offer.write_all(bytes).is_ok());
                if !taken {
                    self.offer = None;
                }
            }
            Kind::ContentEnd => self.offer = None,
            Kind::Stream => {
                let (end, bytes) = bytes.split_first().ok_or(io::ErrorKind::InvalidData)?;
                held(&self.streams)
                    .retain_mut(|(known, file)| known != end || file.write_all(bytes).is_ok());
            }
            Kind::StreamEnd => held(&self.streams).retain(|(end, _)| !bytes.contains(end)),
            Kind::Taken => drop(self.hand.send(Feed::Taken)),
            _ => return Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
        Ok(())
    }

    /// Makes the ends of a session's stream here.
    fn stream(&mut self, end: End) -> io::Result<()> {
        let report = Report::Stream(end);
        let hand_over =
            |descriptor: BorrowedFd<'_>| wire::send(&self.control, &report, Some(descriptor));
        match end {
            End::Terminal => {
                let (master, terminal) = session::pair()?;
                hand_over(master.as_fd())?;
                held(&self.streams).push((end as u8, File::from(terminal.try_clone()?)));
                let _over = self.hand.send(Feed::From(terminal));
            }
            End::Input => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                hand_over(write.as_fd())?;
                let _over = self.hand.send(Feed::From(read));
            }
            End::Output | End::Errors => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                hand_over(read.as_fd())?;
                held(&self.streams).push((end as u8, File::from(write)));
            }
        }
        Ok(())
    }
}

/// What goes to the relay.
struct Outgoing<'a> {
    control: OwnedFd,
    to: &'a Voice,
    taken: Receiver<Feed>,
    ended: &'a AtomicBool,
    heard: &'a Mutex<Instant>,
    output: &'a Mutex<Option<OwnedFd>>,
    streams: &'a Mutex<Streams>,
    abandoned: &'a AtomicBool,
}

impl Outgoing<'_> {
    /// Speaks until the relay is gone. When nobody follows any more it is told to end everything.
    fn speak(self, session: bool, kill: impl FnOnce()) {
        let mut kill = Some(kill);
        let mut said = Instant::now();
        let mut followed = true;
        let mut deadline: Option<Instant> = None;
        let mut parting: Option<Instant> = None;
        let mut silent = 0;
        let mut feed: Option<OwnedFd> = None;
        let (mut free, mut shown) = (true, None);
        while !self.ended.load(Ordering::SeqCst) {
            match self.taken.try_recv() {
                Ok(Feed::From(end)) => feed = Some(end),
                Ok(Feed::Taken) => free = true,
                Err(_) => {}
            }
            let ready = self.wait(followed, feed.as_ref().filter(|_| free), session);
            if ready.0 {
                let mut byte = [0];
                let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.control, &mut byte));
                followed = read == Ok(1);
                let byte = if followed { byte } else { [wire::DROP] };
                let _gone = say(self.to, Kind::Byte, &byte);
                let patience = match byte[0] {
                    wire::DROP => Some(PATIENCE),
                    wire::KILL => Some(LONG_PATIENCE),
                    _ => None,
                };
                if let Some(patience) = patience {
                    let until = Instant::now() + patience;
                    deadline = Some(deadline.map_or(until, |known| known.min(until)));
                }
            }
            if ready.1 {
                free = self.feed(&mut feed);
            }
            if let Some(size) = feed.as_ref().and_then(session::size)
                && shown != Some(size)
            {
                shown = Some(size);
                let (rows, columns) = size;
                let text = [rows.to_le_bytes(), columns.to_le_bytes()].concat();
                let _gone = say(self.to, Kind::Size, &text);
            }
            if said.elapsed() > HEARTBEAT {
                said = Instant::now();
                let _gone = say(self.to, Kind::Alive, b"");
            }
            // Whoever was stopped meanwhile hears first what came in the meantime.
            silent = if held(self.heard).elapsed() > SILENCE { silent + 1 } else { 0 };
            if (silent > LOOKS || deadline.is_some_and(|until| Instant::now() > until))
                && let Some(kill) = kill.take()
            {
                kill();
                parting = Some(Instant::now());
            }
            if parting.is_some_and(|since| since.elapsed() > PARTING) {
                self.abandon();
                return;
            }
        }
    }

    /// Ends what follows the relay as if its stream had ended.
    fn abandon(&self) {
        *held(self.output) = None;
        held(self.streams).clear();
        self.abandoned.store(true, Ordering::SeqCst);
        let _told = shutdown(&self.control, Shutdown::Both);
    }

    /// Waits a little for something to say: a byte of whoever follows, or a piece of input.
    fn wait(&self, followed: bool, feed: Option<&OwnedFd>, session: bool) -> (bool, bool) {
        let flags = |on: bool| if on { PollFlags::IN } else { PollFlags::empty() };
        let pause = match (followed, session) {
            // Its end of the socket tells nothing new any more, not even that all is over.
            (false, _) => Duration::from_millis(2),
            (true, true) => Duration::from_millis(20),
            (true, false) => Duration::from_millis(200),
        };
        let pause = Timespec { tv_sec: 0, tv_nsec: pause.as_nanos() as i64 };
        let mut ready = Vec::new();
        if followed {
            ready.push(PollFd::new(&self.control, flags(true)));
        }
        if let Some(feed) = feed {
            ready.push(PollFd::new(feed, flags(true)));
        }
        let _interrupted = poll(&mut ready, Some(&pause));
        let mut ready = ready.iter().map(|fd| !fd.revents().is_empty());
        (followed && ready.next() == Some(true), ready.next() == Some(true))
    }

    /// Carries one piece of input; whether the next may follow at once.
    fn feed(&self, feed: &mut Option<OwnedFd>) -> bool {
        let mut buffer = [0; 4096];
        let Some(from) = feed else { return true };
        match rustix::io::read(&*from, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => {
                let _gone = say(self.to, Kind::InputEnd, b"");
                *feed = None;
                true
            }
            Ok(count) => say(self.to, Kind::Input, &buffer[..count]).is_err(),
            Err(_) => true,
        }
    }
}
