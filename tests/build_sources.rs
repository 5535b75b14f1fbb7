//! Real builds of sources from elsewhere: what the build finds, and what becomes of it when
//! upstream is gone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gnupg;
mod program;
mod repository;
mod upstream;

use std::fs;
use std::process::Command;

use program::{PROGRAM, Release, Run, unique};
use repository::Repository;
use upstream::Server;

/// A release whose one package is made from a tarball, a commit, files and a folder.
fn release(server: &Server, code: &Repository) -> Release {
    let mark = unique();
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("tool-1.0");
    fs::create_dir_all(top.join("empty")).unwrap();
    fs::write(top.join("mark"), &mark).unwrap();
    fs::write(top.join("run"), "#!/bin/sh\necho ran\n").unwrap();
    let script = "chmod 755 tool-1.0/run; chmod 600 tool-1.0/mark; ln -s mark tool-1.0/link; \
                  ln tool-1.0/mark tool-1.0/same; tar -cJf \"$0\" tool-1.0";
    let status = Command::new("sh")
        .args(["-e", "-c", script])
        .arg(server.folder.path().join("tool-1.0.tar.xz"))
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    fs::write(server.folder.path().join("notes.txt"), "from elsewhere\n").unwrap();
    code.executable("bin/hook", "#!/bin/sh\necho hooked\n").link("to-hook", "bin/hook");
    code.write("code.txt", &mark).commit("code");

    let release = Release::copy_of("specs/single");
    release.write("data/local.txt", "of the release\n");
    let spec = format!(
        r##"package(#{{
    name: "tool", version: "1.0", summary: "A tool", license: "MIT",
    changes: #{{ date: "2026-11-22", text: "First." }},
    source: tarball("{url}/{{name}}-{{version}}.tar.xz"),
    extra: #{{
        "vendor/code": git("{git}", "main"),
        "doc/notes": file("{url}/notes.txt"),
        "local": file("data/local.txt"),
        "hello": dir("src/hello"),
    }},
    build: script(#"
        test "$(cat mark)" = "{mark}" && test "$(cat same)" = "{mark}"
        test "$(readlink link)" = mark && test "$(./run)" = ran && test -d empty
        test "$(stat -c %a mark)" = 644 && test "$(stat -c %a run)" = 755
        test "$(vendor/code/bin/hook)" = hooked && test "$(vendor/code/to-hook)" = hooked
        test "$(cat vendor/code/code.txt)" = "{mark}" && test ! -e vendor/code/.git
        test "$(cat doc/notes local)" = "$(printf 'from elsewhere\nof the release')"
        test -f hello/hello.c
        test "$(stat -c %Y vendor/code/code.txt)" = "$SOURCE_DATE_EPOCH"
        tar -xJOf /run/perestroika/upstream/orig.tar.xz tool-1.0/mark | cmp - mark
        install -D -m 644 mark "$DESTDIR/usr/share/tool/mark"
    "#),
}})
"##,
        url = server.url,
        git = code.url(),
    );
    release.write("hello.rhai", &spec);
    release
}

/// What a command prints.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

/// Runs a command on a release, without the proxy of this host.
fn run(release: &Release, store: &std::path::Path, words: &[&str]) -> Run {
    Run::of(
        Command::new(PROGRAM)
            .args(words)
            .arg(release.path(""))
            .env("no_proxy", "127.0.0.1")
            .arg("--store")
            .arg(store),
    )
}

#[test]
fn a_build_finds_every_source_where_the_spec_puts_it() {
    let (server, code) = (Server::new(), Repository::new());
    let release = release(&server, &code);
    let store = program::shared_store();
    run(&release, &store, &["lock"]).ends_with(0);
    let built = run(&release, &store, &["build", "--json"]).ends_with(0);
    assert_eq!(built.statuses(), ["tool built"]);
    // Upstream is gone, and the branch is elsewhere: what is pinned is in the store.
    fs::remove_file(server.folder.path().join("tool-1.0.tar.xz")).unwrap();
    code.write("code.txt", "moved on").commit("more");
    release.replace("hello.rhai", "usr/share/tool/mark", "usr/share/tool/again");
    let built = run(&release, &store, &["build", "--json", "--offline"]).ends_with(0);
    assert_eq!(built.statuses(), ["tool built"]);
}

#[test]
fn a_source_package_has_the_pristine_tarball_and_keeps_what_was_put_in_beside_the_patches() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tool-1.0")).unwrap();
    fs::write(folder.path().join("tool-1.0/code"), format!("{}\nold\n", unique())).unwrap();
    let tarball = server.folder.path().join("tool-1.0.tar.xz");
    let mut tar = Command::new("tar");
    said(tar.arg("-cJf").arg(&tarball).arg("tool-1.0").current_dir(folder.path()));

    let release = Release::copy_of("specs/single");
    release.write("data/words", "one\ntwo\n");
    release.write(
        "more.patch",
        "--- a/code\n+++ b/code\n@@ -2 +2 @@\n-old\n+new\n\
         --- a/share/words\n+++ b/share/words\n@@ -1,2 +1,2 @@\n one\n-two\n+zwei\n",
    );
    let spec = format!(
        r##"package(#{{
    name: "tool", version: "1.0", revision: "1", summary: "A tool", license: "MIT",
    changes: #{{ date: "2026-11-22", text: "First." }},
    source: tarball("{}/tool-{{version}}.tar.xz"),
    extra: #{{ "share/words": file("data/words") }},
    patches: ["more.patch"],
    build: script(#"
        test "$(tail -n 1 code)" = new && test "$(cat share/words)" = "$(printf 'one\nzwei')"
        install -D -m 644 share/words "$DESTDIR/usr/share/tool/words"
    "#),
}})
"##,
        server.url
    );
    release.write("hello.rhai", &spec);
    let store = program::shared_store();
    run(&release, &store, &["lock"]).ends_with(0);
    run(&release, &store, &["build"]).ends_with(0);

    let orig = fs::read(release.path("out/tool_1.0.orig.tar.xz")).unwrap();
    assert!(orig == fs::read(&tarball).unwrap(), "the tarball is not as it came");
    let (dsc, unpacked) = (release.path("out/tool_1.0-1.dsc"), release.path("unpacked"));
    said(Command::new("dpkg-source").args(["--no-check", "-x"]).arg(dsc).arg(&unpacked));
    let series = fs::read_to_string(unpacked.join("debian/patches/series")).unwrap();
    assert_eq!(series, "release-extra\nmore.patch\n");
    assert_eq!(fs::read_to_string(unpacked.join("share/words")).unwrap(), "one\nzwei\n");
    let extra = fs::read_to_string(unpacked.join("debian/patches/release-extra")).unwrap();
    assert!(extra.contains("+++ tool-1.0/share/words") && extra.contains("+two"), "{extra}");
}

#[test]
fn openstack_code_and_packaging_are_built_from_their_repositories() {
    let base = tempfile::tempdir().unwrap();
    let branch = "openstack-ci/fuel-7.0/2015.1.0";
    let repository = |path: &str| {
        let repository = Repository::new();
        let link = base.path().join(path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(repository.path(), link).unwrap();
        repository.git(&["checkout", "--quiet", "-b", branch]);
        repository
    };
    let code = repository("acme/openstack/nova");
    code.write("stars", unique()).commit("Count the stars");
    code.git(&["tag", "2015.1.0rc1"]);
    code.write("more", "").commit("Count again");
    code.write("most", "").commit("And again");
    let packaging = repository("acme/openstack-build/nova-build");
    packaging.executable("debian/rules", "#!/usr/bin/make -f\n%:\n\tdh $@\n");
    packaging.write("debian/source/format", "3.0 (quilt)\n");
    packaging.write("debian/nova.install", "stars usr/share/nova\n");
    packaging.write(
        "debian/control",
        "Source: nova\nSection: net\nPriority: optional\nMaintainer: P <p@b.example>\n\
         Build-Depends: debhelper-compat (= 13)\nStandards-Version: 4.6.2\n\n\
         Package: nova\nArchitecture: all\nDepends: ${misc:Depends}\nDescription: Compute\n",
    );
    packaging.write(
        "debian/changelog",
        "nova (1:2015.1.0~rc1-1~u14.04+mos1) trusty; urgency=medium\n\n  * New.\n\n \
         -- P <p@b.example>  Thu, 01 Oct 2015 10:00:00 +0000\n",
    );
    packaging.commit("packaging");

    let release = Release::copy_of("specs/single");
    release.replace("release.toml", "version = \"1.0\"", "version = \"1.0\"\ncustomer = \"acme\"");
    let toml = fs::read_to_string(release.path("release.toml")).unwrap();
    let parameters = "\n[parameters]\nfuel = \"7.0\"\nopenstack = \"2015.1.0\"\n";
    release.write("release.toml", &(toml + parameters));
    let spec = format!(
        r#"let base = "file://{}";
let code = openstack::code(base, "nova");
package(#{{
    name: "nova",
    version: openstack::version(code.tag),
    revision: openstack::revision("1~u14.04+mos1", code),
    changes: openstack::changes(code),
    source: code,
    build: debian(openstack::packaging(base, "nova")),
}})
"#,
        base.path().display()
    );
    release.write("hello.rhai", &spec);
    let store = program::shared_store();
    run(&release, &store, &["lock"]).ends_with(0);
    let document = run(&release, &store, &["build", "--json"]).ends_with(0).json();
    // The packaging's epoch, the tag's version, the commits since.
    assert_eq!(document["packages"][0]["version"], "1:2015.1.0~rc1-1~u14.04+mos2");
    let deb = release.path("out/nova_2015.1.0~rc1-1~u14.04+mos2_all.deb");
    let content = said(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    assert!(content.contains("./usr/share/nova/stars"), "{content}");
    let unpacked = release.path("unpacked");
    said(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&unpacked));
    let changes = unpacked.join("usr/share/doc/nova/changelog.Debian.gz");
    let changes = said(Command::new("zcat").arg(changes));
    assert!(changes.contains(" And again\n") && changes.contains(" -- Ann Author"), "{changes}");
}

#[test]
fn what_upstream_no_longer_has_is_named_and_ends_with_3() {
    let (server, code) = (Server::new(), Repository::new());
    let release = release(&server, &code);
    let keep = tempfile::tempdir().unwrap();
    let first = keep.path().join("first");
    run(&release, &first, &["lock"]).ends_with(0);
    let file = server.folder.path().join("tool-1.0.tar.xz");
    let kept = fs::read(&file).unwrap();

    // Each time a store that has nothing.
    fs::remove_file(&file).unwrap();
    let refused = run(&release, &keep.path().join("second"), &["build"]).ends_with(3);
    assert!(refused.err.contains("tool-1.0.tar.xz` is missing"), "{}", refused.err);
    fs::write(&file, [&kept[..kept.len() - 1], b"x"].concat()).unwrap();
    let refused = run(&release, &keep.path().join("second"), &["build"]).ends_with(3);
    assert!(refused.err.contains("is not the file that was asked for"), "{}", refused.err);
    fs::write(&file, &kept).unwrap();
    fs::remove_dir_all(code.path().join(".git")).unwrap();
    let refused = run(&release, &keep.path().join("second"), &["build"]).ends_with(3);
    assert!(refused.err.contains(&code.url()), "{}", refused.err);
}
