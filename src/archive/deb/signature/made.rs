//! Signatures that are made here, or elsewhere for us, and the files they are put into: a text
//! signed in clear (RFC 9580, 7) and a block to lie beside what it signs (RFC 9580, 6).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgp::armor::BlockType;
use pgp::packet::{PacketTrait as _, Signature};

use super::cleartext::{self, BEGIN_SIGNATURE, BEGIN_TEXT, Cleartext, END_SIGNATURE, MAX_LINE};
use super::{Refusal, parse_signatures};

/// What each line of an armour holds, in characters.
const LINE: usize = 64;

/// Signatures of one text or of the same bytes, by one key or by several.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    /// What digests they are of, by the names that gpg gives them.
    digests: BTreeSet<String>,
    /// Their packets, one after the other.
    packets: Vec<u8>,
}

/// Why a text cannot be signed in clear: not all that verify it would see the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsignable {
    /// A byte that ends the text for some.
    #[error("it contains a zero byte")]
    Zero,
    /// A carriage return, which ends a line for some.
    #[error("line {0} contains a carriage return")]
    Return(usize),
    /// A line that gpgv cuts off.
    #[error("line {0} is longer than gpgv reads")]
    Long(usize),
}

impl Signatures {
    /// One that was made here.
    pub(super) fn one(signature: &Signature) -> pgp::errors::Result<Self> {
        let digests = signature.hash_alg().map(|digest| digest.to_string());
        let mut packets = Vec::new();
        signature.to_writer_with_header(&mut packets)?;
        Ok(Self { digests: digests.into_iter().collect(), packets })
    }

    /// Those of a clear-signed file.
    ///
    /// # Errors
    /// [`Refusal`] if it is none.
    pub fn of_clear_signed(file: &[u8]) -> Result<Self, Refusal> {
        let Cleartext { signatures, .. } = cleartext::split(file)?;
        Self::read(signatures)
    }

    /// Those of an armoured block.
    ///
    /// # Errors
    /// [`Refusal`] if it is none.
    pub fn of_block(block: &[u8]) -> Result<Self, Refusal> {
        let packets = cleartext::dearmor(block, &BlockType::Signature);
        Self::read(packets.ok_or(Refusal::Malformed("the armour of the signature is broken"))?)
    }

    fn read(packets: Vec<u8>) -> Result<Self, Refusal> {
        let read = parse_signatures(&packets)?;
        let digests = read.iter().filter_map(Signature::hash_alg);
        Ok(Self { digests: digests.map(|digest| digest.to_string()).collect(), packets })
    }

    /// Takes those of another key in.
    pub fn join(&mut self, other: Self) {
        self.digests.extend(other.digests);
        self.packets.extend(other.packets);
    }

    /// The text with these signatures of it. A line feed is added to its end if it has none.
    ///
    /// # Errors
    /// [`Unsignable`] if not all would see the same text.
    pub fn clear(&self, text: &str) -> Result<String, Unsignable> {
        signable(text)?;
        let digests: Vec<&str> = self.digests.iter().map(String::as_str).collect();
        let mut file = format!("{BEGIN_TEXT}\nHash: {}\n\n", digests.join(","));
        for line in text.lines() {
            if line.starts_with('-') {
                file.push_str("- ");
            }
            file.push_str(line);
            file.push('\n');
        }
        file.push_str(&self.block());
        Ok(file)
    }

    /// These signatures as an armoured block.
    pub fn block(&self) -> String {
        armour(BEGIN_SIGNATURE, END_SIGNATURE, &self.packets)
    }
}

/// The bytes in ASCII armour, with the checksum that old clients want (RFC 4880, 6.1).
pub(super) fn armour(begin: &str, end: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut block = format!("{begin}\n\n");
    for line in text.as_bytes().chunks(LINE) {
        block.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        block.push('\n');
    }
    let sum = STANDARD.encode(&crc24(bytes).to_be_bytes()[1..]);
    block.push_str(&format!("={sum}\n{end}\n"));
    block
}

/// What a signature of a text in clear is of: lines without the white space at their ends, CRLF
/// between them, none after the last (RFC 9580, 7.2).
pub(super) fn hashed(text: &str) -> Result<String, Unsignable> {
    signable(text)?;
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    let lines: Vec<&str> = lines.map(|line| line.trim_end_matches([' ', '\t'])).collect();
    Ok(lines.join("\r\n"))
}

/// Whether all that verify the text would see the same.
fn signable(text: &str) -> Result<(), Unsignable> {
    if text.contains('\0') {
        return Err(Unsignable::Zero);
    }
    for (number, line) in (1..).zip(text.split('\n')) {
        // What escapes a dash, and the line's end.
        if line.len() + "- \n".len() > MAX_LINE {
            return Err(Unsignable::Long(number));
        }
        if line.contains('\r') {
            return Err(Unsignable::Return(number));
        }
    }
    Ok(())
}

/// The checksum of RFC 9580, 6.1.
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x00B7_04CE, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 16, |sum, _| {
            let next = sum << 1;
            if next & 0x0100_0000 == 0 { next } else { next ^ 0x0186_4CFB }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standards() {
        // The check value of CRC-24/OPENPGP.
        assert_eq!(crc24(b"123456789"), 0x0021_CF02);
    }

    #[test]
    fn an_armour_gives_back_what_was_put_into_it() {
        for length in [1, 2, 3, 47, 48, 49, 1000] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let block = armour(BEGIN_SIGNATURE, END_SIGNATURE, &bytes);
            let back = cleartext::dearmor(block.as_bytes(), &BlockType::Signature);
            assert_eq!(back.as_deref(), Some(bytes.as_slice()), "{length}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_signed() {
        assert_eq!(hashed("a \n\t\n-b"), Ok("a\r\n\r\n-b".to_owned()));
        assert_eq!(hashed("a\n\n"), Ok("a\r\n".to_owned()));
        assert_eq!(hashed("a\0"), Err(Unsignable::Zero));
        assert_eq!(hashed("a\nb\rc"), Err(Unsignable::Return(2)));
        assert_eq!(hashed(&"a".repeat(MAX_LINE)), Err(Unsignable::Long(1)));
    }
}
