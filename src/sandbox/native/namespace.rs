//! Entering the namespaces with exactly one id mapped.

use std::fs;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::UnshareFlags;

use super::system;
use super::wire::{Explain, Tried};
use crate::sandbox::doctor::Aspect;

/// The host id that builds and trees belong to when the initial namespace's root runs us.
///
/// It must be nobody's: below 65536 are the distributions' own ids and users, container tools
/// hand out ranges from 100000 (`/etc/subuid`) and 524288 to 1879048191 (systemd), directory
/// services map up to 2000200000 (sssd), and from 2147352576 on systemd keeps foreign images;
/// programs that take ids for signed numbers break at 2^31.
pub const UNPRIVILEGED: u32 = 2_100_000_000;

/// Who runs us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Root of a namespace that maps every id: it becomes [`UNPRIVILEGED`].
    Root,
    /// Anybody else, root of a namespace with few ids included, by uid and gid.
    Ordinary(u32, u32),
    /// Root of a namespace whose root is the host's: nothing may run as that id.
    HostRoot,
}

/// Who runs this process.
pub fn caller() -> Caller {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let ordinary = Caller::Ordinary(uid.as_raw(), gid.as_raw());
    if !uid.is_root() {
        return ordinary;
    }
    // If the map cannot be read there is no telling, and the careful answer is the last one.
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return Caller::HostRoot };
    let numbers: Vec<u64> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [0, 0, size] if size >= u64::from(u32::MAX) => Caller::Root,
        [0, 0, ..] => Caller::HostRoot,
        _ => ordinary,
    }
}

/// Enters a private mount namespace while still the initial namespace's root.
pub fn leave_host_mounts() -> Tried<()> {
    system::unshare(UnshareFlags::NEWNS)
        .isolating(Aspect::Mounts, || "leave the mounts of the host".into())?;
    private_mounts()
}

/// Becomes the unprivileged host id, for good.
pub fn become_unprivileged(id: u32) -> Tried<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    let operation = || format!("become the unprivileged id {id}");
    rustix::thread::set_thread_groups(&[]).isolating(Aspect::UserNamespaces, operation)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .isolating(Aspect::UserNamespaces, operation)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .isolating(Aspect::UserNamespaces, operation)?;
    // Changing ids hides a process from its new owner: its own id map could not be written.
    set_dumpable_behavior(DumpableBehavior::Dumpable).isolating(Aspect::UserNamespaces, operation)
}

/// Enters all namespaces but that of process ids, which only a child can be in. The caller's id
/// becomes `inside`, and no other exists; the guest is called `host_name`.
pub fn enter(inside: u32, host_name: &str) -> Tried<()> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWCGROUP;
    system::unshare(flags)
        .isolating(Aspect::UserNamespaces, || "enter a user namespace of its own".into())?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{inside} {uid} 1")),
        ("/proc/self/gid_map", format!("{inside} {gid} 1")),
    ] {
        fs::write(file, text)
            .isolating(Aspect::UserNamespaces, || format!("write `{file}` of its namespace"))?;
    }
    private_mounts()?;
    system::set_host_name(host_name)
        .isolating(Aspect::UserNamespaces, || "name the guest".into())?;
    system::loopback_up().isolating(Aspect::Network, || "bring its loopback up".into())?;
    has_both_addresses()
}

fn private_mounts() -> Tried<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .isolating(Aspect::Mounts, || "make its mounts private".into())
}

/// The kernel gives loopback `::1` only where IPv6 is on.
fn has_both_addresses() -> Tried<()> {
    let addresses = fs::read_to_string(Path::new("/proc/self/net/if_inet6"));
    let found = addresses.is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("00000000000000000000000000000001 "))
    });
    if found { Ok(()) } else { Err(rustix::io::Errno::ADDRNOTAVAIL) }
        .isolating(Aspect::Network, || "give its loopback the address ::1".into())
}
