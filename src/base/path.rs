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

/// A path inside a release folder: relative, `/` between parts, nothing that could leave it.
///
/// A clone shares the text: every place that is remembered of a file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleasePath(Arc<str>);

impl ReleasePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReleasePath {
    type Err = PathError;

    /// Reads a relative path. A leading `./` and a trailing `/` are dropped; `.` alone is refused.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let plain = text.strip_prefix("./").unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        if is_plain(plain) {
            Ok(Self(plain.into()))
        } else {
            Err(PathError::Release(text.to_owned()))
        }
    }
}

impl serde::Serialize for ReleasePath {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for ReleasePath {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ReleasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
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
        assert_eq!("./src/x/".parse::<ReleasePath>().map(|p| p.0), Ok("src/x".into()));
        for bad in ["", ".", "/x", "../x", "a/../b", "a//b", "a/./b", "a\0b"] {
            assert!(bad.parse::<ReleasePath>().is_err(), "{bad}");
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
