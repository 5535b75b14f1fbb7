//! Signing: keys of the real gpg in files and with its agent, judged by gpgv, apt, sqv and rpm.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gnupg;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use gnupg::Gnupg;
use jiff::Timestamp;
use perestroika::base::HostPath;
use perestroika::publish::sign::{Error, Places, PublicFile, Signers};

/// The clock cannot be stopped for gpg and gpgv alone.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn in_file(folder: &Path, name: &str, bytes: &[u8]) -> HostPath {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    HostPath::new(path)
}

fn public(gnupg: &Gnupg, name: &str) -> PublicFile {
    let path = HostPath::new(format!("keys/{name}.pgp"));
    PublicFile { path, bytes: gnupg.export(&[name]) }
}

/// The secret half, in a file for its owner alone.
fn key_file(gnupg: &Gnupg, name: &str) -> HostPath {
    let secret = gnupg.run(gnupg::MADE, &["--armor", "--export-secret-keys", name], b"");
    in_file(gnupg.home.path(), &format!("{name}.secret"), &secret)
}

/// A folder without a key, and without an agent that lives on.
fn nowhere() -> (Gnupg, HostPath) {
    let gnupg = Gnupg::new();
    let home = HostPath::new(gnupg.home.path());
    (gnupg, home)
}

fn accepts(folder: &Path, program: &str, words: &[&str]) -> bool {
    let output = Command::new(program).args(words).current_dir(folder).output().unwrap();
    output.status.success()
}

/// Whether the files are as they were signed, for one who trusts the keys of `keyring`.
fn gpgv(folder: &Path, keyring: &[u8], files: &[&str]) -> bool {
    fs::write(folder.join("keyring.gpg"), keyring).unwrap();
    accepts(folder, "gpgv", &[&["--keyring", "./keyring.gpg"], files].concat())
}

#[test]
fn while_keys_rotate_either_of_them_verifies_what_is_signed() {
    let gnupg = Gnupg::new();
    for (name, kind) in [("old", "rsa2048"), ("new", "ed25519"), ("other", "ed25519")] {
        gnupg.key(name, kind, "sign", "0");
    }
    gnupg.subkey("new", "sign", "0");
    let files = [public(&gnupg, "old"), public(&gnupg, "new")];
    let (_empty, home) = nowhere();
    let key_files = vec![key_file(&gnupg, "new"), key_file(&gnupg, "old")];
    let places = Places { key_files, gnupg_home: Some(home) };
    let signers = Signers::for_keys(&files, &places, now()).unwrap();
    assert_eq!(signers.fits().len(), 2);
    assert!(signers.warnings(now(), 10_000).is_empty());

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "Suite: updates\nSHA256:\n 00 1 main/Packages\n";
    let signed = signers.clear_sign(text, now()).unwrap();
    assert_eq!(signed.matches("BEGIN PGP SIGNATURE").count(), 1);
    fs::write(folder.join("InRelease"), &signed).unwrap();
    fs::write(folder.join("Release"), text).unwrap();
    fs::write(folder.join("Release.gpg"), signers.detach(text.as_bytes(), now()).unwrap()).unwrap();
    let both = gnupg.export(&["old", "new"]);
    for (keyring, expected) in [
        (gnupg.export(&["old"]), true),
        (gnupg.export(&["new"]), true),
        (gnupg.export(&["other"]), false),
        (both, true),
        (signers.keyring(), true),
    ] {
        for files in [&["InRelease"][..], &["Release.gpg", "Release"]] {
            // What it does not know makes gpgv fail; apt asks for the good ones it reports.
            let good = good_signatures(folder, &keyring, files);
            assert_eq!(good > 0, expected, "{files:?}");
        }
    }
    assert!(gpgv(folder, &signers.keyring(), &["InRelease"]));
}

/// How many signatures gpgv finds good.
fn good_signatures(folder: &Path, keyring: &[u8], files: &[&str]) -> usize {
    fs::write(folder.join("keyring.gpg"), keyring).unwrap();
    let mut gpgv = Command::new("gpgv");
    gpgv.args(["--keyring", "./keyring.gpg", "--status-fd", "1"]).args(files).current_dir(folder);
    let output = gpgv.output().unwrap();
    String::from_utf8_lossy(&output.stdout).matches("[GNUPG:] GOODSIG ").count()
}

#[test]
fn a_key_file_for_others_than_its_owner_is_refused() {
    let gnupg = Gnupg::new();
    gnupg.key("one", "ed25519", "sign", "0");
    let path = key_file(&gnupg, "one");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let places = Places { key_files: vec![path], gnupg_home: None };
    let error = Signers::for_keys(&[public(&gnupg, "one")], &places, now()).unwrap_err();
    assert!(matches!(error, Error::Exposed { mode: 0o640, .. }), "{error}");
    assert!(error.hint().unwrap().contains("chmod 600 "), "{error}");
}
