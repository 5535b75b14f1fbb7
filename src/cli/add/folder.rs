//! A folder as the source of a package.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::catalog::{Catalog, Resolved};
use super::draft::{self, Draft, quoted};
use super::project::{Build, Files, Project};
use super::{LARGEST, MOST, Note, notes, parsed_name, today};
use crate::base::{HostPath, ReleasePath, Tree, TreeKind};
use crate::cli::address::shown;
use crate::cli::arguments::Add;
use crate::cli::context::Release;
use crate::cli::failure::{Failure, Kind};
use crate::fetch::git;
use crate::spec::loader::{Folder, Loader as _};

/// A folder that is copied into the release.
pub struct Copy {
    /// From here.
    pub from: HostPath,
    /// To there, which is not there yet.
    pub to: HostPath,
    tree: Tree,
    begun: Cell<bool>,
}

/// What would be added for a folder.
pub fn plan(
    word: &str,
    release: &Release,
    catalog: Option<&Catalog>,
    arguments: &Add,
) -> Result<(Draft, Option<Copy>, Vec<Note>), Failure> {
    let folder = fs::canonicalize(word).map_err(|error| {
        Failure::input("no-folder", format!("cannot use `{word}`: {error}"))
            .hint("a package of the archive is named without a `/`")
    })?;
    let failed = |error: crate::spec::loader::Error| {
        Failure::error(Kind::Input, "unreadable", &error)
            .because(format!("`{word}` was looked into"))
    };
    let unnamed = || Failure::input("no-folder", format!("`{word}` has no name of its own"));
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(unnamed());
    };
    let called = name.to_str().ok_or_else(unnamed)?;
    let top: ReleasePath = called.parse().map_err(|_| unnamed())?;
    let loader = Folder::new(HostPath::new(parent));
    let tree = loader.dir(&top).map_err(failed)?.tree;
    let read_so_far = Cell::new(0_u64);
    let read = |path: &str| {
        let path: ReleasePath = format!("{called}/{path}").parse().ok()?;
        let bytes = loader.read(&path, LARGEST).ok()?;
        read_so_far.set(read_so_far.get() + bytes.len() as u64);
        (read_so_far.get() <= MOST).then(|| String::from_utf8_lossy(&bytes).into_owned())
    };
    let paths = tree.entries().iter().map(|entry| entry.path.clone()).collect();
    let project = Project::of(&Files { paths, read: Box::new(read) }, called);

    let wanted = parsed_name(arguments)?;
    let inside = fs::canonicalize(&release.folder).ok().and_then(|release| {
        folder.strip_prefix(release).ok().and_then(Path::to_str).map(str::to_owned)
    });
    let (place, copy) = match inside {
        Some(path) if !path.is_empty() => (path, None),
        _ => {
            let called =
                wanted.clone().or_else(|| draft::package_name(&project.name.as_ref()?.value));
            let called = called.ok_or_else(unnamed)?;
            let place = format!("src/{called}");
            let to = release.folder.join(&place);
            refuse_outside(word, &folder, &to, arguments)?;
            let from = HostPath::new(&folder);
            (place, Some(Copy { from, to, tree, begun: Cell::new(false) }))
        }
    };
    let resolved = match (catalog, &project.build) {
        (Some(catalog), Some(build)) if build.value != Build::Debian => {
            catalog.resolve(&project.needs)
        }
        _ => Resolved::default(),
    };
    let source = format!("dir({})", quoted(&place));
    let draft = draft::of(&project, wanted.as_ref(), &source, Some(&today()), &resolved).map_err(
        |why| {
            Failure::input("not-recognised", format!("cannot write a spec for `{word}`: {why}"))
                .hint("`build: script(…)` builds anything: see the example of `perestroika init`")
        },
    )?;
    Ok((draft, copy, notes(&resolved, catalog, &project)))
}

/// What lies outside of the release is no part of it: it has to be copied, or to be fetched from
/// where everybody can.
fn refuse_outside(
    word: &str,
    folder: &Path,
    to: &HostPath,
    arguments: &Add,
) -> Result<(), Failure> {
    if arguments.copy {
        if fs::symlink_metadata(to).is_ok() {
            return Err(Failure::input(
                "not-overwritten",
                format!("`{}` is there already", shown(to)),
            )
            .hint("`--name NAME` copies it to `src/NAME`"));
        }
        return Ok(());
    }
    let message = format!("`{word}` lies outside of the release, whose sources must be part of it");
    let failure =
        Failure::input("outside", message).hint(format!("`--copy` copies it to `{}`", shown(to)));
    Err(match remote(folder) {
        Some(url) => failure.hint(format!("`perestroika add {url}` takes it from its repository")),
        None => failure,
    })
}

/// Where the repository whose work tree this folder is was cloned from.
fn remote(folder: &Path) -> Option<String> {
    if !folder.join(".git").exists() {
        return None;
    }
    let output = git::reading(&HostPath::new(folder))
        .args(["config", "--get", "remote.origin.url"])
        .output()
        .ok()?;
    let url = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let public = ["https://", "http://", "git://"].iter().any(|scheme| url.starts_with(scheme));
    (output.status.success() && public && !url.contains(char::is_control)).then_some(url)
}

impl Copy {
    /// Copies what counts of the folder: no version control, nothing that is ignored.
    pub fn make(&self) -> Result<(), Failure> {
        let failed = |to: &HostPath, error: std::io::Error| {
            let message = format!("cannot copy `{}` to `{to}`", self.from);
            Failure::new(Kind::Machine, "copy", message).because(error.to_string())
        };
        // Beside its place until it is whole: what a killed run left there is no source.
        let to = self.to.as_path();
        let parent = to.parent().unwrap_or(to);
        fs::create_dir_all(parent).map_err(|error| failed(&self.to, error))?;
        let half = tempfile::Builder::new().prefix(".add-").tempdir_in(parent);
        let half = half.map_err(|error| failed(&self.to, error))?;
        let whole = HostPath::new(half.path().join("whole"));
        for entry in self.tree.entries() {
            let (from, to) = (self.from.join(&entry.path), whole.join(&entry.path));
            copy(&from, &to, &entry.kind).map_err(|error| failed(&to, error))?;
        }
        self.begun.set(true);
        fs::rename(&whole, to).map_err(|error| failed(&self.to, error))
    }

    /// Removes what was copied.
    pub fn take_back(&self) {
        if self.begun.get() {
            let _ = fs::remove_dir_all(&self.to);
        }
    }
}

fn copy(from: &HostPath, to: &HostPath, kind: &TreeKind) -> std::io::Result<()> {
    let parent = to.as_path().parent().map(PathBuf::from).unwrap_or_default();
    fs::create_dir_all(parent)?;
    let mode = match kind {
        TreeKind::Link(target) => return symlink(target, to),
        TreeKind::File(_) => 0o644,
        TreeKind::Executable(_) => 0o755,
    };
    fs::write(to, fs::read(from)?)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
}
