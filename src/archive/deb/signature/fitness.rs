//! Whether a key is one to sign a repository with, and which of a certificate's keys signs.
//!
//! Stricter than what is asked of others' signatures: what is signed today must be accepted for
//! years, by every client there is. The rules are the strictest of those of gpgv, of apt
//! (`APT::Key::Assert-Pubkey-Algo`), and of Sequoia's policy, which `sqv` and rpm follow.

use jiff::Timestamp;

use super::keyring::{Key, Keyring, State};

/// A key that may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Fingerprint of the key or subkey that signs, in upper-case hex.
    pub fingerprint: String,
    /// That of its primary key.
    pub primary: String,
    /// A user id of it.
    pub user: Option<String>,
    /// When it, or its primary key, expires.
    pub end: Option<Timestamp>,
}

/// Why no key of a certificate may sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No certificate can be read.
    #[error("it is no OpenPGP key: {0}")]
    NoKey(&'static str),
    /// More than one.
    #[error("it holds {0} keys, and which of them is meant is not said")]
    Several(usize),
    /// It has been revoked.
    #[error("key {0} was revoked")]
    Revoked(String),
    /// It has expired.
    #[error("key {0} expired on {1}")]
    Expired(String, Timestamp),
    /// Its own signatures do not hold.
    #[error("key {0} has no valid signature of its own")]
    Unbound(String),
    /// None of its keys is for signing.
    #[error("key {0} is not for signing")]
    NotForSigning(String),
    /// Clients refuse it, or will.
    #[error("key {0} is too weak: {1}")]
    Weak(String, &'static str),
}

/// Which key of a certificate, binary or armoured, signs at the moment `at`: the newest subkey that
/// may, as gpg chooses, else the primary key.
///
/// # Errors
/// [`Unfit`] tells what is wrong with the certificate, or with the one key that could sign.
pub fn fit_to_sign(certificate: &[u8], at: Timestamp) -> Result<Fit, Unfit> {
    let keyring = Keyring::parse(certificate, at).map_err(Unfit::NoKey)?;
    let keys = keyring.keys();
    let primaries = keys.iter().filter(|key| key.fingerprint == key.primary).count();
    if primaries != 1 {
        return Err(Unfit::Several(primaries));
    }
    let name = |key: &Key| key.primary.clone();
    let judge = |key: &Key| match key.state {
        State::Revoked => Err(Unfit::Revoked(name(key))),
        State::Expired(end) => Err(Unfit::Expired(name(key), end)),
        State::Unbound => Err(Unfit::Unbound(name(key))),
        State::Good(_) if !key.signs => Err(Unfit::NotForSigning(name(key))),
        State::Good(end) => match key.weak {
            Some(why) => Err(Unfit::Weak(name(key), why)),
            None => Ok(Fit {
                fingerprint: key.fingerprint.clone(),
                primary: key.primary.clone(),
                user: key.user.clone(),
                end,
            }),
        },
    };
    let (primary, subkeys) = keys.split_first().expect("one of them is the primary key");
    // What befell the owner is the better answer than what follows from it.
    if !matches!(primary.state, State::Good(_)) {
        return judge(primary);
    }
    let mut able: Vec<&Key> = subkeys.iter().filter(|key| key.signs).collect();
    able.sort_by_key(|key| std::cmp::Reverse(key.made));
    let mut answers = able.into_iter().map(judge).chain([judge(primary)]);
    let first = answers.next().expect("the primary key's at least");
    first.or_else(|why| answers.find_map(Result::ok).ok_or(why))
}
