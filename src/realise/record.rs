//! Records: what came of an action, as a canonical JSON document.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::rebuild::Cause;
use super::trace::Extent;
use crate::base::{ActionId, DerivationId, Digest, Json, Sha256, json};

const FORMAT: &str = "perestroika/record/1";

/// What came of an action, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was done.
    pub action: ActionId,
    /// The derivation it was done for first.
    pub derivation: DerivationId,
    /// The files it left, sorted by name.
    pub outputs: Vec<Output>,
    /// Manifest digests of the build root's layers, lowest first.
    pub layers: Vec<Digest>,
    /// Digest of the build's log.
    pub log: Digest,
    /// The isolation that was in force.
    pub receipt: BTreeMap<String, String>,
    /// What may not matter, and is kept for when it does: kernel, processor, tool version, mode.
    pub circumstances: BTreeMap<String, String>,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took, in milliseconds.
    pub elapsed: i64,
    /// Why it was built, in a line.
    pub cause: String,
    /// Why it was built, input by input; none in records of earlier versions.
    #[serde(default)]
    pub causes: Option<Cause>,
    /// What it opened of its root; none if that was not observed.
    #[serde(default)]
    pub trace: Option<Traced>,
}

/// A trace, in short.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traced {
    /// The name of the [`super::trace::Trace`].
    pub document: Digest,
    /// Whether it has everything.
    pub extent: Extent,
    /// Of how many packages files were opened.
    pub packages: u64,
    /// How many files that were.
    pub files: u64,
}

/// A file that an action left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its name in the store.
    pub blake3: Digest,
    /// Its name in an archive's index.
    pub sha256: Sha256,
    /// The control file of a binary package; empty for other files.
    pub control: String,
}

/// Why a document is not a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not canonical JSON.
    #[error("not a record")]
    Json(#[from] json::Error),
    /// Members missing, unknown or of another type.
    #[error("not a record")]
    Members(#[from] serde_json::Error),
    /// Another format.
    #[error("the format is {found}, this version reads `{wanted}`")]
    Format {
        /// What it says.
        found: String,
        /// What it should.
        wanted: &'static str,
    },
}

impl Record {
    /// The document.
    pub fn to_json(&self) -> Json {
        let Self {
            action,
            derivation,
            outputs,
            layers,
            log,
            receipt,
            circumstances,
            started,
            elapsed,
            cause,
            causes,
            trace,
        } = self;
        let mut members = vec![
            ("format", FORMAT.into()),
            ("action", Json::text(action)),
            ("derivation", Json::text(derivation)),
            ("outputs", Json::Array(outputs.iter().map(Output::to_json).collect())),
            ("layers", Json::Array(layers.iter().map(Json::text).collect())),
            ("log", Json::text(log)),
            ("receipt", texts(receipt)),
            ("circumstances", texts(circumstances)),
            ("started", Json::Integer(*started)),
            ("elapsed", Json::Integer(*elapsed)),
            ("cause", cause.into()),
        ];
        // Left out where there is none, as it was before there could be any.
        members.extend(causes.as_ref().map(|causes| ("causes", causes.to_json())));
        members.extend(trace.as_ref().map(|trace| ("trace", trace.to_json())));
        Json::object(members)
    }

    /// Reads a document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        read(bytes, FORMAT)
    }
}

/// Reads a canonical document of this format.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], format: &'static str) -> Result<T, Error> {
    Json::read_canonical(bytes)?;
    let mut document: BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes)?;
    match document.remove("format") {
        Some(found) if found == format => {}
        other => {
            let found = other.unwrap_or_default().to_string();
            return Err(Error::Format { found, wanted: format });
        }
    }
    Ok(serde_json::from_value(document.into_iter().collect())?)
}

impl Traced {
    fn to_json(&self) -> Json {
        let Self { document, extent, packages, files } = self;
        let count = |count: u64| Json::Integer(i64::try_from(count).expect("as many as are noted"));
        Json::object([
            ("document", Json::text(document)),
            ("extent", extent.as_str().into()),
            ("packages", count(*packages)),
            ("files", count(*files)),
        ])
    }
}

impl Output {
    /// Whether other packages may build against it: a binary package, but not one of the debug
    /// symbols that the distribution's tools split off.
    pub fn is_offered(&self) -> bool {
        self.file.ends_with(".deb")
            && !self.control.lines().any(|line| line == "Auto-Built-Package: debug-symbols")
    }

    fn to_json(&self) -> Json {
        let Self { file, size, blake3, sha256, control } = self;
        Json::object([
            ("file", file.into()),
            ("size", Json::Integer(i64::try_from(*size).expect("a file that was stored"))),
            ("blake3", Json::text(blake3)),
            ("sha256", Json::text(sha256)),
            ("control", control.into()),
        ])
    }
}

fn texts(members: &BTreeMap<String, String>) -> Json {
    Json::Object(members.iter().map(|(key, value)| (key.clone(), value.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realise::rebuild::{Before, Input, Need};

    #[test]
    fn a_record_reads_back_from_its_document() {
        let record = Record {
            action: ActionId::of(b"a"),
            derivation: DerivationId::of(b"d"),
            outputs: vec![Output {
                file: "x_1_all.deb".to_owned(),
                size: 3,
                blake3: Digest::of(b"x"),
                sha256: Sha256::of(b"x"),
                control: "Package: x\n".to_owned(),
            }],
            layers: vec![Digest::of(b"l")],
            log: Digest::of(b"log"),
            receipt: BTreeMap::from([("executor".to_owned(), "native".to_owned())]),
            circumstances: BTreeMap::new(),
            started: 1,
            elapsed: 2,
            cause: "new".to_owned(),
            causes: None,
            trace: None,
        };
        let bytes = record.to_json().encode();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("causes") && !text.contains("trace"), "as it was before");
        assert_eq!(Record::from_json(&bytes).expect("its own document"), record);
        let input = Input {
            package: "x".to_owned(),
            field: "patches".to_owned(),
            item: "a.patch".to_owned(),
            old: None,
            new: Some("b".to_owned()),
            place: Some("x.rhai:2".to_owned()),
        };
        let needs = vec![Need { package: "y".to_owned(), because: vec![input.clone()] }];
        let before = Before { derivation: record.derivation, action: record.action };
        let causes = Cause { before: Some(before), own: vec![input], root: Vec::new(), needs };
        for causes in [causes, Cause::default()] {
            let document = Digest::of(b"t");
            let trace = Traced { document, extent: Extent::Cut, packages: 1, files: 2 };
            let told = Record { causes: Some(causes), trace: Some(trace), ..record.clone() };
            let bytes = told.to_json().encode();
            assert_eq!(Record::from_json(&bytes).expect("its own document"), told);
        }
        let other = String::from_utf8(bytes).expect("JSON").replace("record/1", "record/2");
        assert!(matches!(Record::from_json(other.as_bytes()), Err(Error::Format { .. })));
    }
}
