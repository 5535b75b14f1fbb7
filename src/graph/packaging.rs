//! The `debian/` folder of a source that has none, from the package's fields alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::archive::deb::changelog;
use crate::spec::model::{Binary, Package, Portability};

/// What generated packaging needs to know beside the package's own fields.
pub struct Facts<'a> {
    /// `Name <address>`.
    pub maintainer: &'a str,
    /// Whose changelog entry it is: `Name <address>`.
    pub author: &'a str,
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

/// Files of a `debian/` folder, by path in the source folder: control, changelog, copyright,
/// source format, and which installed file belongs to which binary package. `rules` is the
/// builder's.
pub fn generate(package: &Package, facts: &Facts<'_>) -> BTreeMap<String, String> {
    let entry = changelog::entry(
        &package.name,
        facts.version,
        facts.distribution,
        facts.changes,
        facts.author,
        facts.date,
    );
    let mut files = BTreeMap::from([
        ("debian/control".to_owned(), control(package, facts)),
        ("debian/changelog".to_owned(), format!("{}\n", entry.trim_end())),
        ("debian/copyright".to_owned(), copyright(package, facts)),
        ("debian/source/format".to_owned(), source_format(facts.version).to_owned()),
    ]);
    let binaries = binaries(package);
    if let [_] = &*binaries {
        return files;
    }
    for binary in binaries.iter() {
        if let Some(list) = install(binary) {
            files.insert(format!("debian/{}.install", binary.name), list);
        }
    }
    files.insert("debian/not-installed".to_owned(), NOT_INSTALLED.to_owned());
    files
}

/// The binary packages: those that the spec names, or else one that bears the source's name and
/// takes everything.
pub fn binaries(package: &Package) -> Cow<'_, [Binary]> {
    if !package.binaries.is_empty() {
        return Cow::Borrowed(&package.binaries);
    }
    Cow::Owned(vec![Binary {
        name: package.name.clone(),
        architecture: None,
        relations: BTreeMap::new(),
        section: None,
        multi_arch: None,
        summary: None,
        description: None,
        files: Vec::new(),
        optional: Vec::new(),
    }])
}

/// What no package should have, although it gets installed: files that only libtool reads, which
/// name folders of the build, and the index of the info pages, which belongs to the system.
const NOT_INSTALLED: &str = "usr/lib/*.la\nusr/lib/*/*.la\nusr/share/info/dir\n";

/// dh_install's list for a binary package. It stops at a pattern that matches nothing; those that
/// may are asked first, by a list that is a program (debhelper(7), "Executable debhelper config
/// files").
fn install(binary: &Binary) -> Option<String> {
    let lines = |patterns: &[String]| {
        patterns.iter().fold(String::new(), |text, pattern| text + pattern + "\n")
    };
    if binary.optional.is_empty() {
        return (!binary.files.is_empty()).then(|| lines(&binary.files));
    }
    let must = lines(&binary.files);
    let may = lines(&binary.optional);
    Some(format!(
        "#!/bin/sh\n# The first must match something, the second may.\n\
         cat <<'EOF'\n{must}EOF\n\
         while read -r pattern; do\n\
         \tfor file in debian/tmp/$pattern; do\n\
         \t\tif [ -e \"$file\" ] || [ -L \"$file\" ]; then echo \"$pattern\"; fi\n\
         \t\tbreak\n\
         \tdone\n\
         done <<'EOF'\n{may}EOF\n"
    ))
}

/// A version with a revision is not native: it comes with an upstream tarball, the pristine one
/// where there is one.
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
    for binary in binaries(package).iter() {
        text.push('\n');
        paragraph(&mut text, package, binary, facts.summary);
    }
    text
}

/// The paragraph of a binary package.
fn paragraph(text: &mut String, package: &Package, binary: &Binary, summary: &str) {
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "{name}: {value}").expect("a string takes any text");
        }
    };
    let architecture = binary.architecture.unwrap_or(package.build.architecture);
    field("Package", binary.name.as_str());
    field("Section", binary.section.as_deref().unwrap_or_default());
    field(
        "Architecture",
        match architecture {
            Portability::Any => "any",
            Portability::All => "all",
        },
    );
    field("Multi-Arch", binary.multi_arch.as_deref().unwrap_or_default());
    let said = |key: &str| -> Vec<&str> {
        binary.relations.get(key).into_iter().flatten().map(|item| item.value.as_str()).collect()
    };
    let mut depends: Vec<&str> = match architecture {
        Portability::Any => vec!["${shlibs:Depends}", "${misc:Depends}"],
        Portability::All => vec!["${misc:Depends}"],
    };
    depends.extend(package.build.depends.iter().map(String::as_str).chain(said("depends")));
    field("Pre-Depends", &said("pre_depends").join(", "));
    field("Depends", &depends.join(", "));
    for (name, key) in [
        ("Recommends", "recommends"),
        ("Suggests", "suggests"),
        ("Enhances", "enhances"),
        ("Breaks", "breaks"),
        ("Conflicts", "conflicts"),
        ("Replaces", "replaces"),
        ("Provides", "provides"),
    ] {
        field(name, &said(key).join(", "));
    }
    // Packages of one source that say nothing of their own are told apart by what they are for.
    let purpose = match binary.name.as_str() {
        _ if package.binaries.len() < 2 => "",
        name if name.ends_with("-dev") => " - development files",
        name if name.ends_with("-doc") => " - documentation",
        _ => "",
    };
    match &binary.summary {
        Some(summary) => field("Description", summary),
        None => field("Description", &format!("{summary}{purpose}")),
    }
    let description = binary.description.as_deref().or(package.description.as_deref());
    for line in description.unwrap_or_default().trim().lines() {
        let line = line.trim_end();
        writeln!(text, " {}", if line.is_empty() { "." } else { line })
            .expect("a string takes any text");
    }
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
