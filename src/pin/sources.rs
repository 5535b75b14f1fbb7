//! Pins of source packages that specs take from an archive.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Request;
use super::archives::mirrors;
use super::error::{Error, Result};
use super::files::evidence_path;
use crate::archive::deb::index::{self, BinaryPackage, SourcePackage};
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::signature::signed_text;
use crate::base::{Diagnostic, PackageName, Span, nearest};
use crate::fetch::{self, Index};
use crate::spec::Spec;
use crate::spec::lock::{
    IndexKind, LockedArchive, LockedBinary, LockedFile, LockedIndex, LockedSource, LockedSuite,
};
use crate::spec::model::Source;

/// The sources that the specs take from archives, by archive and name, and where they say so.
pub(super) fn wanted(spec: &Spec) -> BTreeMap<(String, PackageName), Span> {
    let mut wanted = BTreeMap::new();
    let only = spec.release.roots.values().next();
    for package in &spec.packages {
        let root = match &package.root {
            Some(root) => spec.release.roots.get(&root.value),
            None => only,
        };
        for source in package.sources() {
            if let (Source::Archive { name }, Some(root)) = (&source.value, root) {
                let span = source.span.clone().unwrap_or_else(|| package.span.clone());
                wanted.entry((root.archive.value.clone(), name.clone())).or_insert(span);
            }
        }
    }
    wanted
}

/// The pins of all sources: `known` gives those that stay, the others are read from the pinned
/// indexes.
pub(super) fn pin(
    request: &Request<'_>,
    pinned: &BTreeMap<String, LockedArchive>,
    evidence: &BTreeMap<String, Vec<u8>>,
    known: impl Fn(&str, &PackageName) -> Option<LockedSource>,
) -> Result<BTreeMap<(String, PackageName), LockedSource>> {
    let mut sources = BTreeMap::new();
    let mut missing: BTreeMap<String, BTreeMap<PackageName, Span>> = BTreeMap::new();
    for ((archive, name), span) in wanted(request.spec) {
        match known(&archive, &name) {
            Some(source) => {
                sources.insert((archive, name), source);
            }
            None => {
                missing.entry(archive).or_default().insert(name, span);
            }
        }
    }
    let mut wrong = Vec::new();
    for (archive, names) in missing {
        let Some(locked) = pinned.get(&archive) else { continue };
        let indexes = Indexes::read(request, &archive, locked, evidence)?;
        let mut found = indexes.find(&names.keys().collect())?;
        for (name, span) in names {
            match found.remove(&name) {
                Some(source) => {
                    let source = indexes.locked(source);
                    sources.insert((archive.clone(), name), source);
                }
                None => wrong.push(indexes.unknown(&name, span)),
            }
        }
    }
    if wrong.is_empty() { Ok(sources) } else { Err(Error::Input(wrong)) }
}

/// The indexes of an archive, read.
struct Indexes<'a> {
    archive: &'a str,
    /// Texts of `Sources` with their suites and paths, in the order of preference.
    sources: Vec<(&'a str, &'a str, String)>,
    /// Binary packages of the release's first architecture, with those of `all`, by name.
    packages: HashMap<PackageName, Vec<Arc<BinaryPackage>>>,
    /// The names of all sources, once they are asked for.
    names: OnceCell<BTreeSet<String>>,
}

impl<'a> Indexes<'a> {
    fn read(
        request: &Request<'_>,
        archive: &'a str,
        locked: &'a LockedArchive,
        evidence: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let first = request.spec.release.architectures.first();
        let mut sources = Vec::new();
        let mut packages: HashMap<_, Vec<_>> = HashMap::new();
        for suite in &locked.suites {
            let bytes = evidence.get(&evidence_path(archive, &suite.suite));
            let release = bytes.and_then(|bytes| signed_text(bytes).ok());
            let release = release.and_then(|text| ReleaseFile::parse(&text).ok());
            let release = release.expect("it was read when the archive was pinned");
            for index in &suite.indexes {
                let text = || text(request, archive, suite, index, &release);
                match &index.kind {
                    IndexKind::Sources => sources.push((&*suite.suite, &*index.path, text()?)),
                    IndexKind::Packages(of) if first == Some(of) || of.as_str() == "all" => {
                        let found = index::packages(&text()?).map_err(|source| Error::Index {
                            archive: archive.to_owned(),
                            suite: suite.suite.clone(),
                            path: index.path.clone(),
                            source: Box::new(source),
                        })?;
                        for package in found {
                            packages.entry(package.name.clone()).or_default().push(package);
                        }
                    }
                    IndexKind::Packages(_) => {}
                }
            }
        }
        Ok(Self { archive, sources, packages, names: OnceCell::new() })
    }

    /// The sources of these names, each in its highest version, of equal ones that of the first
    /// suite.
    fn find(&self, names: &BTreeSet<&PackageName>) -> Result<BTreeMap<PackageName, SourcePackage>> {
        let mut best: BTreeMap<PackageName, SourcePackage> = BTreeMap::new();
        for (suite, path, text) in &self.sources {
            let found = index::sources(text, names).map_err(|source| Error::Index {
                archive: self.archive.to_owned(),
                suite: (*suite).to_owned(),
                path: (*path).to_owned(),
                source: Box::new(source),
            })?;
            for (name, source) in found {
                if best.get(&name).is_none_or(|best| best.version < source.version) {
                    best.insert(name, source);
                }
            }
        }
        Ok(best)
    }

    fn locked(&self, source: SourcePackage) -> LockedSource {
        let mut binaries: Vec<LockedBinary> = source
            .binaries
            .iter()
            // What the installer uses is no package that others could depend on.
            .filter(|binary| binary.package_type == "deb")
            .map(|binary| LockedBinary {
                name: binary.name.clone(),
                architecture: binary.architectures.replace(',', " "),
                profiles: binary.profiles.clone(),
                provides: self.provides(&source.name, &binary.name),
            })
            .collect();
        binaries.sort_by(|a, b| a.name.cmp(&b.name));
        let files = source.files.into_iter();
        LockedSource {
            version: source.version.to_string(),
            directory: source.directory,
            files: files
                .map(|file| LockedFile { name: file.name, size: file.size, sha256: file.sha256 })
                .collect(),
            binaries,
            relations: source.relations,
            requires_root: source.requires_root,
        }
    }

    /// What the archive's newest binary of that name from that source provides.
    fn provides(&self, source: &PackageName, binary: &PackageName) -> String {
        let of_it =
            self.packages.get(binary).into_iter().flatten().filter(|one| one.source == *source);
        let newest = of_it.max_by(|a, b| a.version.cmp(&b.version));
        newest.map(|package| package.provides.text().to_owned()).unwrap_or_default()
    }

    fn unknown(&self, name: &PackageName, span: Span) -> Diagnostic {
        let names = self.names.get_or_init(|| {
            let lines = self.sources.iter().flat_map(|(_, _, text)| text.lines());
            let names = lines.filter_map(|line| line.strip_prefix("Package: "));
            names.map(|name| name.trim_ascii().to_owned()).collect()
        });
        let message = format!("unknown source package `{name}`");
        let label = format!("archive `{}` has no source of this name", self.archive);
        let diagnostic = Diagnostic::new("unknown-source", message).at(span, label);
        // A binary's name is the likelier mistake than a misspelt one.
        let of_binary = self.packages.get(name).and_then(|packages| packages.first());
        match (of_binary, nearest(name.as_str(), names.iter().map(String::as_str))) {
            (Some(binary), _) => diagnostic
                .hint(format!("the package `{name}` is built from source `{}`", binary.source)),
            (None, Some(near)) => diagnostic.hint(format!("it has `{near}`")),
            (None, None) => diagnostic,
        }
    }
}

/// The text of a pinned index.
fn text(
    request: &Request<'_>,
    archive: &str,
    suite: &LockedSuite,
    index: &LockedIndex,
    release: &ReleaseFile,
) -> Result<String> {
    let Request { store, client, cancel, .. } = *request;
    let wanted = Index {
        suite: &suite.suite,
        path: &index.path,
        expected: Some((index.sha256, index.size)),
        release,
        evidence: suite.release,
    };
    let object = fetch::index(store, client, mirrors(request, archive), &wanted, cancel)?;
    String::from_utf8(store.read(&object.digest)?).map_err(|_| Error::Encoding {
        archive: archive.to_owned(),
        suite: suite.suite.clone(),
        path: index.path.clone(),
    })
}
