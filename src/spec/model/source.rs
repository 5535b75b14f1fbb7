//! Where a package's bytes come from.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PackagingText;
use crate::base::{PackageName, ReleasePath, Sha256, Tree, nearest};
use crate::spec::lock::{Lock, LockedDownload, LockedGit};

/// Where a package's source comes from.
///
/// Addresses of a [`super::Package`] are complete: `{name}` and `{version}` have been filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A folder of the release, hashed when the spec was evaluated.
    Dir {
        /// The folder.
        path: ReleasePath,
        /// Its files.
        tree: Tree,
        /// The text of its `debian/control` and `debian/changelog`, where it has them.
        packaging: Option<PackagingText>,
    },
    /// A source package of the root's pinned archive.
    Archive {
        /// Its name there.
        name: PackageName,
    },
    /// A commit of a git repository.
    Git {
        /// The repository.
        url: String,
        /// A branch, a tag or a commit.
        rev: String,
        /// What the lock says of it.
        #[serde(with = "shared")]
        pinned: Option<Arc<LockedGit>>,
    },
    /// A tarball or zip file that is unpacked; a single folder at its top is left out.
    Tarball(Download),
    /// A single file from elsewhere, in the source folder under its own name.
    Fetched(Download),
    /// A single file of the release, likewise.
    File {
        /// The file.
        path: ReleasePath,
        /// Its size in bytes.
        size: u64,
        /// Its digest when the spec was evaluated.
        sha256: Sha256,
    },
}

/// A file from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Where it is, in the order in which it is tried; never empty. The first is its name in the
    /// lock.
    pub urls: Vec<String>,
    /// What the spec says it is.
    pub sha256: Option<Sha256>,
    /// What the lock says of it.
    #[serde(with = "shared")]
    pub pinned: Option<Arc<LockedDownload>>,
}

/// A source outside of the release, which the lock pins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Remote {
    /// A commit of a git repository.
    Git {
        /// The repository.
        url: String,
        /// A branch, a tag or a commit.
        rev: String,
        /// What must be known of it.
        facts: Facts,
    },
    /// A file.
    Download {
        /// Where it is.
        urls: Vec<String>,
        /// What the spec says it is.
        sha256: Option<Sha256>,
        /// What is done with it.
        unpack: Unpack,
    },
}

/// What must be known of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Facts {
    /// Its name, its date and its files.
    Content,
    /// Also the newest tag before it, and what happened since.
    History,
}

/// What is done with a file from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unpack {
    /// It is put into the source folder as it is.
    Never,
    /// It is unpacked.
    Always,
}

impl Source {
    /// The source with the package's name and version in its addresses.
    ///
    /// # Errors
    /// What cannot be filled in, and why.
    pub fn filled(self, name: &PackageName, version: Option<&str>) -> Result<Self, Unfilled> {
        let fill = |text: String| fill(&text, name, version);
        Ok(match self {
            Self::Git { url, rev, pinned } => {
                Self::Git { url: fill(url)?, rev: fill(rev)?, pinned }
            }
            Self::Tarball(download) => Self::Tarball(download.mapped(fill)?),
            Self::Fetched(download) => Self::Fetched(download.mapped(fill)?),
            Self::Dir { .. } | Self::Archive { .. } | Self::File { .. } => self,
        })
    }

    /// The source with what `lock` says of it.
    #[must_use]
    pub fn pinned_by(mut self, lock: &Lock) -> Self {
        match &mut self {
            Self::Git { url, rev, pinned } => {
                *pinned = lock.git.get(&(url.clone(), rev.clone())).cloned();
            }
            Self::Tarball(Download { urls, pinned, .. })
            | Self::Fetched(Download { urls, pinned, .. }) => {
                *pinned = urls.first().and_then(|url| lock.downloads.get(url)).cloned();
            }
            Self::Dir { .. } | Self::Archive { .. } | Self::File { .. } => {}
        }
        self
    }

    /// What the lock must pin for it, beside source packages of archives.
    pub fn remote(&self) -> Option<Remote> {
        let download = |download: &Download, unpack| Remote::Download {
            urls: download.urls.clone(),
            sha256: download.sha256,
            unpack,
        };
        match self {
            Self::Git { url, rev, .. } => {
                Some(Remote::Git { url: url.clone(), rev: rev.clone(), facts: Facts::Content })
            }
            Self::Tarball(file) => Some(download(file, Unpack::Always)),
            Self::Fetched(file) => Some(download(file, Unpack::Never)),
            Self::Dir { .. } | Self::Archive { .. } | Self::File { .. } => None,
        }
    }

    /// Whether it waits for a package's name or version.
    pub fn is_late(&self) -> bool {
        match self {
            Self::Git { url, rev, .. } => url.contains('{') || rev.contains('{'),
            Self::Tarball(Download { urls, .. }) | Self::Fetched(Download { urls, .. }) => {
                urls.iter().any(|url| url.contains('{'))
            }
            Self::Dir { .. } | Self::Archive { .. } | Self::File { .. } => false,
        }
    }
}

impl Download {
    fn mapped(self, fill: impl Fn(String) -> Result<String, Unfilled>) -> Result<Self, Unfilled> {
        let urls = self.urls.into_iter().map(fill).collect::<Result<_, _>>()?;
        Ok(Self { urls, ..self })
    }

    /// The name of the file: the last part of its first address, without a query.
    pub fn file_name(&self) -> &str {
        let url = self.urls.first().map(String::as_str).unwrap_or_default();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        path.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl Remote {
    /// Whether `lock` says all of it that must be known.
    pub fn is_pinned(&self, lock: &Lock) -> bool {
        match self {
            Self::Git { url, rev, facts } => {
                let pinned = lock.git.get(&(url.clone(), rev.clone()));
                pinned.is_some_and(|pin| *facts == Facts::Content || pin.history.is_some())
            }
            Self::Download { urls, sha256, unpack } => {
                let pinned = urls.first().and_then(|url| lock.downloads.get(url));
                pinned.is_some_and(|pin| {
                    sha256.is_none_or(|sha256| sha256 == pin.sha256)
                        && (*unpack == Unpack::Never || pin.format.is_some())
                })
            }
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git { url, rev, .. } => write!(f, "git `{url}` `{rev}`"),
            Self::Download { urls, .. } => {
                write!(f, "`{}`", urls.first().map(String::as_str).unwrap_or_default())
            }
        }
    }
}

/// Why an address cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfilled {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Whether a text has no `{…}` but those that are filled in later.
///
/// # Errors
/// The first one that will not be.
pub fn check_late(text: &str) -> Result<(), Unfilled> {
    let name = "name".parse().expect("a package name");
    fill(text, &name, Some("version")).map(drop)
}

fn fill(text: &str, name: &PackageName, version: Option<&str>) -> Result<String, Unfilled> {
    let wrong = |message: String, hint: Option<String>| Unfilled { message, hint };
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (word, after) = after
            .split_once('}')
            .ok_or_else(|| wrong(format!("`{text}` has a `{{` without its `}}`"), None))?;
        match (word, version) {
            ("name", _) => out.push_str(name.as_str()),
            ("version", Some(version)) => out.push_str(version),
            ("version", None) => {
                let message = format!("`{text}` needs `version`, which the package does not have");
                return Err(wrong(message, Some("add `version: \"1.0\"`".to_owned())));
            }
            _ => {
                let message = format!(
                    "`{{{word}}}` in `{text}` is unknown: `{{name}}` and `{{version}}` are filled in"
                );
                let near = nearest(&word.to_ascii_lowercase(), ["name", "version"]);
                let near = near.or_else(|| {
                    let same = |known: &&str| known.eq_ignore_ascii_case(word);
                    ["name", "version"].into_iter().find(same)
                });
                return Err(wrong(message, near.map(|near| format!("did you mean `{{{near}}}`?"))));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Values behind an `Arc` as if they were not.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Arc<T>>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_deref().serialize(out)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<T>>, D::Error> {
        Ok(Option::deserialize(from)?.map(Arc::new))
    }
}
