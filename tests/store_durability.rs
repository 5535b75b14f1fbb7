//! What the store promises when processes are killed, race, or run out of space.
//!
//! The tests that are ignored are the other processes: this binary runs itself with
//! `--ignored --exact NAME` for them, and what to do is in the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use perestroika::audit::history::judge;
use perestroika::base::{ActionId, DerivationId, Digest, HostPath, Json, Sha256};
use perestroika::store::{Aim, AttemptLog, BuiltRelease, Error, Fate, NewAttempt, Store, Verdict};

const FOLDER: &str = "PERESTROIKA_TEST_STORE";
const ROUNDS: &str = "PERESTROIKA_TEST_ROUNDS";
const FILES_OF_A_LAYER: u32 = 20;

fn this_binary(process: &str, folder: &Path, rounds: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--ignored", "--exact", "--nocapture", process]);
    command.env(FOLDER, folder).env(ROUNDS, rounds).stdout(Stdio::piped());
    command
}

fn told(name: &str) -> String {
    std::env::var(name).expect("run by another test, which says what to do")
}

fn open_told() -> Store {
    Store::open(&HostPath::new(told(FOLDER))).expect("the store opens")
}

/// Bytes of a number, different for each and of many sizes.
fn blob(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; (number as usize * 7919) % 300_000 + 4];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn record(number: u32) -> Json {
    Json::object([("outputs", number.into()), ("what", "a record".into())])
}

fn action(number: u32) -> ActionId {
    ActionId::of(&number.to_le_bytes())
}

fn key(number: u32) -> Digest {
    Digest::of(format!("layer {number}").as_bytes())
}

fn attempt(number: u32) -> NewAttempt {
    NewAttempt {
        package: format!("package-{number}").parse().expect("a name"),
        derivation: DerivationId::of(b"d"),
        action: action(number),
    }
}

/// Does one of everything, saying what is finished as soon as it is.
fn round(store: &Store, number: u32, say: &mut dyn FnMut(&str)) {
    let n = number;
    let (open, mut log) = store.start_attempt(&attempt(n), 1 << 20).expect("begun");
    store.put_file(&blob(n)[..], None).expect("put");
    say(&format!("object {n}"));
    let batch = store.batch();
    for n in n * 20..n * 20 + 20 {
        batch.put(&n.to_le_bytes()).expect("put");
    }
    batch.commit().expect("committed");
    say(&format!("batch {n}"));
    writeln!(log, "attempt {n}").expect("written");
    let staged = store.stage_layer().expect("staged");
    for file in 0..FILES_OF_A_LAYER {
        fs::write(staged.path().join(file.to_string()), format!("{n} {file}")).expect("written");
    }
    store.commit_layer(&key(n), staged, &Digest::of(b"manifest")).expect("kept");
    say(&format!("layer {n}"));
    let offered = Digest::of(b"offered");
    store
        .remember_resolution(&DerivationId::of(&n.to_le_bytes()), &offered, 1, &action(n))
        .expect("remembered");
    let batch = store.batch();
    let log = batch.put_log(&mut log).expect("kept");
    open.succeed(batch, &record(n), &log).expect("recorded");
    say(&format!("record {n}"));
    say(&format!("attempt {n}"));
}

#[test]
#[ignore = "another process of the tests in this file"]
fn writer_process() {
    let store = open_told();
    let rounds = told(ROUNDS);
    let (first, last) = rounds.split_once('-').expect("a range");
    let mut out = std::io::stdout();
    for number in first.parse().expect("a number")..last.parse().expect("a number") {
        round(&store, number, &mut |line| {
            writeln!(out, "done {line}").expect("said");
            out.flush().expect("said");
        });
    }
}

fn acknowledged(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().expect("piped"));
    out.lines().map_while(Result::ok).filter_map(|line| {
        // The test harness writes the name of the test before the first line.
        line.split_once("done ").map(|(_, what)| what.to_owned())
    })
}

/// Checks that all that was said to be done is there, and that nothing at all is half-written.
fn check(store: &Store, said: &BTreeSet<String>) {
    for line in said {
        let (what, number) = line.split_once(' ').expect("two words");
        let n: u32 = number.parse().expect("a number");
        match what {
            "object" => {
                let bytes = blob(n);
                assert!(store.read(&Digest::of(&bytes)).expect("kept") == bytes, "{line}");
                assert!(store.find(&Sha256::of(&bytes)).expect("looked up").is_some(), "{line}");
            }
            "batch" => (n * 20..n * 20 + 20)
                .for_each(|n| store.verify(&Digest::of(&n.to_le_bytes())).expect("kept")),
            "layer" => assert!(store.layer(&key(n)).expect("read").is_some(), "{line}"),
            "record" => {
                let adopted = store.record(&action(n)).expect("read").expect("kept");
                assert_eq!((adopted.record, adopted.divergent), (record(n), false), "{line}");
                let derivation = DerivationId::of(&n.to_le_bytes());
                let resolved = store.resolution(&derivation, &Digest::of(b"offered"), 1);
                assert_eq!(resolved.expect("read"), Some(action(n)), "{line}");
            }
            "attempt" => {
                let seen = store.attempts(Some(&attempt(n).package), 1).expect("read").remove(0);
                assert_eq!(seen.verdict, Verdict::Built, "{line}");
                let (text, _) = store.attempt_log(&seen).expect("read");
                assert_eq!(text, format!("attempt {n}\n").into_bytes());
            }
            other => panic!("`{other}` is nothing that is done"),
        }
    }
    let names = |folder: &str| -> Vec<String> {
        fs::read_dir(store.root().join(folder))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("plain"))
            .collect()
    };
    let journal = store.journal().expect("read");
    assert_eq!(judge(&journal, None).wrong, [], "it tells of every record");
    for name in names("objects") {
        store.verify(&name.parse().expect("a digest")).expect("whole");
    }
    for name in names("json") {
        let digest = name.strip_suffix(".json").expect("a document").parse().expect("a digest");
        store.read_json(&digest).expect("whole");
    }
    for name in names("logs") {
        match name.strip_suffix(".zst") {
            Some(digest) => {
                drop(store.read_log(&digest.parse().expect("a digest")).expect("whole"))
            }
            None => assert!(name.ends_with(".partial"), "{name}"),
        }
    }
    for name in names("layers") {
        if let Some(layer) = store.layer(&name.parse().expect("a digest")).expect("read") {
            assert_eq!(layer.manifest, Digest::of(b"manifest"));
            let files = fs::read_dir(&layer.path).expect("a layer").map(|entry| {
                fs::read_to_string(entry.expect("an entry").path()).expect("a file").len()
            });
            assert_eq!(files.filter(|length| *length > 0).count(), FILES_OF_A_LAYER as usize);
        }
    }
    for seen in store.attempts(None, 1000).expect("read") {
        assert_ne!(seen.verdict, Verdict::Running, "nobody runs: {seen:?}");
        match (seen.verdict, &seen.log) {
            (Verdict::Built, AttemptLog::Kept(_)) => {}
            (Verdict::Interrupted, AttemptLog::Partial(_)) => drop(store.attempt_log(&seen)),
            _ => panic!("{seen:?}"),
        }
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_finished_and_leaves_nothing_half_written() {
    let around = tempfile::tempdir().expect("a temporary folder");
    let folder = around.path().join("store");
    let mut said = BTreeSet::new();
    for kill in 0..16u32 {
        let rounds = format!("{}-{}", kill * 100, kill * 100 + 100);
        let mut child = this_binary("writer_process", &folder, &rounds).spawn().expect("started");
        let mut lines = acknowledged(&mut child);
        // After a number of finished things, and then at some point of the next.
        said.extend(lines.by_ref().take(kill as usize % 8 + 1));
        let moment = u32::from(blob(kill + std::process::id())[0]);
        (0..moment * 4000).for_each(|_| std::hint::spin_loop());
        child.kill().expect("killed");
        said.extend(lines); // what it had said by then
        child.wait().expect("gone");
        let store = Store::open(&HostPath::new(&folder)).expect("the store opens");
        assert_eq!(fs::read_dir(folder.join("scratch")).expect("a folder").count(), 0);
        check(&store, &said);
    }
    let rounds = "0-3";
    let status = this_binary("writer_process", &folder, rounds).status().expect("started");
    assert!(status.success(), "what was killed completes when it is run again");
}

#[test]
fn processes_that_do_the_same_at_once_agree() {
    let around = tempfile::tempdir().expect("a temporary folder");
    let folder = around.path().join("store");
    // The store itself does not exist yet either.
    let children: Vec<Child> = (0..4)
        .map(|_| this_binary("writer_process", &folder, "0-8").spawn().expect("started"))
        .collect();
    let mut said = BTreeMap::new();
    for mut child in children {
        for line in acknowledged(&mut child) {
            *said.entry(line).or_insert(0) += 1;
        }
        assert!(child.wait().expect("waited").success());
    }
    assert_eq!(said.len(), 8 * 5);
    assert!(said.values().all(|times| *times == 4), "{said:?}");
    let store = Store::open(&HostPath::new(&folder)).expect("the store opens");
    check(&store, &said.into_keys().collect());
    let objects = fs::read_dir(folder.join("objects")).expect("a folder").count();
    assert_eq!(objects, 8 + 8 * 20);
    for number in 0..8 {
        assert_eq!(store.records(&action(number)).expect("read").len(), 1);
    }
    assert_eq!(store.divergent_actions().expect("read"), BTreeSet::new());
}

#[test]
#[ignore = "another process of the tests in this file"]
fn builder_process() {
    let store = open_told();
    for number in 0..20 {
        let _guard = store.lock(&format!("layer-{number}")).expect("locked");
        if store.layer(&key(number)).expect("read").is_none() {
            let staged = store.stage_layer().expect("staged");
            store.commit_layer(&key(number), staged, &Digest::of(b"m")).expect("kept");
            println!("done built {number}");
        }
    }
}

#[test]
fn under_its_lock_each_thing_is_made_once() {
    let around = tempfile::tempdir().expect("a temporary folder");
    let mut children: Vec<Child> = (0..4)
        .map(|_| this_binary("builder_process", around.path(), "").spawn().expect("started"))
        .collect();
    let mut made: Vec<String> = children.iter_mut().flat_map(acknowledged).collect();
    assert!(children.into_iter().all(|mut child| child.wait().expect("waited").success()));
    made.sort();
    let once: BTreeSet<&String> = made.iter().collect();
    assert_eq!((made.len(), once.len()), (20, 20), "{made:?}");
}

/// Runs a process of this file with a small file system of its own at its folder, after the
/// shell commands `before`. What the machine does not allow is skipped aloud, and an error where `PERESTROIKA_REQUIRE` names `userns`.
fn with_own_disk(process: &str, before: &str) {
    let around = tempfile::tempdir().expect("a temporary folder");
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-ec", script, "sh"]).arg(around.path());
        command.arg(std::env::current_exe().expect("this binary"));
        command.env(FOLDER, around.path()).env(ROUNDS, "");
        command.status().is_ok_and(|status| status.success())
    };
    let mount = r#"mount -t tmpfs -o size=3m tmpfs "$1""#;
    if !shell(mount) {
        let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
        assert!(!required.split([',', ' ']).any(|word| word == "userns"), "cannot mount a tmpfs");
        let loud = b"SKIPPED: cannot mount a tmpfs in a namespace of its own\n";
        return std::io::stderr().write_all(loud).expect("said");
    }
    let run = r#""$2" --ignored --exact --nocapture"#;
    assert!(shell(&format!("{mount}\n{before}\n{run} {process}")), "{process} failed");
}

#[test]
#[ignore = "another process of the tests in this file"]
fn full_disk_process() {
    let store = open_told();
    let folder = told(FOLDER);
    let kept = store.put(&blob(1)).expect("there is room");
    let filler = Path::new(&folder).join("locks/filler");
    let is_full = |error: &Error| {
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&folder) && text.contains("--store DIR"), "{text}");
    };
    let leftovers = || {
        let scratch = fs::read_dir(store.root().join("scratch")).expect("a folder");
        let folders = scratch.map(|entry| entry.expect("an entry").path());
        let files = folders.flat_map(|path| fs::read_dir(path).expect("a folder"));
        // The notes of what is used are there as long as the store is open.
        files.filter(|file| file.as_ref().expect("an entry").file_name() != "held").count()
    };

    let error = (2..1000).find_map(|n| store.put(&blob(n)).err()).expect("it gets full");
    is_full(&error);
    assert_eq!(leftovers(), 0, "nothing half-written stays");

    let zeros = vec![0; 4096];
    let mut file = fs::File::create(&filler).expect("created");
    while file.write_all(&zeros).is_ok() {}
    drop(file);
    let batch = store.batch();
    is_full(&batch.put(b"even a small one").expect_err("full"));
    drop(batch);
    is_full(&store.put_json(&record(1)).expect_err("full"));
    let rows = (0..10_000).find_map(|n: u32| {
        let derivation = DerivationId::of(&n.to_le_bytes());
        store.remember_resolution(&derivation, &kept, 1, &action(n)).err()
    });
    is_full(&rows.expect("the records get full too"));
    let staged = store.stage_layer().expect("folders need no room here");
    assert!(fs::write(staged.path().join("file"), &zeros).is_err());
    drop(staged);
    is_full(&Store::open(&HostPath::new(&folder).join("locks/another")).expect_err("full"));
    assert_eq!(store.read(&kept).expect("still there"), blob(1));
    assert_eq!(leftovers(), 0);

    fs::remove_file(&filler).expect("removed");
    for n in 2..20 {
        let _ = store.object(&Digest::of(&blob(n))).map(fs::remove_file);
    }
    round(&store, 0, &mut |_| {});
    let said = ["object", "batch", "layer", "record", "attempt"].map(|what| format!("{what} 0"));
    check(&store, &said.into());
}

#[test]
fn a_full_disk_is_named_and_leaves_the_store_clean() {
    with_own_disk("full_disk_process", "");
}

#[test]
#[ignore = "another process of the tests in this file"]
fn create_process() {
    round(&open_told(), 0, &mut |_| {});
}

#[test]
#[ignore = "another process of the tests in this file"]
fn read_only_process() {
    let folder = told(FOLDER);
    let error = Store::open(&HostPath::new(&folder)).expect_err("read-only");
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&folder) && text.contains("read-only"), "{text}");
    let store = Store::open_to_read(&HostPath::new(&folder)).expect("it can be read");
    let said = ["object", "batch", "layer", "record", "attempt"].map(|what| format!("{what} 0"));
    check(&store, &said.into());
    let error = store.put(b"new").expect_err("read-only");
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
}

#[test]
fn a_read_only_store_is_named() {
    let create = r#""$2" --ignored --exact create_process; mount -o remount,ro "$1""#;
    with_own_disk("read_only_process", create);
}

/// The store's steps that a disk hears of.
const STEPS: [&str; 9] =
    ["fsync", "fdatasync", "syncfs", "pwrite64", "write", "rename", "unlink", "mkdir", "ftruncate"];

/// Runs a process of this file again and again, killed before its first, second, … call of each
/// kind of step, until it completes; calls `after` with what it had said after each. Gives how
/// many steps there were.
fn kill_at_every_step(
    process: &str,
    fresh: impl Fn() -> tempfile::TempDir,
    after: impl Fn(&Path, &BTreeSet<String>),
) -> usize {
    let mut steps = 0;
    for call in STEPS {
        for number in 1.. {
            let around = fresh();
            let folder = around.path().join("store");
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            command.args(["-e", &inject]).arg(std::env::current_exe().expect("this binary"));
            command.args(["--ignored", "--exact", "--nocapture", process]);
            command.env(FOLDER, &folder).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().expect("strace runs");
            let said = acknowledged(&mut child).collect();
            let whole = child.wait().expect("gone").success();
            after(&folder, &said);
            if whole {
                break;
            }
            steps += 1;
        }
    }
    steps
}

/// Whether this machine lets a process be followed; a loud skip where it does not.
fn has_strace() -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if works.is_ok_and(|status| status.success()) {
        return true;
    }
    let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
    assert!(!required.split([',', ' ']).any(|word| word == "strace"), "strace does not work here");
    std::io::stderr().write_all(b"SKIPPED: strace does not work here\n").expect("said");
    false
}

#[test]
#[ignore = "another process of the tests in this file"]
fn steps_process() {
    let store = open_told();
    round(&store, 0, &mut |line| println!("done {line}"));
}

#[test]
fn a_kill_before_any_step_loses_nothing_finished_and_leaves_nothing_half_written() {
    if !has_strace() {
        return;
    }
    let fresh = || tempfile::tempdir().expect("a temporary folder");
    let steps = kill_at_every_step("steps_process", fresh, |folder, said| {
        let store = Store::open(&HostPath::new(folder)).expect("the store opens");
        check(&store, said);
        drop(store);
        let store = Store::open(&HostPath::new(folder)).expect("the store opens");
        round(&store, 0, &mut |_| {});
        let whole = ["object", "batch", "layer", "record"].map(|what| format!("{what} 0"));
        check(&store, &whole.into());
    });
    println!("killed before each of {steps} steps");
    assert!(steps > 60, "{steps}");
}

#[test]
#[ignore = "another process of the tests in this file"]
fn collect_process() {
    open_told().collect(Aim::Unneeded).expect("collected");
}

/// A store of two rounds, of which the first is needed.
fn half_needed() -> tempfile::TempDir {
    let around = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&HostPath::new(around.path().join("store"))).expect("a new store");
    for number in 0..2 {
        round(&store, number, &mut |_| {});
    }
    let names = [Digest::of(&blob(0)), key(0), action(0).digest()];
    let blobs = (0..20_u32).map(|number| Digest::of(&number.to_le_bytes()));
    let names = names.into_iter().chain(blobs).map(Json::text).collect();
    let release = Json::object([("needs", Json::Array(names))]);
    let release = store.put_json(&release).expect("put");
    let release = DerivationId::from_bytes(*release.as_bytes());
    let built = BuiltRelease {
        folder: HostPath::new("/release"),
        name: "half".to_owned(),
        version: "1".to_owned(),
        release,
        manifest: None,
        built: jiff::Timestamp::now(),
    };
    store.register_release(&built).expect("registered");
    around
}

#[test]
fn collecting_that_is_killed_before_any_step_leaves_all_that_is_needed_and_nothing_half() {
    if !has_strace() {
        return;
    }
    let needed: BTreeSet<String> =
        ["object 0", "batch 0", "layer 0", "record 0"].map(str::to_owned).into();
    let steps = kill_at_every_step("collect_process", half_needed, |folder, _| {
        let store = Store::open(&HostPath::new(folder)).expect("the store opens");
        check(&store, &needed);
        drop(store);
        let store = Store::open(&HostPath::new(folder)).expect("the store opens");
        store.collect(Aim::Unneeded).expect("collected");
        check(&store, &needed);
        assert!(store.object(&Digest::of(&blob(1))).is_none());
        assert!((20..40_u32).all(|n| store.object(&Digest::of(&n.to_le_bytes())).is_none()));
    });
    println!("killed before each of {steps} steps");
    assert!(steps > 20, "{steps}");
}

#[test]
#[ignore = "another process of the tests in this file"]
fn user_process() {
    let rounds: u32 = told(ROUNDS).parse().expect("a number");
    for number in 0..rounds {
        // As a build does: looked up, made if it is not there, and used to the end.
        let store = open_told();
        let mut said = BTreeSet::new();
        round(&store, number % 3, &mut |line| said.extend([line.to_owned()]));
        let found = store.find(&Sha256::of(&blob(number % 3))).expect("looked up").expect("put");
        said.retain(|line| !line.starts_with("attempt"));
        for line in &said {
            let (what, number) = line.split_once(' ').expect("two words");
            let n: u32 = number.parse().expect("a number");
            match what {
                "object" => assert!(store.read(&found.digest).expect("kept") == blob(n)),
                "layer" => {
                    let layer = store.layer(&key(n)).expect("read").expect("kept");
                    let files = fs::read_dir(&layer.path).expect("there").count();
                    assert_eq!(files, FILES_OF_A_LAYER as usize);
                }
                "record" => assert!(store.record(&action(n)).expect("read").is_some()),
                _ => (n * 20..n * 20 + 20)
                    .for_each(|n| store.verify(&Digest::of(&n.to_le_bytes())).expect("kept")),
            }
        }
    }
}

#[test]
fn collecting_all_the_time_takes_nothing_from_those_who_use_it() {
    let around = tempfile::tempdir().expect("a temporary folder");
    let folder = around.path().join("store");
    let store = Store::open(&HostPath::new(&folder)).expect("a new store");
    let mut users: Vec<Child> = (0..3)
        .map(|_| {
            let mut command = this_binary("user_process", &folder, "40");
            command.stdout(Stdio::null()).spawn().expect("started")
        })
        .collect();
    let (mut collections, mut removed) = (0, 0);
    while users.iter_mut().any(|user| user.try_wait().expect("looked").is_none()) {
        let collection = store.collect(Aim::Unneeded).expect("collected");
        removed += collection.things.iter().filter(|(_, fate, _)| *fate != Fate::Kept).count();
        collections += 1;
    }
    for mut user in users {
        assert!(user.wait().expect("waited").success());
    }
    println!("{collections} collections removed {removed} things beside them");
    assert!(removed > 100, "{removed} in {collections}");
    check(&store, &BTreeSet::new());
}
