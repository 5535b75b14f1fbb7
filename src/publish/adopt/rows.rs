//! What another tool's indexes list, as ours would list it.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::Found;
use super::error::{Different, Error, Result};
use crate::archive::deb::control::paragraphs;
use crate::archive::deb::index;
use crate::archive::deb::version::Version;
use crate::base::Sha256;
use crate::publish::Error as Broken;
use crate::publish::index::{packages, sources};
use crate::publish::item::{From, Item, Kind, of_source};
use crate::publish::layout::pool_folder;

/// A package of a suite.
pub struct Row {
    /// The package, in our layout.
    pub item: Item,
    /// Where its files are in the other layout, in the order of the item's.
    old: Vec<String>,
    /// Whether the index has no more than the first line of its description.
    pub(super) is_short: bool,
}

impl Row {
    /// Its files there: path, size and digest.
    pub(super) fn files(&self) -> impl Iterator<Item = (String, u64, Sha256)> {
        let pieces = self.old.iter().zip(&self.item.files);
        pieces.map(|(path, piece)| (path.clone(), piece.size, piece.sha256))
    }

    fn version(&self) -> Result<Version, String> {
        self.item.version.parse().map_err(|error| chain(&error))
    }
}

/// The packages of an index.
pub(super) fn read(kind: Kind, component: &str, text: &str) -> Result<Vec<Row>, String> {
    let pieces: Vec<&str> =
        text.split("\n\n").map(|piece| piece.trim_matches('\n')).collect::<Vec<_>>();
    let pieces = pieces.into_par_iter().filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| match kind {
            Kind::Source => source(component, piece),
            Kind::Deb | Kind::Udeb => binary(kind, component, piece),
        })
        .collect()
}

fn binary(kind: Kind, component: &str, text: &str) -> Result<Row, String> {
    let read = index::packages(text).map_err(|error| chain(&error))?;
    let [package] = read.as_slice() else { return Err("it is not one package".to_owned()) };
    // As dpkg names them, whatever the other tool did.
    let file = format!(
        "{}_{}_{}.{}",
        package.name,
        package.version.without_epoch(),
        package.architecture,
        if kind == Kind::Udeb { "udeb" } else { "deb" }
    );
    let path = format!("{}/{file}", pool_folder(component, package.source.as_str()));
    let paragraph = packages::paragraph(text, &path, package.size, &package.sha256)
        .map_err(|why| format!("`{}`: {why}", package.name))?;
    let fields = paragraphs(text).next().and_then(std::result::Result::ok);
    let is_short = fields.is_some_and(|fields| {
        fields.get("Description-md5").is_some()
            && !fields.get("Description").is_some_and(|text| text.contains('\n'))
    });
    let item = Item::of_binary(kind, component, &paragraph, From::Pool).map_err(why)?;
    Ok(Row { item, old: vec![package.filename.clone()], is_short })
}

fn source(component: &str, text: &str) -> Result<Row, String> {
    let read = index::every_source(text).map_err(|error| chain(&error))?;
    let [package] = read.as_slice() else { return Err("it is not one package".to_owned()) };
    let folder = format!("pool/{}", pool_folder(component, package.name.as_str()));
    let paragraph =
        sources::moved(text, &folder).map_err(|why| format!("`{}`: {why}", package.name))?;
    let item = of_source(component, &paragraph).map_err(why)?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let old = item.files.iter().map(|piece| match package.directory.as_str() {
        "" => name(&piece.path),
        folder => format!("{folder}/{}", name(&piece.path)),
    });
    let old = old.collect();
    Ok(Row { item, old, is_short: false })
}

/// What is wrong with a paragraph.
fn why(error: Broken) -> String {
    match error {
        Broken::Package { reason, .. } => reason,
        other => chain(&other),
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Of each package its newest version, and all other versions. What is listed for several
/// architectures counts once.
pub(super) fn newest(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let mut groups: BTreeMap<(Kind, String, String), Vec<Row>> = BTreeMap::new();
    for row in rows {
        let Item { kind, component, name, .. } = &row.item;
        groups.entry((*kind, component.clone(), name.clone())).or_default().push(row);
    }
    let (mut kept, mut older) = (Vec::new(), Vec::new());
    for mut group in groups.into_values() {
        group.sort_by(|one, other| {
            let by_version = match (other.version(), one.version()) {
                (Ok(other), Ok(one)) => other.cmp(&one),
                _ => std::cmp::Ordering::Equal,
            };
            by_version
                .then_with(|| one.item.architecture.cmp(&other.item.architecture))
                .then_with(|| one.item.payload.cmp(&other.item.payload))
        });
        group.dedup_by(|one, other| {
            let of = |row: &Row| {
                let Item { version, architecture, payload, .. } = &row.item;
                (version.clone(), architecture.clone(), *payload)
            };
            of(one) == of(other)
        });
        let mut taken: Vec<Row> = Vec::new();
        for row in group {
            // A package of architecture `all` stands in the index of each.
            let is_there = taken.iter().any(|known| {
                let (known, new) = (&known.item.architecture, &row.item.architecture);
                known == new || known == "all" || new == "all"
            });
            if is_there { older.push(row) } else { taken.push(row) }
        }
        kept.extend(taken);
    }
    (kept, older)
}

/// Refuses suites that have the same file name with different content: clients that use both
/// could not tell the packages apart.
pub(super) fn agree(found: &[&mut Found]) -> Result<()> {
    let mut known: HashMap<&str, (&str, Sha256)> = HashMap::new();
    for suite in found {
        for piece in suite.rows.iter().chain(&suite.older).flat_map(|row| &row.item.files) {
            let file = piece.path.rsplit('/').next().unwrap_or_default();
            let (one, first) = *known.entry(file).or_insert((&suite.name, piece.sha256));
            if first != piece.sha256 {
                return Err(Error::Different(Box::new(Different {
                    file: file.to_owned(),
                    one: one.to_owned(),
                    other: suite.name.clone(),
                    first,
                    second: piece.sha256,
                })));
            }
        }
    }
    Ok(())
}
