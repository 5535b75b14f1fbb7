//! Keys that lie in files.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Error, Result, Signer};
use crate::archive::deb::signature::{Fit, SecretKey, Signatures, SigningError};
use crate::base::HostPath;

/// The largest key file, in bytes.
const MAX_SIZE: usize = 1 << 20;

/// What is in a file of secret keys; forgotten when it is dropped.
pub(super) struct KeyFile {
    path: HostPath,
    bytes: Zeroizing<Vec<u8>>,
}

impl KeyFile {
    /// Reads the files, each of which must be for its owner alone.
    pub(super) fn read_all(paths: &[HostPath]) -> Result<Vec<Self>> {
        paths.iter().map(Self::read).collect()
    }

    fn read(path: &HostPath) -> Result<Self> {
        let system = |operation| {
            let path = path.clone();
            move |source| Error::System { operation, path, source }
        };
        let file = File::open(path).map_err(system("open the key file"))?;
        let mode = file.metadata().map_err(system("look at the key file"))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Exposed { path: path.clone(), mode });
        }
        // As large as it can get: what grows leaves copies of itself in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SIZE + 1));
        file.take(MAX_SIZE as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(system("read the key file"))?;
        if bytes.len() > MAX_SIZE {
            return Err(Error::Large(path.clone()));
        }
        Ok(Self { path: path.clone(), bytes })
    }

    pub(super) fn path(&self) -> &HostPath {
        &self.path
    }

    /// The key that `fit` names, if it is in this file.
    pub(super) fn find(&self, fit: &Fit) -> Result<Option<FileSigner>> {
        let found = SecretKey::find(&self.bytes, fit).map_err(|source| self.failed(source))?;
        Ok(found.map(|key| FileSigner { path: self.path.clone(), key }))
    }

    fn failed(&self, source: SigningError) -> Error {
        Error::KeyFile { path: self.path.clone(), source }
    }
}

/// Signs with a key from a file.
pub(super) struct FileSigner {
    path: HostPath,
    key: SecretKey,
}

impl FileSigner {
    fn failed(&self, source: SigningError) -> Error {
        match source {
            SigningError::Text(why) => Error::Text(why),
            source => Error::KeyFile { path: self.path.clone(), source },
        }
    }
}

impl Signer for FileSigner {
    fn place(&self) -> String {
        format!("the key file `{}`", self.path)
    }

    fn sign_text(&self, text: &str, at: Timestamp) -> Result<Signatures> {
        self.key.sign_text(text, at).map_err(|error| self.failed(error))
    }

    fn sign_bytes(&self, bytes: &[u8], at: Timestamp) -> Result<Signatures> {
        self.key.sign_bytes(bytes, at).map_err(|error| self.failed(error))
    }
}
