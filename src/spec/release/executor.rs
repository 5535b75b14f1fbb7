//! `[executor]`: what kind of sandbox a release would be built in, where the user says nothing.

use super::super::document::{Reader, Table};
use super::super::model::Located;
use crate::base::{Diagnostic, nearest};

/// What runs builds. It is a wish and no part of what is built: no id depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutorKind {
    /// This machine's own kernel.
    Native,
    /// A container engine.
    Docker,
}

impl ExecutorKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Native, Self::Docker];

    /// The kind as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Docker => "docker",
        }
    }
}

/// Reads `[executor] kind`. A release names no engine: whoever runs somebody else's release must
/// not be led to a socket or a machine of that somebody's choice.
pub(super) fn executor<'i>(
    reader: &mut Reader<'i>,
    root: &mut Table<'i>,
) -> Option<Located<ExecutorKind>> {
    let mut table = reader.table(root, "executor")?;
    let engines = reader.table(&mut table, "docker");
    let written = reader.required(&mut table, "kind");
    reader.finish(table, &[]);
    if let Some(engines) = engines {
        let message = "a release does not say where container engines are";
        let hint = "that is for the user's config.toml: `[executor.docker.hosts.NAME]`";
        reader.error_with_hint("engines", message, engines.span, hint);
    }
    let Located { value, span } = written?;
    if let Some(value) = ExecutorKind::ALL.into_iter().find(|kind| kind.as_str() == value) {
        return Some(Located { value, span });
    }
    let known = ExecutorKind::ALL.map(ExecutorKind::as_str);
    let message = format!("`kind` is one of `{}`, not `{value}`", known.join("`, `"));
    let error = Diagnostic::new("bad-value", message).at(span, "");
    reader.errors.push(match nearest(&value, known) {
        Some(near) => error.hint(format!("write `kind = \"{near}\"`")),
        None => error,
    });
    None
}
