//! `Sources`: a paragraph for each source package (Debian repository format, "Sources Indices"),
//! which is its `.dsc` (dsc(5)) with the `.dsc` itself among the files.

use std::collections::BTreeMap;

use super::without;
use crate::archive::deb::control::{Paragraph, paragraphs};
use crate::base::Sha256;

/// What a `.dsc` says of itself.
pub struct Dsc {
    /// `Source`
    pub name: String,
    /// `Version`
    pub version: String,
    /// Size and digest of each file it names.
    pub files: BTreeMap<String, (u64, Sha256)>,
}

/// The `.dsc` as one of the files.
pub struct Own<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// Its MD5 in hex, which the field `Files` has.
    pub md5: &'a str,
}

impl Dsc {
    /// Reads its text, without a signature.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let paragraph = only(text)?;
        let field = |name: &str| {
            paragraph.get(name).map(str::to_owned).ok_or_else(|| format!("it has no `{name}`"))
        };
        let (name, version) = (field("Source")?, field("Version")?);
        name.parse::<crate::base::PackageName>().map_err(|error| error.to_string())?;
        let mut files = BTreeMap::new();
        for line in field("Checksums-Sha256")?.lines().map(str::trim).filter(|it| !it.is_empty()) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (sha256, size, file) = match words[..] {
                [sha256, size, file] => (sha256.parse::<Sha256>(), size.parse::<u64>(), file),
                _ => return Err(format!("`{line}` is no file of `Checksums-Sha256`")),
            };
            let (Ok(sha256), Ok(size)) = (sha256, size) else {
                return Err(format!("`{line}` is no file of `Checksums-Sha256`"));
            };
            if file.contains('/') || file.starts_with('.') {
                return Err(format!("`{file}` is no plain file name"));
            }
            files.insert(file.to_owned(), (size, sha256));
        }
        Ok(Self { name, version, files })
    }
}

/// Fields that an index says of a source package, whatever its `.dsc` says.
const OWN: [&str; 7] = [
    "Source",
    "Package",
    "Directory",
    "Files",
    "Checksums-Sha1",
    "Checksums-Sha256",
    "Checksums-Sha512",
];

/// The paragraph of a source package whose `.dsc` has this text, with the empty line behind it.
/// `folder` has its files, below the repository.
///
/// # Errors
/// What is wrong with the text.
pub fn paragraph(text: &str, folder: &str, own: &Own<'_>) -> Result<String, String> {
    let paragraph = only(text)?;
    let field = |name: &str| paragraph.get(name).unwrap_or_default().trim_end().to_owned();
    let lines = |name: &str| -> String {
        let lines = field(name);
        lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .fold(String::new(), |text, line| format!("{text} {line}\n"))
    };
    let mut row = format!("Package: {}\n", field("Source"));
    for line in without(text, &OWN) {
        row.push_str(line);
        row.push('\n');
    }
    let Own { name, size, sha256, md5 } = own;
    row.push_str(&format!("Directory: {folder}\n"));
    row.push_str(&format!("Files:\n {md5} {size} {name}\n{}", lines("Files")));
    let sums = lines("Checksums-Sha256");
    row.push_str(&format!("Checksums-Sha256:\n {sha256} {size} {name}\n{sums}\n"));
    Ok(row)
}

/// The paragraph of another tool's index as one of ours, with the empty line behind it. `folder` is
/// where its files are below this repository; all of them have a SHA-256.
///
/// # Errors
/// What is wrong with the text.
pub fn moved(text: &str, folder: &str) -> Result<String, String> {
    let paragraph = only(text)?;
    let lines = |field: &str| -> Result<Vec<String>, String> {
        let value = paragraph.get(field).ok_or_else(|| format!("it has no `{field}`"))?;
        let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    };
    let (files, sums) = (lines("Files")?, lines("Checksums-Sha256")?);
    let name = |line: &String| line.rsplit(' ').next().unwrap_or_default().to_owned();
    if let Some(file) =
        files.iter().map(name).find(|file| !sums.iter().any(|sum| name(sum) == *file))
    {
        return Err(format!("`{file}` has no SHA-256"));
    }
    let mut row = format!("Package: {}\n", paragraph.get("Package").unwrap_or_default());
    for line in without(text, &OWN) {
        row.push_str(line);
        row.push('\n');
    }
    row.push_str(&format!("Directory: {folder}\n"));
    for (field, lines) in [("Files", files), ("Checksums-Sha256", sums)] {
        row.push_str(&format!("{field}:\n"));
        row.extend(lines.iter().map(|line| format!(" {line}\n")));
    }
    row.push('\n');
    Ok(row)
}

fn only(text: &str) -> Result<Paragraph<'_>, String> {
    let mut all = paragraphs(text);
    match (all.next(), all.next()) {
        (Some(Ok(paragraph)), None) => Ok(paragraph),
        (Some(Err(error)), _) => Err(error.to_string()),
        _ => Err("it is not one paragraph".to_owned()),
    }
}
