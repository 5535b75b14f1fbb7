//! What would have to be added to a release to shrink its seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::Certificate;
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::index::{BinaryPackage, RELATIONS, SourcePackage};
use crate::archive::deb::solver::{self, Request};
use crate::base::{DerivationId, PackageName};
use crate::graph::derivation::Root;
use crate::realise::universe::Snapshot;

/// A source package of the archive that the release could build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The source package.
    pub source: PackageName,
    /// The seed packages that are built from it: they leave the seed, if it comes out as the
    /// archive has it; otherwise they leave the build roots that it is named in.
    pub removes: Vec<PackageName>,
    /// Bytes of these packages' files.
    pub bytes: u64,
    /// The packages that its own build root would bring into the seed, or why it has none.
    pub brings: Result<Vec<PackageName>, Vec<String>>,
}

/// The names of the source packages that the seed from a root's archive was built from, without
/// those that the release builds.
pub fn wanted(certificate: &Certificate, root: DerivationId) -> BTreeSet<PackageName> {
    let ours: BTreeSet<&PackageName> = certificate.packages.iter().map(|one| &one.name).collect();
    let seed = certificate.seed.iter().filter(|seed| seed.root == root);
    let sources = seed.map(|seed| &seed.package.source).filter(|source| !ours.contains(source));
    sources.cloned().collect()
}

/// The steps that would shrink the seed from a root's archive, the smallest first: those that
/// bring the fewest packages into it, of these the ones that take the most out. Sources that
/// `sources` lacks are left out.
pub fn steps(
    certificate: &Certificate,
    (id, root): (DerivationId, &Root),
    snapshot: &Snapshot,
    sources: &BTreeMap<PackageName, SourcePackage>,
) -> Vec<Step> {
    let there: BTreeSet<&PackageName> =
        certificate.seed.iter().map(|seed| &seed.package.name).collect();
    let mut from: BTreeMap<&PackageName, Vec<&BinaryPackage>> = BTreeMap::new();
    for seed in certificate.seed.iter().filter(|seed| seed.root == id) {
        from.entry(&seed.package.source).or_default().push(&seed.package);
    }
    let mut steps: Vec<Step> = from
        .into_par_iter()
        .filter_map(|(source, packages)| {
            let known = sources.get(source)?;
            let own: BTreeSet<&PackageName> = known.binaries.iter().map(|one| &one.name).collect();
            let brings = build_root(known, root, snapshot).map(|chosen| {
                let names =
                    chosen.into_iter().filter(|name| !there.contains(name) && !own.contains(name));
                names.collect()
            });
            Some(Step {
                source: source.clone(),
                removes: packages.iter().map(|package| package.name.clone()).collect(),
                bytes: packages.iter().map(|package| package.size).sum(),
                brings,
            })
        })
        .collect();
    steps.sort_by_key(|step| {
        let brings = step.brings.as_ref().map_or(usize::MAX, Vec::len);
        (brings, Reverse(step.removes.len()), step.source.clone())
    });
    steps
}

/// The packages of the build root that a source asks for, in the pinned index alone.
fn build_root(
    source: &SourcePackage,
    root: &Root,
    snapshot: &Snapshot,
) -> Result<Vec<PackageName>, Vec<String>> {
    let relations = |conflicts: bool| -> Result<Dependencies, Vec<String>> {
        let fields = RELATIONS.iter().filter(|field| field.contains("Conflicts") == conflicts);
        let texts: Vec<&str> =
            fields.filter_map(|field| Some(source.relations.get(*field)?.as_str())).collect();
        let parsed = texts.join(", ").parse::<Dependencies>();
        let parsed = parsed.map_err(|error| vec![error.to_string()])?;
        Ok(parsed.reduce(&root.architecture, &BTreeSet::new()))
    };
    let request = Request {
        architecture: root.architecture.clone(),
        packages: root.packages.clone(),
        essential: true,
        depends: relations(false)?,
        conflicts: relations(true)?,
    };
    let chosen = solver::solve(snapshot.universe(), &request).map_err(|error| error.because)?;
    Ok(chosen.iter().map(|package| package.name.clone()).collect())
}
