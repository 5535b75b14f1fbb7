//! Version numbers and their order (Debian Policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a version: {reason}")]
pub struct Error {
    text: String,
    reason: &'static str,
}

/// A version: `[epoch:]upstream[-revision]`.
///
/// It compares as dpkg compares, so versions that are written differently can be equal (`1.0` and
/// `0:1.00`); [`Version::as_str`] tells them apart. As in dpkg, an upstream version that does not
/// begin with a digit is accepted though the policy advises against it.
#[derive(Clone)]
pub struct Version {
    text: Box<str>,
    epoch: u32,
    upstream: usize,
    /// Where the revision's hyphen is, or the text's end.
    hyphen: usize,
}

impl Version {
    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The epoch; 0 where there is none.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The upstream version.
    pub fn upstream(&self) -> &str {
        &self.text[self.upstream..self.hyphen]
    }

    /// The distribution's revision; a native package has none.
    pub fn revision(&self) -> Option<&str> {
        self.text.get(self.hyphen + 1..)
    }

    /// The version without its epoch, as file names have it.
    pub fn without_epoch(&self) -> &str {
        &self.text[self.upstream..]
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Reads a version without white space around it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason| Error { text: text.chars().take(100).collect(), reason };
        let (epoch, upstream) = match text.find(':') {
            None => (0, 0),
            Some(colon) => {
                let digits = &text[..colon];
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(bad("its epoch is not a number"));
                }
                match digits.parse() {
                    Ok(epoch) if epoch <= i32::MAX as u32 => (epoch, colon + 1),
                    _ => return Err(bad("its epoch is too big")),
                }
            }
        };
        let hyphen = text[upstream..].rfind('-').map_or(text.len(), |at| upstream + at);
        let allowed = |byte: u8, more: &[u8]| byte.is_ascii_alphanumeric() || more.contains(&byte);
        if upstream == hyphen {
            return Err(bad("it is empty"));
        }
        if !text[upstream..hyphen].bytes().all(|byte| allowed(byte, b".+-~:")) {
            return Err(bad("letters, digits and `.+-~:` are expected"));
        }
        if hyphen < text.len() {
            let revision = &text[hyphen + 1..];
            if revision.is_empty() {
                return Err(bad("its revision is empty"));
            }
            if !revision.bytes().all(|byte| allowed(byte, b".+~")) {
                return Err(bad("letters, digits and `.+~` are expected in its revision"));
            }
        }
        Ok(Self { text: text.into(), epoch, upstream, hyphen })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream(), other.upstream()))
            .then_with(|| compare(self.revision().unwrap_or(""), other.revision().unwrap_or("")))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.text)
    }
}

/// Compares two upstream versions or two revisions: stretches of non-digits by letter, stretches
/// of digits by number, in turn. `~` sorts before everything, even the end; letters sort before
/// all else.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (word, other) = (take(&mut a, not_digit), take(&mut b, not_digit));
        for at in 0..word.len().max(other.len()) {
            match weight(word.get(at)).cmp(&weight(other.get(at))) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        take(&mut a, |byte| byte == b'0');
        take(&mut b, |byte| byte == b'0');
        let (number, other) = (take(&mut a, is_digit), take(&mut b, is_digit));
        match number.len().cmp(&other.len()).then_with(|| number.cmp(other)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

fn take<'a>(text: &mut &'a [u8], accept: impl Fn(u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|byte| !accept(*byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn not_digit(byte: u8) -> bool {
    !byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_parts_the_policy_names() {
        let parts = |text: &str| {
            let version: Version = text.parse().unwrap();
            let revision = version.revision().map(str::to_owned);
            (version.epoch(), version.upstream().to_owned(), revision)
        };
        assert_eq!(parts("1.2"), (0, "1.2".into(), None));
        assert_eq!(parts("1:2-3"), (1, "2".into(), Some("3".into())));
        assert_eq!(parts("2:1.0:1-rc-1~x"), (2, "1.0:1-rc".into(), Some("1~x".into())));
        assert_eq!("1:2-3".parse::<Version>().unwrap().without_epoch(), "2-3");
    }

    #[test]
    fn refuses_what_dpkg_refuses() {
        for bad in [
            "",
            ":",
            ":1",
            "a:1",
            "-1:1",
            "1:",
            "1-",
            "-1",
            "1 2",
            "1_2",
            "1-2_3",
            "é",
            "4294967296:1",
            "2147483648:1",
            "99999999999999999999:1",
            "1\0",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
        assert!("2147483647:1".parse::<Version>().is_ok());
    }
}
