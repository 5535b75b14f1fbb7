//! What can go wrong before a command runs.

use crate::base::GuestPath;

/// The machine could not do what a request asks for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation of the system failed.
    #[error("cannot {operation}")]
    System {
        /// What was tried, on what.
        operation: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A part of the isolation cannot be had here, so nothing was run.
    #[error("the sandbox cannot {operation}; {remedy}")]
    Isolation {
        /// What was tried, on what.
        operation: String,
        /// What the system answered.
        source: std::io::Error,
        /// What to change on this machine, exactly.
        remedy: String,
    },
    /// A control group is demanded and cannot be had here, so nothing was run.
    #[error(
        "a control group must hold builds to their limits, and there is none: {because}; {remedy}"
    )]
    Limits {
        /// What was tried, and what came of it.
        because: String,
        /// What to change on this machine, exactly.
        remedy: String,
    },
    /// A container engine did not do what a run needs.
    #[error("the container engine `{engine}` cannot {operation}: {because}")]
    Engine {
        /// Which engine: its name, or its address.
        engine: String,
        /// What was asked of it, on what.
        operation: String,
        /// What it answered, or why it was not reached.
        because: String,
        /// Whether another try may succeed: it was not reached, was restarted or had an error of
        /// its own. What it refuses for good does not pass.
        passes: bool,
    },
    /// The request contradicts the guest contract or itself.
    #[error("the sandbox request is wrong: {0}")]
    Request(String),
    /// The command of the request is not there or cannot be executed.
    #[error("cannot run `{command}` in the guest")]
    Command {
        /// The guest path of the program.
        command: GuestPath,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The process that holds the sandbox ended without a report; everything in it is dead too.
    #[error("the sandbox ended without a report{0}")]
    Lost(String),
    /// The log did not take the output; the command was killed.
    #[error("cannot write the output of the command to its log")]
    Log(#[source] std::io::Error),
}

impl Error {
    /// Whether the same request may run a little later: the system had no process, memory or
    /// mount to give, or something outside killed the sandbox. What this machine does not give at
    /// all does not pass.
    pub fn may_pass(&self) -> bool {
        use std::io::ErrorKind;
        match self {
            Self::System { .. } | Self::Lost(_) => true,
            Self::Engine { passes, .. } => *passes,
            Self::Log(error) => {
                matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            Self::Isolation { .. }
            | Self::Limits { .. }
            | Self::Request(_)
            | Self::Command { .. } => false,
        }
    }
}
