//! Streams that nobody but an enemy writes, and what comes of them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::member::{BLOCK, Kind, Member};
use super::{Limits, pack, unpack};

const LIMITS: Limits = Limits { bytes: 1 << 20, files: 100 };

fn member(path: &str, kind: Kind) -> Member {
    let mode = if kind == Kind::Folder { 0o755 } else { 0o644 };
    Member { path: path.into(), kind, mode, time: (1, 0), attributes: Vec::new() }
}

fn file(path: &str) -> Member {
    member(path, Kind::File { size: 0, stretches: None })
}

fn stream(members: &[Member]) -> Vec<u8> {
    let mut stream = Vec::new();
    for member in members {
        member.write(&mut stream).expect("memory");
    }
    stream.extend_from_slice(&[0; 2 * BLOCK]);
    stream
}

/// Unpacks into a folder that lies beside a file, which must be all there is afterwards.
fn unpacked(stream: &[u8], limits: &Limits) -> io::Result<()> {
    let place = tempfile::tempdir().expect("a folder");
    let root = place.path().join("root");
    fs::create_dir(&root).expect("a folder");
    fs::write(place.path().join("beside"), "safe").expect("a file");
    let digest = unpack(stream, &root, limits);
    let mut names: Vec<_> = fs::read_dir(place.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["beside", "root"]);
    assert_eq!(fs::read(place.path().join("beside")).expect("the file"), b"safe");
    let digest = digest?;
    assert_eq!(digest, crate::base::Digest::of(stream));
    Ok(())
}

#[track_caller]
fn refused(members: &[Member], kind: ErrorKind, why: &str) {
    let error = unpacked(&stream(members), &LIMITS).expect_err("it is hostile");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

fn root(rest: &[Member]) -> Vec<Member> {
    [&[member(".", Kind::Folder)], rest].concat()
}

#[test]
fn names_lead_nowhere_but_below_the_root() {
    let wrong = ErrorKind::InvalidData;
    for path in ["..", "../x", "a/../x", "/x", "", "a//x", "./x", "a/", ".", "a\0b"] {
        let folder = member("a", Kind::Folder);
        // A name that the header cuts off at a zero byte is another name.
        let mut evil = file(path);
        if path.contains('\0') {
            evil.path = [path.as_bytes(), &[b'x'; 100]].concat();
        }
        refused(&root(&[folder, evil]), wrong, "");
    }
    refused(&[file("x")], wrong, "no root");
    refused(&[member("..", Kind::Folder)], wrong, "no root");
    refused(&[file("file"), file("gile")], wrong, "follows the only file");
    refused(&[member("file", Kind::Folder)], wrong, "no root");
    refused(&[], wrong, "nothing in it");
}

#[test]
fn no_link_is_followed() {
    let out = member("a", Kind::Link(b"..".to_vec()));
    refused(&root(&[out.clone(), file("a/x")]), ErrorKind::InvalidData, "out of order");
    for target in ["../beside", "/etc/passwd", "..", "a/beside", "a", "", "b"] {
        let same = member("z", Kind::Same(target.into()));
        assert!(unpacked(&stream(&root(&[out.clone(), same])), &LIMITS).is_err(), "{target}");
    }
    let same = member("z", Kind::Same(b"f".to_vec()));
    unpacked(&stream(&root(&[file("f"), same])), &LIMITS).expect("a name of a file inside");
}

#[test]
fn no_name_comes_twice_or_out_of_order() {
    let folder = || member("b", Kind::Folder);
    for members in [
        vec![file("b"), file("b")],
        vec![file("b"), file("a")],
        vec![folder(), folder()],
        vec![folder(), file("b/x"), file("c"), file("b/y")],
        vec![file("b"), file("b/x")],
        vec![file("missing/x")],
        vec![folder(), file("c/x")],
    ] {
        refused(&root(&members), ErrorKind::InvalidData, "out of order");
    }
}

#[test]
fn limits_hold() {
    let members = root(&[file("a"), file("b")]);
    let whole = stream(&members);
    let bytes = whole.len() as u64;
    unpacked(&whole, &Limits { bytes, files: 3 }).expect("exactly as much as may come");
    for limits in [Limits { bytes: bytes - 1, files: 3 }, Limits { bytes, files: 2 }] {
        let error = unpacked(&whole, &limits).expect_err("one too many");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
    }
    // What a header promises does not have to come, and takes nothing.
    let huge = member("a", Kind::File { size: 1 << 60, stretches: None });
    refused(&root(&[huge]), ErrorKind::UnexpectedEof, "");
    let mut deep = vec![member(".", Kind::Folder)];
    let mut path = String::from("d");
    for _ in 0..99 {
        deep.push(member(&path, Kind::Folder));
        path.push_str("/d");
    }
    unpacked(&stream(&deep), &LIMITS).expect("deep, but not too deep");
    for _ in 0..110 {
        deep.push(member(&path, Kind::Folder));
        path.push_str("/d");
    }
    let error = unpacked(&stream(&deep), &Limits { files: 1000, ..LIMITS });
    assert_eq!(error.expect_err("too deep").kind(), ErrorKind::InvalidData);
}

#[test]
fn a_stream_that_is_cut_or_goes_on_is_refused() {
    let whole = stream(&root(&[file("a")]));
    for length in (0..whole.len()).step_by(61) {
        assert!(unpacked(&whole[..length], &LIMITS).is_err(), "{length}");
    }
    for more in [&[0; 1][..], &[0; BLOCK], b"x"] {
        assert!(unpacked(&[&whole, more].concat(), &LIMITS).is_err());
    }
}

#[test]
fn only_attributes_of_users_are_taken() {
    for (kind, name) in [
        (Kind::File { size: 0, stretches: None }, "security.capability"),
        (Kind::Folder, "trusted.overlay.opaque"),
        (Kind::Link(b"x".to_vec()), "user.x"),
        (Kind::Whiteout, "user.x"),
    ] {
        let mut evil = member("a", kind);
        evil.attributes.push((name.into(), b"y".to_vec()));
        refused(&root(&[evil]), ErrorKind::InvalidData, "attribute");
    }
}

#[test]
fn maps_of_holes_that_contradict_themselves_are_refused() {
    let maps: [&[(u64, u64)]; 4] = [&[(0, 11)], &[(0, 0)], &[(5, 6), (5, 7)], &[(5, 6), (2, 3)]];
    for map in maps {
        let stretches: Vec<_> = map.iter().map(|(start, end)| *start..*end).collect();
        let evil = member("a", Kind::File { size: 10, stretches: Some(stretches.clone()) });
        let mut stream = stream(&root(&[evil]));
        stream.extend_from_slice(&[0; 2 * BLOCK]);
        let error = unpacked(&stream, &LIMITS).expect_err("a wrong map");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{stretches:?}: {error}");
    }
}

#[test]
fn members_read_back_as_they_were_written() {
    let bytes = || proptest::collection::vec(1_u8.., 1..150);
    let stretches = proptest::collection::vec((1_u64..1 << 40, 1_u64..1 << 40), 1..20);
    let kind = prop_oneof![
        Just(Kind::Folder),
        Just(Kind::Pipe),
        Just(Kind::Whiteout),
        bytes().prop_map(Kind::Same),
        bytes().prop_map(Kind::Link),
        any::<u64>().prop_map(|size| Kind::File { size, stretches: None }),
        stretches.prop_map(|gaps| {
            let mut size = 0;
            let mut stretches = Vec::new();
            let tail = gaps.len() as u64 % 2;
            for (gap, length) in gaps {
                stretches.push(size + gap..size + gap + length);
                size += gap + length;
            }
            Kind::File { size: size + tail, stretches: Some(stretches) }
        }),
    ];
    let attributes =
        proptest::collection::vec((bytes(), proptest::collection::vec(0_u8.., 0..99)), 0..4);
    let time =
        (any::<i64>().prop_filter("not the least", |at| *at > i64::MIN + 1), 0_u32..1_000_000_000);
    let members = (bytes(), kind, 0_u32..0o10000, time, attributes).prop_map(
        |(path, kind, mode, time, attributes)| Member { path, kind, mode, time, attributes },
    );
    let checked = TestRunner::default().run(&members, |member| {
        let mut bytes = Vec::new();
        member.write(&mut bytes).expect("memory");
        let mut rest = &*bytes;
        let read = Member::read(&mut rest).expect("what was written");
        prop_assert_eq!(read, Some(member));
        prop_assert!(rest.is_empty());
        Ok(())
    });
    checked.expect("the same member");
}

#[test]
fn no_damage_makes_it_leave_its_folder_or_panic() {
    let source = tempfile::tempdir().expect("a folder");
    tree(source.path());
    let mut stream = Vec::new();
    pack(source.path(), &mut stream).expect("a parcel");
    let damage = proptest::collection::vec((0..stream.len(), any::<u8>()), 1..4);
    let checked = TestRunner::default().run(&damage, |damage| {
        let mut stream = stream.clone();
        for (at, byte) in damage {
            stream[at] = byte;
            // As an enemy would: with a sum that is right.
            let block = at / BLOCK * BLOCK;
            let mut header = tar::Header::new_old();
            header.as_mut_bytes().copy_from_slice(&stream[block..block + BLOCK]);
            if header.as_ustar().is_some() {
                header.set_cksum();
                stream[block..block + BLOCK].copy_from_slice(header.as_bytes());
            }
        }
        let _whatever_it_is = unpacked(&stream, &LIMITS);
        Ok(())
    });
    checked.expect("no panic");
}

/// A little of everything that a header can say.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).expect("a folder");
    fs::write(root.join("a/file"), "text").expect("a file");
    fs::hard_link(root.join("a/file"), root.join("a/same")).expect("another name");
    fs::write(root.join("n".repeat(150)), vec![0; 100_000]).expect("a file");
    std::os::unix::fs::symlink("a/b", root.join("link")).expect("a link");
}
