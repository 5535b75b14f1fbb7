//! Member names: what is plain, and what would escape.

use super::Error;

/// The member's path relative to the root, without `./` and a trailing `/`; empty for the root.
pub(super) fn plain(raw: &[u8]) -> Result<String, Error> {
    let shown = || String::from_utf8_lossy(raw).into_owned();
    let bad = |why| Err(Error::Path(shown(), why));
    let Ok(text) = std::str::from_utf8(raw) else { return bad("it is not UTF-8") };
    if text.starts_with('/') {
        return Err(Error::Absolute(shown()));
    }
    let text = match text {
        "." => "",
        text => text.strip_prefix("./").unwrap_or(text),
    };
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.len() > 4000 {
        return bad("it is too long");
    }
    if text.is_empty() {
        return Ok(String::new());
    }
    for part in text.split('/') {
        match part {
            ".." => return Err(Error::Climbs(shown())),
            "" | "." => return bad("it is not written plainly"),
            part if part.len() > 255 => return bad("a part of it is too long"),
            // dpkg's file lists have one path per line.
            part if part.contains(['\0', '\n']) => return bad("it holds a line break or a NUL"),
            _ => {}
        }
    }
    Ok(text.to_owned())
}

/// A link's target as text, refused if it climbs above the root from where the link stands.
/// An absolute target is fine: it is read inside the root.
pub(super) fn link_target(path: &str, raw: &[u8]) -> Result<String, Error> {
    let shown = || String::from_utf8_lossy(raw).into_owned();
    let target = match std::str::from_utf8(raw) {
        Ok(text) if !text.is_empty() && text.len() <= 4000 && !text.contains(['\0', '\n']) => text,
        _ => return Err(Error::Path(path.to_owned(), "its link target is unusable")),
    };
    let mut depth = if target.starts_with('/') { 0 } else { path.split('/').count() - 1 };
    for part in target.split('/') {
        depth = match part {
            "" | "." => depth,
            ".." => depth
                .checked_sub(1)
                .ok_or_else(|| Error::LinkEscapes { path: path.to_owned(), target: shown() })?,
            _ => depth + 1,
        };
    }
    Ok(target.to_owned())
}
