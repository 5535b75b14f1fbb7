//! Everything a guest's mounts are made of, gathered under short names in one private place.
//!
//! Paths of the host can be long (overlayfs takes one page of options), can contain what its
//! options give a meaning to, can lie below folders that only root may enter, and a guest sees
//! the options in `/proc/mounts`. Here a layer is called `l7`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};

use super::wire::{Explain, Order, Tried};
use crate::sandbox::contract;
use crate::sandbox::doctor::Aspect;

/// Gathers what an order names and goes there: the working folder is the staging place.
///
/// `owner` is the host id that everything written will belong to, when root gathers.
pub fn gather(order: &Order, owner: Option<u32>) -> Tried<()> {
    let mut sources = Vec::new();
    for (index, layer) in order.layers.iter().enumerate() {
        sources.push((format!("l{index}"), clone(layer)?));
    }
    for (index, bind) in order.mounts.iter().enumerate() {
        sources.push((format!("m{index}"), clone(&bind.source)?));
    }
    for device in contract::DEVICES {
        sources.push((device.to_owned(), clone(&Path::new("/dev").join(device))?));
    }
    if let Some(disk) = &order.disk {
        hand_over(disk, owner)?;
        sources.push(("disk".to_owned(), clone(disk)?));
    }
    if let Some(keep) = &order.keep {
        hand_over(&keep.to, owner)?;
        sources.push(("keep".to_owned(), clone(&keep.to)?));
    }
    let mut links = Vec::new();
    if let Some((upper, work)) = order.configure.as_ref().or(order.over.as_ref()) {
        let (folder, upper, work) = siblings(upper, work)?;
        for path in [folder, &folder.join(upper), &folder.join(work)] {
            hand_over(path, owner)?;
        }
        sources.push(("s".to_owned(), clone(folder)?));
        links = vec![("u", Path::new("s").join(upper)), ("w", Path::new("s").join(work))];
    }
    open_place(owner)?;
    for (name, source) in sources {
        let operation = || format!("stage `{name}`");
        let status = rustix::fs::fstat(&source).trying(operation)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            folder(&name)?;
        } else {
            file(&name, "")?;
        }
        let place = rustix::fs::open(&*name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .trying(operation)?;
        attach(&source, &place).isolating(Aspect::Mounts, operation)?;
    }
    for (name, target) in links {
        rustix::fs::symlink(&target, name).trying(|| format!("stage `{name}`"))?;
    }
    Ok(())
}

/// Makes a folder below the staging place.
pub fn folder(name: &str) -> Tried<()> {
    rustix::fs::mkdir(name, Mode::from_raw_mode(0o755)).trying(|| format!("stage folder `{name}`"))
}

/// Makes a folder that may be there from an earlier run.
pub fn folder_again(name: &str) -> Tried<()> {
    match rustix::fs::mkdir(name, Mode::from_raw_mode(0o755)) {
        Err(rustix::io::Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(name, flags, Mode::empty()).map(drop)
        }
        made => made,
    }
    .trying(|| format!("use folder `{name}`"))
}

/// Makes a file below the staging place.
pub fn file(name: &str, text: &str) -> Tried<()> {
    std::fs::write(name, text).trying(|| format!("stage file `{name}`"))
}

/// A detached second view of what lies at `path`, without what is mounted below it.
pub fn clone(path: &Path) -> Tried<OwnedFd> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .isolating(Aspect::Mounts, || format!("take `{}` in", path.display()))
}

/// Mounts a detached view at an opened place.
pub fn attach(source: impl AsFd, place: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(source, c"", place, c"", flags)
}

/// Overlayfs wants upper and work folder on one mount, so they share a folder.
fn siblings<'a>(upper: &'a Path, work: &'a Path) -> Tried<(&'a Path, &'a Path, &'a Path)> {
    let parts = || {
        let folder = upper.parent()?;
        let names = (Path::new(upper.file_name()?), Path::new(work.file_name()?));
        (work.parent()? == folder).then_some((folder, names.0, names.1))
    };
    parts().ok_or(rustix::io::Errno::INVAL).trying(|| {
        let (upper, work) = (upper.display(), work.display());
        format!("use `{upper}` and `{work}`, which do not lie in one folder")
    })
}

/// Gives every folder that the guest of an order writes to this owner.
pub fn hand_over_all(order: &Order, owner: u32) -> Tried<()> {
    let mut folders: Vec<&Path> = Vec::new();
    if let Some((upper, work)) = order.configure.as_ref().or(order.over.as_ref()) {
        folders.extend(upper.parent());
        folders.extend([upper.as_path(), work.as_path()]);
    }
    folders.extend(order.disk.as_deref());
    folders.extend(order.keep.as_ref().map(|keep| keep.to.as_path()));
    folders.into_iter().try_for_each(|folder| hand_over(folder, Some(owner)))
}

fn hand_over(folder: &Path, owner: Option<u32>) -> Tried<()> {
    let Some(id) = owner else { return Ok(()) };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty())
        .and_then(|opened| {
            rustix::fs::chownat(
                opened,
                c"",
                Some(Uid::from_raw(id)),
                Some(Gid::from_raw(id)),
                rustix::fs::AtFlags::EMPTY_PATH,
            )
        })
        .trying(|| format!("give `{}` to the id {id}", folder.display()))
}

/// A small file system in memory over a folder that every machine has; what it hides has been
/// taken in before.
fn open_place(owner: Option<u32>) -> Tried<()> {
    let place = ["/tmp", "/run", "/sys"].map(PathBuf::from).into_iter().find(|path| path.is_dir());
    let place = place.ok_or(rustix::io::Errno::NOENT).trying(|| "find `/tmp`".into())?;
    let owner = owner.map(|id| format!(",uid={id},gid={id}")).unwrap_or_default();
    let options = std::ffi::CString::new(format!("mode=0755,size=4m{owner}"));
    let options = options.trying(|| "stage".into())?;
    mount("staging", &place, "tmpfs", MountFlags::NOSUID, Some(options.as_c_str()))
        .isolating(Aspect::Mounts, || format!("mount a file system in memory on `{place:?}`"))?;
    rustix::process::chdir(&place).trying(|| "enter the staging place".into())
}
