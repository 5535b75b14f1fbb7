//! What a sandbox elsewhere and whoever follows it say to each other, over one stream of bytes
//! each way.
//!
//! A frame is a byte that says what it is, a length (32 bits, little-endian) and that many bytes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// The most bytes of a frame: an order names each layer and each mount.
const LONGEST: u32 = 16 << 20;

/// How much of anything longer goes into one frame.
pub const PIECE: usize = 64 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the relay: the order, as JSON.
    Order = b'O',
    /// To the relay: the byte for the sandbox's own process.
    Byte = b'B',
    /// To the relay: what goes into the command's standard input or terminal.
    Input = b'I',
    /// To the relay: nothing more goes in.
    InputEnd = b'E',
    /// To the relay: the size of the terminal, as rows and columns of 16 bits, little-endian.
    Size = b'R',
    /// Either way: somebody is still there.
    Alive = b'A',
    /// To the relay: everything was heard.
    Goodbye = b'G',
    /// To the relay, before its order: a tree follows, for this empty folder.
    Bring = b'T',
    /// To the relay, before its order: the tree at this path is wanted.
    Fetch = b'Q',
    /// To the relay, before its order: everything in this folder is to be on disk.
    Settle = b'Y',
    /// From the relay: it is.
    Settled = b'y',
    /// From the relay: the tree that was brought is there, and this is its digest.
    Brought = b't',
    /// From the relay: who it is and what it finds, as [`Hello`].
    Hello = b'H',
    /// From the relay: what the command printed.
    Printed = b'P',
    /// From the relay: nothing can print any more.
    PrintedEnd = b'p',
    /// From the relay: a report of the sandbox, as JSON.
    Report = b'W',
    /// From the relay: the same, of which [`Kind::Content`] follows.
    Offer = b'F',
    /// From the relay: a piece of what was offered. Either way: a piece of a tree.
    Content = b'D',
    /// From whoever sent the pieces: that was all of it; of a tree, its digest.
    ContentEnd = b'Z',
    /// From the relay: what the command of a session wrote; the first byte says where.
    Stream = b'S',
    /// From the relay: that stream ended.
    StreamEnd = b's',
    /// From the relay: the last piece of input was taken in.
    Taken = b'i',
    /// From the relay: last words of something that failed.
    Words = b'X',
}

const KINDS: [Kind; 23] = [
    Kind::Order,
    Kind::Byte,
    Kind::Input,
    Kind::InputEnd,
    Kind::Size,
    Kind::Alive,
    Kind::Goodbye,
    Kind::Bring,
    Kind::Fetch,
    Kind::Settle,
    Kind::Settled,
    Kind::Brought,
    Kind::Hello,
    Kind::Printed,
    Kind::PrintedEnd,
    Kind::Report,
    Kind::Offer,
    Kind::Content,
    Kind::ContentEnd,
    Kind::Stream,
    Kind::StreamEnd,
    Kind::Taken,
    Kind::Words,
];

/// What a relay finds around itself, as the kernel tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of these frames.
    pub version: u32,
    /// The id it runs as.
    pub uid: u32,
    /// The group it runs as.
    pub gid: u32,
    /// Capabilities that it or a program it starts could have (`CapPrm`, `CapBnd`), in hex.
    pub capabilities: Vec<String>,
    /// Whether set-id programs mean nothing (`NoNewPrivs`).
    pub no_new_privileges: bool,
    /// How system calls are filtered (`Seccomp`): 2 is by a filter.
    pub seccomp: u32,
    /// Network interfaces.
    pub interfaces: Vec<String>,
    /// Whether the root of the container is mounted to be read only.
    pub read_only: bool,
    /// Bytes that its control group may use, if it can be read.
    pub memory: Option<u64>,
    /// Owner of the first layer.
    pub owner: Option<u32>,
}

/// The version of the frames.
pub const VERSION: u32 = 1;

/// Writes a frame, and hands it on.
pub fn write(to: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("a frame is too long"))?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind as u8);
    frame.extend(length.to_le_bytes());
    frame.extend(bytes);
    to.write_all(&frame)?;
    to.flush()
}

/// Reads the next frame; none where the stream ends between two.
pub fn read(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut first = [0];
    loop {
        match from.read(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    let kind = KINDS.into_iter().find(|kind| *kind as u8 == first[0]);
    let kind = kind.filter(|_| length <= LONGEST).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "something else wrote into the stream")
    })?;
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(Some((kind, bytes)))
}

#[cfg(test)]
mod tests {
    use super::{Kind, read, write};

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut stream = Vec::new();
        write(&mut stream, Kind::Printed, b"text").expect("a frame");
        write(&mut stream, Kind::Goodbye, b"").expect("a frame");
        let mut stream = &stream[..];
        assert_eq!(read(&mut stream).expect("a frame"), Some((Kind::Printed, b"text".to_vec())));
        assert_eq!(read(&mut stream).expect("a frame"), Some((Kind::Goodbye, Vec::new())));
        assert_eq!(read(&mut stream).expect("the end"), None);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&b"hello"[..], b"P\xff\xff\xff\xff", b"P\x04\0\0\0abc", b"P\0"] {
            let mut stream = bytes;
            assert!(read(&mut stream).is_err(), "{bytes:?}");
        }
    }
}
