//! Where the arguments of calls were written. The engine tells a function only where it was
//! called; places of keys and list items come from the syntax tree.

use std::collections::HashMap;
use std::sync::Arc;

use rhai::{AST, ASTNode, Expr, FnCallExpr, Ident, ImmutableString, Position, Stmt};

use crate::base::Span;
use crate::spec::text::Text;

/// Places inside a value, as far as it was written out. A clone shares them.
#[derive(Debug, Clone)]
pub(in crate::spec) struct Shape {
    /// Where it begins.
    pub span: Span,
    inside: Option<Arc<Inside>>,
}

/// What is in a map or a list.
#[derive(Debug)]
enum Inside {
    /// The place of each key and its value's shape, sorted by key.
    Map(Vec<(ImmutableString, Span, Shape)>),
    List(Vec<Shape>),
}

impl Shape {
    /// A value of which only the place is known.
    pub fn plain(span: Span) -> Self {
        Self { span, inside: None }
    }

    /// The value of `key`; where it was computed, it is at the place of the whole.
    pub fn value(&self, key: &str) -> Self {
        self.entry(key).map_or_else(|| Self::plain(self.span.clone()), |(.., value)| value.clone())
    }

    /// The place of `key`; where it was computed, that of the whole.
    pub fn key(&self, key: &str) -> Span {
        self.entry(key).map_or(&self.span, |(_, span, _)| span).clone()
    }

    /// The place of `key`, if it was written out.
    pub fn written(&self, key: &str) -> Option<&Span> {
        self.entry(key).map(|(_, span, _)| span)
    }

    /// The item at `index`; where it was computed, it is at the place of the whole.
    pub fn item(&self, index: usize) -> Self {
        let item = match self.inside.as_deref() {
            Some(Inside::List(items)) => items.get(index).cloned(),
            _ => None,
        };
        item.unwrap_or_else(|| Self::plain(self.span.clone()))
    }

    fn entry(&self, key: &str) -> Option<&(ImmutableString, Span, Self)> {
        let Some(Inside::Map(entries)) = self.inside.as_deref() else { return None };
        let index = entries.binary_search_by(|(name, ..)| name.as_str().cmp(key)).ok()?;
        Some(&entries[index])
    }
}

/// The shapes of the arguments of all calls in a tree, by line and column of the call.
pub(in crate::spec) fn calls(ast: &AST, text: &Text) -> HashMap<(usize, usize), Vec<Shape>> {
    let mut found = HashMap::new();
    let mut note = |call: &FnCallExpr, position: Position| {
        if call.op_token.is_none()
            && let (Some(line), Some(column)) = (position.line(), position.position())
        {
            let shapes = call.args.iter().map(|expr| shape(expr, text)).collect();
            found.insert((line, column), shapes);
        }
    };
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Expr(
                Expr::FnCall(call, position) | Expr::MethodCall(call, position),
            ))
            | Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => note(call, *position),
            _ => {}
        }
        true
    });
    found
}

fn shape(expr: &Expr, text: &Text) -> Shape {
    let inside = match expr {
        Expr::Map(entries, _) => {
            let entry = |(key, value): &(Ident, Expr)| {
                (key.name.clone(), span(key.pos, text), shape(value, text))
            };
            let mut entries: Vec<_> = entries.0.iter().map(entry).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Some(Arc::new(Inside::Map(entries)))
        }
        Expr::Array(items, _) => {
            Some(Arc::new(Inside::List(items.iter().map(|item| shape(item, text)).collect())))
        }
        _ => None,
    };
    Shape { span: span(expr.start_position(), text), inside }
}

fn span(position: Position, text: &Text) -> Span {
    let line = position.line().unwrap_or(1) as u32;
    text.token(line, position.position().unwrap_or(1) as u32)
}
