//! Real builds in containers beside real builds without: the same packages, and each takes what the
//! other has built.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::process::Command;

use program::{PROGRAM, Release, Run, shared_store, unique};
use serde_json::Value;

/// The address of the Docker Engine for tests, or a loud skip, which `PERESTROIKA_REQUIRE` may
/// forbid.
#[expect(clippy::print_stderr, reason = "a skip must not look like a pass")]
fn engine() -> Option<String> {
    let address = std::env::var("PERESTROIKA_TEST_DOCKER").ok().filter(|text| !text.is_empty());
    if address.is_none() {
        let wanted = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
        assert!(!wanted.split(',').any(|word| word == "docker"), "no engine is named");
        eprintln!("SKIPPED containers (docker): PERESTROIKA_TEST_DOCKER names no engine");
    }
    address
}

/// A package with a compiled program, never built before.
fn package(name: &str) -> String {
    format!(
        "package(#{{\n    name: \"{name}\",\n    version: \"1.0\",\n    summary: \"Test\",\n    \
         license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n    \
         source: dir(\"src/hello\"),\n    build: script(##\"\ncc -o {name} hello.c\n\
         install -D {name} \"$DESTDIR/usr/bin/{name}\"\nuname -r; nproc; pwd; id\n\"##),\n}})\n",
        unique()
    )
}

#[test]
fn what_one_executor_builds_the_other_takes_and_builds_again_alike() {
    let Some(address) = engine() else { return };
    let release = Release::copy_of("specs/single");
    std::fs::remove_file(release.path("hello.rhai")).unwrap();
    let run = |executor: &str, words: &[&str]| {
        Run::of(
            Command::new(PROGRAM)
                .args(words)
                .current_dir(release.path(""))
                .args(["--json", "--executor", executor, "--store"])
                .arg(shared_store())
                .env("DOCKER_HOST", &address),
        )
    };
    let one = |document: &Value, list: &str, name: &str| -> Value {
        let packages = document[list].as_array().unwrap();
        packages.iter().find(|package| package["name"] == name).unwrap().clone()
    };

    release.write("first.rhai", &package("first"));
    let natively = run("native", &["build"]).ends_with(0);
    assert_eq!(natively.statuses(), ["first built"]);
    release.write("second.rhai", &package("second"));
    let contained = run("docker", &["build"]).ends_with(0);
    assert_eq!(contained.statuses(), ["first cached", "second built"]);
    let again = run("native", &["build"]).ends_with(0);
    assert_eq!(again.statuses(), ["first cached", "second cached"]);
    let (contained, again) = (contained.json(), again.json());
    assert_eq!(contained["release"], again["release"]);
    for name in ["first", "second"] {
        let outputs = |document: &Value| one(document, "packages", name)["outputs"].clone();
        assert_eq!(outputs(&contained), outputs(&again));
    }

    for (executor, name) in [("docker", "first"), ("native", "second")] {
        let run = run(executor, &["reproduce", name]).ends_with(0);
        let found = one(&run.json(), "packages", name);
        assert_eq!(found["verdict"], "reproduced", "{name} on {executor}: {found}");
    }
}
