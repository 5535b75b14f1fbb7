//! Places in texts as editors count them: lines from 0, columns in UTF-16 code units; and files
//! as editors name them.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr as _;

use lsp_types::{Position, Uri};

use crate::base::Span;

/// The byte at a position; the end of its line where that is shorter, the end of the text where
/// there is no such line.
pub fn offset(text: &str, position: Position) -> usize {
    let Some(start) = line_start(text, position.line) else { return text.len() };
    let line = line_at(text, start);
    let mut units = 0;
    for (at, character) in line.char_indices() {
        if units >= position.character as usize {
            return start + at;
        }
        units += character.len_utf16();
    }
    start + line.len()
}

/// The position of a byte.
pub fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let units: usize = before[start..].chars().map(char::len_utf16).sum();
    Position::new(line as u32, units as u32)
}

/// The range of some bytes.
pub fn range(text: &str, bytes: Range<usize>) -> lsp_types::Range {
    lsp_types::Range::new(position(text, bytes.start), position(text, bytes.end))
}

/// The range of a place that diagnostics tell of; of one without length, the word there.
pub fn span_range(text: &str, span: &Span) -> lsp_types::Range {
    let line = span.line.saturating_sub(1);
    // Evaluation does not count the mark that some editors begin a file with.
    let mark = usize::from(line == 0 && text.starts_with('\u{feff}'));
    let Some(start) = line_start(text, line) else {
        let end = position(text, text.len());
        return lsp_types::Range::new(end, end);
    };
    let content = line_at(text, start);
    let column = (span.column.saturating_sub(1) as usize).saturating_add(mark);
    let units = |characters: usize| -> u32 {
        content.chars().take(characters).map(char::len_utf16).sum::<usize>() as u32
    };
    let length = match span.length {
        0 => content.chars().skip(column).take_while(|c| c.is_alphanumeric()).count(),
        length => length as usize,
    };
    lsp_types::Range::new(
        Position::new(line, units(column)),
        Position::new(line, units(column.saturating_add(length))),
    )
}

fn line_start(text: &str, line: u32) -> Option<usize> {
    match line {
        0 => Some(0),
        line => text.match_indices('\n').nth(line as usize - 1).map(|(at, _)| at + 1),
    }
}

/// The line that begins at a byte, without its end.
fn line_at(text: &str, start: usize) -> &str {
    let rest = &text[start..];
    rest[..rest.find('\n').unwrap_or(rest.len())].trim_end_matches('\r')
}

/// The file that a `file:` URI names (RFC 8089).
pub fn file(uri: &Uri) -> Option<PathBuf> {
    let rest = uri.as_str().strip_prefix("file://")?;
    let path = &rest[rest.find('/')?..];
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

/// A path without `..`, as editors know files by: that of a release that another one extends.
pub fn plain(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                found.pop();
            }
            part => found.push(part),
        }
    }
    found
}

/// The URI of a file.
pub fn uri(path: &Path) -> Option<Uri> {
    let mut text = "file://".to_owned();
    for byte in path.to_str()?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            byte => write!(text, "%{byte:02X}").ok()?,
        }
    }
    Uri::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "a😀é\"x\"\r\n\nend";

    #[test]
    fn columns_count_utf16_units() {
        for (line, character, at) in
            [(0, 0, "a"), (0, 1, "😀"), (0, 3, "é"), (0, 4, "\"x"), (1, 0, "\n"), (2, 1, "nd")]
        {
            let offset = offset(TEXT, Position::new(line, character));
            assert!(TEXT[offset..].starts_with(at), "{line}:{character} {offset}");
            assert_eq!(position(TEXT, offset), Position::new(line, character));
        }
        // Inside a pair, behind the end of a line, behind the end of the text.
        assert_eq!(offset(TEXT, Position::new(0, 2)), 5);
        assert_eq!(offset(TEXT, Position::new(0, 99)), 10);
        assert_eq!(offset(TEXT, Position::new(9, 9)), TEXT.len());
    }

    #[test]
    fn files_of_extended_releases_have_the_names_that_editors_know() {
        let path = plain(Path::new("/specs/a/../base/packages/x.rhai"));
        assert_eq!(path, Path::new("/specs/base/packages/x.rhai"));
    }

    #[test]
    fn places_of_diagnostics_count_characters() {
        let span = |line, column, length| Span {
            file: "a.rhai".parse().expect("plain"),
            line,
            column,
            length,
        };
        let found = |text, span: Span| {
            let range = span_range(text, &span);
            (range.start.line, range.start.character, range.end.character)
        };
        assert_eq!(found(TEXT, span(1, 4, 3)), (0, 4, 7));
        assert_eq!(found(TEXT, span(3, 1, 0)), (2, 0, 3));
        assert_eq!(found("\u{feff}abc", span(1, 2, 1)), (0, 2, 3));
        assert_eq!(found(TEXT, span(0, 0, 0)), (0, 0, 1));
        assert_eq!(found(TEXT, span(7, 1, 1)), (2, 3, 3));
    }

    proptest! {
        #[test]
        fn any_position_is_one_of_the_text(
            text in "[a😀é\r\n]{0,40}", line in 0..9_u32, character in 0..50_u32,
        ) {
            let offset = offset(&text, Position::new(line, character));
            prop_assert!(text.is_char_boundary(offset));
            prop_assert!(position(&text, offset) <= Position::new(line, character)
                || text.is_empty() || character > 0);
        }

        #[test]
        fn files_keep_their_names(path in "/[ -~é😀]{0,20}") {
            let path = PathBuf::from(path);
            prop_assert_eq!(file(&uri(&path).expect("a URI")), Some(path));
        }
    }
}
