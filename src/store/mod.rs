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
//! pins/          releases that are kept until they are let go
//! capsules/      what failed builds left, by attempt
//! quarantine/    what was found damaged
//! locks/         lock files, never removed
//! builder.key    what the store signs with; nobody but its owner reads it
//! records.sqlite what belongs to what: an index over the rest
//! ```
//!
//! **Durability.** The order is: the file's bytes (fsync, or syncfs where many wait), its name
//! (rename), the folder (fsync), then the row that speaks of it (SQLite, write-ahead log, full
//! synchronisation). What a method says is kept survives a kill and a power cut from when it
//! returns; what was interrupted leaves nothing that is believed. Removing goes the other way:
//! rows, names, bytes. `tests/store_durability.rs` kills a process before every single step.
//!
//! **Collecting** goes on beside any number of builds: see `gc`, `lease` and `reach`. Clocks order
//! what goes first, and decide nothing else.

mod attempts;
mod batch;
mod capsules;
mod database;
mod derived;
mod error;
mod gc;
mod imported;
mod inventory;
mod journal;
mod key;
mod layers;
mod layout;
mod lease;
mod ledger;
mod locks;
mod logs;
mod objects;
mod pins;
mod reach;
mod records;
mod remove;
mod reproductions;
mod roots;
mod scratch;
mod share;
mod verify;

use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};

pub use attempts::{
    Attempt, AttemptLog, Completeness, Following, NewAttempt, Next, OpenAttempt, Verdict,
};
pub use batch::Batch;
pub use capsules::{Capsule, CapsuleLimits, Contents, Entered};
pub use error::{Error, Result};
pub use gc::{Aim, Collection, Fate};
pub use imported::{Imported, Witness};
pub use inventory::{Kind, Thing};
pub use journal::{Entry, Event, Journal};
pub use key::BuilderKey;
pub use layers::{Layer, StagedLayer};
pub use ledger::Entry as LedgerEntry;
pub use locks::Guard;
pub use logs::{Log, LogWriter};
pub use objects::Object;
pub use pins::Pin;
pub use records::{Adopted, Recorded};
pub use reproductions::{Reproduction, Sameness};
pub use roots::BuiltRelease;
pub use scratch::Scratch;
pub use share::Share;
pub use verify::{Damage, SharedTree};

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
    lease: lease::Lease,
    access: Access,
    damage: Arc<Mutex<Vec<Damage>>>,
}

/// What may be done with an open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    Full,
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
        let (temporary, lease) = (OnceLock::new(), lease::Lease::default());
        let (access, damage) = (Access::Full, Arc::default());
        let shared = Shared { root, database, temporary, lease, access, damage };
        let store = Self { shared: Arc::new(shared) };
        store.sweep()?;
        Ok(store)
    }

    /// The store at `root`, which may be on a disk that takes no writes: whatever writes to it
    /// fails. Refused: what is no store, or another layout.
    pub fn open_to_read(root: &HostPath) -> Result<Self> {
        let absolute = std::path::absolute(root).map_err(system("locate", root))?;
        let root = HostPath::new(absolute);
        layout::check(&root)?;
        let database = Mutex::new(database::open_to_read(&root)?);
        let (temporary, lease) = (OnceLock::new(), lease::Lease::default());
        let (access, damage) = (Access::ReadOnly, Arc::default());
        let shared = Shared { root, database, temporary, lease, access, damage };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What was found damaged and put aside so far, by whatever read it; it grows while the store
    /// is used, and outlives it.
    pub fn damage(&self) -> Arc<Mutex<Vec<Damage>>> {
        Arc::clone(&self.shared.damage)
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
