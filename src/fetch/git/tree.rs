//! The files of a commit, as the objects they are.

use std::io::{BufRead as _, BufReader, Read};

use super::program::Program;
use crate::base::{TreeEntry, TreeKind};
use crate::fetch::error::{Error, Result};
use crate::store::Batch;

/// The most files of one source, and the most bytes of them.
const MAX_FILES: usize = 500_000;
const MAX_BYTES: u64 = 16 << 30;
/// The longest target of a link, in bytes.
const MAX_TARGET: u64 = 4096;
/// A Git LFS pointer is smaller than this (its specification, "The Pointer").
const MAX_POINTER: u64 = 1024;
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// How much may still come.
pub(super) struct Budget {
    files: usize,
    bytes: u64,
    /// How many submodules.
    pub modules: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { files: MAX_FILES, bytes: MAX_BYTES, modules: 500 }
    }
}

/// A submodule: where it is, and which commit.
pub(super) struct Gitlink {
    pub path: String,
    pub commit: String,
}

/// A file of a commit that is yet to be read.
struct Blob {
    path: String,
    object: String,
    mode: Mode,
    size: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Executable,
    Link,
}

/// Puts the files of a commit into `batch` and `entries`, their paths after `prefix`; gives its
/// submodules.
pub(super) fn collect(
    program: &Program<'_>,
    commit: &str,
    prefix: &str,
    batch: &Batch<'_>,
    budget: &mut Budget,
    entries: &mut Vec<TreeEntry>,
) -> Result<Vec<Gitlink>> {
    let listing = program.run(&["ls-tree", "-r", "-z", "-l", "--full-tree", commit], None)?;
    let (blobs, links) = list(program, &listing, prefix, budget)?;
    let mut wanted = String::new();
    for blob in &blobs {
        wanted.push_str(&blob.object);
        wanted.push('\n');
    }
    program.stream(&["cat-file", "--batch"], Some(wanted.into_bytes()), |out| {
        let mut out = BufReader::new(out);
        for blob in blobs {
            entries.push(read(program, &mut out, blob, batch)?);
        }
        Ok(())
    })?;
    Ok(links)
}

fn list(
    program: &Program<'_>,
    listing: &[u8],
    prefix: &str,
    budget: &mut Budget,
) -> Result<(Vec<Blob>, Vec<Gitlink>)> {
    let (mut blobs, mut links) = (Vec::new(), Vec::new());
    for line in listing.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let wrong = |why: &str| {
            program.error(format!("`{}`", String::from_utf8_lossy(line)), why.to_owned())
        };
        let line = std::str::from_utf8(line).map_err(|_| wrong("its name is not UTF-8"))?;
        let (head, path) = line.split_once('\t').ok_or_else(|| wrong("is no entry of a tree"))?;
        let mut words = head.split_ascii_whitespace();
        let (Some(mode), Some(_), Some(object), Some(size)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong("is no entry of a tree"));
        };
        let path = format!("{prefix}{path}");
        let mode = match mode {
            "160000" => {
                links.push(Gitlink { path, commit: object.to_owned() });
                continue;
            }
            "120000" => Mode::Link,
            "100755" => Mode::Executable,
            _ => Mode::Plain,
        };
        let size = size.parse().map_err(|_| wrong("has no size"))?;
        budget.files = budget.files.checked_sub(1).ok_or_else(|| wrong("too many files"))?;
        budget.bytes = budget.bytes.checked_sub(size).ok_or_else(|| wrong("too many bytes"))?;
        blobs.push(Blob { path, object: object.to_owned(), mode, size });
    }
    Ok((blobs, links))
}

/// The next object of `git cat-file --batch`: a line with name, kind and size, then the bytes,
/// then a line end.
fn read(
    program: &Program<'_>,
    out: &mut BufReader<&mut dyn Read>,
    blob: Blob,
    batch: &Batch<'_>,
) -> Result<TreeEntry> {
    let Blob { path, object, mode, size } = blob;
    let wrong = |why: String| program.error(format!("`{path}`"), why);
    let broken = |error: std::io::Error| wrong(error.to_string());
    let mut head = String::new();
    out.by_ref().take(200).read_line(&mut head).map_err(broken)?;
    if head.trim_end() != format!("{object} blob {size}") {
        return Err(wrong(format!("its object cannot be read: {}", head.trim_end())));
    }
    let mut body = out.by_ref().take(size);
    let kind = if mode == Mode::Link {
        if size > MAX_TARGET {
            return Err(wrong("is a link to nothing that could be a path".to_owned()));
        }
        let mut target = String::new();
        body.read_to_string(&mut target)
            .map_err(|_| wrong("is a link to a path that is not UTF-8".to_owned()))?;
        TreeKind::Link(target)
    } else {
        let mut start = Vec::new();
        if size < MAX_POINTER {
            body.read_to_end(&mut start).map_err(broken)?;
            if start.starts_with(POINTER) {
                return Err(wrong(
                    "is a Git LFS pointer: its bytes are no part of the commit, and are not \
                     fetched; take them as a `file(…)` of `extra`, or a release tarball"
                        .to_owned(),
                ));
            }
        }
        let put =
            batch.put_file(start.as_slice().chain(body), None).map_err(|error| match error {
                crate::store::Error::Input(error) => broken(error),
                error => Error::Store(error),
            })?;
        if put.size != size {
            return Err(wrong("its object ends early".to_owned()));
        }
        match mode {
            Mode::Executable => TreeKind::Executable(put.digest),
            Mode::Plain | Mode::Link => TreeKind::File(put.digest),
        }
    };
    let mut end = [0];
    out.read_exact(&mut end).map_err(broken)?;
    Ok(TreeEntry { path, kind })
}
