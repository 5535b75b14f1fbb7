//! How evaluation reads: the only way in which a spec sees anything.

mod folder;
mod ignore;
mod memory;
mod overlay;

use std::io;

pub use folder::Folder;
pub use memory::Memory;
pub use overlay::{Dirs, Overlay};

use serde::{Deserialize, Serialize};

use super::model::PackagingText;
use crate::base::{Digest, ReleaseFolder, ReleasePath, Tree, nearest};

/// The largest spec, module or release file, in bytes.
pub const MAX_TEXT: u64 = 256 * 1024;

/// The largest number of files below one `dir(…)`.
pub const MAX_FILES: usize = 500_000;

/// The files of a release and of those that it extends, wherever they are.
///
/// A path says which of these folders it belongs to; what is not in that folder cannot be read.
pub trait Loader: Send + Sync {
    /// The spec files of a release folder, sorted: `*.rhai` at its top and below `packages/`.
    fn specs(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error>;

    /// The modules of a release folder, sorted: `*.rhai` below `lib/`.
    fn modules(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error>;

    /// The bytes of a file, never more than `limit`.
    fn read(&self, path: &ReleasePath, limit: u64) -> Result<Vec<u8>, Error>;

    /// What shows whether a file, or anything of a folder that is a source, has changed since;
    /// nothing where only its content can tell.
    fn state(&self, path: &ReleasePath, kind: Kind) -> Option<State> {
        let _ = (path, kind);
        None
    }

    /// A folder as a source.
    fn dir(&self, path: &ReleasePath) -> Result<Dir, Error>;

    /// The path that is there and that another, which is not, was most likely meant to be, from
    /// the top of its release folder.
    fn near(&self, path: &ReleasePath) -> Option<String> {
        let _ = path;
        None
    }
}

/// What is read of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The bytes of a file.
    File,
    /// A folder as a source.
    Folder,
}

/// What the file system keeps of a file, or of all files of a folder, beside their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Digest of devices, inodes, modes, sizes and times.
    pub digest: Digest,
    /// The newest of the times, in nanoseconds since 1970.
    pub newest: i64,
}

/// A folder as a source: what counts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir {
    /// Its files.
    pub tree: Tree,
    /// Its `debian/control` and `debian/changelog`, where it has both.
    pub packaging: Option<PackagingText>,
}

/// Why something of a release cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error("there is no `{0}` in the release")]
    Missing(String),
    /// A link on the way, which could lead out of the release.
    #[error("`{0}` is a symbolic link, and specs are read through none")]
    Link(String),
    /// Not what is needed.
    #[error("`{path}` is {found}, not {wanted}")]
    Kind {
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// More bytes than allowed.
    #[error("`{path}` is larger than {limit} bytes")]
    Size {
        /// The path.
        path: String,
        /// The most that is read.
        limit: u64,
    },
    /// More files than allowed.
    #[error("`{0}` has more than {MAX_FILES} files or 256 levels of folders")]
    Count(String),
    /// A name or text that is not UTF-8.
    #[error("`{0}` is not UTF-8")]
    Encoding(String),
    /// The machine could not read it.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether a file of this name is a spec.
fn is_spec(path: &ReleasePath) -> bool {
    let path = path.inside();
    path.ends_with(".rhai") && (!path.contains('/') || path.starts_with("packages/"))
}

/// Whether a file of this name is a module.
fn is_module(path: &ReleasePath) -> bool {
    let path = path.inside();
    path.ends_with(".rhai") && path.starts_with("lib/")
}

/// The path nearest to `wanted` of those that are there; nothing if it is one itself, or if none
/// is near enough to be worth suggesting. `names` has what is in a folder, the empty one first.
fn nearest_path(wanted: &str, names: impl Fn(&str) -> Option<Vec<String>>) -> Option<String> {
    let mut found = String::new();
    for part in wanted.split('/') {
        let names = names(&found)?;
        let mut names = names.iter().map(String::as_str);
        let name = match names.clone().any(|name| name == part) {
            true => part,
            false => nearest(part, &mut names)?,
        };
        found = if found.is_empty() { name.to_owned() } else { format!("{found}/{name}") };
    }
    (found != wanted).then_some(found)
}

#[cfg(test)]
mod tests;
