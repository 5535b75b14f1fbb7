//! `patch`: what was changed in the sandbox of a failed build, as a patch of the release.

mod spec;

use std::fs;

use serde_json::{Value, json};
use similar::TextDiff;

use super::address::{command, shown};
use super::arguments::{Global, Patch};
use super::build;
use super::context::{Machine, Release, named_one};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::shell;
use crate::base::{DerivationId, HostPath, PackageName};
use crate::graph::Graph;
use crate::realise::driver;
use crate::realise::edits::{self, Edit, Edits};
use crate::realise::enter::{self, Way};
use crate::sandbox::Verdict;
use crate::store::Capsule;

/// How many files are named of those that are left out.
const NAMED: usize = 5;

/// Writes the patch, and names it in the spec.
pub fn run(arguments: &Patch, global: &Global, output: &Output) -> CommandResult {
    make(arguments, global, output).map_err(|failure| (Value::Null, failure))
}

fn make(arguments: &Patch, global: &Global, output: &Output) -> Result<Value, Failure> {
    let (folder, names) = named_one(&arguments.words)?;
    let [package, patch] = names.as_slice() else {
        return Err(Failure::input(
            "words",
            "a package and the name of the new patch are expected",
        )
        .hint("`perestroika patch PKG NAME` writes `patches/PKG/NAME`"));
    };
    check_name(patch)?;
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    let id = select(&graph, std::slice::from_ref(package))?[0];
    let package: PackageName =
        package.parse().map_err(|error| Failure::error(Kind::Input, "name", &error))?;
    let place = format!("patches/{package}/{patch}");
    let path = folder.join(&place);
    if fs::symlink_metadata(&path).is_ok() {
        return Err(Failure::input("exists", format!("`{}` is there already", shown(&path)))
            .hint("give it another name, or remove that one"));
    }
    let machine = Machine::open(&release, global)?;
    let store = machine.world().store;
    let (capsule, number) = shell::newest(store, &graph, &package, None).map_err(|failure| {
        failure.hint("a build that fails leaves one, to be edited by `shell`")
    })?;
    if capsule.contents.derivation != id.to_string() {
        return Err(Failure::input(
            "other-recipe",
            format!(
                "the sandbox of attempt {number} is of another recipe than `{package}` has now"
            ),
        )
        .hint(format!(
            "`{}` builds it as it is now",
            command("build", &folder, package.as_str())
        )));
    }
    let found = {
        let _entered = store
            .enter_capsule(&capsule)
            .map_err(|error| Failure::error(Kind::Machine, "capsule", &error))?
            .ok_or_else(|| Failure::new(Kind::Machine, "occupied", "somebody is in the sandbox"))?;
        edited(&machine, &graph, id, &capsule)?
    };
    let (text, files) = chosen(found, arguments, &package, output)?;
    let mut document = json!({
        "package": package.as_str(), "patch": place, "files": files, "text": text,
        "dry_run": arguments.dry_run,
    });
    if arguments.dry_run {
        output.text(&text);
        return Ok(document);
    }
    write(&path, &text)?;
    output.text(&format!("wrote {}: {}\n", shown(&path), files.join(", ")));
    let named = spec::name_patch(&release, &graph, id, &place)?;
    match &named {
        spec::Named::InSpec { file, line } => {
            let file = shown(&folder.join(file));
            output.text(&format!("named it in {file}:{line}\n"));
            document["spec"] = format!("{file}:{line}").into();
        }
        spec::Named::ByHand { line, place, why } => {
            output.text(&format!(
                "its spec could not be changed safely ({why}): add to {place}\n    {line}\n"
            ));
            document["add"] = line.as_str().into();
        }
    }
    output.note(&format!("`{}` builds it", command("build", &folder, package.as_str())));
    Ok(document)
}

/// A name that a patch of a release may have.
fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
    if name.chars().all(plain) && !name.starts_with(['-', '.']) && name.len() <= 200 {
        return Ok(());
    }
    Err(Failure::input("patch-name", format!("`{name}` cannot be the name of a patch"))
        .hint("letters, digits, `+`, `-`, `.`, `_` and `~` can be in it: `fix-build.patch`"))
}

/// Holds the capsule's sources against what they were when the build failed, and against what
/// they are when they are prepared anew.
fn edited(
    machine: &Machine,
    graph: &Graph,
    id: DerivationId,
    capsule: &Capsule,
) -> Result<Edits, Failure> {
    let before = enter::sources_before(capsule);
    let untouched = || {
        Failure::input("no-edits", "nothing was changed in the sandbox since the build failed")
            .hint("`perestroika shell PKG` goes in; `debian/` and the source lie where it begins")
    };
    if !before.as_path().is_dir() {
        return Err(untouched());
    }
    let now = enter::sources(capsule)
        .ok_or_else(|| Failure::input("no-sources", "the sandbox has no source folder any more"))?;
    let world = machine.world();
    let options = build::default_options();
    let entry = driver::enter(&world, graph, id, &options, Way::Fresh, &|_| {})
        .map_err(|error| Failure::error(Kind::Machine, "machine", &error))?
        .map_err(|failed| Failure::new(Kind::Machine, "not-prepared", &failed.cause))?;
    let (entry, disk) = entry.on_disk().ok_or_else(untouched)?;
    let entry = entry.running(&["/bin/true".to_owned()]);
    let (outcome, said) = machine
        .enter(&entry.request, None)
        .map_err(|error| Failure::error(Kind::Machine, "sandbox", &error))?;
    let prepared = enter::sources_below(&disk, capsule);
    let (Verdict::Built, Some(prepared)) = (outcome.verdict, prepared) else {
        let last: Vec<&str> = said.lines().rev().take(10).collect();
        let failure =
            Failure::new(Kind::Result, "not-prepared", "its sources could not be prepared anew");
        return Err(last.into_iter().rev().fold(failure, Failure::because));
    };
    let found = edits::edits(prepared.as_path(), before.as_path(), now.as_path())
        .map_err(|error| Failure::error(Kind::Machine, "sources", &error))?;
    if found == Edits::default() { Err(untouched()) } else { Ok(found) }
}

/// The patch of what was asked for, and the files it changes.
fn chosen(
    found: Edits,
    arguments: &Patch,
    package: &PackageName,
    output: &Output,
) -> Result<(String, Vec<String>), Failure> {
    let Edits { mut edits, mut new, left_out } = found;
    for path in &arguments.new {
        let Some(text) = new.remove(path) else {
            return Err(Failure::input("no-such-file", format!("no new text file `{path}`"))
                .hint("paths are from the source folder"));
        };
        edits.insert(path.clone(), Edit { old: None, new: Some(text) });
    }
    let wanted = |path: &String| {
        let of = |only: &String| {
            path == only || path.starts_with(&format!("{}/", only.trim_end_matches('/')))
        };
        arguments.only.is_empty() || arguments.only.iter().any(of)
    };
    edits.retain(|path, _| wanted(path));
    for (path, why) in left_out.iter().filter(|(path, _)| wanted(path)).take(NAMED) {
        output.note(&format!("left out `{path}`: {why}"));
    }
    if left_out.len() > NAMED {
        output.note(&format!("left out {} more files like these", left_out.len() - NAMED));
    }
    let names: Vec<&str> =
        new.keys().map(String::as_str).filter(|path| wanted(&(*path).to_owned())).collect();
    if !names.is_empty() {
        let shown = names[..names.len().min(NAMED)].join("`, `");
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        output.note(&format!("left out new `{shown}`{more}: `--new PATH` takes one in"));
    }
    if edits.is_empty() {
        return Err(Failure::input(
            "no-edits",
            format!("no file of `{package}`'s source was changed"),
        ));
    }
    if edits.contains_key("debian/control") {
        return Err(Failure::input("patch-control", "the patch would change `debian/control`")
            .hint(
                "what a package needs is said by fields of its spec: `build_depends`, `binaries`; \
             `--only PATH` takes other files alone",
            ));
    }
    let packaging = edits.keys().filter(|path| path.starts_with("debian/")).count();
    if packaging != 0 && packaging != edits.len() {
        return Err(Failure::input(
            "two-patches",
            "files below `debian/` and others were changed, which are patched apart",
        )
        .hint(
            "make two patches, one of them with `--only debian`; `--only PATH` names the others",
        ));
    }
    let text = edits.iter().map(|(path, edit)| difference(path, edit)).collect();
    Ok((text, edits.into_keys().collect()))
}

/// The change of one file as a unified difference.
fn difference(path: &str, edit: &Edit) -> String {
    let name = |side: &str, there: bool| match there {
        true => format!("{side}/{path}"),
        false => "/dev/null".to_owned(),
    };
    let (old, new) = (edit.old.as_deref(), edit.new.as_deref());
    let header = (name("a", old.is_some()), name("b", new.is_some()));
    TextDiff::from_lines(old.unwrap_or_default(), new.unwrap_or_default())
        .unified_diff()
        .context_radius(3)
        .header(&header.0, &header.1)
        .to_string()
}

fn write(path: &HostPath, text: &str) -> Result<(), Failure> {
    let parent = path.as_path().parent().unwrap_or(path.as_path());
    fs::create_dir_all(parent).and_then(|()| fs::write(path, text)).map_err(|error| {
        Failure::new(Kind::Machine, "write", format!("cannot write `{}`", shown(path)))
            .because(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_one_that_patch_takes() {
        let edit = |old: Option<&str>, new: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            difference("sub/x.c", &Edit { old: own(old), new: own(new) })
        };
        assert_eq!(
            edit(Some("a\nb\n"), Some("a\nc\n")),
            "--- a/sub/x.c\n+++ b/sub/x.c\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
        assert_eq!(
            edit(None, Some("new\n")),
            "--- /dev/null\n+++ b/sub/x.c\n@@ -0,0 +1 @@\n+new\n"
        );
        assert_eq!(
            edit(Some("old\n"), None),
            "--- a/sub/x.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
        );
        assert!(edit(Some("a\n"), Some("b")).ends_with("\n\\ No newline at end of file\n"));
    }

    #[test]
    fn a_patch_has_a_plain_name() {
        assert!(check_name("fix-build.patch").is_ok());
        for name in ["-x", ".x", "a b", "a/b", "ä"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
