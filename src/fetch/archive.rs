//! The files of a Debian archive: a suite's signed Release file, its indexes, its pool.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::client::{Client, Network};
use super::error::{Error, Moved, Result};
use super::mirrors::{Mirrors, Url};
use crate::archive::deb::release::ReleaseFile;
use crate::base::Sha256;
use crate::store::{Batch, Object, Store};

/// The largest `InRelease` that is fetched, in bytes; Debian's have 0.3 million.
pub(super) const MAX_RELEASE: u64 = 16 << 20;
/// The largest index whose size nothing states, in bytes; that of Debian's `main` has 50 million.
const MAX_INDEX: u64 = 1 << 30;

/// Where below its root an archive that a bank serves has every file that the bank holds, by its
/// SHA-256.
pub const BY_DIGEST: &str = "by-hash/SHA256/";

/// The path of a suite's signed Release file below the archive's root.
pub(super) fn in_release_path(suite: &str) -> String {
    format!("dists/{suite}/InRelease")
}

/// A suite's `InRelease` as the first mirror that has it has it now; nothing is checked yet.
pub fn in_release(
    client: &Client,
    mirrors: &Mirrors,
    suite: &str,
    cancel: &AtomicBool,
) -> Result<Vec<u8>> {
    let path = in_release_path(suite);
    if client.network() == Network::Offline {
        return Err(Error::Offline(path));
    }
    first(client, mirrors, &path, None, cancel, |url| client.get(url, MAX_RELEASE, cancel))
}

/// An index of a suite.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    /// The suite.
    pub suite: &'a str,
    /// Path below the suite, without compression suffix.
    pub path: &'a str,
    /// Digest and size in bytes of the uncompressed index, where they are known.
    pub expected: Option<(Sha256, u64)>,
    /// The suite's Release file, whose signature was checked when it was locked.
    pub release: &'a ReleaseFile,
    /// SHA-256 of the `InRelease` that holds it.
    pub evidence: Sha256,
}

/// An uncompressed index, from the store or else from a mirror.
///
/// It is fetched compressed, by its digest where the archive has that. The compressed bytes must
/// be what the Release file says before they are unpacked, and unpacked they must be what was
/// expected; unpacking stops at that size.
///
/// # Errors
/// [`Error::Moved`] when the mirror has replaced the index and keeps no older ones;
/// [`Error::WrongDigest`] when it has not, and serves other bytes all the same.
pub fn index(
    store: &Store,
    client: &Client,
    mirrors: &Mirrors,
    index: &Index<'_>,
    cancel: &AtomicBool,
) -> Result<Object> {
    let Index { suite, path, release, .. } = *index;
    let expected =
        index.expected.or_else(|| release.files.get(path).map(|(size, sha256)| (*sha256, *size)));
    if let Some((sha256, _)) = expected
        && let Some(object) = store.find(&sha256)?
    {
        return Ok(object);
    }
    if client.network() == Network::Offline {
        return Err(Error::Offline(format!("dists/{suite}/{path}")));
    }
    let fetched = fetch_index(client, mirrors, index, cancel)?;
    unpack(store, &fetched, expected)
}

/// An index as a mirror has it: the bytes that the Release file names.
struct Fetched {
    url: Url,
    coding: Coding,
    bytes: Vec<u8>,
}

/// How an index is offered: compression, path below the suite, size and digest.
type Offer = (Coding, String, u64, Sha256);

fn offers(release: &ReleaseFile, path: &str) -> impl Iterator<Item = Offer> {
    [Coding::Xz, Coding::Gzip, Coding::Plain].into_iter().filter_map(move |coding| {
        let name = format!("{path}{}", coding.suffix());
        release.files.get(&name).map(|(size, sha256)| (coding, name, *size, *sha256))
    })
}

fn fetch_index(
    client: &Client,
    mirrors: &Mirrors,
    index: &Index<'_>,
    cancel: &AtomicBool,
) -> Result<Fetched> {
    let Index { suite, path, release, .. } = *index;
    let offers: Vec<Offer> = offers(release, path).collect();
    if offers.is_empty() {
        return Err(Error::NoIndex { suite: suite.to_owned(), path: path.to_owned() });
    }
    let mut failure = None;
    for mirror in mirrors.urls(client, cancel)? {
        let from = Mirror { client, mirror, index, cancel };
        match from.any_of(&offers) {
            Ok(fetched) => return Ok(fetched),
            Err(error @ (Error::Cancelled | Error::Store(_))) => return Err(error),
            Err(error) => failure = worse(failure, error),
        }
    }
    Err(failure.expect("there is at least one mirror"))
}

/// The digest of an index as it would be fetched, compressed; none if the suite has none such.
pub fn index_digest(release: &ReleaseFile, path: &str) -> Option<Sha256> {
    offers(release, path).next().map(|(_, _, _, sha256)| sha256)
}

/// Has `consume` read an index that is not kept: some are too large for what is needed of them.
/// The compressed bytes are checked before they are unpacked, which stops at the size that the
/// Release file states, or else at a gibibyte.
pub fn read_index<T>(
    client: &Client,
    mirrors: &Mirrors,
    index: &Index<'_>,
    cancel: &AtomicBool,
    consume: impl FnOnce(&mut dyn BufRead) -> std::io::Result<T>,
) -> Result<T> {
    if client.network() == Network::Offline {
        return Err(Error::Offline(format!("dists/{}/{}", index.suite, index.path)));
    }
    let fetched = fetch_index(client, mirrors, index, cancel)?;
    let limit = index.release.files.get(index.path).map_or(MAX_INDEX, |(size, _)| *size);
    let mut reader = BufReader::with_capacity(1 << 16, fetched.reader().take(limit.min(MAX_INDEX)));
    consume(&mut reader).map_err(|source| Error::Unpack { url: fetched.url.clone(), source })
}

/// Of two failures at two mirrors the one that says more: anything says more than absence, and
/// other bytes than expected say more than no answer.
pub(super) fn worse(known: Option<Error>, new: Error) -> Option<Error> {
    match (known, new) {
        (Some(Error::Missing { what, mut urls, sha256 }), Error::Missing { urls: more, .. }) => {
            urls.extend(more);
            Some(Error::Missing { what, urls, sha256 })
        }
        (None | Some(Error::Missing { .. }), new) => Some(new),
        (Some(known), new @ Error::WrongDigest { .. })
            if !matches!(known, Error::WrongDigest { .. }) =>
        {
            Some(new)
        }
        (known, _) => known,
    }
}

/// One mirror, asked for one index.
struct Mirror<'a> {
    client: &'a Client,
    mirror: &'a Url,
    index: &'a Index<'a>,
    cancel: &'a AtomicBool,
}

impl Mirror<'_> {
    /// The first of these that it has. Not every mirror has all that the Release file lists: most
    /// have no uncompressed index, and a bank has nothing else, but that by its digest too.
    fn any_of(&self, offers: &[Offer]) -> Result<Fetched> {
        let mut failure = None;
        for (coding, name, size, sha256) in offers {
            match self.one(name, *size, *sha256) {
                Ok((url, bytes)) => return Ok(Fetched { url, coding: *coding, bytes }),
                Err(error @ Error::Missing { .. }) => {
                    // The first of them is the one that is told of.
                    failure.get_or_insert((error, *sha256));
                }
                Err(error @ Error::Moved(_)) => {
                    failure = Some((error, *sha256));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some((sha256, size)) = self.index.expected {
            let url = self.mirror.join(&format!("{BY_DIGEST}{sha256}"));
            match self.checked(&url, size, sha256) {
                Ok(bytes) => return Ok(Fetched { url, coding: Coding::Plain, bytes }),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(_no_bank) => {}
            }
        }
        match failure.expect("there is at least one offer") {
            (Error::Missing { .. }, sha256) if self.has_moved_on()? => Err(self.moved(sha256)),
            (error, _) => Err(error),
        }
    }

    fn one(&self, name: &str, size: u64, sha256: Sha256) -> Result<(Url, Vec<u8>)> {
        let suite = self.index.suite;
        let plain = self.mirror.join(&format!("dists/{suite}/{name}"));
        if self.index.release.acquire_by_hash {
            let folder = name.rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
            let folder = folder.unwrap_or_default();
            let path = format!("dists/{suite}/{folder}by-hash/SHA256/{sha256}");
            let url = self.mirror.join(&path);
            match self.checked(&url, size, sha256) {
                Err(Error::Missing { .. }) => {}
                result => return result.map(|bytes| (url, bytes)),
            }
        }
        match self.checked(&plain, size, sha256) {
            Ok(bytes) => Ok((plain, bytes)),
            Err(Error::WrongDigest { .. } | Error::TooLarge { .. }) if self.has_moved_on()? => {
                Err(self.moved(sha256))
            }
            Err(Error::Missing { urls, .. }) => {
                let what = format!("dists/{suite}/{name}");
                Err(Error::Missing { what, urls, sha256: Some(sha256) })
            }
            Err(error) => Err(error),
        }
    }

    fn moved(&self, sha256: Sha256) -> Error {
        Error::Moved(Box::new(Moved {
            suite: self.index.suite.to_owned(),
            path: self.index.path.to_owned(),
            mirror: self.mirror.clone(),
            pinned: self.index.expected.map_or(sha256, |(pinned, _)| pinned),
        }))
    }

    fn checked(&self, url: &Url, size: u64, sha256: Sha256) -> Result<Vec<u8>> {
        let bytes = self.client.get(url, size.min(MAX_INDEX), self.cancel)?;
        let (actual, actual_size) = (Sha256::of(&bytes), bytes.len() as u64);
        if (actual, actual_size) == (sha256, size) {
            return Ok(bytes);
        }
        Err(Error::WrongDigest {
            url: url.clone(),
            expected: sha256,
            expected_size: size,
            actual,
            actual_size,
        })
    }

    /// Whether the mirror has another Release file by now than the one that was locked.
    fn has_moved_on(&self) -> Result<bool> {
        let url = self.mirror.join(&in_release_path(self.index.suite));
        match self.client.get(&url, MAX_RELEASE, self.cancel) {
            Ok(bytes) => Ok(Sha256::of(&bytes) != self.index.evidence),
            Err(Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How an index is compressed.
#[derive(Clone, Copy)]
enum Coding {
    Xz,
    Gzip,
    Plain,
}

impl Coding {
    fn suffix(self) -> &'static str {
        match self {
            Self::Xz => ".xz",
            Self::Gzip => ".gz",
            Self::Plain => "",
        }
    }
}

impl Fetched {
    /// Its text.
    fn reader(&self) -> Box<dyn Read + '_> {
        match self.coding {
            Coding::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(&*self.bytes)),
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&*self.bytes)),
            Coding::Plain => Box::new(&*self.bytes),
        }
    }
}

fn unpack(store: &Store, fetched: &Fetched, expected: Option<(Sha256, u64)>) -> Result<Object> {
    let (url, reader) = (&fetched.url, fetched.reader());
    let limit = expected.map_or(MAX_INDEX, |(_, size)| size);
    // One byte more, so that the store sees that there is too much.
    let put = store.put_file(reader.take(limit.saturating_add(1)), expected);
    use crate::store::Error as Refused;
    match put {
        Ok(object) if object.size > limit => Err(Error::TooLarge { url: url.clone(), limit }),
        Ok(object) => Ok(object),
        Err(Refused::Input(source)) => Err(Error::Unpack { url: url.clone(), source }),
        Err(error) => Err(super::client::refused(url, error)),
    }
}

/// A file of an archive's pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFile {
    /// Path below the archive's root.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// A file of the pool, from the store or else from a mirror.
pub fn pool(
    store: &Store,
    client: &Client,
    mirrors: &Mirrors,
    file: &PoolFile,
    cancel: &AtomicBool,
) -> Result<Object> {
    let batch = store.batch();
    let object = one(store, &batch, client, mirrors, file, cancel, &|_| {})?;
    batch.commit()?;
    Ok(object)
}

/// How far [`pool_many`] has come. What the store had already does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is happening.
    pub stage: Stage,
    /// Files that have arrived.
    pub files_done: usize,
    /// Files to fetch.
    pub files: usize,
    /// Bytes that have arrived.
    pub bytes_done: u64,
    /// Bytes to fetch.
    pub bytes: u64,
}

/// What [`pool_many`] is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Fetching.
    #[default]
    Fetching,
    /// Making what has come durable.
    Storing,
}

/// Files of the pool in the order asked for, from the store or else from mirrors, `jobs` at a
/// time. `progress` is called from several threads, about once per piece received.
///
/// # Errors
/// The first failure stops the rest and is returned; what had arrived whole by then is kept.
pub fn pool_many(
    store: &Store,
    client: &Client,
    mirrors: &Mirrors,
    files: &[PoolFile],
    jobs: usize,
    progress: &(dyn Fn(Progress) + Sync),
    cancel: &AtomicBool,
) -> Result<Vec<Object>> {
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        found.push(store.find(&file.sha256)?);
    }
    let wanted: Vec<usize> = (0..files.len()).filter(|index| found[*index].is_none()).collect();
    if !wanted.is_empty() {
        let run = Run {
            batch: store.batch(),
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            bytes: wanted.iter().map(|index| files[*index].size).sum(),
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
        };
        let results: Vec<Mutex<Option<Object>>> = wanted.iter().map(|_| Mutex::default()).collect();
        let report = |stage| {
            progress(Progress {
                stage,
                files_done: run.done.load(Ordering::Relaxed),
                files: wanted.len(),
                bytes_done: run.received.load(Ordering::Relaxed),
                bytes: run.bytes,
            });
        };
        report(Stage::Fetching);
        // Asked once, before the threads would all ask at the same time.
        if client.network() == Network::Online {
            mirrors.urls(client, cancel)?;
        }
        let work = || {
            while !run.failed.load(Ordering::Relaxed) {
                let turn = run.next.fetch_add(1, Ordering::Relaxed);
                let Some(index) = wanted.get(turn) else { return };
                let received = |count| {
                    run.received.fetch_add(count, Ordering::Relaxed);
                    report(Stage::Fetching);
                };
                let file = &files[*index];
                let result = one(store, &run.batch, client, mirrors, file, cancel, &received);
                let result = result.and_then(|object| {
                    let before = run.fetched.fetch_add(object.size, Ordering::Relaxed);
                    if before / PORTION != (before + object.size) / PORTION {
                        run.batch.flush()?;
                    }
                    Ok(object)
                });
                match result {
                    Ok(object) => {
                        *results[turn].lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(object);
                        run.done.fetch_add(1, Ordering::Relaxed);
                        report(Stage::Fetching);
                    }
                    Err(error) => {
                        run.failed.store(true, Ordering::Relaxed);
                        let mut failure =
                            run.failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(error);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, 64).min(wanted.len()) {
                scope.spawn(work);
            }
        });
        report(Stage::Storing);
        let failure = run.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        run.batch.commit()?;
        if let Some(error) = failure {
            return Err(error);
        }
        for (index, result) in wanted.into_iter().zip(results) {
            found[index] = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
    }
    Ok(found.into_iter().map(|one| one.expect("every file was found or fetched")).collect())
}

/// So many bytes are fetched before they are made durable together: whoever is killed loses no
/// more than that.
const PORTION: u64 = 16 << 20;

/// What the threads of one [`pool_many`] share.
struct Run<'a> {
    batch: Batch<'a>,
    next: AtomicUsize,
    done: AtomicUsize,
    received: AtomicU64,
    /// Bytes of the files that are complete.
    fetched: AtomicU64,
    bytes: u64,
    failure: Mutex<Option<Error>>,
    failed: AtomicBool,
}

/// A file that is not in the store, into `batch`; `received` hears of bytes as they come, and of
/// as many less when an attempt is given up.
fn one(
    store: &Store,
    batch: &Batch<'_>,
    client: &Client,
    mirrors: &Mirrors,
    file: &PoolFile,
    cancel: &AtomicBool,
    received: &dyn Fn(u64),
) -> Result<Object> {
    if let Some(object) = store.find(&file.sha256)? {
        return Ok(object);
    }
    if client.network() == Network::Offline {
        return Err(Error::Offline(file.path.clone()));
    }
    let expect = Some((file.sha256, file.size));
    let get = |url: &Url| {
        client.fetch(url, file.size, cancel, |body| {
            let mut counted = Counted { inner: body, count: 0, received };
            let put = batch.put_file(&mut counted, expect);
            if put.is_err() {
                received(counted.count.wrapping_neg());
            }
            put
        })
    };
    let found = first(client, mirrors, &file.path, Some(file.sha256), cancel, get);
    let Err(missing @ Error::Missing { .. }) = found else { return found };
    // A bank has what it has under its digest too, whatever state it is pinned to.
    let by_digest = format!("{BY_DIGEST}{}", file.sha256);
    match first(client, mirrors, &by_digest, Some(file.sha256), cancel, get) {
        Err(Error::Cancelled) => Err(Error::Cancelled),
        Err(Error::Store(error)) => Err(Error::Store(error)),
        other => other.map_err(|_| missing),
    }
}

struct Counted<'a> {
    inner: &'a mut dyn Read,
    count: u64,
    received: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count += count as u64;
        if count > 0 {
            (self.received)(count as u64);
        }
        Ok(count)
    }
}

/// The file at `path` from the first mirror where `get` succeeds.
fn first<T>(
    client: &Client,
    mirrors: &Mirrors,
    path: &str,
    sha256: Option<Sha256>,
    cancel: &AtomicBool,
    get: impl Fn(&Url) -> Result<T>,
) -> Result<T> {
    let mut failure = None;
    for mirror in mirrors.urls(client, cancel)? {
        match get(&mirror.join(path)) {
            Ok(value) => return Ok(value),
            Err(error @ (Error::Cancelled | Error::Store(_))) => return Err(error),
            Err(Error::Missing { urls, .. }) => {
                let error = Error::Missing { what: path.to_owned(), urls, sha256 };
                failure = worse(failure, error);
            }
            Err(error) => failure = worse(failure, error),
        }
    }
    Err(failure.expect("there is at least one mirror"))
}
