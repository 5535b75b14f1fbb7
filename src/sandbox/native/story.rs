//! What the calling program has seen of a run, and the verdict that follows from it.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::wire::{self, End, Stop};
use crate::sandbox::{Error, Limits, Observed, Result, Verdict};

/// What has been seen of a run.
pub struct Story<'a> {
    limits: &'a Limits,
    /// When it began.
    pub begun: Instant,
    heard: Instant,
    kept: u64,
    /// Bytes of collected files.
    pub copied: u64,
    /// Whether a file was left out because it would be more than scratch may hold.
    pub too_large: bool,
    said: Option<u8>,
    sentence: Option<Verdict>,
    /// What came that is no report.
    pub words: String,
    /// The last report.
    pub end: Option<End>,
    /// Names of collected files.
    pub collected: Vec<String>,
    /// The files that were opened.
    pub observed: Option<Observed>,
}

impl<'a> Story<'a> {
    /// The story of a run that began then.
    pub fn new(limits: &'a Limits, begun: Instant) -> Self {
        Self {
            limits,
            begun,
            heard: begun,
            kept: 0,
            copied: 0,
            too_large: false,
            said: None,
            sentence: None,
            words: String::new(),
            end: None,
            collected: Vec::new(),
            observed: None,
        }
    }

    /// Keeps what was printed, as far as it may be kept.
    pub fn printed(&mut self, bytes: &[u8], log: &mut dyn Write) -> Result<()> {
        self.heard = Instant::now();
        let left = self.limits.output.saturating_sub(self.kept);
        let keep = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        log.write_all(&bytes[..keep]).map_err(Error::Log)?;
        self.kept += keep as u64;
        if keep < bytes.len() {
            self.sentence.get_or_insert(Verdict::OutOfOutput);
        }
        Ok(())
    }

    /// Decides whether time is up.
    pub fn judge(&mut self, cancel: &AtomicBool) {
        if self.sentence.is_some() || self.end.is_some() {
            return;
        }
        let now = Instant::now();
        if cancel.load(Ordering::Relaxed) {
            self.sentence = Some(Verdict::Cancelled);
        } else if now - self.begun > self.limits.wall {
            self.sentence = Some(Verdict::TimedOut);
        } else if now - self.heard > self.limits.silence {
            self.sentence = Some(Verdict::Silent);
        }
    }

    /// What the sandbox is to be told, once: to end it, or that nothing is to be kept either.
    pub fn order(&mut self, cancel: &AtomicBool) -> Option<u8> {
        let wanted = match (self.sentence, cancel.load(Ordering::Relaxed)) {
            (_, true) => wire::DROP,
            (Some(_), false) => wire::KILL,
            (None, false) => return None,
        };
        let new = self.said != Some(wanted) && self.said != Some(wire::DROP);
        new.then(|| {
            self.said = Some(wanted);
            wanted
        })
    }

    /// How it ended, all things seen; none if nothing of it and nobody here ended it.
    pub fn verdict(&self, end: &End) -> Option<Verdict> {
        // What it printed counts even when it ended before it could be stopped.
        if self.sentence == Some(Verdict::OutOfOutput) {
            return self.sentence;
        }
        Some(match (end.command, end.stopped) {
            (Some(Ok(0)), _) if self.too_large => Verdict::OutOfSpace,
            (Some(Ok(0)), _) => Verdict::Built,
            (_, Some(Stop::Memory)) => Verdict::OutOfMemory,
            (_, Some(Stop::Space)) => Verdict::OutOfSpace,
            (None, None) if self.sentence.is_some() => return self.sentence,
            (Some(_), None) if end.out_of_memory => Verdict::OutOfMemory,
            (Some(_), None) if end.full => Verdict::OutOfSpace,
            (Some(Ok(code)), None) => Verdict::Failed(code),
            (Some(Err(signal)), None) => Verdict::Signalled(signal),
            (None, None) if end.out_of_memory => Verdict::OutOfMemory,
            (None, None) => return None,
        })
    }

    /// What to add to the news of its death.
    pub fn last_words(&self) -> String {
        if self.words.is_empty() { String::new() } else { format!(": {}", self.words.trim()) }
    }
}
