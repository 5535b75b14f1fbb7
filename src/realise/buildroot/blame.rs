//! Which package kept a build root from being configured, and whether that is for want of ids.

use std::fs::File;
use std::io::Read as _;

use super::configure::{Halves, PACKAGES};
use super::error::Error;
use super::{database, error};

/// A package that dpkg could not handle, and why not.
#[derive(Debug, PartialEq, Eq)]
struct Blame<'a> {
    /// As dpkg names it: with its architecture where that is needed, or the archive.
    package: &'a str,
    reason: &'a str,
}

/// The error that fits what dpkg printed before it ended with `code`.
pub(super) fn error(log: String, code: i32, halves: &Halves) -> Error {
    let Some(Blame { package, reason }) = find(&log) else {
        return Error::Configure { verdict: format!("dpkg ended with {code}"), log };
    };
    let script = if reason.contains("post-installation script") { "postinst" } else { "preinst" };
    let calls = read(halves, package, script).map(|text| calls(&text)).unwrap_or_default();
    let (package, reason) = (package.to_owned(), reason.to_owned());
    if calls.is_empty() {
        return Error::Configure { verdict: format!("`{package}`: {reason}"), log };
    }
    let script = script.to_owned();
    Error::Ids(Box::new(error::Ids { package, reason, script, calls, log }))
}

/// The first package that dpkg complained about, with the reason, which it prints below.
fn find(log: &str) -> Option<Blame<'_>> {
    let mut lines = log.lines();
    let complaint = lines.find_map(|line| line.strip_prefix("dpkg: error processing "))?;
    let words = complaint.trim_start_matches("package ").trim_start_matches("archive ");
    let name = words.split(" (").next().unwrap_or(words).trim_end_matches(':');
    let package = name.strip_prefix(PACKAGES).map_or(name, |name| name.trim_start_matches('/'));
    Some(Blame { package, reason: lines.next().unwrap_or_default().trim() })
}

/// A maintainer script that dpkg keeps of an unpacked package; the beginning, if it is long.
fn read(halves: &Halves, package: &str, script: &str) -> Option<String> {
    const MOST: u64 = 1 << 20;
    let short = package.split(':').next().unwrap_or(package);
    // The name is dpkg's word on a package that it has, and no path to anywhere else.
    if package.contains('/') {
        return None;
    }
    [&halves.upper, &halves.farm].into_iter().find_map(|half| {
        [package, short].into_iter().find_map(|name| {
            let path = half.join(database::FOLDER).join("info").join(format!("{name}.{script}"));
            let is_file = path.as_path().symlink_metadata().is_ok_and(|there| there.is_file());
            let mut bytes = Vec::new();
            is_file
                .then(|| File::open(path.as_path()).ok())
                .flatten()?
                .take(MOST)
                .read_to_end(&mut bytes)
                .ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        })
    })
}

/// What a command comes to while only one id is mapped.
#[derive(Clone, Copy)]
enum Effect {
    /// It gives files to somebody.
    Owner,
    /// It becomes somebody.
    User,
}

/// Commands that need ids beside that of root.
const COMMANDS: [(&str, Effect); 9] = [
    ("chown", Effect::Owner),
    ("chgrp", Effect::Owner),
    ("dpkg-statoverride", Effect::Owner),
    ("su", Effect::User),
    ("runuser", Effect::User),
    ("setpriv", Effect::User),
    ("sudo", Effect::User),
    ("--chuid", Effect::User),
    ("setuidgid", Effect::User),
];

/// What a script calls that does less than it says with one id, each with what it does.
fn calls(script: &str) -> Vec<String> {
    let words: Vec<&str> = script
        .lines()
        .map(|line| line.trim_start())
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))))
        .collect();
    COMMANDS
        .into_iter()
        .filter(|(command, _)| words.contains(command))
        .map(|(command, effect)| match effect {
            Effect::Owner => {
                format!("`{command}` answers success, and the file still belongs to root")
            }
            Effect::User => {
                format!("`{command}` answers success, and the process is still root's")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blames_the_first_package_that_dpkg_could_not_handle() {
        let log = "Setting up a (1) ...\nno way\n\
            dpkg: error processing package a:amd64 (--configure):\n installed a package \
            post-installation script subprocess returned error exit status 3\n\
            dpkg: error processing package b (--configure):\n dependency problems\n";
        let reason = "installed a package post-installation script subprocess \
            returned error exit status 3";
        assert_eq!(find(log), Some(Blame { package: "a:amd64", reason }));
        let log = "dpkg: error processing archive /run/packages/x_all.deb (--unpack):\n no\n";
        assert_eq!(find(log), Some(Blame { package: "x_all.deb", reason: "no" }));
        assert_eq!(find("dpkg: cannot run"), None);
    }

    #[test]
    fn a_script_is_searched_for_what_needs_other_ids() {
        for (script, wanted) in [
            ("#!/bin/sh\nset -e\nchown daemon:daemon /x\n", vec!["chown"]),
            ("if true; then su -s /bin/sh daemon -c :; fi", vec!["su"]),
            ("start-stop-daemon --start --chuid x --exec /y", vec!["--chuid"]),
            ("# chown is left to others\nsummary=sun; echo suchown", vec![]),
            ("", vec![]),
        ] {
            let found = calls(script);
            assert_eq!(found.len(), wanted.len(), "{script}: {found:?}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.starts_with(&format!("`{wanted}` answers success")), "{found}");
            }
        }
    }
}
