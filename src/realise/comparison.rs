//! What was built beside what the distribution has of the same name: its pinned index states the
//! digest of every package, so the comparison costs nothing but looking.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Output, Record};
use crate::archive::deb::index::BinaryPackage;

/// How an output compares to the distribution's own file of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// The same bytes.
    Identical,
    /// Other bytes.
    Differs,
    /// The distribution has no file of that name.
    Absent,
}

impl Comparison {
    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Differs => "differs",
            Self::Absent => "absent",
        }
    }
}

/// An archive's packages by name, for comparing.
pub struct Archive<'a> {
    packages: BTreeMap<&'a str, Vec<&'a BinaryPackage>>,
}

impl<'a> Archive<'a> {
    /// Those packages of `indexes` that `records` could be compared to.
    pub fn new(indexes: &'a [Vec<Arc<BinaryPackage>>], records: &[Arc<Record>]) -> Self {
        let mut packages: BTreeMap<&str, Vec<&BinaryPackage>> = BTreeMap::new();
        let names: std::collections::BTreeSet<&str> = records
            .iter()
            .flat_map(|record| &record.outputs)
            .filter_map(|output| output.file.split('_').next())
            .collect();
        for package in indexes.iter().flatten() {
            if names.contains(package.name.as_str()) {
                packages.entry(package.name.as_str()).or_default().push(package);
            }
        }
        Self { packages }
    }

    /// How `output` compares.
    pub fn compare(&self, output: &Output) -> Comparison {
        let name = output.file.split('_').next().unwrap_or_default();
        let same_file = |package: &&&BinaryPackage| {
            let file = format!(
                "{}_{}_{}.deb",
                package.name,
                package.version.without_epoch(),
                package.architecture
            );
            file == output.file
        };
        match self.packages.get(name).and_then(|packages| packages.iter().find(same_file)) {
            None => Comparison::Absent,
            Some(package) if package.sha256 == output.sha256 => Comparison::Identical,
            Some(_) => Comparison::Differs,
        }
    }
}
