//! Release files: what a suite consists of, at one moment
//! (the Debian repository format; `Release` without signature, the text inside `InRelease`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::control::{self, Paragraph, paragraphs};
use crate::base::Sha256;

/// A suite as its archive describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// `Origin`, whose archive it is.
    pub origin: Option<String>,
    /// `Suite`, which may move on (`stable`).
    pub suite: Option<String>,
    /// `Codename`, which does not (`bookworm`).
    pub codename: Option<String>,
    /// `Date`, when it was made.
    pub date: Timestamp,
    /// `Date` as written.
    pub date_text: String,
    /// `Valid-Until`, after which it must not be believed to be the newest.
    pub valid_until: Option<Timestamp>,
    /// `Components`, without the prefix that suites like `stable/updates` put before them.
    pub components: Vec<String>,
    /// `Architectures`; may include `all`.
    pub architectures: Vec<String>,
    /// `Acquire-By-Hash: yes`: each file can also be fetched by its digest, and so stays
    /// fetchable while the suite moves on.
    pub acquire_by_hash: bool,
    /// Whether packages of architecture `all` have an index of their own only, instead of being
    /// in that of each architecture: `all` is among the architectures, and no
    /// `No-Support-for-Architecture-all: Packages` takes that back.
    pub all_apart: bool,
    /// Size in bytes and digest of each file, by path below the suite (`SHA256`).
    pub files: BTreeMap<String, (u64, Sha256)>,
}

/// Why a text is not a Release file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not even a control file.
    #[error("not a Release file")]
    Control(#[from] control::Error),
    /// It is not one paragraph.
    #[error("a Release file is one paragraph, not {0}")]
    Paragraphs(usize),
    /// A field that must be there is not.
    #[error("the Release file has no field `{0}`")]
    Missing(&'static str),
    /// A date that is none.
    #[error("`{text}` is not a date (field `{field}` of the Release file)")]
    Date {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// An entry of `SHA256` that is none.
    #[error("`{0}` is not `digest size path` (field `SHA256` of the Release file)")]
    File(String),
}

impl ReleaseFile {
    /// Reads a Release file. Digests other than SHA-256 do not count: without the field `SHA256`
    /// it is refused, as are paths that lead out of the suite.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let all = paragraphs(text).collect::<Result<Vec<_>, _>>()?;
        let [one] = &all[..] else { return Err(Error::Paragraphs(all.len())) };
        let words = |field| {
            let value: &str = one.get(field).unwrap_or_default();
            value.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let architectures = words("Architectures");
        let all_apart = architectures.iter().any(|name| name == "all")
            && !words("No-Support-for-Architecture-all").iter().any(|word| word == "Packages");
        let components = words("Components");
        Ok(Self {
            origin: one.get("Origin").map(str::to_owned),
            suite: one.get("Suite").map(str::to_owned),
            codename: one.get("Codename").map(str::to_owned),
            date: date_field(one, "Date")?.ok_or(Error::Missing("Date"))?,
            date_text: one.get("Date").unwrap_or_default().to_owned(),
            valid_until: date_field(one, "Valid-Until")?,
            components: components
                .iter()
                .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
                .collect(),
            architectures,
            acquire_by_hash: one.get("Acquire-By-Hash") == Some("yes"),
            all_apart,
            files: files(one)?,
        })
    }
}

/// The moment that a Release file writes as `Sat, 11 Jul 2026 10:16:37 UTC` (RFC 5322, in UTC).
pub fn date(text: &str) -> Option<Timestamp> {
    let standard = text.strip_suffix(" UTC").map(|rest| format!("{rest} +0000"));
    let parsed = jiff::fmt::rfc2822::parse(standard.as_deref().unwrap_or(text));
    parsed.ok().map(|zoned| zoned.timestamp())
}

fn date_field(paragraph: &Paragraph<'_>, field: &'static str) -> Result<Option<Timestamp>, Error> {
    let Some(text) = paragraph.get(field) else { return Ok(None) };
    let bad = || Error::Date { field, text: text.chars().take(100).collect() };
    date(text).map(Some).ok_or_else(bad)
}

fn files(paragraph: &Paragraph<'_>) -> Result<BTreeMap<String, (u64, Sha256)>, Error> {
    let list = paragraph.get("SHA256").ok_or(Error::Missing("SHA256"))?;
    let lines = list.lines().map(str::trim_ascii).filter(|line| !line.is_empty());
    lines
        .map(|line| file(line).ok_or_else(|| Error::File(line.chars().take(200).collect())))
        .collect()
}

/// `digest size path`
fn file(line: &str) -> Option<(String, (u64, Sha256))> {
    let mut words = line.split_ascii_whitespace();
    let (sha256, size, path) = (words.next()?, words.next()?, words.next()?);
    let digits = size.bytes().all(|byte| byte.is_ascii_digit());
    let stays = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if words.next().is_some() || !digits || !stays {
        return None;
    }
    Some((path.to_owned(), (size.parse().ok()?, sha256.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Origin: Test\nSuite: oldstable\nCodename: test\n\
        Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\n\
        Acquire-By-Hash: yes\nArchitectures: all amd64\nComponents: updates/main contrib\n\
        MD5Sum:\n x 1 y\nSHA256:\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 main/source/Sources\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad   44 main/x.gz\n";

    #[test]
    fn reads_a_release_file() {
        let file = ReleaseFile::parse(TEXT).unwrap();
        assert_eq!(file.suite.as_deref(), Some("oldstable"));
        assert_eq!(file.codename.as_deref(), Some("test"));
        assert_eq!(file.date, "2026-07-11T10:16:37Z".parse().unwrap());
        assert_eq!(file.date_text, "Sat, 11 Jul 2026 10:16:37 UTC");
        assert_eq!(file.valid_until, Some("2026-07-18T10:16:37Z".parse().unwrap()));
        assert_eq!(file.components, ["main", "contrib"]);
        assert!(file.acquire_by_hash && file.all_apart);
        assert_eq!(file.files["main/source/Sources"], (3, Sha256::of(b"abc")));
        assert_eq!(file.files.len(), 2);
    }

    #[test]
    fn an_archive_can_keep_all_packages_in_each_index() {
        let text = TEXT.replace("MD5Sum", "No-Support-for-Architecture-all: Packages\nMD5Sum");
        assert!(!ReleaseFile::parse(&text).unwrap().all_apart);
        let text = TEXT.replace("all amd64", "amd64");
        assert!(!ReleaseFile::parse(&text).unwrap().all_apart);
    }

    #[test]
    fn refuses_what_cannot_be_relied_on() {
        for (from, to) in [
            ("Date: Sat, 11 Jul 2026 10:16:37 UTC", "Day: 1"),
            ("Date: Sat, 11 Jul 2026 10:16:37 UTC", "Date: tomorrow"),
            ("18 Jul", "38 Jul"),
            ("SHA256:", "SHA1:"),
            (" 3 main", " -3 main"),
            (" 3 main", " +3 main"),
            (" 3 main", " 99999999999999999999 main"),
            ("main/x.gz", "../x.gz"),
            ("main/x.gz", "/x.gz"),
            ("main/x.gz", "main/x.gz y"),
            ("ba7816bf", "zz7816bf"),
            ("Suite: oldstable\n", "Suite: oldstable\n\n"),
            ("Suite:", "Suite"),
        ] {
            assert!(ReleaseFile::parse(&TEXT.replace(from, to)).is_err(), "{to}");
        }
    }
}
