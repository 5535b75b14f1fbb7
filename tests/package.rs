//! The `.deb` reader against what dpkg-deb writes, and against hostile packages.

mod debs;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use debs::{ar, control, deb, file, hard, link, member, tar};
use perestroika::archive::deb::package::{self, Control, Entry, Error, Kind};

const CONTROL: &str = "Package: thing\n";

type Files = Vec<(Entry, Vec<u8>)>;

fn read(deb: &[u8]) -> Result<(Control, Files), Error> {
    let (control, data) = package::open(deb)?;
    let mut files = Files::new();
    data.each(|entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|error| Error::Read("a file", error))?;
        files.push((entry.clone(), bytes));
        Ok::<_, Error>(())
    })?;
    Ok((control, files))
}

fn dpkg_deb(arguments: &[&str], folder: &Path) {
    let output = Command::new("dpkg-deb").args(arguments).current_dir(folder).output();
    let output = output.expect("dpkg-deb is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A small package with one of everything, packed as `compression` says.
fn packed(compression: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    let long = format!("usr/share/{}/{}", "d".repeat(120), "f".repeat(130));
    let long_parent = format!("usr/share/{}", "d".repeat(120));
    for dir in ["DEBIAN", "usr/bin", "etc", &long_parent] {
        fs::create_dir_all(root.join(dir)).expect("a folder");
    }
    let write = |path: &str, text: &str, mode| {
        fs::write(root.join(path), text).expect("a file");
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    write(
        "DEBIAN/control",
        "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: M <m@example.org>\n\
         Description: thing\n",
        0o644,
    );
    write("DEBIAN/conffiles", "/etc/thing\n", 0o644);
    write("DEBIAN/postinst", "#!/bin/sh\n", 0o755);
    write("usr/bin/thing", "#!/bin/sh\necho thing\n", 0o755);
    write("usr/bin/set-id", "x", 0o4755);
    write("etc/thing", "a = 1\n", 0o640);
    write(&long, "long", 0o644);
    symlink("thing", root.join("usr/bin/other")).expect("a link");
    fs::hard_link(root.join("usr/bin/thing"), root.join("usr/bin/twin")).expect("a link");
    dpkg_deb(&["--root-owner-group", "-Z", compression, "-b", "root", "x.deb"], folder.path());
    fs::read(folder.path().join("x.deb")).expect("the package")
}

#[test]
fn reads_what_dpkg_deb_writes_in_every_compression() {
    for compression in ["none", "gzip", "xz", "zstd"] {
        let (control, files) = read(&packed(compression)).expect(compression);
        assert!(control.paragraph().starts_with("Package: thing\n"), "{compression}");
        assert!(control.get("postinst").is_some_and(|script| script.executable));
        assert!(control.get("conffiles").is_some_and(|member| !member.executable));
        let by_path: BTreeMap<_, _> =
            files.iter().map(|(entry, bytes)| (entry.path.as_str(), (entry, bytes))).collect();
        assert_eq!(by_path["usr/bin/set-id"].0.mode, 0o4755);
        assert_eq!(by_path["etc/thing"].1, b"a = 1\n");
        assert_eq!(by_path["etc/thing"].0.mode, 0o640);
        assert_eq!(by_path["usr/bin/other"].0.kind, Kind::Link("thing".into()));
        let twins = ["usr/bin/thing", "usr/bin/twin"].map(|path| by_path[path].0.kind.clone());
        assert!(twins.iter().any(|kind| matches!(kind, Kind::File { .. })), "{twins:?}");
        assert!(twins.iter().any(|kind| matches!(kind, Kind::HardLink(_))), "{twins:?}");
        assert!(files.iter().any(|(entry, bytes)| entry.path.len() > 250 && bytes == b"long"));
        assert_eq!(files[0].0.path, "");
    }
}

#[test]
fn refuses_every_truncation() {
    for compression in ["none", "gzip", "xz", "zstd"] {
        let deb = packed(compression);
        for length in (0..deb.len() - 1).step_by(97) {
            assert!(read(&deb[..length]).is_err(), "{compression}, {length} bytes");
        }
    }
}

#[test]
fn survives_flipped_bytes() {
    let deb = packed("none");
    let mut refused = 0;
    for index in (0..deb.len()).step_by(7) {
        let mut broken = deb.clone();
        broken[index] ^= 0x55;
        refused += usize::from(read(&broken).is_err());
    }
    assert!(refused > 100, "{refused}");
}

fn check_refused(deb: &[u8], message: &str) {
    assert_eq!(read(deb).expect_err(message).to_string(), message);
}

#[test]
fn refuses_members_that_would_escape() {
    let cases = [
        (vec![file("../../etc/x")], "member `../../etc/x` leaves the package through `..`"),
        (vec![file("./a/../../x")], "member `./a/../../x` leaves the package through `..`"),
        (vec![file("/etc/x")], "member `/etc/x` has an absolute path"),
        (
            vec![file(".//etc/x")],
            "member `.//etc/x` has a path that cannot be used: it is not written plainly",
        ),
        (
            vec![link("./a", "/etc"), file("./a/x")],
            "member `a/x` lies behind `a`, which is no folder of the package",
        ),
        (
            vec![link("./a", "../../etc"), file("./a/x")],
            "link `a` points above the root: `../../etc`",
        ),
        (vec![link("./a/b", "../../x")], "link `a/b` points above the root: `../../x`"),
        (
            vec![file("./a"), file("./a/x")],
            "member `a/x` lies behind `a`, which is no folder of the package",
        ),
        (vec![file("./a/x"), link("./a", "/etc")], "`a` is there twice"),
        (vec![link("./a", "/etc/x"), file("./a")], "`a` is there twice"),
        (vec![file("./a"), file("a")], "`a` is there twice"),
        (vec![hard("./a", "/etc/passwd")], "member `/etc/passwd` has an absolute path"),
        (
            vec![hard("./a", "../../etc/passwd")],
            "member `../../etc/passwd` leaves the package through `..`",
        ),
        (
            vec![hard("./a", "./b")],
            "hard link `a` is to `b`, which is no earlier file of the package",
        ),
        (
            vec![link("./b", "/etc/passwd"), hard("./a", "./b")],
            "hard link `a` is to `b`, which is no earlier file of the package",
        ),
        (
            vec![member("./a", b'3', "", b"")],
            "member `a` is a device: packages hold files, folders and links only",
        ),
        (
            vec![member("./a", b'6', "", b"")],
            "member `a` is a named pipe: packages hold files, folders and links only",
        ),
        (
            vec![member("./a", b'x', "", b"30 path=../../../../etc/passwd\n")],
            "member `a` is a pax header: packages hold files, folders and links only",
        ),
    ];
    for (members, message) in cases {
        check_refused(&deb(CONTROL, &members), message);
    }
}

#[test]
fn reads_links_that_stay_inside() {
    let members = [file("./a"), hard("./b", "./a"), link("./c/d", "../a"), link("./e", "/etc/x")];
    assert_eq!(read(&deb(CONTROL, &members)).expect("a good package").1.len(), 4);
}

#[test]
fn refuses_parts_that_are_missing_doubled_or_unknown() {
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let (control, data) = (control(CONTROL), tar(&[]));
    let with = |extra: Vec<u8>| tar(&[member("./control", b'0', "", b"Package: a\n"), extra]);
    let (twice, nested, listed) = (with(file("control")), with(file("./a/b")), with(file("list")));
    let linked = tar(&[link("./control", "/etc/passwd")]);
    type Parts<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Parts<'_>, &str); 10] = [
        (&[], "not a Debian package: it is empty"),
        (&[("debian-binary", b"3.0\n")], "not a Debian package: its format is not 2.x"),
        (
            &[version, ("data.tar", &data)],
            "not a Debian package: `data.tar` stands where `control.tar` should",
        ),
        (&[version, ("control.tar", &control)], "not a Debian package: it has no `data.tar`"),
        (
            &[version, ("control.tar", &control), ("control.tar", &control)],
            "`control.tar` is there twice",
        ),
        (
            &[version, ("control.tar", &control), ("data.tar.bz2", &data)],
            "`data.tar.bz2` is packed in a way that is not supported (none, gz, xz and zst are)",
        ),
        (&[version, ("control.tar", &twice)], "`control` is there twice"),
        (
            &[version, ("control.tar", &nested)],
            "control member `a/b` is not a plain file of `control.tar` itself",
        ),
        (
            &[version, ("control.tar", &linked)],
            "control member `control` is not a plain file of `control.tar` itself",
        ),
        (
            &[version, ("control.tar", &listed)],
            "control member `list` is not a plain file of `control.tar` itself",
        ),
    ];
    for (members, message) in cases {
        check_refused(&ar(members), message);
    }
    let underscore = ar(&[version, ("control.tar", &control), ("_gpg", b"x"), ("data.tar", &data)]);
    assert!(read(&underscore).is_ok(), "deb(5) allows members that start with `_`");
}

#[test]
fn refuses_sizes_that_no_package_has() {
    let mut claims = file("./a");
    let mut header = tar::Header::from_byte_slice(&claims[..512]).clone();
    header.set_size(1 << 60);
    header.set_cksum();
    claims[..512].copy_from_slice(header.as_bytes());
    assert!(read(&deb(CONTROL, &[claims])).is_err(), "a file that claims more than there is");

    let endless = member("././@LongLink", b'L', "", &vec![b'a'; 1 << 20]);
    check_refused(&deb(CONTROL, &[endless, file("./a")]), "a long name is larger than 8192 bytes");

    let bomb = tar(&[member("./control", b'0', "", &vec![0; 65 << 20])]);
    let packed = zstd::encode_all(bomb.as_slice(), 1).expect("zstd packs");
    assert!(packed.len() < 1 << 20, "a bomb is small");
    let bomb = ar(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &packed)]);
    check_refused(&bomb, "`control.tar` is larger than 67108864 bytes");
}
