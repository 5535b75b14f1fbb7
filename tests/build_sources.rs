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
