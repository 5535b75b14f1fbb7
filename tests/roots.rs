//! Chroot snapshots over a small signed archive that moves: what an update of it would change and
//! rebuild, before it is adopted; what is in a root, and what differs between two.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod gnupg;
mod upstream;

use std::fs;
use std::process::Command;

use common::Desk;
use serde_json::{Value, json};
use upstream::{Archive, RELEASE};

/// `one` is built with `tool`, `two` with what `one` leaves, `three` with neither.
const PACKAGES: &str = r#"
let made = |name, needs| package(#{
    name: name,
    version: "1.0",
    summary: "Part of a release",
    license: "MIT",
    root: "test",
    changes: #{ date: "2026-11-22", text: "First." },
    source: dir("src"),
    build_depends: needs,
    build: script("make"),
});
[made.call("one", ["tool"]), made.call("two", ["one"]), made.call("three", [])]
"#;

/// The archive has `core`, which every root has, `alpha`, and `tool`.
struct Scene {
    archive: Archive,
    desk: Desk,
}

impl Scene {
    fn new() -> Self {
        let archive = Archive::new();
        let desk = Desk::new().with_flags([format!("--mirror=test={}", archive.server.url)]);
        let release = RELEASE.replace("packages = []", "packages = [\"alpha\"]")
            + "\n[root.small]\narchive = \"test\"\npackages = []\n";
        desk.write("release.toml", &release).write("packages/all.rhai", PACKAGES);
        desk.write("keys/test.pgp", archive.keyring()).write("src/Makefile", "all:\n");
        let scene = Self { archive, desk };
        scene.put("debhelper", "13", "Provides: debhelper-compat (= 13)\n");
        scene.put("core", "1", "Essential: yes\n");
        scene.put("tool", "1", "");
        scene.archive.index();
        scene.desk.run(&["lock"]).succeeds();
        scene
    }

    /// Puts a version of a package into the pool, in place of the one there.
    fn put(&self, name: &str, version: &str, fields: &str) {
        self.take(name);
        let pool = self.archive.root().join("pool/main");
        upstream::binary(&pool, name, version, "all", fields);
    }

    fn take(&self, name: &str) {
        let pool = fs::read_dir(self.archive.root().join("pool/main")).unwrap();
        let paths = pool.map(|entry| entry.unwrap().path());
        let of_name = format!("/{name}_");
        for path in paths.filter(|path| path.to_str().unwrap().contains(&of_name)) {
            fs::remove_file(path).unwrap();
        }
    }

    /// What moving the archive would lead to, as text and as a document.
    fn plan(&self) -> (String, Value) {
        let before = self.desk.read("release.lock");
        let text = self.desk.run(&["update", "test", "-n"]).succeeds().out;
        let document = self.desk.run(&["update", "test", "-n", "--json"]).succeeds().json();
        assert_eq!(self.desk.read("release.lock"), before);
        (text, document)
    }

    fn git(&self, words: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(words)
            .current_dir(self.desk.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

/// `name rebuilt` of each package of a plan.
fn rebuilt(document: &Value) -> Vec<String> {
    let plan = document["rebuilds"]["plan"].as_array().unwrap();
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let mut told: Vec<String> =
        plan.iter().map(|one| format!("{} {}", word(one, "name"), word(one, "rebuilt"))).collect();
    told.sort();
    told
}

#[test]
fn an_archive_that_moved_tells_which_packages_are_rebuilt_because_of_what() {
    let scene = Scene::new();
    scene.put("tool", "2", "");
    scene.archive.index();
    let (text, document) = scene.plan();
    has(
        &text,
        &[
            "archive `test` suite `stable`: ",
            "\nroot test: none of its 2 packages changes\n",
            "\nin the build roots of some\n  tool  1 -> 2  one\n",
            "\nrebuilt: 1 of 3 packages, and 1 if what they need comes out another; about 1m 00s, \
             at most 2m 00s (2 never timed: 1m 00s each is assumed)\n",
            "\n  one  tool\n  two  needs one: stays as it is if that comes out the same\n",
            "\nas before: three, in the same build root\n",
        ],
    );
    let tool = json!({
        "package": "tool", "old": "1", "new": "2", "snapshot": false, "used_by": ["one"],
    });
    assert_eq!(document["roots"]["changes"], json!([tool]));
    assert_eq!(rebuilt(&document), ["one yes", "three no", "two perhaps"]);
    assert_eq!(document["rebuilds"]["milliseconds_least"], 60_000);

    // A package of the snapshot is in every build root.
    scene.put("core", "2", "Essential: yes\n");
    scene.archive.index();
    let (text, document) = scene.plan();
    has(
        &text,
        &[
            "\nroot test: 1 of 2 packages change\n",
            "\nin the snapshot, and so in every build root\n  core  1 -> 2  all 3\n",
            "\nrebuilt: 3 of 3 packages; about ",
        ],
    );
    assert_eq!(rebuilt(&document), ["one yes", "three yes", "two yes"]);
    let times: Vec<&Value> =
        ["milliseconds", "milliseconds_least"].map(|key| &document["rebuilds"][key]).to_vec();
    assert_eq!(times[0], times[1]);
}

#[test]
fn an_archive_that_moved_and_leaves_every_root_as_it_was_rebuilds_nothing() {
    let scene = Scene::new();
    scene.put("unrelated", "1", "");
    scene.archive.index();
    let (text, document) = scene.plan();
    has(&text, &["\nnothing is rebuilt: every build root stays as it is\n"]);
    assert_eq!(rebuilt(&document), ["one no", "three no", "two no"]);
    assert_eq!(document["rebuilds"]["packages"], 0);
}

#[test]
fn a_package_that_has_no_build_root_any_more_is_told_before_the_archive_is_adopted() {
    let scene = Scene::new();
    scene.take("tool");
    scene.archive.index();
    let (text, document) = scene.plan();
    has(&text, &["one  has no build root any more: ", "tool"]);
    assert_eq!(rebuilt(&document), ["one yes", "three no", "two perhaps"]);
}

#[test]
fn what_the_old_state_was_and_nobody_has_any_more_is_said() {
    let scene = Scene::new();
    scene.put("tool", "2", "");
    scene.archive.index();
    // The old index was never read here, and the mirror does not keep it.
    for entry in fs::read_dir(scene.archive.root().join("dists/stable/main")).unwrap() {
        let hashes = entry.unwrap().path().join("by-hash/SHA256");
        let current = fs::read(hashes.join("../../Packages.xz")).unwrap_or_default();
        for file in fs::read_dir(hashes).unwrap().map(|file| file.unwrap().path()) {
            if fs::read(&file).unwrap() != current {
                fs::remove_file(file).unwrap();
            }
        }
    }
    let ran = scene.desk.run(&["update", "test", "-n"]).succeeds();
    has(&ran.err, &["how build roots change is not known: "]);
    has(&ran.out, &["3 of 3 packages would be built anew"]);
}

#[test]
fn roots_are_listed_shown_and_held_against_what_they_were() {
    let scene = Scene::new();
    let list = scene.desk.run(&["root", "list"]).succeeds().out;
    has(&list, &["\nroot small: no package is built on it\n"]);
    scene.desk.run(&["root", "show", "small"]).fails(2, &["built on root `small`"]);
    let four = PACKAGES.replace(r#"root: "test""#, r#"root: "small""#);
    let four = four.split("[made").next().unwrap().to_owned() + r#"made.call("four", [])"#;
    scene.desk.write("packages/four.rhai", four);
    let list = scene.desk.run(&["root", "list"]).succeeds().out;
    has(
        &list,
        &[
            "\nroot test · amd64 · stable of ",
            " · 3 packages built on it\n",
            "\nroot small · amd64 · stable of ",
            " · 1 package built on it\n",
            "  nothing of it is in the store: it is made when it is needed\n",
        ],
    );
    let show = scene.desk.run(&["root", "show", "test"]).succeeds().out;
    has(&show, &["root test · amd64 · stable of ", " · 2 packages\n"]);
    has(&show, &["\n  alpha  1.0-1\n  core   1  all\nbuilt on it: one, three, two\n"]);
    let document = scene.desk.run(&["root", "show", "small", "--json"]).succeeds().json();
    let core = json!({ "name": "core", "version": "1", "architecture": "all" });
    assert_eq!(document["roots"][0]["packages"], json!([core]));
    scene.desk.run(&["root", "show"]).fails(2, &["several roots", "`small`, `test`"]);
    scene.desk.run(&["root", "show", "tset"]).fails(2, &["no root `tset`", "it has `test`"]);
    scene.desk.run(&["root", "show", "one"]).fails(1, &["is not built", "perestroika build one"]);

    let two = scene.desk.run(&["root", "diff", "small", "test"]).succeeds().out;
    has(&two, &["root small -> test: 1 of 2 packages differ\n  alpha  new, 1.0-1\n"]);

    scene.git(&["init", "--quiet"]);
    scene.git(&["add", "--all"]);
    scene.git(&["commit", "--quiet", "--message", "first"]);
    scene.put("core", "2", "Essential: yes\n");
    scene.put("tool", "2", "");
    scene.archive.index();
    scene.desk.run(&["update", "test"]).succeeds();
    let past = scene.desk.run(&["root", "diff", "HEAD", "test"]).succeeds().out;
    has(
        &past,
        &[
            "root test · HEAD (",
            ") -> test: 1 of 2 packages differ\n  core  1 -> 2\nbuilt on it: one, three, two\n",
            "\nin build roots over it\n  tool  1 -> 2  one\n",
        ],
    );
    let document = scene.desk.run(&["root", "diff", "HEAD", ".", "--json"]).succeeds().json();
    assert_eq!(document["roots"].as_array().unwrap().len(), 2, "both roots: {document}");
    scene.desk.run(&["root", "diff", "HEAD", "nowhere"]).fails(2, &["`nowhere`", "`test`"]);
}
