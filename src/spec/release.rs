//! release.toml: what a release is made of.
//!
//! A release that extends another one says only what is different: everything it leaves out is
//! the other's. An archive, a root or a parameter of its own takes the place of its namesake.

mod executor;
mod publish;

use std::collections::BTreeMap;

pub use executor::ExecutorKind;
pub use publish::{DEBUG, Rehearse, Suite};

use super::document::{Reader, Table, list, top_file};
use super::model::Located;
use super::text::Text;
use crate::base::{
    Architecture, Diagnostic, PackageName, ReleaseFolder, ReleasePath, Span, nearest,
};

/// The content of release.toml, over that of the release which it extends.
#[derive(Debug, Clone)]
pub struct Release {
    /// The release that it extends.
    pub extends: Option<Located<ReleaseFolder>>,
    /// The files of its overlays, lowest first.
    pub overlays: Vec<Located<ReleasePath>>,
    /// Packages of the layers below that it leaves out.
    pub without: Vec<Located<PackageName>>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Namespace of a customer; empty by default.
    pub customer: String,
    /// `Name <address>`.
    pub maintainer: String,
    /// The architectures; the first one also builds the `all` packages.
    pub architectures: Vec<Architecture>,
    /// `[archive.NAME]`.
    pub archives: BTreeMap<String, Archive>,
    /// `[root.NAME]`.
    pub roots: BTreeMap<String, Root>,
    /// `[closure] require`: how closed it has to be, if it says so.
    pub closure: Option<Located<Level>>,
    /// `[trust]`: whose records count, if it says so.
    pub trust: Option<Trust>,
    /// `[executor] kind`: what it would be built with, if it says so.
    pub executor: Option<Located<ExecutorKind>>,
    /// `[publish.SUITE]`.
    pub suites: BTreeMap<String, Suite>,
    /// `[parameters]`: strings, integers, booleans.
    pub parameters: BTreeMap<String, toml::Value>,
    /// Those of them that the release which it extends does not have; none where it extends none.
    pub new_parameters: Vec<Located<String>>,
}

/// Whose records count, and how many of them have to agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The files of the builders' public keys, at least one.
    pub builders: Vec<Located<ReleasePath>>,
    /// How many of them, at least one and no more than there are.
    pub need: Located<usize>,
}

/// How closed a release is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every input of every build is one of the packages that the release builds, or of its
    /// enumerated seed.
    Sealed,
    /// That, and nothing the release builds is taken from the seed in its place.
    Own,
    /// That, and there is no seed.
    SelfHosted,
}

impl Level {
    /// The level as release.toml writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Own => "own",
            Self::SelfHosted => "self-hosted",
        }
    }

    /// All levels, the least first.
    pub const ALL: [Self; 3] = [Self::Sealed, Self::Own, Self::SelfHosted];
}

/// An upstream archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its table in release.toml.
    pub span: Span,
    /// Its format.
    pub format: Format,
    /// Suites, in order of preference at equal versions.
    pub suites: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// File of the OpenPGP keys of which one must have signed it.
    pub keyring: Located<ReleasePath>,
    /// Places to fetch it from, if the release names any.
    pub mirrors: Vec<String>,
}

impl Archive {
    /// The release that defines it.
    pub fn folder(&self) -> ReleaseFolder {
        self.keyring.value.folder()
    }
}

/// A packaging format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Debian packages.
    Deb,
}

/// A chroot snapshot: the base of build roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The archive it comes from.
    pub archive: Located<String>,
    /// Packages beside the essential ones.
    pub packages: Vec<Located<PackageName>>,
    /// Sets of dependencies, in the distribution's own syntax, each worth a layer of its own
    /// between the base and the rest of every build root that has all of what it leads to.
    pub strata: Vec<Vec<Located<String>>>,
}

/// The file that holds it.
pub const FILE: &str = "release.toml";

/// Reads the text of the release.toml of a release that extends none.
///
/// # Errors
/// Everything that is wrong with it, each with its place: unknown keys, wrong types, names that
/// lead nowhere, keys of features that this version does not have.
pub fn parse(text: &str) -> Result<Release, Vec<Diagnostic>> {
    match read_over(&ReleaseFolder::default(), text, None) {
        (Some(release), errors) if errors.is_empty() => Ok(release),
        (_, errors) => Err(errors),
    }
}

/// What the text of the release.toml in `folder` says over the release that it extends, as far as
/// it can be read, and everything that is wrong with it: with a release, specs
/// can be evaluated, so that what is wrong with them is known as well.
pub(super) fn read_over(
    folder: &ReleaseFolder,
    text: &str,
    base: Option<&Release>,
) -> (Option<Release>, Vec<Diagnostic>) {
    let text = Text::new(folder.path(&top_file(FILE)), text.to_owned());
    let (mut reader, mut root) = match Reader::parse(&text) {
        Ok(parsed) => parsed,
        Err(errors) => return (None, errors),
    };
    let release = read(&mut reader, &mut root, folder, base);
    reader.finish(root, &[]);
    reader.errors.sort_by_key(|error| error.places.first().map(|at| at.span.clone()));
    (release, reader.errors)
}

/// The release that the release.toml in `folder` extends; none also if it cannot be read, which
/// [`read_over`] tells.
pub(super) fn extended(folder: &ReleaseFolder, text: &str) -> Option<Located<ReleaseFolder>> {
    let text = Text::new(folder.path(&top_file(FILE)), text.to_owned());
    let (mut reader, mut root) = Reader::parse(&text).ok()?;
    let mut table = reader.table(&mut root, "release")?;
    extends(&mut reader, &mut table, folder)
}

fn extends<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    folder: &ReleaseFolder,
) -> Option<Located<ReleaseFolder>> {
    let Located { value, span } = reader.string(table, "extends")?;
    match value.parse::<ReleaseFolder>() {
        Ok(other) => Some(Located { value: folder.join(&other), span }),
        Err(error) => {
            let hint = "write the way from this folder to the other: `extends = \"../base\"`";
            let error = Diagnostic::new("bad-path", error.to_string()).at(span, "").hint(hint);
            reader.errors.push(error);
            None
        }
    }
}

fn read<'i>(
    reader: &mut Reader<'i>,
    root: &mut Table<'i>,
    folder: &ReleaseFolder,
    base: Option<&Release>,
) -> Option<Release> {
    let Some(mut table) = reader.table(root, "release") else {
        if !root.has("release") && reader.errors.is_empty() {
            reader.missing(root, "[release]");
        }
        return None;
    };
    let name = reader.required(&mut table, "name");
    let has_base = table.has("extends");
    let extends = extends(reader, &mut table, folder);
    let own = |reader: &mut Reader<'i>, table: &mut Table<'i>, key| match base {
        None if !has_base => reader.required(table, key),
        _ => reader.string(table, key),
    };
    let version = own(reader, &mut table, "version");
    let customer = reader.string(&mut table, "customer");
    for (key, value) in [("name", &name), ("version", &version), ("customer", &customer)] {
        let Some(Located { value, span: Some(span) }) = value else { continue };
        let may_be_empty = key == "customer";
        if !(is_word(value) || may_be_empty && value.is_empty()) {
            let rule = "letters, digits, `.`, `_`, `+`, `~` and `-`, a letter or digit first";
            reader.error("bad-value", format!("`{key}` is made of {rule}"), span.clone());
        }
    }
    let maintainer = own(reader, &mut table, "maintainer");
    if let Some(Located { value, span: Some(span) }) = &maintainer
        && !is_person(value)
    {
        let message = "`maintainer` is a name and an address";
        let example = "write `Release team <release@example.org>`";
        reader.error_with_hint("bad-value", message, span.clone(), example);
    }
    let architectures = match base {
        Some(base) if !table.has("architectures") => base.architectures.clone(),
        None if has_base && !table.has("architectures") => Vec::new(),
        _ => architectures(reader, &mut table),
    };
    let overlays = overlays(reader, &mut table, folder);
    let without = package_names(reader, &mut table, "without");
    reader.finish(table, &[]);

    let own = named(reader, root, "archive", |reader, table| archive(reader, table, folder));
    let mut archives = base.map(|base| base.archives.clone()).unwrap_or_default();
    let known: Vec<&str> =
        own.iter().map(|(name, _)| name).chain(archives.keys()).map(String::as_str).collect();
    let own_roots = named(reader, root, "root", |reader, table| chroot(reader, table, &known));
    archives.extend(own.into_iter().filter_map(|(name, it)| Some((name, it?))));
    let mut roots = base.map(|base| base.roots.clone()).unwrap_or_default();
    roots.extend(own_roots.into_iter().filter_map(|(name, it)| Some((name, it?))));
    let closure = closure(reader, root).or_else(|| base.and_then(|base| base.closure.clone()));
    let mut suites = base.map(|base| base.suites.clone()).unwrap_or_default();
    let own = named(reader, root, "publish", |reader, table| publish::suite(reader, table, folder));
    suites.extend(own.into_iter().filter_map(|(name, suite)| Some((name, suite?))));
    for (name, suite) in &suites {
        publish::check_seen(reader, name, suite, &suites);
    }
    let trust = trust(reader, root, folder).or_else(|| base.and_then(|base| base.trust.clone()));
    let mut all_parameters = base.map(|base| base.parameters.clone()).unwrap_or_default();
    let own_parameters = parameters(reader, root);
    let executor =
        executor::executor(reader, root).or_else(|| base.and_then(|base| base.executor.clone()));
    let is_new = |name: &String| base.is_some_and(|base| !base.parameters.contains_key(name));
    let new_parameters =
        own_parameters.iter().map(|(name, _)| name).filter(|name| is_new(&name.value));
    let new_parameters = new_parameters.cloned().collect();
    all_parameters.extend(own_parameters.into_iter().map(|(name, value)| (name.value, value)));
    let text = |own: Option<Located<String>>, inherited: fn(&Release) -> &String| {
        own.map(|at| at.value).or_else(|| base.map(inherited).cloned())
    };
    if has_base && extends.is_none() {
        return None;
    }
    Some(Release {
        extends,
        overlays,
        without,
        name: name?.value,
        version: text(version, |base| &base.version)?,
        customer: text(customer, |base| &base.customer).unwrap_or_default(),
        maintainer: text(maintainer, |base| &base.maintainer)?,
        architectures,
        archives,
        roots,
        closure,
        trust,
        executor,
        suites,
        parameters: all_parameters,
        new_parameters,
    })
}

/// The tables below `[kind]`, by name. One that is wrong keeps its name, so that others may lead
/// to it without a second error.
fn named<'i, T>(
    reader: &mut Reader<'i>,
    root: &mut Table<'i>,
    kind: &'static str,
    mut read: impl FnMut(&mut Reader<'i>, &mut Table<'i>) -> Option<T>,
) -> Vec<(String, Option<T>)> {
    let Some(tables) = reader.table(root, kind) else { return Vec::new() };
    let mut found = Vec::new();
    for (Located { value: name, span }, value) in reader.entries(tables) {
        if !is_label(&name) {
            let what = match kind {
                "archive" => "an archive",
                "root" => "a root",
                _ => "a suite",
            };
            let message =
                format!("`{name}` cannot name {what}: lower-case letters, digits, `.` and `-` can");
            reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
            continue;
        }
        let Some(mut table) = reader.table_of(value, &format!("`[{kind}.{name}]`")) else {
            continue;
        };
        let item = read(reader, &mut table);
        let later: &[&str] = if kind == "root" { &["seed"] } else { &[] };
        reader.finish(table, later);
        found.push((name, item));
    }
    found
}

fn architectures<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>) -> Vec<Architecture> {
    let there = table.has("architectures");
    let mut found = Vec::new();
    for Located { value, span } in reader.strings(table, "architectures") {
        let problem = match value.parse::<Architecture>() {
            Err(error) => error.to_string(),
            Ok(architecture) if architecture == Architecture::all() => {
                "`all` is no architecture of a machine: the first of `architectures` builds the \
                 `all` packages"
                    .to_owned()
            }
            Ok(architecture) if found.contains(&architecture) => {
                format!("`{architecture}` is there twice")
            }
            Ok(architecture) => {
                found.push(architecture);
                continue;
            }
        };
        reader.errors.push(Diagnostic::new("bad-value", problem).at(span, ""));
    }
    if !there {
        reader.missing(table, "architectures");
    } else if found.is_empty() && reader.errors.is_empty() {
        reader.error("bad-value", "`architectures` is empty", table.span.clone());
    }
    found
}

fn overlays<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    folder: &ReleaseFolder,
) -> Vec<Located<ReleasePath>> {
    let mut found: Vec<Located<ReleasePath>> = Vec::new();
    for Located { value, span } in reader.strings(table, "overlays") {
        let problem = match value.parse::<ReleasePath>() {
            Err(error) => error.to_string(),
            Ok(path) if !path.as_str().ends_with(".rhai") => {
                format!("`{path}` is no overlay: that is a spec, a file `*.rhai`")
            }
            Ok(path) if path.as_str().starts_with("packages/") || !path.as_str().contains('/') => {
                format!("`{path}` counts as a spec already: put overlays into `overlays/`")
            }
            Ok(path) if found.iter().any(|known| known.value == folder.path(&path)) => {
                format!("`{path}` is there twice")
            }
            Ok(path) => {
                found.push(Located { value: folder.path(&path), span });
                continue;
            }
        };
        reader.errors.push(Diagnostic::new("bad-value", problem).at(span, ""));
    }
    found
}

fn archive<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    folder: &ReleaseFolder,
) -> Option<Archive> {
    let format = reader.required(table, "format").and_then(|format| match format.value.as_str() {
        "deb" => Some(Format::Deb),
        "rpm" => {
            let message = "archives of format `rpm` are not supported by this version";
            reader.errors.push(Diagnostic::new("unsupported", message).at(format.span, ""));
            None
        }
        other => {
            let message = format!("unknown format `{other}`: `deb` is known");
            reader.errors.push(Diagnostic::new("bad-value", message).at(format.span, ""));
            None
        }
    });
    let mut words = |reader: &mut Reader<'i>, key: &'static str, may_nest: bool| {
        if !table.has(key) {
            reader.missing(table, key);
        }
        let items = reader.strings(table, key);
        if items.is_empty() && reader.errors.is_empty() {
            reader.error("bad-value", format!("`{key}` is empty"), table.span.clone());
        }
        let mut found: Vec<String> = Vec::new();
        for Located { value, span } in items {
            let good = if may_nest { value.split('/').all(is_word) } else { is_word(&value) };
            let problem = if !good {
                format!("`{value}` cannot be one of `{key}`")
            } else if found.contains(&value) {
                format!("`{value}` is there twice")
            } else {
                found.push(value);
                continue;
            };
            reader.errors.push(Diagnostic::new("bad-value", problem).at(span, ""));
        }
        found
    };
    let suites = words(reader, "suites", false);
    let components = words(reader, "components", true);
    let keyring = reader
        .required(table, "keyring")
        .and_then(|keyring| path(reader, keyring))
        .map(|at| Located { value: folder.path(&at.value), span: at.span });
    let mut mirrors = Vec::new();
    for Located { value, span } in reader.strings(table, "mirrors") {
        if ["https://", "http://", "file:///"].iter().any(|scheme| value.starts_with(scheme))
            && !value.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            mirrors.push(value);
        } else {
            let message = "a mirror is a URL that begins with `https://`, `http://` or `file:///`";
            reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
        }
    }
    let span = table.span.clone();
    Some(Archive { span, format: format?, suites, components, keyring: keyring?, mirrors })
}

fn chroot<'i>(reader: &mut Reader<'i>, table: &mut Table<'i>, archives: &[&str]) -> Option<Root> {
    let archive = reader.required(table, "archive");
    if let Some(Located { value, span }) = &archive
        && !archives.contains(&value.as_str())
    {
        let message = format!("there is no archive `{value}`");
        let hint = match nearest(value, archives.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if archives.is_empty() => format!("write an `[archive.{value}]`"),
            None => format!("write an `[archive.{value}]`, or name one of {}", list(archives)),
        };
        let error = Diagnostic::new("unknown-name", message).at(span.clone(), "").hint(hint);
        reader.errors.push(error);
    }
    let packages = package_names(reader, table, "packages");
    let strata = reader.lists(table, "strata");
    Some(Root { archive: archive?, packages, strata })
}

fn package_names<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    key: &'static str,
) -> Vec<Located<PackageName>> {
    let mut packages: Vec<Located<PackageName>> = Vec::new();
    for Located { value, span } in reader.strings(table, key) {
        let problem = match value.parse::<PackageName>() {
            Err(error) => error.to_string(),
            Ok(name) if packages.iter().any(|package| package.value == name) => {
                format!("`{name}` is there twice")
            }
            Ok(value) => {
                packages.push(Located { value, span });
                continue;
            }
        };
        reader.errors.push(Diagnostic::new("bad-value", problem).at(span, ""));
    }
    packages
}

fn closure<'i>(reader: &mut Reader<'i>, root: &mut Table<'i>) -> Option<Located<Level>> {
    let mut table = reader.table(root, "closure")?;
    let written = reader.required(&mut table, "require");
    reader.finish(table, &[]);
    let Located { value, span } = written?;
    if let Some(value) = Level::ALL.into_iter().find(|level| level.as_str() == value) {
        return Some(Located { value, span });
    }
    let known = Level::ALL.map(Level::as_str);
    let message = format!("`require` is one of `{}`, not `{value}`", known.join("`, `"));
    let error = Diagnostic::new("bad-value", message).at(span, "");
    reader.errors.push(match nearest(&value, known) {
        Some(near) => error.hint(format!("write `require = \"{near}\"`")),
        None => error,
    });
    None
}

fn trust<'i>(
    reader: &mut Reader<'i>,
    root: &mut Table<'i>,
    folder: &ReleaseFolder,
) -> Option<Trust> {
    let mut table = reader.table(root, "trust")?;
    if !table.has("builders") {
        reader.missing(&table, "builders");
    }
    let written = reader.strings(&mut table, "builders");
    let mut builders: Vec<Located<ReleasePath>> = Vec::new();
    for at in &written {
        let Some(Located { value, span }) = path(reader, at.clone()) else { continue };
        let value = folder.path(&value);
        if builders.iter().any(|known| known.value == value) {
            let error = Diagnostic::new("bad-value", format!("`{}` is there twice", at.value));
            reader.errors.push(error.at(span, ""));
        } else {
            builders.push(Located { value, span });
        }
    }
    let need = reader.located_size(&mut table, "need");
    let span = table.span.clone();
    reader.finish(table, &[]);
    if written.is_empty() && reader.errors.is_empty() {
        reader.error("bad-value", "`builders` is empty", span);
    }
    let Located { value, span } = need?;
    let need = usize::try_from(value).unwrap_or(usize::MAX);
    if need == 0 || need > written.len() && !written.is_empty() {
        let message = match need {
            0 => "`need` is at least 1".to_owned(),
            _ => format!("{need} builders cannot agree: `builders` has {}", written.len()),
        };
        reader.errors.push(Diagnostic::new("bad-value", message).at(span.clone(), ""));
    }
    Some(Trust { builders, need: Located { value: need, span } })
}

fn parameters<'i>(
    reader: &mut Reader<'i>,
    root: &mut Table<'i>,
) -> Vec<(Located<String>, toml::Value)> {
    let Some(table) = reader.table(root, "parameters") else { return Vec::new() };
    let mut found = Vec::new();
    for (Located { value: key, span }, value) in reader.entries(table) {
        let problem = if matches!(key.as_str(), "name" | "version") {
            format!("`release.{key}` is the release's own {key}: call the parameter otherwise")
        } else if !is_identifier(&key) {
            format!(
                "`{key}` cannot be read as `release.{key}`: letters, digits and `_` can, no \
                 digit first"
            )
        } else {
            if let Some(value) = reader.scalar(&format!("parameter `{key}`"), &value) {
                found.push((Located { value: key, span }, value));
            }
            continue;
        };
        reader.errors.push(Diagnostic::new("bad-value", problem).at(span, ""));
    }
    found
}

fn path(reader: &mut Reader<'_>, at: Located<String>) -> Option<Located<ReleasePath>> {
    match at.value.parse() {
        Ok(value) => Some(Located { value, span: at.span }),
        Err(error) => {
            let error = Diagnostic::new("bad-path", error.to_string()).at(at.span, "");
            reader.errors.push(error);
            None
        }
    }
}

/// A word that may be part of a file name.
fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c))
}

/// The name of an archive or a root.
pub(super) fn is_label(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `Name <address>` (Debian Policy 5.6.2).
pub(super) fn is_person(text: &str) -> bool {
    let Some((name, address)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) else {
        return false;
    };
    !name.trim().is_empty()
        && !text.chars().any(char::is_control)
        && address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && !address.contains([' ', '<', '>', ','])
}

#[cfg(test)]
mod tests;
