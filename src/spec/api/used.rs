//! Which stdlib modules a text uses: those are what the lock pins.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rhai::{AST, ASTNode, Expr, FnCallExpr, Stmt};

use super::Host;

/// The functions of the stdlib's modules, and what these use among themselves.
#[derive(Debug, Default)]
pub(in crate::spec) struct Stdlib {
    /// The module of each function.
    owners: HashMap<String, String>,
    /// The functions that each module calls.
    calls: BTreeMap<String, BTreeSet<String>>,
}

/// Whether the functions of a module are called as `module::function`: their names would say too
/// little without it.
pub(in crate::spec) fn is_namespace(module: &str) -> bool {
    module == "openstack"
}

impl Stdlib {
    /// Adds a module.
    pub fn add(&mut self, module: &str, ast: &AST) {
        for function in ast.iter_functions() {
            let name = match is_namespace(module) {
                true => format!("{module}::{}", function.name),
                false => function.name.to_owned(),
            };
            self.owners.insert(name, module.to_owned());
        }
        let mut called = BTreeSet::new();
        each_call(ast, &mut |call| {
            called.insert(name(call));
        });
        self.calls.insert(module.to_owned(), called);
    }

    /// The module that defines `function`, and all that it needs, into `found`.
    fn follow(&self, function: &str, found: &mut BTreeSet<String>) {
        let Some(module) = self.owners.get(function) else { return };
        if found.insert(module.clone()) {
            for function in self.calls.get(module).into_iter().flatten() {
                self.follow(function, found);
            }
        }
    }
}

impl Host {
    /// Notes the stdlib modules whose functions a text calls.
    pub fn uses(&self, ast: &AST) {
        let mut state = self.state();
        let mut found = BTreeSet::new();
        each_call(ast, &mut |call| state.stdlib.follow(&name(call), &mut found));
        state.used.append(&mut found);
    }
}

fn each_call(ast: &AST, see: &mut dyn FnMut(&FnCallExpr)) {
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _)))
            | Some(ASTNode::Stmt(Stmt::FnCall(call, _))) => see(call),
            _ => {}
        }
        true
    });
}

fn name(call: &FnCallExpr) -> String {
    match call.is_qualified() {
        true => format!("{}::{}", call.namespace, call.name),
        false => call.name.to_string(),
    }
}
