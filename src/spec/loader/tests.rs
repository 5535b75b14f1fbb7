use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::base::{Digest, HostPath, ReleaseFolder, TreeKind};

fn write(folder: &Path, path: &str, text: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("a folder above")).expect("a writable folder");
    fs::write(path, text).expect("a writable folder");
}

fn path(text: &str) -> ReleasePath {
    text.parse().expect("a plain path")
}

/// A release folder beside a secret that no spec may see.
fn release() -> (tempfile::TempDir, Folder) {
    let outer = tempfile::tempdir().expect("a temporary folder");
    write(outer.path(), "secret/key", b"secret");
    let folder = outer.path().join("release");
    write(&folder, "src/a/file", b"x");
    let loader = Folder::new(HostPath::new(folder));
    (outer, loader)
}

#[test]
fn a_folder_is_what_counts_of_it() {
    let (outer, loader) = release();
    let top = outer.path().join("release/src/a");
    for left_out in [".git/HEAD", "sub/.svn/x", "out/x.deb", "a.o", "tmp/x", ".perestroikaignore"] {
        write(&top, left_out, b"*.o\ntmp/\n");
    }
    write(&top, "sub/run", b"#!/bin/sh\n");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(top.join("sub/run"), executable).expect("my own file");
    fs::create_dir(top.join("empty")).expect("a writable folder");
    symlink("../../../secret", top.join("link")).expect("a writable folder");
    let dir = loader.dir(&path("src/a")).expect("a folder");
    let entries: Vec<_> =
        dir.tree.entries().iter().map(|entry| (entry.path.as_str(), entry.kind.clone())).collect();
    let expected = [
        ("file", TreeKind::File(Digest::of(b"x"))),
        ("link", TreeKind::Link("../../../secret".to_owned())),
        ("sub/run", TreeKind::Executable(Digest::of(b"#!/bin/sh\n"))),
    ];
    assert_eq!(entries, expected);
    assert_eq!(dir.packaging, None);
}

#[test]
fn packaging_is_read_beside_the_files() {
    let (outer, loader) = release();
    write(outer.path(), "release/src/a/debian/control", b"Source: a\n");
    write(outer.path(), "release/src/a/debian/changelog", b"a (1) x; urgency=low\n\xff\n");
    let packaging = loader.dir(&path("src/a")).expect("a folder").packaging.expect("both files");
    assert_eq!(packaging.control, "Source: a\n");
    assert!(packaging.changelog.starts_with("a (1) x"));

    fs::remove_file(outer.path().join("release/src/a/debian/control")).expect("mine");
    symlink("../../../../secret/key", outer.path().join("release/src/a/debian/control"))
        .expect("a writable folder");
    assert_eq!(loader.dir(&path("src/a")).expect("a folder").packaging, None);
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    let message = result.expect_err(expected).to_string();
    assert!(message.contains(expected), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn nothing_outside_the_release_can_be_read() {
    let (outer, loader) = release();
    let folder = outer.path().join("release");
    let secret = outer.path().join("secret");
    symlink(&secret, folder.join("src/absolute")).expect("a writable folder");
    symlink("../../secret", folder.join("src/relative")).expect("a writable folder");
    symlink("../../secret/key", folder.join("src/key.rhai")).expect("a writable folder");
    refused(loader.dir(&path("src/absolute")), "`src/absolute` is a symbolic link");
    refused(loader.dir(&path("src/relative")), "`src/relative` is a symbolic link");
    refused(loader.read(&path("src/relative/key"), 99), "`src/relative` is a symbolic link");
    refused(loader.read(&path("src/key.rhai"), 99), "`src/key.rhai` is a symbolic link");
    symlink(&secret, folder.join("packages")).expect("a writable folder");
    refused(loader.specs(&ReleaseFolder::default()), "`packages` is a symbolic link");
}

#[test]
fn what_is_no_file_of_a_source_is_refused_without_waiting() {
    let (outer, loader) = release();
    let folder = outer.path().join("release");
    let pipe = folder.join("src/a/pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe needs no privilege");
    refused(loader.dir(&path("src/a")), "`src/a/pipe` is a named pipe");
    refused(loader.read(&path("src/a/pipe"), 9), "`src/a/pipe` is a named pipe, not a file");
    fs::remove_file(pipe).expect("mine");

    refused(loader.dir(&path("src/a/file")), "is a file, not a folder");
    refused(loader.dir(&path("src/b")), "there is no `src/b`");
    refused(loader.read(&path("src/a"), 9), "is a folder, not a file");
    refused(loader.read(&path("src/a/file/x"), 9), "there is no `src/a/file/x`");
    write(&folder, "big.rhai", &[b' '; 100]);
    refused(loader.read(&path("big.rhai"), 99), "is larger than 99 bytes");
    fs::write(folder.join("src/a").join(std::ffi::OsStr::from_bytes(b"\xff")), b"").expect("mine");
    refused(loader.dir(&path("src/a")), "is not UTF-8");
}

#[test]
fn what_a_misspelt_path_was_meant_to_be_is_known() {
    let (_outer, loader) = release();
    let near = |text: &str| loader.near(&path(text));
    assert_eq!(near("src/aa"), Some("src/a".to_owned()));
    assert_eq!(near("scr/a/fiel"), Some("src/a/file".to_owned()));
    for (text, why) in [
        ("src/a", "it is there"),
        ("src/a/file/x", "a file has nothing in it"),
        ("src/wholly-other", "nothing is near"),
    ] {
        assert_eq!(near(text), None, "{text}: {why}");
    }
}

#[test]
fn specs_lie_at_the_top_and_below_packages() {
    let (outer, loader) = release();
    let folder = outer.path().join("release");
    assert_eq!(loader.specs(&ReleaseFolder::default()).expect("none").len(), 0);
    for spec in
        ["b.rhai", "packages/a.rhai", "packages/x/y/c.rhai", "lib/l.rhai", "overlays/o.rhai"]
    {
        write(&folder, spec, b"()");
    }
    let specs = loader.specs(&ReleaseFolder::default()).expect("three");
    let names: Vec<_> = specs.iter().map(ReleasePath::as_str).collect();
    assert_eq!(names, ["b.rhai", "packages/a.rhai", "packages/x/y/c.rhai"]);
}
