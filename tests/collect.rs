//! What collecting takes from a store and what it leaves.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use perestroika::base::{ActionId, DerivationId, Digest, HostPath, Json, Sha256};
use perestroika::store::{Aim, BuiltRelease, Error, Fate, Kind, NewAttempt, Store};

/// A store with a release of one package in it, built, and things that nothing needs.
struct Fixture {
    folder: tempfile::TempDir,
    built: BuiltRelease,
    needed: Vec<Digest>,
    unneeded: Digest,
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&HostPath::new(folder.path().join("store"))).expect("the store opens")
}

fn text(text: &str) -> Json {
    text.into()
}

/// A layer of one file, whose mode lets nobody write.
fn layer(store: &Store, key: &Digest, manifest: &Digest) {
    let staged = store.stage_layer().expect("staged");
    let inner = staged.path().join("closed");
    fs::create_dir(&inner).expect("made");
    fs::write(inner.join("file"), key.to_string()).expect("written");
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o555)).expect("closed");
    fs::set_permissions(staged.path(), fs::Permissions::from_mode(0o555)).expect("closed");
    store.commit_layer(key, staged, manifest).expect("kept");
}

fn unpacked(store: &Store, sha256: &Sha256) {
    let staged = store.stage_layer().expect("staged");
    fs::write(staged.path().join("file"), sha256.to_string()).expect("written");
    store.commit_unpacked(sha256, staged).expect("kept");
}

fn key(name: &str) -> Digest {
    Digest::of(format!("layer {name}").as_bytes())
}

/// Builds package `name` as the driver does; gives the names of what came of it.
fn build(store: &Store, name: &str) -> (DerivationId, Vec<Digest>) {
    let bytes = |what: &str| format!("{what} of {name}").into_bytes();
    let (output, source) = (store.put(&bytes("output")), store.put(&bytes("source")));
    let (output, source) = (output.expect("put"), source.expect("put"));
    let deb = store.put(&bytes("deb")).expect("put");
    unpacked(store, &Sha256::of(&bytes("deb")));
    let manifest = Json::object([("format", text("perestroika/layer/1")), ("entries", text(name))]);
    let manifest = store.put_json(&manifest).expect("put");
    layer(store, &key(name), &manifest);

    let derivation = Json::object([("source", Json::text(Sha256::of(&bytes("source"))))]);
    let derivation =
        DerivationId::from_bytes(*store.put_json(&derivation).expect("put").as_bytes());
    let root = Json::array([Json::text(Sha256::of(&bytes("deb")))]);
    let action = Json::object([("root", root), ("name", text(name))]);
    let action = ActionId::from_bytes(*store.put_json(&action).expect("put").as_bytes());
    store
        .remember_resolution(&derivation, &Digest::of(b"offered"), 1, &action)
        .expect("remembered");
    let new = NewAttempt { package: name.parse().expect("a name"), derivation, action };
    let (attempt, mut log) = store.start_attempt(&new, 1 << 20).expect("begun");
    writeln!(log, "the log of {name}").expect("written");
    let batch = store.batch();
    let log = batch.put_log(&mut log).expect("kept");
    let record = Json::object([
        ("format", text("perestroika/record/1")),
        ("action", Json::text(action)),
        ("outputs", Json::array([Json::text(output)])),
        ("layers", Json::array([Json::text(manifest)])),
        ("log", Json::text(log.digest)),
    ]);
    attempt.succeed(batch, &record, &log).expect("recorded");
    (derivation, vec![output, source, deb])
}

fn release(store: &Store, folder: &str, packages: &[DerivationId]) -> BuiltRelease {
    let packages = packages.iter().map(Json::text).collect();
    let document = Json::object([("packages", Json::Array(packages)), ("name", text(folder))]);
    let release = store.put_json(&document).expect("put");
    let built = BuiltRelease {
        folder: HostPath::new(folder),
        name: "tools".to_owned(),
        version: "1.0".to_owned(),
        release: DerivationId::from_bytes(*release.as_bytes()),
        manifest: None,
        built: jiff::Timestamp::now(),
    };
    store.register_release(&built).expect("registered");
    built
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder);
    let (derivation, needed) = build(&store, "needed");
    let built = release(&store, "/releases/tools", &[derivation]);
    let unneeded = store.put(&[7; 50_000]).expect("put");
    layer(&store, &key("unneeded"), &Digest::of(b"no manifest"));
    unpacked(&store, &Sha256::of(b"unneeded"));
    store.put_json(&Json::object([("nobody", text("needs it"))])).expect("put");
    drop(store);
    Fixture { folder, built, needed, unneeded }
}

/// The paths below the store of what is, or would be, removed.
fn removed(collection: &perestroika::store::Collection, store: &Store) -> BTreeSet<String> {
    let removed = collection.things.iter().filter(|(_, fate, _)| *fate != Fate::Kept);
    let below = |path: &HostPath| {
        path.as_path().strip_prefix(store.root()).expect("below").display().to_string()
    };
    removed.map(|(thing, ..)| below(&thing.path)).collect()
}

fn set_used(path: &Path, time: SystemTime) {
    let file = File::open(path).expect("there");
    file.set_times(FileTimes::new().set_accessed(time)).expect("set");
}

#[track_caller]
fn is_all_there(store: &Store, name: &str, objects: &[Digest]) {
    for object in objects {
        store.verify(object).expect("whole");
    }
    let layer = store.layer(&key(name)).expect("read").expect("kept");
    assert!(layer.path.as_path().join("closed/file").is_file());
    store.read_json(&layer.manifest).expect("kept");
    let deb = Sha256::of(format!("deb of {name}").as_bytes());
    assert!(store.unpacked(&deb).expect("read").is_some());
    let attempt = store.attempts(Some(&name.parse().expect("a name")), 1).expect("read").remove(0);
    let (text, _) = store.attempt_log(&attempt).expect("read");
    assert_eq!(text, format!("the log of {name}\n").into_bytes());
    assert!(store.record(&attempt.action).expect("read").is_some());
    store.read_json(&attempt.action.digest()).expect("kept");
}

#[test]
fn what_a_built_release_needs_stays_and_the_rest_goes_as_foretold() {
    let fixture = fixture();
    let store = open(&fixture.folder);
    let foreseen = store.foresee(Aim::Unneeded).expect("foreseen");
    let expected = removed(&foreseen, &store);
    let kinds: BTreeSet<&str> = expected.iter().filter_map(|path| path.split('/').next()).collect();
    assert_eq!(kinds, BTreeSet::from(["json", "layers", "objects", "unpacked"]));
    assert_eq!(expected.len(), 4, "{expected:?}");
    assert!(store.root().join("objects").join(fixture.unneeded.to_string()).as_path().exists());

    let collection = store.collect(Aim::Unneeded).expect("collected");
    assert_eq!(removed(&collection, &store), expected);
    assert_eq!((collection.before, collection.after), (foreseen.before, foreseen.after));
    assert!(collection.before - collection.after > 50_000);
    for path in &expected {
        assert!(!store.root().join(path).as_path().exists(), "{path}");
    }
    for (thing, fate, because) in &collection.things {
        let reason = if *fate == Fate::Kept {
            "needed by tools 1.0 in /releases/tools"
        } else {
            "nothing needs it"
        };
        assert!(because.starts_with(reason), "{} {because}", thing.path);
    }
    is_all_there(&store, "needed", &fixture.needed);
    assert!(store.layer(&key("unneeded")).expect("read").is_none());
    assert!(store.find(&Sha256::of(&[7; 50_000])).expect("read").is_none());
    let again = store.collect(Aim::Unneeded).expect("collected");
    assert!(removed(&again, &store).is_empty());
}

#[test]
fn a_newer_build_in_its_folder_lets_the_older_one_go_unless_that_is_pinned() {
    let fixture = fixture();
    let store = open(&fixture.folder);
    store.pin(&fixture.built).expect("pinned");
    let (derivation, newer) = build(&store, "newer");
    release(&store, "/releases/tools", &[derivation]);
    drop(store);

    let store = open(&fixture.folder);
    store.collect(Aim::Unneeded).expect("collected");
    is_all_there(&store, "needed", &fixture.needed);
    is_all_there(&store, "newer", &newer);
    drop(store);

    let store = open(&fixture.folder);
    assert!(store.unpin(&fixture.built.release).expect("unpinned"));
    assert!(!store.unpin(&fixture.built.release).expect("no more"));
    store.collect(Aim::Unneeded).expect("collected");
    is_all_there(&store, "newer", &newer);
    assert!(fixture.needed.iter().all(|object| store.object(object).is_none()));
    // What it was built from stays known, and its log can be read.
    let attempt = store.attempts(Some(&"needed".parse().expect("a name")), 1).expect("read");
    store.read_json(&attempt[0].action.digest()).expect("remembered");
    assert!(store.attempt_log(&attempt[0]).is_ok());
    assert!(store.record(&attempt[0].action).expect("read").is_none(), "its outputs are gone");
}

#[test]
fn a_quota_takes_the_least_recently_used_first_and_never_what_is_needed() {
    let fixture = fixture();
    let store = open(&fixture.folder);
    let now = SystemTime::now();
    let objects: Vec<Digest> =
        (1..=4).map(|number| store.put(&[number; 20_000]).expect("put")).collect();
    for (age, object) in [30, 400, 3, 200].into_iter().zip(&objects) {
        let path = store.object(object).expect("kept");
        set_used(path.as_path(), now - Duration::from_secs(age * 24 * 60 * 60));
    }
    drop(store);
    let store = open(&fixture.folder);
    let before = store.foresee(Aim::Unneeded).expect("foreseen").before;
    let collection = store.collect(Aim::Size(before - 30_000)).expect("collected");
    let gone: Vec<bool> = objects.iter().map(|object| store.object(object).is_none()).collect();
    assert_eq!(gone, [false, true, false, true], "the two oldest");
    assert!(collection.after <= before - 30_000);
    drop(store);

    let store = open(&fixture.folder);
    let collection = store.collect(Aim::Size(0)).expect("collected");
    assert!(collection.after > 0);
    assert!(objects.iter().all(|object| store.object(object).is_none()));
    for object in &fixture.needed {
        store.verify(object).expect("needed");
    }
    let deb = Sha256::of(b"deb of needed");
    assert!(store.unpacked(&deb).expect("read").is_none(), "it is unpacked anew when it is needed");
    assert!(store.layer(&key("needed")).expect("read").is_some());
}

#[test]
fn what_an_open_store_looked_up_stays_until_it_is_closed() {
    let fixture = fixture();
    let (user, collector) = (open(&fixture.folder), open(&fixture.folder));
    user.object(&fixture.unneeded).expect("there");
    let (_, fresh) = build(&user, "fresh");
    assert!(user.layer(&key("unneeded")).expect("read").is_some());
    let collection = collector.collect(Aim::Unneeded).expect("collected");
    let kept = collection
        .things
        .iter()
        .find(|(thing, ..)| thing.path.as_path().ends_with(fixture.unneeded.to_string()));
    let (_, fate, because) = kept.expect("it is there");
    assert_eq!((fate, because.as_str()), (&Fate::Kept, "in use by a running process"));
    is_all_there(&user, "fresh", &fresh);
    assert!(user.layer(&key("unneeded")).expect("read").is_some());

    drop(user);
    collector.collect(Aim::Unneeded).expect("collected");
    let store = open(&fixture.folder);
    assert!(store.object(&fixture.unneeded).is_none());
    assert!(fresh.iter().all(|object| store.object(object).is_none()));
}

#[test]
fn clocks_that_jump_decide_nothing() {
    let fixture = fixture();
    let store = open(&fixture.folder);
    let far = Duration::from_secs(40 * 365 * 24 * 60 * 60);
    for kind in ["objects", "json", "logs"] {
        for (number, entry) in fs::read_dir(store.root().join(kind)).expect("listed").enumerate() {
            let time =
                if number % 2 == 0 { SystemTime::UNIX_EPOCH } else { SystemTime::now() + far };
            set_used(&entry.expect("an entry").path(), time);
        }
    }
    let collection = store.collect(Aim::Unneeded).expect("collected");
    assert_eq!(removed(&collection, &store).len(), 4);
    is_all_there(&store, "needed", &fixture.needed);
}

#[test]
fn one_collects_at_a_time_and_a_killed_one_is_completed() {
    let fixture = fixture();
    let store = open(&fixture.folder);
    let lock = File::create(store.root().join("locks/.collect")).expect("created");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    assert!(matches!(store.collect(Aim::Unneeded), Err(Error::Collecting { .. })));
    drop(lock);
    // As a killed one leaves it: the row is gone, the tree is not, or not all of it.
    let path = store.layer(&key("unneeded")).expect("read").expect("there").path;
    drop(store);
    let store = open(&fixture.folder);
    let database = rusqlite::Connection::open(store.root().join("records.sqlite")).expect("opened");
    database
        .execute("DELETE FROM layer WHERE key = ?1", [key("unneeded").as_bytes()])
        .expect("done");
    fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o755)).expect("opened");
    fs::remove_file(path.join("closed/file")).expect("removed");
    let collection = store.foresee(Aim::Unneeded).expect("foreseen");
    assert!(collection.things.iter().any(|(thing, fate, _)| {
        thing.kind == Kind::Layer && thing.path == path && *fate != Fate::Kept
    }));
    store.collect(Aim::Unneeded).expect("collected");
    assert!(!path.as_path().exists());
}
