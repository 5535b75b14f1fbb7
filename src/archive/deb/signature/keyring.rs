//! OpenPGP certificates: what their self-signatures make of each key at a moment.
//!
//! The rules are those of gpg's `merge_selfsigs` as observed from outside: any valid revocation
//! counts whatever its date, the newest valid binding of a subkey decides, a signing subkey must
//! sign its primary key back, and what befalls a primary key befalls its subkeys. A key holds
//! through the second it expires in; a signature does not.

use std::borrow::Cow;

use jiff::Timestamp;
use pgp::armor::BlockType;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    Packet, PacketHeader, PacketParser, PublicKey, PublicSubkey, Signature, SignatureType,
    SubpacketData, UserAttribute, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{Duration, EcdsaPublicParams, KeyDetails, KeyVersion, PublicParams, Tag};

use super::KeyName;
use super::cleartext::dearmor;

/// The keys of a keyring, judged at one moment.
pub(super) struct Keyring {
    keys: Vec<Key>,
}

/// A key or subkey.
pub(super) struct Key {
    material: Material,
    /// Upper-case hex.
    pub(super) fingerprint: String,
    /// That of the primary key.
    pub(super) primary: String,
    /// A certified user id.
    pub(super) user: Option<String>,
    /// When it was made.
    pub(super) made: Timestamp,
    /// Whether it may sign texts.
    pub(super) signs: bool,
    /// What has become of it.
    pub(super) state: State,
    /// Why one should not begin to sign with it, although what it signed counts.
    pub(super) weak: Option<&'static str>,
}

enum Material {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// What has become of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing bad, until then if ever.
    Good(Option<Timestamp>),
    /// No valid self-signature holds it.
    Unbound,
    /// It expired then.
    Expired(Timestamp),
    /// It was revoked.
    Revoked,
}

/// The largest keyring that is looked at, in bytes; Debian's has 50 thousand.
const MAX_SIZE: usize = 16 << 20;

impl Keyring {
    /// Reads certificates, binary or armoured. Those that cannot be read are left out, as gpgv
    /// does; none left is an error.
    pub(super) fn parse(bytes: &[u8], at: Timestamp) -> Result<Self, &'static str> {
        let certificates = read_certificates(&packets_of(bytes)?);
        let keys: Vec<Key> =
            certificates.iter().flat_map(|one| one.keys(&certificates, at)).collect();
        if keys.is_empty() { Err("it holds no key that can be read") } else { Ok(Self { keys }) }
    }

    /// The primary keys.
    pub(super) fn primaries(&self) -> Vec<KeyName> {
        let primary = |key: &&Key| key.fingerprint == key.primary;
        let name =
            |key: &Key| KeyName { fingerprint: key.fingerprint.clone(), user: key.user.clone() };
        self.keys.iter().filter(primary).map(name).collect()
    }

    /// All keys, each primary one before its subkeys.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The keys that `signature` claims to be from.
    pub(super) fn candidates(&self, signature: &Signature) -> Vec<&Key> {
        let claimed = |key: &&Key| match &key.material {
            Material::Primary(key) => is_issuer(key, signature),
            Material::Subkey(key) => is_issuer(key, signature),
        };
        self.keys.iter().filter(claimed).collect()
    }
}

impl Key {
    /// Whether this key made `signature` over `text`.
    pub(super) fn verifies(&self, signature: &Signature, text: &[u8]) -> bool {
        match &self.material {
            Material::Primary(key) => signature.verify(key, text),
            Material::Subkey(key) => signature.verify(key, text),
        }
        .is_ok()
    }
}

/// A moment as OpenPGP counts it: whole seconds in 32 bits.
pub(super) fn timestamp(time: pgp::types::Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_secs().into()).expect("32 bits of seconds end in 2106")
}

/// When something made at `from` ends, if it does.
pub(super) fn end(from: Timestamp, length: Option<Duration>) -> Option<Timestamp> {
    let seconds = length?.as_secs();
    let end = from.as_second() + i64::from(seconds);
    (seconds > 0)
        .then(|| Timestamp::from_second(end).expect("twice 32 bits of seconds end in 2242"))
}

/// Upper-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Whether the signature must not be judged by one who does not know all it says (RFC 9580
/// section 5.2.3.7). gpg knows one critical notation, about mail, so none counts here.
pub(super) fn has_unknown_critical(signature: &Signature) -> bool {
    let Some(config) = signature.config() else { return false };
    config.hashed_subpackets().any(|part| {
        part.is_critical
            && matches!(
                part.data,
                SubpacketData::Other(..)
                    | SubpacketData::Experimental(..)
                    | SubpacketData::Notation(_)
            )
    })
}

fn is_issuer(key: &impl KeyDetails, signature: &Signature) -> bool {
    let (fingerprint, id) = (key.fingerprint(), key.legacy_key_id());
    signature.issuer_fingerprint().contains(&&fingerprint)
        || signature.issuer_key_id().contains(&&id)
}

/// The packets of a keyring, binary or armoured.
pub(super) fn packets_of(bytes: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    if bytes.len() > MAX_SIZE {
        return Err("larger than 16 MiB");
    }
    if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        dearmor_all(bytes).map(Cow::Owned).ok_or("its armour is broken")
    } else {
        Ok(Cow::Borrowed(bytes))
    }
}

/// The packets of one armoured block after another.
fn dearmor_all(bytes: &[u8]) -> Option<Vec<u8>> {
    const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
    let mut rest = std::str::from_utf8(bytes).ok()?;
    let mut packets = Vec::new();
    while let Some(start) = rest.find("-----BEGIN") {
        let length = rest[start..].find(END)? + END.len();
        let block = format!("{}\n", &rest[start..start + length]);
        packets.extend(dearmor(block.as_bytes(), &BlockType::PublicKey)?);
        rest = &rest[start + length..];
    }
    Some(packets)
}

/// A primary key and what follows it up to the next.
struct Certificate {
    primary: PublicKey,
    direct: Vec<Signature>,
    identities: Vec<(Identity, Vec<Signature>)>,
    subkeys: Vec<(PublicSubkey, Vec<Signature>)>,
}

enum Identity {
    User(UserId),
    Attribute(UserAttribute),
}

fn read_certificates(packets: &[u8]) -> Vec<Certificate> {
    /// Whom the signatures that come next are about.
    enum Subject {
        Key,
        Identity,
        Subkey,
        Unreadable,
    }
    let mut certificates: Vec<Certificate> = Vec::new();
    let mut subject = Subject::Unreadable;
    let mut rest = packets;
    loop {
        let tag = PacketHeader::try_from_reader(rest).ok().map(|header| header.tag());
        let Some(packet) = PacketParser::new(&mut rest).next() else { return certificates };
        let current = certificates.last_mut();
        match (packet, current) {
            (Ok(Packet::PublicKey(primary)), _) => {
                certificates.push(Certificate {
                    primary,
                    direct: Vec::new(),
                    identities: Vec::new(),
                    subkeys: Vec::new(),
                });
                subject = Subject::Key;
            }
            (Ok(Packet::UserId(user)), Some(current)) => {
                current.identities.push((Identity::User(user), Vec::new()));
                subject = Subject::Identity;
            }
            (Ok(Packet::UserAttribute(attribute)), Some(current)) => {
                current.identities.push((Identity::Attribute(attribute), Vec::new()));
                subject = Subject::Identity;
            }
            (Ok(Packet::PublicSubkey(subkey)), Some(current)) => {
                current.subkeys.push((subkey, Vec::new()));
                subject = Subject::Subkey;
            }
            (Ok(Packet::Signature(signature)), Some(current)) => match subject {
                Subject::Key => current.direct.push(signature),
                Subject::Identity => {
                    current.identities.last_mut().expect("it is the subject").1.push(signature);
                }
                Subject::Subkey => {
                    current.subkeys.last_mut().expect("it is the subject").1.push(signature);
                }
                Subject::Unreadable => {}
            },
            (Err(_), _) if tag != Some(Tag::Signature) => subject = Subject::Unreadable,
            _ => {}
        }
    }
}

/// What one self-signature, or the newest of several, says of a key.
struct Statement {
    made: Timestamp,
    signs: Option<bool>,
    end: Option<Timestamp>,
    weak: Option<&'static str>,
}

impl Certificate {
    /// Its keys, the primary one first.
    fn keys(&self, all: &[Self], at: Timestamp) -> Vec<Key> {
        let primary = format!("{:X}", self.primary.fingerprint());
        let user = self.certified_user(at);
        let (state, signs, digest) = self.primary_state(all, at);
        let weak_owner = digest.or_else(|| weakness(&self.primary));
        let mut keys = vec![Key {
            fingerprint: primary.clone(),
            primary: primary.clone(),
            user: user.clone(),
            made: timestamp(self.primary.created_at()),
            signs,
            state,
            weak: weak_owner,
            material: Material::Primary(self.primary.clone()),
        }];
        for (subkey, signatures) in &self.subkeys {
            let (own, signs, digest) = self.subkey_state(subkey, signatures, at);
            keys.push(Key {
                fingerprint: format!("{:X}", subkey.fingerprint()),
                primary: primary.clone(),
                user: user.clone(),
                made: timestamp(subkey.created_at()),
                signs,
                state: match (state, own) {
                    (State::Unbound, _) | (_, State::Unbound) => State::Unbound,
                    (State::Revoked, _) | (_, State::Revoked) => State::Revoked,
                    (State::Expired(end), _) | (_, State::Expired(end)) => State::Expired(end),
                    (State::Good(owner), State::Good(own)) => {
                        State::Good(owner.into_iter().chain(own).min())
                    }
                },
                weak: weak_owner.or(digest).or_else(|| weakness(subkey)),
                material: Material::Subkey(subkey.clone()),
            });
        }
        keys
    }

    fn certified_user(&self, at: Timestamp) -> Option<String> {
        self.identities.iter().find_map(|(identity, signatures)| match identity {
            Identity::User(user) if self.identity_statement(identity, signatures, at).is_some() => {
                Some(String::from_utf8_lossy(user.id()).into_owned())
            }
            _ => None,
        })
    }

    fn primary_state(&self, all: &[Self], at: Timestamp) -> (State, bool, Option<&'static str>) {
        let made = timestamp(self.primary.created_at());
        let default = may_sign(self.primary.algorithm());
        if self.is_revoked(all) {
            return (State::Revoked, default, None);
        }
        let direct = newest(self.direct.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key)
                && self.self_signed(signature, at)
                && signature.verify_key(&self.primary).is_ok()
        }));
        let direct = direct.map(|signature| statement(signature, made));
        let mut identities: Vec<Statement> = self
            .identities
            .iter()
            .filter_map(|(identity, signatures)| self.identity_statement(identity, signatures, at))
            .map(|signature| statement(signature, made))
            .collect();
        if direct.is_none() && identities.is_empty() {
            return (State::Unbound, default, None);
        }
        // A direct signature has the first word, then the newest certification that says anything.
        identities.sort_by_key(|one| std::cmp::Reverse(one.made));
        let mut statements = direct.iter().chain(&identities);
        let signs = statements.clone().find_map(|one| one.signs).unwrap_or(default);
        let digest = statements.clone().find_map(|one| one.weak);
        let state = match statements.find_map(|one| one.end) {
            Some(end) if end < at => State::Expired(end),
            end => State::Good(end),
        };
        (state, signs, digest)
    }

    /// The newest certification of an identity by its owner, unless that was a revocation.
    fn identity_statement<'a>(
        &self,
        identity: &Identity,
        signatures: &'a [Signature],
        at: Timestamp,
    ) -> Option<&'a Signature> {
        let valid = |signature: &&Signature| {
            signature.is_certification()
                && self.self_signed(signature, at)
                && match identity {
                    Identity::User(id) => {
                        signature.verify_certification(&self.primary, Tag::UserId, id)
                    }
                    Identity::Attribute(id) => {
                        signature.verify_certification(&self.primary, Tag::UserAttribute, id)
                    }
                }
                .is_ok()
        };
        newest(signatures.iter().filter(valid))
            .filter(|signature| signature.typ() != Some(SignatureType::CertRevocation))
    }

    fn subkey_state(
        &self,
        subkey: &PublicSubkey,
        signatures: &[Signature],
        at: Timestamp,
    ) -> (State, bool, Option<&'static str>) {
        let made = timestamp(subkey.created_at());
        let valid = |signature: &&Signature| {
            self.issued(signature) && signature.verify_subkey_binding(&self.primary, subkey).is_ok()
        };
        let bindings = signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::SubkeyBinding)
                && !is_over(signature, at)
                && valid(signature)
        });
        let Some(binding) = newest(bindings) else { return (State::Unbound, false, None) };
        let said = statement(binding, made);
        let signs = said.signs.unwrap_or_else(|| may_sign(subkey.algorithm()));
        let is_revoked = signatures.iter().any(|signature| {
            signature.typ() == Some(SignatureType::SubkeyRevocation) && valid(&signature)
        });
        if is_revoked {
            return (State::Revoked, signs, None);
        }
        // Without a signature back, anyone could claim another's subkey and its signatures.
        let back = binding.embedded_signature().is_some_and(|back| {
            !is_md5(back)
                && !is_over(back, at)
                && back.verify_primary_key_binding(subkey, &self.primary).is_ok()
        });
        let state = match said.end {
            _ if signs && !back => State::Unbound,
            Some(end) if end < at => State::Expired(end),
            end => State::Good(end),
        };
        (state, signs, said.weak)
    }

    /// Whether the key was revoked, by itself or by a key it named for that.
    fn is_revoked(&self, all: &[Self]) -> bool {
        let revocations = || {
            self.direct
                .iter()
                .filter(|signature| signature.typ() == Some(SignatureType::KeyRevocation))
        };
        let by_itself = |signature: &Signature| {
            self.issued(signature) && signature.verify_key(&self.primary).is_ok()
        };
        let named: Vec<&[u8]> = self
            .direct
            .iter()
            .filter(|signature| {
                signature.typ() == Some(SignatureType::Key)
                    && self.issued(signature)
                    && signature.verify_key(&self.primary).is_ok()
            })
            .filter_map(Signature::revocation_key)
            .map(|key| key.fingerprint.as_slice())
            .collect();
        let by_another = |signature: &Signature| {
            all.iter().any(|other| {
                named.contains(&other.primary.fingerprint().as_bytes())
                    && is_issuer(&other.primary, signature)
                    && signature.verify_key_third_party(&self.primary, &other.primary).is_ok()
            })
        };
        revocations().any(|signature| by_itself(signature) || by_another(signature))
    }

    /// Whether a signature could be the key's own statement, still in force.
    fn self_signed(&self, signature: &Signature, at: Timestamp) -> bool {
        self.issued(signature) && !is_over(signature, at)
    }

    fn issued(&self, signature: &Signature) -> bool {
        let young = signature.created().is_none_or(|made| made < self.primary.created_at());
        is_issuer(&self.primary, signature)
            && !young
            && !is_md5(signature)
            && !has_unknown_critical(signature)
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    // The last of several of one second, as for gpg.
    signatures.max_by_key(|signature| signature.created())
}

fn is_over(signature: &Signature, at: Timestamp) -> bool {
    let Some(made) = signature.created() else { return true };
    end(timestamp(made), signature.signature_expiration_time()).is_some_and(|end| end <= at)
}

fn is_md5(signature: &Signature) -> bool {
    signature.hash_alg() == Some(HashAlgorithm::Md5)
}

/// What `signature` says of a key made at `made`.
fn statement(signature: &Signature, made: Timestamp) -> Statement {
    let says_flags = signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
    });
    Statement {
        made: signature.created().map(timestamp).unwrap_or_default(),
        signs: says_flags.then(|| signature.key_flags().sign()),
        end: end(made, signature.key_expiration_time()),
        weak: (!matches!(
            signature.hash_alg(),
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        ))
        .then_some("it is certified by itself with a digest that clients refuse, or will"),
    }
}

/// Why clients refuse what a key of this kind signs, or will before long.
fn weakness(key: &impl KeyDetails) -> Option<&'static str> {
    if key.version() != KeyVersion::V4 {
        return Some("gpgv reads keys of version 4 only");
    }
    match key.public_params() {
        PublicParams::RSA(key) if bits(key) < 2048 => Some("RSA below 2048 bits"),
        PublicParams::RSA(_) | PublicParams::EdDSALegacy(_) => None,
        PublicParams::ECDSA(
            EcdsaPublicParams::P256 { .. }
            | EcdsaPublicParams::P384 { .. }
            | EcdsaPublicParams::P521 { .. },
        ) => None,
        PublicParams::DSA(_) => Some("DSA, which Sequoia's policy refuses"),
        _ => Some("of a kind that not every client knows: take Ed25519 or RSA"),
    }
}

/// How long the modulus of an RSA key is: what the number begins with (RFC 9580, 3.2).
fn bits(key: &impl Serialize) -> u16 {
    let bytes = key.to_bytes().unwrap_or_default();
    bytes.first_chunk().map_or(0, |first| u16::from_be_bytes(*first))
}

/// What keys of this algorithm are for when nothing is said.
fn may_sign(algorithm: PublicKeyAlgorithm) -> bool {
    use PublicKeyAlgorithm as A;
    matches!(
        algorithm,
        A::RSA | A::RSASign | A::DSA | A::ECDSA | A::EdDSALegacy | A::Ed25519 | A::Ed448
    )
}
