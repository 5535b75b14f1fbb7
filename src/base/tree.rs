//! A folder as a value: what counts for identity, and nothing else.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Digest, Json, json};

/// A folder's files by path: kind, executable bit, and bytes or link target. Times, other modes
/// and empty folders do not exist here.
///
/// A clone shares the entries and the name, which is computed once.
#[derive(Debug, Clone, Default)]
pub struct Tree(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: Vec<TreeEntry>,
    digest: OnceLock<Digest>,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.entries == other.0.entries
    }
}

impl Eq for Tree {}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.entries.serialize(out)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// One file or link of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Relative path, `/` between parts, no `.`, `..` or empty part.
    pub path: String,
    /// What is there.
    pub kind: TreeKind,
}

/// What stands at a path of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeKind {
    /// A plain file of mode 0644.
    File(Digest),
    /// A plain file of mode 0755.
    Executable(Digest),
    /// A symbolic link and its target.
    Link(String),
}

/// Why something is not a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A path that is absolute, not plain, or there twice.
    #[error("`{0}` cannot be in a tree: it is not a plain relative path, or is there twice")]
    Path(String),
    /// A path that lies behind a file or a link.
    #[error("`{path}` cannot be in a tree: `{through}` is no folder")]
    Through {
        /// The path.
        path: String,
        /// What is no folder.
        through: String,
    },
    /// The document is not of this format.
    #[error("not a tree document: {0}")]
    Format(&'static str),
    /// The document is not canonical JSON.
    #[error("not a tree document")]
    Json(#[from] json::Error),
}

const FORMAT: &str = "perestroika/tree/1";

impl Tree {
    /// A tree of these entries, in any order.
    pub fn new(mut entries: Vec<TreeEntry>) -> Result<Self, TreeError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        for (index, entry) in entries.iter().enumerate() {
            let plain = entry.path.split('/').all(|part| !matches!(part, "" | "." | ".."))
                && !entry.path.contains('\0');
            let twice = index > 0 && entries[index - 1].path == entry.path;
            if !plain || twice {
                return Err(TreeError::Path(entry.path.clone()));
            }
        }
        let tree = Self(Arc::new(Shared { entries, digest: OnceLock::new() }));
        tree.check_folders()?;
        Ok(tree)
    }

    /// Refuses what could not be written without going through a link or a file.
    fn check_folders(&self) -> Result<(), TreeError> {
        let mut last = "";
        for TreeEntry { path, .. } in self.entries() {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            // Neighbours mostly share their folder.
            if folder == last {
                continue;
            }
            last = folder;
            let parents = folder.match_indices('/').map(|(at, _)| &folder[..at]);
            if let Some(through) = parents.chain([folder]).find(|part| self.get(part).is_some()) {
                let (path, through) = (path.clone(), through.to_owned());
                return Err(TreeError::Through { path, through });
            }
        }
        Ok(())
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &[TreeEntry] {
        &self.0.entries
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&TreeEntry> {
        let index = self.entries().binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        Some(&self.entries()[index])
    }

    /// The canonical JSON document that stands for this tree; its BLAKE3 is the tree's name.
    pub fn to_json(&self) -> Json {
        let entry = |TreeEntry { path, kind }: &TreeEntry| match kind {
            TreeKind::File(digest) => Json::object([
                ("path", path.into()),
                ("kind", "file".into()),
                ("blake3", Json::text(digest)),
            ]),
            TreeKind::Executable(digest) => Json::object([
                ("path", path.into()),
                ("kind", "executable".into()),
                ("blake3", Json::text(digest)),
            ]),
            TreeKind::Link(target) => Json::object([
                ("path", path.into()),
                ("kind", "link".into()),
                ("target", target.into()),
            ]),
        };
        Json::object([
            ("format", FORMAT.into()),
            ("entries", Json::Array(self.entries().iter().map(entry).collect())),
        ])
    }

    /// The tree's name.
    pub fn digest(&self) -> Digest {
        *self.0.digest.get_or_init(|| Digest::of(&self.to_json().encode()))
    }

    /// Reads the document that [`Tree::to_json`] writes.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TreeError> {
        let Json::Object(mut document) = Json::read_canonical(bytes)? else {
            return Err(TreeError::Format("not an object"));
        };
        if document.remove("format") != Some(Json::from(FORMAT)) {
            return Err(TreeError::Format("another format"));
        }
        let Some(Json::Array(entries)) = document.remove("entries") else {
            return Err(TreeError::Format("no entries"));
        };
        entries.into_iter().map(read_entry).collect::<Result<_, _>>().and_then(Self::new)
    }
}

fn read_entry(entry: Json) -> Result<TreeEntry, TreeError> {
    let Json::Object(mut members) = entry else {
        return Err(TreeError::Format("an entry is no object"));
    };
    let mut text = |key| match members.remove(key) {
        Some(Json::String(text)) => Ok(text),
        _ => Err(TreeError::Format("a member is missing or no string")),
    };
    let path = text("path")?;
    let digest =
        |text: String| text.parse().map_err(|_| TreeError::Format("a `blake3` is no digest"));
    let kind = match text("kind")?.as_str() {
        "file" => TreeKind::File(digest(text("blake3")?)?),
        "executable" => TreeKind::Executable(digest(text("blake3")?)?),
        "link" => TreeKind::Link(text("target")?),
        _ => return Err(TreeError::Format("an unknown kind")),
    };
    Ok(TreeEntry { path, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: TreeKind) -> TreeEntry {
        TreeEntry { path: path.to_owned(), kind }
    }

    #[test]
    fn a_tree_reads_back_from_its_document() {
        let file = TreeKind::File(Digest::of(b"x"));
        let tree = Tree::new(vec![
            entry("b/c", TreeKind::Link("../a".into())),
            entry("a", file),
            entry("run", TreeKind::Executable(Digest::of(b"y"))),
        ])
        .expect("plain paths");
        assert_eq!(Tree::from_json(&tree.to_json().encode()).expect("its own document"), tree);
        assert_eq!(tree.entries()[0].path, "a");
        assert!(tree.get("b/c").is_some());
    }

    #[test]
    fn refuses_paths_that_leave_or_repeat() {
        for bad in ["../x", "/x", "a//b", "", "a/."] {
            assert!(Tree::new(vec![entry(bad, TreeKind::Link("t".into()))]).is_err(), "{bad}");
        }
        let through = ["a", "a/b/c"].map(|path| entry(path, TreeKind::Link("t".into())));
        assert!(Tree::new(through.into()).is_err());
        let twice = ["a", "a"].map(|path| entry(path, TreeKind::Link("t".into())));
        assert!(Tree::new(twice.into()).is_err());
    }
}
