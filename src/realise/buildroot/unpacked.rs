//! Packages unpacked once and shared by every root: `files/` as shipped, `control/` the control
//! members, `contents.json` what the package says about each path.
//!
//! Roots link to the files, so a file here has the mode it has in a root, except for set-id bits,
//! which live in the contents alone.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::error::{Error, system};
use super::folder::{Folder, Owner};
use crate::archive::deb::package::{self, Control, Kind};
use crate::base::{Digest, HostPath};

/// What a package says about its files, in its own order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) items: Vec<Item>,
    /// The names of its control members.
    #[serde(default)]
    pub(super) control: Vec<String>,
}

/// One path of a package.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    /// As shipped; empty for the root.
    pub(super) path: String,
    /// With set-id bits.
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) what: What,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    Directory,
    File {
        size: u64,
        blake3: Digest,
        /// Of conffiles only, for dpkg.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        md5: Option<String>,
    },
    Link(String),
}

/// One package in its unpacked form.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) path: HostPath,
    pub(super) contents: Contents,
}

const CONTENTS: &str = "contents.json";

impl Unpacked {
    /// Reads the tree that [`unpack`] made at `path`.
    pub(super) fn load(path: HostPath) -> Result<Self, Error> {
        let file = path.join(CONTENTS);
        let bytes = fs::read(&file).map_err(system("read", &file))?;
        let contents = serde_json::from_slice(&bytes)
            .map_err(|error| system("read", &file)(io::Error::from(error)))?;
        Ok(Self { path, contents })
    }

    /// The control members with their text and whether they are executable, by name.
    pub(super) fn control(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.path.join("control").join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(system("read", &path)(error)),
        }
    }

    /// Whether everything that was unpacked is still there, as far as a look at each file tells:
    /// a tree that somebody deleted a part of would make another root without a word.
    pub(super) fn is_whole(&self) -> bool {
        let control = self.path.join("control");
        let is_file = |path: &HostPath, expected: Option<u64>| {
            fs::symlink_metadata(path).is_ok_and(|there| {
                there.is_file() && expected.is_none_or(|size| there.len() == size)
            })
        };
        let mut members = self.contents.control.iter();
        !self.contents.control.is_empty()
            && members.all(|name| is_file(&control.join(name), None))
            && self.contents.items.iter().all(|item| match item.what {
                What::File { size, .. } => is_file(&self.file(&item.path), Some(size)),
                What::Directory | What::Link(_) => true,
            })
    }

    /// Where a file of the package is on the host.
    pub(super) fn file(&self, path: &str) -> HostPath {
        self.path.join("files").join(path)
    }
}

/// Unpacks a package into the empty folder `into`.
pub(super) fn unpack(deb: File, into: &HostPath, owner: Owner) -> Result<Unpacked, Error> {
    let broken = |source| Error::Package { package: String::new(), source };
    let (control, data) =
        package::open(io::BufReader::with_capacity(1 << 17, deb)).map_err(broken)?;
    write_control(&control, into, owner)?;
    let conffiles = conffiles(&control);
    let files = into.join("files");
    let mut folder = Folder::create(&files, owner)?;
    let mut items: Vec<Item> = Vec::new();
    let mut by_path = std::collections::HashMap::new();
    let mut buffer = vec![0; 1 << 17];
    data.each(|entry, content| {
        let what = match &entry.kind {
            Kind::Directory => What::Directory,
            Kind::File { .. } => {
                let wants_md5 = conffiles.contains(&entry.path);
                let mut file = folder.file(&entry.path)?;
                let digests = copy(content, &mut file, wants_md5, &mut buffer)
                    .map_err(system("write", files.join(&entry.path)))?;
                folder.settle(&file, &entry.path, entry.mode & 0o777, entry.time)?;
                by_path.insert(entry.path.clone(), items.len());
                digests
            }
            Kind::Link(target) => {
                folder.link(&entry.path, target, entry.time)?;
                What::Link(target.clone())
            }
            Kind::HardLink(to) => {
                folder.hard_link(&files.join(to), &entry.path)?;
                let index = *by_path.get(to).expect("the reader refuses links to later members");
                by_path.insert(entry.path.clone(), index);
                items[index].what.clone()
            }
        };
        let (mode, time) = match entry.kind {
            Kind::HardLink(_) => {
                let first = &items[by_path[&entry.path]];
                (first.mode, first.time)
            }
            _ => (entry.mode, entry.time),
        };
        items.push(Item { path: entry.path.clone(), mode, time, what });
        Ok::<_, Error>(())
    })?;
    let control = control.members().map(|(name, _)| name.to_owned()).collect();
    let contents = Contents { items, control };
    let bytes = serde_json::to_vec(&contents).expect("contents have string keys only");
    let path = into.join(CONTENTS);
    fs::write(&path, bytes).map_err(system("write", &path))?;
    Ok(Unpacked { path: into.clone(), contents })
}

/// The paths of `conffiles`, without those that are only to be removed (deb-conffiles(5)).
fn conffiles(control: &Control) -> Vec<String> {
    let Some(member) = control.get("conffiles") else { return Vec::new() };
    String::from_utf8_lossy(&member.bytes)
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix('/'))
        .map(str::to_owned)
        .collect()
}

fn write_control(control: &Control, into: &HostPath, owner: Owner) -> Result<(), Error> {
    let mut folder = Folder::create(&into.join("control"), owner)?;
    for (name, member) in control.members() {
        let mut file = folder.file(name)?;
        file.write_all(&member.bytes).map_err(system("write", into.join("control").join(name)))?;
        folder.settle(&file, name, if member.executable { 0o755 } else { 0o644 }, 0)?;
    }
    Ok(())
}

fn copy(
    from: &mut dyn Read,
    to: &mut File,
    wants_md5: bool,
    buffer: &mut [u8],
) -> io::Result<What> {
    let mut blake3 = blake3::Hasher::new();
    let mut md5 = wants_md5.then(Md5::new);
    let mut size = 0;
    loop {
        let count = from.read(buffer)?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count])?;
        blake3.update(&buffer[..count]);
        if let Some(md5) = &mut md5 {
            md5.update(&buffer[..count]);
        }
        size += count as u64;
    }
    let md5 = md5.map(|md5| md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
    Ok(What::File { size, blake3: Digest::from_bytes(*blake3.finalize().as_bytes()), md5 })
}
