//! Public keys to be handed out.

use jiff::Timestamp;
use pgp::packet::{Packet, PacketHeader, PacketParser};
use pgp::types::{KeyDetails as _, Tag};

use super::keyring::{packets_of, timestamp};
use super::made::armour;

/// A public key as its owner hands it out, with nothing else in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    packets: Vec<u8>,
    newest: Timestamp,
}

/// Why a file is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPublic {
    /// Nobody should have put it there.
    #[error("it holds a secret key")]
    Secret,
    /// It cannot be read.
    #[error("it is no OpenPGP public key: {0}")]
    Unreadable(&'static str),
}

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

impl Certificate {
    /// The public key in the bytes of a file, binary or armoured. What is no part of one, such as
    /// what gpg notes for itself, is left out.
    ///
    /// # Errors
    /// [`NotPublic`], above all if a secret key is in the file.
    pub fn read(bytes: &[u8]) -> Result<Self, NotPublic> {
        let armoured = bytes.trim_ascii_start().starts_with(b"-----BEGIN");
        if armoured && String::from_utf8_lossy(bytes).contains("PGP PRIVATE KEY BLOCK") {
            return Err(NotPublic::Secret);
        }
        let all = packets_of(bytes).map_err(NotPublic::Unreadable)?;
        let (mut packets, mut newest) = (Vec::new(), Timestamp::UNIX_EPOCH);
        let mut rest = &all[..];
        loop {
            let before = rest;
            let tag = PacketHeader::try_from_reader(rest).ok().map(|header| header.tag());
            let Some(packet) = PacketParser::new(&mut rest).next() else { break };
            let this = &before[..before.len() - rest.len()];
            match tag {
                Some(Tag::SecretKey | Tag::SecretSubkey) => return Err(NotPublic::Secret),
                Some(
                    Tag::PublicKey
                    | Tag::PublicSubkey
                    | Tag::UserId
                    | Tag::UserAttribute
                    | Tag::Signature,
                ) => {
                    // What is not known is not handed out: clients might know it.
                    let Ok(packet) = packet else { continue };
                    packets.extend_from_slice(this);
                    newest = newest.max(made(&packet).unwrap_or_default());
                }
                _ => {}
            }
        }
        if packets.is_empty() {
            return Err(NotPublic::Unreadable("it holds no key that can be read"));
        }
        Ok(Self { packets, newest })
    }

    /// Its packets: what apt, gpgv and sqv read as a keyring.
    pub fn packets(&self) -> &[u8] {
        &self.packets
    }

    /// When the newest of its keys and signatures was made, as it says itself: a key that is made
    /// to last longer is newer.
    pub fn newest(&self) -> Timestamp {
        self.newest
    }
}

fn made(packet: &Packet) -> Option<Timestamp> {
    match packet {
        Packet::PublicKey(key) => Some(timestamp(key.created_at())),
        Packet::PublicSubkey(key) => Some(timestamp(key.created_at())),
        Packet::Signature(signature) => signature.created().map(timestamp),
        _ => None,
    }
}

/// A keyring in ASCII armour: one block, whatever the number of keys in it.
pub fn armoured(keyring: &[u8]) -> String {
    armour(BEGIN, END, keyring)
}
