//! Members as they are written, odd ones too: for comparing, never for unpacking.

use std::io::{Read, Seek};

use super::{Error, Limits, Raw, RawKind, walk};
use crate::base::Format;

/// What the header of a member says. Nothing of it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// What it is, in a word.
    pub kind: &'static str,
    /// Where a link leads.
    pub target: Option<String>,
    /// Permission bits.
    pub mode: u32,
    /// `user(id):group(id)`; empty where the format has none.
    pub owner: String,
    /// Seconds since 1970; of a zip file, in the format of its own.
    pub time: u64,
    /// In bytes.
    pub size: u64,
}

/// Hands every member to `visit`, with its content.
///
/// # Errors
/// What is damaged, and what is more than `limits` allow.
pub fn each<E: From<Error>>(
    format: Format,
    file: impl Read + Seek,
    limits: Limits,
    mut visit: impl FnMut(Member, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut count = 0;
    walk(format, file, limits, &mut |raw, content| {
        count += 1;
        if count > limits.members {
            return Err(Error::Members(limits.members).into());
        }
        visit(member(raw), content)
    })
}

fn member(raw: Raw) -> Member {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, target) = match &raw.kind {
        RawKind::Folder => ("folder", None),
        RawKind::File { .. } => ("file", None),
        RawKind::Link(target) => ("link", Some(text(target))),
        RawKind::Same(target) => ("hard link", Some(text(target))),
        RawKind::Special(kind) => (*kind, None),
    };
    Member {
        name: text(&raw.name),
        kind,
        target,
        mode: raw.header.mode,
        owner: raw.header.owner,
        time: raw.header.time,
        size: raw.header.size,
    }
}
