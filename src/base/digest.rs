//! Digests: BLAKE3 names what is ours, SHA-256 names what a distribution published.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: 64 lower-case hex digits are expected")]
pub struct DigestError(String);

fn parse_hex(text: &str) -> Result<[u8; 32], DigestError> {
    let bad = || DigestError(text.to_owned());
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(bad());
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(bad()),
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The digest with exactly these 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            /// Reads 64 lower-case hex digits, nothing else.
            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                match out.is_human_readable() {
                    true => out.collect_str(self),
                    false => self.0.serialize(out),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if !from.is_human_readable() {
                    return <[u8; 32]>::deserialize(from).map(Self);
                }
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// BLAKE3 of some bytes: the name of an object, a tree, a record.
    Digest
}
digest_type! {
    /// BLAKE3 of a derivation's canonical JSON: known at evaluation.
    DerivationId
}
digest_type! {
    /// BLAKE3 of an action's canonical JSON: everything that went into one build.
    ActionId
}
digest_type! {
    /// SHA-256 of some bytes: how a distribution's archive names its files.
    Sha256
}

macro_rules! screen_form {
    ($($name:ident),*) => {$(
        impl $name {
            /// The form for the screen: `b3:` and the first 12 hex digits.
            pub fn short(&self) -> String {
                format!("b3:{:.12}", self.to_string())
            }
        }
    )*};
}
screen_form!(Digest, DerivationId, ActionId);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl DerivationId {
    /// The id of a derivation whose canonical JSON is `json`.
    pub fn of(json: &[u8]) -> Self {
        Self(*blake3::hash(json).as_bytes())
    }

    /// The same name, as that of the JSON document that holds the derivation.
    pub const fn digest(&self) -> Digest {
        Digest(self.0)
    }
}

impl ActionId {
    /// The id of an action whose canonical JSON is `json`.
    pub fn of(json: &[u8]) -> Self {
        Self(*blake3::hash(json).as_bytes())
    }

    /// The same name, as that of the JSON document that holds the action.
    pub const fn digest(&self) -> Digest {
        Digest(self.0)
    }
}

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

/// SHA-256 of a stream, piece by piece.
#[derive(Default, Clone)]
pub struct Sha256Hasher(sha2::Sha256);

impl Sha256Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces so far.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back_what_they_print() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(
            digest.to_string(),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert_eq!(digest.short(), "b3:6437b3ac3846");
        assert_eq!(
            Sha256::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn refuses_what_is_no_digest() {
        for text in ["", "ab", &"A".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
