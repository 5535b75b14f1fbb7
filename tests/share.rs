//! Places for builds that all processes on a store share: who comes first when there are not
//! enough of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use perestroika::base::HostPath;
use perestroika::store::{Error, Share, Store};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn share(folder: &Path, jobs: usize) -> Share {
    let store = Store::open(&HostPath::new(folder.join("store"))).unwrap();
    store.share(NonZeroUsize::new(jobs).unwrap())
}

/// Waits until so many wait for a place.
fn until_waiting(folder: &Path, count: usize) {
    let ticket = folder.join(format!("store/locks/.ticket-{}", count - 1));
    while !std::fs::read(&ticket).is_ok_and(|text| !text.is_empty()) {
        thread::yield_now();
    }
}

#[test]
fn there_are_as_many_places_as_whoever_wants_most_of_them_says() {
    let folder = tempfile::tempdir().unwrap();
    let (two, three) = (share(folder.path(), 2), share(folder.path(), 3));
    let stopped = AtomicBool::new(true);
    let cancelled = |share: &Share| match share.place(&stopped) {
        Err(Error::Cancelled { .. }) => true,
        other => panic!("{other:?}"),
    };
    assert!(cancelled(&two), "what is called off takes nothing");
    let first = two.place(&GO_ON).unwrap();
    let _second = two.place(&GO_ON).unwrap();
    let third = three.place(&GO_ON).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| three.place(&GO_ON));
        until_waiting(folder.path(), 1);
        assert!(!waits.is_finished(), "all three are taken");
        drop(first);
        drop(waits.join().unwrap().unwrap());
    });
    drop(third);
}

#[test]
fn who_has_fewest_places_comes_first_then_who_waited_longest() {
    let folder = tempfile::tempdir().unwrap();
    let (greedy, modest) = (share(folder.path(), 2), share(folder.path(), 2));
    let first = greedy.place(&GO_ON).unwrap();
    let second = greedy.place(&GO_ON).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let wait = |name: &'static str, share: &'static str, count: usize| {
            let tell = tell.clone();
            let from = if share == "greedy" { &greedy } else { &modest };
            scope.spawn(move || {
                let place = from.place(&GO_ON).unwrap();
                tell.send((name, place)).unwrap();
            });
            until_waiting(folder.path(), count);
        };
        wait("greedy", "greedy", 1);
        wait("modest", "modest", 2);
        wait("modest again", "modest", 3);
        drop(first);
        let (name, _modest) = told.recv().unwrap();
        assert_eq!(name, "modest", "it had none, and came later");
        // Each would have one: now the time counts.
        drop(second);
        let (name, greedy_place) = told.recv().unwrap();
        assert_eq!(name, "greedy");
        drop(greedy_place);
        assert_eq!(told.recv().unwrap().0, "modest again");
    });
}

#[test]
fn a_place_ends_with_the_process_that_held_it() {
    let folder = tempfile::tempdir().unwrap();
    let only = share(folder.path(), 1);
    drop(only.place(&GO_ON).unwrap());
    let path = folder.path().join("store/locks/.job-0");
    let mut holder = std::process::Command::new("flock")
        .args(["--exclusive", "--verbose"])
        .arg(&path)
        .args(["sh", "-c", "echo held; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim() != "held" {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0, "flock ended");
    }
    thread::scope(|scope| {
        let waits = scope.spawn(|| only.place(&GO_ON));
        until_waiting(folder.path(), 1);
        assert!(!waits.is_finished());
        holder.kill().unwrap();
        holder.wait().unwrap();
        // `sh` has the lock too, and ends with its input.
        drop(holder.stdin.take());
        drop(waits.join().unwrap().unwrap());
    });
}
