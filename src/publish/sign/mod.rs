//! Who signs a repository, and that what was signed is what clients accept.
//!
//! A release names public halves only. The secret half of each is found on the machine that
//! publishes: in a [key file](Places::key_files) of the user's, else with gpg, whose agent
//! reaches cards and other devices. Every key signs everything, in one block, so that clients that
//! trust either of two keys go on while one takes over from the other. Whatever was signed is
//! verified with the public halves before it is handed out. Without a key nothing is signed, and
//! nothing unsigned is ever handed out.

pub mod public;

mod changes;
mod error;
mod file;
mod gpg;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

pub use changes::{Binary, ChangedFile, Changes};
pub use error::{Error, Result};
use file::KeyFile;

use crate::archive::deb::signature::{
    self, Certificate, Fit, NotPublic, Refusal, Signatures, fit_to_sign,
};
use crate::base::HostPath;

/// How long before a key expires it is said, in days.
pub const WARN_DAYS: u32 = 30;

/// Something that signs with one key.
pub trait Signer: Send + Sync {
    /// Where the secret half is, for messages.
    fn place(&self) -> String;

    /// A signature of a text, to be put in clear, as made at the moment `at` or now.
    ///
    /// # Errors
    /// [`Error`] if it cannot sign, or the text cannot be signed in clear.
    fn sign_text(&self, text: &str, at: Timestamp) -> Result<Signatures>;

    /// A signature of bytes, to lie beside them, as made at the moment `at` or now.
    ///
    /// # Errors
    /// [`Error`] if it cannot sign.
    fn sign_bytes(&self, bytes: &[u8], at: Timestamp) -> Result<Signatures>;
}

/// The file of a public key in a release folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFile {
    /// Where it is, for messages.
    pub path: HostPath,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Where secret halves are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Files of secret keys, for their owner alone.
    pub key_files: Vec<HostPath>,
    /// Where gpg keeps its keys; none for where it does by itself.
    pub gnupg_home: Option<HostPath>,
}

/// Those who sign, at least one.
#[derive(Debug)]
pub struct Signers {
    each: Vec<One>,
    fits: Vec<Fit>,
}

/// A key, and who signs with it.
struct One {
    file: HostPath,
    public: Certificate,
    signer: Box<dyn Signer>,
}

/// What should be done about a key before long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The key.
    pub fit: Fit,
    /// When it expires.
    pub end: Timestamp,
    /// In how many whole days that is.
    pub days: i64,
}

impl Signers {
    /// Those who sign at the moment `at` with the secret halves of these public keys.
    ///
    /// # Errors
    /// [`Error`] if there is no key, if one of them may not sign, if its secret half is nowhere to be
    /// found, or lies where it should not.
    pub fn for_keys(public: &[PublicFile], places: &Places, at: Timestamp) -> Result<Self> {
        let (mut certificates, mut fits) = (Vec::new(), Vec::<Fit>::new());
        for file in public {
            let (certificate, fit) = read(file, at)?;
            if fits.iter().any(|known| known.primary == fit.primary) {
                let (path, fingerprint) = (file.path.clone(), fit.primary);
                return Err(Error::Twice { path, fingerprint });
            }
            certificates.push((file.path.clone(), certificate));
            fits.push(fit);
        }
        if fits.is_empty() {
            return Err(Error::NoKeys);
        }
        let key_files = KeyFile::read_all(&places.key_files)?;
        let find = |((file, public), fit): ((HostPath, Certificate), &Fit)| {
            let signer = find(&file, fit, &key_files, places)?;
            Ok(One { file, public, signer })
        };
        let each = certificates.into_iter().zip(&fits).map(find).collect::<Result<_>>()?;
        Ok(Self { each, fits })
    }

    /// The keys that sign, in the order they were named.
    pub fn fits(&self) -> &[Fit] {
        &self.fits
    }

    /// Where their secret halves are, in the same order.
    pub fn places(&self) -> Vec<String> {
        self.each.iter().map(|one| one.signer.place()).collect()
    }

    /// The keys that expire within so many days.
    pub fn warnings(&self, at: Timestamp, days: u32) -> Vec<Warning> {
        self.fits.iter().filter_map(|fit| warning(fit, at, days)).collect()
    }

    /// The public keys, as apt, gpgv and sqv read a keyring.
    pub fn keyring(&self) -> Vec<u8> {
        self.each.iter().flat_map(|one| one.public.packets()).copied().collect()
    }

    /// The public keys in ASCII armour.
    pub fn public(&self) -> String {
        signature::armoured(&self.keyring())
    }

    /// The text, signed in clear by every key, as made at the moment `at`: `InRelease`, a `.dsc`. A
    /// line feed is added to its end if it has none.
    ///
    /// # Errors
    /// [`Error`] if one of the keys does not sign, or does so in a way that clients would not accept.
    pub fn clear_sign(&self, text: &str, at: Timestamp) -> Result<String> {
        let mut all = Signatures::default();
        for one in &self.each {
            all.join(one.signer.sign_text(text, at)?);
        }
        let signed = all.clear(text).map_err(Error::Text)?;
        self.confirm(|public| {
            signature::verify(signed.as_bytes(), public, at).map(|verified| verified.signers)
        })?;
        Ok(signed)
    }

    /// Every key's signature of these bytes in one armoured block to lie beside them, as made at the
    /// moment `at`: `Release.gpg`, `MANIFEST.json.asc`.
    ///
    /// # Errors
    /// Those of [`Self::clear_sign`].
    pub fn detach(&self, bytes: &[u8], at: Timestamp) -> Result<String> {
        let mut all = Signatures::default();
        for one in &self.each {
            all.join(one.signer.sign_bytes(bytes, at)?);
        }
        let block = all.block();
        let verify =
            |public: &[u8]| signature::verify_detached(bytes, block.as_bytes(), public, at);
        self.confirm(verify)?;
        Ok(block)
    }

    /// A source package's `.dsc`, signed by every key in place of those who signed it before.
    ///
    /// # Errors
    /// [`Error::Dsc`] if what is there cannot be read, and those of [`Self::clear_sign`].
    pub fn sign_dsc(&self, dsc: &[u8], at: Timestamp) -> Result<String> {
        let text = match signature::signed_text(dsc) {
            Err(Refusal::Unsigned) => {
                let text = std::str::from_utf8(dsc);
                text.map_err(|_| Error::Dsc(Refusal::Malformed("it is not UTF-8 text")))?.to_owned()
            }
            text => text.map_err(Error::Dsc)?,
        };
        self.clear_sign(&text, at)
    }

    /// When the newest of the public keys, or of what they say of themselves, was made.
    fn newest(&self) -> Timestamp {
        let newest = self.each.iter().map(|one| one.public.newest());
        newest.max().unwrap_or_default()
    }

    /// That whoever trusts one of the keys, and no other, finds the signature of just that key.
    fn confirm(
        &self,
        verify: impl Fn(&[u8]) -> std::result::Result<Vec<signature::Signer>, Refusal>,
    ) -> Result<()> {
        for (one, fit) in self.each.iter().zip(&self.fits) {
            let signers = verify(one.public.packets()).map_err(|source| Error::Refused {
                place: one.signer.place(),
                path: one.file.clone(),
                source,
            })?;
            if signers.iter().all(|signer| signer.fingerprint != fit.fingerprint) {
                let other = signers.into_iter().next().map(|signer| signer.fingerprint);
                return Err(Error::Other {
                    place: one.signer.place(),
                    expected: fit.fingerprint.clone(),
                    found: other.unwrap_or_default(),
                });
            }
        }
        Ok(())
    }
}

/// What the file of a public key is good for at the moment `at`, whoever has its secret half.
///
/// # Errors
/// [`Error`] if the key may not sign, or a secret half is in the file.
pub fn read(file: &PublicFile, at: Timestamp) -> Result<(Certificate, Fit)> {
    let path = || file.path.clone();
    let certificate = Certificate::read(&file.bytes).map_err(|error| match error {
        NotPublic::Secret => Error::SecretInRelease(path()),
        source @ NotPublic::Unreadable(_) => Error::Public { path: path(), source },
    })?;
    let fit = fit_to_sign(certificate.packets(), at)
        .map_err(|source| Error::Unfit { path: path(), source })?;
    Ok((certificate, fit))
}

/// What should be said of a key that expires within so many days.
pub fn warning(fit: &Fit, at: Timestamp, days: u32) -> Option<Warning> {
    let end = fit.end?;
    let left = end.duration_since(at);
    let within = left < SignedDuration::from_hours(24 * i64::from(days));
    within.then(|| Warning { fit: fit.clone(), end, days: left.as_hours() / 24 })
}

fn find(
    public: &HostPath,
    fit: &Fit,
    key_files: &[KeyFile],
    places: &Places,
) -> Result<Box<dyn Signer>> {
    let mut looked = Vec::new();
    for file in key_files {
        if let Some(signer) = file.find(fit)? {
            return Ok(Box::new(signer));
        }
        looked.push(format!("the key file `{}`: it is of another key", file.path()));
    }
    if key_files.is_empty() {
        looked.push("key files: none is named".to_owned());
    }
    match gpg::find(fit, places.gnupg_home.as_ref())? {
        Ok(signer) => Ok(Box::new(signer)),
        Err(why) => {
            looked.push(why);
            let (path, fingerprint) = (public.clone(), fit.fingerprint.clone());
            Err(Error::NoSecret { path, fingerprint, looked })
        }
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "One({}, {})", self.file, self.signer.place())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fit, end, days } = self;
        let unit = if *days == 1 { "day" } else { "days" };
        write!(f, "key {} expires in {days} {unit}, on {}", fit.fingerprint, end.strftime("%F"))
    }
}
