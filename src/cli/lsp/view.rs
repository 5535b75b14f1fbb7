//! A question about a place in a file: its text, and what is known around it.

use std::path::PathBuf;
use std::sync::Arc;

use super::cursor::{Cursor, Definition, Role, definitions, dependency_at};
use super::knowledge::{Knowledge, Module};
use super::position;
use crate::base::{HostPath, ReleasePath, Span};
use crate::graph::Origin;
use crate::spec::language::{self, Function};
use crate::spec::model::Package;

/// How a file of the release is read, as the editor has it.
pub type Read<'a> = &'a dyn Fn(&ReleasePath) -> Option<Arc<str>>;

/// What a question can be answered from.
pub struct View<'a> {
    /// The text of the file.
    pub text: &'a str,
    /// What is around the place.
    pub cursor: Cursor<'a>,
    /// The release folder, where the file lies in one.
    pub folder: Option<&'a HostPath>,
    /// What is known of the release.
    pub known: &'a Knowledge,
    /// How its other files are read.
    pub read: Read<'a>,
}

/// A function that can be called at some place, and where it comes from.
pub struct Callable<'a> {
    /// The function.
    pub function: Function,
    /// Where it is defined.
    pub home: Home<'a>,
}

/// Where a function is defined.
#[derive(Clone)]
pub enum Home<'a> {
    /// In the program.
    Program,
    /// In the stdlib.
    Stdlib(&'a Module),
    /// In the file itself.
    Here,
    /// In a module of the release.
    Library(ReleasePath),
}

impl Callable<'_> {
    /// A function that is part of the program.
    pub fn native(function: Function) -> Self {
        Self { function, home: Home::Program }
    }
}

impl<'a> View<'a> {
    /// Everything that can be called without naming a module.
    pub fn callables(&self) -> Vec<Callable<'a>> {
        let natives = language::natives().into_iter().map(Callable::native);
        let global = self.known.modules.iter().filter(|module| !module.is_namespace());
        let stdlib = global.flat_map(|module| {
            let functions = module.functions.iter().cloned();
            functions.map(move |function| Callable { function, home: Home::Stdlib(module) })
        });
        let own = language::functions(self.text).into_iter();
        let own = own.map(|function| Callable { function, home: Home::Here });
        natives.chain(stdlib).chain(own).collect()
    }

    /// What a module defines, by the name that it is imported under or has in the stdlib.
    pub fn callables_of(&self, alias: &str) -> Vec<Callable<'a>> {
        let mut definitions = definitions(self.text).into_iter();
        let path = definitions.find_map(|(name, _, definition)| match definition {
            Definition::Module(path) if name == alias => Some(path),
            _ => None,
        });
        let Some(path) = path else {
            let module = self.namespaces().find(|module| module.name == alias);
            let functions = module.into_iter().flat_map(|module| {
                let functions = module.functions.iter().cloned();
                functions.map(move |function| Callable { function, home: Home::Stdlib(module) })
            });
            return functions.collect();
        };
        let Some(file) = library(path) else { return Vec::new() };
        let Some(text) = (self.read)(&file) else { return Vec::new() };
        let functions = language::functions(&text).into_iter();
        functions.map(|function| Callable { function, home: Home::Library(file.clone()) }).collect()
    }

    /// The modules of the stdlib whose functions are called with their name before.
    pub fn namespaces(&self) -> impl Iterator<Item = &'a Module> + use<'a> {
        self.known.modules.iter().filter(|module| module.is_namespace())
    }

    /// What the name in the string at the cursor is, and its bytes.
    pub fn named(&self) -> Option<(Role, &'a str, std::ops::Range<usize>)> {
        let role = self.cursor.role()?;
        let (content, start, at) = self.cursor.string()?;
        let inside = match role {
            Role::Dependencies => dependency_at(content, at),
            _ => 0..content.len(),
        };
        let name = content.get(inside.clone())?;
        Some((role, name, start + inside.start..start + inside.end))
    }

    /// The package of the release that builds a binary package: its name and version, and where
    /// it is written.
    pub fn builds(&self, binary: &str) -> Option<(&str, &str, Span)> {
        let graph = self.known.graph.as_ref()?;
        graph.packages().find_map(|(node, package)| {
            let named = package.binaries.iter().any(|name| name.as_str() == binary);
            let Origin::Package(origin) = &node.origin else { return None };
            let name = package.name.as_str();
            let span = self.package(name).map_or(&origin.span, place);
            named.then(|| (name, package.version.as_str(), span.clone()))
        })
    }

    /// The package of this name as a spec describes it.
    pub fn package(&self, name: &str) -> Option<&Package> {
        let packages = &self.known.spec.as_ref()?.packages;
        packages.iter().find(|package| package.name.as_str() == name).map(AsRef::as_ref)
    }

    /// The host path of a file of the release.
    pub fn host(&self, path: &ReleasePath) -> Option<PathBuf> {
        Some(position::plain(self.folder?.join(path.as_str()).as_path()))
    }
}

/// Where a package is best looked at: its name.
pub fn place(package: &Package) -> &Span {
    package.fields.get("name").unwrap_or(&package.span)
}

/// The file that `import "PATH"` reads.
pub fn library(path: &str) -> Option<ReleasePath> {
    let name = path.strip_suffix(".rhai").unwrap_or(path);
    let below = name.starts_with("lib/");
    format!("{name}.rhai").parse().ok().filter(|_| below)
}
