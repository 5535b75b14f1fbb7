//! Indexes as clients read them, in pieces.
//!
//! The rows of a [`Table`] are sorted by their keys and cut into pieces after certain keys, as
//! told by a digest of the key alone. So what a piece holds depends on the rows in it and on
//! nothing else, and of a table with one row more all pieces but one are those of before,
//! compressed forms included. A form of the whole table is its pieces' forms put together: plain
//! text as it is, gzip as members (RFC 1952, 2.2), xz as blocks of one stream.

mod xz;

use std::io::{self, Write as _};
use std::sync::{Arc, OnceLock};

use flate2::{Compression, GzBuilder};
use rayon::prelude::*;

use crate::base::Digest;

/// A row, by its key. Rows with the same key cannot be in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is sorted by, as bytes are.
    pub key: String,
    /// Its text, to the last line feed.
    pub text: String,
}

/// An index.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pieces: Vec<Arc<Piece>>,
}

/// Some rows that follow each other.
#[derive(Debug)]
struct Piece {
    rows: Vec<Row>,
    gzip: OnceLock<Vec<u8>>,
    xz: OnceLock<xz::Block>,
}

/// After one key in so many a piece ends.
const PIECE: u64 = 128;

impl Table {
    /// The table of these rows; of several with one key, the last.
    pub fn new(rows: impl IntoIterator<Item = Row>) -> Self {
        Self::default().with(rows, &[])
    }

    /// This table without the rows of the keys `gone`, and with `rows`, each in place of one that
    /// has its key.
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
            let next = self.pieces.get(index + 1).map(|next| next.rows[0].key.as_str());
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
            let kept = piece.rows.iter().filter(|row| taken.binary_search(&&*row.key).is_err());
            let mut all: Vec<Row> = kept.cloned().chain(put).collect();
            all.sort_by(|one, other| one.key.cmp(&other.key));
            cut(all, &mut pieces);
        }
        cut(rows.collect(), &mut pieces);
        Self { pieces: joined(pieces) }
    }

    /// The rows in their order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.pieces.iter().flat_map(|piece| &piece.rows)
    }

    /// The row with this key.
    pub fn get(&self, key: &str) -> Option<&Row> {
        let after = self.pieces.partition_point(|piece| piece.rows[0].key.as_str() <= key);
        let rows = &self.pieces[after.checked_sub(1)?].rows;
        rows.binary_search_by(|row| row.key.as_str().cmp(key)).ok().map(|found| &rows[found])
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.rows.len()).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// As plain text.
    pub fn plain(&self) -> Vec<u8> {
        self.rows().flat_map(|row| row.text.bytes()).collect()
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
        Ok(members.into_iter().flatten().copied().collect())
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
                let form = make(piece.text().as_bytes())?;
                Ok(kept.get_or_init(|| form))
            })
            .collect()
    }
}

impl Piece {
    fn new(rows: Vec<Row>) -> Self {
        Self { rows, gzip: OnceLock::new(), xz: OnceLock::new() }
    }

    fn text(&self) -> String {
        self.rows.iter().map(|row| row.text.as_str()).collect()
    }

    /// Whether it ends where a piece ends, and not just where the rows do.
    fn is_whole(&self) -> bool {
        self.rows.last().is_some_and(|row| ends_piece(&row.key))
    }
}

/// Cuts sorted rows into pieces; of several with one key, the last stays.
fn cut(rows: Vec<Row>, pieces: &mut Vec<Arc<Piece>>) {
    let mut piece: Vec<Row> = Vec::new();
    for row in rows {
        match piece.last_mut() {
            Some(last) if last.key == row.key => *last = row,
            Some(last) if ends_piece(&last.key) => {
                pieces.push(Arc::new(Piece::new(std::mem::replace(&mut piece, vec![row]))));
            }
            _ => piece.push(row),
        }
    }
    if !piece.is_empty() {
        pieces.push(Arc::new(Piece::new(piece)));
    }
}

/// Puts each piece that has lost its end together with the one behind it.
fn joined(pieces: Vec<Arc<Piece>>) -> Vec<Arc<Piece>> {
    let mut out: Vec<Arc<Piece>> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match out.last_mut() {
            Some(last) if !last.is_whole() => {
                let rows = last.rows.iter().chain(&piece.rows).cloned().collect();
                *last = Arc::new(Piece::new(rows));
            }
            _ => out.push(piece),
        }
    }
    out
}

fn ends_piece(key: &str) -> bool {
    let digest = Digest::of(key.as_bytes());
    let first: [u8; 8] = digest.as_bytes()[..8].try_into().expect("eight of 32");
    u64::from_le_bytes(first) % PIECE == 0
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
