//! What Rhai says, in the words of someone who writes specs.

mod beginner;
mod bracket;
mod run;

use rhai::{LexError, ParseError, ParseErrorType};

pub(super) use run::of_run;

use crate::base::{Diagnostic, nearest};
use crate::spec::api::NAMES;
use crate::spec::text::Text;

/// Parts of Rhai that a spec does without: what has effects, what hides errors, and loops whose
/// end cannot be seen.
pub(super) const DISABLED: [&str; 11] =
    ["eval", "try", "catch", "while", "loop", "do", "until", "print", "debug", "curry", "Fn"];

/// Functions that Rhai's packages bring and that a spec does without; each takes so many values.
pub(super) const REFUSED: [(&str, usize); 8] = [
    ("sleep", 1),
    ("exit", 0),
    ("exit", 1),
    ("parse_json", 1),
    ("to_blob", 1),
    ("get_fn_metadata_list", 0),
    ("get_fn_metadata_list", 1),
    ("get_fn_metadata_list", 2),
];

/// What is said about one of them.
pub(super) fn refusal(word: &str) -> String {
    format!("specs have no `{word}`")
}

/// A text that does not parse.
pub(super) fn of_parse(text: &Text, error: &ParseError) -> Diagnostic {
    let position = error.position();
    let (line, column) = match (position.line(), position.position()) {
        (Some(line), column) => (line as u32, column.unwrap_or(1) as u32),
        (None, _) => last_place(text),
    };
    let span = text.token(line, column);
    let bracket = || bracket::unclosed(text, error.err_type(), &span);
    if let Some(diagnostic) = beginner::mistake(text, error, &span, &bracket) {
        return diagnostic;
    }
    let message = match error.err_type() {
        ParseErrorType::VariableUndefined(name) => {
            return beginner::unknown_word(text, name, span.clone(), bracket);
        }
        ParseErrorType::ModuleUndefined(name) => {
            return Diagnostic::new("unknown-name", format!("there is no module `{name}` here"))
                .at(span, "")
                .hint(format!("import it: `import \"lib/{name}\" as {name};`"));
        }
        ParseErrorType::Reserved(word)
        | ParseErrorType::BadInput(LexError::ImproperSymbol(word, _))
            if DISABLED.contains(&word.as_str()) =>
        {
            let diagnostic = Diagnostic::new("reserved", refusal(word)).at(span, "");
            return diagnostic.hint(instead(word));
        }
        ParseErrorType::Reserved(word) if word.starts_with(char::is_alphabetic) => {
            let message = format!("`{word}` is a word that the language keeps for itself");
            return Diagnostic::new("reserved", message).at(span, "").hint("choose another name");
        }
        ParseErrorType::FnMissingName => {
            let name: String = text.line(line).chars().skip(column as usize - 1).collect();
            let name: String = name.chars().take_while(|c| is_word(*c)).collect();
            if NAMES.contains(&name.as_str()) {
                return Diagnostic::new("reserved", super::guard::reserved(&name)).at(span, "");
            }
            "a function has a name".to_owned()
        }
        ParseErrorType::ExprTooDeep => "this is nested too deeply".to_owned(),
        ParseErrorType::TooManyFunctions => "too many functions in one file".to_owned(),
        ParseErrorType::LiteralTooLarge(..) => "this literal is too large".to_owned(),
        ParseErrorType::UnexpectedEOF => "the file ends too early".to_owned(),
        ParseErrorType::DuplicatedProperty(key) => format!("the key `{key}` is there twice"),
        other => format!("syntax error: {}", lower(&other.to_string())),
    };
    let code = match error.err_type() {
        ParseErrorType::ExprTooDeep
        | ParseErrorType::TooManyFunctions
        | ParseErrorType::LiteralTooLarge(..) => "limit",
        _ => "syntax",
    };
    Diagnostic::new(code, message).at(span, "")
}

/// A comment that takes the rest of its file along.
pub(super) fn endless_comment(text: &Text) -> Diagnostic {
    let start = text.content().rfind("/*").unwrap_or(0);
    Diagnostic::new("syntax", "this comment does not end")
        .at(text.span(start..start + 2), "")
        .hint("what begins with `/*` ends with `*/`; a comment of one line begins with `//`")
}

fn last_place(text: &Text) -> (u32, u32) {
    let line = text.content().lines().count().max(1) as u32;
    (line, text.line(line).chars().count().max(1) as u32)
}

/// The name that `word` was most likely meant to be: one that is near, or else the shortest that
/// begins with it.
fn meant<'a>(word: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let begun = || {
        let names = names.clone().into_iter();
        let begun = names.filter(|name| word.len() > 1 && name.starts_with(word) && *name != word);
        begun.min_by_key(|name| name.len())
    };
    nearest(word, names.clone()).or_else(begun)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn instead(word: &str) -> &'static str {
    match word {
        "while" | "loop" | "do" | "until" => "`for item in list { … }` goes through what is there",
        "print" | "debug" => "a spec has no output: its value is all it says",
        "try" | "catch" => "an error of a spec is shown to whoever runs it",
        _ => "a spec has no effects and sees nothing but the release",
    }
}

/// A sentence of Rhai's as ours begin.
fn lower(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}
