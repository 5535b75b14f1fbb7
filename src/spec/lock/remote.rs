//! The pins of sources that come from elsewhere: git repositories and single files.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::document::{Reader, Table};
use super::super::model::Located;
use super::{LockedBinary, digest, key, parsed, string, write_string};
use crate::base::{Diagnostic, Digest, Format, PackageName, Sha256};

/// A revision of a git repository at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedGit {
    /// The commit, in full hexadecimal.
    pub commit: String,
    /// When it was committed, as RFC 3339 in UTC with seconds.
    pub date: String,
    /// Digest of the [`crate::base::Tree`] of its files, submodules included.
    pub tree: Digest,
    /// What came before it; only where a spec asks for it.
    pub history: Option<LockedHistory>,
    /// What its `debian/` folder says, where it has one.
    pub packaging: Option<LockedPackaging>,
}

/// What came before a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedHistory {
    /// The newest reachable tag that holds a digit; empty where there is none.
    pub tag: String,
    /// How many commits that are no merges came since that tag; since ever where there is none.
    pub commits: u64,
    /// The last ten commits, newest first.
    pub log: Vec<LockedCommit>,
}

/// A commit as a changelog tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedCommit {
    /// Its name, in full hexadecimal.
    pub commit: String,
    /// When it was committed, as RFC 3339 in UTC with seconds.
    pub date: String,
    /// Who wrote it: `Name <address>`.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

/// A file from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedDownload {
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
    /// How it is unpacked, where a spec asks for that.
    pub format: Option<Format>,
    /// What the `debian/` folder in it says, where it has one.
    pub packaging: Option<LockedPackaging>,
}

/// What a `debian/` folder says, as far as the graph needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedPackaging {
    /// The source package's name.
    pub source: PackageName,
    /// The version of the top changelog entry.
    pub version: String,
    /// The date of that entry, as RFC 3339 in UTC with seconds.
    pub date: String,
    /// The binary packages of `debian/control`; `profiles` is `Build-Profiles` as written there.
    pub binaries: Vec<LockedBinary>,
    /// Build dependencies and conflicts, as in [`super::LockedSource::relations`].
    pub relations: BTreeMap<String, String>,
}

/// Reads `[git.URL.REV]`.
pub(super) fn git<'i>(reader: &mut Reader<'i>, mut table: Table<'i>) -> Option<LockedGit> {
    let commit = commit(reader, &mut table);
    let date = date(reader, &mut table);
    let tree = reader.required(&mut table, "tree").and_then(|tree| parsed(reader, tree));
    let history = table.has("commits").then(|| history(reader, &mut table));
    let packaging = reader.table(&mut table, "packaging").map(|table| packaging(reader, table));
    reader.finish(table, &[]);
    Some(LockedGit {
        commit: commit?,
        date: date?,
        tree: tree?,
        history: history.map_or(Some(None), |history| history.map(Some))?,
        packaging: packaging.map_or(Some(None), |packaging| packaging.map(Some))?,
    })
}

/// Reads `[download.URL]`.
pub(super) fn download<'i>(
    reader: &mut Reader<'i>,
    mut table: Table<'i>,
) -> Option<LockedDownload> {
    let size = reader.size(&mut table, "size");
    let sha256 = digest(reader, &mut table, "sha256");
    let format = reader.string(&mut table, "format").map(|format| parsed(reader, format));
    let packaging = reader.table(&mut table, "packaging").map(|table| packaging(reader, table));
    reader.finish(table, &[]);
    Some(LockedDownload {
        size: size?,
        sha256: sha256?,
        format: format.map_or(Some(None), |format| format.map(Some))?,
        packaging: packaging.map_or(Some(None), |packaging| packaging.map(Some))?,
    })
}

fn history<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>) -> Option<LockedHistory> {
    let tag = reader.string(table, "tag").map(|tag| tag.value).unwrap_or_default();
    let commits = reader.size(table, "commits");
    let mut log = Vec::new();
    for mut table in reader.tables(table, "log", "a commit") {
        let (commit, date) = (commit(reader, &mut table), date(reader, &mut table));
        let author = reader.required(&mut table, "author");
        let subject = reader.required(&mut table, "subject");
        reader.finish(table, &[]);
        let (author, subject) = (author?.value, subject?.value);
        log.push(LockedCommit { commit: commit?, date: date?, author, subject });
    }
    Some(LockedHistory { tag, commits: commits?, log })
}

fn packaging<'i>(reader: &mut Reader<'i>, mut table: Table<'i>) -> Option<LockedPackaging> {
    let source = reader.required(&mut table, "source").and_then(|name| parsed(reader, name));
    let version = reader.required(&mut table, "version");
    let date = date(reader, &mut table);
    let binaries = super::binaries(reader, &mut table);
    let relations = super::relations(reader, &mut table);
    reader.finish(table, &[]);
    Some(LockedPackaging {
        source: source?,
        version: version?.value,
        date: date?,
        binaries,
        relations,
    })
}

fn commit<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>) -> Option<String> {
    let Located { value, span } = reader.required(table, "commit")?;
    if is_commit(&value) {
        return Some(value);
    }
    let message = format!("`{value}` is not the name of a commit");
    reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
    None
}

fn date<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>) -> Option<String> {
    let Located { value, span } = reader.required(table, "date")?;
    if value.parse::<jiff::Timestamp>().is_ok() {
        return Some(value);
    }
    let message = format!("`{value}` is not a date such as `2026-11-22T12:00:00Z`");
    reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
    None
}

/// Whether a text is the full name of a commit.
pub fn is_commit(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    matches!(text.len(), 40 | 64) && text.bytes().all(hex)
}

pub(super) fn write_git(out: &mut String, url: &str, rev: &str, pin: &Arc<LockedGit>) {
    let LockedGit { commit, date, tree, history, packaging } = &**pin;
    let title = format!("git.{}.{}", key(url), key(rev));
    out.push_str(&format!("\n[{title}]\n"));
    write_string(out, "commit", commit);
    write_string(out, "date", date);
    out.push_str(&format!("tree = \"{tree}\"\n"));
    if let Some(LockedHistory { tag, commits, log }) = history {
        write_string(out, "tag", tag);
        out.push_str(&format!("commits = {commits}\nlog = [\n"));
        for LockedCommit { commit, date, author, subject } in log {
            out.push_str(&format!(
                "    {{ commit = {}, date = {}, author = {}, subject = {} }},\n",
                string(commit),
                string(date),
                string(author),
                string(subject)
            ));
        }
        out.push_str("]\n");
    }
    write_packaging(out, &title, packaging);
}

pub(super) fn write_download(out: &mut String, url: &str, pin: &Arc<LockedDownload>) {
    let LockedDownload { size, sha256, format, packaging } = &**pin;
    let title = format!("download.{}", key(url));
    out.push_str(&format!("\n[{title}]\nsize = {size}\nsha256 = \"{sha256}\"\n"));
    if let Some(format) = format {
        write_string(out, "format", format.as_str());
    }
    write_packaging(out, &title, packaging);
}

fn write_packaging(out: &mut String, title: &str, packaging: &Option<LockedPackaging>) {
    let Some(packaging) = packaging else { return };
    let LockedPackaging { source, version, date, binaries, relations } = packaging;
    let title = format!("{title}.packaging");
    out.push_str(&format!("\n[{title}]\n"));
    write_string(out, "source", source.as_str());
    write_string(out, "version", version);
    write_string(out, "date", date);
    super::write_binaries(out, binaries);
    super::write_relations(out, &title, relations);
}
