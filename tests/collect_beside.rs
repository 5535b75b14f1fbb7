//! Collecting beside real builds, as a user does it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::path::Path;
use std::process::{Command, Stdio};

use program::{PROGRAM, Release, Run, unique};

fn command(store: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).arg("--store").arg(store).env_remove("PERESTROIKA_STORE");
    command
}

#[test]
fn collecting_beside_builds_breaks_none_and_takes_nothing_that_was_built() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = folder.path().join("store");
    let releases = [Release::copy_of("specs/single"), Release::copy_of("specs/single")];
    let mut builds: Vec<_> = releases
        .iter()
        .map(|release| {
            release.replace("hello.rhai", "cc -Wall", &format!("echo {}\ncc -Wall", unique()));
            let release = release.path("");
            let mut build = command(&store, &["build", "--quiet", release.to_str().unwrap()]);
            build.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let mut collections = 0;
    while builds.iter_mut().any(|build| build.try_wait().unwrap().is_none()) {
        Run::of(&mut command(&store, &["store", "gc", "--quiet"])).ends_with(0);
        collections += 1;
    }
    println!("{collections} collections beside them");
    for mut build in builds {
        assert_eq!(build.wait().unwrap().code(), Some(0));
    }

    // Nothing but what is needed is left, and it is enough.
    Run::of(&mut command(&store, &["store", "gc"])).ends_with(0);
    let run = Run::of(&mut command(&store, &["store", "gc", "--max-size", "1M"])).ends_with(1);
    assert!(run.err.contains("all of it is needed"), "{}", run.err);
    Run::of(&mut command(&store, &["store", "verify"])).ends_with(0);
    for release in &releases {
        let folder = release.path("");
        let words = ["build", "--json", "--offline", folder.to_str().unwrap()];
        let run = Run::of(&mut command(&store, &words)).ends_with(0);
        assert_eq!(run.statuses(), ["hello-single cached"]);
    }

    let folder = releases[0].path("");
    let words = ["store", "unpin", folder.to_str().unwrap()];
    let run = Run::of(&mut command(&store, &words)).ends_with(0);
    assert!(run.out.contains("forgot the builds of single 1.0"), "{}", run.out);
    let run = Run::of(&mut command(&store, &["store", "gc", "-n"])).ends_with(0);
    assert!(run.out.contains("would remove  objects/"), "{}", run.out);
}
