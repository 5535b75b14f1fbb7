//! `[publish.SUITE]`: what a release is published to.

use std::collections::BTreeMap;

use super::super::document::{Reader, Table, list};
use super::super::model::Located;
use super::{Format, is_label, path};
use crate::base::{Diagnostic, ReleaseFolder, ReleasePath, nearest};

/// A suite of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// The format of its packages.
    pub format: Format,
    /// The component that the packages go into; their debug symbols go into another.
    pub component: String,
    /// The files of the public keys of those who sign it, at least one; two while one takes over
    /// from another.
    pub keys: Vec<Located<ReleasePath>>,
    /// Suites that its clients may use beside it: no version in them may be newer, or be the same
    /// with other content.
    pub sees: Vec<Located<String>>,
    /// Who stands behind it: `Origin` of its Release file.
    pub origin: Option<String>,
    /// `Label` of its Release file.
    pub label: Option<String>,
    /// `Codename` of its Release file; none if it is the suite's name.
    pub codename: Option<String>,
    /// `Description` of its Release file.
    pub description: Option<String>,
    /// For how many days clients may use it without hearing of it again; none for ever.
    pub valid_days: Option<u32>,
    /// Where clients find the repository.
    pub url: Option<String>,
    /// What a client tries before others see it.
    pub rehearse: Rehearse,
}

impl Suite {
    /// The names of the suites that its clients may use beside it.
    pub fn seen(&self) -> Vec<String> {
        self.sees.iter().map(|at| at.value.clone()).collect()
    }
}

/// How much of a publication is tried before clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rehearse {
    /// Nothing.
    None,
    /// That a client accepts the indexes.
    Update,
    /// That, and that each new package can be installed, upgraded to and removed.
    Full,
}

impl Rehearse {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::None, Self::Update, Self::Full];

    /// As release.toml writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Update => "update",
            Self::Full => "full",
        }
    }
}

/// The longest that a suite may be said to be valid: ten years.
const MOST_DAYS: u64 = 3660;

pub(super) fn suite<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    folder: &ReleaseFolder,
) -> Option<Suite> {
    let format = reader.required(table, "format");
    if let Some(Located { value, span }) = &format
        && value != "deb"
    {
        let message = format!("unknown format `{value}`: this version knows `deb`");
        reader.errors.push(Diagnostic::new("bad-value", message).at(span.clone(), ""));
    }
    let component = match reader.string(table, "component") {
        Some(at) if is_label(&at.value) && at.value != DEBUG => at.value,
        Some(at) => {
            let message = format!(
                "`{}` cannot name a component: lower-case letters, digits, `.` and `-` can, and \
                 `{DEBUG}` is that of debug symbols",
                at.value
            );
            reader.errors.push(Diagnostic::new("bad-value", message).at(at.span, ""));
            "main".to_owned()
        }
        None => "main".to_owned(),
    };
    let keys = keys(reader, table, folder);
    let sees = reader.strings(table, "sees");
    let valid_days = if table.has("valid_days") {
        let Located { value, span } = reader.located_size(table, "valid_days")?;
        if !(1..=MOST_DAYS).contains(&value) {
            let message = format!("`valid_days` is from 1 to {MOST_DAYS}");
            reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
        }
        u32::try_from(value).ok()
    } else {
        None
    };
    let rehearse = match reader.string(table, "rehearse") {
        None => Rehearse::Full,
        Some(Located { value, span }) => {
            let found = Rehearse::ALL.into_iter().find(|known| known.as_str() == value);
            if found.is_none() {
                let known = list(&Rehearse::ALL.map(Rehearse::as_str));
                let message = format!("unknown rehearsal `{value}`: it is one of {known}");
                reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
            }
            found.unwrap_or(Rehearse::Full)
        }
    };
    let mut line = |key| one_line(reader, table, key);
    let (origin, label) = (line("origin"), line("label"));
    let (codename, description, url) = (line("codename"), line("description"), line("url"));
    format?;
    Some(Suite {
        format: Format::Deb,
        component,
        keys,
        sees,
        origin,
        label,
        codename,
        description,
        valid_days,
        url,
        rehearse,
    })
}

/// That the suites which a suite sees are others of the release.
pub(super) fn check_seen(
    reader: &mut Reader<'_>,
    name: &str,
    suite: &Suite,
    all: &BTreeMap<String, Suite>,
) {
    for Located { value, span } in &suite.sees {
        let error = if value == name {
            Diagnostic::new("bad-value", format!("`{name}` sees itself in any case"))
        } else if all.contains_key(value) {
            continue;
        } else {
            let message = format!("`{name}` sees `{value}`, and there is no `[publish.{value}]`");
            let error = Diagnostic::new("unknown-suite", message);
            match nearest(value, all.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            }
        };
        reader.errors.push(error.at(span.clone(), ""));
    }
}

/// The component of debug symbols.
pub const DEBUG: &str = "debug";

/// One file or several.
fn keys<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    folder: &ReleaseFolder,
) -> Vec<Located<ReleasePath>> {
    let is_list = table.is_list("key");
    if !table.has("key") {
        reader.missing(table, "key");
    }
    let written = match is_list {
        true => reader.strings(table, "key"),
        false => reader.string(table, "key").into_iter().collect(),
    };
    if is_list && written.is_empty() {
        reader.error("bad-value", "`key` is empty", table.span.clone());
    }
    let paths = written.into_iter().filter_map(|at| path(reader, at));
    paths.map(|Located { value, span }| Located { value: folder.path(&value), span }).collect()
}

/// A text that becomes a field of a Release file.
fn one_line<'i>(
    reader: &mut Reader<'i>,
    table: &mut Table<'i>,
    key: &'static str,
) -> Option<String> {
    let Located { value, span } = reader.string(table, key)?;
    if value.is_empty() || value.trim() != value || value.chars().any(char::is_control) {
        let message = format!("`{key}` is one line of text without space around it");
        reader.errors.push(Diagnostic::new("bad-value", message).at(span, ""));
        return None;
    }
    Some(value)
}
