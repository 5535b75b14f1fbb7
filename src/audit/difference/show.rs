//! Differences on a screen.

use super::{Change, Difference, Layer, What};
use crate::base::Digest;

impl Difference {
    /// The first `most` changes, each in a few lines; at the end how many more there are. What
    /// could move a cursor is escaped.
    pub fn text(&self, most: usize) -> String {
        if self.is_none() {
            return "the same bytes\n".to_owned();
        }
        let mut out = format!("{}\n", self.sizes());
        let mut layer = None;
        for change in self.changes.iter().take(most) {
            if layer.replace(change.layer) != Some(change.layer) {
                out.push_str(heading(change.layer));
            }
            change.show(&mut out);
        }
        let shown = self.changes.len().min(most) as u64;
        if self.total > shown {
            out.push_str(&format!("  … and {} more\n", self.total - shown));
        }
        out
    }

    fn sizes(&self) -> String {
        let short = |digest: &Digest| digest.short();
        format!(
            "{} ({} bytes) -> {} ({} bytes)",
            short(&self.old.blake3),
            self.old.size,
            short(&self.new.blake3),
            self.new.size
        )
    }
}

fn heading(layer: Layer) -> &'static str {
    match layer {
        Layer::Members => "members\n",
        Layer::Control => "control fields\n",
        Layer::Files => "files\n",
    }
}

impl Change {
    fn show(&self, out: &mut String) {
        let at = self.at.join(": ");
        let place = if at.is_empty() { "the file itself" } else { at.as_str() };
        let said = match &self.what {
            What::Added => "only in the second".to_owned(),
            What::Removed => "only in the first".to_owned(),
            What::Order => "other order from here on".to_owned(),
            What::Attribute { name, old, new, members } => {
                let also = match members {
                    1 => String::new(),
                    more => format!(" (and {} more members)", more - 1),
                };
                format!("{name} {} -> {}{also}", quoted(old), quoted(new))
            }
            What::Field { name, old, new } => {
                let value = |value: &Option<String>| {
                    value.as_deref().map_or_else(|| "not there".to_owned(), quoted)
                };
                format!("{name} {} -> {}", value(old), value(new))
            }
            What::Text { .. } => "text".to_owned(),
            What::Bytes { first, old_size, new_size, .. } if old_size == new_size => {
                format!("from byte {first} of {old_size}")
            }
            What::Bytes { first, old_size, new_size, .. } => {
                format!("from byte {first}; {old_size} -> {new_size} bytes")
            }
            What::Packing => "the same content, packed otherwise".to_owned(),
            What::Follows => "follows from the files".to_owned(),
            What::Unread { why } => why.clone(),
        };
        out.push_str(&format!("  {}  {}\n", plain(place), plain(&said)));
        match &self.what {
            What::Text { diff, left_out } => {
                for line in diff.lines() {
                    out.push_str(&format!("    {}\n", plain(line)));
                }
                if *left_out > 0 {
                    out.push_str(&format!("    … and {left_out} more lines\n"));
                }
            }
            What::Bytes { old, new, .. } => {
                out.push_str(&format!("    - {old}\n    + {new}\n"));
            }
            _ => {}
        }
    }
}

fn quoted(text: &str) -> String {
    format!("`{}`", text.trim())
}

/// The text without what a terminal would obey.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => out.push(letter),
            letter if letter.is_control() => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    out
}
