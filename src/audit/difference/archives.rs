//! Archives: which members there are, what is said of each, and then what is in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};

use super::{Found, Layer, Source, What, content};
use crate::archive::deb::package;
use crate::archive::tarball::{self, Limits, look};
use crate::base::{Digest, Format};

/// The most members of one archive that are compared.
const MEMBERS: usize = 200_000;

/// Bytes of the names and link targets of all members.
const NAMES: usize = 64 << 20;

/// Bytes that an archive may come to when it is unpacked.
const UNPACKED: u64 = 16 << 30;

/// The most members of one archive whose content is looked at.
const FILES: usize = 100;

/// Bytes of one member that are looked at.
const HELD: u64 = 4 << 20;

/// Bytes of all of them together.
const HELD_IN_ALL: u64 = 64 << 20;

/// Compares two archives of one kind. Says whether they are that; if not, or if one is damaged,
/// nothing was found.
pub(super) fn compare(
    name: &str,
    at: &[String],
    inputs: [&mut dyn Source; 2],
    depth: usize,
    found: &mut Found,
) -> bool {
    let [old, new] = inputs;
    let kinds = [kind(old), kind(new)];
    match kinds {
        [Some(Kind::Ar), Some(Kind::Ar)] => ar(at, [old, new], depth, found),
        [Some(Kind::Members(old_format)), Some(Kind::Members(new_format))] => {
            members(at, [(old_format, old), (new_format, new)], depth, found)
        }
        [Some(Kind::Packed(old_format)), Some(Kind::Packed(new_format))] => {
            packed(name, at, [(old_format, old), (new_format, new)], depth, found)
        }
        _ => false,
    }
}

/// What can be looked into.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// `ar`, as `.deb` files and static libraries are.
    Ar,
    /// tar or zip.
    Members(Format),
    /// A single packed stream.
    Packed(Format),
}

fn kind(input: &mut dyn Source) -> Option<Kind> {
    let head = content::head(input, 512)?;
    if head.starts_with(b"!<arch>\n") {
        return Some(Kind::Ar);
    }
    let format = tarball::detect(&head)?;
    if matches!(format, Format::Zip | Format::Tar) {
        return Some(Kind::Members(format));
    }
    input.rewind().ok()?;
    let mut inside = Vec::new();
    tarball::unpacked(format, BufReader::new(input))
        .and_then(|stream| stream.take(512).read_to_end(&mut inside))
        .ok()?;
    Some(match tarball::detect(&inside) {
        Some(Format::Tar) => Kind::Members(format),
        _ => Kind::Packed(format),
    })
}

fn ar(at: &[String], inputs: [&mut dyn Source; 2], depth: usize, found: &mut Found) -> bool {
    let [old, new] = inputs;
    let read = |input: &mut dyn Source| -> Option<Vec<Seen>> {
        input.rewind().ok()?;
        let parts = package::parts(BufReader::new(&mut *input), MEMBERS).ok()?;
        let seen = parts.into_iter().map(|part| {
            let mut section = Section::new(input, part.at, part.size);
            let digest = digest(&mut section).ok()?;
            let attributes = vec![("header", part.header)];
            Some(Seen { name: part.name, attributes, digest, place: Some((part.at, part.size)) })
        });
        seen.collect()
    };
    let (Some(first), Some(second)) = (read(old), read(new)) else { return false };
    let pairs = lists(at, &first, &second, found);
    for (name, [one, two]) in pairs {
        let (Some(one), Some(two)) = (first[one].place, second[two].place) else { continue };
        let mut one = Section::new(old, one.0, one.1);
        let mut two = Section::new(new, two.0, two.1);
        let at = [at, std::slice::from_ref(&name)].concat();
        super::compare(&name, &at, [&mut one, &mut two], depth - 1, found);
    }
    follow(found);
    true
}

/// The checksums in a package follow from its files.
fn follow(found: &mut Found) {
    let of = |at: &[String], part: &str| at.iter().any(|name| name.starts_with(part));
    let is_file =
        |change: &&super::Change| change.layer == Layer::Files && of(&change.at, "data.tar");
    if !found.changes.iter().any(|change| is_file(&change)) {
        return;
    }
    for change in &mut found.changes {
        let is_sums = change.at.last().is_some_and(|name| name == "./md5sums");
        if is_sums && of(&change.at, "control.tar") && matches!(change.what, What::Text { .. }) {
            change.what = What::Follows;
        }
    }
}

fn members(
    at: &[String],
    inputs: [(Format, &mut dyn Source); 2],
    depth: usize,
    found: &mut Found,
) -> bool {
    let [(old_format, old), (new_format, new)] = inputs;
    let (Some(first), Some(second)) = (listed(old_format, old), listed(new_format, new)) else {
        return false;
    };
    let pairs = lists(at, &first, &second, found);
    let looked: Vec<_> = pairs.iter().take(FILES).collect();
    let wanted = |side: usize| looked.iter().map(|(_, pair)| pair[side]).collect();
    let contents = [hold(old_format, old, &wanted(0)), hold(new_format, new, &wanted(1))];
    for (name, [one, two]) in &pairs {
        let at = [at, std::slice::from_ref(name)].concat();
        let held = [contents[0].get(one), contents[1].get(two)];
        let [Some(one), Some(two)] = held else {
            let why = "too much differs to look at all of it".to_owned();
            found.add(Layer::Files, &at, What::Unread { why });
            continue;
        };
        if one.is_whole && two.is_whole {
            let (mut one, mut two) = (Cursor::new(&one.bytes), Cursor::new(&two.bytes));
            super::compare(name, &at, [&mut one, &mut two], depth - 1, found);
        } else {
            content::beginnings(&at, [one, two], found);
        }
    }
    true
}

/// A stream that was packed: what is in it.
fn packed(
    name: &str,
    at: &[String],
    inputs: [(Format, &mut dyn Source); 2],
    depth: usize,
    found: &mut Found,
) -> bool {
    let unpack = |(format, input): (Format, &mut dyn Source)| -> Option<Vec<u8>> {
        input.rewind().ok()?;
        let mut bytes = Vec::new();
        let stream = tarball::unpacked(format, BufReader::new(input)).ok()?;
        stream.take(HELD + 1).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= HELD).then_some(bytes)
    };
    let [old, new] = inputs;
    let (Some(old), Some(new)) = (unpack(old), unpack(new)) else { return false };
    if old == new {
        found.add(Layer::Members, at, What::Packing);
    } else {
        let inside = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let (mut old, mut new) = (Cursor::new(old), Cursor::new(new));
        super::compare(inside, at, [&mut old, &mut new], depth - 1, found);
    }
    true
}

/// A member.
struct Seen {
    name: String,
    attributes: Vec<(&'static str, String)>,
    digest: Digest,
    /// Where its content begins, and its size; only of an archive that is not packed.
    place: Option<(u64, u64)>,
}

/// What is said of members, in the order it is told in.
const ATTRIBUTES: [&str; 6] = ["kind", "target", "mode", "owner", "time", "header"];

impl Seen {
    /// What is said of it; empty where nothing is.
    fn attribute(&self, name: &str) -> &str {
        let known = self.attributes.iter().find(|(known, _)| *known == name);
        known.map_or("", |(_, value)| value)
    }
}

fn listed(format: Format, input: &mut dyn Source) -> Option<Vec<Seen>> {
    input.rewind().ok()?;
    let limits = Limits { members: MEMBERS, bytes: UNPACKED };
    let mut seen = Vec::new();
    let mut names = 0;
    look::each(format, input, limits, |member, content| {
        names += member.name.len() + member.target.as_ref().map_or(0, String::len);
        if names > NAMES {
            return Err(tarball::Error::Members(seen.len()));
        }
        let digest = digest(content).map_err(|error| tarball::Error::Read(format, error))?;
        let time =
            i64::try_from(member.time).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
        let mut attributes = vec![
            ("kind", member.kind.to_owned()),
            ("mode", format!("{:04o}", member.mode)),
            ("owner", member.owner),
            ("time", time.map_or_else(|| member.time.to_string(), |time| time.to_string())),
        ];
        attributes.extend(member.target.map(|target| ("target", target)));
        seen.push(Seen { name: member.name, attributes, digest, place: None });
        Ok(())
    })
    .ok()?;
    Some(seen)
}

fn digest(content: &mut dyn Read) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    io::copy(content, &mut hasher)?;
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// Compares lists of members, and gives those of one name whose contents differ, as their numbers
/// in both lists. A name that is there several times counts each time.
fn lists(
    at: &[String],
    old: &[Seen],
    new: &[Seen],
    found: &mut Found,
) -> Vec<(String, [usize; 2])> {
    let (old_keys, new_keys) = (keys(old), keys(new));
    let there: BTreeMap<_, usize> =
        new_keys.iter().enumerate().map(|(index, key)| (key, index)).collect();
    let before: BTreeSet<_> = old_keys.iter().collect();
    let inside = |name: &str| [at, &[name.to_owned()]].concat();
    for key in old_keys.iter().filter(|key| !there.contains_key(key)) {
        found.add(Layer::Members, &inside(key.0), What::Removed);
    }
    for key in new_keys.iter().filter(|key| !before.contains(key)) {
        found.add(Layer::Members, &inside(key.0), What::Added);
    }
    let common_old = old_keys.iter().filter(|key| there.contains_key(key));
    let common_new = new_keys.iter().filter(|key| before.contains(key));
    if let Some((from, _)) = common_old.zip(common_new).find(|(old, new)| old != new) {
        found.add(Layer::Members, &inside(from.0), What::Order);
    }
    let mut attributes: BTreeMap<(&str, &str, &str), (usize, u64)> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (index, key) in old_keys.iter().enumerate() {
        let Some(&other) = there.get(key) else { continue };
        let (one, two) = (&old[index], &new[other]);
        for name in ATTRIBUTES {
            let (old, new) = (one.attribute(name), two.attribute(name));
            if old != new {
                attributes.entry((name, old, new)).or_insert((index, 0)).1 += 1;
            }
        }
        if one.digest != two.digest {
            pairs.push((key.0.to_owned(), [index, other]));
        }
    }
    for ((name, old_text, new_text), (first, members)) in attributes {
        let what = What::Attribute {
            name: name.to_owned(),
            old: old_text.to_owned(),
            new: new_text.to_owned(),
            members,
        };
        found.add(Layer::Members, &inside(&old[first].name), what);
    }
    pairs
}

/// The names of members, each with how often it came before.
fn keys(list: &[Seen]) -> Vec<(&str, usize)> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    list.iter()
        .map(|seen| {
            let time = times.entry(&seen.name).or_default();
            *time += 1;
            (seen.name.as_str(), *time)
        })
        .collect()
}

/// The beginning of a member.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) is_whole: bool,
    pub(super) size: u64,
}

/// The beginnings of these members, by their numbers, as far as there is room for them.
fn hold(format: Format, input: &mut dyn Source, wanted: &BTreeSet<usize>) -> HashMap<usize, Held> {
    let mut held = HashMap::new();
    let mut room = HELD_IN_ALL;
    let mut number = 0;
    let limits = Limits { members: MEMBERS, bytes: UNPACKED };
    // It was read to its end before: what fails now is left out, and told as that.
    let _ = input.rewind().map_err(|error| tarball::Error::Read(format, error)).and_then(|()| {
        look::each(format, input, limits, |_, content| {
            let index = number;
            number += 1;
            if !wanted.contains(&index) || room == 0 {
                return Ok(());
            }
            let most = HELD.min(room);
            let fail = |error| tarball::Error::Read(format, error);
            let mut bytes = Vec::new();
            let read = content.take(most).read_to_end(&mut bytes).map_err(fail)? as u64;
            let rest = io::copy(content, &mut io::sink()).map_err(fail)?;
            room -= read;
            held.insert(index, Held { bytes, is_whole: rest == 0, size: read + rest });
            Ok(())
        })
    });
    held
}

/// A part of an input.
struct Section<'a> {
    input: &'a mut dyn Source,
    start: u64,
    size: u64,
    position: u64,
}

impl<'a> Section<'a> {
    fn new(input: &'a mut dyn Source, start: u64, size: u64) -> Self {
        Self { input, start, size, position: 0 }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.input.seek(SeekFrom::Start(self.start + self.position))?;
        let count = self.input.read(&mut buffer[..room])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
