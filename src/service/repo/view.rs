//! What a generation lists, as pages need it: made once for each generation, from its indexes.
//!
//! Of a package its name, version, architecture and summary are kept, and where in its index the
//! rest stands; an index of a generation never changes, so the rest is read from there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::files::Opened;
use crate::archive::deb::control::{Paragraph, paragraphs};
use crate::archive::deb::release::ReleaseFile;
use crate::archive::deb::version::Version;
use crate::base::ActionId;
use crate::publish::layout::{DISTS, GENERATIONS};
use crate::publish::{Change, Generation, Repository, State};

/// The largest index that is read, in bytes.
const LARGEST: u64 = 1 << 30;
/// The longest paragraph that is shown, in bytes.
const LONGEST: u64 = 1 << 20;
/// The largest Release file that is read, in bytes.
const LARGEST_RELEASE: u64 = 16 << 20;

/// The generation that clients read, and those that are kept beside it.
pub(super) struct View {
    /// Its number.
    pub number: u64,
    /// Those that are kept, this one among them, by number.
    pub kept: BTreeMap<u64, Arc<Generation>>,
    /// Its suites, in the order of their names.
    pub suites: Vec<Suite>,
    /// The builds that kept generations speak of.
    pub actions: BTreeSet<ActionId>,
    /// Which generation brought what a suite has: its number, and which of its changes.
    brought: HashMap<(String, String, String), (u64, usize)>,
}

/// A suite.
pub(super) struct Suite {
    /// Its name.
    pub name: String,
    /// What the generation says of it.
    pub state: State,
    /// What its Release file says, where it can be read.
    pub release: Option<ReleaseFile>,
    /// Its indexes that are not there or make no sense, with the reason.
    pub faults: Vec<String>,
    /// Its packages by name.
    pub packages: Vec<Package>,
    /// All that it lists, sorted by name; of one name the highest version first.
    entries: Vec<Entry>,
    indexes: Vec<Index>,
}

/// All of a suite that have one name.
pub(super) struct Package {
    /// Which of the entries that are.
    range: std::ops::Range<usize>,
    /// Its name and summary in lower case, to be found by.
    words: Box<str>,
}

/// A paragraph of an index.
pub(super) struct Entry {
    /// `Package`
    pub name: Box<str>,
    /// `Version`
    pub version: Box<str>,
    /// `Architecture`; `source` of a source package.
    pub architecture: Box<str>,
    /// The first line of `Description`; empty if there is none.
    pub summary: Box<str>,
    index: usize,
    at: u64,
    length: u64,
}

/// An index of a suite.
pub(super) struct Index {
    path: String,
    /// The component.
    pub component: String,
    /// What it lists.
    pub kind: Kind,
}

/// What an index lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Binary packages.
    Packages,
    /// Those of the installer.
    Installer,
    /// Source packages.
    Sources,
}

impl View {
    /// What this generation lists. `known` are generations that were read before.
    pub(super) fn read(
        repository: &Repository,
        number: u64,
        known: &BTreeMap<u64, Arc<Generation>>,
    ) -> crate::publish::Result<Self> {
        let mut kept = BTreeMap::new();
        for one in repository.generations()? {
            // One that is being staged, or pruned, says nothing of itself; those after this one
            // nobody reads.
            if one > number {
                continue;
            }
            let generation = match known.get(&one) {
                Some(generation) => Some(Arc::clone(generation)),
                None => repository.generation(one).ok().map(Arc::new),
            };
            kept.extend(generation.map(|generation| (one, generation)));
        }
        let live = match kept.get(&number) {
            Some(generation) => Arc::clone(generation),
            None => {
                let read = Arc::new(repository.generation(number)?);
                kept.insert(number, Arc::clone(&read));
                read
            }
        };
        let suites = live.suites.iter();
        let suites = suites.map(|(name, state)| Suite::read(repository, number, name, state));
        let (mut brought, mut actions) = (HashMap::new(), BTreeSet::new());
        for (number, generation) in &kept {
            for (index, change) in generation.changes.iter().enumerate() {
                let Change { suite, name, architecture, action, .. } = change;
                let key = (suite.clone(), name.clone(), architecture.clone());
                brought.insert(key, (*number, index));
                actions.extend(action);
            }
        }
        Ok(Self { number, suites: suites.collect(), kept, actions, brought })
    }

    /// The suite that a path begins with, and what follows it.
    pub(super) fn suite<'a>(&self, path: &'a str) -> Option<(&Suite, &'a str)> {
        self.suites.iter().find_map(|suite| {
            let rest = path.strip_prefix(&suite.name)?;
            if rest.is_empty() { Some((suite, "")) } else { Some((suite, rest.strip_prefix('/')?)) }
        })
    }

    /// The change that brought an entry of a suite, with the number of its generation; none if
    /// that is not kept any more.
    pub(super) fn brought(&self, suite: &Suite, entry: &Entry) -> Option<(u64, &Change)> {
        let of = |text: &str| text.to_owned();
        let key = (of(&suite.name), of(&entry.name), of(&entry.architecture));
        let (number, index) = self.brought.get(&key)?;
        let change = self.kept.get(number)?.changes.get(*index)?;
        (change.new.as_deref() == Some(&*entry.version)).then_some((*number, change))
    }
}

/// What the Release file of a suite of a generation says, where it can be read.
pub(super) fn release(repository: &Repository, number: u64, suite: &str) -> Option<ReleaseFile> {
    let path = format!("{GENERATIONS}/{number}/{DISTS}/{suite}/Release");
    let bytes = Opened::at(repository, &path).ok()??.read(LARGEST_RELEASE).ok()?;
    ReleaseFile::parse(str::from_utf8(&bytes).ok()?).ok()
}

impl Suite {
    fn read(repository: &Repository, number: u64, name: &str, state: &State) -> Self {
        let mut suite = Self {
            name: name.to_owned(),
            state: state.clone(),
            release: release(repository, number, name),
            faults: Vec::new(),
            packages: Vec::new(),
            entries: Vec::new(),
            indexes: Vec::new(),
        };
        let below = format!("{GENERATIONS}/{number}/{DISTS}/{name}");
        for component in &state.components {
            let mut take = |path: String, kind| {
                suite.take(repository, format!("{below}/{component}/{path}"), component, kind);
            };
            for architecture in state.architectures.iter().filter(|one| *one != "source") {
                take(format!("binary-{architecture}/Packages"), Kind::Packages);
                let installer = format!("debian-installer/binary-{architecture}/Packages");
                take(installer, Kind::Installer);
            }
            take("source/Sources".to_owned(), Kind::Sources);
        }
        suite.sort();
        suite
    }

    /// Reads an index, if it is there.
    fn take(&mut self, repository: &Repository, path: String, component: &str, kind: Kind) {
        let opened = match Opened::at(repository, &path) {
            Ok(Some(opened)) => opened,
            // Not every component has every index.
            Ok(None) => return,
            Err(error) => return self.faults.push(format!("{path}: {error}")),
        };
        let text = opened.read(LARGEST).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
        });
        let index = self.indexes.len();
        let read = text.and_then(|text| entries(&text, index, kind));
        match read {
            Ok(read) => {
                self.entries.extend(read);
                self.indexes.push(Index { path, component: component.to_owned(), kind });
            }
            Err(error) => self.faults.push(format!("{path}: {error}")),
        }
    }

    fn sort(&mut self) {
        let entries = &mut self.entries;
        let version = |entry: &Entry| entry.version.parse::<Version>().ok();
        entries.sort_by(|one, other| {
            let names = one.name.cmp(&other.name);
            names
                .then_with(|| match &*one.version == &*other.version {
                    true => std::cmp::Ordering::Equal,
                    false => version(other).cmp(&version(one)),
                })
                .then_with(|| one.version.cmp(&other.version))
                .then_with(|| one.architecture.cmp(&other.architecture))
        });
        // One of architecture `all` is in the index of every architecture.
        let indexes = &self.indexes;
        let at = |entry: &Entry| (&indexes[entry.index].component, indexes[entry.index].kind);
        entries.dedup_by(|one, other| {
            *one.architecture == *"all"
                && one.name == other.name
                && one.version == other.version
                && one.architecture == other.architecture
                && at(one) == at(other)
        });
        let mut start = 0;
        for of_one in entries.chunk_by(|one, other| one.name == other.name) {
            let range = start..start + of_one.len();
            start = range.end;
            let summary = summary(of_one).to_lowercase();
            let words = format!("{}\n{summary}", of_one[0].name.to_lowercase()).into();
            self.packages.push(Package { range, words });
        }
    }

    /// The packages whose names or summaries have all these words; those whose names begin with
    /// the first of them before the others.
    pub(super) fn search(&self, query: &str) -> Vec<&Package> {
        let query = query.to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        let Some(first) = words.first() else { return self.packages.iter().collect() };
        let hits = self.packages.iter();
        let hits = hits.filter(|package| words.iter().all(|word| package.words.contains(word)));
        let (mut begins, others): (Vec<_>, Vec<_>) =
            hits.partition(|package| package.words.starts_with(first));
        begins.extend(others);
        begins
    }

    /// The package of this name.
    pub(super) fn package(&self, name: &str) -> Option<&Package> {
        let name_of = |package: &Package| &*self.entries[package.range.start].name;
        let found = self.packages.binary_search_by(|package| name_of(package).cmp(name)).ok()?;
        self.packages.get(found)
    }

    /// What a package consists of, the highest version first.
    pub(super) fn entries(&self, package: &Package) -> &[Entry] {
        &self.entries[package.range.clone()]
    }

    /// The index that an entry stands in.
    pub(super) fn index(&self, entry: &Entry) -> &Index {
        &self.indexes[entry.index]
    }

    /// The whole paragraph of an entry; none if it cannot be read any more.
    pub(super) fn paragraph(&self, repository: &Repository, entry: &Entry) -> Option<String> {
        let opened = Opened::at(repository, &self.indexes[entry.index].path).ok()??;
        let mut bytes = vec![0; usize::try_from(entry.length.min(LONGEST)).ok()?];
        std::os::unix::fs::FileExt::read_exact_at(&opened.file, &mut bytes, entry.at).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Whether it lists source packages.
    pub(super) fn has_sources(&self) -> bool {
        self.entries.iter().any(|entry| self.indexes[entry.index].kind == Kind::Sources)
    }

    /// When it was made.
    pub(super) fn date(&self) -> Option<Timestamp> {
        self.release.as_ref().map(|release| release.date)
    }
}

/// The summary of the first entry that has one.
pub(super) fn summary(entries: &[Entry]) -> &str {
    let mut summaries = entries.iter().map(|entry| &*entry.summary);
    summaries.find(|summary| !summary.is_empty()).unwrap_or_default()
}

/// The paragraphs of an index.
fn entries(text: &str, index: usize, kind: Kind) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut at = 0;
    for chunk in text.split_inclusive("\n\n") {
        let begin = at;
        at += chunk.len() as u64;
        let Some(paragraph) = paragraphs(chunk).next() else { continue };
        let paragraph = paragraph.map_err(|error| error.to_string())?;
        let field = |name: &str| paragraph.get(name).unwrap_or_default();
        let (name, version) = (field("Package"), field("Version"));
        if name.is_empty() || version.is_empty() {
            return Err("a paragraph has no `Package` or no `Version`".to_owned());
        }
        entries.push(Entry {
            name: name.into(),
            version: version.into(),
            architecture: architecture(&paragraph, kind).into(),
            summary: field("Description").lines().next().unwrap_or_default().into(),
            index,
            at: begin,
            length: chunk.len() as u64,
        });
    }
    Ok(entries)
}

fn architecture<'a>(paragraph: &'a Paragraph<'_>, kind: Kind) -> &'a str {
    match kind {
        Kind::Sources => "source",
        Kind::Packages | Kind::Installer => paragraph.get("Architecture").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(text: &str) -> Suite {
        let entries = entries(text, 0, Kind::Packages).expect("an index");
        let state = State {
            release: crate::base::Sha256::of(b""),
            components: Vec::new(),
            architectures: Vec::new(),
            valid_until: None,
            packages: 0,
            published: None,
        };
        let index = Index { path: String::new(), component: "main".into(), kind: Kind::Packages };
        let mut suite = Suite {
            name: "stable".to_owned(),
            state,
            release: None,
            faults: Vec::new(),
            packages: Vec::new(),
            entries,
            indexes: vec![index],
        };
        suite.sort();
        suite
    }

    #[test]
    fn packages_are_found_by_all_words_and_names_come_first() {
        let text = "Package: zeta\nVersion: 1\nArchitecture: all\nDescription: like alpha\n\n\
                    Package: alpha\nVersion: 1.9\nArchitecture: amd64\nDescription: First\n\n\
                    Package: alpha\nVersion: 1.10\nArchitecture: amd64\n\n\
                    Package: alpha-doc\nVersion: 1\nArchitecture: all\n\n\
                    Package: alpha-doc\nVersion: 1\nArchitecture: all\n\n";
        let suite = suite(text);
        let names = |query: &str| {
            let found = suite.search(query).into_iter();
            found.map(|package| &*suite.entries(package)[0].name).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["alpha", "alpha-doc", "zeta"]);
        assert_eq!(names(" ALPHA"), ["alpha", "alpha-doc", "zeta"]);
        assert_eq!(names("alpha doc"), ["alpha-doc"]);
        assert_eq!(names("first"), ["alpha"]);
        assert_eq!(names("other"), [""; 0]);
        let alpha = suite.entries(suite.package("alpha").expect("there"));
        let versions: Vec<&str> = alpha.iter().map(|entry| &*entry.version).collect();
        assert_eq!((versions, summary(alpha)), (vec!["1.10", "1.9"], "First"));
        assert_eq!(suite.entries(suite.package("alpha-doc").expect("there")).len(), 1);
        assert!(suite.package("beta").is_none());
    }

    #[test]
    fn an_index_that_makes_no_sense_is_an_error_and_no_panic() {
        for bad in ["Package: a\n\n", "Version: 1\n\n", "nonsense\n\n", " x\n\n"] {
            assert!(entries(bad, 0, Kind::Packages).is_err(), "{bad}");
        }
        for none in ["", "\n", "\n\n\n\n"] {
            assert!(entries(none, 0, Kind::Packages).is_ok_and(|all| all.is_empty()), "{none}");
        }
    }
}
