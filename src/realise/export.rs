//! Copies of what was built, for people: reflinks or copies, never links into the store.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::error::Result;
use super::inputs::at;
use super::manifest::Manifest;
use super::record::{Output, Record};
use crate::base::{Digest, HostPath};
use crate::store::Store;

/// The list of what an earlier run put into the folder.
const LIST: &str = ".perestroika-files";

const MANIFEST: &str = "MANIFEST.json";

/// How much of a release is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it: what an earlier run left and is no longer part of it goes.
    Whole,
    /// Some packages: what an earlier run left of the others stays.
    Part,
}

/// Puts the outputs of `records`, and the manifest if the release is whole, into `folder`. Only
/// files that an earlier run put there are ever removed; a manifest of something else than what
/// is there now always is. A file that is there with the same bytes is not written again.
pub fn export(
    store: &Store,
    folder: &HostPath,
    records: &[Arc<Record>],
    manifest: Option<&Manifest>,
    scope: Scope,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(at("create", folder))?;
    let list = folder.join(LIST);
    let before = fs::read_to_string(&list).unwrap_or_default();
    let outputs = || records.iter().flat_map(|record| &record.outputs);
    // Known before anything is written: what a killed run leaves here, the next one takes away.
    let announced = before.lines().chain(outputs().map(|output| output.file.as_str()));
    let announced = write_list(folder, &before, &announced.chain([MANIFEST]).collect())?;
    let mut changed = false;
    let mut names = BTreeSet::new();
    for output in outputs() {
        names.insert(output.file.as_str());
        changed |= copy(store, folder, output)? == Copied::Anew;
    }
    if let Some(manifest) = manifest {
        names.insert(MANIFEST);
        replace(folder, MANIFEST, |file| file.write_all(&manifest.document().encode()))?;
    }
    for name in before.lines().filter(|name| is_plain(name)) {
        if names.contains(name) {
            continue;
        }
        let stays = scope == Scope::Part && (name != MANIFEST || !changed);
        let path = folder.join(name);
        if stays {
            if path.as_path().exists() {
                names.insert(name);
            }
            continue;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at("remove", &path)(error));
            }
            _ => {}
        }
    }
    write_list(folder, &announced, &names).map(drop)
}

/// Writes the list of our own files, unless it is what was there; gives its text.
fn write_list(folder: &HostPath, before: &str, names: &BTreeSet<&str>) -> Result<String> {
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    if text != before {
        replace(folder, LIST, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(text)
}

/// What came of copying a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// The same bytes were there.
    Before,
    /// It was written.
    Anew,
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

fn copy(store: &Store, folder: &HostPath, output: &Output) -> Result<Copied> {
    let path = folder.join(&output.file);
    if is_same(&path, output) {
        return Ok(Copied::Before);
    }
    let mut object = store.open_sound(&output.blake3)?;
    replace(folder, &output.file, |file| {
        if rustix::fs::ioctl_ficlone(&*file, &object).is_ok() {
            return Ok(());
        }
        std::io::copy(&mut object, file).map(drop)
    })?;
    Ok(Copied::Anew)
}

fn is_same(path: &HostPath, output: &Output) -> bool {
    let same_size =
        fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.len() == output.size);
    same_size && fs::read(path).is_ok_and(|bytes| Digest::of(&bytes) == output.blake3)
}

/// Writes a file under another name and renames it: a reader finds the old one or the new one.
fn replace(
    folder: &HostPath,
    name: &str,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<()> {
    let path = folder.join(name);
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(at("create a file in", folder))?;
    write(file.as_file_mut()).map_err(at("write", &path))?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))
        .map_err(at("change mode of", &path))?;
    file.persist(&path).map_err(|error| at("rename to", &path)(error.error))?;
    Ok(())
}
