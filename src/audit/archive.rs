//! What was rebuilt from an archive's own source packages, against the archive's own binaries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::difference::{self, Difference};
use crate::archive::deb::buildinfo::BuildInfo;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{Digest, Sha256};
use crate::fetch::PoolFile;
use crate::graph::derivation::{Package, Source};
use crate::graph::{Derivation, Graph, Node, Origin};
use crate::realise::action::Listed;
use crate::realise::comparison::{self, Comparison};
use crate::realise::record::{Output, Record};
use crate::realise::world::World;

/// How close a source is to the archive's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// The archive's own source package, as it is.
    Unchanged,
    /// The archive's, with changes of the release's own.
    Altered,
    /// Something else.
    Elsewhere,
}

/// What the source of a package is to its archive.
pub fn kinship(graph: &Graph, package: &Package) -> Kinship {
    let node: Option<&Node> = graph.node(package.source);
    let (Some(Derivation::Source(Source::Debian { .. })), Some(Origin::Archive { .. })) =
        (node.map(|node| &node.derivation), node.map(|node| &node.origin))
    else {
        return Kinship::Elsewhere;
    };
    let is_changed = !package.patches.is_empty()
        || !package.files.is_empty()
        || !package.changelog.is_empty()
        || !package.extra.is_empty()
        || package.packaging.is_some();
    if is_changed { Kinship::Altered } else { Kinship::Unchanged }
}

/// A binary package that was built, beside the archive's.
#[derive(Debug, Clone)]
pub struct Compared {
    /// What was built.
    pub output: Output,
    /// What the archive has.
    pub theirs: Theirs,
}

/// What an archive has of a binary package.
#[derive(Debug, Clone)]
pub enum Theirs {
    /// The same bytes.
    Identical,
    /// Other bytes under the same name.
    Differs(Arc<BinaryPackage>),
    /// One that was built from this source, under another version.
    OtherVersion(Arc<BinaryPackage>),
    /// None: an index does not list packages of debug symbols and of the installer.
    Absent,
}

impl Theirs {
    /// As one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Identical => Comparison::Identical.as_str(),
            Self::Differs(_) => Comparison::Differs.as_str(),
            Self::OtherVersion(_) => "other-version",
            Self::Absent => Comparison::Absent.as_str(),
        }
    }
}

/// The binary packages of a record, each beside the archive's.
pub fn compare(
    package: &Package,
    record: &Arc<Record>,
    indexes: &[Vec<Arc<BinaryPackage>>],
) -> Vec<Compared> {
    let records = [Arc::clone(record)];
    let archive = comparison::Archive::new(indexes, &records);
    let debs = record.outputs.iter().filter(|output| output.file.ends_with(".deb"));
    debs.map(|output| {
        let name = output.file.split('_').next().unwrap_or_default();
        let of_name = || indexes.iter().flatten().filter(|one| one.name.as_str() == name);
        let theirs = match archive.compare(output) {
            Comparison::Identical => Theirs::Identical,
            Comparison::Differs => {
                let same = of_name().find(|one| file_name(one) == output.file);
                same.map_or(Theirs::Absent, |one| Theirs::Differs(Arc::clone(one)))
            }
            Comparison::Absent => {
                let mut rebuilt = of_name().filter(|one| {
                    one.source == package.name && one.source_version.as_str() == package.version
                });
                rebuilt.next().map_or(Theirs::Absent, |one| Theirs::OtherVersion(Arc::clone(one)))
            }
        };
        Compared { output: output.clone(), theirs }
    })
    .collect()
}

fn file_name(package: &BinaryPackage) -> String {
    let BinaryPackage { name, version, architecture, .. } = package;
    format!("{name}_{}_{architecture}.deb", version.without_epoch())
}

/// What of a build root is not what the archive's own builders had, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// How many packages the root has.
    pub packages: usize,
    /// Packages of the root that the release built, not the archive, sorted by name.
    pub own: Vec<String>,
    /// What the archive's builder had, if a `.buildinfo` says so.
    pub theirs: Option<Installed>,
}

/// What the archive's builder says it had, beside what a build root has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// How many packages are the same version.
    pub same: usize,
    /// Packages of which versions differ: name, theirs, ours; none where the root has none.
    pub other: Vec<(String, String, Option<String>)>,
}

/// How the packages of a build root compare with what the archive's builder had.
pub fn inputs(
    root: &[Listed],
    indexes: &[Vec<Arc<BinaryPackage>>],
    info: Option<&BuildInfo>,
) -> Inputs {
    let known: BTreeMap<Sha256, &BinaryPackage> =
        indexes.iter().flatten().map(|one| (one.sha256, &**one)).collect();
    let mut own: Vec<String> = root
        .iter()
        .filter(|one| !known.contains_key(&one.sha256))
        .map(|one| format!("{} {}", one.name, one.version))
        .collect();
    own.sort();
    let ours: BTreeMap<&str, &str> =
        root.iter().map(|one| (one.name.as_str(), one.version.as_str())).collect();
    let theirs = info.map(|info| {
        let mut installed = Installed::default();
        for (name, version) in &info.installed {
            match ours.get(name.as_str()) {
                Some(ours) if *ours == version.as_str() => installed.same += 1,
                ours => {
                    let ours = ours.map(|ours| (*ours).to_owned());
                    installed.other.push((name.to_string(), version.to_string(), ours));
                }
            }
        }
        installed
    });
    Inputs { packages: root.len(), own, theirs }
}

/// The `.buildinfo` of a package, among those that are given.
pub fn info_of<'a>(package: &Package, given: &'a [BuildInfo]) -> Option<&'a BuildInfo> {
    let is_of =
        |info: &&BuildInfo| info.source == package.name && info.version.as_str() == package.version;
    given.iter().find(is_of)
}

/// Why it is not known in what two packages differ.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive's package cannot be had.
    #[error("the archive's package cannot be had")]
    Fetch(#[from] crate::realise::Error),
    /// One of them is not in the store.
    #[error("the store has no object {0}")]
    Lost(Digest),
    /// They cannot be compared.
    #[error(transparent)]
    Compare(#[from] difference::Error),
}

/// In what the archive's package and an output of the same name differ. The archive's is fetched
/// from a mirror, if the store lacks it, and kept.
pub fn difference(
    world: &World<'_>,
    archive: &str,
    theirs: &BinaryPackage,
    output: &Output,
) -> Result<Difference, Error> {
    let file = PoolFile { path: theirs.filename.clone(), size: theirs.size, sha256: theirs.sha256 };
    let objects = world.upstream.files(world.store, archive, &[file], &|_| {}, world.cancel)?;
    let path = |digest: &Digest| world.store.object(digest).ok_or(Error::Lost(*digest));
    let (old, new) = match objects.first() {
        Some(object) => (path(object)?, path(&output.blake3)?),
        None => return Err(Error::Lost(output.blake3)),
    };
    Ok(Difference::between(&output.file, old.as_path(), new.as_path())?)
}

/// How many binary packages came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Binary packages that were compared.
    pub outputs: usize,
    /// Those with the archive's bytes.
    pub identical: usize,
    /// Those with other bytes.
    pub differ: usize,
    /// Those the archive has none of, or under another version.
    pub absent: usize,
}

impl Tally {
    /// The tally of these.
    pub fn of<'a>(compared: impl IntoIterator<Item = &'a Compared>) -> Self {
        let mut tally = Self::default();
        for one in compared {
            tally.outputs += 1;
            match one.theirs {
                Theirs::Identical => tally.identical += 1,
                Theirs::Differs(_) => tally.differ += 1,
                Theirs::OtherVersion(_) | Theirs::Absent => tally.absent += 1,
            }
        }
        tally
    }

    /// How much of what the archive has of the same name is identical, in tenths of a percent;
    /// nothing where it has none.
    pub fn share(&self) -> Option<usize> {
        let known = self.identical + self.differ;
        (known > 0).then(|| self.identical * 1000 / known)
    }
}
