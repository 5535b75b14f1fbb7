//! A `.changes` file (deb-changes(5), format 1.8): what was uploaded, or published, together.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Error, Result};

/// What goes together: a source package, or some of what was built from it, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// When it was built, or changed last.
    pub date: Timestamp,
    /// The source package.
    pub source: String,
    /// Its version, with the epoch.
    pub version: String,
    /// The suite it is for.
    pub distribution: String,
    /// How much it matters: `low`, `medium`, `high`.
    pub urgency: String,
    /// Who maintains the package: `Name <address>`.
    pub maintainer: String,
    /// Who made this version.
    pub changed_by: String,
    /// The binary packages, by name and architecture, each with the first line of its description.
    pub binaries: Vec<Binary>,
    /// What is new, as the changelog says it.
    pub text: String,
    /// The files; a `.dsc` among them makes it one with its source.
    pub files: Vec<ChangedFile>,
}

/// A binary package of a `.changes` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The first line of its description.
    pub summary: String,
}

/// A file of a `.changes` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// MD5 in hex.
    pub md5: String,
    /// SHA-1 in hex.
    pub sha1: String,
    /// SHA-256 in hex.
    pub sha256: String,
    /// `libs`, or `contrib/libs`.
    pub section: String,
    /// `optional`.
    pub priority: String,
}

impl Changes {
    /// What its file is called: after the architectures, as dpkg-genchanges(1) does.
    pub fn file_name(&self) -> String {
        let version = self.version.split_once(':').map_or(&*self.version, |(_, version)| version);
        let architectures = self.architectures();
        let arch = match architectures.iter().find(|name| !matches!(**name, "source" | "all")) {
            Some(arch) => arch,
            None if architectures.contains(&"all") => "all",
            None => "source",
        };
        format!("{}_{version}_{arch}.changes", self.source)
    }

    /// Its text, to be signed.
    ///
    /// # Errors
    /// [`Error::NotAWord`] if a value would end the line it is written on, or split a list.
    pub fn text(&self) -> Result<String> {
        self.check()?;
        let date = self.date.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000");
        let mut text = format!("Format: 1.8\nDate: {date}\nSource: {}\n", self.source);
        let names: BTreeSet<&str> = self.binaries.iter().map(|one| one.name.as_str()).collect();
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            text.push_str(&format!("Binary: {}\n", names.join(" ")));
        }
        text.push_str(&format!(
            "Architecture: {}\nVersion: {}\nDistribution: {}\nUrgency: {}\nMaintainer: {}\n\
             Changed-By: {}\n",
            self.architectures().join(" "),
            self.version,
            self.distribution,
            self.urgency,
            self.maintainer,
            self.changed_by,
        ));
        let summaries: BTreeSet<(&str, &str)> =
            self.binaries.iter().map(|one| (one.name.as_str(), one.summary.as_str())).collect();
        if !summaries.is_empty() {
            text.push_str("Description:\n");
        }
        for (name, summary) in summaries {
            // As wide as dpkg-genchanges writes it.
            text.push_str(&format!(" {name:<10} - {summary}\n"));
        }
        text.push_str(&format!(
            "Changes:\n {} ({}) {}; urgency={}\n .\n",
            self.source, self.version, self.distribution, self.urgency
        ));
        for line in self.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            text.push_str(&format!("   * {line}\n"));
        }
        for (field, digest) in [
            ("Checksums-Sha1", (|file| &file.sha1) as fn(&ChangedFile) -> &String),
            ("Checksums-Sha256", |file| &file.sha256),
        ] {
            text.push_str(&format!("{field}:\n"));
            for file in &self.files {
                text.push_str(&format!(" {} {} {}\n", digest(file), file.size, file.name));
            }
        }
        text.push_str("Files:\n");
        for file in &self.files {
            let ChangedFile { name, size, md5, section, priority, .. } = file;
            text.push_str(&format!(" {md5} {size} {section} {priority} {name}\n"));
        }
        Ok(text)
    }

    /// `source` first, then those of the binary packages.
    fn architectures(&self) -> Vec<&str> {
        let has_source = self.files.iter().any(|file| file.name.ends_with(".dsc"));
        let of_binaries: BTreeSet<&str> =
            self.binaries.iter().map(|one| one.architecture.as_str()).collect();
        has_source.then_some("source").into_iter().chain(of_binaries).collect()
    }

    fn check(&self) -> Result<()> {
        let mut words = vec![&self.source, &self.version, &self.distribution, &self.urgency];
        let mut lines = vec![&self.maintainer, &self.changed_by];
        for Binary { name, architecture, summary } in &self.binaries {
            words.extend([name, architecture]);
            lines.push(summary);
        }
        for file in &self.files {
            let ChangedFile { name, size: _, md5, sha1, sha256, section, priority } = file;
            words.extend([name, md5, sha1, sha256, section, priority]);
        }
        let is_line = |line: &str| !line.contains(char::is_control);
        let is_word =
            |word: &str| !word.is_empty() && is_line(word) && !word.contains(char::is_whitespace);
        let wrong_word = words.into_iter().find(|word| !is_word(word));
        let wrong_line = || lines.into_iter().find(|line| !is_line(line));
        let wrong_text = || Some(&self.text).filter(|text| !text.lines().all(is_line));
        match wrong_word.or_else(wrong_line).or_else(wrong_text) {
            Some(wrong) => Err(Error::NotAWord(wrong.escape_debug().to_string())),
            None => Ok(()),
        }
    }
}
