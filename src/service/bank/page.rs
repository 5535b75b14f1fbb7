//! What a bank says of itself, for people and for apt.

use std::fmt::Write as _;

use super::Bank;
use super::pinned::{Archive, Pinned};
use crate::service::answer::Answer;
use crate::service::html::{escaped, href};

/// The page that says what there is.
pub(super) fn index(bank: &Bank, host: &str) -> Answer {
    let mut text = String::from(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Snapshot bank</title>\n\
         <h1>Snapshot bank</h1>\n<p>What releases were built from, read-only. Nothing here has to \
         be believed: every file is named by its digest, or listed by an index that the \
         archive itself has signed.\n",
    );
    for release in &bank.releases {
        let _ = writeln!(text, "<h2>{}</h2>", escaped(&release.title));
        for archive in &release.archives {
            section(&mut text, bank, release, archive, host);
        }
        for root in &release.roots {
            let path = format!("/release/{}/root/{}", release.title, root.name);
            let _ = writeln!(
                text,
                "<p>Root {}: <a href=\"{}\">the exact list</a> of its {} packages.",
                escaped(&root.name),
                href(&path),
                root.packages.len(),
            );
        }
    }
    text.push_str(
        "<h2>By digest</h2>\n<ul>\n<li><code>/objects/BLAKE3</code>, \
         <code>/by-hash/SHA256/SHA256</code>: files\n<li><code>/json/BLAKE3</code>: derivations, \
         actions, records, manifests\n<li><code>/records/ACTION</code>: which records an action \
         has\n</ul>\n",
    );
    Answer::page(text)
}

fn section(text: &mut String, bank: &Bank, release: &Pinned, archive: &Archive, host: &str) {
    let states = bank.releases.iter().filter_map(|one| one.archive(&archive.name));
    let base = match states.into_iter().all(|one| one.pins(archive)) {
        true => format!("archive/{}", archive.name),
        false => format!("release/{}/archive/{}", release.title, archive.name),
    };
    let tally = archive.tally;
    let _ = write!(
        text,
        "<h3>Archive {}</h3>\n<p>{} of {} binary packages and {} of {} source files that it lists \
         were here when this server began.\n",
        escaped(&archive.name),
        tally.packages_held,
        tally.packages,
        tally.sources_held,
        tally.sources,
    );
    for suite in &archive.suites {
        let _ = writeln!(text, "<p>Suite {} of {}.", escaped(&suite.name), escaped(&suite.date));
        for path in &suite.lacks {
            let _ = writeln!(text, "<p>Its index {} is not here.", escaped(path));
        }
    }
    let name = &archive.name;
    let _ = write!(
        text,
        "<p>For apt, as <code>/etc/apt/sources.list.d/{0}.sources</code> \
         (<a href=\"{1}\">as a file</a>):\n<pre>{2}</pre>\n\
         <p>For perestroika: <code>--mirror {0}=http://{3}/{4}</code>\n",
        escaped(name),
        href(&format!("/{base}/{name}.sources")),
        escaped(&sources(archive, host, &base)),
        escaped(host),
        escaped(&base),
    );
}

/// The archive in apt's words (sources.list(5)).
pub(super) fn sources(archive: &Archive, host: &str, base: &str) -> String {
    let words = |list: Vec<&str>| list.join(" ");
    let mut text = String::new();
    let (keyring, digest) = &archive.keyring;
    let digest = digest.map(|digest| format!(", SHA-256 {digest}")).unwrap_or_default();
    let path = format!("/etc/apt/keyrings/{}.gpg", archive.name);
    let _ = writeln!(
        text,
        "# `Signed-By` is yours to fill: the archive's keys, from a machine that you trust.\n\
         # The release was locked with its file `{keyring}`{digest}."
    );
    let types = if archive.has_sources { "deb deb-src" } else { "deb" };
    // apt gives a suite up altogether where it lacks anything that its Release file lists and that
    // apt would like to have: translations, icons.
    let targets = if archive.has_sources { "Packages Sources" } else { "Packages" };
    let suites = words(archive.suites.iter().map(|suite| suite.name.as_str()).collect());
    let components = words(archive.components.iter().map(String::as_str).collect());
    let architectures = words(archive.architectures.iter().map(|one| one.as_str()).collect());
    let _ = writeln!(
        text,
        "Types: {types}\nURIs: http://{host}/{base}\nSuites: {suites}\nComponents: {components}\n\
         Architectures: {architectures}\nTargets: {targets}\nSigned-By: {path}"
    );
    if archive.suites.iter().any(|suite| suite.valid_until.is_some()) {
        // Its Release file is kept as it was signed, long after it was meant to be replaced.
        text.push_str("Check-Valid-Until: no\n");
    }
    text
}
