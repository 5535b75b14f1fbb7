//! A TOML document read key by key, so that every mistake in it has a place and none hides
//! another.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::model::Located;
use super::text::Text;
use crate::base::{Diagnostic, ReleasePath, Span, nearest};

/// A table that has been read in part: what is left at its end is unknown.
pub(super) struct Table<'i> {
    /// How the table is called in messages: `[archive.bookworm]`.
    pub name: String,
    /// Its place.
    pub span: Span,
    entries: DeTable<'i>,
    asked: Vec<&'static str>,
}

/// A text and what is wrong with it.
pub(super) struct Reader<'i> {
    text: &'i Text,
    /// What was found so far.
    pub errors: Vec<Diagnostic>,
}

impl<'i> Reader<'i> {
    /// Parses `text`; its syntax errors are all there is to say if it has any.
    pub fn parse(text: &'i Text) -> Result<(Self, Table<'i>), Vec<Diagnostic>> {
        let (root, errors) = DeTable::parse_recoverable(text.content());
        if !errors.is_empty() {
            let diagnostic = |error: toml::de::Error| {
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                let file = text.file();
                Diagnostic::new("syntax", format!("`{file}` is not TOML: {message}"))
                    .at(error.span().map(|bytes| text.span(bytes)), "")
            };
            return Err(errors.into_iter().take(20).map(diagnostic).collect());
        }
        let table = Table {
            name: format!("`{}`", text.file()),
            span: text.span(0..0),
            entries: root.into_inner(),
            asked: Vec::new(),
        };
        Ok((Self { text, errors: Vec::new() }, table))
    }

    /// Notes an error at `span`.
    pub fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.errors.push(Diagnostic::new(code, message).at(span, ""));
    }

    /// Notes an error at `span` with a hint.
    pub fn error_with_hint(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        hint: impl Into<String>,
    ) {
        self.errors.push(Diagnostic::new(code, message).at(span, "").hint(hint));
    }

    fn wrong_type(&mut self, what: &str, expected: &str, found: &Spanned<DeValue<'i>>) {
        let kind = match found.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let span = self.text.span(found.span());
        self.error("wrong-type", format!("{what} must be {expected}, not {kind}"), span);
    }

    fn located<T>(&self, value: T, bytes: Range<usize>) -> Located<T> {
        Located { value, span: Some(self.text.span(bytes)) }
    }

    /// The string `key`, if it is there.
    pub fn string(&mut self, table: &mut Table<'i>, key: &'static str) -> Option<Located<String>> {
        let value = table.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(self.located(text.clone().into_owned(), value.span())),
            _ => {
                self.wrong_type(&format!("`{key}`"), "a string", &value);
                None
            }
        }
    }

    /// The string `key`; that it is missing is an error.
    pub fn required(
        &mut self,
        table: &mut Table<'i>,
        key: &'static str,
    ) -> Option<Located<String>> {
        if !table.has(key) {
            self.missing(table, key);
        }
        self.string(table, key)
    }

    /// The integer `key`, which must be there and not negative.
    pub fn size(&mut self, table: &mut Table<'i>, key: &'static str) -> Option<u64> {
        self.located_size(table, key).map(|at| at.value)
    }

    /// The same with its place.
    pub fn located_size(
        &mut self,
        table: &mut Table<'i>,
        key: &'static str,
    ) -> Option<Located<u64>> {
        let Some(value) = table.take(key) else {
            self.missing(table, key);
            return None;
        };
        let size = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        if size.is_none() {
            self.wrong_type(&format!("`{key}`"), "an integer that is not negative", &value);
        }
        size.map(|size| self.located(size, value.span()))
    }

    /// The strings of list `key`; none if it is absent.
    pub fn strings(&mut self, table: &mut Table<'i>, key: &'static str) -> Vec<Located<String>> {
        match table.take(key) {
            Some(value) => self.strings_of(value, &format!("`{key}`")),
            None => Vec::new(),
        }
    }

    fn strings_of(&mut self, value: Spanned<DeValue<'i>>, name: &str) -> Vec<Located<String>> {
        let DeValue::Array(_) = value.get_ref() else {
            self.wrong_type(name, "a list of strings", &value);
            return Vec::new();
        };
        let DeValue::Array(items) = value.into_inner() else { return Vec::new() };
        let mut strings = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => {
                    strings.push(self.located(text.clone().into_owned(), item.span()));
                }
                _ => self.wrong_type(&format!("each of {name}"), "a string", &item),
            }
        }
        strings
    }

    /// The lists of strings of list `key`, none of which may be empty; none if it is absent.
    pub fn lists(&mut self, table: &mut Table<'i>, key: &'static str) -> Vec<Vec<Located<String>>> {
        let Some(value) = table.take(key) else { return Vec::new() };
        let DeValue::Array(_) = value.get_ref() else {
            self.wrong_type(&format!("`{key}`"), "a list of lists of strings", &value);
            return Vec::new();
        };
        let DeValue::Array(items) = value.into_inner() else { return Vec::new() };
        let name = format!("each of `{key}`");
        let mut lists = Vec::new();
        for item in items {
            if matches!(item.get_ref(), DeValue::Array(items) if items.is_empty()) {
                self.wrong_type(&name, "a list that is not empty", &item);
            }
            lists.push(self.strings_of(item, &name));
        }
        lists
    }

    /// The tables of list `key`, named `name`; none if it is absent.
    pub fn tables(
        &mut self,
        table: &mut Table<'i>,
        key: &'static str,
        name: &str,
    ) -> Vec<Table<'i>> {
        let Some(value) = table.take(key) else { return Vec::new() };
        self.table_list(value, name)
    }

    /// The tables that `value` is a list of.
    pub fn table_list(&mut self, value: Spanned<DeValue<'i>>, name: &str) -> Vec<Table<'i>> {
        let DeValue::Array(_) = value.get_ref() else {
            self.wrong_type(name, "a list of tables", &value);
            return Vec::new();
        };
        let DeValue::Array(items) = value.into_inner() else { return Vec::new() };
        items.into_iter().filter_map(|item| self.table_of(item, name)).collect()
    }

    /// The table that `value` is.
    pub fn table_of(&mut self, value: Spanned<DeValue<'i>>, name: &str) -> Option<Table<'i>> {
        let span = self.text.span(value.span());
        let DeValue::Table(_) = value.get_ref() else {
            self.wrong_type(name, "a table", &value);
            return None;
        };
        let DeValue::Table(entries) = value.into_inner() else { return None };
        Some(Table { name: name.to_owned(), span, entries, asked: Vec::new() })
    }

    /// The table `key`, if it is there.
    pub fn table(&mut self, table: &mut Table<'i>, key: &'static str) -> Option<Table<'i>> {
        let value = table.take(key)?;
        self.table_of(value, &format!("`[{key}]`"))
    }

    /// What is left in `table`, by name, with the place of each name.
    pub fn entries(&self, table: Table<'i>) -> Vec<(Located<String>, Spanned<DeValue<'i>>)> {
        let entry = |(key, value): (Spanned<_>, _)| {
            let bytes = key.span();
            let name: std::borrow::Cow<'i, str> = key.into_inner();
            (self.located(name.into_owned(), bytes), value)
        };
        table.entries.into_iter().map(entry).collect()
    }

    /// A string, integer or boolean that is named `name`.
    pub fn scalar(&mut self, name: &str, value: &Spanned<DeValue<'i>>) -> Option<toml::Value> {
        let scalar = match value.get_ref() {
            DeValue::String(text) => Some(toml::Value::String(text.clone().into_owned())),
            DeValue::Integer(number) => {
                let digits = i64::from_str_radix(number.as_str(), number.radix());
                digits.ok().map(toml::Value::Integer)
            }
            DeValue::Boolean(flag) => Some(toml::Value::Boolean(*flag)),
            _ => None,
        };
        if scalar.is_none() {
            self.wrong_type(name, "a string, an integer of 64 bits or a boolean", value);
        }
        scalar
    }

    /// Notes that `key` is missing.
    pub fn missing(&mut self, table: &Table<'i>, key: &str) {
        let message = format!("{} needs `{key}`", table.name);
        self.error("missing-key", message, table.span.clone());
    }

    /// Notes what is left in `table` as unknown; `later` are keys that another version knows.
    pub fn finish(&mut self, table: Table<'i>, later: &[&str]) {
        let (name, asked) = (table.name.clone(), table.asked.clone());
        for (key, _) in self.entries(table) {
            let Located { value: key, span } = key;
            let diagnostic = if later.contains(&key.as_str()) {
                let message = format!("`{key}` in {name} is not supported by this version");
                Diagnostic::new("unsupported", message).at(span, "")
            } else {
                let diagnostic =
                    Diagnostic::new("unknown-key", format!("unknown key `{key}` in {name}"))
                        .at(span, "");
                match nearest(&key, asked.iter().copied().chain(later.iter().copied())) {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic.hint(format!("it knows {}", list(&asked))),
                }
            };
            self.errors.push(diagnostic);
        }
    }
}

impl<'i> Table<'i> {
    /// Whether `key` is there and not taken yet.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether `key` is a list.
    pub fn is_list(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Array(_)))
    }

    /// The value of `key`, which is then known.
    pub fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.entries.remove(key)
    }
}

/// `` `a`, `b` and `c` ``.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// The path of a file at the top of the release folder.
pub(super) fn top_file(name: &str) -> ReleasePath {
    name.parse().expect("a plain file name is a path of the release")
}
