//! A lone expression of the spec language, evaluated as if it stood in a spec of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread;

use super::engine::{STACK, Session};
use super::load::{Specs, above};
use super::loader::Folder;
use super::lock::Lock;
use crate::base::{Diagnostic, HostPath};

/// What places in an expression are called in diagnostics, in the place of a file.
pub const PLACE: &str = "<expression>";

/// A value of the language, as it can be shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `()`
    Nothing,
    /// `true`, `false`
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(BTreeMap<String, Value>),
    /// A value of the language's own kinds, called after the function that makes it, and what it
    /// holds: `package`, `dir`, `archive`, `recipe`.
    Call(String, BTreeMap<String, Value>),
    /// A value that cannot be written down: what it is.
    Other(String),
}

/// The value of the expression `text` in the release `folder`: with its parameters, its `lib/` and
/// the stdlib as a spec has them, and `prev("…")` for the packages of the release as they are.
///
/// # Errors
/// Everything wrong with it, at places in [`PLACE`] or in a module that it uses.
pub fn evaluate(
    folder: &HostPath,
    lock: Option<&Lock>,
    text: &str,
) -> Result<Value, Vec<Diagnostic>> {
    let loader = Arc::new(Folder::new(folder.clone()));
    let specs = if text.contains("prev") { Specs::All } else { Specs::None };
    let (world, modules) = above(loader, lock, specs)?;
    let world = Arc::new(world);
    let work = || {
        let session = Session::new(world, &modules).map_err(|error| vec![error])?;
        session.express(text)
    };
    // As deep as a spec may be nested, on a stack of its own.
    let failed = |_| vec![Diagnostic::new("machine", "no thread could be started to evaluate it")];
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let broke = |_| vec![Diagnostic::new("internal", "the evaluation broke off")];
        thread.map_err(failed)?.join().map_err(broke)?
    })
}

impl fmt::Display for Value {
    /// Writes the value as a spec would, on several lines where one would be too long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(0))
    }
}

/// How long a line may get before what it holds goes onto lines of its own.
const WIDTH: usize = 80;

impl Value {
    fn written(&self, depth: usize) -> String {
        match self {
            Self::Nothing => "()".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => literal(text, depth),
            Self::List(items) => {
                let items = items.iter().map(|item| item.written(depth + 1)).collect();
                laid_out("[", items, "]", depth)
            }
            Self::Map(members) => laid_out("#{", members_of(members, depth), "}", depth),
            Self::Call(name, members) => {
                laid_out(&format!("{name}(#{{"), members_of(members, depth), "})", depth)
            }
            Self::Other(what) => format!("/* {what} */"),
        }
    }
}

fn members_of(members: &BTreeMap<String, Value>, depth: usize) -> Vec<String> {
    members
        .iter()
        .map(|(key, value)| format!("{}: {}", name(key), value.written(depth + 1)))
        .collect()
}

fn name(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { key.to_owned() } else { quoted(key) }
}

/// A text as a spec would write it: one of several lines in a raw string.
fn literal(text: &str, depth: usize) -> String {
    let raw = text.trim_end().contains('\n')
        && !text.contains("\"#")
        && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
    if !raw {
        return quoted(text);
    }
    let indent = "    ".repeat(depth + 1);
    let lines = text
        .trim_end()
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") });
    format!("#\"\n{}{}\"#", lines.collect::<String>(), "    ".repeat(depth))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn laid_out(open: &str, parts: Vec<String>, close: &str, depth: usize) -> String {
    if parts.is_empty() {
        return format!("{open}{close}");
    }
    let space = if open.ends_with('{') { " " } else { "" };
    let one = format!("{open}{space}{}{space}{close}", parts.join(", "));
    if !one.contains('\n') && depth * 4 + one.chars().count() <= WIDTH {
        return one;
    }
    let indent = "    ".repeat(depth + 1);
    let lines: String = parts.iter().map(|part| format!("{indent}{part},\n")).collect();
    format!("{open}\n{lines}{}{close}", "    ".repeat(depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_a_spec_would_write_them() {
        let text = |text: &str| Value::Text(text.to_owned());
        let map = |members: &[(&str, Value)]| {
            members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        let check = |value: Value, expected: &str| assert_eq!(value.to_string(), expected);
        check(Value::Nothing, "()");
        check(Value::List(vec![Value::Integer(-3), Value::Boolean(true)]), "[-3, true]");
        check(text("a \"b\"\\\n"), r#""a \"b\"\\\n""#);
        check(
            Value::Map(map(&[("a", text("x")), ("b-c", Value::List(Vec::new()))])),
            "#{ a: \"x\", \"b-c\": [] }",
        );
        check(Value::Map(map(&[])), "#{}");
        let call =
            Value::Call("package".to_owned(), map(&[("script", text("make\n\nmake install\n"))]));
        check(
            call,
            "package(#{\n    script: #\"\n        make\n\n        make install\n    \"#,\n})",
        );
        let long = Value::List(vec![text(&"x".repeat(50)), text(&"y".repeat(50))]);
        check(long, &format!("[\n    \"{}\",\n    \"{}\",\n]", "x".repeat(50), "y".repeat(50)));
    }
}
