//! The builder key, and what is signed with it, as openssl sees them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perestroika::base::{HostPath, Json, Sha256};
use perestroika::store::Store;
use serde_json::Value;

fn store(folder: &Path) -> Store {
    Store::open(&HostPath::new(folder.join("store"))).unwrap()
}

/// Runs openssl in a folder: whether it is satisfied, and what it prints.
fn openssl(folder: &Path, words: &[&str]) -> (bool, Vec<u8>) {
    let output = Command::new("openssl").args(words).current_dir(folder).output().unwrap();
    (output.status.success(), output.stdout)
}

#[test]
fn it_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert!(store.builder_key().unwrap().is_none());
    let key = store.make_builder_key().unwrap();
    let path = store.builder_key_path();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let again = store.make_builder_key().unwrap();
    assert_eq!((again.id(), fs::read_to_string(&path).unwrap()), (key.id(), text.clone()));
    assert_eq!(store.builder_key().unwrap().unwrap().id(), key.id());
    let secret = text.lines().nth(1).unwrap();
    assert!(!format!("{key:?}").contains(secret));

    let other = tempfile::tempdir().unwrap();
    assert_ne!(self::store(other.path()).make_builder_key().unwrap().id(), key.id());
}

#[test]
fn whoever_makes_it_at_once_gets_the_same() {
    let folder = tempfile::tempdir().unwrap();
    drop(store(folder.path()));
    let make = || store(folder.path()).make_builder_key().unwrap().id();
    let ids: Vec<Sha256> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn openssl_reads_it_and_names_it_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let key = store.make_builder_key().unwrap();
    let words = ["pkey", "-in", "store/builder.key", "-pubout"];
    let (done, public) = openssl(folder.path(), &words);
    assert!(done);
    assert_eq!(String::from_utf8(public).unwrap(), key.public_pem());
    let (done, der) = openssl(folder.path(), &[&words[..], &["-outform", "DER"]].concat());
    assert!(done);
    assert_eq!(Sha256::of(&der), key.id());
}

#[test]
fn openssl_verifies_what_it_signs_and_refuses_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let key = store(folder.path()).make_builder_key().unwrap();
    let document = Json::object([("size", 17_u32.into()), ("what", "a head".into())]);
    let envelope = key.sign("application/example+json", &document);
    let envelope: Value = serde_json::from_slice(&envelope.encode()).unwrap();
    let bytes = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    let payload = bytes(&envelope["payload"]);
    assert_eq!(payload, document.encode());
    let signature = &envelope["signatures"][0];
    assert_eq!(signature["keyid"], key.id().to_string());

    let head = format!("DSSEv1 24 application/example+json {} ", payload.len());
    let signed = [head.as_bytes(), &payload].concat();
    fs::write(folder.path().join("public.pem"), key.public_pem()).unwrap();
    let verifies = |signed: &[u8], signature: &[u8]| {
        fs::write(folder.path().join("signed"), signed).unwrap();
        fs::write(folder.path().join("signature"), signature).unwrap();
        let words = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.pem"];
        let files = ["-in", "signed", "-sigfile", "signature"];
        openssl(folder.path(), &[&words[..], &files].concat()).0
    };
    let signature = bytes(&signature["sig"]);
    assert!(verifies(&signed, &signature));
    assert!(!verifies(&payload, &signature), "the payload without its type");
    for at in [0, head.len(), signed.len() - 1] {
        let mut other = signed.clone();
        other[at] ^= 1;
        assert!(!verifies(&other, &signature), "byte {at} of what is signed");
    }
    for at in [0, 31, 32, 63] {
        let mut other = signature.clone();
        other[at] ^= 1;
        assert!(!verifies(&signed, &other), "byte {at} of the signature");
    }
}

#[test]
fn one_that_others_may_read_or_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.make_builder_key().unwrap();
    let path = store.builder_key_path();
    let refused = |what: &str| {
        for error in [store.builder_key().unwrap_err(), store.make_builder_key().unwrap_err()] {
            assert!(error.to_string().contains(what), "{error}");
        }
    };
    for mode in [0o640, 0o604, 0o610] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        refused("may be read by others");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for end in 0..text.len() {
        fs::write(&path, &text[..end]).unwrap();
        refused("is not an Ed25519 key");
    }
    for other in [text.replace("MC4C", "MC4D"), text.clone() + "\n", "\u{e9}".repeat(2000)] {
        assert_ne!(other, text);
        fs::write(&path, other).unwrap();
        refused("is not an Ed25519 key");
    }
    fs::write(&path, text).unwrap();
    assert!(store.builder_key().unwrap().is_some());
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    store(folder.path()).make_builder_key().unwrap();
    for words in [&["key", "show"][..], &["key", "show", "--json"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut show = Command::new(env!("CARGO_BIN_EXE_perestroika"));
        show.args(words).arg("--store").arg(folder.path().join("store")).stdout(full);
        let output = show.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{words:?}: {output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("cannot write the result"));
    }
}
