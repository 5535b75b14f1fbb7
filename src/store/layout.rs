//! Where things are in a store, and whether a folder is one.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, FlockOperation};

use super::error::{Error, Result, system};
use super::locks::wait;
use super::remove::sync_folder;
use crate::base::HostPath;

/// What the file `version` of a store of this program says.
pub(super) const VERSION: &str = "perestroika/store/1";

/// The folders of a store.
const FOLDERS: [&str; 8] =
    ["json", "layers", "locks", "logs", "objects", "quarantine", "scratch", "unpacked"];

/// Makes sure that `root` is a store of this layout, creating it in a new or empty folder.
pub(super) fn prepare(root: &HostPath) -> Result<()> {
    if !root.as_path().is_dir() {
        if root.as_path().exists() {
            return Err(Error::NoFolder(root.clone()));
        }
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(root).map_err(system("create", root))?;
    }
    refuse_network(root)?;
    rustix::fs::access(root.as_path(), Access::WRITE_OK).map_err(system("write to", root))?;
    let is_store = check_version(root)?;
    close_to_others(root)?;
    if is_store {
        return Ok(());
    }
    // The folder itself is the lock: it is there before anything in it.
    let folder = File::open(root).map_err(system("open", root))?;
    wait(&folder, FlockOperation::LockExclusive, root.as_path())?;
    if check_version(root)? {
        return Ok(());
    }
    refuse_foreign(root)?;
    for name in FOLDERS {
        let path = root.join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(system("create", &path)(error));
            }
            _ => {}
        }
    }
    let half = root.join("version.partial");
    let version = root.join("version");
    let mut file = File::create(&half).map_err(system("create", &half))?;
    writeln!(file, "{VERSION}").map_err(system("write", &half))?;
    file.sync_all().map_err(system("sync", &half))?;
    fs::rename(&half, &version).map_err(system("create", &version))?;
    sync_folder(root.as_path()).map_err(system("sync", root))
}

/// Makes sure that `root` is a store of this layout, changing nothing.
pub(super) fn check(root: &HostPath) -> Result<()> {
    if check_version(root)? { Ok(()) } else { Err(Error::Missing { path: root.join("version") }) }
}

/// Whether the store says that it is of this layout; false where it says nothing yet.
fn check_version(root: &HostPath) -> Result<bool> {
    let path = root.join("version");
    let found = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(system("read", &path)(error)),
    };
    if found == format!("{VERSION}\n").as_bytes() {
        let owner = fs::metadata(&path).map_err(system("look at", &path))?.uid();
        let user = rustix::process::geteuid().as_raw();
        let ours = owner == user;
        return if ours { Ok(true) } else { Err(Error::Owner { path: root.clone(), owner, user }) };
    }
    let found = String::from_utf8_lossy(&found[..found.len().min(64)]).trim().to_owned();
    Err(Error::Version { path: root.clone(), found, known: VERSION })
}

/// A folder without `version` is ours only if it holds nothing but what a killed creation leaves.
fn refuse_foreign(root: &HostPath) -> Result<()> {
    for entry in fs::read_dir(root).map_err(system("list", root))? {
        let name = entry.map_err(system("list", root))?.file_name();
        let ours = name == "version.partial" || FOLDERS.iter().any(|folder| name == *folder);
        if !ours {
            let holds = name.to_string_lossy().into_owned();
            return Err(Error::Foreign { path: root.clone(), holds });
        }
    }
    Ok(())
}

/// Trees in the store keep the modes they were built with: nobody else may reach them.
fn close_to_others(root: &HostPath) -> Result<()> {
    let mode = fs::metadata(root).map_err(system("look at", root))?.permissions().mode();
    if mode & 0o777 == 0o700 {
        return Ok(());
    }
    let empty = fs::read_dir(root).map_err(system("list", root))?.next().is_none();
    if !empty && !root.join("version").as_path().exists() {
        return refuse_foreign(root);
    }
    fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(system("protect", root))
}

fn refuse_network(root: &HostPath) -> Result<()> {
    let magic = rustix::fs::statfs(root.as_path()).map_err(system("look at", root))?.f_type;
    let device = fs::metadata(root).map_err(system("look at", root))?.dev();
    match network(magic as u64 & 0xffff_ffff, || mounted_as(device)) {
        Some(kind) => Err(Error::Network { path: root.clone(), kind }),
        None => Ok(()),
    }
}

/// The name of the network file system of this magic (statfs(2)), if it is one. FUSE has one
/// magic for all: there the name that it is mounted as decides.
fn network(magic: u64, mounted_as: impl FnOnce() -> Option<String>) -> Option<String> {
    const FUSE: u64 = 0x6573_5546;
    const NAMES: [(u64, &str); 9] = [
        (0x6969, "nfs"),
        (0x517b, "smb"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb3"),
        (0x0102_1997, "9p"),
        (0x5346_414f, "afs"),
        (0x7375_7245, "coda"),
        (0x00c3_6400, "ceph"),
        (0x0bd0_0bd0, "lustre"),
    ];
    const NETWORK_FUSE: [&str; 12] = [
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.glusterfs",
        "fuse.gcsfuse",
        "fuse.ceph-fuse",
        "fuse.davfs",
        "fuse.curlftpfs",
        "fuse.goofys",
        "fuse.juicefs",
        "fuse.smbnetfs",
        "fuse.moosefs",
    ];
    if magic == FUSE {
        return mounted_as().filter(|kind| NETWORK_FUSE.contains(&kind.as_str()));
    }
    NAMES.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).to_owned())
}

/// The file system type of the mount of this device number.
fn mounted_as(device: u64) -> Option<String> {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    kind_of_device(&fs::read_to_string(Path::new("/proc/self/mountinfo")).ok()?, &device)
}

/// The file system type of `major:minor` in a mountinfo text (proc_pid_mountinfo(5)).
fn kind_of_device(mounts: &str, device: &str) -> Option<String> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let (_, tail) = line.split_once(" - ")?;
    tail.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_magic_or_by_their_mount() {
        let local = || None;
        assert_eq!(network(0x6969, local).as_deref(), Some("nfs"));
        assert_eq!(network(0xff53_4d42, local).as_deref(), Some("cifs"));
        assert_eq!(network(0xef53, local), None, "ext4");
        assert_eq!(network(0x0102_1994, local), None, "tmpfs");
        let fuse = |kind: &'static str| network(0x6573_5546, move || Some(kind.to_owned()));
        assert_eq!(fuse("fuse.sshfs").as_deref(), Some("fuse.sshfs"));
        assert_eq!(fuse("fuseblk"), None);
    }

    #[test]
    fn a_mount_is_found_by_its_device() {
        let mounts = "22 1 0:21 / /proc rw - proc proc rw\n\
                      30 1 0:45 / /home rw,nosuid shared:5 - fuse.sshfs host:/ rw\n";
        assert_eq!(kind_of_device(mounts, "0:45").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind_of_device(mounts, "0:46"), None);
    }
}
