//! Places in files, and what is said about them.

use serde::{Deserialize, Serialize};

use super::ReleasePath;

/// A stretch of one line of a file of the release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The file.
    pub file: ReleasePath,
    /// The line, from 1.
    pub line: u32,
    /// The first character, from 1.
    pub column: u32,
    /// How many characters; 0 where only the start is known.
    pub length: u32,
}

/// A place and what is to be said beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub span: Span,
    /// What is there; may be empty.
    pub label: String,
}

/// Something wrong with the user's input: data only, which the command line renders with an
/// excerpt, and `--json` prints as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable word for programs, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong: lower case, no full stop, names in backticks.
    pub message: String,
    /// The places that show it, the user's own line first.
    pub places: Vec<Place>,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// One of what may be several, so that `?` hands it on where all are collected.
impl From<Diagnostic> for Vec<Diagnostic> {
    fn from(diagnostic: Diagnostic) -> Self {
        vec![diagnostic]
    }
}

impl Diagnostic {
    /// A diagnostic without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), places: Vec::new(), hints: Vec::new() }
    }

    /// The same, shown at `span` with `label` beside it; without a span nothing changes.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>, label: impl Into<String>) -> Self {
        self.places.extend(span.into().map(|span| Place { span, label: label.into() }));
        self
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
