//! A build's output on its way to the log: line by line to whoever watches, the last lines kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};

use super::cause::plain;
use crate::store::LogWriter;

/// How many of the last lines are kept.
const TAIL: usize = 40;

/// Longest line that is told or kept, in characters.
const LONGEST: usize = 200;

/// How much of a log's end is looked through for the cause, in bytes.
const ENDING: u64 = 8 << 20;

/// Writes everything to the log and tells every line.
pub struct Tee<F: FnMut(&str)> {
    log: LogWriter,
    tell: F,
    line: Vec<u8>,
    tail: VecDeque<String>,
}

impl<F: FnMut(&str)> Tee<F> {
    /// Writes to `log` and calls `tell` with every line.
    pub fn new(log: LogWriter, tell: F) -> Self {
        Self { log, tell, line: Vec::new(), tail: VecDeque::new() }
    }

    /// The log, and the last lines.
    pub fn finish(mut self) -> (LogWriter, Vec<String>) {
        if !self.line.is_empty() {
            self.end_line();
        }
        (self.log, self.tail.into())
    }

    fn end_line(&mut self) {
        let text = plain(&String::from_utf8_lossy(&self.line), LONGEST);
        self.line.clear();
        if text.is_empty() {
            return;
        }
        (self.tell)(&text);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text);
    }
}

impl<F: FnMut(&str)> Write for Tee<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.write_all(bytes)?;
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                // What goes beyond is in the log.
                _ if self.line.len() < 4 * LONGEST => self.line.push(*byte),
                _ => {}
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

/// The last part of what was written so far; empty if it cannot be read: then there is no cause
/// to be picked out, which is all that it is for.
pub fn ending(log: &LogWriter) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log.path())?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(ENDING)))?;
        let mut bytes = Vec::new();
        file.take(ENDING).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
