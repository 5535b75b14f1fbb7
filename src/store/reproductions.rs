//! What came of building something again: evidence beside the records, never a result.

use jiff::Timestamp;
use rusqlite::Row;

use super::database::{action, digest};
use super::error::{Error, Result};
use super::{LogWriter, Store};
use crate::base::{ActionId, Digest, Json, PackageName};

/// What building an action again came to, held against its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sameness {
    /// Every output is the same bytes.
    Reproduced,
    /// Outputs differ, are missing, or came besides.
    Differs,
    /// It was not built.
    Failed,
}

impl Sameness {
    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::Differs => "differs",
            Self::Failed => "failed",
        }
    }

    const ALL: [Self; 3] = [Self::Reproduced, Self::Differs, Self::Failed];
}

/// One time that an action was built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproduction {
    /// The package.
    pub package: PackageName,
    /// What was built again.
    pub action: ActionId,
    /// The name of the document that says what came of it.
    pub document: Digest,
    /// What it came to.
    pub verdict: Sameness,
    /// When it was kept.
    pub made: Timestamp,
}

impl Store {
    /// A log of at most `limit` bytes for building something again. Its text is kept by whatever
    /// document of [`Store::put_reproduction`] names it.
    pub fn start_reproduction(&self, limit: u64) -> Result<LogWriter> {
        self.log_writer(limit)
    }

    /// Keeps what came of building an action again. What its member `kept` lists stays until the
    /// package is built again once more, the document and its log as long as those of attempts.
    pub fn put_reproduction(
        &self,
        package: &PackageName,
        action: &ActionId,
        verdict: Sameness,
        document: &Json,
    ) -> Result<Digest> {
        let digest = self.put_json(document)?;
        let now = Timestamp::now().as_millisecond();
        self.write("keep a reproduction", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO reproduction (package, action, document, verdict, made)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((
                    package.as_str(),
                    action.as_bytes(),
                    digest.as_bytes(),
                    verdict.as_str(),
                    now,
                ))
                .map(drop)
        })?;
        Ok(digest)
    }

    /// The times that an action was built again, the newest first.
    pub fn reproductions(&self, action: &ActionId) -> Result<Vec<Reproduction>> {
        let sql = format!("{SELECT} WHERE action = ?1 ORDER BY id DESC");
        let rows = self.rows("list reproductions", &sql, [action.as_bytes()], read)?;
        rows.into_iter().map(|row| self.reproduction_of(row)).collect()
    }

    /// The newest of each package.
    pub(super) fn last_reproductions(&self) -> Result<Vec<Reproduction>> {
        let sql =
            format!("{SELECT} WHERE id IN (SELECT max(id) FROM reproduction GROUP BY package)");
        let rows = self.rows("list reproductions", &sql, (), read)?;
        rows.into_iter().map(|row| self.reproduction_of(row)).collect()
    }

    fn reproduction_of(&self, row: ReproductionRow) -> Result<Reproduction> {
        let damaged =
            |what: String| Error::Row { table: "reproduction", path: self.database_path(), what };
        let ReproductionRow { package, action, document, verdict, made } = row;
        Ok(Reproduction {
            package: package.parse().map_err(|_| damaged(format!("the package `{package}`")))?,
            action,
            document,
            verdict: *Sameness::ALL
                .iter()
                .find(|known| known.as_str() == verdict)
                .ok_or_else(|| damaged(format!("the verdict `{verdict}`")))?,
            made: Timestamp::from_millisecond(made)
                .map_err(|_| damaged(format!("the time `{made}`")))?,
        })
    }
}

const SELECT: &str = "SELECT package, action, document, verdict, made FROM reproduction";

struct ReproductionRow {
    package: String,
    action: ActionId,
    document: Digest,
    verdict: String,
    made: i64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<ReproductionRow> {
    Ok(ReproductionRow {
        package: row.get(0)?,
        action: action(row, 1)?,
        document: digest(row, 2)?,
        verdict: row.get(3)?,
        made: row.get(4)?,
    })
}
