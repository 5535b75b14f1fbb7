//! Bringing what is in a bundle into a store, and its release into a folder.
//!
//! Nothing enters the store before its bytes were held against the index, the index against its
//! signature, and all of it against one another. What is there already is not written again: an
//! import that was killed goes on.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Seen;
use super::error::{Error, Result, system};
use super::index::{Absent, Member, Name};
use super::read::{Bundle, same};
use super::structure::{Structure, structure};
use crate::base::{DerivationId, Digest, HostPath, Json, Sha256, Tree, TreeKind};
use crate::graph::Graph;
use crate::realise::RESOLUTION_RULES;
use crate::realise::action;
use crate::realise::universe::{offered_digest, offers_digest};
use crate::store::{self, Batch, Imported, Store, Witness};

/// So many bytes become durable together.
const TOGETHER: u64 = 256 << 20;

/// So many files do.
const MOST_TOGETHER: usize = 1000;

/// What an import brought.
#[derive(Debug)]
pub struct Brought {
    /// What the bundle states.
    pub structure: Structure,
    /// How many of its members are new to the store.
    pub new: usize,
    /// Bytes of those.
    pub bytes: u64,
}

/// Brings everything of a bundle into a store. Its records are evidence there.
///
/// # Errors
/// Anything of the bundle that is not as it has to be; what a delta builds on and is not there.
pub fn bring(
    bundle: &Bundle,
    store: &Store,
    seen: Seen<'_>,
    cancel: &AtomicBool,
) -> Result<Brought> {
    for absent in &bundle.index.elsewhere {
        elsewhere(bundle, store, absent)?;
    }
    let library = |digest: &Digest| match store.json(digest)? {
        Some(bytes) => Ok(Json::read_canonical(&bytes).ok()),
        None => Ok(None),
    };
    let structure = structure(bundle, &library)?;
    let (mut new, mut bytes, mut done) = (0, 0, 0);
    let total = bundle.index.size();
    let mut batch = store.batch();
    let mut waiting = (0, 0);
    for member in &bundle.index.members {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        if is_there(store, &member.path) {
            bundle.check_frames(member)?;
        } else {
            put(bundle, member, &batch)?;
            (new, bytes) = (new + 1, bytes + member.size);
            waiting = (waiting.0 + member.size, waiting.1 + 1);
            if waiting.0 >= TOGETHER || waiting.1 >= MOST_TOGETHER {
                batch.commit()?;
                (batch, waiting) = (store.batch(), (0, 0));
            }
        }
        done += member.size;
        seen(done, total);
    }
    batch.put_json(&Json::read(&bundle.index.encode()).expect("an index is JSON"))?;
    batch.commit()?;
    let keys = bundle.index.keys();
    let witnesses = structure.records.iter().flat_map(|signed| {
        let keys = &keys;
        signed.signatures.iter().filter_map(move |(id, signature)| {
            Some(Witness {
                action: signed.action,
                record: signed.digest,
                id: *id,
                key: keys.get(id)?.to_string(),
                signature: *signature,
            })
        })
    });
    let imported = Imported {
        bundle: bundle.id,
        name: bundle.index.name.clone(),
        version: bundle.index.version.clone(),
        release: bundle.index.release,
        manifest: bundle.index.manifest,
        key: bundle.key.id(),
    };
    store.keep_imported(&imported, &witnesses.collect::<Vec<_>>())?;
    Ok(Brought { structure, new, bytes })
}

/// How many members of a bundle a store does not have, and bytes of those.
pub fn lacking(bundle: &Bundle, store: &Store) -> (usize, u64) {
    let members = bundle.index.members.iter();
    let new = members.filter(|member| !is_there(store, &member.path));
    new.fold((0, 0), |(count, bytes), member| (count + 1, bytes + member.size))
}

fn is_there(store: &Store, name: &Name) -> bool {
    match name {
        Name::Document(digest) => store.json(digest).is_ok_and(|found| found.is_some()),
        Name::Log(digest) => store.has_log(digest),
        Name::Object(digest) => store.object(digest).is_some(),
    }
}

/// Puts a member where it belongs, if it is what it is named by.
fn put(bundle: &Bundle, member: &Member, batch: &Batch<'_>) -> Result<()> {
    match member.path {
        Name::Document(_) => drop(batch.put_json(&bundle.document(member)?)?),
        Name::Log(_) => drop(batch.put_log_text(&bundle.bytes(member)?)?),
        Name::Object(_) => {
            let expect = member.sha256.map(|sha256| (sha256, member.size));
            let put = batch.put_file(bundle.content(member), expect);
            // Nothing of the batch has a name yet, and gets none if this fails.
            let object = put.map_err(|error| inner(member, error))?;
            same(member, object.digest, None)?;
        }
    }
    Ok(())
}

/// What is wrong with the bundle, where that is why the store did not take it.
fn inner(member: &Member, error: store::Error) -> Error {
    match error {
        store::Error::Input(error) => match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => store::Error::Input(error).into(),
        },
        error @ (store::Error::Unexpected { .. } | store::Error::Oversized { .. }) => {
            Error::damaged(member.path, error)
        }
        error => error.into(),
    }
}

/// That the store has something of the bundle that a delta builds on.
fn elsewhere(bundle: &Bundle, store: &Store, absent: &Absent) -> Result<()> {
    let there = match absent.path {
        Name::Document(digest) => store.json(&digest).map(|found| found.is_some()),
        Name::Log(digest) => Ok(store.has_log(&digest)),
        Name::Object(digest) => match store.object(&digest) {
            Some(_) => store.verify(&digest).map(|()| true),
            None => Ok(false),
        },
    };
    match (there?, bundle.index.base) {
        (false, Some(base)) => Err(Error::Elsewhere { name: absent.path.to_string(), base }),
        _ => Ok(()),
    }
}

/// Which records of a bundle become results.
#[derive(Debug, Clone, Copy)]
pub enum Adopt<'a> {
    /// Those that one of these keys signed, if one of them signed the bundle, too: what a record
    /// is the record of, the manifest says. Not those whose action is not what this program makes
    /// of the package's derivation.
    SignedBy(&'a BTreeSet<Sha256>),
    /// All: for a store that is thrown away after they were held against something.
    All,
}

/// What became of the records of a bundle.
#[derive(Debug, Default)]
pub struct Adopted {
    /// How many are results now.
    pub adopted: usize,
    /// How many of those differ from what this store has built itself.
    pub divergent: usize,
    /// How many stay evidence.
    pub evidence: usize,
}

/// Makes records of a bundle results of a store that it was brought into, for the packages of its
/// release, whose graph is that of the bundle's own release folder.
///
/// # Errors
/// A graph of another release.
pub fn adopt(
    bundle: &Bundle,
    structure: &Structure,
    graph: &Graph,
    store: &Store,
    which: Adopt<'_>,
) -> Result<Adopted> {
    let id = graph.release();
    if id != bundle.index.release {
        let what = "its release folder does not evaluate to its release id";
        let told = format!("{what}\n  expected {}\n  actual   {id}", bundle.index.release);
        return Err(Error::Contradiction(told));
    }
    let signed: HashMap<DerivationId, _> =
        structure.records.iter().map(|signed| (signed.derivation, signed)).collect();
    let mut offers: HashMap<DerivationId, Digest> = HashMap::new();
    let mut came = Adopted::default();
    for (node, package) in graph.packages() {
        let Some(signed) = signed.get(&node.id) else {
            let what = format!("a record of `{}`", package.name);
            return Err(Error::Incomplete { what });
        };
        let below = package.dependencies.iter().filter_map(|need| offers.get(need).copied());
        let offered = offered_digest(below);
        offers.insert(node.id, offers_digest(&signed.record, &offered));
        let is_trusted = match which {
            Adopt::All => true,
            Adopt::SignedBy(keys) => {
                let action = store.read_json(&signed.action.digest())?;
                keys.contains(&bundle.key.id())
                    && signed.signatures.iter().any(|(id, _)| keys.contains(id))
                    && action::is_of(graph, package, &action)
            }
        };
        if !is_trusted {
            came.evidence += 1;
            continue;
        }
        let recorded = store.put_record(&signed.action, &signed.record.to_json())?;
        store.remember_resolution(&node.id, &offered, RESOLUTION_RULES, &signed.action)?;
        came.adopted += 1;
        came.divergent += usize::from(recorded.divergent);
    }
    Ok(came)
}

/// Writes the release folder of a bundle that was brought into `store`, with those it extends,
/// into a new folder; gives where in it the release is.
///
/// # Errors
/// A folder that is there.
pub fn unfold(bundle: &Bundle, store: &Store, to: &HostPath) -> Result<HostPath> {
    let document = store.read_json(&bundle.index.tree)?;
    let name = Name::Document(bundle.index.tree);
    let tree = Tree::from_json(&document.encode()).map_err(|error| Error::damaged(name, error))?;
    match DirBuilder::new().create(to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists(to.clone()));
        }
        made => made.map_err(system("create", to))?,
    }
    // A tree has nothing behind a link, so no path leads through one. Links come last all the
    // same.
    let is_link = |kind: &TreeKind| matches!(kind, TreeKind::Link(_));
    let (links, files): (Vec<_>, Vec<_>) =
        tree.entries().iter().partition(|entry| is_link(&entry.kind));
    for entry in files.into_iter().chain(links) {
        let path = to.join(Path::new(&entry.path));
        let parent = path.as_path().parent().unwrap_or(to.as_path());
        fs::create_dir_all(parent).map_err(system("create", &HostPath::new(parent)))?;
        let (digest, mode) = match &entry.kind {
            TreeKind::File(digest) => (digest, 0o644),
            TreeKind::Executable(digest) => (digest, 0o755),
            TreeKind::Link(target) => {
                symlink(target, &path).map_err(system("create", &path))?;
                continue;
            }
        };
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(&path);
        let mut file = file.map_err(system("create", &path))?;
        file.write_all(&store.read(digest)?).map_err(system("write", &path))?;
    }
    Ok(match bundle.index.folder.as_str() {
        "" => to.clone(),
        folder => to.join(folder),
    })
}
