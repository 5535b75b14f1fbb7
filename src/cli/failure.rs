//! What a command can end with other than success, and the exit code each has.

use std::fmt;

use super::address::addressed;
use crate::base::{Diagnostic, HostPath};

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// Whose fault it is: it decides the exit code.
    pub kind: Kind,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug)]
pub enum Problem {
    /// Something in the files of a release, which is shown with an excerpt.
    InRelease {
        /// The release folder.
        folder: HostPath,
        /// The expression it may be in, which is no file of the release.
        expression: Option<String>,
        /// What is wrong.
        diagnostic: Diagnostic,
    },
    /// Anything else: what was tried, then its causes.
    Chain {
        /// A stable word for programs.
        code: &'static str,
        /// What was tried and why it failed, the outermost first.
        messages: Vec<String>,
        /// What to do about it.
        hints: Vec<String>,
        /// Whether people have read it.
        told: Told,
    },
}

/// Whether a problem was told before its command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is told at the end.
    AtTheEnd,
    /// It was told in a form of its own.
    Already,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A build or check failed, or something is stale or differs.
    Result,
    /// The user's input.
    Input,
    /// The machine.
    Machine,
    /// Told to stop.
    Interrupted,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Result => 1,
            Self::Input => 2,
            Self::Machine => 3,
            Self::Interrupted => 130,
        }
    }
}

impl Failure {
    /// The user's input is wrong.
    pub fn input(code: &'static str, message: impl fmt::Display) -> Self {
        Self::new(Kind::Input, code, message)
    }

    /// A failure of this kind with one message.
    pub fn new(kind: Kind, code: &'static str, message: impl fmt::Display) -> Self {
        Self::chain(kind, code, vec![message.to_string()])
    }

    /// An error and everything that led to it.
    pub fn error(kind: Kind, code: &'static str, error: &dyn std::error::Error) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            messages.push(cause.to_string());
            source = cause.source();
        }
        Self::chain(kind, code, messages)
    }

    fn chain(kind: Kind, code: &'static str, messages: Vec<String>) -> Self {
        let (hints, told) = (Vec::new(), Told::AtTheEnd);
        Self { kind, problems: vec![Problem::Chain { code, messages, hints, told }] }
    }

    /// Everything that is wrong with a release.
    pub fn in_release(folder: &HostPath, diagnostics: Vec<Diagnostic>) -> Self {
        let problems = diagnostics
            .into_iter()
            .map(|mut diagnostic| {
                for hint in &mut diagnostic.hints {
                    *hint = addressed(hint, folder);
                }
                Problem::InRelease { folder: folder.clone(), expression: None, diagnostic }
            })
            .collect();
        Self { kind: Kind::Input, problems }
    }

    /// Everything that is wrong with an expression evaluated in a release.
    pub fn in_expression(folder: &HostPath, text: &str, diagnostics: Vec<Diagnostic>) -> Self {
        let mut failure = Self::in_release(folder, diagnostics);
        for problem in &mut failure.problems {
            if let Problem::InRelease { expression, .. } = problem {
                *expression = Some(text.to_owned());
            }
        }
        failure
    }

    /// What is wrong first of all, without its reasons.
    pub fn summary(&self) -> &str {
        match self.problems.first() {
            Some(Problem::InRelease { diagnostic, .. }) => &diagnostic.message,
            Some(Problem::Chain { messages, .. }) => &messages[0],
            None => "",
        }
    }

    /// What is wrong first of all, and its reasons.
    pub fn messages(&self) -> Vec<String> {
        match self.problems.first() {
            Some(Problem::InRelease { diagnostic, .. }) => vec![diagnostic.message.clone()],
            Some(Problem::Chain { messages, .. }) => messages.clone(),
            None => Vec::new(),
        }
    }

    /// Both in one: the graver kind, all problems.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.kind = self.kind.max(other.kind);
        self.problems.extend(other.problems);
        self
    }

    /// The same with one more reason for its last problem.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        if let Some(Problem::Chain { messages, .. }) = self.problems.last_mut() {
            messages.push(reason.into());
        }
        self
    }

    /// The same with a hint for its last problem.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        match self.problems.last_mut() {
            Some(Problem::Chain { hints, .. }) => hints.push(hint.into()),
            Some(Problem::InRelease { diagnostic, .. }) => diagnostic.hints.push(hint.into()),
            None => {}
        }
        self
    }
}
