//! A store that was damaged from outside, and a folder that packages cannot be copied to: it is
//! found, said aloud, and what was lost is made anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::path::PathBuf;

use program::{Release, Run, shared_store, unique};

/// A release of one package that nobody built before; with `moment`, no two builds of it are the
/// same.
fn fresh(moment: &str) -> (Release, String) {
    let release = Release::copy_of("specs/single");
    release.replace(
        "hello.rhai",
        "cc -Wall",
        &format!("echo {}{moment} > mark\ncc -Wall", unique()),
    );
    release.replace(
        "hello.rhai",
        "install -D hello",
        "install -D -m 644 mark \"$DESTDIR/usr/share/hello-single/mark\"\ninstall -D hello",
    );
    let digest = output(&release.run("build", &["--json"]).ends_with(0));
    (release, digest)
}

/// The name in the store of the package that was built.
fn output(run: &Run) -> String {
    let document = run.json();
    let outputs = document["packages"][0]["outputs"].as_array().unwrap();
    let deb = outputs.iter().find(|one| one["file"] == "hello-single_1.0_amd64.deb").unwrap();
    deb["blake3"].as_str().unwrap().to_owned()
}

fn object(digest: &str) -> PathBuf {
    shared_store().join("objects").join(digest)
}

#[test]
fn a_damaged_package_is_put_aside_and_built_again() {
    let (release, digest) = fresh("");
    let path = object(&digest);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b'x'; whole.len()]).unwrap();
    fs::remove_dir_all(release.path("out")).unwrap();

    let run = release.run("build", &[]).ends_with(3);
    assert!(run.err.contains("was damaged and is put aside"), "{}", run.err);
    assert!(!release.path("out/hello-single_1.0_amd64.deb").exists());
    let run = release.run("build", &["--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["hello-single built"]);
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert_eq!(fs::read(release.path("out/hello-single_1.0_amd64.deb")).unwrap(), whole);
}

#[test]
fn a_lost_record_is_made_again() {
    let (release, digest) = fresh("");
    let manifest = fs::read_to_string(release.path("out/MANIFEST.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let record = manifest["packages"].as_object().unwrap().values().next().unwrap();
    let record = record.as_str().unwrap();
    fs::remove_file(shared_store().join("json").join(format!("{record}.json"))).unwrap();

    let run = release.run("build", &["--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["hello-single built"]);
    assert_eq!(output(&run), digest);
    assert_eq!(release.run("build", &["--json"]).statuses(), ["hello-single cached"]);
}

#[test]
fn a_lost_package_that_never_comes_out_the_same_is_built_anew() {
    let (release, digest) = fresh(" $(date +%s%N)");
    fs::remove_file(object(&digest)).unwrap();
    let run = release.run("build", &["--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["hello-single built"]);
    assert_ne!(output(&run), digest);
    assert_eq!(output(&release.run("build", &["--json"]).ends_with(0)), output(&run));
}

#[test]
fn a_failure_leaves_what_was_there_and_is_told_whatever_else_goes_wrong() {
    let (release, _) = fresh("");
    release.replace("hello.rhai", "cc -Wall", "exit 7\ncc -Wall");
    release.run("build", &[]).ends_with(1);
    assert!(release.path("out/hello-single_1.0_amd64.deb").exists());
    assert!(release.path("out/MANIFEST.json").exists());

    let run = release.run("build", &["--output", "/proc/nowhere"]).ends_with(3);
    assert!(run.err.contains("failed    hello-single 1.0"), "{}", run.err);
    assert!(run.err.contains("/proc/nowhere"), "{}", run.err);
}

#[test]
fn files_of_a_copy_that_broke_off_are_taken_away_by_the_next_one() {
    let (release, _) = fresh("");
    let deb = release.path("out/hello-single_1.0_amd64.deb");
    fs::remove_dir_all(release.path("out")).unwrap();
    fs::create_dir_all(deb.join("in-the-way")).unwrap();
    release.run("build", &[]).ends_with(3);
    let symbols = "hello-single-dbgsym_1.0_amd64.deb";
    assert!(release.path("out").join(symbols).exists(), "it is copied first");

    fs::remove_dir_all(&deb).unwrap();
    release.replace("hello.rhai", "\"1.0\"", "\"1.1\"");
    release.run("build", &[]).ends_with(0);
    assert!(!release.path("out").join(symbols).exists());
    assert!(release.path("out/hello-single_1.1_amd64.deb").exists());
}
