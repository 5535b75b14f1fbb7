//! `why` of packages that were really built, and `update`'s forecast from what that took.
//!
//! The store is shared by all tests and stays, so what must be built anew holds a word that was
//! never there before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use program::{Release, unique};
use serde_json::Value;

fn kinds(document: &Value) -> Vec<String> {
    let causes = document["causes"].as_array().unwrap().iter();
    let word = |cause: &Value, key: &str| cause[key].as_str().unwrap_or("-").to_owned();
    causes
        .map(|one| format!("{} {} {}", word(one, "kind"), word(one, "package"), word(one, "item")))
        .collect()
}

#[test]
fn why_names_the_inputs_that_changed_between_builds() {
    let release = Release::copy_of("specs/demo");
    let (greet, libgreet) = (unique(), unique());
    let line = "    return puts(line) < 0;\n";
    let marked = |mark: &str| {
        format!(
            "    static const char mark[] = \"{mark}\";\n    return puts(*line ? line : mark) < 0;\n"
        )
    };
    let comment = "/* Nobody in particular is greeted as everybody. */";
    let first = format!("/* {} */", unique());
    release.replace("src/greet/main.c", line, &marked(&greet));
    release.replace("src/libgreet/greet.c", comment, &first);
    release.run("build", &["greet"]).ends_with(0);

    // What would be rebuilt: libgreet for its file, greet for libgreet.
    release.replace("src/libgreet/greet.c", &first, &format!("/* {libgreet} */"));
    let document = release.run("why", &["libgreet", "--json"]).ends_with(0).json();
    assert_eq!(document["package"]["status"], "stale");
    assert!(kinds(&document).contains(&"own libgreet greet.c".to_owned()), "{document}");
    let run = release.run("why", &["greet"]).ends_with(0);
    assert!(run.out.contains("would be rebuilt; its last build was "), "{}", run.out);
    assert!(run.out.contains("  libgreet  source  greet.c"), "{}", run.out);
    assert!(
        run.out.contains("it stays as it is if what it needs comes out the same"),
        "{}",
        run.out
    );

    // It does: greet is not built, and the last build is that of libgreet alone.
    release.run("build", &["greet"]).ends_with(0);
    let document = release.run("why", &["--json"]).ends_with(0).json();
    let causes = document["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{document}");
    assert_eq!(causes[0]["packages"], serde_json::json!(["libgreet"]));
    assert_eq!(causes[0]["cause"], "own source changed");
    let run = release.run("why", &["greet"]).ends_with(0);
    assert!(run.out.contains("but came to the same build"), "{}", run.out);

    // A change that shows: greet's build root tells what reached it.
    release.replace("src/libgreet/greet.c", "Hello, %s!", "Hello, dear %s!");
    release.replace("src/greet/tests/greets.sh", "'Hello, world!'", "'Hello, dear world!'");
    release.replace("src/greet/tests/greets.sh", "'Hello, P", "'Hello, dear P");
    release.replace("src/libgreet/greet.c", &libgreet, &unique());
    release.run("build", &["greet"]).ends_with(0);
    let run = release.run("why", &["greet"]).ends_with(0);
    for part in [
        "\nwhat changed\n  greet     source  tests/greets.sh",
        "\n  libgreet  source  greet.c",
        "\nits build root\n  libgreet-dev, libgreet1\n",
    ] {
        assert!(run.out.contains(part), "no `{part}` in\n{}", run.out);
    }

    // The way to an archive package goes through the build root.
    let document = release.run("why", &["greet", "m4", "--json"]).ends_with(0).json();
    let first: Vec<&str> = document["paths"][0]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(first, ["greet", "debhelper", "dh-autoreconf", "autoconf", "m4"]);
    let run = release.run("why", &["greet", "libgreet-dev"]).ends_with(0);
    assert!(
        run.out.contains("needs libgreet by `libgreet-dev (>= 1.2)`, src/greet/debian/control:"),
        "{}",
        run.out
    );
    let run = release.run("why", &["greet", "debhelpr"]).ends_with(2);
    let told = "neither this release nor its archives have `debhelpr`";
    assert!(run.err.contains(told) && run.err.contains("there is `debhelper`"), "{}", run.err);
    // What exists and is not needed is an answer.
    let run = release.run("why", &["greet", "xterm"]).ends_with(0);
    assert!(run.out.contains("greet does not need xterm"), "{}", run.out);
}
