//! What went wrong while a text that parses was evaluated.

use rhai::{EvalAltResult, Position};

use super::{lower, meant};
use crate::base::{Diagnostic, Span, nearest};
use crate::spec::api::text::Mistake;
use crate::spec::api::{Host, NAMES, Noted, kind_of};
use crate::spec::document::list;

/// An evaluation that ended in an error; nothing if that has been noted.
pub(in crate::spec::engine) fn of_run(
    host: &Host,
    source: &str,
    error: &EvalAltResult,
) -> Option<Diagnostic> {
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
    let here = std::iter::once((source, error.position()));
    let noted = matches!(error, EvalAltResult::ErrorRuntime(value, _) if value.is::<Noted>());
    let calls = calls.into_iter().rev();
    if let EvalAltResult::ErrorRuntime(value, _) = error
        && let Some(mistake) = value.read_lock::<Mistake>()
    {
        return Some(mistaken(host, &mistake, here.chain(calls)));
    }
    let (own, inner) = chain(host, here.skip(usize::from(noted)).chain(calls));
    if noted {
        host.called_from(own.into_iter().take(4));
        return None;
    }
    let (code, message, hint) = match error {
        EvalAltResult::ErrorPropertyNotFound(name, _) => {
            let (code, message, _) = explain(error);
            let release = &host.world.release;
            let keys = release.parameters.keys().map(String::as_str);
            let near = nearest(name, keys.chain(["name", "version", "customer"]));
            (code, message, near.map(|near| format!("`release` has `{near}`")))
        }
        error => explain(error),
    };
    let mut diagnostic = Diagnostic::new(code, message);
    let mut labels = std::iter::once("").chain(std::iter::repeat("called here"));
    for span in own.into_iter().take(4) {
        diagnostic = diagnostic.at(span, labels.next().unwrap_or_default());
    }
    for span in inner.into_iter().take(2) {
        diagnostic = diagnostic.at(span, "in the standard library");
    }
    Some(match hint {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    })
}

/// A mistake in what a function of the stdlib was given: at the key that it is about, where a
/// file of the release has written it.
fn mistaken(
    host: &Host,
    mistake: &Mistake,
    calls: impl Iterator<Item = (String, Position)>,
) -> Diagnostic {
    let mut diagnostic = Diagnostic::new(mistake.code, mistake.message.clone());
    let mut key = mistake.key.as_deref();
    let mut labels = std::iter::once("").chain(std::iter::repeat("called here"));
    for (source, position) in calls.filter(|(source, _)| !source.starts_with("stdlib/")).take(4) {
        let written = key.take().and_then(|key| host.key(&source, position, key));
        if let Some(span) = written.or_else(|| host.span(&source, position)) {
            diagnostic = diagnostic.at(span, labels.next().unwrap_or_default());
        }
    }
    match &mistake.hint {
        Some(hint) => diagnostic.hint(hint.clone()),
        None => diagnostic,
    }
}

/// The places of calls, the innermost first: those of the release, and those of the stdlib.
fn chain(host: &Host, calls: impl Iterator<Item = (String, Position)>) -> (Vec<Span>, Vec<Span>) {
    let (mut own, mut inner) = (Vec::new(), Vec::new());
    for (source, position) in calls {
        let places = if source.starts_with("stdlib/") { &mut inner } else { &mut own };
        places.extend(host.span(&source, position));
        places.dedup();
    }
    (own, inner)
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
        E::ErrorRuntime(value, _) => ("thrown", thrown(value), None),
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
            let message = format!("{} is expected here, not {}", kind(expected), kind(found));
            ("wrong-type", message, None)
        }
        E::ErrorArrayBounds(length, index, _) => {
            ("evaluation", format!("a list of {length} has no item {index}"), None)
        }
        E::ErrorAssignmentToConstant(name, _) => {
            ("evaluation", format!("`{name}` cannot be changed"), None)
        }
        E::ErrorParsing(kind, _) => ("syntax", lower(&kind.to_string()), None),
        E::ErrorDotExpr(message, _) if message.contains("'package'") => {
            let property = message.split('\'').nth(1).unwrap_or_default();
            let message = format!("a package does not tell its `{property}`");
            let hint = format!(
                "it is changed with `.with(#{{ {property}: … }})`; what is used twice is kept in a \
                 variable: `let {property} = …;`"
            );
            ("unknown-name", message, Some(hint))
        }
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

/// What Rhai calls a type, as messages call it.
fn kind(name: &str) -> &str {
    match name.trim() {
        "()" => "nothing",
        "bool" => "a boolean",
        "char" => "a character",
        "array" => "a list",
        "map" => "a map",
        "Fn" => "a function",
        "package" => "a package",
        "source" => "a source",
        "builder" => "a way of building",
        "i64" | "int" => "an integer",
        "f64" | "float" => "a number with a fraction",
        other if other.contains("String") || other == "string" || other == "&str" => "a string",
        other => other,
    }
}

fn list_of(kinds: &[&str]) -> String {
    match kinds {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `packge (map)` is what Rhai says about a call that fits no function.
fn unknown_function(signature: &str) -> (&'static str, String, Option<String>) {
    let (name, arguments) = signature.split_once(" (").unwrap_or((signature, ""));
    let arguments = arguments.trim_end_matches(')');
    let kinds: Vec<&str> =
        arguments.split(", ").filter(|name| !name.is_empty()).map(kind).collect();
    let arguments = list_of(&kinds);
    let name = name.rsplit("::").next().unwrap_or(name);
    if name.starts_with("get$") || name.starts_with("set$") {
        let message = format!("there is no property `{}` here", &name[4..]);
        return ("unknown-name", message, None);
    }
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        let message = format!("`{name}` cannot be used with {arguments}");
        let packages = kinds.iter().all(|kind| *kind == "a package");
        let hint = packages.then(|| "packages of one file stand in a list: `[ …, … ]`".to_owned());
        return ("wrong-type", message, hint);
    }
    let known: Vec<&str> =
        NAMES.into_iter().filter(|name| *name != "release").chain(["with", "add", "on"]).collect();
    if known.contains(&name) {
        let message = format!("`{name}` cannot be called with {arguments}");
        if kinds.first() == Some(&"a list") && matches!(name, "with" | "add" | "on") {
            let hint = format!("each of a list: `list.map(|one| one.{name}(#{{ … }}))`");
            return ("wrong-type", message, Some(hint));
        }
        return ("wrong-type", message, Some(usage(name)));
    }
    let message = format!("there is no function `{name}` that takes {arguments}");
    let is_method = kinds.first() == Some(&"a package");
    let candidates =
        known.iter().copied().filter(|known| is_method || !matches!(*known, "add" | "on"));
    let hint = match meant(name, candidates) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let inner = |name: &&&str| {
                matches!(**name, "kind_of" | "options" | "captures" | "debhelper" | "dedent")
            };
            let outer: Vec<&str> = known.iter().filter(|name| !inner(name)).copied().collect();
            format!("the language has {}", list(&outer))
        }
    };
    ("unknown-name", message, Some(hint))
}

pub(super) fn usage(name: &str) -> String {
    let usage = match name {
        "package" => "package(#{ … })",
        "rebuild" => "rebuild(\"name\")` or `rebuild([\"name\", …])",
        "with" => "package.with(#{ … })",
        "add" => "package.add(#{ … })",
        "dir" => "dir(\"path\")",
        "archive" => "archive(\"name\")",
        "prev" => "prev(\"name\")",
        "git" => "git(\"https://…\", \"v1.0\")",
        "tarball" => "tarball(\"https://…\")` or `tarball(\"https://…\", \"sha256\")",
        "file" => "file(\"path\")` or `file(\"https://…\")",
        "on" => "package.on(\"arm64\", #{ … })",
        "script" => "script(#\"…\"#)",
        "debian" => "debian()` or `debian(source)",
        "autotools" | "cmake" | "meson" | "make" | "python" => {
            return format!("write `{name}()` or `{name}(#{{ … }})`");
        }
        "library" => "library(\"name\", 1)",
        "documentation" => "documentation(\"name\")",
        "openstack" => "openstack::version(tag)",
        "debhelper" => "debhelper(#{ … })",
        "options" => "options(given, #{ … })",
        "captures" => "captures(text, regex)",
        "parse_int" => "parse_int(text)",
        "join" => "list.join(\", \")",
        "trim" => "text.trim()",
        "sort" => "list.sort()",
        "recipe" => "recipe(#{ packaging, needs, files, script, outputs })",
        _ => "dedent(\"…\")",
    };
    format!("write `{usage}`")
}
