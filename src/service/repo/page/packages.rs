//! The packages of a suite, and one of them.

use super::{Bytes, Page, asked, count};
use crate::archive::deb::control::{Paragraph, folded, paragraphs};
use crate::service::answer::{Answer, Request};
use crate::service::repo::Depot;
use crate::service::repo::view::{Entry, Kind, Suite, View, summary};

/// The longest text that is looked for, in characters.
const LONGEST_QUERY: usize = 100;

/// Fields that are shown as they are.
const PLAIN: [&str; 8] = [
    "Section",
    "Priority",
    "Essential",
    "Multi-Arch",
    "Installed-Size",
    "Maintainer",
    "Built-Using",
    "Format",
];

/// Fields that name packages.
const RELATIONS: [&str; 15] = [
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Suggests",
    "Enhances",
    "Provides",
    "Breaks",
    "Conflicts",
    "Replaces",
    "Build-Depends",
    "Build-Depends-Arch",
    "Build-Depends-Indep",
    "Build-Conflicts",
    "Build-Conflicts-Arch",
    "Build-Conflicts-Indep",
];

/// The packages of a suite that a request looks for.
pub fn packages(suite: &Suite, request: &Request) -> Answer {
    let query = request.field("q").unwrap_or_default();
    let query: String = query.trim().chars().take(LONGEST_QUERY).collect();
    let found = suite.search(&query);
    let (at, range) = asked(request, found.len());
    let path = format!("/browse/{}", suite.name);
    let mut page = Page::new(&format!("Packages of {}", suite.name), &[]);
    for fault in &suite.faults {
        page.raw("<p class=\"bad\">").text(fault).raw("\n");
    }
    page.raw("<form><input type=\"search\" name=\"q\" aria-label=\"Words\" placeholder=\"name or words\" value=\"");
    page.text(&query).raw("\"><button>Search</button></form>\n<p class=\"soft\">");
    page.text(count(found.len() as u64, "package"));
    if !query.is_empty() {
        page.text(format_args!(" of {} with “{query}”", suite.packages.len()));
    }
    page.raw("\n<ul class=\"list\">\n");
    for package in &found[range] {
        let entries = suite.entries(package);
        let Some(first) = entries.first() else { continue };
        page.raw("<li>").link(&format!("{path}/{}", first.name), &first.name);
        page.text(" ").text(&first.version).raw(" <span class=\"soft\">");
        let mut architectures: Vec<&str> =
            entries.iter().map(|entry| &*entry.architecture).collect();
        architectures.sort_unstable();
        architectures.dedup();
        page.text(architectures.join(" "));
        let versions = entries.chunk_by(|one, other| one.version == other.version).count();
        if versions > 1 {
            page.text(format_args!(" · {versions} versions"));
        }
        page.raw("</span>");
        let summary = summary(entries);
        if !summary.is_empty() {
            page.raw("<br><span class=\"soft\">").text(summary).raw("</span>");
        }
        page.raw("\n");
    }
    page.raw("</ul>\n");
    page.turn(found.len(), at, &path, &query);
    page.answer()
}

/// A package of a suite; none if there is none of this name.
pub fn package(depot: &Depot, view: &View, suite: &Suite, name: &str) -> Option<Answer> {
    let entries = suite.entries(suite.package(name)?);
    let above = [(suite.name.as_str(), format!("/browse/{}", suite.name))];
    let mut page = Page::new(name, &above);
    page.raw("<p class=\"soft\">").text(summary(entries)).raw("\n");
    for entry in entries {
        page.raw("<div class=\"card\">\n<h3>").text(&entry.version);
        page.raw(" <span class=\"soft\">").text(&entry.architecture).raw("</span></h3>\n");
        let text = suite.paragraph(&depot.repository, entry);
        match text.as_deref().and_then(|text| paragraphs(text).next()?.ok()) {
            Some(paragraph) => one(&mut page, depot, view, suite, entry, &paragraph),
            None => {
                page.raw("<p class=\"bad\">Its index cannot be read.\n");
            }
        }
        page.raw("</div>\n");
    }
    Some(page.answer())
}

fn one(
    page: &mut Page,
    depot: &Depot,
    view: &View,
    suite: &Suite,
    entry: &Entry,
    paragraph: &Paragraph<'_>,
) {
    if let Some((_, rest)) = paragraph.get("Description").and_then(|text| text.split_once('\n')) {
        page.raw("<p class=\"text\">");
        for line in rest.lines() {
            let line = line.strip_prefix(' ').unwrap_or(line);
            page.text(if line == "." { "" } else { line }).text("\n");
        }
    }
    let index = suite.index(entry);
    page.raw("<dl>\n").term("Component", &index.component);
    if index.kind == Kind::Installer {
        page.term("For", "the installer only");
    }
    if let Some(source) = paragraph.get("Source") {
        let source = source.split([' ', '(']).next().unwrap_or_default();
        page.raw("<dt>Source<dd>");
        named(page, suite, source);
        page.raw("\n");
    }
    for field in PLAIN {
        if let Some(value) = paragraph.get(field) {
            page.term(field, folded(value));
        }
    }
    if let Some(address) = paragraph.get("Homepage") {
        page.raw("<dt>Homepage<dd>");
        homepage(page, address);
    }
    for field in RELATIONS {
        if let Some(value) = paragraph.get(field) {
            page.raw("<dt>").text(field).raw("<dd>");
            relations(page, suite, &folded(value));
            page.raw("\n");
        }
    }
    if let Some(binaries) = paragraph.get("Binary") {
        page.raw("<dt>Builds<dd>");
        relations(page, suite, &folded(binaries));
        page.raw("\n");
    }
    page.raw("</dl>\n<ul class=\"list\">\n");
    for File { path, size, sha256 } in files(paragraph, index.kind) {
        let name = path.rsplit('/').next().unwrap_or_default();
        page.raw("<li>").link(&format!("/{path}"), name).raw(" <span class=\"soft\">");
        match size.parse() {
            Ok(size) => page.text(Bytes(size)),
            Err(_) => page.text(size),
        };
        page.raw("</span><br><code class=\"soft\">SHA-256 ").text(sha256).raw("</code>\n");
    }
    page.raw("</ul>\n");
    origin(page, depot, view, suite, entry);
}

/// How it came here, and what it was built from.
fn origin(page: &mut Page, depot: &Depot, view: &View, suite: &Suite, entry: &Entry) {
    page.raw("<dl>\n");
    let Some((number, change)) = view.brought(suite, entry) else {
        page.term("Came with", "a generation that is not kept any more");
        page.raw("</dl>\n");
        return;
    };
    page.raw("<dt>Came with<dd>");
    page.link(&format!("/browse/generation/{number}"), format_args!("generation {number}"));
    if let Some(old) = &change.old {
        page.text(format_args!(", after {old}"));
    }
    page.raw("\n");
    if let Some(payload) = &change.payload {
        page.code("Payload", payload);
    }
    if let Some(derivation) = &change.derivation {
        page.code("Derivation", derivation);
    }
    if let Some(action) = &change.action {
        page.code("Action", action);
        let known = depot.store.as_ref().and_then(|store| store.record(action).ok()?);
        page.raw("<dt>Provenance<dd>");
        match known {
            Some(_) => {
                page.link(&format!("/browse/build/{action}"), "how it was built, and its log")
            }
            None => page.raw("<span class=\"soft\">not on this machine</span>"),
        };
        page.raw("\n");
    } else {
        page.term("Provenance", "not built here");
    }
    page.raw("</dl>\n");
}

/// A file of a package: as its index tells of it.
struct File<'a> {
    path: String,
    size: &'a str,
    sha256: &'a str,
}

fn files<'a>(paragraph: &'a Paragraph<'_>, kind: Kind) -> Vec<File<'a>> {
    let field = |name: &str| paragraph.get(name).unwrap_or_default();
    if kind != Kind::Sources {
        let path = field("Filename").to_owned();
        return vec![File { path, size: field("Size"), sha256: field("SHA256") }];
    }
    let lines = field("Checksums-Sha256").lines();
    let files = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (sha256, size, name) = (words.next()?, words.next()?, words.next()?);
        Some(File { path: format!("{}/{name}", field("Directory")), size, sha256 })
    });
    files.collect()
}

/// Names of packages, those that the suite has as links.
fn relations(page: &mut Page, suite: &Suite, value: &str) {
    for piece in value.split_inclusive([',', '|']) {
        let end = piece.trim_start().find([' ', ',', '|', '(', ':', '[', '<']);
        let blank = piece.len() - piece.trim_start().len();
        let name = &piece[blank..end.map_or(piece.len(), |end| blank + end)];
        page.text(&piece[..blank]);
        named(page, suite, name);
        page.text(&piece[blank + name.len()..]);
    }
}

fn named(page: &mut Page, suite: &Suite, name: &str) {
    match suite.package(name) {
        Some(_) => page.link(&format!("/browse/{}/{name}", suite.name), name),
        None => page.text(name),
    };
}

/// A link elsewhere, if it is an address of the web.
fn homepage(page: &mut Page, address: &str) {
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    if is_web && !address.contains(char::is_whitespace) {
        page.raw("<a rel=\"nofollow noreferrer\" href=\"").text(address).raw("\">");
        page.text(address).raw("</a>\n");
    } else {
        page.text(address).raw("\n");
    }
}
