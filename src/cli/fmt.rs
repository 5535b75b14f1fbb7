//! `fmt`: one layout for all specs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use similar::TextDiff;

use super::arguments::Fmt;
use super::context::named;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::base::{HostPath, ReleasePath};
use crate::spec::loader::MAX_TEXT;
use crate::spec::syntax::layout;

/// How deep folders are searched for specs.
const MAX_DEPTH: usize = 16;

/// A file that differs from its layout.
struct Change {
    path: PathBuf,
    before: String,
    after: String,
}

/// Lays out files; with `--check` only says which are not.
pub fn run(arguments: &Fmt, output: &Output) -> CommandResult {
    let files = files(&arguments.files).map_err(|failure| (Value::Null, failure))?;
    let mut changes = Vec::new();
    let mut failed: Option<Failure> = None;
    for path in &files {
        let result = change(path).and_then(|change| {
            let Some(change) = change else { return Ok(()) };
            if !arguments.check {
                write(&change)?;
            }
            changes.push(change);
            Ok(())
        });
        if let Err(failure) = result {
            failed = Some(match failed.take() {
                Some(before) => before.and(failure),
                None => failure,
            });
        }
    }
    for change in &changes {
        let name = change.path.display();
        if arguments.check {
            let diff = TextDiff::from_lines(&change.before, &change.after);
            let header = (format!("{name}"), format!("{name} (laid out)"));
            output.text(&diff.unified_diff().header(&header.0, &header.1).to_string());
        } else {
            output.summary(&format!("{name}\n"));
        }
    }
    let changed: Vec<String> =
        changes.iter().map(|change| change.path.display().to_string()).collect();
    if arguments.check && !changed.is_empty() {
        let message = match changed.len() {
            1 => "1 file is not laid out".to_owned(),
            count => format!("{count} files are not laid out"),
        };
        let failure = Failure::new(Kind::Result, "layout", message)
            .hint("`perestroika fmt` without `--check` writes what is shown above");
        failed = Some(match failed.take() {
            Some(before) => before.and(failure),
            None => failure,
        });
    }
    let document = json!({ "files": files.len(), "changed": changed });
    match failed {
        None => Ok(document),
        Some(failure) => Err((document, failure)),
    }
}

/// The named files; of folders, and where nothing is named of the release, every `*.rhai` that
/// its author writes.
fn files(named_files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let tops = match named_files {
        [] => {
            let here = std::env::current_dir().unwrap_or_default();
            let shown = |folder: &HostPath| {
                let folder = folder.as_path();
                folder.strip_prefix(&here).map_or_else(|_| folder.to_owned(), Path::to_owned)
            };
            named(&[])?.releases.iter().map(shown).collect()
        }
        files => files.to_vec(),
    };
    for top in tops {
        let absolute = if top.as_os_str().is_empty() { Path::new(".") } else { top.as_path() };
        match fs::metadata(absolute) {
            Ok(there) if there.is_dir() => specs(absolute, MAX_DEPTH, &mut found)?,
            Ok(_) => found.push(top),
            Err(error) => return Err(unreadable(absolute, &error)),
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn specs(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    // What was built, what `lock` wrote and sources of others are not for their reader to lay out.
    const LEFT_OUT: [&str; 4] = ["out", "release.lock.d", "src", "target"];
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let path = path.strip_prefix("./").map_or_else(|_| path.clone(), Path::to_owned);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match entry.file_type() {
            Ok(kind) if kind.is_file() && name.ends_with(".rhai") => found.push(path),
            Ok(kind)
                if kind.is_dir()
                    && depth > 0
                    && !name.starts_with('.')
                    && !LEFT_OUT.contains(&&*name) =>
            {
                specs(&path, depth - 1, found)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::input("unreadable", format!("cannot read `{}`: {error}", path.display()))
}

/// What a file's layout changes, if anything.
fn change(path: &Path) -> Result<Option<Change>, Failure> {
    let there = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !there.is_file() || there.len() > MAX_TEXT {
        let message = format!("`{}` is no file of at most {MAX_TEXT} bytes", path.display());
        return Err(Failure::input("unreadable", message));
    }
    let before = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = HostPath::new(std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name: ReleasePath = name.parse().map_err(|_| {
        Failure::input("bad-path", format!("`{}` has no plain name", path.display()))
    })?;
    let after =
        layout(&name, &before).map_err(|error| Failure::in_release(&folder, vec![error]))?;
    let path = path.to_owned();
    Ok((before != after).then_some(Change { path, before, after }))
}

/// Writes a file anew, whole or not at all.
fn write(change: &Change) -> Result<(), Failure> {
    let Change { path, after, .. } = change;
    let cannot = |error: &std::io::Error| {
        Failure::new(
            Kind::Machine,
            "unwritable",
            format!("cannot write `{}`: {error}", path.display()),
        )
    };
    // What a link leads to is written, not the link.
    let real = fs::canonicalize(path).map_err(|error| cannot(&error))?;
    let folder = real.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot(&error))?;
    let permissions = fs::metadata(&real).map_err(|error| cannot(&error))?.permissions();
    file.write_all(after.as_bytes()).map_err(|error| cannot(&error))?;
    file.as_file().set_permissions(permissions).map_err(|error| cannot(&error))?;
    file.persist(&real).map_err(|error| cannot(&error.error))?;
    Ok(())
}
