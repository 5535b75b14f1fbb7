//! The builder key: an Ed25519 key of the store's own, with which it signs what it says of its
//! builds.
//!
//! It lies in the store as `builder.key`, PKCS #8 in PEM as openssl reads it (RFC 8410, RFC 7468),
//! readable by nobody but the store's owner. Once made it is never changed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};

use super::Store;
use super::error::{Error, Result, system};
use super::remove::sync_folder;
use crate::base::{HostPath, Json, PublicKey, Sha256, dsse};

const FILE: &str = "builder.key";

/// More bytes than such a file has.
const LARGEST: u64 = 1024;

/// What a secret key in PKCS #8 begins with (RFC 8410, 7): the 32 bytes of its seed follow.
const SECRET: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The secret key of a store.
pub struct BuilderKey {
    key: SigningKey,
}

impl BuilderKey {
    /// What names it: the SHA-256 of its public half in DER.
    pub fn id(&self) -> Sha256 {
        self.public().id()
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.key.verifying_key().into()
    }

    /// Its public half in PEM.
    pub fn public_pem(&self) -> String {
        self.public().to_string()
    }

    /// The envelope of a document of this type, signed.
    pub fn sign(&self, payload_type: &str, document: &Json) -> Json {
        let payload = document.encode();
        let signature = self.key.sign(&dsse::signed_bytes(payload_type, &payload));
        dsse::envelope(payload_type, &payload, &self.id().to_string(), &signature.to_bytes())
    }
}

impl fmt::Debug for BuilderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuilderKey({})", self.id())
    }
}

impl Store {
    /// The store's builder key; nothing if it has none yet.
    ///
    /// # Errors
    /// [`Error::Key`] if others may read it, or if it is no such key.
    pub fn builder_key(&self) -> Result<Option<BuilderKey>> {
        let path = self.builder_key_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system("open", &path)(error)),
        };
        let wrong = |what| Err(Error::Key { path: path.clone(), what });
        if file.metadata().map_err(system("look at", &path))?.mode() & 0o077 != 0 {
            return wrong(
                "may be read by others: make another store if they could, else `chmod 600` it",
            );
        }
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text).map_err(system("read", &path))?;
        match seed(&text) {
            Some(seed) => Ok(Some(BuilderKey { key: SigningKey::from_bytes(&seed) })),
            None => {
                wrong("is not an Ed25519 key as this program writes it: put it back from a copy")
            }
        }
    }

    /// The store's builder key, made if it has none yet. Of several processes that make it at
    /// once, all get the same.
    pub fn make_builder_key(&self) -> Result<BuilderKey> {
        if let Some(key) = self.builder_key()? {
            return Ok(key);
        }
        let path = self.builder_key_path();
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).map_err(|error| {
            system("make random bytes for", &path)(io::Error::other(error.to_string()))
        })?;
        let text = pem(&[&SECRET[..], &secret].concat());
        // Of mode 0600 from the beginning, and under its name only when it is whole.
        let file = tempfile::NamedTempFile::new_in(self.temporary()?);
        let mut file = file.map_err(system("create", &path))?;
        file.write_all(text.as_bytes()).map_err(system("write", &path))?;
        file.as_file().sync_all().map_err(system("sync", &path))?;
        if let Err(error) = file.persist_noclobber(&path)
            && error.error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(system("create", &path)(error.error));
        }
        sync_folder(self.root().as_path()).map_err(system("sync", self.root()))?;
        self.builder_key()?.ok_or(Error::Missing { path })
    }

    /// Where the store's builder key is, or would be.
    pub fn builder_key_path(&self) -> HostPath {
        self.path(FILE)
    }
}

/// The seed in the text of a secret key.
fn seed(text: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.strip_prefix("-----BEGIN PRIVATE KEY-----\n")?;
    let line = line.strip_suffix("\n-----END PRIVATE KEY-----\n")?;
    STANDARD.decode(line).ok()?.strip_prefix(&SECRET)?.try_into().ok()
}

/// The text of a secret key, which is so short that it takes one line.
fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}
