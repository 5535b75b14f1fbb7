//! Why something was or would be built: in a few words, in a table, as documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::changes::{self, short};
use crate::realise::rebuild::{Cause, Input, Need};

/// What several packages are built for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Inputs changed: of packages, by field; these and what needs them are built.
    Changed(BTreeMap<String, BTreeSet<String>>),
    /// Packages of an archive changed that this root brings.
    Moved(String),
    /// What it needs is not what it was, and why is not known.
    Needs(BTreeSet<String>),
    /// They never were built before.
    First,
    /// Nothing changed: what was there is lost.
    Lost,
}

impl Reason {
    /// What a package with this cause is built for in the end.
    pub fn of(cause: &Cause) -> Self {
        if cause.before.is_none() {
            return Self::First;
        }
        let ends = cause.ends();
        let mut changed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for end in ends.iter().filter(|end| end.field != "root") {
            changed.entry(end.package.clone()).or_default().insert(end.field.clone());
        }
        match (changed.is_empty(), ends.first()) {
            (false, _) => Self::Changed(changed),
            (true, Some(end)) => Self::Moved(end.package.clone()),
            (true, None) if cause.needs.is_empty() => Self::Lost,
            (true, None) => {
                Self::Needs(cause.needs.iter().map(|need| need.package.clone()).collect())
            }
        }
    }

    /// The reason in a few words, for packages with these causes, and the place where it was
    /// written if there is but one.
    pub fn told<'a>(&self, members: impl Iterator<Item = (&'a str, &'a Cause)>) -> Told {
        let members: Vec<_> = members.collect();
        let ends: BTreeSet<Input> = members.iter().flat_map(|(_, cause)| cause.ends()).collect();
        let text = match self {
            Self::First => "built for the first time".to_owned(),
            Self::Lost => "built again from the same inputs".to_owned(),
            Self::Needs(names) => {
                format!("because of another {}", few(names.iter().map(String::as_str)))
            }
            Self::Moved(root) => {
                let items: BTreeSet<&str> = ends.iter().map(|end| end.item.as_str()).collect();
                format!("root {root} moved ({})", few(items.into_iter()))
            }
            Self::Changed(changed) => match (changed.iter().next(), changed.len()) {
                (Some((name, fields)), 1) if members.iter().all(|(one, _)| one == name) => {
                    format!("own {} changed", few(fields.iter().map(String::as_str)))
                }
                _ => {
                    let told: Vec<String> =
                        changed.iter().map(|(name, fields)| whose(name, fields, &ends)).collect();
                    format!("because of {}", few(told.iter().map(String::as_str)))
                }
            },
        };
        let mut places = ends.into_iter().filter_map(|end| end.place);
        let place = places.next().filter(|first| places.all(|other| other == *first));
        Told { text, place }
    }
}

/// A reason in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The words.
    pub text: String,
    /// Where it was written, as `file:line`.
    pub place: Option<String>,
}

impl Told {
    /// Both in a line.
    pub fn line(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.text),
            None => self.text.clone(),
        }
    }
}

/// Packages by what they are built for, the most first; what is only one's own goes by what it
/// is, whosever it is.
pub fn grouped<'a, T>(
    members: impl IntoIterator<Item = (T, &'a str, &'a Cause)>,
) -> Vec<(Told, Vec<T>)> {
    let mut reasons: BTreeMap<Reason, Vec<(T, &str, &Cause)>> = BTreeMap::new();
    for (member, name, cause) in members {
        reasons.entry(Reason::of(cause)).or_default().push((member, name, cause));
    }
    let mut groups: Vec<(Told, Vec<T>)> = Vec::new();
    for (reason, members) in reasons {
        let told = reason.told(members.iter().map(|(_, name, cause)| (*name, *cause)));
        let members = members.into_iter().map(|(member, ..)| member);
        match groups.iter_mut().find(|(known, _)| known.text == told.text) {
            Some((known, there)) => {
                known.place = known.place.take().filter(|place| told.place.as_ref() == Some(place));
                there.extend(members);
            }
            None => groups.push((told, members.collect())),
        }
    }
    groups.sort_by_key(|(told, members)| (usize::MAX - members.len(), told.text.clone()));
    groups
}

/// `one libxml2 patch`, `libxml2's version and source`.
fn whose(name: &str, fields: &BTreeSet<String>, ends: &BTreeSet<Input>) -> String {
    let patches = fields.iter().eq(["patches"]);
    if patches {
        let items = ends.iter().filter(|end| end.package == name && end.field == "patches");
        return match items.map(|end| &end.item).collect::<BTreeSet<_>>().len() {
            1 => format!("one {name} patch"),
            number => format!("{number} {name} patches"),
        };
    }
    format!("{name}'s {}", few(fields.iter().map(String::as_str)))
}

/// What changed, in a line or a few: an input each, for a list in which each package has its own.
pub fn brief(cause: &Cause, package: &str) -> Vec<String> {
    if cause.before.is_none() {
        return vec!["not built before".to_owned()];
    }
    let mut lines = Vec::new();
    for told in changes::tell_inputs(&cause.own) {
        let place = told.place.map(|place| format!("  {place}")).unwrap_or_default();
        lines.push(format!("{}: {}{place}", told.field, told.what));
    }
    if let Some(first) = cause.root.first() {
        let told: Vec<String> = cause.root.iter().map(moved).collect();
        let names = few(told.iter().map(String::as_str));
        lines.push(format!("root {}: {names}", first.package));
    }
    for Need { package: needed, because } in &cause.needs {
        let own: Vec<&Input> = because.iter().filter(|input| input.package != package).collect();
        let told: Vec<String> = own.iter().map(|input| ending(input, needed)).collect();
        let why = few(told.iter().map(String::as_str));
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        lines.push(format!("needs {needed}{why}"));
    }
    if lines.is_empty() {
        lines.push("nothing that is known changed: its files are lost, or its rules".to_owned());
    }
    lines
}

/// An input that another package is built for, as seen from what needs that.
fn ending(input: &Input, needed: &str) -> String {
    let whose = if input.package == needed || input.field == "root" {
        String::new()
    } else {
        format!("{}'s ", input.package)
    };
    match (input.field.as_str(), input.item.as_str()) {
        ("root", _) => format!("root {}: {}", input.package, moved(input)),
        (field, "") => match (&input.old, &input.new) {
            (Some(old), Some(new)) if !is_long(old) && !is_long(new) => {
                format!("{whose}{field} {} -> {}", short(old), short(new))
            }
            _ => format!("{whose}{field}"),
        },
        (field, item) => format!("{whose}{field} {item}"),
    }
}

fn is_long(text: &str) -> bool {
    text.contains('\n') || text.chars().count() > 40
}

/// `libc6 2.36-9 -> 2.36-10`, `+ libc6 2.36-10`, `- libc6`.
pub fn moved(input: &Input) -> String {
    let item = &input.item;
    match (&input.old, &input.new) {
        (None, Some(new)) => format!("+ {item} {}", short(new)),
        (Some(_), None) => format!("- {item}"),
        (Some(old), Some(new)) if old.len() == 64 && new.len() == 64 => {
            format!("{item}, other bytes")
        }
        (old, new) => {
            let text = |text: &Option<String>| short(text.as_deref().unwrap_or_default());
            format!("{item} {} -> {}", text(old), text(new))
        }
    }
}

/// All that is behind it, a line or more for each package that something changed of.
pub fn table(cause: &Cause, package: &str) -> String {
    let mut rows: Vec<(String, Vec<&Input>)> = Vec::new();
    if !cause.own.is_empty() {
        rows.push((package.to_owned(), cause.own.iter().collect()));
    }
    let mut ends: BTreeMap<String, BTreeSet<&Input>> = BTreeMap::new();
    for input in cause.needs.iter().flat_map(|need| &need.because) {
        ends.entry(input.package.clone()).or_default().insert(input);
    }
    ends.remove(package);
    rows.extend(ends.into_iter().map(|(name, inputs)| (name, inputs.into_iter().collect())));
    if let Some(first) = cause.root.first() {
        rows.push((first.package.clone(), cause.root.iter().collect()));
    }
    let unknown: Vec<&Need> = cause.needs.iter().filter(|need| need.because.is_empty()).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text: String = rows
        .into_iter()
        .map(|(name, inputs)| changes::table(&name, width, &changes::tell_inputs(inputs)))
        .collect();
    for need in unknown {
        text.push_str(&format!("  {:width$}  is another than it was\n", need.package));
    }
    text
}

/// The same as documents.
pub fn documents(cause: &Cause, package: &str) -> Vec<Value> {
    if cause.before.is_none() {
        return vec![json!({ "kind": "first", "package": package })];
    }
    let input = |kind: &str, input: &Input| {
        let place = input.place.as_deref().and_then(|place| place.rsplit_once(':'));
        json!({
            "kind": kind,
            "package": input.package,
            "field": input.field,
            "item": input.item,
            "old": input.old,
            "new": input.new,
            "file": place.map(|(file, _)| file),
            "line": place.and_then(|(_, line)| line.parse::<u64>().ok()),
        })
    };
    let mut documents: Vec<Value> = cause.own.iter().map(|one| input("own", one)).collect();
    let ends: BTreeSet<&Input> = cause.needs.iter().flat_map(|need| &need.because).collect();
    documents.extend(ends.into_iter().map(|one| input("cascade", one)));
    documents.extend(cause.root.iter().map(|one| input("root", one)));
    let unknown = cause.needs.iter().filter(|need| need.because.is_empty());
    documents.extend(unknown.map(|need| json!({ "kind": "cascade", "package": need.package })));
    if documents.is_empty() {
        documents.push(json!({ "kind": "same", "package": package }));
    }
    documents
}

/// Some of a list, and how many more there are.
pub fn few<'a>(items: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 3;
    let items: Vec<&str> = items.filter(|item| !item.is_empty()).collect();
    let more = items.len().saturating_sub(MOST);
    let mut text = items.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
