//! New keys to sign repositories with.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use pgp::composed::KeyType;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, PacketTrait as _, PubKeyInner, PublicKey, SecretKey, SignatureType, Subpacket,
    SubpacketData, UserId,
};
use pgp::types::{Duration, KeyVersion, PacketHeaderVersion, Password, Tag};
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use super::made::armour;
use super::secret::config;
use super::{Fit, Unfit, fit_to_sign};

/// What a key is made of. All are keys of version 4: gpg before 2.5 and rpm 4 know no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Curve 25519 as gpg 2.1 and later, apt, sqv and rpm since 4.16 know it.
    Ed25519,
    /// RSA of 4096 bits, for clients that are older.
    Rsa4096,
}

/// A new key.
pub struct NewKey {
    /// Its secret half, armoured, protected by nothing.
    pub secret: Zeroizing<String>,
    /// Its public half: the packets of a certificate.
    pub public: Vec<u8>,
    /// What it is good for.
    pub fit: Fit,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none.
    #[error(
        "`{0}` cannot be the name of a key: it is one line such as `Demo archive \
         <release@example.org>`"
    )]
    User(String),
    /// OpenPGP counts seconds since 1970, in 32 bits.
    #[error("a key that begins at {0} and ends at {1} cannot be written down")]
    Time(Timestamp, Timestamp),
    /// The crate failed.
    #[error("cannot make a key")]
    Crate(#[from] pgp::errors::Error),
    /// What was made is of no use.
    #[error("the key that was made cannot be used")]
    Unfit(#[from] Unfit),
}

const BEGIN: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";
const END: &str = "-----END PGP PRIVATE KEY BLOCK-----";

/// The longest name, in bytes.
const MAX_USER: usize = 200;

impl NewKey {
    /// A new key of this name that signs from the moment `at` until it expires.
    ///
    /// # Errors
    /// [`Error`] if the name or the times cannot be written down, or the system has no random
    /// numbers.
    pub fn make(
        user: &str,
        algorithm: Algorithm,
        at: Timestamp,
        end: Timestamp,
    ) -> Result<Self, Error> {
        let is_plain = !user.chars().any(char::is_control) && user.trim() == user;
        if user.is_empty() || user.len() > MAX_USER || !is_plain {
            return Err(Error::User(user.escape_debug().to_string()));
        }
        let span = || -> Option<(u32, u32)> {
            let length = end.duration_since(at);
            let made = u32::try_from(at.as_second()).ok()?;
            // 0 would mean: never.
            (length > SignedDuration::ZERO).then_some(())?;
            Some((made, u32::try_from(length.as_secs()).ok()?))
        };
        let (made, length) = span().ok_or(Error::Time(at, end))?;

        let kind = match algorithm {
            Algorithm::Ed25519 => KeyType::Ed25519Legacy,
            Algorithm::Rsa4096 => KeyType::Rsa(4096),
        };
        let (public, secret) = kind.generate(OsRng)?;
        let made = pgp::types::Timestamp::from_secs(made);
        let inner = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), made, None, public)?;
        let public = PublicKey::from_inner(inner)?;
        let secret = SecretKey::new(public.clone(), secret)?;
        let user = UserId::from_str(PacketHeaderVersion::New, user)?;

        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(true);
        let mut config = config(&secret, SignatureType::CertPositive, at)?;
        let says = [
            SubpacketData::KeyExpirationTime(Duration::from_secs(length)),
            SubpacketData::KeyFlags(flags),
            SubpacketData::IsPrimary(true),
            SubpacketData::PreferredHashAlgorithms(
                [HashAlgorithm::Sha512, HashAlgorithm::Sha256].into_iter().collect(),
            ),
        ];
        for part in says {
            config.hashed_subpackets.push(Subpacket::regular(part)?);
        }
        let password = Password::empty();
        let binding = config.sign_certification(&secret, &public, &password, Tag::UserId, &user)?;

        let mut certificate = Vec::new();
        public.to_writer_with_header(&mut certificate)?;
        let mut owner = Vec::new();
        user.to_writer_with_header(&mut owner)?;
        binding.to_writer_with_header(&mut owner)?;
        certificate.extend(&owner);
        let fit = fit_to_sign(&certificate, at)?;

        let mut whole = Zeroizing::new(Vec::with_capacity(16 << 10));
        secret.to_writer_with_header(&mut *whole)?;
        whole.extend(&owner);
        let secret = Zeroizing::new(armour(BEGIN, END, &whole));
        Ok(Self { secret, public: certificate, fit })
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKey({})", self.fit.fingerprint)
    }
}
