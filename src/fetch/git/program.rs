//! The git program, run so that nothing of the host or of the repository decides what it does.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::names::{self, Named};
use super::{environment, is_commit};
use crate::fetch::client::Client;
use crate::fetch::error::{Error, Result};
use crate::store::{Scratch, Store};

/// The largest repository that is fetched, in bytes on the disk.
const MAX_REPOSITORY: u64 = 16 << 30;
/// The most that a question may be answered with, in bytes.
const MAX_ANSWER: u64 = 256 << 20;
/// How long one call may take in all.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// How often it is looked after.
const TICK: Duration = Duration::from_millis(100);

/// Where what is fetched is kept: a tag could not be kept as a branch.
const PIN: &str = "refs/perestroika/pin";

/// The program with a bare repository of its own, which goes with it.
pub(super) struct Program<'a> {
    url: &'a str,
    scratch: Scratch,
    stall: Duration,
    cancel: &'a AtomicBool,
}

/// How much of a repository is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// One commit with its files.
    One,
    /// All commits with their files.
    All,
    /// All commits, and no files where the server can leave them out.
    Commits,
}

impl<'a> Program<'a> {
    /// The program, for fetching from `url`.
    pub fn new(
        store: &Store,
        client: &Client,
        url: &'a str,
        cancel: &'a AtomicBool,
    ) -> Result<Self> {
        let scratch = store.scratch()?;
        let this = Self { url, scratch, stall: client.patience().stall, cancel };
        this.run(&["init", "--quiet", "--bare", "--template=", "."], None)?;
        Ok(this)
    }

    /// The repository.
    pub fn url(&self) -> &str {
        self.url
    }

    /// Fetches a commit, which is what has the name `rev` where nothing else is said; gives its
    /// name and what kind of name `rev` is.
    pub fn fetch(&self, rev: &str, commit: Option<&str>, depth: Depth) -> Result<(String, Named)> {
        let wanted = match commit {
            Some(commit) => commit,
            None if is_commit(rev) => rev,
            None => {
                let (reference, named) = names::resolve(self, rev)?;
                self.get(&format!("+{reference}:{PIN}"), depth)?;
                return Ok((self.pinned(PIN)?, named));
            }
        };
        match self.get(&format!("+{wanted}:{PIN}"), depth) {
            Ok(()) => {}
            Err(error @ Error::Cancelled) => return Err(error),
            // Some servers give commits only by name of a branch: then it is below one of them.
            Err(error) => {
                let all = ["+refs/heads/*:refs/remotes/r/*", "+refs/tags/*:refs/tags/*"];
                let depth = if depth == Depth::One { Depth::All } else { depth };
                let got = all.iter().try_for_each(|refs| self.get(refs, depth));
                let there = self.run(&["cat-file", "-e", &format!("{wanted}^{{commit}}")], None);
                match (got, there) {
                    (Ok(()), Ok(_)) => {}
                    (_, _) if commit.is_some() => return Err(self.lost(rev, wanted, error)),
                    (Err(error), _) => return Err(error),
                    (Ok(()), Err(_)) => {
                        let why = "there is no such commit below its branches and tags";
                        return Err(self.error(format!("`{rev}`"), why.to_owned()));
                    }
                }
            }
        }
        Ok((self.pinned(wanted)?, Named::Commit))
    }

    /// What was pinned was there: that it is gone is nobody's mistake here.
    fn lost(&self, rev: &str, commit: &str, error: Error) -> Error {
        match error {
            Error::Git { url, why, .. } | Error::Unfit { url, why, .. } => Error::Git {
                url,
                what: format!("commit {commit} (`{rev}`)"),
                why: format!(
                    "{why}\nit can come from a store or bundle that has it, or from another \
                     repository"
                ),
            },
            error => error,
        }
    }

    fn pinned(&self, name: &str) -> Result<String> {
        let name = format!("{name}^{{commit}}");
        let answer =
            self.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name], None)?;
        let commit = String::from_utf8_lossy(&answer).trim().to_owned();
        if is_commit(&commit) {
            return Ok(commit);
        }
        Err(self.error(name, "is no commit".to_owned()))
    }

    /// Fetches as much as is needed, or more where the server knows nothing of less.
    fn get(&self, refs: &str, depth: Depth) -> Result<()> {
        let (less, more): (&[&str], &[&str]) = match depth {
            Depth::One => (&["--depth=1", "--no-tags"], &["--no-tags"]),
            Depth::All => (&["--no-tags"], &["--no-tags"]),
            Depth::Commits => (&["--filter=tree:0"], &[]),
        };
        match self.fetch_with(less, refs) {
            Err(Error::Git { .. }) if less != more => self.fetch_with(more, refs),
            result => result,
        }
    }

    fn fetch_with(&self, options: &[&str], refs: &str) -> Result<()> {
        const ALWAYS: [&str; 4] =
            ["fetch", "--quiet", "--no-write-fetch-head", "--no-recurse-submodules"];
        let arguments = [&ALWAYS, options, &["--", self.url, refs]].concat();
        self.run(&arguments, None).map(drop)
    }

    /// What the program answers; `input` is what it reads.
    pub fn run(&self, arguments: &[&str], input: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        self.stream(arguments, input, |out| {
            out.take(MAX_ANSWER + 1)
                .read_to_end(&mut answer)
                .map_err(|error| self.failed(arguments, &error.to_string()))?;
            if answer.len() as u64 > MAX_ANSWER {
                return Err(self.failed(arguments, "it says too much"));
            }
            Ok(())
        })?;
        Ok(answer)
    }

    /// Runs the program, whose output `consume` reads while it comes.
    pub fn stream(
        &self,
        arguments: &[&str],
        input: Option<Vec<u8>>,
        consume: impl FnOnce(&mut dyn Read) -> Result<()> + Send,
    ) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let mut child = self.command(arguments, input.is_some()).spawn().map_err(|error| {
            self.failed(arguments, &format!("cannot be started: {error}; is git installed?"))
        })?;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let write = child.stdin.take();
        thread::scope(|scope| {
            if let (Some(mut to), Some(input)) = (write, input) {
                // It may end before it has read everything: then its answer says why.
                scope.spawn(move || drop(to.write_all(&input)));
            }
            let said = scope.spawn(move || last_words(err.as_mut()));
            let (done, wait) = mpsc::channel::<()>();
            let read = scope.spawn(move || {
                let result = out.as_mut().map_or(Ok(()), |out| consume(out));
                drop(done);
                result
            });
            let ended = self.look_after(&mut child, &wait);
            let status = child.wait();
            let consumed = read.join().unwrap_or_else(|_| Err(Error::Cancelled));
            let said = said.join().unwrap_or_default();
            match (ended, status) {
                (Some(End::Cancelled), _) => Err(Error::Cancelled),
                (Some(End::TooLong), _) => Err(self.failed(arguments, "it takes too long")),
                (Some(End::TooLarge), _) => Err(self.failed(arguments, "it is too large")),
                (None, Ok(status)) if status.success() => consumed,
                // What ended early because its reader did is the reader's story.
                (None, Ok(_)) if consumed.is_err() => consumed,
                (None, Ok(_)) => Err(self.failed(arguments, &said)),
                (None, Err(error)) => Err(self.failed(arguments, &error.to_string())),
            }
        })
    }

    /// Waits until the output ends; ends the program where it must not go on.
    fn look_after(&self, child: &mut Child, output: &mpsc::Receiver<()>) -> Option<End> {
        let started = Instant::now();
        for turn in 0_u32.. {
            match output.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
            }
            let end = if self.cancel.load(Ordering::Relaxed) {
                End::Cancelled
            } else if started.elapsed() > LONGEST {
                End::TooLong
            } else if turn % 10 == 9 && size_below(self.scratch.path().as_path()) > MAX_REPOSITORY {
                End::TooLarge
            } else {
                continue;
            };
            // Its helpers too, which hold the output open.
            if let Some(group) =
                i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            return Some(end);
        }
        None
    }

    fn command(&self, arguments: &[&str], reads: bool) -> Command {
        let mut command = environment::fetching(self.scratch.path(), self.stall);
        command.process_group(0).args(arguments);
        if reads {
            command.stdin(Stdio::piped());
        }
        command
    }

    /// An error of this repository, which whoever named it can mend.
    pub fn error(&self, what: String, why: String) -> Error {
        Error::Unfit { url: shown(self.url), what, why }
    }

    fn failed(&self, arguments: &[&str], why: &str) -> Error {
        let action = arguments.first().copied().unwrap_or_default();
        let what = format!("`git {action}`");
        let why = why.to_owned();
        if let Some(line) = why.lines().find(|line| is_nowhere(line)) {
            let why = line.trim_start_matches("fatal: ").trim_start_matches("remote: ").to_owned();
            let what = "there is no repository that everybody may read".to_owned();
            return Error::Unfit { url: shown(self.url), what, why };
        }
        Error::Git { url: shown(self.url), what, why }
    }
}

/// Why a call was ended.
enum End {
    Cancelled,
    TooLong,
    TooLarge,
}

/// The last lines of what the program complained about, without what terminals would obey.
fn last_words(err: Option<&mut impl Read>) -> String {
    let mut tail: Vec<u8> = Vec::new();
    let mut piece = [0; 4096];
    if let Some(err) = err {
        while let Ok(count @ 1..) = err.read(&mut piece) {
            tail.extend_from_slice(&piece[..count]);
            tail.drain(..tail.len().saturating_sub(4096));
        }
    }
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<String> = text
        .split(['\n', '\r'])
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty())
        .collect();
    match lines.len() {
        0 => "it failed without a word".to_owned(),
        count => lines[count.saturating_sub(5)..].join("\n"),
    }
}

/// Whether the program, or a server through it, says so of an address where nothing is.
fn is_nowhere(line: &str) -> bool {
    const SAID: [&str; 5] = [
        "does not appear to be a git repository",
        "invalid gitfile format",
        "repository not exported",
        "could not read Username",
        "Repository not found",
    ];
    SAID.iter().any(|words| line.contains(words))
        || line.contains("repository '") && line.ends_with("' not found")
}

fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().map_while(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size_below(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A URL without the name of a user.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.find('/').unwrap_or(rest.len());
            let start = rest[..host].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[start..])
        }
        None => url.to_owned(),
    }
}
