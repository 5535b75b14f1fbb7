//! Blocks of an xz stream (The .xz File Format, 1.2.1), each compressed on its own and put
//! together again without being looked into.

use std::io;

use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream};

const HEADER: usize = 12;
const FOOTER: usize = 12;
const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
/// CRC64, as xz itself chooses.
const FLAGS: [u8; 2] = [0, 4];

/// How hard is compressed. The dictionary of a higher one is larger than any piece.
const PRESET: u32 = 6;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its bytes, to a multiple of four.
    bytes: Vec<u8>,
    /// How many of them are not padding.
    unpadded: u64,
    /// How many bytes it unpacks to.
    uncompressed: u64,
}

impl Block {
    /// The block of these bytes.
    ///
    /// # Errors
    /// Those of the compressor.
    pub fn of(text: &[u8]) -> io::Result<Self> {
        let mut options = LzmaOptions::new_preset(PRESET)?;
        // No larger than what is packed, or a reader would need memory for nothing.
        let size = u32::try_from(text.len()).map_err(io::Error::other)?;
        options.dict_size(size.next_power_of_two().clamp(1 << 16, 8 << 20));
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut stream = Stream::new_stream_encoder(&filters, Check::Crc64)?;
        let mut bytes = Vec::with_capacity(text.len() / 3 + 1024);
        let mut done = 0;
        loop {
            let before = stream.total_in();
            if bytes.capacity() - bytes.len() < 1024 {
                bytes.reserve(text.len() / 4 + 4096);
            }
            let status = stream.process_vec(&text[done..], &mut bytes, Action::Finish)?;
            done += usize::try_from(stream.total_in() - before).map_err(io::Error::other)?;
            if status == Status::StreamEnd {
                break;
            }
        }
        let mut blocks = split(&bytes).ok_or_else(|| io::Error::other("not one xz stream"))?;
        match (blocks.pop(), blocks.is_empty()) {
            (Some(block), true) => Ok(block),
            _ => Err(io::Error::other("not one xz block")),
        }
    }
}

impl Block {
    /// How many bytes it unpacks to.
    pub const fn uncompressed(&self) -> u64 {
        self.uncompressed
    }
}

/// The stream of these blocks.
pub fn stream(blocks: &[&Block]) -> Vec<u8> {
    let size: usize = blocks.iter().map(|block| block.bytes.len()).sum();
    let mut out = Vec::with_capacity(size + 64 + blocks.len() * 8);
    out.extend(MAGIC);
    out.extend(FLAGS);
    out.extend(crc32(&FLAGS).to_le_bytes());
    for block in blocks {
        out.extend_from_slice(&block.bytes);
    }
    let mut index = vec![0];
    put(&mut index, blocks.len() as u64);
    for block in blocks {
        put(&mut index, block.unpadded);
        put(&mut index, block.uncompressed);
    }
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32(&index).to_le_bytes());
    let backward = u32::try_from(index.len() / 4 - 1).expect("an index below 16 GiB");
    out.extend(index);
    let mut end = backward.to_le_bytes().to_vec();
    end.extend(FLAGS);
    out.extend(crc32(&end).to_le_bytes());
    out.extend(end);
    out.extend(b"YZ");
    out
}

/// The blocks of a stream; nothing if it is none, or not one as [`stream`] makes it. What is in
/// the blocks is not looked at.
pub fn split(bytes: &[u8]) -> Option<Vec<Block>> {
    let (rest, footer) = bytes.split_last_chunk::<FOOTER>()?;
    let backward = u32::from_le_bytes(footer[4..8].try_into().ok()?);
    let index_size = (usize::try_from(backward).ok()? + 1).checked_mul(4)?;
    let index_start = rest.len().checked_sub(index_size)?;
    let mut index = rest[index_start..].strip_prefix(&[0])?;
    let mut blocks = Vec::new();
    let mut at = HEADER;
    for _ in 0..take(&mut index)? {
        let (unpadded, uncompressed) = (take(&mut index)?, take(&mut index)?);
        let end = at.checked_add(usize::try_from(unpadded).ok()?.checked_next_multiple_of(4)?)?;
        let bytes = rest[..index_start].get(at..end)?.to_vec();
        blocks.push(Block { bytes, unpadded, uncompressed });
        at = end;
    }
    // Put together again it must be the same: so nothing was overlooked.
    (stream(&blocks.iter().collect::<Vec<_>>()) == bytes).then_some(blocks)
}

/// Writes a number of the index (1.2 of the format).
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads one.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// CRC32 of IEEE 802.3, as the format has it (section 6).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
