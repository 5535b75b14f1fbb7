//! What the packages of an index are, in one line each.

use std::collections::BTreeMap;

/// The first line of the description of each package of a `Packages` index (Debian Policy
/// 5.6.13), by name. Where a name is there several times the last one counts.
pub fn summaries(text: &str) -> BTreeMap<Box<str>, Box<str>> {
    let mut found = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("Package:") {
            name = value.trim();
        } else if let Some(value) = line.strip_prefix("Description:") {
            if !name.is_empty() {
                found.insert(name.into(), value.trim().into());
            }
        } else if line.is_empty() {
            name = "";
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_first_line_of_the_description() {
        let text = "Package: a\nDescription: one\n more\nVersion: 1\n\nDescription: nobody's\n\n\
                    Package: b\nVersion: 1\n\nPackage: c\nDescription:three\n";
        let found = summaries(text);
        let found: Vec<_> = found.iter().map(|(name, text)| (&**name, &**text)).collect();
        assert_eq!(found, [("a", "one"), ("c", "three")]);
    }
}
