//! One layout for all specs: only white space changes, and commas at the end of broken lists.
//!
//! What an author broke over several lines stays broken; what is wider than a line gets broken.
//! Strings are never touched, nor is the order of tokens.

mod print;
mod space;
mod tree;

use super::{Kind, tokens};
use crate::base::{Diagnostic, ReleasePath};
use crate::spec::engine::outline;

/// A spec in the one layout; what is in that layout stays as it is.
///
/// # Errors
/// The text does not parse; or the layout would change what it means, which is then refused: of
/// some texts even white space is part, such as strings that go on behind a `\`.
pub fn layout(file: &ReleasePath, text: &str) -> Result<String, Diagnostic> {
    let (mark, content) = match text.strip_prefix('\u{feff}') {
        Some(content) => ("\u{feff}", content),
        None => ("", text),
    };
    let before = outline(file, content)?;
    let written = print::print(&tree::docs(content));
    let written = match written.trim() {
        "" => String::new(),
        _ => format!("{}\n", written.trim_end_matches('\n')),
    };
    if meaning(content) != meaning(&written) || outline(file, &written).ok() != Some(before) {
        let message = format!("the layout would change what `{file}` means, so it is left alone");
        return Err(Diagnostic::new("layout", message)
            .hint("is there a string that goes on behind a `\\`? its white space counts"));
    }
    Ok(format!("{mark}{written}"))
}

/// The tokens of a text without white space and commas.
fn meaning(text: &str) -> Vec<&str> {
    let means = tokens(text).into_iter().filter(|token| token.kind != Kind::Space);
    means.map(|token| token.text(text).trim_end()).filter(|written| *written != ",").collect()
}

#[cfg(test)]
mod tests;
