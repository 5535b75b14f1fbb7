//! Diagnostics as text: the excerpt, the caret, the help.

use std::path::Path;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::base::{Diagnostic, Place, ReleasePath};
use crate::spec::expression;

/// Whether the text is for a terminal that shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// With the terminal's colours.
    Always,
    /// Plain text.
    Never,
}

/// The columns of what is no terminal.
pub const COLUMNS: usize = 140;

/// The fewest columns an excerpt is cut to: with less, nothing of it could be read.
const NARROWEST: usize = 40;

/// The text of `diagnostics`, one after another with an empty line between.
///
/// `read` gives the content of a file, for excerpts; where it gives none, the place alone is
/// shown. `folder` is put before each path, so that it can be opened from where the user stands.
/// Control characters of messages and files are made harmless. Lines of files that are longer than
/// `columns` are cut around what is shown of them.
pub fn diagnostics(
    diagnostics: &[Diagnostic],
    read: &dyn Fn(&ReleasePath) -> Option<String>,
    folder: &Path,
    color: Color,
    columns: usize,
) -> String {
    let renderer = match color {
        Color::Always => Renderer::styled(),
        Color::Never => Renderer::plain(),
    };
    let renderer = renderer.term_width(columns.max(NARROWEST));
    let mut out = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let report = report(diagnostic, read, folder);
        if diagnostic.places.is_empty() {
            // Without an excerpt, the line that leads from it to its hints would lead from nothing.
            for group in report {
                out.push_str(&renderer.render(&[group]));
                out.push('\n');
            }
            continue;
        }
        out.push_str(&renderer.render(&report));
        out.push('\n');
    }
    out
}

fn report(
    diagnostic: &Diagnostic,
    read: &dyn Fn(&ReleasePath) -> Option<String>,
    folder: &Path,
) -> Vec<Group<'static>> {
    let title = Level::ERROR.primary_title(harmless(&diagnostic.message));
    let mut group = Group::with_title(title);
    let mut places: &[Place] = &diagnostic.places;
    let mut kind = AnnotationKind::Primary;
    while let Some(first) = places.first() {
        let file = &first.span.file;
        let same = places.iter().take_while(|place| place.span.file == *file).count();
        let (here, rest) = places.split_at(same);
        let path = match file.as_str() {
            expression::PLACE => file.to_string(),
            file => folder.join(file).display().to_string(),
        };
        group = match read(file) {
            Some(text) => group.element(excerpt(&text, path, here, kind)),
            None => {
                let span = &first.span;
                let (line, column) = (span.line as usize, span.column as usize);
                group.element(Origin::path(harmless(&path)).line(line).char_column(column))
            }
        };
        kind = AnnotationKind::Context;
        places = rest;
    }
    let helps = diagnostic.hints.iter().map(|hint| {
        let title = Level::HELP.secondary_title(harmless(hint));
        Group::with_title(title)
    });
    std::iter::once(group).chain(helps).collect()
}

/// The lines of `text` from the first to the last of `places`, which are all in it.
fn excerpt(
    text: &str,
    path: String,
    places: &[Place],
    first_kind: AnnotationKind,
) -> Snippet<'static, Annotation<'static>> {
    let numbers = || places.iter().map(|place| place.span.line.max(1) as usize);
    let (first, last) = (numbers().min().unwrap_or(1), numbers().max().unwrap_or(1));
    let lines: Vec<&str> = text
        .trim_start_matches('\u{feff}')
        .split('\n')
        .skip(first - 1)
        .take(last + 1 - first)
        .collect();
    let mut source = String::new();
    let mut starts = Vec::new();
    for line in &lines {
        starts.push(source.len());
        source.push_str(line.trim_end_matches('\r'));
        source.push('\n');
    }
    source.pop();
    let mut snippet = Snippet::source(source).line_start(first).path(harmless(&path));
    let mut kind = first_kind;
    for Place { span, label } in places {
        let index = span.line.max(1) as usize - first;
        let line = lines.get(index).map_or("", |line| line.trim_end_matches('\r'));
        let start = starts.get(index).copied().unwrap_or(0);
        let offset = |column: usize| {
            let byte = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
            start + byte
        };
        let column = span.column.max(1) as usize - 1;
        let bytes = offset(column)..offset(column + span.length as usize);
        let label = (!label.is_empty()).then(|| harmless(label));
        snippet = snippet.annotation(kind.span(bytes).label(label));
        kind = AnnotationKind::Context;
    }
    snippet
}

/// The text without what could move a terminal's cursor or hide something.
fn harmless(text: &str) -> String {
    let bidi = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if c != '\n' && c.is_control() || bidi(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    const TEXT: &str =
        "package(#{\n    name: \"ö\",\n    build_depends: [\"libgret-dev (>= 1.0)\"],\n";

    fn span(file: &str, line: u32, column: u32, length: u32) -> Span {
        Span { file: file.parse().expect("plain"), line, column, length }
    }

    #[track_caller]
    fn check(diagnostic: Diagnostic, expected: &str) {
        let read = |path: &ReleasePath| (path.as_str() == "greet.rhai").then(|| TEXT.to_owned());
        let text =
            diagnostics(&[diagnostic], &read, Path::new("specs/demo"), Color::Never, COLUMNS);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn shows_an_excerpt_a_caret_and_help() {
        check(
            Diagnostic::new("unknown-name", "unknown build dependency `libgret-dev`")
                .at(span("greet.rhai", 3, 21, 11), "nobody has it")
                .hint("did you mean `libgreet-dev`?"),
            "\
error: unknown build dependency `libgret-dev`
 --> specs/demo/greet.rhai:3:21
  |
3 |     build_depends: [\"libgret-dev (>= 1.0)\"],
  |                     ^^^^^^^^^^^ nobody has it
  |
help: did you mean `libgreet-dev`?
",
        );
    }

    #[test]
    fn shows_several_places_and_those_without_text() {
        check(
            Diagnostic::new("x", "two\u{1b}[31m places")
                .at(span("greet.rhai", 2, 11, 3), "")
                .at(span("greet.rhai", 1, 1, 7), "of this")
                .at(span("gone.rhai", 9, 2, 0), "lost"),
            "\
error: two\u{fffd}[31m places
 --> specs/demo/greet.rhai:2:11
  |
1 | package(#{
  | ------- of this
2 |     name: \"ö\",
  |           ^^^
 ::: specs/demo/gone.rhai:9:2
",
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let text =
            format!("let a = \"{}\"; let b = cma; // {}\n", "x".repeat(300), "y".repeat(300));
        for columns in [40, 80, 140] {
            let read = |_: &ReleasePath| Some(text.clone());
            let diagnostic = Diagnostic::new("x", "wrong").at(span("a.rhai", 1, 322, 3), "here");
            let text = diagnostics(&[diagnostic], &read, Path::new(""), Color::Never, columns);
            assert!(text.contains("let b = cma;") && text.contains("^^^ here"), "{text}");
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= columns), "{text}");
        }
    }

    #[test]
    fn a_place_beyond_the_text_does_no_harm() {
        for place in [
            span("greet.rhai", 99, 1, 5),
            span("greet.rhai", 2, 900, 900),
            span("greet.rhai", 0, 0, 0),
        ] {
            let read = |_: &ReleasePath| Some(TEXT.to_owned());
            let diagnostic = Diagnostic::new("x", "beyond").at(place, "");
            let text = diagnostics(&[diagnostic], &read, Path::new(""), Color::Always, 0);
            assert!(text.contains("beyond"));
        }
    }
}
