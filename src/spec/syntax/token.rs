use std::ops::Range;

/// How deep strings within strings are followed.
const MAX_NESTING: usize = 32;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Blanks and line ends.
    Space,
    /// `// …` up to the end of its line, without that.
    Comment,
    /// `/* … */`, which may hold others.
    Block,
    /// A name or a keyword.
    Word,
    /// A number.
    Number,
    /// `"…"`, `'…'`, `` `…` `` or `#"…"#`, also one whose end is missing.
    Text,
    /// `( [ { #{`
    Open,
    /// `) ] }`
    Close,
    /// Any other sign.
    Sign,
    /// What no token begins with.
    Unknown,
}

impl Token {
    /// What is written there.
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start..self.end]
    }

    /// Whether it means nothing to evaluation.
    pub fn is_trivia(&self) -> bool {
        matches!(self.kind, Kind::Space | Kind::Comment | Kind::Block)
    }

    /// Where the content of a string lies: without its quotes, up to the end of the token where
    /// the closing one is missing.
    pub fn inside(&self, text: &str) -> Range<usize> {
        let written = self.text(text);
        let hashes = written.bytes().take_while(|byte| *byte == b'#').count();
        let opening = hashes + 1;
        let closing = match self.is_closed(text) {
            true => opening,
            false => 0,
        };
        let start = (self.start + opening).min(self.end);
        start..self.end.saturating_sub(closing).max(start)
    }

    /// Whether a string has its closing quote.
    pub fn is_closed(&self, text: &str) -> bool {
        let mut lexer = Lexer { text, at: self.start, depth: 0 };
        lexer.token().is_some_and(|(_, closed)| closed)
    }
}

/// The tokens of a text: each byte of it belongs to exactly one.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, depth: 0 };
    let mut found = Vec::new();
    while let Some((token, _)) = lexer.token() {
        found.push(token);
    }
    found
}

/// Where the code of a back-tick string's `${…}` lies, without the braces.
pub fn interpolations(token: &Token, text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if token.kind == Kind::Text && token.text(text).starts_with('`') {
        let mut lexer = Lexer { text, at: token.start + 1, depth: 0 };
        lexer.back_tick(&mut |range| found.push(range));
    }
    found
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// Signs of several characters, longest first.
const SIGNS: [&str; 33] = [
    "**=", "..=", "...", "<<=", ">>=", "===", "!==", "::<", "**", "..", "<<", ">>", "==", "!=",
    "<=", ">=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "=>", "->", "::", "??",
    "?.", "?[", "|>",
];

impl Lexer<'_> {
    /// The next token, and whether it has its end.
    fn token(&mut self) -> Option<(Token, bool)> {
        let start = self.at;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let mut closed = true;
        let kind = match first {
            c if c.is_whitespace() => {
                self.skip(|c| c.is_whitespace());
                Kind::Space
            }
            '/' if rest.starts_with("//") => {
                self.skip(|c| c != '\n' && c != '\r');
                Kind::Comment
            }
            '/' if rest.starts_with("/*") => {
                closed = self.block();
                Kind::Block
            }
            '"' | '\'' => {
                closed = self.quoted(first);
                Kind::Text
            }
            '`' => {
                self.at += 1;
                closed = self.back_tick(&mut |_| ());
                Kind::Text
            }
            '#' if begins_raw(rest) => {
                closed = self.raw();
                Kind::Text
            }
            '#' if rest.starts_with("#{") => {
                self.at += 2;
                Kind::Open
            }
            '(' | '[' | '{' => {
                self.at += 1;
                Kind::Open
            }
            ')' | ']' | '}' => {
                self.at += 1;
                Kind::Close
            }
            '0'..='9' => {
                self.number();
                Kind::Number
            }
            c if c.is_alphabetic() || c == '_' => {
                self.skip(|c| c.is_alphanumeric() || c == '_');
                Kind::Word
            }
            '!' if is_not_in(rest) => {
                self.at += 3;
                Kind::Sign
            }
            c if c.is_ascii_punctuation() => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                self.at += sign.map_or(1, |sign| sign.len());
                if rest.starts_with("?[") { Kind::Open } else { Kind::Sign }
            }
            c => {
                self.at += c.len_utf8();
                Kind::Unknown
            }
        };
        Some((Token { kind, start, end: self.at }, closed))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, belongs: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    }

    /// A comment that may hold others.
    fn block(&mut self) -> bool {
        let mut level = 0_usize;
        while let Some(next) = self.peek() {
            let rest = &self.text[self.at..];
            if rest.starts_with("/*") {
                level += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                level -= 1;
                self.at += 2;
                if level == 0 {
                    return true;
                }
            } else {
                self.at += next.len_utf8();
            }
        }
        false
    }

    /// A string with escapes. It ends with its line, unless a `\` is the last of that; a quote
    /// that is there twice stands for one.
    fn quoted(&mut self, quote: char) -> bool {
        self.at += 1;
        while let Some(next) = self.peek() {
            match next {
                '\n' => return false,
                '\\' => {
                    self.at += 1;
                    let rest = &self.text[self.at..];
                    self.at += match rest.chars().next() {
                        _ if rest.starts_with("\r\n") => 2,
                        Some(escaped) => escaped.len_utf8(),
                        None => 0,
                    };
                }
                next if next == quote => {
                    self.at += 1;
                    if self.peek() != Some(quote) {
                        return true;
                    }
                    self.at += 1;
                }
                next => self.at += next.len_utf8(),
            }
        }
        false
    }

    /// The rest of a back-tick string; `found` gets the place of each interpolated code.
    fn back_tick(&mut self, found: &mut dyn FnMut(Range<usize>)) -> bool {
        while let Some(next) = self.peek() {
            let rest = &self.text[self.at..];
            if rest.starts_with("\\${") {
                self.at += 3;
            } else if rest.starts_with("${") {
                self.at += 2;
                let start = self.at;
                let closed = self.code();
                found(start..if closed { self.at - 1 } else { self.at });
                if !closed {
                    return false;
                }
            } else if rest.starts_with("``") {
                self.at += 2;
            } else {
                self.at += next.len_utf8();
                if next == '`' {
                    return true;
                }
            }
        }
        false
    }

    /// Code up to the brace that closes it.
    fn code(&mut self) -> bool {
        if self.depth >= MAX_NESTING {
            self.at = self.text.len();
            return false;
        }
        self.depth += 1;
        let mut braces = 1_usize;
        while let Some((token, _)) = self.token() {
            match token.text(self.text) {
                "{" | "#{" => braces += 1,
                "}" => braces -= 1,
                _ => {}
            }
            if braces == 0 {
                break;
            }
        }
        self.depth -= 1;
        braces == 0
    }

    /// `#"…"#` with as many signs behind as before.
    fn raw(&mut self) -> bool {
        let start = self.at;
        self.skip(|c| c == '#');
        let end = format!("\"{}", "#".repeat(self.at - start));
        let content = self.at + 1;
        let length = self.text[content..].find(&end);
        self.at = length.map_or(self.text.len(), |length| content + length + end.len());
        length.is_some()
    }

    /// A number: digits, then a fraction unless the period belongs to a range or a method call,
    /// then an exponent.
    fn number(&mut self) {
        let based = ["0x", "0X", "0o", "0O", "0b", "0B"];
        let rest = &self.text[self.at..];
        if based.iter().any(|base| rest.starts_with(base)) {
            self.at += 2;
            self.skip(|c| c.is_ascii_hexdigit() || c == '_');
            return;
        }
        self.skip(|c| c.is_ascii_digit() || c == '_');
        let rest = &self.text[self.at..];
        let mut next = rest.chars();
        if next.next() == Some('.') {
            let after = next.next();
            let belongs = !after.is_some_and(|c| c.is_alphabetic() || c == '_' || c == '.');
            if belongs {
                self.at += 1;
                self.skip(|c| c.is_ascii_digit() || c == '_');
            }
        }
        let rest = &self.text[self.at..];
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.starts_with(|c: char| c.is_ascii_digit()) {
                self.at += rest.len() - digits.len();
                self.skip(|c| c.is_ascii_digit() || c == '_');
            }
        }
    }
}

/// Whether the operator `!in` comes next.
fn is_not_in(rest: &str) -> bool {
    let behind = rest.strip_prefix("!in").map(|rest| rest.chars().next());
    behind.is_some_and(|next| !next.is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

/// Whether `#"` comes next, with as many `#` as anyone would write.
fn begins_raw(rest: &str) -> bool {
    let hashes = rest.bytes().take(256).take_while(|byte| *byte == b'#').count();
    rest[hashes..].starts_with('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Kind, &str)]) {
        let found: Vec<_> = tokens(text)
            .iter()
            .filter(|token| token.kind != Kind::Space)
            .map(|token| (token.kind, token.text(text)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn strings_of_all_kinds_are_one_token() {
        use Kind::{Close, Open, Sign, Text, Word};
        check(r#"f("a\"b""c")"#, &[(Word, "f"), (Open, "("), (Text, r#""a\"b""c""#), (Close, ")")]);
        check("##\"a\"#b\"## x", &[(Text, "##\"a\"#b\"##"), (Word, "x")]);
        check("`a${ #{x: `}${1}`}.x }b`;", &[(Text, "`a${ #{x: `}${1}`}.x }b`"), (Sign, ";")]);
        check("`\\${a``b`c", &[(Text, "`\\${a``b`"), (Word, "c")]);
        check("\"a\\\n  b\"", &[(Text, "\"a\\\n  b\"")]);
    }

    #[test]
    fn comments_nest_and_numbers_end_before_ranges_and_methods() {
        use Kind::{Block, Comment, Number, Sign, Word};
        check(
            "/* a /* b */ c */ x // y\n1",
            &[(Block, "/* a /* b */ c */"), (Word, "x"), (Comment, "// y"), (Number, "1")],
        );
        check("1..2", &[(Number, "1"), (Sign, ".."), (Number, "2")]);
        check("1.5e-3", &[(Number, "1.5e-3")]);
        check("0xfF_1", &[(Number, "0xfF_1")]);
        check("1.x", &[(Number, "1"), (Sign, "."), (Word, "x")]);
    }

    #[test]
    fn what_has_no_end_ends_with_its_line_or_the_text() {
        use Kind::{Block, Text, Word};
        check("\"a\nb", &[(Text, "\"a"), (Word, "b")]);
        check("#\"a\nb", &[(Text, "#\"a\nb")]);
        check("/* /* */ a", &[(Block, "/* /* */ a")]);
        for text in ["\"a", "`a", "#\"a", "`${"] {
            assert!(!tokens(text)[0].is_closed(text), "{text}");
        }
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        tokens(&"`${".repeat(100_000));
        tokens(&"/*".repeat(100_000));
    }

    proptest! {
        #[test]
        fn every_byte_belongs_to_one_token(
            text in prop_oneof![any::<String>(), "[\"'`#${}()\\[\\]/*\\\\a0. \n]{0,60}"],
        ) {
            let mut at = 0;
            for token in tokens(&text) {
                prop_assert_eq!(token.start, at);
                prop_assert!(token.end > at);
                let inside = token.inside(&text);
                if token.kind == Kind::Text {
                    prop_assert!(text.get(inside).is_some());
                }
                for range in interpolations(&token, &text) {
                    prop_assert!(text.get(range).is_some());
                }
                at = token.end;
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
