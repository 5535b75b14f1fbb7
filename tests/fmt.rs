//! `fmt` as its user runs it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::Desk;

const WRITTEN: &str = "package( #{name:\"a\" , // which\n  source:dir(\"src\"),build:debian()})";
const LAID_OUT: &str = "\
package(#{
    name: \"a\", // which
    source: dir(\"src\"), build: debian(),
})
";

/// A release without anything in it.
fn release() -> Desk {
    let desk = Desk::new();
    desk.write("release.toml", "");
    desk
}

#[test]
fn the_files_of_the_release_are_laid_out_and_then_stay() {
    let desk = release();
    desk.write("packages/a.rhai", WRITTEN).write("lib/b.rhai", "fn b( ) { 1 }");
    desk.write("good.rhai", LAID_OUT);
    // Pinned copies and sources are not its author's.
    desk.write("release.lock.d/stdlib/c.rhai", "fn  c() {}").write("src/d.rhai", "fn  d() {}");
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(desk.path("packages/a.rhai"), mode).unwrap();

    let ran = desk.run(&["fmt", "--check", "--json"]).fails(1, &[]);
    let document = ran.json();
    assert_eq!(document["changed"], serde_json::json!(["lib/b.rhai", "packages/a.rhai"]));
    assert_eq!(document["errors"][0]["message"], "2 files are not laid out");
    assert_eq!(desk.read("packages/a.rhai"), WRITTEN);

    let ran = desk.run(&["fmt"]).succeeds();
    assert_eq!(ran.out, "lib/b.rhai\npackages/a.rhai\n");
    assert_eq!(desk.read("packages/a.rhai"), LAID_OUT);
    assert_eq!(desk.read("lib/b.rhai"), "fn b() { 1 }\n");
    assert_eq!(desk.read("release.lock.d/stdlib/c.rhai"), "fn  c() {}");
    assert_eq!(desk.read("src/d.rhai"), "fn  d() {}");
    let mode = std::fs::metadata(desk.path("packages/a.rhai")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    assert_eq!(desk.run(&["fmt"]).succeeds().out, "");
    assert_eq!(desk.run(&["fmt", "--check"]).succeeds().out, "");
}

#[test]
fn a_check_shows_what_would_change() {
    let desk = release();
    desk.write("a.rhai", "// kept\nrebuild( \"a\" )\n");
    let ran = desk.run(&["fmt", "--check", "a.rhai"]);
    let ran = ran.fails(1, &["error: 1 file is not laid out", "help: `perestroika fmt` without"]);
    let expected = "\
--- a.rhai
+++ a.rhai (laid out)
@@ -1,2 +1,2 @@
 // kept
-rebuild( \"a\" )
+rebuild(\"a\")
";
    assert_eq!(ran.out, expected);
}

#[test]
fn what_cannot_be_laid_out_is_left_alone_and_does_not_stop_the_rest() {
    let desk = release();
    let bad = "package(#{ name: \"a\"";
    // The white space of the second line is part of the string only up to a column.
    let moved = "let    a = \"b\\\n           c\"; ()\n";
    desk.write("bad.rhai", bad).write("moved.rhai", moved).write("z.rhai", "()  ");
    let ran = desk.run(&["fmt"]).fails(
        2,
        &["bad.rhai:1:", "`moved.rhai` means, so it is left alone", "help: is there a string"],
    );
    assert_eq!(ran.out, "z.rhai\n");
    assert_eq!(
        (desk.read("bad.rhai"), desk.read("moved.rhai")),
        (bad.to_owned(), moved.to_owned())
    );
    assert_eq!(desk.read("z.rhai"), "()\n");
    desk.run(&["fmt", "nowhere.rhai"]).fails(2, &["cannot read `nowhere.rhai`"]);
    desk.write("binary.rhai", b"\xff\0").run(&["fmt", "binary.rhai"]).fails(2, &["cannot read"]);
}
