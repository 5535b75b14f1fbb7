//! The state of a release at a commit of its git repository, as a folder.
//!
//! The files are read as git keeps them: nothing of the working tree, no filter, no attribute and
//! no hook of the repository has a say, and nothing is fetched.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::failure::{Failure, Kind};
use crate::base::{HostPath, ReleasePath};
use crate::fetch::git;

/// How many bytes of files a state may have.
const MAX_BYTES: u64 = 4 << 30;
/// How many files a state may have.
const MAX_FILES: usize = 500_000;
/// How many releases may extend one another.
const MAX_LAYERS: usize = 16;

/// A release as it was.
pub struct Past {
    /// What it is called: the revision, and the commit that it means.
    pub title: String,
    /// The release folder.
    pub folder: HostPath,
    _keep: tempfile::TempDir,
}

/// The release in `folder` as it was at `revision`, anything that git takes for a commit.
pub fn read(folder: &HostPath, revision: &str) -> Result<Past, Failure> {
    let git = Git { folder };
    let top = git.line(&["rev-parse", "--show-toplevel"]).map_err(|failure| {
        failure
            .hint("a release is held against its past where git has it: `git init`, `git commit`")
    })?;
    let prefix = git.line(&["rev-parse", "--show-prefix"])?;
    let wanted = format!("{revision}^{{commit}}");
    let commit = git
        .line(&["rev-parse", "--quiet", "--verify", "--end-of-options", &wanted])
        .map_err(|_| unknown(folder, revision))?;
    let keep = tempfile::tempdir()
        .map_err(|error| Failure::error(Kind::Machine, "temporary-folder", &error))?;
    let base = HostPath::new(keep.path());
    let mut open = vec![prefix.trim_end_matches('/').to_owned()];
    let mut there = BTreeSet::new();
    let top = HostPath::new(top);
    while let Some(path) = open.pop() {
        if !there.insert(path.clone()) || there.len() > MAX_LAYERS {
            continue;
        }
        git.extract(&top, &commit, &path, &base)?;
        open.extend(extended(&base, &path));
    }
    let release = base.join(prefix.trim_end_matches('/'));
    if !release.as_path().join("release.toml").is_file() {
        let message = format!("there is no release in `{folder}` at `{revision}`");
        return Err(Failure::input("no-release", message)
            .hint("was the folder added, and the commit made after that?"));
    }
    let title = format!("{revision} ({})", &commit[..commit.len().min(10)]);
    Ok(Past { title, folder: release, _keep: keep })
}

fn unknown(folder: &HostPath, revision: &str) -> Failure {
    let message = format!("`{revision}` is neither a folder nor a revision that git knows");
    let hint = format!("the repository is that of `{folder}`; `git log` lists its revisions");
    Failure::input("unknown-revision", message).hint(hint)
}

/// The folder that the release at `path` extends, as a path in the repository.
fn extended(base: &HostPath, path: &str) -> Option<String> {
    let text = fs::read_to_string(base.join(path).join("release.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let extends = table.get("release")?.get("extends")?.as_str()?;
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for part in extends.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The git program in the repository of a folder.
struct Git<'a> {
    folder: &'a HostPath,
}

/// A file of a commit.
struct Entry {
    mode: String,
    object: String,
    path: ReleasePath,
}

impl Git<'_> {
    fn command(&self, folder: &HostPath, words: &[&str]) -> Command {
        let mut command = git::reading(folder);
        command.args(words);
        command
    }

    /// The first line that a command prints.
    fn line(&self, words: &[&str]) -> Result<String, Failure> {
        let output = self.command(self.folder, words).output().map_err(|error| no_git(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().trim_start_matches("fatal: ").to_owned();
            let what = format!("git cannot read the repository of `{}`", self.folder);
            let failure = Failure::input("git", what);
            return Err(if said.is_empty() { failure } else { failure.because(said) });
        }
        let text = String::from_utf8(output.stdout)
            .map_err(|_| Failure::input("encoding", "git's answer is not UTF-8"))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// Writes the files of `commit` at and below `path` of the repository to the same path below
    /// `base`.
    fn extract(
        &self,
        top: &HostPath,
        commit: &str,
        path: &str,
        base: &HostPath,
    ) -> Result<(), Failure> {
        let mut links = Vec::new();
        let mut blobs = Vec::new();
        for entry in self.entries(top, commit, path)? {
            match entry.mode.as_str() {
                "120000" => links.push(entry),
                "100644" | "100755" | "100664" => blobs.push(entry),
                // A submodule: its files are another repository's.
                "160000" => make_folder(&base.join(entry.path.as_str()))?,
                mode => {
                    let message = format!("`{}` has the unknown mode {mode}", entry.path);
                    return Err(Failure::input("git", message));
                }
            }
        }
        // Links come last, so that no file is ever written through one.
        let count = blobs.len();
        blobs.append(&mut links);
        self.contents(top, &blobs, |index, entry, bytes| {
            let target = base.join(entry.path.as_str());
            if let Some(parent) = target.as_path().parent() {
                make_folder(&HostPath::new(parent))?;
            }
            let written = if index < count {
                write(target.as_path(), bytes, entry.mode == "100755")
            } else {
                use std::os::unix::ffi::OsStrExt as _;
                symlink(std::ffi::OsStr::from_bytes(bytes), target.as_path())
            };
            written.map_err(|error| cannot_write(&target, &error))
        })
    }

    fn entries(&self, top: &HostPath, commit: &str, path: &str) -> Result<Vec<Entry>, Failure> {
        let wanted = if path.is_empty() { "." } else { path };
        let words =
            ["--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", commit, "--", wanted];
        let words = if path.is_empty() { &words[..6] } else { &words[..] };
        let output = self.command(top, words).output().map_err(|error| no_git(&error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::input("git", format!("git cannot list {commit}")).because(said));
        }
        let odd = || Failure::input("git", format!("git lists {commit} in an unknown form"));
        let mut entries = Vec::new();
        for line in output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let line = str::from_utf8(line).map_err(|_| {
                let line = String::from_utf8_lossy(line).into_owned();
                Failure::input("encoding", format!("a path of {commit} is not UTF-8: `{line}`"))
            })?;
            let (head, path) = line.split_once('\t').ok_or_else(odd)?;
            let words: Vec<&str> = head.split(' ').filter(|word| !word.is_empty()).collect();
            let [mode, _, object] = words.as_slice() else { return Err(odd()) };
            let (mode, object) = ((*mode).to_owned(), (*object).to_owned());
            let path = path
                .parse::<ReleasePath>()
                .map_err(|error| Failure::error(Kind::Input, "bad-path", &error))?;
            entries.push(Entry { mode, object, path });
            if entries.len() > MAX_FILES {
                let message = format!("`{wanted}` has more than {MAX_FILES} files at {commit}");
                return Err(Failure::input("limit", message));
            }
        }
        Ok(entries)
    }

    /// Hands the bytes of each entry to `take`, in their order.
    fn contents(
        &self,
        top: &HostPath,
        entries: &[Entry],
        mut take: impl FnMut(usize, &Entry, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut child = self
            .command(top, &["cat-file", "--batch", "--buffer"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| no_git(&error))?;
        let (Some(mut ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked for as pipes");
        };
        let broken = |error: &std::io::Error| Failure::error(Kind::Machine, "git", error);
        let odd = |entry: &Entry| {
            Failure::input("git", format!("git has no contents of `{}`", entry.path))
                .hint("a shallow or partial clone lacks them: `git fetch --unshallow`")
        };
        let result = std::thread::scope(|scope| {
            // Asking and reading at once: either pipe could fill up.
            scope.spawn(move || {
                for entry in entries {
                    if writeln!(ask, "{}", entry.object).is_err() {
                        return;
                    }
                }
            });
            let mut answers = BufReader::new(answers);
            let mut total = 0;
            for (index, entry) in entries.iter().enumerate() {
                let mut head = String::new();
                answers.read_line(&mut head).map_err(|error| broken(&error))?;
                let size = match head.trim_end().split(' ').collect::<Vec<_>>().as_slice() {
                    [_, "blob", size] => size.parse::<u64>().map_err(|_| odd(entry))?,
                    _ => return Err(odd(entry)),
                };
                total += size;
                if total > MAX_BYTES {
                    let message = "the release was larger than 4 GiB at that commit";
                    return Err(Failure::input("limit", message));
                }
                let mut bytes = Vec::new();
                (&mut answers)
                    .take(size + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| broken(&error))?;
                if bytes.pop() != Some(b'\n') {
                    return Err(odd(entry));
                }
                take(index, entry, &bytes)?;
            }
            // What reads no more lets the other thread end.
            Ok(())
        });
        if result.is_err() {
            // It may wait for a reader for ever.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| broken(&error))?;
        match result {
            Ok(()) if !status.success() => {
                Err(Failure::new(Kind::Machine, "git", format!("git cat-file ended with {status}")))
            }
            result => result,
        }
    }
}

fn no_git(error: &std::io::Error) -> Failure {
    Failure::error(Kind::Machine, "git", error).hint("is git installed?")
}

fn cannot_write(path: &HostPath, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Machine, "temporary-folder", format!("cannot write `{path}`: {error}"))
}

fn make_folder(path: &HostPath) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| cannot_write(path, &error))
}

fn write(path: &Path, bytes: &[u8], executable: bool) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    let mode = if executable { 0o755 } else { 0o644 };
    file.set_permissions(fs::Permissions::from_mode(mode))
}
