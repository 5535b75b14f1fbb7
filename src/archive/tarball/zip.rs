//! zip (APPNOTE.TXT of PKWARE): members that are stored or deflated, with the modes of Unix.

use std::io::{self, Read, Seek};

use zip::ZipArchive;
use zip::result::ZipError;

use super::{Error, Header, Limits, Raw, RawKind, Visit};
use crate::base::Format;

/// The type bits of a Unix mode, and the type of a symbolic link (stat(2)).
const TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const PLAIN: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// The longest target of a link, in bytes.
const MAX_TARGET: u64 = 4096;

pub(super) fn walk<E: From<Error>>(
    file: impl Read + Seek,
    limits: Limits,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    let fail = |error: ZipError| Error::Read(Format::Zip, io::Error::other(error));
    let mut archive = ZipArchive::new(file).map_err(fail)?;
    if archive.len() > limits.members {
        return Err(Error::Members(limits.members).into());
    }
    let mut left = limits.bytes;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(fail)?;
        let name = member.name_raw().to_vec();
        let mode = member.unix_mode().unwrap_or_default();
        // What separates folders where such files are made is a letter of names here.
        if name.contains(&b'\\') {
            let shown = String::from_utf8_lossy(&name).chars().take(300).collect();
            return Err(Error::Path(shown, "holds a backslash").into());
        }
        let is_folder = name.ends_with(b"/");
        let kind = match mode & TYPE {
            _ if is_folder => RawKind::Folder,
            LINK => {
                let mut target = Vec::new();
                (&mut member)
                    .take(MAX_TARGET + 1)
                    .read_to_end(&mut target)
                    .map_err(|error| Error::Read(Format::Zip, error))?;
                RawKind::Link(target)
            }
            0 | PLAIN => RawKind::File { executable: mode & 0o111 != 0 },
            FOLDER => RawKind::Folder,
            _ => RawKind::Special("thing of unknown kind"),
        };
        let time = member
            .last_modified()
            .map(|time| u64::from(time.datepart()) << 16 | u64::from(time.timepart()));
        let header = Header {
            mode: mode & !TYPE,
            owner: String::new(),
            time: time.unwrap_or_default(),
            size: member.size(),
        };
        // What a member says of its size may be wrong: what counts is what comes out.
        let mut content = Counted { inner: &mut member, left, exceeded: false };
        let visited = visit(Raw { name, kind, header }, &mut content);
        if content.exceeded {
            return Err(Error::Size(limits.bytes).into());
        }
        visited?;
        left = content.left;
    }
    Ok(())
}

struct Counted<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(count)
    }
}
