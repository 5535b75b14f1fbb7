//! The common `ar` format, as far as deb(5) uses it: plain names of up to 16 bytes.

use std::io::{self, Read};

use super::Error;

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// An archive that is read member by member; it is itself the reader of the current one.
pub(super) struct Archive<'a> {
    inner: Box<dyn Read + 'a>,
    at: u64,
    left: u64,
    odd: bool,
}

/// What the header of a member says, and where its content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Without the `/` that some tools end it with.
    pub name: String,
    /// Time, owner, group and mode as written, with single spaces between them.
    pub header: String,
    /// Where its content begins, in bytes from the start of the archive.
    pub at: u64,
    /// How many bytes that is.
    pub size: u64,
}

impl<'a> Archive<'a> {
    pub(super) fn open(mut inner: Box<dyn Read + 'a>) -> Result<Self, Error> {
        let mut magic = [0; MAGIC.len()];
        inner
            .read_exact(&mut magic)
            .map_err(|_| Error::Format("it is shorter than an `ar` header".into()))?;
        if magic != *MAGIC {
            return Err(Error::Format("it is no `ar` archive".into()));
        }
        Ok(Self { inner, at: MAGIC.len() as u64, left: 0, odd: false })
    }

    /// Skips what is left of the current member and reads the next one's header.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Error> {
        let fail = |source| Error::Read("the `ar` archive", source);
        io::copy(self, &mut io::sink()).map_err(fail)?;
        let mut header = Vec::with_capacity(60);
        (&mut self.inner).take(60 + u64::from(self.odd)).read_to_end(&mut header).map_err(fail)?;
        let header = match (self.odd, header.as_slice()) {
            (_, []) | (true, [_]) => return Ok(None),
            (true, [b'\n', rest @ ..]) | (false, rest) => rest,
            (true, _) => return Err(Error::Format("an `ar` member is not padded".into())),
        };
        if header.len() != 60 || header[58..] != *b"`\n" {
            return Err(Error::Format("an `ar` header is broken".into()));
        }
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(|text| text.trim_end().to_owned());
        let name = text(&header[..16]);
        let size = text(&header[48..58]).ok().filter(|size| size.bytes().all(is_digit));
        match (name, size.and_then(|size| size.parse().ok())) {
            (Ok(name), Some(size)) => {
                self.at += 60 + u64::from(self.odd);
                self.left = size;
                self.odd = size % 2 == 1;
                Ok(Some(Member {
                    name: name.trim_end_matches('/').to_owned(),
                    header: fields(&header[16..48]),
                    at: self.at,
                    size,
                }))
            }
            _ => Err(Error::Format("an `ar` header is broken".into())),
        }
    }
}

fn fields(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }
}
