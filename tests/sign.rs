//! Signing: keys of the real gpg in files and with its agent, judged by gpgv, apt, sqv and rpm.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gnupg;
mod program;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use gnupg::Gnupg;
use jiff::Timestamp;
use perestroika::archive::deb::signature::{Algorithm, NewKey};
use perestroika::base::HostPath;
use perestroika::base::Sha256;
use perestroika::publish::sign::public::{
    KeyringPackage, Repository, files, keyring_package, sources_file,
};
use perestroika::publish::sign::{
    Binary, ChangedFile, Changes, Error, Places, PublicFile, Signers,
};
use program::{PROGRAM, Run};

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

/// The text that gpgv takes from a clear-signed file, if it accepts that.
fn text_for_gpgv(folder: &Path, keyring: &[u8], signed: &str) -> Option<String> {
    fs::write(folder.join("signed"), signed).unwrap();
    let _ = fs::remove_file(folder.join("text"));
    let good = gpgv(folder, keyring, &["--output", "text", "signed"]);
    good.then(|| fs::read_to_string(folder.join("text")).unwrap())
}

#[test]
fn a_text_is_the_same_for_whoever_verifies_it() {
    let gnupg = Gnupg::new();
    gnupg.key("file", "ed25519", "sign", "0");
    gnupg.key("agent", "rsa2048", "sign", "0");
    let key_files = vec![key_file(&gnupg, "file")];
    gnupg.forget("file");
    let places = Places { key_files, gnupg_home: Some(HostPath::new(gnupg.home.path())) };
    let files = [public(&gnupg, "file"), public(&gnupg, "agent")];
    let signers = Signers::for_keys(&files, &places, now()).unwrap();
    assert!(signers.places()[0].starts_with("the key file "), "{:?}", signers.places());
    assert!(signers.places()[1].starts_with("gpg (in "), "{:?}", signers.places());

    let folder = tempfile::tempdir().unwrap();
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    for text in [
        "",
        "\n",
        "\n\n\n",
        "one",
        "one\n\n",
        "  spaces before, behind  \t\n\t\n \nlast \t",
        "-\n- \n--\n- - -\n-----BEGIN PGP SIGNATURE-----\n-----BEGIN PGP SIGNED MESSAGE-----\n",
        "From here\n>From there\n=xyz\nHash: MD5\n\n",
        "Ümläute \u{2028} \u{a0}\n\u{c}\u{b}\n",
        &"x".repeat(19_000),
        &format!("{}\n", "-".repeat(19_000)),
    ] {
        let signed = signers.clear_sign(text, now()).unwrap();
        for keyring in [gnupg.export(&["file"]), gnupg.export(&["agent"])] {
            assert_eq!(good_signatures(folder.path(), &keyring, &["signed"]), 0);
            fs::write(folder.path().join("signed"), &signed).unwrap();
            assert_eq!(good_signatures(folder.path(), &keyring, &["signed"]), 1, "{text:?}");
            fs::remove_file(folder.path().join("signed")).unwrap();
        }
        let found = text_for_gpgv(folder.path(), &signers.keyring(), &signed).unwrap();
        assert_eq!(trimmed(&found), trimmed(text));
        fs::remove_file(folder.path().join("signed")).unwrap();
    }
    for text in ["a\0b", "a\rb", "a\r\n", &"x".repeat(20_000)] {
        let error = signers.clear_sign(text, now()).unwrap_err();
        assert!(matches!(error, Error::Text(_)), "{error}");
    }
    // What lies beside its signature may be anything.
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    fs::write(folder.path().join("bytes"), &bytes).unwrap();
    fs::write(folder.path().join("bytes.asc"), signers.detach(&bytes, now()).unwrap()).unwrap();
    assert!(gpgv(folder.path(), &signers.keyring(), &["bytes.asc", "bytes"]));
}

#[test]
fn gpg_signs_with_the_subkey_that_clients_have() {
    let gnupg = Gnupg::new();
    gnupg.key("one", "rsa2048", "sign", "0");
    let public_before = public(&gnupg, "one");
    let subkey = gnupg.subkey("one", "sign", "0");
    let places = Places { gnupg_home: Some(HostPath::new(gnupg.home.path())), ..Places::default() };
    let folder = tempfile::tempdir().unwrap();
    for (file, expected) in [(public_before, None), (public(&gnupg, "one"), Some(&subkey))] {
        let signers = Signers::for_keys(std::slice::from_ref(&file), &places, now()).unwrap();
        let fit = &signers.fits()[0];
        assert_eq!(fit.fingerprint, *expected.unwrap_or(&fit.primary));
        // gpg's own choice would be the subkey, which the old public half does not have.
        let signed = signers.clear_sign("text\n", now()).unwrap();
        assert!(text_for_gpgv(folder.path(), &file.bytes, &signed).is_some());
    }
    // Without its primary key, as one keeps it on a machine that publishes.
    let export = ["--armor", "--export-secret-subkeys", "one"];
    let secret = gnupg.run(gnupg::MADE, &export, b"");
    let file = in_file(folder.path(), "subkeys", &secret);
    let (_empty, home) = nowhere();
    let places = Places { key_files: vec![file], gnupg_home: Some(home) };
    let signers = Signers::for_keys(&[public(&gnupg, "one")], &places, now()).unwrap();
    assert_eq!(signers.fits()[0].fingerprint, subkey);
    signers.detach(b"bytes", now()).unwrap();
}

/// Why nobody signs.
fn refusal(files: &[PublicFile], places: &Places) -> (String, String) {
    let error = Signers::for_keys(files, places, now()).unwrap_err();
    let hint = error.hint().unwrap_or_default();
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    (message, hint)
}

#[test]
fn a_key_that_may_not_sign_is_refused_before_its_secret_half_is_looked_for() {
    let gnupg = Gnupg::new();
    let (_empty, home) = nowhere();
    let places = Places { gnupg_home: Some(home), ..Places::default() };
    gnupg.key("over", "ed25519", "sign", "2025-01-01");
    gnupg.key("weak", "rsa1024", "sign", "0");
    gnupg.key("certify", "ed25519", "cert", "0");
    gnupg.key("revoked", "ed25519", "sign", "0");
    gnupg.edit(gnupg::MADE, "revoked", "revkey\ny\n0\n\ny\nsave\n");
    gnupg.key("good", "ed25519", "sign", "0");
    let good = public(&gnupg, "good");
    let both = PublicFile { path: good.path.clone(), bytes: gnupg.export(&["good", "over"]) };
    let secret = gnupg.run(gnupg::MADE, &["--export-secret-keys", "good"], b"");
    let armoured = gnupg.run(gnupg::MADE, &["--armor", "--export-secret-keys", "good"], b"");
    let file = |bytes: Vec<u8>| PublicFile { path: HostPath::new("keys/x.pgp"), bytes };
    for (files, expected) in [
        (vec![public(&gnupg, "over")], "expired on 2025-01-0"),
        (vec![public(&gnupg, "weak")], "RSA below 2048 bits"),
        (vec![public(&gnupg, "certify")], "is not for signing"),
        (vec![public(&gnupg, "revoked")], "was revoked"),
        (vec![both], "it holds 2 keys"),
        (vec![file(b"nothing".to_vec())], "`keys/x.pgp` cannot be used: it is no OpenPGP public"),
        (vec![file(Vec::new())], "it is no OpenPGP public key"),
        (vec![file(secret)], "a secret key lies in the release folder: `keys/x.pgp`"),
        (vec![file(armoured)], "a secret key lies in the release folder: `keys/x.pgp`"),
        (vec![good.clone(), good.clone()], "which another file holds too"),
        (vec![], "nothing is published unsigned"),
    ] {
        let (message, _) = refusal(&files, &places);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_key_whose_secret_half_is_nowhere_names_where_it_was_looked_for() {
    let gnupg = Gnupg::new();
    gnupg.key("one", "ed25519", "sign", "0");
    gnupg.key("other", "ed25519", "sign", "0");
    let one = [public(&gnupg, "one")];
    let (_empty, home) = nowhere();
    let places = Places { gnupg_home: Some(home.clone()), ..Places::default() };
    let (message, hint) = refusal(&one, &places);
    assert!(message.contains("key files: none is named"), "{message}");
    assert!(message.contains(&format!("gpg (in `{home}`): it does not have it")), "{message}");
    for word in ["--key-file", "PERESTROIKA_KEY_FILE", "key_files", "gpg --card-status"] {
        assert!(hint.contains(word), "{hint}");
    }
    // gpg says `#` of what is a stub.
    let stub = gnupg.fingerprints("one").remove(0);
    let export = ["--export-secret-subkeys", "one"];
    gnupg.run(gnupg::MADE, &["--quick-add-key", &stub, "cv25519", "encr", "0"], b"");
    let without = gnupg.run(gnupg::MADE, &export, b"");
    let other_home = Gnupg::new();
    other_home.run(gnupg::MADE, &["--import"], &without);
    let home = Some(HostPath::new(other_home.home.path()));
    let places = Places { key_files: vec![key_file(&gnupg, "other")], gnupg_home: home };
    let (message, _) = refusal(&[public(&gnupg, "one")], &places);
    assert!(message.contains(&stub) && message.contains("it is of another key"), "{message}");
    assert!(message.contains("it does not have it"), "{message}");
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

#[test]
fn a_key_file_that_asks_for_a_passphrase_goes_to_gpg() {
    let gnupg = Gnupg::new();
    let make = ["--passphrase", "hidden", "--quick-generate-key", "one", "ed25519", "sign", "0"];
    gnupg.run(gnupg::MADE, &make, b"");
    let export = ["--passphrase", "hidden", "--export-secret-keys", "one"];
    let secret = gnupg.run(gnupg::MADE, &export, b"");
    let path = in_file(gnupg.home.path(), "secret", &secret);
    let places = Places { key_files: vec![path.clone()], gnupg_home: None };
    let (message, hint) = refusal(&[public(&gnupg, "one")], &places);
    assert!(message.contains("is protected by a passphrase"), "{message}");
    assert!(hint.contains(&format!("gpg --import {path}")), "{hint}");

    // Files that are none.
    let public_half = gnupg.export(&["one"]);
    for (bytes, expected) in [
        (&b"nothing"[..], "secret key"),
        (b"", "it is no OpenPGP secret key"),
        (&public_half, "it holds no secret key"),
    ] {
        let places =
            Places { key_files: vec![in_file(gnupg.home.path(), "x", bytes)], ..places.clone() };
        let (message, _) = refusal(&[public(&gnupg, "one")], &places);
        assert!(message.contains(expected), "{message}");
    }
    let places = Places { key_files: vec![HostPath::new("/nonexistent/key")], ..places };
    let (message, _) = refusal(&[public(&gnupg, "one")], &places);
    assert!(message.contains("cannot open the key file `/nonexistent/key`"), "{message}");
}

#[test]
fn a_key_that_expires_soon_is_said() {
    let gnupg = Gnupg::new();
    gnupg.key("one", "ed25519", "sign", "2027-01-10");
    let places = Places { key_files: vec![key_file(&gnupg, "one")], gnupg_home: None };
    let at: Timestamp = "2026-12-31T00:00:00Z".parse().unwrap();
    let signers = Signers::for_keys(&[public(&gnupg, "one")], &places, at).unwrap();
    let warnings = signers.warnings(at, 30);
    let fingerprint = &signers.fits()[0].fingerprint;
    let expected = format!("key {fingerprint} expires in 10 days, on 2027-01-10");
    assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    assert!(signers.warnings(at, 5).is_empty());
}

/// Those who sign with new keys, which no gpg knows.
fn made_here(folder: &Path, algorithms: &[Algorithm]) -> Signers {
    let (mut public, mut key_files) = (Vec::new(), Vec::new());
    for (number, algorithm) in algorithms.iter().enumerate() {
        let end = now() + jiff::SignedDuration::from_hours(24 * 400);
        let user = format!("Key {number} <release@example.org>");
        let key = NewKey::make(&user, *algorithm, now(), end).unwrap();
        let path = HostPath::new(format!("keys/{number}.pgp"));
        public.push(PublicFile { path, bytes: key.public.clone() });
        key_files.push(in_file(folder, &format!("secret.{number}"), key.secret.as_bytes()));
    }
    let places = Places { key_files, gnupg_home: Some(HostPath::new(folder)) };
    Signers::for_keys(&public, &places, now()).unwrap()
}

#[test]
fn keys_made_here_are_good_for_gpgv_sqv_and_rpm() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa4096] {
        let (empty, folder) = nowhere();
        let folder = folder.as_path();
        let signers = made_here(folder, &[algorithm]);
        fs::write(folder.join("bytes"), "bytes").unwrap();
        fs::write(folder.join("bytes.asc"), signers.detach(b"bytes", now()).unwrap()).unwrap();
        assert!(gpgv(folder, &signers.keyring(), &["bytes.asc", "bytes"]), "{algorithm:?}");
        fs::write(folder.join("keys.asc"), signers.public()).unwrap();
        for keyring in ["keyring.gpg", "keys.asc"] {
            let words = ["--keyring", keyring, "bytes.asc", "bytes"];
            assert!(accepts(folder, "sqv", &words), "{algorithm:?}");
        }
        fs::write(folder.join("bytes"), "Bytes").unwrap();
        assert!(!accepts(folder, "sqv", &["--keyring", "keys.asc", "bytes.asc", "bytes"]));
        // rpm reads armour only, and says whose the keys are once it has taken them in.
        let database = format!("{}/rpm", folder.display());
        assert!(accepts(folder, "rpmkeys", &["--dbpath", &database, "--import", "keys.asc"]));
        let list = ["--dbpath", &database, "-q", "gpg-pubkey", "--qf", "%{version}"];
        let listed = Command::new("rpm").args(list).output().unwrap();
        let id = signers.fits()[0].fingerprint.to_lowercase();
        assert_eq!(String::from_utf8(listed.stdout).unwrap(), id[id.len() - 8..], "{algorithm:?}");
        // gpg takes the secret half, and signs with it.
        let secret = folder.join("secret.0").display().to_string();
        empty.run(&now().to_string(), &["--import", &secret], b"");
        assert_eq!(empty.fingerprints("Key").len(), 1);
    }
}

/// A repository with one empty index, and what its clients need.
struct Published {
    folder: tempfile::TempDir,
    signers: Signers,
}

impl Published {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("pgp").tempdir().unwrap();
        let signers = made_here(folder.path(), &[Algorithm::Ed25519, Algorithm::Ed25519]);
        for path in ["repo/dists/updates/main/binary-amd64", "lists/partial", "cache", "etc"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let packages = "Package: greet\nVersion: 1.0\nArchitecture: all\nSize: 1\n\
                        Filename: pool/greet.deb\nSHA256: 00\n\n";
        let suite = folder.path().join("repo/dists/updates");
        fs::write(suite.join("main/binary-amd64/Packages"), packages).unwrap();
        let date = now().strftime("%a, %d %b %Y %H:%M:%S UTC");
        let release = format!(
            "Origin: Demo\nSuite: updates\nCodename: updates\nDate: {date}\nComponents: main\n\
             Architectures: amd64\nSHA256:\n {} {} main/binary-amd64/Packages\n",
            Sha256::of(packages.as_bytes()),
            packages.len(),
        );
        let signed = signers.clear_sign(&release, now()).unwrap();
        fs::write(suite.join("InRelease"), signed).unwrap();
        Self { folder, signers }
    }

    /// Whether apt takes the indexes, and what it says.
    fn updated(&self, keyring: &str) -> (bool, String) {
        let folder = self.folder.path().display().to_string();
        let url = format!("file:{folder}/repo");
        let repository = repository(Some(&url));
        let text = sources_file(&repository).unwrap().unwrap();
        let installed = "/usr/share/keyrings/demo-archive-keyring.pgp";
        assert!(text.contains(&format!("Signed-By: {installed}\n")), "{text}");
        // No sources in this repository.
        let text = text.replace(installed, keyring).replace("deb deb-src", "deb");
        fs::write(self.folder.path().join("etc/demo.sources"), text).unwrap();
        let mut apt = Command::new("apt-get");
        apt.arg("update").current_dir(&folder);
        for option in [
            format!("Dir::Etc::SourceList={folder}/etc/demo.sources"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        let output = apt.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        (output.status.success() && !told.contains("W:"), told)
    }
}

fn repository<'a>(url: Option<&'a str>) -> Repository<'a> {
    Repository {
        name: "demo",
        maintainer: "Release team <release@example.org>",
        url,
        suites: &["updates"],
        components: &["main"],
    }
}

#[test]
fn apt_takes_what_is_signed_with_the_files_that_lie_beside_it() {
    let published = Published::new();
    let folder = published.folder.path();
    for (name, bytes) in files(&repository(None), &published.signers, None).unwrap() {
        fs::write(folder.join(name), bytes).unwrap();
    }
    for name in ["demo-archive-keyring.pgp", "demo-archive-keyring.asc"] {
        let keyring = folder.join(name).display().to_string();
        let (good, told) = published.updated(&keyring);
        assert!(good, "{name}: {told}");
        fs::remove_dir_all(folder.join("lists")).unwrap();
        fs::create_dir_all(folder.join("lists/partial")).unwrap();
    }
    let path = folder.join("repo/dists/updates/InRelease");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("Origin: Demo", "Origin: Dema")).unwrap();
    let keyring = folder.join("demo-archive-keyring.pgp").display().to_string();
    let (good, told) = published.updated(&keyring);
    assert!(!good && told.contains("BADSIG"), "{told}");
}

fn told(program: &str, words: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(words).current_dir(folder).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_package_of_the_keys_installs_and_stays_the_same_until_the_keys_do_not() {
    let (_empty, folder) = nowhere();
    let folder = folder.as_path();
    let signers = made_here(folder, &[Algorithm::Ed25519]);
    let somewhere = repository(Some("https://example.org/demo"));
    let make =
        |repository: &Repository<'_>, signers: &Signers, previous: Option<&KeyringPackage>| {
            keyring_package(repository, signers, previous).unwrap()
        };
    let package = make(&somewhere, &signers, None);
    let day = now().strftime("%Y.%m.%d").to_string();
    assert_eq!(package.version, day);
    assert_eq!(package.file_name, format!("demo-archive-keyring_{day}_all.deb"));
    assert_eq!(make(&somewhere, &signers, None), package);
    assert_eq!(make(&somewhere, &signers, Some(&package)), package);

    fs::write(folder.join("keys.deb"), &package.bytes).unwrap();
    let fields = told("dpkg-deb", &["-f", "keys.deb"], folder);
    for field in ["Package: demo-archive-keyring\n", "Architecture: all\n", "Multi-Arch: foreign\n"]
    {
        assert!(fields.contains(field), "{fields}");
    }
    let listed = told("dpkg-deb", &["-c", "keys.deb"], folder);
    let expected = "./usr/share/keyrings/demo-archive-keyring.pgp";
    assert!(
        listed
            .lines()
            .any(|line| { line.starts_with("-rw-r--r-- root/root ") && line.ends_with(expected) }),
        "{listed}"
    );
    let root = folder.join("root");
    for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let root = root.display().to_string();
    let inside = format!("--root={root}");
    let install = ["--force-not-root", "--force-bad-path", "--force-script-chrootless", &inside];
    told("dpkg", &[&install[..], &["--log=/dev/null", "-i", "keys.deb"]].concat(), folder);
    let keyring = format!("{root}/usr/share/keyrings/demo-archive-keyring.pgp");
    assert_eq!(fs::read(keyring).unwrap(), signers.keyring());
    let sources =
        fs::read_to_string(format!("{root}/etc/apt/sources.list.d/demo.sources")).unwrap();
    assert_eq!(sources, sources_file(&somewhere).unwrap().unwrap());
    let status = told("dpkg-query", &[&inside, "-W", "-f=${Status}\n${Conffiles}"], folder);
    assert!(status.starts_with("install ok installed\n /etc/apt/sources.list.d/demo.sources "));
    assert_eq!(told("dpkg", &[&inside, "--verify"], folder), "");
    let changes = format!("{root}/usr/share/doc/demo-archive-keyring/changelog.gz");
    let changes = told("zcat", &[&changes], folder);
    assert!(changes.starts_with(&format!("demo-archive-keyring ({day}) ")), "{changes}");

    // Another key, or another place, makes another version of it.
    let other = make(&somewhere, &made_here(folder, &[Algorithm::Ed25519]), Some(&package));
    assert_eq!(other.version, format!("{day}.1"));
    let elsewhere = make(&repository(None), &signers, Some(&other));
    assert_eq!(elsewhere.version, format!("{day}.2"));
    fs::write(folder.join("keys.deb"), &elsewhere.bytes).unwrap();
    assert!(!told("dpkg-deb", &["-c", "keys.deb"], folder).contains("sources.list.d"));

    let hostile = repository(Some("https://example.org/\nTrusted:yes"));
    assert!(matches!(sources_file(&hostile), Err(Error::NotAWord(_))));
    let hostile = Repository { name: "../x", ..repository(None) };
    assert!(matches!(keyring_package(&hostile, &signers, None), Err(Error::NotAWord(_))));
}

fn changes() -> Changes {
    let file = |name: &str, section: &str| ChangedFile {
        name: name.to_owned(),
        size: 5,
        md5: "4b3a6218bb3e3a7303e8a171a60fcf92".to_owned(),
        sha1: "c8b5b6ba6b8a3ad6c2d1e6a7e2e5f9dd3fd7d5b3".to_owned(),
        sha256: Sha256::of(b"bytes").to_string(),
        section: section.to_owned(),
        priority: "optional".to_owned(),
    };
    let binary = |name: &str, architecture: &str| Binary {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        summary: "Friendly greeter".to_owned(),
    };
    Changes {
        date: "2026-11-23T01:02:03Z".parse().unwrap(),
        source: "greet".to_owned(),
        version: "1:1.2.0-1".to_owned(),
        distribution: "updates".to_owned(),
        urgency: "medium".to_owned(),
        maintainer: "A B <a@b.example>".to_owned(),
        changed_by: "C D <c@d.example>".to_owned(),
        binaries: vec![binary("greet", "amd64"), binary("greet-doc", "all")],
        text: "First.\n\nSecond.".to_owned(),
        files: vec![
            file("greet_1.2.0-1.dsc", "misc"),
            file("greet_1.2.0-1_amd64.deb", "misc"),
            file("greet-doc_1.2.0-1_all.deb", "doc"),
        ],
    }
}

#[test]
fn dpkg_reads_the_changes_and_gpgv_the_signature() {
    let (_empty, folder) = nowhere();
    let folder = folder.as_path();
    let signers = made_here(folder, &[Algorithm::Ed25519]);
    let changes = changes();
    assert_eq!(changes.file_name(), "greet_1.2.0-1_amd64.changes");
    let signed = signers.clear_sign(&changes.text().unwrap(), now()).unwrap();
    fs::write(folder.join("signed"), &signed).unwrap();
    assert!(gpgv(folder, &signers.keyring(), &["signed"]));
    let read = r#"
        use Dpkg::Control; use Dpkg::Checksums;
        my $changes = Dpkg::Control->new(type => CTRL_FILE_CHANGES);
        $changes->load("signed") or die;
        my $sums = Dpkg::Checksums->new();
        $sums->add_from_control($changes);
        print "$changes->{$_}\n" for qw(Format Date Source Binary Architecture Version Distribution);
        print "$_ ", $sums->get_size($_), " ", $sums->get_checksum($_, "sha256"), "\n"
            for $sums->get_files();
        print "$changes->{Changes}\n$changes->{Files}\n";
    "#;
    let sha = Sha256::of(b"bytes");
    let expected = format!(
        "1.8\nMon, 23 Nov 2026 01:02:03 +0000\ngreet\ngreet greet-doc\nsource all amd64\n1:1.2.0-1\n\
         updates\ngreet_1.2.0-1.dsc 5 {sha}\ngreet_1.2.0-1_amd64.deb 5 {sha}\n\
         greet-doc_1.2.0-1_all.deb 5 {sha}\n\n\
         greet (1:1.2.0-1) updates; urgency=medium\n\n  * First.\n  * Second.\n\n\
         {md5} 5 misc optional greet_1.2.0-1.dsc\n{md5} 5 misc optional greet_1.2.0-1_amd64.deb\n\
         {md5} 5 doc optional greet-doc_1.2.0-1_all.deb\n",
        md5 = changes.files[0].md5,
    );
    assert_eq!(told("perl", &["-e", read], folder), expected);
    for break_it in [
        (|changes: &mut Changes| changes.urgency = "low\nX: y".to_owned()) as fn(&mut Changes),
        |changes| changes.maintainer = "A\rB".to_owned(),
        |changes| changes.binaries[0].summary = "a\nb".to_owned(),
        |changes| changes.files[0].name = "a b".to_owned(),
        |changes| changes.files[0].section = String::new(),
        |changes| changes.text = "a\u{1b}".to_owned(),
    ] {
        let mut changes = self::changes();
        break_it(&mut changes);
        assert!(matches!(changes.text(), Err(Error::NotAWord(_))), "{changes:?}");
    }
}

#[test]
fn a_signed_dsc_gets_our_signature_in_place_of_its_own() {
    let gnupg = Gnupg::new();
    gnupg.key("uploader", "ed25519", "sign", "0");
    let text = "Format: 3.0 (quilt)\nSource: greet\nFiles:\n 00 1 greet.tar.xz\n";
    let theirs = gnupg.clearsign(text, gnupg::MADE, &[]);
    let (_empty, folder) = nowhere();
    let signers = made_here(folder.as_path(), &[Algorithm::Ed25519]);
    for dsc in [text.as_bytes(), &theirs] {
        let signed = signers.sign_dsc(dsc, now()).unwrap();
        assert_eq!(signed.matches("BEGIN PGP SIGNED MESSAGE").count(), 1);
        let found = text_for_gpgv(folder.as_path(), &signers.keyring(), &signed);
        assert_eq!(found.as_deref(), Some(text));
    }
    let with_more = [&theirs, &b"Files: more\n"[..]].concat();
    for dsc in [&with_more[..], b"\xff", &theirs[..theirs.len() / 2]] {
        assert!(matches!(signers.sign_dsc(dsc, now()), Err(Error::Dsc(_))));
    }
}

fn perestroika(folder: &Path, words: &[&str]) -> Run {
    Run::of(
        Command::new(PROGRAM)
            .args(words)
            .current_dir(folder)
            .env_remove("PERESTROIKA_KEY_FILE")
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("GNUPGHOME", folder.join("gnupg")),
    )
}

#[test]
fn a_new_key_is_for_its_owner_alone_and_never_replaces_another() {
    let (_empty, folder) = nowhere();
    let folder = folder.as_path();
    let new = ["key", "new", "Demo archive <release@example.org>", "-o", "mine"];
    let run = perestroika(folder, &new).ends_with(0);
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("mine/demo-archive.secret.asc"), 0o600);
    let secret = fs::read_to_string(folder.join("mine/demo-archive.secret.asc")).unwrap();
    assert!(!run.out.contains(secret.lines().nth(3).unwrap()));
    assert!(run.out.contains("gpg --import "), "{}", run.out);
    let again = perestroika(folder, &new).ends_with(2);
    assert!(again.err.contains("no key is ever overwritten"), "{}", again.err);
    assert_eq!(fs::read_to_string(folder.join("mine/demo-archive.secret.asc")).unwrap(), secret);

    let listed = told(
        "gpg",
        &["--homedir", ".", "--with-colons", "--show-keys", "mine/demo-archive.asc"],
        folder,
    );
    let key: Vec<&str> = listed.lines().next().unwrap().split(':').collect();
    // Trust, length, algorithm and capabilities (DETAILS of GnuPG).
    assert_eq!((key[0], key[2], key[3], key[11]), ("pub", "255", "22", "scSC"));
    let second = |at: usize| key[at].parse::<i64>().unwrap();
    let years = (second(6) - second(5)) as f64 / (365.25 * 86_400.0);
    assert!((2.9..3.1).contains(&years), "{years}");

    fs::create_dir_all(folder.join("release/keys")).unwrap();
    fs::write(folder.join("release/release.toml"), "").unwrap();
    let inside = ["key", "new", "Demo <a@b.example>", "-o", "release/keys"];
    let inside = perestroika(folder, &inside).ends_with(2);
    assert!(inside.err.contains("lies in the release folder"), "{}", inside.err);
    for name in ["", "two\nlines", " before"] {
        perestroika(folder, &["key", "new", name, "-o", "mine"]).ends_with(2);
    }
    assert_eq!(fs::read_dir(folder.join("mine")).unwrap().count(), 2);
}

#[test]
fn keys_of_suites_are_checked_and_gpg_gets_no_more_of_the_environment_than_it_needs() {
    let (_empty, folder) = nowhere();
    let folder = folder.as_path();
    perestroika(folder, &["key", "new", "Demo", "-o", "mine"]).ends_with(0);
    fs::create_dir_all(folder.join("release/keys")).unwrap();
    fs::copy(folder.join("mine/demo.asc"), folder.join("release/keys/demo.asc")).unwrap();
    let toml = "[release]\nname = \"demo\"\nversion = \"1\"\nmaintainer = \"A <a@b.example>\"\n\
                architectures = [\"amd64\"]\n\n\
                [publish.stable]\nformat = \"deb\"\nkey = \"keys/demo.asc\"\n";
    fs::write(folder.join("release/release.toml"), toml).unwrap();
    // It is no matter what is wrong with specs.
    fs::write(folder.join("release/broken.rhai"), "package(").unwrap();
    let check =
        |words: &[&str]| perestroika(folder, &[&["key", "check", "release/"], words].concat());
    let run = check(&["--key-file", "mine/demo.secret.asc"]).ends_with(0);
    assert!(run.out.contains("secret half: the key file `mine/demo.secret.asc`"), "{}", run.out);
    fs::create_dir_all(folder.join("config/perestroika")).unwrap();
    let config =
        format!("[signing]\nkey_files = [\"{}/mine/demo.secret.asc\"]\n", folder.display());
    fs::write(folder.join("config/perestroika/config.toml"), config).unwrap();
    let found = &check(&["--json"]).ends_with(0).json()["suites"][0]["keys"][0];
    assert!(found["secret"].as_str().unwrap().starts_with("the key file `"), "{found}");
    fs::remove_dir_all(folder.join("config")).unwrap();

    // gpg as this finds it: it says what it was given, and does as ever.
    let spy = "#!/bin/sh\nenv > \"$HOME/environment\"\ntr '\\0' ' ' < /proc/$$/cmdline >> \"$HOME/environment\"\n\
               exec /usr/bin/gpg \"$@\"\n";
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::write(folder.join("bin/gpg"), spy).unwrap();
    fs::set_permissions(folder.join("bin/gpg"), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.join("gnupg")).unwrap();
    fs::set_permissions(folder.join("gnupg"), Permissions::from_mode(0o700)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let run = Run::of(
        Command::new(PROGRAM)
            .args(["key", "check", "release/"])
            .current_dir(folder)
            .env_remove("PERESTROIKA_KEY_FILE")
            .env("PERESTROIKA_STORE", "store-of-mine")
            .env("PASSWORD", "word-of-mine")
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("GPG_TTY", "/dev/pts/0")
            .env("HOME", folder)
            .env("GNUPGHOME", folder.join("gnupg"))
            .env("PATH", format!("{}:{path}", folder.join("bin").display())),
    )
    .ends_with(2);
    assert!(run.err.contains("it does not have it"), "{}", run.err);
    assert!(run.err.contains("--key-file FILE"), "{}", run.err);
    let given = fs::read_to_string(folder.join("environment")).unwrap();
    for (word, expected) in
        [("GPG_TTY=", true), ("GNUPGHOME=", true), ("of-mine", false), ("PERESTROIKA", false)]
    {
        assert_eq!(given.contains(word), expected, "{given}");
    }
}
