//! Source package control files, `.dsc` (Debian Policy 5.4): which files make up a source package.

use super::control::{self, paragraphs};
use super::signature::{self, Refusal};
use super::version::{self, Version};
use crate::base::{NameError, PackageName, Sha256};

/// A source package as its `.dsc` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsc {
    /// `Source`
    pub name: PackageName,
    /// `Version`
    pub version: Version,
    /// `Format`: `3.0 (quilt)`.
    pub format: String,
    /// The files beside the `.dsc` itself, sorted by name: name, size in bytes, digest.
    pub files: Vec<(String, u64, Sha256)>,
}

/// Why some bytes are not a `.dsc`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It begins like a signed file and is none.
    #[error(transparent)]
    Frame(#[from] Refusal),
    /// It is not text.
    #[error("a .dsc is UTF-8 text")]
    Encoding,
    /// It is not even a control file.
    #[error("not a .dsc")]
    Control(#[from] control::Error),
    /// A field that must be there is not.
    #[error("the .dsc has no field `{0}`")]
    Missing(&'static str),
    /// `Source` is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `Version` is none.
    #[error(transparent)]
    Version(#[from] version::Error),
    /// An entry of `Checksums-Sha256` that is none.
    #[error("`{0}` is not `digest size name` (field `Checksums-Sha256` of the .dsc)")]
    File(String),
}

impl Dsc {
    /// Reads a `.dsc`, signed or not. Its signature is *not* looked at: a maintainer's key says
    /// nothing to us, the digest in the archive's own signed index does. Text outside the signed
    /// part is refused nevertheless.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = if bytes.starts_with(b"-----BEGIN ") {
            signature::signed_text(bytes)?
        } else {
            std::str::from_utf8(bytes).map_err(|_| Error::Encoding)?.to_owned()
        };
        let first = paragraphs(&text).next().ok_or(Error::Missing("Source"))??;
        let needed = |field| first.get(field).ok_or(Error::Missing(field));
        let lines = needed("Checksums-Sha256")?.lines().map(str::trim_ascii);
        let mut files = lines
            .filter(|line| !line.is_empty())
            .map(|line| file(line).ok_or_else(|| Error::File(line.chars().take(200).collect())))
            .collect::<Result<Vec<_>, _>>()?;
        files.sort();
        Ok(Self {
            name: needed("Source")?.parse()?,
            version: needed("Version")?.parse()?,
            format: needed("Format")?.to_owned(),
            files,
        })
    }
}

/// `digest size name`
fn file(line: &str) -> Option<(String, u64, Sha256)> {
    let mut words = line.split_ascii_whitespace();
    let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
    let digits = size.bytes().all(|byte| byte.is_ascii_digit());
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\".contains(&byte));
    if words.next().is_some() || !digits || !plain || matches!(name, "." | "..") {
        return None;
    }
    Some((name.to_owned(), size.parse().ok()?, sha256.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Format: 3.0 (quilt)\nSource: foo\nVersion: 1:1.2-3\nChecksums-Sha256:\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 foo_1.2.orig.tar.xz\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 4 foo_1.2-3.debian.tar\n";

    #[test]
    fn reads_it_signed_or_not() {
        let plain = Dsc::parse(TEXT.as_bytes()).unwrap();
        assert_eq!((plain.name.as_str(), plain.version.as_str()), ("foo", "1:1.2-3"));
        assert_eq!(plain.format, "3.0 (quilt)");
        let names: Vec<_> = plain.files.iter().map(|file| (file.0.as_str(), file.1)).collect();
        assert_eq!(names, [("foo_1.2-3.debian.tar", 4), ("foo_1.2.orig.tar.xz", 3)]);
        let frame = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n";
        let end = "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";
        assert_eq!(Dsc::parse(format!("{frame}{TEXT}{end}").as_bytes()).unwrap(), plain);
        assert!(Dsc::parse(format!("{frame}{TEXT}{end}Source: x").as_bytes()).is_err());
    }

    #[test]
    fn refuses_files_that_lie_elsewhere() {
        for (from, to) in [
            ("foo_1.2.orig.tar.xz", "../foo"),
            ("foo_1.2.orig.tar.xz", ".."),
            ("foo_1.2.orig.tar.xz", "a b"),
            (" 3 ", " -3 "),
            ("Source: foo", "Source: ../foo"),
            ("Version", "Vision"),
            ("Checksums-Sha256", "Checksums-Sha1"),
        ] {
            assert!(Dsc::parse(TEXT.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(Dsc::parse(b"\xff").is_err() && Dsc::parse(b"").is_err());
    }
}
