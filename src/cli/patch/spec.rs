//! Naming a new patch in the spec of its package, if that can be done without changing anything
//! else: neither the layout of the file nor what another package is.

use std::fs;

use crate::base::{DerivationId, HostPath, Span};
use crate::cli::address::shown;
use crate::cli::context::{Release, read_lock};
use crate::cli::failure::{Failure, Kind as Whose};
use crate::graph::{Graph, Origin, PackageOrigin};
use crate::spec::syntax::{Kind, Token, tokens};

/// What came of it.
pub enum Named {
    /// It is named in the spec now.
    InSpec {
        /// The file, from the release folder.
        file: String,
        /// The line.
        line: usize,
    },
    /// Somebody has to.
    ByHand {
        /// The exact line.
        line: String,
        /// Where it belongs.
        place: String,
        /// Why it was not done.
        why: &'static str,
    },
}

/// Names the patch at `path` of the release in the spec of the package `id`.
pub fn name_patch(
    release: &Release,
    graph: &Graph,
    id: DerivationId,
    path: &str,
) -> Result<Named, Failure> {
    let node = graph.node(id).filter(|node| matches!(node.origin, Origin::Package(_)));
    let Some((origin, recipe)) = node.and_then(|node| match &node.origin {
        Origin::Package(origin) => Some((origin, node.derivation.package()?)),
        _ => None,
    }) else {
        return Err(Failure::new(Whose::Machine, "no-spec", "the package has no spec"));
    };
    let package = release.spec.packages.iter().find(|package| package.name == recipe.name);
    let field = package.and_then(|package| package.fields.get("patches"));
    let span = field.filter(|span| span.file == origin.span.file).unwrap_or(&origin.span);
    let by_hand = |why| {
        let file = shown(&release.folder.join(span.file.as_str()));
        let (line, place) = match field {
            Some(_) => (format!("\"{path}\","), format!("`patches` at {file}:{}", span.line)),
            None => (
                format!("patches: [\"{path}\"],"),
                format!("the fields of `{}` at {file}:{}", recipe.name, span.line),
            ),
        };
        Ok(Named::ByHand { line, place, why })
    };
    if field.is_some_and(|field| field.file != origin.span.file) {
        return by_hand("its patches are listed in another file");
    }
    let relative = origin.span.file.as_str();
    if relative.starts_with("..") {
        return by_hand("it is a file of another release");
    }
    let file = release.folder.join(relative);
    let Ok(text) = fs::read_to_string(&file) else { return by_hand("it cannot be read") };
    let place = |span: &Span| offset(&text, span);
    if field.is_none() && place(&origin.span).is_some_and(|at| text[at..].starts_with("rebuild")) {
        let line = format!(
            "rebuild(\"{}\").add(#{{ patches: [\"{path}\"] }}).with(#{{ suffix: \"+{}1\", changes: \
             #{{ date: \"{}\", text: \"…\" }} }}),",
            recipe.name,
            release.spec.release.name,
            jiff::Timestamp::now().strftime("%Y-%m-%d"),
        );
        let place = format!("{}:{}, instead of its name there", shown(&file), origin.span.line);
        let why = "a rebuilt package that is changed needs a version of its own";
        return Ok(Named::ByHand { line, place, why });
    }
    let inserted = match field {
        Some(field) => place(field).and_then(|at| into_list(&text, at, path)),
        None => place(&origin.span).and_then(|at| into_fields(&text, at, path)),
    };
    let Some((changed, at)) = inserted else {
        return by_hand("its fields are not written out there");
    };
    replace(&file, &changed)?;
    if means_the_same(release, graph, origin, path) {
        let line = changed[..at].lines().count().max(1);
        return Ok(Named::InSpec { file: relative.to_owned(), line });
    }
    replace(&file, &text)?;
    by_hand("the release would not be the same beside it, or not be valid")
}

/// Whether the release as it is now differs by this patch of this package alone.
fn means_the_same(release: &Release, graph: &Graph, origin: &PackageOrigin, path: &str) -> bool {
    let evaluated = || {
        let lock = read_lock(&release.folder).ok()?;
        let now = Release::load_kept(&release.folder, lock, None).ok()?;
        now.graph().ok()
    };
    let Some(now) = evaluated() else { return false };
    let patches = |graph: &Graph| -> Vec<(String, Span, Vec<String>)> {
        let of = |(node, package): (&crate::graph::Node, &crate::graph::derivation::Package)| {
            let Origin::Package(origin) = &node.origin else { return None };
            let patches = origin.patches.iter().map(ToString::to_string).collect();
            let name = format!("{} {}", package.name, package.architecture);
            Some((name, origin.span.clone(), patches))
        };
        graph.packages().filter_map(of).collect()
    };
    let (before, after) = (patches(graph), patches(&now));
    let own = |span: &Span| *span == origin.span;
    let mut count = 0;
    let same = before.len() == after.len()
        && before.iter().zip(&after).all(|((name, span, old), (other, _, new))| {
            let gained = new.len() == old.len() + 1
                && new.starts_with(old)
                && new.last().is_some_and(|last| last == path);
            count += usize::from(gained);
            name == other && if own(span) { gained } else { new == old }
        });
    // A function that makes several packages would patch all of them.
    let names: std::collections::BTreeSet<_> = before
        .iter()
        .filter(|(_, span, _)| own(span))
        .map(|(name, ..)| name.split(' ').next().unwrap_or_default())
        .collect();
    same && count > 0 && names.len() == 1
}

/// Replaces a file at once: half a spec is never there.
fn replace(file: &HostPath, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let folder = file.as_path().parent().unwrap_or(file.as_path());
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut new, text.as_bytes())?;
        fs::set_permissions(new.path(), fs::metadata(file)?.permissions())?;
        new.persist(file.as_path())?;
        Ok(())
    };
    write().map_err(|error| {
        Failure::new(Whose::Machine, "write", format!("cannot write `{}`", shown(file)))
            .because(error.to_string())
    })
}

/// Where a span begins, in bytes.
fn offset(text: &str, span: &Span) -> Option<usize> {
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number + 1 == span.line as usize {
            let column = (span.column as usize).checked_sub(1)?;
            let within = line.char_indices().nth(column).map(|(at, _)| at)?;
            return Some(start + within);
        }
        start += line.len();
    }
    None
}

/// Tokens that mean something, from the one that begins at `at` or holds it.
fn from(text: &str, at: usize) -> Vec<Token> {
    let all = tokens(text).into_iter().filter(|token| !token.is_trivia());
    all.skip_while(|token| token.end <= at).collect()
}

/// The place of the bracket that closes the first of `tokens`.
fn closing(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(place);
                }
            }
            _ => {}
        }
    }
    None
}

/// Adds the path to the list that begins at `at`, or is the value of the field that does.
fn into_list(text: &str, at: usize, path: &str) -> Option<(String, usize)> {
    let mut tokens = from(text, at);
    if tokens.first()?.text(text) != "[" {
        if tokens.get(1)?.text(text) != ":" {
            return None;
        }
        tokens.drain(..2);
    }
    (tokens.first()?.text(text) == "[").then_some(())?;
    let close = closing(&tokens)?;
    // Something is done with the list: what it comes to is not what is written.
    let after = tokens.get(close + 1).map(|token| token.text(text));
    after.is_none_or(|sign| matches!(sign, "," | "}")).then_some(())?;
    Some(insert(text, &tokens[..=close], &format!("\"{path}\"")))
}

/// Adds the field to the map that the call at `at` is given.
fn into_fields(text: &str, at: usize, path: &str) -> Option<(String, usize)> {
    let tokens = from(text, at);
    let [name, call, open, ..] = tokens.as_slice() else { return None };
    let is_call = name.text(text) == "package" && call.text(text) == "(" && open.text(text) == "#{";
    is_call.then_some(())?;
    let map = &tokens[2..];
    let close = closing(map)?;
    let ends = [")", ","];
    ends.contains(&map.get(close + 1)?.text(text)).then_some(())?;
    Some(insert(text, &map[..=close], &format!("patches: [\"{path}\"]")))
}

/// Adds an item before the last of `tokens`, which closes the first one, in the layout that the
/// items before have. Gives the text, and the byte that the item begins at.
fn insert(text: &str, tokens: &[Token], item: &str) -> (String, usize) {
    let (open, close) = (tokens[0], tokens[tokens.len() - 1]);
    let last = tokens[tokens.len() - 2];
    let is_empty = tokens.len() == 2;
    let has_comma = last.text(text) == ",";
    let is_broken = text[last.end..close.start].contains('\n');
    let comma = if is_empty || has_comma { "" } else { "," };
    // What stands behind the last item on its line belongs to it.
    let line_end = text[last.end..].find('\n').map_or(close.start, |at| last.end + at);
    let (at, inserted, begins) = if is_broken {
        let first = tokens[1];
        let line = text[..first.start].rfind('\n').map_or(0, |at| at + 1);
        let indent: String = text[line..].chars().take_while(|c| *c == ' ' || *c == '\t').collect();
        (line_end, format!("\n{indent}{item},"), 1 + indent.len())
    } else if is_empty {
        let blank = if text[open.start..open.end].starts_with('#') { " " } else { "" };
        (open.end, format!("{blank}{item}{blank}"), blank.len())
    } else if has_comma {
        (last.end, format!(" {item}"), 1)
    } else {
        (last.end, format!(", {item}"), 2)
    };
    // On one line the comma is part of what is inserted.
    let comma = if is_broken { comma } else { "" };
    let (head, tail) = (&text[..last.end], &text[last.end..]);
    let behind = at - last.end;
    let changed = format!("{head}{comma}{}{inserted}{}", &tail[..behind], &tail[behind..]);
    (changed, at + comma.len() + begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let at = text.find("package(").expect("a package");
        let list = text.find("patches:");
        let changed = match list {
            Some(list) => into_list(text, list, "p/x"),
            None => into_fields(text, at, "p/x"),
        };
        assert_eq!(changed.as_ref().map(|(text, _)| text.as_str()), expected);
        if let Some((text, at)) = changed {
            assert!(
                text[at..].starts_with("patches: [\"p/x\"]") || text[at..].starts_with("\"p/x\""),
                "{}",
                &text[at..]
            );
        }
    }

    #[test]
    fn a_patch_is_named_in_the_layout_that_is_there() {
        check(
            "package(#{\n    name: \"a\",\n    build: make(), // here\n})\n",
            Some(
                "package(#{\n    name: \"a\",\n    build: make(), // here\n    patches: [\"p/x\"],\n})\n",
            ),
        );
        check(
            "[\n    package(#{\n        name: \"a\" // here\n    }),\n]\n",
            Some(
                "[\n    package(#{\n        name: \"a\", // here\n        patches: [\"p/x\"],\n    }),\n]\n",
            ),
        );
        check("package(#{ name: \"a\" })", Some("package(#{ name: \"a\", patches: [\"p/x\"] })"));
        check("package(#{ patches: [], a: 1 })", Some("package(#{ patches: [\"p/x\"], a: 1 })"));
        check(
            "package(#{ patches: [\"p/a\"] })",
            Some("package(#{ patches: [\"p/a\", \"p/x\"] })"),
        );
        check(
            "package(#{\n    patches: [\n        \"p/a\",\n        \"p/b\"\n    ],\n})",
            Some(
                "package(#{\n    patches: [\n        \"p/a\",\n        \"p/b\",\n        \"p/x\",\n    ],\n})",
            ),
        );
    }

    #[test]
    fn what_is_not_written_out_is_left_to_its_author() {
        check("package(options())", None);
        check("package(#{ patches: all() })", None);
        check("package(#{ patches: [\"a\"] + more })", None);
        check("package(#{ name: \"a\" }.with(x))", None);
        check("package(#{ name: \"a\"", None);
    }
}
