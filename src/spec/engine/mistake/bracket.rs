//! Brackets that nothing closes: the parser notices them long after they were opened.

use rhai::ParseErrorType;

use crate::base::{Diagnostic, Span};
use crate::spec::syntax::{Kind, Token, tokens};
use crate::spec::text::Text;

/// The bracket that is the reason for an error at `span`: one that the text never closes, or that
/// another one's end comes before.
pub(super) fn unclosed(text: &Text, error: &ParseErrorType, span: &Span) -> Option<Diagnostic> {
    let content = text.content();
    let at = place(text, span);
    let mut open: Vec<Token> = Vec::new();
    let mut early: Option<Token> = None;
    for token in tokens(content) {
        match token.kind {
            Kind::Open => open.push(token),
            Kind::Close if open.last().is_some_and(|last| closes(content, last, &token)) => {
                open.pop();
            }
            Kind::Close => {
                early = Some(token);
                break;
            }
            // What it swallows may hold the missing one.
            Kind::Text if !token.is_closed(content) => return None,
            _ => {}
        }
    }
    let opened = *open.last()?;
    let limit = early.map_or(content.len(), |token| token.start);
    let at_end = content.get(at.min(content.len())..)?.trim().is_empty();
    let between = opened.start < at && at <= limit;
    let missing = match error {
        ParseErrorType::MissingToken(token, _) => token.as_str(),
        ParseErrorType::PropertyExpected => "}",
        // A key where no map is open.
        ParseErrorType::VariableUndefined(_) => "]",
        _ => "",
    };
    let (begin, end) = (opened.text(content), end_of(opened.text(content)));
    // Items that nothing separates are the nearer reason, and so is another bracket at the place.
    let is_reason = match early {
        None => at_end || missing == ";" && between && begin == "{",
        Some(_) => between && matches!(missing, ")" | "]" | "}"),
    };
    if !is_reason {
        return None;
    }
    let message = match early {
        None => format!("this `{begin}` is never closed"),
        Some(token) => {
            format!("this `{begin}` is not closed before the `{}`", token.text(content))
        }
    };
    let latest = match early {
        Some(token) => text.span(token.start..token.end),
        None => {
            let last = content.trim_end().len();
            let span = text.span(last..last);
            Span { length: 1, ..span }
        }
    };
    Some(
        Diagnostic::new("syntax", message)
            .at(text.span(opened.start..opened.end), "opened here")
            .at(latest, format!("a `{end}` is missing, here at the latest"))
            .hint(match begin {
                "(" => "`)` closes the arguments of a call",
                "[" => "`]` closes a list",
                "#{" => "`}` closes a map",
                _ => "`}` closes a block",
            }),
    )
}

fn closes(content: &str, open: &Token, close: &Token) -> bool {
    close.text(content) == end_of(open.text(content))
}

fn end_of(begin: &str) -> &'static str {
    match begin {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}

/// The byte that a place begins at.
fn place(text: &Text, span: &Span) -> usize {
    let before: usize =
        text.content().split_inclusive('\n').take(span.line as usize - 1).map(str::len).sum();
    let line = text.line(span.line);
    let column = (span.column as usize).saturating_sub(1);
    before + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
}
