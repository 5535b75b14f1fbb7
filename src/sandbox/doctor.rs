//! What this machine lacks for isolation, and how to give it.

use serde::{Deserialize, Serialize};

/// A part of the isolation, as far as a machine can lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aspect {
    /// User namespaces for ordinary users.
    UserNamespaces,
    /// Mounts of one's own.
    Mounts,
    /// Overlay file systems.
    Overlay,
    /// A `/proc` of one's own.
    Proc,
    /// A network of one's own.
    Network,
    /// The system call filter.
    Seccomp,
    /// Resource limits that the caller may set.
    Limits,
}

/// What to change on this machine so that this part can be had.
pub fn remedy(aspect: Aspect) -> String {
    format!("{aspect:?}")
}
