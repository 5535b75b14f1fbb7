//! Sources as derivations: pinned content, and where it comes from.

use super::derivation::{Source as Derivation, SourceFile};
use super::{Origin, derivation};
use crate::base::{Diagnostic, PackageName, Span};
use crate::spec::lock::{Lock, LockedSource};
use crate::spec::model::{Located, Package, Source};

/// A source on its way to a node.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// Its identity.
    pub derivation: derivation::Source,
    /// Where its bytes come from.
    pub origin: Origin,
}

/// A source of `package`, whose root is over `archive`.
///
/// # Errors
/// What the lock does not pin.
pub fn lower(
    source: &Located<Source>,
    package: &Package,
    archive: &str,
    lock: &Lock,
) -> Result<Lowered, Diagnostic> {
    let span = source.span.clone().unwrap_or_else(|| package.span.clone());
    Ok(match &source.value {
        Source::Archive { name } => {
            let locked = locked_source(span, lock, archive, name)?;
            Lowered {
                derivation: archive_source(name, locked)?,
                origin: Origin::Archive {
                    archive: archive.to_owned(),
                    directory: locked.directory.clone(),
                },
            }
        }
        Source::Dir { path, tree, packaging: _ } => Lowered {
            derivation: Derivation::Tree { tree: tree.digest() },
            origin: Origin::Dir { path: path.clone(), tree: tree.clone() },
        },
        Source::File { path, size, sha256 } => {
            let name = path.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            let file = SourceFile { name, size: *size, sha256: *sha256 };
            let origin = Origin::File { path: path.clone() };
            Lowered { derivation: Derivation::File(file), origin }
        }
        Source::Git { url, rev, pinned } => {
            let pin = pinned.as_ref().ok_or_else(|| unpinned(&source.value, span))?;
            Lowered {
                derivation: Derivation::Tree { tree: pin.tree },
                origin: Origin::Git {
                    url: url.clone(),
                    rev: rev.clone(),
                    commit: pin.commit.clone(),
                },
            }
        }
        Source::Tarball(download) => {
            let pin = download.pinned.as_ref();
            let format = pin.and_then(|pin| Some((pin, pin.format?)));
            let (pin, format) = format.ok_or_else(|| unpinned(&source.value, span))?;
            Lowered {
                derivation: Derivation::Tarball { format, size: pin.size, sha256: pin.sha256 },
                origin: Origin::Download { urls: download.urls.clone() },
            }
        }
        Source::Fetched(download) => {
            let pin = download.pinned.as_ref().ok_or_else(|| unpinned(&source.value, span))?;
            Lowered {
                derivation: Derivation::File(SourceFile {
                    name: download.file_name().to_owned(),
                    size: pin.size,
                    sha256: pin.sha256,
                }),
                origin: Origin::Download { urls: download.urls.clone() },
            }
        }
    })
}

/// The pin of a source package of an archive.
pub fn locked_source<'a>(
    span: Span,
    lock: &'a Lock,
    archive: &str,
    name: &PackageName,
) -> Result<&'a LockedSource, Diagnostic> {
    lock.sources.get(&(archive.to_owned(), name.clone())).ok_or_else(|| {
        Diagnostic::new("unpinned", format!("source `{name}` of archive `{archive}` is not pinned"))
            .at(span, "release.lock does not have it")
            .hint("`perestroika lock` pins it")
    })
}

fn unpinned(source: &Source, span: Span) -> Diagnostic {
    let what = source.remote().map(|remote| remote.to_string()).unwrap_or_default();
    Diagnostic::new("unpinned", format!("{what} is not pinned"))
        .at(span, "release.lock does not have it")
        .hint("`perestroika lock` pins it")
}

fn archive_source(name: &PackageName, locked: &LockedSource) -> Result<Derivation, Diagnostic> {
    let dsc = locked.files.iter().find(|file| file.name.ends_with(".dsc")).ok_or_else(|| {
        Diagnostic::new("lock", format!("the pin of `{name}` names no `.dsc`"))
            .hint(format!("`perestroika update {name}` pins it anew"))
    })?;
    let files = locked
        .files
        .iter()
        .map(|file| SourceFile { name: file.name.clone(), size: file.size, sha256: file.sha256 })
        .collect();
    Ok(Derivation::Debian { dsc: dsc.name.clone(), files })
}
