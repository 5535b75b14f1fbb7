//! Three builders, each with a store and a key of its own, and what a release makes of what they
//! say. One of them has another compiler, as it were: its `alpha` comes out otherwise.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod gnupg;
mod scene;
mod upstream;

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::Ran;
use perestroika::audit::provenance::statement::PAYLOAD_TYPE;
use perestroika::base::Json;
use perestroika::realise::record::Record;
use perestroika::store::NewAttempt;
use scene::{Alpha, Scene};
use serde_json::{Value, json};

/// The builders, and which `alpha` each makes.
const BUILDERS: [(&str, Alpha); 3] =
    [("a", Alpha::Identical), ("b", Alpha::Identical), ("c", Alpha::Other)];

/// A release that all three have built, and trusts them; the store is that of the last one.
fn built() -> Scene {
    let mut scene = Scene::new();
    for (name, alpha) in BUILDERS {
        scene = with_store(scene, name).built(&["alpha", "one", "two"], alpha);
        note_attempts(&scene);
        let key = scene.store().make_builder_key().unwrap();
        scene.desk.write(&format!("keys/{name}.pub"), key.public_pem());
        let said = format!("said/{name}");
        let ran = scene.desk.run(&["audit", "provenance", "-o", &said]).succeeds();
        assert!(ran.out.contains("10 files in"), "{}", ran.out);
    }
    trust(&scene, "[\"keys/a.pub\", \"keys/b.pub\", \"keys/c.pub\"]", 2);
    scene
}

/// The same with the store of this builder, or an empty one.
fn with_store(scene: Scene, name: &str) -> Scene {
    let Scene { archive, desk } = scene;
    let store = desk.path("../stores").join(name);
    Scene { archive, desk: desk.with_store(store) }
}

/// Notes for each record in the store that a build there made it.
fn note_attempts(scene: &Scene) {
    let store = scene.store();
    for digest in store.adopted_records().unwrap() {
        let document = store.read_json(&digest).unwrap();
        let record = Record::from_json(&document.encode()).unwrap();
        let package = "any".parse().unwrap();
        let Record { action, derivation, .. } = record;
        let new = NewAttempt { package, derivation, action };
        let (attempt, mut writer) = store.start_attempt(&new, 1 << 20).unwrap();
        let batch = store.batch();
        let log = batch.put_log(&mut writer).unwrap();
        attempt.succeed(batch, &document, &log).unwrap();
    }
}

fn trust(scene: &Scene, keys: &str, need: usize) {
    let trust = format!("{}\n[trust]\nbuilders = {keys}\nneed = {need}\n", upstream::RELEASE);
    scene.desk.write("release.toml", trust);
}

fn quorum(scene: &Scene, more: &[&str]) -> Ran {
    scene.desk.run(&[&["audit", "quorum"], more].concat())
}

/// `name verdict (builders; dissenters)` of each package.
fn told(ran: &Ran) -> Vec<String> {
    let document = ran.json();
    let list = |list: &Value| {
        let files = list.as_array().unwrap().iter().map(|file| file.as_str().unwrap());
        let name = |file: &str| file.replace("keys/", "").replace(".pub", "");
        files.map(name).collect::<Vec<_>>().join(" ")
    };
    let packages = document["packages"].as_array().unwrap().iter();
    let mut told: Vec<String> = packages
        .map(|one| {
            let (name, verdict) = (one["name"].as_str().unwrap(), one["verdict"].as_str().unwrap());
            format!("{name} {verdict} ({}; {})", list(&one["builders"]), list(&one["dissenters"]))
        })
        .collect();
    told.sort();
    told
}

/// Why statements do not count.
fn ignored(ran: &Ran) -> Vec<String> {
    let document = ran.json();
    let ignored = document["ignored"].as_array().unwrap().iter();
    ignored.map(|one| one["why"].as_str().unwrap().to_owned()).collect()
}

fn said(scene: &Scene, name: &str, package: &str) -> PathBuf {
    let folder = scene.desk.path(&format!("said/{name}"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_of = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        file.starts_with(&format!("{package}_")) && file.ends_with(".provenance.json")
    };
    files.into_iter().find(is_of).unwrap()
}

#[test]
fn what_enough_builders_came_to_is_accepted_and_who_dissents_is_named() {
    let scene = with_store(built(), "nobody");
    let json = |scene: &Scene, more: &[&str]| quorum(scene, &[&["--json"], more].concat());
    // The auditor trusts what the release trusts, and needs no store with anything in it.
    let auditor = ["--statements", "said"];
    let ran = json(&scene, &auditor).succeeds();
    assert_eq!(
        told(&ran),
        ["alpha agreed (a b c; c)", "one agreed (a b; c)", "two agreed (a b c; )"]
    );
    let document = ran.json();
    let one = document["packages"].as_array().unwrap().iter().find(|it| it["name"] == "one");
    assert_eq!(one.unwrap()["elsewhere"][0]["builders"], json!(["keys/c.pub"]));
    let text = quorum(&scene, &auditor).succeeds().out;
    for part in [
        "2 of 3 builders have to agree\n",
        "3 builders, keys/c.pub dissents\n",
        "from other inputs (",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }

    // Three have to agree, and one does not; one package alone is another matter.
    trust(&scene, "[\"keys/a.pub\", \"keys/b.pub\", \"keys/c.pub\"]", 3);
    let ran = json(&scene, &auditor).fails(1, &[]);
    assert_eq!(
        told(&ran),
        ["alpha disagree (a b c; )", "one disagree (a b; )", "two agreed (a b c; )"]
    );
    assert_eq!(
        told(&json(&scene, &[&auditor[..], &["two"]].concat()).succeeds()),
        ["two agreed (a b c; )"]
    );
    quorum(&scene, &auditor).fails(1, &["the builders do not agree on what was built: alpha, one"]);

    let scene = with_store(scene, "c");
    // Builder c alone with its own store, which needs no files for that.
    trust(&scene, "[\"keys/a.pub\", \"keys/c.pub\"]", 2);
    let ran = json(&scene, &[]).fails(1, &[]);
    let too_few = ["alpha too-few (c; )", "one too-few (c; )", "two too-few (c; )"];
    assert_eq!(told(&ran), too_few);
    // What others say is held against it; whom the release does not trust is not heard.
    let ran = json(&scene, &["--statements", "said"]).fails(1, &[]);
    let told = told(&ran);
    assert_eq!([&told[0], &told[2]], ["alpha disagree (a c; )", "two agreed (a c; )"]);
    assert!(told[1].starts_with("one disagree ("), "{told:?}");
    assert_eq!(ignored(&ran).len(), 3);
    assert!(ignored(&ran)[0].contains("whom the release does not trust"), "{:?}", ignored(&ran));
    let whole = scene.desk.run(&["audit", "--json"]).json();
    assert_eq!(whole["quorum"]["packages"][0]["verdict"], "too-few");
}

#[test]
fn what_is_not_a_statement_of_a_trusted_builder_does_not_count() {
    let scene = built();
    let key = scene.store().builder_key().unwrap().unwrap();
    let scene = with_store(scene, "nobody");
    trust(&scene, "[\"keys/a.pub\", \"keys/b.pub\"]", 2);
    scene.desk.remove("said/c");
    let text = |name| fs::read_to_string(said(&scene, name, "alpha")).unwrap();
    let (a, b) = (text("a"), text("b"));
    let check = |lines: &str, verdict: &str, why: &[&str]| {
        scene.desk.write("other.jsonl", lines);
        let words = ["alpha", "--json", "--statements", "other.jsonl"];
        let ran = quorum(&scene, &words);
        assert_eq!(told(&ran), [verdict], "{lines}");
        let found = ignored(&ran);
        assert_eq!(found.len(), why.len(), "{found:?}");
        for (found, why) in found.iter().zip(why) {
            assert!(found.contains(why), "no `{why}` in `{found}`");
        }
    };
    // Lines, also twice, also with empty ones between them.
    check(&format!("{a}\n\n{b}{a}{b}"), "alpha agreed (a b; )", &[]);
    let envelope: Value = serde_json::from_str(&a).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let line = |envelope: &Value| format!("{envelope}\n");
    let with = |key: &str, value: Value| {
        let mut other = envelope.clone();
        other[key] = value;
        line(&other)
    };
    // Other bytes under the same signature; another type; a key that did not sign.
    let changed = String::from_utf8(payload.clone()).unwrap().replacen("alpha", "alphb", 1);
    let refused = "no statement of type";
    let few = "alpha too-few (b; )";
    check(&(with("payload", STANDARD.encode(changed).into()) + &b), few, &[refused]);
    check(&(with("payloadType", "application/json".into()) + &b), few, &[refused]);
    let other: Value = serde_json::from_str(&b).unwrap();
    let mut stolen = envelope.clone();
    stolen["signatures"][0]["keyid"] = other["signatures"][0]["keyid"].clone();
    check(&(line(&stolen) + &b), few, &[refused]);
    let mut unsigned = envelope.clone();
    unsigned["signatures"] = json!([]);
    let none = "no envelope of a signed statement";
    check(&(line(&unsigned) + &b), few, &[none]);
    check(&format!("{b}nothing\n{{}}\n[1]\n"), few, &[none, none, none]);
    let deep = "[".repeat(100_000);
    check(&format!("{b}{deep}\n"), few, &[none]);
    check(&a[..a.len() / 2], "alpha too-few (; )", &[none]);

    // What builder c signs in the name of another, or of nothing.
    trust(&scene, "[\"keys/c.pub\", \"keys/b.pub\"]", 2);
    let sign = |payload: &[u8]| {
        let signed = key.sign(PAYLOAD_TYPE, &Json::read(payload).unwrap());
        String::from_utf8(signed.encode()).unwrap() + "\n"
    };
    check(&(sign(&payload) + &b), few, &["`keys/c.pub` signed it in the name of "]);
    let own = String::from_utf8(payload).unwrap();
    let a_id = envelope["signatures"][0]["keyid"].as_str().unwrap();
    let own = own.replace(a_id, &key.id().to_string());
    check(&(sign(own.as_bytes()) + &b), "alpha agreed (c b; )", &[]);
    for (from, to, why) in [
        ("urn:perestroika:build:1", "urn:perestroika:build:2", "build's type is"),
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v2", "statement's type is"),
        ("\"profiles\":[]", "\"profiles\":[],\"more\":1", "unknown field `more`"),
        ("\"root\":[", "\"root\":[1,", "its layers"),
        ("\"root\":[", "\"root\":[9007199254740991,", "its layers"),
        ("alpha_1.0_amd64.deb", "../alpha", "none of a file"),
        ("alpha_1.0_amd64.deb", "alpha-doc_1.0_all.deb", "twice"),
    ] {
        assert!(own.contains(from), "{from}");
        check(&(sign(own.replacen(from, to, 1).as_bytes()) + &b), few, &[why]);
    }
    // Another build root is another action, whatever the statement says.
    let lied = own.replacen("\"name\":\"core\"", "\"name\":\"kore\"", 1);
    assert_ne!(lied, own);
    check(&(sign(lied.as_bytes()) + &b), few, &[]);
    let ran = quorum(&scene, &["--json", "--statements", "other.jsonl"]);
    assert_eq!(ran.json()["unrelated"], 1);
}

#[test]
fn records_in_bundles_are_heard_like_statements() {
    let mut scene = built();
    for (name, _) in BUILDERS {
        scene = with_store(scene, name);
        scene.desk.run(&["build"]).succeeds();
        let file = format!("../{name}.records");
        scene.desk.run(&["bundle", "create", &file, "--records"]).succeeds();
    }
    let scene = with_store(scene, "nobody");
    let agreed = ["alpha agreed (a b c; c)", "one agreed (a b; c)", "two agreed (a b c; )"];
    let mut words = vec!["--json"];
    for file in ["../a.records", "../b.records", "said/c"] {
        words.extend(["--statements", file]);
    }
    let ran = quorum(&scene, &words).succeeds();
    assert_eq!((told(&ran), ignored(&ran).len()), (agreed.map(str::to_owned).to_vec(), 0));
    // The same in both ways is said once.
    words.extend(["--statements", "said/a"]);
    let document = quorum(&scene, &words).succeeds().json();
    assert_eq!(document["builders"][0]["statements"], 3);
    // Whoever passes a bundle on adds nothing to it, and a damaged one says nothing.
    trust(&scene, "[\"keys/b.pub\"]", 1);
    let ran = quorum(&scene, &words).succeeds();
    assert_eq!(told(&ran), ["alpha agreed (b; )", "one agreed (b; )", "two agreed (b; )"]);
    assert!(
        ignored(&ran).iter().all(|why| why.contains("whom the release ")),
        "{:?}",
        ignored(&ran)
    );
    let mut bytes = fs::read(scene.desk.path("../b.records")).unwrap();
    bytes[1000] ^= 1;
    fs::write(scene.desk.path("../b.records"), bytes).unwrap();
    let words = ["--json", "--statements", "../b.records"];
    let ran = quorum(&scene, &words).fails(1, &[]);
    assert_eq!(ignored(&ran).len(), 1);
    assert_eq!(told(&ran)[0], "alpha too-few (; )");
}

#[test]
fn whom_a_release_trusts_has_to_be_said_rightly() {
    let scene = Scene::new();
    quorum(&scene, &[]).fails(2, &["says of no builder to trust it", "write `[trust]`"]);
    let key = scene.store().make_builder_key().unwrap();
    let eval = || scene.desk.run(&["eval", "--json"]).succeeds().json()["release"]["id"].clone();
    let before = eval();
    let check = |keys: &str, need: usize, words: &[&str]| {
        trust(&scene, keys, need);
        quorum(&scene, &[]).fails(2, words);
        assert_eq!(eval(), before, "it is no part of an id");
        scene.desk.run(&["check"]).fails(1, words);
    };
    check(
        "[\"keys/a.pub\"]",
        1,
        &["cannot use the key `keys/a.pub`: No such file", "release.toml:"],
    );
    scene.desk.write("keys/a.pub", "nothing");
    check("[\"keys/a.pub\"]", 1, &["not an Ed25519 public key", "`perestroika key show`"]);
    let secret = fs::read(scene.desk.store().join("builder.key")).unwrap();
    scene.desk.write("keys/a.pub", secret);
    check("[\"keys/a.pub\"]", 1, &["it is a secret key"]);
    // The same key in two files counts once.
    scene.desk.write("keys/a.pub", key.public_pem()).write("keys/b.pub", key.public_pem());
    check(
        "[\"keys/a.pub\", \"keys/b.pub\"]",
        2,
        &["2 builders cannot agree: the files hold 1 key"],
    );
    trust(&scene, "[\"keys/a.pub\", \"keys/b.pub\"]", 1);
    quorum(&scene, &[]).fails(1, &["too few builders say what was built: alpha, "]);
    quorum(&scene, &["--statements", "nowhere"]).fails(2, &["cannot read `nowhere`"]);
}
