//! What somebody changed in a capsule's sources: three states of them held against one another.
//!
//! The sources as they were prepared, as the failed build left them, and as they are now. Only
//! what changed since the build failed is an edit, and only what the build had not changed itself
//! can be a patch: a patch is applied before the build.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::error::Result;
use super::inputs::at;

/// Larger files are no text that somebody edits, in bytes.
const LARGEST: u64 = 8 << 20;

/// Deeper folders than this are not looked into.
const DEEPEST: usize = 100;

/// The most files that are held against one another.
const MOST: usize = 2_000_000;

/// What was changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// What can be a patch, by path.
    pub edits: BTreeMap<String, Edit>,
    /// Text files that are new; whether somebody wrote them, or a program that was run, only
    /// that somebody knows.
    pub new: BTreeMap<String, String>,
    /// What cannot be a patch, and why.
    pub left_out: BTreeMap<String, &'static str>,
}

/// A change of one file: its text before and after; none where it was not there, or is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Edit {
    /// Before.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
}

/// What lies at a path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Text { text: String, is_executable: bool },
    Other(Vec<u8>),
    Large(u64),
    Link(std::path::PathBuf),
}

/// What is different `now` from `before`, of sources that were `prepared` like this.
pub fn edits(prepared: &Path, before: &Path, now: &Path) -> Result<Edits> {
    let mut paths = BTreeSet::new();
    for folder in [before, now] {
        list(folder, "", 0, &mut paths)?;
    }
    let mut found = Edits::default();
    for path in paths {
        // What dpkg-source keeps its own books in.
        if path.starts_with(".pc/") || path.starts_with("debian/patches/") {
            continue;
        }
        let (old, new) = (look(before, &path), look(now, &path));
        if old != new {
            let first = look(prepared, &path);
            note(&mut found, path, &first, old, new);
        }
    }
    Ok(found)
}

/// Notes one file that is not as it was.
fn note(found: &mut Edits, path: String, first: &Found, old: Found, new: Found) {
    let name = path.clone();
    let leave = |why| {
        found.left_out.insert(name, why);
    };
    if !is_plain(&path) {
        return leave("a patch cannot hold its name");
    }
    match (first, old, new) {
        (Found::Nothing, Found::Nothing, Found::Text { text, .. }) => {
            found.new.insert(path, text);
        }
        (Found::Nothing, Found::Nothing, _) => leave("it is new and no text"),
        // What a build made is made again.
        (Found::Nothing, ..) => leave("the build made it"),
        (first, old, _) if *first != old => leave("the build itself changes it"),
        (_, Found::Text { text: old, .. }, Found::Nothing) => {
            found.edits.insert(path, Edit { old: Some(old), new: None });
        }
        (_, Found::Text { text: old, .. }, Found::Text { text: new, .. }) => {
            if old == new {
                return leave("only its mode is another");
            }
            found.edits.insert(path, Edit { old: Some(old), new: Some(new) });
        }
        _ => leave("it is no text"),
    }
}

/// Whether a patch can name the file: no white space, quotes or control characters.
fn is_plain(path: &str) -> bool {
    path.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"\\".contains(c))
}

/// The files and links below a folder, by their paths from it. What cannot be read is not there.
fn list(base: &Path, below: &str, depth: usize, paths: &mut BTreeSet<String>) -> Result<()> {
    let folder = base.join(below);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if depth == 0 => return Err(at("list", &folder)(error)),
        Err(_) => return Ok(()),
    };
    for entry in entries.flatten() {
        let (Ok(kind), Some(name)) =
            (entry.file_type(), entry.file_name().to_str().map(str::to_owned))
        else {
            continue;
        };
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if kind.is_dir() {
            if depth < DEEPEST {
                list(base, &path, depth + 1, paths)?;
            }
        } else if paths.len() < MOST {
            paths.insert(path);
        }
    }
    Ok(())
}

/// What lies at a path below `base`. No link is followed, on the way there neither: a build may
/// have put one where another state has a folder.
fn look(base: &Path, path: &str) -> Found {
    let Some(path) = &below(base, path) else { return Found::Nothing };
    let Ok(status) = fs::symlink_metadata(path) else { return Found::Nothing };
    if status.is_symlink() {
        return fs::read_link(path).map_or(Found::Nothing, Found::Link);
    }
    if !status.is_file() {
        return Found::Nothing;
    }
    if status.len() > LARGEST {
        return Found::Large(status.len());
    }
    let Ok(bytes) = fs::read(path) else { return Found::Nothing };
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => {
            Found::Text { text, is_executable: status.permissions().mode() & 0o100 != 0 }
        }
        Ok(text) => Found::Other(text.into_bytes()),
        Err(error) => Found::Other(error.into_bytes()),
    }
}

/// A path below `base`, if all that leads there are folders.
pub fn below(base: &Path, path: &str) -> Option<std::path::PathBuf> {
    let mut place = base.to_owned();
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let is_last = parts.peek().is_none();
        if !is_last && !fs::symlink_metadata(&place).is_ok_and(|there| there.is_dir()) {
            return None;
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_changed_and_the_build_did_not_is_a_patch() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |state: &str, path: &str, bytes: &[u8]| {
            let path = folder.path().join(state).join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        };
        for state in ["prepared", "before", "now"] {
            for path in ["same.c", "sub/edited.c", "gone.c", "logo.png"] {
                write(state, path, b"one\n");
            }
            write(state, "configure", if state == "prepared" { b"old" } else { b"regenerated" });
        }
        for state in ["before", "now"] {
            write(state, "made.h", b"made\n");
            write(state, "x.o", b"\0\xff");
        }
        write("now", "sub/edited.c", b"two\n");
        fs::remove_file(folder.path().join("now/gone.c")).expect("a file");
        write("now", "logo.png", b"\0\xff");
        write("now", "configure", b"edited");
        write("now", "made.h", b"edited\n");
        write("now", "x.o", b"\0\xfe");
        write("now", "fresh.c", b"fresh\n");
        write("now", "fresh.o", b"\0\xff");
        write("now", ".pc/applied-patches", b"x\n");
        // Where there was a link there is a folder now: what it led to does not show.
        write("elsewhere", "secret", b"secret\n");
        let link = |state: &str| {
            let target = folder.path().join("elsewhere");
            std::os::unix::fs::symlink(target, folder.path().join(state).join("trap"))
        };
        link("prepared").expect("a link");
        link("before").expect("a link");
        write("now", "trap/secret", b"mine\n");
        let [prepared, before, now] =
            ["prepared", "before", "now"].map(|it| folder.path().join(it));
        let found = edits(&prepared, &before, &now).expect("three folders");
        let keys = |map: Vec<&String>| map.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(keys(found.edits.keys().collect()), ["gone.c", "sub/edited.c"]);
        assert_eq!(found.edits["gone.c"].new, None);
        assert_eq!(found.edits["sub/edited.c"].new.as_deref(), Some("two\n"));
        assert_eq!(keys(found.new.keys().collect()), ["fresh.c", "trap/secret"]);
        let why: Vec<_> =
            found.left_out.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        assert_eq!(
            why,
            [
                "configure: the build itself changes it",
                "fresh.o: it is new and no text",
                "logo.png: it is no text",
                "made.h: the build made it",
                "trap: it is no text",
                "x.o: the build made it",
            ]
        );
        assert!(edits(&prepared, &before, Path::new("/nonexistent")).is_err());
    }
}
