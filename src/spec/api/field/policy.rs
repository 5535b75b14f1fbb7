//! Words that a distribution keeps a list of: sections and licences, and what to write in place of
//! those that it does not have.

use crate::base::{PackageName, nearest};

/// The sections of the distribution's archive (Debian Policy 2.4), beside those of `debian-installer`.
const SECTIONS: [&str; 61] = [
    "admin",
    "cli-mono",
    "comm",
    "database",
    "debian-installer",
    "debug",
    "devel",
    "doc",
    "editors",
    "education",
    "electronics",
    "embedded",
    "fonts",
    "games",
    "gnome",
    "gnu-r",
    "gnustep",
    "graphics",
    "hamradio",
    "haskell",
    "httpd",
    "interpreters",
    "introspection",
    "java",
    "javascript",
    "kde",
    "kernel",
    "libdevel",
    "libs",
    "lisp",
    "localization",
    "mail",
    "math",
    "metapackages",
    "misc",
    "net",
    "news",
    "ocaml",
    "oldlibs",
    "otherosfs",
    "perl",
    "php",
    "python",
    "ruby",
    "rust",
    "science",
    "shells",
    "sound",
    "tasks",
    "tex",
    "text",
    "translations",
    "utils",
    "vcs",
    "video",
    "virtual",
    "web",
    "x11",
    "xfce",
    "zope",
    "raku",
];

/// What may stand before a section: parts of the archive other than the main one, of Debian and of
/// those that follow it.
const AREAS: [&str; 6] =
    ["contrib", "non-free", "non-free-firmware", "universe", "restricted", "multiverse"];

/// Says why a text is no section, if so.
pub(super) fn section(text: &str) -> Result<(), String> {
    let (area, section) = split(text);
    if area.is_some_and(|area| !AREAS.contains(&area)) {
        return Err(format!("`{text}` begins with no area of an archive, such as `contrib/`"));
    }
    match SECTIONS.contains(&section) {
        true => Ok(()),
        false => Err(format!("the distribution has no section `{section}`")),
    }
}

fn split(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('/') {
        Some((area, section)) => (Some(area), section),
        None => (None, text),
    }
}

/// Says why a text is no licence, if so: an expression of licences as SPDX names them, or
/// as `debian/copyright` does (copyright-format 1.0, "Short name"). A name that neither knows is
/// the author's own, unless it is nearly one of theirs.
pub(super) fn license(text: &str) -> Result<(), String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut depth = 0_u32;
    // Whether a name comes next, or what joins two.
    let mut wants_name = true;
    for word in &words {
        match (*word, wants_name) {
            ("(", true) => depth += 1,
            (")", false) if depth > 0 => depth -= 1,
            (_, true) if is_joint(word) || *word == ")" => return Err(no_expression(text)),
            (_, true) => {
                name(word)?;
                wants_name = false;
            }
            (word, false) if is_joint(word) => wants_name = true,
            _ => return Err(no_expression(text)),
        }
    }
    match depth == 0 && !wants_name {
        true => Ok(()),
        false => Err(no_expression(text)),
    }
}

fn no_expression(text: &str) -> String {
    format!("`{text}` is no expression of licences, such as `MIT` or `GPL-2.0-or-later OR MIT`")
}

fn is_joint(word: &str) -> bool {
    ["AND", "OR", "WITH"].iter().any(|joint| joint.eq_ignore_ascii_case(word))
}

/// Says why a word is no licence's name, if so.
fn name(word: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-.+:".contains(c);
    if !word.chars().all(good) {
        return Err(format!("`{word}` is no name of a licence"));
    }
    match is_known(word) || near_license(word).is_none() {
        true => Ok(()),
        false => Err(format!("no licence is called `{word}`")),
    }
}

fn is_known(word: &str) -> bool {
    let plain = word.strip_suffix('+').unwrap_or(word);
    let own = ["LicenseRef-", "DocumentRef-", "AdditionRef-"];
    own.iter().any(|own| word.starts_with(own))
        || spdx::license_id(plain).is_some()
        || spdx::exception_id(word).is_some()
        || ["NONE", "NOASSERTION"].contains(&word)
        || debian(plain)
}

/// The short names of copyright-format 1.0, with or without a version.
fn debian(word: &str) -> bool {
    const NAMES: [&str; 20] = [
        "public-domain",
        "Apache",
        "Artistic",
        "BSD-2-clause",
        "BSD-3-clause",
        "BSD-4-clause",
        "ISC",
        "CC-BY",
        "CC-BY-SA",
        "CC-BY-ND",
        "CC-BY-NC",
        "CC0",
        "CDDL",
        "CPL",
        "Expat",
        "GPL",
        "LGPL",
        "GFDL",
        "MPL",
        "Zope",
    ];
    let (name, version) = match word.rsplit_once('-') {
        Some((name, version)) if version.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            (name, version)
        }
        _ => (word, ""),
    };
    NAMES.contains(&name) || NAMES.contains(&word) && version.is_empty()
}

/// The licence that a word was most likely meant to be.
fn near_license(word: &str) -> Option<&'static str> {
    let ids = || spdx::identifiers::LICENSES.iter().map(|license| license.name);
    let same = ids().find(|id| id.eq_ignore_ascii_case(word));
    // Another version of a licence is not a mistaken one.
    let letters = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    let own = letters(word);
    same.or_else(|| nearest(word, ids()).filter(|near| letters(near) != own))
}

/// What to do about a text that is not what the key of its field asks for.
pub(super) fn advice(key: &str, text: &str) -> Option<String> {
    match (meant(key, text), key) {
        (Some(meant), _) => Some(format!("did you mean `{meant}`?")),
        (None, "section") => Some(
            "`admin`, `devel`, `doc`, `libdevel`, `libs`, `net` and `utils` are some".to_owned(),
        ),
        (None, "name") => {
            let plain: String = text.trim().to_ascii_lowercase().replace(['_', ' '], "-");
            plain.parse::<PackageName>().ok().map(|name| format!("write `{name}`"))
        }
        (None, "architectures") => {
            let known = MACHINES.iter().find(|(machine, _)| machine.eq_ignore_ascii_case(text));
            known.map(|(_, architecture)| format!("the distribution calls it `{architecture}`"))
        }
        _ => None,
    }
}

/// What a kernel calls machines, and what the distribution does.
const MACHINES: [(&str, &str); 8] = [
    ("x86_64", "amd64"),
    ("x64", "amd64"),
    ("aarch64", "arm64"),
    ("i686", "i386"),
    ("x86", "i386"),
    ("armv7l", "armhf"),
    ("ppc64le", "ppc64el"),
    ("loongarch64", "loong64"),
];

/// What a text that is no section or licence was most likely meant to be.
fn meant(key: &str, text: &str) -> Option<String> {
    match key {
        "section" => {
            let (area, section) = split(text);
            let same = SECTIONS.into_iter().find(|known| known.eq_ignore_ascii_case(section));
            let near = same.or_else(|| nearest(&section.to_ascii_lowercase(), SECTIONS))?;
            let area = area.filter(|area| AREAS.contains(area));
            Some(area.map_or_else(|| near.to_owned(), |area| format!("{area}/{near}")))
        }
        "license" => {
            let whole = spdx::imprecise_license_id(text).filter(|(_, read)| *read == text.len());
            let whole = whole.map(|(id, _)| id.name.to_owned());
            let full = || {
                let named = spdx::identifiers::LICENSES.iter();
                let mut named = named.filter(|one| one.full_name.eq_ignore_ascii_case(text));
                named.next().map(|license| license.name.to_owned())
            };
            let in_part = || {
                let mut words = text.split([' ', '(', ')']).filter(|word| !word.is_empty());
                let wrong = words.find(|word| !is_joint(word) && !is_known(word))?;
                Some(text.replacen(wrong, near_license(wrong)?, 1))
            };
            whole.or_else(full).or_else(in_part)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_expressions_of_known_names_or_own_ones() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "(GPL-2.0-or-later WITH Classpath-exception-2.0) AND MIT",
            "GPL-2+",
            "GPL-2.0+",
            "LGPL-2.1+ or Artistic",
            "Expat",
            "LicenseRef-own",
            "Proprietary",
            "BSD-3-clause",
        ] {
            assert_eq!(license(good), Ok(()));
        }
        for (bad, meant_by_it) in [
            ("MTI", Some("MIT")),
            ("mit", Some("MIT")),
            ("Apache2", Some("Apache-2.0")),
            ("MIT OR Apach-2.0", Some("MIT OR Apache-2.0")),
            ("MIT License", Some("MIT")),
            ("Apache License 2.0", Some("Apache-2.0")),
            ("MIT OR", None),
            ("(MIT", None),
            ("free as in beer", None),
        ] {
            assert!(license(bad).is_err(), "{bad}");
            assert_eq!(meant("license", bad).as_deref(), meant_by_it, "{bad}");
        }
    }

    #[test]
    fn sections_are_those_of_the_distribution() {
        for good in ["libs", "non-free/libs", "universe/devel"] {
            assert_eq!(section(good), Ok(()));
        }
        for (bad, meant_by_it) in [
            ("devl", Some("devel")),
            ("Libs", Some("libs")),
            ("contrib/lib", Some("contrib/libs")),
            ("main/libs", Some("libs")),
            ("nonsense", None),
        ] {
            assert!(section(bad).is_err(), "{bad}");
            assert_eq!(meant("section", bad).as_deref(), meant_by_it, "{bad}");
        }
    }
}
