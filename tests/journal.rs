//! The journal: it tells of everything that is kept, once, and nothing of it changes unseen.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;

use perestroika::audit::history::{Wrong, judge};
use perestroika::base::merkle::Head;
use perestroika::base::{ActionId, DerivationId, Digest, HostPath, Json, Sha256};
use perestroika::store::{BuiltRelease, Entry, Event, Journal, NewAttempt, Store};
use rusqlite::Connection;

struct Scene {
    store: Store,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&HostPath::new(folder.path().join("store"))).unwrap();
        Self { store, folder }
    }

    /// Keeps the record of a build.
    fn build(&self, number: u32) -> Digest {
        let record = Json::object([("outputs", number.into())]);
        self.store.put_record(&action(number), &record).unwrap().digest
    }

    fn release(&self, manifest: Option<Digest>) {
        let built = BuiltRelease {
            folder: HostPath::new("/somewhere"),
            name: "demo".to_owned(),
            version: "1.0".to_owned(),
            release: DerivationId::of(b"release"),
            manifest,
            built: jiff::Timestamp::now(),
        };
        self.store.register_release(&built).unwrap();
    }

    /// Changes the database behind the program's back.
    fn tamper(&self, sql: &str) {
        let database = Connection::open(self.folder.path().join("store/records.sqlite")).unwrap();
        database.execute_batch(sql).unwrap();
    }

    fn journal(&self) -> Journal {
        self.store.journal().unwrap()
    }

    fn events(&self) -> Vec<Event> {
        let entries = self.journal().entries;
        entries.iter().map(|bytes| Entry::read(bytes).unwrap().event).collect()
    }

    /// What is wrong with the journal, held against an earlier head of it.
    fn wrong(&self, since: Option<Head>) -> Vec<Wrong> {
        judge(&self.journal(), since).wrong
    }
}

fn action(number: u32) -> ActionId {
    ActionId::of(&number.to_le_bytes())
}

fn pin(new: &str) -> Event {
    Event::Pin {
        name: "demo".to_owned(),
        version: "1.0".to_owned(),
        pin: "bookworm".to_owned(),
        old: None,
        new: Some(new.to_owned()),
        lock: Digest::of(b"lock"),
    }
}

#[test]
fn it_tells_of_records_of_whole_releases_and_of_pins_in_their_order() {
    let scene = Scene::new();
    assert_eq!(scene.journal().head, Head::empty());
    let record = scene.build(1);
    scene.release(None);
    let manifest = Digest::of(b"manifest");
    scene.release(Some(manifest));
    scene.store.add_to_journal(&[pin("a"), pin("b")]).unwrap();
    let release = DerivationId::of(b"release");
    let (name, version) = ("demo".to_owned(), "1.0".to_owned());
    let expected = [
        Event::Record { action: action(1), record },
        Event::Manifest { name, version, release, manifest },
        pin("a"),
        pin("b"),
    ];
    assert_eq!(scene.events(), expected);
    assert_eq!(scene.wrong(None), []);
    let head = scene.journal().head;
    assert_eq!(head.size, 4);
    assert_eq!(scene.journal().tree().head(4), Some(head));
}

#[test]
fn what_is_kept_again_is_not_told_of_again() {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.build(1);
        scene.release(Some(Digest::of(b"manifest")));
    }
    assert_eq!(scene.events().len(), 2);
}

#[test]
fn an_attempt_that_succeeds_is_told_of_with_its_record() {
    let scene = Scene::new();
    let new = NewAttempt {
        package: "greet".parse().unwrap(),
        derivation: DerivationId::of(b"greet"),
        action: action(7),
    };
    let (attempt, mut log) = scene.store.start_attempt(&new, 1 << 20).unwrap();
    let batch = scene.store.batch();
    let log = batch.put_log(&mut log).unwrap();
    let record = Json::object([("outputs", 7_u32.into())]);
    let recorded = attempt.succeed(batch, &record, &log).unwrap();
    let expected = Event::Record { action: action(7), record: recorded.digest };
    assert_eq!(scene.events(), [expected]);
}

#[test]
fn many_writers_make_one_list() {
    let scene = Scene::new();
    let root = scene.store.root().clone();
    thread::scope(|scope| {
        for writer in 0..4 {
            let root = &root;
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                for number in 0..25 {
                    let number = writer * 100 + number;
                    let record = Json::object([("outputs", number.into())]);
                    store.put_record(&action(number), &record).unwrap();
                }
            });
        }
    });
    assert_eq!(scene.wrong(None), []);
    assert_eq!(scene.journal().head.size, 100);
}

#[test]
fn every_later_journal_continues_every_earlier_one() {
    let scene = Scene::new();
    let mut heads = vec![scene.journal().head];
    for number in 0..20 {
        scene.build(number);
        heads.push(scene.journal().head);
    }
    for since in heads {
        let history = judge(&scene.journal(), Some(since));
        assert_eq!(history.wrong, []);
        let proof = history.proof.unwrap();
        assert!(history.head.continues(&since, &proof));
    }
}

#[test]
fn whatever_is_changed_in_it_is_found() {
    let cases: &[(&str, &str)] = &[
        (
            "a byte",
            "UPDATE journal SET entry = CAST(replace(entry, 'record', 'recorf') AS BLOB)
             WHERE position = 3",
        ),
        (
            "a time",
            "UPDATE journal SET entry = CAST(replace(entry, '\"time\":1', '\"time\":2') AS BLOB)
             WHERE position = 3",
        ),
        ("the first left out", "DELETE FROM journal WHERE position = 0"),
        ("one left out", "DELETE FROM journal WHERE position = 4"),
        ("the last left out", "DELETE FROM journal WHERE position = 7"),
        (
            "one left out, and the others moved up",
            "DELETE FROM journal WHERE position = 6;
             UPDATE journal SET position = 6 WHERE position = 7",
        ),
        (
            "two changed for one another",
            "UPDATE journal SET position = 100 WHERE position = 1;
             UPDATE journal SET position = 1 WHERE position = 2;
             UPDATE journal SET position = 2 WHERE position = 100",
        ),
        ("one more", "INSERT INTO journal (position, entry) VALUES (8, CAST('more' AS BLOB))"),
        ("the head's size", "UPDATE journal_head SET size = size - 1"),
        ("the head's hash", "UPDATE journal_head SET hash = zeroblob(32)"),
        ("no head", "DELETE FROM journal_head"),
    ];
    for (what, sql) in cases {
        let scene = Scene::new();
        for number in 0..8 {
            scene.build(number);
        }
        assert_eq!(scene.wrong(None), [], "{what}");
        scene.tamper(sql);
        assert_ne!(scene.wrong(None), [], "{what}");
    }
}

#[test]
fn one_written_anew_does_not_continue_the_head_that_was_noted() {
    let (scene, other) = (Scene::new(), Scene::new());
    for number in 0..5 {
        scene.build(number);
        other.build(number + u32::from(number == 2) * 100);
    }
    let noted = scene.journal().head;
    other.build(5);
    assert_eq!(other.wrong(None), []);
    assert_eq!(other.wrong(Some(noted)), [Wrong::Since(noted)]);
    // Nor one that is longer than it now is.
    let longer = Head { size: 9, hash: Sha256::of(b"") };
    assert_eq!(scene.wrong(Some(longer)), [Wrong::Since(longer)]);
}

#[test]
fn a_record_that_it_does_not_tell_of_is_named_unless_it_is_older() {
    let scene = Scene::new();
    let record = scene.build(1);
    scene.tamper("DELETE FROM journal; DELETE FROM journal_head");
    assert_eq!(scene.wrong(None), [Wrong::Untold(record)]);
    scene.tamper("INSERT INTO before_journal SELECT document FROM record");
    let history = judge(&scene.journal(), None);
    assert_eq!((history.wrong, history.told, history.older), (Vec::new(), 0, 1));
}

#[test]
fn a_store_without_a_journal_gets_one_and_what_it_had_is_older() {
    let Scene { store, folder } = Scene::new();
    let record = Json::object([("outputs", 1_u32.into())]);
    store.put_record(&action(1), &record).unwrap();
    let root = store.root().clone();
    drop(store);
    let database = Connection::open(folder.path().join("store/records.sqlite")).unwrap();
    let before = "DROP TABLE journal; DROP TABLE journal_head; DROP TABLE journal_checked;
                  DROP TABLE before_journal; DROP TABLE imported; DROP TABLE witness;
                  DROP TABLE generation; DROP TABLE published;
                  PRAGMA user_version = 3;";
    database.execute_batch(before).unwrap();
    drop(database);
    let scene = Scene { store: Store::open(&root).unwrap(), folder };
    let history = judge(&scene.journal(), None);
    assert_eq!((history.wrong, history.told, history.older), (Vec::new(), 0, 1));
    scene.build(2);
    let history = judge(&scene.journal(), None);
    assert_eq!((history.wrong, history.told, history.older), (Vec::new(), 1, 1));
}

#[test]
fn a_damaged_head_is_not_built_upon() {
    let scene = Scene::new();
    scene.build(1);
    for sql in [
        "UPDATE journal_head SET tops = zeroblob(32)",
        "UPDATE journal_head SET tops = zeroblob(31)",
        "UPDATE journal_head SET size = 3",
    ] {
        scene.tamper(sql);
        let error = scene.store.add_to_journal(&[pin("a")]).unwrap_err();
        assert!(error.to_string().contains("add to the journal"), "{error}");
    }
    assert_eq!(scene.journal().entries.len(), 1);
}

#[test]
fn the_head_that_was_checked_is_remembered() {
    let scene = Scene::new();
    assert_eq!(scene.journal().checked, None);
    scene.build(1);
    let head = scene.journal().head;
    scene.store.note_checked_head(&head).unwrap();
    assert_eq!(scene.journal().checked, Some(head));
}
