//! The releases that were built here: what is to be kept, and what `status` starts from.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use jiff::Timestamp;
use rusqlite::Row;

use super::Store;
use super::database::optional;
use super::error::{Error, Result};
use super::journal::{self, Event};
use crate::base::{DerivationId, Digest, HostPath};

/// A build of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltRelease {
    /// The release folder, absolute.
    pub folder: HostPath,
    /// The release's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id: the name of its derivation.
    pub release: DerivationId,
    /// The name of its manifest; none if not everything could be built.
    pub manifest: Option<Digest>,
    /// When.
    pub built: Timestamp,
}

impl Store {
    /// Notes that a release was built; of a manifest that is new, the journal tells.
    pub fn register_release(&self, built: &BuiltRelease) -> Result<()> {
        let BuiltRelease { folder, name, version, release, manifest, built } = built;
        self.write("register a release", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO built_release (folder, name, version, release, manifest, built)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    folder.as_path().as_os_str().as_bytes(),
                    name,
                    version,
                    release.as_bytes(),
                    manifest.as_ref().map(Digest::as_bytes),
                    built.as_millisecond(),
                ))?;
            let (name, version) = (name.clone(), version.clone());
            manifest.map_or(Ok(()), |manifest| {
                let event = Event::Manifest { name, version, release: *release, manifest };
                journal::note(transaction, &event)
            })
        })
    }

    /// The last build of the release in this folder.
    pub fn last_release(&self, folder: &HostPath) -> Result<Option<BuiltRelease>> {
        let sql = format!("{SELECT} WHERE folder = ?1 ORDER BY id DESC LIMIT 1");
        let folder = folder.as_path().as_os_str().as_bytes();
        self.row("look up a release", &sql, [folder], read)?
            .map(|row| self.release_of(row))
            .transpose()
    }

    /// All builds of releases, newest first.
    pub fn releases(&self) -> Result<Vec<BuiltRelease>> {
        let sql = format!("{SELECT} ORDER BY id DESC");
        let rows = self.rows("list releases", &sql, (), read)?;
        rows.into_iter().map(|row| self.release_of(row)).collect()
    }

    /// The builds that keep what they need: of each folder the last one, and the last that was
    /// whole; newest first.
    pub fn kept_releases(&self) -> Result<Vec<BuiltRelease>> {
        let sql = format!(
            "{SELECT} WHERE id IN (SELECT max(id) FROM built_release GROUP BY folder)
             OR id IN (SELECT max(id) FROM built_release WHERE manifest IS NOT NULL
                       GROUP BY folder) ORDER BY id DESC"
        );
        let rows = self.rows("list releases", &sql, (), read)?;
        rows.into_iter().map(|row| self.release_of(row)).collect()
    }

    /// Forgets all builds of the release in this folder: they keep nothing any more. Says whether
    /// there were any.
    pub fn forget_releases(&self, folder: &HostPath) -> Result<bool> {
        let folder = folder.as_path().as_os_str().as_bytes();
        self.write("forget a release", |transaction| {
            let sql = "DELETE FROM built_release WHERE folder = ?1";
            transaction.execute(sql, [folder]).map(|count| count > 0)
        })
    }

    fn release_of(&self, (release, built): (BuiltRelease, i64)) -> Result<BuiltRelease> {
        let built = Timestamp::from_millisecond(built).map_err(|_| Error::Row {
            table: "built_release",
            path: self.database_path(),
            what: format!("the time `{built}`"),
        })?;
        Ok(BuiltRelease { built, ..release })
    }
}

const SELECT: &str = "SELECT folder, name, version, release, manifest, built FROM built_release";

fn read(row: &Row<'_>) -> rusqlite::Result<(BuiltRelease, i64)> {
    let folder: Vec<u8> = row.get(0)?;
    let release = BuiltRelease {
        folder: HostPath::new(OsStr::from_bytes(&folder)),
        name: row.get(1)?,
        version: row.get(2)?,
        release: row.get(3).map(DerivationId::from_bytes)?,
        manifest: optional(row, 4, Digest::from_bytes)?,
        built: Timestamp::UNIX_EPOCH,
    };
    Ok((release, row.get(5)?))
}
