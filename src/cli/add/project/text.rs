//! Finding things in texts that are read, not run.

use super::{Files, Found};

/// The first line of a README that says something.
pub fn summary(files: &Files<'_>) -> Option<Found> {
    let is_readme = |name: &str| {
        let lower = name.to_ascii_lowercase();
        lower == "readme" || lower.starts_with("readme.")
    };
    let path = files.named(is_readme).into_iter().find(|path| !path.contains('/'))?;
    let text = files.text(path)?;
    let mut fenced = false;
    let says = text.lines().map(str::trim).find(|line| {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        // Titles, badges, rules, quotes and code do not.
        !fenced
            && line.len() > 10
            && line.contains(' ')
            && line.starts_with(|c: char| c.is_alphabetic())
    })?;
    Some(Found::guessed(one_line(says), format!("{path}, its first sentence")))
}

/// A text as a one-line summary: its first sentence, 80 characters at most.
pub fn one_line(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control() && !"`*_".contains(*c)).collect();
    let sentence = plain.split(". ").next().unwrap_or_default().trim().trim_end_matches('.');
    if sentence.chars().count() <= 80 {
        return sentence.to_owned();
    }
    let cut: String = sentence.chars().take(78).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    cut[..end].trim_end_matches([',', ';', ':', ' ']).to_owned()
}

/// The number of the line that holds byte `at`, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// What stands between the parentheses behind each call of `name`, and the call's line. A string
/// that holds parentheses may cut it short; nothing worse.
pub fn calls<'a>(text: &'a str, name: &str) -> Vec<(usize, &'a str)> {
    const MOST: usize = 1000;
    let lower = text.to_ascii_lowercase();
    let wanted = name.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, _) in lower.match_indices(&wanted).take(MOST) {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        if lower[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let start = lower[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = lower[start..at].trim_start();
        if before.starts_with('#') || before.starts_with("dnl") {
            continue;
        }
        let rest = text[at + wanted.len()..].trim_start();
        let Some(inner) = rest.strip_prefix('(') else { continue };
        let mut depth = 1_usize;
        let end = inner.char_indices().find_map(|(index, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(index)
        });
        found.push((line_of(text, at), &inner[..end.unwrap_or(inner.len())]));
    }
    found
}

/// The first quoted string of a text.
pub fn quoted(text: &str) -> Option<&str> {
    let start = text.find(['\'', '"'])?;
    let quote = text[start..].chars().next()?;
    let inner = &text[start + 1..];
    let value = &inner[..inner.find(quote)?];
    (!value.is_empty() && !value.contains('\n')).then_some(value)
}

/// The string that a keyword argument or variable has, and its place: `version: '1.2'`,
/// `version = "1.2"`.
pub fn keyword<'a>(text: &'a str, name: &str) -> Option<(usize, &'a str)> {
    text.match_indices(name).take(1000).find_map(|(at, _)| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        if text[..at].chars().next_back().is_some_and(is_word) {
            return None;
        }
        let rest = text[at + name.len()..].trim_start();
        let value = rest.strip_prefix([':', '='])?.trim_start();
        let value = value.starts_with(['\'', '"']).then(|| quoted(value))?;
        value.map(|value| (at, value))
    })
}

/// The strings of the list that a keyword argument has, and its place:
/// `install_requires=["a", 'b']`.
pub fn keyword_list<'a>(text: &'a str, name: &str) -> Option<(usize, Vec<&'a str>)> {
    let at = text.find(name)?;
    let rest = text[at + name.len()..].trim_start();
    let list = rest.strip_prefix([':', '='])?.trim_start().strip_prefix(['[', '('])?;
    let mut found = Vec::new();
    let mut rest = list;
    // Up to the end of the list: a bracket in a string is none.
    while let Some(start) = rest.find(['\'', '"', ']']) {
        let quote = &rest[start..=start];
        let inner = &rest[start + 1..];
        let Some(end) = inner.find(quote).filter(|_| quote != "]") else { break };
        found.push(&inner[..end]);
        rest = &inner[end + 1..];
    }
    Some((at, found))
}
