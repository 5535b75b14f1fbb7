//! Signing with an OpenPGP key that lies in a file.

use std::fmt;
use std::io::Cursor;

use jiff::Timestamp;
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, Password, SecretParams, SigningKey};

use super::{Fit, Unfit, fit_to_sign};

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
    /// The public half may not sign.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The secret half of the key that signs is protected by a passphrase.
    #[error("its secret half is protected by a passphrase")]
    Locked,
    /// The secret half of the key that signs is not there.
    #[error("the secret half of key {0}, which signs, is not there")]
    Absent(String),
    /// The crate failed.
    #[error("cannot sign")]
    Sign(#[source] pgp::errors::Error),
}

impl SecretKey {
    /// The key in the bytes of a file, binary or armoured, that is to sign at the moment `at`.
    ///
    /// # Errors
    /// [`Error`] tells what is wrong with it.
    pub fn read(bytes: &[u8], at: Timestamp) -> Result<Self, Error> {
        let (key, _) =
            SignedSecretKey::from_reader_single(Cursor::new(bytes)).map_err(Error::Read)?;
        let public = key.to_public_key().to_bytes().map_err(Error::Read)?;
        let fit = fit_to_sign(&public, at)?;
        let key = Self { key, fit };
        let locked = match key.signing() {
            Some((_, secret)) => secret.is_encrypted(),
            None => return Err(Error::Absent(key.fit.fingerprint)),
        };
        if locked { Err(Error::Locked) } else { Ok(key) }
    }

    /// The key that signs.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// Its public half, armoured.
    ///
    /// # Errors
    /// [`Error::Sign`] if the crate cannot write it.
    pub fn public(&self) -> Result<String, Error> {
        let public = self.key.to_public_key();
        public.to_armored_string(ArmorOptions::default()).map_err(Error::Sign)
    }

    /// The text, signed in clear (RFC 9580, 7), as made at the moment `at`.
    ///
    /// # Errors
    /// [`Error::Sign`] if the crate cannot.
    pub fn clear_sign(&self, text: &str, at: Timestamp) -> Result<String, Error> {
        let sign = |key: &Box<&dyn SigningKey>| {
            let config = config(key, SignatureType::Text, at)?;
            // White space at the end of a line is not signed (RFC 9580, 7.1), which the crate leaves
            // to its caller.
            let message = CleartextSignedMessage::new_many(text, |text| {
                let lines = text.split("\r\n").map(|line| line.trim_end_matches([' ', '\t']));
                let signed = lines.collect::<Vec<_>>().join("\r\n");
                Ok(vec![config.sign(key, &Password::empty(), signed.as_bytes())?])
            })?;
            message.to_armored_string(ArmorOptions::default())
        };
        let (key, _) = self.signing().ok_or_else(|| self.absent())?;
        sign(&key).map_err(Error::Sign)
    }

    /// A signature of these bytes to lie beside them, armoured, as made at the moment `at`.
    ///
    /// # Errors
    /// [`Error::Sign`] if the crate cannot.
    pub fn detach(&self, bytes: &[u8], at: Timestamp) -> Result<String, Error> {
        let sign = |key: &Box<&dyn SigningKey>| {
            let config = config(key, SignatureType::Binary, at)?;
            let signature = DetachedSignature::new(config.sign(key, &Password::empty(), bytes)?);
            signature.to_armored_string(ArmorOptions::default())
        };
        let (key, _) = self.signing().ok_or_else(|| self.absent())?;
        sign(&key).map_err(Error::Sign)
    }

    /// The key that signs, with its secret half.
    fn signing(&self) -> Option<(Box<&dyn SigningKey>, &SecretParams)> {
        let signs =
            |key: &dyn SigningKey| format!("{:X}", key.fingerprint()) == self.fit.fingerprint;
        let primary = &self.key.primary_key;
        if signs(primary) {
            return Some((Box::new(primary), primary.secret_params()));
        }
        let subkeys = self.key.secret_subkeys.iter().map(|subkey| &subkey.key);
        let subkey = subkeys.into_iter().find(|key| signs(*key))?;
        Some((Box::new(subkey), subkey.secret_params()))
    }

    fn absent(&self) -> Error {
        Error::Absent(self.fit.fingerprint.clone())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.fit.fingerprint)
    }
}

/// What a signature says of itself: when it was made, and by which key.
fn config(
    key: &impl KeyDetails,
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
