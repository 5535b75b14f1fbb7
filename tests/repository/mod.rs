//! Git repositories, made by git itself.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of this")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// A repository with a working folder.
pub struct Repository {
    keep: tempfile::TempDir,
    clock: std::cell::Cell<i64>,
}

impl Repository {
    /// An empty one, on branch `main`.
    pub fn new() -> Self {
        let this =
            Self { keep: tempfile::tempdir().unwrap(), clock: std::cell::Cell::new(1_430_000_000) };
        this.git(&["init", "--quiet", "--initial-branch=main", "."]);
        this
    }

    pub fn path(&self) -> &Path {
        self.keep.path()
    }

    /// Where it is, for everybody on this machine.
    pub fn url(&self) -> String {
        format!("file://{}", self.keep.path().display())
    }

    /// Runs git in it; each call is a minute later than the one before.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.clock.set(self.clock.get() + 60);
        let date = format!("{} +0200", self.clock.get());
        let output = Command::new("git")
            .args(["-c", "protocol.file.allow=always", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .current_dir(self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "Ann Author")
            .env("GIT_AUTHOR_EMAIL", "ann@example.org")
            .env("GIT_AUTHOR_DATE", "1000000000 +0000")
            .env("GIT_COMMITTER_NAME", "Carl Committer")
            .env("GIT_COMMITTER_EMAIL", "carl@example.org")
            .env("GIT_COMMITTER_DATE", date)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn executable(&self, path: &str, content: &str) -> &Self {
        self.write(path, content);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path().join(path), mode).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.path().join(path)).unwrap();
        self
    }

    /// Commits everything; gives the commit's name.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }
}
