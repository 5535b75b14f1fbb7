//! Parameters that a variant sets and nobody reads.

use super::extends::Link;
use super::loader::{self, Loader};
use crate::base::{Diagnostic, ReleasePath, nearest};

/// Parameters of a release that the one which it extends does not have, that no text of `specs`
/// or of the modules beside them names, and that are nearly called as one which it has: most
/// likely that one was meant, and would keep its value without a word.
pub(super) fn misspelt(
    loader: &dyn Loader,
    links: &[Link],
    specs: &[ReleasePath],
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for pair in links.windows(2) {
        let (base, Link { release, .. }) = (&pair[0], &pair[1]);
        for parameter in &release.new_parameters {
            let known = base.release.parameters.keys().map(String::as_str);
            let Some(near) = nearest(&parameter.value, known) else { continue };
            if is_named(loader, links, specs, &parameter.value) {
                continue;
            }
            let message = format!("no spec reads the parameter `{}`", parameter.value);
            found.push(
                Diagnostic::new("unknown-name", message)
                    .at(parameter.span.clone(), "")
                    .hint(format!("`{}` has `{near}`: was that meant?", base.folder)),
            );
        }
    }
    found
}

/// Whether any spec or module has the word.
fn is_named(loader: &dyn Loader, links: &[Link], specs: &[ReleasePath], word: &str) -> bool {
    let modules = links.iter().filter_map(|link| loader.modules(&link.folder).ok()).flatten();
    modules.chain(specs.iter().cloned()).any(|path| {
        let bytes = loader.read(&path, loader::MAX_TEXT).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|other| other == word)
    })
}
