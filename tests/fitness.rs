//! Which keys may sign a repository: keys of the real gpg, held against what clients accept.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gnupg;

use std::fs;
use std::path::Path;
use std::process::Command;

use gnupg::Gnupg;
use jiff::Timestamp;
use perestroika::archive::deb::signature::{SecretKey, SigningError, Unfit, fit_to_sign, verify};

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

#[test]
fn the_newest_signing_subkey_signs_else_the_primary_key() {
    let gnupg = Gnupg::new();
    let primary = gnupg.key("one", "rsa2048", "sign", "0");
    let fit = fit_to_sign(&gnupg.export(&["one"]), at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!((fit.fingerprint, fit.primary), (primary.clone(), primary.clone()));
    assert_eq!((fit.user.as_deref(), fit.end), (Some("one"), None));
    let subkey = gnupg.subkey("one", "sign", "2027-01-01");
    let fit = fit_to_sign(&gnupg.export(&["one"]), at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!((fit.fingerprint, fit.primary), (subkey, primary.clone()));
    let day = |end: Option<Timestamp>| end.unwrap().to_string()[..10].to_owned();
    assert_eq!(day(fit.end), "2027-01-01");
    // Once that has expired, gpg signs with the primary key too.
    let fit = fit_to_sign(&gnupg.export(&["one"]), at("2028-01-01T00:00:00Z")).unwrap();
    assert_eq!(fit.fingerprint, primary);
}

#[test]
fn what_clients_refuse_is_refused_with_the_reason() {
    let gnupg = Gnupg::new();
    let now = at("2026-01-01T00:00:00Z");
    let refused = |name: &str| fit_to_sign(&gnupg.export(&[name]), now).unwrap_err().to_string();
    gnupg.key("short", "rsa1024", "sign", "0");
    assert!(refused("short").ends_with("is too weak: RSA below 2048 bits"), "{}", refused("short"));
    gnupg.key("dsa", "dsa2048", "sign", "0");
    assert!(refused("dsa").contains("is too weak: DSA"), "{}", refused("dsa"));
    gnupg.key("over", "ed25519", "sign", "2025-01-01");
    assert!(refused("over").contains("expired on 2025-01-0"), "{}", refused("over"));
    gnupg.key("certify", "ed25519", "cert", "0");
    assert!(refused("certify").ends_with("is not for signing"), "{}", refused("certify"));
    gnupg.key("good", "ed25519", "sign", "0");
    gnupg.key("better", "nistp256", "sign", "0");
    let both = gnupg.export(&["good", "better"]);
    assert_eq!(fit_to_sign(&both, now), Err(Unfit::Several(2)));
    for name in ["good", "better"] {
        fit_to_sign(&gnupg.export(&[name]), now).unwrap();
    }
    assert!(matches!(fit_to_sign(b"nothing", now), Err(Unfit::NoKey(_))));
}

#[test]
fn a_key_that_certifies_itself_with_a_weak_digest_is_refused() {
    let gnupg = Gnupg::new();
    let weak =
        ["--cert-digest-algo", "SHA1", "--quick-generate-key", "old", "rsa2048", "sign", "0"];
    gnupg.run(gnupg::MADE, &weak, b"");
    let why = fit_to_sign(&gnupg.export(&["old"]), at("2026-01-01T00:00:00Z")).unwrap_err();
    assert!(why.to_string().contains("is too weak: it is certified by itself"), "{why}");
}

fn gpgv(folder: &Path, files: &[&str]) -> bool {
    let keyring = folder.join("keyring");
    let mut gpgv = Command::new("gpgv");
    gpgv.arg("--keyring").arg(keyring).args(files).current_dir(folder);
    gpgv.output().unwrap().status.success()
}

#[test]
fn what_is_signed_with_a_key_file_counts_for_gpgv() {
    let now = at("2026-01-01T00:00:00Z");
    for kind in ["ed25519", "rsa2048", "nistp256"] {
        for with_subkey in [false, true] {
            let gnupg = Gnupg::new();
            gnupg.key("one", kind, "sign", "0");
            if with_subkey {
                gnupg.subkey("one", "sign", "0");
            }
            let secret = gnupg.run(gnupg::MADE, &["--armor", "--export-secret-keys", "one"], b"");
            let fit = fit_to_sign(&gnupg.export(&["one"]), now).unwrap();
            let key = SecretKey::find(&secret, &fit).unwrap().unwrap();
            assert_eq!(key.fit().fingerprint != key.fit().primary, with_subkey);

            let folder = gnupg.home.path();
            fs::write(folder.join("keyring"), gnupg.export(&["one"])).unwrap();
            let text = "Suite: updates\n- dashes \nSHA256:\n 00 1 main/Packages\n";
            let signed = key.sign_text(text, now).unwrap().clear(text).unwrap();
            fs::write(folder.join("InRelease"), &signed).unwrap();
            fs::write(folder.join("Release"), text).unwrap();
            let block = key.sign_bytes(text.as_bytes(), now).unwrap().block();
            fs::write(folder.join("Release.gpg"), block).unwrap();
            assert!(gpgv(folder, &["InRelease"]), "{kind} {with_subkey}");
            assert!(gpgv(folder, &["Release.gpg", "Release"]), "{kind} {with_subkey}");
            fs::write(folder.join("Release"), text.replace("00 1", "00 2")).unwrap();
            assert!(!gpgv(folder, &["Release.gpg", "Release"]), "{kind} {with_subkey}");

            let public = gnupg.export(&["one"]);
            let verified = verify(signed.as_bytes(), &public, now).unwrap();
            assert_eq!(verified.signers[0].fingerprint, key.fit().fingerprint);
        }
    }
}

#[test]
fn a_key_without_its_secret_half_is_named() {
    let now = at("2026-01-01T00:00:00Z");
    let gnupg = Gnupg::new();
    gnupg.key("one", "ed25519", "sign", "0");
    let one = gnupg.export(&["one"]);
    let fit = fit_to_sign(&one, now).unwrap();
    for bytes in [&one[..], b"", b"nothing"] {
        let found = SecretKey::find(bytes, &fit);
        assert!(matches!(found, Err(SigningError::Read(_) | SigningError::Empty)), "{found:?}");
    }
    let locked =
        ["--passphrase", "secret", "--quick-generate-key", "locked", "ed25519", "sign", "0"];
    gnupg.run(gnupg::MADE, &locked, b"");
    let export = ["--passphrase", "secret", "--export-secret-keys", "locked"];
    let secret = gnupg.run(gnupg::MADE, &export, b"");
    // That of another key is no harm.
    assert!(SecretKey::find(&secret, &fit).unwrap().is_none());
    let fit = fit_to_sign(&gnupg.export(&["locked"]), now).unwrap();
    let found = SecretKey::find(&secret, &fit);
    assert!(matches!(found, Err(SigningError::Locked(_))), "{found:?}");
}
