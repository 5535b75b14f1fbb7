//! Whoever dies, everything below dies with it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::modes;
use crate::tiny::{Tiny, anything_left, assert_nothing_left, executor, run, token};
use perestroika::sandbox::{Error, Verdict};
use rustix::process::{Pid, Signal, kill_process};

/// Set for a copy of a test that is to be killed: the number that its guests carry.
const VICTIM: &str = "PERESTROIKA_TEST_VICTIM";

/// Waits until no process carries the number, or fails after far longer than that may take.
fn assert_soon_nothing_left(token: &str) {
    let begun = Instant::now();
    while let Some(left) = anything_left(token) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{left}");
        std::thread::yield_now();
    }
}

/// Kills the child of this process with its first output.
struct Killing;

impl Write for Killing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for thread in fs::read_dir("/proc/self/task")?.flatten() {
            for child in fs::read_to_string(thread.path().join("children"))?.split(' ') {
                if let Some(child) = child.trim().parse().ok().and_then(Pid::from_raw) {
                    kill_process(child, Signal::KILL)?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Its process is a child of this one only where no engine stands between.
natively! {
    fn a_killed_sandbox_is_an_error_and_leaves_nothing() {
        let (tiny, token) = (Tiny::new(), token());
        let request = tiny.build(&format!("sleep {token} & echo on; sleep {token}"));
        let outcome = executor().run(&request, &mut Killing, &AtomicBool::new(false));
        assert!(matches!(outcome, Err(Error::Lost(_))), "{outcome:?}");
        assert_soon_nothing_left(&token);
        assert_nothing_left(&tiny, &token);
    }
}

in_every_mode! {
    fn a_killed_caller_leaves_nothing_running() {
        let tiny = Tiny::new();
        if let Ok(token) = std::env::var(VICTIM) {
            let mut request = tiny.build(&format!("sleep {token} & echo on; sleep {token}"));
            request.limits.wall = Duration::from_secs(1000);
            let _never = executor().run(&request, &mut io::stdout(), &AtomicBool::new(false));
            unreachable!("the victim lives");
        }
        let token = token();
        let name = "kills::a_killed_caller_leaves_nothing_running";
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture"])
            .env(VICTIM, &token)
            .env(modes::MODE, modes::now().unwrap_or_else(|| "victim".to_owned()))
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a victim");
        let mut output = victim.stdout.take().expect("a pipe");
        let mut seen = String::new();
        while !seen.contains("on\n") {
            let mut some = [0; 100];
            let count = io::Read::read(&mut output, &mut some).expect("output");
            assert_ne!(count, 0, "the victim ended by itself: {seen}");
            seen.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        assert!(anything_left(&token).is_some());
        victim.kill().expect("a kill");
        victim.wait().expect("an end");
        assert_soon_nothing_left(&token);
        assert_eq!(run(&tiny.build(":")).0.expect("a run").verdict, Verdict::Built);
    }
}
