//! What the thing under the cursor is.

use std::fmt::Write as _;
use std::ops::Range;

use super::complete::parameters;
use super::cursor::{Owner, Place, Role};
use super::view::{Callable, View};
use crate::spec::language::{self, Function};

/// What is to be told of the thing under the cursor, in Markdown, and the bytes of that thing.
pub fn hover(view: &View<'_>) -> Option<(String, Range<usize>)> {
    if view.cursor.in_comment() {
        return None;
    }
    if let Some((role, name, bytes)) = view.named() {
        return Some((named(view, role, name)?, bytes));
    }
    let (word, bytes) = view.cursor.whole_word()?;
    Some((meaning(view, word)?, bytes))
}

fn named(view: &View<'_>, role: Role, name: &str) -> Option<String> {
    match role {
        Role::Dependencies | Role::Binary => binary(view, name),
        Role::Source => source(view, name),
        Role::Package => {
            let package = view.package(name)?;
            Some(format!("**{name}**: `{}:{}`", package.span.file, package.span.line))
        }
        Role::Folder | Role::File | Role::Module | Role::Root | Role::Architecture => None,
    }
}

/// A binary package: who builds it, and what the archive has.
fn binary(view: &View<'_>, name: &str) -> Option<String> {
    let mut text = String::new();
    if let Some((package, version, span)) = view.builds(name) {
        let _ = writeln!(text, "**{name}** {version}\n");
        let _ = writeln!(
            text,
            "This release builds it: package `{package}`, `{}:{}`\n",
            span.file, span.line
        );
    }
    for (archive_name, archive) in &view.known.archives {
        if let Some(package) = archive.binary(name) {
            let _ = writeln!(text, "**{name}** {} in `{archive_name}`\n", package.version);
            let summary = archive.summary(name);
            if !summary.is_empty() {
                let _ = writeln!(text, "{summary}\n");
            }
            if package.source.as_str() != name {
                let _ = writeln!(text, "Source package: `{}`\n", package.source);
            }
        } else {
            let providers = archive.providers(name, 10);
            if !providers.is_empty() {
                let list: Vec<_> = providers.iter().map(|name| format!("`{name}`")).collect();
                let _ = writeln!(
                    text,
                    "**{name}** is a virtual package in `{archive_name}`: {}\n",
                    list.join(", ")
                );
            }
        }
    }
    (!text.is_empty()).then(|| text.trim_end().to_owned())
}

/// A source package of the archive.
fn source(view: &View<'_>, name: &str) -> Option<String> {
    let (archive_name, version, built) =
        view.known.archives.iter().find_map(|(archive, known)| {
            known.source(name).map(|(version, built)| (archive, version, built))
        })?;
    let built: Vec<_> = built.iter().map(|name| format!("`{name}`")).collect();
    Some(format!(
        "**{name}** {version}, source package in `{archive_name}`\n\nBuilds {}",
        built.join(", ")
    ))
}

fn meaning(view: &View<'_>, word: &str) -> Option<String> {
    let among = |callables: Vec<Callable<'_>>| {
        let found = callables.iter().filter(|callable| callable.function.name == word);
        let found: Vec<_> = found.map(|callable| function(&callable.function)).collect();
        (!found.is_empty()).then(|| found.join("\n\n---\n\n"))
    };
    match view.cursor.place() {
        Place::Key(owner) if view.cursor.is_key() => {
            let fields = match owner {
                Owner::Package => language::fields(),
                Owner::Part(name) => language::parts(name),
            };
            let field = fields.into_iter().find(|field| field.name == word)?;
            Some(format!("**{word}**: {}\n\n{}", field.value, field.doc))
        }
        Place::Parameter => {
            let release = view.known.release.as_ref()?;
            let (_, value) = parameters(release).into_iter().find(|(name, _)| *name == word)?;
            Some(format!("`release.{word}` = `{value}`"))
        }
        Place::Method => {
            let found = language::methods().into_iter().find(|method| method.name == word)?;
            Some(function(&found))
        }
        Place::Module(alias) => among(view.callables_of(alias)),
        Place::Value if word == "release" => {
            let release = view.known.release.as_ref()?;
            Some(format!("Release `{}` {}", release.name, release.version))
        }
        Place::Value | Place::Key(_) => among(view.callables()).or_else(|| {
            let module = view.namespaces().find(|module| module.name == word)?;
            Some(format!("**{word}**: module of the stdlib\n\n{}", language::about(&module.text)))
        }),
    }
}

fn function(function: &Function) -> String {
    let Function { signature, doc, .. } = function;
    format!("```rhai\n{signature}\n```\n\n{doc}").trim_end().to_owned()
}
