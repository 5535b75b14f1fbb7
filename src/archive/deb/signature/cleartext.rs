//! The frame around a clear-signed text (RFC 9580 section 7), read strictly: whatever is not
//! signed, or could be read in two ways, is refused.

use std::io::Read;

use pgp::armor::{BlockType, Dearmor, DearmorOptions};

use super::Refusal;

/// A clear-signed file taken apart.
pub(super) struct Cleartext {
    /// The signed text, dash-escaping undone, white space at line ends dropped, lines ending `\n`.
    pub(super) text: String,
    /// The digests that the `Hash` headers announce; MD5 without any (RFC 4880 section 7).
    pub(super) digests: Vec<String>,
    /// The signature packets.
    pub(super) signatures: Vec<u8>,
}

pub(super) const BEGIN_TEXT: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
pub(super) const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
pub(super) const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// The largest signed file that is looked at, in bytes: a hundred times Debian's own.
const MAX_SIZE: usize = 32 << 20;
/// gpgv cuts longer lines off, and then sees another text than the signer did.
pub(super) const MAX_LINE: usize = 19_990;

pub(super) fn split(bytes: &[u8]) -> Result<Cleartext, Refusal> {
    if bytes.len() > MAX_SIZE {
        return Err(Refusal::Malformed("larger than 32 MiB"));
    }
    let file =
        std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed("it is not UTF-8 text"))?;
    if file.contains('\0') {
        return Err(Refusal::Malformed("it contains a zero byte"));
    }
    let mut lines = file.split_inclusive('\n');
    if lines.next().map(trimmed) != Some(BEGIN_TEXT) {
        let inside = file.lines().any(|line| trimmed(line) == BEGIN_TEXT);
        return Err(if inside { Refusal::UnsignedText } else { Refusal::Unsigned });
    }
    let digests = read_headers(&mut lines)?;
    let text = read_text(&mut lines)?;
    let signatures = read_signatures(&mut lines)?;
    if lines.any(|line| !trimmed(line).is_empty()) {
        return Err(Refusal::UnsignedText);
    }
    Ok(Cleartext { text, digests, signatures })
}

/// A line as signatures see it: without its end and the white space before that.
fn trimmed(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r', '\n'])
}

fn read_headers<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<Vec<String>, Refusal> {
    let mut digests = Vec::new();
    for line in lines {
        let line = trimmed(line);
        if line.is_empty() {
            if digests.is_empty() {
                digests.push("MD5".to_owned());
            }
            return Ok(digests);
        }
        let names = line
            .strip_prefix("Hash:")
            .ok_or(Refusal::Malformed("a header other than `Hash` before the signed text"))?;
        digests.extend(names.split(',').map(|name| name.trim().to_owned()));
    }
    Err(Refusal::Malformed("it ends before the signed text"))
}

fn read_text<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<String, Refusal> {
    let mut text = String::new();
    for line in lines {
        if line.len() > MAX_LINE {
            return Err(Refusal::Malformed("a line longer than gpgv reads"));
        }
        let line = trimmed(line);
        let line = match line.strip_prefix('-') {
            None => line,
            Some(_) if line == BEGIN_SIGNATURE => return Ok(text),
            // `- ` alone escapes an empty line, and its blank was trimmed above.
            Some("") => "",
            Some(rest) => rest
                .strip_prefix(' ')
                .ok_or(Refusal::Malformed("a line of the text begins with a bare dash"))?,
        };
        text.push_str(line);
        text.push('\n');
    }
    Err(Refusal::Malformed("it ends before the signature"))
}

fn read_signatures<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<Vec<u8>, Refusal> {
    let mut block = format!("{BEGIN_SIGNATURE}\n");
    for line in lines {
        let line = trimmed(line);
        block.push_str(line);
        block.push('\n');
        if line == END_SIGNATURE {
            return dearmor(block.as_bytes(), &BlockType::Signature)
                .ok_or(Refusal::Malformed("the armour of the signature is broken"));
        }
    }
    Err(Refusal::Malformed("it ends within the signature"))
}

/// The bytes inside an ASCII armour of this kind, if it is whole. Its checksum is not looked at
/// (RFC 9580 section 6.1): it protects nothing that the signature does not.
pub(super) fn dearmor(block: &[u8], kind: &BlockType) -> Option<Vec<u8>> {
    let options = DearmorOptions::new().set_limit(MAX_SIZE);
    let mut armour = Dearmor::with_options(block, options);
    let mut bytes = Vec::new();
    armour.read_to_end(&mut bytes).ok()?;
    (armour.typ.as_ref() == Some(kind)).then_some(bytes)
}
