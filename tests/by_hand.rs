//! What the README says of checking a bundle by hand, done by those very commands.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::{PROGRAM, Release, Run, shared_store};

/// The commands of the README's section, after those of its first paragraph if that was done.
fn commands(unpacked: bool) -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section = readme.split_once("\n### By hand\n").unwrap().1;
    let script = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    match unpacked {
        false => script.to_owned(),
        true => script.replacen("tar --zstd -xf demo.perestroika\n", "", 1),
    }
}

fn audit(folder: &Path, script: &str, fingerprint: &str, manifest: &str) -> Output {
    Command::new("sh")
        .args(["-euc", script])
        .envs([("fingerprint", fingerprint), ("manifest", manifest)])
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Every line that is no more than a tool saying that all is well.
fn remarks(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let well = |line: &&str| line.ends_with(": OK") || *line == "Signature Verified Successfully";
    text.lines().filter(|line| !well(line)).map(str::to_owned).collect()
}

#[test]
fn an_auditor_gets_from_two_numbers_to_the_distributions_signature() {
    let release = Release::copy_of("specs/single");
    let second = r##"package(#{
        name: "second", version: "1.0", summary: "Built with the first", license: "MIT",
        changes: #{ date: "2026-11-22", text: "First release." },
        source: dir("src/hello"), build_depends: ["hello-single"],
        build: script(#"
            mkdir -p "$DESTDIR/usr/share/second"
            hello-single > "$DESTDIR/usr/share/second/said"
        "#),
    })"##;
    fs::write(release.path("second.rhai"), second).unwrap();
    let built = release.run("build", &["--json"]).ends_with(0).json();
    let manifest = built["release"]["manifest"].as_str().unwrap();
    let auditor = tempfile::tempdir().unwrap();
    let bundle = auditor.path().join("demo.perestroika");
    let in_store = |words: &[&str]| {
        Run::of(Command::new(PROGRAM).args(words).arg("--store").arg(shared_store())).ends_with(0)
    };
    let folder = release.path("");
    in_store(&["bundle", "create", bundle.to_str().unwrap(), folder.to_str().unwrap()]);
    let keys = in_store(&["key", "list", "--json"]).json();
    let fingerprint = keys["keys"][0]["id"].as_str().unwrap();

    let whole = audit(auditor.path(), &commands(false), fingerprint, manifest);
    assert!(whole.status.success(), "{whole:?}");
    assert_eq!(remarks(&whole), [""; 0]);
    let signers = String::from_utf8(whole.stderr).unwrap();
    assert!(signers.contains("Good signature from \"Debian"), "{signers}");
    let listed = fs::read_to_string(auditor.path().join("second_1.0_amd64.deb.list")).unwrap();
    assert!(listed.contains("./usr/share/second/said"), "{listed}");
    // The first was really one of those that the second was built with.
    let own = fs::read_to_string(auditor.path().join("used")).unwrap();
    assert!(own.lines().any(|line| line.starts_with("hello-single 1.0 amd64 ")), "{own}");

    // Other numbers than these two, and anything changed, end it.
    let script = commands(true);
    let other = "0".repeat(64);
    assert!(!audit(auditor.path(), &script, &other, manifest).status.success());
    assert!(!audit(auditor.path(), &script, fingerprint, &other).status.success());
    let first = |folder: &str| {
        let mut names: Vec<_> = fs::read_dir(auditor.path().join(folder)).unwrap().collect();
        names.pop().unwrap().unwrap().path()
    };
    let files = [first("json"), first("objects"), auditor.path().join("BUNDLE.json")];
    for path in files {
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        *after.last_mut().unwrap() ^= 1;
        fs::write(&path, after).unwrap();
        let refused = audit(auditor.path(), &script, fingerprint, manifest);
        assert!(!refused.status.success(), "{}: {refused:?}", path.display());
        fs::write(&path, before).unwrap();
    }
    // A package of the seed that the distribution never signed is told.
    let compare = "comm -23 seed signed-packages";
    let other = script.replace(compare, &format!("echo 'zzz 1 all 0' >> seed\n{compare}"));
    let told = audit(auditor.path(), &other, fingerprint, manifest);
    assert_eq!(remarks(&told), ["zzz 1 all 0"]);
}
