//! Whether the names that packages ask for exist: a better word than the solver's, earlier.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::{Extent, Graph, Origin, Wanted};
use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, Diagnostic, PackageName, Span, nearest};
use crate::spec::Spec;

/// The packages of each root's archive.
pub type Indexes<'a> = BTreeMap<DerivationId, &'a [Vec<Arc<BinaryPackage>>]>;

/// The packages that a `[root.NAME]` names and its pinned archive does not have. Roots of which
/// `indexes` has no packages are left unchecked.
pub fn unknown_in_roots(spec: &Spec, graph: &Graph, indexes: &Indexes<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (id, indexes) in indexes {
        let Some(Origin::Root { name, archive }) = graph.node(*id).map(|node| &node.origin) else {
            continue;
        };
        let Some(root) = spec.release.roots.get(name) else { continue };
        let known: HashSet<&str> =
            indexes.iter().flatten().map(|package| package.name.as_str()).collect();
        for package in root.packages.iter().filter(|one| !known.contains(one.value.as_str())) {
            let message = format!("root `{name}` asks for an unknown package `{}`", package.value);
            let error = Diagnostic::new("unknown-package", message)
                .at(package.span.clone(), format!("archive `{archive}` does not have it"));
            let error = match nearest(package.value.as_str(), known.iter().copied()) {
                Some(near) => error.hint(format!("archive `{archive}` has `{near}`")),
                None => error,
            };
            // Roots of several architectures say it once.
            if !found.contains(&error) {
                found.push(error);
            }
        }
    }
    found
}

/// Everything that is asked for and that neither the release nor the pinned archive has, with
/// its place in the spec. Roots of which `indexes` has no packages are left unchecked. Of a graph
/// that has only a part of the release, it says so: the rest may have what is asked for.
pub fn unknown(graph: &Graph, indexes: &Indexes<'_>, extent: Extent) -> Vec<Diagnostic> {
    let mut own: BTreeMap<&str, &Span> = BTreeMap::new();
    for (node, package) in graph.packages() {
        if let Origin::Package(origin) = &node.origin {
            own.extend(package.binaries.iter().map(|name| (name.as_str(), &origin.span)));
        }
    }
    let mut found = Vec::new();
    for (root, indexes) in indexes {
        let archive: HashSet<&str> =
            indexes.iter().flatten().map(|package| package.name.as_str()).collect();
        let mut asked: Vec<(&Wanted, &Span, &PackageName)> = Vec::new();
        for (node, _) in graph.packages().filter(|(_, package)| package.root == *root) {
            let Origin::Package(origin) = &node.origin else { continue };
            for wanted in &origin.wanted {
                for alternatives in &wanted.depends.0 {
                    let known = alternatives.0.iter().any(|relation| {
                        let name = relation.name.as_str();
                        archive.contains(name) || own.contains_key(name)
                    });
                    if let (false, Some(first)) = (known, alternatives.0.first()) {
                        asked.push((wanted, &origin.span, &first.name));
                    }
                }
            }
        }
        if asked.is_empty() {
            continue;
        }
        let names: BTreeSet<&PackageName> = asked.iter().map(|(_, _, name)| *name).collect();
        let virtuals = provided(indexes, &names);
        let archive_name = match graph.node(*root).map(|node| &node.origin) {
            Some(Origin::Root { archive, .. }) => archive.as_str(),
            _ => "",
        };
        for (wanted, package, name) in asked {
            if virtuals.contains(name) {
                continue;
            }
            let span = wanted.span.as_ref().map_or(package, |span| span).clone();
            let mut diagnostic =
                Diagnostic::new("unknown-dependency", format!("unknown build dependency `{name}`"))
                    .at(
                        narrowed(span, wanted, name),
                        match extent {
                            Extent::Whole | Extent::Packages => {
                                format!("neither this release nor archive `{archive_name}` has it")
                            }
                            Extent::Part => format!(
                                "archive `{archive_name}` does not have it, nor has what of this \
                                 release could be read"
                            ),
                        },
                    );
            let near_own = nearest(name.as_str(), own.keys().copied());
            let near_archive = nearest(name.as_str(), archive.iter().copied());
            if let Some(near) = near_own {
                diagnostic = diagnostic.hint(format!(
                    "this release builds `{near}` ({}:{})",
                    own[near].file, own[near].line
                ));
            } else if let Some(near) = near_archive {
                diagnostic = diagnostic.hint(format!("archive `{archive_name}` has `{near}`"));
            }
            found.push(diagnostic);
        }
    }
    found
}

/// Those of `names` that some package of the archive provides.
fn provided(
    indexes: &[Vec<Arc<BinaryPackage>>],
    names: &BTreeSet<&PackageName>,
) -> BTreeSet<PackageName> {
    indexes
        .iter()
        .flatten()
        .filter(|package| names.iter().any(|name| package.provides.text().contains(name.as_str())))
        .filter_map(|package| package.provides.get().ok())
        .flat_map(|provides| &provides.0)
        .flat_map(|alternatives| &alternatives.0)
        .filter(|relation| names.contains(&relation.name))
        .map(|relation| relation.name.clone())
        .collect()
}

/// The part of a string literal that is the name.
fn narrowed(span: Span, wanted: &Wanted, name: &PackageName) -> Span {
    let literal = wanted.span.is_some()
        && usize::try_from(span.length)
            .is_ok_and(|length| length == wanted.text.chars().count() + 2);
    let offset = wanted.text.find(name.as_str()).and_then(|offset| u32::try_from(offset).ok());
    match (literal && wanted.text.is_ascii(), offset, u32::try_from(name.as_str().len())) {
        (true, Some(offset), Ok(length)) => {
            Span { column: span.column + 1 + offset, length, ..span }
        }
        _ => span,
    }
}
