//! Paths that say which side of the sandbox they belong to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a path of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A path that leaves the release folder, or could.
    #[error(
        "`{0}` is not a path inside the release folder: no leading `/`, no `..`, no empty part"
    )]
    Release(String),
    /// Not the way from one release folder to another.
    #[error(
        "`{0}` is not the way to another folder: relative, `..` at its beginning only, no empty part"
    )]
    Folder(String),
    /// Not an absolute, plain path.
    #[error("`{0}` is not an absolute path without `.`, `..` and empty parts")]
    Guest(String),
}

/// A path on the machine that runs us.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPath(PathBuf);

impl HostPath {
    /// Takes a path as one of the host.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path, for the standard library.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// This path and a part below it.
    #[must_use]
    pub fn join(&self, part: impl AsRef<Path>) -> Self {
        Self(self.0.join(part))
    }
}

impl AsRef<Path> for HostPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// An absolute path as a build sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(String);

impl GuestPath {
    /// The path as text, starting with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same path without its leading `/`.
    pub fn relative(&self) -> &str {
        &self.0[1..]
    }
}

impl FromStr for GuestPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let plain = |rest: &str| rest.is_empty() || is_plain(rest);
        match text.strip_prefix('/') {
            Some(rest) if plain(rest) => Ok(Self(text.to_owned())),
            _ => Err(PathError::Guest(text.to_owned())),
        }
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A release folder, as seen from the release that is worked on: the empty one is its own,
/// `../base` one that it extends.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseFolder(String);

impl ReleaseFolder {
    /// The folder as text: empty for the release's own.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the release's own.
    pub fn is_own(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder that `other` is, seen from this one. Nothing is asked of the file system: `..`
    /// takes the last part away.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut parts: Vec<&str> = self.0.split('/').filter(|part| !part.is_empty()).collect();
        for part in other.0.split('/').filter(|part| !part.is_empty()) {
            match parts.last() {
                Some(&last) if part == ".." && last != ".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        Self(parts.join("/"))
    }

    /// A path of this release, seen from the release that is worked on.
    #[must_use]
    pub fn path(&self, path: &ReleasePath) -> ReleasePath {
        let folder = if self.is_own() { 0 } else { self.0.len() + 1 };
        ReleasePath { text: self.name(path.inside()).into(), folder }
    }

    /// How something in this folder is called in messages.
    #[must_use]
    pub fn name(&self, inside: &str) -> String {
        if self.is_own() { inside.to_owned() } else { format!("{}/{inside}", self.0) }
    }
}

impl FromStr for ReleaseFolder {
    type Err = PathError;

    /// Reads a relative path to another folder: `..` at its beginning only.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let plain = text.strip_prefix("./").unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        let mut below = plain;
        while let Some(rest) = below.strip_prefix("../") {
            below = rest;
        }
        match below == ".." || is_plain(below) {
            true => Ok(Self(plain.to_owned())),
            false => Err(PathError::Folder(text.to_owned())),
        }
    }
}

impl fmt::Display for ReleaseFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.is_own() { "." } else { &self.0 })
    }
}

/// A path inside a release folder: relative, `/` between parts, nothing that could leave it.
///
/// What is read from a text is a path of the release that is worked on; only
/// [`ReleaseFolder::path`] makes one of a release that it extends. That one is written as it is
/// opened from the own folder: `../base/packages/greet.rhai`.
///
/// A clone shares the text: every place that is remembered of a file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleasePath {
    text: Arc<str>,
    /// How long the part is that names an extended release, with its `/`.
    folder: usize,
}

impl ReleasePath {
    /// The path as text, from the folder of the release that is worked on.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path from the folder it belongs to.
    pub fn inside(&self) -> &str {
        &self.text[self.folder..]
    }

    /// The release folder it belongs to.
    pub fn folder(&self) -> ReleaseFolder {
        ReleaseFolder(self.text[..self.folder.saturating_sub(1)].to_owned())
    }
}

impl FromStr for ReleasePath {
    type Err = PathError;

    /// Reads a relative path. A leading `./` and a trailing `/` are dropped; `.` alone is refused.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let plain = text.strip_prefix("./").unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        if is_plain(plain) {
            Ok(Self { text: plain.into(), folder: 0 })
        } else {
            Err(PathError::Release(text.to_owned()))
        }
    }
}

impl serde::Serialize for ReleasePath {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        (self.folder().as_str(), self.inside()).serialize(out)
    }
}

impl<'de> serde::Deserialize<'de> for ReleasePath {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (folder, inside) = <(&str, &str)>::deserialize(from)?;
        let path: Self = inside.parse().map_err(serde::de::Error::custom)?;
        match folder {
            "" => Ok(path),
            other => {
                let folder: ReleaseFolder = other.parse().map_err(serde::de::Error::custom)?;
                Ok(folder.path(&path))
            }
        }
    }
}

impl fmt::Display for ReleasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

fn is_plain(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_path_cannot_leave_its_folder() {
        assert_eq!("./src/x/".parse::<ReleasePath>().map(|p| p.text), Ok("src/x".into()));
        for bad in ["", ".", "/x", "../x", "a/../b", "a//b", "a/./b", "a\0b"] {
            assert!(bad.parse::<ReleasePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_of_an_extended_release_says_whose_it_is() {
        let folder = |text: &str| text.parse::<ReleaseFolder>().expect(text);
        let path: ReleasePath = "packages/a.rhai".parse().expect("plain");
        assert_eq!(ReleaseFolder::default().path(&path), path);
        let base = folder("../base").path(&path);
        assert_eq!(base.as_str(), "../base/packages/a.rhai");
        assert_eq!((base.inside(), base.folder()), ("packages/a.rhai", folder("../base")));
        assert_eq!(folder("../x").path(&base).as_str(), "../x/packages/a.rhai");
        assert_eq!(folder("../base").join(&folder("../root")), folder("../root"));
        assert_eq!(folder("../a").join(&folder("../../b")), folder("../../b"));
        assert_eq!(folder("below").join(&folder("..")), ReleaseFolder::default());
        for bad in ["", ".", "/base", "../base/../x", "..//x", "a/..", "../a\0"] {
            assert!(bad.parse::<ReleaseFolder>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_guest_path_is_absolute_and_plain() {
        for good in ["/", "/build", "/build/x-1.0"] {
            assert!(good.parse::<GuestPath>().is_ok(), "{good}");
        }
        for bad in ["", "build", "/build/..", "/a//b", "/a/"] {
            assert!(bad.parse::<GuestPath>().is_err(), "{bad}");
        }
    }
}
