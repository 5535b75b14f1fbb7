//! Bundles: a release with everything that went into it and came of it, in one file.
//!
//! # The format
//!
//! A bundle is a tar (POSIX ustar) in independent zstd frames, so that `tar --zstd -xf` opens it.
//! Every byte of it is either covered by a digest in its index, or can have one value only.
//!
//! The *members*, in the order of their paths, each once:
//! - `json/HASH.json`: derivations, actions, records, trees, the manifest, the closure certificate,
//!   the journal's proofs, the signatures of records;
//! - `logs/HASH`: logs of builds, as text;
//! - `objects/HASH`: files: sources, binary packages, indexes of archives, the release folder's.
//!
//! HASH is the BLAKE3 of the member's bytes. A tar header has the path, the size, mode 0644, and
//! nothing else that could be chosen: owner 0, time 0, no names. What a member takes in the tar
//! (header, content, padding) is cut into pieces of 4 MiB, each a zstd frame of its own.
//!
//! The *tail* follows: one zstd frame of raw blocks of 128 KiB, which has one form only, with
//! - `BUNDLE.json`, the index: see [`index::Index`]. It has the BLAKE3 and the size of every frame;
//! - `BUNDLE.sig.json`: a DSSE envelope whose payload names the index by its BLAKE3;
//! - `builder.pub`: the key that signed it;
//! - the two empty blocks that end a tar.
//!
//! Last comes the *trailer*, a skippable zstd frame of 36 bytes: the words `perestroika/bundle/1`
//! and where the tail begins, as 8 bytes, the least first.
//!
//! The signature makes the index, the index the frames, the frames the members; and the path of a
//! member its content, whoever signed. Signatures are deterministic and no moment is written down:
//! the same release with the same records makes the same bytes, from the same version of zstd.
//!
//! A *delta* leaves out what another bundle has, and names that; a bundle of *records* leaves out
//! all `objects/` and `logs/`: it is what somebody needs who holds the builds of several builders
//! against each other. Records are signed each by itself, as DSSE envelopes of their bytes, type
//! [`RECORD_TYPE`].

mod content;
mod error;
mod frame;
mod import;
pub mod index;
mod proof;
mod read;
mod structure;
mod tar;
mod verify;
mod write;

pub use content::{Content, Gathered, Whole, gather};
pub use error::{Error, Result};
pub use import::{Adopt, Adopted, Brought, adopt, bring, lacking, unfold};
pub use index::{Absent, Index, Kind, Member, Name};
pub use proof::Proved;
pub use read::{Bundle, open_plain};
pub use structure::{Signed, Structure};
pub use verify::{Verified, verify};
pub use write::{Written, write};

/// The type of a signed record: the payload is the record's bytes.
pub const RECORD_TYPE: &str = "application/vnd.perestroika.record+json";

/// The type of a bundle's signature: the payload names the index.
pub const BUNDLE_TYPE: &str = "application/vnd.perestroika.bundle+json";

/// What is told of how far something has come: bytes done, bytes in all.
pub type Seen<'a> = &'a (dyn Fn(u64, u64) + Sync);

#[cfg(test)]
mod tests;
