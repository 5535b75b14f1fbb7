//! The pages of a repository: plain HTML that runs nothing and fetches nothing.

mod build;
mod generations;
mod packages;
mod suites;

use std::fmt::{self, Display, Write as _};

use jiff::Timestamp;

use crate::service::answer::{Answer, Request};
use crate::service::html::{escaped, href};

pub(super) use build::build;
pub(super) use generations::{generation, generations};
pub(super) use packages::{package, packages};
pub(super) use suites::{nothing, sources_file, suites};

const STYLE: &str = include_str!("page/style.css");

/// How many of a list are on one page.
const PAGE: usize = 100;

/// A page under construction. Whatever is written into it is escaped.
struct Page {
    html: String,
}

impl Page {
    /// A page with this title, below these: what they are called, and where they are.
    fn new(title: &str, above: &[(&str, String)]) -> Self {
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
             <style>\n{STYLE}</style>\n<nav><a href=\"/\">Suites</a>\
             <a href=\"/browse/generations\">Generations</a>",
            escaped(title),
        );
        for (name, path) in above {
            let _ = write!(html, "<a href=\"{}\">{}</a>", href(path), escaped(name));
        }
        let _ = write!(html, "</nav>\n<h1>{}</h1>\n", escaped(title));
        Self { html }
    }

    /// Markup of ours, as it is.
    fn raw(&mut self, html: &str) -> &mut Self {
        self.html.push_str(html);
        self
    }

    /// Text, whoever wrote it.
    fn text(&mut self, text: impl Display) -> &mut Self {
        self.html.push_str(&escaped(&text.to_string()));
        self
    }

    /// A link within this server.
    fn link(&mut self, path: &str, text: impl Display) -> &mut Self {
        let text = text.to_string();
        let _ = write!(self.html, "<a href=\"{}\">{}</a>", href(path), escaped(&text));
        self
    }

    /// A line of a list of terms.
    fn term(&mut self, term: &str, text: impl Display) -> &mut Self {
        self.raw("<dt>").text(term).raw("<dd>").text(text).raw("\n")
    }

    /// The same in the letters of programs.
    fn code(&mut self, term: &str, text: impl Display) -> &mut Self {
        self.raw("<dt>").text(term).raw("<dd><code>").text(text).raw("</code>\n")
    }

    /// Links to the page before and the one behind, of `count` items.
    fn turn(&mut self, count: usize, page: usize, path: &str, query: &str) {
        let pages = count.div_ceil(PAGE);
        if pages < 2 {
            return;
        }
        let target = |page: usize| match query {
            "" => format!("{}?page={page}", href(path)),
            query => format!("{}?q={}&amp;page={page}", href(path), href(query)),
        };
        self.raw("<p class=\"pages\">");
        if page > 1 {
            let _ = write!(self.html, "<a href=\"{}\" rel=\"prev\">Back</a>", target(page - 1));
        }
        self.raw("<span class=\"soft\">").text(format_args!("page {page} of {pages}"));
        self.raw("</span>");
        if page < pages {
            let _ = write!(self.html, "<a href=\"{}\" rel=\"next\">More</a>", target(page + 1));
        }
        self.raw("\n");
    }

    fn answer(self) -> Answer {
        Answer::page(self.html)
    }
}

/// Which page of `count` items a request asks for, counted from 1, and the items that are on it.
fn asked(request: &Request, count: usize) -> (usize, std::ops::Range<usize>) {
    let last = count.div_ceil(PAGE).max(1);
    let page = request.field("page").and_then(|page| page.parse::<usize>().ok());
    let page = page.unwrap_or(1).clamp(1, last);
    let start = (page - 1) * PAGE;
    (page, start..count.min(start + PAGE))
}

/// `3 packages`, `1 package`
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `2026-11-23 01:30 UTC`
fn time(at: Timestamp) -> impl Display {
    at.strftime("%Y-%m-%d %H:%M UTC")
}

/// The same of seconds since 1970.
fn seconds(at: i64) -> String {
    Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| time(at).to_string())
}

/// A size in bytes as people read it.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |unit: u64| (self.0 / unit, self.0 % unit * 10 / unit);
        match self.0 {
            0..1024 => f.write_str(&count(self.0, "byte")),
            1024..0x10_0000 => {
                let (whole, part) = tenths(1 << 10);
                write!(f, "{whole}.{part} KiB")
            }
            _ => {
                let (whole, part) = tenths(1 << 20);
                write!(f, "{whole}.{part} MiB")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_one_of_those_that_there_are() {
        let of = |target: &str, count| asked(&Request::new(target, None).unwrap(), count);
        assert_eq!(of("/", 0), (1, 0..0));
        assert_eq!(of("/?page=2", 250), (2, 100..200));
        assert_eq!(of("/?page=99999999999999999999", 250), (1, 0..100));
        assert_eq!(of("/?page=99", 250), (3, 200..250));
        assert_eq!(of("/?page=0", 100), (1, 0..100));
        assert_eq!(of("/?page=-1", 5), (1, 0..5));
    }

    #[test]
    fn what_strangers_wrote_is_text() {
        let mut page = Page::new("<script>", &[("\"><b>", "/a\"b".to_owned())]);
        page.text("<i>").link("/x?\"<", "</a>").term("<", "'").turn(500, 2, "/p", "a&b=\"<");
        let html = page.html;
        for bad in ["<script>", "<b>", "<i>", "</a></a>", "b=\"<", "\"<"] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        assert!(html.contains("?q=a%26b%3D%22%3C&amp;page=3"), "{html}");
    }

    #[test]
    fn sizes_are_told_in_the_next_larger_unit() {
        for (size, told) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")]
        {
            assert_eq!(Bytes(size).to_string(), told);
        }
    }
}
