//! Patches of the release: read when a spec names them, so that what they say is known before
//! anything is built.

use rhai::EvalAltResult;

use super::Host;
use crate::base::{Diagnostic, Digest, ReleaseFolder, ReleasePath, Span};
use crate::spec::model::{Located, Patch, Patched};

/// The largest patch, in bytes.
const MAX_PATCH: u64 = 16 << 20;

/// The most patches of one series.
const MAX_SERIES: usize = 2_000;

impl Host {
    /// The patches that a list of paths names: each a patch, or a folder with a `series` as quilt
    /// keeps it. What is wrong with them is noted, and then there are none.
    pub(super) fn patches(
        &self,
        paths: Vec<Located<String>>,
        whole: &Span,
    ) -> Result<Option<Vec<Located<Patch>>>, Box<EvalAltResult>> {
        let mut found: Vec<Located<Patch>> = Vec::new();
        let mut good = true;
        for Located { value: path, span } in paths {
            let span = span.unwrap_or_else(|| whole.clone());
            match self.named(&span.file.folder(), &path) {
                Ok(patches) => found.extend(
                    patches.into_iter().map(|value| Located { value, span: Some(span.clone()) }),
                ),
                Err(error) => {
                    good = false;
                    self.note(error.at(span, ""));
                }
            }
        }
        self.weigh(found.len(), whole)?;
        Ok(good.then_some(found))
    }

    fn named(&self, release: &ReleaseFolder, path: &str) -> Result<Vec<Patch>, Diagnostic> {
        let below = |path: &str| match path.parse::<ReleasePath>() {
            Ok(path) => Ok(release.path(&path)),
            Err(error) => Err(Diagnostic::new("bad-path", error.to_string())),
        };
        let file = below(path)?;
        let loader = &self.world.loader;
        let alone = match loader.read(&file, MAX_PATCH) {
            Ok(bytes) => return Ok(vec![patch(file, None, &bytes)?]),
            Err(error) => self.unreadable(&error, &file),
        };
        let path = path.trim_end_matches('/');
        let series = below(&format!("{path}/series"))?;
        let Ok(text) = loader.read(&series, crate::spec::loader::MAX_TEXT) else {
            return Err(alone
                .hint("it is a patch, or a folder with a `series` that names patches beside it"));
        };
        let folder = path.rsplit('/').next().unwrap_or(path);
        let mut found = Vec::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            if let Some(other) = words.find(|word| *word != "-p1") {
                let message = format!("`{series}` wants `{name}` applied with `{other}`");
                return Err(Diagnostic::new("bad-value", message)
                    .hint("patches are applied with one folder stripped: `-p1`"));
            }
            if found.len() == MAX_SERIES {
                let message = format!("`{series}` names more than {MAX_SERIES} patches");
                return Err(Diagnostic::new("limit", message));
            }
            let file = below(&format!("{path}/{name}"))?;
            let bytes =
                loader.read(&file, MAX_PATCH).map_err(|error| self.unreadable(&error, &file))?;
            found.push(patch(file, Some(folder), &bytes)?);
        }
        Ok(found)
    }
}

/// A patch, if it is one that may be applied.
fn patch(path: ReleasePath, folder: Option<&str>, bytes: &[u8]) -> Result<Patch, Diagnostic> {
    let files = touched(&String::from_utf8_lossy(bytes));
    if files.is_empty() {
        return Err(Diagnostic::new("bad-value", format!("`{path}` changes nothing"))
            .hint("a patch is a unified difference, as `diff -u` and `git diff` write it"));
    }
    if files.iter().any(|file| file == "debian/control") {
        return Err(Diagnostic::new("patch-control", format!("`{path}` changes `debian/control`"))
            .hint(
                "what a package needs is said by fields of its spec: `build_depends`, `from_seed`",
            ));
    }
    let below = files.iter().filter(|file| file.starts_with("debian/")).count();
    let to = match below {
        0 => Patched::Source,
        _ if below == files.len() => Patched::Packaging,
        _ => {
            let message = format!("`{path}` changes files below `debian/` and others");
            return Err(Diagnostic::new("bad-value", message)
                .hint("split it in two: the packaging and the source are patched apart"));
        }
    };
    let base = path.as_str().rsplit('/').next().unwrap_or_default();
    let name = match folder {
        Some(folder) => format!("{folder}-{base}"),
        None => base.to_owned(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
    if !name.chars().all(plain) || name.starts_with(['-', '.']) {
        let message = format!("`{name}` cannot be the name of a patch");
        return Err(Diagnostic::new("bad-value", message)
            .hint("letters, digits, `+`, `-`, `.`, `_` and `~` can be in it"));
    }
    Ok(Patch { name, path, digest: Digest::of(bytes), to })
}

/// The files that a unified difference changes, makes, removes or renames, with the first folder
/// of their names stripped. Lines inside of hunks are counted, since a removed line `-- x` looks
/// like the heading of a file.
fn touched(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut old, mut new) = (0_u64, 0_u64);
    for line in text.lines() {
        if old > 0 || new > 0 {
            match line.as_bytes().first() {
                Some(b'-') => old = old.saturating_sub(1),
                Some(b'+') => new = new.saturating_sub(1),
                Some(b'\\') => {}
                _ => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
            }
            continue;
        }
        if let Some(counts) = hunk(line) {
            (old, new) = counts;
            continue;
        }
        let named = |prefix: &str| line.strip_prefix(prefix).map(str::to_owned);
        if let Some(name) = named("--- ").or_else(|| named("+++ ")).or_else(|| named("Index: ")) {
            let name = name.split('\t').next().unwrap_or_default().trim().trim_matches('"');
            if name != "/dev/null"
                && let Some((_, stripped)) = name.split_once('/')
            {
                found.push(plain_path(stripped));
            }
        } else if let Some(name) = named("rename from ").or_else(|| named("rename to ")) {
            found.push(plain_path(name.trim().trim_matches('"')));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// `./a//b` as `a/b`: what patch makes of a name.
fn plain_path(path: &str) -> String {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// How many lines a hunk takes and gives: `@@ -1,2 +3,4 @@`, where a count left out is one.
fn hunk(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("@@ -")?;
    let (old, rest) = rest.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let count = |range: &str| match range.split_once(',') {
        Some((_, count)) => count.parse().ok(),
        None => Some(1),
    };
    Some((count(old)?, count(new)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_patch_are_found_outside_of_its_hunks() {
        let text = "--- a/one.c\t2026-01-01\n+++ b/one.c\n@@ -1,2 +1 @@\n--- a/debian/control\n x\n\
                    --- /dev/null\n+++ b/./sub//two\n@@ -0,0 +1 @@\n+++ b/debian/rules\n\
                    diff --git a/x b/y\nrename from x\nrename to y\n";
        assert_eq!(touched(text), ["one.c", "sub/two", "x", "y"]);
    }

    #[test]
    fn what_a_patch_may_not_do_is_refused() {
        let said = |name: &str, text: &str| {
            let path = format!("patches/{name}").parse().expect("a path");
            patch(path, None, text.as_bytes()).map(|patch| patch.to).map_err(|error| error.message)
        };
        let of = |file: &str| format!("--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-a\n+b\n");
        assert_eq!(said("p", &of("x.c")), Ok(Patched::Source));
        assert_eq!(said("p", &of("debian/rules")), Ok(Patched::Packaging));
        assert!(
            said("p", &of("debian/control")).is_err_and(|text| text.contains("debian/control"))
        );
        assert!(said("p", &of("./debian//control")).is_err());
        assert!(said("p", &(of("debian/rules") + &of("x.c"))).is_err());
        assert!(said("p", "nothing\n").is_err_and(|text| text.contains("changes nothing")));
        assert!(said("a b", &of("x.c")).is_err());
    }
}
