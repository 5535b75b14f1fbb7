//! The fields of a package's derivation, and where each value came from.

use std::collections::BTreeMap;

use super::declared::{CONFLICTS, DEPENDS, control_field};
use super::diff::Change;
use super::{Derivation, Graph, Node, Origin, PackageOrigin, derivation};
use crate::base::{DerivationId, Json, Span};
use crate::spec::Spec;
use crate::spec::lock::Lock;
use crate::spec::model::{self, Packaging, Source};

/// A field of a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, as the derivation's document has it.
    pub name: String,
    /// Its value, as the document has it.
    pub value: Json,
    /// Its parts: the items of a list, the members of a map, or the one value; none if it is
    /// empty.
    pub parts: Vec<Part>,
}

/// A part of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The key of a map's member: the path of a file, the name of a variable.
    pub key: Option<String>,
    /// What it is, for people: ids are told by what they name.
    pub value: String,
    /// Where it came from, what weighs most first; never empty.
    pub from: Vec<Whence>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whence {
    /// The kind of place.
    pub kind: Kind,
    /// What it is called, where the place alone does not say it; may be empty.
    pub what: String,
    /// The place, where it is a line of the release's files.
    pub span: Option<Span>,
}

/// Kinds of places that values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A line of a spec.
    Spec,
    /// A builder of the stdlib.
    Stdlib,
    /// The source's own packaging.
    Packaging,
    /// The lock.
    Lock,
    /// release.toml.
    Release,
    /// Nothing was said: what holds then.
    Default,
}

impl Kind {
    /// The kind as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Stdlib => "stdlib",
            Self::Packaging => "packaging",
            Self::Lock => "lock",
            Self::Release => "release",
            Self::Default => "default",
        }
    }
}

/// The order in which people read fields; others follow.
const ORDER: [&str; 16] = [
    "name",
    "version",
    "architecture",
    "source",
    "root",
    "dependencies",
    "build_depends",
    "build_conflicts",
    "from_seed",
    "binaries",
    "profiles",
    "environment",
    "changelog",
    "files",
    "script",
    "outputs",
];

/// All fields of the package `node`, in the order in which people read them. `spec` and `lock`
/// are those that the graph was made from.
pub fn fields(graph: &Graph, node: &Node, spec: &Spec, lock: &Lock) -> Vec<Field> {
    let (Derivation::Package(recipe), Origin::Package(origin)) = (&node.derivation, &node.origin)
    else {
        return Vec::new();
    };
    let Some(package) = spec.packages.iter().find(|package| package.name == recipe.name) else {
        return Vec::new();
    };
    let package = package.for_architecture(&recipe.architecture);
    let Json::Object(document) = node.derivation.to_json() else { return Vec::new() };
    let teller = Teller { graph, recipe, origin, package, lock };
    let mut fields: Vec<Field> = document
        .into_iter()
        .filter(|(name, _)| !matches!(name.as_str(), "format" | "kind"))
        .map(|(name, value)| Field { parts: teller.parts(&name, &value), name, value })
        .collect();
    let place = |field: &Field| ORDER.iter().position(|name| *name == field.name);
    fields.sort_by_key(|field| place(field).unwrap_or(ORDER.len()));
    fields
}

/// Where the input `field` of a package, and of it `item`, was written; nothing if it was not
/// written in the release's files.
pub fn written(package: &model::Package, field: &str, item: &str) -> Option<Span> {
    let of = |names: &[&str]| names.iter().find_map(|name| package.fields.get(*name)).cloned();
    match field {
        "version" => of(&["suffix", "version", "revision"]),
        "source" => package.source.span.clone(),
        "root" => of(&["root"]),
        "changelog" => of(&["changes", "suffix"]),
        "script" | "outputs" => of(&["build"]),
        "files" => of(&["build"]),
        "environment" if item == "DEB_BUILD_OPTIONS" => of(&["without_tests", "env"]),
        "environment" => of(&["env"]),
        "profiles" => of(&["without_tests"]),
        "dependencies" => of(&["build_depends"]),
        "build_depends" => package
            .build_depends
            .iter()
            .find(|wanted| wanted.value.contains(item) && !item.is_empty())
            .and_then(|wanted| wanted.span.clone())
            .or_else(|| of(&["build_depends"])),
        field => of(&[field]),
    }
}

/// Where a changed input of the package of this name was written, likewise.
pub fn changed(spec: &Spec, package: &str, change: &Change) -> Option<Span> {
    let package = spec.packages.iter().find(|known| known.name.as_str() == package)?;
    let item = match change.field.as_str() {
        "build_depends" => change.new.as_deref().unwrap_or_default(),
        _ => &change.item,
    };
    written(package, &change.field, item)
}

/// Knows everything about one package.
struct Teller<'a> {
    graph: &'a Graph,
    recipe: &'a derivation::Package,
    origin: &'a PackageOrigin,
    package: &'a model::Package,
    lock: &'a Lock,
}

impl Teller<'_> {
    fn parts(&self, field: &str, value: &Json) -> Vec<Part> {
        match field {
            "dependencies" => self.dependencies(),
            "build_depends" => self.build_depends(),
            "source" => vec![one(self.source(), self.sources())],
            "root" => vec![one(self.root(), self.roots())],
            _ => match value {
                Json::Array(items) => items
                    .iter()
                    .map(|item| one(shown(item), self.whence(field, &shown(item))))
                    .collect(),
                Json::Object(members) => members
                    .iter()
                    .map(|(key, value)| Part {
                        key: Some(key.clone()),
                        ..one(shown(value), self.whence(field, key))
                    })
                    .collect(),
                Json::String(text) if text.is_empty() => Vec::new(),
                value => vec![one(shown(value), self.whence(field, ""))],
            },
        }
    }

    /// Where a part of a field that has no rule of its own came from.
    fn whence(&self, field: &str, item: &str) -> Vec<Whence> {
        let package = self.package;
        let given = |name: &str| package.fields.contains_key(name);
        let spec = |name: &str| self.spec(name);
        match field {
            "name" => vec![spec("name").unwrap_or_else(|| self.call())],
            "architecture" => vec![
                spec("architectures")
                    .unwrap_or_else(|| Whence::new(Kind::Release, "`architectures`")),
            ],
            "version" => {
                let mut from: Vec<Whence> = match package.build.packaging {
                    Packaging::Own | Packaging::Other(_) => {
                        vec![self.packaging("debian/changelog", None)]
                    }
                    Packaging::Generated => {
                        ["version", "revision"].into_iter().filter_map(spec).collect()
                    }
                };
                from.extend(spec("suffix"));
                from
            }
            "binaries" if package.build.packaging != Packaging::Generated => {
                vec![self.packaging("debian/control", None)]
            }
            "binaries" if !given("binaries") => {
                vec![Whence::new(Kind::Default, "one of the package's name")]
            }
            "build_conflicts" => {
                let at = CONFLICTS.iter().find_map(|name| control_field(package, name));
                vec![self.packaging("debian/control", at)]
            }
            "files" if package.build.files.contains_key(item) => self.builder(),
            "files" => vec![Whence::new(Kind::Default, "generated from the package's fields")],
            "script" | "outputs" => self.builder(),
            "environment" if item == "DEB_BUILD_OPTIONS" => {
                ["env", "without_tests"].into_iter().filter_map(spec).collect()
            }
            "from_seed" => {
                let at = package.from_seed.iter().find(|name| name.value.as_str() == item);
                let span = at.and_then(|name| name.span.clone());
                span.map(|span| Whence::spec(span, ""))
                    .or_else(|| spec(field))
                    .into_iter()
                    .collect()
            }
            _ => written(package, field, item)
                .map(|span| Whence::spec(span, ""))
                .into_iter()
                .collect(),
        }
    }

    /// A field of the spec.
    fn spec(&self, field: &str) -> Option<Whence> {
        let span = self.package.fields.get(field)?;
        Some(Whence::spec(span.clone(), &format!("`{field}`")))
    }

    /// The call that made the package.
    fn call(&self) -> Whence {
        Whence::spec(self.package.span.clone(), "")
    }

    fn builder(&self) -> Vec<Whence> {
        let module = &self.package.build.name;
        let kept = if self.lock.stdlib.contains_key(module) {
            format!("`{module}` of release.lock.d/stdlib")
        } else {
            format!("`{module}`")
        };
        let given =
            self.package.fields.get("build").map(|span| Whence::spec(span.clone(), "`build`"));
        [Whence::new(Kind::Stdlib, &kept)].into_iter().chain(given).collect()
    }

    /// A file of the source's own packaging.
    fn packaging(&self, file: &str, span: Option<Span>) -> Whence {
        match &self.package.source.value {
            Source::Dir { path, .. } => {
                let span = span.or_else(|| {
                    let file = format!("{path}/{file}").parse().ok()?;
                    Some(Span { file, line: 1, column: 1, length: 0 })
                });
                Whence { kind: Kind::Packaging, what: String::new(), span }
            }
            _ => Whence::new(Kind::Lock, &format!("{file} of the source, as it was pinned")),
        }
    }

    fn build_depends(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for wanted in &self.origin.wanted {
            let from = match &wanted.span {
                Some(span) if is_spec(span) => Whence::spec(span.clone(), ""),
                Some(span) => {
                    Whence { kind: Kind::Packaging, what: String::new(), span: Some(span.clone()) }
                }
                None if self.package.build.needs.contains(&wanted.text) => {
                    Whence::new(Kind::Stdlib, &format!("`{}`", self.package.build.name))
                }
                None => {
                    let at = DEPENDS.iter().find_map(|name| control_field(self.package, name));
                    self.packaging("Build-Depends", at)
                }
            };
            parts.extend(
                wanted.depends.0.iter().map(|depends| one(depends.to_string(), vec![from.clone()])),
            );
        }
        parts
    }

    /// The packages of the release that it needs, each with the build dependencies that lead there.
    fn dependencies(&self) -> Vec<Part> {
        self.recipe
            .dependencies
            .iter()
            .filter_map(|id| {
                let needed = self.graph.node(*id)?;
                let package = needed.derivation.package()?;
                let mut from: Vec<Whence> = leads(self.origin, package)
                    .into_iter()
                    .map(|(text, span)| {
                        let kind = match &span {
                            Some(span) if is_spec(span) => Kind::Spec,
                            Some(_) => Kind::Packaging,
                            None => Kind::Lock,
                        };
                        Whence { kind, what: format!("`{text}`"), span }
                    })
                    .collect();
                if from.is_empty() {
                    from.push(Whence::new(Kind::Lock, "a build dependency on what it provides"));
                }
                Some(one(format!("{} {}", package.name, short(*id)), from))
            })
            .collect()
    }

    fn source(&self) -> String {
        let id = short(self.recipe.source);
        match self.graph.node(self.recipe.source).map(|node| &node.origin) {
            Some(Origin::Dir { path, tree }) => {
                let count = tree.entries().len();
                format!("{path} ({count} file{}) {id}", if count == 1 { "" } else { "s" })
            }
            Some(Origin::Archive { directory, .. }) => format!("{directory} {id}"),
            Some(Origin::File { path }) => format!("{path} {id}"),
            Some(Origin::Git { commit, .. }) => {
                format!("commit {} {id}", &commit[..commit.len().min(12)])
            }
            Some(Origin::Download { urls }) => {
                format!("{} {id}", urls.first().map(String::as_str).unwrap_or_default())
            }
            _ => id,
        }
    }

    fn sources(&self) -> Vec<Whence> {
        let span = self.package.source.span.clone().unwrap_or_else(|| self.package.span.clone());
        let spec = Whence::spec(span, "`source`");
        match &self.package.source.value {
            Source::Dir { .. } | Source::File { .. } => vec![spec],
            Source::Archive { name } => {
                vec![spec, Whence::new(Kind::Lock, &format!("source `{name}`"))]
            }
            remote => {
                let pin = remote.remote().map(|remote| remote.to_string()).unwrap_or_default();
                vec![spec, Whence::new(Kind::Lock, &pin)]
            }
        }
    }

    fn root(&self) -> String {
        let id = short(self.recipe.root);
        match self.graph.node(self.recipe.root).map(|node| &node.origin) {
            Some(Origin::Root { name, .. }) => format!("{name} {id}"),
            _ => id,
        }
    }

    fn roots(&self) -> Vec<Whence> {
        let mut from = vec![
            self.spec("root")
                .unwrap_or_else(|| Whence::new(Kind::Default, "the release's only root")),
        ];
        if let Some(Origin::Root { archive, .. }) =
            self.graph.node(self.recipe.root).map(|node| &node.origin)
        {
            let dates = self.lock.archives.get(archive).map(|locked| {
                let dates = locked.suites.iter().map(|at| format!("`{}` of {}", at.suite, at.date));
                dates.collect::<Vec<_>>().join(", ")
            });
            from.push(Whence::new(Kind::Lock, &dates.unwrap_or_default()));
        }
        from
    }
}

/// The build dependencies of a package that lead to `needed`, and where each was written.
pub fn leads(origin: &PackageOrigin, needed: &derivation::Package) -> Vec<(String, Option<Span>)> {
    let mut found: BTreeMap<String, Option<Span>> = BTreeMap::new();
    for wanted in &origin.wanted {
        for alternatives in &wanted.depends.0 {
            let leads = alternatives.0.iter().any(|one| needed.binaries.contains(&one.name));
            if leads {
                found.entry(alternatives.to_string()).or_insert_with(|| wanted.span.clone());
            }
        }
    }
    found.into_iter().collect()
}

impl Whence {
    fn new(kind: Kind, what: &str) -> Self {
        Self { kind, what: what.to_owned(), span: None }
    }

    fn spec(span: Span, what: &str) -> Self {
        Self { kind: Kind::Spec, what: what.to_owned(), span: Some(span) }
    }
}

fn is_spec(span: &Span) -> bool {
    span.file.as_str().ends_with(".rhai")
}

fn one(value: String, from: Vec<Whence>) -> Part {
    let from = if from.is_empty() { vec![Whence::new(Kind::Default, "")] } else { from };
    Part { key: None, value, from }
}

fn short(id: DerivationId) -> String {
    id.short()
}

fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => String::from_utf8_lossy(&other.encode()).into_owned(),
    }
}
