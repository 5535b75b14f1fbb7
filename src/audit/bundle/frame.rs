//! The zstd frames of a bundle (RFC 8878).

use std::io;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::tar;

/// So many bytes of a member go into one frame.
pub const PIECE: usize = 4 << 20;

/// More bytes than any frame of a member has.
pub const LARGEST: usize = PIECE + (PIECE >> 7) + 4096;

const LEVEL: i32 = 3;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The rest of the tail's frame header: eight bytes of size, a window of 128 KiB.
const STORED: [u8; 2] = [0xc0, 7 << 3];

const STORED_BLOCK: usize = 128 << 10;

/// A skippable frame of 28 bytes, and the words that it begins with.
const TRAILER: &[u8; 28] = b"\x50\x2a\x4d\x18\x1c\0\0\0perestroika/bundle/1";

/// How long the trailer is.
pub const TRAILER_SIZE: usize = TRAILER.len() + 8;

/// The sizes of the pieces that a member of so many bytes is cut into.
pub fn pieces(size: u64) -> impl ExactSizeIterator<Item = usize> {
    let (extent, piece) = (tar::extent(size), PIECE as u64);
    let count = usize::try_from(extent.div_ceil(piece)).unwrap_or(usize::MAX);
    (0..count).map(move |number| (extent - number as u64 * piece).min(piece) as usize)
}

/// What makes frames.
pub fn compressor() -> io::Result<Compressor<'static>> {
    Compressor::new(LEVEL)
}

/// The piece in a frame that has to be one frame of exactly `size` bytes.
pub fn decompress(frame: &[u8], size: usize) -> Result<Vec<u8>, &'static str> {
    // What a frame says of its size is believed only where it is what it has to be.
    let said = zstd_safe::get_frame_content_size(frame).ok().flatten();
    if said != Some(size as u64) || length(frame) != Some(frame.len()) {
        return Err("not one zstd frame of the size that it has to have");
    }
    let mut piece = Vec::with_capacity(size);
    let decoded = Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress_to_buffer(frame, &mut piece));
    match decoded {
        Ok(length) if length == size => Ok(piece),
        _ => Err("not what zstd compresses to"),
    }
}

/// How long the frame is that `bytes` begin with; nothing if that is none, or not all of it.
pub fn length(bytes: &[u8]) -> Option<usize> {
    bytes.starts_with(&MAGIC).then(|| zstd_safe::find_frame_compressed_size(bytes).ok())?
}

/// A frame of raw blocks, the one form of these bytes.
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut frame = [&MAGIC[..], &STORED, &(bytes.len() as u64).to_le_bytes()].concat();
    let mut blocks = bytes.chunks(STORED_BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let head = last | (block.len() as u32) << 3;
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

/// The bytes of a frame that is exactly as [`stored`] makes it.
pub fn read_stored(frame: &[u8]) -> Option<Vec<u8>> {
    let blocks = frame.strip_prefix(&MAGIC)?.strip_prefix(&STORED)?.get(8..)?;
    let content = blocks.chunks(3 + STORED_BLOCK).filter_map(|block| block.get(3..));
    let content = content.collect::<Vec<_>>().concat();
    (stored(&content) == frame).then_some(content)
}

/// The end of a bundle whose tail begins at `offset`.
pub fn trailer(offset: u64) -> Vec<u8> {
    [&TRAILER[..], &offset.to_le_bytes()].concat()
}

/// Where the tail begins, as a trailer says it.
pub fn read_trailer(bytes: &[u8]) -> Option<u64> {
    let offset = bytes.strip_prefix(TRAILER)?;
    Some(u64::from_le_bytes(offset.try_into().ok()?))
}
