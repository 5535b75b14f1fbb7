//! Source packages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Error, Reason, moved, number, pool_path};
use crate::archive::deb::control::{Paragraph, folded, paragraphs};
use crate::archive::deb::dependency::{architectures_hold, package_list_profiles, profiles_hold};
use crate::archive::deb::version::Version;
use crate::base::{Architecture, NameError, PackageName, Sha256};

/// The fields that say what a source needs to be built, and what it must not meet.
pub const RELATIONS: [&str; 6] = [
    "Build-Depends",
    "Build-Depends-Arch",
    "Build-Depends-Indep",
    "Build-Conflicts",
    "Build-Conflicts-Arch",
    "Build-Conflicts-Indep",
];

/// A source package that an archive has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    /// `Package`
    pub name: PackageName,
    /// `Version`
    pub version: Version,
    /// Where its files lie below the archive's root, which it never leaves; empty for the root
    /// itself.
    pub directory: String,
    /// The `.dsc` and what belongs to it, sorted by name.
    pub files: Vec<SourceFile>,
    /// The binary packages it builds, in the order of `Package-List`.
    pub binaries: Vec<SourceBinary>,
    /// Those of [`RELATIONS`] it has, as written but for white space, which is folded.
    pub relations: BTreeMap<String, String>,
    /// `Rules-Requires-Root`, if it says so; the default is `binary-targets`.
    pub requires_root: Option<String>,
}

/// A file of a source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// A file name without directory.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest.
    pub sha256: Sha256,
}

/// A binary package that a source builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceBinary {
    /// Its name.
    pub name: PackageName,
    /// `deb` or `udeb`.
    pub package_type: String,
    /// Archive section.
    pub section: String,
    /// Priority.
    pub priority: String,
    /// Architectures as written, comma-separated: `any`, `all`, `amd64,arm64`.
    pub architectures: String,
    /// Build profile formula as `Package-List` has it (`!stage1`); empty if always built.
    pub profiles: String,
}

impl SourceBinary {
    /// Whether a build for `architecture` with these build `profiles` makes it. `all` is an
    /// architecture of its own here.
    pub fn is_built(&self, architecture: &Architecture, profiles: &BTreeSet<String>) -> bool {
        architectures_hold(&self.architectures, architecture)
            && profiles_hold(&package_list_profiles(&self.profiles), profiles)
    }
}

/// The source package `name` of a `Sources` index in its highest version, if it is there; see
/// [`sources`].
pub fn source(text: &str, name: &PackageName) -> Result<Option<SourcePackage>, Error> {
    sources(text, &BTreeSet::from([name])).map(|mut found| found.remove(name))
}

/// Those source packages of a `Sources` index that `names` has, each in its highest version.
///
/// Sources that the archive keeps only because something was built with them
/// (`Extra-Source-Only: yes`) do not count. The text is gone through once, and only paragraphs of
/// these names are read.
pub fn sources(
    text: &str,
    names: &BTreeSet<&PackageName>,
) -> Result<BTreeMap<PackageName, SourcePackage>, Error> {
    let names: HashMap<&str, &PackageName> =
        names.iter().map(|name| (name.as_str(), *name)).collect();
    let mut best: BTreeMap<PackageName, SourcePackage> = BTreeMap::new();
    let mut rest = text;
    while let Some((chunk, begin, after)) = next_paragraph(text, rest) {
        rest = after;
        let Some(name) = chunk.lines().find_map(package_line) else { continue };
        let Some(name) = names.get(name) else { continue };
        let Some(paragraph) = paragraphs(chunk).next() else { continue };
        let found = |error: Error| moved(error, &text[..begin]);
        let paragraph = paragraph.map_err(|error| found(error.into()))?;
        if paragraph.get("Extra-Source-Only") == Some("yes")
            || paragraph.get("Package") != Some(name.as_str())
        {
            continue;
        }
        let source = SourceParagraph { paragraph: &paragraph, name }.read().map_err(found)?;
        if best.get(name.as_str()).is_none_or(|best| best.version < source.version) {
            best.insert(PackageName::clone(name), source);
        }
    }
    Ok(best)
}

/// Every source package of a `Sources` index in its order: all versions, and also those that the
/// archive keeps only because something was built with them.
pub fn every_source(text: &str) -> Result<Vec<SourcePackage>, Error> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((chunk, begin, after)) = next_paragraph(text, rest) {
        rest = after;
        let Some(paragraph) = paragraphs(chunk).next() else { continue };
        let found = |error: Error| moved(error, &text[..begin]);
        let paragraph = paragraph.map_err(|error| found(error.into()))?;
        let field = "Package";
        let name = paragraph.get(field).unwrap_or_default();
        let wrong = |reason: NameError| {
            let (package, reason) = (name.to_owned(), Reason::Name(reason));
            found(Error::Field { package, line: 1, field, reason })
        };
        let name = &name.parse().map_err(wrong)?;
        all.push(SourceParagraph { paragraph: &paragraph, name }.read().map_err(found)?);
    }
    Ok(all)
}

/// The next lines up to an empty one, where in `text` they begin, and what comes after them.
fn next_paragraph<'a>(text: &'a str, rest: &'a str) -> Option<(&'a str, usize, &'a str)> {
    let mut at = text.len() - rest.len();
    let mut begin = None;
    while at < text.len() {
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
        match (begin, text[at..end].trim_ascii().is_empty()) {
            (Some(begin), true) => return Some((&text[begin..at], begin, &text[end..])),
            (None, false) => begin = Some(at),
            _ => {}
        }
        at = end;
    }
    begin.map(|begin| (&text[begin..], begin, ""))
}

/// The name in a line that says `Package: name`.
fn package_line(line: &str) -> Option<&str> {
    const FIELD: &str = "Package";
    let behind = line.get(FIELD.len()..)?;
    let name = behind.trim_ascii_start().strip_prefix(':')?.trim_ascii();
    line[..FIELD.len()].eq_ignore_ascii_case(FIELD).then_some(name)
}

/// A paragraph of a `Sources` index.
struct SourceParagraph<'a> {
    paragraph: &'a Paragraph<'a>,
    name: &'a PackageName,
}

impl SourceParagraph<'_> {
    fn read(&self) -> Result<SourcePackage, Error> {
        let version = self.needed("Version")?.parse();
        let directory = match self.needed("Directory")? {
            "." | "" => String::new(),
            path => pool_path(path).map_err(|reason| self.wrong("Directory", reason))?,
        };
        let relations = RELATIONS.iter().filter_map(|field| {
            let value = folded(self.paragraph.get(field)?);
            (!value.is_empty()).then(|| ((*field).to_owned(), value))
        });
        Ok(SourcePackage {
            name: self.name.clone(),
            version: version.map_err(|reason| self.wrong("Version", Reason::Version(reason)))?,
            directory,
            files: self.files()?,
            binaries: self.binaries()?,
            relations: relations.collect(),
            requires_root: self.paragraph.get("Rules-Requires-Root").map(folded),
        })
    }

    fn files(&self) -> Result<Vec<SourceFile>, Error> {
        let field = "Checksums-Sha256";
        let mut files = Vec::new();
        for line in self.needed(field)?.lines().map(str::trim_ascii).filter(|l| !l.is_empty()) {
            files.push(source_file(line).map_err(|reason| self.wrong(field, reason))?);
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        if files.windows(2).any(|pair| pair[0].name == pair[1].name) {
            let reason = Reason::other("a file named twice", "a list of files");
            return Err(self.wrong(field, reason));
        }
        Ok(files)
    }

    fn binaries(&self) -> Result<Vec<SourceBinary>, Error> {
        let Some(list) = self.paragraph.get("Package-List") else {
            return self.binaries_of_old();
        };
        let lines = list.lines().map(str::trim_ascii).filter(|line| !line.is_empty());
        let read = lines.map(source_binary).collect::<Result<_, _>>();
        read.map_err(|reason| self.wrong("Package-List", reason))
    }

    /// Before dpkg 1.17.7 there was no word of architectures in `Package-List`, and before
    /// 1.16.1 no such field: then every name in `Binary` counts for `Architecture`.
    fn binaries_of_old(&self) -> Result<Vec<SourceBinary>, Error> {
        let architectures = folded(self.paragraph.get("Architecture").unwrap_or("any"));
        let names = self.paragraph.get("Binary").unwrap_or_default().split(',');
        let names = names.map(str::trim_ascii).filter(|name| !name.is_empty());
        let read = names.map(|name| {
            Ok(SourceBinary {
                name: name.parse()?,
                package_type: "deb".to_owned(),
                section: String::new(),
                priority: String::new(),
                architectures: architectures.replace(' ', ","),
                profiles: String::new(),
            })
        });
        read.collect::<Result<_, Reason>>().map_err(|reason| self.wrong("Binary", reason))
    }

    fn needed(&self, field: &'static str) -> Result<&str, Error> {
        self.paragraph.get(field).ok_or_else(|| Error::Missing {
            package: self.name.to_string(),
            line: 1,
            field,
        })
    }

    fn wrong(&self, field: &'static str, reason: Reason) -> Error {
        Error::Field { package: self.name.to_string(), line: 1, field, reason }
    }
}

/// `digest size name`
fn source_file(line: &str) -> Result<SourceFile, Reason> {
    let bad = || Reason::other(line, "`digest size name`");
    let mut words = line.split_ascii_whitespace();
    let (Some(sha256), Some(size), Some(name), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    if name.contains('/') || name == "." {
        return Err(Reason::other(name, "the name of a file"));
    }
    Ok(SourceFile { name: pool_path(name)?, size: number(size)?, sha256: sha256.parse()? })
}

/// `name type section priority key=value…`
fn source_binary(line: &str) -> Result<SourceBinary, Reason> {
    let bad = || Reason::other(line, "`name type section priority arch=…`");
    let mut words = line.split_ascii_whitespace();
    let mut next = || words.next().ok_or_else(bad);
    let (name, package_type, section, priority) = (next()?, next()?, next()?, next()?);
    let mut binary = SourceBinary {
        name: name.parse()?,
        package_type: package_type.to_owned(),
        section: section.to_owned(),
        priority: priority.to_owned(),
        architectures: "any".to_owned(),
        profiles: String::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("arch", value)) => binary.architectures = value.to_owned(),
            Some(("profile", value)) => binary.profiles = value.to_owned(),
            _ => {}
        }
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOO: &str = "Package: foo\nBinary: foo, foo-doc\nVersion: 1.2-3\nArchitecture: any all\n\
        Build-Depends: debhelper-compat (= 13),\n\tbar <!nocheck>\nBuild-Conflicts:\n\
        Rules-Requires-Root: no\nDirectory: pool/main/f/foo\nPackage-List:\n \
        foo deb utils optional arch=linux-any\n foo-doc deb doc optional arch=all profile=!nodoc\n\
        Checksums-Sha256:\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 foo_1.2.orig.tar.xz\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 4 foo_1.2-3.dsc\n";

    fn foo(text: &str) -> Result<Option<SourcePackage>, Error> {
        source(text, &"foo".parse().unwrap())
    }

    #[test]
    fn reads_a_source() {
        let foo = foo(FOO).unwrap().unwrap();
        assert_eq!(foo.version.as_str(), "1.2-3");
        assert_eq!(foo.directory, "pool/main/f/foo");
        let names: Vec<_> = foo.files.iter().map(|file| (file.name.as_str(), file.size)).collect();
        assert_eq!(names, [("foo_1.2-3.dsc", 4), ("foo_1.2.orig.tar.xz", 3)]);
        let relations: Vec<_> = foo.relations.into_iter().collect();
        assert_eq!(
            relations,
            [("Build-Depends".into(), "debhelper-compat (= 13), bar <!nocheck>".into())]
        );
        assert_eq!(foo.requires_root.as_deref(), Some("no"));
        let built = |architecture: &str, profiles: &[&str]| -> Vec<_> {
            let architecture = architecture.parse().unwrap();
            let profiles = profiles.iter().map(|p| (*p).to_owned()).collect();
            let built = foo.binaries.iter().filter(|one| one.is_built(&architecture, &profiles));
            built.map(|binary| binary.name.to_string()).collect()
        };
        assert_eq!(built("amd64", &[]), ["foo"]);
        assert_eq!(built("all", &[]), ["foo-doc"]);
        assert_eq!(built("all", &["nodoc"]), [""; 0]);
    }

    #[test]
    fn takes_the_highest_version_of_exactly_that_name() {
        let other = FOO.replace("Package: foo", "Package: foo-bar").replace("1.2", "9");
        let newer = FOO.replace("1.2", "1.10").replace("Package: foo", "package :foo ");
        let extra = format!("Extra-Source-Only: yes\n{}", FOO.replace("1.2", "8"));
        let text = format!("{other}\n{newer} \t\n{FOO}\n{extra}");
        assert_eq!(foo(&text).unwrap().unwrap().version.as_str(), "1.10-3");
        assert_eq!(foo(&other).unwrap(), None);
        assert_eq!(foo(&extra).unwrap(), None);
        assert_eq!(foo("").unwrap(), None);
    }

    #[test]
    fn every_source_is_every_version() {
        let other = FOO.replace("Package: foo", "Package: foo-bar");
        let extra = format!("Extra-Source-Only: yes\n{}", FOO.replace("1.2", "8"));
        let text = format!("{FOO}\n{other}\n{extra}");
        let all = every_source(&text).unwrap();
        let titles: Vec<String> =
            all.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        assert_eq!(titles, ["foo 1.2-3", "foo-bar 1.2-3", "foo 8-3"]);
        assert_eq!(every_source(""), Ok(Vec::new()));
        for (from, to) in [("Package: foo", "Package: .."), ("pool/main", "pool/../..")] {
            assert!(every_source(&format!("{FOO}\n{}", FOO.replace(from, to))).is_err(), "{to}");
        }
    }

    #[test]
    fn sources_of_old_have_all_their_binaries() {
        let (before, after) = FOO.split_once("Package-List").unwrap();
        let after = after.split_once("Checksums").unwrap().1;
        let foo = foo(&format!("{before}Checksums{after}")).unwrap().unwrap();
        let names: Vec<_> = foo.binaries.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["foo", "foo-doc"]);
        assert_eq!(foo.binaries[0].architectures, "any,all");
    }

    #[test]
    fn refuses_files_that_lead_elsewhere() {
        for (from, to) in [
            ("foo_1.2-3.dsc", "../foo.dsc"),
            ("foo_1.2-3.dsc", "/foo.dsc"),
            ("foo_1.2-3.dsc", ".."),
            ("foo_1.2-3.dsc", "foo_1.2.orig.tar.xz"),
            (" 4 ", " -4 "),
            (" 4 ", " "),
            ("pool/main", "pool/../.."),
            ("Directory", "Elsewhere"),
            ("Version: 1.2-3", "Version: x_y"),
        ] {
            assert!(foo(&FOO.replace(from, to)).is_err(), "{to}");
        }
    }
}
