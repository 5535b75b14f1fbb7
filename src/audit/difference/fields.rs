//! Control files, field by field (deb822(5)).

use std::collections::BTreeSet;

use super::{Found, Layer, What};
use crate::archive::deb::control::{self, Paragraph};

/// The most characters of a value that are kept.
const VALUE: usize = 2000;

/// Whether a file of this name is a control file.
pub(super) fn is_control(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name == "control" || [".dsc", ".changes", ".buildinfo"].iter().any(|end| name.ends_with(end))
}

/// Compares two control files. Says whether they are that, and differ in a field.
pub(super) fn compare(at: &[String], old: &str, new: &str, found: &mut Found) -> bool {
    let read = |text| control::paragraphs(text).collect::<Result<Vec<Paragraph<'_>>, _>>();
    let (Ok(old), Ok(new)) = (read(old), read(new)) else { return false };
    if old.len() != new.len() {
        return false;
    }
    let before = found.total;
    for (old, new) in old.iter().zip(&new) {
        let names = old.fields().chain(new.fields()).map(|(name, _)| name);
        let mut seen = BTreeSet::new();
        for name in names.filter(|name| seen.insert(name.to_ascii_lowercase())) {
            let (old, new) = (old.get(name), new.get(name));
            if old != new {
                let lines = [old, new].map(|value| lines(value.unwrap_or_default()));
                let [one, two] = &lines;
                let value = |value: Option<&str>, own: &[&str], other: &[&str]| {
                    value.map(|value| shortened(value, own, other))
                };
                let (old, new) = (value(old, one, two), value(new, two, one));
                found.add(Layer::Control, at, What::Field { name: name.to_owned(), old, new });
            }
        }
    }
    found.total > before
}

fn lines(value: &str) -> Vec<&str> {
    value.lines().collect()
}

/// Of a value of several lines, those that the other has not.
fn shortened(value: &str, own: &[&str], other: &[&str]) -> String {
    let there: BTreeSet<&str> = other.iter().copied().collect();
    let only: Vec<&str> = own.iter().copied().filter(|line| !there.contains(line)).collect();
    let text = if own.len() > 1 && !only.is_empty() { only.join("\n") } else { value.to_owned() };
    text.chars().take(VALUE).collect()
}
