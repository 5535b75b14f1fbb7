//! The public keys beside a repository, and the package that installs them.

use crate::cli::context::Release;
use crate::cli::failure::{Failure, Kind};
use crate::cli::key;
use crate::cli::publish::destination::Destination;
use crate::cli::repo::broken;
use crate::publish::Repository;
use crate::publish::item::Item;
use crate::publish::layout::POOL;
use crate::publish::sign::Signers;
use crate::publish::sign::public::{self, KeyringPackage};
use crate::publish::suite::Indexes;

/// What clients need to use a suite.
pub struct Keys {
    /// Files that lie beside the repository.
    files: Vec<(String, Vec<u8>)>,
    /// The package that installs them.
    pub package: Item,
}

impl Keys {
    /// Those of everyone who signs the suite; the package is the one that the suite has, if it is
    /// still the same.
    pub fn new(
        release: &Release,
        destination: &Destination<'_>,
        repository: &Repository,
        indexes: &mut Indexes<'_>,
        signers: &Signers,
    ) -> Result<Self, Failure> {
        let (spec, suite) = (&release.spec.release, destination.suite);
        let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String =
            format!("{}-{}", spec.name, destination.name).chars().map(legal).collect();
        let client = public::Repository {
            name: &name,
            maintainer: &spec.maintainer,
            url: suite.url.as_deref(),
            suites: &[&destination.name],
            components: &[&suite.component],
        };
        let previous = previous(repository, indexes, &suite.component, &client.keyring_name())?;
        let files = public::files(&client, signers, previous.as_ref())
            .map_err(|error| key::unsigned(&error))?;
        let is_package = |name: &str| name.ends_with(".deb");
        let (packages, files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(name, _)| is_package(name));
        let Some((file, bytes)) = packages.into_iter().next() else {
            return Err(Failure::new(Kind::Machine, "keys", "there is no package of the keys"));
        };
        let package = Item::of_bytes(&file, bytes, &suite.component).map_err(broken)?;
        Ok(Self { files, package })
    }

    /// Puts them beside the repository, each whole.
    pub fn write(&self, repository: &Repository) -> Result<(), Failure> {
        self.files
            .iter()
            .try_for_each(|(name, bytes)| repository.put_key(name, bytes))
            .map_err(broken)
    }
}

/// The package of keys that a suite has.
fn previous(
    repository: &Repository,
    indexes: &mut Indexes<'_>,
    component: &str,
    name: &str,
) -> Result<Option<KeyringPackage>, Failure> {
    let Some(item) = indexes.binary(component, name).map_err(broken)? else { return Ok(None) };
    let path = &item.files[0].path;
    let file = repository.path(POOL).join(path);
    let bytes = std::fs::read(&file).map_err(|error| {
        Failure::new(Kind::Machine, "keys", format!("cannot read `{file}`: {error}"))
    })?;
    let file_name = path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Some(KeyringPackage { version: item.version, file_name, bytes }))
}
