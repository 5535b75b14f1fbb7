//! Changed inputs as text and as documents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::graph::diff::Change;
use crate::graph::fields;
use crate::realise::rebuild::Input;
use crate::spec::Spec;

/// How wide a line may get.
const WIDTH: usize = 80;
/// How many items of one kind are named.
const NAMED: usize = 8;
/// How many lines of a text are shown on each side.
const LINES: usize = 5;

/// What changed of one field, as it is told.
pub struct Told {
    /// The field.
    pub field: String,
    /// What of it changed, in one line.
    pub what: String,
    /// Lines of texts that went (`-`) and came (`+`).
    pub lines: Vec<String>,
    /// Where the field was written, as `file:line`.
    pub place: Option<String>,
}

/// The changes of a package, field by field; of a package of `spec`, with their places.
pub fn tell(changes: &[Change], package: &str, spec: &Spec) -> Vec<Told> {
    let place = |change: &Change| {
        let span = fields::changed(spec, package, change)?;
        Some(format!("{}:{}", span.file, span.line))
    };
    by_field(changes.iter().map(|change| (change.clone(), place(change))))
}

/// The same of inputs as a record keeps them, with the places that they had then.
pub fn tell_inputs<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> Vec<Told> {
    by_field(inputs.into_iter().map(|input| {
        let Input { package: _, field, item, old, new, place } = input.clone();
        (Change { field, item, old, new }, place)
    }))
}

fn by_field(changes: impl Iterator<Item = (Change, Option<String>)>) -> Vec<Told> {
    let mut fields: BTreeMap<String, (Vec<Change>, Option<String>)> = BTreeMap::new();
    for (change, place) in changes {
        let (changes, known) = fields.entry(change.field.clone()).or_default();
        changes.push(change);
        *known = known.take().or(place);
    }
    let told = |(field, (changes, place)): (String, (Vec<Change>, Option<String>))| Told {
        field,
        what: what(&changes.iter().collect::<Vec<_>>()),
        lines: changes.iter().flat_map(lines).collect(),
        place,
    };
    fields.into_iter().map(told).collect()
}

/// A change as a document.
pub fn document(change: &Change, package: &str, spec: &Spec) -> Value {
    let span = fields::changed(spec, package, change);
    json!({
        "field": change.field,
        "item": change.item,
        "old": change.old,
        "new": change.new,
        "file": span.as_ref().map(|span| span.file.as_str()),
        "line": span.as_ref().map(|span| span.line),
    })
}

/// The lines of a package's changes, its name on the first of them in a column of this width.
pub fn table(name: &str, width: usize, told: &[Told]) -> String {
    let mut text = String::new();
    let fields = told.iter().map(|told| told.field.len()).max().unwrap_or_default();
    let mut name = name;
    for Told { field, what, lines, place } in told {
        let head = format!("  {name:width$}  {field:fields$}  ");
        let indent = head.chars().count();
        let mut rows = wrapped(what, WIDTH.saturating_sub(indent).max(24));
        if let Some(place) = place {
            let last = rows.last_mut().map(|row| row.chars().count()).unwrap_or_default();
            match rows.last_mut() {
                Some(row) if indent + last + 2 + place.chars().count() <= WIDTH => {
                    row.push_str(&format!("  {place}"));
                }
                _ => rows.push(place.clone()),
            }
        }
        for (index, row) in rows.iter().enumerate() {
            let lead = if index == 0 { head.clone() } else { " ".repeat(indent) };
            text.push_str(format!("{lead}{row}").trim_end());
            text.push('\n');
        }
        for line in lines {
            text.push_str(format!("{:indent$}{line}", "").trim_end());
            text.push('\n');
        }
        name = "";
    }
    text
}

/// A list of names in lines of at most `width` characters.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for item in text.split_inclusive(", ") {
        let row = rows.last_mut().expect("there is a first row");
        let fits = row.chars().count() + item.trim_end().chars().count() <= width;
        if row.is_empty() || fits {
            row.push_str(item);
        } else {
            rows.push(item.to_owned());
        }
    }
    rows.into_iter().map(|row| row.trim_end().to_owned()).collect()
}

/// A text with its hashes in their short form.
pub fn short(text: &str) -> String {
    let short = |word: &str| if is_hash(word) { word[..12].to_owned() } else { word.to_owned() };
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

/// All changes of one field in a line.
fn what(changes: &[&Change]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for change in changes.iter().take(NAMED) {
        let Change { field: _, item, old, new } = change;
        let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| is_long(text));
        parts.push(match (old, new) {
            (None, Some(_)) if !item.is_empty() => format!("+ {item}"),
            (Some(_), None) if !item.is_empty() => format!("- {item}"),
            (None, new) => format!("+ {}", shown(new)),
            (old, None) => format!("- {}", shown(old)),
            _ if is_text(old) || is_text(new) => {
                if item.is_empty() {
                    "changed".to_owned()
                } else {
                    item.clone()
                }
            }
            (Some(old), Some(new)) if is_hash(old) && is_hash(new) && is_file(item) => item.clone(),
            (Some(old), Some(new)) => {
                let item = if item.is_empty() { String::new() } else { format!("{item} ") };
                format!("{item}{} -> {}", short(old), short(new))
            }
        });
    }
    if changes.len() > NAMED {
        parts.push(format!("and {} more", changes.len() - NAMED));
    }
    parts.join(", ")
}

fn shown(text: &Option<String>) -> String {
    let text = text.as_deref().unwrap_or_default();
    if is_long(text) { "a text".to_owned() } else { short(text) }
}

fn is_hash(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether an item is a file of a source, whose digests say nothing to people.
fn is_file(item: &str) -> bool {
    !item.is_empty() && !item.contains(' ')
}

fn is_long(text: &str) -> bool {
    text.contains('\n') || short(text).chars().count() > 60
}

/// The lines in which two texts differ, between those that they share at both ends.
fn lines(change: &Change) -> Vec<String> {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return Vec::new() };
    if !is_long(old) && !is_long(new) {
        return Vec::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = old.iter().zip(&new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let side = |mark: char, lines: &[&str]| {
        let more = lines.len().saturating_sub(LINES);
        let shown = lines.iter().take(LINES).map(move |line| format!("{mark} {}", clipped(line)));
        let rest = (more > 0).then(|| format!("{mark} … {more} more lines"));
        shown.chain(rest).collect::<Vec<_>>()
    };
    [side('-', &old[head..old.len() - tail]), side('+', &new[head..new.len() - tail])].concat()
}

fn clipped(line: &str) -> String {
    let line = line.trim_end();
    if line.chars().count() <= 60 {
        return line.to_owned();
    }
    line.chars().take(59).chain(['…']).collect()
}
