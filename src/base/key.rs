//! Public keys of builders: Ed25519 (RFC 8032), written as openssl writes them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

use super::Sha256;

/// What a public key begins with in DER (RFC 8410, 4): its 32 bytes follow.
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The public half of a builder key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key as `perestroika key show` prints it")]
pub struct KeyError;

impl PublicKey {
    /// What names it: the SHA-256 of its DER.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.der())
    }

    /// Whether this key made this signature of these bytes. Strict: there is one signature that
    /// is right, and weak keys have none.
    pub fn made(&self, signature: &[u8], bytes: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(bytes, &signature).is_ok())
    }

    fn der(&self) -> Vec<u8> {
        [&PUBLIC[..], self.0.as_bytes()].concat()
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        Self(key)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads PEM exactly as it is written here.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let line = text.strip_prefix("-----BEGIN PUBLIC KEY-----\n");
        let line = line.and_then(|line| line.strip_suffix("\n-----END PUBLIC KEY-----\n"));
        let der = STANDARD.decode(line.ok_or(KeyError)?).map_err(|_| KeyError)?;
        let bytes = der.strip_prefix(&PUBLIC).and_then(|bytes| bytes.try_into().ok());
        VerifyingKey::from_bytes(bytes.ok_or(KeyError)?).map(Self).map_err(|_| KeyError)
    }
}

/// PEM (RFC 7468); a key is so short that it takes one line.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = STANDARD.encode(self.der());
        writeln!(f, "-----BEGIN PUBLIC KEY-----\n{line}\n-----END PUBLIC KEY-----")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    #[test]
    fn a_key_reads_back_and_knows_its_signatures() {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let key = PublicKey::from(secret.verifying_key());
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        let signature = secret.sign(b"bytes").to_bytes();
        assert!(key.made(&signature, b"bytes"));
        assert!(!key.made(&signature, b"other bytes"));
        assert!(!key.made(&signature[1..], b"bytes"));
        assert!(
            !PublicKey::from(SigningKey::from_bytes(&[8; 32]).verifying_key())
                .made(&signature, b"bytes")
        );
        for wrong in ["", text.trim_end(), &text.replace("PUBLIC", "PRIVATE"), &text[1..]] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(KeyError), "{wrong}");
        }
    }
}
