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
        let rows = self.rows_above_cursor(size.columns);
        if rows > 0 {
            bytes.push_str(&format!("\x1b[{rows}A"));
        }
        bytes.push_str("\x1b[J");
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

    fn rows_above_cursor(&self, columns: usize) -> usize {
        let above = self.widths.split_last().map_or(&[][..], |(_, above)| above);
        above.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum()
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
        let erased = |drawn: &str| {
            let drawn = drawn.strip_prefix("\x1b[?2026h\r").expect("it begins so");
            let (up, _) = drawn.split_once("\x1b[J").expect("it erases");
            let up = up.strip_prefix("\x1b[").and_then(|up| up.strip_suffix('A'));
            up.map_or(0, |rows| rows.parse().expect("a number"))
        };
        let three = [line(79), line(20), line(60)];
        assert_eq!(erased(&draw(&three, 80)), 0, "there was nothing");
        assert_eq!(erased(&draw(&three, 80)), 2);
        assert_eq!(erased(&draw(&three, 30)), 3 + 1, "the last one wraps below the cursor");
        assert_eq!(erased(&draw(&[], 7)), 12 + 3);
        assert_eq!(erased(&draw(&three, 80)), 0, "there was nothing any more");
    }
}
