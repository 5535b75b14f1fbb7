//! Real builds that are traced, and what `audit inputs` says of them.
//!
//! The store is shared by all tests and stays, so what must be built anew holds a word that was
//! never there before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::process::Command;

use program::{PROGRAM, Release, Run, shared_store, unique};
use serde_json::Value;

/// What `audit inputs` says of a release.
#[track_caller]
fn audit(release: &Release, words: &[&str]) -> Run {
    let mut command = Command::new(PROGRAM);
    command.args(["audit", "inputs"]).arg(release.path("")).args(words);
    Run::of(command.arg("--store").arg(shared_store())).ends_with(0)
}

/// The names of the members of a list that fit.
fn names<'a>(list: &'a Value, key: &str, fits: impl Fn(&Value) -> bool) -> Vec<&'a str> {
    let list = list.as_array().unwrap().iter().filter(|one| fits(one));
    list.map(|one| one[key].as_str().unwrap()).collect()
}

#[test]
fn what_is_there_is_built_again_to_be_traced_and_stays_what_counts() {
    let release = Release::copy_of("specs/demo");
    let comment = "/* Nobody in particular is greeted as everybody. */";
    release.replace("src/libgreet/greet.c", comment, &format!("/* {} */", unique()));
    release.replace("src/greet/main.c", "int main", &format!("/* {} */\nint main", unique()));
    release.run("build", &["greet"]).ends_with(0);
    let first = release.debs();
    let audit = |name: &str| audit(&release, &[name, "--json"]).json()["packages"][0].clone();
    assert_eq!(audit("greet")["status"], "untraced");

    // Only what is named is built again, and comes out the same.
    let run = release.run("build", &["greet", "--trace", "-n"]).ends_with(0);
    assert!(run.out.contains("  again   greet 1.2.0-1\n"), "{}", run.out);
    let run = release.run("build", &["greet", "--trace", "--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["greet built", "libgreet cached"]);
    let document = run.json();
    let again = names(&document["packages"], "name", |one| one["again"] == "identical");
    assert_eq!(again, ["greet"]);
    assert_eq!(release.debs(), first);
    let run = release.run("build", &["greet", "--trace", "--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["greet cached", "libgreet cached"]);

    let found = audit("greet");
    assert_eq!(found["status"], "traced");
    assert_eq!((&found["whole"], &found["same_outputs"]), (&true.into(), &true.into()));
    let read = names(&found["read"], "name", |one| one["files"].as_u64() > Some(0));
    for name in ["debhelper", "libgreet-dev", "libgreet1", "gcc-12", "libc6"] {
        assert!(read.contains(&name), "{read:?}");
    }
    let not_read = names(&found["read"], "name", |one| one["files"] == 0);
    assert!(not_read.contains(&"po-debconf"), "{not_read:?}");
    assert_eq!(names(&found["unused"], "dependency", |_| true), [""; 0]);
    assert_eq!(names(&found["undeclared"], "package", |one| one["sure"] == true), [""; 0]);
    assert_eq!(audit("libgreet")["status"], "untraced");
}

#[test]
fn unused_build_dependencies_and_undeclared_uses_are_found() {
    let release = Release::copy_of("specs/single");
    let mark = format!("#include <zlib.h>\n/* {} */\n#include <stdio.h>", unique());
    release.replace("src/hello/hello.c", "#include <stdio.h>", &mark);
    let depends = "build_depends: [\"bc\", \"libpng-dev\"],\n    build: script";
    release.replace("hello.rhai", "build: script", depends);
    let audit = || audit(&release, &[]).out;
    assert!(audit().contains("not built: `perestroika build --trace "), "{}", audit());
    release.run("build", &["--trace"]).ends_with(0);
    let told = audit();
    for part in [
        "  unused      `bc`: no file of it was read, nor of what only it brings\n",
        "              remove it from build_depends (",
        "hello.rhai:8)\n",
        "  undeclared  `zlib1g-dev`: /usr/include/zconf.h, /usr/include/zlib.h\n",
        "              it is only there because `libpng-dev` leads to it\n",
        "              add `zlib1g-dev` to build_depends (",
        "  perhaps     `dh-autoreconf`, ",
    ] {
        assert!(told.contains(part), "no `{part}` in\n{told}");
    }

    // What it says to do leaves nothing to say but that.
    release.replace("hello.rhai", "[\"bc\", \"libpng-dev\"]", "[\"zlib1g-dev\"]");
    release.run("build", &["--trace"]).ends_with(0);
    let told = audit();
    assert!(!told.contains("unused") && !told.contains("undeclared"), "{told}");
}

#[test]
fn a_build_that_comes_out_otherwise_when_it_is_traced_changes_nothing_and_is_told() {
    let release = Release::copy_of("specs/single");
    let mark = format!("/* {} */\n#include <stdio.h>", unique());
    release.replace("src/hello/hello.c", "#include <stdio.h>", &mark);
    release.replace(
        "hello.rhai",
        "install -D hello-single \"$DESTDIR/usr/bin/hello-single\"",
        "install -D hello-single \"$DESTDIR/usr/bin/hello-single\"
        install -d \"$DESTDIR/usr/share/hello-single\"
        head -c 8 /dev/urandom >\"$DESTDIR/usr/share/hello-single/random\"",
    );
    release.run("build", &[]).ends_with(0);
    let first = release.debs();
    let run = release.run("build", &["--trace"]).ends_with(1);
    assert!(
        run.err.contains("`hello-single` came out otherwise when it was built again to be traced"),
        "{}",
        run.err
    );
    assert_eq!(release.debs(), first);
    // It has a trace now, of that other build.
    release.run("build", &["--trace"]).ends_with(0);
    let run = audit(&release, &[]);
    let told =
        "  differs     the build that was traced came out otherwise than the one that counts";
    assert!(run.out.contains(told), "{}", run.out);
}
