//! The root that a guest finds itself in, put together from the staging place.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::observe::Observer;
use super::staging::{attach, clone, file, folder, folder_again};
use super::system::{MountAttributes, set_mount_attributes};
use super::wire::{Explain, Order, Tried};
use crate::sandbox::doctor::Aspect;
use crate::sandbox::{Guise, contract};

/// The largest user list that is read.
const USERS: u64 = 1 << 20;

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const QUIET_BIND: MountAttributes = MountAttributes::NO_SUID.and(MountAttributes::NO_DEVICES);

/// What of the staging place is needed when the guest has made its root the only one.
pub struct Places {
    /// The scratch file system, to be asked how full it is.
    pub scratch: OwnedFd,
    /// Where scratch is kept if the guest fails.
    pub keep: Option<OwnedFd>,
    /// What sees which files of the layers are opened, where that is asked for.
    pub observer: Option<Observer>,
}

/// Assembles everything but `/proc`, at `root` in the staging place.
pub fn assemble(order: &Order) -> Tried<Places> {
    folder("empty")?;
    folder("root")?;
    skeleton(order)?;
    mount_root(order)?;
    // As long as nothing is mounted on it.
    let observer = order.observe.then(|| Observer::new("root")).transpose()?;
    devices(order)?;
    small_memory("root/sys", MountFlags::RDONLY | MountFlags::NOEXEC, 1)?;
    let scratch = scratch(order)?;
    for (index, bind) in order.mounts.iter().enumerate() {
        let name = format!("m{index}");
        let source = clone(Path::new(&name))?;
        let kind = rustix::fs::fstat(&source).trying(|| format!("look at `{name}`"))?.st_mode;
        let place = ensure(&bind.target, FileType::from_raw_mode(kind))?;
        let operation = || format!("mount `{}`", bind.target);
        let attributes = match bind.writable {
            true => QUIET_BIND,
            false => QUIET_BIND.and(MountAttributes::READ_ONLY),
        };
        set_mount_attributes(&source, attributes).isolating(Aspect::Mounts, operation)?;
        attach(&source, &place).isolating(Aspect::Mounts, operation)?;
    }
    if contract::SCRATCH.iter().any(|(place, _)| Path::new(&order.cwd).starts_with(place)) {
        ensure(&order.cwd, FileType::Directory)?;
    }
    let keep = order.keep.as_ref().map(|_| {
        rustix::fs::open("keep", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .trying(|| "open the place where scratch is kept".into())
    });
    Ok(Places { scratch, keep: keep.transpose()?, observer })
}

/// The topmost read-only layer: the places that things are mounted on, whatever the layers have
/// there, and the files of the contract.
fn skeleton(order: &Order) -> Tried<()> {
    for name in ["", "/dev", "/proc", "/sys", "/etc", "/build", "/run", "/tmp", "/var", "/var/tmp"]
    {
        folder(&format!("top{name}"))?;
    }
    file("top/etc/hosts", &order.guise.hosts())?;
    file("top/etc/resolv.conf", "")?;
    if order.configure.is_none() {
        folder("view")?;
        overlay(order, "view", "empty", &[])?;
        let passwd = users("passwd", &order.guise.listed(contract::PASSWD_LINE), &order.guise)?;
        let group = users("group", &order.guise.listed(contract::GROUP_LINE), &order.guise)?;
        unmount("view", UnmountFlags::DETACH).trying(|| "unmount the view of the layers".into())?;
        file("top/etc/passwd", &passwd)?;
        file("top/etc/group", &group)?;
    }
    // Folders that merge with the layers' own show these times.
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times = Timestamps { last_access: zero, last_modification: zero };
    for name in ["top/etc/hosts", "top/etc/resolv.conf", "top/etc", "top/var", "top"] {
        rustix::fs::utimensat(CWD, name, &times, rustix::fs::AtFlags::empty())
            .trying(|| format!("set the time of `{name}`"))?;
    }
    Ok(())
}

/// A user list of the layers, with the builder's line.
fn users(name: &str, line: &str, guise: &Guise) -> Tried<String> {
    let operation = || format!("read `/etc/{name}` of the layers");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let view = rustix::fs::open("view", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .trying(operation)?;
    let path = format!("etc/{name}");
    let opened = rustix::fs::openat2(view, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let mut text = String::new();
    match opened {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => {}
        Err(error) => Err(error).trying(operation)?,
        Ok(list) => {
            fs::File::from(list).take(USERS).read_to_string(&mut text).trying(operation)?;
        }
    }
    let prefix = |text: &str| text.split(':').next().map(str::to_owned);
    if !text.lines().any(|known| prefix(known).as_deref() == Some(guise.user_name.as_str())) {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(line);
    }
    Ok(text)
}

fn mount_root(order: &Order) -> Tried<()> {
    match order.configure {
        None if order.over.is_some() => overlay(order, "root", "top", &["upperdir=u", "workdir=w"]),
        None => overlay(order, "root", "top", &[]),
        Some(_) => {
            if !order.tried {
                probe_upper()?;
            }
            // `volatile`: dpkg syncs after every step, and whoever keeps the layer syncs it anyway.
            overlay(order, "root", "top", &["upperdir=u", "workdir=w", "volatile"])
        }
    }
}

/// Mounts the layers at `place`, with the folder `first` above them all.
///
/// A lone layer gets company: overlayfs wants two. Always `userxattr`, the only form that an
/// ordinary user's namespace may have, so that layers are the same whoever made them.
fn overlay(order: &Order, place: &str, first: &str, upper: &[&str]) -> Tried<()> {
    let layers = (0..order.layers.len()).rev().map(|index| format!("l{index}"));
    let lower: Vec<_> = [first.to_owned()].into_iter().chain(layers).collect();
    let mut options = vec![format!("lowerdir={}", lower.join(":")), "userxattr".to_owned()];
    options.extend(upper.iter().map(|&option| option.to_owned()));
    let flags = if upper.is_empty() { QUIET | MountFlags::RDONLY } else { QUIET };
    mount_overlay(place, flags, &options.join(","))
}

fn mount_overlay(place: &str, flags: MountFlags, options: &str) -> Tried<()> {
    let operation = || format!("mount an overlay with the options `{options}`");
    let options = std::ffi::CString::new(options).trying(operation)?;
    mount("overlay", place, "overlay", flags, Some(options.as_c_str()))
        .isolating(Aspect::Overlay, operation)
}

/// Removes and recreates a folder of a lower layer, on the file system that the layer is made
/// on. Where extended attributes of users do not work there the mount still succeeds, and the
/// old contents would shine through.
fn probe_upper() -> Tried<()> {
    let operation = || "try an overlay on the file system of the new layer".to_owned();
    for name in ["below", "below/old", "s/probe-upper", "s/probe-work", "probe"] {
        folder(name)?;
    }
    file("below/old/file", "")?;
    let options = "lowerdir=below,upperdir=s/probe-upper,workdir=s/probe-work,userxattr";
    mount_overlay("probe", QUIET, options)?;
    fs::remove_file("probe/old/file").isolating(Aspect::Overlay, operation)?;
    fs::remove_dir("probe/old").isolating(Aspect::Overlay, operation)?;
    fs::create_dir("probe/old").isolating(Aspect::Overlay, operation)?;
    let fresh = fs::read_dir("probe/old").isolating(Aspect::Overlay, operation)?.next().is_none();
    unmount("probe", UnmountFlags::empty()).trying(operation)?;
    for name in ["s/probe-upper", "s/probe-work"] {
        // The kernel leaves `work/work` behind with no mode at all.
        fs::remove_dir_all(name).trying(operation)?;
    }
    if fresh { Ok(()) } else { Err(rustix::io::Errno::OPNOTSUPP) }
        .isolating(Aspect::Overlay, operation)
}

fn devices(order: &Order) -> Tried<()> {
    small_memory("root/dev", MountFlags::NOEXEC, 64)?;
    for device in contract::DEVICES {
        let place = format!("root/dev/{device}");
        file(&place, "")?;
        let source = clone(Path::new(device))?;
        let attributes = MountAttributes::NO_SUID.and(MountAttributes::NO_EXEC);
        let operation = || format!("mount `/dev/{device}`");
        set_mount_attributes(&source, attributes).isolating(Aspect::Mounts, operation)?;
        let place = rustix::fs::open(&*place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .trying(operation)?;
        attach(&source, place).isolating(Aspect::Mounts, operation)?;
    }
    for (name, target) in contract::DEVICE_LINKS {
        rustix::fs::symlink(target, format!("root/dev/{name}"))
            .trying(|| format!("make `/dev/{name}`"))?;
    }
    folder("root/dev/pts")?;
    folder("root/dev/shm")?;
    mount(
        "devpts",
        "root/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"newinstance,ptmxmode=0666,mode=0620"),
    )
    .isolating(Aspect::Mounts, || "mount `/dev/pts`".into())?;
    // Who configures packages may add links to /dev; who builds them may not.
    if order.configure.is_none() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open("root/dev", flags, Mode::empty())
            .map_err(std::io::Error::from)
            .and_then(|dev| set_mount_attributes(dev, MountAttributes::READ_ONLY))
            .isolating(Aspect::Mounts, || "close `/dev`".into())?;
    }
    Ok(())
}

fn small_memory(place: &str, flags: MountFlags, files: u32) -> Tried<()> {
    let options = std::ffi::CString::new(format!("mode=0755,size=64k,nr_inodes={files}"));
    let options = options.trying(|| format!("mount `{place}`"))?;
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | flags, Some(options.as_c_str()))
        .isolating(Aspect::Mounts, || format!("mount `{place}`"))
}

/// One file system for all writable places, so that the limits hold for their sum.
fn scratch(order: &Order) -> Tried<OwnedFd> {
    let base = match order.disk {
        Some(_) => "disk",
        None => {
            folder("scratch")?;
            let (size, files) = (order.scratch, order.inodes);
            let options = format!("mode=0755,size={size},nr_inodes={files}");
            let options = std::ffi::CString::new(options).trying(|| "mount scratch".into())?;
            mount("tmpfs", "scratch", "tmpfs", QUIET, Some(options.as_c_str()))
                .isolating(Aspect::Mounts, || "mount scratch in memory".into())?;
            "scratch"
        }
    };
    for (place, mode) in contract::SCRATCH {
        let name = format!("{base}/{}", place.trim_start_matches('/').replace('/', "-"));
        let operation = || format!("mount scratch on `{place}`");
        folder_again(&name)?;
        rustix::fs::chmod(&*name, Mode::from_raw_mode(mode)).trying(operation)?;
        let source = clone(Path::new(&name))?;
        set_mount_attributes(&source, QUIET_BIND).isolating(Aspect::Mounts, operation)?;
        attach(source, ensure(place, FileType::Directory)?).isolating(Aspect::Mounts, operation)?;
    }
    for (place, mode) in contract::FOLDERS {
        let operation = || format!("make `{place}`");
        ensure(place, FileType::Directory)?;
        rustix::fs::chmod(format!("root{place}"), Mode::from_raw_mode(mode)).trying(operation)?;
    }
    rustix::fs::open(base, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .trying(|| "open scratch".into())
}

/// Opens a place of the guest, making it and its parents where they are missing and below
/// scratch: elsewhere they would become part of a layer. No link is followed on the way, as a
/// mounted source may be hostile.
fn ensure(path: &str, kind: FileType) -> Tried<OwnedFd> {
    let operation = || format!("make `{path}` in the guest");
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let ours = contract::SCRATCH.iter().any(|(place, _)| Path::new(path).starts_with(place));
    let mut place = rustix::fs::open("root", flags, Mode::empty()).trying(operation)?;
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let folder = parts.peek().is_some() || kind == FileType::Directory;
        let flags = if folder { flags | OFlags::DIRECTORY } else { flags };
        place = match rustix::fs::openat(&place, part, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) if ours => {
                create(place.as_fd(), part, folder).trying(operation)?;
                rustix::fs::openat(&place, part, flags, Mode::empty())
            }
            other => other,
        }
        .trying(operation)?;
    }
    Ok(place)
}

fn create(parent: impl AsFd, name: &str, folder: bool) -> rustix::io::Result<()> {
    if folder {
        return rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}
