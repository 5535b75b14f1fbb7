//! Wrong specs, locks and command lines: what each says, and that the next good command works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

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
    let message = first["message"].as_str().unwrap().lines().next().unwrap();
    assert!(shown.contains(message), "{json}");
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

#[test]
fn what_the_lock_does_not_pin_is_named_with_the_command_that_pins_it() {
    let pins = "`perestroika lock` pins it";
    let all = "rebuild([\"xz-utils\", \"zlib\"])";
    let words = [
        "3 things are not pinned",
        "source `xz-utils` of archive `bookworm`\n",
        "source `zlib` of archive `bookworm`\n",
        "stdlib module `debian`\n",
        "other.rhai:1:10",
        "`perestroika lock` pins them",
    ];
    breaks_beside(all, &words);
    let words = ["there is no release.lock", "`perestroika lock` makes it"];
    let remove = |desk: &Desk| {
        desk.remove("release.lock");
    };
    breaks(remove, &words);
    let words = ["stdlib module `script` is not pinned", "hello.rhai:8:12", pins];
    let unpin = |desk: &Desk| {
        let lock = desk.read("release.lock");
        let kept = lock.lines().filter(|line| !line.starts_with("script = "));
        desk.write("release.lock", kept.map(|line| format!("{line}\n")).collect::<String>());
    };
    breaks(unpin, &words);
}

#[test]
fn a_lock_that_is_none_is_shown_where_it_breaks() {
    let writes = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |desk: &Desk| {
            desk.write("release.lock", bytes);
        }
    };
    breaks(
        writes(b"garbage"),
        &["`release.lock` is not TOML", "release.lock:1:8", "bring the old one back"],
    );
    breaks(writes(b"version = 2\n"), &["release.lock:1:", "2"]);
    breaks(writes(b""), &["release.lock", "version"]);
    breaks(writes(b"\xff\xfe\0"), &["release.lock` is not UTF-8", "bring the old one back"]);
    let digest = |desk: &Desk| {
        desk.replace("release.lock", "sha256 = \"", "sha256 = \"x");
    };
    breaks(digest, &["release.lock:9:"]);
    let wrong = |desk: &Desk| {
        desk.write("release.lock.d/stdlib/script.rhai", "fn script(text) {}");
    };
    breaks(wrong, &["release.lock.d/stdlib/script.rhai` is not what release.lock pins"]);
}

#[test]
fn a_release_toml_that_is_none_is_shown_where_it_breaks() {
    let writes = |text: &'static [u8]| {
        move |desk: &Desk| {
            desk.write("release.toml", text);
        }
    };
    breaks(
        writes(b"[release"),
        &["`release.toml` is not TOML: unclosed table", "release.toml:1:9"],
    );
    breaks(writes(b"\0\xff"), &["`release.toml` is not UTF-8"]);
    breaks(writes(b""), &["release.toml", "[release]"]);
    let key = |desk: &Desk| {
        desk.replace("release.toml", "maintainer", "maintaner");
    };
    let words = ["unknown key `maintaner` in `[release]`", "did you mean `maintainer`?"];
    breaks(key, &words);
    let root = |desk: &Desk| {
        desk.replace("release.toml", "archive = \"bookworm\"", "archive = \"bokworm\"");
    };
    breaks(root, &["`bokworm`", "release.toml:16:", "bookworm"]);
}

#[test]
fn a_stale_lock_fails_the_check_with_all_that_is_stale() {
    let desk = Desk::single();
    desk.run(&["lock", "--check"]).succeeds();
    desk.write("other.rhai", "rebuild(\"xz-utils\")");
    let lines = [
        "source `xz-utils` of archive `bookworm` is not pinned",
        "stdlib module `debian` is not pinned",
    ];
    let words = ["2 things are not pinned", "--> other.rhai:1:9", "help: `perestroika lock` pins"];
    desk.run(&["lock", "--check"]).fails(1, &words);
    let json = desk.run(&["lock", "--check", "--json"]).fails(1, &[]).json();
    assert_eq!(json["stale"], serde_json::json!(lines));
    assert_eq!(json["errors"][0]["code"], "stale-lock");
    // What is wrong with specs does not hide it, nor one spec the other.
    desk.write("more.rhai", "package(#{ nam: 1 })");
    desk.write("most.rhai", "rebuild(1)");
    let words = ["2 things are not pinned", "unknown key `nam`", "most.rhai:1"];
    desk.run(&["lock", "--check"]).fails(2, &words);
    desk.remove("more.rhai");
    desk.remove("most.rhai");
    let unused = "version = 1\n\n[download.\"https://example.org/a.tar\"]\nsize = 1\nsha256 = \"";
    desk.remove("other.rhai");
    desk.replace("release.lock", "version = 1\n", &format!("{unused}{}\"\n", "0".repeat(64)));
    let line = "[download.\"https://example.org/a.tar\"]";
    let words =
        ["`https://example.org/a.tar` is pinned without need", "--> release.lock:4:1", line];
    desk.run(&["lock", "--check"]).fails(1, &words);
    desk.remove("release.lock");
    desk.run(&["lock", "--check"]).fails(1, &["there is no release.lock"]);
    let desk = Desk::single();
    desk.write("release.lock.d/bookworm/bookworm.InRelease", "another");
    desk.run(&["lock", "--check"]).fails(1, &["release.lock.d/bookworm/bookworm.InRelease"]);
    desk.remove("release.lock.d/bookworm/bookworm.InRelease");
    desk.run(&["lock", "--check"]).fails(1, &["release.lock.d/bookworm/bookworm.InRelease"]);
    assert!(!desk.store().exists(), "a check opens no store");
}

#[test]
fn wrong_words_on_the_command_line_are_told_apart() {
    let desk = Desk::single();
    let nearest = ["the release has no package `helo-single`", "help: it has `hello-single`"];
    desk.run(&["build", "helo-single"]).fails(2, &nearest);
    desk.run(&["eval", "helo-single"]).fails(2, &nearest);
    desk.run(&["log", "helo-single"]).fails(2, &nearest);
    desk.run(&["build", "--frobnicate"]).fails(2, &["'--frobnicate'", "Usage: perestroika build"]);
    desk.run(&["biuld"]).fails(2, &["'biuld'", "'build'"]);
    desk.run(&[]).fails(2, &["Usage: perestroika"]);
    desk.run(&["build", "-j", "0"]).fails(2, &["'0'", "--jobs"]);
    desk.run(&["build", "--mirror", "bookworm"]).fails(2, &["expected ARCHIVE=URL"]);
    let mirror = "--mirror=bokworm=http://x.example";
    desk.run(&["build", mirror]).fails(2, &["archive `bokworm`", "it has `bookworm`"]);
    desk.run(&["lock", "hello-single"]).fails(2, &["`lock` takes a release folder"]);
    desk.run(&["eval", "./", "./src"]).fails(2, &["`./src` has no release.toml"]);
    desk.run(&["eval", "./nowhere"]).fails(2, &["`./nowhere` is not a folder"]);
    desk.run(&["update", "helo"]).fails(2, &["nothing that is pinned is called `helo`"]);
    desk.remove("release.toml");
    let words = ["no release.toml here or in any folder above", "name the release folder"];
    desk.run(&["build"]).fails(2, &words);
    let json = desk.run(&["build", "--json"]).fails(2, &[]).json();
    assert_eq!(json["errors"][0]["code"], "no-release");
}

#[test]
fn a_missing_keyring_is_named_where_the_release_names_it() {
    let remove = |desk: &Desk| {
        desk.remove("keys/debian.pgp");
    };
    let desk = Desk::single();
    remove(&desk);
    let words =
        ["the keyring `keys/debian.pgp`", "No such file", "release.toml:13:", "OpenPGP keys"];
    desk.run(&["build"]).fails(2, &words);
    desk.run(&["lock"]).fails(2, &words);
    desk.run(&["update"]).fails(2, &words);
    desk.run(&["check"]).fails(2, &words);
    desk.run(&["eval"]).succeeds();
}

/// A program that reads as an ordinary user does: even root may be refused.
fn ordinary() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
        false => &[],
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let desk = Desk::single();
    let mode = |path: &str, mode| {
        fs::set_permissions(desk.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, code, command) in [
        ("hello.rhai", 2, "eval"),
        ("release.toml", 2, "eval"),
        ("release.lock", 2, "eval"),
        ("src/hello", 2, "eval"),
        ("src/hello/hello.c", 2, "build"),
        ("keys/debian.pgp", 2, "build"),
    ] {
        mode(path, 0);
        let words = [path, "cannot read", "Permission denied"];
        desk.run_as(ordinary(), &[command]).fails(code, &words);
        mode(path, 0o755);
        desk.run_as(ordinary(), &["eval"]).succeeds();
    }
}

#[test]
fn a_store_that_is_not_ours_to_make_is_named_with_the_way_out() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let store = closed.path().join("store");
    let desk = Desk::single().with_store(&store);
    let words = ["cannot create", store.to_str().unwrap(), "Permission denied", "`--store DIR`"];
    desk.run_as(ordinary(), &["build"]).fails(3, &words);
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let fifo = |path: &str| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    let in_source = |desk: &Desk| fifo(desk.path("src/hello/pipe").to_str().unwrap());
    breaks(in_source, &["`src/hello/pipe` is a named pipe", "hello.rhai:7:17"]);
    let as_spec = |desk: &Desk| fifo(desk.path("pipe.rhai").to_str().unwrap());
    breaks(as_spec, &["`pipe.rhai` is a named pipe"]);
    let as_lock = |desk: &Desk| {
        desk.remove("release.lock");
        fifo(desk.path("release.lock").to_str().unwrap());
    };
    breaks(as_lock, &["release.lock` is no file"]);
}

#[test]
fn a_lost_folder_of_pins_is_told_without_an_excerpt() {
    let desk = Desk::single();
    desk.remove("release.lock.d");
    let told = desk.run(&["eval"]).fails(2, &["there is no `release.lock.d` in the release"]);
    assert!(!told.err.contains('|'), "{}", told.err);
    assert!(told.err.contains("help: `perestroika update stdlib`"), "{}", told.err);
}
