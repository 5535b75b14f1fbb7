//! What a text comes to before it is evaluated, wherever in the text that is written.

use std::fmt::Write as _;

use rhai::{Engine, Scope};

use super::{mistake, reserved_words, restrict};
use crate::base::{Diagnostic, ReleasePath};
use crate::spec::text::Text;

/// The syntax tree of a spec or module as a text without positions: two texts with the same
/// outline evaluate to the same.
///
/// # Errors
/// The text does not parse.
pub fn outline(file: &ReleasePath, content: &str) -> Result<String, Diagnostic> {
    let mut engine = Engine::new_raw();
    restrict(&mut engine);
    reserved_words(&mut engine);
    // What is defined elsewhere is not known here.
    engine.set_strict_variables(false);
    let text = Text::new(file.clone(), content.to_owned());
    let ast = engine
        .compile_with_scope(&Scope::new(), content)
        .map_err(|error| mistake::of_parse(&text, &error))?;
    let mut functions: Vec<String> = ast
        .iter_fn_def()
        .map(|function| {
            without_positions(&format!("{:?} {function} {:?}", function.access, function.body))
        })
        .collect();
    functions.sort();
    let mut outline = without_positions(&format!("{:?}", ast.statements()));
    for function in functions {
        let _ = write!(outline, "\n{function}");
    }
    Ok(outline)
}

/// Takes `3:14`, `3:14-15` and what closures are called for their place out of a text. Inside a
/// string they go too, but strings are compared token by token besides.
fn without_positions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let place = rest[digits..].strip_prefix(':').map(|behind| {
            behind.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ':' | '-'))
        });
        match place {
            Some(behind) if digits > 0 => {
                out.push('@');
                rest = behind;
            }
            _ if digits > 0 => {
                out.push_str(&rest[..digits]);
                rest = &rest[digits..];
            }
            _ => match rest.strip_prefix("anon$") {
                Some(name) => {
                    out.push_str("anon$");
                    rest = name.trim_start_matches(|c: char| c.is_ascii_hexdigit());
                }
                None => {
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            },
        }
    }
    out
}
