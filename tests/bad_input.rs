//! Wrong specs, locks and command lines: what each says, and that the next good command works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::Desk;

/// Breaks a good release; both `build` and `eval` must say these words and touch nothing. Once it
/// is mended, `eval` is what it was.
#[track_caller]
fn breaks(how: impl FnOnce(&Desk), words: &[&str]) {
    let desk = Desk::single();
    let good = desk.run(&["eval"]).succeeds().out;
    how(&desk);
    let shown = desk.run(&["eval"]).fails(2, words).err;
    assert_eq!(desk.run(&["build"]).fails(2, words).err, shown);
    let json = desk.run(&["build", "--json"]).fails(2, &[]).json();
    let first = &json["errors"][0];
    assert!(shown.contains(first["message"].as_str().unwrap()), "{json}");
    assert!(!first["code"].as_str().unwrap().is_empty());
    assert!(first["hints"].is_array(), "{json}");
    assert!(!desk.path("out").exists() && !desk.store().exists(), "nothing was begun");
    let mended = Desk::single();
    fs::remove_dir_all(desk.path("")).unwrap();
    fs::rename(mended.path(""), desk.path("")).unwrap();
    assert_eq!(desk.run(&["eval"]).succeeds().out, good);
}

/// The same by another spec beside the good one.
#[track_caller]
fn breaks_beside(spec: &str, words: &[&str]) {
    let write = |desk: &Desk| {
        desk.write("other.rhai", spec);
    };
    breaks(write, words);
}

/// The same by another text in the good one.
#[track_caller]
fn breaks_within(old: &str, new: &str, words: &[&str]) {
    let replace = |desk: &Desk| {
        desk.replace("hello.rhai", old, new);
    };
    breaks(replace, words);
}

/// A package that needs another.
fn package(name: &str, needs: &str) -> String {
    format!(
        "package(#{{\n    name: \"{name}\", version: \"1.0\", summary: \"x\", license: \"MIT\",\n    \
         changes: #{{ date: \"2026-11-22\", text: \"x\" }}, source: dir(\"src/hello\"),\n    \
         build_depends: [\"{needs}\"],\n    build: script(\"true\"),\n}})\n"
    )
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_one() {
    let words = ["unknown key `licence`", "hello.rhai:5:5", "^^^^^^^", "did you mean `license`?"];
    breaks_within("license:", "licence:", &words);
}

#[test]
fn a_wrong_type_is_shown_with_the_right_one() {
    let words = ["`version` must be a string, not an integer", "hello.rhai:3:14", "double quotes"];
    breaks_within("\"1.0\"", "1", &words);
}

#[test]
fn a_cycle_is_shown_as_a_full_loop_with_its_lines() {
    let desk = |desk: &Desk| {
        desk.write("a.rhai", package("aa", "bb"));
        desk.write("b.rhai", package("bb", "cc (>= 1)"));
        desk.write("c.rhai", package("cc", "aa | zlib1g-dev"));
    };
    let words = [
        "aa -> bb -> cc -> aa",
        "a.rhai:4:",
        "b.rhai:4:",
        "c.rhai:4:",
        "`aa` needs `bb` of `bb`",
        "`cc` needs `aa` of `aa`",
        "`from_seed: [\"aa\"]` in `cc`",
    ];
    breaks(desk, &words);
}

#[test]
fn a_spec_that_loops_for_ever_is_stopped() {
    let words = ["takes too many steps", "other.rhai:1:", "does a loop run over"];
    breaks_beside("let x = 0; for i in 0..999999999999 { x += 1; } ()", &words);
    let words = ["other.rhai:1:"];
    breaks_beside("fn f(n) { f(n) + f(n) } f(1)", &words);
    breaks_beside("let a = [1]; for i in 0..99999999 { a += a; } ()", &words);
    breaks_beside("import \"other\" as o; ()", &words);
}

#[test]
fn no_path_of_a_spec_leaves_the_release() {
    let inside = "not a path inside the release folder";
    let within = |path: &str, words: &[&str]| {
        breaks_within("dir(\"src/hello\")", &format!("dir(\"{path}\")"), words);
    };
    within("/etc", &["`/etc`", inside, "hello.rhai:7:17", "relative to the release folder"]);
    within("../../etc", &["`../../etc`", inside, "hello.rhai:7:17"]);
    within("src/../../..", &["`src/../../..`", inside]);
    within("", &[inside]);
    for (link, target) in [("src/link", "/etc"), ("src/link", "../.."), ("link", "src")] {
        let words = [&format!("`{link}` is a symbolic link"), "read through none"];
        breaks(
            |desk| {
                symlink(target, desk.path(link)).unwrap();
                let path = if link == "link" { "link/hello" } else { link };
                desk.replace("hello.rhai", "src/hello", path);
            },
            &words,
        );
    }
    breaks(
        |desk| {
            fs::rename(desk.path("hello.rhai"), desk.path("src/x")).unwrap();
            symlink("src/x", desk.path("hello.rhai")).unwrap();
        },
        &["`hello.rhai` is a symbolic link"],
    );
}

/// A link in a source is its target's text: what it points at on this host is never read.
#[test]
fn links_of_a_source_are_not_followed() {
    let desk = Desk::single();
    let secret = desk.path("../secret");
    fs::write(&secret, "one").unwrap();
    symlink(&secret, desk.path("src/hello/absolute")).unwrap();
    symlink("../../../secret", desk.path("src/hello/relative")).unwrap();
    symlink("loop", desk.path("src/hello/loop")).unwrap();
    let before = desk.run(&["eval"]).succeeds().out;
    fs::write(&secret, "two").unwrap();
    assert_eq!(desk.run(&["eval"]).succeeds().out, before);
    fs::remove_file(&secret).unwrap();
    assert_eq!(desk.run(&["eval"]).succeeds().out, before);
}
