//! What a layer holds, as canonical JSON: every path with its kind, mode, time, and bytes or
//! target. Its BLAKE3 is the manifest digest that records speak of.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::Error;
use crate::base::{Digest, Json};

const FORMAT: &str = "perestroika/layer/1";

/// A layer's paths, relative to the root; the root itself is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// What is at each path.
    pub entries: BTreeMap<String, Entry>,
}

/// What is at one path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits with set-id and sticky bits, which the tree itself may lack.
    pub mode: u32,
    /// Time of the last change in seconds since 1970.
    pub time: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What a path of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder; what lower layers have in it shows through.
    Directory,
    /// A folder that hides what lower layers have in it.
    OpaqueDirectory,
    /// A plain file.
    File {
        /// In bytes.
        size: u64,
        /// Of its bytes.
        blake3: Digest,
    },
    /// A symbolic link and its target.
    Link(String),
    /// Nothing: what lower layers have here is hidden.
    Whiteout,
}

impl Manifest {
    /// The document whose digest names this layer's content.
    pub fn to_json(&self) -> Json {
        let entry = |(path, entry): (&String, &Entry)| {
            let mut members = BTreeMap::from([("path".to_owned(), Json::from(path))]);
            let mut put = |key: &str, value: Json| members.insert(key.to_owned(), value);
            let integer = |value: u64| Json::Integer(i64::try_from(value).unwrap_or(i64::MAX));
            let kind = match &entry.kind {
                EntryKind::Directory => "directory",
                EntryKind::OpaqueDirectory => "opaque",
                EntryKind::File { size, blake3 } => {
                    put("size", integer(*size));
                    put("blake3", Json::text(blake3));
                    "file"
                }
                EntryKind::Link(target) => {
                    put("target", target.into());
                    "link"
                }
                EntryKind::Whiteout => "whiteout",
            };
            put("kind", kind.into());
            if !matches!(entry.kind, EntryKind::Link(_) | EntryKind::Whiteout) {
                put("mode", Json::text(format_args!("{:04o}", entry.mode)));
            }
            if entry.kind != EntryKind::Whiteout {
                put("time", integer(entry.time));
            }
            Json::Object(members)
        };
        Json::object([
            ("format", FORMAT.into()),
            ("entries", Json::Array(self.entries.iter().map(entry).collect())),
        ])
    }

    /// Reads the document that [`Manifest::to_json`] makes.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let broken = |why: String| Error::Database(format!("its manifest: {why}"));
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
        if document.format != FORMAT {
            return Err(broken(format!("format `{}`", document.format)));
        }
        let mut entries = BTreeMap::new();
        for line in document.entries {
            let kind = match (line.kind, line.size, line.blake3, line.target) {
                ("directory", ..) => EntryKind::Directory,
                ("opaque", ..) => EntryKind::OpaqueDirectory,
                ("whiteout", ..) => EntryKind::Whiteout,
                ("file", Some(size), Some(blake3), _) => EntryKind::File { size, blake3 },
                ("link", _, _, Some(target)) => EntryKind::Link(target),
                (kind, ..) => return Err(broken(format!("`{}` is a bad {kind}", line.path))),
            };
            let mode = u32::from_str_radix(line.mode, 8).map_err(|e| broken(e.to_string()))?;
            entries.insert(line.path, Entry { mode, time: line.time, kind });
        }
        Ok(Self { entries })
    }

    /// What is seen when `upper` lies over this: whiteouts and opaque folders applied.
    #[must_use]
    pub fn under(mut self, upper: Self) -> Self {
        for (path, mut entry) in upper.entries {
            if !matches!(entry.kind, EntryKind::Directory) {
                self.remove(&path);
            }
            match entry.kind {
                EntryKind::Whiteout => continue,
                EntryKind::OpaqueDirectory => entry.kind = EntryKind::Directory,
                EntryKind::Directory => {
                    if self.entries.get(&path).is_some_and(|e| e.kind != EntryKind::Directory) {
                        self.remove(&path);
                    }
                }
                EntryKind::File { .. } | EntryKind::Link(_) => {}
            }
            self.entries.insert(path, entry);
        }
        self
    }

    /// Removes a path and everything below it.
    pub(super) fn remove(&mut self, path: &str) {
        if self.entries.remove(path).is_some_and(|entry| entry.is_directory()) {
            let below = format!("{path}/");
            let doomed: Vec<String> = self
                .entries
                .range(below.clone()..)
                .take_while(|(path, _)| path.starts_with(&below))
                .map(|(path, _)| path.clone())
                .collect();
            doomed.iter().for_each(|path| drop(self.entries.remove(path)));
        }
    }
}

impl Entry {
    /// Whether it is a folder of either kind.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory | EntryKind::OpaqueDirectory)
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    format: &'a str,
    #[serde(borrow)]
    entries: Vec<Line<'a>>,
}

#[derive(Deserialize)]
struct Line<'a> {
    path: String,
    kind: &'a str,
    #[serde(default = "no_mode")]
    mode: &'a str,
    #[serde(default)]
    time: u64,
    size: Option<u64>,
    blake3: Option<Digest>,
    target: Option<String>,
}

const fn no_mode() -> &'static str {
    "0"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(entries: &[(&str, EntryKind)]) -> Manifest {
        let entry = |(path, kind): &(&str, EntryKind)| {
            let mode = match kind {
                EntryKind::Link(_) | EntryKind::Whiteout => 0,
                _ => 0o4755,
            };
            let time = u64::from(*kind != EntryKind::Whiteout) * 7;
            ((*path).to_owned(), Entry { mode, time, kind: kind.clone() })
        };
        Manifest { entries: entries.iter().map(entry).collect() }
    }

    fn file() -> EntryKind {
        EntryKind::File { size: 1, blake3: Digest::of(b"x") }
    }

    #[test]
    fn a_manifest_reads_back_from_its_document() {
        let all = manifest(&[
            ("a", EntryKind::Directory),
            ("a/b", file()),
            ("a/c", EntryKind::Link("b".into())),
            ("a/d", EntryKind::Whiteout),
            ("e", EntryKind::OpaqueDirectory),
        ]);
        let bytes = all.to_json().encode();
        assert_eq!(Manifest::from_json(&bytes).expect("its own document"), all);
        assert!(String::from_utf8_lossy(&bytes).contains(r#""mode":"4755""#));
    }

    #[test]
    fn an_upper_layer_hides_what_it_says() {
        let lower = manifest(&[
            ("a", EntryKind::Directory),
            ("a/b", file()),
            ("a0", file()),
            ("gone", EntryKind::Directory),
            ("gone/x", file()),
            ("new", EntryKind::Directory),
            ("new/x", file()),
        ]);
        let upper = manifest(&[
            ("a", EntryKind::Directory),
            ("a/c", file()),
            ("gone", EntryKind::Whiteout),
            ("new", EntryKind::OpaqueDirectory),
        ]);
        let seen = lower.under(upper);
        assert_eq!(seen.entries.keys().collect::<Vec<_>>(), ["a", "a/b", "a/c", "a0", "new"]);
    }
}
