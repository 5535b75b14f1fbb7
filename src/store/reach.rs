//! What is needed: everything that can be reached from the releases that are kept and from what
//! running processes use.
//!
//! Documents name what they need by its digest, so whatever a document says in 64 hex digits is
//! needed, be it a document, a blob by either of its names, a layer by its manifest or a log. New
//! kinds of documents need nothing here. Two things are named and not needed: what a record says
//! of why it was made, and the files that a layer's manifest lists, which are in its tree.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read as _;

use serde_json::Value;

use super::Store;
use super::database::digest;
use super::error::Result;
use super::inventory::{Kind, Thing};
use super::lease::{Name, open_quietly};
use crate::base::Digest;

/// So many runs of each package stay known, with their logs and what was built from what: `why`
/// and `log` answer from that.
const REMEMBERED: u32 = 20;

/// The reason of what running processes hold.
pub(super) const IN_USE: &str = "in use by a running process";

/// Why something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// The reason, as it is told.
    pub(super) because: String,
    names: Vec<Name>,
    extent: Extent,
}

/// What of that which a root leads to is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Everything,
    /// The documents it names, and its logs.
    Documents,
}

/// What has been reached, and from where.
pub(super) struct Reach<'a> {
    store: &'a Store,
    known: Known,
    reached: HashMap<Name, usize>,
    held: HashSet<Name>,
    roots: Vec<Root>,
}

/// What leads from name to name.
#[derive(Default)]
struct Known {
    documents: HashSet<Name>,
    logs: HashSet<Name>,
    by_sha256: HashMap<Name, Name>,
    manifests: HashMap<Name, Vec<Name>>,
    layers: HashMap<Name, Vec<Name>>,
    actions: HashMap<Name, Vec<Name>>,
    records: HashMap<Name, Vec<Name>>,
}

impl<'a> Reach<'a> {
    /// What the store's roots lead to, among these things.
    pub(super) fn new(store: &'a Store, things: &[Thing]) -> Result<Self> {
        let known = Known::read(store, things)?;
        let mut reach =
            Self { store, known, reached: HashMap::new(), held: HashSet::new(), roots: Vec::new() };
        for root in roots(store)? {
            reach.add(root);
        }
        Ok(reach)
    }

    /// Adds what running processes hold.
    pub(super) fn add_held(&mut self, held: HashSet<Name>) {
        let names: Vec<Name> =
            held.iter().filter(|name| !self.reached.contains_key(*name)).copied().collect();
        self.held = held;
        if !names.is_empty() {
            let because = IN_USE.to_owned();
            self.add(Root { because, names, extent: Extent::Everything });
        }
    }

    /// Why a thing is kept, if it is.
    pub(super) fn keeps(&self, thing: &Thing) -> Option<&str> {
        if thing.name.is_some_and(|name| self.held.contains(&name)) {
            return Some(IN_USE);
        }
        let found = self.reached.get(thing.name.as_ref()?)?;
        Some(&self.roots[*found].because)
    }

    /// Whether something of this name is kept.
    pub(super) fn reaches(&self, name: &Name) -> bool {
        self.reached.contains_key(name)
    }

    /// The manifests of a layer, the adopted one and those it diverged from.
    pub(super) fn manifests_of(&self, layer: &Name) -> &[Name] {
        self.known.layers.get(layer).map_or(&[], Vec::as_slice)
    }

    /// Whether a document is the manifest of a layer that is there, and goes when that goes.
    pub(super) fn is_manifest(&self, document: &Name) -> bool {
        self.known.manifests.contains_key(document)
    }

    /// The records that nothing needs, or that are only remembered, and that speak of any of these
    /// blobs.
    pub(super) fn records_of(&self, objects: &HashSet<Name>) -> Vec<Name> {
        let is_kept = |name: &Name| {
            let root = self.reached.get(name).map(|number| &self.roots[*number]);
            root.is_some_and(|root| root.extent == Extent::Everything)
        };
        let records = self.known.records.values().flatten().filter(|record| !is_kept(record));
        let lost = |record: &&Name| self.named_by(record).iter().any(|name| objects.contains(name));
        records.filter(lost).copied().collect()
    }

    fn add(&mut self, root: Root) {
        let number = self.roots.len();
        let extent = root.extent;
        let mut waiting = root.names.clone();
        self.roots.push(root);
        while let Some(name) = waiting.pop() {
            if self.reached.contains_key(&name) {
                continue;
            }
            let manifest = self.known.manifests.get(&name);
            let is_text = self.known.documents.contains(&name) || self.known.logs.contains(&name);
            // A manifest goes with its layer, which is not kept for this.
            if extent == Extent::Documents && (manifest.is_some() || !is_text) {
                continue;
            }
            self.reached.insert(name, number);
            if extent == Extent::Everything {
                let known = &self.known;
                waiting.extend(known.by_sha256.get(&name));
                for table in [&known.manifests, &known.layers, &known.actions, &known.records] {
                    waiting.extend(table.get(&name).into_iter().flatten());
                }
            }
            if manifest.is_none() && self.known.documents.contains(&name) {
                waiting.extend(self.named_by(&name));
            }
        }
    }

    fn named_by(&self, document: &Name) -> Vec<Name> {
        let path = self.store.json_path(&Digest::from_bytes(*document));
        let mut bytes = Vec::new();
        // One that is gone or damaged leads nowhere: it will not be believed either.
        let read = open_quietly(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        if read.is_err() { Vec::new() } else { names_in(&bytes) }
    }
}

/// The digests that a document needs.
fn names_in(bytes: &[u8]) -> Vec<Name> {
    let is_record = contains(bytes, br#""format":"perestroika/record/"#);
    if contains(bytes, br#""format":"perestroika/layer/"#) {
        return Vec::new();
    }
    if !is_record {
        return quoted(bytes);
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(mut record)) => {
            record.remove("cause");
            quoted(Value::Object(record).to_string().as_bytes())
        }
        _ => quoted(bytes),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Every string of 64 hex digits and nothing else.
fn quoted(bytes: &[u8]) -> Vec<Name> {
    const LENGTH: usize = 64;
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        rest = &rest[at + 1..];
        if rest.get(LENGTH) != Some(&b'"') {
            continue;
        }
        let text = std::str::from_utf8(&rest[..LENGTH]).unwrap_or_default();
        if let Ok(digest) = text.parse::<Digest>() {
            found.push(*digest.as_bytes());
        }
    }
    found
}

impl Known {
    fn read(store: &Store, things: &[Thing]) -> Result<Self> {
        let mut known = Self::default();
        let names = |kind: Kind| -> HashSet<Name> {
            let of = things.iter().filter(|thing| thing.kind == kind);
            of.filter_map(|thing| thing.name).collect()
        };
        (known.documents, known.logs) = (names(Kind::Document), names(Kind::Log));
        let (objects, trees) = (names(Kind::Object), names(Kind::Layer));
        let pairs = |sql: &str| {
            store.rows("read what leads where", sql, (), |row| {
                Ok((*digest(row, 0)?.as_bytes(), *digest(row, 1)?.as_bytes()))
            })
        };
        for (sha256, object) in pairs("SELECT sha256, digest FROM object")? {
            if objects.contains(&object) {
                known.by_sha256.insert(sha256, object);
            }
        }
        for (key, manifest) in pairs("SELECT key, manifest FROM layer")? {
            if trees.contains(&key) {
                known.layers.entry(key).or_default().push(manifest);
                known.manifests.entry(manifest).or_default().push(key);
            }
        }
        for (derivation, action) in pairs("SELECT derivation, action FROM resolution")? {
            known.actions.entry(derivation).or_default().push(action);
        }
        for (action, record) in pairs("SELECT action, document FROM record")? {
            known.records.entry(action).or_default().push(record);
        }
        Ok(known)
    }
}

/// Where everything that is kept hangs from, the strongest reasons first.
fn roots(store: &Store) -> Result<Vec<Root>> {
    let mut roots = Vec::new();
    for pin in store.pins()? {
        roots.push(Root {
            because: format!("pinned: {} {}", pin.name, pin.version),
            names: names(&[Some(pin.release.as_bytes()), manifest(&pin.manifest)]),
            extent: Extent::Everything,
        });
    }
    for built in store.kept_releases()? {
        roots.push(Root {
            because: format!("needed by {} {} in {}", built.name, built.version, built.folder),
            names: names(&[Some(built.release.as_bytes()), manifest(&built.manifest)]),
            extent: Extent::Everything,
        });
    }
    for imported in store.imported()? {
        roots.push(Root {
            because: format!("imported: {} {}", imported.name, imported.version),
            names: vec![*imported.bundle.as_bytes()],
            extent: Extent::Everything,
        });
    }
    for capsule in store.capsules()? {
        let contents = &capsule.contents;
        let named = contents.layers.iter().chain([&contents.action, &contents.derivation]);
        let digests = named.filter_map(|name| name.parse::<Digest>().ok());
        roots.push(Root {
            because: format!("the failed sandbox of {} {}", contents.package, contents.version),
            names: digests.map(|digest| *digest.as_bytes()).collect(),
            extent: Extent::Everything,
        });
    }
    for last in store.last_reproductions()? {
        roots.push(Root {
            because: format!("what {} came to when it was built again", last.package),
            names: kept_by(store, &last.document),
            extent: Extent::Everything,
        });
    }
    let recent = store.rows(
        "list recent attempts",
        "SELECT derivation, action, record, log FROM
         (SELECT *, row_number() OVER (PARTITION BY package ORDER BY id DESC) AS age FROM attempt)
         WHERE age <= ?1",
        [REMEMBERED],
        |row| {
            (0..4).map(|column| row.get::<_, Option<Name>>(column)).collect::<Result<Vec<_>, _>>()
        },
    )?;
    let again = store.rows(
        "list recent reproductions",
        "SELECT document FROM
         (SELECT *, row_number() OVER (PARTITION BY package ORDER BY id DESC) AS age
          FROM reproduction) WHERE age <= ?1",
        [REMEMBERED],
        |row| Ok(*digest(row, 0)?.as_bytes()),
    )?;
    let recent: BTreeSet<Name> = recent.into_iter().flatten().flatten().chain(again).collect();
    roots.push(Root {
        because: format!("one of the last {REMEMBERED} runs of its package"),
        names: recent.into_iter().collect(),
        extent: Extent::Documents,
    });
    Ok(roots)
}

/// What the member `kept` of a document lists. One that is gone or damaged keeps nothing.
fn kept_by(store: &Store, document: &Digest) -> Vec<Name> {
    let mut bytes = Vec::new();
    let path = store.json_path(document);
    let read = open_quietly(&path).and_then(|mut file| file.read_to_end(&mut bytes));
    match read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()) {
        Some(Value::Object(mut members)) => {
            let kept = members.remove("kept").unwrap_or_default();
            quoted(kept.to_string().as_bytes())
        }
        _ => Vec::new(),
    }
}

fn manifest(digest: &Option<Digest>) -> Option<&Name> {
    digest.as_ref().map(Digest::as_bytes)
}

fn names(names: &[Option<&Name>]) -> Vec<Name> {
    names.iter().flatten().map(|name| **name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_of_its_cause_and_what_a_layer_lists_is_not_needed() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let names = |text: String| names_in(text.as_bytes());
        let plain = format!(r#"{{"a":"{one}","format":"x","k":{{"{two}":1}},"z":"b3:{one}"}}"#);
        assert_eq!(names(plain), [*one.as_bytes(), *two.as_bytes()]);
        let record =
            format!(r#"{{"action":"{one}","cause":"{two}","format":"perestroika/record/1"}}"#);
        assert_eq!(names(record), [*one.as_bytes()]);
        let layer = format!(r#"{{"entries":["{one}"],"format":"perestroika/layer/1"}}"#);
        assert_eq!(names(layer), [[0; 32]; 0]);
    }
}
