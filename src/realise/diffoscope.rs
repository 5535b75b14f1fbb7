//! What diffoscope says of two files, where this machine has it.
//!
//! It is a tool of the host that opens whatever it finds, so it gets copies in a folder of its
//! own, no environment, no input, and limits of time, memory and output. Whatever goes wrong with
//! it is no failure: what differs is known without it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};

use crate::base::HostPath;
use crate::store::{self, Store};

/// How long it may take.
const TIME: Duration = Duration::from_secs(120);

/// How many bytes of what it says are kept.
const SAID: u64 = 256 << 10;

/// Bytes of memory and of a file that any of its processes may take.
const MEMORY: u64 = 4 << 30;

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Why it could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A copy could not be made.
    #[error("cannot copy `{path}` for diffoscope")]
    Copy {
        /// Of what.
        path: HostPath,
        /// Why.
        source: io::Error,
    },
}

/// What it says of two files that are both called `name`; nothing if it is not installed, or has
/// nothing to say within its limits.
pub fn ask(store: &Store, name: &str, files: [&HostPath; 2]) -> Result<Option<String>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match installed(&path) {
        Some(program) => ask_with(&program, TIME, store, name, files),
        None => Ok(None),
    }
}

fn installed(path: &OsStr) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("diffoscope"))
        .find(runs)
}

fn ask_with(
    program: &Path,
    time: Duration,
    store: &Store,
    name: &str,
    files: [&HostPath; 2],
) -> Result<Option<String>, Error> {
    let scratch = store.scratch()?;
    for (side, file) in ["old", "new"].into_iter().zip(files) {
        let folder = scratch.path().join(side);
        let copy = || {
            fs::create_dir(&folder)?;
            fs::copy(file, folder.join(name))
        };
        copy().map_err(|source| Error::Copy { path: file.clone(), source })?;
    }
    let child = Command::new(program)
        .args(["--text", "-", "--no-progress", "--max-report-size"])
        .arg(SAID.to_string())
        .args(["old", "new"].map(|side| Path::new(side).join(name)))
        .current_dir(scratch.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", scratch.path().as_path())
        .env("TMPDIR", scratch.path().as_path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    Ok(child.ok().and_then(|child| listen(child, time)))
}

/// What it prints until it ends, or its time does.
fn listen(mut child: Child, time: Duration) -> Option<String> {
    let process = Pid::from_child(&child);
    let most = || Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    for resource in [Resource::As, Resource::Fsize] {
        // What cannot be limited is stopped.
        if prlimit(Some(process), resource, most()).is_err() {
            let _ = kill_process_group(process, Signal::KILL);
        }
    }
    let out = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = out.take(SAID).read_to_end(&mut bytes);
        bytes
    });
    let began = Instant::now();
    while !matches!(child.try_wait(), Ok(Some(_)) | Err(_)) && began.elapsed() < time {
        if reader.is_finished() && began.elapsed() > PAUSE {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    // Also what it may have left behind, which would hold the pipe.
    let _ = kill_process_group(process, Signal::KILL);
    let _ = child.wait();
    let bytes = reader.join().ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diffoscope_gets_copies_and_nothing_else_and_is_ended_in_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let store = Store::open(&HostPath::new(path("store"))).expect("a new store");
        let program = |text: &str| {
            let program = path("diffoscope");
            fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("a file");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
            program
        };
        for (name, text) in [("a", "one"), ("b", "two")] {
            fs::write(path(name), text).expect("a file");
        }
        let files = [HostPath::new(path("a")), HostPath::new(path("b"))];
        let ask = |text: &str, time| {
            let files = [&files[0], &files[1]];
            ask_with(&program(text), time, &store, "x_1.deb", files).expect("copies are made")
        };
        let told = "for last; do :; done; cat old/x_1.deb \"$last\"; echo; env | grep -c CARGO; \
                    echo changed > old/x_1.deb; exit 1";
        assert_eq!(ask(told, TIME).as_deref(), Some("onetwo\n0\n"));
        assert_eq!(fs::read_to_string(path("a")).expect("a file"), "one");
        assert_eq!(ask("exit 2", TIME), None);
        assert_eq!(ask("echo begun; sleep 1000 & wait", PAUSE * 30).as_deref(), Some("begun\n"));
        assert_eq!(ask("yes", TIME).map(|said| said.len() as u64), Some(SAID));
        let none = installed(OsStr::new("relative:/nonexistent"));
        assert_eq!((none, installed(folder.path().as_os_str())), (None, Some(path("diffoscope"))));
    }
}
