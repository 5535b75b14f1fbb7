//! What helps to write a release: `init`, `check`, `completions`, and what they say.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;
mod repository;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use program::{PROGRAM, Release, Run, copy_folder, here, shared_store, unique};
use repository::Repository;
use serde_json::Value;

/// A run of the program in a folder, with the shared store.
fn run_in(folder: &Path, words: &[&str]) -> Run {
    Run::of(
        Command::new(PROGRAM).args(words).arg("--store").arg(shared_store()).current_dir(folder),
    )
}

#[test]
fn a_new_release_is_pinned_and_passes_its_own_check() {
    let desk = tempfile::tempdir().unwrap();
    let run = run_in(desk.path(), &["init", "fresh"]).ends_with(0);
    let keyring = here("specs/demo/keys/debian.pgp");
    for fingerprint in fingerprints_by_gpg(&keyring) {
        assert!(run.out.replace(' ', "").contains(&fingerprint), "{fingerprint}: {}", run.out);
    }
    assert!(run.out.contains("perestroika build ./fresh"), "{}", run.out);
    let folder = desk.path().join("fresh");
    assert_eq!(fs::read(folder.join("keys/debian.pgp")).unwrap(), fs::read(keyring).unwrap());
    let toml = fs::read_to_string(folder.join("release.toml")).unwrap();
    assert!(toml.contains("name = \"fresh\""), "{toml}");
    run_in(&folder, &["lock", "--check"]).ends_with(0);
    let document = run_in(&folder, &["check", "--json"]).ends_with(0).json();
    let verdicts = verdicts(&document);
    assert_eq!(verdicts.len(), 10, "{document}");
    assert!(verdicts.iter().all(|(_, verdict)| verdict == "ok"), "{document}");
    run_in(desk.path(), &["build", "fresh/"]).ends_with(0);
    assert!(folder.join("out/hello_1.0_amd64.deb").exists());
    // Nothing but the folder was written.
    assert_eq!(fs::read_dir(desk.path()).unwrap().count(), 1);
}

#[test]
fn a_new_release_can_stand_on_a_newer_archive() {
    let desk = tempfile::tempdir().unwrap();
    let run = run_in(desk.path(), &["init", "fresh", "--archive", "trixie"]).ends_with(0);
    assert!(run.out.contains("archive `trixie` suite `trixie`: pinned to"), "{}", run.out);
    let toml = fs::read_to_string(desk.path().join("fresh/release.toml")).unwrap();
    assert!(toml.contains("[archive.trixie]") && !toml.contains("bookworm"), "{toml}");
    // The signature was checked by its keyring, and its packages make a build root.
    let document = run_in(desk.path(), &["check", "fresh/", "--json"]).ends_with(0).json();
    assert!(verdicts(&document).iter().all(|(_, verdict)| verdict == "ok"), "{document}");
    let run = run_in(desk.path(), &["init", "other", "--archive", "sid"]).ends_with(2);
    assert!(run.err.contains("trixie"), "{}", run.err);
}

#[test]
fn a_folder_written_as_a_name_is_told_how_it_is_written() {
    let desk = tempfile::tempdir().unwrap();
    run_in(desk.path(), &["init", "fresh"]).ends_with(0);
    let run = run_in(desk.path(), &["check", "fresh"]).ends_with(2);
    assert!(run.err.contains("a folder is written `fresh/`"), "{}", run.err);
    fs::create_dir(desk.path().join("project")).unwrap();
    let run = run_in(desk.path(), &["add", "fresh/", "project"]).ends_with(2);
    assert!(run.err.contains("is written `./project`"), "{}", run.err);
}

fn fingerprints_by_gpg(keyring: &Path) -> Vec<String> {
    let output = Command::new("gpg")
        .args(["--batch", "--with-colons", "--show-keys"])
        .arg(keyring)
        .output()
        .expect("gpg is installed (Debian package gnupg)");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut after_primary = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line.split(':').next() {
            Some("pub") => after_primary = true,
            Some("fpr") if after_primary => {
                found.push(line.split(':').nth(9).unwrap().to_owned());
                after_primary = false;
            }
            _ => {}
        }
    }
    assert_eq!(found.len(), 2, "{text}");
    found
}

#[test]
fn a_folder_with_anything_in_it_is_left_alone() {
    let desk = tempfile::tempdir().unwrap();
    fs::write(desk.path().join("mine"), "precious").unwrap();
    let run = run_in(desk.path(), &["init", "."]).ends_with(2);
    assert!(run.err.contains("is not empty: it has `mine`"), "{}", run.err);
    let run = run_in(desk.path(), &["init", "mine"]).ends_with(2);
    assert!(run.err.contains("cannot use"), "{}", run.err);
    assert_eq!(fs::read_dir(desk.path()).unwrap().count(), 1);
    let planned = run_in(desk.path(), &["init", "new", "-n"]).ends_with(0);
    assert!(planned.out.contains("would write to ./new"), "{}", planned.out);
    assert_eq!(fs::read_dir(desk.path()).unwrap().count(), 1);
}

#[test]
fn without_a_mirror_the_release_is_there_and_its_pins_come_later() {
    let desk = tempfile::tempdir().unwrap();
    let run = run_in(desk.path(), &["init", "fresh", "--offline"]).ends_with(0);
    assert!(run.err.contains("not pinned yet: "), "{}", run.err);
    assert!(run.err.contains("`perestroika lock ./fresh` pins it"), "{}", run.err);
    let run = run_in(desk.path(), &["check", "./fresh"]).ends_with(1);
    assert!(run.out.contains("wrong      pins "), "{}", run.out);
    assert!(run.out.contains("waits      build roots"), "{}", run.out);
    assert!(run.err.contains("there is no release.lock"), "{}", run.err);
    assert!(run.err.contains("`perestroika lock ./fresh`"), "{}", run.err);
}

#[test]
fn hints_name_the_folder_only_where_it_is_not_found_from_here() {
    let release = Release::copy_of("specs/single");
    release.write("other.rhai", "rebuild(\"xz-utils\")\n");
    let folder = release.path("").display().to_string();
    let named = format!("help: `perestroika lock {}`", folder.trim_end_matches('/'));
    let run = release.run("eval", &[]).ends_with(2);
    assert!(run.err.contains(&named), "{named}: {}", run.err);
    let run = run_in(&release.path(""), &["eval"]).ends_with(2);
    assert!(run.err.contains("help: `perestroika lock` pins them"), "{}", run.err);
}

/// `check`, `verdict` of each line of a check's document.
fn verdicts(document: &Value) -> Vec<(String, String)> {
    let word = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = document["checks"].as_array().unwrap();
    lines.iter().map(|line| (word(line, "check"), word(line, "verdict"))).collect()
}

/// The lines of a check's document that are not `ok`.
fn faults(document: &Value) -> Vec<String> {
    let faulty = verdicts(document).into_iter().filter(|(_, verdict)| verdict != "ok");
    faulty.map(|(check, verdict)| format!("{check} {verdict}")).collect()
}

#[test]
fn every_problem_of_a_release_is_found_in_one_run() {
    let release = Release::copy_of("specs/demo");
    assert_eq!(faults(&release.run("check", &["--json"]).ends_with(0).json()), [""; 0]);

    let package = |name: &str, fields: &str| {
        format!(
            "package(#{{ name: \"{name}\", version: \"1\", summary: \"x\", license: \"MIT\",\n    \
             changes: #{{ date: \"2026-11-22\", text: \"x\" }}, source: dir(\"src/greet\"),\n    \
             {fields}\n    build: script(\"true\") }})\n"
        )
    };
    release.write("packages/a.rhai", &package("aa", "build_depends: [\"zlib1g-deb\"],"));
    release.write(
        "packages/b.rhai",
        &package("bb", "build_depends: [\"zlib1g-dev (>= 9:99)\"], from_seed: [\"bash\", \"aa\"],"),
    );
    release.replace(
        "packages/debian.rhai",
        "rebuild([\"catdoc\", \"libxml2\", \"libxslt\"])",
        "[rebuild([\"libxml2\", \"libxslt\"]), rebuild(\"catdoc\").add(#{ env: #{ A: \"1\" } })]",
    );
    release.run("lock", &[]).ends_with(0);
    let document = release.run("check", &["--json"]).ends_with(1).json();
    assert_eq!(
        faults(&document),
        ["names wrong", "build roots wrong", "from_seed wrong", "versions wrong"]
    );
    let errors = document["errors"].to_string();
    for text in [
        "unknown build dependency `zlib1g-deb`",
        "archive `bookworm` has `zlib1g-dev`",
        "no version satisfies the build dependency `zlib1g-dev (>= 9:99)`",
        "zlib1g-dev (>= 9:99)",
        "the release builds no `bash`",
        "nothing would bring in the release's `aa`",
        "`catdoc` is altered, but keeps the archive's version",
        "release/packages/b.rhai\",\"hints\":[\"leave it out\"],\"line\":3",
    ] {
        assert!(errors.contains(text), "no `{text}`: {errors}");
    }
    // What is asked for of one package says nothing of the others.
    let document = release.run("check", &["greet", "--json"]).ends_with(1).json();
    assert_eq!(faults(&document), ["names wrong"]);

    // A cycle and a stale lock.
    release.write("packages/a.rhai", &package("aa", "build_depends: [\"bb\"],"));
    release.write("packages/b.rhai", &package("bb", "build_depends: [\"aa\"],"));
    release.write("packages/c.rhai", "rebuild(\"xz-utils\")\n");
    let run = release.run("check", &[]).ends_with(1);
    // A pin that is missing is told once, beside what else is wrong.
    let missing = "source `xz-utils` of archive `bookworm`";
    assert_eq!(run.err.matches(missing).count(), 1, "{}", run.err);
    assert!(run.err.contains("build dependencies go round"), "{}", run.err);
    fs::remove_file(release.path("packages/c.rhai")).unwrap();
    let run = release.run("check", &[]).ends_with(1);
    assert!(run.err.contains("build dependencies go round: aa -> bb -> aa"), "{}", run.err);
    release.write("packages/b.rhai", "package(#{ nme: \"b\" })\n");
    let document = release.run("check", &["--json"]).ends_with(1).json();
    assert_eq!(faults(&document)[0], "specs wrong");
}

#[test]
fn what_cannot_be_checked_is_no_success() {
    let release = Release::copy_of("specs/single");
    let store = tempfile::tempdir().unwrap();
    let run = Run::of(
        Command::new(PROGRAM)
            .args(["check", "--offline", "--json", "--store"])
            .arg(store.path().join("store"))
            .arg(release.path("")),
    )
    .ends_with(3);
    assert_eq!(
        faults(&run.json()),
        ["names unchecked", "build roots unchecked", "closure unchecked"]
    );
}

#[test]
fn a_real_bash_completes_commands_flags_and_values() {
    let desk = tempfile::tempdir().unwrap();
    let bin = desk.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(PROGRAM, bin.join("perestroika")).unwrap();
    let complete = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = format!(
            "source <(perestroika completions bash)\n\
             COMP_WORDS=({line} ''); COMP_CWORD={}\n\
             [ -n \"$LAST\" ] && COMP_WORDS[$((COMP_CWORD))]=\"$LAST\"\n\
             $(complete -p perestroika | sed 's/.*-F \\([^ ]*\\).*/\\1/') \
             perestroika \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len(),
        );
        move |last: &str| {
            let output = Command::new("bash")
                .args(["--norc", "-c", &script])
                .env("LAST", last)
                .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        }
    };
    let complete_commands = complete.clone();
    let commands = complete_commands("perestroika")("b");
    assert_eq!(commands, ["build", "bundle"]);
    let flags = complete.clone()("perestroika build")("--fail");
    assert_eq!(flags, ["--fail-fast"]);
    let values = complete("perestroika init --archive")("");
    assert_eq!(values, ["bookworm", "trixie"]);
    for (shell, mark) in [("zsh", "#compdef perestroika"), ("fish", "complete -c perestroika")] {
        let run = run_in(desk.path(), &["completions", shell]).ends_with(0);
        assert!(run.out.contains(mark), "{shell}: {}", run.out);
    }
}

#[test]
fn a_failed_build_names_the_package_that_has_what_it_lacked() {
    let release = Release::copy_of("specs/single");
    let mark = unique();
    let source = format!("#include <zlib.h>\nint main(void) {{ return 0; }} /* {mark} */\n");
    release.write("src/hello/hello.c", &source);
    let spec = release.path("hello.rhai").display().to_string();
    let run = release.run("build", &[]).ends_with(1);
    let hint = format!("help: `zlib1g-dev` provides `zlib.h`: add it to build_depends ({spec}:1)");
    assert!(run.err.contains(&hint), "no `{hint}`: {}", run.err);

    // What it needs is kept: offline it is the same, and a document has it too.
    let errors =
        release.run("build", &["--offline", "--json"]).ends_with(1).json()["errors"].clone();
    assert_eq!(errors[0]["hints"][0], hint.strip_prefix("help: ").unwrap());

    // A header that is there, but not where it is looked for.
    let source = source.replace("zlib.h", "libxml/parser.h");
    release.write("src/hello/hello.c", &source);
    let fields = "    build_depends: [\"libxml2-dev\"],\n    build:";
    release.replace("hello.rhai", "    build:", fields);
    let run = release.run("build", &[]).ends_with(1);
    let text = "`libxml/parser.h` is in the build root, as `/usr/include/libxml2/libxml/parser.h`";
    assert!(run.err.contains(text), "{}", run.err);
}

#[test]
fn packages_of_the_archive_are_added_by_their_name() {
    let release = Release::copy_of("specs/single");
    let here = release.path("");
    let run = run_in(&here, &["add", "xz-utls"]).ends_with(2);
    assert!(run.err.contains("archive `bookworm` has no `xz-utls`"), "{}", run.err);
    assert!(run.err.contains("it has `xz-utils`"), "{}", run.err);
    let run = run_in(&here, &["add", "zlib1g-dev"]).ends_with(2);
    assert!(run.err.contains("source package `zlib` builds it"), "{}", run.err);
    let run = run_in(&here, &["add", "xz-utils", "-n"]).ends_with(0);
    assert!(run.out.contains("would write packages/xz-utils.rhai"), "{}", run.out);
    assert!(!release.path("packages").exists());

    let run = run_in(&here, &["add", "xz-utils"]).ends_with(0);
    assert!(run.out.contains("source `xz-utils` of `bookworm`: pinned to 5.4.1"), "{}", run.out);
    let spec = fs::read_to_string(release.path("packages/xz-utils.rhai")).unwrap();
    assert_eq!(spec, "rebuild(\"xz-utils\")\n");
    run_in(&here, &["lock", "--check"]).ends_with(0);
    let run = run_in(&here, &["add", "xz-utils"]).ends_with(2);
    assert!(run.err.contains("already: packages/xz-utils.rhai:1"), "{}", run.err);
    let run = run_in(&here, &["add"]).ends_with(2);
    assert!(run.err.contains("required"), "{}", run.err);
}

#[test]
fn a_folder_is_added_where_it_is_part_of_the_release() {
    let release = Release::copy_of("specs/single");
    let theirs = here("specs/demo/src/libgreet");
    let word = theirs.to_str().unwrap();
    let run = release.run("add", &[word]).ends_with(2);
    assert!(run.err.contains("lies outside of the release"), "{}", run.err);
    assert!(run.err.contains("help: `--copy` copies it to `"), "{}", run.err);
    assert!(!release.path("packages").exists() && !release.path("src/libgreet").exists());

    let run = release.run("add", &[word, "--copy", "--json"]).ends_with(0);
    let document = run.json();
    assert_eq!(document["added"][0]["name"], "libgreet");
    let spec = fs::read_to_string(release.path("packages/libgreet.rhai")).unwrap();
    assert_eq!(document["added"][0]["spec"], spec.as_str());
    assert!(spec.contains("source: dir(\"src/libgreet\")") && spec.contains("debian()"), "{spec}");
    let same =
        Command::new("diff").arg("-r").arg(&theirs).arg(release.path("src/libgreet")).status();
    assert!(same.unwrap().success());
    let rules = fs::metadata(release.path("src/libgreet/debian/rules")).unwrap();
    assert_eq!(rules.permissions().mode() & 0o777, 0o755);
    release.run("eval", &["libgreet"]).ends_with(0);

    // One that is there already needs no copy, and what is there is left as it is.
    let run = release.run("add", &[word, "--copy"]).ends_with(2);
    assert!(run.err.contains("is there already"), "{}", run.err);
    copy_folder(&here("specs/demo/src/greet"), &release.path("src/greet"));
    release.write("packages/greet.rhai", "[]\n");
    let inside = release.path("src/greet").display().to_string();
    let run = release.run("add", &[&inside]).ends_with(2);
    assert!(run.err.contains("packages/greet.rhai` is there already"), "{}", run.err);
    fs::remove_file(release.path("packages/greet.rhai")).unwrap();
    release.run("add", &[&inside]).ends_with(0);

    fs::create_dir(release.path("src/empty")).unwrap();
    let empty = release.path("src/empty").display().to_string();
    let run = release.run("add", &[&empty]).ends_with(2);
    assert!(run.err.contains("no build system was recognised"), "{}", run.err);
    assert!(!release.path("packages/empty.rhai").exists());
}

#[test]
fn a_repository_is_added_at_its_newest_release_or_else_its_default_branch() {
    let release = Release::copy_of("specs/single");
    let code = Repository::new();
    code.write("meson.build", "project('tool', 'c', version: '1.1', license: 'MIT')\n");
    let first = code.commit("first");
    let url = code.url();
    // No release yet: the branch, by name.
    let run = release.run("add", &[&url, "--name", "edge", "-n", "--json"]).ends_with(0);
    let added = &run.json()["added"][0];
    let spec = added["spec"].as_str().unwrap();
    assert!(spec.contains(&format!("source: git(\"{url}\", \"main\"),")), "{spec}");
    assert!(!spec.contains(&first), "{spec}");
    let findings = added["findings"].as_array().unwrap();
    let source = findings.iter().find(|one| one["field"] == "source").unwrap();
    assert!(source["why"].as_str().unwrap().contains("the default branch"), "{source}");

    code.git(&["tag", "v1.1"]);
    code.git(&["tag", "v1.2rc1"]);
    code.write("new", "").commit("second");
    let run = release.run("add", &[&url, "--name", "tool"]).ends_with(0);
    assert!(
        run.out.contains("the tag of the newest release; `--rev` names another"),
        "{}",
        run.out
    );
    let spec = fs::read_to_string(release.path("packages/tool.rhai")).unwrap();
    assert!(spec.contains(&format!("source: git(\"{url}\", \"v{{version}}\"),")), "{spec}");
    let lock = fs::read_to_string(release.path("release.lock")).unwrap();
    assert!(lock.contains(&first), "the lock says which commit that is: {lock}");
}

#[test]
fn repositories_and_tarballs_are_added_by_their_urls() {
    let release = Release::copy_of("specs/single");
    let repository = Repository::new();
    copy_folder(&here("specs/demo/src/libgreet"), repository.path());
    repository.commit("Greet");
    repository.git(&["tag", "v1.2.0"]);
    let url = repository.url();
    let run = release.run("add", &[&url, "--rev", "v1.2"]).ends_with(2);
    assert!(run.err.contains("it has `v1.2.0`"), "{}", run.err);
    let run = release.run("add", &[&url, "--rev", "v1.2.0"]).ends_with(0);
    let spec = fs::read_to_string(release.path("packages/libgreet.rhai")).unwrap();
    let source = format!("source: git(\"{url}\", \"v1.2.0\"),");
    assert!(spec.contains(&source) && spec.contains("build: debian(),"), "{spec}");
    assert!(run.out.contains(&url), "what was pinned is told: {}", run.out);

    let desk = tempfile::tempdir().unwrap();
    let packed = desk.path().join("greet-1.2.0.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&packed).arg("-C").arg(here("specs/demo/src")).arg("greet");
    assert!(tar.status().unwrap().success());
    let url = format!("file://{}", packed.display());
    release.run("add", &[&url]).ends_with(0);
    let spec = fs::read_to_string(release.path("packages/greet.rhai")).unwrap();
    assert!(spec.contains(&format!("source: tarball(\"{url}\"),")), "{spec}");
    run_in(&release.path(""), &["lock", "--check"]).ends_with(0);
    // Greet finds the library that it needs in the release.
    let run = release.run("eval", &["greet", "--json"]).ends_with(0);
    assert_eq!(run.json()["packages"][0]["depends"][0], "libgreet");

    fs::write(desk.path().join("bad.tar.gz"), "no tarball").unwrap();
    let before = fs::read_to_string(release.path("release.lock")).unwrap();
    let beside = |name: &str| format!("file://{}/{name}", desk.path().display());
    let empty = Repository::new();
    let lfs = Repository::new();
    lfs.write("big", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    lfs.commit("pointer");
    for (url, words) in [
        (beside("bad.tar.gz"), format!("`{}` cannot be a source", beside("bad.tar.gz"))),
        (beside("gone.tar.gz"), format!("there is no file at `{}`", beside("gone.tar.gz"))),
        (beside("gone"), "does not appear to be a git repository".to_owned()),
        (empty.url(), "it is empty".to_owned()),
        (lfs.url(), "is a Git LFS pointer".to_owned()),
    ] {
        let run = release.run("add", &[&url]).ends_with(2);
        assert!(run.err.contains(&words), "no `{words}`: {}", run.err);
    }
    assert_eq!(fs::read_to_string(release.path("release.lock")).unwrap(), before);
}
