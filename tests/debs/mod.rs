//! Packages that no tool would make.

#![allow(dead_code, reason = "each test uses its part")]

/// One header and content of a tar, written without any of the checks of a tar library.
pub fn member(name: &str, kind: u8, target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn file(name: &str) -> Vec<u8> {
    member(name, b'0', "", b"x")
}

pub fn link(name: &str, target: &str) -> Vec<u8> {
    member(name, b'2', target, b"")
}

pub fn hard(name: &str, target: &str) -> Vec<u8> {
    member(name, b'1', target, b"")
}

pub fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, content.len());
        bytes.extend(header.bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

pub fn control(fields: &str) -> Vec<u8> {
    tar(&[member("./control", b'0', "", fields.as_bytes())])
}

/// A package of these control fields and members.
pub fn deb(fields: &str, data: &[Vec<u8>]) -> Vec<u8> {
    let (control, data) = (control(fields), tar(data));
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)])
}
