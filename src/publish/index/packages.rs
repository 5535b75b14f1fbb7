//! `Packages`: a paragraph for each binary package (Debian repository format, "Packages Indices").

use super::without;
use crate::base::Sha256;

/// Fields that say where and how large a file is: an index's own, never the package's.
const OF_THE_INDEX: [&str; 9] = [
    "Package",
    "Filename",
    "Size",
    "MD5sum",
    "SHA1",
    "SHA256",
    "SHA512",
    "Description-md5",
    "Status",
];

/// The paragraph of a package whose control file is `control`, with the empty line behind it.
/// `path` is its file below `pool`.
///
/// # Errors
/// What is wrong with the control file.
pub fn paragraph(
    control: &str,
    path: &str,
    size: u64,
    sha256: &Sha256,
) -> Result<String, &'static str> {
    let mut paragraphs = crate::archive::deb::control::paragraphs(control);
    let Some(Ok(first)) = paragraphs.next() else { return Err("its control file cannot be read") };
    if paragraphs.next().is_some() {
        return Err("its control file has more than one paragraph");
    }
    let name = first.get("Package").ok_or("its control file has no `Package`")?;
    let mut text = format!("Package: {name}\n");
    for line in without(control, &OF_THE_INDEX) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&format!("Filename: pool/{path}\nSize: {size}\nSHA256: {sha256}\n\n"));
    Ok(text)
}

/// The paragraph of an index with the description that the package's own control file has.
pub fn described(paragraph: &str, control: &str) -> String {
    let (mut text, mut taken) = (String::new(), false);
    for line in without(paragraph, &["Description"]) {
        if line.starts_with("Filename:") {
            for line in control.lines() {
                if !line.starts_with([' ', '\t']) {
                    taken = line.starts_with("Description:");
                }
                if taken && !line.is_empty() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}
