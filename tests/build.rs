//! Real builds, end to end: what is built, what is not built again, what comes of failures.
//!
//! Everything is fetched from the mirrors of this host. The store is shared by all tests and
//! stays, so what must be built anew holds a word that was never there before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use program::{PROGRAM, Release, Run, debs, shared_store, unique};
use serde_json::Value;

/// An id that is nobody's.
const USER: u32 = 60101;

#[test]
fn a_release_of_one_package_comes_out_whole() {
    let release = Release::copy_of("specs/single");
    let run = release.run("build", &["--json"]).ends_with(0);
    let document = run.json();
    assert_eq!(document["packages"][0]["name"], "hello-single");
    assert_eq!(document["packages"][0]["version"], "1.0");
    assert_eq!(document["errors"].as_array().unwrap().len(), 0);

    // Everything that the document says is there, and is what it says.
    let out = release.path("out");
    let outputs = document["packages"][0]["outputs"].as_array().unwrap();
    for output in outputs {
        let path = out.join(output["file"].as_str().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), output["size"].as_u64().unwrap());
        assert_eq!(b3sum(&path), output["blake3"].as_str().unwrap());
    }
    assert!(outputs.iter().any(|output| output["file"] == "hello-single_1.0_amd64.deb"));
    assert_eq!(b3sum(&out.join("MANIFEST.json")), document["release"]["manifest"]);
    let fields = Command::new("dpkg-deb")
        .args(["--field"])
        .arg(out.join("hello-single_1.0_amd64.deb"))
        .args(["Package", "Version", "Architecture"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(fields.stdout).unwrap(),
        "Package: hello-single\nVersion: 1.0\nArchitecture: amd64\n"
    );

    // The manifest's name is the release's: a second run states it again.
    let again = release.run("build", &["--json", "--offline"]).ends_with(0);
    assert_eq!(again.statuses(), ["hello-single cached"]);
    assert_eq!(again.json()["release"], document["release"]);
    let status = release.run("status", &[]).ends_with(0).out;
    let manifest = document["release"]["manifest"].as_str().unwrap();
    assert!(status.contains(&format!("manifest  b3:{}", &manifest[..12])), "{status}");
}

fn b3sum(path: &Path) -> String {
    let output = Command::new("b3sum").arg("--no-names").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn only_what_a_change_reaches_is_built_again() {
    let release = Release::copy_of("specs/demo");
    release.run("build", &["greet", "--json"]).ends_with(0);
    let first = release.debs();
    assert_eq!(
        first.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "greet-dbgsym_1.2.0-1_amd64.deb",
            "greet_1.2.0-1_amd64.deb",
            "libgreet-dev_1.2.0-1_amd64.deb",
            "libgreet1-dbgsym_1.2.0-1_amd64.deb",
            "libgreet1_1.2.0-1_amd64.deb",
        ]
    );

    // Nothing changed: nothing is built, and nothing is fetched.
    let run = release.run("build", &["greet", "--json", "--offline"]).ends_with(0);
    assert_eq!(run.statuses(), ["greet cached", "libgreet cached"]);

    // A line of greet: greet alone.
    let mark = unique();
    let line = "    return puts(line) < 0;\n";
    let changed = format!(
        "    static const char mark[] = \"{mark}\";\n    return puts(*line ? line : mark) < 0;\n"
    );
    release.replace("src/greet/main.c", line, &changed);
    let run = release.run("build", &["greet", "--json", "--offline"]).ends_with(0);
    assert_eq!(run.statuses(), ["greet built", "libgreet cached"]);
    let second = release.debs();
    assert_eq!(first.len(), second.len());
    for (file, sum) in &first {
        let greets = file.starts_with("greet");
        assert_eq!(second[file] != *sum, greets, "{file}");
    }

    // A comment of libgreet that its packages do not show: greet is what it was.
    let comment = "/* Nobody in particular is greeted as everybody. */";
    release.replace("src/libgreet/greet.c", comment, &format!("/* {mark} */"));
    let forecast = release.run("build", &["greet", "-n"]).ends_with(0).out;
    assert!(
        forecast.contains("may stay cached if the packages of libgreet come out the same"),
        "{forecast}"
    );
    let run = release.run("build", &["greet", "--json", "--offline"]).ends_with(0);
    assert_eq!(release.debs(), second, "the comment shows in the packages");
    assert_eq!(run.statuses(), ["greet cached", "libgreet built"]);

    // A change that shows: both.
    release.replace("src/libgreet/greet.c", "Hello, %s!", "Hello, dear %s!");
    release.replace("src/greet/tests/greets.sh", "'Hello, world!'", "'Hello, dear world!'");
    release.replace("src/greet/tests/greets.sh", "'Hello, P", "'Hello, dear P");
    release.replace("src/greet/main.c", &mark, &unique());
    release.replace("src/libgreet/greet.c", &mark, &unique());
    let run = release.run("build", &["greet", "--json", "--offline"]).ends_with(0);
    assert_eq!(run.statuses(), ["greet built", "libgreet built"]);
    assert_ne!(release.debs(), second);
}

#[test]
fn a_build_says_what_it_will_do_what_it_did_and_how_it_went() {
    let release = Release::copy_of("specs/demo");
    let mark = unique();
    release.run("build", &["greet"]).ends_with(0);
    release.replace("src/greet/main.c", "{\n", &format!("{{\n    /* {mark} */\n"));
    release.replace(
        "src/greet/tests/greets.sh",
        "greet=$1\n",
        &format!("greet=$1\necho 'mark {mark}'\n"),
    );

    let forecast = release.run("build", &["greet", "-n"]).ends_with(0).out;
    assert!(
        forecast.contains(": 1 cached, 1 to build") || forecast.contains(" 1 cached, 1 to build"),
        "{forecast}"
    );
    assert!(forecast.contains("cached  libgreet 1.2.0-1"), "{forecast}");
    assert!(forecast.contains("build   greet 1.2.0-1 "), "{forecast}");
    assert!(
        forecast.contains("\n          source: main.c, tests/greets.sh  packages/greet.rhai:10\n"),
        "{forecast}"
    );
    let status = release.run("status", &[]).ends_with(1).out;
    assert!(status.contains("stale     greet 1.2.0-1"), "{status}");
    assert!(status.contains("built     libgreet 1.2.0-1"), "{status}");
    assert!(status.contains("pinned    bookworm: bookworm of Sat, 11 Jul 2026"), "{status}");

    let run = release.run("build", &["greet", "--progress", "plain"]).ends_with(0);
    for line in ["greet 1.2.0-1: begins", "greet: build", "greet 1.2.0-1: built in "] {
        assert!(run.err.contains(line), "{}", run.err);
    }
    assert!(run.out.contains("2 packages: 1 cached, 1 to build"), "{}", run.out);
    assert!(!run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'), "colours in a pipe");

    let status = release.run("status", &["greet"]).ends_with(0).out;
    assert!(status.contains("built     greet 1.2.0-1"), "{status}");
    let log = release.run("log", &["greet"]).ends_with(0).out;
    assert!(log.contains(&format!("mark {mark}\n")), "the tests ran: {log}");
    let list = release.run("log", &[]).ends_with(0).out;
    assert!(
        list.lines().any(|line| line.contains("built") && line.contains("  greet #")),
        "{list}"
    );
    let again = release.run("build", &["greet", "-n", "--json"]).ends_with(0);
    assert_eq!(again.statuses(), ["greet cached", "libgreet cached"]);
}

/// The release of one package with a package that fails, one that needs it, and one that has
/// nothing to do with either.
/// Names begin with `prefix`: how long each name took is known of the tests before, and decides
/// the order.
fn with_a_failing_package(prefix: &str) -> Release {
    let release = Release::copy_of("specs/single");
    fs::remove_file(release.path("hello.rhai")).unwrap();
    let package = |name: &str, fields: &str, script: &str| {
        let text = format!(
            "package(#{{\n    name: \"{prefix}{name}\", version: \"1.0\", summary: \"Test\", \
             license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"New.\" }},\n    \
             source: dir(\"src/hello\"), {fields}\n    build: script(\"{script}\"),\n}})\n"
        );
        release.write(&format!("packages/{name}.rhai"), &text);
    };
    package("bad", "", "echo 'error: gone wrong'; exit 7");
    package("needs", &format!("build_depends: [\"{prefix}bad\"],"), "true");
    package("other", "", &format!("echo {}", unique()));
    release
}

#[test]
fn a_failure_stops_what_needs_it_and_nothing_else() {
    let release = with_a_failing_package("");
    let run = release.run("build", &["--json"]).ends_with(1);
    assert_eq!(run.statuses(), ["bad failed", "needs skipped", "other built"]);
    let document = run.json();
    let (summary, errors) = (&document["summary"], &document["errors"]);
    for (key, count) in [("built", 1), ("cached", 0), ("failed", 1), ("skipped", 1)] {
        assert_eq!(summary[key], count, "{key}");
    }
    assert_eq!(document["release"]["manifest"], Value::Null);
    assert_eq!(errors[0]["code"], "build-failed");
    let message = errors[0]["message"].as_str().unwrap();
    assert!(message.contains("bad 1.0 failed") && message.contains("gone wrong"), "{message}");
    assert!(release.debs().contains_key("other_1.0_amd64.deb"));
    assert!(!release.path("out/MANIFEST.json").exists());

    let run = release.run("build", &[]).ends_with(1);
    assert!(run.out.contains("1 failed, 1 skipped, 1 cached in "), "{}", run.out);
    for text in ["bad 1.0: FAILED", "needs 1.0: skipped: needs bad", "error: gone wrong", "log "] {
        assert!(run.err.contains(text), "no `{text}`:\n{}", run.err);
    }
    assert!(run.err.contains("packages/bad.rhai:1"), "{}", run.err);
    let status = release.run("status", &[]).ends_with(1).out;
    assert!(status.contains("failed    bad 1.0"), "{status}");
    assert!(status.contains("unbuilt   needs 1.0  never built"), "{status}");
    assert!(status.contains("built     other 1.0"), "{status}");
    let log = release.run("log", &["bad"]).ends_with(0).out;
    assert!(log.contains("error: gone wrong"), "{log}");

    // Mended, the rest is built.
    release.replace("packages/bad.rhai", "exit 7", "true");
    let run = release.run("build", &["--json"]).ends_with(0);
    let mended = run.statuses();
    assert_eq!(mended[2], "other cached");
    assert!(mended.iter().all(|status| !status.contains("failed")), "{mended:?}");
    assert!(release.path("out/MANIFEST.json").exists());
}

#[test]
fn fail_fast_begins_nothing_after_a_failure() {
    let release = with_a_failing_package("fast-");
    let run = release.run("build", &["--json", "--fail-fast", "-j", "1"]).ends_with(1);
    assert_eq!(run.statuses(), ["fast-bad failed", "fast-needs skipped", "fast-other skipped"]);
    let run = release.run("build", &["--json", "-j", "1"]).ends_with(1);
    assert_eq!(run.statuses(), ["fast-bad failed", "fast-needs skipped", "fast-other built"]);
}

#[test]
fn two_releases_are_built_in_one_run_and_what_they_share_once() {
    let (one, other) = (Release::copy_of("specs/single"), Release::copy_of("specs/single"));
    let mark = format!("/* {} */\n", unique());
    for release in [&one, &other] {
        let text = fs::read_to_string(release.path("src/hello/hello.c")).unwrap();
        release.write("src/hello/hello.c", &(text + &mark));
    }
    other.replace("release.toml", "version = \"1.0\"", "version = \"1.1\"");
    let run = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--store").arg(shared_store());
        Run::of(command.arg(one.path("")).arg(other.path("")))
    };
    let built = run(&["build", "--json", "--progress", "plain"]).ends_with(0);
    let document = built.json();
    let releases = document["releases"].as_array().unwrap();
    assert_eq!(releases.len(), 2);
    assert_ne!(releases[0]["release"]["id"], releases[1]["release"]["id"]);
    for release in releases {
        assert_eq!(release["packages"][0]["status"], "built", "{document}");
    }
    assert_eq!(releases[0]["packages"], releases[1]["packages"]);
    assert_eq!(one.debs(), other.debs());
    let begun = built.err.lines().filter(|line| line.ends_with(": begins")).count();
    assert_eq!(begun, 1, "{}", built.err);
    let status = run(&["status"]).ends_with(0).out;
    assert_eq!(status.matches("\n1 package: 1 built\n").count(), 2, "{status}");

    // What is wrong with one of them does not keep the other from being built.
    other.write("release.toml", "[release]\n");
    let half = run(&["build", "--json"]).ends_with(2);
    let document = half.json();
    assert_eq!(document["releases"][0]["packages"][0]["status"], "cached", "{document}");
    assert!(document["releases"][1].is_null(), "{document}");
}

#[test]
fn wrong_words_are_the_users_input() {
    let release = Release::copy_of("specs/demo");
    let run = release.run("build", &["gret"]).ends_with(2);
    assert!(run.err.contains("the release has no package `gret`"), "{}", run.err);
    assert!(run.err.contains("it has `greet`"), "{}", run.err);
    let run = Run::of(Command::new(PROGRAM).args(["build", "./nowhere"])).ends_with(2);
    assert!(run.err.contains("`./nowhere` is not a folder"), "{}", run.err);
    let run = release.run("build", &["--jobs", "0"]).ends_with(2);
    assert!(run.err.contains("--jobs"), "{}", run.err);
    let run = release.run("log", &["catdok", "--json"]).ends_with(2);
    assert_eq!(run.json()["errors"][0]["code"], "unknown-package");
}

#[test]
fn an_ordinary_user_with_an_empty_store_builds_the_same_bytes() {
    let release = Release::copy_of("specs/demo");
    release.run("build", &["greet"]).ends_with(0);

    // Everything that the other build reads or writes is where an ordinary user may go.
    let theirs = Release::copy_of("specs/demo");
    let program = theirs.folder.path().join("perestroika");
    fs::copy(PROGRAM, &program).unwrap();
    fs::set_permissions(theirs.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let owner = format!("{USER}:{USER}");
        let given = Command::new("chown").args(["-R", &owner]).arg(theirs.folder.path()).status();
        assert!(given.unwrap().success());
        let mut command = Command::new("setpriv");
        let id = USER.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(&program);
        command
    } else {
        // The same user then, but another store and another share of the machine.
        Command::new(&program)
    };
    let run = Run::of(
        command
            .args(["build", "greet", "--json", "-j", "4", "--cores", "1", "--store"])
            .arg(theirs.folder.path().join("store"))
            .arg(theirs.path(""))
            .env("HOME", theirs.folder.path())
            .current_dir("/"),
    )
    .ends_with(0);
    assert_eq!(run.statuses(), ["greet built", "libgreet built"]);
    assert_eq!(theirs.debs(), release.debs());
}

#[test]
fn packages_are_installed_in_a_clean_system_and_run() {
    let release = Release::copy_of("specs/demo");
    release.run("build", &["greet"]).ends_with(0);
    let said = release.folder.path().join("said");
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=essential", "--format=null", "--quiet"]);
    for name in ["libgreet1", "greet"] {
        let deb = release.path(&format!("out/{name}_1.2.0-1_amd64.deb"));
        command.arg(format!("--customize-hook=upload {} /{name}.deb", deb.display()));
    }
    command
        .arg("--customize-hook=chroot \"$1\" dpkg -i /libgreet1.deb /greet.deb")
        .arg("--customize-hook=chroot \"$1\" sh -c 'greet; greet Perestroika' > \"$SAID\"")
        .arg("--customize-hook=chroot \"$1\" dpkg --audit >> \"$SAID\"")
        .env("SAID", &said)
        .args(["bookworm", "/dev/null", &mirror()]);
    let output = command.output().expect("mmdebstrap is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(said).unwrap(), "Hello, world!\nHello, Perestroika!\n");
}

/// Where this host's apt gets the suite from.
fn mirror() -> String {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"])
        .args(["Codename: bookworm", "Component: main"])
        .output()
        .expect("apt-get is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().next().expect("apt knows the suite").to_owned()
}

#[test]
fn a_package_of_the_archive_comes_out_bit_identical() {
    let release = Release::copy_of("specs/demo");
    let run = release.run("build", &["catdoc", "--json"]).ends_with(0);
    let document = run.json();
    let outputs = document["packages"][0]["outputs"].as_array().unwrap();
    let found: Vec<_> = outputs
        .iter()
        .filter(|output| output["archive"] != "absent")
        .map(|output| (output["file"].as_str().unwrap(), output["archive"].as_str().unwrap()))
        .collect();
    assert_eq!(found, [("catdoc_0.95-6~deb12u1_amd64.deb", "identical")]);
    // As Debian's own signed index has it.
    let sums = debs(&release.path("out"));
    assert_eq!(
        sums["catdoc_0.95-6~deb12u1_amd64.deb"],
        "aea9c9734da3387238965404f0de104b11e669a76ec0e2a3c8fcc7032c784bfd"
    );
    let table = release.run("build", &["catdoc"]).ends_with(0).out;
    assert!(table.contains("identical to bookworm's own 1/1"), "{table}");
}
