//! Which licence a text is, as SPDX calls it.

use super::project::{Files, Found, Sure};

/// The licence of a source: what its files say in SPDX's own words, or else which known text its
/// licence file is.
pub fn of(files: &Files<'_>) -> Option<Found> {
    let is_license = |name: &str| {
        let lower = name.to_ascii_lowercase();
        ["license", "licence", "copying", "unlicense"].iter().any(|word| lower.starts_with(word))
    };
    let mut found: Vec<(String, &str)> = Vec::new();
    let top = files.paths.iter().map(String::as_str).filter(|path| {
        let in_folder = path.strip_prefix("LICENSES/");
        in_folder.is_some() || !path.contains('/') && is_license(path)
    });
    for path in top.take(20) {
        let id = match path.strip_prefix("LICENSES/") {
            // The convention of REUSE: the file's name is the licence's.
            Some(file) => file.strip_suffix(".txt").map(str::to_owned),
            None => (files.read)(path).and_then(|text| known(&text)).map(str::to_owned),
        };
        if let Some(id) = id.filter(|id| !found.iter().any(|(known, _)| known == id)) {
            found.push((id, path));
        }
    }
    let marked = marker(files);
    let Some((first, path)) = found.first() else { return marked };
    // Of several, one may be chosen: what the sources themselves say is surer.
    if found.len() > 1 {
        let all: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
        let from = "several licence files: which of them hold is for you to say".to_owned();
        return marked.or_else(|| Some(guess(all.join(" OR "), from)));
    }
    if let Some(marked) = marked.filter(|marked| marked.value.starts_with(base(first))) {
        return Some(marked);
    }
    Some(guess(first.clone(), format!("{path}, its text")))
}

/// A licence as people write it, in SPDX's words; none if it is not clear which one is meant.
pub fn spdx(text: &str) -> Option<String> {
    const NAMES: [(&str, &str); 16] = [
        ("MIT License", "MIT"),
        ("The MIT License", "MIT"),
        ("Apache 2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache Software License", "Apache-2.0"),
        ("ISC License (ISCL)", "ISC"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("GPLv2", "GPL-2.0-only"),
        ("GPLv2+", "GPL-2.0-or-later"),
        ("GPLv3", "GPL-3.0-only"),
        ("GPLv3+", "GPL-3.0-or-later"),
        ("GNU General Public License v2 or later (GPLv2+)", "GPL-2.0-or-later"),
        ("GNU General Public License v3 (GPLv3)", "GPL-3.0-only"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("BSD 3-Clause", "BSD-3-Clause"),
    ];
    let text = text.trim();
    if let Some((_, id)) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Some((*id).to_owned());
    }
    let is_id = |word: &str| {
        let short = ["MIT", "ISC", "Zlib", "Unlicense", "0BSD"].contains(&word);
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-.+".contains(c));
        short
            || plain && word.contains('-') && word.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let mut words = text.split([' ', '(', ')']).filter(|word| !word.is_empty()).peekable();
    let is_expression = text.len() <= 100
        && words.peek().is_some()
        && words.all(|word| matches!(word, "AND" | "OR" | "WITH") || is_id(word));
    is_expression.then(|| text.to_owned())
}

/// `GPL-2.0` of `GPL-2.0-only`.
fn base(id: &str) -> &str {
    id.strip_suffix("-only").or_else(|| id.strip_suffix("-or-later")).unwrap_or(id)
}

fn guess(value: String, from: String) -> Found {
    Found { value, from, sure: Sure::Guessed }
}

/// What most of the first source files say after `SPDX-License-Identifier:`.
fn marker(files: &Files<'_>) -> Option<Found> {
    const LOOKED_AT: usize = 50;
    let is_source = |path: &&String| {
        let end = path.rsplit_once('.').map_or("", |(_, end)| end);
        matches!(
            end,
            "c" | "h" | "cc" | "cpp" | "hpp" | "py" | "rs" | "go" | "sh" | "build" | "txt"
        )
    };
    let mut said: Option<(String, String)> = None;
    for path in files.paths.iter().filter(is_source).take(LOOKED_AT) {
        let Some(text) = (files.read)(path) else { continue };
        let mut lines = text.lines().take(20).enumerate();
        let Some((line, id)) = lines.find_map(|(index, line)| {
            let (_, id) = line.split_once("SPDX-License-Identifier:")?;
            Some((index + 1, id.trim().trim_end_matches("*/").trim_end_matches("-->").trim()))
        }) else {
            continue;
        };
        let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || "-.+() ".contains(c));
        match &said {
            // Files that disagree say nothing of the whole.
            Some((known, _)) if known != id => return None,
            Some(_) => {}
            None if plain && !id.is_empty() => {
                said = Some((id.to_owned(), format!("{path}:{line}")))
            }
            None => {}
        }
    }
    let (value, from) = said?;
    Some(Found { value, from, sure: Sure::Said })
}

/// The known licence whose text this is, by phrases that only it has.
fn known(text: &str) -> Option<&'static str> {
    let words: Vec<&str> = text.split_whitespace().take(20_000).collect();
    let plain = words.join(" ").to_ascii_lowercase();
    let has = |phrase: &str| plain.contains(phrase);
    // The head: the texts of licences name each other further down.
    let head: String = plain.chars().take(600).collect();
    let begins = |phrase: &str| head.contains(phrase);
    if begins("gnu affero general public license") {
        return Some("AGPL-3.0-only");
    }
    if begins("gnu lesser general public license") {
        return Some(if begins("version 2.1") { "LGPL-2.1-only" } else { "LGPL-3.0-only" });
    }
    if begins("gnu library general public license") {
        return Some("LGPL-2.0-only");
    }
    if begins("gnu general public license") {
        return Some(if begins("version 2") { "GPL-2.0-only" } else { "GPL-3.0-only" });
    }
    if begins("apache license") && begins("version 2.0") {
        return Some("Apache-2.0");
    }
    if begins("mozilla public license version 2.0") {
        return Some("MPL-2.0");
    }
    if begins("boost software license") {
        return Some("BSL-1.0");
    }
    if has("this is free and unencumbered software released into the public domain") {
        return Some("Unlicense");
    }
    if has("cc0 1.0 universal") {
        return Some("CC0-1.0");
    }
    if has("permission is hereby granted, free of charge, to any person obtaining a copy") {
        return Some("MIT");
    }
    if has("permission to use, copy, modify, and/or distribute this software for any purpose")
        || has("permission to use, copy, modify, and distribute this software for any purpose")
    {
        let condition = has("provided that the above copyright notice");
        return Some(if condition { "ISC" } else { "0BSD" });
    }
    if has("redistribution and use in source and binary forms") {
        let third = has("neither the name") || has("may not be used to endorse or promote");
        let fourth = has("all advertising materials mentioning features");
        return Some(match (third, fourth) {
            (_, true) => "BSD-4-Clause",
            (true, false) => "BSD-3-Clause",
            (false, false) => "BSD-2-Clause",
        });
    }
    if has("this software is provided 'as-is', without any express or implied warranty")
        && has("altered source versions must be plainly marked")
    {
        return Some("Zlib");
    }
    None
}
