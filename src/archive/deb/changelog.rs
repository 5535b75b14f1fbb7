//! The top entry of a `debian/changelog` (Debian Policy 4.4, deb-changelog(5)).

use jiff::fmt::rfc2822;

use super::version::{self, Version};
use crate::base::{NameError, PackageName};

/// The newest entry of a changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The source package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The distribution it is meant for.
    pub distribution: String,
    /// Its date, in seconds since 1970.
    pub timestamp: i64,
}

/// Why a text is not a changelog.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No line of the form `name (version) distribution; …`.
    #[error("a changelog begins with `name (version) distribution; urgency=…`, found `{0}`")]
    Heading(String),
    /// No line ` -- maintainer  date` after the heading.
    #[error("the top changelog entry has no ` -- name <address>  date` line")]
    Trailer,
    /// The trailer's date is not one.
    #[error("`{text}` is not a changelog date, such as `Sun, 22 Nov 2026 12:00:00 +0000`")]
    Date {
        /// What stands there.
        text: String,
        /// Why it is none.
        source: jiff::Error,
    },
    /// The name is not a package name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The version is none.
    #[error(transparent)]
    Version(#[from] version::Error),
}

/// The top entry of a changelog.
pub fn top(text: &str) -> Result<Entry, Error> {
    let mut lines = text.lines().skip_while(|line| line.trim().is_empty());
    let heading = lines.next().unwrap_or_default();
    let bad = || Error::Heading(heading.chars().take(80).collect());
    let (name, rest) = heading.split_once(" (").ok_or_else(bad)?;
    let (version, rest) = rest.split_once(')').ok_or_else(bad)?;
    let (distribution, _) = rest.split_once(';').ok_or_else(bad)?;
    let trailer = lines
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .find_map(|line| line.strip_prefix(" -- "))
        .ok_or(Error::Trailer)?;
    let (_, date) = trailer.split_once(">  ").ok_or(Error::Trailer)?;
    let timestamp = rfc2822::parse(date.trim())
        .map_err(|source| Error::Date { text: date.trim().to_owned(), source })?
        .timestamp()
        .as_second();
    Ok(Entry {
        name: name.parse()?,
        version: version.parse()?,
        distribution: distribution.trim().to_owned(),
        timestamp,
    })
}

/// A changelog entry as the format wants it, the empty line after it included. `text` becomes
/// one bullet per line.
pub fn entry(
    name: &PackageName,
    version: &str,
    distribution: &str,
    text: &str,
    maintainer: &str,
    timestamp: jiff::Timestamp,
) -> String {
    let bullets: String = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| format!("  * {line}\n"))
        .collect();
    let date = timestamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000");
    format!(
        "{name} ({version}) {distribution}; urgency=medium\n\n{bullets}\n -- {maintainer}  {date}\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_the_entry_it_writes() {
        let name = "greet".parse().expect("a name");
        let at = jiff::Timestamp::from_second(1_790_000_000).expect("a time");
        let text = entry(&name, "1.2.0-1", "demo", "First.\n\nSecond.", "A B <a@b.example>", at);
        let top = top(&text).expect("its own text");
        assert_eq!(top.name, name);
        assert_eq!(top.version.to_string(), "1.2.0-1");
        assert_eq!(top.distribution, "demo");
        assert_eq!(top.timestamp, 1_790_000_000);
    }

    #[test]
    fn refuses_what_is_no_changelog() {
        for text in ["", "x", "greet 1.0 demo;", "greet (1.0) demo; urgency=low\n\n  * x\n"] {
            assert!(top(text).is_err(), "{text}");
        }
    }
}
