//! Whether the relations that a spec writes are in the distribution's syntax.

use crate::archive::deb::dependency::Dependencies;
use crate::base::{Diagnostic, Span};
use crate::spec::model::{Binary, Package};

/// Every relation of `package` that is none, each at its own string: build dependencies, what
/// its way of building needs, and what its binary packages say of others.
pub fn wrong(package: &Package) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut note = |text: &str, span: Option<&Span>, what: &str| {
        let Err(error) = text.parse::<Dependencies>() else { return };
        let place = span.unwrap_or(&package.span).clone();
        let label = if span.is_some() { "" } else { "of this package" };
        let error = Diagnostic::new("dependency-syntax", format!("{what}: {error}"));
        found.push(error.at(place, label).hint(SYNTAX));
    };
    for item in &package.build_depends {
        note(&item.value, item.span.as_ref(), "`build_depends`");
    }
    let builder = &package.build;
    for text in &builder.needs {
        note(text, None, &format!("what `{}` needs", builder.name));
    }
    for text in &builder.depends {
        note(&filled(text), None, &format!("what `{}` depends on", builder.name));
    }
    for Binary { name, relations, .. } in &package.binaries {
        for (key, items) in relations {
            for item in items {
                note(&filled(&item.value), item.span.as_ref(), &format!("`{key}` of `{name}`"));
            }
        }
    }
    found
}

const SYNTAX: &str = "such as `zlib1g-dev (>= 1.2)`, `a | b`, `check <!nocheck>` or `foo [amd64]`";

/// A relation without its substitution variables, which are the build's to fill in: nothing where
/// one is all there is (deb-substvars(5)).
fn filled(text: &str) -> String {
    if text.starts_with("${") && text.ends_with('}') && !text.contains(' ') {
        return String::new();
    }
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        filled.push('1');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    filled + rest
}
