//! The architecture as a test: which module may import which, and how long a file may get.
//!
//! Editing the table is a design decision.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and the modules it may name as `crate::…`. `cli` may name everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("spec", &["base"]),
    ("archive", &["base"]),
    ("graph", &["base", "spec", "archive"]),
    ("plan", &["base", "graph"]),
    ("sandbox", &["base"]),
    ("store", &["base"]),
    ("fetch", &["base", "store", "archive"]),
    ("pin", &["base", "spec", "archive", "store", "fetch"]),
    ("realise", &["base", "spec", "archive", "graph", "plan", "sandbox", "store", "fetch", "pin"]),
    (
        "publish",
        &[
            "base", "spec", "archive", "graph", "plan", "sandbox", "store", "fetch", "pin",
            "realise",
        ],
    ),
    (
        "audit",
        &[
            "base", "spec", "archive", "graph", "plan", "sandbox", "store", "fetch", "pin",
            "realise",
        ],
    ),
    (
        "service",
        &[
            "base", "spec", "archive", "graph", "plan", "sandbox", "store", "fetch", "pin",
            "realise", "audit", "publish",
        ],
    ),
];

/// Crates that only one module may name: their ideas stay inside.
const HIDDEN: &[(&str, &[&str])] = &[
    ("rhai", &["spec"]),
    ("petgraph", &["graph"]),
    ("rusqlite", &["store"]),
    ("ureq", &["fetch"]),
    ("pgp", &["archive"]),
    ("hyper", &["service"]),
    ("tokio", &["service", "sandbox"]),
    ("bollard", &["sandbox"]),
    ("futures_util", &["sandbox"]),
    ("clap", &["cli"]),
    ("annotate_snippets", &["cli"]),
    ("seccompiler", &["sandbox"]),
];

const LONGEST_FILE: usize = 800;

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let Some(allowed) = table.get(module.as_str()) else {
            assert!(matches!(module.as_str(), "cli" | "lib" | "main"), "unknown module {module}");
            continue;
        };
        for (number, line) in code(&text) {
            for name in named_after(line, "crate::") {
                let known = table.contains_key(name) || name == "cli";
                if known && name != module && !allowed.contains(&name) {
                    wrong.push(format!("{}:{number}: `{module}` names `{name}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_with_ideas_of_their_own_stay_hidden() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        for (number, line) in code(&text) {
            for (hidden, owners) in HIDDEN {
                let named = word_starts(line, &format!("{hidden}::"));
                if named && !owners.contains(&module.as_str()) {
                    wrong.push(format!("{}:{number}: `{module}` names `{hidden}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lives_under_the_native_sandbox_alone() {
    let mut wrong = Vec::new();
    for (_, path, text) in sources() {
        let native = path.starts_with("src/sandbox/native");
        for (number, line) in code(&text) {
            if !native && (line.contains("unsafe {") || line.contains("unsafe fn")) {
                wrong.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_outgrows_its_name() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(_, path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "past {LONGEST_FILE} lines: {}", long.join(", "));
}

/// Every Rust file of `src`: its top module, its path, its text.
fn sources() -> Vec<(String, PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![top.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                let path = path.strip_prefix(top).expect("below the top").to_path_buf();
                let module = path.components().nth(1).expect("src/…").as_os_str();
                let module = module.to_string_lossy().trim_end_matches(".rs").to_owned();
                files.push((module, path, text));
            }
        }
    }
    assert!(files.len() > 20, "found only {} files: is this the project?", files.len());
    files.sort();
    files
}

/// The numbered lines without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The word after each `prefix` of a line; of a `{a, b}` list, each word.
fn named_after<'a>(line: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> {
    let word = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    };
    let starts: Vec<usize> = line.match_indices(prefix).map(|(at, _)| at + prefix.len()).collect();
    starts.into_iter().flat_map(move |at| {
        let rest = &line[at..];
        match rest.strip_prefix('{') {
            Some(list) => list.split(',').map(|item| word(item.trim())).collect::<Vec<_>>(),
            None => vec![word(rest)],
        }
    })
}

fn word_starts(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}
