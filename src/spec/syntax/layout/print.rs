//! Documents that know where they may be broken, and how they are fitted into lines.

use std::collections::BTreeMap;

/// The widest line.
pub const WIDTH: usize = 100;
/// One level of indentation.
const INDENT: usize = 4;

/// A piece of a layout.
#[derive(Debug, Clone)]
pub enum Doc {
    /// What is written as it is; it may hold line ends.
    Text(String),
    /// A place where a line may end.
    Line(Line),
    /// Pieces that are broken together or not at all.
    Group(Vec<Doc>),
    /// Pieces whose lines begin one level deeper.
    Indent(Vec<Doc>),
    /// What is written only where the group is broken.
    IfBroken(&'static str),
    /// Where an item begins.
    Item,
    /// An item that its author had behind another on a line: it stays there where it fits and
    /// the other has no more than that line.
    Joined(Vec<Doc>),
}

/// How a line may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Nothing where it does not.
    Soft,
    /// A blank where it does not.
    Space,
    /// It does.
    Hard,
    /// It does, and an empty line follows.
    Blank,
}

impl Doc {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Whether it cannot be on one line.
    pub fn is_forced(&self) -> bool {
        match self {
            Self::Line(line) => matches!(line, Line::Hard | Line::Blank),
            Self::Group(inner) | Self::Indent(inner) | Self::Joined(inner) => {
                inner.iter().any(Self::is_forced)
            }
            Self::Text(_) | Self::IfBroken(_) | Self::Item => false,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Flat,
    Broken,
}

/// Writes documents one below the other.
pub fn print(docs: &[Doc]) -> String {
    let mut out = String::new();
    let mut column = 0;
    // Where the last item began, by the indentation of its list.
    let mut items: BTreeMap<usize, usize> = BTreeMap::new();
    let mut rest: Vec<(usize, Mode, &Doc)> =
        docs.iter().rev().map(|doc| (0, Mode::Broken, doc)).collect();
    while let Some((indent, mode, doc)) = rest.pop() {
        match doc {
            Doc::Text(text) => {
                out.push_str(text);
                column = match text.rsplit_once('\n') {
                    Some((_, last)) => last.chars().count(),
                    None => column + text.chars().count(),
                };
            }
            Doc::Line(Line::Soft) if mode == Mode::Flat => {}
            Doc::Line(Line::Space) if mode == Mode::Flat => {
                out.push(' ');
                column += 1;
            }
            Doc::Line(line) => {
                out.push('\n');
                if *line == Line::Blank {
                    out.push('\n');
                }
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            }
            Doc::Group(inner) => {
                let flat = !doc.is_forced() && fits(inner, &rest, WIDTH.saturating_sub(column));
                let mode = if flat { Mode::Flat } else { Mode::Broken };
                rest.extend(inner.iter().rev().map(|doc| (indent, mode, doc)));
            }
            Doc::Indent(inner) => {
                rest.extend(inner.iter().rev().map(|doc| (indent + INDENT, mode, doc)));
            }
            Doc::Item => {
                items.insert(indent, out.len());
            }
            Doc::Joined(inner) => {
                let room = WIDTH.saturating_sub(column + 1);
                let ended = items.get(&indent).is_some_and(|start| out[*start..].contains('\n'));
                if mode == Mode::Flat || (!ended && fits(inner, &rest, room)) {
                    out.push(' ');
                    column += 1;
                } else {
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', indent));
                    column = indent;
                }
                items.insert(indent, out.len());
                rest.extend(inner.iter().rev().map(|doc| (indent, mode, doc)));
            }
            Doc::IfBroken(text) if mode == Mode::Broken => {
                out.push_str(text);
                column += text.chars().count();
            }
            Doc::IfBroken(_) => {}
        }
    }
    out
}

/// Whether `inner` on one line, and what follows up to where a line may end, is no wider.
fn fits(inner: &[Doc], rest: &[(usize, Mode, &Doc)], width: usize) -> bool {
    let mut left = width;
    let mut todo: Vec<(Mode, &Doc)> = inner.iter().rev().map(|doc| (Mode::Flat, doc)).collect();
    let mut following = rest.iter().rev();
    loop {
        let (mode, doc) = match todo.pop() {
            Some(next) => next,
            None => match following.next() {
                Some((_, mode, doc)) => (*mode, *doc),
                None => return true,
            },
        };
        let mut take = |text: &str| {
            let first = text.split('\n').next().unwrap_or_default().chars().count();
            left.checked_sub(first).map(|after| left = after).is_some()
        };
        match doc {
            Doc::Text(text) => {
                if !take(text) {
                    return false;
                }
                if text.contains('\n') {
                    return true;
                }
            }
            Doc::Line(Line::Soft) if mode == Mode::Flat => {}
            Doc::Line(Line::Space) if mode == Mode::Flat => {
                if !take(" ") {
                    return false;
                }
            }
            Doc::Line(_) => return true,
            Doc::Joined(_) if mode == Mode::Broken => return true,
            Doc::Joined(inner) => {
                if !take(" ") {
                    return false;
                }
                todo.extend(inner.iter().rev().map(|doc| (mode, doc)));
            }
            Doc::Group(inner) | Doc::Indent(inner) => {
                todo.extend(inner.iter().rev().map(|doc| (mode, doc)));
            }
            Doc::Item => {}
            Doc::IfBroken(text) => {
                if mode == Mode::Broken && !take(text) {
                    return false;
                }
            }
        }
    }
}
