//! Single files that specs name by URL.

use std::sync::atomic::AtomicBool;

use super::archive::worse;
use super::client::{Client, Network};
use super::error::{Error, Result};
use super::mirrors::Url;
use crate::base::Sha256;
use crate::store::{Object, Store};

/// The largest file whose size nothing states, in bytes.
const MAX_FILE: u64 = 16 << 30;

/// What is known of a file before it is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its digest.
    pub sha256: Option<Sha256>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// A file that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its object.
    pub object: Object,
    /// Which place it came from just now; none if it was there before.
    pub from: Option<Url>,
}

/// A file, from the store if it is known by its digest and there, or else from the first of
/// `urls` that has it as it is expected.
///
/// # Errors
/// Where no place has it, what says most: other bytes before absence.
pub fn file(
    store: &Store,
    client: &Client,
    urls: &[Url],
    expected: Expected,
    cancel: &AtomicBool,
) -> Result<Fetched> {
    if let Some(sha256) = &expected.sha256
        && let Some(object) = store.find(sha256)?
    {
        return Ok(Fetched { object, from: None });
    }
    let first = urls.first().map(ToString::to_string).unwrap_or_default();
    if client.network() == Network::Offline {
        return Err(Error::Offline(first));
    }
    let mut failure = None;
    for url in urls {
        match one(store, client, url, expected, cancel) {
            Ok(object) => return Ok(Fetched { object, from: Some(url.clone()) }),
            Err(error @ (Error::Cancelled | Error::Store(_))) => return Err(error),
            Err(Error::Missing { urls, .. }) => {
                let what = first.clone();
                let error = Error::Missing { what, urls, sha256: expected.sha256 };
                failure = worse(failure, error);
            }
            Err(error) => failure = worse(failure, error),
        }
    }
    Err(failure.unwrap_or(Error::Missing { what: first, urls: Vec::new(), sha256: None }))
}

fn one(
    store: &Store,
    client: &Client,
    url: &Url,
    expected: Expected,
    cancel: &AtomicBool,
) -> Result<Object> {
    let limit = expected.size.unwrap_or(MAX_FILE);
    let both = expected.sha256.zip(expected.size);
    let batch = store.batch();
    let object = client.fetch(url, limit, cancel, |body| batch.put_file(body, both))?;
    if let Some(sha256) = expected.sha256
        && object.sha256 != sha256
    {
        return Err(Error::WrongDigest {
            url: url.clone(),
            expected: sha256,
            expected_size: expected.size.unwrap_or(object.size),
            actual: object.sha256,
            actual_size: object.size,
        });
    }
    batch.commit()?;
    Ok(object)
}
