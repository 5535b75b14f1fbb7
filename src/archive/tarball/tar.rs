//! tar as GNU tar, git and Python write it: ustar, GNU long names, pax headers (POSIX.1-2017,
//! pax, "pax Interchange Format").

use std::io::{self, Read};

use tar::{Archive, EntryType, PaxExtensions};

use super::{Error, Header, Limits, Raw, RawKind, Visit};
use crate::base::Format;

/// A long name, or the pax headers of one member, have at most so many bytes.
const MAX_HEADER: u64 = 256 * 1024;

pub(super) fn walk<E: From<Error>>(
    format: Format,
    stream: impl Read,
    limits: Limits,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    let fail = |error| Error::Read(format, error);
    let mut stream = Limited { inner: stream, left: limits.bytes, exceeded: false };
    // `raw`: what several headers say of one member is put together here, where it is limited.
    let mut archive = Archive::new(&mut stream);
    let walked = (|| {
        let mut said = Said::default();
        let mut headers = 0;
        for member in archive.entries().map_err(fail)?.raw(true) {
            let mut member = member.map_err(fail)?;
            headers += 1;
            if headers > limits.members.saturating_mul(3) {
                return Err(Error::Members(limits.members).into());
            }
            match member.header().entry_type() {
                EntryType::GNULongName => said.name = Some(text(&mut member).map_err(fail)?),
                EntryType::GNULongLink => said.target = Some(text(&mut member).map_err(fail)?),
                EntryType::XHeader => said.pax(&bytes(&mut member).map_err(fail)?, format)?,
                // Says nothing that is used here: git puts the name of the commit into it.
                EntryType::XGlobalHeader => {}
                _ => {
                    let raw = describe(member.header(), std::mem::take(&mut said)).map_err(fail)?;
                    visit(raw, &mut member)?;
                }
            }
        }
        Ok(())
    })();
    match walked {
        // What a compressor says at its end is read too.
        Ok(()) => {
            let drained = io::copy(&mut stream, &mut io::sink());
            match drained {
                _ if stream.exceeded => Err(Error::Size(limits.bytes).into()),
                Ok(_) => Ok(()),
                Err(error) => Err(fail(error).into()),
            }
        }
        Err(_) if stream.exceeded => Err(Error::Size(limits.bytes).into()),
        Err(error) => Err(error),
    }
}

/// What the headers before a member say of it.
#[derive(Default)]
struct Said {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    special: Option<&'static str>,
}

impl Said {
    fn pax(&mut self, bytes: &[u8], format: Format) -> Result<(), Error> {
        for extension in PaxExtensions::new(bytes) {
            let extension = extension.map_err(|error| Error::Read(format, error))?;
            let value = extension.value_bytes();
            match extension.key_bytes() {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.special = Some("file of more than 8 GiB"),
                key if key.starts_with(b"GNU.sparse.") => self.special = Some("sparse file"),
                _ => {}
            }
        }
        Ok(())
    }
}

fn describe(header: &tar::Header, said: Said) -> io::Result<Raw> {
    let name = said.name.unwrap_or_else(|| header.path_bytes().into_owned());
    let target =
        || said.target.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
    let executable = header.mode()? & 0o111 != 0;
    let kind = match (header.entry_type(), said.special) {
        // Old tars mark a folder by the end of its name alone.
        (EntryType::Regular, _) if name.ends_with(b"/") => RawKind::Folder,
        (EntryType::Directory, _) => RawKind::Folder,
        (EntryType::Symlink, _) => RawKind::Link(target()),
        (EntryType::Link, _) => RawKind::Same(target()),
        (_, Some(special)) => RawKind::Special(special),
        (EntryType::Regular | EntryType::Continuous, _) => RawKind::File { executable },
        (EntryType::Char | EntryType::Block, _) => RawKind::Special("device"),
        (EntryType::Fifo, _) => RawKind::Special("named pipe"),
        (EntryType::GNUSparse, _) => RawKind::Special("sparse file"),
        _ => RawKind::Special("thing of unknown kind"),
    };
    Ok(Raw { name, kind, header: written(header) })
}

/// What a header says beside that; where it is damaged, nothing.
fn written(header: &tar::Header) -> Header {
    let owner = |name: Option<&[u8]>, id: io::Result<u64>| {
        let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        format!("{name}({})", id.unwrap_or_default())
    };
    let user = owner(header.username_bytes(), header.uid());
    let group = owner(header.groupname_bytes(), header.gid());
    Header {
        mode: header.mode().unwrap_or_default(),
        owner: format!("{user}:{group}"),
        time: header.mtime().unwrap_or_default(),
        size: header.entry_size().unwrap_or_default(),
    }
}

/// A GNU long name, without the NUL that ends it.
fn text(member: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut text = bytes(member)?;
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

fn bytes(member: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    member.take(MAX_HEADER + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_HEADER {
        return Err(io::Error::other("a header of it is too long"));
    }
    Ok(bytes)
}

/// A stream that fails once it has been too much.
struct Limited<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Limited<R> {
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
