//! What belongs into the bundle of a release, found in its folder and in a store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

use super::error::{Error, Result, system};
use super::index::{Absent, Format, Index, Kind, Name};
use super::read::Bundle;
use super::{RECORD_TYPE, proof};
use crate::base::{
    DerivationId, Digest, HostPath, Json, ReleaseFolder, Sha256, Tree, TreeEntry, TreeKind,
};
use crate::graph::derivation::{Source, SourceFile};
use crate::graph::{Derivation, Graph, Origin};
use crate::realise::action;
use crate::realise::manifest::{Manifest, record_digest};
use crate::realise::record::Record;
use crate::realise::world::World;
use crate::spec::Spec;
use crate::spec::loader::Folder;
use crate::spec::lock::{IndexKind, Lock};
use crate::store::{BuilderKey, Store};

/// A release that is built as a whole.
pub struct Whole<'a> {
    /// Its folder, its archives, and the store that it was built with.
    pub world: &'a World<'a>,
    /// Its graph.
    pub graph: &'a Graph,
    /// Its specs.
    pub spec: &'a Spec,
    /// What it is pinned to.
    pub lock: &'a Lock,
    /// The record that counts for each of its packages.
    pub records: &'a BTreeMap<DerivationId, Arc<Record>>,
    /// All of them.
    pub manifest: &'a Manifest,
    /// Its closure certificate.
    pub certificate: &'a Json,
    /// What signs.
    pub key: &'a BuilderKey,
}

/// What a bundle is to hold.
pub struct Gathered {
    /// Its index, which lists no members yet.
    pub index: Index,
    /// Its members.
    pub contents: BTreeMap<Name, Content>,
    /// Bytes of all of them.
    pub unpacked: u64,
}

/// Where the bytes of a member come from.
pub struct Content {
    /// How many they have to be.
    pub size: u64,
    /// What it is, for people.
    pub what: String,
    from: From,
}

enum From {
    Bytes(Vec<u8>),
    Object(Digest),
    Log(Digest),
    File(HostPath),
}

/// Finds everything that belongs into a bundle of this kind; of a delta, what `old` does not have.
///
/// # Errors
/// Something that is not in the store any more; a release folder that cannot be read.
pub fn gather(whole: &Whole<'_>, kind: Kind, old: Option<&Bundle>) -> Result<Gathered> {
    let Whole { world, graph, spec, manifest, certificate, key, .. } = whole;
    let (tree, folder, files) = tree_of(world.folder, spec)?;
    let mut found =
        Found { store: world.store, contents: BTreeMap::new(), archived: BTreeSet::new() };
    for node in graph.nodes() {
        found.document(node.derivation.encode(), "a derivation");
    }
    let manifest_name = found.document(manifest.document().encode(), "the manifest");
    let certificate = found.document(certificate.encode(), "the closure certificate");
    let tree_name = found.document(tree.to_json().encode(), "the list of the release's files");
    for (digest, path) in files {
        found.file(digest, path)?;
    }
    let (signatures, keys) = found.records(whole)?;
    let documents = signatures.keys().chain([&manifest_name]).copied().collect();
    let proof = proof::make(&world.store.journal()?, &documents, key);
    let journal = found.document(proof.encode(), "the journal's proofs");
    if kind != Kind::Records {
        found.sources(graph)?;
        found.indexes(whole)?;
        found.packages(whole)?;
    }
    let Found { mut contents, .. } = found;
    if kind == Kind::Records {
        contents.retain(|name, _| matches!(name, Name::Document(_)));
    }
    let mut elsewhere = Vec::new();
    if let Some(old) = old {
        let there: BTreeMap<Name, Absent> =
            old.index.all().map(|absent| (absent.path, absent)).collect();
        contents.retain(|name, _| match there.get(name) {
            Some(absent) => {
                elsewhere.push(absent.clone());
                false
            }
            None => true,
        });
    }
    let release = &spec.release;
    let index = Index {
        format: Format::One,
        kind,
        name: release.name.clone(),
        version: release.version.clone(),
        release: graph.release(),
        manifest: manifest_name,
        certificate,
        journal,
        tree: tree_name,
        folder,
        signatures,
        keys: keys.into_iter().collect(),
        members: Vec::new(),
        base: old.map(|old| old.id),
        elsewhere,
    };
    let unpacked = contents.values().map(|content| content.size).sum();
    Ok(Gathered { index, contents, unpacked })
}

/// What is collected so far.
struct Found<'a> {
    store: &'a Store,
    contents: BTreeMap<Name, Content>,
    /// Files that were found by this digest.
    archived: BTreeSet<Sha256>,
}

/// The signatures of records, and the keys that made them.
type Signatures = (BTreeMap<Digest, Vec<Digest>>, BTreeSet<String>);

impl Found<'_> {
    fn document(&mut self, bytes: Vec<u8>, what: &str) -> Digest {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        let content = || Content { size, what: what.to_owned(), from: From::Bytes(bytes) };
        self.contents.entry(Name::Document(digest)).or_insert_with(content);
        digest
    }

    /// A document of the store.
    fn kept(&mut self, digest: &Digest, what: impl Fn() -> String) -> Result<Json> {
        let bytes = self.store.json(digest)?.ok_or_else(|| Error::Lost { what: what() })?;
        let document = Json::read_canonical(&bytes)
            .map_err(|error| Error::damaged(Name::Document(*digest), error))?;
        self.document(bytes, &what());
        Ok(document)
    }

    fn object(&mut self, digest: Digest, what: impl FnOnce() -> String) -> Result<()> {
        let name = Name::Object(digest);
        if self.contents.contains_key(&name) {
            return Ok(());
        }
        let what = what();
        let Some(path) = self.store.object(&digest) else { return Err(Error::Lost { what }) };
        let size = std::fs::metadata(&path).map_err(system("look at", &path))?.len();
        self.contents.insert(name, Content { size, what, from: From::Object(digest) });
        Ok(())
    }

    fn archived(&mut self, sha256: &Sha256, what: impl FnOnce() -> String) -> Result<()> {
        if !self.archived.insert(*sha256) {
            return Ok(());
        }
        match self.store.find(sha256)? {
            Some(object) => self.object(object.digest, what),
            None => Err(Error::Lost { what: what() }),
        }
    }

    /// A file of the release folder.
    fn file(&mut self, digest: Digest, path: HostPath) -> Result<()> {
        let size = std::fs::symlink_metadata(&path).map_err(system("look at", &path))?.len();
        let what = path.to_string();
        self.contents.insert(Name::Object(digest), Content { size, what, from: From::File(path) });
        Ok(())
    }

    /// The records of all packages, with their actions, logs, traces and signatures.
    fn records(&mut self, whole: &Whole<'_>) -> Result<Signatures> {
        let (store, key) = (self.store, whole.key);
        let mut signatures = BTreeMap::new();
        let mut keys = BTreeSet::from([key.public_pem()]);
        for record in whole.records.values() {
            let of = |what: &str| format!("{what} of record {}", record_digest(record));
            self.kept(&record.action.digest(), || of("the action"))?;
            let log = store.read_log(&record.log).map_err(|error| match error {
                crate::store::Error::Missing { .. } => Error::Lost { what: of("the log") },
                error => error.into(),
            })?;
            let (size, from) = (log.len() as u64, From::Log(record.log));
            self.contents
                .insert(Name::Log(record.log), Content { size, what: of("the log"), from });
            if let Some(trace) = &record.trace
                && store.json(&trace.document)?.is_some()
            {
                self.kept(&trace.document, || of("the trace"))?;
            }
            let document = record.to_json();
            let name = self.document(document.encode(), "a record");
            let mut envelopes = Vec::new();
            // What another builder signed stays his.
            for witness in store.witnesses_of(&name)? {
                self.kept(&witness.signature, || of("the signature"))?;
                envelopes.push(witness.signature);
                keys.insert(witness.key);
            }
            if envelopes.is_empty() {
                let envelope = key.sign(RECORD_TYPE, &document);
                envelopes.push(self.document(envelope.encode(), "the signature of a record"));
            }
            envelopes.sort_unstable();
            signatures.insert(name, envelopes);
        }
        Ok((signatures, keys))
    }

    /// The sources of all packages, as far as they are not in the release folder.
    fn sources(&mut self, graph: &Graph) -> Result<()> {
        for node in graph.nodes() {
            let Derivation::Source(source) = &node.derivation else { continue };
            let what = |name: &str| format!("source file `{name}`");
            match (source, &node.origin) {
                (Source::Debian { files, .. }, _) => {
                    for SourceFile { name, sha256, .. } in files {
                        self.archived(sha256, || what(name))?;
                    }
                }
                (Source::File(file), Origin::Download { .. }) => {
                    self.archived(&file.sha256, || what(&file.name))?;
                }
                (Source::Tarball { sha256, .. }, Origin::Download { urls }) => {
                    self.archived(sha256, || what(urls.first().map_or("", String::as_str)))?;
                }
                (Source::Tree { .. }, Origin::Dir { tree, .. }) => {
                    self.document(tree.to_json().encode(), "the list of a source's files");
                }
                (Source::Tree { tree }, Origin::Git { url, .. }) => {
                    let of = || format!("the commit of `{url}`");
                    let wrong = |error| Error::damaged(Name::Document(*tree), error);
                    let document = self.kept(tree, of)?;
                    let files = Tree::from_json(&document.encode()).map_err(wrong)?;
                    for entry in files.entries() {
                        if let TreeKind::File(digest) | TreeKind::Executable(digest) = &entry.kind {
                            self.object(*digest, || what(&entry.path))?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The indexes of archives that build roots, and sources, were taken from.
    fn indexes(&mut self, whole: &Whole<'_>) -> Result<()> {
        let Whole { world, graph, lock, .. } = whole;
        let mut wanted: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
        for node in graph.nodes() {
            match (&node.derivation, &node.origin) {
                (Derivation::Root(root), Origin::Root { archive, .. }) => {
                    wanted.extend(root.indexes.iter().map(|index| {
                        (archive.as_str(), index.suite.as_str(), index.path.as_str())
                    }));
                }
                (_, Origin::Archive { archive, .. }) => {
                    let suites = lock.archives.get(archive).into_iter().flat_map(|it| &it.suites);
                    for suite in suites {
                        let sources = suite.indexes.iter();
                        let sources = sources.filter(|index| index.kind == IndexKind::Sources);
                        wanted.extend(sources.map(|index| {
                            (archive.as_str(), suite.suite.as_str(), index.path.as_str())
                        }));
                    }
                }
                _ => {}
            }
        }
        for (archive, suite, path) in wanted {
            let digest = world.upstream.index(self.store, archive, suite, path, world.cancel)?;
            self.object(digest, || format!("index `{path}` of `{archive}`"))?;
        }
        Ok(())
    }

    /// Every package that was built, patched or built with.
    fn packages(&mut self, whole: &Whole<'_>) -> Result<()> {
        for (_, package) in whole.graph.packages() {
            for patch in &package.patches {
                self.object(patch.digest, || format!("patch `{}`", patch.name))?;
            }
        }
        for record in whole.records.values() {
            for output in &record.outputs {
                self.archived.insert(output.sha256);
                self.object(output.blake3, || format!("output `{}`", output.file))?;
            }
        }
        for record in whole.records.values() {
            let document = self.store.read_json(&record.action.digest())?;
            let layers = action::root(document)
                .ok_or(crate::realise::Error::Action { action: record.action })?;
            for listed in layers.into_iter().flatten() {
                let action::Listed { name, version, architecture, sha256 } = &listed;
                self.archived(sha256, || {
                    format!("package `{name} {version} {architecture}` of a build root")
                })?;
            }
        }
        Ok(())
    }
}

impl Content {
    /// Its bytes.
    pub(super) fn open<'a>(&'a self, store: &Store) -> Result<Box<dyn Read + 'a>> {
        Ok(match &self.from {
            From::Bytes(bytes) => Box::new(bytes.as_slice()),
            From::Object(digest) => Box::new(store.open_object(digest)?),
            From::Log(digest) => Box::new(io::Cursor::new(store.read_log(digest)?)),
            From::File(path) => {
                let mut options = std::fs::OpenOptions::new();
                options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
                let file: File = options.open(path).map_err(system("open", path))?;
                Box::new(file)
            }
        })
    }

    pub(super) fn unreadable(&self, source: io::Error) -> Error {
        Error::System { operation: "read", path: HostPath::new(&self.what), source }
    }
}

/// The files of a release folder, and of those that it extends, as one tree; where in that the
/// release is; and where each file of it lies.
fn tree_of(folder: &HostPath, spec: &Spec) -> Result<(Tree, String, BTreeMap<Digest, HostPath>)> {
    let extended = spec.extends.iter().map(|extended| extended.folder.clone());
    let folders: Vec<ReleaseFolder> =
        [ReleaseFolder::default()].into_iter().chain(extended).collect();
    let up =
        |folder: &ReleaseFolder| folder.as_str().split('/').filter(|part| *part == "..").count();
    let height = folders.iter().map(up).max().unwrap_or(0);
    // The names of the folders between the release and the lowest that has all of them.
    let names: Vec<&str> = folder
        .as_path()
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let own = &names[names.len().saturating_sub(height)..];
    let loader = Folder::new(folder.clone());
    let mut entries: BTreeMap<String, TreeKind> = BTreeMap::new();
    let mut files = BTreeMap::new();
    for one in &folders {
        let below = one.as_str().split('/').filter(|part| !matches!(*part, "" | ".." | "."));
        let prefix: Vec<&str> =
            own[..own.len().saturating_sub(up(one))].iter().copied().chain(below).collect();
        let top = if one.is_own() { folder.clone() } else { folder.join(one.as_str()) };
        for TreeEntry { path, kind } in loader.everything(one)?.entries() {
            if let TreeKind::File(digest) | TreeKind::Executable(digest) = kind {
                files.insert(*digest, top.join(Path::new(path)));
            }
            let path = prefix.iter().copied().chain([path.as_str()]).collect::<Vec<_>>().join("/");
            entries.insert(path, kind.clone());
        }
    }
    let entries = entries.into_iter().map(|(path, kind)| TreeEntry { path, kind }).collect();
    let tree = Tree::new(entries).map_err(|error| Error::Contradiction(error.to_string()))?;
    Ok((tree, own.join("/"), files))
}
