//! Requests and answers as values, and what of an answer goes over the wire (RFC 9110).

use std::fs::File;
use std::ops::Range;

use jiff::Timestamp;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path without its first `/`, decoded once. No part of it is empty (but the last may be),
    /// `.` or `..`, and no character is a control character.
    pub path: String,
    /// What follows the first `?`, as it was sent: see [`Self::field`].
    pub query: Option<String>,
    /// What the client calls the server: `127.0.0.1:8117`; none if it is no plain host and port.
    pub host: Option<String>,
}

impl Request {
    /// Reads a request's target; none if its path is not one that a file could have.
    pub fn new(target: &str, host: Option<&str>) -> Option<Self> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = decoded(path.strip_prefix('/')?)?;
        let mut parts = path.split('/').rev();
        let last = parts.next().unwrap_or_default();
        let is_plain = |part: &str| part != "." && part != "..";
        let plain = is_plain(last) && parts.all(|part| is_plain(part) && !part.is_empty());
        let clean = !path.chars().any(char::is_control);
        let host = host.filter(|host| is_host(host)).map(str::to_owned);
        (plain && clean).then_some(Self { path, query, host })
    }

    /// What a form's field of this name was sent with; the first of several. None if it is not
    /// there or no text.
    pub fn field(&self, name: &str) -> Option<String> {
        let pairs = self.query.as_deref()?.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(known, _)| *known == name)?;
        decoded(&value.replace('+', " "))
    }
}

/// Percent-decodes a text (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        if *byte == b'%' {
            let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn is_host(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    (1..=255).contains(&host.len()) && host.bytes().all(legal)
}

/// What is answered, before conditions are looked at.
#[derive(Debug)]
pub struct Answer {
    /// How it went.
    pub status: Status,
    /// The media type.
    pub kind: &'static str,
    /// The digest of the body, in hex: a strong entity tag. None for what is made up on the spot.
    pub tag: Option<String>,
    /// When the body became what it is.
    pub modified: Option<Timestamp>,
    /// For how long it stays what it is.
    pub lasting: Lasting,
    /// What there is.
    pub body: Body,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Here it is.
    Found,
    /// There is nothing of this name.
    Missing,
    /// The request makes no sense.
    Wrong,
    /// It should be there, and the machine failed.
    Failed,
}

/// For how long an answer stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// Nobody knows: it has to be asked for again.
    Now,
    /// Until something else takes its place, at any moment: it is never used without asking. A
    /// later date says nothing then; the client has it if it names the very same.
    Moving,
    /// For ever: its name is its digest.
    Ever,
}

/// What there is.
#[derive(Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file from its beginning.
    File {
        /// Open for reading.
        file: File,
        /// Size in bytes.
        size: u64,
    },
}

impl Body {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// The media type of pages.
const HTML: &str = "text/html; charset=utf-8";

impl Answer {
    /// A page for people.
    pub fn page(html: String) -> Self {
        Self { kind: HTML, body: Body::Bytes(html.into_bytes()), ..Self::text(Status::Found, "") }
    }

    /// A text for people or programs.
    pub fn text(status: Status, text: impl Into<String>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            tag: None,
            modified: None,
            lasting: Lasting::Now,
            body: Body::Bytes(text.into().into_bytes()),
        }
    }

    /// What was asked for, under its digest.
    pub fn found(kind: &'static str, tag: impl ToString, body: Body) -> Self {
        let (status, tag, modified) = (Status::Found, Some(tag.to_string()), None);
        Self { status, kind, tag, modified, lasting: Lasting::Now, body }
    }
}

/// What a client wants of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// All of it.
    Get,
    /// What is said of it.
    Head,
}

/// The conditions of a request: the fields of these names, as they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<&'a str>,
    /// `If-Range`
    pub if_range: Option<&'a str>,
    /// `Range`
    pub range: Option<&'a str>,
}

/// What goes over the wire.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The fields: name and value.
    pub fields: Vec<(&'static str, String)>,
    /// What follows, and which bytes of it; nothing for an answer without a body.
    pub body: Option<(Body, Range<u64>)>,
}

/// What of an answer goes over the wire: nothing of what the client has already, and of what it
/// wants a part of, that. Several ranges at once are not made; the whole is sent then, as it is
/// where the range or what it rests on makes no sense.
pub fn reply(answer: Answer, method: Method, conditions: &Conditions<'_>) -> Reply {
    let size = answer.body.size();
    let mut fields = vec![("x-content-type-options", "nosniff".to_owned())];
    if answer.status != Status::Found {
        let status = match answer.status {
            Status::Missing => 404,
            Status::Wrong => 400,
            Status::Failed | Status::Found => 500,
        };
        fields.push(("content-type", answer.kind.to_owned()));
        fields.push(("content-length", size.to_string()));
        let body = (method == Method::Get).then_some((answer.body, 0..size));
        return Reply { status, fields, body };
    }
    let tag = answer.tag.as_ref().map(|tag| format!("\"{tag}\""));
    fields.extend(tag.clone().map(|tag| ("etag", tag)));
    fields.extend(answer.modified.map(|time| ("last-modified", http_date(time))));
    match answer.lasting {
        Lasting::Now => {}
        Lasting::Moving => fields.push(("cache-control", "no-cache".to_owned())),
        Lasting::Ever => {
            fields.push(("cache-control", "public, max-age=31536000, immutable".to_owned()));
        }
    }
    if answer.kind == HTML {
        // A page runs nothing and fetches nothing, whatever gets into it.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";
        fields.push(("content-security-policy", policy.to_owned()));
        fields.push(("referrer-policy", "no-referrer".to_owned()));
    }
    if is_known(&answer, tag.as_deref(), conditions) {
        return Reply { status: 304, fields, body: None };
    }
    fields.push(("content-type", answer.kind.to_owned()));
    fields.push(("accept-ranges", "bytes".to_owned()));
    let wanted = match conditions.range {
        Some(range) if method == Method::Get && holds(&answer, tag.as_deref(), conditions) => {
            part(range, size)
        }
        _ => Part::Whole,
    };
    let (status, range) = match wanted {
        Part::Whole => (200, 0..size),
        Part::Some(range) => {
            let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            fields.push(("content-range", shown));
            (206, range)
        }
        Part::Outside => {
            fields.push(("content-range", format!("bytes */{size}")));
            fields.push(("content-length", "0".to_owned()));
            return Reply { status: 416, fields, body: None };
        }
    };
    fields.push(("content-length", (range.end - range.start).to_string()));
    let body = (method == Method::Get).then_some((answer.body, range));
    Reply { status, fields, body }
}

/// Whether the client has it (RFC 9110 section 13.2.2).
fn is_known(answer: &Answer, tag: Option<&str>, conditions: &Conditions<'_>) -> bool {
    if let Some(known) = conditions.if_none_match {
        // The comparison is the weak one: a `W/` does not count.
        let mut tags = known.split(',').map(|one| one.trim().trim_start_matches("W/"));
        return known.trim() == "*" || tags.any(|one| Some(one) == tag);
    }
    let since = conditions.if_modified_since.and_then(read_date);
    since.zip(answer.modified).is_some_and(|(since, modified)| match answer.lasting {
        Lasting::Moving => modified == since,
        Lasting::Now | Lasting::Ever => modified <= since,
    })
}

/// Whether what a range rests on is what there is (RFC 9110 section 13.1.5).
fn holds(answer: &Answer, tag: Option<&str>, conditions: &Conditions<'_>) -> bool {
    let Some(known) = conditions.if_range.map(str::trim) else { return true };
    if known.starts_with('"') || known.starts_with("W/") {
        return Some(known) == tag;
    }
    read_date(known).is_some_and(|date| Some(date) == answer.modified)
}

/// The part of a body that a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Some(Range<u64>),
    Outside,
}

/// Reads `bytes=first-last`, `bytes=first-` or `bytes=-last` (RFC 9110 section 14.1.2).
fn part(range: &str, size: u64) -> Part {
    let Some((unit, set)) = range.split_once('=') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Part::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large to be one lies behind every end.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Part::Whole,
    };
    if range.start < range.end { Part::Some(range) } else { Part::Outside }
}

/// `Sat, 11 Jul 2026 10:16:37 GMT`
fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads what [`http_date`] writes. Of the two obsolete forms there is none any more.
fn read_date(text: &str) -> Option<Timestamp> {
    let text = text.trim().strip_suffix("GMT")?;
    let parsed = jiff::fmt::rfc2822::parse(&format!("{text}+0000"));
    parsed.ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Option<String> {
        Request::new(target, None).map(|request| request.path)
    }

    #[test]
    fn a_path_is_decoded_once_and_never_leads_up() {
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(path("/"), found(""));
        assert_eq!(path("/a/b?c=../d"), found("a/b"));
        assert_eq!(path("/a/"), found("a/"));
        assert_eq!(path("/pool/g%2b%2B_1%3a2~x.deb"), found("pool/g++_1:2~x.deb"));
        assert_eq!(path("/a%252e"), found("a%2e"), "once");
        assert_eq!(path("/%C3%A4"), found("ä"));
        for bad in [
            "",
            "a",
            "*",
            "/..",
            "/../x",
            "/a/../x",
            "/a/..",
            "/.",
            "/a/./b",
            "//a",
            "/a//b",
            "/%2e%2e/x",
            "/%2e%2E",
            "/a%2f..%2fb",
            "/a%2F%2Fb",
            "/a%00",
            "/a%0a",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/%ff",
            "/a%7f",
        ] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_field_of_a_form_is_decoded() {
        let field = |target: &str| Request::new(target, None).unwrap().field("q");
        assert_eq!(field("/a?q=g%2b%2b+x&page=2").as_deref(), Some("g++ x"));
        assert_eq!(field("/a?page=2&q=").as_deref(), Some(""));
        for none in ["/a", "/a?", "/a?q", "/a?x=q", "/a?q=%", "/a?q=%ff"] {
            assert_eq!(field(none), None, "{none}");
        }
    }

    #[test]
    fn a_host_is_taken_only_if_it_is_plain() {
        let host = |text: &str| Request::new("/", Some(text)).unwrap().host;
        for plain in ["127.0.0.1:80", "bank.example.org", "[::1]:80"] {
            assert_eq!(host(plain).as_deref(), Some(plain));
        }
        for bad in ["", "a b", "<b>", "a/b", "a\"", "a@b", &"a".repeat(256)] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }

    /// Ten bytes with the tag `t`, of the beginning of 2024.
    fn answer() -> Answer {
        let modified = Some("2024-01-01T00:00:00Z".parse().unwrap());
        let body = Body::Bytes(b"0123456789".to_vec());
        Answer { modified, ..Answer::found("text/x", "t", body) }
    }

    fn sent(reply: &Reply) -> Option<&[u8]> {
        let Some((Body::Bytes(bytes), range)) = &reply.body else { return None };
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        Some(&bytes[range])
    }

    fn field<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let status = |conditions: Conditions<'_>| {
            let reply = reply(answer(), Method::Get, &conditions);
            assert_eq!(reply.body.is_none(), reply.status == 304);
            assert_eq!(field(&reply, "etag"), Some("\"t\""));
            reply.status
        };
        let tagged = |tag| status(Conditions { if_none_match: Some(tag), ..Conditions::default() });
        for known in ["\"t\"", "*", "W/\"t\"", "\"a\", \"t\""] {
            assert_eq!(tagged(known), 304, "{known}");
        }
        for other in ["\"x\"", "t", ""] {
            assert_eq!(tagged(other), 200, "{other}");
        }
        let since =
            |date| status(Conditions { if_modified_since: Some(date), ..Conditions::default() });
        assert_eq!(since("Mon, 01 Jan 2024 00:00:00 GMT"), 304);
        assert_eq!(since("Tue, 02 Jan 2024 00:00:00 GMT"), 304);
        assert_eq!(since("Sun, 31 Dec 2023 23:59:59 GMT"), 200);
        assert_eq!(since("yesterday"), 200);
        let moving = |date| {
            let conditions = Conditions { if_modified_since: Some(date), ..Conditions::default() };
            let answer = Answer { lasting: Lasting::Moving, ..answer() };
            reply(answer, Method::Get, &conditions).status
        };
        assert_eq!(moving("Mon, 01 Jan 2024 00:00:00 GMT"), 304);
        assert_eq!(moving("Tue, 02 Jan 2024 00:00:00 GMT"), 200, "what came later may be older");
        // A tag says more than a date.
        let both = Conditions {
            if_none_match: Some("\"x\""),
            if_modified_since: Some("Mon, 01 Jan 2024 00:00:00 GMT"),
            ..Conditions::default()
        };
        assert_eq!(status(both), 200);
    }

    #[test]
    fn a_range_is_sent_as_it_is_asked_for() {
        let check = |range, status, bytes: Option<&[u8]>, shown: Option<&str>| {
            let conditions = Conditions { range: Some(range), ..Conditions::default() };
            let reply = reply(answer(), Method::Get, &conditions);
            assert_eq!((reply.status, sent(&reply)), (status, bytes), "{range}");
            assert_eq!(field(&reply, "content-range"), shown, "{range}");
            let length = bytes.map_or(0, <[u8]>::len).to_string();
            assert_eq!(field(&reply, "content-length"), Some(&*length), "{range}");
        };
        check("bytes=2-4", 206, Some(b"234"), Some("bytes 2-4/10"));
        check("bytes=0-0", 206, Some(b"0"), Some("bytes 0-0/10"));
        check("bytes=7-", 206, Some(b"789"), Some("bytes 7-9/10"));
        check("bytes=-3", 206, Some(b"789"), Some("bytes 7-9/10"));
        check("bytes=-99", 206, Some(b"0123456789"), Some("bytes 0-9/10"));
        check("bytes=8-999999999999999999999999", 206, Some(b"89"), Some("bytes 8-9/10"));
        check("bytes=10-", 416, None, Some("bytes */10"));
        check("bytes=99999999999999999999-", 416, None, Some("bytes */10"));
        check("bytes=-0", 416, None, Some("bytes */10"));
        for whole in ["bytes=4-2", "bytes=0-1,3-4", "bytes=a-b", "bytes", "bytes=-", "lines=0-1"] {
            check(whole, 200, Some(b"0123456789"), None);
        }
    }

    #[test]
    fn a_range_of_something_else_is_the_whole() {
        let status = |known| {
            let range = Some("bytes=5-");
            let conditions = Conditions { if_range: Some(known), range, ..Conditions::default() };
            reply(answer(), Method::Get, &conditions).status
        };
        assert_eq!(status("\"t\""), 206);
        assert_eq!(status("Mon, 01 Jan 2024 00:00:00 GMT"), 206);
        assert_eq!(status("W/\"t\""), 200);
        assert_eq!(status("\"x\""), 200);
        assert_eq!(status("Tue, 02 Jan 2024 00:00:00 GMT"), 200);
    }

    #[test]
    fn a_head_says_what_a_get_would_send() {
        let whole = Conditions::default();
        let get = reply(answer(), Method::Get, &whole);
        let head = reply(answer(), Method::Head, &whole);
        assert_eq!((head.status, &head.fields), (get.status, &get.fields));
        assert!(head.body.is_none());
        let missing = reply(Answer::text(Status::Missing, "no"), Method::Head, &whole);
        assert_eq!((missing.status, field(&missing, "content-length")), (404, Some("2")));
        assert!(missing.body.is_none());
    }
}
