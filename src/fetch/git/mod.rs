//! Git repositories: which commit a revision is, the files of a commit, and what came before it.
//!
//! The host's git program fetches into a bare repository that lives as long as the call; nothing
//! is ever checked out. Files are read as objects and hashed by us, since what `git archive` or a
//! checkout writes depends on attributes, filters and the program's version. The program computes
//! the name of every object that it receives, so that a commit is what its name says.

mod environment;
mod history;
mod names;
mod program;
mod submodule;
mod tree;

use std::sync::atomic::AtomicBool;

use super::client::{Client, Network};
use super::error::{Error, Result};
use crate::base::Tree;
use crate::store::Store;

pub use environment::reading;
pub use history::{Commit, History, history};
pub use names::{Named, Names, names};

/// A revision of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'a> {
    /// The repository: `https:`, `http:`, `git:`, `ssh:` or `file:`.
    pub url: &'a str,
    /// A branch, a tag or the full name of a commit.
    pub rev: &'a str,
    /// The commit that it is to be; the one it is now where there is none.
    pub commit: Option<&'a str>,
}

/// The files of a commit; their contents are in the store, and so is the document of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit's name.
    pub commit: String,
    /// What kind of name led there.
    pub named: Named,
    /// When it was committed, in seconds since 1970.
    pub date: i64,
    /// Its files, with those of submodules.
    pub tree: Tree,
}

/// The files of a commit, fetched without what came before it where the server allows that.
///
/// # Errors
/// A revision that is not there; files that are no text by name, Git LFS pointers, submodules
/// that cannot be had: each with a reason.
pub fn snapshot(
    store: &Store,
    client: &Client,
    revision: &Revision<'_>,
    cancel: &AtomicBool,
) -> Result<Snapshot> {
    if client.network() == Network::Offline {
        return Err(Error::Offline(format!("{} {}", revision.url, revision.rev)));
    }
    let batch = store.batch();
    let mut budget = tree::Budget::default();
    let mut entries = Vec::new();
    let place = submodule::Place { prefix: "", depth: 0 };
    let walk = submodule::Walk { store, client, batch: &batch, cancel };
    let submodule::Collected { commit, named, date } =
        walk.collect(revision, &place, &mut budget, &mut entries)?;
    let tree = Tree::new(entries).map_err(|error| Error::Unfit {
        url: revision.url.to_owned(),
        what: format!("commit {commit}"),
        why: error.to_string(),
    })?;
    batch.put_json(&tree.to_json())?;
    batch.commit()?;
    Ok(Snapshot { commit, named, date, tree })
}

/// Whether a text is the full name of a commit.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
