//! Who is who in a run of several releases and architectures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::driver::Goal;
use super::event::Subject;
use crate::base::PackageName;
use crate::graph::Node;
use crate::graph::derivation::Package;

/// The packages of a run, each with the place of its release, as events name them: those whose
/// name others have as well with what tells them apart.
pub fn subjects(goals: &[Goal<'_>], packages: &[(usize, &Node, &Package)]) -> Vec<Arc<Subject>> {
    let mut releases: BTreeMap<&PackageName, BTreeSet<usize>> = BTreeMap::new();
    let mut architectures: BTreeMap<(usize, &PackageName), usize> = BTreeMap::new();
    for (goal, _, package) in packages {
        releases.entry(&package.name).or_default().insert(*goal);
        *architectures.entry((*goal, &package.name)).or_default() += 1;
    }
    let titles = titles(goals);
    let subject = |(goal, node, package): &(usize, &Node, &Package)| {
        let mut of = Vec::new();
        if releases[&package.name].len() > 1 {
            of.push(titles[*goal].clone());
        }
        if architectures[&(*goal, &package.name)] > 1 {
            of.push(package.architecture.to_string());
        }
        let (name, version) = (package.name.clone(), package.version.clone());
        Arc::new(Subject { id: node.id, name, version, of })
    };
    packages.iter().map(subject).collect()
}

/// The names of releases, or their folders where two have one name.
fn titles(goals: &[Goal<'_>]) -> Vec<String> {
    let folder = |goal: &Goal<'_>| goal.world.folder.to_string();
    let names: Vec<String> = goals
        .iter()
        .map(|goal| match goal.spec {
            Some(spec) => spec.release.name.clone(),
            None => last_part(&folder(goal)),
        })
        .collect();
    let is_alone = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let title = |(name, goal): (&String, &Goal<'_>)| match is_alone(name) {
        true => name.clone(),
        false => folder(goal),
    };
    names.iter().zip(goals).map(title).collect()
}

fn last_part(folder: &str) -> String {
    let last = Path::new(folder).file_name().unwrap_or_default();
    last.to_string_lossy().into_owned()
}
