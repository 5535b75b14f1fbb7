//! Keys and signatures made by the real gpg.

#![allow(dead_code, reason = "each test uses its part")]

use std::io::Write as _;
use std::process::{Command, Stdio};

/// When keys are made unless a case says otherwise.
pub const MADE: &str = "2024-01-01T00:00:00Z";

/// A GnuPG home of its own.
pub struct Gnupg {
    pub home: tempfile::TempDir,
}

impl Gnupg {
    pub fn new() -> Self {
        // Not below a deep folder: the agent's socket has to fit into 108 bytes.
        let home = tempfile::Builder::new().prefix("pgp").tempdir().expect("a temporary folder");
        // The agent would find out first how long a passphrase has to take.
        let calm = home.path().join("gpg-agent.conf");
        std::fs::write(calm, "s2k-count 65536\n").expect("the folder is ours");
        Self { home }
    }

    pub fn run(&self, time: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        // The mark lets time stand still.
        let seconds = format!("{}!", time.parse::<jiff::Timestamp>().unwrap().as_second());
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", self.home.path())
            .args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"])
            .args(["--passphrase", "", "--no-tty", "--allow-weak-digest-algos"])
            .args(["--faked-system-time", &seconds, "--command-fd", "0"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is installed (Debian package gnupg)");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "gpg {arguments:?}: {complaint}");
        output.stdout
    }

    /// Makes a primary key and returns its fingerprint.
    pub fn key(&self, name: &str, kind: &str, usage: &str, expires: &str) -> String {
        self.run(MADE, &["--quick-generate-key", name, kind, usage, expires], b"");
        self.fingerprints(name).remove(0)
    }

    pub fn subkey(&self, name: &str, usage: &str, expires: &str) -> String {
        let primary = self.fingerprints(name).remove(0);
        self.run(MADE, &["--quick-add-key", &primary, "ed25519", usage, expires], b"");
        self.fingerprints(name).pop().unwrap()
    }

    pub fn fingerprints(&self, name: &str) -> Vec<String> {
        let listing =
            self.run(MADE, &["--with-colons", "--fingerprint", "--fingerprint", "-k", name], b"");
        String::from_utf8(listing)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("fpr:"))
            .map(|line| line.split(':').nth(9).unwrap().to_owned())
            .collect()
    }

    pub fn clearsign(&self, text: &str, time: &str, options: &[&str]) -> Vec<u8> {
        let file = self.home.path().join("text");
        std::fs::write(&file, text).unwrap();
        let arguments =
            [options, &["--output", "-", "--clearsign", file.to_str().unwrap()]].concat();
        self.run(time, &arguments, b"")
    }

    pub fn export(&self, names: &[&str]) -> Vec<u8> {
        self.run(MADE, &[&["--export"], names].concat(), b"")
    }

    /// Removes the secret half of a key.
    pub fn forget(&self, name: &str) {
        let fingerprint = self.fingerprints(name).remove(0);
        self.run(MADE, &["--delete-secret-keys", &fingerprint], b"");
    }

    pub fn edit(&self, time: &str, name: &str, commands: &str) {
        self.run(time, &["--expert", "--edit-key", name], commands.as_bytes());
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .env("GNUPGHOME", self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}
