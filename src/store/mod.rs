//! Everything kept between runs: objects by their BLAKE3, records of builds, layers of build
//! roots, logs, and the locks that let any number of processes share all of it.
//!
//! ```text
//! version        the layout's name
//! objects/       blobs, named by their BLAKE3
//! json/          derivations, actions, records, trees: canonical JSON, named by its BLAKE3
//! layers/        layers of build roots         (trees, owned by the id that builds run as)
//! unpacked/      packages, unpacked once       (likewise)
//! derived/       what can always be made anew from pinned files, by the digest of what it is from
//! scratch/       temporary folders, each leased by its process
//! logs/          build logs
//! capsules/      what failed builds left, by attempt
//! quarantine/    what was found damaged
//! locks/         lock files, never removed
//! records.sqlite what belongs to what: an index over the rest
//! ```
//!
//! The order of durability is: the file's bytes, its name, the folder, then the row that speaks
//! of it. A kill at any moment loses nothing finished and leaves nothing half-written.

mod attempts;
mod batch;
mod capsules;
mod database;
mod derived;
mod error;
mod layers;
mod layout;
mod locks;
mod logs;
mod objects;
mod records;
mod remove;
mod roots;
mod scratch;
mod share;

use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};

pub use attempts::{
    Attempt, AttemptLog, Completeness, Following, NewAttempt, Next, OpenAttempt, Verdict,
};
pub use batch::Batch;
pub use capsules::{Capsule, CapsuleLimits, Contents, Entered};
pub use error::{Error, Result};
pub use layers::{Layer, StagedLayer};
pub use locks::Guard;
pub use logs::{Log, LogWriter};
pub use objects::Object;
pub use records::{Adopted, Recorded};
pub use roots::BuiltRelease;
pub use scratch::Scratch;
pub use share::Share;

use crate::base::HostPath;
use error::system;

/// An open store. Clones share one connection; all methods may be called from any thread, and
/// from any number of processes.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: HostPath,
    database: Mutex<rusqlite::Connection>,
    temporary: OnceLock<Scratch>,
}

impl Store {
    /// The store at `root`, created (mode 0700) if that is a new or an empty folder.
    ///
    /// Refused: a layout of another version, a folder with other things in it, a network file
    /// system. Temporary folders of killed processes are removed.
    pub fn open(root: &HostPath) -> Result<Self> {
        let absolute = std::path::absolute(root).map_err(system("locate", root))?;
        let root = HostPath::new(absolute);
        layout::prepare(&root)?;
        let database = Mutex::new(database::open(&root)?);
        let shared = Shared { root, database, temporary: OnceLock::new() };
        let store = Self { shared: Arc::new(shared) };
        store.sweep()?;
        Ok(store)
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &HostPath {
        &self.shared.root
    }

    /// A place in the store.
    fn path(&self, name: &str) -> HostPath {
        self.shared.root.join(name)
    }

    /// Where files wait for their names.
    fn temporary(&self) -> Result<&HostPath> {
        if let Some(scratch) = self.shared.temporary.get() {
            return Ok(scratch.path());
        }
        let made = self.scratch()?;
        Ok(self.shared.temporary.get_or_init(|| made).path())
    }

    /// Writes out everything dirty on the store's file system.
    fn sync_all(&self) -> Result<()> {
        let root = File::open(self.root()).map_err(system("open", self.root()))?;
        rustix::fs::syncfs(root).map_err(system("sync", self.root()))
    }
}
