//! A package while its spec still works on it.

use std::collections::BTreeMap;

use super::Host;
use super::field::{Field, Value};
use crate::base::{Architecture, Diagnostic, PackageName, Place, Span, nearest};
use crate::spec::document::list;
use crate::spec::model::{Builder, Located, Package, Packaging, Source, Unfilled, through_layers};
use crate::spec::release::Release;

/// The fields given so far.
#[derive(Debug, Clone)]
pub(in crate::spec) struct Draft {
    /// The call that made it.
    pub span: Span,
    /// The calls that made it in the layers below, nearest first.
    pub below: Vec<Span>,
    /// Whether something wrong with it has been noted, so that nothing more is said.
    pub broken: bool,
    fields: BTreeMap<&'static str, Field>,
    /// Fields in place of these, on one architecture.
    on: BTreeMap<Architecture, BTreeMap<&'static str, Field>>,
}

impl Draft {
    /// A package of which nothing is known.
    pub fn new(span: Span) -> Self {
        let (fields, on) = (BTreeMap::new(), BTreeMap::new());
        Self { span, below: Vec::new(), broken: false, fields, on }
    }

    /// Gives a field.
    pub fn set(&mut self, name: &'static str, value: Value, span: Span) {
        self.fields.insert(name, Field { span, value });
    }

    /// Gives the fields of `other` in place of what they are on one architecture.
    pub fn set_on(&mut self, architecture: Architecture, other: Self) {
        self.on.entry(architecture).or_default().extend(other.fields);
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<PackageName> {
        match &self.fields.get("name")?.value {
            Value::Text(name) => name.parse().ok(),
            _ => None,
        }
    }

    /// An error about it, with the places of the layers that it went through.
    pub fn told(&self, error: Diagnostic) -> Diagnostic {
        through_layers(error, &self.span, &self.below)
    }

    /// Gives a field in place of what it was.
    pub fn replace(&mut self, name: &'static str, field: Field, _: &mut Vec<Diagnostic>) {
        self.fields.insert(name, field);
    }

    /// Adds to a list or a map.
    pub fn append(&mut self, name: &'static str, field: Field, errors: &mut Vec<Diagnostic>) {
        use std::collections::btree_map::Entry;
        let span = field.span.clone();
        let can_grow = matches!(
            field.value,
            Value::Texts(_)
                | Value::Table(_)
                | Value::Binaries(_)
                | Value::Sources(_)
                | Value::Patches(_)
        );
        let old = match self.fields.entry(name) {
            Entry::Vacant(entry) if can_grow => {
                entry.insert(field);
                return;
            }
            Entry::Vacant(_) => None,
            Entry::Occupied(entry) => Some(&mut entry.into_mut().value),
        };
        match (old, field.value) {
            (Some(Value::Texts(old)), Value::Texts(new)) => old.extend(new),
            (Some(Value::Table(old)), Value::Table(new)) => old.extend(new),
            (Some(Value::Sources(old)), Value::Sources(new)) => old.extend(new),
            (Some(Value::Binaries(old)), Value::Binaries(new)) => old.extend(new),
            (Some(Value::Patches(old)), Value::Patches(new)) => old.extend(new),
            _ => {
                let message = format!("`{name}` is neither a list nor a map: nothing can be added");
                let hint = "`.with(#{ … })` replaces it";
                errors.push(Diagnostic::new("wrong-type", message).at(span, "").hint(hint));
                self.broken = true;
            }
        }
    }

    /// The values given so far.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|(name, field)| (*name, &field.value))
    }

    /// How much it counts against the limit of a file.
    pub fn weight(&self) -> usize {
        let weight = |field: &Field| match &field.value {
            Value::Text(text) => text.len() / 1024,
            Value::Texts(texts) => texts.len(),
            Value::Table(table) => {
                table.len() + table.values().map(String::len).sum::<usize>() / 1024
            }
            Value::Binaries(binaries) => {
                let lists = |it: &crate::spec::model::Binary| {
                    let relations = it.relations.values().map(Vec::len).sum::<usize>();
                    4 + relations + it.files.len() + it.optional.len()
                };
                binaries.iter().map(lists).sum()
            }
            Value::Patches(patches) => patches.len(),
            Value::Changes(changes) => changes.text.len() / 1024,
            Value::Builder(builder) => builder.script.len() / 1024,
            Value::Source(source) => weight_of(source),
            Value::Sources(sources) => {
                sources.values().map(|source| 1 + weight_of(&source.value)).sum()
            }
            Value::Resources(_) => 0,
        };
        let on = self.on.values().flat_map(BTreeMap::values);
        self.fields.values().chain(on).map(|field| 1 + weight(field)).sum()
    }

    /// The package, if all that it needs is there.
    pub fn finish(mut self, host: &Host, errors: &mut Vec<Diagnostic>) -> Option<Package> {
        if self.broken {
            return None;
        }
        let (span, below) = (self.span.clone(), self.below.clone());
        let mut found = Vec::new();
        let on = std::mem::take(&mut self.on);
        let others: Vec<_> = on
            .into_iter()
            .map(|(architecture, fields)| {
                let mut other = self.clone();
                other.fields.extend(fields);
                (architecture, other)
            })
            .collect();
        let mut package = self.whole(host, &mut found);
        if let Some(package) = &mut package {
            for (architecture, other) in others {
                let other = other.whole(host, &mut found);
                package.on.extend(other.map(|other| (architecture, other)));
            }
        }
        let package = package.filter(|_| found.is_empty());
        errors.extend(found.into_iter().map(|mut error| {
            // Below this layer nothing was wrong, so the mistake is not where that place says.
            let here = |place: &Place| place.span.file == span.file;
            if !below.is_empty() && !error.places.first().is_some_and(here) {
                let label = "changed by this layer".to_owned();
                error.places.insert(0, Place { span: span.clone(), label });
            }
            through_layers(error, &span, &below)
        }));
        package
    }

    fn whole(mut self, host: &Host, errors: &mut Vec<Diagnostic>) -> Option<Package> {
        let before = errors.len();
        for (field, hint) in [
            ("name", "name: \"…\""),
            ("source", "source: dir(\"…\")"),
            ("build", "build: debian()"),
        ] {
            if !self.fields.contains_key(field) {
                let error = Diagnostic::new("missing-key", format!("a package needs `{field}`"));
                errors.push(error.at(self.span.clone(), "").hint(format!("write `{hint}`")));
            }
        }
        let spans: BTreeMap<String, Span> = self
            .fields
            .iter()
            .map(|(name, field)| ((*name).to_owned(), field.span.clone()))
            .collect();
        let name = self.text("name").and_then(|name| name.parse().ok());
        let source = self.fields.remove("source").and_then(|field| match field.value {
            Value::Source(value) => Some(Located { value, span: Some(field.span) }),
            _ => None,
        });
        let build = self.take("build", |value| match value {
            Value::Builder(builder) => Some(builder),
            _ => None,
        });
        let root = self.fields.get("root").map(|field| field.span.clone());
        let root = self.text("root").map(|value| Located { value, span: root });
        let extra = self.take("extra", |value| match value {
            Value::Sources(sources) => Some(sources),
            _ => None,
        });
        let (name, version) = (name?, self.text("version"));
        let mut settle = |source| settled(source, &name, version.as_deref(), host, errors);
        let source = settle(source?);
        let extra: Option<BTreeMap<String, Located<Source>>> = extra
            .unwrap_or_default()
            .into_iter()
            .map(|(path, source)| Some((path, settle(source)?)))
            .collect();
        let mut build = build;
        if let Some(Builder { packaging: Packaging::Other(other), .. }) = &mut build {
            let span = spans.get("build").cloned();
            **other = settle(Located { value: Source::clone(other), span })?.value;
        }
        let package = Package {
            name,
            span: self.span.clone(),
            below: std::mem::take(&mut self.below),
            version,
            revision: self.text("revision"),
            suffix: self.text("suffix"),
            changes: self.take("changes", |value| match value {
                Value::Changes(changes) => Some(changes),
                _ => None,
            }),
            summary: self.text("summary"),
            description: self.text("description"),
            homepage: self.text("homepage"),
            license: self.text("license"),
            section: self.text("section"),
            maintainer: self.text("maintainer"),
            source: source?,
            extra: extra?,
            patches: self
                .take("patches", |value| match value {
                    Value::Patches(patches) => Some(patches),
                    _ => None,
                })
                .unwrap_or_default(),
            date: self.text("date"),
            root,
            architectures: self.architectures(host, errors),
            on: BTreeMap::new(),
            build_depends: self.texts("build_depends"),
            build: build?,
            env: self
                .take("env", |value| match value {
                    Value::Table(table) => Some(table),
                    _ => None,
                })
                .unwrap_or_default(),
            binaries: self
                .take("binaries", |value| match value {
                    Value::Binaries(binaries) => Some(binaries),
                    _ => None,
                })
                .unwrap_or_default(),
            from_seed: self.parsed("from_seed"),
            without_tests: self.text("without_tests"),
            resources: self
                .take("resources", |value| match value {
                    Value::Resources(resources) => Some(resources),
                    _ => None,
                })
                .unwrap_or_default(),
            fields: spans,
        };
        check_whole(&package, &host.world.release, errors);
        (errors.len() == before).then_some(package)
    }

    fn architectures(&mut self, host: &Host, errors: &mut Vec<Diagnostic>) -> Vec<Architecture> {
        let mut found = Vec::new();
        for Located { value, span } in self.parsed::<Architecture>("architectures") {
            if let Err(error) = host.world.check_architecture(&value) {
                errors.push(error.at(span, ""));
            }
            found.push(value);
        }
        found
    }

    fn take<T>(&mut self, name: &str, pick: impl FnOnce(Value) -> Option<T>) -> Option<T> {
        pick(self.fields.remove(name)?.value)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    fn texts(&mut self, name: &str) -> Vec<Located<String>> {
        let texts = self.take(name, |value| match value {
            Value::Texts(texts) => Some(texts),
            _ => None,
        });
        texts.unwrap_or_default()
    }

    /// The items of a list whose rule has made sure that they are of this type.
    fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Vec<Located<T>> {
        let parsed = |item: Located<String>| {
            Some(Located { value: item.value.parse().ok()?, span: item.span })
        };
        self.texts(name).into_iter().filter_map(parsed).collect()
    }
}

/// The source as this package uses it: its addresses complete, and pinned where it is.
fn settled(
    source: Located<Source>,
    name: &PackageName,
    version: Option<&str>,
    host: &Host,
    errors: &mut Vec<Diagnostic>,
) -> Option<Located<Source>> {
    let Located { value, span } = source;
    let value = match value.filled(name, version) {
        Ok(value) => value.pinned_by(&host.world.pins),
        Err(Unfilled { message, hint }) => {
            let error = Diagnostic::new("bad-value", message).at(span, "");
            errors.push(hint.into_iter().fold(error, Diagnostic::hint));
            return None;
        }
    };
    if let (Some(remote), Some(span)) = (value.remote(), &span) {
        host.ask(remote, span);
    }
    Some(Located { value, span })
}

fn weight_of(source: &Source) -> usize {
    match source {
        Source::Dir { tree, .. } => tree.entries().len() / 100,
        Source::Archive { .. }
        | Source::Git { .. }
        | Source::Tarball(_)
        | Source::Fetched(_)
        | Source::File { .. } => 0,
    }
}

/// Notes what is wrong with the fields taken together.
fn check_whole(package: &Package, release: &Release, errors: &mut Vec<Diagnostic>) {
    let at = |field: &str| package.fields.get(field).unwrap_or(&package.span).clone();
    let mut error = |code, message: String, field: &str, hint: String| {
        errors.push(Diagnostic::new(code, message).at(at(field), "").hint(hint));
    };
    let Package { name, build: Builder { packaging, name: builder, .. }, .. } = package;
    match (packaging, &package.source.value) {
        (Packaging::Own, Source::Dir { path, packaging: None, .. }) => error(
            "missing-packaging",
            format!(
                "`{path}` has no `debian/control` and `debian/changelog`, which `{builder}()` uses"
            ),
            "source",
            "add them, or build with `autotools()`, `script(#\"…\"#)` or their like".to_owned(),
        ),
        (Packaging::Generated | Packaging::Other(_), Source::Archive { name }) => error(
            "bad-value",
            format!("the archive's `{name}` brings its own packaging, which `{builder}` replaces"),
            "build",
            "build it with `debian()`".to_owned(),
        ),
        _ => {}
    }
    if let Packaging::Other(other) = packaging {
        match &**other {
            Source::Dir { path, packaging: None, .. } => error(
                "missing-packaging",
                format!("`{path}` has no `debian/control` and `debian/changelog`"),
                "build",
                "`debian(source)` takes the `debian/` folder in the source".to_owned(),
            ),
            Source::Archive { name } => error(
                "bad-value",
                format!("the packaging of the archive's `{name}` cannot be laid over a source"),
                "build",
                "copy its `debian/` into a folder of the release".to_owned(),
            ),
            _ => {}
        }
    }
    if *packaging != Packaging::Generated && !package.binaries.is_empty() {
        let message = format!("`binaries` of `{name}` are those of its own `debian/control`");
        error("bad-value", message, "binaries", "leave them out".to_owned());
    }
    if *packaging == Packaging::Generated {
        // What else is lacking is told with these: whoever writes them can write it as well.
        let lacking = match package.source.value {
            // The mistake is the way of building, not what that would need.
            Source::Archive { .. } => Vec::new(),
            _ => package.lacking(),
        };
        if lacking.iter().any(|(field, _)| matches!(*field, "version" | "summary")) {
            let fields = list(&lacking.iter().map(|(field, _)| *field).collect::<Vec<_>>());
            let message = format!("`{name}` needs {fields}: its packaging is generated");
            let wrong = Diagnostic::new("missing-key", message).at(at("name"), "");
            let hint = |wrong: Diagnostic, (_, example): &(_, &str)| {
                wrong.hint(format!("write {example}"))
            };
            errors.push(lacking.iter().fold(wrong, hint));
        }
    }
    let mut error = |code, message: String, field: &str, hint: String| {
        errors.push(Diagnostic::new(code, message).at(at(field), "").hint(hint));
    };
    let roots: Vec<&str> = release.roots.keys().map(String::as_str).collect();
    match &package.root {
        Some(root) if !roots.contains(&root.value.as_str()) => {
            let message = format!("there is no root `{}`", root.value);
            let hint = match nearest(&root.value, roots.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("release.toml has {}", list(&roots)),
            };
            error("unknown-name", message, "root", hint);
        }
        None if roots.is_empty() => {
            let message = format!("`{name}` has no build root: release.toml has no `[root.NAME]`");
            error("missing-key", message, "name", "add one to release.toml".to_owned());
        }
        None if roots.len() > 1 => {
            let message = format!("`{name}` does not say which root it is built in");
            let hint = format!("`root` is one of {}", list(&roots));
            error("missing-key", message, "name", hint);
        }
        _ => {}
    }
    if let [only] = package.binaries.as_slice()
        && !(only.files.is_empty() && only.optional.is_empty())
    {
        let message = format!("`{}` is the only binary package, and takes everything", only.name);
        error("bad-value", message, "binaries", "leave `files` and `optional` out".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    for patch in &package.patches {
        if !seen.insert(patch.value.name.as_str()) {
            let message = format!("two patches are called `{}`", patch.value.name);
            error("bad-value", message, "patches", "rename one of them".to_owned());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for binary in &package.binaries {
        if !seen.insert(&binary.name) {
            let message = format!("the binary package `{}` is there twice", binary.name);
            error("bad-value", message, "binaries", "one of them is too many".to_owned());
        }
    }
}
