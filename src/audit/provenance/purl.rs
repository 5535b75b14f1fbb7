//! Package URLs of Debian packages (ECMA-427, and its type `deb`).

use std::fmt::Write as _;

/// The package URL of a package: `pkg:deb/debian/libc6@2.36-9?arch=amd64`. `vendor` is who
/// distributes it, `architecture` also `source`.
pub fn purl(vendor: &str, name: &str, version: &str, architecture: &str) -> String {
    let mut url = "pkg:deb/".to_owned();
    encode(&mut url, &vendor.to_lowercase());
    url.push('/');
    encode(&mut url, &name.to_lowercase());
    url.push('@');
    encode(&mut url, version);
    url.push_str("?arch=");
    encode(&mut url, architecture);
    url
}

/// Percent-encodes all but what a package URL leaves as it is: unreserved characters, and colons.
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_cannot_have_is_encoded() {
        let url = purl("Debian", "g++-12", "1:2.0~rc1+b1-3", "amd64");
        assert_eq!(url, "pkg:deb/debian/g%2B%2B-12@1:2.0~rc1%2Bb1-3?arch=amd64");
        assert_eq!(purl("a b/c", "x", "1", "source"), "pkg:deb/a%20b%2Fc/x@1?arch=source");
    }
}
