//! Contents: texts line by line, all else by its bytes.

use std::io::{Read, SeekFrom};
use std::time::Duration;

use similar::TextDiff;

use super::archives::Held;
use super::{Found, Layer, Source, What, fields};

/// Longer texts are compared by their bytes.
const TEXT: u64 = 1 << 20;

/// Lines of text that are compared in all; what goes beyond is compared by its bytes.
const LINES: usize = 100_000;

/// The most lines that are kept of one diff, and the most characters of one of them.
const DIFF: usize = 40;
const LINE: usize = 300;

/// How many bytes before and after the first one that differs are in an excerpt.
const BEFORE: u64 = 16;
const AFTER: u64 = 32;

/// The first bytes of an input, `most` of them at most. None if it cannot be read.
pub(super) fn head(input: &mut dyn Source, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    input.rewind().ok()?;
    input.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Compares two contents that are not the same.
pub(super) fn compare(name: &str, at: &[String], inputs: [&mut dyn Source; 2], found: &mut Found) {
    let [old, new] = inputs;
    if let (Some(one), Some(two)) = (text(old), text(new)) {
        let lines = one.lines().count() + two.lines().count();
        if fields::is_control(name) && fields::compare(at, &one, &two, found) {
            return;
        }
        if found.lines + lines <= LINES {
            found.lines += lines;
            found.add(Layer::Files, at, lines_of(&one, &two));
            return;
        }
    }
    let what = bytes(old, new).unwrap_or_else(|| What::Unread { why: "cannot be read".to_owned() });
    found.add(Layer::Files, at, what);
}

/// Compares two contents of which only the beginnings are there.
pub(super) fn beginnings(at: &[String], held: [&Held; 2], found: &mut Found) {
    let [old, new] = held;
    let first = old.bytes.iter().zip(&new.bytes).position(|(old, new)| old != new);
    let cut = [old, new].into_iter().filter(|held| !held.is_whole);
    let what = match first.or_else(|| end_of_one(old, new)) {
        Some(first) => {
            let excerpt = |held: &Held| {
                let from = first.saturating_sub(BEFORE as usize).min(held.bytes.len());
                let to = first.saturating_add(AFTER as usize).min(held.bytes.len());
                escaped(&held.bytes[from..to])
            };
            What::Bytes {
                first: first as u64,
                old_size: old.size,
                new_size: new.size,
                old: excerpt(old),
                new: excerpt(new),
            }
        }
        None => {
            let looked = cut.map(|held| held.bytes.len()).min().unwrap_or_default();
            What::Unread { why: format!("it differs beyond its first {looked} bytes") }
        }
    };
    found.add(Layer::Files, at, what);
}

/// Where the shorter one ends, if that is within what is there of both.
fn end_of_one(old: &Held, new: &Held) -> Option<usize> {
    let ends = |held: &Held| held.is_whole.then_some(held.bytes.len());
    [ends(old), ends(new)].into_iter().flatten().min()
}

/// The whole of an input, if it is a text of a size that is compared line by line.
fn text(input: &mut dyn Source) -> Option<String> {
    let bytes = head(input, TEXT + 1)?;
    let is_text = bytes.len() as u64 <= TEXT && !bytes.contains(&0);
    is_text.then(|| String::from_utf8(bytes).ok()).flatten()
}

fn lines_of(old: &str, new: &str) -> What {
    let diff = TextDiff::configure().timeout(Duration::from_secs(2)).diff_lines(old, new);
    let whole = diff.unified_diff().context_radius(1).to_string();
    let mut lines = whole.lines();
    let kept: Vec<String> =
        lines.by_ref().take(DIFF).map(|line| line.chars().take(LINE).collect()).collect();
    What::Text { diff: kept.join("\n"), left_out: lines.count() as u64 }
}

/// Where two inputs begin to differ, and what is there.
fn bytes(old: &mut dyn Source, new: &mut dyn Source) -> Option<What> {
    const CHUNK: u64 = 64 << 10;
    let old_size = old.seek(SeekFrom::End(0)).ok()?;
    let new_size = new.seek(SeekFrom::End(0)).ok()?;
    old.rewind().ok()?;
    new.rewind().ok()?;
    let mut first = 0;
    loop {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        (&mut *old).take(CHUNK).read_to_end(&mut one).ok()?;
        (&mut *new).take(CHUNK).read_to_end(&mut two).ok()?;
        let same = one.iter().zip(&two).take_while(|(one, two)| one == two).count();
        first += same as u64;
        if same < CHUNK as usize {
            break;
        }
    }
    let excerpt = |input: &mut dyn Source| -> Option<String> {
        let from = first.saturating_sub(BEFORE);
        input.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        input.take(first - from + AFTER).read_to_end(&mut bytes).ok()?;
        Some(escaped(&bytes))
    };
    Some(What::Bytes { first, old_size, new_size, old: excerpt(old)?, new: excerpt(new)? })
}

/// Bytes as printable ASCII.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
