//! Sources from elsewhere: pinned by `lock`, evaluated without a network, moved by `update`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod gnupg;
mod repository;
mod upstream;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::Desk;
use perestroika::base::{Digest, Sha256};
use perestroika::spec::lock::{self, Lock};
use repository::Repository;
use upstream::{Behaviour, Server};

/// A release over a pinned archive that nobody asks, with this spec in place of its own.
fn desk(spec: &str) -> Desk {
    let desk = Desk::single().with_flags([""; 0]);
    desk.write("hello.rhai", spec);
    desk
}

fn locked(desk: &Desk) -> Lock {
    lock::parse(&desk.read("release.lock")).unwrap()
}

/// A package with this source, and what else it says.
fn package(source: &str, more: &str) -> String {
    format!(
        "package(#{{ name: \"tool\", version: \"1.0\", summary: \"A tool\", license: \"MIT\",\n\
         source: {source},\nbuild: script(\"true\"), \
         changes: #{{ date: \"2026-11-22\", text: \"New\" }}, {more} }})\n"
    )
}

fn ids(desk: &Desk) -> Vec<String> {
    let document = desk.run(&["eval", ".", "--json", "--offline"]).fails(0, &[]).json();
    let packages = document["packages"].as_array().unwrap();
    packages.iter().map(|one| one["derivation"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_branch_stays_where_it_was_pinned_until_it_is_told_to_move() {
    let code = Repository::new();
    let first = code.write("a", "1").commit("first");
    let url = code.url();
    let desk = desk(&package(&format!("git(\"{url}\", \"main\")"), ""));
    // Without a pin: which command makes one.
    let refused = desk.run(&["eval", "."]).fails(2, &[]);
    assert!(refused.err.contains("`main` is not pinned"), "{}", refused.err);
    assert!(refused.err.contains("`perestroika lock` pins it"), "{}", refused.err);
    desk.run(&["lock", ".", "--check"]).fails(1, &[]);

    desk.run(&["lock", ".", "--offline"]).fails(3, &["`--offline` forbids to fetch it"]);
    let out = desk.run(&["lock", "."]).fails(0, &[]).out;
    assert!(out.contains(&format!("git `{url}` `main`: pinned to {}", &first[..12])), "{out}");
    desk.run(&["lock", ".", "--check"]).fails(0, &[]);
    let pinned = ids(&desk);
    let pin = locked(&desk).git[&(url.clone(), "main".to_owned())].clone();
    assert_eq!((pin.commit.as_str(), pin.history.is_none()), (first.as_str(), true));

    let second = code.write("a", "2").commit("second");
    let out = desk.run(&["lock", "."]).fails(0, &[]).out;
    assert!(out.contains("nothing to pin"), "{out}");
    assert_eq!(ids(&desk), pinned);

    let moved = format!("git `{url}` `main`: {} -> {}", &first[..12], &second[..12]);
    let out = desk.run(&["update", ".", "-n", "tool"]).fails(0, &[]).out;
    assert!(out.contains(&moved), "{out}");
    assert_eq!(ids(&desk), pinned);
    let out = desk.run(&["update", ".", "tool"]).fails(0, &[]).out;
    assert!(out.contains(&moved), "{out}");
    assert_ne!(ids(&desk), pinned);

    // By its URL too, back to where the branch is then; the id is the content's alone.
    code.write("a", "1").commit("third");
    desk.run(&["update", ".", &url]).fails(0, &[]);
    assert_eq!(ids(&desk), pinned);
    let refused = desk.run(&["update", ".", "toll"]).fails(2, &[]);
    assert!(refused.err.contains("`tool` is"), "{}", refused.err);
    // What nothing asks for is dropped.
    desk.write("hello.rhai", package("dir(\"src\")", ""));
    let out = desk.run(&["lock", "."]).fails(0, &[]).out;
    assert!(out.contains("`main`: dropped"), "{out}");
    assert!(locked(&desk).git.is_empty());
}

#[test]
fn facts_of_a_commit_are_pinned_in_rounds() {
    let (code, docs) = (Repository::new(), Repository::new());
    code.write("a", "1").commit("first");
    code.git(&["tag", "2015.1.0rc1"]);
    code.write("a", "2").commit("second");
    docs.write("d", "1").commit("docs");
    docs.git(&["tag", "for-2015.1.0rc1-1"]);
    // What is asked for depends on what was pinned before: three rounds.
    let spec = format!(
        "let code = git(\"{}\", \"main\");\n\
         let docs = git(\"{}\", `for-${{code.tag}}-${{code.commits}}`);\n\
         let first = code.log[0];\n\
         let last = docs.log[0];\n\
         package(#{{ name: \"tool\", version: code.tag, summary: first.subject, source: code,\n\
         license: \"MIT\", extra: #{{ \"docs\": docs }}, build: script(\"true\"),\n\
         description: `${{first.author}} ${{docs.commit}} ${{last.subject}} ${{code.date}}`,\n\
         changes: #{{ date: code.date, text: first.subject }} }})\n",
        code.url(),
        docs.url()
    );
    let desk = desk(&spec);
    let refused = desk.run(&["eval", "."]).fails(2, &[]);
    assert!(refused.err.contains("hello.rhai:2"), "{}", refused.err);
    desk.run(&["lock", "."]).fails(0, &[]);
    let document = desk.run(&["eval", ".", "--json", "--offline"]).fails(0, &[]).json();
    assert_eq!(document["packages"][0]["version"], "2015.1.0rc1");
    let lock = locked(&desk);
    assert_eq!(lock.git.len(), 2);
    let history = lock.git[&(code.url(), "main".to_owned())].history.clone().unwrap();
    assert_eq!((history.tag.as_str(), history.commits), ("2015.1.0rc1", 1));
    assert_eq!(history.log[0].subject, "second");
    desk.run(&["lock", ".", "--check"]).fails(0, &[]);

    // The tag moves with the branch, and with it what is asked for.
    code.git(&["tag", "2015.1.0"]);
    docs.git(&["tag", "for-2015.1.0-0"]);
    desk.run(&["update", ".", "tool"]).fails(0, &[]);
    assert_eq!(
        locked(&desk)
            .git
            .into_keys()
            .map(|(_, rev)| rev)
            .collect::<std::collections::BTreeSet<_>>(),
        ["for-2015.1.0-0", "main"].map(str::to_owned).into()
    );
}

#[test]
fn a_spec_that_asks_for_ever_more_is_told_so() {
    let code = Repository::new();
    let mut rev = "r".to_owned();
    code.write("a", "1").commit("first");
    let mut spec = format!("let one = git(\"{}\", \"r\");\n", code.url());
    for _ in 0..12 {
        code.git(&["tag", &rev]);
        rev.push('x');
        spec.push_str(&format!(
            "let one = git(\"{}\", if one.commit != \"\" {{ \"{rev}\" }});\n",
            code.url()
        ));
    }
    code.git(&["tag", &rev]);
    spec.push_str(&package("one", ""));
    let refused = desk(&spec).run(&["lock", "."]).fails(2, &[]);
    assert!(refused.err.contains("is asked for after 8 rounds of pins"), "{}", refused.err);
}

#[test]
fn the_packaging_of_a_commit_is_pinned_with_it() {
    let code = Repository::new();
    code.write("debian/changelog", "tool (1:2.0-3) unstable; urgency=low\n\n  * x\n\n -- A <a@example.org>  Sun, 22 Nov 2026 12:00:00 +0000\n")
        .write("debian/control", "Source: tool\nBuild-Depends: debhelper-compat (= 13)\n\nPackage: tool-bin\nArchitecture: any\nProvides: a-tool\n")
        .commit("packaged");
    let url = code.url();
    let spec = format!(
        "package(#{{ name: \"tool\", source: git(\"{url}\", \"main\"), build: debian() }})\n"
    );
    let desk = desk(&spec);
    desk.run(&["lock", "."]).fails(0, &[]);
    let document = desk.run(&["eval", ".", "--json", "--offline"]).fails(0, &[]).json();
    assert_eq!(document["packages"][0]["version"], "1:2.0-3");
    let pin = locked(&desk).git[&(url.clone(), "main".to_owned())].clone();
    let packaging = pin.packaging.as_ref().unwrap();
    assert_eq!(packaging.date, "2026-11-22T12:00:00Z");
    assert_eq!(packaging.binaries[0].provides, "a-tool");
    // A tarball of it says the same.
    let tarball = code.path().join(".git/tool.tar.gz");
    let output = format!("--output={}", tarball.display());
    code.git(&["archive", "--prefix=tool-2.0/", &output, "HEAD"]);
    let source = format!("tarball(\"file://{}\")", tarball.display());
    let packed = self::desk(&spec.replace(&format!("git(\"{url}\", \"main\")"), &source));
    packed.run(&["lock", "."]).fails(0, &[]);
    assert_eq!(locked(&packed).downloads.into_values().next().unwrap().packaging, pin.packaging);
    // Without such a folder the builder has nothing to go by.
    code.git(&["rm", "--quiet", "-r", "debian"]);
    code.write("a", "1").commit("bare");
    desk.run(&["update", ".", "tool"]).fails(0, &[]);
    let refused = desk.run(&["eval", "."]).fails(2, &[]);
    assert!(refused.err.contains("has no `debian/control`"), "{}", refused.err);
}

#[test]
fn errors_of_pinning_point_at_the_spec() {
    let code = Repository::new();
    code.write("big", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    code.commit("pointer");
    let url = code.url();
    let none = Repository::new();
    let (empty, gone) = (none.url(), "0123456789".repeat(4));
    for (source, said, exit) in [
        (format!("git(\"{url}\", \"main\")"), "`big`: is a Git LFS pointer", 2),
        (format!("git(\"{url}\", \"man\")"), "no such branch or tag; it has `main`", 2),
        (format!("git(\"{url}-gone\", \"main\")"), "does not appear to be a git repository", 2),
        (format!("git(\"{empty}\", \"main\")"), "no such branch or tag; it is empty", 2),
        (format!("git(\"{url}\", \"{gone}\")"), "there is no such commit", 2),
        ("git(\"git://127.0.0.1:1/code\", \"main\")".to_owned(), "git ls-remote", 3),
        (format!("tarball(\"{url}/x.tar.gz\")"), "there is no file at `file://", 2),
        (format!("tarball(\"{url}/big\")"), "is neither tar", 2),
        // The place that had it is named, not the first one.
        (format!("tarball([\"{url}/x\", \"{url}/big\"])"), "/big`: is neither tar", 2),
    ] {
        let refused = desk(&package(&source, "")).run(&["lock", "."]).fails(exit, &[]);
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
        assert!(
            refused.err.contains("--> ") && refused.err.contains("hello.rhai:2"),
            "{}",
            refused.err
        );
    }
}

#[test]
fn a_tag_that_was_moved_upstream_is_told_and_a_branch_just_moves() {
    let code = Repository::new();
    code.write("a", "1").commit("first");
    code.git(&["tag", "v1"]);
    let url = code.url();
    let note = "the tag was moved upstream";
    for (rev, is_told) in [("v1", true), ("main", false)] {
        let desk = desk(&package(&format!("git(\"{url}\", \"{rev}\")"), ""));
        desk.run(&["lock", "."]).fails(0, &[]);
        let before = locked(&desk);
        let document = desk.run(&["update", ".", "tool", "-n", "--json"]).fails(0, &[]).json();
        assert_eq!(document["changes"], serde_json::json!([]), "nothing moved yet");
        code.write("a", rev).commit("more");
        code.git(&["tag", "--force", "v1"]);
        // `lock` leaves it where it is, and says nothing.
        let out = desk.run(&["lock", "."]).fails(0, &[]).out;
        assert!(!out.contains(note), "{out}");
        assert_eq!(locked(&desk).git, before.git);
        let document = desk.run(&["update", ".", "tool", "-n", "--json"]).fails(0, &[]).json();
        let said = document["changes"][0]["note"].as_str().unwrap_or_default();
        assert_eq!(said.contains(note), is_told, "{document}");
        let out = desk.run(&["update", ".", "tool"]).fails(0, &[]).out;
        assert_eq!(out.contains(note), is_told, "{out}");
    }
}

/// A folder with a little project, as upstream would pack it.
fn project(version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join(format!("tool-{version}"));
    fs::create_dir_all(top.join("deep")).unwrap();
    fs::write(top.join("deep/file"), version).unwrap();
    fs::write(top.join("run"), "#!/bin/sh\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(top.join("run")).status().unwrap().success());
    std::os::unix::fs::symlink("deep/file", top.join("link")).unwrap();
    folder
}

/// Runs a program in a folder.
fn tool(folder: &Path, command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_new_version_moves_the_address_and_the_lock_pins_what_it_finds() {
    let server = Server::new();
    let put = |version: &str| {
        let project = project(version);
        let file = server.folder.path().join(format!("tool-{version}.tar.xz"));
        tool(project.path(), &["tar", "-cJf", file.to_str().unwrap(), &format!("tool-{version}")]);
        fs::read(file).unwrap()
    };
    let (first, second) = (put("1.0"), put("2.0"));
    let source = format!("tarball(\"{}/{{name}}-{{version}}.tar.xz\")", server.url);
    let desk = desk(&package(&source, ""));
    let out = desk.run(&["lock", "."]).fails(0, &[]).out;
    let digest = Sha256::of(&first).to_string();
    assert!(out.contains(&format!("pinned to {} ({} bytes)", &digest[..12], first.len())), "{out}");
    assert!(out.contains("trusted as it came"), "{out}");
    let before = ids(&desk);
    desk.replace("hello.rhai", "version: \"1.0\"", "version: \"2.0\"");
    desk.run(&["eval", "."]).fails(2, &[]);
    desk.run(&["lock", "."]).fails(0, &[]);
    let lock = locked(&desk);
    let (url, pin) = lock.downloads.first_key_value().unwrap();
    assert!(url.ends_with("/tool-2.0.tar.xz") && lock.downloads.len() == 1);
    assert_eq!((pin.sha256, pin.format.unwrap().as_str()), (Sha256::of(&second), "tar.xz"));
    assert_ne!(ids(&desk), before);

    // Upstream changes its mind about 2.0: `lock` and `update` leave it, by name it moves.
    let url = url.clone();
    fs::copy(
        server.folder.path().join("tool-1.0.tar.xz"),
        server.folder.path().join("tool-2.0.tar.xz"),
    )
    .unwrap();
    let out = desk.run(&["lock", "."]).fails(0, &[]).out;
    assert!(out.contains("nothing to pin"), "{out}");
    desk.run(&["update", ".", &url]).fails(0, &[]);
    assert_eq!(locked(&desk).downloads[&url].sha256, Sha256::of(&first));
}

#[test]
fn the_hash_of_a_spec_must_hold_and_mirrors_are_tried_in_order() {
    let (server, project) = (Server::new(), project("1.0"));
    let file = server.folder.path().join("tool.tar.gz");
    tool(project.path(), &["tar", "-czf", file.to_str().unwrap(), "tool-1.0"]);
    let good = Sha256::of(&fs::read(&file).unwrap());
    let wrong = Sha256::of(b"another file");
    let url = |name: &str| format!("{}/{name}", server.url);
    let source = |hash: &Sha256| {
        format!(
            "tarball([\"{}\", \"{}\", \"{}\"], \"{hash}\")",
            url("gone.tar.gz"),
            url("changed.tar.gz"),
            url("tool.tar.gz")
        )
    };
    server.behave("changed.tar.gz", Behaviour::Replace(b"not this".to_vec()));
    let desk = desk(&package(&source(&wrong), ""));
    let refused = desk.run(&["lock", "."]).fails(2, &[]);
    assert!(refused.err.contains(&wrong.to_string()), "{}", refused.err);

    desk.write("hello.rhai", package(&source(&good), ""));
    server.requests();
    let out = desk.run(&["lock", "."]).fails(0, &[]).out;
    assert!(!out.contains("trusted as it came"), "{out}");
    let asked = server.requests();
    let names: Vec<&str> = asked.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["gone.tar.gz", "changed.tar.gz", "tool.tar.gz"]);
    // The lock names it by the first of them, and holds against another hash.
    assert_eq!(locked(&desk).downloads[&url("gone.tar.gz")].sha256, good);
    desk.write("hello.rhai", package(&source(&wrong), ""));
    desk.run(&["eval", "."]).fails(2, &[]);

    // A mirror that has other bytes says more than one that does not answer.
    let closed =
        format!("tarball([\"http://127.0.0.1:1/x\", \"{}\"], \"{good}\")", url("changed.tar.gz"));
    desk.write("hello.rhai", package(&closed, ""));
    desk.remove("release.lock");
    let other = tempfile::tempdir().unwrap();
    let desk = desk.with_store(other.path());
    let refused = desk.run(&["lock", "."]).fails(2, &["changed.tar.gz", "actual"]);
    assert!(refused.err.contains(&good.to_string()), "{}", refused.err);
}

#[test]
fn a_tarball_of_each_kind_is_told_by_its_bytes() {
    let server = Server::new();
    let project = project("1.0");
    let put =
        |name: &str| server.folder.path().join(format!("tool.{name}")).to_str().unwrap().to_owned();
    for (kind, command) in [("tar.gz", "z"), ("tar.xz", "J"), ("tar.bz2", "j"), ("tar", "")] {
        let flags = format!("-c{command}f");
        tool(project.path(), &["tar", &flags, &put(kind), "tool-1.0"]);
    }
    tool(project.path(), &["tar", "-cf", &put("tar.zst"), "--zstd", "tool-1.0"]);
    tool(project.path(), &["zip", "-q", "-r", "-y", &put("zip"), "tool-1.0"]);
    let kinds = ["tar", "tar.gz", "tar.xz", "tar.zst", "tar.bz2", "zip"];
    let extra: Vec<String> = kinds
        .iter()
        .map(|kind| format!("\"{kind}\": tarball(\"{}/tool.{kind}\")", server.url))
        .collect();
    let desk = desk(&package("dir(\"src\")", &format!("extra: #{{ {} }}", extra.join(", "))));
    desk.run(&["lock", "."]).fails(0, &[]);
    for (url, pin) in locked(&desk).downloads {
        assert_eq!(pin.format.unwrap().as_str(), url.split_once("/tool.").unwrap().1);
    }
    ids(&desk);
}

#[test]
fn a_hostile_tarball_is_refused_when_it_is_pinned() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x"), "x").unwrap();
    let file = server.folder.path().join("evil.tar");
    tool(
        folder.path(),
        &["tar", "-cPf", file.to_str().unwrap(), "--transform", "s,^x,../../x,", "x"],
    );
    let source = format!("tarball(\"{}/evil.tar\")", server.url);
    let refused = desk(&package(&source, "")).run(&["lock", "."]).fails(2, &[]);
    assert!(refused.err.contains("`../../x` climbs out"), "{}", refused.err);
}

#[test]
fn a_file_of_the_release_is_its_content() {
    let desk = desk(&package("file(\"src/hello.c\")", ""));
    desk.write("src/hello.c", "one");
    let before = ids(&desk);
    desk.write("src/hello.c", "two");
    assert_ne!(ids(&desk), before);
    desk.write("src/hello.c", "one");
    assert_eq!(ids(&desk), before);
    assert_ne!(Digest::of(b"one"), Digest::of(b"two"));
}
