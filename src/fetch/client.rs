//! One URL at a time: limits, time-outs, retries and redirects.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::error::{Error, Result};
use super::mirrors::Url;
use crate::store;

/// Whether anything may be fetched at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It may.
    Online,
    /// It may not: what is not in the store is an error.
    Offline,
}

/// How long to wait, and how often to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, for an answer's head, and for each piece of its body. After as long, a
    /// body must also have come in at 1 KiB a second at least.
    pub stall: Duration,
    /// How often one file is tried in all.
    pub attempts: u32,
    /// Before the second attempt; doubled before each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { stall: Duration::from_secs(30), attempts: 4, pause: Duration::from_millis(500) }
    }
}

/// Fetches over http and https (with the host's certificates, through the proxy that the
/// environment's `http_proxy`, `https_proxy` and `no_proxy` name) and from `file:`.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    network: Network,
    patience: Patience,
}

/// The slowest body that is waited for, in bytes a second.
const SLOWEST: u64 = 1024;
const REDIRECTS: usize = 5;

impl Client {
    /// A client; connections are kept open between its fetches and shared by its clones.
    pub fn new(network: Network, patience: Patience) -> Self {
        let roots = ureq::tls::RootCerts::PlatformVerifier;
        let stall = Some(patience.stall);
        let config = ureq::Agent::config_builder()
            .tls_config(ureq::tls::TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("perestroika/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            // Followed here, so that each step is looked at.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(stall)
            .timeout_connect(stall)
            .timeout_send_request(stall)
            .timeout_recv_response(stall)
            .timeout_per_read(stall)
            .max_idle_connections(16)
            .max_idle_connections_per_host(16)
            .build();
        let connector = ureq::unversioned::transport::DefaultConnector::default();
        let agent = ureq::Agent::with_parts(config, connector, Addresses::default());
        Self { agent, network, patience }
    }

    /// Whether it may fetch.
    pub fn network(&self) -> Network {
        self.network
    }

    /// How long it waits.
    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// The bytes at `url`, `limit` of them at most.
    pub fn get(&self, url: &Url, limit: u64, cancel: &AtomicBool) -> Result<Vec<u8>> {
        self.fetch(url, limit, cancel, |body| {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).map_err(store::Error::Input)?;
            Ok(bytes)
        })
    }

    /// What `consume` makes of the body at `url`, of which it sees `limit` bytes at most. Where
    /// the machine fails rather than the file, both are tried again; `consume` must be able to
    /// begin anew.
    pub(super) fn fetch<T>(
        &self,
        url: &Url,
        limit: u64,
        cancel: &AtomicBool,
        consume: impl Fn(&mut dyn Read) -> Result<T, store::Error>,
    ) -> Result<T> {
        self.patiently(url, cancel, || self.attempt(url, limit, cancel, &consume))
    }

    /// What a server makes of a request: an answer, or its refusal with the status and the reason.
    /// Where the machine or the server fails, it is made again.
    pub(super) fn exchange<T>(
        &self,
        url: &Url,
        cancel: &AtomicBool,
        request: impl Fn(&ureq::Agent) -> Result<Result<T, (u16, String)>, ureq::Error>,
    ) -> Result<T> {
        self.patiently(url, cancel, || match request(&self.agent) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err((status @ (408 | 425 | 429 | 500..), said))) => {
                let said = if said.is_empty() { said } else { format!(": {said}") };
                let answer = format!("the server answered {status}{said}");
                Err(Fault::Machine(io::Error::other(answer)))
            }
            Ok(Err((status, said))) => {
                Err(Fault::Final(Error::Refused { url: url.clone(), status, said }))
            }
            Err(error) => Err(machine(error)),
        })
    }

    /// Tries until it succeeds, will not get better, or has been tried often enough.
    fn patiently<T>(
        &self,
        url: &Url,
        cancel: &AtomicBool,
        attempt_once: impl Fn() -> Result<T, Fault>,
    ) -> Result<T> {
        if self.network == Network::Offline {
            return Err(Error::Offline(url.to_string()));
        }
        let mut pause = self.patience.pause;
        for attempt in 1.. {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let fault = match attempt_once() {
                Err(Fault::Machine(fault)) => fault,
                Err(Fault::Final(error)) => return Err(error),
                Ok(value) => return Ok(value),
            };
            if attempt >= self.patience.attempts {
                return Err(Error::Unreachable {
                    url: url.clone(),
                    attempts: attempt,
                    source: fault,
                });
            }
            wait(pause, cancel);
            pause = pause.saturating_mul(2);
        }
        unreachable!("the loop above has no end")
    }

    fn attempt<T>(
        &self,
        url: &Url,
        limit: u64,
        cancel: &AtomicBool,
        consume: &impl Fn(&mut dyn Read) -> Result<T, store::Error>,
    ) -> Result<T, Fault> {
        let inner = self.open(url)?;
        let mut body = Body {
            inner,
            received: 0,
            limit,
            since: Instant::now(),
            patience: self.patience,
            cancel,
            end: None,
        };
        let consumed = consume(&mut body);
        match (body.end, consumed) {
            (Some(End::Cancelled), _) => Err(Fault::Final(Error::Cancelled)),
            (Some(End::TooLarge), _) => {
                Err(Fault::Final(Error::TooLarge { url: url.clone(), limit }))
            }
            (_, Err(store::Error::Input(error))) => Err(Fault::Machine(error)),
            (_, Err(error)) => Err(Fault::Final(refused(url, error))),
            (None, Ok(value)) => Ok(value),
        }
    }

    /// The body at `url`, wherever it leads.
    fn open(&self, url: &Url) -> Result<Box<dyn Read>, Fault> {
        let mut here = url.clone();
        for _ in 0..=REDIRECTS {
            if let Some(path) = here.file() {
                return match File::open(&path) {
                    Ok(file) => Ok(Box::new(file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        Err(Fault::Final(missing(url)))
                    }
                    Err(error) => Err(Fault::Final(Error::Unreachable {
                        url: here,
                        attempts: 1,
                        source: error,
                    })),
                };
            }
            let response = self.agent.get(here.as_str()).call().map_err(machine)?;
            match response.status().as_u16() {
                200 => {
                    let body = response.into_body().into_with_config().limit(u64::MAX);
                    return Ok(Box::new(body.reader()));
                }
                301 | 302 | 303 | 307 | 308 => {
                    let to = response.headers().get("location");
                    let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
                    here = here.led_to(to).map_err(|why| {
                        let to = to.chars().take(200).collect();
                        Fault::Final(Error::Redirect { url: url.clone(), to, why })
                    })?;
                }
                404 | 410 => return Err(Fault::Final(missing(url))),
                status @ (408 | 425 | 429 | 500..) => {
                    let answer = format!("the server answered {status}");
                    return Err(Fault::Machine(io::Error::other(answer)));
                }
                status => return Err(Fault::Final(Error::Status { url: url.clone(), status })),
            }
        }
        let why = "it leads on and on";
        Err(Fault::Final(Error::Redirect { url: url.clone(), to: here.to_string(), why }))
    }
}

/// Why an attempt failed.
enum Fault {
    /// The network or the server: worth another attempt.
    Machine(io::Error),
    /// It will not get better.
    Final(Error),
}

fn machine(error: ureq::Error) -> Fault {
    Fault::Machine(error.into_io())
}

fn missing(url: &Url) -> Error {
    Error::Missing { what: url.to_string(), urls: vec![url.clone()], sha256: None }
}

/// The store's refusal of bytes, as one of the place they came from.
pub(super) fn refused(url: &Url, error: store::Error) -> Error {
    match error {
        store::Error::Unexpected { expected, expected_size, actual, actual_size } => {
            let url = url.clone();
            Error::WrongDigest { url, expected, expected_size, actual, actual_size }
        }
        store::Error::Oversized { expected_size, .. } => {
            Error::TooLarge { url: url.clone(), limit: expected_size }
        }
        error => Error::Store(error),
    }
}

fn wait(pause: Duration, cancel: &AtomicBool) {
    let end = Instant::now() + pause;
    while !cancel.load(Ordering::Relaxed) {
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return;
        }
        thread::sleep(rest.min(Duration::from_millis(50)));
    }
}

/// A body that ends when it has been too much, too slow, or nobody wants it any more.
struct Body<'a> {
    inner: Box<dyn Read>,
    received: u64,
    limit: u64,
    since: Instant,
    patience: Patience,
    cancel: &'a AtomicBool,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Cancelled,
    TooLarge,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            self.end = Some(End::Cancelled);
            return Err(io::Error::other("cancelled"));
        }
        // One byte more than allowed tells a body that is too large from one that just fits.
        let most = usize::try_from(self.limit - self.received + 1).unwrap_or(usize::MAX);
        let most = most.min(into.len());
        let count = self.inner.read(&mut into[..most])?;
        self.received += count as u64;
        if self.received > self.limit {
            self.end = Some(End::TooLarge);
            return Err(io::Error::other("too large"));
        }
        let elapsed = self.since.elapsed();
        let expected = elapsed.as_secs_f64() * SLOWEST as f64;
        if count > 0 && elapsed > self.patience.stall && (self.received as f64) < expected {
            let (bytes, seconds) = (self.received, elapsed.as_secs());
            let slow = format!("too slow: {bytes} bytes in {seconds} seconds");
            return Err(io::Error::new(io::ErrorKind::TimedOut, slow));
        }
        Ok(count)
    }
}
