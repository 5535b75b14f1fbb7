//! What Rhai would take without a word, and mean something else by.

use rhai::{AST, ASTNode, Position, Stmt};

use crate::base::Diagnostic;
use crate::spec::api::NAMES;
use crate::spec::text::Text;

/// Refuses definitions that would hide a name of the language.
pub(super) fn check(ast: &AST, text: &Text) -> Result<(), Diagnostic> {
    for function in ast.iter_functions() {
        if NAMES.contains(&function.name) {
            // The tree keeps no place of a function's name.
            let definition = format!("fn {}", function.name);
            let bytes = text.content().find(&definition).map(|at| at..at + definition.len());
            return Err(Diagnostic::new("reserved", reserved(function.name))
                .at(bytes.map(|bytes| text.span(bytes)), ""));
        }
    }
    let mut found = None;
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let (name, position): (&str, Position) = match path.last() {
            Some(ASTNode::Stmt(Stmt::Var(variable, ..))) if variable.0.name == "release" => {
                (&variable.0.name, variable.0.pos)
            }
            Some(ASTNode::Stmt(Stmt::Import(import, _))) if NAMES.contains(&&*import.1.name) => {
                (&import.1.name, import.1.pos)
            }
            _ => return true,
        };
        let (line, column) = (position.line().unwrap_or(1), position.position().unwrap_or(1));
        let span = text.token(line as u32, column as u32);
        found = Some(Diagnostic::new("reserved", reserved(name)).at(span, ""));
        false
    });
    found.map_or(Ok(()), Err)
}

/// What is said about them.
pub(super) fn reserved(name: &str) -> String {
    format!("`{name}` is a name of the language, and cannot be defined otherwise")
}
