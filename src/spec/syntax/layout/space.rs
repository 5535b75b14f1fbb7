//! Which tokens stand apart.

use super::super::{Kind, Token};

/// Words that a value does not end with.
const KEYWORDS: [&str; 22] = [
    "if", "else", "for", "in", "while", "loop", "do", "until", "let", "const", "fn", "return",
    "throw", "switch", "import", "export", "as", "private", "break", "continue", "try", "catch",
];

/// What a token does beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A sign before a value, and nothing on its left: `-x`, `!x`.
    Prefix,
    /// The `|` that a closure's parameters begin with.
    Parameters,
    /// What is between them.
    Inside,
    /// The `|` they end with, or the `||` of none.
    ParametersEnd,
    /// Anything else.
    Plain,
}

/// The part of each token. Comments are in nobody's way.
pub fn parts(text: &str, tokens: &[Token]) -> Vec<Part> {
    let mut found = Vec::with_capacity(tokens.len());
    let mut value_before = false;
    let mut in_parameters = false;
    for token in tokens {
        if token.is_trivia() {
            found.push(if in_parameters { Part::Inside } else { Part::Plain });
            continue;
        }
        let written = token.text(text);
        let part = match written {
            "|" if in_parameters => {
                in_parameters = false;
                Part::ParametersEnd
            }
            _ if in_parameters => Part::Inside,
            "|" if !value_before => {
                in_parameters = true;
                Part::Parameters
            }
            "||" if !value_before => Part::ParametersEnd,
            "-" | "+" | "!" if !value_before => Part::Prefix,
            _ => Part::Plain,
        };
        found.push(part);
        value_before = match token.kind {
            Kind::Word => !KEYWORDS.contains(&written),
            Kind::Number | Kind::Text => true,
            // A block's end may be followed by a new statement, a map's by an operator: a sign
            // on the same line is taken for the latter.
            Kind::Close => true,
            _ => false,
        };
    }
    found
}

/// Whether a blank stands between two tokens that follow one another on a line.
pub fn is_apart(text: &str, before: (Token, Part), after: (Token, Part)) -> bool {
    let ((a, a_part), (b, b_part)) = (before, after);
    let (left, right) = (a.text(text), b.text(text));
    if a.is_trivia() || b.is_trivia() {
        return true;
    }
    let joins = |sign: &str| matches!(sign, "." | "?." | "::" | ".." | "..=");
    if joins(left) || joins(right) || matches!(right, "," | ";" | ":") {
        return false;
    }
    if matches!(a_part, Part::Prefix | Part::Parameters) || right == "?[" {
        return false;
    }
    if (b_part == Part::ParametersEnd && right == "|") || (b_part == Part::Plain && right == "!") {
        return false;
    }
    let value = match a.kind {
        Kind::Word => !KEYWORDS.contains(&left),
        Kind::Text | Kind::Close => true,
        _ => left == "!" && a_part == Part::Plain,
    };
    match right {
        "(" => !value,
        "[" => !value,
        _ => true,
    }
}
