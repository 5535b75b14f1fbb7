//! OpenPGP signatures of an archive's `InRelease`: what was signed, by whom, and whether that
//! counts (RFC 9580, RFC 4880; the verdicts are those of gpgv, taken together as apt does).
//!
//! The `pgp` crate does the mathematics. Everything else is policy and is decided here: which keys
//! may sign at all, bindings, expiry, revocation, digests, and what text the signature covers.

mod cleartext;
mod fitness;
mod generate;
mod keyring;
mod made;
mod public;
mod secret;

use jiff::Timestamp;
use pgp::armor::BlockType;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion};

use cleartext::Cleartext;
pub use fitness::{Fit, Unfit, fit_to_sign};
pub use generate::{Algorithm, Error as NewKeyError, NewKey};
use keyring::{Keyring, State};
pub use made::{Signatures, Unsignable};
pub use public::{Certificate, NotPublic, armoured};
pub use secret::{Error as SigningError, SecretKey};

/// The signed text of an `InRelease` and those who signed it, after [`verify`] accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the signatures cover, and nothing else: lines end in `\n`, white space at the end of
    /// a line, which signatures ignore, is gone, and dashes are no longer escaped.
    pub text: String,
    /// The good signatures, at least one, in the file's order.
    pub signers: Vec<Signer>,
    /// Signatures that do not count and do no harm either, such as those of keys that the
    /// keyring does not hold.
    pub ignored: Vec<Fault>,
}

/// A good signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the key or subkey that signed, in upper-case hex.
    pub fingerprint: String,
    /// Fingerprint of the primary key it belongs to.
    pub primary: String,
    /// A user id of the key that its owner certified.
    pub user: Option<String>,
    /// When it was made, as it says itself.
    pub made: Timestamp,
}

/// Why a file is not accepted as signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature at all.
    #[error("the file is not signed")]
    Unsigned,
    /// The frame of a signed file is there, but broken.
    #[error("not a well-formed signed file: {0}")]
    Malformed(&'static str),
    /// There is text that no signature covers, before or after the signed part.
    #[error("there is text outside the signed part")]
    UnsignedText,
    /// No key can be read from the keyring.
    #[error("the keyring is of no use: {0}")]
    Keyring(&'static str),
    /// Not one good signature, or one that is plainly wrong.
    #[error("no signature counts{}", list(.0))]
    Faults(Vec<Fault>),
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key}: {reason}")]
pub struct Fault {
    /// Fingerprint of the key, or the key id where the signature names no more, in upper-case hex.
    pub key: String,
    /// Why it does not count.
    pub reason: Reason,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The keyring does not hold the key.
    #[error("not in the keyring")]
    UnknownKey,
    /// The key is there, but no valid self-signature makes it one: for a subkey, no binding by
    /// its primary key, or none back.
    #[error("the key is not validly bound to its owner")]
    UnboundKey,
    /// The key, or its primary key, was revoked.
    #[error("the key was revoked")]
    RevokedKey,
    /// The key, or its primary key, has expired.
    #[error("the key expired on {0}")]
    ExpiredKey(Timestamp),
    /// The key says that it is not for signing.
    #[error("the key is not meant for signing")]
    NotForSigning,
    /// The key is younger than the signature, or not made yet.
    #[error("the key was made after the signature, or later than now")]
    YoungKey,
    /// The signature has expired.
    #[error("the signature expired on {0}")]
    ExpiredSignature(Timestamp),
    /// Its digest can be forged.
    #[error("made with the weak digest {0}")]
    WeakDigest(String),
    /// The text is not what was signed.
    #[error("the text was changed, or the signature is forged")]
    Bad,
    /// Of a kind that is not meant for texts, or that nothing here can check.
    #[error("{0}")]
    Unsupported(&'static str),
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// Most signatures looked at in one file; Debian's files have three.
const MAX_SIGNATURES: usize = 32;

/// The text of a clear-signed file whose signature counts at the moment `at`.
///
/// `keyring` holds OpenPGP certificates, binary or armoured. One good signature suffices beside
/// others that cannot be judged (unknown, expired or revoked keys), since distributions sign with
/// several keys; one that is *bad* spoils the file, as it does for gpgv and apt. MD5, SHA-1 and
/// RIPEMD-160 do not count for texts, as for apt; certificates may use SHA-1, as for gpgv. Text
/// outside the signed part is refused, where gpgv only ignores it.
///
/// # Errors
/// [`Refusal`] says why; several signatures are listed one by one.
pub fn verify(in_release: &[u8], keyring: &[u8], at: Timestamp) -> Result<Verified, Refusal> {
    let Cleartext { text, digests, signatures } = cleartext::split(in_release)?;
    // What is hashed: CRLF between lines, none after the last (RFC 9580 section 7.2).
    let hashed = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\r\n");
    let (signers, ignored) = weigh(&signatures, Some(&digests), hashed.as_bytes(), keyring, at)?;
    Ok(Verified { text, signers, ignored })
}

/// Who signed these bytes, as the armoured block beside them says, so that it counts at the moment
/// `at`: at least one, by the rules of [`verify`].
///
/// # Errors
/// [`Refusal`] says why nobody did.
pub fn verify_detached(
    bytes: &[u8],
    block: &[u8],
    keyring: &[u8],
    at: Timestamp,
) -> Result<Vec<Signer>, Refusal> {
    let packets = cleartext::dearmor(block, &BlockType::Signature)
        .ok_or(Refusal::Malformed("the armour of the signature is broken"))?;
    weigh(&packets, None, bytes, keyring, at).map(|(signers, _)| signers)
}

/// Those whose signatures count, and the signatures that do not but do no harm either.
fn weigh(
    packets: &[u8],
    digests: Option<&[String]>,
    hashed: &[u8],
    keyring: &[u8],
    at: Timestamp,
) -> Result<(Vec<Signer>, Vec<Fault>), Refusal> {
    let signatures = parse_signatures(packets)?;
    let keyring = Keyring::parse(keyring, at).map_err(Refusal::Keyring)?;
    let (mut signers, mut faults) = (Vec::new(), Vec::new());
    for signature in &signatures {
        match judge(signature, digests, hashed, &keyring, at) {
            Ok(signer) => signers.push(signer),
            Err(reason) => faults.push(Fault { key: issuer(signature), reason }),
        }
    }
    if signers.is_empty() || faults.iter().any(|fault| fault.reason == Reason::Bad) {
        return Err(Refusal::Faults(faults));
    }
    Ok((signers, faults))
}

/// Whether `keyring` has a key at all, before anything is held against it.
///
/// # Errors
/// [`Refusal::Keyring`] says what it is instead.
pub fn check_keyring(keyring: &[u8], at: Timestamp) -> Result<(), Refusal> {
    Keyring::parse(keyring, at).map(drop).map_err(Refusal::Keyring)
}

/// The text of a clear-signed file, whoever signed it: for files whose digest is known already.
///
/// # Errors
/// [`Refusal`] where the frame is not well-formed, or text stands outside of it.
pub fn signed_text(file: &[u8]) -> Result<String, Refusal> {
    cleartext::split(file).map(|parts| parts.text)
}

/// A key of a keyring, as its owner names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// Fingerprint of the primary key, in upper-case hex.
    pub fingerprint: String,
    /// A user id that its owner certified.
    pub user: Option<String>,
}

/// The primary keys of a keyring, in its order, whatever has become of them.
///
/// # Errors
/// [`Refusal::Keyring`] where no key can be read.
pub fn keys(keyring: &[u8], at: Timestamp) -> Result<Vec<KeyName>, Refusal> {
    let keyring = Keyring::parse(keyring, at).map_err(Refusal::Keyring)?;
    Ok(keyring.primaries())
}

fn parse_signatures(packets: &[u8]) -> Result<Vec<Signature>, Refusal> {
    let mut signatures = Vec::new();
    for packet in PacketParser::new(packets) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(signature),
            // A signature of a version or algorithm that is not known leaves the others standing.
            Err(_) if signatures.len() < MAX_SIGNATURES => {}
            _ => return Err(Refusal::Malformed("something else than signatures in their place")),
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(Refusal::Malformed("too many signatures"));
        }
    }
    if signatures.is_empty() {
        return Err(Refusal::Malformed("no signature that can be read"));
    }
    Ok(signatures)
}

/// The signer, if this signature counts. The order of the checks is that of gpgv, so that the
/// same fault is named: mathematics, then the signature's expiry, the key's,
/// revocation.
fn judge(
    signature: &Signature,
    digests: Option<&[String]>,
    hashed: &[u8],
    keyring: &Keyring,
    at: Timestamp,
) -> Result<Signer, Reason> {
    let (Some(kind), Some(digest), Some(made)) =
        (signature.typ(), signature.hash_alg(), signature.created())
    else {
        return Err(Reason::Unsupported(
            "the signature lacks its time or is of an unknown version",
        ));
    };
    if !matches!(signature.version(), SignatureVersion::V3 | SignatureVersion::V4) {
        return Err(Reason::Unsupported("the signature is of a version that gpgv does not know"));
    }
    if !matches!(kind, SignatureType::Text | SignatureType::Binary) {
        return Err(Reason::Unsupported("the signature is not one of a text"));
    }
    let candidates = keyring.candidates(signature);
    if candidates.is_empty() {
        return Err(Reason::UnknownKey);
    }
    // Before the mathematics, which the crate does not do for every weak digest.
    if is_weak(digest) {
        return Err(Reason::WeakDigest(digest.to_string()));
    }
    // Without this the text could be hashed in a way that its header denies (RFC 4880 section 7).
    if digests.is_some_and(|digests| !digests.contains(&digest.to_string())) {
        return Err(Reason::Unsupported("the file does not announce the signature's digest"));
    }
    let made = keyring::timestamp(made);
    let key = candidates.iter().find(|key| key.verifies(signature, hashed)).ok_or(Reason::Bad)?;
    if keyring::has_unknown_critical(signature) {
        return Err(Reason::Bad);
    }
    if key.made > made || key.made > at {
        return Err(Reason::YoungKey);
    }
    if key.state == State::Unbound {
        return Err(Reason::UnboundKey);
    }
    if !key.signs {
        return Err(Reason::NotForSigning);
    }
    if let Some(end) = keyring::end(made, signature.signature_expiration_time())
        && end <= at
    {
        return Err(Reason::ExpiredSignature(end));
    }
    match key.state {
        State::Expired(end) => Err(Reason::ExpiredKey(end)),
        State::Revoked => Err(Reason::RevokedKey),
        State::Good(_) | State::Unbound => Ok(Signer {
            fingerprint: key.fingerprint.clone(),
            primary: key.primary.clone(),
            user: key.user.clone(),
            made,
        }),
    }
}

fn is_weak(digest: HashAlgorithm) -> bool {
    matches!(digest, HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160)
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|name| format!("{name:X}"));
    let id = || signature.issuer_key_id().first().map(|id| keyring::hex(id.as_ref()));
    fingerprint.or_else(id).unwrap_or_else(|| "without a name".to_owned())
}
