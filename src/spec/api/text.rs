//! Functions on texts, lists and options: for the stdlib, and for a release's own `lib/`.

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, Position};

use super::kind_of;
use crate::base::nearest;
use crate::spec::document::list;

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// The longest text that a regular expression is tried on, in bytes.
const MAX_MATCHED: usize = 64 * 1024;

/// A mistake in the arguments of a function that is written in Rhai: shown where a spec called it,
/// at the key that it is about.
#[derive(Debug, Clone)]
pub(in crate::spec) struct Mistake {
    /// A word for programs.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The key of the map that was given, if it is about one.
    pub key: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// Teaches `engine` these functions.
pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("options", options);
    engine.register_fn("captures", captures);
    engine.register_fn("parse_int", |text: ImmutableString| -> Answer<i64> {
        let message = format!("`{text}` is no integer");
        text.trim().parse().map_err(|_| mistake("bad-value", message, None, None))
    });
    engine.register_fn("join", join);
    engine.register_fn("join", |items: Array| join(items, ImmutableString::default()));
    // Rhai's own change the text or list that they are called on.
    engine.register_fn("trim", |text: ImmutableString| ImmutableString::from(text.trim()));
    engine.register_fn("sort", sort);
    engine.register_fn("+", |mut items: Array, item: Map| {
        items.push(item.into());
        items
    });
}

/// `defaults` with the values that were `given` in place of them. A key that has no default is a
/// mistake, and so is a value of another kind than its default; `()` stands for any.
fn options(given: Dynamic, defaults: Map) -> Answer<Map> {
    if given.is_unit() {
        return Ok(defaults);
    }
    let found = kind_of(&given);
    let Some(given) = given.try_cast::<Map>() else {
        let message = format!("options are a map `#{{ … }}`, not {found}");
        return Err(mistake("wrong-type", message, None, None));
    };
    let mut all = defaults.clone();
    for (key, value) in given {
        let Some(default) = defaults.get(&key) else {
            let known: Vec<&str> = defaults.keys().map(|key| key.as_str()).collect();
            let hint = match nearest(&key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", list(&known)),
            };
            let message = format!("unknown option `{key}`");
            return Err(mistake("unknown-key", message, Some(&key), Some(hint)));
        };
        let expected = kind_of(default);
        if !default.is_unit() && kind_of(&value) != expected {
            let message = format!("`{key}` must be {expected}, not {}", kind_of(&value));
            let brackets = value.is_string() && default.is_array();
            let hint =
                brackets.then(|| "a list of one is written in brackets: `[\"…\"]`".to_owned());
            return Err(mistake("wrong-type", message, Some(&key), hint));
        }
        let texts = value.as_array_ref().is_ok_and(|items| items.iter().all(Dynamic::is_string));
        if value.is_array() && !texts {
            let message = format!("`{key}` must be a list of strings");
            return Err(mistake("wrong-type", message, Some(&key), None));
        }
        all.insert(key, value);
    }
    Ok(all)
}

/// The parts of `text` that the groups of `regex` match, the whole match first; an empty list if
/// it does not match. A group that takes no part in the match is an empty text.
fn captures(text: ImmutableString, regex: ImmutableString) -> Answer<Array> {
    if text.len() > MAX_MATCHED {
        let message = format!("`captures` takes texts of up to {MAX_MATCHED} bytes");
        return Err(mistake("limit", message, None, None));
    }
    let compiled = regex_lite::RegexBuilder::new(&regex).size_limit(256 * 1024).build();
    let compiled = compiled.map_err(|error| {
        let message = format!("`{regex}` is no regular expression: {error}");
        mistake("bad-value", message, None, None)
    })?;
    let group = |group: Option<regex_lite::Match<'_>>| {
        Dynamic::from(ImmutableString::from(group.map_or("", |group| group.as_str())))
    };
    Ok(compiled.captures(&text).map(|found| found.iter().map(group).collect()).unwrap_or_default())
}

/// The items one after another, with `between` between them.
fn join(items: Array, between: ImmutableString) -> Answer<ImmutableString> {
    const LONGEST: usize = 256 * 1024;
    let mut text = String::new();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            text.push_str(&between);
        }
        let kind = kind_of(&item);
        match (item.as_int(), item.into_immutable_string()) {
            (_, Ok(item)) => text.push_str(&item),
            (Ok(number), _) => text.push_str(&number.to_string()),
            _ => {
                let message = format!("`join` takes a list of strings, not of {kind}");
                return Err(mistake("wrong-type", message, None, None));
            }
        }
        if text.len() > LONGEST {
            let what = "Length of string".to_owned();
            return Err(Box::new(EvalAltResult::ErrorDataTooLarge(what, Position::NONE)));
        }
    }
    Ok(text.into())
}

/// The items of a list in order: all strings, or all integers.
fn sort(items: Array) -> Answer<Array> {
    let numbers: Option<Vec<i64>> = items.iter().map(|item| item.as_int().ok()).collect();
    if let Some(mut numbers) = numbers {
        numbers.sort_unstable();
        return Ok(numbers.into_iter().map(Dynamic::from).collect());
    }
    let texts: Option<Vec<ImmutableString>> =
        items.into_iter().map(|item| item.into_immutable_string().ok()).collect();
    match texts {
        Some(mut texts) => {
            texts.sort_unstable();
            Ok(texts.into_iter().map(Dynamic::from).collect())
        }
        None => {
            let message = "`sort` takes a list of strings or of integers".to_owned();
            Err(mistake("wrong-type", message, None, None))
        }
    }
}

fn mistake(
    code: &'static str,
    message: String,
    key: Option<&str>,
    hint: Option<String>,
) -> Box<EvalAltResult> {
    let mistake = Mistake { code, message, key: key.map(str::to_owned), hint };
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(mistake), Position::NONE))
}
