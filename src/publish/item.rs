//! A package of a suite, as its index tells of it: made from a record, or read from an index.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use md5::{Digest as _, Md5};

use super::error::{Error, Result, at};
use super::index::{contents, packages, sources};
use super::layout::{POOL, Repository, pool_folder};
use crate::archive::deb::index::BinaryPackage;
use crate::archive::deb::{package, signature};
use crate::base::{ActionId, DerivationId, Digest, HostPath, Sha256};
use crate::graph::Graph;
use crate::graph::derivation::{Derivation, Source};
use crate::realise::record::{Output, Record};
use crate::spec::release::DEBUG;
use crate::store::Store;

/// What an index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A source package.
    Source,
    /// A binary package.
    Deb,
    /// A package of the installer.
    Udeb,
}

/// The architecture of a source package, where one has to be named.
pub const SOURCE: &str = "source";

/// A package of a suite.
#[derive(Debug, Clone)]
pub struct Item {
    /// What kind of package it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `all`, or [`SOURCE`].
    pub architecture: String,
    /// The name of the source package it was built from; its own if it is one.
    pub source: String,
    /// Its component.
    pub component: String,
    /// Its paragraph in the index, with the empty line behind it.
    pub paragraph: String,
    /// Its files; a source package's `.dsc` is the first.
    pub files: Vec<Piece>,
    /// SHA-256 of what it carries without signatures: of a `.deb` as it is, of a `.dsc` its text.
    pub payload: Sha256,
    /// The recipe and the build it came from; none for what was not built here.
    pub built: Option<(DerivationId, ActionId)>,
}

/// A file of a package.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its path below `pool`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// Where it comes from.
    pub from: From,
}

/// Where a file comes from.
#[derive(Debug, Clone)]
pub enum From {
    /// From the store.
    Store(Digest),
    /// It was made for the repository.
    Made(Arc<Vec<u8>>),
    /// A file somewhere else.
    File(HostPath),
    /// It is in the pool.
    Pool,
}

/// What signs a `.dsc`: gets its text, gives the whole file.
pub type SignSource<'a> = dyn Fn(&str) -> Result<String> + Sync + 'a;

impl Item {
    /// What the build of a derivation left, and its source package. `pooled` gives the bytes of a
    /// file that is in the pool by its path there; `sign` signs the `.dsc`, unless the pool has
    /// the same one signed.
    ///
    /// # Errors
    /// [`Error::Package`] for an output that is not what it should be.
    pub fn of_record(
        store: &Store,
        graph: &Graph,
        record: &Record,
        derivation: DerivationId,
        component: &str,
        pooled: &(dyn Fn(&str) -> Option<Vec<u8>> + Sync),
        sign: &SignSource<'_>,
    ) -> Result<Vec<Self>> {
        let mut items = Vec::new();
        let built = Some((derivation, record.action));
        for output in &record.outputs {
            let kind = match output.file.rsplit_once('.').map(|(_, end)| end) {
                Some("deb") => Kind::Deb,
                Some("udeb") => Kind::Udeb,
                _ => continue,
            };
            items.push(Self { built, ..binary(store, kind, output, component)? });
        }
        if let Some(files) = source_files(store, graph, record, derivation)? {
            items.push(Self { built, ..source(store, &files, component, pooled, sign)? });
        }
        Ok(items)
    }

    /// The binary package whose paragraph this is.
    ///
    /// # Errors
    /// [`Error::Package`] if it says nothing that can be used.
    pub fn of_binary(kind: Kind, component: &str, paragraph: &str, from: From) -> Result<Self> {
        let read = crate::archive::deb::index::packages(paragraph)
            .map_err(|error| wrong("a paragraph of an index", error))?;
        let [binary] = read.as_slice() else {
            return Err(wrong("a paragraph of an index", "it is not one package"));
        };
        let path = binary.filename.strip_prefix("pool/").unwrap_or(&binary.filename).to_owned();
        let file = Piece { path, size: binary.size, sha256: binary.sha256, from };
        Ok(Self {
            kind,
            name: binary.name.to_string(),
            version: binary.version.to_string(),
            architecture: binary.architecture.to_string(),
            source: binary.source.to_string(),
            component: component.to_owned(),
            paragraph: paragraph.to_owned(),
            payload: file.sha256,
            files: vec![file],
            built: None,
        })
    }

    /// Reads from the pool what a source package that was read from an index carries.
    ///
    /// # Errors
    /// [`Error::System`] or [`Error::Package`] if its `.dsc` cannot be read.
    pub fn carry(&mut self, repository: &Repository) -> Result<()> {
        if self.kind == Kind::Source {
            let path = repository.path(POOL).join(&self.files[0].path);
            let bytes = std::fs::read(&path).map_err(at("read", &path))?;
            let text = unsigned(&bytes).map_err(|why| wrong(&self.files[0].path, why))?;
            self.payload = Sha256::of(text.as_bytes());
        }
        Ok(())
    }

    /// The paths that it installs, and what the list of contents calls it.
    ///
    /// # Errors
    /// [`Error::Package`] if it cannot be read.
    pub fn contents(&self, file: impl Read) -> Result<(String, Vec<String>)> {
        let name = &self.files[0].path;
        let (control, data) = package::open(file).map_err(|error| wrong(name, error))?;
        let title = contents::title(control.paragraph(), &self.name);
        let mut paths = Vec::new();
        data.each(|entry, _| {
            if !matches!(entry.kind, package::Kind::Directory) {
                paths.push(entry.path.clone());
            }
            Ok::<(), package::Error>(())
        })
        .map_err(|error| wrong(name, error))?;
        Ok((title, paths))
    }
}

/// An error in a package: which, and what is wrong with it.
pub(super) fn wrong(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Package { what: what.to_owned(), reason: why.to_string() }
}

fn binary(store: &Store, kind: Kind, output: &Output, component: &str) -> Result<Item> {
    let read;
    let control = if output.control.is_empty() {
        let file = store.open_object(&output.blake3)?;
        let (control, _) = package::open(file).map_err(|error| wrong(&output.file, error))?;
        read = control.paragraph().to_owned();
        &read
    } else {
        &output.control
    };
    let parsed = BinaryPackage::from_control(control, &output.file, output.size, output.sha256)
        .map_err(|error| wrong(&output.file, error))?;
    let component =
        if output.file.ends_with(".deb") && !output.is_offered() { DEBUG } else { component };
    let path = format!("{}/{}", pool_folder(component, parsed.source.as_str()), output.file);
    let paragraph = packages::paragraph(control, &path, output.size, &output.sha256)
        .map_err(|error| wrong(&output.file, error))?;
    let from = From::Store(output.blake3);
    let file = Piece { path, size: output.size, sha256: output.sha256, from };
    Ok(Item {
        kind,
        name: parsed.name.to_string(),
        version: parsed.version.to_string(),
        architecture: parsed.architecture.to_string(),
        source: parsed.source.to_string(),
        component: component.to_owned(),
        paragraph,
        payload: file.sha256,
        files: vec![file],
        built: None,
    })
}

/// A file of a source package in the store.
struct SourceFile {
    name: String,
    size: u64,
    sha256: Sha256,
    digest: Digest,
}

/// The files of the source package that a record is of, the `.dsc` first: those that the build
/// made, or those of the archive if it changed nothing about them; none if there is none.
fn source_files(
    store: &Store,
    graph: &Graph,
    record: &Record,
    derivation: DerivationId,
) -> Result<Option<Vec<SourceFile>>> {
    let made = record.outputs.iter().filter(|output| {
        output.control.is_empty()
            && !output.file.ends_with(".deb")
            && !output.file.ends_with(".udeb")
    });
    let mut files: Vec<SourceFile> = made
        .map(|output| SourceFile {
            name: output.file.clone(),
            size: output.size,
            sha256: output.sha256,
            digest: output.blake3,
        })
        .collect();
    if !files.iter().any(|file| file.name.ends_with(".dsc")) {
        files = match source_of(graph, derivation) {
            Some(pinned) => pinned
                .iter()
                .map(|file| {
                    let object = store.find(&file.sha256)?.ok_or_else(|| {
                        let why = "the store does not have it any more: build the package again";
                        wrong(&file.name, why)
                    })?;
                    Ok(SourceFile {
                        name: file.name.clone(),
                        size: object.size,
                        sha256: object.sha256,
                        digest: object.digest,
                    })
                })
                .collect::<Result<_>>()?,
            None => return Ok(None),
        };
    }
    let Some(dsc) = files.iter().position(|file| file.name.ends_with(".dsc")) else {
        return Ok(None);
    };
    files.swap(0, dsc);
    Ok(Some(files))
}

/// The pinned files of the archive's own source package that a derivation builds.
fn source_of(
    graph: &Graph,
    derivation: DerivationId,
) -> Option<&[crate::graph::derivation::SourceFile]> {
    let Derivation::Package(package) = &graph.node(derivation)?.derivation else { return None };
    match &graph.node(package.source)?.derivation {
        Derivation::Source(Source::Debian { files, .. }) => Some(files),
        _ => None,
    }
}

/// The largest `.dsc` there is use for, in bytes.
const MAX_DSC: u64 = 4 << 20;

fn source(
    store: &Store,
    files: &[SourceFile],
    component: &str,
    pooled: &(dyn Fn(&str) -> Option<Vec<u8>> + Sync),
    sign: &SignSource<'_>,
) -> Result<Item> {
    let (dsc, others) = files.split_first().expect("the `.dsc` is one of them");
    if dsc.size > MAX_DSC {
        return Err(wrong(&dsc.name, format!("it is larger than {MAX_DSC} bytes")));
    }
    let text = unsigned(&store.read(&dsc.digest)?).map_err(|why| wrong(&dsc.name, why))?;
    let parsed = sources::Dsc::parse(&text).map_err(|why| wrong(&dsc.name, why))?;
    let folder = pool_folder(component, &parsed.name);
    let path = format!("{folder}/{}", dsc.name);
    // The file that clients know stays as it is, whoever signed it.
    let same = pooled(&path)
        .filter(|file| signature::signed_text(file).is_ok_and(|signed| signed == text));
    let bytes = match same {
        Some(bytes) => bytes,
        None => sign(&text)?.into_bytes(),
    };
    let (size, sha256) = (bytes.len() as u64, Sha256::of(&bytes));
    let md5 = hex(&Md5::digest(&bytes));
    let own = sources::Own { name: &dsc.name, size, sha256, md5: &md5 };
    let mut pieces = vec![Piece { path, size, sha256, from: From::Made(Arc::new(bytes.clone())) }];
    for file in others {
        let listed = parsed.files.get(&file.name);
        if listed != Some(&(file.size, file.sha256)) {
            return Err(wrong(&dsc.name, format!("it does not name `{}` as it is", file.name)));
        }
        pieces.push(Piece {
            path: format!("{folder}/{}", file.name),
            size: file.size,
            sha256: file.sha256,
            from: From::Store(file.digest),
        });
    }
    if let Some(missing) =
        parsed.files.keys().find(|name| !others.iter().any(|file| file.name == **name))
    {
        return Err(wrong(&dsc.name, format!("it names `{missing}`, which is not there")));
    }
    Ok(Item {
        kind: Kind::Source,
        name: parsed.name.clone(),
        version: parsed.version.clone(),
        architecture: SOURCE.to_owned(),
        source: parsed.name.clone(),
        component: component.to_owned(),
        paragraph: sources::paragraph(&text, &format!("pool/{folder}"), &own)
            .map_err(|why| wrong(&dsc.name, why))?,
        files: pieces,
        payload: Sha256::of(text.as_bytes()),
        built: None,
    })
}

/// The text of a `.dsc` without the signature it may have.
pub(super) fn unsigned(bytes: &[u8]) -> std::result::Result<String, String> {
    if bytes.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----") {
        return signature::signed_text(bytes).map_err(|error| error.to_string());
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| "it is not UTF-8".to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Piece {
    /// Its bytes to read; `pool` is the repository's folder of packages.
    ///
    /// # Errors
    /// [`Error::System`], or those of the store.
    pub fn open(&self, store: &Store, pool: &HostPath) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.from {
            From::Store(digest) => Box::new(store.open_object(digest)?),
            From::Made(bytes) => Box::new(io::Cursor::new(bytes.as_ref().clone())),
            From::File(path) => Box::new(File::open(path).map_err(at("open", path))?),
            From::Pool => {
                let path = pool.join(&self.path);
                Box::new(File::open(&path).map_err(at("open", &path))?)
            }
        })
    }
}

/// The source package whose paragraph of `Sources` this is; its files are in the pool.
pub(super) fn of_source(component: &str, paragraph: &str) -> Result<Item> {
    let failed = |why: &dyn std::fmt::Display| wrong("a paragraph of an index", why);
    let read = crate::archive::deb::index::every_source(paragraph).map_err(|why| failed(&why))?;
    let [source] = read.as_slice() else { return Err(failed(&"it is not one package")) };
    let folder = source.directory.strip_prefix("pool/").unwrap_or(&source.directory);
    let mut files: Vec<Piece> = source
        .files
        .iter()
        .map(|file| Piece {
            path: format!("{folder}/{}", file.name),
            size: file.size,
            sha256: file.sha256,
            from: From::Pool,
        })
        .collect();
    let dsc = files.iter().position(|file| file.path.ends_with(".dsc"));
    files.swap(0, dsc.ok_or_else(|| failed(&"it names no `.dsc`"))?);
    let name = source.name.to_string();
    Ok(Item {
        kind: Kind::Source,
        source: name.clone(),
        name,
        version: source.version.to_string(),
        architecture: SOURCE.to_owned(),
        component: component.to_owned(),
        paragraph: paragraph.to_owned(),
        // That of the signed file: whoever needs the payload reads the file.
        payload: files[0].sha256,
        files,
        built: None,
    })
}
