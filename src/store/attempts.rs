//! Every run of every build: what `log`, `status` and the estimates of durations read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Row, Transaction};
use rustix::fs::FlockOperation;

use super::batch::Batch;
use super::database::{action, digest, i64_of, optional};
use super::error::{Error, Result, system};
use super::locks::attempt;
use super::logs::is_growing;
use super::objects::{is_file, open};
use super::records::{RecordRow, Recorded};
use super::{Log, LogWriter, Store};
use crate::base::{ActionId, DerivationId, Digest, HostPath, Json, PackageName};

/// What a new attempt is an attempt at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    /// The package.
    pub package: PackageName,
    /// Its recipe.
    pub derivation: DerivationId,
    /// Everything that goes into this run.
    pub action: ActionId,
}

/// How an attempt ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Its process is at it.
    Running,
    /// Its process died.
    Interrupted,
    /// The package was built.
    Built,
    /// The package is at fault.
    Failed,
    /// The machine is at fault: no space, killed, no isolation.
    Fault,
    /// It was called off.
    Cancelled,
}

impl Verdict {
    /// The verdict as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Built => "built",
            Self::Failed => "failed",
            Self::Fault => "fault",
            Self::Cancelled => "cancelled",
        }
    }

    const ALL: [Self; 6] =
        [Self::Running, Self::Interrupted, Self::Built, Self::Failed, Self::Fault, Self::Cancelled];
}

/// Where an attempt's log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptLog {
    /// There is none, or not any more.
    None,
    /// The file it grows in, or grew in until its process died.
    Partial(HostPath),
    /// Finished: [`Store::read_log`] reads it.
    Kept(Digest),
}

/// One run of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its number in this store; later ones have higher numbers.
    pub id: i64,
    /// Its number among the attempts at packages of this name, from 1.
    pub number: u64,
    /// The package.
    pub package: PackageName,
    /// Its recipe.
    pub derivation: DerivationId,
    /// Everything that went into this run.
    pub action: ActionId,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, once it has ended.
    pub duration: Option<Duration>,
    /// How it ended.
    pub verdict: Verdict,
    /// What is to be said about it in a line: the failure's picked-out cause. May be empty.
    pub summary: String,
    /// What kind of failure it ended with.
    pub kind: Option<String>,
    /// The name that this failure has in whatever package it is met.
    pub fingerprint: Option<Digest>,
    /// The name of its record, if it was built.
    pub record: Option<Digest>,
    /// Its log.
    pub log: AttemptLog,
}

/// An attempt under way. Dropped unfinished, it counts as interrupted.
#[derive(Debug)]
pub struct OpenAttempt {
    store: Store,
    id: i64,
    action: ActionId,
    began: Instant,
    partial: HostPath,
    blame: Option<(&'static str, Digest)>,
    _lease: File,
}

/// A log that is read while it is written.
#[derive(Debug)]
pub struct Following {
    file: File,
    path: HostPath,
}

/// What comes next of a log that is read while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// So many bytes.
    Text(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: its writer has finished, or died.
    End,
}

impl Following {
    /// Reads what is there into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Next> {
        // Looked at first: what is written until its writer ends is there to be read afterwards.
        let ended =
            attempt(&self.file, FlockOperation::NonBlockingLockShared, self.path.as_path())?;
        match self.file.read(buffer).map_err(system("read", &self.path))? {
            0 if ended => Ok(Next::End),
            0 => Ok(Next::Nothing),
            count => Ok(Next::Text(count)),
        }
    }
}

impl Store {
    /// Notes that a build begins, and gives the log that it writes, of at most `log_limit` bytes.
    pub fn start_attempt(
        &self,
        new: &NewAttempt,
        log_limit: u64,
    ) -> Result<(OpenAttempt, LogWriter)> {
        let NewAttempt { package, derivation, action } = new;
        let log = self.log_writer(log_limit)?;
        let partial = log.path().as_path().file_name().unwrap_or_default().to_string_lossy();
        let id = self.write_lightly("begin an attempt", |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO attempt (package, derivation, action, started, summary, partial)
                     VALUES (?1, ?2, ?3, ?4, '', ?5)",
                )?
                .insert((
                    package.as_str(),
                    derivation.as_bytes(),
                    action.as_bytes(),
                    Timestamp::now().as_millisecond(),
                    partial,
                ))
        })?;
        let attempt = OpenAttempt {
            store: self.clone(),
            id,
            action: *action,
            began: Instant::now(),
            partial: log.path().clone(),
            blame: None,
            _lease: log.lease()?,
        };
        Ok((attempt, log))
    }

    /// The last `most` attempts, newest first: of one package, or of all.
    pub fn attempts(&self, package: Option<&PackageName>, most: u32) -> Result<Vec<Attempt>> {
        let rows = match package {
            Some(package) => {
                let sql = format!("{SELECT} WHERE package = ?1 ORDER BY id DESC LIMIT ?2");
                self.rows("list attempts", &sql, (package.as_str(), most), read)?
            }
            None => {
                let sql = format!("{SELECT} ORDER BY id DESC LIMIT ?1");
                self.rows("list attempts", &sql, [most], read)?
            }
        };
        rows.into_iter().map(|row| self.attempt_of(row)).collect()
    }

    /// The text of an attempt's log, and whether that is all of it: a log that still grows, or
    /// whose process died, is read as far as it came.
    pub fn attempt_log(&self, attempt: &Attempt) -> Result<(Vec<u8>, Completeness)> {
        match &attempt.log {
            AttemptLog::Kept(digest) => Ok((self.read_log(digest)?, Completeness::Whole)),
            AttemptLog::None => Ok((Vec::new(), Completeness::Partial)),
            AttemptLog::Partial(path) => {
                let mut text = Vec::new();
                open(path)?.read_to_end(&mut text).map_err(system("read", path))?;
                Ok((text, Completeness::Partial))
            }
        }
    }

    /// The attempt of this number, if there is one.
    pub fn attempt(&self, id: i64) -> Result<Option<Attempt>> {
        let row = self.row("look up an attempt", &format!("{SELECT} WHERE id = ?1"), [id], read)?;
        row.map(|row| self.attempt_of(row)).transpose()
    }

    /// The log of an attempt under way, from its beginning; none if it is under way no longer.
    pub fn follow_log(&self, attempt: &Attempt) -> Result<Option<Following>> {
        let AttemptLog::Partial(path) = &attempt.log else { return Ok(None) };
        match open(path) {
            Ok(file) => Ok(Some(Following { file, path: path.clone() })),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Closes the attempts whose processes died: what there is of their logs is kept as it is,
    /// with a last line that says why it ends. Gives how many there were.
    pub fn settle_attempts(&self) -> Result<usize> {
        let open = self.rows(
            "list open attempts",
            "SELECT id, partial FROM attempt WHERE verdict IS NULL",
            (),
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )?;
        let mut settled = 0;
        for (id, partial) in open {
            let Some(log) = self.close_log(&self.path("logs").join(&partial))? else { continue };
            let changed = self.write("settle an attempt", |transaction| {
                transaction
                    .prepare_cached(
                        "UPDATE attempt SET verdict = 'interrupted', log = ?2
                         WHERE id = ?1 AND verdict IS NULL",
                    )?
                    .execute((id, log.digest.as_bytes()))
            })?;
            if changed > 0 {
                // As after every attempt: should this fail, it is only there twice.
                let _ = fs::remove_file(self.path("logs").join(&partial));
            }
            settled += changed;
        }
        Ok(settled)
    }

    /// The names of the records that builds with this store made; others came from elsewhere.
    pub fn made_records(&self) -> Result<BTreeSet<Digest>> {
        let sql = "SELECT record FROM attempt WHERE record IS NOT NULL";
        let rows = self.rows("list the records of attempts", sql, (), |row| digest(row, 0))?;
        Ok(rows.into_iter().collect())
    }

    /// How long each package took when it was last built.
    pub fn durations(&self) -> Result<BTreeMap<PackageName, Duration>> {
        let rows = self.rows(
            "look up durations",
            "SELECT package, milliseconds FROM attempt WHERE id IN
             (SELECT max(id) FROM attempt WHERE verdict = 'built' GROUP BY package)",
            (),
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs())),
        )?;
        rows.into_iter()
            .map(|(name, milliseconds)| {
                Ok((self.package_of(&name)?, Duration::from_millis(milliseconds)))
            })
            .collect()
    }

    fn attempt_of(&self, row: AttemptRow) -> Result<Attempt> {
        let partial = self.path("logs").join(&row.partial);
        let verdict = match &row.verdict {
            None if is_growing(&partial)? => Verdict::Running,
            None => Verdict::Interrupted,
            Some(word) => *Verdict::ALL
                .iter()
                .find(|verdict| verdict.as_str() == word)
                .ok_or_else(|| self.damaged(format!("the verdict `{word}`")))?,
        };
        let log = match row.log {
            Some(digest) => AttemptLog::Kept(digest),
            None if is_file(&partial) => AttemptLog::Partial(partial),
            None => AttemptLog::None,
        };
        let started = Timestamp::from_millisecond(row.started)
            .map_err(|_| self.damaged(format!("the time `{}`", row.started)))?;
        Ok(Attempt {
            id: row.id,
            number: row.number.unsigned_abs(),
            kind: row.kind,
            fingerprint: row.fingerprint,
            package: self.package_of(&row.package)?,
            derivation: row.derivation,
            action: row.action,
            started,
            duration: row.milliseconds.map(|value| Duration::from_millis(value.unsigned_abs())),
            verdict,
            summary: row.summary,
            record: row.record,
            log,
        })
    }

    fn package_of(&self, name: &str) -> Result<PackageName> {
        name.parse().map_err(|_| self.damaged(format!("the package `{name}`")))
    }

    fn damaged(&self, what: String) -> Error {
        Error::Row { table: "attempt", path: self.database_path(), what }
    }
}

/// Whether a text is all of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// It is.
    Whole,
    /// It ends where the log has come to, or where its process died.
    Partial,
}

impl OpenAttempt {
    /// Its number in this store.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Says what kind of failure it ended with, and the name of that failure.
    pub fn blame(&mut self, kind: &'static str, fingerprint: Digest) {
        self.blame = Some((kind, fingerprint));
    }

    /// Keeps what a success left, as one: all that is in `batch`, the record, which is adopted as
    /// [`Store::put_record`] says, and how the attempt ended. `log` is what the batch's
    /// [`Batch::put_log`] gave.
    pub fn succeed(self, batch: Batch<'_>, record: &Json, log: &Log) -> Result<Recorded> {
        let row = RecordRow::put(&batch, self.action, record)?;
        let recorded = batch.commit_with("keep a record", |transaction| {
            let recorded = row.write(transaction)?;
            self.end(transaction, Verdict::Built, "", Some(&recorded.digest), Some(log))?;
            Ok(recorded)
        })?;
        self.drop_growing();
        Ok(recorded)
    }

    /// Notes how an attempt ended that left nothing. `summary` is a line for people, `log` what
    /// its finished [`LogWriter`] gave.
    pub fn finish(self, verdict: Verdict, summary: &str, log: Option<&Log>) -> Result<()> {
        self.store.write("finish an attempt", |transaction| {
            self.end(transaction, verdict, summary, None, log)
        })?;
        if log.is_some() {
            self.drop_growing();
        }
        Ok(())
    }

    fn end(
        &self,
        transaction: &Transaction<'_>,
        verdict: Verdict,
        summary: &str,
        record: Option<&Digest>,
        log: Option<&Log>,
    ) -> rusqlite::Result<()> {
        let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        transaction
            .prepare_cached(
                "UPDATE attempt SET milliseconds = ?2, verdict = ?3, summary = ?4, record = ?5,
                 log = ?6, kind = ?7, fingerprint = ?8 WHERE id = ?1",
            )?
            .execute((
                self.id,
                i64_of(milliseconds),
                verdict.as_str(),
                summary,
                record.map(Digest::as_bytes),
                log.map(|log| log.digest.as_bytes()),
                self.blame.map(|(kind, _)| kind),
                self.blame.as_ref().map(|(_, fingerprint)| fingerprint.as_bytes()),
            ))
            .map(drop)
    }

    /// The whole log has its name: should this fail, it is only there twice.
    fn drop_growing(&self) {
        let _ = fs::remove_file(&self.partial);
    }
}

const SELECT: &str = "SELECT id, package, derivation, action, started, milliseconds, verdict, \
                      summary, record, log, partial, kind, fingerprint, \
                      (SELECT count(*) FROM attempt AS other WHERE other.package = \
                      attempt.package AND other.id <= attempt.id) FROM attempt";

struct AttemptRow {
    id: i64,
    package: String,
    derivation: DerivationId,
    action: ActionId,
    started: i64,
    milliseconds: Option<i64>,
    verdict: Option<String>,
    summary: String,
    record: Option<Digest>,
    log: Option<Digest>,
    partial: String,
    kind: Option<String>,
    fingerprint: Option<Digest>,
    number: i64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        id: row.get(0)?,
        package: row.get(1)?,
        derivation: row.get(2).map(DerivationId::from_bytes)?,
        action: action(row, 3)?,
        started: row.get(4)?,
        milliseconds: row.get(5)?,
        verdict: row.get(6)?,
        summary: row.get(7)?,
        record: optional(row, 8, Digest::from_bytes)?,
        log: optional(row, 9, Digest::from_bytes)?,
        partial: row.get(10)?,
        kind: row.get(11)?,
        fingerprint: optional(row, 12, Digest::from_bytes)?,
        number: row.get(13)?,
    })
}
