//! What the store promises in quiet times.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use perestroika::base::{ActionId, DerivationId, Digest, HostPath, Json, Sha256};
use perestroika::store::{
    AttemptLog, BuiltRelease, Capsule, CapsuleLimits, Completeness, Contents, Error, NewAttempt,
    Next, Store, Verdict,
};

struct Fixture {
    store: Store,
    folder: tempfile::TempDir,
}

fn new() -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&root(&folder)).expect("a new store");
    Fixture { store, folder }
}

fn root(folder: &tempfile::TempDir) -> HostPath {
    HostPath::new(folder.path().join("store"))
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn count(folder: impl AsRef<Path>) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

fn text(error: &dyn std::error::Error) -> String {
    error.to_string()
}

#[test]
fn a_store_is_made_private_and_opens_again() {
    let Fixture { store, folder } = new();
    assert_eq!(mode(store.root()), 0o700);
    let version = fs::read_to_string(store.root().join("version")).expect("a version");
    assert_eq!(version, "perestroika/store/1\n");
    let digest = store.put(b"kept").expect("put");
    drop(store);
    fs::set_permissions(root(&folder), fs::Permissions::from_mode(0o755)).expect("opened up");
    let store = Store::open(&root(&folder)).expect("the same store");
    assert_eq!(mode(store.root()), 0o700);
    assert_eq!(store.read(&digest).expect("read"), b"kept");
}

#[test]
fn a_newer_layout_is_refused_by_name() {
    let Fixture { store, folder } = new();
    fs::write(store.root().join("version"), "perestroika/store/7\n").expect("written");
    let error = Store::open(&root(&folder)).expect_err("a newer layout");
    assert!(matches!(&error, Error::Version { found, .. } if found == "perestroika/store/7"));
    assert!(text(&error).contains("--store DIR"), "{error}");
}

#[test]
fn another_users_store_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make a file another's, or open another's store at all.
        let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
        assert!(!required.split([',', ' ']).any(|word| word == "root"), "this is not root");
        return std::io::stderr().write_all(b"SKIPPED: this is not root\n").expect("said");
    }
    let Fixture { store, folder } = new();
    std::os::unix::fs::chown(store.root().join("version"), Some(4321), None).expect("given away");
    let error = Store::open(&root(&folder)).expect_err("another's");
    assert!(matches!(error, Error::Owner { owner: 4321, user: 0, .. }), "{error:?}");
}

#[test]
fn a_damaged_database_is_named() {
    let Fixture { store, folder } = new();
    let path = store.root().join("records.sqlite");
    drop(store);
    fs::write(&path, "no database at all, but long enough to look at".repeat(100))
        .expect("damaged");
    let error = Store::open(&root(&folder)).expect_err("no database");
    assert!(text(&error).contains(&path.to_string()), "{error}");
}

#[test]
fn a_lost_database_costs_records_but_no_objects() {
    let Fixture { store, folder } = new();
    let digest = store.put(b"kept").expect("put");
    drop(store);
    fs::remove_file(root(&folder).join("records.sqlite")).expect("lost");
    let store = Store::open(&root(&folder)).expect("made anew");
    assert_eq!(store.read(&digest).expect("read"), b"kept");
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened up");
    fs::write(folder.path().join("thesis.odt"), "").expect("written");
    let error = Store::open(&HostPath::new(folder.path())).expect_err("not a store");
    assert!(matches!(&error, Error::Foreign { holds, .. } if holds == "thesis.odt"));
    assert_eq!((count(folder.path()), mode(folder.path())), (1, 0o755));
}

#[test]
fn a_creation_that_was_killed_is_completed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(root(&folder).join("objects")).expect("made");
    fs::write(root(&folder).join("version.partial"), "pere").expect("written");
    let store = Store::open(&root(&folder)).expect("completed");
    store.put(b"x").expect("put");
}

#[test]
fn a_blob_is_kept_once_read_only_under_both_names() {
    let Fixture { store, folder: _folder } = new();
    let object = store.put_file(&b"hello"[..], None).expect("put");
    assert_eq!(object.digest, Digest::of(b"hello"));
    assert_eq!(object.sha256, Sha256::of(b"hello"));
    assert_eq!(object.size, 5);
    assert_eq!(store.put(b"hello").expect("again"), object.digest);
    let path = store.object(&object.digest).expect("kept");
    assert!(path.as_path().ends_with(format!("objects/{}", object.digest)));
    assert_eq!(mode(&path), 0o444);
    assert_eq!(count(store.root().join("objects")), 1);
    assert_eq!(store.find(&object.sha256).expect("looked up"), Some(object));
    assert_eq!(store.find(&Sha256::of(b"other")).expect("looked up"), None);
    fs::remove_file(path).expect("removed");
    assert_eq!(store.find(&object.sha256).expect("looked up"), None, "the file decides");
}

#[test]
fn unexpected_bytes_never_get_a_name() {
    let Fixture { store, folder: _folder } = new();
    let expected = (Sha256::of(b"good"), 4);
    let error = store.put_file(&b"evil"[..], Some(expected)).expect_err("other bytes");
    assert!(matches!(error, Error::Unexpected { actual_size: 4, .. }));
    assert!(text(&error).contains(&Sha256::of(b"evil").to_string()), "{error}");
    let endless = std::io::repeat(b'x');
    let error = store.put_file(endless, Some(expected)).expect_err("too many bytes");
    assert!(matches!(error, Error::Oversized { expected_size: 4, .. }));
    let error = store.put_file(&b"goo"[..], Some(expected)).expect_err("too few bytes");
    assert!(matches!(error, Error::Unexpected { actual_size: 3, .. }));
    assert_eq!(count(store.root().join("objects")), 0);
    store.put_file(&b"good"[..], Some(expected)).expect("the expected bytes");
}

#[test]
fn a_failing_reader_is_not_the_stores_fault() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection lost"))
        }
    }
    let Fixture { store, folder: _folder } = new();
    let error = store.put_file(Broken, None).expect_err("broken");
    assert!(matches!(error, Error::Input(_)), "{error:?}");
}

#[test]
fn a_batch_appears_as_a_whole_or_not_at_all() {
    let Fixture { store, folder: _folder } = new();
    let blobs: Vec<Vec<u8>> = (0..100u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let batch = store.batch();
    for blob in &blobs {
        batch.put(blob).expect("put");
    }
    drop(batch);
    assert_eq!(count(store.root().join("objects")), 0);

    let digests = store.put_many(blobs.iter().map(Vec::as_slice)).expect("put");
    assert_eq!(digests.len(), 100);
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert_eq!(&store.read(digest).expect("read"), blob);
        assert!(store.find(&Sha256::of(blob)).expect("looked up").is_some());
    }
}

#[test]
fn damage_is_found_named_and_put_aside() {
    let Fixture { store, folder: _folder } = new();
    let digest = store.put(b"sound").expect("put");
    assert_eq!(store.quarantine(&digest).expect("nothing to do"), None);
    let path = store.object(&digest).expect("kept");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened up");
    fs::write(&path, b"rotten").expect("damaged");
    for error in [store.read(&digest).map(drop), store.verify(&digest)] {
        let error = error.expect_err("damaged");
        assert!(
            matches!(&error, Error::Corrupt { actual, .. } if *actual == Digest::of(b"rotten"))
        );
        assert!(text(&error).contains(&path.to_string()), "{error}");
    }
    let aside = store.quarantine(&digest).expect("moved").expect("it was damaged");
    assert_eq!(fs::read(aside).expect("kept aside"), b"rotten");
    assert!(matches!(store.read(&digest), Err(Error::Missing { .. })));
    store.put(b"sound").expect("put again");
    store.verify(&digest).expect("sound again");
}

#[test]
fn what_is_to_be_used_is_put_aside_if_it_is_damaged() {
    let Fixture { store, folder: _folder } = new();
    let digest = store.put(b"sound").expect("put");
    store.open_sound(&digest).expect("sound");
    let path = store.object(&digest).expect("kept");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened up");
    fs::write(&path, b"rotten").expect("damaged");
    assert!(matches!(store.open_sound(&digest), Err(Error::PutAside { .. })));
    assert_eq!(store.object(&digest), None);
    assert!(matches!(store.open_sound(&digest), Err(Error::Missing { .. })));
}

#[test]
fn a_link_in_place_of_an_object_is_refused() {
    let Fixture { store, folder } = new();
    let digest = Digest::of(b"secret");
    let secret = folder.path().join("secret");
    fs::write(&secret, b"secret").expect("written");
    let path = store.root().join("objects").join(digest.to_string());
    std::os::unix::fs::symlink(&secret, &path).expect("linked");
    assert_eq!(store.object(&digest), None);
    assert!(store.read(&digest).is_err());
}

#[test]
fn documents_are_canonical_and_tampering_shows() {
    let Fixture { store, folder: _folder } = new();
    let document = Json::object([("b", 1u32.into()), ("a", "x".into())]);
    let digest = store.put_json(&document).expect("put");
    assert_eq!(store.json(&digest).expect("read").as_deref(), Some(&br#"{"a":"x","b":1}"#[..]));
    assert_eq!(store.read_json(&digest).expect("read"), document);
    assert_eq!(store.json(&Digest::of(b"none")).expect("looked"), None);
    let path = store.root().join("json").join(format!("{digest}.json"));
    assert_eq!(mode(&path), 0o444);
    fs::remove_file(&path).expect("removed");
    fs::write(&path, br#"{"a":"y","b":1}"#).expect("tampered");
    assert!(matches!(store.json(&digest), Err(Error::Corrupt { .. })));
    assert!(matches!(store.read_json(&digest), Err(Error::Corrupt { .. })));
    assert!(store.quarantine(&digest).expect("moved").is_some());
}

#[test]
fn resolutions_are_remembered_per_offer_and_rules() {
    let Fixture { store, folder: _folder } = new();
    let (derivation, offered, action) =
        (DerivationId::of(b"d"), Digest::of(b"o"), ActionId::of(b"a"));
    store.remember_resolution(&derivation, &offered, 1, &action).expect("remembered");
    assert_eq!(store.resolution(&derivation, &offered, 1).expect("read"), Some(action));
    assert_eq!(store.resolution(&derivation, &offered, 2).expect("read"), None);
    assert_eq!(store.resolution(&derivation, &Digest::of(b"p"), 1).expect("read"), None);
}

fn record(outputs: &str, seconds: u32) -> Json {
    Json::object([("outputs", outputs.into()), ("seconds", seconds.into())])
}

#[test]
fn the_first_record_is_adopted_and_a_differing_one_marks_divergence() {
    let Fixture { store, folder: _folder } = new();
    let action = ActionId::of(b"a");
    assert_eq!(store.record(&action).expect("read"), None);
    let first = store.put_record(&action, &record("same", 1)).expect("put");
    assert_eq!((first.adopted, first.divergent), (first.digest, false));
    let slower = store.put_record(&action, &record("same", 2)).expect("put");
    assert_eq!((slower.adopted, slower.divergent), (first.digest, false));
    let other = store.put_record(&action, &record("other", 1)).expect("put");
    assert_eq!((other.adopted, other.divergent), (first.digest, true));
    let adopted = store.record(&action).expect("read").expect("adopted");
    assert_eq!((adopted.digest, adopted.divergent), (first.digest, true));
    assert_eq!(adopted.record, record("same", 1));
    assert_eq!(store.divergent_actions().expect("listed"), [action].into());
    assert_eq!(store.records(&action).expect("listed").len(), 3);

    store.adopt(&action, &other.digest).expect("moved");
    assert_eq!(store.records(&action).expect("listed")[0], other.digest);
    let stranger = store.adopt(&action, &Digest::of(b"stranger"));
    assert!(matches!(stranger, Err(Error::Missing { .. })));
    assert_eq!(store.records(&action).expect("listed")[0], other.digest);
}

#[test]
fn a_record_without_outputs_is_refused() {
    let Fixture { store, folder: _folder } = new();
    let result = store.put_record(&ActionId::of(b"a"), &Json::object([]));
    assert!(matches!(result, Err(Error::RecordWithoutOutputs { .. })));
}

fn attempt(name: &str) -> NewAttempt {
    NewAttempt {
        package: name.parse().expect("a package name"),
        derivation: DerivationId::of(b"d"),
        action: ActionId::of(b"a"),
    }
}

#[test]
fn an_attempt_can_be_followed_and_its_log_read_back() {
    let Fixture { store, folder: _folder } = new();
    let (open, mut log) = store.start_attempt(&attempt("greet"), 1 << 20).expect("begun");
    log.write_all(b"checking for gcc... gcc\n").expect("written");
    let seen = store.attempts(None, 10).expect("listed").remove(0);
    assert_eq!(seen.verdict, Verdict::Running);
    let (text, completeness) = store.attempt_log(&seen).expect("read");
    assert_eq!(
        (&text[..], completeness),
        (&b"checking for gcc... gcc\n"[..], Completeness::Partial)
    );

    log.write_all(b"done\n").expect("written");
    let batch = store.batch();
    let log = batch.put_log(&mut log).expect("kept");
    assert_eq!(store.attempts(None, 1).expect("listed")[0].verdict, Verdict::Running);
    assert_eq!(log.digest, Digest::of(b"checking for gcc... gcc\ndone\n"));
    let record = open.succeed(batch, &record("output", 1), &log).expect("recorded").digest;
    let seen =
        store.attempts(Some(&"greet".parse().expect("a name")), 10).expect("listed").remove(0);
    assert_eq!((seen.verdict, seen.record), (Verdict::Built, Some(record)));
    assert_eq!(seen.log, AttemptLog::Kept(log.digest));
    let (text, completeness) = store.attempt_log(&seen).expect("read");
    assert_eq!((text.len() as u64, completeness), (log.size, Completeness::Whole));
    assert_eq!(count(store.root().join("logs")), 1, "the growing file is gone");
}

#[test]
fn an_attempt_whose_process_died_is_interrupted_and_its_log_stays() {
    let Fixture { store, folder: _folder } = new();
    let (open, mut log) = store.start_attempt(&attempt("greet"), 1 << 20).expect("begun");
    log.write_all(b"half a l").expect("written");
    drop((open, log));
    let seen = store.attempts(None, 10).expect("listed").remove(0);
    assert_eq!(seen.verdict, Verdict::Interrupted);
    let read = store.attempt_log(&seen).expect("read");
    assert_eq!(read, (b"half a l".to_vec(), Completeness::Partial));
}

#[test]
fn a_log_is_cut_at_its_limit_and_says_so() {
    let Fixture { store, folder: _folder } = new();
    let (_open, mut log) = store.start_attempt(&attempt("greet"), 10).expect("begun");
    for _ in 0..3 {
        log.write_all(b"1234567").expect("written");
    }
    let log = log.finish().expect("finished");
    assert_eq!(log.dropped, 11);
    let text = store.read_log(&log.digest).expect("read");
    assert_eq!(text, b"1234567123\n[the log is cut here: 11 more bytes]\n");
}

#[test]
fn a_tampered_log_is_refused() {
    let Fixture { store, folder: _folder } = new();
    let (_open, log) = store.start_attempt(&attempt("greet"), 10).expect("begun");
    let log = log.finish().expect("finished");
    let path = store.root().join("logs").join(format!("{}.zst", log.digest));
    fs::remove_file(&path).expect("removed");
    let other = zstd::encode_all(&b"another"[..], 1).expect("compressed");
    fs::write(&path, other).expect("tampered");
    assert!(matches!(store.read_log(&log.digest), Err(Error::Corrupt { .. })));
    fs::write(&path, b"no zstd at all").expect("tampered");
    assert!(matches!(store.read_log(&log.digest), Err(Error::System { .. })));
}

#[test]
fn durations_are_those_of_the_last_success() {
    let Fixture { store, folder: _folder } = new();
    for (name, verdict) in
        [("a0", Verdict::Built), ("a0", Verdict::Failed), ("b0", Verdict::Failed)]
    {
        let (open, _log) = store.start_attempt(&attempt(name), 10).expect("begun");
        open.finish(verdict, "", None).expect("finished");
    }
    let durations = store.durations().expect("read");
    assert_eq!(durations.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["a0"]);
    assert!(durations.values().all(|duration| *duration < Duration::from_secs(60)));
}

#[test]
fn a_layer_is_kept_once_and_two_manifests_show() {
    let Fixture { store, folder: _folder } = new();
    let (key, manifest) = (Digest::of(b"key"), Digest::of(b"manifest"));
    assert_eq!(store.layer(&key).expect("read"), None);
    let stage = |text: &str| {
        let staged = store.stage_layer().expect("staged");
        fs::write(staged.path().join("file"), text).expect("written");
        staged
    };
    let staged = stage("first");
    assert_eq!(mode(staged.path()), 0o755);
    fs::set_permissions(staged.path(), fs::Permissions::from_mode(0o555)).expect("closed");
    let layer = store.commit_layer(&key, staged, &manifest).expect("kept");
    assert_eq!((layer.manifest, layer.divergent), (manifest, false));
    assert_eq!(mode(&layer.path), 0o555);
    let again = store.commit_layer(&key, stage("second"), &manifest).expect("kept");
    assert_eq!(again, layer);
    let other = store.commit_layer(&key, stage("third"), &Digest::of(b"other")).expect("kept");
    assert_eq!((other.manifest, other.divergent), (manifest, true));
    assert_eq!(store.layer(&key).expect("read"), Some(other));
    assert_eq!(fs::read_to_string(layer.path.join("file")).expect("read"), "first");
    // But the store's own folder, as long as it is open.
    assert_eq!(count(store.root().join("scratch")), 1, "nothing is left behind");
}

#[test]
fn a_tree_without_a_row_is_rubbish_and_replaced() {
    let Fixture { store, folder: _folder } = new();
    let key = Digest::of(b"key");
    let path = store.root().join("layers").join(key.to_string());
    fs::create_dir_all(path.join("half")).expect("made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).expect("closed");
    assert_eq!(store.layer(&key).expect("read"), None);
    let staged = store.stage_layer().expect("staged");
    let layer = store.commit_layer(&key, staged, &Digest::of(b"m")).expect("kept");
    assert_eq!(count(&layer.path), 0);
}

#[test]
fn unpacked_packages_are_kept_together() {
    let Fixture { store, folder: _folder } = new();
    let names: Vec<Sha256> = (0..5u8).map(|n| Sha256::of(&[n])).collect();
    let stage = |name: &Sha256| (*name, store.stage_layer().expect("staged"));
    store.commit_many_unpacked(names.iter().map(stage).collect()).expect("kept");
    for name in &names {
        assert!(store.unpacked(name).expect("read").expect("kept").as_path().is_dir());
    }
    assert_eq!(store.unpacked(&Sha256::of(b"none")).expect("read"), None);
    store.commit_unpacked(&names[0], stage(&names[0]).1).expect("kept already");
}

#[test]
fn a_lock_excludes_everybody_else_until_it_is_dropped() {
    let Fixture { store, folder } = new();
    let other = Store::open(&root(&folder)).expect("the same store");
    let guard = store.lock("action-1").expect("locked");
    assert!(other.try_lock("action-1").expect("tried").is_none());
    assert!(other.try_lock("action-2").expect("tried").is_some());
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| other.lock_unless("action-1", &cancel));
        cancel.store(true, Ordering::Relaxed);
        let result = waiter.join().expect("no panic");
        assert!(matches!(result, Err(Error::Cancelled { .. })));
    });
    drop(guard);
    assert!(other.lock_unless("action-1", &AtomicBool::new(false)).is_ok());
    assert!(store.root().join("locks/action-1").as_path().exists(), "never unlinked");
}

#[test]
fn a_lock_cannot_be_named_out_of_its_folder() {
    let Fixture { store, folder: _folder } = new();
    for bad in ["", "..", "../x", "a/b", ".scratch", "A", &"x".repeat(201)] {
        assert!(matches!(store.lock(bad), Err(Error::LockName(_))), "{bad}");
    }
}

#[test]
fn scratch_lives_as_long_as_its_holder() {
    let Fixture { store, folder } = new();
    let scratch = store.scratch().expect("made");
    fs::create_dir_all(scratch.path().join("a/b")).expect("made");
    fs::set_permissions(scratch.path().join("a"), fs::Permissions::from_mode(0o0)).expect("closed");
    let dead = store.root().join("scratch/0123");
    fs::create_dir_all(dead.join("x/y/z")).expect("made");
    let other = Store::open(&root(&folder)).expect("the same store");
    assert!(!dead.as_path().exists(), "nobody leases it");
    assert!(scratch.path().as_path().exists(), "somebody leases it");
    assert_eq!(other.sweep().expect("swept"), 0);
    let path = scratch.path().clone();
    drop(scratch);
    assert!(!path.as_path().exists());
}

#[test]
fn releases_are_listed_newest_first_and_found_by_folder() {
    let Fixture { store, folder: _folder } = new();
    let release = |folder: &str, version: &str, manifest| BuiltRelease {
        folder: HostPath::new(folder),
        name: "demo".into(),
        version: version.into(),
        release: DerivationId::of(version.as_bytes()),
        manifest,
        built: jiff::Timestamp::from_second(1_700_000_000).expect("a time"),
    };
    let first = release("/a", "1", Some(Digest::of(b"m")));
    let second = release("/a", "2", None);
    let third = release("/b", "1", None);
    for built in [&first, &second, &third] {
        store.register_release(built).expect("registered");
    }
    assert_eq!(store.last_release(&HostPath::new("/a")).expect("read"), Some(second.clone()));
    assert_eq!(store.last_release(&HostPath::new("/c")).expect("read"), None);
    assert_eq!(store.releases().expect("listed"), [third, second, first]);
}

#[test]
fn the_log_of_an_attempt_whose_process_died_is_closed_and_says_so() {
    let Fixture { store, folder } = new();
    let new = NewAttempt {
        package: "greet".parse().expect("a name"),
        derivation: DerivationId::from_bytes([1; 32]),
        action: ActionId::from_bytes([2; 32]),
    };
    let (attempt, mut log) = store.start_attempt(&new, 1000).expect("an attempt");
    log.append(b"half").expect("a log");
    assert_eq!(store.settle_attempts().expect("a store"), 0, "it is under way");
    let open = store.attempts(None, 1).expect("attempts").remove(0);
    let mut following = store.follow_log(&open).expect("a store").expect("it is under way");
    let mut text = [0; 100];
    let mut next = || following.read(&mut text).expect("a log");
    assert_eq!([next(), next()], [Next::Text(4), Next::Nothing]);
    drop((attempt, log));
    assert_eq!(next(), Next::End);
    drop(following);

    assert_eq!(store.settle_attempts().expect("a store"), 1);
    assert_eq!(store.settle_attempts().expect("a store"), 0);
    let settled = store.attempts(None, 1).expect("attempts").remove(0);
    assert_eq!(settled.verdict, Verdict::Interrupted);
    let (text, completeness) = store.attempt_log(&settled).expect("its log");
    assert_eq!(completeness, Completeness::Whole);
    assert!(text.starts_with(b"half\n[the log ends here: "), "{}", text.escape_ascii());
    assert_eq!(count(folder.path().join("store/logs")), 1);
}

#[test]
fn capsules_go_when_they_are_old_or_too_many_but_not_while_somebody_is_in_one() {
    let Fixture { store, folder: _keep } = new();
    let now = jiff::Timestamp::now();
    let day = 24 * 3600;
    let keep = |attempt: i64, age: i64, bytes: u64| {
        let scratch = store.scratch().expect("a folder");
        let from = scratch.path().join("capsule");
        fs::create_dir_all(from.join("scratch/build")).expect("folders");
        fs::write(from.join("scratch/build/x"), "x").expect("a file");
        let text = str::to_owned;
        let contents = Contents {
            package: text("greet"),
            version: text("1.0"),
            derivation: text("d"),
            action: text("a"),
            layers: vec![text("0123"), text("../objects")],
            argv: vec![text("/bin/sh")],
            env: [(text("A"), text("b"))].into(),
            cwd: text("/build"),
            sources: text("/build/x"),
            inputs: text("/run/perestroika"),
            made: now.as_second() - age * day,
            bytes,
        };
        store.keep_capsule(attempt, &contents, &from).expect("a capsule");
        contents
    };
    let contents = keep(7, 20, 10);
    for (attempt, age) in [(8, 3), (9, 2), (10, 1)] {
        keep(attempt, age, 10);
    }
    let capsule = store.capsule(7).expect("a store").expect("a capsule");
    assert_eq!(capsule.contents, contents);
    assert!(store.capsule_layers(&capsule).is_err(), "no such layers");
    assert!(store.capsule(6).expect("a store").is_none());

    let numbers = |capsules: Vec<Capsule>| -> Vec<i64> {
        capsules.iter().map(|capsule| capsule.attempt).collect()
    };
    let limits = |bytes: u64, days: u64| CapsuleLimits {
        bytes,
        age: Duration::from_secs(days * day.unsigned_abs()),
    };
    let limit = |limits: CapsuleLimits, more: u64| {
        numbers(store.limit_capsules(&limits, more, now).expect("a store"))
    };
    assert_eq!(limit(limits(1000, 14), 0), [7], "it is old");
    let second = store.capsule(8).expect("a store").expect("a capsule");
    let inside = store.enter_capsule(&second).expect("a store").expect("nobody is in it");
    assert!(store.enter_capsule(&second).expect("a store").is_none(), "one at a time");
    assert_eq!(limit(limits(25, 14), 0), [9], "the oldest that nobody is in");
    drop(inside);
    assert_eq!(limit(limits(25, 14), 10), [8], "room for another");
    // A clock that went back makes none of them old.
    let past = jiff::Timestamp::UNIX_EPOCH;
    assert!(store.limit_capsules(&limits(25, 14), 0, past).expect("a store").is_empty());
    assert_eq!(numbers(store.capsules().expect("a store")), [10]);
    assert_eq!(limit(limits(0, 14), 0), [10]);
    assert_eq!(count(store.root().join("capsules")), 0);
}
