//! The snapshot bank: a store, and archives as they were when releases were pinned to them.
//!
//! ```text
//! /                              what there is, for people
//! /objects/HASH                  a blob, by its BLAKE3
//! /json/HASH or /json/HASH.json  a document, by its BLAKE3
//! /by-hash/SHA256/HASH           a blob, by its SHA-256
//! /records/ACTION                the names of an action's records, the adopted one first
//! /archive/NAME/…                an archive as a release pins it: `dists/`, `pool/`, `by-hash/`
//! /archive/NAME/NAME.sources     the same in apt's words
//! /release/RELEASE/archive/NAME/…
//! /release/RELEASE/root/ROOT     what a root of a release consists of, `name=version` a line
//! ```
//!
//! Every path is looked up, none is opened: a request reaches what is listed here and nothing
//! else of the host. Blobs and documents are compared with their names before they are sent.

mod page;
mod pinned;

use crate::base::{ActionId, Digest, Json, Sha256};
use crate::fetch::BY_DIGEST;
use crate::store::{self, Store};

use super::answer::{Answer, Body, Lasting, Request, Status};
use super::error::{Error, Result};
use super::media::{JSON, OCTETS, TEXT, media};
use pinned::Entry;

pub use pinned::{Archive, Pinned, RootList, Suite, Tally};

/// The format of the documents that list records.
const RECORDS: &str = "perestroika/records/1";

/// A store and the archives that releases are pinned to.
pub struct Bank {
    store: Store,
    releases: Vec<Pinned>,
    address: String,
}

impl Bank {
    /// The bank of a store and these releases. `address` is what the server is called where a
    /// client does not say: `127.0.0.1:8117`.
    ///
    /// # Errors
    /// [`Error::Twice`] where two releases have one name and version.
    pub fn new(store: Store, releases: Vec<Pinned>, address: String) -> Result<Self> {
        let mut titles: Vec<&str> = releases.iter().map(|one| one.title.as_str()).collect();
        titles.sort_unstable();
        if let Some(pair) = titles.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Twice(pair[0].to_owned()));
        }
        Ok(Self { store, releases, address })
    }

    /// The releases.
    pub fn releases(&self) -> &[Pinned] {
        &self.releases
    }

    /// What it says to a request.
    pub fn answer(&self, request: &Request) -> Answer {
        let path = request.path.as_str();
        let host = request.host.as_deref().unwrap_or(&self.address);
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first {
            "" => page::index(self, host),
            "objects" => self.object(rest),
            "json" => self.document(rest),
            "records" => self.records(rest),
            "by-hash" => self.by_sha256(path),
            "archive" => self.archive(rest, host),
            "release" => self.release(rest, host),
            _ => missing(format!("there is no `{path}` here; `/` says what there is")),
        }
    }

    fn object(&self, name: &str) -> Answer {
        match name.parse::<Digest>() {
            Ok(digest) => lasting(self.blob(&digest, OCTETS, &|| absent(name))),
            Err(_) => missing(format!("`{name}` is no BLAKE3 of 64 hex digits")),
        }
    }

    fn document(&self, name: &str) -> Answer {
        let Ok(digest) = name.strip_suffix(".json").unwrap_or(name).parse::<Digest>() else {
            return missing(format!("`{name}` is no BLAKE3 of 64 hex digits"));
        };
        match self.store.json(&digest) {
            Ok(Some(bytes)) => lasting(Answer::found(JSON, digest, Body::Bytes(bytes))),
            Ok(None) => missing(absent(name)),
            Err(store::Error::Corrupt { .. }) => self.damaged(&digest),
            Err(_) => failed(),
        }
    }

    fn records(&self, name: &str) -> Answer {
        let Ok(action) = name.strip_suffix(".json").unwrap_or(name).parse::<ActionId>() else {
            return missing(format!("`{name}` is no id of an action: 64 hex digits"));
        };
        let records = match self.store.records(&action) {
            Ok(records) => records,
            Err(_) => return failed(),
        };
        let Some(adopted) = records.first() else {
            return missing(format!("no build of action {name} is recorded here"));
        };
        let text = |digest: &Digest| Json::String(digest.to_string());
        let members = [
            ("format", Json::String(RECORDS.to_owned())),
            ("action", Json::String(action.to_string())),
            ("adopted", text(adopted)),
            ("records", Json::Array(records.iter().map(text).collect())),
        ];
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
        let bytes = Json::Object(members.collect()).encode();
        Answer::found(JSON, Digest::of(&bytes), Body::Bytes(bytes))
    }

    /// A blob below some folder whose path ends with its SHA-256.
    fn by_sha256(&self, path: &str) -> Answer {
        let name = path.strip_prefix(BY_DIGEST).unwrap_or_default();
        match name.parse::<Sha256>() {
            Ok(sha256) => lasting(self.known(&sha256, OCTETS, &|| absent(name))),
            Err(_) => missing(format!("`{path}` is not `{BY_DIGEST}` and 64 hex digits")),
        }
    }

    fn archive(&self, rest: &str, host: &str) -> Answer {
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        let found: Vec<(&Pinned, &Archive)> = self
            .releases
            .iter()
            .filter_map(|release| Some((release, release.archive(name)?)))
            .collect();
        match &found[..] {
            [] => missing(format!("no release that is served has an archive `{name}`")),
            [(_, archive), rest @ ..] if rest.iter().all(|(_, one)| one.pins(archive)) => {
                self.in_archive(archive, path, host, &format!("archive/{name}"))
            }
            several => {
                let paths = several
                    .iter()
                    .map(|(release, _)| format!("  /release/{}/archive/{name}/\n", release.title));
                let paths: String = paths.collect();
                missing(format!("releases pin archive `{name}` to several states:\n{paths}"))
            }
        }
    }

    fn release(&self, rest: &str, host: &str) -> Answer {
        let mut parts = rest.splitn(4, '/');
        let mut next = || parts.next().unwrap_or_default();
        let (title, kind, name, path) = (next(), next(), next(), next());
        let Some(release) = self.releases.iter().find(|release| release.title == title) else {
            return missing(format!("no release `{title}` is served"));
        };
        match kind {
            "archive" => match release.archive(name) {
                Some(archive) => {
                    let base = format!("release/{title}/archive/{name}");
                    self.in_archive(archive, path, host, &base)
                }
                None => missing(format!("release `{title}` has no archive `{name}`")),
            },
            "root" if path.is_empty() => match release.root(name) {
                Some(root) => Answer::text(Status::Found, root.text()),
                None => missing(format!("of release `{title}` no root `{name}` is known")),
            },
            _ => missing(format!("there is no `{rest}` of a release; `/` says what there is")),
        }
    }

    /// What an archive has at `path`; `base` is where it lies on this server.
    fn in_archive(&self, archive: &Archive, path: &str, host: &str, base: &str) -> Answer {
        let name = archive.name.as_str();
        if path.is_empty() || path.strip_suffix(".sources") == Some(name) {
            return Answer::text(Status::Found, page::sources(archive, host, base));
        }
        let dated = |answer: Answer| match answer.status {
            Status::Found => Answer { modified: Some(archive.date), ..answer },
            _ => answer,
        };
        match archive.entry(path) {
            Some(Entry::Evidence { bytes, sha256 }) => {
                dated(Answer::found(TEXT, sha256, Body::Bytes(bytes.clone())))
            }
            Some(Entry::Listed { sha256 }) => dated(self.known(sha256, media(path), &|| {
                format!(
                    "archive `{name}` lists `{path}`, and the bank does not hold it\n  \
                     SHA-256 {sha256}"
                )
            })),
            Some(Entry::Pool { sha256, of }) => dated(self.known(sha256, media(path), &|| {
                format!("the bank lacks {of}: no build needed it\n  `{path}`\n  SHA-256 {sha256}")
            })),
            None if path.starts_with(BY_DIGEST) => self.by_sha256(path),
            None => missing(format!("`{path}` is no file of archive `{name}` as it is pinned")),
        }
    }

    /// The blob of this SHA-256.
    fn known(&self, sha256: &Sha256, kind: &'static str, lack: &dyn Fn() -> String) -> Answer {
        match self.store.find(sha256) {
            Ok(Some(object)) => self.blob(&object.digest, kind, lack),
            Ok(None) => missing(lack()),
            Err(_) => failed(),
        }
    }

    fn blob(&self, digest: &Digest, kind: &'static str, lack: &dyn Fn() -> String) -> Answer {
        if self.store.object(digest).is_none() {
            return missing(lack());
        }
        let size = |file: &std::fs::File| file.metadata().map(|found| found.len());
        match self.store.open_sound(digest) {
            Ok(file) => match size(&file) {
                Ok(size) => Answer::found(kind, digest, Body::File { file, size }),
                Err(_) => failed(),
            },
            Err(store::Error::Missing { .. }) => missing(lack()),
            Err(store::Error::PutAside { .. } | store::Error::Corrupt { .. }) => {
                self.damaged(digest)
            }
            Err(_) => failed(),
        }
    }

    /// What is not what its name says is not sent, and put aside where that can be done.
    fn damaged(&self, digest: &Digest) -> Answer {
        // A store that takes no writes keeps it where it is.
        let _ = self.store.quarantine(digest);
        missing(format!("{digest} was damaged on this bank's disk, and is not served any more"))
    }
}

/// The same, where the name is a digest.
fn lasting(answer: Answer) -> Answer {
    match answer.status {
        Status::Found => Answer { lasting: Lasting::Ever, ..answer },
        _ => answer,
    }
}

fn absent(name: &str) -> String {
    format!("{name} is not in the store of this bank")
}

fn missing(text: impl Into<String>) -> Answer {
    let mut text = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Answer::text(Status::Missing, text)
}

/// What went wrong is not told: the store's place on this host is nobody's business.
fn failed() -> Answer {
    Answer::text(Status::Failed, "the bank cannot read its store\n")
}
