//! Facts of the guest contract that a guest may be told otherwise, to find out what of them leaks
//! into what it makes. How isolated it is does not change.

use serde::{Deserialize, Serialize};

use super::contract;

/// What a guest is told of itself. The default is what the contract says; no build whose result
/// is used has another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guise {
    /// Its host name, which resolves: letters, digits and `-`.
    pub host_name: String,
    /// The name of uid and gid 1000 while a package is built: letters and digits.
    pub user_name: String,
    /// `LC_ALL`.
    pub locale: String,
    /// `TZ`.
    pub time_zone: String,
    /// The mask that new files begin with.
    pub umask: u32,
    /// Which kernel it believes to be on.
    pub kernel: Kernel,
}

/// What `uname -r` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kernel {
    /// What the kernel is.
    Own,
    /// `2.6.x`, as the kernel itself tells programs that fear a larger number (personality(2),
    /// `UNAME26`).
    Older,
}

impl Default for Guise {
    fn default() -> Self {
        Self {
            host_name: contract::HOST_NAME.to_owned(),
            user_name: contract::BUILDER.to_owned(),
            locale: contract::LOCALE.to_owned(),
            time_zone: contract::TIME_ZONE.to_owned(),
            umask: contract::UMASK,
            kernel: Kernel::Own,
        }
    }
}

impl Guise {
    /// `/etc/hosts`.
    pub(super) fn hosts(&self) -> String {
        match self.host_name.as_str() {
            contract::HOST_NAME => contract::HOSTS.to_owned(),
            other => format!("{}127.0.1.1\t{other}\n", contract::HOSTS),
        }
    }

    /// The line that a user list gains while a package is built.
    pub(super) fn listed(&self, line: &str) -> String {
        line.replacen(contract::BUILDER, &self.user_name, 1)
    }

    /// Whether its names can be written into the files they go to.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |name: &str| {
            !name.is_empty()
                && name.len() <= 32
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        plain(&self.host_name) && plain(&self.user_name)
    }
}
