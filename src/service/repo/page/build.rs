//! How something was built.

use super::{Page, count, time};
use crate::base::Digest;
use crate::service::answer::Answer;
use crate::service::repo::Depot;
use crate::service::repo::evidence::{Evidence, end_of_log, find, unknown};
use crate::service::repo::view::View;

/// How much of a log is on the page, in bytes.
const LOG: usize = 48 << 10;

/// What the names of facts about a container begin with.
const OUTER: &str = "outer ";

/// The page of the build with this id.
pub fn build(depot: &Depot, view: &View, action: &str) -> Answer {
    let (Some(store), Some(evidence)) = (&depot.store, find(depot, view, action)) else {
        return unknown(action);
    };
    let Evidence { record, digest, root, builds, divergent, .. } = &evidence;
    let mut page = Page::new(&title(&evidence), &[]);
    let path = format!("/browse/build/{action}");
    page.raw(
        "<p>Each document is named by the BLAKE3 of its bytes, as <code>b3sum</code> counts \
              it.\n<dl>\n",
    );
    let mut named = |term: &str, file: &str, name: &Digest| {
        page.raw("<dt>").text(term).raw("<dd><a href=\"").text(format_args!("{path}/{file}"));
        page.raw("\"><code>").text(name).raw("</code></a>\n");
    };
    named("Derivation", "derivation.json", &record.derivation.digest());
    named("Action", "action.json", &evidence.action.digest());
    named("Record", "record.json", digest);
    if evidence.statement(store).is_some() {
        page.raw("<dt>Statement<dd>").link(&format!("{path}/provenance.json"), "SLSA provenance");
        page.raw(
            " <span class=\"soft\">(in-toto; <code>audit provenance</code> signs it)</span>\n",
        );
    }
    let began = jiff::Timestamp::from_second(record.started).unwrap_or_default();
    page.term("Begun", time(began));
    page.term("Took", format_args!("{}.{} s", record.elapsed / 1000, record.elapsed % 1000 / 100));
    page.term("Why", &record.cause);
    let recorded = count(*builds as u64, "build");
    match divergent {
        true => page
            .raw("<dt>Recorded<dd>")
            .text(recorded)
            .raw(" <b class=\"bad\">with different results</b>\n"),
        false if *builds > 1 => {
            page.term("Recorded", format_args!("{recorded}, all with the same result"))
        }
        false => page.term("Recorded", recorded),
    };
    page.raw("</dl>\n<h2>What came of it</h2>\n<ul class=\"list\">\n");
    for output in &record.outputs {
        page.raw("<li>").text(&output.file).raw(" <span class=\"soft\">");
        page.text(super::Bytes(output.size)).raw("</span><br><code class=\"soft\">SHA-256 ");
        page.text(output.sha256).raw("<br>BLAKE3 ").text(output.blake3).raw("</code>\n");
    }
    page.raw("</ul>\n<h2>Log</h2>\n");
    match end_of_log(store, &record.log, LOG) {
        Some((end, cut)) => {
            page.raw("<p>").link(&format!("{path}/log"), "The whole log");
            page.raw(if cut { " <span class=\"soft\">(this is its end)</span>\n" } else { "\n" });
            page.raw("<pre class=\"log\">").text(end).raw("</pre>\n");
        }
        None => {
            page.raw("<p class=\"soft\">It is not kept on this machine.\n");
        }
    }
    let packages: usize = root.iter().map(Vec::len).sum();
    page.raw("<h2>Build root</h2>\n<details><summary>").text(count(packages as u64, "package"));
    page.text(format_args!(" in {}", count(root.len() as u64, "layer"))).raw("</summary>\n");
    for layer in root {
        page.raw("<ul class=\"list\">\n");
        for one in layer {
            page.raw("<li>").text(&one.name).text(" ").text(&one.version);
            page.raw(" <span class=\"soft\">").text(&one.architecture);
            page.raw("</span><br><code class=\"soft\">").text(one.sha256).raw("</code>\n");
        }
        page.raw("</ul>\n");
    }
    page.raw("</details>\n");
    let (around, own): (Vec<_>, Vec<_>) =
        record.receipt.iter().partition(|(name, _)| name.starts_with(OUTER));
    facts(&mut page, "Isolation", &own);
    facts(&mut page, "The container around it", &around);
    facts(&mut page, "Circumstances", &record.circumstances.iter().collect::<Vec<_>>());
    page.answer()
}

/// Facts by name, if there are any.
fn facts(page: &mut Page, heading: &str, facts: &[(&String, &String)]) {
    if facts.is_empty() {
        return;
    }
    page.raw("<h2>").text(heading).raw("</h2>\n<dl>\n");
    for (name, fact) in facts {
        page.term(name.strip_prefix(OUTER).unwrap_or(name), fact);
    }
    page.raw("</dl>\n");
}

/// `greet 1.0-1 amd64`
fn title(evidence: &Evidence) -> String {
    let of = |key: &str| match &evidence.document {
        crate::base::Json::Object(members) => match members.get(key) {
            Some(crate::base::Json::String(text)) => text.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    format!("{} {} {}", of("name"), of("version"), of("architecture"))
}
