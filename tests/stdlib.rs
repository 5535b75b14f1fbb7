//! The standard library: each way of building makes packages for real, and what does not fit
//! stops with its reason. `fixtures/stdlib` is the release; its keys and the pins of its archive
//! are those of `specs/demo`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use perestroika::spec::lock;
use program::{Release, copy_folder, here, unique};

/// The release with these packages beside its own, or only them; pinned.
fn release(own: Own, specs: &[(&str, &str)]) -> Release {
    let release = Release::copy_of("fixtures/stdlib");
    copy_folder(&here("specs/demo/keys"), &release.path("keys"));
    copy_folder(
        &here("specs/demo/release.lock.d/bookworm"),
        &release.path("release.lock.d/bookworm"),
    );
    let pins = fs::read_to_string(here("specs/demo/release.lock")).unwrap();
    let mut pins = lock::parse(&pins).unwrap();
    pins.sources.clear();
    pins.stdlib.clear();
    release.write("release.lock", &pins.to_toml());
    if own == Own::LeftOut {
        fs::remove_dir_all(release.path("packages")).unwrap();
    }
    for (path, text) in specs {
        release.write(path, text);
    }
    release
}

#[derive(PartialEq, Eq)]
enum Own {
    Kept,
    LeftOut,
}

/// A file that a build left.
fn out(release: &Release, file: &str) -> PathBuf {
    let path = release.path("out").join(file);
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// What a command prints.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{text}");
    text
}

/// The fields of a package's control file.
fn fields(release: &Release, deb: &str) -> BTreeMap<String, String> {
    let text = said(Command::new("dpkg-deb").arg("--field").arg(out(release, deb)));
    let field = |line: &str| line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned()));
    text.lines().filter(|line| !line.starts_with(' ')).filter_map(field).collect()
}

/// The files and links in a package, without what every package has of documents.
fn files(release: &Release, deb: &str) -> Vec<String> {
    let text = said(
        Command::new("sh")
            .args(["-c", "dpkg-deb --fsys-tarfile \"$0\" | tar -t"])
            .arg(out(release, deb)),
    );
    let common = ["copyright", "changelog.gz", "changelog.Debian.gz"];
    let counts = |path: &&str| {
        !path.ends_with('/') && !common.iter().any(|name| path.ends_with(&format!("/{name}")))
    };
    text.lines().filter(counts).map(|path| path.trim_start_matches("./").to_owned()).collect()
}

#[test]
fn each_way_of_building_makes_its_packages() {
    let release = release(Own::Kept, &[]);
    // A word that is new: nothing of it was built before.
    release.replace("src/plain/MANUAL", "It says", &format!("{} says", unique()));
    release.run("lock", &[]).ends_with(0);
    let run = release.run("build", &["--json", "-j", "2"]).ends_with(0);
    let statuses = run.statuses();
    assert!(statuses.contains(&"plain built".to_owned()), "{statuses:?}");
    assert_eq!(statuses.len(), 9, "{statuses:?}");

    a_library_is_divided(&release);
    programs_need_what_they_link_to(&release);
    binary_packages_are_what_their_patterns_say(&release);
    python_packages_are_found_by_python(&release);
    packaging_of_another_source_is_laid_over(&release);
    a_patched_package_says_so(&release);
}

fn a_library_is_divided(release: &Release) {
    let folder = "usr/lib/x86_64-linux-gnu";
    let library = "libsum1_1.2.0-1_amd64.deb";
    assert_eq!(
        files(release, library),
        [format!("{folder}/libsum.so.1.2.0"), format!("{folder}/libsum.so.1")]
    );
    let fields_of_it = fields(release, library);
    assert_eq!(fields_of_it["Source"], "libsum");
    assert_eq!(fields_of_it["Multi-Arch"], "same");
    assert_eq!(fields_of_it["Homepage"], "https://sum.example");
    let dev = "libsum-dev_1.2.0-1_amd64.deb";
    assert_eq!(
        files(release, dev),
        [
            "usr/include/sum.h".to_owned(),
            format!("{folder}/libsum.a"),
            format!("{folder}/pkgconfig/libsum.pc"),
            format!("{folder}/libsum.so"),
        ]
    );
    assert_eq!(fields(release, dev)["Depends"], "libsum1 (= 1.2.0-1)");
    assert_eq!(fields(release, dev)["Description"], "Sums of small numbers - development files");
    assert_eq!(fields(release, "libsum1-dbgsym_1.2.0-1_amd64.deb")["Section"], "debug");
    let shlibs =
        said(Command::new("dpkg-deb").arg("--info").arg(out(release, library)).arg("shlibs"));
    assert_eq!(shlibs, "libsum 1 libsum1 (>= 1.2.0)\n");

    // Its source package has a revision, and so an upstream tarball without the packaging.
    let list = said(Command::new("tar").arg("-tf").arg(out(release, "libsum_1.2.0.orig.tar.gz")));
    assert!(list.contains("libsum-1.2.0/configure.ac\n"), "{list}");
    assert!(!list.contains("debian"), "{list}");
    out(release, "libsum_1.2.0-1.debian.tar.gz");
    out(release, "libsum_1.2.0-1.dsc");
}

fn programs_need_what_they_link_to(release: &Release) {
    for (name, version) in [("sum-cmake", "0.1"), ("sum-meson", "0.2")] {
        let deb = format!("{name}_{version}_amd64.deb");
        let depends = &fields(release, &deb)["Depends"];
        assert!(depends.contains("libsum1 (>= 1.2.0)") && depends.contains("libc6"), "{depends}");
        assert_eq!(files(release, &deb), [format!("usr/bin/{name}")]);
        out(release, &format!("{name}-dbgsym_{version}_amd64.deb"));
        // A version without a revision is native: one tarball, which has all of it.
        let tar = out(release, &format!("{name}_{version}.tar.gz"));
        let list = said(Command::new("tar").arg("-tf").arg(tar));
        assert!(list.contains("/debian/rules\n") && list.contains("/main.c\n"), "{list}");
    }
    let log = release.run("log", &["sum-meson"]).ends_with(0).out;
    assert!(log.contains("1/1 sums") && log.contains("OK"), "its test ran: {log}");
    let log = release.run("log", &["libsum"]).ends_with(0).out;
    assert!(log.contains("# PASS:  1"), "its test ran: {log}");
}

fn binary_packages_are_what_their_patterns_say(release: &Release) {
    assert_eq!(files(release, "plain_3_amd64.deb"), ["usr/bin/plain"]);
    assert_eq!(fields(release, "plain_3_amd64.deb")["Suggests"], "plain-doc");
    assert_eq!(files(release, "plain-doc_3_all.deb"), ["usr/share/doc/plain/MANUAL"]);
    assert_eq!(fields(release, "plain-doc_3_all.deb")["Architecture"], "all");
    assert_eq!(files(release, "by-hand_1.0_all.deb"), ["usr/bin/by-hand"]);
    assert_eq!(fields(release, "by-hand_1.0_all.deb")["Depends"], "by-hand-data");
    assert_eq!(files(release, "by-hand-data_1.0_all.deb"), ["usr/share/by-hand/note"]);
    let log = release.run("log", &["plain"]).ends_with(0).out;
    assert!(log.contains("test \"$(./plain)\" = plain"), "its test ran: {log}");
}

fn python_packages_are_found_by_python(release: &Release) {
    let pure = files(release, "python3-adder_0.3_all.deb");
    let folder = "usr/lib/python3/dist-packages";
    assert!(pure.contains(&format!("{folder}/adder/__init__.py")), "{pure:?}");
    assert!(pure.contains(&"usr/bin/adder".to_owned()), "{pure:?}");
    assert_eq!(fields(release, "python3-adder_0.3_all.deb")["Depends"], "python3:any");
    let log = release.run("log", &["python-adder"]).ends_with(0).out;
    assert!(log.contains("Ran 1 test"), "its test ran: {log}");
    let compiled = files(release, "python3-fastadder_0.4_amd64.deb");
    let module = |path: &String| path.starts_with(folder) && path.ends_with("linux-gnu.so");
    assert!(compiled.iter().any(module), "{compiled:?}");
    let depends = &fields(release, "python3-fastadder_0.4_amd64.deb")["Depends"];
    assert!(depends.contains("libc6") && depends.contains("python3 (>= 3.11~)"), "{depends}");
    out(release, "python3-fastadder-dbgsym_0.4_amd64.deb");
}

fn packaging_of_another_source_is_laid_over(release: &Release) {
    let version = "2015.1.0~rc1-1~u14.04+mos17";
    let deb = format!("python3-nova_{version}_all.deb");
    assert_eq!(fields(release, &deb)["Version"], format!("1:{version}"), "the epoch is kept");
    let folder = release.path("nova");
    let dsc = out(release, &format!("nova_{version}.dsc"));
    said(Command::new("dpkg-source").args(["--no-check", "--extract"]).arg(dsc).arg(&folder));
    let changelog = fs::read_to_string(folder.join("debian/changelog")).unwrap();
    assert!(
        changelog.starts_with(&format!(
            "nova (1:{version}) ways; urgency=medium\n\n  * 0123456789 Count the stars\n\n \
             -- Ann Other <ann@code.example>  Mon, 05 Oct 2015 12:13:14 +0000\n\nnova ("
        )),
        "{changelog}"
    );
    assert!(folder.join("nova/__init__.py").exists());
}

fn a_patched_package_says_so(release: &Release) {
    let deb = "tree_2.1.0-1+ways1_amd64.deb";
    let root = release.path("tree");
    said(Command::new("dpkg-deb").arg("--extract").arg(out(release, deb)).arg(&root));
    let version = said(Command::new(root.join("usr/bin/tree")).arg("--version"));
    assert!(version.starts_with("tree v2.1.0 of ways"), "{version}");
    let folder = release.path("tree-source");
    let dsc = out(release, "tree_2.1.0-1+ways1.dsc");
    said(Command::new("dpkg-source").args(["--no-check", "--extract"]).arg(dsc).arg(&folder));
    let series = fs::read_to_string(folder.join("debian/patches/series")).unwrap();
    assert_eq!(series, "manpage\nspeling\ntree-whose.patch\n");
    let docs = fs::read_to_string(folder.join("debian/docs")).unwrap();
    assert_eq!(docs, "README\nTODO\nCHANGES\n");
    // The upstream tarball is the archive's own.
    let sum = said(Command::new("sha256sum").arg(out(release, "tree_2.1.0.orig.tar.gz")));
    assert!(
        sum.starts_with("0160c535bff2b0dc6a830b9944e981e3427380f63e748da96ced7071faebabf6"),
        "{sum}"
    );
}

#[test]
fn what_does_not_fit_stops_a_build_and_says_why() {
    let package = |name: &str, rest: &str| {
        format!(
            "package(#{{\n    name: \"{name}\", version: \"1.0\", summary: \"Test\", \
             license: \"MIT\", date: \"2026-11-22\",\n    source: dir(\"src/plain\"),\n{rest}\n}})\n"
        )
    };
    let patch = "--- a/plain.c\n+++ b/plain.c\n@@ -3,3 +3,3 @@\n int main(void)\n {\n\
                 -    return puts(OTHER) < 0;\n+    return puts(\"x\") < 0;\n";
    let own = "src/own/debian";
    let control = "Source: own\nMaintainer: A <a@b.example>\nBuild-Depends: debhelper-compat (= 13)\n\
                   \nPackage: own\nArchitecture: all\nDescription: Own\n";
    let release = release(
        Own::LeftOut,
        &[
            (
                "packages/loose.rhai",
                &package(
                    "loose",
                    "build: make(#{ variables: [\"WORDS=plain\"] }),\nbinaries: [#{ name: \"loose\", files: [\"usr/bin\"] }, \
                     #{ name: \"loose-meta\", depends: [\"loose\"] }],",
                ),
            ),
            (
                "packages/wrong-so.rhai",
                &package(
                    "wrong-so",
                    "build: script(#\"\n        mkdir -p \"$DESTDIR/usr/lib/x\" \"$DESTDIR/usr/include\"\n\
                     \x20       touch \"$DESTDIR/usr/include/x.h\" \"$DESTDIR/usr/lib/x/libx.so\"\n\
                     \x20       touch \"$DESTDIR/usr/lib/x/libx.so.1\"\n    \"#),\n\
                     binaries: library(\"x\", 2),",
                ),
            ),
            (
                "packages/stale.rhai",
                &package("stale", "build: make(), patches: [\"other.patch\"],"),
            ),
            ("other.patch", patch),
            (
                "packages/own.rhai",
                "import \"lib/own\" as own;\npackage(#{ name: \"own\", source: dir(\"src/own\"), \
                 build: own::changed() })\n",
            ),
            (
                "lib/own.rhai",
                &format!(
                    "fn changed() {{ recipe(#{{ packaging: \"own\", files: #{{ \"debian/control\": \
                     `{}` }} }}) }}\n",
                    control
                        .replace("(= 13)", "(= 13), libssl-dev")
                        .replace("Package: own", "Package: other")
                ),
            ),
            (&format!("{own}/control"), control),
            (
                &format!("{own}/changelog"),
                "own (1.0) ways; urgency=low\n\n  * New.\n\n \
                 -- A <a@b.example>  Sun, 22 Nov 2026 00:00:00 +0000\n",
            ),
            (&format!("{own}/rules"), "#!/usr/bin/make -f\n%:\n\tdh $@\n"),
            (&format!("{own}/source/format"), "3.0 (native)\n"),
        ],
    );
    release.run("lock", &[]).ends_with(0);
    // A patch that cannot apply is the release's mistake, found before anything is put together.
    let run = release.run("check", &[]).ends_with(1);
    for words in [
        "wrong      patches      1 problem in",
        "patch `other.patch` does not apply to `plain.c`",
        "other.patch:3: `plain.c` does not have the lines that it changes",
        "packages/stale.rhai:4:26",
        "\"other.patch\"",
    ] {
        let told = format!("{}{}", run.out, run.err);
        assert!(told.contains(words), "no `{words}` in\n{told}");
    }
    let run = release.run("build", &["-j", "2"]).ends_with(2);
    for (package, words) in [
        ("loose", "usr/share/doc/plain/MANUAL exists in debian/tmp but is not installed"),
        ("wrong-so", "usr/lib/*/lib*.so.2"),
        ("own", "Build-Depends of debian/control has `libssl-dev`, the release does not"),
        ("own", "debian/control builds `other`, the release expects `own`"),
        ("stale", "error: patch `other.patch` does not apply to `plain.c`"),
    ] {
        let log = release.run("log", &[package]).ends_with(0).out;
        assert!(log.contains(words), "{package}: no `{words}` in\n{log}");
        assert!(!log.contains("dpkg-deb: building"), "{package} was built:\n{log}");
    }
    for words in [
        "failed    stale 1.0 · patch: patch `other.patch` does not apply to `plain.c`",
        "other.patch:3: `plain.c` does not have the lines that it changes",
        "    -    return puts(OTHER) < 0;",
        "Build-Depends of debian/control has `libssl-dev`",
        "packages/stale.rhai:1",
    ] {
        assert!(run.err.contains(words), "no `{words}` in\n{}", run.err);
    }
}

#[test]
fn what_packaging_and_spec_say_apart_is_refused_before_any_build() {
    let nova = |fields: &str| {
        format!(
            "package(#{{ name: \"nova\", source: dir(\"src/nova\"), {fields}\n    \
             build: debian(dir(\"src/nova-build\")) }})\n"
        )
    };
    let plain = |fields: &str| {
        format!(
            "package(#{{ name: \"plain\", version: \"3\", summary: \"Plain\", license: \"MIT\",\n    \
             source: dir(\"src/plain\"), build: make(), {fields} }})\n"
        )
    };
    let cases = [
        (
            nova("version: \"2015.1.0\","),
            vec![
                "the spec says version `2015.1.0`",
                "the packaging `1:2015.1.0~rc1-1~u14.04+mos1`",
            ],
        ),
        (nova("revision: \"2\","), vec!["`nova` needs `changes`"]),
        (plain(""), vec!["`plain` needs `date`", "add `date: \"2026-11-22\"`"]),
        (
            plain("date: \"2026-11-22\", binaries: [#{ name: \"plain\", depends: [\"x (>> \"] }],"),
            vec!["`depends` of `plain`"],
        ),
        (
            "rebuild(\"tree\").with(#{ patches: [\"patches/tree\"] })\n".to_owned(),
            vec!["`tree` is patched but keeps the archive's version `2.1.0-1`", "add `suffix: "],
        ),
    ];
    for (spec, expected) in cases {
        let release = release(Own::LeftOut, &[("packages/one.rhai", &spec)]);
        release.run("lock", &[]).ends_with(0);
        let run = release.run("eval", &[]).ends_with(2);
        for words in expected {
            assert!(run.err.contains(words), "no `{words}` in\n{}", run.err);
        }
        assert!(run.err.contains("packages/one.rhai:"), "{}", run.err);
    }
}
