//! A tree of the file system as a stream of bytes, and back: how trees travel to an engine that
//! does not share our files, and from there.
//!
//! The stream is a tar archive of the ustar kind with pax records (POSIX.1-2017, pax, "pax
//! Interchange Format"; GNU tar's manual for `SCHILY.xattr` and `GNU.sparse`), which any tar
//! reads. What the format leaves open is fixed here, so that the bytes are the tree's identity:
//!
//! - a folder comes before what is in it, and names of one folder come sorted by their bytes;
//! - there are regular files, folders, symbolic links, named pipes and character devices 0:0
//!   (what overlayfs calls a whiteout). Sockets are left out. Another name of a file is a hard
//!   link to the first one;
//! - modes (set-id bits too), times of modification to the nanosecond, and extended attributes
//!   `user.*` are there. Owners and other times are not;
//! - of a file, whole pieces of zeros are left out, whether they take room on disk or not.
//!
//! The root is called `.`. A parcel of something that is no folder has one member, called
//! [`LONE`].

mod member;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::Digest;

pub use pack::pack;
pub use unpack::unpack;

/// What the only member of a parcel is called if that is no folder.
pub const LONE: &str = "file";

/// How much may come out of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the stream: what files hold, and 512 to some thousand for each of them.
    pub bytes: u64,
    /// Files, folders and links.
    pub files: u64,
}

/// Deeper folders do not travel: a descriptor is open for each.
const DEEPEST: usize = 200;

/// Of a file, so many bytes that are all zero are left out; smaller files are whole.
const PIECE: usize = 64 << 10;

/// The records of one member take at most so many bytes.
const RECORDS: u64 = 2 << 20;

/// What [`pack`] would answer for this tree. A tree is read once per process: the same answer is
/// given as long as its root is the same file with the same time of change.
pub fn digest(root: &Path) -> io::Result<Digest> {
    type Seen = (PathBuf, u64, u64, i64, i64);
    static KNOWN: Mutex<BTreeMap<Seen, Digest>> = Mutex::new(BTreeMap::new());
    let found = std::fs::symlink_metadata(root)?;
    let seen = (root.to_owned(), found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
    // Held while the tree is read: whoever else wants it would read all of it as well.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known.get(&seen) {
        return Ok(*digest);
    }
    let digest = pack(root, io::sink())?;
    known.insert(seen, digest);
    Ok(digest)
}

/// An error of the system, with the path below the root that it was about.
fn about(path: &[u8]) -> impl FnOnce(io::Error) -> io::Error + use<> {
    let path = String::from_utf8_lossy(path).into_owned();
    move |error| io::Error::new(error.kind(), format!("`{path}`: {error}"))
}

/// The stream is not one that [`pack`] writes.
fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}
