//! Seeds: what the build roots of a round have in place of the archive's packages of these names.
//!
//! `perestroika/seed/1` has one member, `packages`: each with `name`, `version`, `architecture` and
//! `sha256`, sorted by these. The roots and packages of a round name it by its BLAKE3, so everything
//! that a round is built on can be looked up from its derivations. Round N takes the binary packages
//! that round N-1 left, all but those of debug symbols: nothing is built with these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::action::Listed;
use super::again;
use super::error::{Error, Result};
use super::record::Record;
use super::universe;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{Architecture, Digest, Json, Sha256};
use crate::store::{Object, Store};

const FORMAT: &str = "perestroika/seed/1";

/// Packages that are preferred to the archive's of the same names, whatever their versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    packages: BTreeSet<Listed>,
}

impl Seed {
    /// What these builds left for others to build with.
    ///
    /// # Errors
    /// An output whose control file cannot be read.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Self> {
        let outputs = records.into_iter().flat_map(|record| &record.outputs);
        let offered = outputs.filter(|output| output.is_offered());
        let packages = offered.map(|output| Ok(Listed::of(&universe::binary(output)?)));
        Ok(Self { packages: packages.collect::<Result<_>>()? })
    }

    /// The seed of this digest.
    ///
    /// # Errors
    /// A document that is not in the store, damaged, or none of a seed.
    pub fn read(store: &Store, digest: &Digest) -> Result<Self> {
        let other = || Error::Seed { digest: *digest };
        let Json::Object(mut members) = store.read_json(digest)? else { return Err(other()) };
        if members.remove("format") != Some(FORMAT.into()) {
            return Err(other());
        }
        let Some(Json::Array(packages)) = members.remove("packages") else { return Err(other()) };
        let packages = packages.into_iter().map(Listed::from_json).collect::<Option<_>>();
        packages.map(|packages| Self { packages }).ok_or_else(other)
    }

    /// How many packages it has.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// The canonical JSON document.
    pub fn to_json(&self) -> Json {
        let packages = self.packages.iter().map(Listed::to_json).collect();
        Json::object([("format", FORMAT.into()), ("packages", Json::Array(packages))])
    }

    /// Its name: BLAKE3 of its document.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json().encode())
    }

    /// Those of its packages that a root for `architecture` may hold, as they say of themselves;
    /// sorted by name.
    pub(super) fn packages(
        &self,
        store: &Store,
        architecture: &Architecture,
    ) -> Result<Vec<Arc<BinaryPackage>>> {
        let fits =
            |one: &&Listed| one.architecture == architecture.as_str() || one.architecture == "all";
        let fitting: Vec<&Listed> = self.packages.iter().filter(fits).collect();
        let package = |one: &&Listed| {
            let object = find(store, one)?;
            let file = store.open_sound(&object.digest)?;
            again::inside(file, &object, &one.name).map(Arc::new)
        };
        fitting.par_iter().map(package).collect()
    }

    /// The objects of all its packages.
    pub(super) fn objects(&self, store: &Store) -> Result<BTreeMap<Sha256, Digest>> {
        let object = |one: &Listed| Ok((one.sha256, find(store, one)?.digest));
        self.packages.iter().map(object).collect()
    }
}

fn find(store: &Store, one: &Listed) -> Result<Object> {
    let Listed { name, version, architecture, sha256 } = one;
    store.find(sha256)?.ok_or_else(|| Error::SeedLost {
        package: format!("{name} {version} {architecture}"),
        sha256: *sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_reads_back_and_keeps_its_name() {
        let store = tempfile::tempdir().expect("a folder");
        let store = Store::open(&crate::base::HostPath::new(store.path())).expect("a store");
        let listed = |name: &str, version: &str| Listed {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            sha256: Sha256::of(name.as_bytes()),
        };
        let seed = Seed { packages: BTreeSet::from([listed("b", "1"), listed("a", "2")]) };
        // What `b3sum` says of the bytes that `jq -cjS .` prints of it.
        let name = "b9ca7b615013123f875cc6ae9ae6b9f51712a1630f84e6ae7eef709256e18525";
        assert_eq!(seed.digest().to_string(), name);
        let digest = store.put_json(&seed.to_json()).expect("it is kept");
        assert_eq!(digest, seed.digest());
        assert_eq!(Seed::read(&store, &digest).expect("its own document"), seed);
        let lost = seed.packages(&store, &Architecture::all());
        assert!(matches!(lost, Err(Error::SeedLost { .. })), "{lost:?}");
        let other = Json::object([("format", "perestroika/layer/1".into())]);
        let other = store.put_json(&other).expect("it is kept");
        assert!(matches!(Seed::read(&store, &other), Err(Error::Seed { .. })));
    }
}
