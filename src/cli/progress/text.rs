//! Text that is as wide on a terminal as it is thought to be.

use unicode_width::UnicodeWidthChar as _;

/// The text without anything that moves the cursor, changes the direction of what follows, or is
/// as wide as the terminal sees fit.
pub fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| if c == '\t' { ' ' } else { c });
    visible.filter(|c| !c.is_control() && !is_format(*c)).collect()
}

/// Characters that are not seen but act on others: joiners, marks of direction, separators of
/// lines, variation selectors, tags.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// How many columns clean text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// As much of the text as fits into so many columns; what is cut off leaves a `…`.
pub fn clip(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let fits = |c: &char| {
        let fits = columns(*c) <= left;
        left = left.saturating_sub(columns(*c));
        fits
    };
    let mut clipped: String = text.chars().take_while(fits).collect();
    if room > 0 {
        clipped.push('…');
    }
    clipped
}

/// How a part of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the terminal has it.
    Plain,
    /// Less than the rest.
    Faint,
    /// What is being done.
    Doing,
    /// Well.
    Good,
    /// Not well.
    Bad,
    /// Worth a look.
    Notable,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Faint => "\x1b[2m",
            Self::Doing => "\x1b[36m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[1;31m",
            Self::Notable => "\x1b[33m",
        }
    }
}

/// A line of at most so many columns, put together from the left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    text: String,
    width: usize,
    room: usize,
    colour: bool,
}

impl Line {
    /// An empty line.
    pub fn new(room: usize, colour: bool) -> Self {
        Self { text: String::new(), width: 0, room, colour }
    }

    /// Appends as much of a text as there is room for.
    pub fn push(&mut self, style: Style, text: &str) {
        let clipped = clip(text, self.room - self.width);
        self.width += width(&clipped);
        match style.code() {
            code if self.colour && !code.is_empty() && !clipped.is_empty() => {
                self.text.push_str(&format!("{code}{clipped}\x1b[0m"));
            }
            _ => self.text.push_str(&clipped),
        }
    }

    /// Appends spaces up to a column, if the line is not there yet.
    pub fn pad(&mut self, column: usize) {
        let spaces = column.min(self.room).saturating_sub(self.width);
        self.push(Style::Plain, &" ".repeat(spaces));
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its text, with the codes of its colours.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_takes_more_columns_than_it_has() {
        let hostile = "字幕\u{1f469}\u{200d}\u{1f4bb}e\u{301}\u{202e}abc\x1b[2J\u{9b}H\t👍🏽\u{fe0f}";
        let cleaned = clean(hostile);
        assert!(!cleaned.contains(['\x1b', '\u{9b}', '\t', '\u{202e}', '\u{200d}', '\u{fe0f}']));
        for room in 0..40 {
            let mut line = Line::new(room, true);
            line.push(Style::Plain, "  ");
            line.push(Style::Doing, &cleaned);
            line.push(Style::Faint, &cleaned);
            line.pad(30);
            assert!(line.width() <= room, "{room}: {line:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_marked() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdef", 5), "abcd…");
        assert_eq!(clip("字字字", 4), "字…");
        assert_eq!(clip("abc", 1), "…");
        assert_eq!(clip("abc", 0), "");
    }
}
