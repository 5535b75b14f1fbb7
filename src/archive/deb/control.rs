//! Control files: paragraphs of fields, the syntax of every text in a Debian archive
//! (Debian Policy 5.1, deb822(5)).

use std::borrow::Cow;

/// The most fields a paragraph may have; real ones have below 50.
pub const FIELDS: usize = 1000;

/// Why a text is not a control file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line that is neither a field, nor a continuation, nor empty.
    #[error("line {line}: `{text}` is not a field (`Name: value`)")]
    NotAField {
        /// Line number, counted from 1.
        line: usize,
        /// The line's beginning.
        text: String,
    },
    /// A line that begins with white space where there is nothing to continue.
    #[error("line {line}: a continuation line without a field before it")]
    NothingToContinue {
        /// Line number, counted from 1.
        line: usize,
    },
    /// A field that its paragraph already has.
    #[error("line {line}: field `{name}` appears twice in one paragraph")]
    Duplicate {
        /// Line number, counted from 1.
        line: usize,
        /// The field.
        name: String,
    },
    /// More than [`FIELDS`] fields.
    #[error("line {line}: a paragraph with more than {FIELDS} fields")]
    TooManyFields {
        /// Line number, counted from 1.
        line: usize,
    },
}

/// A paragraph: fields in the order they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a str, Cow<'a, str>)>,
    line: usize,
}

impl<'a> Paragraph<'a> {
    /// The value of the field `name`, whatever its case. White space around it is gone;
    /// continuation lines stay as written, with the white space they begin with.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// The fields in the order they were written, names in the case they were written.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// The number of the line it begins at, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// The paragraphs of a text without comments: an index, a Release file, a `.dsc`, the `control`
/// of a binary package. Borrows from the text. Ends after the first error.
pub fn paragraphs(text: &str) -> Paragraphs<'_> {
    Paragraphs { lines: Scanner::new(text, Comments::Refuse), line: 1, counted: 0 }
}

/// The paragraphs of a text in which lines that begin with `#` are comments: `debian/control`
/// (Debian Policy 5.1). Ends after the first error.
pub fn commented_paragraphs(text: &str) -> Paragraphs<'_> {
    Paragraphs { lines: Scanner::new(text, Comments::Skip), line: 1, counted: 0 }
}

/// The words of a value, continuation lines and all, with single spaces between them.
pub fn folded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for word in value.split_ascii_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Iterator over paragraphs; see [`paragraphs`].
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    lines: Scanner<'a>,
    line: usize,
    counted: usize,
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.paragraph();
        if matches!(result, Some(Err(_))) {
            self.lines.stop();
        }
        result
    }
}

impl<'a> Paragraphs<'a> {
    fn paragraph(&mut self) -> Option<Result<Paragraph<'a>, Error>> {
        let mut fields: Vec<(&'a str, Cow<'a, str>)> = Vec::new();
        let mut line = self.line;
        loop {
            match self.lines.next() {
                None => return None,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(Item::End)) => return Some(Ok(Paragraph { fields, line })),
                Some(Ok(Item::Field { name, value, at })) => {
                    if fields.is_empty() {
                        line = self.line_at(at);
                    }
                    if fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                        let (line, name) = (self.line_at(at), name.to_owned());
                        return Some(Err(Error::Duplicate { line, name }));
                    }
                    if fields.len() == FIELDS {
                        return Some(Err(Error::TooManyFields { line: self.line_at(at) }));
                    }
                    fields.push((name, self.lines.comments.removed_from(value)));
                }
            }
        }
    }

    /// The number of the line at byte `at`, which never lies before one asked for earlier.
    fn line_at(&mut self, at: usize) -> usize {
        self.line += newlines(&self.lines.text[self.counted..at]);
        self.counted = at;
        self.line
    }
}

/// What a text is made of, piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A field.
    Field {
        /// Its name as written.
        name: &'a str,
        /// Its value, continuation and comment lines as written; without white space around it,
        /// but for the end of an empty first line where comments are skipped.
        value: &'a str,
        /// Where its name begins in the text.
        at: usize,
    },
    /// The end of a paragraph that has at least one field.
    End,
}

/// Whether lines that begin with `#` are comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    Skip,
    Refuse,
}

impl Comments {
    fn removed_from(self, value: &str) -> Cow<'_, str> {
        if self == Self::Refuse || !value.contains("\n#") {
            return Cow::Borrowed(value.trim_ascii());
        }
        let (first, rest) = value.split_once('\n').unwrap_or((value, ""));
        let rest = rest.split('\n').filter(|line| !line.starts_with('#'));
        let kept: Vec<&str> = [first].into_iter().chain(rest).collect();
        Cow::Owned(kept.join("\n").trim_ascii().to_owned())
    }
}

/// Reads fields without gathering them: an index of 60,000 paragraphs has more than a million,
/// of which most are not wanted.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    inside: bool,
    comments: Comments,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str, comments: Comments) -> Self {
        Self { text, at: 0, inside: false, comments }
    }

    /// Lets nothing more come.
    fn stop(&mut self) {
        self.at = self.text.len();
        self.inside = false;
    }

    pub(super) fn next(&mut self) -> Option<Result<Item<'a>, Error>> {
        while self.at < self.text.len() {
            let at = self.at;
            let line = self.take_line();
            match line.as_bytes().first() {
                Some(b'#') if self.comments == Comments::Skip => {}
                None | Some(b' ' | b'\t' | b'\r') if line.trim_ascii().is_empty() => {
                    if std::mem::take(&mut self.inside) {
                        return Some(Ok(Item::End));
                    }
                }
                Some(b' ' | b'\t') => {
                    return Some(Err(Error::NothingToContinue { line: self.line_of(at) }));
                }
                _ => return Some(self.field(line, at)),
            }
        }
        std::mem::take(&mut self.inside).then_some(Ok(Item::End))
    }

    fn field(&mut self, line: &'a str, at: usize) -> Result<Item<'a>, Error> {
        let Some((name, _)) = line.split_once(':') else {
            return Err(self.not_a_field(line, at));
        };
        let value = at + name.len() + 1;
        let name = name.trim_ascii_end();
        if !is_field_name(name) {
            return Err(self.not_a_field(line, at));
        }
        self.inside = true;
        let mut end = at + line.len();
        loop {
            // A comment belongs to the value only if the value goes on after it.
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t') => {
                    let start = self.at;
                    let line = self.take_line();
                    if line.trim_ascii().is_empty() {
                        self.at = start;
                        break;
                    }
                    end = start + line.len();
                }
                Some(b'#') if self.comments == Comments::Skip => {
                    self.take_line();
                }
                _ => break,
            }
        }
        let value = &self.text[value..end];
        let value = match self.comments {
            Comments::Refuse => value.trim_ascii(),
            // Where the first line ends must stay known: a `#` on it begins no comment.
            Comments::Skip => value.trim_ascii_end().trim_start_matches([' ', '\t']),
        };
        Ok(Item::Field { name, value, at })
    }

    fn take_line(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let line = match rest.find('\n') {
            Some(end) => &rest[..end],
            None => rest,
        };
        self.at = (self.at + line.len() + 1).min(self.text.len());
        line
    }

    fn not_a_field(&self, line: &str, at: usize) -> Error {
        let text = line.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect();
        Error::NotAField { line: self.line_of(at), text }
    }

    /// The number of the line at byte `at`.
    pub(super) fn line_of(&self, at: usize) -> usize {
        1 + newlines(&self.text[..at])
    }
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Printable ASCII without white space and colon, not beginning like a comment or a signature.
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['#', '-'])
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<(String, String)>> {
        commented_paragraphs(text)
            .map(|paragraph| {
                let paragraph = paragraph.unwrap();
                paragraph.fields().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
            })
            .collect()
    }

    #[test]
    fn reads_paragraphs_fields_and_continuations() {
        let text = "\n\nA: 1\nB:\n  two\n .\n lines  \n \t\nC:3\n\n\n";
        let all: Vec<_> = paragraphs(text).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("a"), Some("1"));
        assert_eq!(all[0].get("B"), Some("two\n .\n lines"));
        assert_eq!(all[0].line(), 3);
        assert_eq!(all[1].get("C"), Some("3"));
        assert_eq!(all[1].line(), 9);
        assert_eq!(all[1].get("D"), None);
        assert_eq!(folded("two\n .\n lines"), "two . lines");
    }

    #[test]
    fn comments_vanish_wherever_they_stand() {
        let text = "# top\nA: x,\n# in between\n y\n# behind\nB: 2\n#\n\n# alone\n\nC: 3";
        assert_eq!(
            fields(text),
            [
                vec![("A".to_owned(), "x,\n y".to_owned()), ("B".to_owned(), "2".to_owned())],
                vec![("C".to_owned(), "3".to_owned())]
            ]
        );
        assert!(matches!(paragraphs(text).next(), Some(Err(Error::NotAField { line: 1, .. }))));
        // What stands behind the colon is no comment, the line below it is one.
        assert_eq!(fields("A: #\n#\n b\n"), [vec![("A".to_owned(), "#\n b".to_owned())]]);
        assert_eq!(fields("A:\n# c\n b\n"), [vec![("A".to_owned(), "b".to_owned())]]);
    }

    #[test]
    fn refuses_what_is_no_control_file() {
        let error = |text: &str| paragraphs(text).find_map(Result::err).unwrap().to_string();
        assert_eq!(error("A: 1\nfoo\n"), "line 2: `foo` is not a field (`Name: value`)");
        assert_eq!(error(" x\n"), "line 1: a continuation line without a field before it");
        assert_eq!(error("A: 1\na: 2\n"), "line 2: field `a` appears twice in one paragraph");
        assert_eq!(error("-A: 1\n"), "line 1: `-A: 1` is not a field (`Name: value`)");
        assert_eq!(error("A B: 1\n"), "line 1: `A B: 1` is not a field (`Name: value`)");
        assert_eq!(error("é: 1\n"), "line 1: `é: 1` is not a field (`Name: value`)");
        let many: String = (0..=FIELDS).map(|n| format!("F{n}:\n")).collect();
        assert_eq!(error(&many), "line 1001: a paragraph with more than 1000 fields");
    }

    #[test]
    fn ends_after_the_first_error() {
        assert_eq!(paragraphs("foo\n\nA: 1\n").count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends_in_paragraphs_or_an_error(text in "[AB:# \t\r\n\u{e9}-]{0,40}") {
            for paragraph in paragraphs(&text).chain(commented_paragraphs(&text)) {
                let _ = paragraph.map(|paragraph| paragraph.fields().count());
            }
        }
    }
}
