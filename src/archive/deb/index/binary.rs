//! Binary packages.

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use super::{Error, Reason, moved, number, pool_path};
use crate::archive::deb::control::{Comments, Item, Paragraph, Scanner, paragraphs};
use crate::archive::deb::dependency::{self, Dependencies};
use crate::archive::deb::version::Version;
use crate::base::{Architecture, PackageName, Sha256};

/// A binary package that an archive or a release has.
#[derive(Debug, Clone)]
pub struct BinaryPackage {
    /// `Package`
    pub name: PackageName,
    /// `Version`
    pub version: Version,
    /// `Architecture`: a name, or `all`.
    pub architecture: Architecture,
    /// The source it was built from (`Source`; its own name by default).
    pub source: PackageName,
    /// That source's version (in brackets after `Source`; its own by default).
    pub source_version: Version,
    /// `Essential: yes`
    pub essential: bool,
    /// `Protected: yes`, or `Important: yes` as it was called before.
    pub important: bool,
    /// `Priority`; optional if absent.
    pub priority: Priority,
    /// `Multi-Arch`
    pub multi_arch: MultiArch,
    /// `Pre-Depends`
    pub pre_depends: Relations,
    /// `Depends`
    pub depends: Relations,
    /// `Conflicts`
    pub conflicts: Relations,
    /// `Breaks`
    pub breaks: Relations,
    /// `Replaces`
    pub replaces: Relations,
    /// `Provides`
    pub provides: Relations,
    /// `Filename`: its path below the archive's root, which it never leaves.
    pub filename: String,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// Digest of the `.deb`.
    pub sha256: Sha256,
}

/// How much a system needs a package (Debian Policy 2.5), the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Without it nothing works.
    Required,
    /// Any system of this kind is expected to have it.
    Important,
    /// A small but whole system has it.
    Standard,
    /// Everything else.
    Optional,
    /// What only some want.
    Extra,
}

impl Priority {
    fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Important => "important",
            Self::Standard => "standard",
            Self::Optional => "optional",
            Self::Extra => "extra",
        }
    }
}

/// How packages of several architectures get along (`Multi-Arch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MultiArch {
    /// One architecture at a time, for dependants of that architecture.
    No,
    /// Several architectures at once.
    Same,
    /// Serves dependants of any architecture.
    Foreign,
    /// Serves those that ask for `:any`.
    Allowed,
}

impl MultiArch {
    fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Same => "same",
            Self::Foreign => "foreign",
            Self::Allowed => "allowed",
        }
    }
}

/// The relations of a field, read when they are first asked for: of the 60,000 packages of an
/// archive a build root looks at a few hundred.
#[derive(Clone, Default)]
pub struct Relations {
    text: Box<str>,
    parsed: OnceLock<Box<Result<Dependencies, dependency::Error>>>,
}

impl Relations {
    /// The relations that the field's value `text` holds.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), parsed: OnceLock::new() }
    }

    /// The field as written; empty if there is none.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The relations, or what is wrong with the field.
    pub fn get(&self) -> Result<&Dependencies, &dependency::Error> {
        static NONE: Dependencies = Dependencies(Vec::new());
        if self.text.is_empty() {
            return Ok(&NONE);
        }
        let parsed = self.parsed.get_or_init(|| Box::new(self.text.parse()));
        parsed.as_ref().as_ref()
    }
}

impl fmt::Debug for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl PartialEq for Relations {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Relations {}

/// The packages of a `Packages` index, in its order.
pub fn packages(text: &str) -> Result<Vec<Arc<BinaryPackage>>, Error> {
    let pieces: Vec<_> = pieces(text)
        .into_par_iter()
        .map(|(start, end)| piece(&text[start..end]).map_err(|error| (start, error)))
        .collect();
    let mut all = Vec::new();
    for piece in pieces {
        all.extend(piece.map_err(|(start, error)| moved(error, &text[..start]))?);
    }
    Ok(all)
}

impl BinaryPackage {
    /// The package that a paragraph of a `Packages` index describes.
    pub fn from_paragraph(paragraph: &Paragraph<'_>) -> Result<Self, Error> {
        Draft::of(paragraph).listed()
    }

    /// The package whose `.deb` holds this `control`; the archive's index would say the rest.
    /// Unlike [`packages`] this refuses malformed relations at once.
    pub fn from_control(
        control: &str,
        filename: &str,
        size: u64,
        sha256: Sha256,
    ) -> Result<Self, Error> {
        let missing = || Error::Missing { package: "?".to_owned(), line: 1, field: "Package" };
        let paragraph = paragraphs(control).next().ok_or_else(missing)??;
        let draft = Draft::of(&paragraph);
        let package = draft.package(filename, size, sha256)?;
        for (field, relations) in package.relations() {
            relations.get().map_err(|error| draft.wrong(field, error.clone()))?;
        }
        Ok(package)
    }

    /// The paragraph of a `Packages` index that says all this, and nothing else: what
    /// [`packages`] makes of it equals this one.
    pub fn to_paragraph(&self) -> String {
        let mut text = String::with_capacity(512);
        let mut field = |name: &str, value: &dyn fmt::Display| {
            let _infallible = writeln!(text, "{name}: {value}");
        };
        field("Package", &self.name);
        field("Version", &self.version);
        field("Architecture", &self.architecture);
        field("Source", &format_args!("{} ({})", self.source, self.source_version));
        if self.essential {
            field("Essential", &"yes");
        }
        if self.important {
            field("Protected", &"yes");
        }
        field("Priority", &self.priority.as_str());
        field("Multi-Arch", &self.multi_arch.as_str());
        for (name, relations) in self.relations() {
            if !relations.text().is_empty() {
                field(name, &relations.text());
            }
        }
        field("Filename", &self.filename);
        field("Size", &self.size);
        field("SHA256", &self.sha256);
        text
    }

    /// What names it among all others: `bash 5.2.15-2+b2 amd64`.
    pub fn title(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.architecture)
    }

    fn relations(&self) -> [(&'static str, &Relations); 6] {
        [
            ("Pre-Depends", &self.pre_depends),
            ("Depends", &self.depends),
            ("Conflicts", &self.conflicts),
            ("Breaks", &self.breaks),
            ("Replaces", &self.replaces),
            ("Provides", &self.provides),
        ]
    }
}

/// The size of the pieces in which an index is read.
const PIECE: usize = 1 << 20;

/// Where to cut `text`, always behind an empty line.
fn pieces(text: &str) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let mut end = (start + PIECE).min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        end = text[end..].find("\n\n").map_or(text.len(), |at| end + at + 2);
        pieces.push((start, end));
        start = end;
    }
    pieces
}

fn piece(text: &str) -> Result<Vec<Arc<BinaryPackage>>, Error> {
    let mut all = Vec::new();
    let mut scanner = Scanner::new(text, Comments::Refuse);
    let mut draft = Draft::default();
    while let Some(item) = scanner.next() {
        match item? {
            Item::Field { name, value, at } => {
                if draft.begin.is_none() {
                    draft.begin = Some(at);
                }
                if !draft.take(name, value) {
                    let (line, name) = (scanner.line_of(at), name.to_owned());
                    return Err(super::control::Error::Duplicate { line, name }.into());
                }
            }
            Item::End => {
                let begin = draft.begin.unwrap_or(0);
                let package = draft.listed();
                all.push(Arc::new(package.map_err(|error| moved(error, &text[..begin]))?));
                draft = Draft::default();
            }
        }
    }
    Ok(all)
}

macro_rules! fields {
    ($($field:ident $name:literal),* $(,)?) => {
        /// The fields of a paragraph that matter, as written.
        #[derive(Default)]
        struct Draft<'a> {
            begin: Option<usize>,
            line: usize,
            $($field: Option<&'a str>,)*
        }

        impl<'a> Draft<'a> {
            /// Takes a field; whether it was not there before.
            fn take(&mut self, name: &str, value: &'a str) -> bool {
                let place = match name {
                    $($name => &mut self.$field,)*
                    $(_ if name.eq_ignore_ascii_case($name) => &mut self.$field,)*
                    _ => return true,
                };
                place.replace(value).is_none()
            }
        }
    };
}
fields! {
    package "Package",
    version "Version",
    architecture "Architecture",
    source "Source",
    essential "Essential",
    important "Important",
    protected "Protected",
    priority "Priority",
    multi_arch "Multi-Arch",
    pre_depends "Pre-Depends",
    depends "Depends",
    conflicts "Conflicts",
    breaks "Breaks",
    replaces "Replaces",
    provides "Provides",
    filename "Filename",
    size "Size",
    sha256 "SHA256",
}

impl<'a> Draft<'a> {
    fn of(paragraph: &'a Paragraph<'_>) -> Self {
        // Lines are counted from 0 here: callers add what stands before.
        let mut draft = Self { line: paragraph.line() - 1, ..Self::default() };
        for (name, value) in paragraph.fields() {
            draft.take(name, value);
        }
        draft
    }

    fn listed(&self) -> Result<BinaryPackage, Error> {
        let filename = self.needed("Filename", self.filename)?;
        let size = self.needed("Size", self.size)?;
        let size = number(size).map_err(|reason| self.wrong("Size", reason))?;
        let sha256 = self.needed("SHA256", self.sha256)?;
        let sha256 = sha256
            .parse()
            .map_err(|reason: crate::base::DigestError| self.wrong("SHA256", reason))?;
        self.package(filename, size, sha256)
    }

    fn package(&self, filename: &str, size: u64, sha256: Sha256) -> Result<BinaryPackage, Error> {
        let name: PackageName = self.parsed("Package", self.package)?;
        let version: Version = self.parsed("Version", self.version)?;
        let (source, source_version) = match self.source {
            None => (name.clone(), version.clone()),
            Some(text) => self.source_of(text, &version)?,
        };
        let wrong = |field, reason| self.wrong::<Reason>(field, reason);
        let filename = pool_path(filename).map_err(|reason| wrong("Filename", reason))?;
        let relations = |text: Option<&str>| text.map(Relations::new).unwrap_or_default();
        Ok(BinaryPackage {
            architecture: self.parsed("Architecture", self.architecture)?,
            source,
            source_version,
            essential: yes(self.essential).map_err(|reason| wrong("Essential", reason))?,
            important: yes(self.important).map_err(|reason| wrong("Important", reason))?
                || yes(self.protected).map_err(|reason| wrong("Protected", reason))?,
            priority: priority(self.priority),
            multi_arch: multi_arch(self.multi_arch)
                .map_err(|reason| wrong("Multi-Arch", reason))?,
            pre_depends: relations(self.pre_depends),
            depends: relations(self.depends),
            conflicts: relations(self.conflicts),
            breaks: relations(self.breaks),
            replaces: relations(self.replaces),
            provides: relations(self.provides),
            filename,
            size,
            sha256,
            name,
            version,
        })
    }

    /// `Source: name` or `Source: name (version)`.
    fn source_of(&self, text: &str, own: &Version) -> Result<(PackageName, Version), Error> {
        let (name, version) = match text.split_once('(') {
            None => (text, own.clone()),
            Some((name, rest)) => {
                let version = rest.strip_suffix(')').unwrap_or(rest).trim_ascii();
                (name.trim_ascii_end(), self.parsed("Source", Some(version))?)
            }
        };
        Ok((self.parsed("Source", Some(name))?, version))
    }

    fn needed(&self, field: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
        value.ok_or_else(|| Error::Missing { package: self.called(), line: self.line + 1, field })
    }

    fn parsed<T>(&self, field: &'static str, value: Option<&'a str>) -> Result<T, Error>
    where
        T: std::str::FromStr,
        Reason: From<T::Err>,
    {
        self.needed(field, value)?.parse().map_err(|reason| self.wrong::<T::Err>(field, reason))
    }

    fn wrong<R>(&self, field: &'static str, reason: R) -> Error
    where
        Reason: From<R>,
    {
        let reason = reason.into();
        Error::Field { package: self.called(), line: self.line + 1, field, reason }
    }

    fn called(&self) -> String {
        self.package.unwrap_or("?").chars().take(100).collect()
    }
}

fn yes(value: Option<&str>) -> Result<bool, Reason> {
    match value {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("yes") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("no") => Ok(false),
        Some(text) => Err(Reason::other(text, "`yes` or `no`")),
    }
}

/// Unknown words count as optional: archives of old have `source`, private ones anything.
fn priority(value: Option<&str>) -> Priority {
    match value {
        Some("required") => Priority::Required,
        Some("important") => Priority::Important,
        Some("standard") => Priority::Standard,
        Some("extra") => Priority::Extra,
        _ => Priority::Optional,
    }
}

fn multi_arch(value: Option<&str>) -> Result<MultiArch, Reason> {
    match value {
        None | Some("no") => Ok(MultiArch::No),
        Some("same") => Ok(MultiArch::Same),
        Some("foreign") => Ok(MultiArch::Foreign),
        Some("allowed") => Ok(MultiArch::Allowed),
        Some(text) => Err(Reason::other(text, "`no`, `same`, `foreign` or `allowed`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOO: &str = "Package: foo\nSource: bar (1:2)\nVersion: 1:2+b1\nArchitecture: amd64\n\
        Essential: yes\nPriority: required\nMulti-Arch: foreign\nDepends: a1,\n b1\n\
        Filename: pool/f/foo.deb\nSize: 12\n\
        SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";

    #[test]
    fn reads_a_package() {
        let all = packages(&format!("{FOO}\n{}", FOO.replace("foo", "fuu"))).unwrap();
        assert_eq!(all.len(), 2);
        let foo = &all[0];
        assert_eq!(foo.title(), "foo 1:2+b1 amd64");
        assert_eq!((foo.source.as_str(), foo.source_version.as_str()), ("bar", "1:2"));
        assert!(foo.essential && !foo.important);
        assert_eq!((foo.priority, foo.multi_arch), (Priority::Required, MultiArch::Foreign));
        assert_eq!(foo.depends.get().unwrap().to_string(), "a1, b1");
        assert_eq!(foo.conflicts.get().unwrap().to_string(), "");
        assert_eq!((foo.filename.as_str(), foo.size), ("pool/f/foo.deb", 12));
        assert_eq!(all[1].name.as_str(), "fuu");
        let paragraph = paragraphs(FOO).next().unwrap().unwrap();
        assert_eq!(BinaryPackage::from_paragraph(&paragraph).unwrap().title(), foo.title());
        let own = BinaryPackage::from_control(FOO, "foo.deb", 3, Sha256::of(b"abc")).unwrap();
        assert_eq!((own.filename.as_str(), own.size), ("foo.deb", 3));
    }

    #[test]
    fn a_package_reads_back_from_its_paragraph() {
        let all = FOO.replace("Multi-Arch", "Protected: yes\nProvides: x (= 1),\n y\nMulti-Arch");
        for text in [FOO, &all, &FOO.replace("Source: bar (1:2)\n", "")] {
            let package = &packages(text).unwrap()[0];
            let again = packages(&package.to_paragraph()).unwrap();
            assert_eq!(format!("{:?}", again[0]), format!("{package:?}"));
        }
    }

    #[test]
    fn says_where_and_what_is_wrong() {
        let error = |from: &str, to: &str| {
            let text = format!("{FOO}\n{}", FOO.replace(from, to));
            let error = packages(&text).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        };
        assert_eq!(
            error("Size: 12\n", ""),
            "the paragraph of `foo` at line 14 has no field `Size`: "
        );
        assert_eq!(
            error("pool/f", "../f"),
            "field `Filename` of `foo` (paragraph at line 14): \
             `../f/foo.deb` is not a path below the archive's root"
        );
        assert_eq!(
            error("12", "-1"),
            "field `Size` of `foo` (paragraph at line 14): `-1` is not a number of bytes"
        );
        assert_eq!(
            error("foreign", "some"),
            "field `Multi-Arch` of `foo` (paragraph at line 14): \
             `some` is not `no`, `same`, `foreign` or `allowed`"
        );
        assert_eq!(
            error("Size", "package"),
            "not an index of packages: line 24: field `package` appears twice in one paragraph"
        );
        for (from, to) in [
            ("pool/f", "/f"),
            ("pool/f", "a//b"),
            ("pool/f", "a b"),
            ("foo\n", "Foo\n"),
            ("1:2+b1", "x y"),
            ("(1:2)", "(é)"),
            ("ba78", "BA78"),
            ("amd64", "a/b"),
            ("yes", "maybe"),
            ("12", "99999999999999999999"),
        ] {
            error(from, to);
        }
    }

    #[test]
    fn own_packages_must_have_readable_relations() {
        let text = FOO.replace("a1,", "a1 b1 (,");
        assert!(packages(&text).unwrap()[0].depends.get().is_err());
        assert!(BinaryPackage::from_control(&text, "foo.deb", 3, Sha256::of(b"")).is_err());
        assert!(BinaryPackage::from_control("", "foo.deb", 3, Sha256::of(b"")).is_err());
    }

    #[test]
    fn cutting_into_pieces_changes_nothing() {
        let mut text = String::new();
        while text.len() < 3 * PIECE {
            text.push_str(&FOO.replace("foo", &format!("f{}", text.len())));
            text.push('\n');
        }
        let all = packages(&text).unwrap();
        assert_eq!(all.len(), text.matches("Package: ").count());
        text.push_str("Package: x\n");
        let lines = text.matches('\n').count();
        let error = packages(&text).unwrap_err().to_string();
        assert_eq!(error, format!("the paragraph of `x` at line {lines} has no field `Filename`"));
    }
}
