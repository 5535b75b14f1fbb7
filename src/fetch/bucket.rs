//! Objects of a store that speaks the S3 protocol: put there whole, and looked at.

mod signature;

use std::fs::File;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Client;
use super::error::{Error, Result};
use super::mirrors::Url;
use crate::base::{HostPath, Sha256};
pub use signature::Credentials;
use signature::{Request, authorization, escaped};

/// A bucket, and the keys to it.
pub struct Bucket {
    client: Client,
    /// `https://host`, or `https://host/bucket`.
    base: String,
    region: String,
    credentials: Credentials,
}

/// What the store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// In bytes.
    pub size: u64,
    /// The digest that whoever put it there said it has.
    pub claimed: Option<Sha256>,
    /// The digest that the store itself has computed; none if it does not.
    pub computed: Option<Sha256>,
}

/// What the object's digest is kept as, beside it.
const CLAIM: &str = "x-amz-meta-sha256";
/// What a store that computes digests tells them in.
const COMPUTED: &str = "x-amz-checksum-sha256";
/// SHA-256 of nothing.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// How much of a refusal is read.
const REFUSAL: u64 = 64 << 10;

impl Bucket {
    /// A bucket at an endpoint; without one, where its region's own store answers.
    ///
    /// # Errors
    /// [`Error::Url`] for an endpoint that is none.
    pub fn new(
        client: Client,
        endpoint: Option<&str>,
        name: &str,
        region: &str,
        credentials: Credentials,
    ) -> Result<Self> {
        let base = match endpoint {
            Some(endpoint) => format!("{}/{}", endpoint.trim_end_matches('/'), escaped(name)),
            // A dot in its name would be one more level of the host's, which no certificate has.
            None if name.contains('.') => {
                format!("https://s3.{region}.amazonaws.com/{}", escaped(name))
            }
            None => format!("https://{name}.s3.{region}.amazonaws.com"),
        };
        let url: Url = base.parse()?;
        if !url.as_str().starts_with("http") {
            return Err(Error::Url(base));
        }
        Ok(Self { client, base, region: region.to_owned(), credentials })
    }

    /// What is there under this name; nothing if there is no such object.
    ///
    /// # Errors
    /// Those of the network after all attempts, and [`Error::Refused`].
    pub fn head(&self, key: &str, cancel: &AtomicBool) -> Result<Option<Head>> {
        let url = self.url(key)?;
        self.client.exchange(&url, cancel, |agent| {
            let mut request = agent.head(url.as_str());
            let more = [("x-amz-checksum-mode", "ENABLED".to_owned())];
            for (name, value) in self.headers("HEAD", &url, NOTHING, &more) {
                request = request.header(name, value);
            }
            let response = request.call()?;
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            Ok(match response.status().as_u16() {
                200 => Ok(Some(Head {
                    size: header("content-length").and_then(|size| size.parse().ok()).unwrap_or(0),
                    claimed: header(CLAIM).and_then(|digest| digest.parse().ok()),
                    computed: header(COMPUTED).and_then(digest_of),
                })),
                404 => Ok(None),
                status => Err((status, String::new())),
            })
        })
    }

    /// Puts a file there whole. The store refuses other bytes than those with this digest.
    ///
    /// # Errors
    /// Those of the network after all attempts, and [`Error::Refused`].
    pub fn put(
        &self,
        key: &str,
        path: &HostPath,
        sha256: &Sha256,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let url = self.url(key)?;
        let sum = STANDARD.encode(sha256.as_bytes());
        let more = [(COMPUTED, sum), (CLAIM, sha256.to_string())];
        self.client.exchange(&url, cancel, |agent| {
            let file = File::open(path).map_err(ureq::Error::Io)?;
            let size = file.metadata().map_err(ureq::Error::Io)?.len();
            let mut request = agent.put(url.as_str()).header("content-length", size);
            for (name, value) in self.headers("PUT", &url, &sha256.to_string(), &more) {
                request = request.header(name, value);
            }
            let mut response = request.send(file)?;
            Ok(match response.status().as_u16() {
                200 | 201 | 204 => Ok(()),
                status => {
                    let body = response.body_mut().with_config().limit(REFUSAL).read_to_string();
                    Err((status, said(&body.unwrap_or_default())))
                }
            })
        })
    }

    fn url(&self, key: &str) -> Result<Url> {
        format!("{}/{}", self.base, escaped(key)).parse()
    }

    /// The headers of a request, signed.
    fn headers(
        &self,
        method: &str,
        url: &Url,
        payload: &str,
        more: &[(&'static str, String)],
    ) -> Vec<(&'static str, String)> {
        let (host, path) = host_and_path(url.as_str());
        let now = jiff::Timestamp::now();
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![
            ("host", host.to_owned()),
            ("x-amz-content-sha256", payload.to_owned()),
            ("x-amz-date", time.clone()),
        ];
        headers.extend(more.iter().cloned());
        let token = self.credentials.token().map(str::to_owned);
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        headers.sort();
        let request = Request { method, path, headers: &headers, payload, time: &time };
        let authorization = authorization(&request, &self.region, &self.credentials);
        headers.push(("authorization", authorization));
        headers
    }
}

/// `host:port` and the path of a URL.
fn host_and_path(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let usual = if scheme == "https" { ":443" } else { ":80" };
    (host.strip_suffix(usual).unwrap_or(host), if path.is_empty() { "/" } else { path })
}

fn digest_of(base64: &str) -> Option<Sha256> {
    Some(Sha256::from_bytes(STANDARD.decode(base64).ok()?.try_into().ok()?))
}

/// The code and the message of a refusal, which is a small XML document.
fn said(xml: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
    };
    let parts: Vec<&str> = ["Code", "Message"].into_iter().filter_map(element).collect();
    parts.join(": ").chars().filter(|letter| !letter.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why() {
        let xml = "<Error><Code>AccessDenied</Code>\n<Message> no </Message></Error>";
        assert_eq!(said(xml), "AccessDenied: no");
        assert_eq!(said("<html>"), "");
    }

    #[test]
    fn the_usual_port_is_no_part_of_the_host() {
        for (url, expected) in [
            ("https://a:443/b/c", ("a", "/b/c")),
            ("http://a:9000", ("a:9000", "/")),
            ("http://a:80/", ("a", "/")),
        ] {
            assert_eq!(host_and_path(url), expected);
        }
    }
}
