//! What differs from one making of a root to the next, and what becomes of it. Every exception
//! from "as apt would have left it" is named here.

use super::configure::POLICY;

/// What becomes of a path when a layer is settled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Treatment {
    /// It stays as it is.
    Keep,
    /// It is not part of a root: logs, caches, locks, backups.
    Drop,
    /// Its content is made the same each time.
    Rewrite(Rewrite),
}

impl PartialEq for Treatment {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// From a file's bytes and the root's time, in seconds since 1970, to what it should hold.
pub(super) type Rewrite = fn(&[u8], u64) -> Vec<u8>;

/// Folders whose content never stays: what is below them is of a run or of a cache.
const EMPTIED: [&str; 10] = [
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache/apt",
    "var/cache/fontconfig",
    "var/cache/man",
    "var/lib/apt/lists",
    "var/tmp",
];

/// Single files that never stay.
const DROPPED: [&str; 15] = [
    ".dockerenv",
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/random-seed",
    POLICY,
];

/// What becomes of `path`.
pub(super) fn treatment(path: &str) -> Treatment {
    let within = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    // Backups that dpkg and debconf keep beside their databases.
    let backup = (within("var/lib/dpkg") || within("var/cache/debconf")) && path.ends_with("-old");
    if DROPPED.contains(&path) || backup || EMPTIED.iter().any(|folder| within(folder)) {
        return Treatment::Drop;
    }
    // Keys of a host, made from random numbers: a root is no host.
    if path.starts_with("etc/ssh/ssh_host_") {
        return Treatment::Drop;
    }
    match path {
        "etc/machine-id" => Treatment::Rewrite(|_, _| Vec::new()),
        "etc/shadow" => Treatment::Rewrite(date_passwords),
        _ if within("var/log") && path.ends_with(".log") => Treatment::Drop,
        _ if within("var/log") => Treatment::Rewrite(|_, _| Vec::new()),
        _ => Treatment::Keep,
    }
}

/// Replaces the day of the last change of each password (the third field, shadow(5)), which is
/// the day the root was made, by the day of the root's time.
fn date_passwords(shadow: &[u8], time: u64) -> Vec<u8> {
    let day = (time / 86400).to_string();
    let line = |line: &[u8]| {
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        if let Some(changed) = fields.get_mut(2).filter(|changed| !changed.is_empty()) {
            *changed = day.as_bytes();
        }
        fields.join(&b':')
    };
    let lines: Vec<Vec<u8>> = shadow.split(|byte| *byte == b'\n').map(line).collect();
    lines.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_caches_and_backups_go_and_nothing_else() {
        for path in ["var/log/dpkg.log", "run/x/y", "var/lib/dpkg/status-old", "etc/passwd-"] {
            assert!(treatment(path) == Treatment::Drop, "{path}");
        }
        for path in ["var/log", "run", "var/lib/dpkg/status", "etc/passwd", "usr/x-old", "running"]
        {
            assert!(treatment(path) == Treatment::Keep, "{path}");
        }
    }

    #[test]
    fn passwords_were_changed_on_the_day_of_the_root() {
        let shadow = b"root:*:20779:0:99999:7:::\nx:!::::::\n";
        let dated = date_passwords(shadow, 86400 * 19000);
        assert_eq!(dated, b"root:*:19000:0:99999:7:::\nx:!::::::\n");
    }
}
