//! Bringing what clients read to another place.
//!
//! Packages, indexes and keys go first, then the generation's own folder; all of it is held
//! against the repository at the far end, and only then does the link that clients follow move.
//! A push that fails or is killed leaves readers what they had, and the next one goes on. An
//! object store has no links: there `InRelease` is what comes last.

mod folder;
mod rsync;
mod s3;
mod snapshot;
pub mod target;
mod view;

mod error;

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};

use super::layout::{PRIVATE, Repository};
use crate::base::{HostPath, Sha256};
use crate::fetch::{Bucket, Client};
pub use error::{Error, Result};
pub use s3::{Environment, LARGEST};
pub use target::{Remote, Target};
use view::View;

/// How a repository is brought somewhere.
pub struct Wish<'a> {
    /// Where to.
    pub target: &'a Target,
    /// Whether each generation gets a folder of its own there.
    pub snapshots: Snapshots,
    /// Whether anything is changed there.
    pub mode: Mode,
    /// Talks to object stores.
    pub client: &'a Client,
    /// What says who we are to them.
    pub environment: &'a Environment,
    /// Is told how far it has come.
    pub seen: Seen<'a>,
    /// Ends it early.
    pub cancel: &'a AtomicBool,
}

/// Whether each generation gets a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    /// It does not: packages of all of them are in one pool.
    None,
    /// It does.
    Kept {
        /// How long those stay that no link leads to, in days.
        days: u32,
    },
}

/// Whether anything is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Push,
    /// Only what would be is found out.
    Foresee,
}

/// Is told what is brought there now, how many files are done, and of how many.
pub type Seen<'a> = &'a (dyn Fn(&str, usize, usize) + Sync);

/// What came of a push.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The generation that readers see now.
    pub generation: u64,
    /// How many files it has there, links included.
    pub files: usize,
    /// What was sent, or linked to what was there, by path.
    pub sent: Vec<String>,
    /// What of that is new bytes.
    pub bytes: u64,
    /// What was there and was not what it has to be: it was sent anew.
    pub mended: Vec<String>,
    /// The folder below `snapshots` that it is in.
    pub snapshot: Option<String>,
    /// The snapshots that were removed.
    pub removed: Vec<String>,
}

/// Brings what clients of a repository read somewhere. `now` is in seconds since 1970.
///
/// # Errors
/// [`Error`]; clients of the target read what they read before.
pub fn push(repository: &Repository, wish: &Wish<'_>, now: i64) -> Result<Pushed> {
    let _lock = lock(repository, wish.target)?;
    let view = View::read(repository)?;
    match wish.target {
        Target::Folder(path) if is_inside(path, repository) => Err(Error::Inside(path.clone())),
        Target::Folder(path) => folder::push(repository, &view, path, wish, now),
        Target::Rsync(remote) => rsync::push(repository, &view, remote, wish, now),
        Target::Bucket { name, prefix } => {
            let target = wish.target.to_string();
            if wish.snapshots != Snapshots::None {
                return Err(Error::NoLinks(target));
            }
            let bucket: Bucket = wish.environment.bucket(wish.client, name, &target)?;
            s3::push(repository, &view, &bucket, prefix, wish)
        }
    }
}

/// One push to a place at a time. The lock's file stays: whoever removed it could take it from
/// under one who waits.
fn lock(repository: &Repository, target: &Target) -> Result<File> {
    let name = Sha256::of(target.to_string().as_bytes()).to_string();
    let path = repository.path(PRIVATE).join(format!("push-{name:.16}"));
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(error::at("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(target.to_string())),
        Err(error) => Err(error::at("lock", &path)(error.into())),
    }
}

/// Whether a folder, or the first above it that is there, is a part of the repository.
fn is_inside(path: &HostPath, repository: &Repository) -> bool {
    let there = path.as_path().ancestors().find_map(|path| path.canonicalize().ok());
    let root = repository.root().as_path().canonicalize();
    there.zip(root.ok()).is_some_and(|(there, root)| there.starts_with(root))
}

fn stop_if(cancel: &AtomicBool) -> Result<()> {
    match cancel.load(Ordering::Relaxed) {
        true => Err(Error::Cancelled),
        false => Ok(()),
    }
}
