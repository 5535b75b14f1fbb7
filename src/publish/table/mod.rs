//! Indexes as clients read them, in pieces.
//!
//! The rows of a [`Table`] are sorted by their keys and cut into pieces after certain keys, as
//! told by a digest of the key alone. So what a piece holds depends on the rows in it and on
//! nothing else, and of a table with one row more all pieces but one are those of before,
//! compressed forms included. A form of the whole table is its pieces' forms put together: plain
//! text as it is, gzip as members (RFC 1952, 2.2), xz as blocks of one stream.

mod xz;

use std::cmp::Ordering;
use std::io::{self, Write as _};
use std::sync::{Arc, OnceLock};

use flate2::{Compression, GzBuilder};
use memchr::memmem;
use rayon::prelude::*;

use crate::base::Digest;

/// A row, by its key. Rows with the same key cannot be in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is sorted by, as bytes are; the row's own text begins with it, see [`Shape`].
    pub key: String,
    /// Its text, to the last line feed.
    pub text: String,
}

/// What the rows of a table look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Paragraphs with an empty line behind each; the key is the value of the first field.
    Paragraphs,
    /// Lines; the key is everything before the last column.
    Lines,
}

/// An index.
#[derive(Debug, Clone)]
pub struct Table {
    shape: Shape,
    pieces: Vec<Arc<Piece>>,
}

/// Some rows that follow each other.
#[derive(Debug)]
struct Piece {
    /// The key of the first of them.
    first: String,
    /// Whether it ends where a piece ends, and not just where the rows do.
    is_whole: bool,
    text: String,
    gzip: OnceLock<Vec<u8>>,
    xz: OnceLock<xz::Block>,
}

impl Shape {
    /// After one key in so many a piece ends: pieces of some 100 KiB.
    const fn piece(self) -> u64 {
        match self {
            Self::Paragraphs => 128,
            Self::Lines => 1024,
        }
    }

    /// What every row ends with.
    const fn end(self) -> &'static str {
        match self {
            Self::Paragraphs => "\n\n",
            Self::Lines => "\n",
        }
    }

    /// The first row of a text and the rest; none if it does not begin with a row.
    fn take(self, text: &str) -> Option<(&str, &str, &str)> {
        let end = memmem::find(text.as_bytes(), self.end().as_bytes())? + self.end().len();
        let (row, rest) = text.split_at(end);
        let key = match self {
            Self::Paragraphs => row.lines().next()?.split_once(": ")?.1,
            Self::Lines => row.trim_end().rsplit_once(' ')?.0.trim_end(),
        };
        Some((key, row, rest))
    }

    /// The rows of a text, to the first place that is none.
    fn rows(self, text: &str) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let (key, row, after) = self.take(rest)?;
            rest = after;
            Some((key, row))
        })
    }

    /// The row of this key in a text whose rows are sorted by theirs.
    fn find<'a>(self, text: &'a str, key: &str) -> Option<&'a str> {
        let (mut low, mut high) = (0, text.len());
        while low < high {
            // The row that the middle is in.
            let before = &text.as_bytes()[low..low + (high - low) / 2];
            let begin = memmem::rfind(before, self.end().as_bytes())
                .map_or(low, |found| low + found + self.end().len());
            let (known, row, _) = self.take(&text[begin..])?;
            match known.cmp(key) {
                Ordering::Equal => return Some(row),
                Ordering::Less => low = begin + row.len(),
                Ordering::Greater => high = begin,
            }
        }
        None
    }
}

impl Table {
    /// A table without rows.
    pub const fn new(shape: Shape) -> Self {
        Self { shape, pieces: Vec::new() }
    }

    /// The table that was written as these three forms by [`Self::plain`], [`Self::gzip`] and
    /// [`Self::xz`], whose bytes are not looked into: whoever calls has checked their digests.
    /// None if they are not such.
    pub fn written(shape: Shape, plain: &str, gzip: &[u8], xz: &[u8]) -> Option<Self> {
        let blocks = xz::split(xz)?;
        let members = if blocks.is_empty() { Vec::new() } else { members(gzip)? };
        if members.len() != blocks.len() {
            return None;
        }
        let last = blocks.len().saturating_sub(1);
        let mut rest = plain;
        let mut pieces = Vec::with_capacity(blocks.len());
        for (index, (block, member)) in blocks.into_iter().zip(members).enumerate() {
            let (text, after) =
                rest.split_at_checked(usize::try_from(block.uncompressed()).ok()?)?;
            rest = after;
            let (first, _, _) = shape.take(text)?;
            let is_whole = index < last
                || shape.rows(text).last().is_some_and(|(key, _)| ends_piece(shape, key));
            pieces.push(Arc::new(Piece {
                first: first.to_owned(),
                is_whole,
                text: text.to_owned(),
                gzip: OnceLock::from(member),
                xz: OnceLock::from(block),
            }));
        }
        rest.is_empty().then_some(Self { shape, pieces })
    }

    /// This table without the rows of the keys `gone`, and with `rows`, each in place of one that
    /// has its key; of several with one key, the last.
    #[must_use]
    pub fn with(&self, rows: impl IntoIterator<Item = Row>, gone: &[String]) -> Self {
        let mut rows: Vec<Row> = rows.into_iter().collect();
        // Stable: the last of equals is the one that came last.
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        let mut gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        gone.sort_unstable();
        let mut pieces = Vec::with_capacity(self.pieces.len() + 1);
        let (mut rows, mut gone) = (rows.into_iter().peekable(), gone.into_iter().peekable());
        for (index, piece) in self.pieces.iter().enumerate() {
            // Up to the first key of the next piece, everything belongs into this one.
            let next = self.pieces.get(index + 1).map(|next| next.first.as_str());
            let here = |key: &str| next.is_none_or(|next| key < next);
            let mut put = Vec::new();
            while let Some(row) = rows.next_if(|row| here(&row.key)) {
                put.push(row);
            }
            let mut taken = Vec::new();
            while let Some(key) = gone.next_if(|key| here(key)) {
                taken.push(key);
            }
            if put.is_empty() && taken.is_empty() {
                pieces.push(piece.clone());
                continue;
            }
            let there = self.shape.rows(&piece.text);
            let kept = there.filter(|(key, _)| taken.binary_search(key).is_err());
            let mut all: Vec<Row> = kept.map(|(key, text)| Row::of(key, text)).chain(put).collect();
            all.sort_by(|one, other| one.key.cmp(&other.key));
            cut(self.shape, &all, &mut pieces);
        }
        cut(self.shape, &rows.collect::<Vec<_>>(), &mut pieces);
        Self { shape: self.shape, pieces: joined(pieces) }
    }

    /// The keys and texts of the rows, in their order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pieces.iter().flat_map(|piece| self.shape.rows(&piece.text))
    }

    /// The text of the row with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let after = self.pieces.partition_point(|piece| piece.first.as_str() <= key);
        let piece = &self.pieces[after.checked_sub(1)?];
        self.shape.find(&piece.text, key)
    }

    /// The rows whose text has this in it.
    pub fn containing<'a>(&'a self, part: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pieces = self.pieces.iter().filter(move |piece| piece.text.contains(part));
        pieces
            .flat_map(|piece| self.shape.rows(&piece.text))
            .filter(move |(_, text)| text.contains(part))
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows().count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// As plain text.
    pub fn plain(&self) -> Vec<u8> {
        let texts: Vec<&str> = self.pieces.iter().map(|piece| piece.text.as_str()).collect();
        texts.concat().into_bytes()
    }

    /// In gzip, as many members as there are pieces; the same bytes for the same rows.
    ///
    /// # Errors
    /// Those of the compressor.
    pub fn gzip(&self) -> io::Result<Vec<u8>> {
        // No member at all is no gzip file.
        if self.is_empty() {
            return gzip(b"");
        }
        let members = self.compressed(|piece| &piece.gzip, gzip)?;
        Ok(members.into_iter().map(Vec::as_slice).collect::<Vec<_>>().concat())
    }

    /// In xz, one stream with as many blocks as there are pieces (clients read but the first
    /// stream of a file); the same bytes for the same rows.
    ///
    /// # Errors
    /// Those of the compressor.
    pub fn xz(&self) -> io::Result<Vec<u8>> {
        Ok(xz::stream(&self.compressed(|piece| &piece.xz, xz::Block::of)?))
    }

    /// The form of each piece, made where there is none yet.
    fn compressed<T: Send + Sync>(
        &self,
        kept: impl Fn(&Piece) -> &OnceLock<T> + Sync,
        make: impl Fn(&[u8]) -> io::Result<T> + Sync,
    ) -> io::Result<Vec<&T>> {
        self.pieces
            .par_iter()
            .map(|piece| {
                let kept = kept(piece);
                if let Some(form) = kept.get() {
                    return Ok(form);
                }
                let form = make(piece.text.as_bytes())?;
                Ok(kept.get_or_init(|| form))
            })
            .collect()
    }
}

impl Row {
    fn of(key: &str, text: &str) -> Self {
        Self { key: key.to_owned(), text: text.to_owned() }
    }
}

impl Piece {
    fn new(first: &str, text: String, is_whole: bool) -> Self {
        let first = first.to_owned();
        Self { first, is_whole, text, gzip: OnceLock::new(), xz: OnceLock::new() }
    }
}

/// Cuts sorted rows into pieces; of several with one key, the last stays.
fn cut(shape: Shape, rows: &[Row], pieces: &mut Vec<Arc<Piece>>) {
    let mut first = None;
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if rows.get(index + 1).is_some_and(|next| next.key == row.key) {
            continue;
        }
        let begin = *first.get_or_insert(row.key.as_str());
        text.push_str(&row.text);
        if ends_piece(shape, &row.key) {
            pieces.push(Arc::new(Piece::new(begin, std::mem::take(&mut text), true)));
            first = None;
        }
    }
    if let Some(first) = first {
        pieces.push(Arc::new(Piece::new(first, text, false)));
    }
}

/// Puts each piece that has lost its end together with the one behind it.
fn joined(pieces: Vec<Arc<Piece>>) -> Vec<Arc<Piece>> {
    let mut out: Vec<Arc<Piece>> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match out.last_mut() {
            Some(last) if !last.is_whole => {
                let text = [last.text.as_str(), &piece.text].concat();
                *last = Arc::new(Piece::new(&last.first, text, piece.is_whole));
            }
            _ => out.push(piece),
        }
    }
    out
}

fn ends_piece(shape: Shape, key: &str) -> bool {
    let digest = Digest::of(key.as_bytes());
    let first: [u8; 8] = digest.as_bytes()[..8].try_into().expect("eight of 32");
    u64::from_le_bytes(first).is_multiple_of(shape.piece())
}

/// The members of a gzip file as [`gzip`] makes them; none if it is not one.
fn members(mut file: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut members = Vec::new();
    while !file.is_empty() {
        let field = file.get(10..20)?;
        if !field.starts_with(b"\x08\0PS\x04\0") {
            return None;
        }
        let length = u32::from_le_bytes(field[6..].try_into().ok()?);
        let (member, rest) = file.split_at_checked(usize::try_from(length).ok()?)?;
        if member.len() < 20 {
            return None;
        }
        members.push(member.to_vec());
        file = rest;
    }
    Some(members)
}

/// A member, without a time or a name, that tells its own length in a field `PS` of its header
/// (RFC 1952, 2.3.1.1), so that the members of a file can be told apart without unpacking them.
fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let extra = |length: u32| {
        let mut field = b"PS\x04\0".to_vec();
        field.extend(length.to_le_bytes());
        field
    };
    let mut member = GzBuilder::new().extra(extra(0)).write(Vec::new(), Compression::best());
    member.write_all(text)?;
    let mut member = member.finish()?;
    let length = u32::try_from(member.len()).map_err(io::Error::other)?;
    // Ten bytes of header, two of the field's length, then the field.
    member[12..20].copy_from_slice(&extra(length));
    Ok(member)
}

#[cfg(test)]
mod tests;
