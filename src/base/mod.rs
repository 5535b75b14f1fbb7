//! Values every other module speaks in: digests and ids, canonical JSON, validated names,
//! paths that know which side of the sandbox they belong to, and places in spec files.
//!
//! Nothing here touches the world.

mod diagnostic;
mod digest;
mod format;
mod key;
mod name;
mod path;
mod tree;

pub mod dsse;
pub mod json;
pub mod merkle;

pub use diagnostic::{Diagnostic, Place, Span};
pub use digest::{ActionId, DerivationId, Digest, DigestError, Sha256, Sha256Hasher};
pub use format::Format;
pub use json::{Json, Members};
pub use key::{KeyError, PublicKey};
pub use name::{Architecture, NameError, PackageName, nearest};
pub use path::{GuestPath, HostPath, PathError, ReleaseFolder, ReleasePath};
pub use tree::{Tree, TreeEntry, TreeError, TreeKind};
