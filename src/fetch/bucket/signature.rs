//! Signing requests as the S3 protocol wants it: AWS Signature Version 4, HMAC-SHA256 over a
//! canonical form of the request.

use std::fmt;

use crate::base::{Sha256, Sha256Hasher};

/// Who we are to an object store. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Credentials {
    /// The id of a key, the key, and the token of a session if it is one's.
    pub fn new(id: String, secret: String, token: Option<String>) -> Self {
        Self { id, secret, token }
    }

    /// The session's token.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A request without a query.
pub(super) struct Request<'a> {
    pub method: &'a str,
    /// As it is sent: escaped.
    pub path: &'a str,
    /// All that are signed, sorted; names in lower case.
    pub headers: &'a [(&'static str, String)],
    /// SHA-256 of the body, in hex.
    pub payload: &'a str,
    /// `20130524T000000Z`
    pub time: &'a str,
}

/// The header `Authorization` of a request.
pub(super) fn authorization(
    request: &Request<'_>,
    region: &str,
    credentials: &Credentials,
) -> String {
    let Request { method, path, headers, payload, time } = request;
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("{method}\n{path}\n\n{lines}\n{names}\n{payload}");
    let day = time.split('T').next().unwrap_or_default();
    let scope = format!("{day}/{region}/s3/aws4_request");
    let digest = Sha256::of(canonical.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut key = format!("AWS4{}", credentials.secret).into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes()).as_bytes().to_vec();
    }
    let signature = hmac(&key, text.as_bytes());
    let id = &credentials.id;
    format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
}

/// A name as it is written in a path: everything escaped but letters, digits, `-._~` and `/`.
pub(super) fn escaped(name: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Sha256 {
    let mut block = [0; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(Sha256::of(key).as_bytes()),
    }
    let over = |pad: u8, text: &[u8]| {
        let mut hasher = Sha256Hasher::new();
        hasher.update(&block.map(|byte| byte ^ pad));
        hasher.update(text);
        hasher.finish()
    };
    over(0x5c, over(0x36, message).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the protocol's own documentation ("Signature Calculations for the
    /// Authorization Header: Transferring Payload in a Single Chunk").
    #[test]
    fn requests_are_signed_as_the_protocol_says() {
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            None,
        );
        let host = ("host", "examplebucket.s3.amazonaws.com".to_owned());
        let time = "20130524T000000Z";
        let date = ("x-amz-date", time.to_owned());
        let nothing = Sha256::of(b"").to_string();
        let text = Sha256::of(b"Welcome to Amazon S3.").to_string();
        let get = [
            host.clone(),
            ("range", "bytes=0-9".to_owned()),
            ("x-amz-content-sha256", nothing.clone()),
            date.clone(),
        ];
        let put = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
            host,
            ("x-amz-content-sha256", text.clone()),
            date,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
        ];
        for (method, path, headers, payload, expected) in [
            (
                "GET",
                "/test.txt",
                &get[..],
                &nothing,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test%24file.text",
                &put[..],
                &text,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
        ] {
            let request = Request { method, path, headers, payload, time };
            let made = authorization(&request, "us-east-1", &credentials);
            let signature = made.rsplit_once("Signature=").map(|(_, signature)| signature);
            assert_eq!(signature, Some(expected), "{method}");
        }
        assert!(!format!("{credentials:?}").contains("EXAMPLE"));
    }

    #[test]
    fn long_keys_are_hashed_first() {
        // RFC 4231, test case 6.
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hmac(&[0xaa; 131], message).to_string(),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn names_are_escaped_byte_by_byte() {
        assert_eq!(escaped("pool/g++_1~rc_ä.deb"), "pool/g%2B%2B_1~rc_%C3%A4.deb");
    }
}
