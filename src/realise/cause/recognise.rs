//! The table of recognisers: what the tools of a build print when they fail.

use super::{Kind, is_end, tests_failed};
use crate::archive::deb::contents::Wanted;
use crate::realise::lacks::lacks;

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How telling it is.
    pub rank: Rank,
    /// What kind of failure it tells of.
    pub kind: Kind,
    /// The cause; of a test, its name.
    pub text: String,
}

/// How telling a line is, the most telling first: of two lines the more telling one is the cause,
/// of two that are equal the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It explains whatever else failed.
    Root,
    /// A test failed; what tests print beside that is often made to look like errors.
    Test,
    /// A tool names what is wrong.
    Error,
    /// A step names what it lacks, or that its tests failed, without saying why.
    Step,
    /// Something failed because of something else.
    Consequence,
    /// It looks like an error.
    Guess,
}

/// One recogniser: for one kind, at one rank.
struct Recogniser {
    kind: Kind,
    rank: Rank,
    matches: fn(&str) -> bool,
}

const fn of(kind: Kind, rank: Rank, matches: fn(&str) -> bool) -> Recogniser {
    Recogniser { kind, rank, matches }
}

/// In the order in which they are asked; the first that matches a line has it.
const TABLE: [Recogniser; 19] = [
    of(Kind::Patch, Rank::Root, patch),
    of(Kind::Dependency, Rank::Root, unmet),
    of(Kind::Space, Rank::Root, space),
    of(Kind::Memory, Rank::Root, memory),
    of(Kind::Killed, Rank::Root, killed),
    of(Kind::Network, Rank::Root, network),
    of(Kind::Dependency, Rank::Test, python_module),
    of(Kind::Linker, Rank::Error, linker),
    of(Kind::Dependency, Rank::Error, lacking),
    of(Kind::Configure, Rank::Error, configure),
    of(Kind::Compiler, Rank::Error, compiler),
    of(Kind::Configure, Rank::Step, |line| line.starts_with("CMake Error")),
    of(Kind::Rpmbuild, Rank::Error, rpmbuild),
    of(Kind::Rpmbuild, Rank::Step, |line| line.starts_with("error: Bad exit status from ")),
    of(Kind::Tests, Rank::Step, |line| line.starts_with("dh_auto_test: error: ")),
    of(Kind::Packaging, Rank::Step, packaging),
    of(Kind::Make, Rank::Step, no_rule),
    of(Kind::Make, Rank::Consequence, is_end),
    of(Kind::Other, Rank::Guess, guess),
];

/// What the line tells, if anything.
pub fn recognise(line: &str) -> Option<Found> {
    if let Some(name) = tests_failed::failed(line) {
        return Some(Found { rank: Rank::Test, kind: Kind::Tests, text: name.to_owned() });
    }
    let found = TABLE.iter().find(|recogniser| (recogniser.matches)(line))?;
    let text = line.trim();
    // The kind says it already.
    let text = match found.kind {
        Kind::Network => around(text),
        Kind::Killed if text == "Killed" => "a program of the build was killed",
        Kind::Make => text.split_once("*** ").map_or(text, |(_, said)| said),
        Kind::Configure => text.strip_prefix("configure: error: ").unwrap_or(text),
        Kind::Patch => text.strip_prefix("error: ").unwrap_or(text).trim_end_matches(':'),
        Kind::Rpmbuild | Kind::Other => text.strip_prefix("error: ").unwrap_or(text),
        _ => text,
    };
    Some(Found { rank: found.rank, kind: found.kind, text: text.to_owned() })
}

/// What the line tells if it is the last one before a step failed: how a shell names the signal
/// that ended a program, and the forms in which most tools say why they end.
pub fn last_words(line: &str) -> Option<Found> {
    let text = line.trim();
    let signal = text.strip_suffix(" (core dumped)").unwrap_or(text);
    let kind = match signal {
        signal if SIGNALS.contains(&signal) => Kind::Killed,
        _ if tool_said(text) => Kind::Other,
        _ => return None,
    };
    Some(Found { rank: Rank::Consequence, kind, text: text.to_owned() })
}

/// What a shell prints of a program that a signal ended.
const SIGNALS: [&str; 6] = [
    "Aborted",
    "Bus error",
    "Floating point exception",
    "Illegal instruction",
    "Segmentation fault",
    "Trace/breakpoint trap",
];

/// `TOOL: message`, and Perl's `message at FILE line N.`; not what begins like one and is no
/// complaint.
fn tool_said(line: &str) -> bool {
    const NO_COMPLAINT: [&str; 5] = [": warning: ", ": info: ", ": note: ", "PASS: ", "libtool: "];
    if is_end(line) || line.starts_with("make") || NO_COMPLAINT.iter().any(|no| line.contains(no)) {
        return false;
    }
    let by_tool = line.split_once(": ").is_some_and(|(tool, said)| {
        let of_name = |c: char| c.is_ascii_alphanumeric() || "_./+-".contains(c);
        !tool.is_empty() && tool.chars().all(of_name) && !said.trim().is_empty()
    });
    by_tool || (line.contains(" at ") && line.contains(" line ") && line.ends_with('.'))
}

/// Our own words, `patch`, and dpkg-source when it applies a series.
fn patch(line: &str) -> bool {
    (line.starts_with("error: patch ") && line.contains(" does not apply"))
        || line.starts_with("patch: **** ")
        || (line.starts_with("dpkg-source: error: ") && line.contains("patch"))
        || (line.starts_with("Hunk #") && line.contains(" FAILED at "))
}

/// dpkg-checkbuilddeps, and rpmbuild's list.
fn unmet(line: &str) -> bool {
    line.contains("error: Unmet build dependencies: ")
        || line.contains("error: Unmet build conflicts: ")
        || (line.trim_end().contains(" is needed by ") && line.starts_with([' ', '\t']))
}

fn space(line: &str) -> bool {
    line.contains("No space left on device") || line.contains("Disk quota exceeded")
}

fn memory(line: &str) -> bool {
    line.contains("virtual memory exhausted")
        || line.contains("Cannot allocate memory")
        || line.contains("out of memory allocating")
        || line.ends_with("std::bad_alloc")
        || line.ends_with("MemoryError")
}

/// A shell's words, and the compiler driver's.
fn killed(line: &str) -> bool {
    line == "Killed"
        || line.ends_with(": Killed")
        || line.contains("Killed signal terminated program")
        || (line.contains("internal compiler error: ") && line.contains("signal terminated"))
}

/// The words of the C library for a machine without a network, and of what is above it.
const NO_NETWORK: [&str; 7] = [
    "Could not resolve host",
    "Couldn't resolve host",
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Network is unreachable",
    "Name or service not known",
    "getaddrinfo EAI_AGAIN",
];

fn network(line: &str) -> bool {
    NO_NETWORK.iter().any(|words| line.contains(words))
}

/// What stands around the words: Python's libraries put much in front of them.
fn around(line: &str) -> &str {
    const BEFORE: usize = 80;
    let at = NO_NETWORK.iter().filter_map(|words| line.find(words)).min().unwrap_or(0);
    if at <= BEFORE {
        return line;
    }
    let from = line[..at].rfind(": ").map_or(at, |colon| colon + 2);
    line.get(from..).unwrap_or(line)
}

fn python_module(line: &str) -> bool {
    line.contains("ModuleNotFoundError: No module named ")
}

fn linker(line: &str) -> bool {
    line.contains(": undefined reference to ")
        || line.contains(": multiple definition of ")
        || line.contains("ld: cannot find ")
        || line.contains("ld: error: ")
        || line.contains("undefined symbol: ")
}

/// What configure scripts, build systems and shells did not find. A header is the compiler's.
fn lacking(line: &str) -> bool {
    lacks(line).iter().any(|wanted| !matches!(wanted, Wanted::Header(_)))
}

fn configure(line: &str) -> bool {
    line.starts_with("configure: error: ")
        || (line.contains("meson.build:") && line.contains(": ERROR: "))
}

/// Compilers that speak of no line: the file itself is not there, or a flag is unknown.
const DRIVERS: [&str; 8] = ["cc", "cc1", "cc1plus", "gcc", "g++", "c++", "clang", "clang++"];

/// `x.c:3:10: error: …`, `x.c:3: fatal error: …`; rustc `error[E0425]: …`; javac, valac and others
/// have the first form.
fn compiler(line: &str) -> bool {
    if line.starts_with("error[E") {
        return true;
    }
    let Some((place, _)) =
        line.split_once(": error: ").or_else(|| line.split_once(": fatal error: "))
    else {
        return false;
    };
    if DRIVERS.contains(&place.rsplit('/').next().unwrap_or_default()) {
        return true;
    }
    let mut parts = place.split(':');
    let is_file = parts.next().is_some_and(|file| file.contains('.') && !file.contains(' '));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    is_file && parts.next().is_some_and(is_number)
}

/// What rpmbuild says, beside that a section ended with an error.
fn rpmbuild(line: &str) -> bool {
    line.starts_with("error: Installed (but unpackaged) file(s) found")
        || line.starts_with("error: File not found: ")
        || line.starts_with("error: Failed build dependencies")
        || (line.starts_with("error: line ") && line.contains(".spec"))
}

/// dpkg's and debhelper's tools by name, and our own checks of the packaging.
fn packaging(line: &str) -> bool {
    let tool = |prefix: &str| line.starts_with(prefix) && line.contains(": error: ");
    let by_step = line.starts_with("dh_auto_") || line.starts_with("dpkg-buildpackage: ");
    ((tool("dh_") || tool("dpkg-") || tool("dh: ")) && !by_step)
        || line.starts_with("dh: error: ")
        || (line.starts_with("dh_")
            && line.contains(": warning: ")
            && line.contains(" missing files: "))
        || line.starts_with("error: debian/control ")
        || line.starts_with("error: the release builds ")
        || line.starts_with("error: the patches change debian/control")
        || (line.starts_with("error: Build-") && line.contains(" of debian/control "))
}

fn no_rule(line: &str) -> bool {
    line.starts_with("make") && line.contains("*** No rule to make target ")
}

/// Words that tools without a form of their own use.
fn guess(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    ["error:", "fatal:", "cannot ", "not found", "failed"].iter().any(|word| lower.contains(word))
        && !line.starts_with("checking ")
        && !line.starts_with("-- ")
}
