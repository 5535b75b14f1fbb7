//! Why nothing is signed.

use std::io;

use crate::archive::deb::signature::{NotPublic, Refusal, SigningError, Unfit, Unsignable};
use crate::base::HostPath;

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is to sign.
    #[error("no key is named, and nothing is published unsigned")]
    NoKeys,
    /// A file that is no public key.
    #[error("`{path}` cannot be used")]
    Public {
        /// The file.
        path: HostPath,
        /// Why not.
        source: NotPublic,
    },
    /// A secret where others read it.
    #[error("a secret key lies in the release folder: `{0}`")]
    SecretInRelease(HostPath),
    /// A key that may not sign.
    #[error("the key in `{path}` may not sign")]
    Unfit {
        /// Its file.
        path: HostPath,
        /// Why not.
        source: Unfit,
    },
    /// The same key in two files.
    #[error("`{path}` holds key {fingerprint}, which another file holds too")]
    Twice {
        /// The second of them.
        path: HostPath,
        /// The key.
        fingerprint: String,
    },
    /// The system refused.
    #[error("cannot {operation} `{path}`")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: HostPath,
        /// Why not.
        source: io::Error,
    },
    /// A secret that is none.
    #[error("the key file `{path}` can be used by others than its owner: its mode is {mode:04o}")]
    Exposed {
        /// The file.
        path: HostPath,
        /// Its permissions.
        mode: u32,
    },
    /// A file that is larger than any key.
    #[error("the key file `{0}` is larger than 1 MiB")]
    Large(HostPath),
    /// A key file that cannot be used.
    #[error("the key file `{path}` cannot be used")]
    KeyFile {
        /// The file.
        path: HostPath,
        /// Why not.
        source: SigningError,
    },
    /// The secret half is nowhere.
    #[error("the secret half of key {fingerprint} (`{path}`) was not found{}", list(.looked))]
    NoSecret {
        /// The file of its public half.
        path: HostPath,
        /// The key that signs.
        fingerprint: String,
        /// Where it was looked for, and what was there.
        looked: Vec<String>,
    },
    /// gpg did not do what it was asked for.
    #[error("gpg cannot {operation}: {told}")]
    Gpg {
        /// What it was asked for.
        operation: String,
        /// What it said.
        told: String,
    },
    /// gpg cannot be run.
    #[error("cannot run `gpg`")]
    NoGpg(#[source] io::Error),
    /// gpg was told to stop.
    #[error("gpg was interrupted")]
    Interrupted,
    /// A text that cannot be signed.
    #[error("the text cannot be signed in clear")]
    Text(#[source] Unsignable),
    /// A `.dsc` that cannot be read.
    #[error("the source package's `.dsc` cannot be read")]
    Dsc(#[source] Refusal),
    /// Something that would be read as something else.
    #[error("`{0}` cannot be written into a control file")]
    NotAWord(String),
    /// A package that cannot be written.
    #[error("cannot write the package of the public keys")]
    Package(#[source] io::Error),
    /// Clients would refuse what was signed.
    #[error("what {place} signed is not accepted with `{path}`")]
    Refused {
        /// Where the secret half is.
        place: String,
        /// The file of its public half.
        path: HostPath,
        /// Why it is not.
        source: Refusal,
    },
    /// It was signed with another key than was asked for.
    #[error("{place} signed with another key\n  expected {expected}\n  found    {found}")]
    Other {
        /// Where the secret half is.
        place: String,
        /// The key it was to be.
        expected: String,
        /// The key it was.
        found: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKeys => Some("`perestroika key new` makes a key".to_owned()),
            Self::SecretInRelease(path) => Some(format!(
                "take it away, also from the history of the folder, and put its public half there: \
                 `gpg --show-keys {path}` names the key, `gpg --export` writes that half. If others \
                 could read it, make a new key"
            )),
            Self::Exposed { path, .. } => Some(format!("`chmod 600 {path}`")),
            Self::KeyFile { path, source: SigningError::Locked(_) } => Some(format!(
                "`gpg --import {path}` gives it to gpg, whose agent asks for the passphrase; then \
                 name the file no more"
            )),
            Self::NoSecret { .. } => Some(
                "name its file with `--key-file FILE`, PERESTROIKA_KEY_FILE or `key_files` in \
                 `[signing]` of your config.toml, or import it into gpg, or insert the card that \
                 has it and run `gpg --card-status`"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether the user's input is wrong, not the machine.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::System { .. } | Self::Gpg { .. } | Self::NoGpg(_) | Self::Interrupted)
    }
}

fn list(looked: &[String]) -> String {
    looked.iter().map(|place| format!("\n  {place}")).collect()
}
