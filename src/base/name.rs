//! Names as the distribution's policy allows them.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a package name.
    #[error(
        "`{0}` is not a package name: at least two of a-z, 0-9, `+`, `-` and `.`, \
         the first a letter or a digit"
    )]
    Package(String),
    /// Not an architecture name.
    #[error("`{0}` is not an architecture: lower-case letters, digits and `-` are expected")]
    Architecture(String),
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $valid:path, $error:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if $valid(text) { Ok(Self(text.to_owned())) } else { Err($error(text.to_owned())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The name of a source or binary package (Debian Policy 5.6.1 and 5.6.7).
    PackageName, is_package_name, NameError::Package
}
name_type! {
    /// An architecture of a distribution: `amd64`, or `all` (Debian Policy 5.6.8).
    Architecture, is_architecture, NameError::Architecture
}

fn is_package_name(text: &str) -> bool {
    text.len() >= 2
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_architecture(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
}

impl Architecture {
    /// The architecture of packages that run everywhere.
    pub fn all() -> Self {
        Self("all".to_owned())
    }
}

/// The candidate that `word` was most likely meant to be, if one is near enough to be worth
/// suggesting: at most a third of its letters away (insertions, deletions, replacements and
/// swapped neighbours count one each).
///
/// ```
/// use perestroika::base::nearest;
/// assert_eq!(nearest("libgret-dev", ["libgreet-dev", "zlib1g-dev"]), Some("libgreet-dev"));
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3).min(3);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
        // A letter has one to four bytes, and each that is too much is an insertion.
        .filter(|candidate| {
            let letters = if word.is_ascii() && candidate.is_ascii() { 1 } else { 4 };
            candidate.len().abs_diff(word.len()) <= limit * letters
        })
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_follow_the_policy() {
        for good in ["gtk+3.0", "xz-utils", "0ad", "g++"] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        for bad in ["", "a", "Foo", "a_b", "-ab", "+ab", "a/b", "é-é"] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn suggests_the_nearest_name_or_none() {
        let names = ["libgreet-dev", "source", "summary"];
        assert_eq!(nearest("libgret-dev", names), Some("libgreet-dev"));
        assert_eq!(nearest("sorce", names), Some("source"));
        assert_eq!(nearest("soruce", names), Some("source"));
        assert_eq!(nearest("zlib", names), None);
    }
}
