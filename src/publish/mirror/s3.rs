//! A mirror in an object store, which has names, but neither folders nor links.
//!
//! So each index lies below the `by-hash` of its own folder, where clients look for it, and the
//! files of a suite are replaced one by one: `InRelease` is the last. Whoever read the old one
//! finds the old indexes by their digests, as long as nobody removes them.

use std::fs;
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::{Error, Result, in_one_line};
use super::view::{Content, Entry, View, proof};
use super::{Mode, Pushed, Wish};
use crate::base::HostPath;
use crate::fetch::{self, Bucket, Client, Credentials, Head};
use crate::publish::Repository;
use crate::publish::named::Proof;

/// The most that one request can put into an object store, in bytes.
pub const LARGEST: u64 = 5 << 30;

/// How many requests are under way at a time.
const AT_ONCE: usize = 8;

/// What says who we are to an object store.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Where it answers.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub keys: Option<Credentials>,
    /// The file of the user's profiles.
    pub file: Option<HostPath>,
    /// Which of them.
    pub profile: String,
}

impl Environment {
    /// That of this process; `endpoint` is what the user has said.
    pub fn of_this_process(endpoint: Option<String>) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let keys = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY"));
        let home = set("HOME").map(|home| HostPath::new(home).join(".aws/credentials"));
        Self {
            endpoint,
            region: set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")),
            keys: keys.map(|(id, key)| Credentials::new(id, key, set("AWS_SESSION_TOKEN"))),
            file: set("AWS_SHARED_CREDENTIALS_FILE").map(HostPath::new).or(home),
            profile: set("AWS_PROFILE").unwrap_or_else(|| "default".to_owned()),
        }
    }

    /// A bucket, with the keys to it.
    pub(super) fn bucket(&self, client: &Client, name: &str, target: &str) -> Result<Bucket> {
        let keys = match &self.keys {
            Some(keys) => keys.clone(),
            None => self
                .keys_of_profile()
                .map_err(|reason| Error::Credentials { target: target.to_owned(), reason })?,
        };
        let region = self.region.as_deref().unwrap_or("us-east-1");
        Ok(Bucket::new(client.clone(), self.endpoint.as_deref(), name, region, keys)?)
    }

    /// The keys of the profile.
    fn keys_of_profile(&self) -> Result<Credentials, String> {
        let unset = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set";
        let Some(file) = &self.file else { return Err(unset.to_owned()) };
        let text = fs::read_to_string(file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{unset}, and there is no `{file}`"),
            _ => format!("{unset}, and `{file}` cannot be read: {error}"),
        })?;
        profile(&text, &self.profile).ok_or_else(|| {
            format!("{unset}, and `{file}` has no keys for the profile `{}`", self.profile)
        })
    }
}

/// The keys of a profile: `[NAME]`, then `name = value` on each line.
fn profile(text: &str, name: &str) -> Option<Credentials> {
    let mut inside = false;
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = section.trim() == name;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            let value = Some(value.trim().to_owned());
            match key.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Credentials::new(id?, secret?, token))
}

/// A file of the repository, and what it is called in the bucket.
struct Object<'a> {
    key: String,
    path: &'a str,
    proof: Proof,
}

/// Brings a view into a bucket.
pub fn push(
    repository: &Repository,
    view: &View,
    bucket: &Bucket,
    prefix: &str,
    wish: &Wish<'_>,
) -> Result<Pushed> {
    let stages = stages(view, prefix);
    let total = stages.iter().map(|(_, objects)| objects.len()).sum();
    let mut pushed =
        Pushed { generation: view.generation.number, files: total, ..Pushed::default() };
    for (_, objects) in &stages {
        if let Some(large) = objects.iter().find(|object| object.proof.size > LARGEST) {
            let (path, size) = (large.path.to_owned(), large.proof.size);
            return Err(Error::TooLarge { path, size, limit: LARGEST });
        }
    }
    let done = AtomicUsize::new(0);
    for (what, objects) in &stages {
        let state = Mutex::new((&mut pushed, Vec::new()));
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                let deed = bring(repository, bucket, object, wish);
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                match deed {
                    Ok(Deed::None) => {}
                    Ok(Deed::Put) => {
                        state.0.sent.push(object.key.clone());
                        state.0.bytes += object.proof.size;
                    }
                    Err(error) => state.1.push((object.key.clone(), error)),
                }
                drop(state);
                (wish.seen)(what, done.fetch_add(1, Ordering::Relaxed) + 1, total);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(objects.len()) {
                scope.spawn(work);
            }
        });
        let (_, failed) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.iter().any(|(_, error)| matches!(error, Error::Fetch(fetch::Error::Cancelled))) {
            return Err(Error::Cancelled);
        }
        if !failed.is_empty() {
            let mut failed: Vec<(String, String)> =
                failed.into_iter().map(|(key, error)| (key, in_one_line(&error))).collect();
            failed.sort();
            return Err(Error::Failed { target: wish.target.to_string(), what, failed });
        }
    }
    pushed.sent.sort();
    Ok(pushed)
}

enum Deed {
    None,
    Put,
}

/// Puts an object there, unless it is there, and looks whether it is.
fn bring(
    repository: &Repository,
    bucket: &Bucket,
    object: &Object<'_>,
    wish: &Wish<'_>,
) -> Result<Deed> {
    let Object { key, path, proof: expected } = object;
    if bucket.head(key, wish.cancel)?.is_some_and(|head| is_that(&head, expected)) {
        return Ok(Deed::None);
    }
    if wish.mode == Mode::Foresee {
        return Ok(Deed::Put);
    }
    let here = repository.path(path);
    let actual = proof(&here)?;
    if actual != *expected {
        return Err(Error::Copy { path: here, expected: *expected, actual });
    }
    bucket.put(key, &here, &expected.sha256, wish.cancel)?;
    match bucket.head(key, wish.cancel)? {
        Some(head) if is_that(&head, expected) => Ok(Deed::Put),
        _ => Err(Error::Differs { target: wish.target.to_string(), paths: vec![key.clone()] }),
    }
}

/// Whether an object is what it has to be: the store's own digest counts most, and what was said
/// when it was put there, together with its size, where the store computes none.
fn is_that(head: &Head, expected: &Proof) -> bool {
    head.size == expected.size && head.computed.or(head.claimed) == Some(expected.sha256)
}

/// All objects in the order in which they have to get there; those of one stage in any order.
fn stages<'a>(view: &'a View, prefix: &str) -> Vec<(&'static str, Vec<Object<'a>>)> {
    let key = |path: &str| match prefix {
        "" => path.to_owned(),
        prefix => format!("{prefix}/{path}"),
    };
    let object = |name: &str, entry: &'a Entry| match &entry.content {
        Content::File(proof) => Some(Object { key: key(name), path: &entry.path, proof: *proof }),
        Content::Link(_) => None,
    };
    let as_they_are = |entries: &'a [Entry]| {
        entries.iter().filter_map(|entry| object(&entry.path, entry)).collect::<Vec<_>>()
    };
    let top = view.dists();
    let below = |entry: &'a Entry| entry.path.strip_prefix(&top)?.strip_prefix('/');
    let suites: Vec<&str> = view.generation.suites.keys().map(String::as_str).collect();
    let (mut by_digest, mut indexes, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    let (mut releases, mut signatures, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &view.own {
        let (Some(name), Content::File(proof)) = (below(entry), &entry.content) else { continue };
        let public = format!("dists/{name}");
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let stage = if !suites.contains(&folder) {
            if suites
                .iter()
                .any(|suite| folder.strip_prefix(suite).is_some_and(|rest| rest.starts_with('/')))
            {
                let hash = format!("dists/{folder}/by-hash/SHA256/{}", proof.sha256);
                by_digest.extend(object(&hash, entry));
                &mut indexes
            } else {
                &mut documents
            }
        } else {
            match file {
                "InRelease" => &mut commits,
                "Release" => &mut releases,
                "Release.gpg" => &mut signatures,
                _ => &mut documents,
            }
        };
        stage.extend(object(&public, entry));
    }
    vec![
        ("packages", as_they_are(&view.pool)),
        ("indexes by digest", by_digest),
        ("keys", as_they_are(&view.keys)),
        ("indexes", indexes),
        ("documents", documents),
        ("Release files", releases),
        ("signatures", signatures),
        ("InRelease", commits),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_profile_that_is_meant() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=a=b\n\n[ other ]\n\
                    aws_access_key_id=B\naws_secret_access_key=b\naws_session_token = t\nregion=x\n\
                    [half]\naws_access_key_id=C\n";
        let keys = |id: &str, key: &str, token: Option<&str>| {
            Some(Credentials::new(id.to_owned(), key.to_owned(), token.map(str::to_owned)))
        };
        assert!(profile(text, "default") == keys("A", "a=b", None));
        assert!(profile(text, "other") == keys("B", "b", Some("t")));
        assert!(profile(text, "half").is_none() && profile(text, "none").is_none());
    }
}
