//! Places that files are fetched from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Error;
use crate::base::HostPath;

/// An `http:`, `https:` or `file:` URL. Shown without the password it may hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url(String);

impl Url {
    /// The URL of a folder of this host.
    pub fn of_folder(folder: &HostPath) -> Self {
        let path = folder.as_path().to_string_lossy();
        Self("file://".to_owned()).join(path.trim_matches('/'))
    }

    /// The URL of a file below this one: `path` is plain, what needs it is escaped.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        url.push('/');
        for byte in path.bytes() {
            match byte {
                // `+` too, as apt does: some servers take it for a blank (RFC 3986 section 2.3).
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                    url.push(byte.into());
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        Self(url)
    }

    /// The URL as requests name it.
    pub(in crate::fetch) fn as_str(&self) -> &str {
        &self.0
    }

    /// The file it names, if it is one of this host.
    pub(in crate::fetch) fn file(&self) -> Option<PathBuf> {
        let path = self.0.strip_prefix("file://")?;
        let mut bytes = Vec::with_capacity(path.len());
        let mut rest = path.as_bytes();
        while let [byte, after @ ..] = rest {
            let escaped = (*byte == b'%').then(|| after.get(..2)).flatten();
            let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
            match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => (bytes.push(byte), rest = &after[2..]),
                None => (bytes.push(*byte), rest = after),
            };
        }
        Some(PathBuf::from(std::ffi::OsString::from(String::from_utf8(bytes).ok()?)))
    }

    /// Where a redirect leads (RFC 9110 section 10.2.2), or why we do not follow: it may only
    /// keep the scheme, or go from http to https.
    pub(in crate::fetch) fn led_to(&self, to: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = self.0.split_once("://").expect("a URL has been parsed");
        let host = rest.split('/').next().unwrap_or_default();
        let target = if to.starts_with("//") {
            format!("{scheme}:{to}")
        } else if to.starts_with('/') {
            format!("{scheme}://{host}{to}")
        } else if to.split('/').next().is_some_and(|first| first.contains(':')) {
            to.to_owned()
        } else if to.is_empty() {
            return Err("it does not say where");
        } else {
            let folder = self.0.rsplit_once('/').map_or(&*self.0, |(folder, _)| folder);
            format!("{folder}/{to}")
        };
        let target = target.split('#').next().unwrap_or_default();
        let parsed: Self = target.parse().map_err(|_| "that is no place to fetch from")?;
        match (scheme, parsed.0.split_once("://").map(|(scheme, _)| scheme)) {
            ("http", Some("http" | "https")) | ("https", Some("https")) => Ok(parsed),
            _ => Err("a redirect may not lead to another scheme"),
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    /// Reads a URL; slashes at its end do not count.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Url(text.chars().take(200).collect());
        let (scheme, rest) = match text.strip_prefix("file:/") {
            // apt writes `file:/path` too.
            Some(path) => ("file", format!("/{}", path.trim_start_matches('/'))),
            None => {
                let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
                (scheme, rest.to_owned())
            }
        };
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.trim_end_matches('/');
        let named = scheme == "file" || !rest.split('/').next().unwrap_or_default().is_empty();
        let clean = rest.bytes().all(|byte| byte.is_ascii_graphic());
        if matches!(&*scheme, "http" | "https" | "file") && named && clean {
            Ok(Self(format!("{scheme}://{rest}")))
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").expect("a URL has been parsed");
        let host_end = rest.find('/').unwrap_or(rest.len());
        let start = rest[..host_end].rfind('@').map_or(0, |at| at + 1);
        write!(f, "{scheme}://{}", &rest[start..])
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_can_be_fetched_and_nothing_else() {
        for (text, shown) in [
            ("http://example.org/debian/", "http://example.org/debian"),
            ("HTTPS://example.org", "https://example.org"),
            ("https://user:secret@example.org/x", "https://example.org/x"),
            ("file:///srv/mirror", "file:///srv/mirror"),
            ("file:/srv/mirror/", "file:///srv/mirror"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), shown);
        }
        for text in ["", "example.org", "ftp://example.org", "http://", "http:///x", "cdrom:[x]/"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
        assert!("http://example.org/a b".parse::<Url>().is_err());
    }

    #[test]
    fn file_names_are_escaped() {
        let url: Url = "http://example.org/debian".parse().unwrap();
        assert_eq!(
            url.join("pool/g++_1:2~x%.deb").as_str(),
            "http://example.org/debian/pool/g%2B%2B_1%3A2~x%25.deb"
        );
        let file: Url = "file:///srv".parse().unwrap();
        assert_eq!(file.join("a+b/c%d").file().unwrap(), PathBuf::from("/srv/a+b/c%d"));
    }

    #[test]
    fn redirects_keep_their_scheme_or_become_safer() {
        let check = |from: &str, to: &str| {
            let from: Url = from.parse().unwrap();
            from.led_to(to).map(|url| url.to_string()).ok()
        };
        let to = |text: &str| Some(text.to_owned());
        assert_eq!(check("http://a/x/y", "/z"), to("http://a/z"));
        assert_eq!(check("http://a/x/y", "z"), to("http://a/x/z"));
        assert_eq!(check("http://a/x/y", "//b/z"), to("http://b/z"));
        assert_eq!(check("http://a/x", "http://b/z#f"), to("http://b/z"));
        assert_eq!(check("http://a/x", "https://b/z"), to("https://b/z"));
        for bad in ["http://b/z", "file:///z", "file:/z", "ftp://b/z", "", "javascript://x"] {
            assert_eq!(check("https://a/x", bad), None, "{bad}");
        }
        assert_eq!(check("http://a/x", "file:///etc/passwd"), None);
    }
}
