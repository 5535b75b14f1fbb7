//! What C and C++ sources include of others.

use std::collections::{BTreeMap, BTreeSet};

use super::{Files, Need, Sure};
use crate::archive::deb::contents::Wanted;

/// How many source files are looked into.
const MOST: usize = 2000;

/// Headers that sources include in angle brackets and that are not their own.
pub fn headers(files: &Files<'_>) -> Vec<Need> {
    let own: BTreeSet<&str> =
        files.paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    let is_source = |name: &str| {
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        matches!(end, "c" | "h" | "cc" | "cpp" | "cxx" | "hh" | "hpp")
    };
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for path in files.named(is_source).into_iter().take(MOST) {
        let Some(text) = files.text(path) else { continue };
        for (line, header) in included(&text) {
            if !own.contains(header.rsplit('/').next().unwrap_or_default()) {
                found.entry(header.to_owned()).or_insert_with(|| format!("{path}:{line}"));
            }
        }
    }
    let need = |(header, from)| Need { wanted: Wanted::Header(header), from, sure: Sure::Guessed };
    found.into_iter().map(need).collect()
}

/// What a text includes outside of conditions, and on which line.
fn included(text: &str) -> Vec<(usize, &str)> {
    let mut conditions: Vec<bool> = Vec::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(directive) = line.trim_start().strip_prefix('#').map(str::trim_start) else {
            continue;
        };
        if directive.starts_with("if") {
            // The guard of a header surrounds all of it.
            conditions.push(!directive.starts_with("ifndef"));
        } else if directive.starts_with("endif") {
            conditions.pop();
        } else if let Some(rest) = directive.strip_prefix("include")
            && let Some((header, _)) =
                rest.trim_start().strip_prefix('<').and_then(|rest| rest.split_once('>'))
            && header.contains('.')
            && !conditions.contains(&true)
        {
            found.push((index + 1, header));
        }
    }
    found
}
