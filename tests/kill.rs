//! A build that is killed at any moment: nothing finished is lost, nothing half-written is used,
//! nothing goes on running, and the next run completes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use perestroika::base::{ActionId, Digest, HostPath};
use perestroika::realise::buildroot::{EntryKind, Manifest};
use perestroika::store::{Store, Verdict};
use program::{PROGRAM, Release, debs};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// How often the build is killed.
const KILLS: usize = 10;

/// The seed of the moments at which it is.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[test]
fn a_build_survives_ten_kills() {
    let release = Release::copy_of("specs/demo");
    release.run("build", &["greet"]).ends_with(0);
    let undisturbed = release.debs();
    fs::remove_dir_all(release.path("out")).unwrap();

    let scene = Scene::new(release);
    let mut moments = Moments(SEED);
    let mut kept = BTreeMap::new();
    let mut verified = BTreeSet::new();
    let mut kills = Vec::new();
    // About as many events as there are before the build proper; later, as a whole run has.
    let mut most = 400;
    for round in 0.. {
        assert!(round < 4 * KILLS, "the build ends too soon too often: {kills:?}");
        if kills.len() == KILLS {
            break;
        }
        // So many events are waited for, then so long.
        let (events, pause) = (moments.below(most), Duration::from_millis(moments.below(600)));
        let mut run = scene.start();
        let seen = run.watch(events, pause);
        if let Some(code) = run.code() {
            assert_eq!(code, 0, "round {round} after {kills:?}: {}", seen.join("\n"));
            assert_eq!(debs(&scene.release.path("out")), undisturbed);
            most = seen.len() as u64;
            // Something to do for the next one, which gives the same packages again.
            let comment = format!("#include <stdio.h> /* {round} */");
            for file in ["src/greet/main.c", "src/libgreet/greet.c"] {
                scene.release.replace(file, "#include <stdio.h>", &comment);
            }
            continue;
        }
        let seen = [seen, run.kill()].concat();
        kills.push(seen.last().cloned().unwrap_or_default());
        scene.nothing_is_left();
        scene.everything_verifies(&mut verified);
        scene.nothing_was_lost(&mut kept, &seen);
    }
    println!("killed after: {kills:#?}");
    let mut run = scene.start();
    let (code, seen) = run.end();
    assert_eq!(code, Some(0), "after {kills:?}: {}", seen.join("\n"));
    scene.nothing_is_left();
    scene.everything_verifies(&mut BTreeSet::new());
    scene.nothing_was_lost(&mut kept, &seen);
    assert_eq!(debs(&scene.release.path("out")), undisturbed);
    let left: Vec<_> = fs::read_dir(scene.store.join("scratch")).unwrap().collect();
    assert!(left.is_empty(), "scratch is swept: {left:?}");
}

/// xorshift: the same moments in every run of this test.
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A release, a store of its own, and a program of its own, by which its processes are known.
struct Scene {
    release: Release,
    folder: tempfile::TempDir,
    program: PathBuf,
    store: PathBuf,
}

impl Scene {
    fn new(release: Release) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = folder.path().join("perestroika");
        fs::copy(PROGRAM, &program).unwrap();
        let store = folder.path().join("store");
        Self { release, folder, program, store }
    }

    fn start(&self) -> Running {
        let mut child = Command::new(&self.program)
            .arg("build")
            .arg(self.release.path(""))
            .args(["greet", "--progress", "json", "--store"])
            .arg(&self.store)
            .env_remove("PERESTROIKA_STORE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (lines, inbox) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        Running { child, inbox }
    }

    /// No process of the program or of its sandboxes, and no mount of the store.
    fn nothing_is_left(&self) {
        let begun = Instant::now();
        while let Some(left) = self.anything_left() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{left}");
            std::thread::yield_now();
        }
    }

    fn anything_left(&self) -> Option<String> {
        let program = fs::metadata(&self.program).unwrap();
        let marker = self.folder.path().to_str().unwrap();
        for entry in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
            let process = entry.path();
            let same =
                |found: &fs::Metadata| (found.dev(), found.ino()) == (program.dev(), program.ino());
            if fs::metadata(process.join("exe")).is_ok_and(|found| same(&found)) {
                return Some(format!("{} still runs", process.display()));
            }
            // Processes in a sandbox see the store's layers, this one any mount left outside.
            let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            if let Some(mount) = mounts.lines().find(|mount| mount.contains(marker)) {
                return Some(format!("{} has {mount}", process.display()));
            }
        }
        None
    }

    /// Every object and document is what its name says, every layer what its manifest says. What
    /// was `verified` before is left out, and what was now is added.
    fn everything_verifies(&self, verified: &mut BTreeSet<(&'static str, Digest)>) {
        let store = self.open();
        let mut names = |folder: &'static str| -> Vec<Digest> {
            let entries = fs::read_dir(self.store.join(folder)).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .map(|name| name.trim_end_matches(".json").parse().unwrap())
                .filter(|digest| verified.insert((folder, *digest)))
                .collect()
        };
        for digest in names("objects") {
            store.verify(&digest).unwrap();
        }
        for digest in names("json") {
            store.read_json(&digest).unwrap();
        }
        let mut unregistered = Vec::new();
        for key in names("layers") {
            // One without a row was being put in its place: it is not used, and made again.
            let Some(layer) = store.layer(&key).unwrap() else {
                unregistered.push(key);
                continue;
            };
            assert!(!layer.divergent);
            let manifest = store.json(&layer.manifest).unwrap().unwrap();
            check_layer(layer.path.as_path(), &Manifest::from_json(&manifest).unwrap());
        }
        for key in unregistered {
            verified.remove(&("layers", key));
        }
        assert!(store.divergent_actions().unwrap().is_empty());
    }

    /// What was on record still is, and what was told as built is on record. Adds what is new.
    fn nothing_was_lost(&self, kept: &mut BTreeMap<ActionId, Digest>, seen: &[String]) {
        let store = self.open();
        for (action, record) in &*kept {
            assert_eq!(store.record(action).unwrap().unwrap().digest, *record);
        }
        let attempts = store.attempts(None, u32::MAX).unwrap();
        for attempt in &attempts {
            assert_ne!(attempt.verdict, Verdict::Running, "of a process that was killed");
            if attempt.verdict == Verdict::Built {
                let record = store.record(&attempt.action).unwrap().unwrap();
                assert_eq!(attempt.record, Some(record.digest));
                kept.insert(attempt.action, record.digest);
            }
        }
        for event in seen.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if event["event"] == "finished" && event["status"] == "built" {
                let newest = attempts
                    .iter()
                    .find(|attempt| event["package"] == attempt.package.as_str())
                    .unwrap();
                assert_eq!(newest.verdict, Verdict::Built, "{event} was told");
            }
        }
    }

    fn open(&self) -> Store {
        Store::open(&HostPath::new(&self.store)).unwrap()
    }
}

/// Every path of the manifest is there as it says.
fn check_layer(tree: &Path, manifest: &Manifest) {
    assert!(!manifest.entries.is_empty());
    for (path, entry) in &manifest.entries {
        let at = tree.join(path);
        let found = fs::symlink_metadata(&at).unwrap_or_else(|error| panic!("{path}: {error}"));
        match &entry.kind {
            EntryKind::File { size, blake3 } => {
                assert_eq!(found.len(), *size, "{path}");
                assert_eq!(Digest::of(&fs::read(&at).unwrap()), *blake3, "{path}");
            }
            EntryKind::Link(target) => {
                assert_eq!(fs::read_link(&at).unwrap(), Path::new(target), "{path}");
            }
            EntryKind::Directory | EntryKind::OpaqueDirectory => {
                assert!(found.is_dir(), "{path}");
            }
            EntryKind::Whiteout => {}
        }
    }
}

/// A build under way, in a process group of its own.
struct Running {
    child: Child,
    inbox: Receiver<String>,
}

impl Running {
    /// What it tells until it has told of so many events and so much time has gone by, or until
    /// it has ended.
    fn watch(&mut self, events: u64, pause: Duration) -> Vec<String> {
        let mut seen = Vec::new();
        while (seen.len() as u64) < events {
            match self.inbox.recv() {
                Ok(line) => seen.push(line),
                Err(_) => return seen,
            }
        }
        let until = Instant::now() + pause;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => return seen,
                Err(RecvTimeoutError::Disconnected) => return seen,
            }
        }
    }

    /// Its exit code, if it has ended.
    fn code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap())
    }

    /// Hears it out.
    fn end(&mut self) -> (Option<i32>, Vec<String>) {
        let seen = self.inbox.iter().collect();
        (self.child.wait().unwrap().code(), seen)
    }

    /// Kills its whole process group, and gives what it had told unheard.
    fn kill(&mut self) -> Vec<String> {
        let group = Pid::from_child(&self.child);
        rustix::process::kill_process_group(group, Signal::KILL).unwrap();
        self.child.wait().unwrap();
        self.inbox.iter().collect()
    }
}
