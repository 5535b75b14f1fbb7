//! What can go wrong before a command runs.

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
}
