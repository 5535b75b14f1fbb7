//! Values of the language as something that can be shown.

use std::collections::BTreeMap;

use rhai::Dynamic;

use super::draft::Draft;
use super::field;
use super::kind_of;
use crate::spec::expression::Value;
use crate::spec::model::{
    Binary, Builder, Changes, Download, Located, Packaging, Portability, Resources, Source,
};

/// What a value comes to, in all its parts.
pub(in crate::spec) fn shown(value: &Dynamic) -> Value {
    if value.is_unit() {
        return Value::Nothing;
    }
    if let Ok(flag) = value.as_bool() {
        return Value::Boolean(flag);
    }
    if let Ok(number) = value.as_int() {
        return Value::Integer(number);
    }
    if let Some(draft) = value.read_lock::<Draft>() {
        let values = draft.values().map(|(name, value)| (name.to_owned(), of_field(value)));
        return Value::Call("package".to_owned(), values.collect());
    }
    if let Some(source) = value.read_lock::<Source>() {
        return of_source(&source);
    }
    if let Some(builder) = value.read_lock::<Builder>() {
        return of_builder(&builder);
    }
    if let Ok(items) = value.as_array_ref() {
        return Value::List(items.iter().map(shown).collect());
    }
    if let Ok(map) = value.as_map_ref() {
        return Value::Map(
            map.iter().map(|(key, value)| (key.to_string(), shown(value))).collect(),
        );
    }
    match (value.as_immutable_string_ref(), value.as_char()) {
        (Ok(string), _) => Value::Text(string.to_string()),
        (_, Ok(character)) => Value::Text(character.to_string()),
        _ => Value::Other(kind_of(value).to_owned()),
    }
}

fn of_field(value: &field::Value) -> Value {
    match value {
        field::Value::Text(value) => text(value),
        field::Value::Texts(list) => Value::List(list.iter().map(|one| text(&one.value)).collect()),
        field::Value::Table(table) => of_table(table),
        field::Value::Source(source) => of_source(source),
        field::Value::Sources(sources) => Value::Map(
            sources.iter().map(|(path, one)| (path.clone(), of_source(&one.value))).collect(),
        ),
        field::Value::Patches(patches) => {
            Value::List(patches.iter().map(|patch| text(&patch.value)).collect())
        }
        field::Value::Builder(builder) => of_builder(builder),
        field::Value::Binaries(binaries) => Value::List(binaries.iter().map(of_binary).collect()),
        field::Value::Changes(Changes { date, text: what, author }) => map([
            ("date", text(date)),
            ("text", text(what)),
            ("author", author.as_ref().map_or(Value::Nothing, text)),
        ]),
        field::Value::Resources(Resources { memory, time, silence, cores, scratch }) => {
            let number = |value: Option<u64>| {
                value
                    .and_then(|value| i64::try_from(value).ok())
                    .map_or(Value::Nothing, Value::Integer)
            };
            map([
                ("memory", number(*memory)),
                ("time", number(*time)),
                ("silence", number(*silence)),
                ("cores", number(cores.map(u64::from))),
                ("scratch", number(*scratch)),
            ])
        }
    }
}

fn of_source(source: &Source) -> Value {
    match source {
        Source::Dir { path, tree, packaging } => call(
            "dir",
            [
                ("path", text(path)),
                ("tree", text(tree.digest())),
                ("packaging", Value::Boolean(packaging.is_some())),
            ],
        ),
        Source::Archive { name } => call("archive", [("name", text(name))]),
        Source::Git { url, rev, pinned: _ } => {
            call("git", [("url", text(url)), ("rev", text(rev))])
        }
        Source::Tarball(download) => of_download("tarball", download),
        Source::Fetched(download) => of_download("file", download),
        Source::File { path, size: _, sha256 } => {
            call("file", [("path", text(path)), ("sha256", text(sha256))])
        }
    }
}

fn of_download(name: &str, download: &Download) -> Value {
    let Download { urls, sha256, pinned: _ } = download;
    let sha256 = sha256.as_ref().map_or(Value::Nothing, text);
    call(name, [("urls", texts(urls)), ("sha256", sha256)])
}

fn of_builder(builder: &Builder) -> Value {
    let Builder {
        name,
        packaging,
        needs,
        depends,
        architecture,
        files,
        script,
        script_any,
        outputs,
    } = builder;
    let packaging = match packaging {
        Packaging::Own => text("own"),
        Packaging::Generated => text("generated"),
        Packaging::Other(source) => of_source(source),
    };
    call(
        "recipe",
        [
            ("name", text(name)),
            ("packaging", packaging),
            ("needs", texts(needs)),
            ("depends", texts(depends)),
            ("architecture", of_portability(*architecture)),
            ("files", of_table(files)),
            ("script", text(script)),
            ("script_any", script_any.as_ref().map_or(Value::Nothing, text)),
            ("outputs", texts(outputs)),
        ],
    )
}

fn of_portability(portability: Portability) -> Value {
    text(match portability {
        Portability::Any => "any",
        Portability::All => "all",
    })
}

fn of_binary(binary: &Binary) -> Value {
    let Binary {
        name,
        architecture,
        relations,
        section,
        multi_arch,
        summary,
        description,
        files,
        optional,
    } = binary;
    let maybe = |value: &Option<String>| value.as_ref().map_or(Value::Nothing, text);
    let mut members = vec![
        ("name".to_owned(), text(name)),
        ("architecture".to_owned(), architecture.map_or(Value::Nothing, of_portability)),
        ("section".to_owned(), maybe(section)),
        ("multi_arch".to_owned(), maybe(multi_arch)),
        ("summary".to_owned(), maybe(summary)),
        ("description".to_owned(), maybe(description)),
        ("files".to_owned(), texts(files)),
        ("optional".to_owned(), texts(optional)),
    ];
    members.extend(relations.iter().map(|(name, list)| (name.clone(), located(list))));
    Value::Map(members.into_iter().collect())
}

fn of_table(table: &BTreeMap<String, String>) -> Value {
    Value::Map(table.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

fn texts(list: &[String]) -> Value {
    Value::List(list.iter().map(text).collect())
}

fn located(list: &[Located<String>]) -> Value {
    Value::List(list.iter().map(|item| text(&item.value)).collect())
}

fn text(value: impl std::fmt::Display) -> Value {
    Value::Text(value.to_string())
}

/// A map without what it leaves out.
fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Map(without_blanks(members))
}

fn call<const N: usize>(name: &str, members: [(&str, Value); N]) -> Value {
    Value::Call(name.to_owned(), without_blanks(members))
}

fn without_blanks<const N: usize>(members: [(&str, Value); N]) -> BTreeMap<String, Value> {
    let blank = |value: &Value| match value {
        Value::Nothing => true,
        Value::List(items) => items.is_empty(),
        Value::Map(members) => members.is_empty(),
        _ => false,
    };
    let members = members.into_iter().filter(|(_, value)| !blank(value));
    members.map(|(name, value)| (name.to_owned(), value)).collect()
}
