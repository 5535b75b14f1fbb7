//! Signing with an OpenPGP key that lies in a file.

use std::fmt;
use std::io::{Cursor, Write as _};

use jiff::Timestamp;
use pgp::composed::{Deserializable as _, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, SecretParams, SigningKey};

use super::made::hashed;
use super::{Fit, Signatures, Unsignable};

/// What signatures are made of.
const DIGEST: HashAlgorithm = HashAlgorithm::Sha512;

/// A secret key, and the one of its keys that signs.
pub struct SecretKey {
    key: SignedSecretKey,
    fit: Fit,
}

/// Why a file is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No secret key can be read.
    #[error("it is no OpenPGP secret key")]
    Read(#[source] pgp::errors::Error),
    /// Not one key.
    #[error("it holds no secret key")]
    Empty,
    /// The secret half of the key that signs is protected by a passphrase.
    #[error("the secret half of key {0} is protected by a passphrase")]
    Locked(String),
    /// The text would not be the same for all.
    #[error(transparent)]
    Text(#[from] Unsignable),
    /// The crate failed.
    #[error("cannot sign")]
    Sign(#[source] pgp::errors::Error),
}

impl SecretKey {
    /// The secret half of the key that `fit` names, from the bytes of a file of secret keys, binary
    /// or armoured; none if the file does not hold it.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Empty`] if the file is none of secret keys, [`Error::Locked`] if
    /// the one in it cannot be used as it is.
    pub fn find(bytes: &[u8], fit: &Fit) -> Result<Option<Self>, Error> {
        let (keys, _) =
            SignedSecretKey::from_reader_many(Cursor::new(bytes)).map_err(Error::Read)?;
        let mut is_empty = true;
        for key in keys {
            is_empty = false;
            let key = Self { key: key.map_err(Error::Read)?, fit: fit.clone() };
            let Some((_, secret)) = key.signing() else { continue };
            if secret.is_encrypted() {
                return Err(Error::Locked(fit.fingerprint.clone()));
            }
            return Ok(Some(key));
        }
        if is_empty { Err(Error::Empty) } else { Ok(None) }
    }

    /// The key that signs.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// A signature of the text, to be put [in clear](Signatures::clear), as made at the moment `at`.
    ///
    /// # Errors
    /// [`Error::Text`], and [`Error::Sign`] if the crate cannot.
    pub fn sign_text(&self, text: &str, at: Timestamp) -> Result<Signatures, Error> {
        // White space at the end of a line is not signed, which the crate leaves to its caller.
        self.sign(SignatureType::Text, hashed(text)?.as_bytes(), at)
    }

    /// A signature of these bytes, to lie [beside them](Signatures::block), as made at the moment
    /// `at`.
    ///
    /// # Errors
    /// [`Error::Sign`] if the crate cannot.
    pub fn sign_bytes(&self, bytes: &[u8], at: Timestamp) -> Result<Signatures, Error> {
        self.sign(SignatureType::Binary, bytes, at)
    }

    fn sign(&self, kind: SignatureType, bytes: &[u8], at: Timestamp) -> Result<Signatures, Error> {
        let sign = |key: &dyn SigningKey| {
            let mut hasher = config(key, kind, at)?.into_hasher()?;
            hasher.write_all(bytes)?;
            Signatures::one(&hasher.sign(key, &Password::empty())?)
        };
        let (key, _) = self.signing().expect("it was found when the key was read");
        sign(key).map_err(Error::Sign)
    }

    /// The key that signs, with its secret half.
    fn signing(&self) -> Option<(&dyn SigningKey, &SecretParams)> {
        let signs =
            |key: &dyn SigningKey| format!("{:X}", key.fingerprint()) == self.fit.fingerprint;
        let primary = &self.key.primary_key;
        if signs(primary) {
            return Some((primary, primary.secret_params()));
        }
        let subkeys = self.key.secret_subkeys.iter().map(|subkey| &subkey.key);
        let subkey = subkeys.into_iter().find(|key| signs(*key))?;
        Some((subkey, subkey.secret_params()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.fit.fingerprint)
    }
}

/// What a signature says of itself: when it was made, and by which key.
pub(super) fn config(
    key: &(impl KeyDetails + ?Sized),
    kind: SignatureType,
    at: Timestamp,
) -> pgp::errors::Result<SignatureConfig> {
    let seconds = u32::try_from(at.as_second()).map_err(std::io::Error::other)?;
    let made = pgp::types::Timestamp::from_secs(seconds);
    let mut config = SignatureConfig::v4(kind, key.algorithm(), DIGEST);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(made))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    let id = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(id)?];
    Ok(config)
}
