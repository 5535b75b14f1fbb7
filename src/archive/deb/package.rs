//! The `.deb` reader and [writer](write()) (deb(5)): an `ar` file of `debian-binary`, `control.tar*`
//! and `data.tar*`.
//!
//! What it hands out can be written below a folder of its own without further checks of the
//! names: every path is plain and relative, nothing lies behind a link, nothing is there twice.
//! A package that breaks this is refused with a named error; dpkg itself would follow some of
//! these into the running system.

mod ar;
mod data;
mod name;
mod write;

use std::collections::BTreeMap;
use std::io::{self, Read};

use ar::Archive;
pub use ar::Member as Part;
pub use data::{Data, Entry, Kind};
pub use write::{File, write};

/// The largest `data.tar` that is read, unpacked, in bytes.
pub const MAX_DATA: u64 = 16 << 30;
/// The largest `control.tar` that is read, unpacked, in bytes.
pub const MAX_CONTROL: u64 = 64 << 20;
/// The most members a package may have.
pub const MAX_MEMBERS: u64 = 2_000_000;
/// Memory that an xz stream may ask for, in bytes (`xz -9` needs 65 MiB).
const MAX_XZ_MEMORY: u64 = 256 << 20;
/// The same for a zstd stream, as the logarithm of its window.
const MAX_ZSTD_WINDOW: u32 = 27;

/// Why a file is no `.deb` that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or decompressing failed, or the stream ended early.
    #[error("cannot read {0}")]
    Read(&'static str, #[source] io::Error),
    /// Not in the format of deb(5).
    #[error("not a Debian package: {0}")]
    Format(String),
    /// A member is packed in a way that no current distribution uses.
    #[error("`{0}` is packed in a way that is not supported (none, gz, xz and zst are)")]
    Compression(String),
    /// A part of the package that must be there once is there again.
    #[error("`{0}` is there twice")]
    Duplicate(String),
    /// A part unpacks to more than any package needs.
    #[error("{what} is larger than {limit} bytes")]
    Size {
        /// Which part.
        what: &'static str,
        /// What is allowed.
        limit: u64,
    },
    /// More members than any package has.
    #[error("more than {MAX_MEMBERS} members")]
    Members,
    /// A control member that is no plain file beside the others.
    #[error("control member `{0}` is not a plain file of `control.tar` itself")]
    ControlMember(String),
    /// A path that starts at the root of the machine.
    #[error("member `{0}` has an absolute path")]
    Absolute(String),
    /// A path that climbs out of the package.
    #[error("member `{0}` leaves the package through `..`")]
    Climbs(String),
    /// A path that is not written plainly, is not UTF-8, or is longer than file systems allow.
    #[error("member `{0}` has a path that cannot be used: {1}")]
    Path(String, &'static str),
    /// A path behind something that is no folder.
    #[error("member `{path}` lies behind `{through}`, which is no folder of the package")]
    Through {
        /// The member.
        path: String,
        /// The link or file it would go through.
        through: String,
    },
    /// A symbolic link that climbs above the root.
    #[error("link `{path}` points above the root: `{target}`")]
    LinkEscapes {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A hard link to something that is no earlier file of the package.
    #[error("hard link `{path}` is to `{target}`, which is no earlier file of the package")]
    HardLink {
        /// The link.
        path: String,
        /// What it should be a link to.
        target: String,
    },
    /// A device, a pipe, or something that no format knows.
    #[error("member `{path}` is a {kind}: packages hold files, folders and links only")]
    Special {
        /// The member.
        path: String,
        /// What it is.
        kind: &'static str,
    },
}

/// What a package says about itself: the members of its `control.tar`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    members: BTreeMap<String, ControlMember>,
}

/// One file of `control.tar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlMember {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it is executable, as maintainer scripts are.
    pub executable: bool,
}

impl Control {
    /// The control paragraph (Debian Policy 5.3) as written.
    pub fn paragraph(&self) -> &str {
        self.text("control").expect("`open` refuses a package whose control file is not text")
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&ControlMember> {
        self.members.get(name)
    }

    /// All members by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, &ControlMember)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member))
    }

    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(&self.members.get(name)?.bytes).ok()
    }
}

/// Opens a package: its control members, and its files yet to be read. `deb` is read once,
/// from its start to its end.
pub fn open<'a>(deb: impl Read + 'a) -> Result<(Control, Data<'a>), Error> {
    let mut archive = Archive::open(Box::new(deb))?;
    let first = archive.next()?.ok_or_else(|| Error::Format("it is empty".into()))?;
    if first.name != "debian-binary" {
        return Err(Error::Format(format!("its first member is `{}`", first.name)));
    }
    let mut version = Vec::new();
    (&mut archive)
        .take(64)
        .read_to_end(&mut version)
        .map_err(|source| Error::Read("`debian-binary`", source))?;
    if !version.starts_with(b"2.") || !version.contains(&b'\n') {
        return Err(Error::Format("its format is not 2.x".into()));
    }
    let name = next_part(&mut archive, "control.tar")?;
    let control = read_control(decompress(&mut archive, &name, "`control.tar`", MAX_CONTROL)?)?;
    let name = next_part(&mut archive, "data.tar")?;
    let data = decompress(archive, &name, "`data.tar`", MAX_DATA)?;
    Ok((control, Data::new(data)))
}

/// The members of any `ar` archive as they are written: for comparing. At most `most` of them.
pub fn parts<'a>(archive: impl Read + 'a, most: usize) -> Result<Vec<Part>, Error> {
    let mut archive = Archive::open(Box::new(archive))?;
    let mut parts = Vec::new();
    while let Some(part) = archive.next()? {
        if parts.len() == most {
            return Err(Error::Members);
        }
        parts.push(part);
    }
    Ok(parts)
}

/// The next member, which must be `stem` with its compression. Members whose name starts with
/// `_` may stand between (deb(5)).
fn next_part(archive: &mut Archive<'_>, stem: &str) -> Result<String, Error> {
    loop {
        let member = archive.next()?.ok_or_else(|| Error::Format(format!("it has no `{stem}`")))?;
        if member.name.starts_with(stem) {
            return Ok(member.name);
        }
        if member.name == "debian-binary" || member.name.starts_with("control.tar") {
            return Err(Error::Duplicate(member.name));
        }
        if !member.name.starts_with('_') {
            return Err(Error::Format(format!("`{}` stands where `{stem}` should", member.name)));
        }
    }
}

fn decompress<'a>(
    packed: impl Read + 'a,
    name: &str,
    what: &'static str,
    limit: u64,
) -> Result<Limited<'a>, Error> {
    let fail = |source| Error::Read(what, source);
    let inner: Box<dyn Read + 'a> = match name.split_once(".tar").map(|(_, end)| end) {
        Some("") => Box::new(packed),
        Some(".gz") => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Some(".xz") => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MAX_XZ_MEMORY, 0)
                .map_err(|error| fail(error.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(packed, stream))
        }
        Some(".zst") => {
            let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(fail)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW).map_err(fail)?;
            Box::new(decoder)
        }
        _ => return Err(Error::Compression(name.to_owned())),
    };
    Ok(Limited { inner, what, limit, left: limit, exceeded: false })
}

/// A stream that fails instead of growing beyond its limit.
struct Limited<'a> {
    inner: Box<dyn Read + 'a>,
    what: &'static str,
    limit: u64,
    left: u64,
    exceeded: bool,
}

impl Limited<'_> {
    /// The error that a failed read of this stream stands for.
    fn error(&self, source: io::Error) -> Error {
        if self.exceeded {
            Error::Size { what: self.what, limit: self.limit }
        } else {
            Error::Read(self.what, source)
        }
    }
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            // The stream may end exactly here: only one more byte is too much.
            self.exceeded = self.inner.read(&mut [0])? > 0;
            return if self.exceeded { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(0) };
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

fn read_control(packed: Limited<'_>) -> Result<Control, Error> {
    let mut control = Control::default();
    Data::new(packed).each(|entry, content| {
        let path = entry.path.as_str();
        match entry.kind {
            Kind::Directory if path.is_empty() => Ok(()),
            // dpkg keeps the member as `info/<package>.<member>`; `list` is its own there.
            Kind::File { .. } if !path.contains('/') && path != "list" => {
                let mut bytes = Vec::new();
                content
                    .read_to_end(&mut bytes)
                    .map_err(|source| Error::Read("`control.tar`", source))?;
                let member = ControlMember { bytes, executable: entry.mode & 0o111 != 0 };
                control.members.insert(path.to_owned(), member);
                Ok(())
            }
            _ => Err(Error::ControlMember(path.to_owned())),
        }
    })?;
    match control.text("control") {
        Some(_) => Ok(control),
        None => Err(Error::Format("it has no readable `control` file".into())),
    }
}
