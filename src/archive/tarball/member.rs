//! Which members may be unpacked, and to where.

use std::collections::HashMap;

use super::{Entry, Error, Kind, Limits, Raw, RawKind};

/// The members of a file, looked at one by one.
pub(super) struct Members {
    limits: Limits,
    entries: Vec<Option<Entry>>,
    seen: HashMap<String, Standing>,
}

/// What stands at a path so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A folder that only its contents imply.
    Implied,
    Folder,
    File,
    Link,
}

/// The longest path and the longest part of one that file systems take, in bytes.
const MAX_PATH: usize = 4000;
const MAX_PART: usize = 255;

impl Members {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, entries: Vec::new(), seen: HashMap::new() }
    }

    /// Looks at a member.
    pub(super) fn add(&mut self, raw: Raw) -> Result<(), Error> {
        if self.entries.len() >= self.limits.members {
            return Err(Error::Members(self.limits.members));
        }
        let path = plain(&raw.name)?;
        let kind = match raw.kind {
            RawKind::Folder => Kind::Folder,
            RawKind::File { executable: false } => Kind::File,
            RawKind::File { executable: true } => Kind::Executable,
            RawKind::Link(target) => Kind::Link(text(&path, &target)?),
            RawKind::Same(target) => Kind::Same(plain(&target)?),
            RawKind::Special(kind) => return Err(Error::Special { path, kind }),
        };
        if path.is_empty() {
            if kind != Kind::Folder {
                return Err(Error::Path(path, "has no name"));
            }
            self.entries.push(None);
            return Ok(());
        }
        self.place(&path, &kind)?;
        self.entries.push(Some(Entry { path, kind }));
        Ok(())
    }

    fn place(&mut self, path: &str, kind: &Kind) -> Result<(), Error> {
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            match self.seen.get(parent) {
                Some(Standing::Implied | Standing::Folder) => break,
                Some(Standing::File | Standing::Link) => {
                    let (path, through) = (path.to_owned(), parent.to_owned());
                    return Err(Error::Through { path, through });
                }
                None => self.seen.insert(parent.to_owned(), Standing::Implied),
            };
            above = parent;
        }
        if let Kind::Same(target) = kind
            && self.seen.get(target) != Some(&Standing::File)
        {
            return Err(Error::HardLink { path: path.to_owned(), target: target.clone() });
        }
        let standing = match kind {
            Kind::Folder => Standing::Folder,
            Kind::File | Kind::Executable | Kind::Same(_) => Standing::File,
            Kind::Link(_) => Standing::Link,
        };
        match self.seen.insert(path.to_owned(), standing) {
            None => Ok(()),
            // Some tools write a folder each time they come to it.
            Some(Standing::Implied | Standing::Folder) if standing == Standing::Folder => Ok(()),
            Some(_) => Err(Error::Twice(path.to_owned())),
        }
    }

    /// The entries, without a single folder at the top.
    pub(super) fn finish(self) -> Result<Vec<Option<Entry>>, Error> {
        let Self { mut entries, .. } = self;
        let files = || entries.iter().flatten().filter(|entry| entry.kind != Kind::Folder);
        if files().next().is_none() {
            return Err(Error::Empty);
        }
        let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        let first = entries.iter().flatten().next().map(|entry| top(&entry.path));
        let single = first.filter(|first| {
            entries.iter().flatten().all(|entry| match entry.path.split_once('/') {
                Some((top, _)) => top == first,
                None => entry.path == *first && entry.kind == Kind::Folder,
            })
        });
        for entry in entries.iter_mut().flatten() {
            if let Kind::Link(target) = &entry.kind {
                inside(&entry.path, target, single.is_some())?;
            }
        }
        let Some(top) = single else { return Ok(entries) };
        let below = |path: &str| path.strip_prefix(&top)?.strip_prefix('/').map(str::to_owned);
        for slot in &mut entries {
            let stripped = slot.take().and_then(|entry| {
                let kind = match entry.kind {
                    Kind::Same(target) => Kind::Same(below(&target)?),
                    kind => kind,
                };
                Some(Entry { path: below(&entry.path)?, kind })
            });
            *slot = stripped;
        }
        Ok(entries)
    }
}

/// Refuses a link that leads out of what is unpacked. It is read as text: where it leads through
/// other links does not count, for nothing is ever written through one.
fn inside(path: &str, target: &str, stripped: bool) -> Result<(), Error> {
    let escapes = || Error::Escapes { path: path.to_owned(), target: target.to_owned() };
    if target.starts_with('/') {
        return Err(escapes());
    }
    let above = path.matches('/').count();
    let mut depth = if stripped { above.saturating_sub(1) } else { above };
    for part in target.split('/') {
        depth = match part {
            "" | "." => depth,
            ".." => depth.checked_sub(1).ok_or_else(escapes)?,
            _ => depth + 1,
        };
    }
    Ok(())
}

fn text(path: &str, target: &[u8]) -> Result<String, Error> {
    match std::str::from_utf8(target) {
        Ok(text) if !text.is_empty() && text.len() <= MAX_PATH && !text.contains('\0') => {
            Ok(text.to_owned())
        }
        _ => Err(Error::Path(path.to_owned(), "is a link to nothing that could be a path")),
    }
}

/// The path of a member, without leading `./` and a trailing `/`; empty for the top itself.
fn plain(raw: &[u8]) -> Result<String, Error> {
    let shown = || String::from_utf8_lossy(raw).chars().take(300).collect::<String>();
    let bad = |why| Err(Error::Path(shown(), why));
    let Ok(text) = std::str::from_utf8(raw) else { return bad("is not UTF-8") };
    if text.starts_with('/') {
        return bad("is an absolute path");
    }
    let mut text = text;
    while let Some(rest) = text.strip_prefix("./") {
        text = rest.trim_start_matches('/');
    }
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() || text == "." {
        return Ok(String::new());
    }
    if text.len() > MAX_PATH {
        return bad("is too long");
    }
    for part in text.split('/') {
        match part {
            ".." => return bad("climbs out of the folder it is unpacked to"),
            "" | "." => return bad("is not written plainly"),
            part if part.len() > MAX_PART => return bad("has a part that is too long"),
            part if part.contains(['\0', '\n']) => return bad("holds a line break or a NUL"),
            _ => {}
        }
    }
    Ok(text.to_owned())
}
