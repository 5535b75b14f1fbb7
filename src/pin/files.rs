//! The files of a lock: release.lock, and what its pins rest on in `release.lock.d/`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Locked;
use super::error::{Error, Result, system};
use crate::base::{HostPath, ReleasePath, Sha256};
use crate::spec::lock::{FILE, LockedSuite};

/// The folder beside release.lock.
pub(super) const FOLDER: &str = "release.lock.d";

/// Where the `InRelease` of a suite is kept, below [`FOLDER`].
pub(super) fn evidence_path(archive: &str, suite: &str) -> String {
    format!("{archive}/{suite}.InRelease")
}

/// Where the text of a stdlib module is kept, below [`FOLDER`].
pub(super) fn stdlib_path(module: &str) -> String {
    format!("stdlib/{module}.rhai")
}

/// Files that are there already, each checked against its pin.
pub(super) struct Kept;

impl Kept {
    /// The `InRelease` that a suite's pin rests on.
    pub(super) fn evidence(
        folder: &HostPath,
        archive: &str,
        suite: &LockedSuite,
    ) -> Result<Vec<u8>> {
        let path = folder.join(FOLDER).join(evidence_path(archive, &suite.suite));
        read(path, &suite.release, archive)
    }

    /// The text of a pinned stdlib module.
    pub(super) fn stdlib(folder: &HostPath, module: &str, expected: &Sha256) -> Result<Vec<u8>> {
        read(folder.join(FOLDER).join(stdlib_path(module)), expected, super::STDLIB)
    }
}

fn read(path: HostPath, expected: &Sha256, what: &str) -> Result<Vec<u8>> {
    let wrong = |actual| Error::Kept {
        path: path.clone(),
        expected: *expected,
        actual,
        what: what.to_owned(),
    };
    match fs::read(&path) {
        Ok(bytes) if Sha256::of(&bytes) == *expected => Ok(bytes),
        Ok(bytes) => Err(wrong(Some(Sha256::of(&bytes)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(wrong(None)),
        Err(error) => Err(system("read", &path)(error)),
    }
}

impl Locked {
    /// Writes release.lock and `release.lock.d/`.
    ///
    /// Everything is written beside its place first; only when all of it is on the disk do the
    /// files take their names, release.lock last. So a failure leaves the old lock, whole. Files
    /// of `release.lock.d/` that no pin needs any more are removed. What is as it should be
    /// already is not touched.
    pub fn write(&self, folder: &HostPath) -> Result<()> {
        let files = self.contents();
        let mut staged = Vec::new();
        for (path, bytes) in &files {
            let target = folder.join(path);
            if fs::read(&target).is_ok_and(|present| present == *bytes) {
                continue;
            }
            let parent = target.as_path().parent().map_or_else(|| folder.clone(), HostPath::new);
            fs::create_dir_all(&parent).map_err(system("make", &parent))?;
            let mut file = tempfile::Builder::new()
                .prefix(".lock")
                // Less what the user's umask takes away.
                .permissions(fs::Permissions::from_mode(0o666))
                .tempfile_in(&parent)
                .map_err(system("write in", &parent))?;
            file.write_all(bytes)
                .and_then(|()| file.as_file().sync_all())
                .map_err(system("write", &target))?;
            staged.push((file, parent, target));
        }
        for (file, parent, target) in staged {
            file.persist(&target)
                .map_err(|error| error.error)
                .and_then(|_| File::open(&parent)?.sync_all())
                .map_err(system("write", &target))?;
        }
        for path in superfluous(folder, &files.into_iter().map(|(path, _)| path).collect()) {
            fs::remove_file(&path).map_err(system("remove", &path))?;
            if let Some(parent) = path.as_path().parent() {
                // Fails while there is something in it, as it should.
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }

    /// The stdlib modules that evaluation uses once this is written: path below the release folder
    /// and text of each.
    pub fn modules(&self) -> impl Iterator<Item = (ReleasePath, &str)> {
        self.files.iter().filter_map(|(path, bytes)| {
            let path = format!("{FOLDER}/{path}").parse().ok()?;
            Some((path, str::from_utf8(bytes).ok()?))
        })
    }

    /// The `InRelease` files that its pins of archives rest on, by path below the release folder.
    pub fn evidence(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.iter().filter(|(path, _)| path.ends_with(".InRelease"));
        files.map(|(path, bytes)| (format!("{FOLDER}/{path}"), bytes.clone())).collect()
    }

    /// All files by path below the release folder, release.lock last.
    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let kept =
            self.files.iter().map(|(path, bytes)| (format!("{FOLDER}/{path}"), bytes.clone()));
        kept.chain([(FILE.to_owned(), self.lock.to_toml().into_bytes())]).collect()
    }
}

/// Files of the kinds we keep that are not among `needed`.
fn superfluous(folder: &HostPath, needed: &BTreeSet<String>) -> Vec<HostPath> {
    let mut found = Vec::new();
    let mut below = |parent: &Path| {
        for entry in fs::read_dir(parent).into_iter().flatten().map_while(io::Result::ok) {
            let path = entry.path();
            let ours = path.extension().is_some_and(|end| end == "InRelease" || end == "rhai");
            let relative = path.strip_prefix(folder).ok().and_then(Path::to_str);
            if ours && relative.is_some_and(|relative| !needed.contains(relative)) {
                found.push(HostPath::new(path));
            }
        }
    };
    let parents = fs::read_dir(folder.join(FOLDER)).into_iter().flatten().map_while(io::Result::ok);
    for parent in parents {
        below(&parent.path());
    }
    found.sort();
    found
}
