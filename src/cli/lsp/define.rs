//! Where the thing under the cursor is written.

use std::fs;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use super::cursor::{Place, Role, definitions};
use super::position;
use super::view::{Callable, Home, View, library, place};
use crate::base::{Digest, ReleasePath, Span};

/// A place in a file.
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// The place in it.
    pub range: lsp_types::Range,
}

/// Where the thing under the cursor is written.
pub fn define(view: &View<'_>, here: &Path) -> Option<Target> {
    if view.cursor.in_comment() {
        return None;
    }
    if let Some((role, name, _)) = view.named() {
        return named(view, role, name);
    }
    let (word, _) = view.cursor.whole_word()?;
    let callable = match view.cursor.place() {
        Place::Module(alias) => named_so(view.callables_of(alias), word),
        Place::Value | Place::Key(_) => {
            let mut own = definitions(view.text).into_iter();
            if let Some((_, at, _)) = own.find(|(name, ..)| *name == word) {
                let range = position::range(view.text, at..at + word.len());
                return Some(Target { path: here.to_owned(), range });
            }
            named_so(view.callables(), word)
        }
        Place::Parameter => return parameter(view, word),
        Place::Method => None,
    };
    let Callable { function, home } = callable?;
    let bytes = function.at..function.at + function.name.len();
    match home {
        Home::Program => None,
        Home::Here => {
            Some(Target { path: here.to_owned(), range: position::range(view.text, bytes) })
        }
        Home::Library(file) => {
            let text = (view.read)(&file)?;
            Some(Target { path: view.host(&file)?, range: position::range(&text, bytes) })
        }
        Home::Stdlib(module) => {
            let path = match &module.file {
                Some(file) => view.host(file)?,
                None => kept(&module.name, &module.text)?,
            };
            Some(Target { path, range: position::range(&module.text, bytes) })
        }
    }
}

/// The function of this name: the file's own hides one from elsewhere.
fn named_so<'a>(callables: Vec<Callable<'a>>, name: &str) -> Option<Callable<'a>> {
    callables.into_iter().rev().find(|callable| callable.function.name == name)
}

fn named(view: &View<'_>, role: Role, name: &str) -> Option<Target> {
    match role {
        Role::Dependencies | Role::Binary => {
            let (_, _, span) = view.builds(name)?;
            at_span(view, &span)
        }
        Role::Source | Role::Package => at_span(view, place(view.package(name)?)),
        Role::Folder => {
            let control: ReleasePath = format!("{name}/debian/control").parse().ok()?;
            top(view.host(&control)?).or_else(|| {
                let folder: ReleasePath = name.parse().ok()?;
                first_file(&view.host(&folder)?).and_then(top)
            })
        }
        Role::File => top(view.host(&name.parse().ok()?)?),
        Role::Module => top(view.host(&library(name)?)?),
        Role::Root => {
            let root = view.known.release.as_ref()?.roots.get(name)?;
            at_span(view, root.archive.span.as_ref()?)
        }
        Role::Architecture => None,
    }
}

/// Where release.toml gives a parameter.
fn parameter(view: &View<'_>, name: &str) -> Option<Target> {
    let file: ReleasePath = crate::spec::release::FILE.parse().ok()?;
    let text = (view.read)(&file)?;
    let mut section = "";
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.starts_with('[') {
            section = content;
        }
        let key = content.split('=').next().unwrap_or_default().trim();
        let wanted = match name {
            "name" | "version" => "[release]",
            _ => "[parameters]",
        };
        if key == name && section.starts_with(wanted) {
            let at = start + (line.len() - line.trim_start().len());
            let range = position::range(&text, at..at + name.len());
            return Some(Target { path: view.host(&file)?, range });
        }
        start += line.len();
    }
    None
}

fn at_span(view: &View<'_>, span: &Span) -> Option<Target> {
    let text = (view.read)(&span.file)?;
    Some(Target { path: view.host(&span.file)?, range: position::span_range(&text, span) })
}

/// The top of a file that is there.
fn top(path: PathBuf) -> Option<Target> {
    path.is_file().then(|| Target { path, range: lsp_types::Range::default() })
}

fn first_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().take(1_000);
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).min()
}

/// A file with the text of a stdlib module that only the program has: below the user's cache
/// folder, by its digest, read-only so that nobody takes it for a place to change it.
fn kept(module: &str, text: &str) -> Option<PathBuf> {
    let cache = etcetera::choose_base_strategy().ok()?.cache_dir();
    let folder = cache.join("perestroika/stdlib").join(Digest::of(text.as_bytes()).to_string());
    let path = folder.join(format!("{module}.rhai"));
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Some(path);
    }
    fs::create_dir_all(&folder).ok()?;
    let file = tempfile::NamedTempFile::new_in(&folder).ok()?;
    fs::write(file.path(), text).ok()?;
    let mut permissions = fs::metadata(file.path()).ok()?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(file.path(), permissions).ok()?;
    file.persist(&path).ok()?;
    Some(path)
}
