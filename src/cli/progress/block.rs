//! A few lines at the end of a terminal that are drawn again and again.
//!
//! Each drawing is one write, and says to terminals that know of it that it belongs together
//! (DEC private mode 2026), so nothing flickers. The lines are never as wide as the terminal and
//! are drawn with wrapping off, so each takes one row. When the terminal gets narrower it wraps
//! what was drawn, so that it takes more rows: those are counted from the widths that the lines
//! had. The cursor rests in the first column of the last line, where it stays when rows wrap,
//! and is not hidden: there is nothing to restore when the program is killed.

use std::io::Write;

use super::text::Line;

/// The lines that were drawn.
#[derive(Default)]
pub struct Block {
    widths: Vec<usize>,
    /// How large the terminal was.
    size: Option<Size>,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many columns it has.
    pub columns: usize,
    /// How many rows it has.
    pub rows: usize,
}

impl Block {
    /// Draws the lines in place of those that were drawn before, and first of all prints `above`,
    /// which stays.
    pub fn draw(&mut self, out: &mut dyn Write, above: &[String], lines: &[Line], size: Size) {
        let mut bytes = String::from("\x1b[?2026h\r");
        self.erase(size.columns, &mut bytes);
        if self.size.replace(size).is_some_and(|last| last != size) {
            // Rows that left by the top of the terminal cannot be erased. tmux brings them back
            // when it gets higher, unless it was cleared in between from its very first cell.
            bytes.push_str(" \r\x1b[J");
        }
        for text in above {
            bytes.push_str(text);
            bytes.push_str("\r\n");
        }
        bytes.push_str("\x1b[?7l");
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                bytes.push_str("\r\n");
            }
            bytes.push_str(line.as_str());
        }
        bytes.push_str("\x1b[?7h\r\x1b[?2026l");
        self.widths = lines.iter().map(Line::width).collect();
        // Whoever closed standard error does not want it.
        let _ = out.write_all(bytes.as_bytes()).and_then(|()| out.flush());
    }

    /// Forgets the lines: they stay where they are.
    pub fn forget(&mut self) {
        self.widths.clear();
    }

    /// Erases the lines, and leaves the cursor where the first of them began. Row by row: what is
    /// erased in one go down from the first row of a terminal, some move to their history.
    fn erase(&self, columns: usize, bytes: &mut String) {
        let rows = |width: &usize| width.div_ceil(columns.max(1)).max(1);
        let all: usize = self.widths.iter().map(rows).sum();
        let above = all - self.widths.last().map_or(0, rows);
        if above > 0 {
            bytes.push_str(&format!("\x1b[{above}A"));
        }
        if all > 0 {
            // The cursor stops at the last row: it goes back to where it was, not up so many.
            bytes.push_str(&format!("\x1b7\x1b[2K{}\x1b8", "\x1b[B\x1b[2K".repeat(all - 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::text::Style;

    #[test]
    fn a_drawing_erases_every_row_that_the_last_one_takes_now() {
        let line = |width: usize| {
            let mut line = Line::new(width, false);
            line.push(Style::Plain, &"x".repeat(width));
            line
        };
        let mut block = Block::default();
        let mut draw = |lines: &[Line], columns: usize| {
            let mut out = Vec::new();
            block.draw(&mut out, &[], lines, Size { columns, rows: 24 });
            String::from_utf8(out).expect("it draws text")
        };
        // How far it goes up, and how many rows it erases from there.
        let erased = |drawn: &str| {
            let drawn = drawn.strip_prefix("\x1b[?2026h\r").expect("it begins so");
            let (up, rest) = drawn.split_once("\x1b7").unwrap_or_default();
            let up = up.strip_prefix("\x1b[").and_then(|up| up.strip_suffix('A'));
            let rows = rest.matches("\x1b[2K").count();
            (up.map_or(0, |rows| rows.parse().expect("a number")), rows)
        };
        let three = [line(79), line(20), line(60)];
        assert_eq!(erased(&draw(&three, 80)), (0, 0), "there was nothing");
        assert_eq!(erased(&draw(&three, 80)), (2, 3));
        let wrapped = (3 + 1, 3 + 1 + 2);
        assert_eq!(erased(&draw(&three, 30)), wrapped, "the last one wraps below the cursor");
        assert_eq!(erased(&draw(&[], 7)), (12 + 3, 12 + 3 + 9));
        assert_eq!(erased(&draw(&three, 80)), (0, 0), "there was nothing any more");
    }
}
