//! Patches as unified differences, tried on the text that they are for.
//!
//! What counts is what the program `patch` makes of them, with one folder stripped from names and
//! no fuzz (POSIX.1-2024, patch; GNU diffutils manual, "Detailed Unified"). Only what it surely
//! refuses is said to fail here; what is beyond plain text is left to it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A patch that is plain text.
#[derive(Debug, Clone)]
pub struct Patch<'a> {
    files: Vec<FilePatch<'a>>,
}

/// Files by path: their bytes, or that they are not there.
pub type Files = BTreeMap<String, Option<Vec<u8>>>;

/// What comes of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It applies, as far as can be seen, and has been applied.
    Applies,
    /// It is for the program to say.
    Unclear,
    /// It does not apply.
    Fails(Mismatch),
}

/// Where and why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The file it is for.
    pub file: String,
    /// The line of the patch, from one.
    pub line: usize,
    /// Why.
    pub why: Why,
    /// The hunk, its heading first, without line ends; empty where a whole file is at fault.
    pub hunk: Vec<String>,
}

/// Why a patch does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no such file.
    NoFile,
    /// The file that it would make is there.
    There,
    /// The file nowhere has the lines that it would change.
    NotFound,
    /// It has those instead that it would be changed to.
    Applied,
}

#[derive(Debug, Clone)]
struct FilePatch<'a> {
    line: usize,
    /// None for a file that is made.
    old: Option<String>,
    /// None for a file that is removed.
    new: Option<String>,
    hunks: Vec<Hunk<'a>>,
}

#[derive(Debug, Clone)]
struct Hunk<'a> {
    line: usize,
    /// Where its old lines are thought to begin, from zero.
    start: usize,
    anchor: Anchor,
    old: Vec<&'a [u8]>,
    new: Vec<&'a [u8]>,
    text: Vec<&'a [u8]>,
}

/// Where the old lines of a hunk may be found. Fewer unchanged lines on one side than on the other
/// say that the file has no more there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Anywhere,
    Start,
    End,
}

impl<'a> Patch<'a> {
    /// The patch of a text; none if it has parts that are not plain: renames, binary files, other
    /// forms of differences, line ends of other systems.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        const BEYOND: [&[u8]; 8] = [
            b"rename from ",
            b"rename to ",
            b"copy from ",
            b"copy to ",
            b"GIT binary patch",
            b"Binary files ",
            b"new file mode 120000",
            b"***************",
        ];
        if text.contains(&b'\r') {
            return None;
        }
        let lines: Vec<&[u8]> = lines(text);
        let mut files: Vec<FilePatch<'a>> = Vec::new();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            if BEYOND.iter().any(|start| line.starts_with(start)) {
                return None;
            }
            let after = lines.get(at + 1).copied().unwrap_or_default();
            if line.starts_with(b"--- ") && after.starts_with(b"+++ ") {
                let (old, new) = (name(line)?, name(after)?);
                files.push(FilePatch { line: at + 1, old, new, hunks: Vec::new() });
                at += 2;
            } else if line.starts_with(b"@@ -") {
                let hunk = hunk(&lines, at)?;
                at += hunk.text.len();
                files.last_mut()?.hunks.push(hunk);
            } else {
                at += 1;
            }
        }
        let whole = files.iter().all(|file| !file.hunks.is_empty());
        (whole && !files.is_empty()).then_some(Self { files })
    }

    /// The files that it is about.
    pub fn names(&self) -> BTreeSet<&str> {
        let names = self.files.iter().flat_map(|file| [&file.old, &file.new]);
        names.flatten().map(String::as_str).collect()
    }

    /// Applies it to those of its files that `files` tells of. They are changed only where it
    /// applies.
    pub fn apply(&self, files: &mut Files) -> Tried {
        let mut after = files.clone();
        for patch in &self.files {
            let names: Vec<&String> = [&patch.old, &patch.new].into_iter().flatten().collect();
            if names.iter().all(|name| !after.contains_key(*name)) {
                continue;
            }
            let there: BTreeSet<&String> = names
                .iter()
                .copied()
                .filter(|name| matches!(after.get(*name), Some(Some(_))))
                .collect();
            let file = match (there.len(), names.last()) {
                (0, Some(name)) => (*name).clone(),
                (1, _) => there.into_iter().next().cloned().unwrap_or_default(),
                _ => return Tried::Unclear,
            };
            let text = after.get(&file).cloned().flatten();
            match patch.apply(&file, text.as_deref()) {
                Ok(text) => after.insert(file, text),
                Err(mismatch) => return Tried::Fails(mismatch),
            };
        }
        *files = after;
        Tried::Applies
    }
}

impl FilePatch<'_> {
    /// The file as it is afterwards; none if it goes.
    fn apply(&self, file: &str, text: Option<&[u8]>) -> Result<Option<Vec<u8>>, Mismatch> {
        let makes = self.old.is_none() || self.hunks.iter().all(|hunk| hunk.old.is_empty());
        let wrong = |line, why, hunk: &[&[u8]]| Mismatch {
            file: file.to_owned(),
            line,
            why,
            hunk: hunk.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
        };
        match text {
            None if !makes => return Err(wrong(self.line, Why::NoFile, &[])),
            Some(text) if self.old.is_none() && !text.is_empty() => {
                return Err(wrong(self.line, Why::There, &[]));
            }
            _ => {}
        }
        let before = lines(text.unwrap_or_default());
        let mut after: Vec<&[u8]> = Vec::new();
        let (mut done, mut offset) = (0, 0);
        for hunk in &self.hunks {
            let guess = hunk.start.saturating_add_signed(offset);
            let Some(at) = place(&before, &hunk.old, done, guess, hunk.anchor) else {
                let is_applied =
                    !hunk.new.is_empty() && place(&before, &hunk.new, 0, 0, hunk.anchor).is_some();
                let why = if is_applied { Why::Applied } else { Why::NotFound };
                return Err(wrong(hunk.line, why, &hunk.text));
            };
            offset = at.cast_signed() - hunk.start.cast_signed();
            after.extend_from_slice(&before[done..at]);
            after.extend_from_slice(&hunk.new);
            done = at + hunk.old.len();
        }
        after.extend_from_slice(&before[done..]);
        if after.is_empty() {
            return Ok(None);
        }
        let mut text = after.join(&b'\n');
        text.push(b'\n');
        Ok(Some(text))
    }
}

/// Where `wanted` stands in `lines` from `least` on: the place nearest to `guess`, of two the
/// later one.
fn place(
    lines: &[&[u8]],
    wanted: &[&[u8]],
    least: usize,
    guess: usize,
    anchor: Anchor,
) -> Option<usize> {
    let last = lines.len().checked_sub(wanted.len())?;
    let (least, last) = match anchor {
        Anchor::Anywhere => (least, last),
        Anchor::Start => (least, 0),
        Anchor::End => (least.max(last), last),
    };
    if least > last {
        return None;
    }
    let fits = |at: &usize| lines[*at..*at + wanted.len()] == *wanted;
    let guess = guess.clamp(least, last);
    let later = (guess..=last).find(fits);
    let earlier = (least..guess).rev().find(fits);
    match (later, earlier) {
        (Some(later), Some(earlier)) if guess - earlier < later - guess => Some(earlier),
        (later, earlier) => later.or(earlier),
    }
}

/// Lines without their ends; whether the last one has an end makes no difference.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() { Vec::new() } else { text.split(|byte| *byte == b'\n').collect() }
}

/// The file that a heading names, with one folder stripped; an outer none for a name that cannot
/// be told.
#[expect(clippy::option_option, reason = "no file and no telling are two things")]
fn name(heading: &[u8]) -> Option<Option<String>> {
    let name = std::str::from_utf8(heading.get(4..)?).ok()?;
    let name = name.split('\t').next()?.trim();
    if name == "/dev/null" {
        return Some(None);
    }
    if name.is_empty() || name.contains(['"', ' ']) || name.starts_with('/') {
        return None;
    }
    let parts: Vec<&str> =
        name.split_once('/')?.1.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| Some(parts.join("/")))
}

/// The hunk whose heading is line `at`.
fn hunk<'a>(lines: &[&'a [u8]], at: usize) -> Option<Hunk<'a>> {
    let heading = std::str::from_utf8(lines.get(at)?).ok()?;
    let (ranges, _) = heading.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(usize, usize)> {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    let ((start, olds), (_, news)) = (range(old)?, range(new)?);
    // Lines that are only added are added after the one that is named.
    let start = if olds == 0 { start } else { start.checked_sub(1)? };
    let mut hunk = Hunk {
        line: at + 1,
        start,
        anchor: Anchor::Anywhere,
        old: Vec::new(),
        new: Vec::new(),
        text: Vec::new(),
    };
    hunk.text.push(lines[at]);
    for line in &lines[at + 1..] {
        let is_whole = hunk.old.len() == olds && hunk.new.len() == news;
        match line.split_first() {
            Some((b'\\', _)) => {}
            _ if is_whole => break,
            Some((b' ', rest)) => {
                hunk.old.push(rest);
                hunk.new.push(rest);
            }
            // Some editors take the space off an empty line.
            None => {
                hunk.old.push(line);
                hunk.new.push(line);
            }
            Some((b'-', rest)) => hunk.old.push(rest),
            Some((b'+', rest)) => hunk.new.push(rest),
            Some(_) => return None,
        }
        hunk.text.push(line);
    }
    let changes = |line: &&[u8]| matches!(line.first(), Some(b'-' | b'+'));
    let body = || hunk.text[1..].iter().filter(|line| !line.starts_with(b"\\"));
    let before = body().take_while(|line| !changes(line)).count();
    let after = body().rev().take_while(|line| !changes(line)).count();
    hunk.anchor = match before.cmp(&after) {
        Ordering::Less if start == 0 => Anchor::Start,
        Ordering::Greater if olds > 0 => Anchor::End,
        _ => Anchor::Anywhere,
    };
    (hunk.old.len() == olds && hunk.new.len() == news).then_some(hunk)
}

#[cfg(test)]
mod tests;
