//! Trees that travel: what is unpacked is what was packed.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use perestroika::base::{Digest, HostPath};
use perestroika::sandbox::parcel::{self, LONE, Limits};
use perestroika::sandbox::{Stage, Verdict};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::tiny::{Tiny, run};

const LIMITS: Limits = Limits { bytes: 64 << 20, files: 1000 };

/// Everything that can be seen of a tree, a line for each file.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![(root.to_owned(), PathBuf::from("."))];
    while let Some((path, name)) = pending.pop() {
        let status = fs::symlink_metadata(&path).expect("a file");
        let (kind, mode) = (status.file_type(), status.permissions().mode());
        let mut line = format!("{name:?} {mode:o} {}.{:09}", status.mtime(), status.mtime_nsec());
        // Whoever made it unreadable makes it readable for this.
        let closed =
            !kind.is_symlink() && (kind.is_dir() || kind.is_file()) && mode & 0o500 != 0o500;
        if closed {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("our own file");
        }
        if kind.is_symlink() {
            line.push_str(&format!(" -> {:?}", fs::read_link(&path).expect("a link")));
        } else if kind.is_file() {
            line.push_str(&format!(" {} of {}", status.len(), status.nlink()));
            if status.len() < 1 << 30 {
                line.push_str(&format!(" {}", Digest::of(&fs::read(&path).expect("a file"))));
            }
        } else if kind.is_char_device() {
            line.push_str(&format!(" device {}", status.rdev()));
        } else if kind.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            for name_below in entries.map(|entry| entry.expect("an entry").file_name()) {
                pending.push((path.join(&name_below), name.join(&name_below)));
            }
        }
        if kind.is_dir() || kind.is_file() {
            for attribute in ["user.overlay.opaque", "user.with\nline=feed", "user.empty"] {
                let mut value = [0; 100];
                if let Ok(length) = rustix::fs::getxattr(&path, attribute, &mut value) {
                    line.push_str(&format!(" {attribute:?}={:?}", &value[..length]));
                }
            }
        }
        if closed {
            // After what lies in it was seen.
            let inside: Vec<_> = if kind.is_dir() { listing(&path) } else { Vec::new() };
            pending.retain(|(below, _)| !below.starts_with(&path));
            lines.extend(inside.into_iter().skip(1).map(|line| format!("{name:?}/{line}")));
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        }
        lines.push(line);
    }
    lines.sort();
    lines
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
}

/// A tree with one of everything.
fn everything(root: &Path) {
    let mode = |name: &str, mode| {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).expect("a mode");
    };
    let node = |name: &str, kind| {
        let path = CString::new(root.join(name).as_os_str().as_bytes()).expect("a path");
        rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), 0).expect("a node");
    };
    for name in ["empty", "closed", "closed/inner", "read-only", "plain.d", "plain"] {
        fs::create_dir(root.join(name)).expect("a folder");
    }
    let long = ["long".repeat(60), "er".repeat(60)].join("/");
    fs::create_dir(root.join("long".repeat(60))).expect("a folder");
    fs::write(root.join(&long), "text").expect("a file");
    symlink("target".repeat(50), root.join("plain/link")).expect("a link");
    fs::write(root.join(OsStr::from_bytes(b"plain/no \xfftext\n")), "").expect("a file");
    for (name, bits) in
        [("plain/set-id", 0o6755), ("closed/inner/secret", 0), ("plain/write", 0o200)]
    {
        fs::write(root.join(name), name).expect("a file");
        mode(name, bits);
    }
    fs::hard_link(root.join("closed/inner/secret"), root.join("plain/zz")).expect("another name");
    node("plain/pipe", FileType::Fifo);
    node("plain/whiteout", FileType::CharacterDevice);
    let mut sparse = File::create(root.join("sparse")).expect("a file");
    sparse.write_all(b"begin").expect("written");
    sparse.seek(SeekFrom::Start(4 << 20)).expect("a hole");
    sparse.write_all(b"end").expect("written");
    sparse.set_len(10 << 20).expect("a hole at the end");
    let zeros = File::create(root.join("zeros")).expect("a file");
    zeros.set_len(1 << 40).expect("a hole");
    for (name, attribute, value) in [
        ("plain", "user.overlay.opaque", b"y".as_slice()),
        ("closed/inner/secret", "user.with\nline=feed", b"\0\n\xff"),
        ("read-only", "user.empty", b""),
    ] {
        let path = root.join(name);
        let bits = fs::symlink_metadata(&path).expect("a file").permissions();
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("our own file");
        rustix::fs::setxattr(&path, attribute, value, XattrFlags::empty()).expect("an attribute");
        fs::set_permissions(&path, bits).expect("our own file");
    }
    set_time(&root.join("plain/link"), 1_700_000_000, 123_456_789);
    set_time(&root.join("plain"), -2, 500_000_000);
    set_time(&root.join("sparse"), 1 << 33, 0);
    mode("read-only", 0o555);
    mode("closed/inner", 0o311);
    mode("closed", 0);
    mode(".", 0o2750);
}

/// Opens up what only its owner could remove otherwise.
fn open_up(root: &Path) {
    for name in ["closed", "closed/inner", "read-only"] {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o700)).expect("our own");
    }
}

in_every_mode! {
    fn a_tree_comes_out_as_it_went_in() {
        let place = tempfile::tempdir().expect("a folder");
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir(&from).expect("a folder");
        fs::create_dir(&to).expect("a folder");
        everything(&from);
        let before = listing(&from);
        let mut stream = Vec::new();
        let digest = parcel::pack(&from, &mut stream).expect("a parcel");
        assert_eq!(digest, Digest::of(&stream));
        assert_eq!(listing(&from), before, "packing changed something");
        assert!(stream.len() < 1 << 20, "holes take no room: {}", stream.len());
        assert_eq!(parcel::unpack(&*stream, &to, &LIMITS).expect("a tree"), digest);
        assert_eq!(listing(&to), before);
        let room = fs::metadata(to.join("zeros")).expect("a file").blocks();
        assert!(room < 1000, "a hole takes {room} blocks");
        assert_eq!(parcel::pack(&to, std::io::sink()).expect("a parcel"), digest);
        // A socket is no part of a tree.
        open_up(&to);
        let before = fs::metadata(to.join("empty")).expect("a folder");
        let _listener = UnixListener::bind(to.join("empty/socket")).expect("a socket");
        set_time(&to.join("empty"), before.mtime(), before.mtime_nsec());
        for (name, bits) in [("read-only", 0o555), ("closed/inner", 0o311), ("closed", 0)] {
            fs::set_permissions(to.join(name), Permissions::from_mode(bits)).expect("our own");
        }
        assert_eq!(parcel::pack(&to, std::io::sink()).expect("a parcel"), digest);
        open_up(&to);
        open_up(&from);
    }

    fn a_single_file_travels_too() {
        let place = tempfile::tempdir().expect("a folder");
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::write(&from, "text").expect("a file");
        fs::set_permissions(&from, Permissions::from_mode(0o751)).expect("a mode");
        set_time(&from, 5, 7);
        fs::create_dir(&to).expect("a folder");
        let mut stream = Vec::new();
        let digest = parcel::pack(&from, &mut stream).expect("a parcel");
        assert_eq!(parcel::digest(&from).expect("a digest"), digest);
        assert_eq!(parcel::unpack(&*stream, &to, &LIMITS).expect("a file"), digest);
        assert_eq!(listing(&to.join(LONE)), listing(&from));
        fs::write(&from, "other").expect("another content");
        assert_ne!(parcel::digest(&from).expect("a digest"), digest);
    }

    fn a_layer_that_was_made_here_hides_the_same_there() {
        let tiny = Tiny::new();
        let script = "rm -r /usr/share/old && mkdir /usr/share/old && echo new >/usr/share/old/new
            rm /etc/group; mkfifo /etc/pipe; ln /usr/share/old/new /etc/same";
        let request = tiny.configure(script);
        assert_eq!(run(&request).0.expect("a run").verdict, Verdict::Built);
        let Stage::Configure { upper, .. } = &request.stage else { unreachable!() };
        let to = tiny.make("there");
        tiny.hand_over(to.as_path());
        let mut stream = Vec::new();
        let digest = parcel::pack(upper.as_path(), &mut stream).expect("a parcel");
        assert_eq!(parcel::unpack(&*stream, to.as_path(), &LIMITS).expect("a tree"), digest);
        let lines = listing(to.as_path());
        assert_eq!(lines, listing(upper.as_path()));
        assert!(lines.iter().any(|line| line.contains("group") && line.ends_with("device 0")));
        assert!(lines.iter().any(|line| line.contains("\"user.overlay.opaque\"=")), "{lines:?}");
        let owner = perestroika::sandbox::native::owner();
        for name in ["", "etc", "etc/group", "etc/pipe", "usr/share/old/new"] {
            let status = fs::symlink_metadata(to.join(name).as_path()).expect("a file");
            assert_eq!((status.uid(), status.gid()), owner, "{name}");
        }
        let seen = |layer: &HostPath| {
            let mut build = tiny.build("cd /usr/share/old; ls; ls /etc; test -p /etc/pipe && echo pipe");
            build.layers.push(layer.clone());
            run(&build).1
        };
        assert_eq!(seen(&to), seen(upper));
    }
}

#[test]
fn the_distributions_own_tar_reads_it() {
    let place = tempfile::tempdir().expect("a folder");
    let (from, to) = (place.path().join("from"), place.path().join("to"));
    fs::create_dir(&from).expect("a folder");
    fs::create_dir(&to).expect("a folder");
    everything(&from);
    // It makes a file of a terabyte of zeros by writing it.
    fs::remove_file(from.join("zeros")).expect("our own file");
    set_time(&from, 1, 2);
    let mut tar = Command::new("tar")
        .args(["--extract", "--xattrs", "--xattrs-include=user.*", "--preserve-permissions"])
        .args(["--no-same-owner", "--directory"])
        .arg(&to)
        .stdin(Stdio::piped())
        .spawn()
        .expect("tar");
    let digest = parcel::pack(&from, tar.stdin.take().expect("its input")).expect("a parcel");
    assert!(tar.wait().expect("tar").success());
    assert_eq!(listing(&to), listing(&from));
    assert_eq!(parcel::pack(&to, std::io::sink()).expect("a parcel"), digest);
    open_up(&to);
    open_up(&from);
}
