//! Whether the relations that a spec writes are in the distribution's syntax.

use crate::archive::deb::dependency::Dependencies;
use crate::base::{Diagnostic, Span};
use crate::spec::model::{Binary, Package};

/// Every build dependency of `package` that is none, each at its own string, and what its way of
/// building needs.
pub fn wrong_of_build(package: &Package) -> Vec<Diagnostic> {
    let fields = package.build_depends.iter().filter_map(|item| {
        wrong(package, &item.value, item.span.as_ref(), || "`build_depends`".to_owned())
    });
    let builder = &package.build;
    let needs = builder
        .needs
        .iter()
        .filter_map(|text| wrong(package, text, None, || format!("what `{}` needs", builder.name)));
    fields.chain(needs).collect()
}

/// Every relation of the binary packages of `package` that is none, each at its own string, and
/// those that its way of building gives them.
pub fn wrong_of_binaries(package: &Package) -> Vec<Diagnostic> {
    let builder = &package.build;
    let given = builder.depends.iter().filter_map(|text| {
        wrong(package, &filled(text), None, || format!("what `{}` depends on", builder.name))
    });
    let mut found: Vec<Diagnostic> = given.collect();
    for Binary { name, relations, .. } in &package.binaries {
        for (key, items) in relations {
            found.extend(items.iter().filter_map(|item| {
                let what = || format!("`{key}` of `{name}`");
                wrong(package, &filled(&item.value), item.span.as_ref(), what)
            }));
        }
    }
    found
}

fn wrong(
    package: &Package,
    text: &str,
    span: Option<&Span>,
    what: impl Fn() -> String,
) -> Option<Diagnostic> {
    let error = text.parse::<Dependencies>().err()?;
    let label = if span.is_some() { "" } else { "of this package" };
    let error = Diagnostic::new("dependency-syntax", format!("{}: {error}", what()));
    Some(error.at(span.unwrap_or(&package.span).clone(), label).hint(SYNTAX))
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
