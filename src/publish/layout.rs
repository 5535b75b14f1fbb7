//! Where a repository keeps what.
//!
//! ```text
//! dists -> generations/7/dists          what clients read; replaced by rename
//! generations/7/dists/GENERATION.json   what this generation is (and GENERATION.json.asc)
//! generations/7/dists/SUITE/            InRelease, Release, Release.gpg, and of the release that was
//!                                       published last MANIFEST.json, MANIFEST.json.asc
//! …/SUITE/COMPONENT/binary-ARCH/        Packages, Packages.gz, Packages.xz
//! …/SUITE/COMPONENT/debian-installer/binary-ARCH/   the same of udebs
//! …/SUITE/COMPONENT/source/             Sources, Sources.gz, Sources.xz
//! …/SUITE/COMPONENT/Contents-ARCH       and .gz, .xz
//! …/by-hash -> ../…/by-hash             in each folder that has an index, and in COMPONENT
//! by-hash/SHA256/HEX                    every index of every generation, by its digest
//! pool/COMPONENT/PREFIX/SOURCE/FILE     what the indexes name; PREFIX is `g`, or `libg` of `libgreet`
//! keys/                                 the public keys, and what a client needs to use them
//! .perestroika/format                   `perestroika/repository/1`
//! .perestroika/ledger/7.json            every generation's GENERATION.json, also of those pruned
//! .perestroika/lock                     held by whoever changes something
//! .perestroika/staging/                 the generation that is not public yet: it has `dists`;
//!                                       without the lock being held a killed run left it
//! ```
//!
//! Indexes under `dists` are hard links of those below `by-hash`. `pool`, `by-hash` and
//! `generations` only gain files, until [pruning](super) takes those that no kept generation
//! names. Nothing in the repository is ever written in place: every file is written whole under
//! another name first. Everything but `.perestroika` is public.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;

use rustix::fs::{FlockOperation, flock};

use super::error::{Error, Result, at};
use super::generation::Generation;
use crate::base::{Digest, HostPath};

/// What a repository is told by.
pub const FORMAT: &str = "perestroika/repository/1";
/// The link that clients follow.
pub const DISTS: &str = "dists";
/// The folder of all generations.
pub const GENERATIONS: &str = "generations";
/// The folder of all indexes by digest.
pub const BY_HASH: &str = "by-hash";
/// The folder of all packages.
pub const POOL: &str = "pool";
/// The folder of the public keys.
pub const KEYS: &str = "keys";
/// The folder that is nobody else's business.
pub const PRIVATE: &str = ".perestroika";

/// A repository on this machine.
#[derive(Debug, Clone)]
pub struct Repository {
    root: HostPath,
}

/// The right to change a repository; dropping it gives it back.
#[derive(Debug)]
#[must_use = "the right is given back when this is dropped"]
pub struct Guard {
    _file: File,
}

impl Repository {
    /// The repository in this folder.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is none, [`Error::Layout`] if another version made it.
    pub fn open(root: HostPath) -> Result<Self> {
        let format = root.join(PRIVATE).join("format");
        match fs::read_to_string(&format) {
            Ok(found) if found.trim_end() == FORMAT => Ok(Self { root }),
            Ok(found) => {
                let found = found.trim_end().escape_debug().to_string();
                Err(Error::Layout { path: root, found, known: FORMAT })
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Err(Error::Absent(root))
            }
            Err(error) => Err(at("read", &format)(error)),
        }
    }

    /// The repository in this folder; it is made if the folder is empty or not there.
    ///
    /// # Errors
    /// [`Error::NoRepository`] if something else is in the folder, and those of [`Self::open`].
    pub fn open_or_create(root: HostPath) -> Result<Self> {
        match Self::open(root.clone()) {
            Err(Error::Absent(_)) => {}
            other => return other,
        }
        fs::create_dir_all(&root).map_err(at("create", &root))?;
        let private = root.join(PRIVATE);
        let mut entries = fs::read_dir(&root).map_err(at("read", &root))?;
        // A run that was killed here leaves some of the folders, and a beginning of the file.
        let ours = [PRIVATE, GENERATIONS, POOL, KEYS, BY_HASH];
        let is_ours = |entry: &fs::DirEntry| ours.iter().any(|name| entry.file_name() == *name);
        if entries.any(|entry| !entry.is_ok_and(|entry| is_ours(&entry))) {
            return Err(Error::NoRepository(root));
        }
        let repository = Self { root };
        repository.make_folders()?;
        // Last: a folder with this file is whole.
        let (fresh, format) = (private.join("format.new"), private.join("format"));
        fs::write(&fresh, format!("{FORMAT}\n")).map_err(at("write", &fresh))?;
        fs::rename(&fresh, &format).map_err(at("rename to", &format))?;
        Ok(repository)
    }

    /// Makes the folders that are not there.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn make_folders(&self) -> Result<()> {
        for folder in [".perestroika/ledger", GENERATIONS, POOL, KEYS, "by-hash/SHA256"] {
            let path = self.path(folder);
            fs::create_dir_all(&path).map_err(at("create", &path))?;
        }
        Ok(())
    }

    /// That clients read nothing because nothing was ever published, and not because the link is
    /// lost. `is_known` tells whether somebody has noted a first generation of this digest.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the link is lost.
    pub fn expect_new(&self, is_known: impl FnOnce(&Digest) -> Result<bool>) -> Result<()> {
        let mut last = self.generations()?.pop().unwrap_or_default();
        while self.ledger_path(last + 1).as_path().exists() {
            last += 1;
        }
        let first = fs::read(self.ledger_path(1)).ok().map(|bytes| Digest::of(&bytes));
        // A first publication that was killed just before its switch is no loss.
        let is_lost = last > 1
            || match &first {
                Some(first) => is_known(first)?,
                None => false,
            };
        if !is_lost {
            return Ok(());
        }
        Err(Error::Damaged {
            path: self.path(DISTS),
            reason: format!(
                "it is gone, and generation {last} was published: `ln -s \
                 {GENERATIONS}/{last}/{DISTS} {DISTS}` there brings it back"
            ),
        })
    }

    /// Its folder.
    pub fn root(&self) -> &HostPath {
        &self.root
    }

    /// A path in it.
    pub fn path(&self, part: impl AsRef<std::path::Path>) -> HostPath {
        self.root.join(part)
    }

    /// The folder of a generation, which has `dists`.
    pub fn generation_path(&self, number: u64) -> HostPath {
        self.path(GENERATIONS).join(number.to_string())
    }

    /// The folder of what is not public yet.
    pub fn staging(&self) -> HostPath {
        self.path(PRIVATE).join("staging")
    }

    /// The file of a generation's GENERATION.json that outlives the generation.
    pub fn ledger_path(&self, number: u64) -> HostPath {
        self.path(PRIVATE).join("ledger").join(format!("{number}.json"))
    }

    /// Waits until nobody else changes the repository.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn lock(&self) -> Result<Guard> {
        let path = self.path(PRIVATE).join("lock");
        let file =
            File::options().create(true).append(true).open(&path).map_err(at("open", &path))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| at("lock", &path)(error.into()))?;
        Ok(Guard { _file: file })
    }

    /// The number of the generation that clients read; none in a repository that was never
    /// published to.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the link leads anywhere else.
    pub fn live(&self) -> Result<Option<u64>> {
        let link = self.path(DISTS);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                let reason = "it is no link to a generation".to_owned();
                return Err(Error::Damaged { path: link, reason });
            }
            Err(error) => return Err(at("read the link", &link)(error)),
        };
        number_of(&target).map(Some).ok_or_else(|| Error::Damaged {
            path: link,
            reason: format!("it leads to `{}`, not to a generation", target.display()),
        })
    }

    /// The numbers of all generations that are kept, the oldest first.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn generations(&self) -> Result<Vec<u64>> {
        let folder = self.path(GENERATIONS);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let name = entry.map_err(at("read", &folder))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What a generation says of itself.
    ///
    /// # Errors
    /// [`Error::NoGeneration`], and [`Error::Damaged`] or [`Error::Json`] if it says nothing that can
    /// be read.
    pub fn generation(&self, number: u64) -> Result<Generation> {
        let path = self.generation_path(number).join(DISTS).join("GENERATION.json");
        match fs::read(&path) {
            Ok(bytes) => Generation::read(&bytes, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NoGeneration { path: self.root.clone(), number })
            }
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// The release manifest that lies beside a suite.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn manifest(&self, number: u64, suite: &str) -> Result<Option<Vec<u8>>> {
        let folder = self.generation_path(number).join(DISTS).join(suite);
        let path = folder.join("MANIFEST.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Makes a generation what clients read, in one step.
    ///
    /// # Errors
    /// [`Error::System`]; then clients read what they read before.
    pub fn switch(&self, number: u64) -> Result<()> {
        let fresh = self.path(PRIVATE).join("dists");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(at("remove", &fresh)(error));
            }
            _ => {}
        }
        let link = self.path(DISTS);
        symlink(format!("{GENERATIONS}/{number}/{DISTS}"), &fresh).map_err(at("link", &fresh))?;
        fs::rename(&fresh, &link).map_err(at("rename to", &link))?;
        self.sync(&self.root)
    }

    /// Puts a file beside the public keys, whole or not at all.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn put_key(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(KEYS).join(name);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let fresh = self.path(PRIVATE).join("key");
        fs::write(&fresh, bytes).map_err(at("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(at("rename to", &path))
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn sync(&self, folder: &HostPath) -> Result<()> {
        let file = File::open(folder).map_err(at("open", folder))?;
        file.sync_all().map_err(at("write out", folder))
    }
}

/// The generation that a link to a generation's folder, or to something below it, leads to.
pub fn number_of(target: &std::path::Path) -> Option<u64> {
    let rest = target.strip_prefix(GENERATIONS).ok()?;
    rest.components().next()?.as_os_str().to_str()?.parse().ok()
}

/// The folder of a source package's files below `pool`, as the distribution lays it out:
/// `main/g/greet`, `main/libg/libgreet`.
pub fn pool_folder(component: &str, source: &str) -> String {
    let length = if source.starts_with("lib") && source.len() > 3 { 4 } else { 1 };
    let prefix: String = source.chars().take(length).collect();
    format!("{component}/{prefix}/{source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_from_one_generation_to_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = HostPath::new(folder.path().join("repo"));
        assert!(matches!(Repository::open(root.clone()), Err(Error::Absent(_))));
        let repository = Repository::open_or_create(root.clone()).expect("made");
        assert_eq!(repository.live().expect("no link"), None);
        for number in [1, 2, 10] {
            fs::create_dir_all(repository.generation_path(number).join(DISTS)).expect("a folder");
            repository.switch(number).expect("switched");
            assert_eq!(repository.live().expect("a link"), Some(number));
        }
        assert_eq!(repository.generations().expect("three"), [1, 2, 10]);
        fs::remove_file(root.join(DISTS)).expect("removed");
        symlink("elsewhere", root.join(DISTS)).expect("linked");
        assert!(matches!(repository.live(), Err(Error::Damaged { .. })));
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "").expect("written");
        let root = HostPath::new(folder.path());
        assert!(matches!(Repository::open_or_create(root), Err(Error::NoRepository(_))));
    }

    #[test]
    fn the_pool_is_laid_out_as_the_distributions() {
        for (source, expected) in
            [("greet", "main/g/greet"), ("libgreet", "main/libg/libgreet"), ("lib", "main/l/lib")]
        {
            assert_eq!(pool_folder("main", source), expected);
        }
    }
}
