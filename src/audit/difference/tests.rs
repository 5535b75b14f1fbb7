use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.expect("it is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A package with these files, all of this time, as dpkg-deb packs it.
fn deb(folder: &Path, name: &str, time: &str, control: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let root = folder.join(format!("{name}.root"));
    fs::create_dir_all(root.join("DEBIAN")).expect("a folder");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(root.join("DEBIAN"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let base = "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: M <m@example.org>\n";
    let sums: String = files
        .iter()
        .map(|(path, bytes)| format!("{}  {path}\n", crate::base::Sha256::of(bytes)))
        .collect();
    let text = format!("{base}{control}Description: thing\n");
    for (path, bytes) in [("DEBIAN/control", text.as_bytes()), ("DEBIAN/md5sums", sums.as_bytes())]
        .iter()
        .chain(files)
    {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs::write(&path, bytes).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    }
    let deb = format!("{name}.deb");
    run("find", &[&format!("{name}.root"), "-exec", "touch", "-h", "-d", time, "{}", "+"], folder);
    let pack =
        ["--root-owner-group", "-Z", "xz", "-b", &format!("{name}.root"), &deb].map(str::to_owned);
    let words: Vec<&str> = pack.iter().map(String::as_str).collect();
    let output = Command::new("dpkg-deb")
        .args(words)
        .env("SOURCE_DATE_EPOCH", "2000000000")
        .current_dir(folder)
        .output()
        .expect("dpkg-deb is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(deb)
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

fn between(name: &str, old: &Path, new: &Path) -> Difference {
    let found = Difference::between(name, old, new).expect("both can be read");
    let document = found.to_json().encode();
    assert_eq!(Difference::from_json(&document).expect("its own document"), found);
    found
}

#[test]
fn a_package_differs_in_members_then_fields_then_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let gzip = |text: &str| {
        let mut packed = Vec::new();
        io::copy(
            &mut flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::best()),
            &mut packed,
        )
        .expect("memory");
        packed
    };
    let old = deb(
        folder.path(),
        "old",
        "@1000000000",
        "Installed-Size: 1\n",
        &[
            ("usr/bin/thing", b"\x7fELF\0built on Sunday\0and more"),
            ("usr/share/doc/thing/log.gz", &gzip("a\nb\nc\n")),
            ("usr/share/gone", b"x"),
            ("usr/share/same", b"same"),
        ],
    );
    let new = deb(
        folder.path(),
        "new",
        "@1000000001",
        "Installed-Size: 2\n",
        &[
            ("usr/bin/thing", b"\x7fELF\0built on Monday\0and more"),
            ("usr/share/come", b"x"),
            ("usr/share/doc/thing/log.gz", &gzip("a\nB\nc\n")),
            ("usr/share/same", b"same"),
        ],
    );
    let found = between("thing.deb", &old, &new);
    let said = found.text(100);
    for line in [
        "data.tar.xz: ./usr/share/gone  only in the first",
        "data.tar.xz: ./usr/share/come  only in the second",
        "time `2001-09-09T01:46:40Z` -> `2001-09-09T01:46:41Z` (and ",
        "control.tar.xz: ./control  Installed-Size `1` -> `2`",
        "control.tar.xz: ./md5sums  follows from the files",
        "data.tar.xz: ./usr/bin/thing  from byte 14 of 29",
        r"    - \x7fELF\x00built on Sunday\x00and more",
        r"    + \x7fELF\x00built on Monday\x00and more",
        "data.tar.xz: ./usr/share/doc/thing/log.gz  text",
        "    -b",
        "    +B",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("./usr/share/same  "), "{said}");
    let layers: Vec<Layer> = found.changes.iter().map(|change| change.layer).collect();
    assert!(layers.is_sorted(), "{layers:?}");
    let short = found.text(2);
    let more = format!("… and {} more", found.total - 2);
    assert!(short.contains(&more), "{short}");
    assert!(between("thing.deb", &old, &old).is_none());
}

#[test]
fn tarballs_differ_in_owner_mode_order_and_packing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    written(path, "a", b"a");
    written(path, "b", b"b");
    let tar = |name: &str, options: &[&str]| {
        let fixed = ["--mtime=@0", "--owner=root:0", "--group=root:0", "--mode=0644", "-cf", name];
        run("tar", &[fixed.as_slice(), options].concat(), path);
        path.join(name)
    };
    let plain = tar("plain.tar", &["a", "b"]);
    for (name, options, said) in [
        ("order.tar", ["b", "a"].as_slice(), "a  other order from here on"),
        (
            "owner.tar",
            &["--owner=me:7", "a", "b"],
            "owner `root(0):root(0)` -> `me(7):root(0)` (and 1 more",
        ),
        ("mode.tar", &["--mode=0600", "a", "b"], "mode `0644` -> `0600`"),
        ("plain.tar.gz", &["-z", "a", "b"], "packed otherwise"),
    ] {
        let other = tar(name, options);
        let (one, packed) = (tar("plain.tar.xz", &["-J", "a", "b"]), name.ends_with("gz"));
        let found = between("x.tar", if packed { &one } else { &plain }, &other);
        assert!(found.text(9).contains(said), "{name}:\n{}", found.text(9));
    }
}

#[test]
fn control_files_differ_in_fields_and_texts_in_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = written(folder.path(), "1", b"Source: x\nFiles:\n 1 a\n 2 b\nDate: 1\n");
    let new = written(folder.path(), "2", b"Source: x\nFiles:\n 1 a\n 3 b\nHost: h\n");
    let said = between("x_1_amd64.changes", &old, &new).text(9);
    for line in ["Files `2 b` -> `3 b`", "Date `1` -> not there", "Host not there -> `h`"] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert!(!said.contains("Source"), "{said}");
    let text = between("x.txt", &old, &new).text(9);
    assert!(text.contains("    - 2 b") && text.contains("    + 3 b"), "{text}");
}

#[test]
fn what_is_damaged_or_hostile_is_compared_by_its_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = deb(folder.path(), "good", "@0", "", &[("usr/x", b"x\0")]);
    let bytes = fs::read(&good).expect("a package");
    let cut = written(folder.path(), "cut.deb", &bytes[..bytes.len() - 40]);
    let said = between("x.deb", &good, &cut).text(9);
    assert!(said.contains("the file itself  from byte ") || said.contains("data.tar.xz"), "{said}");
    let zeros = vec![0; 3 << 20];
    let long = written(folder.path(), "long", &zeros);
    let longer = written(folder.path(), "longer", &[zeros.as_slice(), b"\x1b[31m"].concat());
    let said = between("x", &long, &longer).text(9);
    assert!(said.contains(&format!("from byte {}", 3 << 20)), "{said}");
    assert!(!said.contains('\x1b'), "a terminal would obey it");
    let name = written(folder.path(), "\x1b[2J", b"x");
    run("tar", &["-cf", "one.tar", "long"], folder.path());
    run("tar", &["-cf", "two.tar", "long", "\x1b[2J"], folder.path());
    let said = between("x", &folder.path().join("one.tar"), &folder.path().join("two.tar")).text(9);
    assert!(name.exists() && said.contains("only in the second"), "{said}");
    assert!(!said.contains('\x1b'), "a terminal would obey it");
}

#[test]
fn no_more_changes_are_kept_than_are_useful() {
    let folder = tempfile::tempdir().expect("a folder");
    let tar = |name: &str, content: &[u8]| {
        let mut tar = tar::Builder::new(Vec::new());
        for number in 0..3000 {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, format!("f{number}"), content).expect("memory");
        }
        written(folder.path(), name, &tar.into_inner().expect("memory"))
    };
    let found = between("x.tar", &tar("old", b"old"), &tar("new", b"new"));
    assert_eq!((found.changes.len(), found.total), (MOST, 3000));
    assert!(found.text(5).contains("… and 2995 more"));
}
