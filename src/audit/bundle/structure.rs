//! Whether a bundle has everything that it has to have, and whether all of it belongs together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::RECORD_TYPE;
use super::error::{Error, Result};
use super::index::{Absent, Index, Kind, Name};
use super::proof::{self, Proved};
use super::read::Bundle;
use crate::base::{ActionId, DerivationId, Digest, Json, Sha256, Tree, TreeKind, dsse};
use crate::realise::action;
use crate::realise::manifest;
use crate::realise::record::Record;

/// What a bundle states.
#[derive(Debug)]
pub struct Structure {
    /// The records of its packages.
    pub records: Vec<Signed>,
    /// What its journal's proofs prove.
    pub proved: Proved,
    /// The level that its closure certificate states; whoever imports it can make that anew.
    pub level: String,
    /// How many documents could not be looked at, being in the bundle that it builds on.
    pub unseen: usize,
}

/// A record, and who signed it.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The derivation that the manifest has it for.
    pub derivation: DerivationId,
    /// What was done.
    pub action: ActionId,
    /// The name of the record.
    pub digest: Digest,
    /// The record.
    pub record: Record,
    /// The keys whose signatures are right, with the names of the envelopes.
    pub signatures: Vec<(Sha256, Digest)>,
}

/// Where documents are that a delta builds on.
pub(super) type Library<'a> = &'a dyn Fn(&Digest) -> Result<Option<Json>>;

/// Looks at everything that the manifest leads to.
///
/// # Errors
/// What is missing; what contradicts something else; a signature that is not right.
pub(super) fn structure(bundle: &Bundle, library: Library<'_>) -> Result<Structure> {
    let mut look = Look::new(bundle, library);
    let index = &bundle.index;
    let mut found = Structure {
        records: Vec::new(),
        proved: Proved::default(),
        level: String::new(),
        unseen: 0,
    };
    look.tree()?;
    look.release()?;
    if let Some(certificate) = look.document(&index.certificate, "the closure certificate")? {
        found.level = look.certificate(certificate)?;
    }
    if let Some(journal) = look.document(&index.journal, "the journal's proofs")? {
        found.proved = proof::check(&journal, &bundle.key)?;
    }
    if let Some(manifest) = look.document(&index.manifest, "the manifest")? {
        look.manifest(manifest, &mut found.records)?;
    }
    found.unseen = look.unseen;
    Ok(found)
}

struct Look<'a> {
    bundle: &'a Bundle,
    index: &'a Index,
    library: Library<'a>,
    /// All that is there or elsewhere.
    there: HashMap<Name, Absent>,
    by_sha256: HashMap<Sha256, Name>,
    seen: BTreeSet<DerivationId>,
    unseen: usize,
}

impl<'a> Look<'a> {
    fn new(bundle: &'a Bundle, library: Library<'a>) -> Self {
        let index = &bundle.index;
        let there: HashMap<Name, Absent> =
            index.all().map(|absent| (absent.path, absent)).collect();
        let by_sha256 =
            there.values().filter_map(|absent| Some((absent.sha256?, absent.path))).collect();
        Self { bundle, index, library, there, by_sha256, seen: BTreeSet::new(), unseen: 0 }
    }

    fn has_objects(&self) -> bool {
        self.index.kind != Kind::Records
    }

    /// A document that has to be there; nothing if it is elsewhere, and not at hand.
    fn document(&mut self, digest: &Digest, what: &str) -> Result<Option<Json>> {
        let name = Name::Document(*digest);
        if let Some(member) = self.index.member(&name) {
            return self.bundle.document(member).map(Some);
        }
        if !self.there.contains_key(&name) {
            return Err(Error::Incomplete { what: format!("{what}, `{name}`") });
        }
        let found = (self.library)(digest)?;
        self.unseen += usize::from(found.is_none());
        Ok(found)
    }

    /// A file that has to be there, unless there are none.
    fn object(&self, digest: &Digest, what: impl FnOnce() -> String) -> Result<()> {
        let name = Name::Object(*digest);
        if !self.has_objects() || self.there.contains_key(&name) {
            return Ok(());
        }
        Err(Error::Incomplete { what: format!("{}, `{name}`", what()) })
    }

    fn archived(&self, sha256: &Sha256, what: impl FnOnce() -> String) -> Result<()> {
        if !self.has_objects() || self.by_sha256.contains_key(sha256) {
            return Ok(());
        }
        Err(Error::Incomplete { what: format!("{}, SHA-256 {sha256}", what()) })
    }

    /// The release folder: everything in it, and a release where it is said to be.
    fn tree(&mut self) -> Result<()> {
        let name = self.index.tree;
        let Some(document) = self.document(&name, "the list of the release's files")? else {
            return Ok(());
        };
        let tree = Tree::from_json(&document.encode())
            .map_err(|error| Error::damaged(Name::Document(name), error))?;
        for entry in tree.entries() {
            if let TreeKind::File(digest) | TreeKind::Executable(digest) = &entry.kind {
                self.object(digest, || format!("file `{}` of the release", entry.path))?;
            }
        }
        let folder = match self.index.folder.as_str() {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        for file in ["release.toml", "release.lock"] {
            let path = format!("{folder}{file}");
            if tree.get(&path).is_none() {
                return Err(Error::Incomplete { what: format!("file `{path}` of the release") });
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        let id = self.index.release;
        let Some(release) = self.derivation(id, "the release")? else { return Ok(()) };
        let same = |key: &str, value: &str| text(&release, key) == Some(value);
        let Index { name, version, .. } = self.index;
        match same("kind", "release") && same("name", name) && same("version", version) {
            true => Ok(()),
            false => Err(Error::Contradiction(format!("{id} is no release `{name} {version}`"))),
        }
    }

    /// A derivation of the release, unless it was looked at.
    fn derivation(&mut self, id: DerivationId, what: &str) -> Result<Option<Json>> {
        self.seen.insert(id);
        self.document(&Digest::from_bytes(*id.as_bytes()), what)
    }

    fn certificate(&self, certificate: Json) -> Result<String> {
        let same = |key: &str, value: String| text(&certificate, key) == Some(&value);
        let fits = same("kind", "closure".to_owned())
            && same("release", self.index.release.to_string())
            && same("manifest", self.index.manifest.to_string());
        match text(&certificate, "level").filter(|_| fits) {
            Some(level) => Ok(level.to_owned()),
            None => Err(Error::Contradiction(
                "the closure certificate is not of this release and manifest".to_owned(),
            )),
        }
    }

    fn manifest(&mut self, manifest: Json, records: &mut Vec<Signed>) -> Result<()> {
        let of_release = text(&manifest, "release") == Some(&self.index.release.to_string());
        let read = manifest::read(manifest, self.index.manifest).filter(|_| of_release);
        let read = read.ok_or_else(|| {
            Error::Contradiction("the manifest is not one of this release".to_owned())
        })?;
        let signed: BTreeSet<&Digest> = self.index.signatures.keys().collect();
        if signed != read.records.values().collect() {
            let what = "what is signed are not the records of the manifest";
            return Err(Error::Contradiction(what.to_owned()));
        }
        for listed in &read.seed {
            let action::Listed { name, version, architecture, sha256 } = listed;
            self.archived(sha256, || format!("seed package `{name} {version} {architecture}`"))?;
        }
        for (derivation, digest) in &read.records {
            if let Some(package) = self.derivation(*derivation, "a package's derivation")? {
                self.package(&package)?;
            }
            let Some(document) = self.document(digest, "a record")? else { continue };
            let wrong = |error| Error::damaged(Name::Document(*digest), error);
            let record = Record::from_json(&document.encode()).map_err(wrong)?;
            self.record(&record, digest)?;
            let signatures = self.signatures(digest, &document)?;
            let (derivation, action, digest) = (*derivation, record.action, *digest);
            records.push(Signed { derivation, action, digest, record, signatures });
        }
        Ok(())
    }

    /// What a package's derivation names: root and sources.
    fn package(&mut self, package: &Json) -> Result<()> {
        let mut named: Vec<String> = ["root", "source", "packaging"]
            .into_iter()
            .filter_map(|key| text(package, key).map(ToOwned::to_owned))
            .collect();
        if let Some(Json::Object(extra)) = member(package, "extra") {
            named.extend(extra.values().filter_map(|id| match id {
                Json::String(id) => Some(id.clone()),
                _ => None,
            }));
        }
        for id in named {
            let wrong = |_| Error::Contradiction(format!("`{id}` is no name of a derivation"));
            let id: DerivationId = id.parse().map_err(wrong)?;
            if self.seen.contains(&id) {
                continue;
            }
            if let Some(document) = self.derivation(id, "a derivation")? {
                self.named(&document, "a source or an index")?;
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, digest: &Digest) -> Result<()> {
        for output in &record.outputs {
            self.object(&output.blake3, || format!("output `{}`", output.file))?;
            let there = self.there.get(&Name::Object(output.blake3));
            let same =
                |there: &Absent| there.size == output.size && there.sha256 == Some(output.sha256);
            if there.is_some_and(|there| !same(there)) {
                let file = &output.file;
                let what = format!("`{file}` is not as record {digest} has it");
                return Err(Error::Contradiction(what));
            }
        }
        let log = Name::Log(record.log);
        if self.has_objects() && !self.there.contains_key(&log) {
            return Err(Error::Incomplete { what: format!("the log of a build, `{log}`") });
        }
        let id = record.action;
        let Some(document) = self.document(&id.digest(), "an action")? else { return Ok(()) };
        for key in ["source", "packaging", "extra", "patches"] {
            if let Some(part) = member(&document, key) {
                self.named(part, "a source")?;
            }
        }
        let layers = action::root(document);
        let layers = layers
            .ok_or_else(|| Error::Contradiction(format!("{id} is no action of a package")))?;
        for listed in layers.into_iter().flatten() {
            let action::Listed { name, version, architecture, sha256 } = &listed;
            self.archived(sha256, || format!("package `{name} {version} {architecture}`"))?;
        }
        Ok(())
    }

    /// That everything is there which a document names by a digest.
    fn named(&self, document: &Json, what: &str) -> Result<()> {
        match document {
            Json::Integer(_) => Ok(()),
            Json::Array(items) => items.iter().try_for_each(|item| self.named(item, what)),
            Json::Object(members) => members.values().try_for_each(|item| self.named(item, what)),
            Json::String(text) => {
                let (Ok(digest), Ok(sha256)) = (text.parse::<Digest>(), text.parse()) else {
                    return Ok(());
                };
                match self.there.contains_key(&Name::Document(digest)) {
                    true => Ok(()),
                    false if self.there.contains_key(&Name::Object(digest)) => Ok(()),
                    false => self.archived(&sha256, || what.to_owned()),
                }
            }
        }
    }

    /// The keys that signed a record.
    fn signatures(&mut self, name: &Digest, record: &Json) -> Result<Vec<(Sha256, Digest)>> {
        let keys = self.index.keys();
        let envelopes = self.index.signatures.get(name).cloned().unwrap_or_default();
        let mut signatures = BTreeMap::new();
        for digest in envelopes {
            let Some(envelope) = self.document(&digest, "the signature of a record")? else {
                continue;
            };
            let key = dsse::signer(&envelope).and_then(|id| keys.get(&id));
            let signed =
                key.and_then(|key| Some((key.id(), dsse::open(&envelope, RECORD_TYPE, key)?)));
            match signed {
                Some((id, payload)) if payload == record.encode() => {
                    signatures.insert(id, digest);
                }
                _ => {
                    let why = format!("it is no signature of record {name} by a key of the bundle");
                    return Err(Error::damaged(Name::Document(digest), why));
                }
            }
        }
        Ok(signatures.into_iter().collect())
    }
}

fn member<'a>(document: &'a Json, key: &str) -> Option<&'a Json> {
    match document {
        Json::Object(members) => members.get(key),
        _ => None,
    }
}

fn text<'a>(document: &'a Json, key: &str) -> Option<&'a str> {
    match member(document, key) {
        Some(Json::String(text)) => Some(text),
        _ => None,
    }
}
