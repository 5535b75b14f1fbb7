//! The indexes of a suite: their paths, and the text of their rows.

pub mod contents;
pub mod packages;
pub mod release;
pub mod sources;

/// The fields of this paragraph but those named, each with its continuation lines, as written.
fn without<'a>(paragraph: &'a str, left_out: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let mut taken = true;
    paragraph.lines().filter(move |line| {
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default();
            taken =
                !left_out.iter().any(|known| known.eq_ignore_ascii_case(name)) && !line.is_empty();
        }
        taken
    })
}
