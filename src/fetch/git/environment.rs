//! How the git program is run: nothing of the host, of its user or of a repository decides what
//! it does.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::base::HostPath;

/// What the environment may say: how to reach the network, and who the user is to `ssh`.
const PASSED: [&str; 13] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSH_AUTH_SOCK",
];

/// Settings that hold whatever a repository or the host would like.
const SETTINGS: [&str; 22] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.alternateRefsCommand=false",
    "core.askPass=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.version=2",
    "http.followRedirects=initial",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "fetch.showForcedUpdates=false",
    "log.showSignature=false",
    "log.mailmap=false",
    "i18n.logOutputEncoding=UTF-8",
    "advice.detachedHead=false",
    // Every object is checked as it comes in, but for three sins of old programs that harm
    // nobody and that well-known histories are full of.
    "transfer.fsckObjects=true",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.badTimezone=ignore",
    "transfer.bundleURI=false",
];

/// The program in a repository of the host's, for reading what is in it: it runs nothing of the
/// repository, whoever that belongs to, writes nothing and fetches nothing. Its output is a pipe.
pub fn reading(folder: &HostPath) -> Command {
    let mut command = hardened();
    command.args(["-c", "safe.directory=*", "-c", "protocol.allow=never", "-C"]);
    command.arg(folder.as_path());
    command
}

/// The program with the bare repository `here`, which is ours, for fetching into it. A server that
/// says nothing for `stall` is given up.
pub(super) fn fetching(here: &HostPath, stall: Duration) -> Command {
    let stall = stall.as_secs().max(1);
    let mut command = hardened();
    command
        .current_dir(here)
        .env("HOME", here.as_path())
        .env("GIT_DIR", here.as_path())
        .env("GIT_SSH_COMMAND", format!("ssh -oBatchMode=yes -oConnectTimeout={stall}"))
        .env("GIT_ALLOW_PROTOCOL", "https:http:git:ssh:file")
        .args(["-c", "http.lowSpeedLimit=1024", "-c"])
        .arg(format!("http.lowSpeedTime={stall}"));
    command
}

fn hardened() -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    for name in PASSED {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "false")
        .env("SSH_ASKPASS", "false")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0");
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
