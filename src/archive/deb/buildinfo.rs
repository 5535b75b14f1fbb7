//! Files `.buildinfo` (deb-buildinfo(5)): what a builder says it built with.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::control::{self, paragraphs};
use super::dependency::{self, Dependencies, Operator};
use super::signature::{self, signed_text};
use super::version::{self, Version};
use crate::base::{NameError, PackageName, Sha256};

/// The largest file that is read, in bytes.
pub const LARGEST: u64 = 4 << 20;

/// What a `.buildinfo` says of the packages that were installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    /// The source package.
    pub source: PackageName,
    /// Its version (`Version`, or the one in brackets after `Source`, of a rebuild).
    pub version: Version,
    /// `Installed-Build-Depends`: every package that took part, and its version.
    pub installed: BTreeMap<PackageName, Version>,
    /// `Checksums-Sha256`: what came of it, by file name; nothing where it does not say.
    pub outputs: BTreeMap<String, Sha256>,
}

/// Why a text is no `.buildinfo`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is signed, but not as it should be.
    #[error("its signature's frame is not well-formed")]
    Frame(#[from] signature::Refusal),
    /// It is not UTF-8, or holds nothing.
    #[error("it holds no text")]
    Empty,
    /// It is no control file.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// A field that it must have is not there.
    #[error("it has no field `{0}`")]
    Missing(&'static str),
    /// The name of its source is none.
    #[error("its `Source`")]
    Source(#[from] NameError),
    /// Its version is none.
    #[error("its `Version`")]
    Version(#[from] version::Error),
    /// Its files are none.
    #[error("its `Checksums-Sha256` has `{0}`, which is not `digest size name`")]
    Output(String),
    /// Its packages are none.
    #[error("its `Installed-Build-Depends`")]
    Installed(#[from] dependency::Error),
}

/// Reads a `.buildinfo`, whoever signed it, or nobody: it is a claim, not a proof.
pub fn parse(bytes: &[u8]) -> Result<BuildInfo, Error> {
    let text = match bytes.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
        true => signed_text(bytes)?,
        false => String::from_utf8(bytes.to_vec()).map_err(|_| Error::Empty)?,
    };
    let paragraph = paragraphs(&text).next().ok_or(Error::Empty)??;
    let field = |name: &'static str| paragraph.get(name).ok_or(Error::Missing(name));
    let (source, version) = match field("Source")?.split_once('(') {
        Some((source, rest)) => (source, rest.trim_end().trim_end_matches(')')),
        None => (field("Source")?, field("Version")?),
    };
    let installed: Dependencies = field("Installed-Build-Depends")?.parse()?;
    let exact = installed.0.into_iter().flat_map(|one| one.0).filter_map(|relation| {
        let (operator, version) = relation.version?;
        (operator == Operator::Equal).then_some((relation.name, version))
    });
    Ok(BuildInfo {
        source: source.trim().parse()?,
        version: version.trim().parse()?,
        installed: exact.collect(),
        outputs: outputs(paragraph.get("Checksums-Sha256").unwrap_or_default())?,
    })
}

/// `digest size name` a line.
fn outputs(field: &str) -> Result<BTreeMap<String, Sha256>, Error> {
    let lines = field.lines().map(str::trim_ascii).filter(|line| !line.is_empty());
    let read = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
        let plain = !name.contains('/') && words.next().is_none() && size.parse::<u64>().is_ok();
        plain.then_some((name.to_owned(), sha256.parse().ok()?))
    };
    lines
        .map(|line| read(line).ok_or_else(|| Error::Output(line.chars().take(200).collect())))
        .collect()
}

/// What a `.buildinfo` is written from.
#[derive(Debug)]
pub struct Account<'a> {
    /// The source package.
    pub source: &'a str,
    /// Its version, which is that of what was built.
    pub version: &'a str,
    /// The architecture it was built on.
    pub architecture: &'a str,
    /// The binary packages that were built, with their architectures.
    pub binaries: Vec<(&'a str, &'a str)>,
    /// The files of all that was built, sorted by name.
    pub files: Vec<File<'a>>,
    /// Whose packages it was built with.
    pub origin: &'a str,
    /// When the build ended.
    pub date: Timestamp,
    /// The folder it was built in.
    pub path: &'a str,
    /// The packages that were installed: name, version, architecture.
    pub installed: Vec<(&'a str, &'a str, &'a str)>,
    /// The environment, as far as it may matter.
    pub environment: BTreeMap<&'a str, &'a str>,
}

/// A file that was built.
#[derive(Debug)]
pub struct File<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size in bytes.
    pub size: u64,
    /// Its digests: MD5, SHA-1 and SHA-256 in hexadecimal digits, as the format demands them.
    pub digests: [String; 3],
}

impl Account<'_> {
    /// The name of the file: after the architecture if anything was built for that, else `all`.
    pub fn file_name(&self) -> String {
        let version = self.version.split_once(':').map_or(self.version, |(_, version)| version);
        let is_common = self.binaries.iter().all(|(_, architecture)| *architecture == "all");
        let architecture = if is_common { "all" } else { self.architecture };
        format!("{}_{version}_{architecture}.buildinfo", self.source)
    }
}

/// The text of the file, one paragraph, not signed.
impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self.binaries.iter().map(|(name, _)| *name).collect();
        let mut architectures: Vec<&str> = self.binaries.iter().map(|(_, of)| *of).collect();
        if self.files.iter().any(|file| file.name.ends_with(".dsc")) {
            architectures.push("source");
        }
        for list in [&mut names, &mut architectures] {
            list.sort_unstable();
            list.dedup();
        }
        writeln!(f, "Format: 1.0\nSource: {}", self.source)?;
        if !names.is_empty() {
            writeln!(f, "Binary: {}", names.join(" "))?;
        }
        writeln!(f, "Architecture: {}\nVersion: {}", architectures.join(" "), self.version)?;
        for (index, algorithm) in ["Md5", "Sha1", "Sha256"].into_iter().enumerate() {
            writeln!(f, "Checksums-{algorithm}:")?;
            for File { name, size, digests } in &self.files {
                writeln!(f, " {} {size} {name}", digests[index])?;
            }
        }
        let date = self.date.strftime("%a, %d %b %Y %H:%M:%S +0000");
        writeln!(f, "Build-Origin: {}\nBuild-Architecture: {}", self.origin, self.architecture)?;
        writeln!(f, "Build-Date: {date}\nBuild-Path: {}", self.path)?;
        let mut installed: Vec<String> = self
            .installed
            .iter()
            .map(|(name, version, architecture)| match *architecture {
                "all" => format!("{name} (= {version})"),
                own if own == self.architecture => format!("{name} (= {version})"),
                other => format!("{name}:{other} (= {version})"),
            })
            .collect();
        installed.sort_unstable();
        writeln!(f, "Installed-Build-Depends:\n {}", installed.join(",\n "))?;
        f.write_str("Environment:\n")?;
        for (name, value) in &self.environment {
            let mut quoted = String::new();
            for letter in value.chars().filter(|letter| !letter.is_control()) {
                if matches!(letter, '"' | '\\') {
                    quoted.push('\\');
                }
                quoted.push(letter);
            }
            writeln!(f, " {name}=\"{quoted}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Format: 1.0\nSource: demo\nBinary: demo\nVersion: 1.0-1\n\
                        Installed-Build-Depends:\n base-files (= 12.4),\n gcc-12:amd64 (= 12.2.0-14)\n";

    #[test]
    fn what_was_installed_is_read_with_its_versions() {
        let info = parse(TEXT.as_bytes()).unwrap();
        assert_eq!((info.source.as_str(), info.version.as_str()), ("demo", "1.0-1"));
        let installed: Vec<String> =
            info.installed.iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(installed, ["base-files 12.4", "gcc-12 12.2.0-14"]);
        assert_eq!(info.outputs.len(), 0);
        let digest = Sha256::of(b"abc");
        let sums = format!("{TEXT}Checksums-Sha256:\n {digest} 3 demo_1.0-1_amd64.deb\n");
        let outputs = parse(sums.as_bytes()).unwrap().outputs;
        assert_eq!(outputs, BTreeMap::from([("demo_1.0-1_amd64.deb".to_owned(), digest)]));
        for bad in
            [sums.replace(" 3 ", " "), sums.replace(" 3 ", " x "), sums.replace("demo_", "a/")]
        {
            assert!(matches!(parse(bad.as_bytes()), Err(Error::Output(_))), "{bad}");
        }
        // A rebuild of the same source has a version of its own.
        let rebuild = TEXT.replace("Source: demo", "Source: demo (1.0-1)");
        let rebuild = rebuild.replace("Version: 1.0-1", "Version: 1.0-1+b1");
        assert_eq!(parse(rebuild.as_bytes()).unwrap().version.as_str(), "1.0-1");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let sha256 = Sha256::of(b"demo").to_string();
        let digests = || ["md5", "sha1", &sha256].map(str::to_owned);
        let account = Account {
            source: "demo",
            version: "1:1.0-1",
            architecture: "amd64",
            binaries: vec![("libdemo1", "amd64"), ("demo", "amd64"), ("demo-doc", "all")],
            files: vec![
                File { name: "demo_1.0-1.dsc", size: 7, digests: digests() },
                File { name: "demo_1.0-1_amd64.deb", size: 9, digests: digests() },
            ],
            origin: "Debian",
            date: Timestamp::UNIX_EPOCH,
            path: "/build/demo-1.0",
            installed: vec![("zlib1g", "1:1.2-1", "i386"), ("base-files", "12.4", "amd64")],
            environment: BTreeMap::from([("LC_ALL", "C.UTF-8"), ("ODD", "a \"b\" \\c\n")]),
        };
        assert_eq!(account.file_name(), "demo_1.0-1_amd64.buildinfo");
        let text = account.to_string();
        let expected = "Format: 1.0\nSource: demo\nBinary: demo demo-doc libdemo1\n\
                        Architecture: all amd64 source\nVersion: 1:1.0-1\nChecksums-Md5:\n \
                        md5 7 demo_1.0-1.dsc\n md5 9 demo_1.0-1_amd64.deb\nChecksums-Sha1:\n";
        assert!(text.starts_with(expected), "{text}");
        let expected = "Build-Date: Thu, 01 Jan 1970 00:00:00 +0000\nBuild-Path: /build/demo-1.0\n\
                        Installed-Build-Depends:\n base-files (= 12.4),\n \
                        zlib1g:i386 (= 1:1.2-1)\nEnvironment:\n LC_ALL=\"C.UTF-8\"\n \
                        ODD=\"a \\\"b\\\" \\\\c\"\n";
        assert!(text.ends_with(expected), "{text}");
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!((read.source.as_str(), read.version.as_str()), ("demo", "1:1.0-1"));
        assert_eq!(read.installed.len(), 2);
        assert_eq!(read.outputs["demo_1.0-1_amd64.deb"], Sha256::of(b"demo"));
        let common = Account { binaries: vec![("demo-doc", "all")], ..account };
        assert_eq!(common.file_name(), "demo_1.0-1_all.buildinfo");
    }

    #[test]
    fn what_is_no_buildinfo_is_refused() {
        assert_eq!(parse(b""), Err(Error::Empty));
        assert_eq!(parse(b"\xff"), Err(Error::Empty));
        assert_eq!(
            parse(b"Source: a\nVersion: 1\n"),
            Err(Error::Missing("Installed-Build-Depends"))
        );
        assert!(matches!(parse(b"nothing"), Err(Error::Control(_))));
        let odd = TEXT.replace("demo", "-");
        assert!(matches!(parse(odd.as_bytes()), Err(Error::Source(_))));
        let frame = b"-----BEGIN PGP SIGNED MESSAGE-----\nnothing";
        assert!(matches!(parse(frame), Err(Error::Frame(_))));
    }
}
