//! Removing trees that a build may have made hard to remove.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes a folder and everything in it: read-only folders, and nesting deeper than a path or
/// the stack can hold, included. Links are removed, never followed.
///
/// What nests deeper than two levels is moved up into `top` and met again in the next pass, so
/// neither paths nor open files grow with the depth. Nobody else may write below `top` meanwhile;
/// an interrupted removal is simply run again.
pub(super) fn remove_tree(top: &Path) -> io::Result<()> {
    open_up(top)?;
    let mut unique: u64 = 0;
    loop {
        let entries = fs::read_dir(top)?.collect::<io::Result<Vec<_>>>()?;
        if entries.is_empty() {
            return fs::remove_dir(top);
        }
        for entry in entries {
            if entry.file_type()?.is_dir() {
                flatten(&entry.path(), top, &mut unique)?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
}

/// Removes `folder`, having moved the folders in it that are not empty up to `top`.
fn flatten(folder: &Path, top: &Path, unique: &mut u64) -> io::Result<()> {
    open_up(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            fs::remove_file(&path)?;
        } else if fs::remove_dir(&path).is_err() {
            open_up(&path)?; // renaming a folder writes its `..`
            fs::rename(&path, free_name(top, unique))?;
        }
    }
    fs::remove_dir(folder)
}

fn free_name(top: &Path, unique: &mut u64) -> std::path::PathBuf {
    loop {
        let path = top.join(format!("removed-{unique}"));
        *unique += 1;
        if fs::symlink_metadata(&path).is_err() {
            return path;
        }
    }
}

/// Lets the owner of a folder change it.
pub(super) fn open_up(folder: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(folder)?.permissions().mode();
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_read_only_deep_and_linked_trees() {
        let around = tempfile::tempdir().expect("a temporary folder");
        let outside = around.path().join("outside");
        fs::write(&outside, "kept").expect("written");
        let top = around.path().join("top");
        fs::create_dir_all(top.join("a/b/c/d")).expect("made");
        fs::write(top.join("a/b/c/file"), "x").expect("written");
        fs::write(top.join("removed-0"), "in the way").expect("written");
        std::os::unix::fs::symlink(&outside, top.join("a/link")).expect("linked");
        std::os::unix::fs::symlink(around.path(), top.join("a/b/link")).expect("linked");
        for closed in ["a/b/c/d", "a/b/c", "a/b", "a"] {
            fs::set_permissions(top.join(closed), fs::Permissions::from_mode(0o0)).expect("closed");
        }
        remove_tree(&top).expect("removed");
        assert!(!top.exists());
        assert_eq!(fs::read_to_string(outside).expect("still there"), "kept");
    }

    #[test]
    fn removes_nesting_deeper_than_a_path_can_name() {
        let around = tempfile::tempdir().expect("a temporary folder");
        let top = around.path().join("top");
        fs::create_dir(&top).expect("made");
        let mut folder: std::os::fd::OwnedFd = File::open(&top).expect("opened").into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&folder, "deeper", 0o755.into()).expect("made");
            let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            folder = rustix::fs::openat(&folder, "deeper", flags, 0.into()).expect("opened");
        }
        remove_tree(&top).expect("removed");
        assert!(!top.exists());
    }
}
