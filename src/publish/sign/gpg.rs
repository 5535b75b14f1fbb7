//! Keys that gpg has: of its own, on cards, in other devices its agent reaches.

use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;

use super::{Error, Result, Signer};
use crate::archive::deb::signature::{Fit, Signatures};
use crate::base::HostPath;

/// What gpg and whoever asks for a passphrase get of our environment.
const ENVIRONMENT: &[&str] = &[
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "GPG_TTY",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LOGNAME",
    "PATH",
    "PINENTRY_USER_DATA",
    "TERM",
    "USER",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
];

/// What gpg says to programs begins with this.
const STATUS: &str = "[GNUPG:] ";

/// Signs with a key that gpg has. The time of its signatures is gpg's.
pub(super) struct GpgSigner {
    home: Option<HostPath>,
    fingerprint: String,
    place: String,
}

/// Who signs with the key that `fit` names, if gpg has its secret half; else why not.
pub(super) fn find(
    fit: &Fit,
    home: Option<&HostPath>,
) -> Result<std::result::Result<GpgSigner, String>> {
    let mut listing = gpg(home);
    // Of the primary key: gpg knows no other way to tell of a subkey that it has no secret half.
    listing.args(["--with-colons", "--list-secret-keys", &fit.primary]);
    let output = match run(listing, b"") {
        Err(Error::NoGpg(error)) if error.kind() == ErrorKind::NotFound => {
            return Ok(Err("gpg: it is not installed".to_owned()));
        }
        output => output?,
    };
    let place = match home {
        Some(home) => format!("gpg (in `{home}`)"),
        None => "gpg".to_owned(),
    };
    let listing = String::from_utf8_lossy(&output.stdout);
    let fingerprint = fit.fingerprint.clone();
    let home = home.cloned();
    Ok(match token(&listing, &fit.fingerprint) {
        Some("+") => Ok(GpgSigner { home, fingerprint, place }),
        None | Some("" | "#") => Err(format!("{place}: it does not have it")),
        Some(card) => {
            let place = format!("{place}, on card {card}");
            Ok(GpgSigner { home, fingerprint, place })
        }
    })
}

/// Where the secret half of a key is, as a listing of gpg's says (DETAILS of GnuPG, field 15): `+`
/// with gpg, `#` nowhere, else the number of a card.
fn token<'a>(listing: &'a str, fingerprint: &str) -> Option<&'a str> {
    let mut token = None;
    for line in listing.lines() {
        let mut fields = line.split(':');
        match fields.next() {
            Some("sec" | "ssb") => token = fields.nth(13),
            Some("fpr") if fields.nth(8) == Some(fingerprint) => return token,
            _ => {}
        }
    }
    None
}

impl GpgSigner {
    fn sign(&self, how: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut gpg = gpg(self.home.as_ref());
        gpg.args(["--status-fd", "2", "--digest-algo", "SHA512", "--armor"]);
        // The mark: with this very key, not with one that gpg finds more fitting.
        gpg.args(["--local-user", &format!("{}!", self.fingerprint), how]);
        let output = run(gpg, bytes)?;
        let told = String::from_utf8_lossy(&output.stderr);
        let status = |word: &str| {
            let said = told.lines().filter_map(|line| line.strip_prefix(STATUS));
            said.into_iter().any(|line| line.split(' ').next() == Some(word))
        };
        if output.status.success() && status("SIG_CREATED") {
            return Ok(output.stdout);
        }
        let words: Vec<&str> = told.lines().filter(|line| !line.starts_with(STATUS)).collect();
        let told = match words.as_slice() {
            [] => format!("it ended with {}", output.status),
            words => words.join("; "),
        };
        let operation = format!("sign with key {}", self.fingerprint);
        Err(Error::Gpg { operation, told })
    }

    fn unreadable(&self, error: impl std::fmt::Display) -> Error {
        let operation = format!("sign with key {}", self.fingerprint);
        Error::Gpg { operation, told: format!("what it made cannot be read: {error}") }
    }
}

impl Signer for GpgSigner {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn sign_text(&self, text: &str, _: Timestamp) -> Result<Signatures> {
        let signed = self.sign("--clearsign", text.as_bytes())?;
        Signatures::of_clear_signed(&signed).map_err(|error| self.unreadable(error))
    }

    fn sign_bytes(&self, bytes: &[u8], _: Timestamp) -> Result<Signatures> {
        let block = self.sign("--detach-sign", bytes)?;
        Signatures::of_block(&block).map_err(|error| self.unreadable(error))
    }
}

/// gpg, in an environment in which nothing is that it does not need.
fn gpg(home: Option<&HostPath>) -> Command {
    let mut gpg = Command::new("gpg");
    gpg.env_clear();
    let kept = |name: &&str| std::env::var_os(name).map(|value| (OsString::from(name), value));
    gpg.envs(ENVIRONMENT.iter().filter_map(kept));
    if let Some(home) = home {
        gpg.env("GNUPGHOME", home.as_path());
    }
    gpg.args(["--batch", "--no-tty", "--quiet"]);
    gpg
}

/// Runs gpg to its end. It shares our process group, so that Ctrl-C reaches it too.
fn run(mut gpg: Command, input: &[u8]) -> Result<Output> {
    gpg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = gpg.spawn().map_err(Error::NoGpg)?;
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let output = std::thread::scope(|scope| {
        // It writes before it has read all. If it stops reading, it says why.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output()
    });
    let output = output.map_err(Error::NoGpg)?;
    let ended_by = output.status.signal();
    let interrupts = [rustix::process::Signal::INT, rustix::process::Signal::TERM];
    if interrupts.iter().any(|signal| ended_by == Some(signal.as_raw())) {
        return Err(Error::Interrupted);
    }
    Ok(output)
}
