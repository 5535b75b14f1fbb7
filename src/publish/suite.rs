//! What a suite lists, and what it will list with other packages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;

use memchr::memmem;
use rayon::prelude::*;

use super::error::{Error, Result, at};
use super::generation::{Change, State};
use super::index::contents;
use super::item::{From, Item, Kind};
use super::layout::{BY_HASH, Repository};
use super::table::{Row, Shape, Table};
use crate::archive::deb::release::ReleaseFile;
use crate::base::{HostPath, Sha256};
use crate::store::Store;

/// The forms that each index is written in, by the ending of the file.
pub const FORMS: [&str; 3] = ["", ".gz", ".xz"];

/// The part of a component that has the packages of the installer.
pub const INSTALLER: &str = "debian-installer";

/// Size and digest of files, by their path below a suite.
pub type Listed = BTreeMap<String, (u64, Sha256)>;

/// The indexes of a suite, by their path below it without ending: `main/binary-amd64/Packages`.
/// Each is read when it is asked for.
pub struct Indexes<'a> {
    repository: &'a Repository,
    /// Size and digest of what the generation before has.
    listed: Listed,
    tables: BTreeMap<String, Table>,
    changed: BTreeSet<String>,
}

impl<'a> Indexes<'a> {
    /// Those of a suite that is not there yet.
    pub const fn none(repository: &'a Repository) -> Self {
        Self {
            repository,
            listed: BTreeMap::new(),
            tables: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Those of the suite `name` as a generation has it.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its Release file is not what the generation says.
    pub fn read(
        repository: &'a Repository,
        number: u64,
        name: &str,
        state: &State,
    ) -> Result<Self> {
        let path = repository.generation_path(number).join("dists").join(name).join("Release");
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        if Sha256::of(&bytes) != state.release {
            return Err(damaged("it is not the file that GENERATION.json names".to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
        let read = ReleaseFile::parse(&text).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { listed: read.files, ..Self::none(repository) })
    }

    /// The paths of all indexes, without endings.
    pub fn paths(&self) -> BTreeSet<&str> {
        let is_plain = |path: &&str| is_index(path);
        let listed = self.listed.keys().map(String::as_str).filter(is_plain);
        listed.chain(self.tables.keys().map(String::as_str)).collect()
    }

    /// The index at a path; an empty one if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a form of it is not what the Release file says.
    pub fn table(&mut self, path: &str) -> Result<&Table> {
        if !self.tables.contains_key(path) {
            let table = self.load(path)?;
            self.tables.insert(path.to_owned(), table);
        }
        Ok(&self.tables[path])
    }

    fn load(&self, path: &str) -> Result<Table> {
        let shape = shape(path);
        if !self.listed.contains_key(path) {
            return Ok(Table::new(shape));
        }
        let read = |form: &&str| self.bytes(&format!("{path}{form}"));
        let [plain, gzip, xz]: [Vec<u8>; 3] = FORMS
            .par_iter()
            .map(read)
            .collect::<Result<Vec<_>>>()?
            .try_into()
            .expect("as many as there are forms");
        let table = String::from_utf8(plain)
            .ok()
            .and_then(|plain| Table::written(shape, &plain, &gzip, &xz));
        table.ok_or_else(|| Error::Damaged {
            path: self.by_hash(path),
            reason: "it was not written by this tool".to_owned(),
        })
    }

    /// The bytes of a file that the Release file lists, which are what it says.
    fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.by_hash(path);
        let bytes = fs::read(&file).map_err(at("read", &file))?;
        if self.listed.get(path).is_some_and(|(_, sha256)| Sha256::of(&bytes) == *sha256) {
            return Ok(bytes);
        }
        Err(Error::Damaged { path: file, reason: "it is not the bytes of its digest".to_owned() })
    }

    fn by_hash(&self, path: &str) -> HostPath {
        let digest = self.listed.get(path).map(|(_, sha256)| sha256.to_string());
        self.repository.path(BY_HASH).join("SHA256").join(digest.unwrap_or_default())
    }

    /// Sees to it that there is an index at a path, if only an empty one.
    ///
    /// # Errors
    /// Those of [`Self::table`].
    pub fn ensure(&mut self, path: &str) -> Result<()> {
        if !self.listed.contains_key(path) {
            self.table(path)?;
            self.changed.insert(path.to_owned());
        }
        Ok(())
    }

    /// Makes what is at a path another index.
    fn set(&mut self, path: &str, table: Table) {
        self.tables.insert(path.to_owned(), table);
        self.changed.insert(path.to_owned());
    }

    /// What is to be written, and what stays as it is: path, and the table or what is listed.
    pub fn into_parts(self) -> (Vec<(String, Table)>, Listed) {
        let Self { mut listed, tables, changed, .. } = self;
        let fresh: Vec<_> = tables.into_iter().filter(|(path, _)| changed.contains(path)).collect();
        listed.retain(|path, _| !changed.contains(stem(path)));
        (fresh, listed)
    }

    /// All packages that this lists: of each its kind, component and paragraph.
    ///
    /// # Errors
    /// Those of [`Self::table`].
    pub fn each(&mut self, mut visit: impl FnMut(Kind, &str, &str) -> Result<()>) -> Result<()> {
        let paths: Vec<String> = self.paths().into_iter().map(str::to_owned).collect();
        // A package of architecture `all` is in the index of each.
        let mut seen = HashSet::new();
        for path in paths {
            let Some((component, kind)) = listing(&path) else { continue };
            for (name, paragraph) in self.table(&path)?.rows() {
                let everywhere = paragraph.contains("\nArchitecture: all\n");
                if !everywhere || seen.insert((kind, component.to_owned(), name.to_owned())) {
                    visit(kind, component, paragraph)?;
                }
            }
        }
        Ok(())
    }

    /// The binary package of this name, for whichever architecture it is listed first.
    ///
    /// # Errors
    /// Those of [`Self::table`].
    pub fn binary(&mut self, component: &str, name: &str) -> Result<Option<Item>> {
        let is_its = |path: &&str| listing(path) == Some((component, Kind::Deb));
        let paths: Vec<String> =
            self.paths().into_iter().filter(is_its).map(str::to_owned).collect();
        for path in paths {
            if let Some(paragraph) = self.table(&path)?.get(name) {
                return item(Kind::Deb, component, paragraph).map(Some);
            }
        }
        Ok(None)
    }

    /// The packages of a source: the source package, and what was built from it.
    ///
    /// # Errors
    /// Those of [`Self::table`].
    pub fn of_source(&mut self, source: &str) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        self.each(|kind, component, paragraph| {
            if source_of(paragraph) == source {
                items.push(item(kind, component, paragraph)?);
            }
            Ok(())
        })?;
        Ok(items)
    }
}

/// Whether a path below a suite is that of an index, without ending.
fn is_index(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, "Packages" | "Sources") || (name.starts_with("Contents-") && !name.contains('.'))
}

/// A path without the ending of its form.
fn stem(path: &str) -> &str {
    path.strip_suffix(".gz").or_else(|| path.strip_suffix(".xz")).unwrap_or(path)
}

fn shape(path: &str) -> Shape {
    match path.rsplit('/').next().is_some_and(|name| name.starts_with("Contents-")) {
        true => Shape::Lines,
        false => Shape::Paragraphs,
    }
}

/// The component of an index of packages, and of what kind they are; none for other indexes.
fn listing(path: &str) -> Option<(&str, Kind)> {
    let (component, rest) = path.split_once('/')?;
    let kind = match rest.rsplit('/').next()? {
        "Sources" => Kind::Source,
        "Packages" if rest.starts_with("debian-installer/") => Kind::Udeb,
        "Packages" => Kind::Deb,
        _ => return None,
    };
    Some((component, kind))
}

/// The package whose paragraph of an index this is; its files are in the pool.
///
/// # Errors
/// [`Error::Package`] if the paragraph cannot be used.
pub fn item(kind: Kind, component: &str, paragraph: &str) -> Result<Item> {
    match kind {
        Kind::Source => super::item::of_source(component, paragraph),
        Kind::Deb | Kind::Udeb => Item::of_binary(kind, component, paragraph, From::Pool),
    }
}

/// The source package that a paragraph of an index is of.
pub fn source_of(paragraph: &str) -> &str {
    // As after a line feed.
    let of = |field: &str| {
        let begin = match paragraph.strip_prefix(&field[1..]) {
            Some(rest) => rest,
            None => {
                let found = memmem::find(paragraph.as_bytes(), field.as_bytes())?;
                &paragraph[found + field.len()..]
            }
        };
        begin.split(['\n', ' ']).next()
    };
    of("\nSource: ").or_else(|| of("\nPackage: ")).unwrap_or_default()
}

/// The path of the index, without ending, that lists an item for an architecture.
fn index_of(item: &Item, architecture: &str) -> String {
    let component = &item.component;
    match item.kind {
        Kind::Source => format!("{component}/source/Sources"),
        Kind::Deb => format!("{component}/binary-{architecture}/Packages"),
        Kind::Udeb => format!("{component}/debian-installer/binary-{architecture}/Packages"),
    }
}

fn contents_of(item: &Item, architecture: &str) -> String {
    let udeb = if item.kind == Kind::Udeb { "udeb-" } else { "" };
    format!("{}/Contents-{udeb}{architecture}", item.component)
}

/// The architectures whose indexes list an item, of all there are.
fn listed_for<'a>(item: &'a Item, all: &'a [String]) -> Vec<&'a str> {
    match item.architecture.as_str() {
        "all" => all.iter().map(String::as_str).collect(),
        other => vec![other],
    }
}

/// Puts packages in, each in the place of one of its name, and takes away `gone`, and of the
/// sources that packages are put in of what is left over from before. Gives the changes; the
/// indexes are those with them. An item that is there as it is changes nothing.
///
/// # Errors
/// Those of reading indexes and packages.
pub fn change(
    indexes: &mut Indexes<'_>,
    store: &Store,
    suite: &str,
    items: &[Item],
    gone: &[Item],
    architectures: &[String],
) -> Result<Vec<Change>> {
    let mut edit = Edit::default();
    let mut changes: BTreeMap<(String, String), Change> = BTreeMap::new();
    let mut touched: HashMap<&str, HashSet<&str>> = HashMap::new();
    for item in items {
        for architecture in listed_for(item, architectures) {
            touched.entry(architecture).or_default().insert(&item.source);
            let path = index_of(item, architecture);
            let there = indexes.table(&path)?.get(&item.name);
            if there == Some(item.paragraph.as_str()) {
                edit.stays.insert((path, item.name.clone()));
                continue;
            }
            if let Some(paragraph) = there {
                let old = self::item(item.kind, &item.component, paragraph)?;
                note(&mut changes, suite, &old, None);
                edit.take(&old, &path, architecture);
            }
            note(&mut changes, suite, item, Some(item));
            edit.put(item, path, architecture);
        }
    }
    for item in gone {
        for architecture in listed_for(item, architectures) {
            edit.take(item, &index_of(item, architecture), architecture);
        }
        note(&mut changes, suite, item, None);
    }
    for (item, path, architecture) in left_over(indexes, &touched, &edit, architectures)? {
        edit.take(&item, &path, &architecture);
        note(&mut changes, suite, &item, None);
    }
    edit.apply(indexes, store)?;
    Ok(changes
        .into_values()
        .filter(|change| change.old != change.new || change.payload.is_some())
        .collect())
}

/// What is different in a suite that lists `new` after it listed `old`.
///
/// # Errors
/// Those of reading the indexes.
pub fn difference(
    suite: &str,
    old: &mut Indexes<'_>,
    new: &mut Indexes<'_>,
) -> Result<Vec<Change>> {
    let all = |indexes: &mut Indexes<'_>| {
        let mut rows: BTreeMap<(Kind, String, String), Item> = BTreeMap::new();
        indexes.each(|kind, component, paragraph| {
            let item = item(kind, component, paragraph)?;
            rows.insert((kind, item.name.clone(), item.architecture.clone()), item);
            Ok(())
        })?;
        Ok::<_, Error>(rows)
    };
    let repository = new.repository;
    let (old, mut new) = (all(old)?, all(new)?);
    let mut changes = BTreeMap::new();
    for (key, old) in &old {
        match new.remove(key) {
            Some(new) if new.paragraph == old.paragraph => {}
            Some(mut new) => {
                new.carry(repository)?;
                note(&mut changes, suite, old, None);
                note(&mut changes, suite, &new, Some(&new));
            }
            None => note(&mut changes, suite, old, None),
        }
    }
    for item in new.values_mut() {
        item.carry(repository)?;
        note(&mut changes, suite, item, Some(item));
    }
    Ok(changes.into_values().collect())
}

/// Notes that a package was there, or is there now.
fn note(
    changes: &mut BTreeMap<(String, String), Change>,
    suite: &str,
    item: &Item,
    new: Option<&Item>,
) {
    let key = (item.name.clone(), item.architecture.clone());
    let change = changes.entry(key).or_insert_with(|| Change {
        suite: suite.to_owned(),
        name: item.name.clone(),
        architecture: item.architecture.clone(),
        old: None,
        new: None,
        component: place(item),
        source: item.source.clone(),
        payload: None,
        derivation: None,
        action: None,
        downgrade: None,
    });
    match new {
        None => change.old = Some(item.version.clone()),
        Some(item) => {
            change.new = Some(item.version.clone());
            change.component = place(item);
            change.source.clone_from(&item.source);
            change.payload = Some(item.payload);
            (change.derivation, change.action) = item.built.unzip();
        }
    }
}

/// That a suite had a package before, beside the one that it has now, where nothing tells when it
/// came: the ledger has to know of it.
pub fn note_known(suite: &str, item: &Item) -> Change {
    let mut changes = BTreeMap::new();
    note(&mut changes, suite, item, None);
    note(&mut changes, suite, item, Some(item));
    changes.into_values().next().expect("it has just been noted")
}

/// The part of the suite that has an item.
fn place(item: &Item) -> String {
    match item.kind {
        Kind::Udeb => format!("{}/{INSTALLER}", item.component),
        Kind::Source | Kind::Deb => item.component.clone(),
    }
}

/// What the sources that something is put in of had before, and have no more.
fn left_over(
    indexes: &mut Indexes<'_>,
    touched: &HashMap<&str, HashSet<&str>>,
    edit: &Edit,
    architectures: &[String],
) -> Result<Vec<(Item, String, String)>> {
    let mut left = Vec::new();
    let mut everywhere: BTreeMap<(Kind, String, String), Item> = BTreeMap::new();
    let paths: Vec<String> = indexes.paths().into_iter().map(str::to_owned).collect();
    for path in &paths {
        let Some((component, kind)) = listing(path) else { continue };
        let architecture = match kind {
            Kind::Source => super::item::SOURCE,
            _ => architecture_of(path),
        };
        let Some(sources) = touched.get(architecture) else { continue };
        // A source that only has source packages put in keeps what was built from it.
        for (name, paragraph) in indexes.table(path)?.rows() {
            let is_kept = || edit.is_put(path, name);
            if sources.contains(source_of(paragraph)) && !is_kept() {
                let item = item(kind, component, paragraph)?;
                if item.architecture == "all" {
                    let key = (kind, component.to_owned(), item.name.clone());
                    everywhere.insert(key, item);
                } else {
                    left.push((item, path.clone(), architecture.to_owned()));
                }
            }
        }
    }
    for item in everywhere.into_values() {
        for architecture in architectures {
            let path = index_of(&item, architecture);
            if !edit.is_put(&path, &item.name) {
                left.push((item.clone(), path, architecture.clone()));
            }
        }
    }
    Ok(left)
}

fn architecture_of(path: &str) -> &str {
    let folder = path.rsplit('/').nth(1).unwrap_or_default();
    folder.strip_prefix("binary-").unwrap_or_default()
}

/// What becomes of indexes.
#[derive(Default)]
struct Edit {
    put: BTreeMap<String, BTreeMap<String, String>>,
    gone: BTreeMap<String, BTreeSet<String>>,
    /// What is put in as it is there.
    stays: HashSet<(String, String)>,
    /// Of each list of contents: packages that come, and packages that go.
    come: BTreeMap<String, Vec<Item>>,
    go: BTreeMap<String, Vec<Item>>,
}

impl Edit {
    fn put(&mut self, item: &Item, path: String, architecture: &str) {
        self.put.entry(path).or_default().insert(item.name.clone(), item.paragraph.clone());
        if item.kind != Kind::Source {
            self.come.entry(contents_of(item, architecture)).or_default().push(item.clone());
        }
    }

    fn take(&mut self, item: &Item, path: &str, architecture: &str) {
        self.gone.entry(path.to_owned()).or_default().insert(item.name.clone());
        if item.kind != Kind::Source {
            self.go.entry(contents_of(item, architecture)).or_default().push(item.clone());
        }
    }

    fn is_put(&self, path: &str, name: &str) -> bool {
        self.put.get(path).is_some_and(|rows| rows.contains_key(name))
            || self.stays.contains(&(path.to_owned(), name.to_owned()))
    }

    fn apply(mut self, indexes: &mut Indexes<'_>, store: &Store) -> Result<()> {
        let paths: BTreeSet<String> = self.put.keys().chain(self.gone.keys()).cloned().collect();
        for path in paths {
            let put = self.put.remove(&path).unwrap_or_default();
            let gone = self.gone.remove(&path).unwrap_or_default();
            // What is replaced goes by being put.
            let gone: Vec<String> =
                gone.into_iter().filter(|name| !put.contains_key(name)).collect();
            let rows = put.into_iter().map(|(key, text)| Row { key, text });
            let table = indexes.table(&path)?.with(rows, &gone);
            indexes.set(&path, table);
        }
        let lists: BTreeSet<String> = self.come.keys().chain(self.go.keys()).cloned().collect();
        let (come, go) = (self.come.values().flatten(), self.go.values().flatten());
        let read = Contents::read(store, indexes.repository, come, go)?;
        for path in lists {
            let mut rows: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
            let table = indexes.table(&path)?;
            for item in self.go.get(&path).into_iter().flatten() {
                match read.of(item) {
                    Some((title, paths)) => {
                        for at in paths {
                            rows.entry(at).or_default().1.insert(title);
                        }
                    }
                    // What cannot be read any more is found by its name.
                    None => {
                        let end = format!("/{}", item.name);
                        let with_it = table.rows().filter(|(_, row)| row.contains(&end));
                        for (at, row) in with_it {
                            let titles = contents::read(row).map(|(_, titles)| titles);
                            let its = titles.into_iter().flatten();
                            rows.entry(at)
                                .or_default()
                                .1
                                .extend(its.filter(|title| title.ends_with(&end)));
                        }
                    }
                }
            }
            for item in self.come.get(&path).into_iter().flatten() {
                if let Some((title, paths)) = read.of(item) {
                    for at in paths {
                        rows.entry(at).or_default().0.insert(title);
                    }
                }
            }
            let (mut put, mut gone) = (Vec::new(), Vec::new());
            for (at, (come, go)) in rows {
                let there = if table.is_empty() { None } else { table.get(at) };
                let mut titles: BTreeSet<&str> = there
                    .and_then(contents::read)
                    .map(|(_, titles)| titles)
                    .unwrap_or_default()
                    .into_iter()
                    .collect();
                titles.retain(|title| !go.contains(title));
                titles.extend(come);
                match titles.is_empty() {
                    true => gone.push(at.to_owned()),
                    false => put.push(Row {
                        key: at.to_owned(),
                        text: contents::row(at, &titles.into_iter().collect::<Vec<_>>()),
                    }),
                }
            }
            let table = table.with(put, &gone);
            indexes.set(&path, table);
        }
        Ok(())
    }
}

/// What packages install, by the digest of their file.
struct Contents(HashMap<Sha256, Option<(String, Vec<String>)>>);

impl Contents {
    /// Reads packages that come and packages that go; none for one that goes and is damaged.
    fn read<'a>(
        store: &Store,
        repository: &Repository,
        come: impl Iterator<Item = &'a Item>,
        go: impl Iterator<Item = &'a Item>,
    ) -> Result<Self> {
        let mut unique: HashMap<Sha256, (&Item, bool)> =
            go.map(|item| (item.payload, (item, false))).collect();
        unique.extend(come.map(|item| (item.payload, (item, true))));
        let pool = repository.path(super::layout::POOL);
        let read = unique.into_par_iter().map(|(payload, (item, comes))| {
            let read = item.files[0].open(store, &pool).and_then(|file| item.contents(file));
            match read {
                Ok((title, mut paths)) => {
                    paths.retain(|path| contents::is_writable(path));
                    Ok((payload, Some((title, paths))))
                }
                Err(error) if comes => Err(error),
                Err(_) => Ok((payload, None)),
            }
        });
        read.collect::<Result<HashMap<_, _>>>().map(Self)
    }

    fn of(&self, item: &Item) -> Option<(&str, &[String])> {
        let (title, paths) = self.0[&item.payload].as_ref()?;
        Some((title, paths))
    }
}
