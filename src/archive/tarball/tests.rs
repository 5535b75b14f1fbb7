use std::io::{Cursor, Read, Write as _};

use ::tar::{Builder, EntryType, Header};

use super::*;

/// One member of a tar as it is, whatever it is: name, type, target or content.
fn member(name: &str, kind: EntryType, rest: &str) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let (target, content) = match kind {
        EntryType::Symlink | EntryType::Link => (rest, ""),
        _ => ("", rest),
    };
    // The fields themselves: the crate would refuse what we want to refuse.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str) -> Vec<u8> {
    member(name, EntryType::Regular, "content")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    member(name, EntryType::Symlink, target)
}

fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn list(bytes: &[u8]) -> Result<Vec<String>, String> {
    let listing = Listing::read(Format::Tar, Cursor::new(bytes), Limits::default());
    let listing = listing.map_err(|error| error.to_string())?;
    let shown = |entry: &Entry| match &entry.kind {
        Kind::Folder => format!("{}/", entry.path),
        Kind::File => entry.path.clone(),
        Kind::Executable => format!("{}*", entry.path),
        Kind::Link(target) => format!("{} -> {target}", entry.path),
        Kind::Same(other) => format!("{} = {other}", entry.path),
    };
    Ok(listing.entries().map(shown).collect())
}

#[test]
fn a_single_folder_at_the_top_is_left_out() {
    let cases: [(&[Vec<u8>], &[&str]); 7] = [
        (&[file("p-1/a"), file("p-1/b/c")], &["a", "b/c"]),
        (&[file("./p-1/a"), file("./p-1/b")], &["a", "b"]),
        (&[member("p-1/", EntryType::Directory, ""), file("p-1/a")], &["a"]),
        (&[file("a")], &["a"]),
        (&[file("p-1/a"), file("other")], &["p-1/a", "other"]),
        (&[file("p-1/a"), file("p-10/b")], &["p-1/a", "p-10/b"]),
        (
            &[file("p-1/a"), member("p-1/b", EntryType::Link, "p-1/a"), link("p-1/d/l", "../a")],
            &["a", "b = a", "d/l -> ../a"],
        ),
    ];
    for (members, expected) in cases {
        let listed = list(&tar(members)).expect("a good file");
        assert_eq!(listed, expected);
    }
}

#[test]
fn everything_that_could_reach_out_is_refused() {
    let long = "x".repeat(99);
    let cases: [(&[Vec<u8>], &str); 22] = [
        (&[file("/etc/passwd")], "`/etc/passwd` is an absolute path"),
        (&[file("../x")], "`../x` climbs out"),
        (&[file("p/../../x")], "climbs out"),
        (&[file("p//x")], "is not written plainly"),
        (&[file("p/./x")], "is not written plainly"),
        (&[file("p/a\nb")], "line break"),
        (&[file("p/a"), file("p/a")], "`p/a` is there twice"),
        (&[file("p/a"), link("p/a", "b")], "`p/a` is there twice"),
        (&[file("p/a"), file("./p/a")], "`p/a` is there twice"),
        (&[link("p/l", "/etc"), file("p/l/x")], "`p/l/x` lies behind `p/l`"),
        (&[link("p/l", "."), file("p/l/x")], "`p/l/x` lies behind `p/l`"),
        (&[file("p/f"), file("p/f/x")], "`p/f/x` lies behind `p/f`"),
        (&[file("p/l/x"), link("p/l", ".")], "`p/l` is there twice"),
        (&[file("p/x"), link("p/l", "/etc")], "leads out of it, to `/etc`"),
        (&[file("p/x"), link("p/l", "../p/x")], "leads out of it"),
        (&[file("p/x"), link("p/d/l", "../../../y")], "leads out of it"),
        (&[member("p/h", EntryType::Link, "/etc/passwd")], "is an absolute path"),
        (&[member("p/h", EntryType::Link, "p/later"), file("p/later")], "no earlier file"),
        (&[link("p/l", "x"), member("p/h", EntryType::Link, "p/l")], "no earlier file"),
        (&[member("p/dev", EntryType::Char, "")], "`p/dev` is a device"),
        (&[member("p/pipe", EntryType::Fifo, "")], "`p/pipe` is a named pipe"),
        (&[member("p/", EntryType::Directory, "")], "has no files"),
    ];
    for (members, expected) in cases {
        let refused = list(&tar(members)).expect_err(expected);
        assert!(refused.contains(expected), "{refused}, not {expected}");
    }
    assert_eq!(list(&tar(&[file(&long)])).expect("good"), [long]);
}

#[test]
fn names_of_several_headers_are_put_together_and_limited() {
    let name = format!("p/{}/{}", "d".repeat(200), "f".repeat(200));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(1);
    builder.append_data(&mut header, &name, &b"x"[..]).expect("a long name");
    let bytes = builder.into_inner().expect("in memory");
    assert_eq!(list(&bytes).expect("good"), [format!("{}*", &name[2..])]);

    let pax = |key: &str, value: &str| {
        let length = key.len() + value.len() + 3;
        let digits = (length + 1..).find(|all| all.to_string().len() + length == *all);
        let record = format!("{} {key}={value}\n", digits.expect("some length fits"));
        member("x", EntryType::XHeader, &record)
    };
    let listed = list(&tar(&[pax("path", "p/bär"), file("p/other"), file("p/next")]));
    assert_eq!(listed.expect("good"), ["bär", "next"]);
    let refused = list(&tar(&[pax("path", "../../x"), file("p/other")])).expect_err("it climbs");
    assert!(refused.contains("climbs out"), "{refused}");
    let refused = list(&tar(&[pax("GNU.sparse.major", "1"), file("p/x")])).expect_err("sparse");
    assert!(refused.contains("sparse file"), "{refused}");

    let endless = member("x", EntryType::GNULongName, &"y".repeat(300_000));
    assert!(list(&tar(&[endless, file("p/x")])).is_err());
}

#[test]
fn too_much_of_it_is_refused() {
    let limits = Limits { members: 3, bytes: 100_000 };
    let read = |format, bytes: &[u8]| {
        Listing::read(format, Cursor::new(bytes), limits).map(drop).expect_err("too much")
    };
    let many: Vec<Vec<u8>> = (0..5).map(|number| file(&format!("p/{number}"))).collect();
    assert!(matches!(read(Format::Tar, &tar(&many)), Error::Members(3)));
    // Small when it comes, large when it is unpacked.
    let zeros = "\0".repeat(1_000_000);
    let plain = tar(&[member("p/zeros", EntryType::Regular, &zeros)]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&plain).expect("in memory");
    let packed = packed.finish().expect("in memory");
    assert!(packed.len() < 5_000);
    assert!(matches!(read(Format::TarGz, &packed), Error::Size(100_000)));
    assert_eq!(detect(&packed), Some(Format::TarGz));
}

#[test]
fn any_bytes_are_a_listing_or_an_error() {
    use proptest::prelude::*;
    let formats =
        [Format::Tar, Format::TarGz, Format::TarXz, Format::TarZst, Format::TarBz2, Format::Zip];
    let good = tar(&[file("p/a"), link("p/l", "a"), file("p/b/c")]);
    proptest!(|(at in 0..good.len(), value: u8, end in 0..good.len(), noise: Vec<u8>)| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes.truncate(end.max(at));
        for format in formats {
            for bytes in [&bytes, &noise] {
                let _ = Listing::read(format, Cursor::new(bytes), Limits::default());
            }
        }
    });
}

#[test]
fn what_is_listed_is_what_is_handed_out() {
    let bytes = tar(&[file("p/a"), member("p/d", EntryType::Directory, ""), link("p/l", "a")]);
    let listing = Listing::read(Format::Tar, Cursor::new(&bytes), Limits::default());
    let mut seen = Vec::new();
    let visit = |entry: &Entry, content: &mut dyn Read| -> Result<(), Error> {
        let mut text = String::new();
        content.read_to_string(&mut text).map_err(|error| Error::Read(Format::Tar, error))?;
        seen.push((entry.path.clone(), text));
        Ok(())
    };
    listing.expect("good").each(Cursor::new(&bytes), visit).expect("the same");
    let seen: Vec<(&str, &str)> = seen.iter().map(|(path, text)| (&**path, &**text)).collect();
    assert_eq!(seen, [("a", "content"), ("d", ""), ("l", "")]);
}
