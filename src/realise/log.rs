//! A build's output on its way to the log: line by line to whoever watches, the last lines kept.

use std::collections::VecDeque;
use std::io::{self, Write};

use crate::store::LogWriter;

/// How many of the last lines are kept.
const TAIL: usize = 40;

/// Longest line that is told or kept, in characters.
const LONGEST: usize = 200;

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
        let text = printable(&self.line);
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

/// A line as it may be shown: no control characters, so a hostile build cannot drive the terminal.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// The line of a failed build's last ones that most likely says why: the first that names an
/// error in the way compilers, make, dpkg and debhelper do.
pub fn cause(tail: &[String]) -> Option<String> {
    let consequence = |line: &str| {
        line.starts_with("make")
            || line.starts_with("dh_")
            || line.contains("dpkg-buildpackage: error")
    };
    let says_error = |line: &&String| {
        let lower = line.to_ascii_lowercase();
        ["error:", "fatal:", "unmet build dependencies", "not found", "cannot ", "failed"]
            .iter()
            .any(|word| lower.contains(word))
    };
    tail.iter()
        .filter(says_error)
        .find(|line| !consequence(line))
        .or_else(|| tail.iter().find(|line| line.contains("*** ")))
        .or_else(|| tail.iter().find(says_error))
        // Whoever tells the cause says that it is an error.
        .map(|line| line.trim().trim_start_matches("error: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_drive_the_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\tc\x07"), "a[2Jb c");
        assert_eq!(printable(&[b'x'; 1000]).len(), LONGEST);
    }

    #[test]
    fn the_cause_is_the_first_error_that_is_no_consequence() {
        let tail =
            ["cc -c x.c", "x.c:1:1: fatal error: y.h: No such file", "make: *** [x.o] Error 1"]
                .map(str::to_owned);
        assert_eq!(cause(&tail).as_deref(), Some("x.c:1:1: fatal error: y.h: No such file"));
        assert_eq!(cause(&["all well".to_owned()]), None);
        assert_eq!(cause(&["error: gone".to_owned()]).as_deref(), Some("gone"));
    }
}
