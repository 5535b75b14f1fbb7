//! Why a build failed: the one line of its log that says so, what kind of failure that is, and a
//! name under which the same failure of other packages is found.

mod fingerprint;
mod recognise;
mod tests_failed;

use crate::base::{Digest, PackageName};
use recognise::{Found, Rank, last_words, recognise};

/// How many lines around the end of a log are looked through.
const WINDOW: usize = 300;

/// How many of a log's last lines are looked at.
const LINES: usize = 50_000;

/// How much of a line is looked at, in characters.
const LONGEST: usize = 1000;

/// Longest cause, in characters.
const LONGEST_CAUSE: usize = 200;

/// How many failed tests are named.
const NAMED: usize = 3;

/// What went wrong, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What kind of failure it is.
    pub kind: Kind,
    /// What went wrong, in one line without control characters.
    pub text: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A compiler refused a source file.
    Compiler,
    /// A linker did not find everything, or found it twice.
    Linker,
    /// Tests of the package failed.
    Tests,
    /// Something was not there that the build needs.
    Dependency,
    /// The package's own configure script gave up.
    Configure,
    /// A patch does not apply.
    Patch,
    /// dpkg's or debhelper's tools refused the packaging.
    Packaging,
    /// rpmbuild refused the packaging.
    Rpmbuild,
    /// make had no rule, or a rule of its own failed.
    Make,
    /// Scratch was full.
    Space,
    /// It needed more memory than it may have.
    Memory,
    /// A signal ended it, or a program of it.
    Killed,
    /// It took longer, or was silent for longer, than it may.
    Time,
    /// It printed more than it may.
    Output,
    /// It wanted to reach other machines, and there is no network.
    Network,
    /// The user's input: what it needs cannot be had as it is asked for.
    Input,
    /// The machine.
    Machine,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind in words, as it stands before a cause.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compiler => "compiler",
            Self::Linker => "linker",
            Self::Tests => "test-suite",
            Self::Dependency => "missing dependency",
            Self::Configure => "configure",
            Self::Patch => "patch",
            Self::Packaging => "dpkg",
            Self::Rpmbuild => "rpmbuild",
            Self::Make => "make",
            Self::Space => "out of space",
            Self::Memory => "out of memory",
            Self::Killed => "killed",
            Self::Time => "out of time",
            Self::Output => "too much output",
            Self::Network => "network attempted",
            Self::Input => "input",
            Self::Machine => "machine",
            Self::Other => "other",
        }
    }
}

impl Cause {
    /// A cause in words of our own.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The kind and the cause; where the kind says nothing, the cause alone.
    pub fn line(&self) -> String {
        match self.kind {
            Kind::Input | Kind::Other => self.text.clone(),
            kind => format!("{}: {}", kind.as_str(), self.text),
        }
    }

    /// The name of this failure, the same for every package that fails like this: the BLAKE3 of
    /// the kind, a line feed, and the text without what differs from package to package (where
    /// files lie, line numbers, addresses, the package's own name).
    pub fn fingerprint(&self, package: &PackageName) -> Digest {
        let text = fingerprint::normal(&self.text, package.as_str());
        Digest::of(format!("{}\n{text}", self.kind.as_str()).as_bytes())
    }
}

/// The cause that the log of a failed build tells, if it tells any.
///
/// Only what led to the end counts. Lines that only repeat that something failed (`make: ***`)
/// tell where to look, and are the cause if nothing better is found there.
pub fn pick(log: &str) -> Option<Cause> {
    let lines = readable(log);
    let from = beginning_of_the_end(&lines).saturating_sub(WINDOW);
    let found: Vec<(usize, Found)> = lines[from..]
        .iter()
        .enumerate()
        .filter_map(|(at, line)| recognise(line).map(|found| (at, found)))
        .collect();
    // Whatever make was told to ignore is no cause.
    let ignored = lines[from..].iter().rposition(|line| line.ends_with("(ignored)"));
    let counts = |at: usize| ignored.is_none_or(|ignored| at > ignored);
    let best = found.iter().filter(|(at, _)| counts(*at)).min_by_key(|(_, found)| found.rank);
    let (at, best) = best?;
    // Only that a step failed is known: the tool that it ran may have said why, right above.
    if best.rank == Rank::Consequence
        && let Some(above) = (from + at).checked_sub(1).and_then(|above| last_words(&lines[above]))
    {
        return Some(Cause::new(above.kind, shortened(&above.text)));
    }
    let text = match best.kind {
        Kind::Tests if best.rank == Rank::Test => {
            let names = found.iter().filter(|(at, one)| counts(*at) && one.rank == Rank::Test);
            named(names.map(|(_, one)| one.text.as_str()))
        }
        // A line that ends like this says what is wrong on the next one.
        _ if best.text.ends_with(':') => {
            let next = lines.get(from + at + 1).map_or("", |line| line.trim());
            format!("{} {next}", best.text)
        }
        _ => best.text.clone(),
    };
    Some(Cause::new(best.kind, shortened(&text)))
}

/// The lines that may tell anything: the last ones, without colours, and without the files that
/// debhelper prints when a step fails: those tell of trials that were expected to fail.
fn readable(log: &str) -> Vec<String> {
    let all: Vec<&str> = log.lines().collect();
    let mut lines = Vec::new();
    let mut in_file = false;
    for line in &all[all.len().saturating_sub(LINES)..] {
        let line = plain(line, LONGEST);
        if in_file && line.starts_with("dh_auto_") {
            in_file = false;
        }
        in_file |= line.contains("tail -v -n \\+0 ");
        if !in_file && !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// Where the last chain of failures begins: one failure makes every caller of it fail, so the
/// first of those that stand close together is what the others are because of.
fn beginning_of_the_end(lines: &[String]) -> usize {
    let mut ends = lines.iter().enumerate().rev().filter(|(_, line)| is_end(line));
    let Some((mut first, _)) = ends.next() else { return lines.len() };
    for (at, _) in ends {
        if first - at > WINDOW {
            break;
        }
        first = at;
    }
    first
}

/// Whether the line says that a step failed because of something before it.
pub(super) fn is_end(line: &str) -> bool {
    let by_make = line.starts_with("make") && line.contains(": *** ");
    let by_helper = line.starts_with("dh_") && line.contains(": error: ");
    (by_make && !line.ends_with("(ignored)"))
        || by_helper
        || line.starts_with("ninja: build stopped")
        || line.starts_with("dpkg-buildpackage: error: ")
        || line.starts_with("error: Bad exit status from ")
}

/// `a, b and 3 more failed`.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    match more {
        0 => format!("{} failed", all.join(", ")),
        more => format!("{} and {more} more failed", all.join(", ")),
    }
}

/// A cause without the folder that every build lies in, and not longer than is read.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut parts = text.trim().split("/build/reproducible-path/");
    short.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let below = part.split_once('/').map(|(_, below)| below);
        short.push_str(below.unwrap_or(part));
    }
    short.chars().take(LONGEST_CAUSE).collect::<String>().trim_end().to_owned()
}

/// A line as it may be shown: no control characters and none of the sequences that they begin,
/// so a hostile build cannot drive the terminal; at most `longest` characters.
pub fn plain(line: &str, longest: usize) -> String {
    let mut text = String::new();
    let mut left = line.chars().peekable();
    let mut count = 0;
    while let Some(one) = left.next() {
        if count == longest {
            break;
        }
        // A control sequence ends with its first letter or other final byte (ECMA-48, 5.4).
        if one == '\u{1b}' && left.next_if_eq(&'[').is_some() {
            while left.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
            left.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
            continue;
        }
        let one = if one == '\t' { ' ' } else { one };
        if !one.is_control() {
            text.push(one);
            count += 1;
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(log: &str) -> Option<String> {
        pick(log).map(|cause| cause.line())
    }

    #[test]
    fn what_was_expected_to_fail_is_no_cause() {
        let tolerated = "FAIL: a.sh\nmake[1]: [check] Error 1 (ignored)\n\
                         dh_install: error: missing files, aborting\n";
        assert_eq!(
            said(tolerated).as_deref(),
            Some("dpkg: dh_install: error: missing files, aborting")
        );
        let dumped = "configure: error: no way\n\ttail -v -n \\+0 config.log\n==> config.log <==\n\
                      conftest.c:1: fatal error: x.h: No such file or directory\n\
                      dh_auto_configure: error: ./configure returned exit code 1\n";
        assert_eq!(said(dumped).as_deref(), Some("configure: no way"));
        assert_eq!(said("all is well\n"), None);
    }

    #[test]
    fn the_first_of_a_chain_counts_and_not_what_came_long_before() {
        let gap = "cc -c x.c\n".repeat(WINDOW + 1);
        let log = format!(
            "a.c:1: error: old\nmake: *** [a.o] Error 1\n{gap}b.c:2: error: new\n\
                           make[1]: *** [b.o] Error 1\nmake: *** [all] Error 2\n"
        );
        assert_eq!(said(&log).as_deref(), Some("compiler: b.c:2: error: new"));
    }

    #[test]
    fn what_a_tool_said_right_before_its_step_failed_is_the_cause() {
        let failed = |before: &str| {
            said(&format!(
                "make[1]: Entering directory '/x'\n{before}\n\
                 make[1]: *** [debian/rules:17: build] Error 1\nmake: *** [binary] Error 2\n"
            ))
        };
        for (line, cause) in [
            (
                "chown: changing ownership of 'x': Operation not permitted",
                "chown: changing ownership of 'x': Operation not permitted",
            ),
            ("Segmentation fault (core dumped)", "killed: Segmentation fault (core dumped)"),
            ("no such thing at tool.pl line 3.", "no such thing at tool.pl line 3."),
            ("cc -c x.c", "make: [debian/rules:17: build] Error 1"),
            ("libtool: compile:  cc -c x.c", "make: [debian/rules:17: build] Error 1"),
            ("dpkg-source: info: all is well", "make: [debian/rules:17: build] Error 1"),
        ] {
            assert_eq!(failed(line).as_deref(), Some(cause), "{line}");
        }
    }

    #[test]
    fn many_failed_tests_are_counted() {
        let log: String = (1..6).map(|n| format!("FAIL: t{n}.sh\n")).collect();
        assert_eq!(
            said(&log).as_deref(),
            Some("test-suite: t1.sh, t2.sh, t3.sh and 2 more failed")
        );
    }

    #[test]
    fn a_cause_cannot_drive_the_terminal() {
        let log = "\u{1b}[01m\u{1b}[Kx.c:1:2:\u{1b}[m \u{1b}[01;31merror: \u{1b}[mbad\u{7}\n";
        assert_eq!(said(log).as_deref(), Some("compiler: x.c:1:2: error: bad"));
        assert_eq!(plain("a\u{1b}[2Jb\tc\u{7}", 10), "ab c");
        assert_eq!(plain("\u{1b}[", 10), "");
        assert_eq!(plain(&"x".repeat(1000), 200).len(), 200);
    }
}
