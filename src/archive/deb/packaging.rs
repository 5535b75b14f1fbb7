//! What a `debian/` folder says of the package it makes: names, relations, version, date.

use std::collections::BTreeMap;

use super::control::{self, folded};
use super::version::Version;
use super::{changelog, dependency};
use crate::base::{NameError, PackageName};

/// A source package as its own `debian/control` and `debian/changelog` describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packaging {
    /// The source package's name.
    pub source: PackageName,
    /// The version of the top changelog entry.
    pub version: Version,
    /// The date of that entry, in seconds since 1970.
    pub date: i64,
    /// The binary packages, sorted by name.
    pub binaries: Vec<Binary>,
    /// Those of [`RELATIONS`] that are there, white space folded.
    pub relations: BTreeMap<String, String>,
}

/// A binary package of `debian/control`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Its name.
    pub name: PackageName,
    /// Architectures as written: `any`, `linux-any`, `all`.
    pub architecture: String,
    /// `Build-Profiles` as written: `<!stage1>`.
    pub profiles: String,
    /// `Provides` without what only the build fills in.
    pub provides: String,
}

/// Build dependencies and conflicts (Debian Policy 7.7).
pub const RELATIONS: [&str; 6] = [
    "Build-Depends",
    "Build-Depends-Arch",
    "Build-Depends-Indep",
    "Build-Conflicts",
    "Build-Conflicts-Arch",
    "Build-Conflicts-Indep",
];

/// Why a `debian/` folder says nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The changelog cannot be read.
    #[error("debian/changelog")]
    Changelog(#[from] changelog::Error),
    /// The control file cannot be read.
    #[error("debian/control")]
    Control(#[from] control::Error),
    /// A name is none.
    #[error("debian/control")]
    Name(#[from] NameError),
    /// A paragraph lacks a field.
    #[error("debian/control has a paragraph without `{0}`")]
    Missing(&'static str),
    /// A list of packages cannot be read.
    #[error("debian/control: `{field}`: {why}")]
    Relation {
        /// The field.
        field: String,
        /// What is wrong.
        why: String,
    },
    /// The two files speak of different packages.
    #[error("debian/control says `{control}`, debian/changelog `{changelog}`")]
    Names {
        /// In debian/control.
        control: PackageName,
        /// In debian/changelog.
        changelog: PackageName,
    },
}

/// Reads the two files of a `debian/` folder.
pub fn read(control: &str, changelog: &str) -> Result<Packaging, Error> {
    let entry = changelog::top(changelog)?;
    let mut paragraphs = control::commented_paragraphs(control);
    let source = paragraphs.next().ok_or(Error::Missing("Source"))??;
    let name: PackageName = source.get("Source").ok_or(Error::Missing("Source"))?.parse()?;
    if name != entry.name {
        return Err(Error::Names { control: name, changelog: entry.name });
    }
    let mut relations = BTreeMap::new();
    for field in RELATIONS {
        let Some(value) = source.get(field) else { continue };
        let value = folded(value);
        checked(field, &value)?;
        relations.insert(field.to_owned(), value);
    }
    let mut binaries = Vec::new();
    for paragraph in paragraphs {
        let paragraph = paragraph?;
        let text = |field| folded(paragraph.get(field).unwrap_or_default());
        let provides = text("Provides");
        let known = provides.split(',').map(str::trim).filter(|item| !item.contains("${"));
        let provides = known.collect::<Vec<_>>().join(", ");
        checked("Provides", &provides)?;
        binaries.push(Binary {
            name: paragraph.get("Package").ok_or(Error::Missing("Package"))?.parse()?,
            architecture: text("Architecture"),
            profiles: text("Build-Profiles"),
            provides,
        });
    }
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Packaging {
        source: name,
        version: entry.version,
        date: entry.timestamp,
        binaries,
        relations,
    })
}

fn checked(field: &str, value: &str) -> Result<(), Error> {
    match value.parse::<dependency::Dependencies>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Relation { field: field.to_owned(), why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: &str = "\
Source: nova
# a comment
Build-Depends: debhelper (>= 9),
               python-all

Package: nova-common
Architecture: all
Provides: ${python:Provides}, nova-base
Build-Profiles: <!stage1>

Package: nova-api
Architecture: any
";
    const CHANGELOG: &str = "\
nova (1:2015.1.0-1~u14.04+mos7) trusty; urgency=low

  * Something.

 -- Some One <one@example.org>  Thu, 30 Apr 2015 12:00:00 +0200
";

    #[test]
    fn both_files_together_say_what_is_made() {
        let packaging = read(CONTROL, CHANGELOG).expect("a folder as it should be");
        assert_eq!(packaging.version.to_string(), "1:2015.1.0-1~u14.04+mos7");
        assert_eq!(packaging.date, 1_430_388_000);
        assert_eq!(packaging.relations["Build-Depends"], "debhelper (>= 9), python-all");
        let names: Vec<&str> = packaging.binaries.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["nova-api", "nova-common"]);
        assert_eq!(packaging.binaries[1].provides, "nova-base");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (control, changelog) in [
            (CONTROL.replace("nova\n", "glance\n"), CHANGELOG.to_owned()),
            (CONTROL.replace("Package: nova-api\n", ""), CHANGELOG.to_owned()),
            (CONTROL.replace("(>= 9)", "(>>>= 9)"), CHANGELOG.to_owned()),
            (CONTROL.to_owned(), String::new()),
            (String::new(), CHANGELOG.to_owned()),
        ] {
            assert!(read(&control, &changelog).is_err(), "{control}\n{changelog}");
        }
    }
}
