//! What there is, and how a client uses it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use jiff::Timestamp;

use super::{Page, count, seconds, time};
use crate::archive::deb::signature::fit_to_sign;
use crate::publish::Reason;
use crate::publish::layout::KEYS;
use crate::service::answer::{Answer, Status};
use crate::service::repo::Depot;
use crate::service::repo::files::Opened;
use crate::service::repo::view::{Suite, View};
use crate::spec::release::DEBUG;

/// The most files of keys that are looked at.
const KEY_FILES: usize = 64;
/// The largest key that is looked at, in bytes.
const LARGEST_KEY: u64 = 1 << 20;
/// How many generations are on the first page.
const RECENT: usize = 8;

/// The page of a repository that nothing was published to.
pub fn nothing() -> Answer {
    let mut page = Page::new("Package repository", &[]);
    page.raw("<p>Nothing was published to it yet.\n");
    page.answer()
}

/// The first page.
pub fn suites(depot: &Depot, view: &View, host: &str) -> Answer {
    let origin = view.suites.iter().find_map(|suite| suite.release.as_ref()?.origin.clone());
    let title =
        origin.map_or_else(|| "Package repository".to_owned(), |name| format!("{name}: packages"));
    let mut page = Page::new(&title, &[]);
    let keys = keys(depot);
    let now = Timestamp::now();
    for suite in &view.suites {
        section(&mut page, suite, &keys, host, now);
    }
    if view.suites.is_empty() {
        page.raw("<p>It has no suites.\n");
    }
    if !keys.is_empty() {
        listed(&mut page, &keys);
    }
    page.raw("<h2>Generations</h2>\n<ul class=\"list\">\n");
    for (number, generation) in view.kept.iter().rev().take(RECENT) {
        page.raw("<li>")
            .link(&format!("/browse/generation/{number}"), format_args!("Generation {number}"));
        page.raw(" <span class=\"soft\">").text(seconds(generation.date)).text(" · ");
        page.text(reason(&generation.reason)).text(" · ");
        page.text(count(generation.changes.len() as u64, "change")).raw("</span>\n");
    }
    page.raw("</ul>\n");
    if view.kept.len() > RECENT {
        let kept = count(view.kept.len() as u64, "generation");
        page.raw("<p>").link("/browse/generations", format_args!("All {kept} that are kept"));
    }
    page.answer()
}

fn listed(page: &mut Page, keys: &[Key]) {
    page.raw("<h2>Keys</h2>\n<p>A client believes what these keys signed. Compare a fingerprint ");
    page.raw("with one that you got elsewhere.\n<dl>\n");
    for key in keys {
        page.raw("<dt>").link(&format!("/{KEYS}/{}", key.file), &key.file).raw("<dd>");
        match &key.fingerprint {
            Some(fingerprint) => page.raw("<code>").text(grouped(fingerprint)).raw("</code>\n"),
            None => page.raw("<span class=\"soft\">not a key that may sign</span>\n"),
        };
    }
    page.raw("</dl>\n");
}

fn section(page: &mut Page, suite: &Suite, keys: &[Key], host: &str, now: Timestamp) {
    let (name, state) = (&suite.name, &suite.state);
    page.raw("<div class=\"card\">\n<h3>").link(&format!("/browse/{name}"), name);
    page.raw("</h3>\n<dl>\n").term("Packages", state.packages);
    if let Some(date) = suite.date() {
        page.term("Made", time(date));
    }
    if let Some(end) = state.valid_until {
        let is_over = end < now.as_second();
        page.raw("<dt>Valid until<dd>").text(seconds(end));
        page.raw(if is_over { " <b class=\"bad\">over: clients refuse it</b>\n" } else { "\n" });
    }
    page.term("Components", state.components.join(" "));
    page.term("Architectures", state.architectures.join(" "));
    if let Some(published) = &state.published {
        page.term("Release", format_args!("{} {}", published.name, published.version));
        page.code("Release id", published.id);
        if let Some(manifest) = &published.manifest {
            page.code("Manifest", manifest);
        }
    }
    page.raw("</dl>\n");
    for fault in &suite.faults {
        page.raw("<p class=\"bad\">").text(fault).raw("\n");
    }
    page.raw("<details><summary>How to use it</summary>\n<p>As <code>/etc/apt/sources.list.d/");
    page.text(name).raw(".sources</code>, which is also ");
    page.link(&format!("/sources/{name}.sources"), "a file").raw(":\n<pre>");
    page.text(sources(suite, keys, host)).raw("</pre>\n</details>\n</div>\n");
}

/// A suite in apt's words, as a file.
pub fn sources_file(depot: &Depot, view: &View, path: &str, host: &str) -> Answer {
    let name = path.strip_suffix(".sources");
    let found = name.and_then(|name| view.suites.iter().find(|suite| suite.name == name));
    match found {
        Some(suite) => Answer::text(Status::Found, sources(suite, &keys(depot), host)),
        None => Answer::text(Status::Missing, format!("there is no `/sources/{path}`\n")),
    }
}

/// A suite in apt's words (sources.list(5)).
fn sources(suite: &Suite, keys: &[Key], host: &str) -> String {
    let mut fit: Vec<&Key> = keys.iter().filter(|key| key.fingerprint.is_some()).collect();
    // The same key lies here in several forms, and for several suites: each is named once.
    let of_this = format!("-{}-", suite.name);
    fit.sort_by_key(|key| (!key.file.contains(&of_this), &key.file));
    let mut named = BTreeSet::new();
    fit.retain(|key| named.insert(&key.fingerprint));
    let mut text = String::new();
    for key in &fit {
        let _ = writeln!(
            text,
            "# {0} is http://{host}/{KEYS}/{0}; its fingerprint should be\n#   {1}",
            key.file,
            grouped(key.fingerprint.as_deref().unwrap_or_default()),
        );
    }
    let paths: Vec<String> =
        fit.iter().map(|key| format!("/etc/apt/keyrings/{}", key.file)).collect();
    let signed_by = match paths.is_empty() {
        true => "# `Signed-By` is yours to fill: no key lies here that may sign.\n".to_owned(),
        false => format!("Signed-By: {}\n", paths.join(" ")),
    };
    let binary = suite.state.architectures.iter().filter(|one| *one != "source" && *one != "all");
    let binary: Vec<&str> = binary.map(String::as_str).collect();
    // Who needs debug symbols adds them.
    let components = suite.state.components.iter().filter(|component| *component != DEBUG);
    let components: Vec<&str> = components.map(String::as_str).collect();
    let _ = write!(
        text,
        "Types: {}\nURIs: http://{host}/\nSuites: {}\nComponents: {}\nArchitectures: {}\n{signed_by}",
        if suite.has_sources() { "deb deb-src" } else { "deb" },
        suite.name,
        components.join(" "),
        binary.join(" "),
    );
    text
}

/// A file of the folder of keys.
struct Key {
    file: String,
    /// That of the primary key, if it may sign now.
    fingerprint: Option<String>,
}

fn keys(depot: &Depot) -> Vec<Key> {
    let entries = fs::read_dir(depot.repository.path(KEYS)).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .take(KEY_FILES)
        .collect();
    names.sort();
    let fingerprint = |name: &str| {
        let is_key = [".asc", ".pgp", ".gpg"].iter().any(|end| name.ends_with(end));
        let opened = Opened::at(&depot.repository, &format!("{KEYS}/{name}")).ok()??;
        let bytes = opened.read(LARGEST_KEY).ok().filter(|_| is_key)?;
        Some(fit_to_sign(&bytes, Timestamp::now()).ok()?.primary)
    };
    let key = |file: String| Key { fingerprint: fingerprint(&file), file };
    names.into_iter().map(key).collect()
}

/// A fingerprint in groups of four digits.
fn grouped(fingerprint: &str) -> String {
    let mut text = String::new();
    for (index, letter) in fingerprint.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push(' ');
        }
        text.push(letter);
    }
    text
}

/// Why a generation was made, in words.
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Publish => "published".to_owned(),
        Reason::Promote { from } => format!("promoted from {from}"),
        Reason::Withdraw { because } => format!("withdrawn: {because}"),
        Reason::Rollback { to } => format!("back to generation {to}"),
        Reason::Refresh => "signed anew".to_owned(),
        Reason::Adopt { from } => format!("taken over from {from}"),
    }
}
