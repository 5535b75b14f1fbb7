//! In what two files differ, in layers: the members of an archive, the fields of control files,
//! then the files themselves.
//!
//! Both files may be hostile. What is held in memory is limited whatever they say of themselves;
//! what goes beyond a limit is said to be left out, and never taken for the same.

mod archives;
mod content;
mod fields;
mod show;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Json};

/// The most changes that are kept of one comparison; of more, only how many there are.
pub const MOST: usize = 200;

/// What two files of one name differ in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The first of the two.
    pub old: Side,
    /// The second.
    pub new: Side,
    /// The first changes, layer by layer. None where the two are the same.
    pub changes: Vec<Change>,
    /// How many changes there are in all.
    pub total: u64,
}

/// One of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// In bytes.
    pub size: u64,
    /// The BLAKE3 of its bytes.
    pub blake3: Digest,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Which layer it belongs to.
    pub layer: Layer,
    /// Where: names of members, outermost first. Empty for the file itself.
    pub at: Vec<String>,
    /// What it is.
    pub what: What,
}

/// The layers, in the order they are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Which members there are, and what is said of each.
    Members,
    /// Fields of control files.
    Control,
    /// What is in the files.
    Files,
}

/// What differs. `old` and `new` are excerpts; lengths and counts are whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// Only the new one has it.
    Added,
    /// Only the old one has it.
    Removed,
    /// The members both have come in another order, from this one on.
    Order,
    /// Something that is said of members.
    Attribute {
        /// `kind`, `mode`, `owner`, `time`, `target` or, of `ar`, `header`.
        name: String,
        /// Of the old one.
        old: String,
        /// Of the new one.
        new: String,
        /// How many members it is the same change of.
        members: u64,
    },
    /// A field of a control file.
    Field {
        /// Its name.
        name: String,
        /// Its value in the old one; none if it is not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<String>,
        /// Its value in the new one; none if it is not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new: Option<String>,
    },
    /// Lines of a text.
    Text {
        /// As a unified diff, without the two names.
        diff: String,
        /// How many lines of it are left out.
        left_out: u64,
    },
    /// Bytes.
    Bytes {
        /// How many are the same at the beginning.
        first: u64,
        /// The size of the old one.
        old_size: u64,
        /// The size of the new one.
        new_size: u64,
        /// What is there in the old one, what is not printable escaped.
        old: String,
        /// What is there in the new one.
        new: String,
    },
    /// What is in it is the same, packed otherwise.
    Packing,
    /// It follows from what differs elsewhere: checksums of files.
    Follows,
    /// It differs; in what was not looked at, for this reason.
    Unread {
        /// Why.
        why: String,
    },
}

/// Why two files could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Some bytes that should be a difference are none.
    #[error("not a difference")]
    Document(#[from] serde_json::Error),
}

impl Difference {
    /// What differs between the files at `old` and `new`, which are both called `name`: what kind
    /// of control file it is goes by that.
    pub fn between(name: &str, old: &Path, new: &Path) -> Result<Self, Error> {
        let [mut first, mut second] = [open(old)?, open(new)?];
        let sides = [side(&mut first, old)?, side(&mut second, new)?];
        let mut found = Found::default();
        if sides[0].blake3 != sides[1].blake3 {
            compare(name, &[], [&mut first, &mut second], DEPTH, &mut found);
        }
        let [old, new] = sides;
        Ok(Self { old, new, changes: found.sorted(), total: found.total })
    }

    /// Whether the two are the same bytes.
    pub fn is_none(&self) -> bool {
        self.old.blake3 == self.new.blake3
    }

    /// The canonical document.
    pub fn to_json(&self) -> Json {
        let bytes = serde_json::to_vec(self).expect("strings, lists and integers");
        Json::read(&bytes).expect("sizes of files are below 2^53")
    }

    /// Reads a document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl Change {
    /// Whether it only follows from another one.
    pub fn is_consequence(&self) -> bool {
        self.what == What::Follows
    }
}

/// Archives are looked into that lie in archives, so deep.
const DEPTH: usize = 4;

/// The changes so far.
#[derive(Debug, Default)]
struct Found {
    changes: Vec<Change>,
    total: u64,
    /// Lines of text that were held against one another.
    lines: usize,
}

impl Found {
    fn add(&mut self, layer: Layer, at: &[String], what: What) {
        self.total += 1;
        if self.changes.len() < MOST {
            self.changes.push(Change { layer, at: at.to_vec(), what });
        }
    }

    fn sorted(&mut self) -> Vec<Change> {
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_by_key(|change| change.layer);
        changes
    }
}

/// Something that is read at any place.
trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// Compares two inputs that are not the same, as what they are.
fn compare(
    name: &str,
    at: &[String],
    inputs: [&mut dyn Source; 2],
    depth: usize,
    found: &mut Found,
) {
    let before = found.total;
    let [old, new] = inputs;
    if depth > 0 && archives::compare(name, at, [&mut *old, &mut *new], depth, found) {
        if found.total == before {
            found.add(Layer::Members, at, What::Packing);
        }
        return;
    }
    content::compare(name, at, [old, new], found);
}

fn open(path: &Path) -> Result<BufReader<File>, Error> {
    File::open(path).map(BufReader::new).map_err(reading(path))
}

fn side(input: &mut BufReader<File>, path: &Path) -> Result<Side, Error> {
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(input, &mut hasher).map_err(reading(path))?;
    Ok(Side { size, blake3: Digest::from_bytes(*hasher.finalize().as_bytes()) })
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Read { path, source }
}

#[cfg(test)]
mod tests;
