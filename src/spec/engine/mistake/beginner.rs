//! What someone new to the language most likely meant by a text that does not parse.

use rhai::{LexError, ParseError, ParseErrorType};

use super::run::usage;
use super::{is_word, meant};
use crate::base::{Diagnostic, Span, nearest};
use crate::spec::api::NAMES;
use crate::spec::text::Text;

/// What someone new to the language most likely meant.
pub(super) fn mistake(
    text: &Text,
    error: &ParseError,
    span: &Span,
    unclosed: &dyn Fn() -> Option<Diagnostic>,
) -> Option<Diagnostic> {
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
    if let Some(quote @ ('“' | '”' | '„' | '‘' | '’' | '«' | '»')) = here {
        let message = format!("`{quote}` is no quote of the language");
        return say(&message, span.clone(), "text is written in straight double quotes: `\"…\"`");
    }
    if let ParseErrorType::MissingToken(..)
    | ParseErrorType::PropertyExpected
    | ParseErrorType::UnexpectedEOF = error.err_type()
        && let Some(unclosed) = unclosed()
    {
        return Some(unclosed);
    }
    match error.err_type() {
        ParseErrorType::BadInput(LexError::MalformedChar(_)) => {
            let hint = "text is written in double quotes: `\"…\"`";
            say("single quotes hold one character", span.clone(), hint)
        }
        ParseErrorType::BadInput(LexError::MalformedEscapeSequence(escape)) => {
            let hint = "a `\\` itself is written `\\\\`; text as it stands is written `#\"…\"#`";
            say(&format!("`{escape}` stands for no character"), span.clone(), hint)
        }
        ParseErrorType::BadInput(LexError::UnterminatedString) => {
            let raw = here == Some('#') || at > 0 && line.get(at - 1) == Some(&'#');
            let hint = if raw {
                "what begins with `#\"` ends with `\"#`"
            } else {
                "text of several lines is written `#\"…\"#`, or in back-ticks"
            };
            say("this text does not end", span.clone(), hint)
        }
        ParseErrorType::PropertyExpected if matches!(here, Some(')' | ']') | None) => {
            bracket(text, span, None, "}")
        }
        ParseErrorType::PropertyExpected => version_without_quotes(&line, span, text),
        ParseErrorType::MissingToken(token, _) if token == "{" => {
            let hint =
                "`if … { … } else { … }`: what is to be done stands in braces, one thing too";
            say("a `{` is missing here", span.clone(), hint)
        }
        ParseErrorType::MissingToken(token, _) if token == ":" => match here {
            Some('=') => {
                let hint = "in a map, a value follows a colon: `name: \"…\"`";
                say("`=` does not belong here", span.clone(), hint)
            }
            Some('-') => {
                let start = word_start(&line, at);
                let end = line[at..].iter().position(|c| !is_word(*c) && *c != '-');
                let word: String =
                    line[start..end.map_or(line.len(), |end| at + end)].iter().collect();
                let span = text.place(span.line, start as u32 + 1, word.chars().count() as u32);
                let hint = format!("write `{}`", word.replace('-', "_"));
                say("a key has no `-` in it", span, &hint)
            }
            Some(',' | '}') | None => no_value(text, span),
            _ => say("a `:` is missing after the key", span.clone(), "a map is `#{ key: value }`"),
        },
        ParseErrorType::BadInput(LexError::UnexpectedInput(_))
            if matches!(here, Some(',' | '}')) =>
        {
            no_value(text, span)
        }
        ParseErrorType::MissingToken(token, _)
            if matches!(token.as_str(), ")" | "]" | "}") && here != Some(';') =>
        {
            bracket(text, span, here, token)
        }
        ParseErrorType::MissingToken(token, _) if token == "," || token == "}" => {
            separator(text, span, here)
        }
        ParseErrorType::MissingToken(token, _) if token == ";" => match here {
            Some(closing @ (')' | ']' | '}')) => say(
                &format!("nothing is open that this `{closing}` could close"),
                span.clone(),
                "take it away",
            ),
            Some('=') if next == Some('=') => {
                say("`==` compares", span.clone(), "a variable is made with one: `let name = …;`")
            }
            _ => {
                let hint = "statements are separated by `;`; packages of one file stand in a list: `[ …, … ]`";
                say("a `;` is missing here", after_previous(text, span), hint)
            }
        },
        ParseErrorType::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol == "=" => {
            say("`=` gives a variable its value", span.clone(), "`==` compares two values")
        }
        ParseErrorType::AssignmentToConstant(name) => {
            let message = format!("`{name}` is a constant");
            say(&message, span.clone(), "`let` makes a variable that can be given another value")
        }
        ParseErrorType::AssignmentToInvalidLHS(_) => {
            let hint = "a package is changed with `.with(#{ … })` or `.add(#{ … })`";
            say("nothing can be assigned to this", span.clone(), hint)
        }
        _ => None,
    }
}

/// A key without a value, or something else where a key or value should stand.
fn no_value(text: &Text, span: &Span) -> Option<Diagnostic> {
    let line: Vec<char> = text.line(span.line).chars().collect();
    let before = &line[..(span.column as usize - 1).min(line.len())];
    let end = before.iter().rposition(|c| is_word(*c))? + 1;
    let start = word_start(before, end);
    let between: String = before[end..].iter().filter(|c| !c.is_whitespace()).collect();
    if !matches!(between.as_str(), "" | ":") {
        return None;
    }
    let key: String = before[start..end].iter().collect();
    let place = text.place(span.line, start as u32 + 1, (end - start) as u32);
    let diagnostic = Diagnostic::new("syntax", format!("`{key}` has no value")).at(place, "");
    Some(diagnostic.hint(format!("a map is `#{{ key: value }}`: write `{key}: \"…\"`")))
}

/// `1.2.3`, or `1.2.3-1`: numbers have one point at most.
fn version_without_quotes(line: &[char], span: &Span, text: &Text) -> Option<Diagnostic> {
    let at = (span.column as usize - 1).min(line.len());
    let part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~' | '-');
    let start = line[..at].iter().rposition(|c| !part(c)).map_or(0, |at| at + 1);
    let end = line[at..].iter().position(|c| !part(c)).map_or(line.len(), |end| at + end);
    if !line.get(start)?.is_ascii_digit() {
        return None;
    }
    let version: String = line[start..end].iter().collect();
    let place = text.place(span.line, start as u32 + 1, (end - start) as u32);
    let message = format!("`{version}` is no number");
    let hint = format!("a version is text: write `\"{version}\"`");
    Some(Diagnostic::new("syntax", message).at(place, "").hint(hint))
}

/// A bracket that is missing, or another one in its place.
fn bracket(text: &Text, span: &Span, here: Option<char>, wanted: &str) -> Option<Diagnostic> {
    let (message, place) = match here {
        Some(other @ (')' | ']' | '}')) => {
            (format!("`{wanted}` is expected here, not `{other}`"), span.clone())
        }
        _ => (format!("a `{wanted}` is missing here"), after_previous(text, span)),
    };
    let diagnostic = Diagnostic::new("syntax", message).at(place, "");
    let closes = match wanted {
        ")" => "it closes the arguments of a call",
        "]" => "it closes a list",
        _ => "it closes a map or a block",
    };
    Some(diagnostic.hint(closes))
}

/// Something else where a `,` should separate two items.
fn separator(text: &Text, span: &Span, here: Option<char>) -> Option<Diagnostic> {
    let syntax = |message: String, span: Span| Diagnostic::new("syntax", message).at(span, "");
    match here {
        Some(closing @ (')' | ']')) => {
            let message = format!("this `{closing}` does not close what is open here");
            return Some(syntax(message, span.clone()).hint(
                "a list ends with `]`, a map with `}`, a call with `)`, the inner one first",
            ));
        }
        Some(';') => {
            let hint = "items of maps, lists and calls are separated by `,`";
            return Some(syntax("`;` separates statements".to_owned(), span.clone()).hint(hint));
        }
        _ => {}
    }
    let place = after_previous(text, span);
    let line: Vec<char> = text.line(place.line).chars().collect();
    let before: String = line[..(place.column as usize - 1).min(line.len())].iter().collect();
    let touching = place.line == span.line && place.column == span.column;
    if before.ends_with("\"#") {
        let message = "the text ends here, at the first `\"#`".to_owned();
        let place = text.place(place.line, place.column - 2, 2);
        let hint = "text that holds `\"#` is written with more of them: `##\"…\"##`";
        return Some(syntax(message, place).hint(hint));
    }
    if touching && before.ends_with('"') && here.is_some_and(is_word) {
        let message = "the text ends here, at the second `\"`".to_owned();
        let place = text.place(place.line, place.column - 1, 1);
        let diagnostic = syntax(message, place).hint("a `\"` inside of it is written `\\\"`");
        return Some(diagnostic.hint("or does an earlier text lack the `\"` that ends it?"));
    }
    let hint = "items of maps, lists and calls are separated by `,`";
    Some(syntax("a `,` is missing here".to_owned(), place).hint(hint))
}

/// Where the word that ends before `at` begins.
fn word_start(line: &[char], at: usize) -> usize {
    line[..at].iter().rposition(|c| !is_word(*c)).map_or(0, |at| at + 1)
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

/// A name that stands for nothing.
pub(super) fn unknown_word(
    text: &Text,
    name: &str,
    span: Span,
    unclosed: impl Fn() -> Option<Diagnostic>,
) -> Diagnostic {
    let line: Vec<char> = text.line(span.line).chars().collect();
    let at = (span.column as usize - 1).min(line.len());
    let before: String = line[..at].iter().collect();
    let after: String = line[(at + name.chars().count()).min(line.len())..].iter().collect();
    let (before, after) = (before.trim(), after.trim());
    let unknown = |message: String| Diagnostic::new("unknown-name", message).at(span.clone(), "");
    if before.ends_with("${") {
        return unknown(format!("there is no `{name}` to put into this text")).hint(
            "in back-ticks `${…}` is the spec's own; text for the shell is written `#\"…\"#`",
        );
    }
    if NAMES.contains(&name) {
        let called = before.ends_with('(');
        let diagnostic = unknown(format!("`{name}` is a function"));
        return match called && name != "debian" {
            false => diagnostic.hint(usage(name)),
            true => {
                diagnostic.hint(format!("{}; handed on, it is `|name| {name}(name)`", usage(name)))
            }
        };
    }
    let is_key = after.starts_with(':') && !after.starts_with("::");
    if is_key && let Some(unclosed) = unclosed() {
        return unclosed;
    }
    if before.ends_with('(') && is_key {
        return unknown(format!("there is no `{name}`"))
            .hint("fields stand in a map: `package(#{ name: \"…\", … })`");
    }
    if is_defined(text, name) {
        return unknown(format!("`{name}` cannot be seen here"))
            .hint(format!("a function sees nothing but its parameters: hand `{name}` to it"));
    }
    let diagnostic = unknown(format!("there is no `{name}`"));
    if before.is_empty() && after.starts_with('=') && !after.starts_with("==") {
        return diagnostic.hint(format!("a variable is made with `let {name} = …;`"));
    }
    let words = words(text.content());
    let known = NAMES.into_iter().chain(words.into_iter().filter(|word| *word != name));
    let known: Vec<&str> = known.collect();
    let part = |c: &char| is_word(*c) || matches!(c, '.' | '/' | '+' | '~' | '-');
    let rest: String = line[at..].iter().take_while(|c| part(c)).collect();
    let quoted = format!("text is written in double quotes: `\"{rest}\"`");
    let near = meant(name, known.iter().copied());
    let diagnostic = match near {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic,
    };
    // What only begins like a name may as well be a text.
    match near.is_none() || nearest(name, known.iter().copied()).is_none() {
        true => diagnostic.hint(quoted),
        false => diagnostic,
    }
}

/// Whether a statement of the file gives `name` a value.
fn is_defined(text: &Text, name: &str) -> bool {
    text.content().lines().any(|line| {
        let rest = line.trim().strip_prefix("let ").or_else(|| line.trim().strip_prefix("const "));
        rest.is_some_and(|rest| {
            rest.trim_start().strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word))
        })
    })
}

/// The names that a text gives to variables and parameters.
fn words(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if matches!(word, "let" | "const" | "for") {
            found.extend(words.next());
        }
    }
    for parameters in text.split('|').skip(1).step_by(2) {
        found.extend(parameters.split(',').map(str::trim).filter(|word| word.chars().all(is_word)));
    }
    found.retain(|word| !word.is_empty());
    found
}
