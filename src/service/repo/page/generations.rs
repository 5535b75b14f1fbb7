//! What changed when.

use super::suites::reason;
use super::{PAGE, Page, asked, count, seconds};
use crate::publish::Generation;
use crate::service::answer::{Answer, Request};
use crate::service::repo::view::View;

/// The generations that are kept, the newest first.
pub fn generations(view: &View, request: &Request) -> Answer {
    let mut page = Page::new("Generations", &[]);
    page.raw(
        "<p>A generation is a state of all suites, signed and never changed again. Clients read ",
    );
    let live = view.number;
    page.link(&format!("/browse/generation/{live}"), format_args!("generation {live}"));
    page.raw(".\n<ul class=\"list\">\n");
    let (at, range) = asked(request, view.kept.len());
    for (number, generation) in view.kept.iter().rev().skip(range.start).take(PAGE) {
        let title = format!("Generation {number}");
        page.raw("<li>").link(&format!("/browse/generation/{number}"), title);
        page.raw(" <span class=\"soft\">").text(seconds(generation.date)).text(" · ");
        page.text(reason(&generation.reason)).text(" · ");
        page.text(count(generation.changes.len() as u64, "change")).raw("</span>\n");
    }
    page.raw("</ul>\n");
    page.turn(view.kept.len(), at, "/browse/generations", "");
    page.answer()
}

/// What a generation changed; none if it is not kept.
pub fn generation(view: &View, number: &str, request: &Request) -> Option<Answer> {
    let number: u64 = number.parse().ok()?;
    let generation: &Generation = view.kept.get(&number)?;
    let mut page = Page::new(&format!("Generation {number}"), &[]);
    page.raw("<dl>\n").term("Made", seconds(generation.date));
    page.term("Why", reason(&generation.reason));
    if let Some(previous) = &generation.previous {
        page.code("Before it", previous);
    }
    page.raw("<dt>Document<dd>");
    page.link(&format!("/generations/{number}/dists/GENERATION.json"), "GENERATION.json");
    page.raw("\n</dl>\n<h2>Suites</h2>\n<ul class=\"list\">\n");
    for (name, state) in &generation.suites {
        page.raw("<li>").link(&format!("/generations/{number}/dists/{name}/InRelease"), name);
        page.raw(" <span class=\"soft\">").text(count(state.packages, "package"));
        if let Some(published) = &state.published {
            page.text(format_args!(" · {} {}", published.name, published.version));
        }
        page.raw("</span><br><code class=\"soft\">Release ").text(state.release).raw("</code>\n");
    }
    let changes = &generation.changes;
    page.raw("</ul>\n<h2>").text(count(changes.len() as u64, "change")).raw("</h2>\n");
    let (at, range) = asked(request, changes.len());
    page.raw("<ul class=\"list\">\n");
    for change in &changes[range] {
        let is_there = view.suites.iter().find(|suite| suite.name == change.suite);
        let is_there = is_there.is_some_and(|suite| suite.package(&change.name).is_some());
        page.raw("<li>");
        match is_there {
            true => page.link(&format!("/browse/{}/{}", change.suite, change.name), &change.name),
            false => page.raw("<b>").text(&change.name).raw("</b>"),
        };
        page.text(" ");
        match (&change.old, &change.new) {
            (Some(old), Some(new)) => page.text(format_args!("{old} → {new}")),
            (None, Some(new)) => page.text(new).raw(" <span class=\"soft\">new</span>"),
            (Some(old), None) => page.text(old).raw(" <span class=\"bad\">gone</span>"),
            (None, None) => &mut page,
        };
        page.raw(" <span class=\"soft\">").text(format_args!(
            "{} · {} · {} · of {}",
            change.architecture, change.suite, change.component, change.source
        ));
        page.raw("</span>");
        if let Some(why) = &change.downgrade {
            page.raw("<br><span class=\"bad\">older than before: ").text(why).raw("</span>");
        }
        page.raw("\n");
    }
    page.raw("</ul>\n");
    page.turn(changes.len(), at, &format!("/browse/generation/{number}"), "");
    Some(page.answer())
}
