//! Where the arguments of calls were written. The engine tells a function only where it was
//! called; places of keys and list items come from the syntax tree.

use std::collections::{BTreeMap, HashMap};

use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};

use crate::base::Span;
use crate::spec::text::Text;

/// Places inside a value, as far as it was written out.
#[derive(Debug, Clone)]
pub(in crate::spec) struct Shape {
    /// Where it begins.
    pub span: Span,
    /// Of a map: the place of each key, and its value's shape.
    pub keys: BTreeMap<String, (Span, Shape)>,
    /// Of a list: its items.
    pub items: Vec<Shape>,
}

impl Shape {
    /// A value of which only the place is known.
    pub fn plain(span: Span) -> Self {
        Self { span, keys: BTreeMap::new(), items: Vec::new() }
    }

    /// The value of `key`; where it was computed, it is at the place of the whole.
    pub fn value(&self, key: &str) -> Self {
        self.keys
            .get(key)
            .map_or_else(|| Self::plain(self.span.clone()), |(_, value)| value.clone())
    }

    /// The place of `key`; where it was computed, that of the whole.
    pub fn key(&self, key: &str) -> Span {
        self.keys.get(key).map_or_else(|| self.span.clone(), |(span, _)| span.clone())
    }

    /// The item at `index`; where it was computed, it is at the place of the whole.
    pub fn item(&self, index: usize) -> Self {
        self.items.get(index).cloned().unwrap_or_else(|| Self::plain(self.span.clone()))
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
    let mut shape = Shape::plain(span(expr.start_position(), text));
    match expr {
        Expr::Map(entries, _) => {
            for (key, value) in &entries.0 {
                let place = span(key.pos, text);
                shape.keys.insert(key.name.to_string(), (place, self::shape(value, text)));
            }
        }
        Expr::Array(items, _) => {
            shape.items = items.iter().map(|item| self::shape(item, text)).collect();
        }
        _ => {}
    }
    shape
}

fn span(position: Position, text: &Text) -> Span {
    let line = position.line().unwrap_or(1) as u32;
    text.token(line, position.position().unwrap_or(1) as u32)
}
