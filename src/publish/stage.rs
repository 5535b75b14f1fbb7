//! The next generation: written beside what clients read, then switched to.
//!
//! Nothing that clients read is touched before the switch. Whatever a killed run leaves is not
//! named by anything, and the next run takes it away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use rayon::prelude::*;

use super::error::{Error, Result, at};
use super::generation::{Change, Generation, Published, Reason, State};
use super::index::release::Release;
use super::item::{From, Item, Piece};
use super::layout::{BY_HASH, DISTS, Guard, POOL, Repository};
use super::ledger::Ledger;
use super::sign::Signers;
use super::suite::{FORMS, Indexes};
use crate::base::{Architecture, Digest, HostPath, Sha256, Sha256Hasher};
use crate::spec::release::Suite;
use crate::store::Store;

/// A generation that is being written.
pub struct Stage<'a> {
    repository: &'a Repository,
    store: &'a Store,
    guard: Guard,
    /// What was published before.
    pub ledger: Ledger<'a>,
    /// The generation that clients read.
    pub previous: Option<Generation>,
    number: u64,
    date: Timestamp,
    suites: BTreeMap<String, State>,
    changes: Vec<Change>,
}

/// A generation that is whole and signed, and that nobody reads yet.
pub struct Staged<'a> {
    repository: &'a Repository,
    guard: Guard,
    ledger: Ledger<'a>,
    /// What it says of itself.
    pub generation: Generation,
    /// The same as it is written.
    bytes: Vec<u8>,
}

/// What a suite is made of.
pub struct Contents<'a, 'r> {
    /// Its indexes.
    pub indexes: Indexes<'r>,
    /// What is different in them.
    pub changes: Vec<Change>,
    /// The architectures that it has to have indexes of.
    pub architectures: &'a [String],
    /// The release that is published to it; none if it stays the one of before.
    pub published: Option<(Published, Option<Vec<u8>>)>,
}

/// A generation that is dated so many seconds ahead was made with a wrong clock.
const WRONG_CLOCK: i64 = 3600;

impl<'a> Stage<'a> {
    /// Begins a generation at the moment `at`, or just after the one before if that is later, but
    /// not if that is dated in the future. It
    /// waits until nobody else changes the repository, and takes away what a killed run left.
    ///
    /// # Errors
    /// Those of reading the repository and its ledger.
    pub fn begin(store: &'a Store, repository: &'a Repository, at: Timestamp) -> Result<Self> {
        let guard = repository.lock()?;
        let ledger = Ledger::open(store, repository)?;
        let previous = match repository.live()? {
            Some(live) => Some(repository.generation(live)?),
            None => None,
        };
        let live = previous.as_ref().map_or(0, |previous| previous.number);
        if live == 0 {
            repository.expect_new(|first| Ok(store.last_generation(first)?.is_some()))?;
        }
        repository.make_folders()?;
        remove_tree(&repository.staging())?;
        for number in repository.generations()?.into_iter().filter(|number| *number > live) {
            remove_tree(&repository.generation_path(number))?;
        }
        let folder = repository.staging().join(DISTS);
        fs::create_dir_all(&folder).map_err(self::at("create", &folder))?;
        // One that is dated in the future was made with a wrong clock; clients refuse it.
        let is_past = |previous: &&Generation| previous.date < at.as_second() + WRONG_CLOCK;
        let after =
            previous.as_ref().filter(is_past).map_or(i64::MIN, |previous| previous.date + 1);
        let date = Timestamp::from_second(at.as_second().max(after))
            .unwrap_or_else(|_| Timestamp::from_second(at.as_second()).unwrap_or(at));
        Ok(Self {
            repository,
            store,
            guard,
            ledger,
            number: live + 1,
            date,
            suites: previous.as_ref().map(|it| it.suites.clone()).unwrap_or_default(),
            previous,
            changes: Vec::new(),
        })
    }

    /// The moment that everything of it is dated.
    pub fn date(&self) -> Timestamp {
        self.date
    }

    /// What a suite lists now.
    ///
    /// # Errors
    /// Those of [`Indexes::read`].
    pub fn indexes(&self, suite: &str) -> Result<Indexes<'a>> {
        match &self.previous {
            Some(Generation { number, suites, .. }) if suites.contains_key(suite) => {
                Indexes::read(self.repository, *number, suite, &suites[suite])
            }
            _ => Ok(Indexes::none(self.repository)),
        }
    }

    /// The architectures that a suite has indexes of, and those of a release.
    pub fn architectures(&self, suite: &str, more: &[Architecture]) -> Vec<String> {
        let known = self.suites.get(suite).map(|state| state.architectures.clone());
        let all = known.into_iter().flatten().chain(more.iter().map(ToString::to_string));
        all.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// The bytes of a file of the pool.
    pub fn pooled(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.repository.path(POOL).join(path)).ok()
    }

    /// Puts the files of packages into the pool; those that are there stay.
    ///
    /// # Errors
    /// [`Error::Pool`] if a file of the same name has other bytes, and is in use.
    pub fn fill_pool(&self, items: &[Item], tick: &(dyn Fn() + Sync)) -> Result<()> {
        let mut seen = BTreeSet::new();
        let pieces: Vec<&Piece> = items
            .iter()
            .flat_map(|item| &item.files)
            .filter(|piece| seen.insert(piece.path.as_str()))
            .collect();
        let folders: BTreeSet<&Path> =
            pieces.iter().filter_map(|piece| Path::new(&piece.path).parent()).collect();
        for folder in folders {
            let folder = self.repository.path(POOL).join(folder);
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        }
        pieces.par_iter().enumerate().try_for_each(|(index, piece)| {
            self.put_piece(piece, index)?;
            tick();
            Ok(())
        })
    }

    fn put_piece(&self, piece: &Piece, index: usize) -> Result<()> {
        let pool = self.repository.path(POOL);
        let path = pool.join(&piece.path);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => {
                let mut file = File::open(&path).map_err(at("open", &path))?;
                let (_, sha256) = copy(&mut file, &mut io::sink()).map_err(at("read", &path))?;
                if sha256 == piece.sha256 {
                    return Ok(());
                }
                self.refuse_used(piece, sha256)?;
            }
            Ok(_) => {
                return Err(super::item::wrong(&piece.path, "it is no plain file in the pool"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at("look at", &path)(error)),
        }
        let fresh = self.repository.staging().join(format!("pool-{index}"));
        let (size, sha256) = match &piece.from {
            From::File(there) if shared(there, &fresh) => {
                let mut file = File::open(&fresh).map_err(at("open", &fresh))?;
                copy(&mut file, &mut io::sink()).map_err(at("read", &fresh))?
            }
            _ => {
                let mut from = piece.open(self.store, &pool)?;
                let mut to = File::create(&fresh).map_err(at("create", &fresh))?;
                copy(&mut *from, &mut to).map_err(at("write", &fresh))?
            }
        };
        if (size, sha256) != (piece.size, piece.sha256) {
            return Err(super::item::wrong(
                &piece.path,
                format!(
                    "its bytes are not what was recorded\nexpected {} of {} bytes\nactual   \
                     {sha256} of {size} bytes",
                    piece.sha256, piece.size
                ),
            ));
        }
        fs::rename(&fresh, &path).map_err(at("rename to", &path))
    }

    /// An error if a generation names the file: what lies there for no one may be replaced.
    fn refuse_used(&self, piece: &Piece, found: Sha256) -> Result<()> {
        let name = piece.path.rsplit('/').next().unwrap_or_default();
        let ends = [format!("/{name}\n"), format!(" {name}\n")];
        let wanted = piece.sha256.to_string();
        for number in self.repository.generations()? {
            let Ok(generation) = self.repository.generation(number) else { continue };
            for (suite, state) in &generation.suites {
                let mut indexes = Indexes::read(self.repository, number, suite, state)?;
                let paths: Vec<String> = indexes.paths().into_iter().map(str::to_owned).collect();
                for path in paths.iter().filter(|path| !path.contains("Contents-")) {
                    let table = indexes.table(path)?;
                    let mut rows = ends.iter().flat_map(|end| table.containing(end));
                    // One that should be what is put there is damaged, and is mended by that.
                    if rows.any(|(_, row)| !row.contains(&wanted)) {
                        return Err(Error::Pool {
                            path: format!("{POOL}/{}", piece.path),
                            found,
                            wanted: piece.sha256,
                            generation: number,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a suite, signed.
    ///
    /// # Errors
    /// Those of writing and of signing; then the generation must be given up.
    pub fn put(
        &mut self,
        name: &str,
        suite: &Suite,
        contents: Contents<'_, '_>,
        signers: &Signers,
    ) -> Result<()> {
        let Contents { mut indexes, changes, architectures, published } = contents;
        let before = self.suites.get(name);
        let folder = self.repository.staging().join(DISTS).join(name);
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        let (state, manifest) = match published {
            Some((published, manifest)) => (Some(published), manifest),
            None => (before.and_then(|state| state.published.clone()), self.kept_manifest(name)?),
        };
        let mut components: BTreeSet<String> =
            before.map(|state| state.components.iter().cloned().collect()).unwrap_or_default();
        components.insert(suite.component.clone());
        let listed = indexes.paths();
        components
            .extend(listed.iter().filter_map(|path| Some(path.split_once('/')?.0.to_owned())));
        let mut all: BTreeSet<String> =
            before.map(|state| state.architectures.iter().cloned().collect()).unwrap_or_default();
        all.extend(architectures.iter().cloned());
        // Clients that are told of a component ask for each of its indexes.
        for component in &components {
            for architecture in &all {
                indexes.ensure(&format!("{component}/binary-{architecture}/Packages"))?;
            }
            indexes.ensure(&format!("{component}/source/Sources"))?;
        }
        let files = self.write_indexes(&folder, indexes)?;
        let valid = suite
            .valid_days
            .map(|days| self.date + SignedDuration::from_hours(24 * i64::from(days)));
        let (components, all): (Vec<String>, Vec<String>) =
            (components.into_iter().collect(), all.into_iter().collect());
        let text = Release {
            name,
            suite,
            date: self.date,
            valid_until: valid,
            architectures: &all,
            components: &components,
            published: state.as_ref(),
            files: &files,
        }
        .text();
        write(&folder.join("Release"), text.as_bytes())?;
        write(&folder.join("InRelease"), signers.clear_sign(&text, self.date)?.as_bytes())?;
        let detached = signers.detach(text.as_bytes(), self.date)?;
        write(&folder.join("Release.gpg"), detached.as_bytes())?;
        for name in ["Release", "InRelease", "Release.gpg"] {
            self.stamp(&folder.join(name))?;
        }
        if let Some(manifest) = manifest {
            let signature = signers.detach(&manifest, self.date)?;
            write(&folder.join("MANIFEST.json"), &manifest)?;
            write(&folder.join("MANIFEST.json.asc"), signature.as_bytes())?;
        }
        let count = |is_one: fn(&Change) -> bool| -> u64 {
            changes.iter().filter(|change| is_one(change)).count() as u64
        };
        let come = count(|change| change.old.is_none() && change.new.is_some());
        let gone = count(|change| change.new.is_none());
        let packages = before.map_or(0, |state| state.packages);
        self.suites.insert(
            name.to_owned(),
            State {
                release: Sha256::of(text.as_bytes()),
                components,
                architectures: all,
                valid_until: valid.map(Timestamp::as_second),
                packages: (packages + come).saturating_sub(gone),
                published: state,
            },
        );
        self.changes.extend(changes);
        Ok(())
    }

    /// The manifest that lies beside a suite.
    fn kept_manifest(&self, suite: &str) -> Result<Option<Vec<u8>>> {
        let Some(Generation { number, .. }) = self.previous else { return Ok(None) };
        self.repository.manifest(number, suite)
    }

    /// Gives a file the generation's date, which is later than that of the one before: a server that
    /// tells by dates whether a client has a file must never take one generation's for another's.
    fn stamp(&self, path: &HostPath) -> Result<()> {
        let since = Duration::from_secs(self.date.as_second().unsigned_abs());
        let file = File::options().write(true).open(path).map_err(at("open", path))?;
        file.set_modified(SystemTime::UNIX_EPOCH + since).map_err(at("date", path))
    }

    /// Writes what has changed and links what has not; gives all files, sorted.
    fn write_indexes(
        &self,
        folder: &HostPath,
        indexes: Indexes<'_>,
    ) -> Result<Vec<(String, u64, Sha256)>> {
        let (fresh, listed) = indexes.into_parts();
        let store = self.repository.path(BY_HASH).join("SHA256");
        let mut folders = BTreeSet::new();
        let fresh_paths = fresh.iter().map(|(path, _)| path.as_str());
        for path in fresh_paths.chain(listed.keys().map(String::as_str)) {
            folders.extend(Path::new(path).parent().map(Path::to_owned));
        }
        for inner in folders {
            let path = folder.join(&inner);
            fs::create_dir_all(&path).map_err(at("create", &path))?;
            // `generations/N/dists/SUITE`, and what is below that.
            let up = "../".repeat(4 + inner.components().count());
            let link = path.join(BY_HASH);
            symlink(format!("{up}{BY_HASH}"), &link).map_err(at("link", &link))?;
        }
        let forms: Vec<(&(String, _), &str)> =
            fresh.iter().flat_map(|table| FORMS.map(|form| (table, form))).collect();
        let mut files = forms
            .par_iter()
            .map(|((path, table), form)| {
                let path = format!("{path}{form}");
                let file = folder.join(&path);
                let bytes = match *form {
                    ".gz" => table.gzip().map_err(at("compress", &file))?,
                    ".xz" => table.xz().map_err(at("compress", &file))?,
                    _ => table.plain(),
                };
                let sha256 = Sha256::of(&bytes);
                write(&file, &bytes)?;
                let named = store.join(sha256.to_string());
                match fs::hard_link(&file, &named) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        // What a power cut left may be no more than a name.
                        if fs::read(&named).map_err(at("read", &named))? != bytes {
                            let fresh = self.repository.staging().join(sha256.to_string());
                            fs::hard_link(&file, &fresh).map_err(at("link", &fresh))?;
                            fs::rename(&fresh, &named).map_err(at("rename to", &named))?;
                        }
                    }
                    Err(error) => return Err(at("link", &named)(error)),
                    Ok(()) => {}
                }
                Ok((path, bytes.len() as u64, sha256))
            })
            .collect::<Result<Vec<_>>>()?;
        for (path, (size, sha256)) in listed {
            let (named, file) = (store.join(sha256.to_string()), folder.join(&path));
            fs::hard_link(&named, &file).map_err(at("link", &file))?;
            files.push((path, size, sha256));
        }
        files.sort();
        Ok(files)
    }

    /// Makes the generation whole: the suites that stay as they are, and what it says of itself.
    ///
    /// # Errors
    /// Those of writing and of signing.
    pub fn finish(self, reason: Reason, signers: &Signers) -> Result<Staged<'a>> {
        let folder = self.repository.staging().join(DISTS);
        if let Some(previous) = &self.previous {
            let old = self.repository.generation_path(previous.number).join(DISTS);
            for name in previous.suites.keys() {
                let to = folder.join(name);
                if !to.as_path().exists() {
                    link_tree(&old.join(name), &to)?;
                }
            }
        }
        // No two repositories begin with the same generation.
        let before = match self.ledger.last() {
            Some((_, digest)) => digest,
            None => {
                let mut chance = [0; 32];
                getrandom::fill(&mut chance).map_err(|error| Error::System {
                    operation: "draw a number for",
                    path: folder.clone(),
                    source: io::Error::other(error),
                })?;
                Digest::from_bytes(chance)
            }
        };
        let generation = Generation::new(
            self.number,
            self.date.as_second(),
            Some(before),
            reason,
            self.suites,
            self.changes,
        );
        let bytes = generation.encode();
        let signature = signers.detach(&bytes, self.date)?;
        write(&folder.join("GENERATION.json"), &bytes)?;
        write(&folder.join("GENERATION.json.asc"), signature.as_bytes())?;
        Ok(Staged {
            repository: self.repository,
            guard: self.guard,
            ledger: self.ledger,
            generation,
            bytes,
        })
    }

    /// Gives the generation up.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn give_up(self) -> Result<()> {
        remove_tree(&self.repository.staging())
    }
}

impl Staged<'_> {
    /// The folder that has `dists`.
    pub fn folder(&self) -> HostPath {
        self.repository.staging()
    }

    /// Gives clients this generation, in one step, and notes it.
    ///
    /// # Errors
    /// Until the link is renamed, those leave clients with what they read before.
    pub fn switch(mut self) -> Result<Generation> {
        let number = self.generation.number;
        let (staging, final_path) =
            (self.repository.staging(), self.repository.generation_path(number));
        // Left by a run that was killed before it switched, it may be there.
        let (fresh, kept) = (staging.join("ledger"), self.repository.ledger_path(number));
        write(&fresh, &self.bytes)?;
        fs::rename(&fresh, &kept).map_err(at("rename to", &kept))?;
        fs::rename(&staging, &final_path).map_err(at("rename to", &final_path))?;
        sync_all(self.repository.root())?;
        self.repository.switch(number)?;
        self.ledger.note(number, Digest::of(&self.bytes), &self.generation)?;
        drop(self.guard);
        Ok(self.generation)
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn give_up(self) -> Result<()> {
        remove_tree(&self.repository.staging())
    }
}

/// Writes a file that is not there.
fn write(path: &HostPath, bytes: &[u8]) -> Result<()> {
    let mut file = File::create_new(path).map_err(at("create", path))?;
    file.write_all(bytes).map_err(at("write", path))
}

/// Whether `to` has become the file at `from` without its bytes being copied: as a copy that shares
/// them until one of the two is written to, or else as another name of it. What not everybody may
/// read, or somebody else owns, is left to be copied.
fn shared(from: &HostPath, to: &HostPath) -> bool {
    let is_readable = |path: &HostPath| {
        let found = fs::symlink_metadata(path);
        found.is_ok_and(|found| found.is_file() && found.mode() & 0o7777 == 0o644)
    };
    if !is_readable(from) {
        return false;
    }
    let cloned = File::open(from).and_then(|source| {
        let target = File::create_new(to)?;
        rustix::fs::ioctl_ficlone(&target, &source).map_err(io::Error::from)
    });
    if cloned.is_ok() {
        return true;
    }
    // Made for the clone; where it cannot be removed, it is written to.
    fs::remove_file(to).is_ok() && fs::hard_link(from, to).is_ok()
}

/// Copies everything; gives how much it was, and its digest.
pub(super) fn copy(from: &mut dyn io::Read, to: &mut dyn io::Write) -> io::Result<(u64, Sha256)> {
    let mut hasher = Sha256Hasher::new();
    // Many packages are small: more room would take longer to clear than they to copy.
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hasher.finish())),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
}

/// The same folder again: files as other names of the same, links as links.
fn link_tree(from: &HostPath, to: &HostPath) -> Result<()> {
    fs::create_dir_all(to).map_err(at("create", to))?;
    for entry in fs::read_dir(from).map_err(at("read", from))? {
        let entry = entry.map_err(at("read", from))?;
        let (old, new) = (from.join(entry.file_name()), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(at("look at", &old))?;
        if kind.is_dir() {
            link_tree(&old, &new)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&old).map_err(at("read the link", &old))?;
            symlink(target, &new).map_err(at("link", &new))?;
        } else {
            fs::hard_link(&old, &new).map_err(at("link", &new))?;
        }
    }
    Ok(())
}

/// Removes a folder with everything in it, if it is there.
pub(super) fn remove_tree(path: &HostPath) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes everything on the disk of this folder durable.
fn sync_all(folder: &HostPath) -> Result<()> {
    let file = File::open(folder).map_err(at("open", folder))?;
    rustix::fs::syncfs(&file).map_err(|error| at("write out the disk of", folder)(error.into()))
}
