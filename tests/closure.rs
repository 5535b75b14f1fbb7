//! Certificates of releases over a small signed archive, and rebuilt packages against that
//! archive's own. What was built is made up, and kept as a build would keep it: so each way to
//! fail can be had without building.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod gnupg;
mod scene;
mod upstream;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use perestroika::base::{ActionId, DerivationId, Digest, Json, Sha256};
use perestroika::realise::RESOLUTION_RULES;
use perestroika::realise::record::Record;
use perestroika::realise::universe::offered_digest;
use perestroika::store::Store;
use scene::{Alpha, Scene, keep, readme_script};
use serde_json::{Value, json};
use upstream::RELEASE;

fn findings(document: &Value) -> Vec<String> {
    let all = document["certificate"]["findings"].as_array().unwrap().iter();
    all.map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_release_that_was_built_whole_is_certified() {
    let scene = Scene::whole(Alpha::Identical);
    let document = scene.closure().succeeds().json();
    let certificate = &document["certificate"];
    // The archive's `alpha` under `tool` is what the release builds, bit for bit.
    assert_eq!(certificate["level"], "own");
    assert_eq!(certificate["shadowed"], json!([]));
    assert_eq!(certificate["looked"]["depth"], "bytes");
    assert_eq!(certificate["manifest"], document["release"]["manifest"]);
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        let mut names: Vec<_> = list.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&certificate["seed"]), ["core", "debhelper", "g++-beta", "tool"]);
    assert_eq!(names(&certificate["packages"]), ["alpha", "one", "two"]);
    assert!(
        certificate["packages"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["own"]["packages"] == json!(if one["name"] == "alpha" { 0 } else { 1 }))
    );

    // It is kept by its digest, and the same evidence gives it again.
    let digest = document["digest"].as_str().unwrap();
    let kept = scene.desk.store().join(format!("json/{digest}.json"));
    let bytes = fs::read(kept).unwrap();
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), *certificate);
    assert_eq!(scene.closure().succeeds().json()["digest"], digest);

    let text = scene.desk.run(&["audit", "closure"]).succeeds().out;
    for part in ["\nclosure    own\n", "the records of 3 packages; ", "byte for byte", "two  "] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let wide = text.lines().filter(|line| !line.contains("b3sum")).map(|line| line.chars().count());
    assert!(wide.max() <= Some(80) && text.lines().count() <= 24, "a screen:\n{text}");
    let check = scene.desk.run(&["check"]).succeeds().out;
    assert!(check.contains("closure      own: 3 packages built, 4 seed packages\n"), "{check}");
}

#[test]
fn shadowed_seed_is_told_and_a_required_level_is_demanded() {
    let scene = Scene::whole(Alpha::Other);
    let document = scene.closure().succeeds().json();
    let certificate = &document["certificate"];
    assert_eq!(certificate["level"], "sealed");
    let shadowed = &certificate["shadowed"][0];
    assert_eq!((&shadowed["name"], &shadowed["by"]), (&json!("alpha"), &json!("alpha")));
    assert_eq!(shadowed["in"], json!([{ "package": "two", "why": "no-edge" }]));
    assert_eq!(shadowed["asked_by"], json!(["tool"]));

    let demand = |level: &str| {
        let demanded = format!("{RELEASE}\n[closure]\nrequire = \"{level}\"\n");
        scene.desk.write("release.toml", demanded);
    };
    demand("sealed");
    scene.desk.run(&["build"]).succeeds();
    demand("own");
    let reason = "`alpha 1.0 amd64` in the build root of `two` is the archive's, though `alpha` \
                  builds it: no build dependency of `two` leads to `alpha`";
    let told = "the release is not `own`, as it has to be (release.toml:";
    for words in [&["build"][..], &["check"], &["audit", "closure"]] {
        scene.desk.run(words).fails(1, &[told, reason]);
    }
    let document = scene.desk.run(&["build", "--json"]).fails(1, &[]).json();
    assert_eq!(document["errors"][0]["code"], "shadowed-seed");
    demand("self-hosted");
    let reason = "though `alpha` builds it";
    scene.desk.run(&["build"]).fails(1, &["not `self-hosted`", reason]);
    demand("sealed-off");
    scene.desk.run(&["build"]).fails(2, &["`require` is one of `sealed`, `own`, `self-hosted`"]);
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let scene = Scene::whole(Alpha::Identical);
    let object = scene.object("one_1.0_amd64.deb");
    let digest = object.file_name().unwrap().to_str().unwrap().to_owned();
    let sound = fs::read(&object).unwrap();

    fs::remove_file(&object).unwrap();
    let ran = scene.desk.run(&["audit", "closure"]);
    let told =
        format!("output `one_1.0_amd64.deb` of `one` is missing from the store\n  named {digest}");
    ran.fails(1, &[&told]);

    let mut other = sound.clone();
    other[sound.len() / 2] ^= 1;
    fs::write(&object, &other).unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o444)).unwrap();
    let found = findings(&scene.closure().fails(1, &[]).json());
    let is = Digest::of(&other);
    let told = "output `one_1.0_amd64.deb` of `one` is damaged in the store: it is ";
    assert_eq!(found, [format!("{told}{is}\n  named {digest}")]);
    assert_eq!(fs::read(&object).unwrap(), other, "who audits puts nothing aside");
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, &sound).unwrap();

    // A package of the seed, which records name by its SHA-256.
    let tool = fs::read(scene.archive.root().join("pool/main/tool_1_amd64.deb")).unwrap();
    fs::remove_file(scene.desk.store().join("objects").join(Digest::of(&tool).to_string()))
        .unwrap();
    let found = findings(&scene.closure().fails(1, &[]).json());
    let named = Sha256::of(&tool);
    let told = "seed package `tool 1 amd64` of `two` is missing from the store";
    assert_eq!(found, [format!("{told}\n  named {named}")]);
    // What is only looked for by name is found missing, too.
    let check = scene.desk.run(&["check"]).fails(1, &[told]);
    assert!(check.out.contains("wrong      closure"), "{}", check.out);
    scene.store().put(&tool).unwrap();

    // A record whose document is lost: what is known of the package is lost with it.
    let record = scene.desk.run(&["audit", "closure", "--json"]).succeeds().json();
    let packages = record["certificate"]["packages"].as_array().unwrap();
    let two = packages.iter().find(|one| one["name"] == "two").unwrap();
    let record = two["record"].as_str().unwrap().to_owned();
    fs::remove_file(scene.desk.store().join(format!("json/{record}.json"))).unwrap();
    let found = findings(&scene.closure().fails(1, &[]).json());
    assert_eq!(found, [format!("the record of `two` is missing from the store\n  named {record}")]);
}

#[test]
fn a_record_made_with_a_foreign_universe_is_named() {
    let scene = Scene::whole(Alpha::Identical);
    let (graph, store) = (scene.graph(), scene.store());
    let (node, package) = graph.package("two").unwrap();
    let offered = offered_digest([]);
    assert!(package.dependencies.is_empty());
    let action = store.resolution(&node.id, &offered, RESOLUTION_RULES).unwrap().unwrap();
    let record = store.record(&action).unwrap().unwrap().record;
    let record = Record::from_json(&record.encode()).unwrap();
    let mut document = store.read_json(&action.digest()).unwrap();
    let Json::Object(members) = &mut document else { panic!() };
    let Some(Json::Array(layers)) = members.get_mut("root") else { panic!() };
    let Some(Json::Array(layer)) = layers.first_mut() else { panic!() };
    let foreign = b"a package of elsewhere";
    layer.push(Json::object([
        ("name", "stranger".into()),
        ("version", "9".into()),
        ("architecture", "amd64".into()),
        ("sha256", Json::text(Sha256::of(foreign))),
    ]));
    // Even if the store has it.
    store.put(foreign).unwrap();
    let action = ActionId::from_bytes(*store.put_json(&document).unwrap().as_bytes());
    keep(&store, node.id, &offered, &Record { action, ..record });

    let found = findings(&scene.closure().fails(1, &[]).json());
    assert_eq!(
        found[0],
        "`stranger 9 amd64` in the build root of `two` is neither in the pinned index nor built \
         by anything that `two` needs"
    );
    // The manifest was made of the other one.
    assert!(found[1].starts_with("the manifest has another record of `two`"), "{found:?}");
    assert_eq!(found.len(), 2);

    // An action of another recipe says so.
    let Json::Object(members) = &mut document else { panic!() };
    members.insert("script".to_owned(), "true\n".into());
    let action = ActionId::from_bytes(*store.put_json(&document).unwrap().as_bytes());
    let record = store.record(&action).unwrap();
    assert!(record.is_none());
    let kept = Record { action, ..read(&store, &node.id, &offered) };
    keep(&store, node.id, &offered, &kept);
    let found = findings(&scene.closure().fails(1, &[]).json());
    let told = format!("action {action} of the record of `two` is not what this program makes");
    assert!(found.iter().any(|one| one.starts_with(&told)), "{found:?}");
}

fn read(store: &Store, id: &DerivationId, offered: &Digest) -> Record {
    let action = store.resolution(id, offered, RESOLUTION_RULES).unwrap().unwrap();
    let adopted = store.record(&action).unwrap().unwrap();
    Record::from_json(&adopted.record.encode()).unwrap()
}

#[test]
fn before_anything_is_built_the_static_part_is_told_and_nothing_is_proved() {
    let scene = Scene::new();
    let check = scene.desk.run(&["check"]).succeeds().out;
    let told =
        "closure      static part only, nothing is built: at most own, 5 seed packages, 1 shadowed";
    assert!(check.contains(told), "{check}");
    let ran = scene.desk.run(&["audit", "closure"]);
    assert!(ran.out.contains("\nclosure    not proved; at most own\n"), "{}", ran.out);
    assert!(ran.out.contains("alpha 1.0 amd64 (may come out the same)"), "{}", ran.out);
    ran.fails(1, &["the closure is not proved: 3 of 3 packages not built"]);

    let scene = scene.built(&["alpha"], Alpha::Other);
    let document = scene.closure().fails(1, &[]).json();
    let certificate = &document["certificate"];
    assert_eq!(
        (&certificate["level"], &certificate["possible"]),
        (&json!("unproved"), &json!("sealed"))
    );
    let basis: Vec<&Value> =
        certificate["packages"].as_array().unwrap().iter().map(|one| &one["basis"]).collect();
    assert_eq!(basis, ["recorded", "foreseen", "foreseen"]);
}

#[test]
fn the_smallest_step_to_a_smaller_seed_comes_first() {
    let scene = Scene::new();
    // Without the package that is built from it, the archive's source is a step.
    scene.desk.replace("packages/all.rhai", "rebuild(\"alpha\"), ", "");
    scene.desk.run(&["lock"]).succeeds();
    let document = scene.closure().fails(1, &[]).json();
    assert_eq!(
        document["steps"],
        json!([{
            "source": "alpha",
            "removes": ["alpha"],
            "bytes": document["steps"][0]["bytes"],
            "brings": ["g++-beta"],
            "unsolvable": null,
        }])
    );
    let text = scene.desk.run(&["audit", "closure"]).out;
    assert!(text.contains("perestroika add . alpha"), "{text}");
    assert!(text.contains("1 out, 1 in"), "{text}");
}

#[test]
fn rebuilt_packages_are_held_against_the_archives_own() {
    let scene = Scene::whole(Alpha::Identical);
    let ran = scene.desk.run(&["audit", "archive"]).succeeds();
    assert!(ran.out.contains("100.0 % identical: 2 of the 2 that the archive has"), "{}", ran.out);
    assert!(ran.out.contains("not of the archive's source: one, two"), "{}", ran.out);
    let document = scene.desk.run(&["audit", "archive", "--json"]).succeeds().json();
    assert_eq!(
        document["summary"],
        json!({ "outputs": 2, "identical": 2, "differ": 0, "absent": 0 })
    );

    let scene = Scene::whole(Alpha::Other);
    // Nothing needed it so far: it is fetched to be looked into.
    scene.archive.server.requests();
    let ran = scene.desk.run(&["audit", "archive"]);
    assert!(ran.out.contains("alpha_1.0_amd64.deb: test's own, and ours"), "{}", ran.out);
    for part in ["Section", "odd", "0.0 % identical: 0 of the 2", "--buildinfo"] {
        assert!(ran.out.contains(part), "no `{part}` in\n{}", ran.out);
    }
    assert!(ran.out.lines().all(|line| line.chars().count() <= 80), "{}", ran.out);
    ran.fails(1, &["2 of 2 are not the archive's own bytes"]);
    let fetched = scene.archive.server.requests();
    assert!(fetched.iter().any(|path| path.ends_with("alpha-doc_1.0_all.deb")), "{fetched:?}");

    // What the archive's builder had, if it is given.
    let info = "Format: 1.0\nSource: alpha\nVersion: 1.0\nInstalled-Build-Depends:\n core (= 1),\n \
                debhelper (= 12),\n make (= 4)\n";
    scene.desk.write("infos/alpha.buildinfo", info);
    let words = ["audit", "archive", "--json", "--buildinfo", "infos"];
    let document = scene.desk.run(&words).fails(1, &[]).json();
    let other = |name: &str, theirs: &str, ours: Value| json!({ "name": name, "theirs": theirs, "ours": ours });
    assert_eq!(
        document["packages"][0]["inputs"]["buildinfo"],
        json!({
            "same": 1,
            "other": [other("debhelper", "12", json!("13")), other("make", "4", Value::Null)],
        })
    );
    let text = scene.desk.run(&["audit", "archive", "--buildinfo", "infos"]).out;
    assert!(text.contains("debhelper: theirs 12, here 13"), "{text}");
    scene
        .desk
        .run(&["audit", "archive", "--buildinfo", "src/Makefile"])
        .fails(2, &["cannot read `src/Makefile`", "it has no field `Source`"]);
}

#[test]
fn alone_a_release_is_judged_in_every_way() {
    let scene = Scene::whole(Alpha::Identical);
    let document = scene.desk.run(&["audit", "--json"]).succeeds().json();
    assert_eq!(document["closure"]["certificate"]["level"], "own");
    assert_eq!(document["archive"]["summary"]["identical"], 2);
    let ran = scene.desk.run(&["audit", "nobody"]).fails(2, &["has no package `nobody`"]);
    assert_eq!(ran.err.matches("nobody").count(), 1, "{}", ran.err);
}

#[test]
fn the_journal_tells_of_what_was_pinned_and_built_and_continues_what_was_checked() {
    let scene = Scene::whole(Alpha::Identical);
    let history = |words: &[&str]| scene.desk.run(&[&["audit", "history"][..], words].concat());
    let document = history(&["--json"]).succeeds().json();
    let entries = document["entries"].as_array().unwrap();
    let mut kinds: Vec<&str> =
        entries.iter().rev().map(|one| one["entry"]["kind"].as_str().unwrap()).collect();
    kinds.dedup();
    assert_eq!(kinds, ["pin", "record", "manifest"]);
    assert_eq!(document["head"]["size"], entries.len());
    assert_eq!(document["records"], json!({ "told": 3, "older": 0 }));
    for one in entries {
        let entry = Json::read(one["entry"].to_string().as_bytes()).unwrap().encode();
        let leaf = Sha256::of(&[&[0_u8][..], &entry].concat());
        assert_eq!(one["leaf"], leaf.to_string());
    }
    let built = scene.desk.run(&["build", "--json"]).succeeds().json();
    assert_eq!(entries[0]["entry"]["manifest"], built["release"]["manifest"]);
    let lock = Digest::of(scene.desk.read("release.lock").as_bytes());
    assert_eq!(entries.last().unwrap()["entry"]["lock"], lock.to_string());
    let of_one = history(&["one", "--json"]).succeeds().json();
    let of_one: Vec<&Value> =
        of_one["entries"].as_array().unwrap().iter().map(|one| &one["package"]).collect();
    assert_eq!(of_one, ["one"]);

    // Nothing came since: built again it is the same release.
    let head = &document["head"];
    let head = format!("{}:{}", head["size"], head["hash"].as_str().unwrap());
    let text = history(&[]).succeeds().out;
    assert!(text.contains(&format!("holds  it continues {head}\n")), "{text}");
    assert!(text.ends_with(&format!("head   {head}\n")), "{text}");
    history(&["--since", &head]).succeeds();
    let other = format!("{}:{}", entries.len(), "0".repeat(64));
    history(&["--since", &other]).fails(1, &["does not continue", &other]);
    history(&["--since", "nonsense"]).fails(2, &["is not a tree head"]);

    let database = rusqlite::Connection::open(scene.desk.store().join("records.sqlite")).unwrap();
    database.execute_batch("DELETE FROM journal WHERE position = 0").unwrap();
    let wrong = ["not those of the journal's head", "entry 0 is missing", "does not continue"];
    history(&[]).fails(1, &wrong);
    // What was found wrong is not what the next journal is held against.
    history(&[]).fails(1, &wrong);
}

#[test]
fn a_head_is_signed_by_the_key_that_the_first_build_made() {
    let scene = Scene::new().built(&["alpha", "one", "two"], Alpha::Identical);
    let sign = ["audit", "history", "--head", "head.json"];
    let list = |scene: &Scene| scene.desk.run(&["key", "list", "--json"]).succeeds().json();
    assert_eq!(list(&scene)["keys"], json!([]));
    scene.desk.run(&["key", "show"]).fails(2, &["has no builder key", "the first build"]);
    scene.desk.run(&sign).fails(2, &["has no builder key"]);
    assert!(!scene.desk.path("head.json").exists());

    scene.desk.run(&["build"]).succeeds();
    let key = &list(&scene)["keys"][0];
    let public = scene.desk.run(&["key", "show"]).succeeds().out;
    scene.desk.write("builder.pub", &public);
    let document = scene.desk.run(&[&sign[..], &["--json"]].concat()).succeeds().json();
    let envelope: Value = serde_json::from_str(&scene.desk.read("head.json")).unwrap();
    assert_eq!(document["signed"], envelope);
    assert_eq!(envelope["signatures"][0]["keyid"], key["id"]);

    // As the README has it.
    let check = |script: &str| {
        let script = format!("set -e\n{script}");
        let folder = scene.desk.path("");
        Command::new("sh").args(["-c", &script]).current_dir(folder).output().unwrap()
    };
    let script = readme_script("jq -r .payload head.json");
    let checked = check(&script);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let head: Value = serde_json::from_str(&scene.desk.read("payload")).unwrap();
    assert_eq!(head["format"], "perestroika/journal-head/1");
    assert_eq!(
        (&head["size"], &head["hash"]),
        (&document["head"]["size"], &document["head"]["hash"])
    );

    let other = scene.desk.read("head.json").replace("journal-head+json", "journal-head+text");
    scene.desk.write("head.json", other);
    assert!(!check(&script).status.success(), "another type");

    // What does not hold is not signed.
    scene.desk.remove("head.json");
    let database = rusqlite::Connection::open(scene.desk.store().join("records.sqlite")).unwrap();
    database.execute_batch("DELETE FROM journal WHERE position = 1").unwrap();
    scene.desk.run(&sign).fails(1, &["entry 1 is missing"]);
    assert!(!scene.desk.path("head.json").exists());
}
