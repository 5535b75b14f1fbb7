//! Canonical JSON: the one byte string of a value, so that its hash is its name.
//!
//! Keys are sorted by their UTF-8 bytes, there is no insignificant white space, and numbers are
//! integers within ±(2^53-1) (RFC 8259 section 6: what every reader agrees on). The bytes are
//! those that `jq -cjS .` prints, DEL escaped as `\u007f` included; `tests/canonical_json.rs`
//! holds the two against each other.

use std::collections::BTreeMap;

/// The largest integer that every JSON reader keeps exactly.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value of the canonical kind: no floats, no booleans, no null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// An integer within ±[`MAX_INTEGER`].
    Integer(i64),
    /// A string.
    String(String),
    /// A list, whose order counts.
    Array(Vec<Json>),
    /// A map, written in the order of its keys.
    Object(BTreeMap<String, Json>),
}

/// Why some bytes are not canonical JSON.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON at all.
    #[error("not JSON")]
    Syntax(#[from] serde_json::Error),
    /// JSON, but of a kind that canonical JSON leaves out.
    #[error("{0} has no canonical form: only integers within 2^53, strings, lists and maps have")]
    Kind(&'static str),
    /// The same value would be written otherwise.
    #[error("the bytes are not in canonical form")]
    Form,
}

impl Json {
    /// An object of these members.
    pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A list of what `items` turn into.
    pub fn array<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }

    /// A string of what `value` displays.
    pub fn text(value: impl std::fmt::Display) -> Self {
        Self::String(value.to_string())
    }

    /// The canonical bytes.
    ///
    /// ```
    /// use perestroika::base::Json;
    /// let value = Json::object([("b", Json::Integer(1)), ("a", "x".into())]);
    /// assert_eq!(value.encode(), br#"{"a":"x","b":1}"#);
    /// ```
    ///
    /// # Panics
    /// If an integer is beyond [`MAX_INTEGER`]: no field of ours can hold one.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => {
                assert!(value.abs() <= MAX_INTEGER, "{value} is beyond 2^53");
                out.extend_from_slice(value.to_string().as_bytes());
            }
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(key, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// Reads any JSON of the canonical kind, however it is written.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_value(serde_json::from_slice(bytes)?)
    }

    /// Reads canonical bytes, and nothing that only means the same.
    pub fn read_canonical(bytes: &[u8]) -> Result<Self, Error> {
        let value = Self::read(bytes)?;
        if value.encode() == bytes { Ok(value) } else { Err(Error::Form) }
    }

    fn from_value(value: serde_json::Value) -> Result<Self, Error> {
        use serde_json::Value;
        match value {
            Value::Null => Err(Error::Kind("null")),
            Value::Bool(_) => Err(Error::Kind("a boolean")),
            Value::Number(number) => number
                .as_i64()
                .filter(|value| value.abs() <= MAX_INTEGER)
                .map(Self::Integer)
                .ok_or(Error::Kind("a number that is no integer within 2^53")),
            Value::String(text) => Ok(Self::String(text)),
            Value::Array(items) => {
                items.into_iter().map(Self::from_value).collect::<Result<_, _>>().map(Self::Array)
            }
            Value::Object(members) => members
                .into_iter()
                .map(|(key, value)| Ok((key, Self::from_value(value)?)))
                .collect::<Result<_, _>>()
                .map(Self::Object),
        }
    }
}

/// Canonical JSON of an object, written member by member without a tree of it in memory.
///
/// # Panics
/// If members do not come in the order of their keys, each once.
#[derive(Debug)]
pub struct Members {
    out: Vec<u8>,
    last: &'static str,
}

impl Members {
    /// An object without members, for which `room` bytes are set aside.
    pub fn new(room: usize) -> Self {
        let mut out = Vec::with_capacity(room);
        out.push(b'{');
        Self { out, last: "" }
    }

    /// A member of any kind.
    pub fn value(&mut self, key: &'static str, value: &Json) {
        self.key(key);
        value.write(&mut self.out);
    }

    /// A string.
    pub fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        write_string(text, &mut self.out);
    }

    /// A list of strings.
    pub fn texts<T: AsRef<str>>(&mut self, key: &'static str, texts: impl IntoIterator<Item = T>) {
        self.key(key);
        self.out.push(b'[');
        for (index, text) in texts.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(text.as_ref(), &mut self.out);
        }
        self.out.push(b']');
    }

    /// A map of strings.
    pub fn map(&mut self, key: &'static str, map: &BTreeMap<String, String>) {
        self.key(key);
        self.out.push(b'{');
        for (index, (key, text)) in map.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(key, &mut self.out);
            self.out.push(b':');
            write_string(text, &mut self.out);
        }
        self.out.push(b'}');
    }

    /// The bytes.
    pub fn end(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }

    fn key(&mut self, key: &'static str) {
        assert!(self.last < key, "`{key}` does not come after `{}`", self.last);
        if !self.last.is_empty() {
            self.out.push(b',');
        }
        self.last = key;
        write_string(key, &mut self.out);
        self.out.push(b':');
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f);
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    while !rest.is_empty() {
        let plain = rest.iter().take_while(|byte| is_plain(byte)).count();
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x8 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0xc => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Self {
        Self::String(text.clone())
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_nothing_is_wasted() {
        let value = Json::read(b" {\"b\": [1, -2], \"a\" : \"x\\u0041\"} ").expect("JSON");
        assert_eq!(value.encode(), br#"{"a":"xA","b":[1,-2]}"#);
    }

    #[test]
    fn members_are_written_as_their_tree_would_be() {
        let map = BTreeMap::from([("b".to_owned(), "\"".to_owned()), ("a".into(), "\n".into())]);
        let mut members = Members::new(0);
        members.value("list", &Json::array(["x"]));
        members.map("map", &map);
        members.text("text", "y\u{7f}");
        members.texts("texts", ["1", "2"]);
        members.texts::<&str>("texts_none", []);
        let bytes = members.end();
        assert_eq!(
            bytes,
            br#"{"list":["x"],"map":{"a":"\n","b":"\""},"text":"y\u007f","texts":["1","2"],"texts_none":[]}"#
        );
        assert!(Json::read_canonical(&bytes).is_ok());
    }

    #[test]
    fn only_the_canonical_bytes_are_canonical() {
        assert!(Json::read_canonical(br#"{"a":1}"#).is_ok());
        for bytes in [&b"{\"a\": 1}"[..], b"{\"b\":1,\"a\":1}", b"\"\\u0041\"", b"{\"a\":1}\n"] {
            assert!(matches!(Json::read_canonical(bytes), Err(Error::Form)));
        }
    }

    #[test]
    fn refuses_what_has_no_canonical_form() {
        for bytes in [&b"null"[..], b"true", b"1.5", b"9007199254740992", b"[1e3]"] {
            assert!(matches!(Json::read(bytes), Err(Error::Kind(_))));
        }
    }
}
