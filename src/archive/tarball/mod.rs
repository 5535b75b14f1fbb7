//! Upstream's tarballs and zip files: hostile until every member has been looked at.
//!
//! A file is read twice. [`Listing::read`] looks at every member and refuses the whole file for
//! any that could write where it should not; [`Listing::each`] then hands out what there is. A
//! single folder at the top is left out of all paths.

pub mod look;
mod member;
mod tar;
mod zip;

use std::io::{self, BufRead, BufReader, Read, Seek};

use member::Members;

use crate::base::Format;

/// Members, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    format: Format,
    entries: Vec<Option<Entry>>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Plain and relative.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file of mode 0644.
    File,
    /// A file of mode 0755.
    Executable,
    /// A symbolic link to a target that lies in the same file.
    Link(String),
    /// Another name of an earlier file, by the path of that.
    Same(String),
}

/// Why a file is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot be read as {0}")]
    Read(Format, #[source] io::Error),
    /// Its format is not known.
    #[error(
        "is neither tar (plain, or packed with gzip, xz, zstd or bzip2) nor zip, to judge by its \
         first bytes"
    )]
    Unknown,
    /// A member's name cannot be used.
    #[error("`{0}` {1}")]
    Path(String, &'static str),
    /// A member is there twice.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// A member lies in something that is no folder.
    #[error("`{path}` lies behind `{through}`, which is no folder")]
    Through {
        /// The member.
        path: String,
        /// What is no folder.
        through: String,
    },
    /// A link leads out.
    #[error("the link `{path}` leads out of it, to `{target}`")]
    Escapes {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A hard link to nothing that came before.
    #[error("`{path}` is another name of `{target}`, which is no earlier file of it")]
    HardLink {
        /// The member.
        path: String,
        /// What it names.
        target: String,
    },
    /// Neither file, folder nor link.
    #[error("`{path}` is a {kind}")]
    Special {
        /// The member.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Too many members.
    #[error("has more than {0} members")]
    Members(usize),
    /// Too many bytes.
    #[error("comes to more than {0} bytes when it is unpacked")]
    Size(u64),
    /// No files at all.
    #[error("has no files")]
    Empty,
}

/// How much one file may come to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members.
    pub members: usize,
    /// Bytes, unpacked.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { members: 500_000, bytes: 16 << 30 }
    }
}

/// How a file is packed, by its first bytes (at least 512 of them, if it has so many).
pub fn detect(head: &[u8]) -> Option<Format> {
    let magic: [(&[u8], usize, Format); 6] = [
        (b"\x1f\x8b", 0, Format::TarGz),
        (b"\xfd7zXZ\0", 0, Format::TarXz),
        (b"\x28\xb5\x2f\xfd", 0, Format::TarZst),
        (b"BZh", 0, Format::TarBz2),
        (b"PK\x03\x04", 0, Format::Zip),
        (b"ustar", 257, Format::Tar),
    ];
    let found =
        magic.iter().find(|(magic, at, _)| head.get(*at..).unwrap_or_default().starts_with(magic));
    found.map(|(_, _, format)| *format)
}

impl Listing {
    /// Looks at every member of `file`, reading it to its end.
    ///
    /// # Errors
    /// Everything that could reach out of the folder it is unpacked to, or fill the disk: absolute
    /// names, `..`, links out, members behind links, devices, duplicates, too much of it.
    pub fn read(format: Format, file: impl Read + Seek, limits: Limits) -> Result<Self, Error> {
        let mut members = Members::new(limits);
        walk(format, file, limits, &mut |raw, content| {
            members.add(raw)?;
            io::copy(content, &mut io::sink()).map_err(|error| Error::Read(format, error))?;
            Ok(())
        })?;
        Ok(Self { format, entries: members.finish()? })
    }

    /// The members, without a single folder at the top.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// Hands every member to `visit`, with the content of files. `file` must be the same that was
    /// listed.
    pub fn each<E: From<Error>>(
        &self,
        file: impl Read + Seek,
        mut visit: impl FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut entries = self.entries.iter();
        walk(self.format, file, Limits::default(), &mut |_, content| match entries.next() {
            Some(Some(entry)) => visit(entry, content),
            Some(None) | None => Ok(()),
        })
    }
}

/// A member as the file has it.
struct Raw {
    name: Vec<u8>,
    kind: RawKind,
    header: Header,
}

/// What a member's header says beside its name and kind.
struct Header {
    mode: u32,
    owner: String,
    time: u64,
    size: u64,
}

enum RawKind {
    Folder,
    File { executable: bool },
    Link(Vec<u8>),
    Same(Vec<u8>),
    Special(&'static str),
}

/// What is done with each member.
type Visit<'a, E> = &'a mut dyn FnMut(Raw, &mut dyn Read) -> Result<(), E>;

fn walk<E: From<Error>>(
    format: Format,
    file: impl Read + Seek,
    limits: Limits,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    let file = BufReader::with_capacity(128 * 1024, file);
    match format {
        Format::Zip => zip::walk(file, limits, visit),
        _ => {
            let stream = unpacked(format, file).map_err(|error| Error::Read(format, error))?;
            tar::walk(format, stream, limits, visit)
        }
    }
}

/// The stream that `file` is when what it was packed with is taken off: of a zip file, itself.
/// Memory is limited, what comes out is not.
pub fn unpacked<'a>(format: Format, file: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    const XZ_MEMORY: u64 = 1 << 30;
    const ZSTD_WINDOW: u32 = 30;
    Ok(match format {
        Format::Zip | Format::Tar => Box::new(file),
        Format::TarGz => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Format::TarXz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        Format::TarZst => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Format::TarBz2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
    })
}

#[cfg(test)]
mod tests;
