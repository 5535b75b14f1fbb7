//! The fields of a package: which there are, and what their values may be.

mod binary;
mod policy;

use std::collections::BTreeMap;

use rhai::{Dynamic, ImmutableString, Map};

use super::{Shape, kind_of};
use crate::base::{Architecture, Diagnostic, PackageName, ReleasePath, Span, nearest};
use crate::spec::document::list;
use crate::spec::model::{
    Binary, Builder, Changes, Located, Packaging, Patch, Portability, Resources, Source,
};
use crate::spec::release::{is_label, is_person};

/// The longest list a field may hold.
const MAX_ITEMS: usize = 5_000;

/// A field that was given.
#[derive(Debug, Clone)]
pub(in crate::spec) struct Field {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// The value of a field, checked.
#[derive(Debug, Clone)]
pub(in crate::spec) enum Value {
    Text(String),
    Texts(Vec<Located<String>>),
    Table(BTreeMap<String, String>),
    Source(Source),
    Sources(BTreeMap<String, Located<Source>>),
    Builder(Builder),
    Binaries(Vec<Binary>),
    Patches(Vec<Located<Patch>>),
    Changes(Changes),
    Resources(Resources),
}

/// What a field's value may be.
#[derive(Clone, Copy)]
enum Kind {
    Text(Rule),
    Texts(Rule),
    Environment,
    Source,
    Sources,
    Builder,
    Binaries,
    Changes,
    Resources,
}

/// Says what is wrong with a text, if anything.
type Rule = fn(&str) -> Result<(), String>;

const FIELDS: [(&str, Kind); 24] = [
    ("name", Kind::Text(package_name)),
    ("version", Kind::Text(version)),
    ("revision", Kind::Text(version)),
    ("suffix", Kind::Text(version)),
    ("changes", Kind::Changes),
    ("summary", Kind::Text(line)),
    ("description", Kind::Text(plain)),
    ("homepage", Kind::Text(url)),
    ("license", Kind::Text(policy::license)),
    ("section", Kind::Text(policy::section)),
    ("maintainer", Kind::Text(person)),
    ("source", Kind::Source),
    ("extra", Kind::Sources),
    ("patches", Kind::Texts(release_path)),
    ("root", Kind::Text(label)),
    ("architectures", Kind::Texts(architecture)),
    ("build_depends", Kind::Texts(line)),
    ("build", Kind::Builder),
    ("env", Kind::Environment),
    ("binaries", Kind::Binaries),
    ("from_seed", Kind::Texts(package_name)),
    ("without_tests", Kind::Text(line)),
    ("resources", Kind::Resources),
    ("date", Kind::Text(date)),
];

/// The fields that a package may have, and what the value of each is.
pub(in crate::spec) fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    FIELDS.iter().map(|(name, kind)| (*name, kind.described()))
}

const CHANGES: &[&str] = &["date", "text", "author"];
const RESOURCES: &[&str] = &["memory", "time", "silence", "cores", "scratch"];
const RECIPE: &[&str] =
    &["packaging", "needs", "files", "script", "script_any", "outputs", "depends", "architecture"];

/// The keys of the map that a field is or has in its list, and of what `recipe` takes; none for
/// other fields.
pub(in crate::spec) fn parts(field: &str) -> Vec<&'static str> {
    match field {
        "changes" => CHANGES.to_vec(),
        "resources" => RESOURCES.to_vec(),
        "recipe" => RECIPE.to_vec(),
        "binaries" => binary::keys(),
        _ => Vec::new(),
    }
}

impl Kind {
    fn described(self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Texts(_) => "a list of strings",
            Self::Environment => "a map of strings",
            Self::Source => "a source",
            Self::Sources => "a map of sources",
            Self::Builder => "a way of building",
            Self::Binaries => "a list of maps",
            Self::Changes | Self::Resources => "a map",
        }
    }
}

/// Reads the fields of a map, in the order of their names. What is wrong goes to `errors`, and
/// that field is left out.
pub(in crate::spec) fn read_all(
    map: Map,
    shape: &Shape,
    errors: &mut Vec<Diagnostic>,
) -> Vec<(&'static str, Field)> {
    let mut found = Vec::new();
    for (key, value) in map {
        let known = FIELDS.iter().find(|(name, _)| *name == key.as_str());
        let Some(&(name, kind)) = known else {
            let error = unknown_key(&key, shape, "a package", &names());
            errors.push(match binary::RELATIONS.contains(&key.as_str()) {
                true => Diagnostic { hints: vec![of_binaries(&key)], ..error },
                false => error,
            });
            continue;
        };
        let at = shape.value(name);
        if let Some(value) = read(kind, name, value, &at, errors) {
            found.push((name, Field { span: at.span, value }));
        }
    }
    found
}

/// What to do about a relation that is a binary package's.
fn of_binaries(key: &str) -> String {
    format!(
        "what it needs to be built is `build_depends`; its binary packages have relations of their \
         own: `binaries: [#{{ name: \"…\", {key}: [\"…\"] }}]`"
    )
}

fn names() -> Vec<&'static str> {
    FIELDS.iter().map(|(name, _)| *name).collect()
}

fn unknown_key(key: &str, shape: &Shape, owner: &str, known: &[&str]) -> Diagnostic {
    let message = format!("unknown key `{key}` in {owner}");
    let diagnostic = Diagnostic::new("unknown-key", message).at(shape.key(key), "");
    match nearest(key, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("{owner} has {}", list(known))),
    }
}

fn read(
    kind: Kind,
    name: &str,
    value: Dynamic,
    at: &Shape,
    errors: &mut Vec<Diagnostic>,
) -> Option<Value> {
    match kind {
        Kind::Text(rule) => text(name, &value, at, rule, errors).map(Value::Text),
        Kind::Texts(rule) => texts(name, value, at, rule, errors).map(Value::Texts),
        Kind::Environment => table(name, value, at, environment, errors).map(Value::Table),
        Kind::Source => source(name, &value, at, errors).map(Value::Source),
        Kind::Sources => sources(name, value, at, errors).map(Value::Sources),
        Kind::Builder => match value.clone().try_cast::<Builder>() {
            Some(builder) => Some(Value::Builder(builder)),
            None => {
                let named = value.read_lock::<ImmutableString>().filter(|text| {
                    crate::spec::stdlib::MODULES.iter().any(|(name, _)| *name == text.as_str())
                });
                let hint = named.map_or_else(
                    || {
                        "`autotools()`, `debian()` and `script(#\"…\"#)` are ways of building"
                            .to_owned()
                    },
                    |name| format!("write `{}()`", *name),
                );
                errors.push(wrong_type(name, "a way of building", &value, at).hint(hint));
                None
            }
        },
        Kind::Binaries => binary::binaries(name, value, at, errors).map(Value::Binaries),
        Kind::Changes => changes(value, at, errors).map(Value::Changes),
        Kind::Resources => resources(value, at, errors).map(Value::Resources),
    }
}

fn source(name: &str, value: &Dynamic, at: &Shape, errors: &mut Vec<Diagnostic>) -> Option<Source> {
    let source = value.clone().try_cast::<Source>();
    if source.is_none() {
        let hint = match value.read_lock::<ImmutableString>() {
            Some(url) if url.contains("://") => {
                format!("write `tarball(\"{}\")`, `git(\"{0}\", \"…\")` or `file(\"{0}\")`", *url)
            }
            Some(path) => format!("write `dir(\"{}\")` for a folder of the release", *path),
            None => "`dir`, `git`, `tarball`, `file` and `archive` make sources".to_owned(),
        };
        errors.push(wrong_type(name, "a source", value, at).hint(hint));
    }
    source
}

fn sources(
    name: &str,
    value: Dynamic,
    at: &Shape,
    errors: &mut Vec<Diagnostic>,
) -> Option<BTreeMap<String, Located<Source>>> {
    let mut found = BTreeMap::new();
    for (path, value) in map(name, value, at, errors)? {
        let path = path.to_string();
        if let Err(problem) = source_path(&path) {
            let message = format!("`{name}`: {problem}");
            errors.push(Diagnostic::new("bad-value", message).at(at.key(&path), ""));
            continue;
        }
        let at = at.value(&path);
        if let Some(value) = source(&format!("{name}.{path}"), &value, &at, errors) {
            found.insert(path, Located { value, span: Some(at.span) });
        }
    }
    Some(found)
}

fn wrong_type(name: &str, expected: &str, value: &Dynamic, at: &Shape) -> Diagnostic {
    let message = format!("`{name}` must be {expected}, not {}", kind_of(value));
    Diagnostic::new("wrong-type", message).at(at.span.clone(), "")
}

fn text(
    name: &str,
    value: &Dynamic,
    at: &Shape,
    rule: Rule,
    errors: &mut Vec<Diagnostic>,
) -> Option<String> {
    let Some(text) = value.read_lock::<ImmutableString>() else {
        let error = wrong_type(name, "a string", value, at);
        let is_version = matches!(name, "version" | "revision" | "suffix");
        errors.push(match name {
            _ if is_version && (value.is_int() || value.is_float()) => {
                error.hint("write it in double quotes, so that every digit is kept")
            }
            "without_tests" => error.hint("it says why: `without_tests: \"they need a network\"`"),
            _ => error,
        });
        return None;
    };
    match rule(&text) {
        Ok(()) => Some(text.to_string()),
        Err(problem) => {
            let message = format!("`{name}`: {problem}");
            let error = Diagnostic::new("bad-value", message).at(at.span.clone(), "");
            let key = name.rsplit('.').next().and_then(|key| key.split('[').next());
            let key = key.unwrap_or(name);
            errors.push(policy::advice(key, &text).into_iter().fold(error, Diagnostic::hint));
            None
        }
    }
}

fn texts(
    name: &str,
    value: Dynamic,
    at: &Shape,
    rule: Rule,
    errors: &mut Vec<Diagnostic>,
) -> Option<Vec<Located<String>>> {
    let items = items(name, "a list of strings", value, at, errors)?;
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = at.item(index);
        if let Some(value) = text(&format!("{name}[{index}]"), item, &at, rule, errors) {
            found.push(Located { value, span: Some(at.span) });
        }
    }
    Some(found)
}

fn items(
    name: &str,
    expected: &str,
    value: Dynamic,
    at: &Shape,
    errors: &mut Vec<Diagnostic>,
) -> Option<rhai::Array> {
    if !value.is_array() {
        let error = wrong_type(name, expected, &value, at);
        errors.push(match value.is_string() {
            true => error.hint("a list of one is written in brackets: `[\"…\"]`"),
            false => error,
        });
        return None;
    }
    let items = value.try_cast::<rhai::Array>()?;
    if items.len() > MAX_ITEMS {
        errors.push(too_long(name, at.span.clone()));
        return None;
    }
    Some(items)
}

fn too_long(name: &str, span: Span) -> Diagnostic {
    let message = format!("`{name}` has more than {MAX_ITEMS} items");
    Diagnostic::new("limit", message).at(span, "")
}

fn map(name: &str, value: Dynamic, at: &Shape, errors: &mut Vec<Diagnostic>) -> Option<Map> {
    if !value.is_map() {
        errors.push(wrong_type(name, "a map `#{ … }`", &value, at));
        return None;
    }
    value.try_cast::<Map>()
}

fn table(
    name: &str,
    value: Dynamic,
    at: &Shape,
    rule: Rule,
    errors: &mut Vec<Diagnostic>,
) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (key, value) in map(name, value, at, errors)? {
        let key = key.to_string();
        if let Err(problem) = rule(&key) {
            let message = format!("`{name}`: {problem}");
            errors.push(Diagnostic::new("bad-value", message).at(at.key(&key), ""));
        } else if let Some(text) =
            text(&format!("{name}.{key}"), &value, &at.value(&key), plain, errors)
        {
            found.insert(key, text);
        }
    }
    Some(found)
}

/// The values of a map whose keys are all known.
struct Entries<'a> {
    name: &'a str,
    map: Map,
    shape: &'a Shape,
    known: &'a [&'a str],
}

impl<'a> Entries<'a> {
    fn new(
        name: &'a str,
        value: Dynamic,
        shape: &'a Shape,
        known: &'a [&'a str],
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let map = map(name, value, shape, errors)?;
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            errors.push(unknown_key(key, shape, &format!("`{name}`"), known));
        }
        Some(Self { name, map, shape, known })
    }

    fn take(&mut self, key: &str) -> Option<(String, Dynamic, Shape)> {
        debug_assert!(self.known.contains(&key), "only known keys are asked for");
        let value = self.map.remove(key)?;
        Some((format!("{}.{key}", self.name), value, self.shape.value(key)))
    }

    fn text(&mut self, key: &str, rule: Rule, errors: &mut Vec<Diagnostic>) -> Option<String> {
        let (name, value, at) = self.take(key)?;
        text(&name, &value, &at, rule, errors)
    }

    fn texts(&mut self, key: &str, rule: Rule, errors: &mut Vec<Diagnostic>) -> Vec<String> {
        self.located(key, rule, errors).into_iter().map(|item| item.value).collect()
    }

    fn located(
        &mut self,
        key: &str,
        rule: Rule,
        errors: &mut Vec<Diagnostic>,
    ) -> Vec<Located<String>> {
        let Some((name, value, at)) = self.take(key) else { return Vec::new() };
        texts(&name, value, &at, rule, errors).unwrap_or_default()
    }

    /// `any` or `all` of `architecture`.
    fn portability(&mut self, errors: &mut Vec<Diagnostic>) -> Option<Portability> {
        self.text("architecture", any_or_all, errors).map(|text| match text.as_str() {
            "all" => Portability::All,
            _ => Portability::Any,
        })
    }

    /// The text of `key`, whose absence is an error.
    fn required(&mut self, key: &str, rule: Rule, errors: &mut Vec<Diagnostic>) -> Option<String> {
        if !self.map.contains_key(key) {
            let message = format!("`{}` needs `{key}`", self.name);
            let span = self.shape.span.clone();
            errors.push(Diagnostic::new("missing-key", message).at(span, ""));
        }
        self.text(key, rule, errors)
    }
}

fn changes(value: Dynamic, at: &Shape, errors: &mut Vec<Diagnostic>) -> Option<Changes> {
    let mut entries = Entries::new("changes", value, at, CHANGES, errors)?;
    let date = entries.required("date", date, errors);
    let text = entries.required("text", plain, errors);
    let author = entries.text("author", person, errors);
    Some(Changes { date: date?, text: text?, author })
}

fn resources(value: Dynamic, at: &Shape, errors: &mut Vec<Diagnostic>) -> Option<Resources> {
    const BYTES: [(&str, u64); 5] =
        [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    const SECONDS: [(&str, u64); 4] = [("", 1), ("s", 1), ("m", 60), ("h", 3600)];
    let mut entries = Entries::new("resources", value, at, RESOURCES, errors)?;
    let mut amount = |key: &str, units: &[(&str, u64)], example: &str| {
        let (name, value, at) = entries.take(key)?;
        let given = match (value.as_int(), value.read_lock::<ImmutableString>()) {
            (Ok(number), _) => u64::try_from(number).ok(),
            (_, Some(text)) => measured(&text, units),
            _ => None,
        };
        let given = given.filter(|amount| (1..=1 << 53).contains(amount));
        if given.is_none() {
            let message = format!("`{name}` must be an amount such as {example}");
            errors.push(Diagnostic::new("bad-value", message).at(at.span, ""));
        }
        given
    };
    let memory = amount("memory", &BYTES, "`\"2 GiB\"`");
    let time = amount("time", &SECONDS, "`\"2h\"`");
    let silence = amount("silence", &SECONDS, "`\"30m\"`");
    let cores = amount("cores", &[("", 1)], "`4`").and_then(|cores| u32::try_from(cores).ok());
    let scratch = amount("scratch", &BYTES, "`\"20 GiB\"`");
    Some(Resources { memory, time, silence, cores, scratch })
}

/// `2 GiB` as bytes, `1h` as seconds.
fn measured(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Reads what `recipe(#{…})` was given; `module` is whose call it is.
pub(in crate::spec) fn builder(
    module: &str,
    value: Dynamic,
    at: &Shape,
    errors: &mut Vec<Diagnostic>,
) -> Builder {
    let mut builder = Builder {
        name: module.to_owned(),
        packaging: Packaging::Generated,
        needs: Vec::new(),
        depends: Vec::new(),
        architecture: Portability::Any,
        files: BTreeMap::new(),
        script: String::new(),
        script_any: None,
        outputs: Vec::new(),
    };
    let Some(mut entries) = Entries::new("recipe", value, at, RECIPE, errors) else {
        return builder;
    };
    if let Some((name, value, at)) = entries.take("packaging") {
        if let Some(source) = value.clone().try_cast::<Source>() {
            builder.packaging = Packaging::Other(Box::new(source));
        } else if text(&name, &value, &at, packaging, errors).as_deref() == Some("own") {
            builder.packaging = Packaging::Own;
        }
    }
    builder.needs = entries.texts("needs", line, errors);
    builder.depends = entries.texts("depends", line, errors);
    builder.architecture = entries.portability(errors).unwrap_or_default();
    if let Some((name, value, at)) = entries.take("files") {
        builder.files = table(&name, value, &at, source_path, errors).unwrap_or_default();
    }
    match entries.text("script", plain, errors) {
        Some(script) => {
            builder.script = script;
            builder.script_any = entries.text("script_any", plain, errors);
        }
        None => {
            builder.script = "dpkg-buildpackage -us -uc -b\n".to_owned();
            builder.script_any = Some("dpkg-buildpackage -us -uc -B\n".to_owned());
        }
    }
    builder.outputs = entries.texts("outputs", file_pattern, errors);
    if builder.outputs.is_empty() {
        builder.outputs = vec!["*.deb".to_owned(), "*.udeb".to_owned()];
    }
    builder
}

fn package_name(text: &str) -> Result<(), String> {
    text.parse::<PackageName>().map(drop).map_err(|error| error.to_string())
}

fn architecture(text: &str) -> Result<(), String> {
    text.parse::<Architecture>().map(drop).map_err(|error| error.to_string())
}

fn release_path(text: &str) -> Result<(), String> {
    text.parse::<ReleasePath>().map(drop).map_err(|error| error.to_string())
}

fn source_path(text: &str) -> Result<(), String> {
    match text.parse::<ReleasePath>() {
        Ok(path) if path.as_str() == text => Ok(()),
        _ => Err(format!("`{text}` is not a plain path in the source folder")),
    }
}

fn plain(text: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    match text.contains(bad) {
        true => Err("control characters cannot be kept".to_owned()),
        false => Ok(()),
    }
}

fn line(text: &str) -> Result<(), String> {
    match text.trim().is_empty() || text.contains(char::is_control) {
        true => Err("one line of text is expected".to_owned()),
        false => Ok(()),
    }
}

/// The characters of Debian Policy 5.6.12.
fn version(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || ".+~-:".contains(c);
    match !text.is_empty() && text.chars().all(good) {
        true => Ok(()),
        false => Err(format!(
            "`{text}` cannot be (part of) a version: letters, digits, `.`, `+`, `~`, `-` and `:` can"
        )),
    }
}

fn url(text: &str) -> Result<(), String> {
    let scheme = text.starts_with("https://") || text.starts_with("http://");
    match scheme && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        true => Ok(()),
        false => Err(format!("`{text}` does not begin with `https://`")),
    }
}

fn person(text: &str) -> Result<(), String> {
    match is_person(text) {
        true => Ok(()),
        false => Err("a name and an address are expected: `Name <address>`".to_owned()),
    }
}

fn label(text: &str) -> Result<(), String> {
    match is_label(text) {
        true => Ok(()),
        false => Err(format!("`{text}` cannot be the name of a `[root.NAME]`")),
    }
}

fn environment(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match first && text.chars().all(good) {
        true => Ok(()),
        false => Err(format!("`{text}` is no name of a variable")),
    }
}

fn any_or_all(text: &str) -> Result<(), String> {
    match text {
        "any" | "all" => Ok(()),
        _ => Err("`any` or `all` is expected".to_owned()),
    }
}

fn packaging(text: &str) -> Result<(), String> {
    match text {
        "own" | "generated" => Ok(()),
        _ => Err("`own`, `generated` or a source is expected".to_owned()),
    }
}

fn file_pattern(text: &str) -> Result<(), String> {
    match text.is_empty() || text.contains(['/', '\0']) {
        true => Err("a pattern of file names without folders is expected".to_owned()),
        false => Ok(()),
    }
}

fn date(text: &str) -> Result<(), String> {
    let day = text.parse::<jiff::civil::Date>().is_ok_and(|_| text.len() == 10);
    match day || text.parse::<jiff::Timestamp>().is_ok() {
        true => Ok(()),
        false => Err(format!("`{text}` is no date such as `2026-11-22`")),
    }
}
