//! How upstream packs its sources.

use std::fmt;
use std::str::FromStr;

/// How an archive file is packed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Format {
    /// tar, not compressed.
    Tar,
    /// tar, compressed with gzip.
    TarGz,
    /// tar, compressed with xz.
    TarXz,
    /// tar, compressed with zstd.
    TarZst,
    /// tar, compressed with bzip2.
    TarBz2,
    /// zip.
    Zip,
}

const FORMATS: [(Format, &str); 6] = [
    (Format::Tar, "tar"),
    (Format::TarGz, "tar.gz"),
    (Format::TarXz, "tar.xz"),
    (Format::TarZst, "tar.zst"),
    (Format::TarBz2, "tar.bz2"),
    (Format::Zip, "zip"),
];

impl Format {
    /// Its name, as file names end: `tar.xz`.
    pub fn as_str(self) -> &'static str {
        FORMATS.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| *name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = FORMATS.iter().find(|(_, name)| *name == text);
        known.map(|(format, _)| *format).ok_or_else(|| {
            let names: Vec<String> = FORMATS.iter().map(|(_, name)| format!("`{name}`")).collect();
            format!("unknown format `{text}`: {} are known", names.join(", "))
        })
    }
}
