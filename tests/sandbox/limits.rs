//! Commands that take too much of something end with the right verdict, and leave nothing.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::tiny::{Tiny, assert_nothing_left, executor, run, token};
use perestroika::sandbox::{Limits, Scratch, Verdict};

const SOON: Duration = Duration::from_millis(700);
const MEGABYTE: u64 = 1 << 20;

/// Runs a script with other limits, `@` being a number of its own; nothing may be left of it.
#[track_caller]
fn check(script: &str, change: impl FnOnce(&mut Limits), wanted: Verdict) -> String {
    let tiny = Tiny::new();
    let token = token();
    let mut request = tiny.build(&script.replace('@', &token));
    change(&mut request.limits);
    let (outcome, log) = run(&request);
    assert_nothing_left(&tiny, &token);
    let outcome = outcome.expect("a run");
    assert_eq!(outcome.verdict, wanted, "{script}\n{:?}\n{log:.2000}", outcome.receipt);
    log
}

/// The same with scratch on disk.
#[track_caller]
fn check_on_disk(script: &str, change: impl FnOnce(&mut Limits), wanted: Verdict) {
    let tiny = Tiny::new();
    let mut request = tiny.build(script);
    request.scratch = Scratch::Disk(tiny.make("scratch"));
    change(&mut request.limits);
    let (outcome, log) = run(&request);
    assert_eq!(outcome.expect("a run").verdict, wanted, "{script}\n{log:.2000}");
}

in_every_mode! {
    fn a_command_that_takes_too_long_ends() {
        check("sleep @", |limits| limits.wall = SOON, Verdict::TimedOut);
        check("while :; do echo @; done", |limits| {
            limits.wall = SOON;
            limits.output = u64::MAX;
        }, Verdict::TimedOut);
    }

    fn a_command_that_is_silent_too_long_ends() {
        let log = check("echo on; sleep @", |limits| limits.silence = SOON, Verdict::Silent);
        assert_eq!(log, "on\n");
    }

    fn a_command_that_prints_too_much_ends_and_the_log_is_cut() {
        let log = check("yes @", |limits| limits.output = 10_000, Verdict::OutOfOutput);
        assert_eq!(log.len(), 10_000);
    }

    fn a_command_that_prints_as_much_as_it_may_is_built() {
        let log = check("echo 123456789", |limits| limits.output = 10, Verdict::Built);
        assert_eq!(log, "123456789\n");
    }

    fn a_command_ends_when_it_is_cancelled() {
        struct Cancelling<'a>(&'a AtomicBool);
        impl Write for Cancelling<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.store(true, Ordering::Relaxed);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (tiny, token, cancel) = (Tiny::new(), token(), AtomicBool::new(false));
        let script = format!("trap '' INT TERM HUP; sleep {token} & echo on; sleep {token}");
        let outcome = executor().run(&tiny.build(&script), &mut Cancelling(&cancel), &cancel);
        assert_nothing_left(&tiny, &token);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Cancelled);
    }

    fn a_command_ends_when_its_log_is_full() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (tiny, token) = (Tiny::new(), token());
        let request = tiny.build(&format!("echo on; sleep {token}"));
        let outcome = executor().run(&request, &mut Full, &AtomicBool::new(false));
        assert_nothing_left(&tiny, &token);
        assert!(outcome.is_err());
    }

    fn memory_is_limited() {
        let little = |limits: &mut Limits| limits.memory = 64 * MEGABYTE;
        // `tail` keeps its last line, which never ends.
        check("tail /dev/zero", little, Verdict::OutOfMemory);
        check("tail /dev/zero; exit 3", little, Verdict::OutOfMemory);
        let scratch = |limits: &mut Limits| {
            limits.memory = 64 * MEGABYTE;
            limits.scratch = 1 << 40;
        };
        check("cat /dev/zero >/build/much; sleep @", scratch, Verdict::OutOfMemory);
    }

    fn memory_that_many_processes_share_counts_once() {
        let script = "a=$(head -c 20000000 /dev/zero | tr '\\0' x)
            for i in 1 2 3 4 5 6 7 8; do (sleep 0.4; :) & done; wait";
        check(script, |limits| limits.memory = 150 * MEGABYTE, Verdict::Built);
    }

    fn processes_are_limited() {
        let few = |limits: &mut Limits| limits.processes = 30;
        let log = check("while sleep @ & do :; done", few, Verdict::Failed(2));
        assert!(log.contains("can't fork"), "{log}");
        check("f() { while :; do (f) & done; }; f 2>/dev/null", few, Verdict::Failed(2));
        let enough = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1 & done; wait";
        check(enough, |limits| limits.processes = 10, Verdict::Built);
    }

    fn scratch_is_limited() {
        let little = |limits: &mut Limits| limits.scratch = 8 * MEGABYTE;
        for place in ["/build", "/tmp", "/var/tmp", "/run", "/dev/shm"] {
            check(&format!("cat /dev/zero >{place}/much"), little, Verdict::OutOfSpace);
        }
        let few = |limits: &mut Limits| limits.inodes = 100;
        check("i=0; while echo >/tmp/$i; do i=$((i + 1)); done; exit 1", few, Verdict::OutOfSpace);
        check("head -c 4000000 /dev/zero >/tmp/some; exit 1", little, Verdict::Failed(1));
    }

    fn scratch_on_disk_is_limited() {
        let little = |limits: &mut Limits| limits.scratch = 8 * MEGABYTE;
        check_on_disk("cat /dev/zero >/build/much", little, Verdict::OutOfSpace);
        let few = |limits: &mut Limits| limits.inodes = 100;
        check_on_disk("i=0; while echo >/tmp/$i; do i=$((i + 1)); done", few, Verdict::OutOfSpace);
        check_on_disk("head -c 4000000 /dev/zero >/tmp/some; exit 1", little, Verdict::Failed(1));
        check_on_disk("echo >/run/x && echo >/var/tmp/x && echo >/dev/shm/x", little, Verdict::Built);
    }

    fn whatever_a_command_leaves_running_ends_with_it() {
        let script = "(sleep @ &); setsid sh -c 'trap \"\" HUP; sleep @ & sleep @' & echo off";
        assert_eq!(check(script, |_| {}, Verdict::Built), "off\n");
    }
}
