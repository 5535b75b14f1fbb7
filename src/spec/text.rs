//! A text of the release and its places.

use std::ops::Range;

use crate::base::{ReleasePath, Span};

/// A file's text, which can say at which line and column a byte or a position lies.
#[derive(Debug, Clone)]
pub struct Text {
    file: ReleasePath,
    content: String,
    /// Byte offsets of the lines.
    lines: Vec<usize>,
}

impl Text {
    /// The text of `file`.
    pub fn new(file: ReleasePath, content: String) -> Self {
        let after = content.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(after.map(|(at, _)| at + 1)).collect();
        Self { file, content, lines }
    }

    /// The file.
    pub fn file(&self) -> &ReleasePath {
        &self.file
    }

    /// The whole text.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Line `number`, counted from 1, without its end; empty where there is none.
    pub fn line(&self, number: u32) -> &str {
        let index = number as usize;
        let Some(&start) = index.checked_sub(1).and_then(|index| self.lines.get(index)) else {
            return "";
        };
        let end = self.lines.get(index).map_or(self.content.len(), |next| next - 1);
        self.content[start..end.max(start)].trim_end_matches('\r')
    }

    /// The place of some bytes, up to the end of their first line.
    pub fn span(&self, bytes: Range<usize>) -> Span {
        let start = bytes.start.min(self.content.len());
        let line = self.lines.partition_point(|&line| line <= start).max(1);
        let from = self.lines[line - 1];
        let until = bytes.end.clamp(start, from + self.line(line as u32).len().max(start - from));
        let count = |range: Range<usize>| {
            self.content.get(range).map_or(0, |text| text.chars().count()) as u32
        };
        Span {
            file: self.file.clone(),
            line: line as u32,
            column: count(from..start) + 1,
            length: count(start..until),
        }
    }

    /// The place of the word, string or sign at a line and column, both counted from 1.
    pub fn token(&self, line: u32, column: u32) -> Span {
        let column = column.max(1);
        let (text, before) = (self.line(line), column as usize - 1);
        let rest = match text.is_ascii() {
            true => text.get(before..),
            false => text.char_indices().nth(before).map(|(at, _)| &text[at..]),
        };
        let length = rest.map_or(0, token_length);
        Span { file: self.file.clone(), line, column, length: length as u32 }
    }

    /// The place of `length` characters at a line and column, both counted from 1.
    pub fn place(&self, line: u32, column: u32, length: u32) -> Span {
        Span { file: self.file.clone(), line, column: column.max(1), length }
    }
}

/// How many characters the token at the start of `rest` has: a quoted string, a name (with the
/// modules before it), or one sign.
fn token_length(rest: &str) -> usize {
    let word = |character: &char| character.is_alphanumeric() || *character == '_';
    let mut characters = rest.chars();
    match characters.next() {
        None => 0,
        Some(quote @ ('"' | '`' | '\'')) => {
            let mut escaped = false;
            let end = characters.clone().position(|character| match character {
                _ if std::mem::take(&mut escaped) => false,
                '\\' if quote != '`' => {
                    escaped = true;
                    false
                }
                character => character == quote,
            });
            end.map_or_else(|| rest.chars().count(), |end| end + 2)
        }
        Some('#' | '$') if characters.next() == Some('{') => 2,
        Some(first) if first.is_ascii_digit() => {
            let number = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
            rest.chars().take_while(number).count()
        }
        Some(first) if word(&first) => rest.chars().take_while(word).count(),
        Some(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Text {
        Text::new("a.rhai".parse().expect("plain"), content.to_owned())
    }

    #[test]
    fn places_count_characters_not_bytes() {
        let text = text("é = 1\nname = \"ö\"\n");
        let span = text.span(14..18);
        assert_eq!((span.line, span.column, span.length), (2, 8, 3));
        let span = text.token(2, 8);
        assert_eq!((span.line, span.column, span.length), (2, 8, 3));
    }

    #[test]
    fn a_place_beyond_the_text_is_its_end() {
        let text = text("a\nb");
        let span = text.span(90..99);
        assert_eq!((span.line, span.column, span.length), (2, 2, 0));
        assert_eq!(text.token(7, 9).length, 0);
        assert_eq!(text.line(0), "");
    }

    #[test]
    fn a_place_ends_with_its_line() {
        let span = text("ab\ncd").span(1..5);
        assert_eq!((span.line, span.column, span.length), (1, 2, 1));
    }
}
