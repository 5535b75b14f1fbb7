//! release.lock: what a release is pinned to.

mod remote;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

pub use remote::{
    LockedCommit, LockedDownload, LockedGit, LockedHistory, LockedPackaging, is_commit,
};

use serde::{Deserialize, Serialize};

use super::document::{Reader, Table, top_file};
use super::model::Located;
use super::release::is_label;
use super::text::Text;
use crate::base::{
    Architecture, Diagnostic, Digest, PackageName, ReleaseFolder, ReleasePath, Sha256, Span,
};

/// The content of release.lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Upstream archives, by their name in release.toml.
    pub archives: BTreeMap<String, LockedArchive>,
    /// Source packages of archives, by archive and name.
    pub sources: BTreeMap<(String, PackageName), LockedSource>,
    /// Revisions of git repositories, by URL and revision as the specs say them.
    pub git: BTreeMap<(String, String), Arc<LockedGit>>,
    /// Files from elsewhere, by the first of the URLs that the specs say.
    pub downloads: BTreeMap<String, Arc<LockedDownload>>,
    /// SHA-256 of each stdlib module's text kept in `release.lock.d/stdlib/`, by module.
    pub stdlib: BTreeMap<String, Sha256>,
    /// The state of each release that it extends, by its folder.
    pub extends: BTreeMap<ReleaseFolder, Digest>,
}

/// An upstream archive at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedArchive {
    /// Its suites, in the order of release.toml.
    pub suites: Vec<LockedSuite>,
}

/// A suite at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSuite {
    /// `bookworm`.
    pub suite: String,
    /// The `Date` of its Release file, as written there.
    pub date: String,
    /// SHA-256 of the InRelease file kept at `release.lock.d/<archive>/<suite>.InRelease`.
    pub release: Sha256,
    /// The indexes, sorted by path.
    pub indexes: Vec<LockedIndex>,
}

/// An index of a suite, named by its *uncompressed* content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedIndex {
    /// Path below the suite without compression suffix: `main/binary-amd64/Packages`.
    pub path: String,
    /// What it lists.
    pub kind: IndexKind,
    /// Digest of the uncompressed bytes.
    pub sha256: Sha256,
    /// Size of the uncompressed bytes.
    pub size: u64,
}

/// What an index lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexKind {
    /// Binary packages of an architecture.
    Packages(Architecture),
    /// Source packages.
    Sources,
}

/// A source package of an archive: its files, and what the graph needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSource {
    /// Version, with epoch and revision.
    pub version: String,
    /// Where it lies below the archive's root: `pool/main/c/catdoc`.
    pub directory: String,
    /// The `.dsc` and every file it names, sorted by name.
    pub files: Vec<LockedFile>,
    /// The binary packages it builds.
    pub binaries: Vec<LockedBinary>,
    /// `Build-Depends`, `Build-Depends-Arch`, `Build-Depends-Indep`, `Build-Conflicts`,
    /// `Build-Conflicts-Arch`, `Build-Conflicts-Indep` as written, white space folded; absent
    /// fields have no entry.
    pub relations: BTreeMap<String, String>,
    /// `Rules-Requires-Root`, if not the default.
    pub requires_root: Option<String>,
}

/// A file by name, size and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// File name without directory.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// A binary package that a source builds, from its `Package-List`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedBinary {
    /// Its name.
    pub name: PackageName,
    /// Architectures as written: `any`, `all`, `amd64 arm64`.
    pub architecture: String,
    /// Build profile formula as written in `Package-List` (`!stage1`), or empty.
    pub profiles: String,
    /// What it `Provides`, as the archive's index says; empty where it has no such binary.
    pub provides: String,
}

/// The file that holds it.
pub const FILE: &str = "release.lock";

/// The largest release.lock, in bytes.
pub const MAX_SIZE: u64 = 256 << 20;

/// The names of [`LockedSource::relations`].
pub const RELATIONS: [&str; 6] = [
    "Build-Depends",
    "Build-Depends-Arch",
    "Build-Depends-Indep",
    "Build-Conflicts",
    "Build-Conflicts-Arch",
    "Build-Conflicts-Indep",
];

const VERSION: u64 = 1;

/// Reads the text of the release's own release.lock.
///
/// # Errors
/// Everything that keeps it from being a lock of `version = 1`, each with its place. Paths that
/// could leave the place they are relative to are refused, since a lock may come from anyone.
pub fn parse(text: &str) -> Result<Lock, Vec<Diagnostic>> {
    parse_in(&ReleaseFolder::default(), text)
}

/// Reads the text of the release.lock in `folder`.
///
/// # Errors
/// As those of [`parse`].
pub fn parse_in(folder: &ReleaseFolder, text: &str) -> Result<Lock, Vec<Diagnostic>> {
    let text = Text::new(folder.path(&top_file(FILE)), text.to_owned());
    let (mut reader, mut root) = Reader::parse(&text)?;
    let at = root.span.clone();
    match reader.size(&mut root, "version") {
        Some(VERSION) => {}
        Some(other) => {
            let message = format!("`{FILE}` has version {other}, and this program reads 1");
            return Err(vec![Diagnostic::new("unsupported", message).at(at, "")]);
        }
        None => {
            return Err(reader
                .errors
                .into_iter()
                .map(|error| error.hint("`perestroika lock` writes this file"))
                .collect());
        }
    }
    let mut lock = Lock::default();
    if let Some(archives) = reader.table(&mut root, "archive") {
        for (Located { value: name, span }, value) in reader.entries(archives) {
            label(&mut reader, &name, span);
            let title = format!("`[archive.{name}]`");
            let Some(mut table) = reader.table_of(value, &title) else { continue };
            let suites = reader.tables(&mut table, "suites", &format!("a suite of {title}"));
            let suites = suites.into_iter().filter_map(|table| suite(&mut reader, table)).collect();
            reader.finish(table, &[]);
            lock.archives.insert(name, LockedArchive { suites });
        }
    }
    if let Some(archives) = reader.table(&mut root, "source") {
        for (Located { value: archive, span }, value) in reader.entries(archives) {
            label(&mut reader, &archive, span);
            let Some(table) = reader.table_of(value, &format!("`[source.{archive}]`")) else {
                continue;
            };
            for (name, value) in reader.entries(table) {
                let title = format!("`[source.{archive}.{}]`", name.value);
                let Some(name) = parsed(&mut reader, name) else { continue };
                let Some(table) = reader.table_of(value, &title) else { continue };
                if let Some(source) = source(&mut reader, table) {
                    lock.sources.insert((archive.clone(), name), source);
                }
            }
        }
    }
    if let Some(table) = reader.table(&mut root, "git") {
        for (Located { value: url, .. }, value) in reader.entries(table) {
            let Some(table) = reader.table_of(value, &format!("`[git.\"{url}\"]`")) else {
                continue;
            };
            for (Located { value: rev, .. }, value) in reader.entries(table) {
                let title = format!("`[git.\"{url}\".\"{rev}\"]`");
                let Some(table) = reader.table_of(value, &title) else { continue };
                if let Some(pin) = remote::git(&mut reader, table) {
                    lock.git.insert((url.clone(), rev), Arc::new(pin));
                }
            }
        }
    }
    if let Some(table) = reader.table(&mut root, "download") {
        for (Located { value: url, .. }, value) in reader.entries(table) {
            let title = format!("`[download.\"{url}\"]`");
            let Some(table) = reader.table_of(value, &title) else { continue };
            if let Some(pin) = remote::download(&mut reader, table) {
                lock.downloads.insert(url, Arc::new(pin));
            }
        }
    }
    for (module, digest) in digests(&mut reader, &mut root, "stdlib") {
        label(&mut reader, &module.value, module.span);
        lock.stdlib.insert(module.value, digest);
    }
    for (folder, digest) in digests(&mut reader, &mut root, "extends") {
        let folder = parsed(&mut reader, folder);
        lock.extends.extend(folder.map(|folder: ReleaseFolder| (folder, digest)));
    }
    reader.finish(root, &[]);
    if reader.errors.is_empty() { Ok(lock) } else { Err(reader.errors) }
}

/// The entries of table `key`, each of which is a digest.
fn digests<'i, T: FromStr<Err: Display>>(
    reader: &mut Reader<'i>,
    root: &mut Table<'i>,
    key: &'static str,
) -> Vec<(Located<String>, T)> {
    let Some(table) = reader.table(root, key) else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in reader.entries(table) {
        let digest = match reader.scalar(&format!("`{}`", name.value), &value) {
            Some(toml::Value::String(value)) => {
                parsed(reader, Located { value, span: name.span.clone() })
            }
            Some(_) => {
                let message = format!("`{}` must be a digest", name.value);
                let error = Diagnostic::new("wrong-type", message).at(name.span.clone(), "");
                reader.errors.push(error);
                None
            }
            None => None,
        };
        found.extend(digest.map(|digest| (name, digest)));
    }
    found
}

fn suite<'i>(reader: &mut Reader<'i>, mut table: Table<'i>) -> Option<LockedSuite> {
    let suite = reader.required(&mut table, "suite");
    if let Some(Located { value, span }) = &suite
        && (value.contains('/') || value.parse::<ReleasePath>().is_err())
    {
        let message = format!("`{value}` cannot be the name of a suite");
        reader.errors.push(Diagnostic::new("bad-value", message).at(span.clone(), ""));
    }
    let date = reader.required(&mut table, "date");
    let release = digest(reader, &mut table, "release");
    let mut indexes = Vec::new();
    for mut table in reader.tables(&mut table, "indexes", "an index") {
        let path = required_path(reader, &mut table, "path");
        let kind = reader.required(&mut table, "kind");
        let kind = match kind.as_ref().map(|kind| kind.value.as_str()) {
            Some("packages") => {
                let architecture = reader.required(&mut table, "architecture");
                architecture.and_then(|at| parsed(reader, at)).map(IndexKind::Packages)
            }
            Some("sources") => Some(IndexKind::Sources),
            Some(other) => {
                let message = format!("unknown kind `{other}`: `packages` and `sources` are known");
                let span = kind.and_then(|kind| kind.span);
                reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
                None
            }
            None => None,
        };
        let size = reader.size(&mut table, "size");
        let sha256 = digest(reader, &mut table, "sha256");
        reader.finish(table, &[]);
        if let (Some(path), Some(kind), Some(size), Some(sha256)) = (path, kind, size, sha256) {
            indexes.push(LockedIndex { path, kind, sha256, size });
        }
    }
    reader.finish(table, &[]);
    Some(LockedSuite { suite: suite?.value, date: date?.value, release: release?, indexes })
}

fn source<'i>(reader: &mut Reader<'i>, mut table: Table<'i>) -> Option<LockedSource> {
    let version = reader.required(&mut table, "version");
    let directory = required_path(reader, &mut table, "directory");
    let mut files = Vec::new();
    for mut table in reader.tables(&mut table, "files", "a file") {
        let name = reader.required(&mut table, "name");
        if let Some(Located { value, span }) = &name
            && (value.contains('/') || value.parse::<ReleasePath>().is_err())
        {
            let message = format!("`{value}` is no plain file name");
            reader.errors.push(Diagnostic::new("bad-path", message).at(span.clone(), ""));
        }
        let size = reader.size(&mut table, "size");
        let sha256 = digest(reader, &mut table, "sha256");
        reader.finish(table, &[]);
        if let (Some(name), Some(size), Some(sha256)) = (name, size, sha256) {
            files.push(LockedFile { name: name.value, size, sha256 });
        }
    }
    let binaries = binaries(reader, &mut table);
    let relations = relations(reader, &mut table);
    let requires_root = reader.string(&mut table, "requires_root").map(|at| at.value);
    reader.finish(table, &[]);
    let (version, directory) = (version?.value, directory?);
    Some(LockedSource { version, directory, files, binaries, relations, requires_root })
}

fn binaries<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>) -> Vec<LockedBinary> {
    let mut binaries = Vec::new();
    for mut table in reader.tables(table, "binaries", "a binary package") {
        let name = reader.required(&mut table, "name").and_then(|name| parsed(reader, name));
        let architecture = reader.required(&mut table, "architecture");
        let mut text = |key| reader.string(&mut table, key).map(|at| at.value).unwrap_or_default();
        let (profiles, provides) = (text("profiles"), text("provides"));
        reader.finish(table, &[]);
        if let (Some(name), Some(architecture)) = (name, architecture) {
            let architecture = architecture.value;
            binaries.push(LockedBinary { name, architecture, profiles, provides });
        }
    }
    binaries
}

fn relations<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>) -> BTreeMap<String, String> {
    let mut relations = BTreeMap::new();
    if let Some(mut table) = reader.table(table, "relations") {
        for name in RELATIONS {
            let relation = reader.string(&mut table, name);
            relations.extend(relation.map(|relation| (name.to_owned(), relation.value)));
        }
        reader.finish(table, &[]);
    }
    relations
}

/// The parsed form of a string, or an error at its place.
fn parsed<T: FromStr<Err: Display>>(reader: &mut Reader<'_>, at: Located<String>) -> Option<T> {
    let error = match at.value.parse() {
        Ok(value) => return Some(value),
        Err(error) => Diagnostic::new("bad-value", format!("{error}")).at(at.span, ""),
    };
    reader.errors.push(error);
    None
}

fn digest<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>, key: &'static str) -> Option<Sha256> {
    let text = reader.required(table, key)?;
    parsed(reader, text)
}

/// A path that stays below the place it is relative to.
fn required_path<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    key: &'static str,
) -> Option<String> {
    let at = reader.required(table, key)?;
    if at.value.parse::<ReleasePath>().is_ok_and(|path| path.as_str() == at.value) {
        return Some(at.value);
    }
    let message = format!("`{}` is no plain relative path", at.value);
    reader.errors.push(Diagnostic::new("bad-path", message).at(at.span, ""));
    None
}

fn label(reader: &mut Reader<'_>, name: &str, span: Option<Span>) {
    if !is_label(name) {
        let message = format!("`{name}` cannot be a name here");
        reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
    }
}

impl Lock {
    /// The text of release.lock: sorted, and a line for each thing that can change, so that a
    /// diff of two locks reads as what moved. [`parse`] reads it back.
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# What this release is pinned to, written by `perestroika lock` and `update`.\n\
             version = 1\n",
        );
        for (name, archive) in &self.archives {
            write_archive(&mut out, name, archive);
        }
        for ((archive, name), source) in &self.sources {
            write_source(&mut out, archive, name, source);
        }
        for ((url, rev), pin) in &self.git {
            remote::write_git(&mut out, url, rev, pin);
        }
        for (url, pin) in &self.downloads {
            remote::write_download(&mut out, url, pin);
        }
        if !self.stdlib.is_empty() {
            out.push_str("\n[stdlib]\n");
        }
        for (module, sha256) in &self.stdlib {
            out.push_str(&format!("{} = \"{sha256}\"\n", key(module)));
        }
        if !self.extends.is_empty() {
            out.push_str("\n[extends]\n");
        }
        for (folder, digest) in &self.extends {
            out.push_str(&format!("{} = \"{digest}\"\n", key(folder.as_str())));
        }
        out
    }
}

fn write_archive(out: &mut String, name: &str, archive: &LockedArchive) {
    let name = key(name);
    if archive.suites.is_empty() {
        out.push_str(&format!("\n[archive.{name}]\n"));
    }
    for LockedSuite { suite, date, release, indexes } in &archive.suites {
        out.push_str(&format!("\n[[archive.{name}.suites]]\n"));
        write_string(out, "suite", suite);
        write_string(out, "date", date);
        out.push_str(&format!("release = \"{release}\"\nindexes = [\n"));
        for LockedIndex { path, kind, sha256, size } in indexes {
            let kind = match kind {
                IndexKind::Packages(architecture) => {
                    format!("kind = \"packages\", architecture = {}", string(architecture.as_str()))
                }
                IndexKind::Sources => "kind = \"sources\"".to_owned(),
            };
            let path = string(path);
            out.push_str(&format!(
                "    {{ path = {path}, {kind}, size = {size}, sha256 = \"{sha256}\" }},\n"
            ));
        }
        out.push_str("]\n");
    }
}

fn write_source(out: &mut String, archive: &str, name: &PackageName, source: &LockedSource) {
    let LockedSource { version, directory, files, binaries, relations, requires_root } = source;
    let title = format!("source.{}.{}", key(archive), key(name.as_str()));
    out.push_str(&format!("\n[{title}]\n"));
    write_string(out, "version", version);
    write_string(out, "directory", directory);
    if let Some(requires_root) = requires_root {
        write_string(out, "requires_root", requires_root);
    }
    out.push_str("files = [\n");
    for LockedFile { name, size, sha256 } in files {
        let name = string(name);
        out.push_str(&format!("    {{ name = {name}, size = {size}, sha256 = \"{sha256}\" }},\n"));
    }
    out.push_str("]\n");
    write_binaries(out, binaries);
    write_relations(out, &title, relations);
}

fn write_binaries(out: &mut String, binaries: &[LockedBinary]) {
    out.push_str("binaries = [\n");
    for LockedBinary { name, architecture, profiles, provides } in binaries {
        let (name, architecture) = (string(name.as_str()), string(architecture));
        out.push_str(&format!("    {{ name = {name}, architecture = {architecture}"));
        for (key, value) in [("profiles", profiles), ("provides", provides)] {
            if !value.is_empty() {
                out.push_str(&format!(", {key} = {}", string(value)));
            }
        }
        out.push_str(" },\n");
    }
    out.push_str("]\n");
}

fn write_relations(out: &mut String, title: &str, relations: &BTreeMap<String, String>) {
    if !relations.is_empty() {
        out.push_str(&format!("\n[{title}.relations]\n"));
    }
    for (name, value) in relations {
        write_string(out, &key(name), value);
    }
}

fn write_string(out: &mut String, key: &str, value: &str) {
    out.push_str(&format!("{key} = {}\n", string(value)));
}

/// A key as TOML writes it: bare where it can be.
pub fn key(name: &str) -> String {
    let bare = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { string(name) }
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                out.push_str(&format!("\\U{:08x}", u32::from(control)));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
