//! Verdicts on signed files, held against the real gpgv on the same bytes at the same moment.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod gnupg;

use std::path::{Path, PathBuf};
use std::process::Command;

use gnupg::{Gnupg, MADE};

use jiff::Timestamp;
use perestroika::archive::deb::release::ReleaseFile;
use perestroika::archive::deb::signature::{Reason, Refusal, Verified, verify};
use pgp::composed::{Deserializable as _, DetachedSignature, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    Packet, PacketParser, PacketTrait as _, Signature, SignatureConfig, SignatureType, Subpacket,
    SubpacketData,
};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password};

const TEXT: &str = "Origin: Test\nSuite: stable\n- dashed\n-----BEGIN like\nfrom \n\nend\n";
/// When texts are signed.
const SIGNED: &str = "2024-02-01T00:00:00Z";
/// When they are verified.
const NOW: &str = "2024-03-01T00:00:00Z";

fn secret(gnupg: &Gnupg, name: &str) -> SignedSecretKey {
    let bytes = gnupg.run(MADE, &["--export-secret-keys", name], b"");
    SignedSecretKey::from_bytes(&bytes[..]).unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// What gpgv says of each signature, as the first words of its status lines, one per signature.
fn gpgv(file: &[u8], keyring: &[u8], time: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let keyring = write("keyring.gpg", keyring);
    let file = write("InRelease", file);
    let output = Command::new("faketime")
        .args(["-f", &at(time).strftime("%Y-%m-%d %H:%M:%S").to_string(), "gpgv"])
        .env("TZ", "UTC")
        .env("GNUPGHOME", folder.path())
        .args(["--status-fd", "1", "--keyring"])
        .args([&keyring, Path::new("--output"), &folder.path().join("out"), &file])
        .output()
        .expect("gpgv and faketime are installed (Debian packages gpgv and faketime)");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut verdicts: Vec<String> = Vec::new();
    for line in status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "GOODSIG" | "BADSIG" | "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG" | "ERRSIG" => {
                verdicts.push(words[0].to_owned());
            }
            "NO_PUBKEY" => *verdicts.last_mut().unwrap() = "NO_PUBKEY".to_owned(),
            // Of good ones, apt looks at the digest: MD5, SHA-1 and RIPEMD-160 do not count.
            "VALIDSIG" if ["1", "2", "3"].contains(&words[8]) => {
                *verdicts.last_mut().unwrap() = "WEAK".to_owned();
            }
            _ => {}
        }
    }
    if verdicts.is_empty() {
        verdicts.push(format!("NOTHING {}", String::from_utf8_lossy(&output.stderr)));
    }
    verdicts
}

/// apt's rule over gpgv's words: one good, none bad.
fn apt_accepts(verdicts: &[String]) -> bool {
    verdicts.iter().any(|word| word == "GOODSIG") && verdicts.iter().all(|word| word != "BADSIG")
}

/// The word gpgv has for a reason of ours.
fn word(reason: &Reason) -> &'static [&'static str] {
    match reason {
        Reason::UnknownKey => &["NO_PUBKEY"],
        Reason::RevokedKey => &["REVKEYSIG"],
        Reason::ExpiredKey(_) => &["EXPKEYSIG"],
        Reason::ExpiredSignature(_) => &["EXPSIG"],
        Reason::Bad => &["BADSIG"],
        Reason::WeakDigest(_) => &["WEAK", "ERRSIG"],
        Reason::UnboundKey | Reason::NotForSigning | Reason::YoungKey | Reason::Unsupported(_) => {
            &["ERRSIG", "NO_PUBKEY"]
        }
    }
}

/// Asks both and compares: the verdict as a whole, and the word for each signature refused.
#[track_caller]
fn check(name: &str, file: &[u8], keyring: &[u8], time: &str) -> Result<Verified, Refusal> {
    let theirs = gpgv(file, keyring, time);
    let ours = verify(file, keyring, at(time));
    assert_eq!(ours.is_ok(), apt_accepts(&theirs), "{name}: gpgv {theirs:?}, we {ours:?}");
    let faults = match &ours {
        Ok(verified) => &verified.ignored,
        Err(Refusal::Faults(faults)) => faults,
        Err(_) => &Vec::new(),
    };
    for fault in faults {
        let words = word(&fault.reason);
        assert!(
            theirs.iter().any(|word| words.contains(&word.as_str())),
            "{name}: gpgv {theirs:?}, we {fault}"
        );
    }
    ours
}

#[track_caller]
fn refused(name: &str, file: &[u8], keyring: &[u8], time: &str) -> Vec<Reason> {
    match check(name, file, keyring, time) {
        Err(Refusal::Faults(faults)) => faults.into_iter().map(|fault| fault.reason).collect(),
        other => panic!("{name}: {other:?}"),
    }
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

/// The same packets, each as `change` leaves it.
fn edited(packets: &[u8], change: impl Fn(Packet) -> Option<Packet>) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in PacketParser::new(packets).map(Result::unwrap).filter_map(change) {
        packet.to_writer(&mut out).unwrap();
    }
    out
}

#[test]
fn good_signatures_of_every_kind_of_key_are_accepted() {
    let gnupg = Gnupg::new();
    for kind in ["ed25519", "rsa1024", "rsa2048", "rsa4096", "nistp256", "nistp521", "dsa2048"] {
        let name = format!("key-{kind}");
        let key = gnupg.key(&name, kind, "sign,cert", "0");
        for digest in ["SHA256", "SHA384", "SHA512"] {
            if kind == "nistp521" && digest != "SHA512" {
                continue; // gpg makes none: the digest must be as long as the curve
            }
            let file = gnupg.clearsign(TEXT, SIGNED, &["-u", &name, "--digest-algo", digest]);
            let verified = check(&name, &file, &gnupg.export(&[]), NOW).unwrap();
            assert_eq!(verified.signers[0].fingerprint, key);
            assert_eq!(verified.signers[0].user.as_deref(), Some(&*name));
            assert_eq!(verified.signers[0].made, at(SIGNED));
            assert_eq!(verified.text, TEXT.replace("from \n", "from\n"));
        }
    }
}

#[test]
fn short_digests_count_less_than_for_gpgv_with_keys_on_curves() {
    let gnupg = Gnupg::new();
    for (kind, accepted) in [("rsa2048", true), ("ed25519", false)] {
        gnupg.key(kind, kind, "sign,cert", "0");
        let file = gnupg.clearsign(TEXT, SIGNED, &["-u", kind, "--digest-algo", "SHA224"]);
        let keyring = gnupg.export(&[]);
        assert_eq!(gpgv(&file, &keyring, NOW), ["GOODSIG"]);
        // The pgp crate wants as many bits as the curve has. No archive signs like that.
        assert_eq!(verify(&file, &keyring, at(NOW)).is_ok(), accepted, "{kind}");
    }
}

#[test]
fn keyrings_may_be_armoured_and_hold_several_blocks() {
    let gnupg = Gnupg::new();
    gnupg.key("one", "ed25519", "sign,cert", "0");
    gnupg.key("two", "ed25519", "sign,cert", "0");
    let file = gnupg.clearsign(TEXT, SIGNED, &["-u", "two"]);
    let armoured = |name| gnupg.run(MADE, &["--armor", "--export", name], b"");
    let both = [armoured("one"), armoured("two")].concat();
    assert!(verify(&file, &both, at(NOW)).is_ok());
    assert!(verify(&file, &armoured("one"), at(NOW)).is_err());
    for keyring in [&b""[..], b"no keyring", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"] {
        assert!(matches!(verify(&file, keyring, at(NOW)), Err(Refusal::Keyring(_))));
    }
}

#[test]
fn signatures_that_do_not_count_are_refused_for_the_reason_gpgv_has() {
    let gnupg = Gnupg::new();
    gnupg.key("good", "ed25519", "sign,cert", "0");
    gnupg.key("other", "ed25519", "sign,cert", "0");
    gnupg.key("rsa", "rsa2048", "sign,cert", "0");
    gnupg.key("short", "ed25519", "sign,cert", "20240215T000000");
    let all = gnupg.export(&[]);
    let good = gnupg.clearsign(TEXT, SIGNED, &["-u", "good"]);

    let unknown = refused("unknown key", &good, &gnupg.export(&["other"]), NOW);
    assert_eq!(unknown, [Reason::UnknownKey]);

    for (from, to) in [("stable", "sable"), ("end\n", "end\nmore\n"), ("\n\nend", "\nend")] {
        let tampered = refused("tampered", &replaced(&good, from, to), &all, NOW);
        assert_eq!(tampered, [Reason::Bad]);
    }
    let blanks = replaced(&good, "stable\n", "stable \t \r\n");
    assert_eq!(check("blanks", &blanks, &all, NOW).unwrap().text, TEXT.replace("from ", "from"));

    let expired =
        gnupg.clearsign(TEXT, SIGNED, &["-u", "good", "--default-sig-expire", "20240210T000000"]);
    assert!(check("not expired yet", &expired, &all, "2024-02-09T23:59:59Z").is_ok());
    for time in [NOW, "2024-02-10T00:00:00Z"] {
        let reasons = refused("expired signature", &expired, &all, time);
        assert_eq!(reasons, [Reason::ExpiredSignature(at("2024-02-10T00:00:00Z"))]);
    }

    let short = gnupg.clearsign(TEXT, SIGNED, &["-u", "short"]);
    assert!(check("key not expired yet", &short, &all, "2024-02-14T00:00:00Z").is_ok());
    assert!(check("in its last second", &short, &all, "2024-02-15T00:00:00Z").is_ok());
    for time in [NOW, "2024-02-15T00:00:01Z"] {
        let reasons = refused("expired key", &short, &all, time);
        assert_eq!(reasons, [Reason::ExpiredKey(at("2024-02-15T00:00:00Z"))]);
    }

    for (user, digest) in [("good", "SHA1"), ("rsa", "MD5"), ("rsa", "SHA1"), ("rsa", "RIPEMD160")]
    {
        let weak = gnupg.clearsign(TEXT, SIGNED, &["-u", user, "--digest-algo", digest]);
        let reasons = refused(digest, &weak, &all, NOW);
        assert_eq!(reasons, [Reason::WeakDigest(digest.to_owned())]);
        let tampered = replaced(&weak, "stable", "sable");
        assert!(verify(&tampered, &all, at(NOW)).is_err());
    }

    let critical =
        gnupg.clearsign(TEXT, SIGNED, &["-u", "good", "--set-notation", "!x@example.org=y"]);
    assert_eq!(refused("critical notation", &critical, &all, NOW), [Reason::Bad]);
    let notation =
        gnupg.clearsign(TEXT, SIGNED, &["-u", "good", "--set-notation", "x@example.org=y"]);
    assert!(check("notation", &notation, &all, NOW).is_ok());

    let future = check("signature from the future", &good, &all, "2024-01-15T00:00:00Z");
    assert!(future.is_ok(), "gpgv does not mind; the file's own Date is looked at by `lock`");
    let young = refused("key from the future", &good, &all, "2023-12-31T00:00:00Z");
    assert_eq!(young, [Reason::YoungKey]);
}

#[test]
fn one_good_signature_suffices_beside_others_that_cannot_be_judged() {
    let gnupg = Gnupg::new();
    for name in ["one", "two", "three"] {
        gnupg.key(name, "ed25519", "sign,cert", "0");
    }
    gnupg.key("short", "ed25519", "sign,cert", "20240215T000000");
    let both = gnupg.clearsign(TEXT, SIGNED, &["-u", "one", "-u", "two", "-u", "short"]);
    let all = check("all known", &both, &gnupg.export(&[]), NOW).unwrap();
    assert_eq!((all.signers.len(), all.ignored.len()), (2, 1));
    let one = check("one known", &both, &gnupg.export(&["two"]), NOW).unwrap();
    assert_eq!((one.signers.len(), one.ignored.len()), (1, 2));
    let none = refused("none known", &both, &gnupg.export(&["three"]), NOW);
    assert_eq!(none, [Reason::UnknownKey, Reason::UnknownKey, Reason::UnknownKey]);
    let old = refused("none but an expired one", &both, &gnupg.export(&["three", "short"]), NOW);
    assert!(matches!(old[..], [Reason::UnknownKey, Reason::UnknownKey, Reason::ExpiredKey(_)]));

    // A good one beside a bad one: the second block of signatures is over another text.
    let other = replaced(&gnupg.clearsign(TEXT, SIGNED, &["-u", "three"]), "stable", "sable");
    let packets = [signature_packets(&other), signature_packets(&both)].concat();
    let mixed = framed(&body(&both), &packets);
    assert!(
        check(
            "both from one file",
            &framed(&body(&both), &signature_packets(&both)),
            &gnupg.export(&[]),
            NOW
        )
        .is_ok()
    );
    let three = secret(&gnupg, "three");
    let forged = sign(&three, SignatureType::Text, b"another text");
    let spoiled = framed(&body(&both), &[signature_packets(&both), forged].concat());
    assert_eq!(
        refused("good beside bad", &spoiled, &gnupg.export(&[]), NOW).last(),
        Some(&Reason::Bad)
    );
    assert!(check("signatures of two runs", &mixed, &gnupg.export(&[]), NOW).is_ok());
}

#[test]
fn revoked_keys_do_not_count_whenever_they_were_revoked() {
    let gnupg = Gnupg::new();
    gnupg.key("lost", "ed25519", "sign,cert", "0");
    gnupg.subkey("lost", "sign", "0");
    gnupg.key("ward", "ed25519", "sign,cert", "0");
    let guardian = gnupg.key("guardian", "ed25519", "sign,cert", "0");
    let primary = gnupg.fingerprints("lost").remove(0);
    let by_primary = gnupg.clearsign(TEXT, SIGNED, &["-u", &format!("{primary}!")]);
    let by_subkey = gnupg.clearsign(TEXT, SIGNED, &["-u", "lost"]);
    let subkey_alive = gnupg.export(&["lost"]);
    assert!(check("before", &by_primary, &subkey_alive, NOW).is_ok());
    assert!(check("before", &by_subkey, &subkey_alive, NOW).is_ok());

    gnupg.edit("2024-02-20T00:00:00Z", "lost", "key 1\nrevkey\ny\n1\n\ny\nsave\n");
    let keyring = gnupg.export(&["lost"]);
    assert!(check("only the subkey is revoked", &by_primary, &keyring, NOW).is_ok());
    assert_eq!(refused("revoked subkey", &by_subkey, &keyring, NOW), [Reason::RevokedKey]);

    let home = gnupg.home.path().join("openpgp-revocs.d").join(format!("{primary}.rev"));
    let certificate = std::fs::read_to_string(home).unwrap().replace(":-----BEGIN", "-----BEGIN");
    gnupg.run(NOW, &["--import"], certificate.as_bytes());
    let keyring = gnupg.export(&["lost"]);
    for (name, file) in [("revoked primary", &by_primary), ("its subkey", &by_subkey)] {
        assert_eq!(refused(name, file, &keyring, NOW), [Reason::RevokedKey]);
    }
    let stripped = edited(&keyring, |packet| match &packet {
        Packet::Signature(one) if one.typ() == Some(SignatureType::KeyRevocation) => None,
        _ => Some(packet),
    });
    assert!(check("as if never revoked", &by_primary, &stripped, NOW).is_ok());

    let by_ward = gnupg.clearsign(TEXT, SIGNED, &["-u", "ward"]);
    gnupg.edit(SIGNED, "ward", &format!("addrevoker\n{guardian}\ny\nsave\n"));
    assert!(check("a revoker only named", &by_ward, &gnupg.export(&["ward"]), NOW).is_ok());
    let answers = b"y\ny\n1\n\ny\n";
    let revocation =
        gnupg.run(NOW, &["--no-batch", "--output", "-", "--desig-revoke", "ward"], answers);
    gnupg.run(NOW, &["--import"], &revocation);
    let keyring = gnupg.export(&["ward", "guardian"]);
    assert_eq!(refused("revoked by another", &by_ward, &keyring, NOW), [Reason::RevokedKey]);
}

#[test]
fn subkeys_need_a_binding_both_ways_and_leave_to_sign() {
    let gnupg = Gnupg::new();
    let primary = gnupg.key("owner", "ed25519", "cert", "0");
    let subkey = gnupg.subkey("owner", "sign", "0");
    let file = gnupg.clearsign(TEXT, SIGNED, &["-u", "owner"]);
    let keyring = gnupg.export(&[]);
    let verified = check("bound", &file, &keyring, NOW).unwrap();
    assert_eq!(verified.signers[0].fingerprint, subkey);
    assert_eq!(verified.signers[0].primary, primary);

    let is = |packet: &Packet, kind: SignatureType| matches!(packet, Packet::Signature(one) if one.typ() == Some(kind));
    let unbound =
        edited(&keyring, |packet| (!is(&packet, SignatureType::SubkeyBinding)).then_some(packet));
    assert_eq!(refused("no binding", &file, &unbound, NOW), [Reason::UnboundKey]);

    let one_way = edited(&keyring, |mut packet| {
        if let Packet::Signature(one) = &mut packet
            && one.typ() == Some(SignatureType::SubkeyBinding)
        {
            let unhashed: Vec<_> = one.config().unwrap().unhashed_subpackets().collect();
            let index = unhashed
                .iter()
                .position(|part| matches!(part.data, SubpacketData::EmbeddedSignature(_)));
            one.unhashed_subpacket_remove(index.expect("gpg leaves it unhashed")).unwrap();
        }
        Some(packet)
    });
    assert_eq!(refused("no signature back", &file, &one_way, NOW), [Reason::UnboundKey]);

    let anonymous =
        edited(&keyring, |packet| (!is(&packet, SignatureType::CertPositive)).then_some(packet));
    assert_eq!(refused("no self-signature", &file, &anonymous, NOW), [Reason::UnboundKey]);

    // The same subkey under another's primary key.
    gnupg.key("thief", "ed25519", "cert", "0");
    let stolen: Vec<u8> = {
        let packets =
            |bytes: &[u8]| PacketParser::new(bytes).map(Result::unwrap).collect::<Vec<_>>();
        let (owner, thief) = (gnupg.export(&["owner"]), gnupg.export(&["thief"]));
        let mut out = Vec::new();
        for packet in packets(&thief).iter().chain(&packets(&owner)[3..]) {
            packet.to_writer(&mut out).unwrap();
        }
        out
    };
    assert_eq!(refused("stolen subkey", &file, &stolen, NOW), [Reason::UnboundKey]);

    gnupg.edit("2024-02-10T00:00:00Z", "owner", "key 1\nexpire\n20240220T000000\nsave\n");
    let limited = gnupg.export(&["owner"]);
    assert!(check("subkey not expired yet", &file, &limited, "2024-02-19T00:00:00Z").is_ok());
    let reasons = refused("expired subkey", &file, &limited, NOW);
    assert_eq!(reasons, [Reason::ExpiredKey(at("2024-02-20T00:00:00Z"))]);
    gnupg.edit("2024-02-25T00:00:00Z", "owner", "key 1\nexpire\n0\nsave\n");
    assert!(check("subkey renewed", &file, &gnupg.export(&["owner"]), NOW).is_ok());

    gnupg.edit("2024-02-26T00:00:00Z", "owner", "expire\n20240227T000000\nsave\n");
    let reasons = refused("subkey of an expired key", &file, &gnupg.export(&["owner"]), NOW);
    assert_eq!(reasons, [Reason::ExpiredKey(at("2024-02-27T00:00:00Z"))]);

    gnupg.key("former", "rsa2048", "sign,cert", "0");
    let by_former = gnupg.clearsign(TEXT, SIGNED, &["-u", "former"]);
    gnupg.edit(SIGNED, "former", "change-usage\nS\nQ\nsave\n");
    let keyring = gnupg.export(&["former"]);
    assert_eq!(
        refused("no longer for signing", &by_former, &keyring, NOW),
        [Reason::NotForSigning]
    );
}

#[test]
fn only_signatures_of_texts_count() {
    let gnupg = Gnupg::new();
    gnupg.key("signer", "ed25519", "sign,cert", "0");
    let keyring = gnupg.export(&[]);
    let secret = secret(&gnupg, "signer");
    let file = gnupg.clearsign(TEXT, SIGNED, &["-u", "signer"]);
    let text = TEXT.replace("from \n", "from\n").trim_end().replace('\n', "\r\n");

    let by_hand = framed(&body(&file), &sign(&secret, SignatureType::Text, text.as_bytes()));
    assert!(check("text", &by_hand, &keyring, NOW).is_ok());
    let binary = framed(&body(&file), &sign(&secret, SignatureType::Binary, text.as_bytes()));
    assert!(check("binary", &binary, &keyring, NOW).is_ok());
    let of_a_key = framed(&body(&file), &sign(&secret, SignatureType::Key, b""));
    let reasons = verify(&of_a_key, &keyring, at(NOW));
    assert!(reasons.is_err_and(|error| error.to_string().contains("not one of a text")));
}

#[test]
fn text_outside_the_signed_part_is_refused() {
    let gnupg = Gnupg::new();
    gnupg.key("signer", "ed25519", "sign,cert", "0");
    let keyring = gnupg.export(&[]);
    let good = gnupg.clearsign(TEXT, SIGNED, &["-u", "signer"]);
    let with = |before: &str, after: &str| [before.as_bytes(), &good, after.as_bytes()].concat();
    let signature = "-----BEGIN PGP SIGNATURE-----\n";
    for (file, expected) in [
        (with("", "\n  \n"), None),
        (with("Origin: Evil\n", ""), Some(Refusal::UnsignedText)),
        (with("\n", ""), Some(Refusal::UnsignedText)),
        (with("", "Origin: Evil\n"), Some(Refusal::UnsignedText)),
        (with("", &String::from_utf8(good.clone()).unwrap()), Some(Refusal::UnsignedText)),
        (TEXT.as_bytes().to_vec(), Some(Refusal::Unsigned)),
        (b"".to_vec(), Some(Refusal::Unsigned)),
        (
            replaced(&good, "Hash: SHA256\n", "Hash: SHA256\nOrigin: Evil\n"),
            Some(Refusal::Malformed("a header other than `Hash` before the signed text")),
        ),
        (
            replaced(&good, "- -----BEGIN like", "-----BEGIN like"),
            Some(Refusal::Malformed("a line of the text begins with a bare dash")),
        ),
        (replaced(&good, "Suite", "Suite\0"), Some(Refusal::Malformed("it contains a zero byte"))),
        (
            replaced(&good, "-----END PGP SIGNATURE-----", ""),
            Some(Refusal::Malformed("it ends within the signature")),
        ),
        (
            good[..good.len() / 2].split(|byte| *byte == b'-').next().unwrap().to_vec(),
            Some(Refusal::Unsigned),
        ),
        (framed(&body(&good), b""), Some(Refusal::Malformed("no signature that can be read"))),
        (replaced(&good, signature, &format!("{signature}Comment: x\n")), None),
    ] {
        let shown = String::from_utf8_lossy(&file).into_owned();
        assert_eq!(verify(&file, &keyring, at(NOW)).err(), expected, "{shown}");
    }
    // Which digest is used is said twice; where the two differ, gpgv cannot judge.
    let other = replaced(&good, "Hash: SHA256", "Hash: SHA512");
    assert!(matches!(
        refused("another digest", &other, &keyring, NOW)[..],
        [Reason::Unsupported(_)]
    ));
    let none = replaced(&good, "Hash: SHA256\n", "");
    assert!(matches!(refused("no digest", &none, &keyring, NOW)[..], [Reason::Unsupported(_)]));
    let several = replaced(&good, "Hash: SHA256", "Hash: SHA512, SHA256");
    assert!(check("several digests", &several, &keyring, NOW).is_ok());
}

#[test]
fn damaged_bytes_are_refused_and_never_a_panic() {
    let gnupg = Gnupg::new();
    gnupg.key("signer", "ed25519", "sign,cert", "0");
    gnupg.subkey("signer", "sign", "0");
    let keyring = gnupg.export(&[]);
    let good = gnupg.clearsign(TEXT, SIGNED, &["-u", "signer"]);
    assert!(verify(&good, &keyring, at(NOW)).is_ok());
    for index in 0..keyring.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut keyring = keyring.clone();
            keyring[index] ^= flip;
            let _ = verify(&good, &keyring, at(NOW));
            let _ = verify(&good, &keyring[..index], at(NOW));
        }
    }
    let text = body(&good);
    let packets = signature_packets(&good);
    for index in 0..packets.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut packets = packets.clone();
            packets[index] ^= flip;
            let _ = verify(&framed(&text, &packets), &keyring, at(NOW));
            let _ = verify(&framed(&text, &packets[..index]), &keyring, at(NOW));
        }
    }
    for index in 0..good.len() {
        let mut file = good.clone();
        file[index] ^= 0x01;
        if let Ok(verified) = verify(&file, &keyring, at(NOW)) {
            assert_eq!(verified.text, TEXT.replace("from \n", "from\n"));
        }
        let _ = verify(&good[..index], &keyring, at(NOW));
    }
}

#[test]
fn the_machines_own_inrelease_is_signed_by_the_distributions_keys() {
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    let lists = std::fs::read_dir("/var/lib/apt/lists").into_iter().flatten();
    let files: Vec<PathBuf> = lists
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("_InRelease"))
        .collect();
    if !keyring.exists() || files.is_empty() {
        eprintln!("SKIPPED: needs a Debian host with package lists (apt-get update): apt-lists");
        let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
        assert!(!required.contains("apt-lists"), "PERESTROIKA_REQUIRE names apt-lists");
        return;
    }
    let keyring = std::fs::read(keyring).unwrap();
    let now = Timestamp::now();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for path in files {
        let name = path.to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let verdict = check(&name, &bytes, &keyring, &now);
        if name.contains("_debian_dists_") {
            let release = ReleaseFile::parse(&verdict.unwrap().text).unwrap();
            assert!(release.acquire_by_hash && release.files.len() > 100, "{name}");
        }
    }
}

fn body(file: &[u8]) -> String {
    let text = std::str::from_utf8(file).unwrap();
    text[..text.find("-----BEGIN PGP SIGNATURE").unwrap()].to_owned()
}

fn signature_packets(file: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(file).unwrap();
    let block = &text[text.find("-----BEGIN PGP SIGNATURE").unwrap()..];
    let (signatures, _) = DetachedSignature::from_armor_many(block.as_bytes()).unwrap();
    let mut out = Vec::new();
    for signature in signatures {
        signature.unwrap().signature.to_writer_with_header(&mut out).unwrap();
    }
    out
}

/// A signed file of this text (with its frame's head) and these signature packets.
fn framed(body: &str, packets: &[u8]) -> Vec<u8> {
    let mut encoded = String::new();
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (index, group) in packets.chunks(3).enumerate() {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let letter = DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char;
            encoded.push(if digit <= group.len() { letter } else { '=' });
        }
        if index % 16 == 15 {
            encoded.push('\n');
        }
    }
    let frame = "PGP SIGNATURE-----";
    format!("{body}-----BEGIN {frame}\n\n{encoded}\n-----END {frame}\n").into_bytes()
}

/// A signature made without gpg, which would not make all kinds.
fn sign(key: &SignedSecretKey, kind: SignatureType, text: &[u8]) -> Vec<u8> {
    let mut config = SignatureConfig::v4(kind, key.primary_key.algorithm(), HashAlgorithm::Sha256);
    let made = std::time::SystemTime::from(at(SIGNED)).try_into().unwrap();
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(made)).unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.primary_key.fingerprint()))
            .unwrap(),
    ];
    let signer = &key.primary_key;
    let signature: Signature = match kind {
        SignatureType::Key => config.sign_key(signer, &Password::empty(), signer.public_key()),
        _ => config.sign(signer, &Password::empty(), text),
    }
    .unwrap();
    let mut out = Vec::new();
    signature.to_writer_with_header(&mut out).unwrap();
    out
}
