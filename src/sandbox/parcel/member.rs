//! One member of a parcel, as its headers say it.

use std::io::{self, Read, Write};
use std::ops::Range;

use tar::{EntryType, Header};

use super::{RECORDS, invalid};

/// The unit of a tar archive, in bytes.
pub const BLOCK: usize = 512;

/// Larger times do not fit in a header's field of eleven octal digits.
const LATEST: i64 = 1 << 33;

const PATH: &[u8] = b"path";
const TARGET: &[u8] = b"linkpath";
const TIME: &[u8] = b"mtime";
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const SPARSE_SIZE: &[u8] = b"GNU.sparse.size";
const SPARSE_COUNT: &[u8] = b"GNU.sparse.numblocks";
const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Below the root, `/` between parts; `.` is the root.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permissions and set-id bits.
    pub mode: u32,
    /// Seconds since 1970, and nanoseconds.
    pub time: (i64, u32),
    /// Extended attributes, sorted by name.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Folder,
    /// A file of this size. Its bytes follow: those of the stretches, or all of them.
    File {
        size: u64,
        stretches: Option<Vec<Range<u64>>>,
    },
    /// Another name of the file at this path.
    Same(Vec<u8>),
    Link(Vec<u8>),
    Pipe,
    Whiteout,
}

impl Kind {
    /// How many bytes follow the headers.
    pub fn stored(&self) -> u64 {
        match self {
            Self::File { size, stretches: None } => *size,
            Self::File { stretches: Some(stretches), .. } => {
                stretches.iter().map(|stretch| stretch.end - stretch.start).sum()
            }
            _ => 0,
        }
    }
}

/// How many zeros follow so many bytes of content.
pub fn padding(stored: u64) -> usize {
    (BLOCK - (stored % BLOCK as u64) as usize) % BLOCK
}

impl Member {
    /// Writes the headers.
    pub fn write(&self, into: &mut impl Write) -> io::Result<()> {
        let mut records = Records::default();
        let mut header = Header::new_ustar();
        header.set_mode(self.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_device_major(0)?;
        header.set_device_minor(0)?;
        header.set_size(self.kind.stored());
        let fields = header.as_old_mut();
        if !fill(&mut fields.name, &self.path) {
            records.add(PATH, &self.path);
        }
        match self.time {
            (seconds @ 0..LATEST, 0) => header.set_mtime(seconds.unsigned_abs()),
            (seconds, nanoseconds) => {
                records.add(TIME, write_time(seconds, nanoseconds).as_bytes());
            }
        }
        header.set_entry_type(match &self.kind {
            Kind::Folder => EntryType::Directory,
            Kind::File { .. } => EntryType::Regular,
            Kind::Same(_) => EntryType::Link,
            Kind::Link(_) => EntryType::Symlink,
            Kind::Pipe => EntryType::Fifo,
            Kind::Whiteout => EntryType::Char,
        });
        if let Kind::Same(target) | Kind::Link(target) = &self.kind
            && !fill(&mut header.as_old_mut().linkname, target)
        {
            records.add(TARGET, target);
        }
        if let Kind::File { size, stretches: Some(stretches) } = &self.kind {
            records.add(SPARSE_SIZE, size.to_string().as_bytes());
            // An empty one at the end says where the file ends (GNU tar cuts it off otherwise).
            let whole = stretches.last().map_or(0, |last| last.end) == *size;
            let end = (!whole).then_some(*size..*size);
            let stretches = stretches.iter().cloned().chain(end);
            let numbers = stretches.flat_map(|Range { start, end }| [start, end - start]);
            let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
            records.add(SPARSE_COUNT, (numbers.len() / 2).to_string().as_bytes());
            records.add(SPARSE_MAP, numbers.join(",").as_bytes());
        }
        for (name, value) in &self.attributes {
            records.add(&[ATTRIBUTE, &escaped(name)].concat(), value);
        }
        records.write(into)?;
        header.set_cksum();
        into.write_all(header.as_bytes())
    }

    /// Reads the headers of the next member; none where the archive ends, whose last byte was
    /// read then.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(mut header) = read_header(from)? else { return Ok(None) };
        let mut records = Vec::new();
        if header.entry_type() == EntryType::XHeader {
            records = read_records(said(header.entry_size())?, from)?;
            header = read_header(from)?.ok_or_else(|| invalid("records belong to no member"))?;
        }
        let mut member = Self {
            path: header.as_old().name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            kind: Kind::Folder,
            mode: said(header.mode())? & 0o7777,
            time: (
                said(header.mtime())?.try_into().map_err(|_| invalid("a time is too large"))?,
                0,
            ),
            attributes: Vec::new(),
        };
        let target = &header.as_old().linkname;
        let mut target = target.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        let (mut size, mut map) = (None, None);
        for (key, value) in records {
            match &*key {
                PATH => member.path = value,
                TARGET => target = value,
                TIME => member.time = read_time(&value)?,
                SPARSE_SIZE => size = Some(number(&value)?),
                SPARSE_COUNT => {}
                SPARSE_MAP => map = Some(value),
                key => match key.strip_prefix(ATTRIBUTE) {
                    Some(name) => member.attributes.push((unescaped(name)?, value)),
                    None => return Err(invalid("a record is of an unknown kind")),
                },
            }
        }
        let stored = said(header.entry_size())?;
        member.kind = match (header.entry_type(), size.zip(map)) {
            (EntryType::Regular, None) => Kind::File { size: stored, stretches: None },
            (EntryType::Regular, Some((size, map))) => {
                Kind::File { size, stretches: Some(read_stretches(size, &map)?) }
            }
            (EntryType::Directory, None) => Kind::Folder,
            (EntryType::Link, None) => Kind::Same(target),
            (EntryType::Symlink, None) => Kind::Link(target),
            (EntryType::Fifo, None) => Kind::Pipe,
            (EntryType::Char, None)
                if [header.device_major(), header.device_minor()]
                    .into_iter()
                    .all(|number| matches!(number, Ok(Some(0)))) =>
            {
                Kind::Whiteout
            }
            _ => return Err(invalid("a member is of a kind that does not travel")),
        };
        if member.kind.stored() != stored {
            return Err(invalid("a size contradicts what is said of it"));
        }
        Ok(Some(member))
    }
}

/// Puts a text into a field of the header, if there is room for it.
fn fill(field: &mut [u8; 100], text: &[u8]) -> bool {
    let fits = text.len() <= field.len();
    if fits {
        field[..text.len()].copy_from_slice(text);
    }
    fits
}

/// The next header; none where two blocks of zeros say that no more come.
fn read_header(from: &mut impl Read) -> io::Result<Option<Header>> {
    let mut header = Header::new_old();
    from.read_exact(header.as_mut_bytes())?;
    if header.as_bytes() == &[0; BLOCK] {
        from.read_exact(header.as_mut_bytes())?;
        return match header.as_bytes() == &[0; BLOCK] {
            true => Ok(None),
            false => Err(invalid("something follows its end")),
        };
    }
    let sum = said(header.cksum())?;
    header.set_cksum();
    if said(header.cksum())? != sum || header.as_ustar().is_none() {
        return Err(invalid("a header is damaged"));
    }
    Ok(Some(header))
}

/// A field of a header that can be read.
fn said<T>(field: io::Result<T>) -> io::Result<T> {
    field.map_err(|error| invalid(&error.to_string()))
}

/// Pax records as they are put together: each with its own length before it, in decimal.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // A space, an equals sign and a line feed.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn write(&self, into: &mut impl Write) -> io::Result<()> {
        let Self(records) = self;
        let length = records.len() as u64;
        if records.is_empty() {
            return Ok(());
        }
        if length > RECORDS {
            return Err(invalid("its attributes, names and holes are more than travel"));
        }
        let mut header = Header::new_ustar();
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(length);
        header.set_entry_type(EntryType::XHeader);
        header.set_cksum();
        into.write_all(header.as_bytes())?;
        into.write_all(records)?;
        into.write_all(&[0; BLOCK][..padding(length)])
    }
}

/// The records of a header, keys and values, in their order.
fn read_records(size: u64, from: &mut impl Read) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if size > RECORDS {
        return Err(invalid("the records of a member are too long"));
    }
    // Only as much is taken as really comes.
    let mut bytes = Vec::new();
    from.by_ref().take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    from.read_exact(&mut [0; BLOCK][..padding(size)])?;
    let mut records = Vec::new();
    let mut rest = &*bytes;
    while !rest.is_empty() {
        let damaged = || invalid("a record is damaged");
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
        let length = usize::try_from(number(&rest[..space])?).map_err(|_| damaged())?;
        let (record, after) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(damaged)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        rest = after;
    }
    Ok(records)
}

/// The name of an attribute without what ends a key, as GNU tar writes it.
fn escaped(name: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'=' => b"%3D".to_vec(),
        b'%' => b"%25".to_vec(),
        byte => vec![*byte],
    };
    name.iter().flat_map(escape).collect()
}

fn unescaped(name: &[u8]) -> io::Result<Vec<u8>> {
    let mut parts = name.split(|byte| *byte == b'%');
    let mut plain = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (byte, rest) = match part {
            [b'3', b'D', rest @ ..] => (b'=', rest),
            [b'2', b'5', rest @ ..] => (b'%', rest),
            _ => return Err(invalid("the name of an attribute is damaged")),
        };
        plain.push(byte);
        plain.extend(rest);
    }
    Ok(plain)
}

/// Where a file of this size holds something: sorted stretches, none of them empty.
fn read_stretches(size: u64, map: &[u8]) -> io::Result<Vec<Range<u64>>> {
    let wrong = || invalid("a map of holes is damaged");
    let mut stretches: Vec<Range<u64>> = Vec::new();
    let mut numbers = map.split(|byte| *byte == b',').peekable();
    while let Some(start) = numbers.next() {
        let (start, length) = (number(start)?, number(numbers.next().ok_or_else(wrong)?)?);
        let end = start.checked_add(length).filter(|end| *end <= size).ok_or_else(wrong)?;
        let before = stretches.last().map_or(0, |last| last.end);
        match length {
            0 if start == size && before < size && numbers.peek().is_none() => break,
            0 => return Err(wrong()),
            _ if start < before => return Err(wrong()),
            _ => stretches.push(start..end),
        }
    }
    Ok(stretches)
}

fn number(digits: &[u8]) -> io::Result<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| plain);
    number.and_then(|digits| digits.parse().ok()).ok_or_else(|| invalid("a number is none"))
}

/// A time in decimal, as pax writes it. The part behind the point counts away from zero.
fn write_time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (seconds, 0) => format!("{seconds}"),
        (0.., nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        (_, nanoseconds) => {
            format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
        }
    }
}

fn read_time(text: &[u8]) -> io::Result<(i64, u32)> {
    let wrong = || invalid("a time is none");
    let (text, before) = text.strip_prefix(b"-").map_or((text, false), |rest| (rest, true));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = number(parts.next().unwrap_or_default())?;
    let seconds = i64::try_from(seconds).map_err(|_| wrong())?;
    let nanoseconds = match parts.next() {
        None => 0,
        Some(digits) if digits.len() == 9 => number(digits)? as u32,
        Some(_) => return Err(wrong()),
    };
    Ok(match (before, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}
