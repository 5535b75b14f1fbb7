//! `Contents`: which package installs which path (Debian repository format, "Contents indices").

use crate::archive::deb::control::paragraphs;

/// How wide the column of paths is at least.
const COLUMN: usize = 59;

/// What the list calls a package of this control file: its section and its name.
pub fn title(control: &str, name: &str) -> String {
    let section = match paragraphs(control).next() {
        Some(Ok(paragraph)) => paragraph.get("Section").map(str::to_owned),
        _ => None,
    };
    format!("{}/{name}", section.as_deref().unwrap_or("misc"))
}

/// The row of a path that these packages install.
pub fn row(path: &str, titles: &[&str]) -> String {
    format!("{path:COLUMN$} {}\n", titles.join(","))
}

/// The path of a row, and the titles of the packages that install it.
pub fn read(row: &str) -> Option<(&str, Vec<&str>)> {
    // A path may have spaces in it, a title has none.
    let (path, titles) = row.trim_end().rsplit_once(' ')?;
    Some((path.trim_end(), titles.split(',').collect()))
}

/// Whether a path can be written in a row.
pub fn is_writable(path: &str) -> bool {
    !path.is_empty() && !path.chars().any(char::is_control) && path.trim_end() == path
}
