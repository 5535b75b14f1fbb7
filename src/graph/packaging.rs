//! The `debian/` folder of a source that has none, from the package's fields alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::archive::deb::changelog;
use crate::base::PackageName;
use crate::spec::model::Package;

/// What generated packaging needs to know beside the package's own fields.
pub struct Facts<'a> {
    /// `Name <address>`.
    pub maintainer: &'a str,
    /// The changelog's distribution.
    pub distribution: &'a str,
    /// The full version.
    pub version: &'a str,
    /// One line that describes it.
    pub summary: &'a str,
    /// SPDX expression.
    pub license: &'a str,
    /// The changelog's text.
    pub changes: &'a str,
    /// The changelog's date.
    pub date: Timestamp,
    /// Build dependencies as one list.
    pub build_depends: &'a [String],
}

/// Files of a `debian/` folder, by path in the source folder: control, changelog, copyright and
/// source format. `rules` is the builder's.
pub fn generate(package: &Package, facts: &Facts<'_>) -> BTreeMap<String, String> {
    let entry = changelog::entry(
        &package.name,
        facts.version,
        facts.distribution,
        facts.changes,
        facts.maintainer,
        facts.date,
    );
    BTreeMap::from([
        ("debian/control".to_owned(), control(package, facts)),
        ("debian/changelog".to_owned(), format!("{}\n", entry.trim_end())),
        ("debian/copyright".to_owned(), copyright(package, facts)),
        ("debian/source/format".to_owned(), source_format(facts.version).to_owned()),
    ])
}

/// The one binary package of generated packaging: it bears the source's name.
pub fn binary_name(package: &Package) -> &PackageName {
    &package.name
}

/// A version with a revision is not native, but its upstream tarball is made by nobody: only
/// binaries are built from it here.
fn source_format(version: &str) -> &'static str {
    if version.contains('-') { "3.0 (quilt)\n" } else { "3.0 (native)\n" }
}

/// debian/control, as Debian Policy chapter 5 defines it.
fn control(package: &Package, facts: &Facts<'_>) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "{name}: {value}").expect("a string takes any text");
        }
    };
    field("Source", package.name.as_str());
    field("Section", package.section.as_deref().unwrap_or("misc"));
    field("Priority", "optional");
    field("Maintainer", facts.maintainer);
    field("Build-Depends", &facts.build_depends.join(", "));
    field("Standards-Version", "4.6.2");
    field("Homepage", package.homepage.as_deref().unwrap_or_default());
    field("Rules-Requires-Root", "no");
    text.push('\n');
    let mut field = |name: &str, value: &str| {
        writeln!(text, "{name}: {value}").expect("a string takes any text");
    };
    field("Package", binary_name(package).as_str());
    field("Architecture", "any");
    field("Depends", "${shlibs:Depends}, ${misc:Depends}");
    field("Description", facts.summary);
    for line in package.description.as_deref().unwrap_or_default().trim().lines() {
        let line = line.trim_end();
        writeln!(text, " {}", if line.is_empty() { "." } else { line })
            .expect("a string takes any text");
    }
    text
}

/// debian/copyright in the machine-readable format, version 1.0.
fn copyright(package: &Package, facts: &Facts<'_>) -> String {
    let source = match &package.homepage {
        Some(homepage) => format!("Source: {homepage}\n"),
        None => String::new(),
    };
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: {name}\n{source}\n\
         Files: *\nCopyright: {maintainer}\nLicense: {license}\n",
        name = package.name,
        maintainer = facts.maintainer,
        license = facts.license,
    )
}
