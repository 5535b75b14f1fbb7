//! What Rhai says, in the words of someone who writes specs.

use rhai::{EvalAltResult, LexError, ParseError, ParseErrorType, Position};

use crate::base::{Diagnostic, Span, nearest};
use crate::spec::api::text::Mistake;
use crate::spec::api::{Host, NAMES, Noted, kind_of};
use crate::spec::document::list;
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
    if let Some(diagnostic) = beginner(text, error, &span) {
        return diagnostic;
    }
    let message = match error.err_type() {
        ParseErrorType::VariableUndefined(name) => return unknown_word(text, name, span),
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
        ParseErrorType::BadInput(LexError::UnterminatedString) => {
            "this string does not end".to_owned()
        }
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

fn last_place(text: &Text) -> (u32, u32) {
    let line = text.content().lines().count().max(1) as u32;
    (line, text.line(line).chars().count().max(1) as u32)
}

/// What someone new to the language most likely meant.
fn beginner(text: &Text, error: &ParseError, span: &Span) -> Option<Diagnostic> {
    let line: Vec<char> = text.line(span.line).chars().collect();
    let at = span.column as usize - 1;
    let here = line.get(at).copied();
    let next = line.get(at + 1).copied();
    let say = |message: &str, span: Span, hint: &str| {
        Some(Diagnostic::new("syntax", message).at(span, "").hint(hint))
    };
    if here == Some('#') && !matches!(next, Some('{' | '"' | '#')) {
        return say("`#` begins no comment", span.clone(), "comments begin with `//`");
    }
    if let Some(brace) = map_without_hash(text, span) {
        let hint = "a map is written `#{ … }`: put a `#` before the brace";
        return say("this is a block of statements, not a map", brace, hint);
    }
    match error.err_type() {
        ParseErrorType::BadInput(LexError::MalformedChar(_)) => {
            let hint = "text is written in double quotes: `\"…\"`";
            say("single quotes hold one character", span.clone(), hint)
        }
        ParseErrorType::MissingToken(token, _) if token == ":" => match here {
            Some('=') => {
                let hint = "in a map, a value follows a colon: `name: \"…\"`";
                say("`=` does not belong here", span.clone(), hint)
            }
            Some('-') => {
                let start = line[..at].iter().rposition(|c| !is_word(*c)).map_or(0, |at| at + 1);
                let end = line[at..].iter().position(|c| !is_word(*c) && *c != '-');
                let word: String =
                    line[start..end.map_or(line.len(), |end| at + end)].iter().collect();
                let span = text.place(span.line, start as u32 + 1, word.chars().count() as u32);
                let hint = format!("write `{}`", word.replace('-', "_"));
                say("a key has no `-` in it", span, &hint)
            }
            _ => say("a `:` is missing after the key", span.clone(), "a map is `#{ key: value }`"),
        },
        ParseErrorType::MissingToken(token, _) if token == "," => {
            let span = after_previous(text, span);
            say(
                "a `,` is missing here",
                span,
                "items of maps, lists and calls are separated by `,`",
            )
        }
        ParseErrorType::MissingToken(token, _) if token == ";" => {
            let hint =
                "statements are separated by `;`; packages of one file stand in a list: `[ …, … ]`";
            say("a `;` is missing here", after_previous(text, span), hint)
        }
        _ => None,
    }
}

/// The brace of `({` or `: {` that the error is in or right behind, if no `#` stands before it.
fn map_without_hash(text: &Text, span: &Span) -> Option<Span> {
    let first = span.line.saturating_sub(2).max(1);
    let lines: Vec<&str> = (first..=span.line).map(|number| text.line(number)).collect();
    let all = lines.join("\n");
    let before_last: usize = lines[..lines.len() - 1].iter().map(|line| line.len() + 1).sum();
    let in_last = lines.last()?.char_indices().nth(span.column as usize);
    let limit = before_last + in_last.map_or(lines.last()?.len(), |(at, _)| at);
    let brace = all.get(..limit)?.rfind('{')?;
    let (head, tail) = (all[..brace].trim_end(), all[brace + 1..].trim_start());
    let word: String = tail.chars().take_while(|c| is_word(*c)).collect();
    let rest = tail[word.len()..].trim_start();
    let is_key = !word.is_empty() && rest.starts_with(':') && !rest.starts_with("::");
    if !(head.ends_with(['(', ':', '[', ',', '=']) && is_key) {
        return None;
    }
    let line = first + all[..brace].matches('\n').count() as u32;
    let start = all[..brace].rfind('\n').map_or(0, |at| at + 1);
    Some(text.place(line, all[start..brace].chars().count() as u32 + 1, 1))
}

/// The place right after what stands before `span`.
fn after_previous(text: &Text, span: &Span) -> Span {
    let line: Vec<char> = text.line(span.line).chars().collect();
    let before = &line[..(span.column as usize - 1).min(line.len())];
    if let Some(last) = before.iter().rposition(|c| !c.is_whitespace()) {
        return text.place(span.line, last as u32 + 2, 1);
    }
    for number in (1..span.line).rev() {
        let line = text.line(number);
        let code = line.split("//").next().unwrap_or_default().trim_end();
        if !code.is_empty() {
            return text.place(number, code.chars().count() as u32 + 1, 1);
        }
    }
    span.clone()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A name that stands for nothing.
fn unknown_word(text: &Text, name: &str, span: Span) -> Diagnostic {
    let line: Vec<char> = text.line(span.line).chars().collect();
    let before: String = line[..(span.column as usize - 1).min(line.len())].iter().collect();
    if before.trim_end().ends_with("${") {
        let message = format!("there is no `{name}` to put into this text");
        return Diagnostic::new("unknown-name", message).at(span, "").hint(
            "in back-ticks `${…}` is the spec's own; text for the shell is written `#\"…\"#`",
        );
    }
    if NAMES.contains(&name) {
        let message = format!("`{name}` is a function");
        let call = if name == "debian" { "debian()".to_owned() } else { format!("{name}(…)") };
        return Diagnostic::new("unknown-name", message)
            .at(span, "")
            .hint(format!("write `{call}`"));
    }
    let diagnostic = Diagnostic::new("unknown-name", format!("there is no `{name}`")).at(span, "");
    match nearest(name, NAMES) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint("text is written in double quotes"),
    }
}

fn instead(word: &str) -> &'static str {
    match word {
        "while" | "loop" | "do" | "until" => "`for item in list { … }` goes through what is there",
        "print" | "debug" => "a spec has no output: its value is all it says",
        "try" | "catch" => "an error of a spec is shown to whoever runs it",
        _ => "a spec has no effects and sees nothing but the release",
    }
}

/// An evaluation that ended in an error; nothing if that has been noted.
pub(super) fn of_run(host: &Host, source: &str, error: &EvalAltResult) -> Option<Diagnostic> {
    let mut source = source.to_owned();
    let mut calls: Vec<(String, Position)> = Vec::new();
    let mut error = error;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(_, inside, inner, position) => {
                calls.push((source.clone(), *position));
                if !inside.is_empty() {
                    source.clone_from(inside);
                }
                error = inner;
            }
            EvalAltResult::ErrorInModule(_, inner, position) => {
                calls.push((source.clone(), *position));
                error = inner;
            }
            _ => break,
        }
    }
    if matches!(error, EvalAltResult::ErrorRuntime(value, _) if value.is::<Noted>()) {
        return None;
    }
    let mut places: Vec<Span> = Vec::new();
    let outwards = std::iter::once((source, error.position())).chain(calls.into_iter().rev());
    let (code, message, hint) = explain(error);
    let mut key = match error {
        EvalAltResult::ErrorRuntime(value, _) => {
            value.read_lock::<Mistake>().and_then(|mistake| mistake.key.clone())
        }
        _ => None,
    };
    for (source, position) in outwards {
        if source.starts_with("stdlib/") {
            continue;
        }
        if let Some(key) = key.take()
            && let Some(span) = host.key(&source, position, &key)
        {
            places.push(span);
            continue;
        }
        places.extend(host.span(&source, position));
    }
    places.dedup();
    let mut diagnostic = Diagnostic::new(code, message);
    let mut labels = std::iter::once("").chain(std::iter::repeat("called here"));
    for span in places.into_iter().take(4) {
        diagnostic = diagnostic.at(span, labels.next().unwrap_or_default());
    }
    Some(match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    })
}

fn explain(error: &EvalAltResult) -> (&'static str, String, Option<String>) {
    use EvalAltResult as E;
    let limit = |message: &str| ("limit", message.to_owned(), None);
    match error {
        E::ErrorTooManyOperations(_) => (
            "limit",
            "this file takes too many steps".to_owned(),
            Some("does a loop run over far more than there is?".to_owned()),
        ),
        E::ErrorTerminated(..) => limit("this file takes too long"),
        E::ErrorStackOverflow(_) => (
            "limit",
            "functions call one another too deeply".to_owned(),
            Some("does a function call itself without end?".to_owned()),
        ),
        E::ErrorTooManyVariables(_) => limit("too many variables"),
        E::ErrorTooManyModules(_) => limit("too many modules are imported"),
        E::ErrorDataTooLarge(what, _) => {
            let what = match what.as_str() {
                what if what.contains("string") => "text",
                what if what.contains("map") => "map",
                _ => "list",
            };
            limit(&format!("this {what} becomes too large"))
        }
        E::ErrorRuntime(value, _) => match value.read_lock::<Mistake>() {
            Some(mistake) => (mistake.code, mistake.message.clone(), mistake.hint.clone()),
            None => ("thrown", thrown(value), None),
        },
        E::ErrorFunctionNotFound(signature, _) => unknown_function(signature),
        E::ErrorVariableNotFound(name, _) => {
            ("unknown-name", format!("there is no `{name}`"), None)
        }
        E::ErrorPropertyNotFound(name, _) => {
            ("unknown-name", format!("there is no `{name}` in this map"), None)
        }
        E::ErrorModuleNotFound(name, _) => {
            ("unknown-name", format!("there is no module `{name}`"), None)
        }
        E::ErrorMismatchOutputType(expected, found, _)
        | E::ErrorMismatchDataType(expected, found, _) => {
            ("wrong-type", format!("{expected} is expected here, not {found}"), None)
        }
        E::ErrorArrayBounds(length, index, _) => {
            ("evaluation", format!("a list of {length} has no item {index}"), None)
        }
        E::ErrorAssignmentToConstant(name, _) => {
            ("evaluation", format!("`{name}` cannot be changed"), None)
        }
        E::ErrorParsing(kind, _) => ("syntax", lower(&kind.to_string()), None),
        other => {
            let mut message = other.to_string();
            if let Some(place) = message.rfind(" (line ") {
                message.truncate(place);
            }
            ("evaluation", lower(&message), None)
        }
    }
}

fn thrown(value: &rhai::Dynamic) -> String {
    match value.read_lock::<rhai::ImmutableString>() {
        Some(text) => text.chars().filter(|c| !c.is_control() || *c == '\n').take(1000).collect(),
        None => format!("the spec threw {}", kind_of(value)),
    }
}

/// `packge (map)` is what Rhai says about a call that fits no function.
fn unknown_function(signature: &str) -> (&'static str, String, Option<String>) {
    let (name, arguments) = signature.split_once(" (").unwrap_or((signature, ""));
    let arguments = arguments.trim_end_matches(')');
    let name = name.rsplit("::").next().unwrap_or(name);
    if name.starts_with("get$") || name.starts_with("set$") {
        let message = format!("there is no property `{}` here", &name[4..]);
        return ("unknown-name", message, None);
    }
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        let message = format!("`{name}` cannot be used with {arguments}");
        return ("wrong-type", message, None);
    }
    let known: Vec<&str> =
        NAMES.into_iter().filter(|name| *name != "release").chain(["with", "add"]).collect();
    if known.contains(&name) {
        let message = format!("`{name}` cannot be called with ({arguments})");
        return ("wrong-type", message, Some(usage(name)));
    }
    let message = format!("there is no function `{name}` that takes ({arguments})");
    let is_method = arguments.starts_with("package");
    let candidates = known.iter().copied().filter(|known| is_method || *known != "add");
    let hint = match nearest(name, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the language has {}", list(&known)),
    };
    ("unknown-name", message, Some(hint))
}

fn usage(name: &str) -> String {
    let usage = match name {
        "package" => "package(#{ … })",
        "rebuild" => "rebuild(\"name\")` or `rebuild([\"name\", …])",
        "with" => "package.with(#{ … })",
        "add" => "package.add(#{ … })",
        "dir" => "dir(\"path\")",
        "archive" => "archive(\"name\")",
        "script" => "script(#\"…\"#)",
        "debian" => "debian()",
        "recipe" => "recipe(#{ packaging, needs, files, script, outputs })",
        _ => "dedent(\"…\")",
    };
    format!("write `{usage}`")
}

/// A sentence of Rhai's as ours begin.
fn lower(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}
