//! Signed `.changes` files of what was published, with the files that they name: what another
//! archive's upload queue takes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use crate::archive::deb::{changelog, control, package};
use crate::audit::provenance::weak_digests;
use crate::base::{HostPath, Sha256};
use crate::cli::failure::{Failure, Kind};
use crate::cli::key;
use crate::publish::Repository;
use crate::publish::item::{Item, Kind as ItemKind};
use crate::publish::layout::POOL;
use crate::publish::sign::Signers;
use crate::publish::sign::{Binary, ChangedFile, Changes};

/// The largest changelog that is read, in bytes.
const MAX_CHANGELOG: u64 = 16 << 20;

/// Writes a `.changes` file for each source package of `items` into `folder`, and copies the files
/// of it there; gives how many there are.
pub fn write(
    folder: &HostPath,
    items: &[Item],
    repository: &Repository,
    suite: &str,
    signers: &Signers,
    at: Timestamp,
) -> Result<usize, Failure> {
    fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
    let mut sources: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    for item in items.iter().filter(|item| item.built.is_some()) {
        sources.entry(&item.source).or_default().push(item);
    }
    for (source, items) in &sources {
        let changes = of(source, items, repository, suite, at)?;
        let text = changes.text().map_err(|error| key::unsigned(&error))?;
        let signed = signers.clear_sign(&text, at).map_err(|error| key::unsigned(&error))?;
        for path in items.iter().flat_map(|item| &item.files).map(|file| &file.path) {
            let from = repository.path(POOL).join(path);
            let to = folder.join(path.rsplit('/').next().unwrap_or_default());
            fs::copy(&from, &to).map_err(|error| failed("copy to", &to, &error))?;
        }
        // Last: a queue takes what a .changes file names once that is there.
        let path = folder.join(changes.file_name());
        fs::write(&path, signed).map_err(|error| failed("write", &path, &error))?;
    }
    Ok(sources.len())
}

fn failed(operation: &str, path: &HostPath, error: &io::Error) -> Failure {
    Failure::new(Kind::Machine, "changes", format!("cannot {operation} `{path}`: {error}"))
}

fn of(
    source: &str,
    items: &[&Item],
    repository: &Repository,
    suite: &str,
    at: Timestamp,
) -> Result<Changes, Failure> {
    let main = items.iter().find(|item| item.kind == ItemKind::Source).or_else(|| items.first());
    let main = main.expect("a group has one");
    let top = top_entry(items, repository);
    let field = |item: &Item, name: &str| -> Option<String> {
        let paragraph = control::paragraphs(&item.paragraph).next()?.ok()?;
        paragraph.get(name).map(|value| value.lines().next().unwrap_or_default().to_owned())
    };
    let maintainer = field(main, "Maintainer").unwrap_or_default();
    let mut binaries = Vec::new();
    let mut files = BTreeMap::new();
    for item in items {
        let (section, priority) = match item.kind {
            ItemKind::Source => (None, None),
            ItemKind::Deb | ItemKind::Udeb => {
                binaries.push(Binary {
                    name: item.name.clone(),
                    architecture: item.architecture.clone(),
                    summary: field(item, "Description").unwrap_or_default(),
                });
                (field(item, "Section"), field(item, "Priority"))
            }
        };
        for file in &item.files {
            let path = repository.path(POOL).join(&file.path);
            let [md5, sha1] = File::open(&path)
                .and_then(|mut file| weak_digests(&mut file))
                .map_err(|error| failed("read", &path, &error))?;
            let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
            let one = ChangedFile {
                name: name.clone(),
                size: file.size,
                md5,
                sha1,
                sha256: Sha256::to_string(&file.sha256),
                section: section.clone().unwrap_or_else(|| "misc".to_owned()),
                priority: priority.clone().unwrap_or_else(|| "optional".to_owned()),
            };
            files.insert(name, one);
        }
    }
    Ok(Changes {
        date: top.as_ref().map_or(at, |top| top.date),
        source: source.to_owned(),
        version: main.version.clone(),
        distribution: suite.to_owned(),
        urgency: "medium".to_owned(),
        changed_by: top.as_ref().map_or_else(|| maintainer.clone(), |top| top.author.clone()),
        maintainer,
        binaries,
        text: top.map_or_else(|| "See the changelog.".to_owned(), |top| top.text),
        files: files.into_values().collect(),
    })
}

/// The newest entry of a changelog.
struct Top {
    date: Timestamp,
    author: String,
    text: String,
}

/// The newest entry of the changelog that one of the packages installs.
fn top_entry(items: &[&Item], repository: &Repository) -> Option<Top> {
    let debs = items.iter().filter(|item| item.kind == ItemKind::Deb);
    debs.filter_map(|item| {
        let file = File::open(repository.path(POOL).join(&item.files[0].path)).ok()?;
        let (_, data) = package::open(file).ok()?;
        let folder = format!("usr/share/doc/{}/changelog", item.name);
        let mut text = None;
        let read = data.each(|entry, content| {
            let is_its = entry.path == format!("{folder}.Debian.gz")
                || entry.path == format!("{folder}.gz") && text.is_none();
            if is_its && matches!(entry.kind, package::Kind::File { .. }) {
                let mut read = String::new();
                let unpacked = MultiGzDecoder::new(content).take(MAX_CHANGELOG);
                if { unpacked }.read_to_string(&mut read).is_ok() {
                    text = Some(read);
                }
            }
            Ok::<(), package::Error>(())
        });
        read.ok()?;
        entry(&text?)
    })
    .next()
}

fn entry(text: &str) -> Option<Top> {
    let top = changelog::top(text).ok()?;
    let lines = text.lines().skip(1);
    let body: Vec<&str> = lines.clone().take_while(|line| !line.starts_with(" -- ")).collect();
    let author = lines.clone().find_map(|line| line.strip_prefix(" -- "))?;
    let bullet = |line: &&str| line.trim().trim_start_matches("* ").to_owned();
    Some(Top {
        date: Timestamp::from_second(top.timestamp).ok()?,
        author: author.split("  ").next()?.to_owned(),
        text: body.iter().map(bullet).collect::<Vec<_>>().join("\n"),
    })
}
