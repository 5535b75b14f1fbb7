use super::index::Index;
use super::{Error, frame, tar};
use crate::base::{Digest, Json, PublicKey};
use proptest::prelude::*;

/// An index of two members, as JSON that can be changed before it is read.
fn index() -> serde_json::Value {
    let hash = |number: u8| Digest::of(&[number]).to_string();
    serde_json::json!({
        "format": "perestroika/bundle/1",
        "kind": "whole",
        "name": "demo",
        "version": "1.0",
        "release": hash(1),
        "manifest": hash(2),
        "certificate": hash(3),
        "journal": hash(4),
        "tree": hash(5),
        "folder": "",
        "signatures": { hash(6): [hash(7)] },
        "keys": [],
        "members": [
            {
                "path": format!("json/{}.json", hash(8)),
                "size": 10,
                "frames": [[hash(9), 100]],
            },
            {
                "path": format!("objects/{}", hash(8)),
                "size": frame::PIECE,
                "sha256": hash(9),
                "frames": [[hash(9), 100], [hash(9), 50]],
            },
        ],
    })
}

const END: u64 = 250;

fn read(value: &serde_json::Value) -> Result<Index, Error> {
    let bytes = Json::read(&serde_json::to_vec(value).expect("JSON")).expect("canonical kind");
    Index::read(&bytes.encode(), END)
}

#[test]
fn an_index_reads_back_and_knows_where_its_members_are() {
    let index = read(&index()).expect("it is sound");
    let offsets: Vec<u64> = index.members.iter().map(|member| member.offset).collect();
    assert_eq!(offsets, [0, 100]);
    assert_eq!(Index::read(&index.encode(), END).expect("its own bytes"), index);
}

#[test]
fn an_index_that_leaves_anything_open_is_refused() {
    type Change = (&'static str, fn(&mut serde_json::Value));
    let cases: &[Change] = &[
        ("out of order", |index| index["members"].as_array_mut().expect("a list").reverse()),
        ("there twice", |index| index["members"][1] = index["members"][0].clone()),
        ("no path", |index| index["members"][0]["path"] = "../../etc/passwd".into()),
        ("no path", |index| index["members"][0]["path"] = "objects/../x".into()),
        ("no path", |index| {
            let path = index["members"][0]["path"].as_str().expect("a path").to_uppercase();
            index["members"][0]["path"] = path.into();
        }),
        ("does not fit", |index| index["members"][0]["size"] = frame::PIECE.into()),
        ("does not fit", |index| index["members"][1]["size"] = (1_u64 << 40).into()),
        ("does not fit", |index| index["members"][0]["frames"] = serde_json::json!([])),
        ("does not fit", |index| {
            index["members"][0]["sha256"] = index["members"][1]["sha256"].clone();
        }),
        ("too large", |index| index["members"][0]["frames"][0][1] = (1_u64 << 30).into()),
        ("do not end", |index| index["members"][0]["frames"][0][1] = 99.into()),
        ("invalid value", |index| index["members"][0]["size"] = (-1).into()),
        ("unknown field", |index| index["more"] = 1.into()),
        ("unknown field", |index| index["members"][0]["mode"] = 1.into()),
        ("missing field", |index| drop(index.as_object_mut().expect("a map").remove("tree"))),
        ("unknown variant", |index| index["format"] = "perestroika/bundle/2".into()),
        ("a delta", |index| index["kind"] = "delta".into()),
        ("a delta", |index| index["base"] = index["tree"].clone()),
        ("a key", |index| index["keys"] = serde_json::json!(["none"])),
        ("is here too", |index| {
            index["kind"] = "delta".into();
            index["base"] = index["tree"].clone();
            let path = index["members"][0]["path"].clone();
            index["elsewhere"] = serde_json::json!([{ "path": path, "size": 1 }]);
        }),
    ];
    for (told, change) in cases {
        let mut changed = index();
        change(&mut changed);
        let error = read(&changed).expect_err(told).to_string();
        assert!(error.contains(told) && error.contains("BUNDLE.json"), "{told}: {error}");
    }
    let spaced = serde_json::to_vec_pretty(&index()).expect("JSON");
    assert!(Index::read(&spaced, END).is_err(), "not in its one form");
}

#[test]
fn a_piece_comes_from_one_frame_of_its_size_alone() {
    let mut compressor = frame::compressor().expect("zstd");
    let mut compress = |bytes: &[u8]| compressor.compress(bytes).expect("zstd");
    let content = vec![7; 1000];
    let sound = compress(&content);
    assert_eq!(frame::decompress(&sound, 1000), Ok(content.clone()));
    let skippable = [&b"\x50\x2a\x4d\x18\x04\0\0\0more"[..], &sound].concat();
    let twice = [&sound[..], &compress(b"")].concat();
    let followed = [&sound[..], b"\0"].concat();
    let bomb = compress(&vec![0; 64 << 20]);
    let halves = [compress(&content[..500]), compress(&content[500..])].concat();
    let stored = frame::stored(&[7; 999]);
    for wrong in [skippable, twice, followed, bomb, halves, stored, Vec::new()] {
        assert!(frame::decompress(&wrong, 1000).is_err(), "{} bytes", wrong.len());
    }
}

#[test]
fn pieces_are_what_a_member_takes_in_the_tar() {
    for size in [0, 1, 512, 513, frame::PIECE as u64 - 512, frame::PIECE as u64 - 511, 1 << 24] {
        let pieces: Vec<usize> = frame::pieces(size).collect();
        assert_eq!(pieces.iter().sum::<usize>() as u64, tar::extent(size));
        assert!(pieces.iter().rev().skip(1).all(|piece| *piece == frame::PIECE), "{size}");
    }
}

proptest! {
    #[test]
    fn a_stored_frame_has_one_form(byte: u8, length in 0..300_000_usize) {
        let content = vec![byte; length];
        let frame = frame::stored(&content);
        prop_assert_eq!(frame::read_stored(&frame), Some(content.clone()));
        prop_assert_eq!(frame::decompress(&frame, content.len()), Ok(content));
        prop_assert_eq!(frame::read_stored(&frame[..frame.len() - 1]), None);
        prop_assert_eq!(frame::read_stored(&[&frame[..], b"\0"].concat()), None);
    }

    #[test]
    fn no_bytes_take_a_reader_down(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Index::read(&bytes, 0);
        let _ = frame::read_stored(&bytes);
        let _ = frame::read_trailer(&bytes);
        let _ = frame::decompress(&bytes, 1000);
        let _ = tar::split(&bytes, "BUNDLE.json");
        let _ = String::from_utf8_lossy(&bytes).parse::<PublicKey>();
    }
}
