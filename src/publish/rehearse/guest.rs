//! One run of the guest, and what it tells.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::error::Result;
use crate::base::{GuestPath, HostPath};
use crate::sandbox::{
    Access, Executor, Guise, Limits, Mount, Observe, Request, Scratch, Stage, Verdict,
};

/// What runs in it.
pub(super) const SCRIPT: &str = include_str!("guest.pl");

/// Where it finds its script, the keys and the sources.
pub(super) const INPUTS: &str = "/run/rehearsal";

/// Where in its folder on disk what it writes over its root goes, and what overlayfs needs beside.
pub(super) const UPPER: &str = "over/upper";
pub(super) const WORK: &str = "over/work";

/// A client is no build: these bounds only end what runs away.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(3600),
    silence: Duration::from_secs(900),
    memory: 4 << 30,
    processes: 4096,
    scratch: 8 << 30,
    inodes: 1 << 20,
    output: 64 << 20,
    cores: Vec::new(),
};

/// At most so many bytes of what a guest tells are kept.
const MOST: usize = 32 << 20;

/// What a run is over and with.
pub(super) struct Run<'a> {
    /// The root, the lowest layer first.
    pub layers: Vec<HostPath>,
    /// Folders of the host and where the guest finds them.
    pub places: Vec<(HostPath, String)>,
    /// All that is written goes there; [`UPPER`] and [`WORK`] in it are folders.
    pub disk: &'a HostPath,
    /// The mode and its words.
    pub words: Vec<String>,
}

/// What a guest told, and how it ended.
pub(super) struct Story {
    /// Words and their texts, in order.
    pub told: Vec<(String, Vec<String>)>,
    /// Why it did not come to its end; none if it did.
    pub broken: Option<&'static str>,
    /// Whether somebody told us to stop.
    pub cancelled: bool,
}

impl Story {
    /// The texts of every line of this word.
    pub fn of<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a [String]> {
        self.told.iter().filter(move |(told, _)| told == word).map(|(_, texts)| texts.as_slice())
    }
}

impl Run<'_> {
    /// Runs it to its end.
    pub fn run(self, executor: &dyn Executor, cancel: &AtomicBool) -> Result<Story> {
        let guest = |path: &str| path.parse::<GuestPath>().expect("our own paths are plain");
        let mounts = self.places.into_iter().map(|(source, target)| Mount {
            source,
            target: guest(&target),
            access: Access::ReadOnly,
        });
        let token = token();
        let script = format!("{INPUTS}/guest.pl");
        let first = ["/usr/bin/perl", script.as_str(), token.as_str()].map(str::to_owned);
        let config = format!("{INPUTS}/apt.conf");
        let env = [
            ("APT_CONFIG", config.as_str()),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("DEBCONF_NOWARNINGS", "yes"),
        ];
        let request = Request {
            layers: self.layers,
            mounts: mounts.collect(),
            argv: first.into_iter().chain(self.words).collect(),
            env: BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned()))),
            cwd: guest("/"),
            stage: Stage::Configure { upper: self.disk.join(UPPER), work: self.disk.join(WORK) },
            limits: LIMITS,
            scratch: Scratch::Disk(self.disk.clone()),
            collect: None,
            keep: None,
            guise: Guise::default(),
            observe: Observe::Nothing,
        };
        let mut lines = Lines::default();
        let outcome = executor.run(&request, &mut lines, cancel)?;
        let text = String::from_utf8_lossy(&lines.0);
        let mut told: Vec<_> = text.lines().filter_map(|line| read(line, &token)).collect();
        let is_whole = told.pop_if(|(word, _)| word == "done").is_some();
        let broken = match outcome.verdict {
            Verdict::Built if is_whole => None,
            Verdict::Built | Verdict::Failed(_) => Some("something ended it before its time"),
            Verdict::Signalled(_) => Some("it was killed"),
            Verdict::TimedOut | Verdict::Silent => Some("it took too long"),
            Verdict::OutOfMemory => Some("it needed too much memory"),
            Verdict::OutOfSpace => Some("there was no space left"),
            Verdict::OutOfOutput => Some("it printed too much"),
            Verdict::Cancelled => Some("it was stopped"),
        };
        Ok(Story { told, broken, cancelled: outcome.verdict == Verdict::Cancelled })
    }
}

/// A word that what a package's scripts print does not hold by accident.
fn token() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

/// `TOKEN word hex…`; each text begins with `=`, so that an empty one can be seen.
fn read(line: &str, token: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.strip_prefix(token)?.strip_prefix(' ')?.split(' ');
    let word = words.next().filter(|word| !word.is_empty())?.to_owned();
    let text = |hex: &str| {
        let bytes = unhex(hex)?;
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"=")?).into_owned();
        Some(text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect())
    };
    let texts = words.map(text).collect::<Option<Vec<String>>>()?;
    Some((word, texts))
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

/// Keeps the first part of what comes.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MOST.saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..room.min(bytes.len())]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_token_are_read_and_only_whole_ones() {
        let line = |text: &str| read(text, "0123");
        assert_eq!(line("0123 done"), Some(("done".to_owned(), Vec::new())));
        let texts = vec![String::new(), "a b".to_owned()];
        assert_eq!(line("0123 x 3d 3d611b62"), Some(("x".to_owned(), texts)));
        for bad in [
            "",
            "0123",
            "0123done",
            "0124 done",
            " 0123 done",
            "0123 ",
            "0123 x 3",
            "0123 x 3g",
            "0123 x 61",
            "0123 x  3d",
            "0123 x é",
            "0123 x +d",
        ] {
            assert_eq!(line(bad), None, "{bad}");
        }
    }
}
