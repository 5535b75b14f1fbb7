//! The members of a `tar` stream as dpkg reads them: ustar with GNU long names (deb(5)).

use std::collections::HashMap;
use std::io::{self, Read};

use tar::EntryType;

use super::{Error, Limited, MAX_MEMBERS, name};

/// A package's files, in the order of the package, yet to be read.
pub struct Data<'a>(Limited<'a>);

/// One member of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, plain; empty for the root itself.
    pub path: String,
    /// Permission bits with set-id and sticky bits; owners do not exist here.
    pub mode: u32,
    /// Seconds since 1970.
    pub time: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A plain file of `size` bytes.
    File {
        /// In bytes.
        size: u64,
    },
    /// A symbolic link with its target as written.
    Link(String),
    /// Another name of an earlier file of the package.
    HardLink(String),
}

/// A GNU long name is not longer than this.
const MAX_NAME: u64 = 8192;

impl<'a> Data<'a> {
    pub(super) fn new(stream: Limited<'a>) -> Self {
        Self(stream)
    }

    /// Hands every member to `visit`, with the content of files. The whole stream is read and
    /// its checksums are compared, unless `visit` fails.
    pub fn each<E: From<Error>>(
        self,
        mut visit: impl FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut seen = Seen::default();
        self.walk(|entry, content| {
            seen.admit(entry)?;
            visit(entry, content)
        })
    }

    fn walk<E: From<Error>>(
        self,
        mut visit: impl FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let what = self.0.what;
        let mut stream = self.0;
        // `raw`: long names are put together here, where their length is limited.
        let mut archive = tar::Archive::new(&mut stream);
        let walked = (|| {
            let fail = |source| Error::Read(what, source);
            let (mut long_name, mut long_target) = (None, None);
            let mut count = 0;
            for member in archive.entries().map_err(fail)?.raw(true) {
                let mut member = member.map_err(fail)?;
                count += 1;
                if count > MAX_MEMBERS {
                    return Err(Error::Members.into());
                }
                let slot = match member.header().entry_type() {
                    EntryType::GNULongName => &mut long_name,
                    EntryType::GNULongLink => &mut long_target,
                    _ => {
                        let entry =
                            describe(member.header(), long_name.take(), long_target.take())?;
                        visit(&entry, &mut member)?;
                        continue;
                    }
                };
                let text = read_long(&mut member, what)?;
                if slot.replace(text).is_some() {
                    return Err(Error::Format("two long names for one member".into()).into());
                }
            }
            Ok(())
        })();
        match walked {
            Ok(()) => {
                io::copy(&mut stream, &mut io::sink()).map_err(|error| stream.error(error))?;
                Ok(())
            }
            Err(_) if stream.exceeded => {
                Err(stream.error(io::ErrorKind::FileTooLarge.into()).into())
            }
            Err(error) => Err(error),
        }
    }
}

/// The text of a GNU long name member, without the NUL that ends it.
fn read_long(member: &mut impl Read, what: &'static str) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    member.take(MAX_NAME + 1).read_to_end(&mut text).map_err(|source| Error::Read(what, source))?;
    if text.len() as u64 > MAX_NAME {
        return Err(Error::Size { what: "a long name", limit: MAX_NAME });
    }
    if text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

/// What a header says, checked as far as it can be by itself.
fn describe(
    header: &tar::Header,
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
) -> Result<Entry, Error> {
    let broken = |_| Error::Format("a tar header is broken".into());
    let raw = long_name.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = name::plain(&raw)?;
    let target =
        || long_target.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
    let special = |kind| Err(Error::Special { path: path.clone(), kind });
    let kind = match header.entry_type() {
        // Old tars mark a folder by the end of its name alone.
        EntryType::Regular if raw.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => {
            Kind::File { size: header.entry_size().map_err(broken)? }
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Link(name::link_target(&path, &target())?),
        EntryType::Link => Kind::HardLink(name::plain(&target())?),
        EntryType::Char | EntryType::Block => return special("device"),
        EntryType::Fifo => return special("named pipe"),
        EntryType::XHeader | EntryType::XGlobalHeader => return special("pax header"),
        EntryType::GNUSparse => return special("sparse file"),
        _ => return special("thing of unknown kind"),
    };
    if path.is_empty() && kind != Kind::Directory {
        return Err(Error::Path(String::new(), "it is the root, but no folder"));
    }
    let mode = header.mode().map_err(broken)? & 0o7777;
    // Times beyond the year 3000 are an error of the packager, and not every file system has them.
    let time = header.mtime().map_err(broken)?.min(32_503_680_000);
    Ok(Entry { path, mode, time, kind })
}

/// What stands at each path so far.
#[derive(Default)]
struct Seen(HashMap<String, Standing>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A folder that only its contents imply.
    Implied,
    Folder,
    File,
    Link,
}

impl Seen {
    /// Refuses a member that is there twice, lies behind something that is no folder, or is a
    /// hard link to no earlier file.
    fn admit(&mut self, entry: &Entry) -> Result<(), Error> {
        let path = &entry.path;
        let mut above = path.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            match self.0.get(parent) {
                Some(Standing::Implied | Standing::Folder) => break,
                Some(Standing::File | Standing::Link) => {
                    return Err(Error::Through { path: path.clone(), through: parent.into() });
                }
                None => self.0.insert(parent.to_owned(), Standing::Implied),
            };
            above = parent;
        }
        if let Kind::HardLink(target) = &entry.kind
            && self.0.get(target) != Some(&Standing::File)
        {
            return Err(Error::HardLink { path: path.clone(), target: target.clone() });
        }
        let standing = match entry.kind {
            Kind::Directory => Standing::Folder,
            Kind::File { .. } | Kind::HardLink(_) => Standing::File,
            Kind::Link(_) => Standing::Link,
        };
        match self.0.insert(path.clone(), standing) {
            None => Ok(()),
            Some(Standing::Implied) if standing == Standing::Folder => Ok(()),
            Some(_) => Err(Error::Duplicate(path.clone())),
        }
    }
}
