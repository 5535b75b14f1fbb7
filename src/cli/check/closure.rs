//! `check`'s word on the closure of a release: the part that is known without reading the store
//! through, as `audit closure` does.

use super::super::audit::closure::lacking;
use super::super::audit::unread;
use super::super::context::Release;
use super::super::failure::Failure;
use super::super::report::count;
use super::{Report, Seen};
use crate::audit::closure::{Basis, Certificate, Depth, certify};
use crate::audit::evidence::{Foreseen, Ground};
use crate::realise::universe::Snapshots;
use crate::realise::world::World;
use crate::spec::release::Level;

/// Adds what is known of the closure, the build roots of packages that are not built being those
/// `foreseen`.
pub fn closure(
    release: &Release,
    seen: &Seen<'_>,
    (world, snapshots): (&World<'_>, &Snapshots),
    foreseen: &Foreseen,
    report: &mut Report,
) {
    let (graph, depth) = (seen.graph, Depth::Present);
    let ground = Ground { world, graph, snapshots, depth, seen: &|_, _| {} };
    let certificate = match ground.read(seen.wanted, foreseen) {
        Ok(evidence) => certify(&evidence),
        Err(error) => return report.unchecked(&["closure"], unread(&error)),
    };
    let required = release.spec.release.closure.as_ref();
    let problems =
        lacking(&certificate, required).map_or(Vec::new(), |failure: Failure| failure.problems);
    report.add("closure", detail(&certificate), problems);
}

fn detail(certificate: &Certificate) -> String {
    let packages = certificate.packages.iter().filter(|one| one.basis != Basis::Unasked);
    let (built, rest): (Vec<_>, Vec<_>) = packages.partition(|one| one.basis == Basis::Recorded);
    let level = certificate.possible().map_or("open", Level::as_str);
    let seed = count(certificate.seed.len(), "seed package");
    let shadowed = match certificate.shadowed.len() {
        0 => String::new(),
        shadowed => format!(", {shadowed} shadowed"),
    };
    match (built.len(), rest.len()) {
        (built, 0) => format!("{level}: {} built, {seed}{shadowed}", count(built, "package")),
        (0, _) => format!("static part only, nothing is built: at most {level}, {seed}{shadowed}"),
        (built, rest) => {
            let all = count(built + rest, "package");
            format!("{built} of {all} built: at most {level}, {seed}{shadowed}")
        }
    }
}
