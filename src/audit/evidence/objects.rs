//! Whether everything that records name is in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{Ground, wrong};
use crate::audit::closure::{Built, Depth, Fault, Inputs, Wrong};
use crate::audit::error::{Error, Result};
use crate::base::{DerivationId, Digest, Sha256, Sha256Hasher, Tree, TreeKind};
use crate::graph::derivation::{Package, Source, SourceFile};
use crate::graph::{Derivation, Node, Origin};
use crate::realise::action::Listed;
use crate::store::{self, Store};

/// Things that documents name, each once, by name.
pub(super) type Objects = BTreeMap<Name, Named>;

/// How something is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// A blob, by its BLAKE3 and, where that is known, its SHA-256.
    Blob(Digest, Option<Sha256>),
    /// A blob, by its SHA-256 alone.
    Archived(Sha256),
    /// A document.
    Document(Digest),
    /// What a layer of a build root held: it goes with the layer, which can be made anew.
    Layer(Digest),
    /// A log.
    Log(Digest),
}

/// Who names something, and what for.
pub(super) struct Named {
    package: String,
    what: String,
    size: Option<u64>,
}

impl Ground<'_> {
    /// All that the records of the packages asked for name.
    pub(super) fn objects(
        &self,
        packages: &[(&Node, &Package)],
        asked: &BTreeSet<DerivationId>,
        built: &HashMap<DerivationId, Built>,
        roots: &HashMap<DerivationId, Inputs>,
        listed: &[Listed],
    ) -> Objects {
        let mut objects = Objects::new();
        let outputs = built.values().flat_map(|built| &built.record.outputs);
        let own: BTreeSet<Sha256> = outputs.map(|output| output.sha256).collect();
        let mut seen = vec![false; listed.len()];
        for (node, package) in packages.iter().filter(|(node, _)| asked.contains(&node.id)) {
            let Some(Built { record, .. }) = built.get(&node.id) else { continue };
            let mut add = |name, what: String, size| {
                let named = || Named { package: package.name.to_string(), what, size };
                objects.entry(name).or_insert_with(named);
            };
            for output in &record.outputs {
                let name = Name::Blob(output.blake3, Some(output.sha256));
                add(name, format!("output `{}`", output.file), Some(output.size));
            }
            for layer in &record.layers {
                add(Name::Layer(*layer), "a layer of the build root".to_owned(), None);
            }
            add(Name::Log(record.log), "the log".to_owned(), None);
            if let Some(trace) = &record.trace {
                add(Name::Document(trace.document), "the trace".to_owned(), None);
            }
            for patch in &package.patches {
                add(Name::Blob(patch.digest, None), format!("patch `{}`", patch.name), None);
            }
            let others = package.packaging.iter().chain(package.extra.values());
            for id in [&package.source].into_iter().chain(others) {
                if let Some(source) = self.graph.node(*id) {
                    self.source(source, &mut add);
                }
            }
            let Some(Inputs::Recorded(numbers)) = roots.get(&node.id) else { continue };
            for number in numbers {
                let place = *number as usize;
                let Listed { name, version, architecture, sha256 } = &listed[place];
                // What the release built is named by the record of who built it.
                if !std::mem::replace(&mut seen[place], true) && !own.contains(sha256) {
                    let what = format!("seed package `{name} {version} {architecture}`");
                    add(Name::Archived(*sha256), what, None);
                }
            }
        }
        objects
    }

    /// What the store has of a source; what lies in the release folder was read when the release
    /// was evaluated.
    fn source(&self, node: &Node, add: &mut impl FnMut(Name, String, Option<u64>)) {
        let Derivation::Source(source) = &node.derivation else { return };
        let mut file = |file: &SourceFile| {
            let what = format!("source file `{}`", file.name);
            add(Name::Archived(file.sha256), what, Some(file.size));
        };
        match (source, &node.origin) {
            (Source::Debian { files, .. }, _) => files.iter().for_each(file),
            (Source::File(one), Origin::Download { .. }) => file(one),
            (Source::Tarball { size, sha256, .. }, Origin::Download { .. }) => {
                add(Name::Archived(*sha256), "the tarball".to_owned(), Some(*size));
            }
            (Source::Tree { tree }, Origin::Git { .. }) => {
                add(Name::Document(*tree), "the list of a commit's files".to_owned(), None);
                let document = self.world.store.json(tree).ok().flatten();
                let known = document.and_then(|document| Tree::from_json(&document).ok());
                for entry in known.iter().flat_map(|tree| tree.entries()) {
                    if let TreeKind::File(digest) | TreeKind::Executable(digest) = &entry.kind {
                        let what = format!("source file `{}`", entry.path);
                        add(Name::Blob(*digest, None), what, None);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What of these is not in the store as it is named.
pub(super) fn look(
    store: &Store,
    objects: &Objects,
    depth: Depth,
    seen: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Fault>> {
    let done = AtomicUsize::new(0);
    let one = |(name, named): (&Name, &Named)| {
        let found = match depth {
            Depth::Present => present(store, *name, named.size)?,
            Depth::Bytes => bytes(store, *name)?,
        };
        seen(done.fetch_add(1, Ordering::Relaxed) + 1, objects.len());
        Ok(found.map(|wrong| Fault {
            package: named.package.clone(),
            what: named.what.clone(),
            digest: name.digest(),
            wrong,
        }))
    };
    let found: Vec<Option<Fault>> = objects.par_iter().map(one).collect::<Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

impl Name {
    fn digest(self) -> String {
        match self {
            Self::Blob(digest, _)
            | Self::Document(digest)
            | Self::Layer(digest)
            | Self::Log(digest) => digest.to_string(),
            Self::Archived(sha256) => sha256.to_string(),
        }
    }
}

/// What is wrong with something, without reading it.
fn present(store: &Store, name: Name, size: Option<u64>) -> Result<Option<Wrong>> {
    let path = match name {
        Name::Blob(digest, _) => store.object(&digest),
        Name::Archived(sha256) => {
            store.find(&sha256)?.and_then(|object| store.object(&object.digest))
        }
        Name::Document(digest) => {
            let path = store.document_path(&digest);
            return Ok((!path.as_path().is_file()).then_some(Wrong::Missing));
        }
        Name::Layer(_) | Name::Log(_) => return Ok(None),
    };
    let Some(path) = path else { return Ok(Some(Wrong::Missing)) };
    let there = std::fs::metadata(&path).map_err(|source| Error::File { path, source })?.len();
    let other = size.filter(|size| *size != there);
    Ok(other.map(|size| Wrong::Other(format!("{there} bytes long, not {size}"))))
}

/// What is wrong with something whose bytes are read.
fn bytes(store: &Store, name: Name) -> Result<Option<Wrong>> {
    let read = match name {
        Name::Blob(digest, sha256) => return blob(store, &digest, sha256),
        Name::Archived(sha256) => {
            return match store.find(&sha256)? {
                Some(object) => blob(store, &object.digest, Some(sha256)),
                None => Ok(Some(Wrong::Missing)),
            };
        }
        Name::Document(digest) => store.read_json(&digest).map(drop),
        Name::Layer(digest) => store.json(&digest).map(drop),
        Name::Log(digest) => match store.read_log(&digest) {
            // What is packed wrongly is no log.
            Err(store::Error::System { operation: "decompress", source, .. }) => {
                return Ok(Some(Wrong::Unreadable(source.to_string())));
            }
            read => read.map(drop),
        },
    };
    read.err().map(wrong).transpose()
}

fn blob(store: &Store, digest: &Digest, sha256: Option<Sha256>) -> Result<Option<Wrong>> {
    // Held, so that nobody collects it meanwhile.
    let Some(path) = store.object(digest) else { return Ok(Some(Wrong::Missing)) };
    let file = match store.open_object(digest) {
        Ok(file) => file,
        Err(error) => return wrong(error).map(Some),
    };
    let (is, is_sha256) = digests(file).map_err(|source| Error::File { path, source })?;
    Ok(match sha256 {
        _ if is != *digest => Some(Wrong::Other(is.to_string())),
        Some(sha256) if is_sha256 != sha256 => Some(Wrong::Other(format!("SHA-256 {is_sha256}"))),
        _ => None,
    })
}

/// Both digests of a file, in one pass.
fn digests(mut file: File) -> std::io::Result<(Digest, Sha256)> {
    let (mut blake3, mut sha256) = (blake3::Hasher::new(), Sha256Hasher::new());
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest::from_bytes(*blake3.finalize().as_bytes()), sha256.finish()));
        }
        blake3.update(&buffer[..count]);
        sha256.update(&buffer[..count]);
    }
}
