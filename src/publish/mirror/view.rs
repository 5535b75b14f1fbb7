//! What readers of a repository see, in the order in which a mirror has to get it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use super::error::{Error, Result, at};
use crate::base::{HostPath, Sha256Hasher};
use crate::publish::layout::{DISTS, GENERATIONS, KEYS, POOL};
use crate::publish::named::{Named, Proof};
use crate::publish::{Generation, Repository};

/// A generation, and all that the generations that are kept name: a client that has just read an
/// older one finds its packages on the mirror, too.
#[derive(Debug)]
pub struct View {
    /// The generation.
    pub generation: Generation,
    /// Packages.
    pub pool: Vec<Entry>,
    /// Indexes by their digests.
    pub indexes: Vec<Entry>,
    /// Public keys.
    pub keys: Vec<Entry>,
    /// The generation's own folder: files, and links to `by-hash`.
    pub own: Vec<Entry>,
}

/// A file or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the repository.
    pub path: String,
    /// What it is.
    pub content: Content,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file.
    File(Proof),
    /// A symbolic link, and where it leads.
    Link(String),
}

impl View {
    /// What clients of the repository see now. Every index of the generation that they read is
    /// held against its digest, and everything else that is named is there and has its size.
    ///
    /// # Errors
    /// [`Error::Unpublished`], [`Error::Source`] for a file that is not what it has to be, and
    /// those of the repository.
    pub fn read(repository: &Repository) -> Result<Self> {
        let live = repository.live()?;
        let live = live.ok_or_else(|| Error::Unpublished(repository.root().clone()))?;
        let generation = repository.generation(live)?;
        let mut named = Named::default();
        for number in repository.generations()? {
            named.add(repository, &repository.generation(number)?)?;
        }
        let (mut pool, mut indexes) = (Vec::new(), Vec::new());
        for (path, proof) in &named.files {
            let here = repository.path(path);
            let size = fs::symlink_metadata(&here).map_err(at("look at", &here))?;
            if !size.is_file() || size.len() != proof.size {
                return Err(Error::Source { path: here, expected: *proof, size: size.len() });
            }
            let entry = Entry { path: path.clone(), content: Content::File(*proof) };
            if path.starts_with(POOL) { pool.push(entry) } else { indexes.push(entry) }
        }
        let keys = walk(repository, KEYS)?;
        let own = walk(repository, &format!("{GENERATIONS}/{live}"))?;
        let view = Self { generation, pool, indexes, keys, own };
        view.check(repository, &named.files)?;
        Ok(view)
    }

    /// Where the link `dists` leads.
    pub fn dists(&self) -> String {
        format!("{GENERATIONS}/{}/{DISTS}", self.generation.number)
    }

    /// `NAME-TIME` of a snapshot of it: the same however often it is brought somewhere.
    pub fn snapshot(&self) -> String {
        let published = self.generation.suites.values().find_map(|state| state.published.as_ref());
        let name = published.map_or("repository", |published| &published.name);
        let time = jiff::Timestamp::from_second(self.generation.date).unwrap_or_default();
        format!("{name}-{}", time.strftime("%Y%m%dT%H%M%SZ"))
    }

    /// All entries in order, and what each of them is.
    pub fn stages(&self) -> [(&'static str, &[Entry]); 4] {
        [
            ("packages", &self.pool),
            ("indexes", &self.indexes),
            ("keys", &self.keys),
            ("generation", &self.own),
        ]
    }

    /// Whether each index below a suite is one that its Release file lists.
    fn check(&self, repository: &Repository, named: &BTreeMap<String, Proof>) -> Result<()> {
        let dists = self.dists();
        for entry in &self.own {
            let Content::File(proof) = &entry.content else { continue };
            let below = entry.path.strip_prefix(&dists).and_then(|rest| rest.strip_prefix('/'));
            let suites = self.generation.suites.keys();
            let inside = suites.filter_map(|suite| below?.strip_prefix(suite)?.strip_prefix('/'));
            // Beside the Release file lie its signatures and the manifest; every index is deeper.
            let is_index = inside.clone().any(|path| path.contains('/'));
            if is_index && !named.contains_key(&format!("by-hash/SHA256/{}", proof.sha256)) {
                let path = repository.path(&entry.path);
                return Err(Error::Unlisted { path, actual: proof.sha256 });
            }
        }
        Ok(())
    }
}

/// The digest and size of a file.
pub fn proof(path: &HostPath) -> Result<Proof> {
    let mut file = File::open(path).map_err(at("open", path))?;
    let (mut hasher, mut size) = (Sha256Hasher::new(), 0);
    let mut piece = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut piece).map_err(at("read", path))?;
        if count == 0 {
            return Ok(Proof { size, sha256: hasher.finish() });
        }
        hasher.update(&piece[..count]);
        size += count as u64;
    }
}

/// Everything below a folder of the repository, sorted.
fn walk(repository: &Repository, top: &str) -> Result<Vec<Entry>> {
    let (mut entries, mut folders) = (Vec::new(), vec![top.to_owned()]);
    while let Some(folder) = folders.pop() {
        let here = repository.path(&folder);
        for entry in fs::read_dir(&here).map_err(at("read", &here))? {
            let entry = entry.map_err(at("read", &here))?;
            let text = |name: std::ffi::OsString| {
                name.into_string().map_err(|name| Error::Name(here.join(name)))
            };
            let path = format!("{folder}/{}", text(entry.file_name())?);
            let host = repository.path(&path);
            let kind = entry.file_type().map_err(at("look at", &host))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&host).map_err(at("read the link", &host))?;
                let content = Content::Link(text(target.into_os_string())?);
                entries.push(Entry { path, content });
            } else if kind.is_file() {
                entries.push(Entry { path, content: Content::File(proof(&host)?) });
            } else {
                return Err(Error::Name(host));
            }
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}
