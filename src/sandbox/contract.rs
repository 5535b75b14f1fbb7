//! The guest contract, version 1: what every guest finds, whoever runs it and on what machine.
//!
//! Everything here can be seen by a build, so changing any of it means a new [`CONTRACT`].

use super::Stage;

/// The version of the guest contract; part of every action id.
pub const CONTRACT: u32 = 1;

/// Host name of every guest: the one name that `/etc/hosts` knows, so it resolves.
pub const HOST_NAME: &str = "localhost";

/// `/etc/hosts` of every guest.
pub const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// The name of uid and gid 1000 while a package is built.
pub const BUILDER: &str = "builder";

/// `LC_ALL` of every guest.
pub const LOCALE: &str = "C.UTF-8";

/// `TZ` of every guest.
pub const TIME_ZONE: &str = "UTC";

/// The mask that new files begin with in every guest.
pub const UMASK: u32 = 0o022;

/// The line that `/etc/passwd` gains while a package is built.
pub const PASSWD_LINE: &str = "builder:x:1000:1000::/nonexistent:/bin/sh\n";

/// The line that `/etc/group` gains while a package is built.
pub const GROUP_LINE: &str = "builder:x:1000:\n";

/// Host devices that every guest has.
pub const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links in `/dev`, with their targets.
pub const DEVICE_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Parts of `/proc` that can be read but not written.
pub const PROC_READ_ONLY: [&str; 5] = ["sys", "irq", "bus", "fs", "sysrq-trigger"];

/// Parts of `/proc` that are hidden: they tell of the machine, and no build needs them.
pub const PROC_MASKED: [&str; 7] =
    ["kcore", "keys", "key-users", "timer_list", "sched_debug", "acpi", "scsi"];

/// Writable folders outside the root, with their modes.
pub const SCRATCH: [(&str, u32); 5] = [
    ("/build", 0o755),
    ("/tmp", 0o1777),
    ("/var/tmp", 0o1777),
    ("/run", 0o755),
    ("/dev/shm", 0o1777),
];

/// Folders on scratch that are there from the start, with their modes: the target of Debian's
/// `/var/lock`, which the root's own `/run` has (base-files).
pub const FOLDERS: [(&str, u32); 1] = [("/run/lock", 0o1777)];

/// A resource limit: soft and hard value, `None` for unlimited.
pub type Limit = (Option<u64>, Option<u64>);

/// Open files.
pub const OPEN_FILES: Limit = (Some(1024), Some(4096));

/// Stack in bytes.
pub const STACK: Limit = (Some(8 << 20), None);

/// Locked memory in bytes.
pub const LOCKED: Limit = (Some(64 << 10), Some(64 << 10));

/// Bytes in POSIX message queues.
pub const QUEUES: Limit = (Some(819_200), Some(819_200));

/// Queued signals.
pub const SIGNALS: Limit = (Some(1024), Some(1024));

/// The one id that the guest has, as uid and gid.
pub const fn id(stage: &Stage) -> u32 {
    match stage {
        Stage::Configure { .. } => 0,
        Stage::Build | Stage::Experiment { .. } => 1000,
    }
}

/// Environment that every guest has; a request cannot say otherwise.
///
/// `PATH` is the one of the distribution's own builders (sbuild), as it shows in some packages.
pub const fn environment(stage: &Stage) -> [(&'static str, &'static str); 4] {
    let home = match stage {
        Stage::Configure { .. } => "/root",
        Stage::Build | Stage::Experiment { .. } => "/nonexistent",
    };
    [
        ("HOME", home),
        ("LC_ALL", LOCALE),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games"),
        ("TZ", TIME_ZONE),
    ]
}
