//! What could not be published if it were built: asked before the build.

use crate::base::{DerivationId, Diagnostic, HostPath};
use crate::cli::context::Release;
use crate::cli::failure::Failure;
use crate::cli::repo::broken;
use crate::graph::{Graph, Origin};
use crate::publish::item::SOURCE;
use crate::publish::ledger::{Candidate, Ledger, Objection};
use crate::publish::{Error, Repository};
use crate::store::Store;

/// The repository of a release, where one is; that of the environment before its own.
pub fn repository(folder: &HostPath) -> Result<Option<Repository>, Failure> {
    let root = match std::env::var_os("PERESTROIKA_REPO").filter(|path| !path.is_empty()) {
        Some(path) => HostPath::new(std::path::absolute(&path).unwrap_or_else(|_| path.into())),
        None => folder.join("repo"),
    };
    match Repository::open(root) {
        Ok(repository) => Ok(Some(repository)),
        Err(Error::Absent(_)) => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

/// The packages of which a suite that the release publishes to has had a newer version; `asked`
/// tells of how many suites that was found out.
pub fn withheld(
    release: &Release,
    graph: &Graph,
    wanted: &[DerivationId],
    store: &Store,
) -> Result<(usize, Vec<Diagnostic>), Failure> {
    let suites = &release.spec.release.suites;
    if suites.is_empty() {
        return Ok((0, Vec::new()));
    }
    let Some(repository) = repository(&release.folder)? else { return Ok((0, Vec::new())) };
    let ledger = Ledger::look(store, &repository).map_err(broken)?;
    let packages: Vec<_> = wanted
        .iter()
        .filter_map(|id| {
            let node = graph.node(*id)?;
            Some((node.derivation.package()?, node))
        })
        .collect();
    let candidates: Vec<Candidate<'_>> = packages
        .iter()
        .map(|(package, _)| Candidate {
            name: package.name.as_str(),
            architecture: SOURCE,
            version: &package.version,
            payload: None,
        })
        .collect();
    let mut found = Vec::new();
    for (name, suite) in suites {
        let answers = ledger.judge(name, &suite.seen(), &candidates).map_err(broken)?;
        for ((package, node), answer) in packages.iter().zip(answers) {
            let Some(Objection::Downgrade { suite, version, generation }) = answer else {
                continue;
            };
            let message = format!(
                "`{name}` cannot get {} {}: generation {generation} brought {version} to `{suite}`",
                package.name, package.version
            );
            let mut error = Diagnostic::new("downgrade", message);
            if let Origin::Package(origin) = &node.origin {
                error = error.at(origin.span.clone(), "");
            }
            found.push(error.hint(
                "raise the version; `build --allow-downgrade` builds it all the same, and \
                 `publish --allow-downgrade` publishes it",
            ));
        }
    }
    Ok((suites.len(), found))
}
