//! Repositories that other tools made, taken over with everything they say of themselves.
//!
//! An [`Origin`] is where one lies. A suite of it that is [read](Origin::suite) is believed
//! because its Release file is signed; everything else is held against digests that follow from
//! that file. What a suite lists becomes [`Item`]s in our own layout. A suite of ours has one
//! version of each package: the newest is taken, and the others are for the ledger.

mod error;
mod release;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::error::{Error as Broken, at};
use super::generation::Change;
use super::index::packages::described;
use super::item::{From, Item, Kind, SOURCE, unsigned, wrong};
use super::layout::{POOL, Repository};
use super::ledger::Ledger;
use super::stage::copy;
use super::suite::note_known;
use crate::archive::deb::control::paragraphs;
use crate::archive::deb::package;
use crate::base::{HostPath, Sha256};
use crate::fetch::{self, Client, Index, Mirrors, Network, Patience, PoolFile, Progress, Url};
use crate::store::Store;
pub use error::{Different, Error, Result};
pub use release::{Release, Trust};
pub use rows::Row;

/// How many files are fetched at a time.
const FETCHES: usize = 8;
/// The largest `.dsc` there is use for, in bytes.
const MAX_DSC: u64 = 4 << 20;

/// Where a repository lies.
pub struct Origin {
    root: Url,
    /// On this machine.
    folder: Option<HostPath>,
    client: Client,
    mirrors: Mirrors,
}

/// A suite of another tool's repository.
pub struct Found {
    /// Its name there.
    pub name: String,
    /// What its Release file says.
    pub release: Release,
    /// Its architectures, sorted.
    pub architectures: Vec<String>,
    /// Its packages, each in its newest version, sorted by kind, component and name.
    pub rows: Vec<Row>,
    /// Its other versions of the same packages.
    pub older: Vec<Row>,
}

impl Origin {
    /// The repository at a URL, fetched from with `client`.
    ///
    /// # Errors
    /// [`fetch::Error::Url`] if the text is none.
    pub fn at_url(text: &str, client: Client) -> Result<Self> {
        Ok(Self::new(text.parse()?, None, client))
    }

    /// The repository in a folder of this machine, which has `dists`.
    pub fn in_folder(folder: HostPath) -> Self {
        let root = Url::of_folder(&folder);
        // No network is needed for what is here.
        let client = Client::new(Network::Online, Patience::default());
        Self::new(root, Some(folder), client)
    }

    fn new(root: Url, folder: Option<HostPath>, client: Client) -> Self {
        let mirrors = Mirrors::at(root.clone());
        Self { root, folder, client, mirrors }
    }

    /// Its suites, sorted, where they can be listed: in a folder. Links to suites are left out.
    ///
    /// # Errors
    /// [`Error::Publish`] if the folder cannot be read.
    pub fn suites(&self) -> Result<Option<Vec<String>>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let dists = folder.join("dists");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dists).map_err(at("read", &dists))? {
            let entry = entry.map_err(at("read", &dists))?;
            let is_folder = entry.file_type().map_err(at("look at", &dists))?.is_dir();
            let path = dists.join(entry.file_name());
            let is_suite =
                ["Release", "InRelease"].iter().any(|file| path.join(file).as_path().is_file());
            if is_folder && is_suite {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(Some(names))
    }

    /// What a suite of it is, and what it lists; indexes that are fetched are kept in the store.
    ///
    /// # Errors
    /// [`Error`] if nobody vouches for it, or if it says what cannot be used.
    pub fn suite(
        &self,
        store: &Store,
        name: &str,
        trust: &Trust<'_>,
        now: jiff::Timestamp,
        cancel: &AtomicBool,
    ) -> Result<Found> {
        let release = release::read(&self.client, &self.root, name, trust, now, cancel)?;
        let indexes = release.indexes()?;
        let mut architectures = BTreeSet::new();
        let mut rows = Vec::new();
        for index in &indexes {
            architectures.extend(index.architecture.clone());
            let wanted = Index {
                suite: name,
                path: &index.path,
                expected: None,
                release: &release.file,
                evidence: release.evidence,
            };
            let object = fetch::index(store, &self.client, &self.mirrors, &wanted, cancel)?;
            let text = String::from_utf8(store.read(&object.digest)?)
                .map_err(|error| release.wrong(&index.path, &error))?;
            let read = rows::read(index.kind, &index.component, &text);
            rows.extend(read.map_err(|error| release.wrong(&index.path, &error))?);
        }
        architectures.extend(release.file.architectures.iter().cloned());
        architectures.extend(rows.iter().map(|row: &Row| row.item.architecture.clone()));
        architectures.retain(|name| name != "all" && name != SOURCE);
        let (rows, older) = rows::newest(rows);
        let architectures = architectures.into_iter().collect();
        Ok(Found { name: name.to_owned(), release, architectures, rows, older })
    }

    /// Sees to it that all files of these suites can be read, and the `.dsc` of each older source
    /// package: what lies at a URL is fetched into the store, where what had arrived of it before
    /// is found again.
    ///
    /// # Errors
    /// [`Error::Fetch`] names the first file that cannot be had, or is not what its index says;
    /// [`Error::Different`] if two suites have the same package as different files.
    pub fn bring(
        &self,
        store: &Store,
        found: &mut [&mut Found],
        progress: &(dyn Fn(Progress) + Sync),
        cancel: &AtomicBool,
    ) -> Result<()> {
        rows::agree(found)?;
        let mut wanted: BTreeMap<Sha256, PoolFile> = BTreeMap::new();
        let mut places: BTreeMap<Sha256, From> = BTreeMap::new();
        for (path, size, sha256) in found.iter().flat_map(|found| found.files()) {
            match &self.folder {
                Some(folder) => drop(places.insert(sha256, From::File(folder.join(&path)))),
                None => drop(wanted.insert(sha256, PoolFile { path, size, sha256 })),
            }
        }
        let files: Vec<PoolFile> = wanted.into_values().collect();
        let objects = match files.is_empty() {
            true => Vec::new(),
            false => fetch::pool_many(
                store,
                &self.client,
                &self.mirrors,
                &files,
                FETCHES,
                progress,
                cancel,
            )?,
        };
        for object in objects {
            places.insert(object.sha256, From::Store(object.digest));
        }
        let rows = found.iter_mut().flat_map(|found| found.rows.iter_mut().chain(&mut found.older));
        for piece in rows.flat_map(|row| &mut row.item.files) {
            if let Some(place) = places.get(&piece.sha256) {
                piece.from = place.clone();
            }
        }
        Ok(())
    }
}

impl Found {
    /// Files that are needed of it: path there, size and digest.
    fn files(&self) -> impl Iterator<Item = (String, u64, Sha256)> {
        let older = self.older.iter().filter(|row| row.item.kind == Kind::Source);
        let older = older.flat_map(|row| row.files().take(1));
        self.rows.iter().flat_map(Row::files).chain(older)
    }

    /// How many bytes its files have.
    pub fn size(&self) -> u64 {
        self.rows.iter().flat_map(Row::files).map(|(_, size, _)| size).sum()
    }

    /// Its packages, whose files were [brought](Origin::bring): each is looked into, and must be the
    /// package that its index says it is.
    ///
    /// # Errors
    /// [`Broken::Package`] names the package that is not.
    pub fn items(&mut self, store: &Store, repository: &Repository) -> Result<Vec<Item>, Broken> {
        let pool = repository.path(POOL);
        self.rows.par_iter_mut().try_for_each(|row| settle(row, store, &pool))?;
        let sources = self.older.par_iter_mut().filter(|row| row.item.kind == Kind::Source);
        sources.try_for_each(|row| settle(row, store, &pool))?;
        Ok(self.rows.iter().map(|row| row.item.clone()).collect())
    }

    /// What the ledger of the repository has to learn of the other versions: each was there
    /// before, and so its clients may have it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn known(&self, suite: &str, ledger: &Ledger<'_>) -> Result<Vec<Change>, Broken> {
        let names: Vec<&str> = self.older.iter().map(|row| &*row.item.name).collect();
        let histories = ledger.history(&names)?;
        let fresh = self.older.iter().zip(histories).filter(|(row, history)| {
            let item = &row.item;
            !history.iter().any(|entry| {
                (&*entry.suite, &entry.architecture, &entry.version, &entry.payload)
                    == (suite, &item.architecture, &item.version, &item.payload)
            })
        });
        Ok(fresh.map(|(row, _)| note_known(suite, &row.item)).collect())
    }
}

/// Looks into a package.
fn settle(row: &mut Row, store: &Store, pool: &HostPath) -> Result<(), Broken> {
    let item = &mut row.item;
    let piece = &item.files[0];
    let path = piece.path.clone();
    let (size, sha256) = copy(&mut *piece.open(store, pool)?, &mut io::sink())
        .map_err(|error| wrong(&path, error))?;
    if (size, sha256) != (piece.size, piece.sha256) {
        return Err(wrong(
            &path,
            format!("it is not what its index says\nexpected {}\nactual   {sha256}", piece.sha256),
        ));
    }
    let file = piece.open(store, pool)?;
    let text = if item.kind == Kind::Source {
        let mut bytes = Vec::new();
        let read = file.take(MAX_DSC).read_to_end(&mut bytes);
        read.map_err(|error| wrong(&path, error))?;
        unsigned(&bytes).map_err(|why| wrong(&path, why))?
    } else {
        let (control, _) = package::open(file).map_err(|error| wrong(&path, error))?;
        control.paragraph().to_owned()
    };
    let Some(Ok(own)) = paragraphs(&text).next() else {
        return Err(wrong(&path, "it does not say what it is"));
    };
    let (name, architecture) = match item.kind {
        Kind::Source => ("Source", None),
        Kind::Deb | Kind::Udeb => ("Package", Some(item.architecture.as_str())),
    };
    let is_it = own.get(name) == Some(&item.name)
        && own.get("Version") == Some(&item.version)
        && architecture.is_none_or(|known| own.get("Architecture") == Some(known));
    if !is_it {
        let of = |field| own.get(field).unwrap_or("?");
        let found = format!("{} {} ({})", of(name), of("Version"), of("Architecture"));
        return Err(wrong(&path, format!("it is {found}, and its index says something else")));
    }
    if item.kind == Kind::Source {
        item.payload = Sha256::of(text.as_bytes());
    } else if row.is_short {
        item.paragraph = described(&item.paragraph, &text);
    }
    Ok(())
}
