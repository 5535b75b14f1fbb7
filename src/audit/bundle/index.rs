//! The index of a bundle: what it is of, and where each of its bytes belongs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::frame;
use super::{Error, Result, tar};
use crate::base::{DerivationId, Digest, Json, PublicKey, Sha256};

/// The path of the index in the tar.
pub const INDEX: &str = "BUNDLE.json";
/// The path of its signature.
pub const SIGNATURE: &str = "BUNDLE.sig.json";
/// The path of the key that made it.
pub const KEY: &str = "builder.pub";

/// So many members a bundle may have.
const MOST_MEMBERS: usize = 4 << 20;
/// So many keys may have signed records of it.
const MOST_KEYS: usize = 1024;

/// The index, a canonical JSON document of format `perestroika/bundle/1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// What this is, and the version of it.
    pub format: Format,
    /// How much of a release it has.
    pub kind: Kind,
    /// The release's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its id.
    pub release: DerivationId,
    /// The name of its manifest.
    pub manifest: Digest,
    /// The name of its closure certificate.
    pub certificate: Digest,
    /// The name of the journal's proofs.
    pub journal: Digest,
    /// The name of the tree of its folder, with those it extends.
    pub tree: Digest,
    /// Where in that tree the release is; empty where it is the tree.
    pub folder: String,
    /// The signatures of each record: names of DSSE envelopes.
    pub signatures: BTreeMap<Digest, Vec<Digest>>,
    /// The keys in PEM that made them, and the one that signed the index.
    pub keys: Vec<String>,
    /// What is in the file, in its order.
    pub members: Vec<Member>,
    /// The name of the index of the bundle that this one builds on: of deltas alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// What is in that one, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Absent>,
}

/// The format of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The first.
    #[default]
    #[serde(rename = "perestroika/bundle/1")]
    One,
}

/// How much of a release a bundle has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Everything.
    Whole,
    /// What another one lacks.
    Delta,
    /// Documents and signatures.
    Records,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its path.
    pub path: Name,
    /// Its size in bytes.
    pub size: u64,
    /// Its name in archives; of objects alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// The BLAKE3 and the size of each of its frames.
    pub frames: Vec<(Digest, u64)>,
    /// Where the first of them begins.
    #[serde(skip)]
    pub offset: u64,
}

/// A file of another bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Its path.
    pub path: Name,
    /// Its size in bytes.
    pub size: u64,
    /// Its name in archives; of objects alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

/// The path of a member, which says what its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Name {
    /// `json/HASH.json`
    Document(Digest),
    /// `logs/HASH`
    Log(Digest),
    /// `objects/HASH`
    Object(Digest),
}

impl Name {
    /// The BLAKE3 of its bytes.
    pub fn digest(&self) -> Digest {
        let (Self::Document(digest) | Self::Log(digest) | Self::Object(digest)) = self;
        *digest
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(digest) => write!(f, "json/{digest}.json"),
            Self::Log(digest) => write!(f, "logs/{digest}"),
            Self::Object(digest) => write!(f, "objects/{digest}"),
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no path of a bundle");
        let digest = |text: &str| text.parse().map_err(|_| wrong());
        match text.split_once('/') {
            Some(("json", name)) => {
                digest(name.strip_suffix(".json").ok_or_else(wrong)?).map(Self::Document)
            }
            Some(("logs", name)) => digest(name).map(Self::Log),
            Some(("objects", name)) => digest(name).map(Self::Object),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl Index {
    /// The canonical document.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = serde_json::to_vec(self).expect("strings, lists, maps and integers");
        Json::read(&bytes).expect("sizes are below 2^53").encode()
    }

    /// Reads the canonical document, and nothing else. The frames of its members have to come one
    /// after the other, from the beginning of the file to `end`.
    pub(super) fn read(bytes: &[u8], end: u64) -> Result<Self> {
        let wrong = |why: &str| Error::damaged(INDEX, why);
        Json::read_canonical(bytes).map_err(|error| wrong(&error.to_string()))?;
        let mut index: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
        if index.members.len() > MOST_MEMBERS || index.keys.len() > MOST_KEYS {
            return Err(wrong("it lists more than a bundle holds"));
        }
        if !index.keys.iter().all(|key| key.parse::<PublicKey>().is_ok()) {
            return Err(wrong("a key of it is none"));
        }
        let is_delta = index.kind == Kind::Delta;
        if is_delta != index.base.is_some() || (!is_delta && !index.elsewhere.is_empty()) {
            return Err(wrong("only a delta builds on another bundle, and each does"));
        }
        let mut offset = 0_u64;
        let mut last: Option<Name> = None;
        for member in &mut index.members {
            let name = member.path;
            if last.is_some_and(|last| last >= name) {
                return Err(wrong(&format!("`{name}` is there twice, or out of order")));
            }
            last = Some(name);
            let has_sha256 = matches!(name, Name::Object(_)) == member.sha256.is_some();
            if member.size > tar::LARGEST
                || !has_sha256
                || member.frames.len() != frame::pieces(member.size).len()
            {
                return Err(wrong(&format!("`{name}` has a size that does not fit its frames")));
            }
            member.offset = offset;
            for (_, size) in &member.frames {
                if *size > frame::LARGEST as u64 {
                    return Err(wrong(&format!("`{name}` has a frame that is too large")));
                }
                offset += size;
            }
        }
        if offset != end {
            return Err(wrong("its frames do not end where it begins"));
        }
        let elsewhere: Vec<Name> = index.elsewhere.iter().map(|absent| absent.path).collect();
        let is_here = |name: &Name| index.member(name).is_some();
        if !elsewhere.is_sorted_by(|a, b| a < b) || elsewhere.iter().any(is_here) {
            return Err(wrong("what is elsewhere is not in order, or is here too"));
        }
        Ok(index)
    }

    /// The member of this name.
    pub fn member(&self, name: &Name) -> Option<&Member> {
        let place = self.members.binary_search_by(|member| member.path.cmp(name)).ok()?;
        self.members.get(place)
    }

    /// All that it has or builds on.
    pub fn all(&self) -> impl Iterator<Item = Absent> {
        let here = self.members.iter().map(|member| Absent {
            path: member.path,
            size: member.size,
            sha256: member.sha256,
        });
        here.chain(self.elsewhere.iter().cloned())
    }

    /// The keys that signed something of it, by their ids.
    pub fn keys(&self) -> BTreeMap<Sha256, PublicKey> {
        let keys = self.keys.iter().filter_map(|key| key.parse::<PublicKey>().ok());
        keys.map(|key| (key.id(), key)).collect()
    }

    /// Bytes of its members, unpacked.
    pub fn size(&self) -> u64 {
        self.members.iter().map(|member| member.size).sum()
    }
}

/// What the index is told by in a signature.
pub(super) fn head(index: &Digest) -> Json {
    Json::object([("format", "perestroika/bundle-head/1".into()), ("index", Json::text(index))])
}
