//! The indexes of an archive: which binary packages a suite has (`Packages`), and which source
//! packages (`Sources`).
//!
//! Fields are those of Debian Policy 5.3 and 5.4 and of the repository format
//! (`Filename`, `Size`, `SHA256`, `Directory`, `Package-List`).

use super::{control, dependency, version};
use crate::base::{DigestError, NameError};

mod binary;
mod source;
mod summary;

pub use binary::{BinaryPackage, MultiArch, Priority, Relations, packages};
pub use source::{
    RELATIONS, SourceBinary, SourceFile, SourcePackage, every_source, source, sources,
};
pub use summary::summaries;

/// Why a text is not an index, or not a package's paragraph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not even a control file.
    #[error("not an index of packages")]
    Control(#[from] control::Error),
    /// A field that every paragraph must have is not there.
    #[error("the paragraph of `{package}` at line {line} has no field `{field}`")]
    Missing {
        /// The package, as far as known.
        package: String,
        /// Where the paragraph begins, counted from 1.
        line: usize,
        /// The field.
        field: &'static str,
    },
    /// A field of a package does not hold what it should.
    #[error("field `{field}` of `{package}` (paragraph at line {line})")]
    Field {
        /// The package, as far as known.
        package: String,
        /// Where the paragraph begins, counted from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        reason: Reason,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It should name something.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It should be a version.
    #[error(transparent)]
    Version(#[from] version::Error),
    /// It should be a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It should hold relations.
    #[error(transparent)]
    Relations(#[from] dependency::Error),
    /// It should be something else.
    #[error("`{text}` is not {expected}")]
    Other {
        /// What stands there, or its beginning.
        text: String,
        /// What should.
        expected: &'static str,
    },
}

impl Reason {
    fn other(text: &str, expected: &'static str) -> Self {
        Self::Other { text: text.chars().take(100).collect(), expected }
    }
}

/// The error with line numbers as they are when `before` stands before the text it was found in.
fn moved(mut error: Error, before: &str) -> Error {
    use control::Error as Control;
    let (Error::Control(
        Control::NotAField { line, .. }
        | Control::NothingToContinue { line }
        | Control::Duplicate { line, .. }
        | Control::TooManyFields { line },
    )
    | Error::Missing { line, .. }
    | Error::Field { line, .. }) = &mut error;
    *line += before.matches('\n').count();
    error
}

fn number(text: &str) -> Result<u64, Reason> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Reason::other(text, "a number of bytes"))
}

/// A path below the archive's root; it cannot lead out of it.
fn pool_path(text: &str) -> Result<String, Reason> {
    let harmless = !text.is_empty()
        && text.len() <= 4096
        && text.split('/').all(|part| !part.is_empty() && part != "..")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if harmless {
        Ok(text.to_owned())
    } else {
        Err(Reason::other(text, "a path below the archive's root"))
    }
}
