//! The fields of a derivation with where each came from.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::base::Json;
use crate::graph::fields::{Field, Kind, Part, Whence};
use crate::spec::expression;

/// How wide a line may get.
const WIDTH: usize = 80;
/// Where values begin.
const VALUE: usize = 18;
/// Where origins stand that fit beside their value.
const ORIGIN: usize = 46;
/// How many lines of a text are shown.
const LINES: usize = 16;

/// The fields that are not empty, one after another.
pub fn table(fields: &[Field]) -> String {
    let mut text = String::new();
    for field in fields.iter().filter(|field| !field.parts.is_empty()) {
        let mut title = field.name.as_str();
        for (value, from) in joined(&field.parts) {
            put(&mut text, title, &field.name, &value, from);
            title = "";
        }
    }
    text
}

/// A field as a document.
pub fn document(field: &Field) -> Value {
    let part = |part: &Part| {
        let from = |whence: &Whence| {
            let span = whence.span.as_ref();
            json!({
                "kind": whence.kind.as_str(),
                "what": whence.what,
                "file": span.map(|span| span.file.as_str()),
                "line": span.map(|span| span.line),
                "column": span.map(|span| span.column),
            })
        };
        json!({
            "key": part.key,
            "value": part.value,
            "from": part.from.iter().map(from).collect::<Vec<_>>(),
        })
    };
    json!({
        "name": field.name,
        "value": value(&field.value),
        "parts": field.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

/// A value of the language as a document. What a spec calls by a function is a map with one
/// member of the function's name.
pub fn as_json(value: &expression::Value) -> Value {
    use expression::Value as Shown;
    let members = |members: &std::collections::BTreeMap<String, Shown>| -> Value {
        members.iter().map(|(key, value)| (key.clone(), as_json(value))).collect()
    };
    match value {
        Shown::Nothing => Value::Null,
        Shown::Boolean(value) => json!(value),
        Shown::Integer(value) => json!(value),
        Shown::Text(value) => json!(value),
        Shown::List(items) => items.iter().map(as_json).collect(),
        Shown::Map(map) => members(map),
        Shown::Call(name, map) => json!({ name.as_str(): members(map) }),
        Shown::Other(what) => json!({ "other": what }),
    }
}

fn value(value: &Json) -> Value {
    match value {
        Json::Integer(number) => json!(number),
        Json::String(text) => json!(text),
        Json::Array(items) => items.iter().map(self::value).collect(),
        Json::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), self::value(value))).collect()
        }
    }
}

/// Values with their origins; neighbours of one origin are told together.
fn joined(parts: &[Part]) -> Vec<(String, &[Whence])> {
    let mut found: Vec<(String, &[Whence])> = Vec::new();
    let mut can_grow = false;
    for part in parts {
        let value = match &part.key {
            Some(key) if part.value.contains('\n') => format!("{key}\n{}", indented(&part.value)),
            Some(key) => format!("{key}={}", part.value),
            None => part.value.clone(),
        };
        let plain = part.key.is_none() && !value.contains('\n');
        match found.last_mut() {
            Some((list, from)) if can_grow && plain && **from == *part.from => {
                list.push_str(", ");
                list.push_str(&value);
            }
            _ => found.push((value, &part.from)),
        }
        can_grow = plain;
    }
    found
}

fn put(text: &mut String, title: &str, name: &str, value: &str, from: &[Whence]) {
    let mut lines = lines(value);
    let mut froms = folded(from.iter().map(|whence| origin(name, whence)));
    let beside = lines.len() == 1
        && VALUE + lines[0].chars().count() + 2 <= ORIGIN
        && froms[0].chars().count() <= WIDTH - ORIGIN;
    let first = lines.remove(0);
    if beside {
        let width = ORIGIN - VALUE;
        let _ = writeln!(text, "{title:VALUE$}{first:width$}{}", froms.remove(0));
        for from in froms {
            let _ = writeln!(text, "{:ORIGIN$}{from}", "");
        }
        return;
    }
    let _ = writeln!(text, "{title:VALUE$}{first}");
    for line in lines {
        let _ = writeln!(text, "{}", format!("{:VALUE$}{line}", "").trim_end());
    }
    for from in froms {
        let _ = writeln!(text, "{:VALUE$}  from {from}", "");
    }
}

/// A value as lines: a list broken between its items, a text cut where it is long.
fn lines(value: &str) -> Vec<String> {
    if value.trim_end().contains('\n') {
        let all: Vec<&str> = value.trim_end().lines().collect();
        let mut lines: Vec<String> =
            all.iter().take(LINES).map(|line| (*line).to_owned()).collect();
        if all.len() > LINES {
            lines.push(format!("… {} more lines: --json has them all", all.len() - LINES));
        }
        return lines;
    }
    let mut lines = vec![String::new()];
    for item in value.trim_end().split_inclusive(", ") {
        let last = lines.last_mut().expect("there is a first line");
        let fits = VALUE + last.chars().count() + item.trim_end().chars().count() <= WIDTH;
        if fits || last.is_empty() {
            last.push_str(item);
        } else {
            lines.push(item.to_owned());
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Neighbours on one line, as long as it does not get too long.
fn folded(froms: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for from in froms {
        match lines.last_mut() {
            Some(line) if line.chars().count() + from.chars().count() <= WIDTH - VALUE - 9 => {
                line.push_str("; ");
                line.push_str(&from);
            }
            _ => lines.push(from),
        }
    }
    lines
}

fn origin(field: &str, whence: &Whence) -> String {
    let Whence { kind, what, span } = whence;
    let kind = match kind {
        Kind::Release => "release.toml",
        kind => kind.as_str(),
    };
    match span {
        Some(span) if what.is_empty() || what.trim_matches('`') == field => {
            format!("{}:{}", span.file, span.line)
        }
        Some(span) => format!("{}:{} {what}", span.file, span.line),
        None if what.is_empty() => kind.to_owned(),
        None => format!("{kind}: {what}"),
    }
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}\n")).collect()
}
