//! A suite's Release file: who vouches for it, and which indexes it names.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;

use super::error::{Error, Result};
use crate::archive::deb::control::paragraphs;
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::signature::{self, Refusal};
use crate::base::Sha256;
use crate::fetch::{self, Client, Url};
use crate::publish::item::Kind;
use crate::publish::suite::INSTALLER;

/// The largest Release file that is read, in bytes.
const MAX_RELEASE: u64 = 16 << 20;

/// Why a suite is believed.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// One of these OpenPGP keys has signed it.
    Keys(&'a [u8]),
    /// Whoever asks says that the folder is in good hands.
    Folder,
}

/// A Release file that is believed.
#[derive(Debug)]
pub struct Release {
    suite: String,
    text: String,
    /// What it says.
    pub file: ReleaseFile,
    /// Those who signed it; none in a folder that is trusted as it is.
    pub signers: Vec<String>,
    /// SHA-256 of the file that was read.
    pub(super) evidence: Sha256,
}

/// An index that a Release file names.
pub(super) struct Listed {
    /// Path below the suite, without compression suffix.
    pub path: String,
    /// What it lists.
    pub kind: Kind,
    /// The component it is of, without a prefix.
    pub component: String,
    /// The architecture it is of; none for sources.
    pub architecture: Option<String>,
}

/// The Release file of the suite `name`, `InRelease` or `Release` with `Release.gpg`.
pub(super) fn read(
    client: &Client,
    root: &Url,
    name: &str,
    trust: &Trust<'_>,
    now: Timestamp,
    cancel: &AtomicBool,
) -> Result<Release> {
    let refused = |refusal: Refusal| Error::Refused { suite: name.to_owned(), refusal };
    let get =
        |file: &str| client.get(&root.join(&format!("dists/{name}/{file}")), MAX_RELEASE, cancel);
    let (bytes, in_clear) = match get("InRelease") {
        Ok(bytes) => (bytes, true),
        Err(fetch::Error::Missing { .. }) => (get("Release")?, false),
        Err(error) => return Err(error.into()),
    };
    let evidence = Sha256::of(&bytes);
    let plain = |bytes| {
        String::from_utf8(bytes).map_err(|_| refused(Refusal::Malformed("it is not UTF-8 text")))
    };
    let (text, signers) = match (trust, in_clear) {
        (Trust::Keys(keys), true) => {
            let verified = signature::verify(&bytes, keys, now).map_err(refused)?;
            (verified.text, verified.signers)
        }
        (Trust::Keys(keys), false) => {
            let block = match get("Release.gpg") {
                Err(fetch::Error::Missing { .. }) => return Err(refused(Refusal::Unsigned)),
                block => block?,
            };
            let signers = signature::verify_detached(&bytes, &block, keys, now).map_err(refused)?;
            (plain(bytes)?, signers)
        }
        (Trust::Folder, true) => (signature::signed_text(&bytes).map_err(refused)?, Vec::new()),
        (Trust::Folder, false) => (plain(bytes)?, Vec::new()),
    };
    let suite = name.to_owned();
    let file = ReleaseFile::parse(&text)
        .map_err(|source| Error::Release { suite: suite.clone(), source })?;
    match (trust, file.valid_until) {
        (Trust::Keys(_), Some(until)) if until < now => Err(Error::Expired { suite, until }),
        _ => {
            let signers = signers.into_iter().map(|signer| signer.primary).collect();
            Ok(Release { suite, text, file, signers, evidence })
        }
    }
}

impl Release {
    /// A field as it is written.
    pub fn field(&self, name: &str) -> Option<String> {
        let paragraph = paragraphs(&self.text).next()?.ok()?;
        paragraph.get(name).map(str::to_owned)
    }

    /// All indexes of packages that it names.
    pub(super) fn indexes(&self) -> Result<Vec<Listed>> {
        let mut paths = BTreeSet::new();
        for path in self.file.files.keys() {
            let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
            let stem = file.split('.').next().unwrap_or_default();
            if matches!(stem, "Packages" | "Sources") {
                paths.insert((folder, stem));
            }
        }
        paths.into_iter().map(|(folder, stem)| self.listed(folder, stem)).collect()
    }

    fn listed(&self, folder: &str, stem: &str) -> Result<Listed> {
        let path = format!("{folder}/{stem}");
        let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
        let architecture = last.strip_prefix("binary-");
        let (component, kind) = match (stem, architecture, above.rsplit_once('/')) {
            ("Sources", _, _) if last == "source" => (above, Kind::Source),
            ("Packages", Some(_), Some((component, INSTALLER))) => (component, Kind::Udeb),
            ("Packages", Some(_), _) => (above, Kind::Deb),
            _ => return Err(self.wrong(&path, &"it is of no component and architecture")),
        };
        let component = component.rsplit('/').next().unwrap_or_default().to_owned();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        if component.is_empty() || component.starts_with('.') || !component.bytes().all(is_plain) {
            return Err(self.wrong(&path, &format!("`{component}` cannot name a component")));
        }
        Ok(Listed { path, kind, component, architecture: architecture.map(str::to_owned) })
    }

    pub(super) fn wrong(&self, path: &str, reason: &dyn Display) -> Error {
        Error::Index {
            suite: self.suite.clone(),
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
