//! A mirror that rsync reaches, over ssh or as a module of its daemon.
//!
//! What is to be there is handed over as a list, so nothing else is. Everything that was sent is
//! compared by digest before a link moves. A symbolic link that replaces another one is made
//! under another name and renamed by rsync at the far end (`atomic_create` of its generator), so
//! readers follow the old or the new one. Indexes were held against their digests here, so what
//! has the same digest there as here is right.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::{Error, Result, at};
use super::snapshot::{LATEST, SNAPSHOTS, led_to, unneeded};
use super::view::View;
use super::{Mode, Pushed, Remote, Snapshots, Wish, stop_if};
use crate::base::HostPath;
use crate::publish::Repository;
use crate::publish::layout::DISTS;

/// How rsync copies here: links as links, several names of a file as such, everybody may read.
const COPY: [&str; 11] = [
    "--links",
    "--hard-links",
    "--times",
    "--omit-dir-times",
    "--omit-link-times",
    "--perms",
    "--chmod=D0755,F0644",
    "--mkpath",
    "--secluded-args",
    "--from0",
    "--files-from=-",
];

/// What rsync says of each file: what is done to it, how many bytes it has, its path.
const FORMAT: &str = "--out-format=%i %l %n";

/// How much of what rsync complains of is kept.
const SAID: usize = 12;

/// How much of it is read.
const HEARD: u64 = 64 << 10;

/// How soon rsync is ended after it is not wanted any more.
const LOOK: Duration = Duration::from_millis(50);

struct Place<'a> {
    repository: &'a Repository,
    remote: &'a Remote,
    /// Where the repository goes, in the target: empty, or `snapshots/NAME-TIME`.
    top: String,
    /// `--link-dest` of the snapshot before it.
    before: Option<String>,
    wish: &'a Wish<'a>,
}

/// Brings a view there.
pub fn push(
    repository: &Repository,
    view: &View,
    remote: &Remote,
    wish: &Wish<'_>,
    now: i64,
) -> Result<Pushed> {
    if wish.client.network() == crate::fetch::Network::Offline {
        return Err(Error::Offline(remote.to_string()));
    }
    let mut pushed = Pushed { generation: view.generation.number, ..Pushed::default() };
    let mut place = Place { repository, remote, top: String::new(), before: None, wish };
    if let Snapshots::Kept { .. } = wish.snapshots {
        let name = view.snapshot();
        let links = place.listed()?.links;
        let latest = links.iter().find(|(link, _)| link == LATEST);
        let latest = latest.and_then(|(_, target)| led_to(target)).filter(|it| *it != name);
        place.before = latest.map(|latest| format!("--link-dest=../{latest}/"));
        place.top = format!("{SNAPSHOTS}/{name}");
        pushed.snapshot = Some(name);
    }
    place.send(view, &mut pushed)?;
    if wish.mode == Mode::Push {
        place.verify(view, &mut pushed)?;
        let (dists, compare) = (view.dists(), ["--dry-run"]);
        place.lead(&place.top, DISTS, &dists, &[])?;
        if place.top.is_empty() {
            place.lead("", DISTS, &dists, &compare)?;
        } else {
            place.lead("", LATEST, &place.top, &[])?;
            place.lead("", LATEST, &place.top, &compare)?;
        }
    }
    if let Snapshots::Kept { days } = wish.snapshots {
        pushed.removed = place.retire(pushed.snapshot.as_deref(), days, now)?;
    }
    Ok(pushed)
}

/// What lies at the far end, but for what is in snapshots.
#[derive(Debug, Default)]
struct Listed {
    /// Links by their paths, and where they lead.
    links: Vec<(String, String)>,
    /// The snapshots.
    snapshots: Vec<String>,
}

impl Place<'_> {
    /// Sends everything, in any order: nobody reads of it what no link leads to.
    fn send(&self, view: &View, pushed: &mut Pushed) -> Result<()> {
        let all = all(view);
        let mut options: Vec<&str> = self.before.as_deref().into_iter().collect();
        options.extend((self.wish.mode == Mode::Foresee).then_some("--dry-run"));
        let (mut done, total) = (0, all.len());
        let lines = self.copy("files", &options, &all, &mut |line| {
            done += usize::from(Change::read(line).is_some());
            (self.wish.seen)("sent", done.min(total), total);
        })?;
        for change in lines.iter().filter_map(|line| Change::read(line)) {
            if change.is_new_bytes {
                pushed.bytes += change.size;
            }
            pushed.sent.push(change.path);
        }
        pushed.files = total;
        pushed.sent.sort();
        Ok(())
    }

    /// Compares everything by digest; what differs is sent once more and compared again.
    fn verify(&self, view: &View, pushed: &mut Pushed) -> Result<()> {
        let all = all(view);
        let compare = ["--checksum", "--dry-run"];
        let differs = |lines: &[String]| {
            let changes = lines.iter().filter_map(|line| Change::read(line));
            changes.map(|change| change.path).collect::<Vec<String>>()
        };
        let silent = &mut |_: &str| {};
        let found = differs(&self.copy("comparison", &compare, &all, silent)?);
        if found.is_empty() {
            return Ok(());
        }
        self.copy("repair", &["--checksum"], &all, silent)?;
        let paths = differs(&self.copy("comparison", &compare, &all, silent)?);
        match paths.is_empty() {
            true => pushed.mended = found,
            false => return Err(Error::Differs { target: self.remote.to_string(), paths }),
        }
        Ok(())
    }

    /// Makes a link lead elsewhere; with `--dry-run`, only whether it leads there is looked at.
    fn lead(&self, folder: &str, name: &str, target: &str, more: &[&str]) -> Result<()> {
        stop_if(self.wish.cancel)?;
        let here = tempfile::tempdir();
        let here = here.map_err(at("create a folder in", &HostPath::new(std::env::temp_dir())))?;
        let link = HostPath::new(here.path().join(name));
        symlink(target, &link).map_err(at("link", &link))?;
        let mut arguments = vec!["--links", "--omit-link-times", "--secluded-args", FORMAT];
        arguments.extend(more);
        let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        arguments.extend([link.to_string(), self.remote.folder(folder)]);
        let lines = self.run(&format!("link `{name}`"), &arguments, &[], &mut |_| {})?;
        if !more.is_empty() && lines.iter().any(|line| Change::read(line).is_some()) {
            let (link, expected) = (name.to_owned(), target.to_owned());
            return Err(Error::Link { link, target: self.remote.to_string(), expected });
        }
        Ok(())
    }

    /// Removes snapshots that are old and that no link leads to.
    fn retire(&self, current: Option<&str>, days: u32, now: i64) -> Result<Vec<String>> {
        let listed = self.listed()?;
        let mut links: Vec<String> = listed.links.into_iter().map(|(_, target)| target).collect();
        links.extend(current.map(|current| format!("{SNAPSHOTS}/{current}")));
        let gone = unneeded(&listed.snapshots, &links, days, now);
        if self.wish.mode == Mode::Foresee {
            return Ok(gone);
        }
        let here = tempfile::tempdir();
        let here = here.map_err(at("create a folder in", &HostPath::new(std::env::temp_dir())))?;
        for name in &gone {
            // rsync removes what an empty folder lacks; only this one is looked at.
            let arguments = [
                "--recursive".to_owned(),
                "--delete".to_owned(),
                "--secluded-args".to_owned(),
                format!("--include=/{name}/"),
                format!("--include=/{name}/**"),
                "--exclude=*".to_owned(),
                format!("{}/", here.path().display()),
                self.remote.folder(SNAPSHOTS),
            ];
            self.run(&format!("removal of `{name}`"), &arguments, &[], &mut |_| {})?;
        }
        Ok(gone)
    }

    /// Links, and the names of snapshots.
    fn listed(&self) -> Result<Listed> {
        let arguments = [
            "--list-only",
            "--recursive",
            "--links",
            "--secluded-args",
            // What is in snapshots and pools is not of interest.
            "--exclude=/snapshots/*/**",
            "--exclude=/pool/",
            "--exclude=/by-hash/",
            &self.remote.folder(""),
        ]
        .map(str::to_owned);
        let lines = match self.run("list", &arguments, &[], &mut |_| {}) {
            // 23: the folder itself is not there. It is made later, or fails then.
            Err(Error::Rsync { status, said, .. })
                if status == "exit code 23"
                    && said.iter().any(|line| line.contains("No such file or directory")) =>
            {
                return Ok(Listed::default());
            }
            lines => lines?,
        };
        let mut listed = Listed::default();
        for line in &lines {
            // `drwxr-xr-x          4,096 2026/01/01 00:00:00 snapshots/demo-1`
            let mut rest = line.as_str();
            let mut words = [""; 4];
            for word in &mut words {
                let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
                (*word, rest) = (first, after.trim_start());
            }
            match words[0].chars().next() {
                Some('l') => {
                    let link = rest.split_once(" -> ");
                    listed.links.extend(link.map(|(a, b)| (a.to_owned(), b.to_owned())));
                }
                Some('d') => {
                    let name = rest.strip_prefix("snapshots/").filter(|name| !name.contains('/'));
                    listed.snapshots.extend(name.map(str::to_owned));
                }
                _ => {}
            }
        }
        Ok(listed)
    }

    /// Runs rsync over these paths of the repository; gives the lines that it prints.
    fn copy(
        &self,
        what: &str,
        options: &[&str],
        paths: &[&str],
        see: &mut dyn FnMut(&str),
    ) -> Result<Vec<String>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let mut arguments: Vec<String> = COPY.iter().map(|option| (*option).to_owned()).collect();
        arguments.push(FORMAT.to_owned());
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        arguments.push(format!("{}/", self.repository.root()));
        arguments.push(self.remote.folder(&self.top));
        self.run(what, &arguments, paths, see)
    }

    fn run(
        &self,
        what: &str,
        arguments: &[String],
        paths: &[&str],
        see: &mut dyn FnMut(&str),
    ) -> Result<Vec<String>> {
        let target = self.remote.to_string();
        let broken = |source| Error::Program { target: target.clone(), source };
        let mut command = Command::new("rsync");
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(if paths.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(broken)?;
        let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Mutex::new(child);
        let over = AtomicBool::new(false);
        let (lines, said) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if self.wish.cancel.load(Ordering::Relaxed) {
                        end(&child);
                        return;
                    }
                    std::thread::park_timeout(LOOK);
                }
            });
            scope.spawn(move || {
                // rsync that ends early says itself why.
                if let Some(mut input) = input {
                    let _ = input.write_all(&paths.join("\0").into_bytes());
                }
            });
            let said = scope.spawn(move || err.map(heard).unwrap_or_default());
            let mut lines = Vec::new();
            for line in out.into_iter().flat_map(|out| BufReader::new(out).split(b'\n')) {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                see(&line);
                lines.push(line);
            }
            let said = said.join().unwrap_or_default();
            over.store(true, Ordering::Relaxed);
            watch.thread().unpark();
            (lines, said)
        });
        let status = child.into_inner().unwrap_or_else(PoisonError::into_inner).wait();
        let status = status.map_err(broken)?;
        stop_if(self.wish.cancel)?;
        if status.success() {
            return Ok(lines);
        }
        let status = match status.code() {
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        };
        Err(Error::Rsync { what: what.to_owned(), target, status, said })
    }
}

/// Ends rsync as a user would, so that it removes what it was writing.
fn end(child: &Mutex<Child>) {
    let child = child.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(id) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

/// The first lines of what a program complains of; the rest is read and dropped.
fn heard(mut from: impl Read) -> Vec<String> {
    let mut bytes = Vec::new();
    let _ = from.by_ref().take(HEARD).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut from, &mut std::io::sink());
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(SAID).map(|line| line.escape_debug().to_string()).collect()
}

/// The paths of everything in a view.
fn all(view: &View) -> Vec<&str> {
    let entries = view.stages().into_iter().flat_map(|(_, entries)| entries);
    entries.map(|entry| entry.path.as_str()).collect()
}

/// What rsync does, or would do, to a file or link.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    path: String,
    size: u64,
    is_new_bytes: bool,
}

impl Change {
    /// Reads `<f+++++++++ 12 pool/file` (rsync(1), `--itemize-changes`). Folders are no changes:
    /// they come and go with what is in them.
    fn read(line: &str) -> Option<Self> {
        let (what, rest) = line.split_once(' ').filter(|(what, _)| what.len() == 11)?;
        let (size, path) = rest.trim_start().split_once(' ')?;
        let size = size.parse().ok()?;
        let mut letters = what.chars();
        let (deed, kind) = (letters.next()?, letters.next()?);
        // `.`: nothing is sent, but attributes are set; all others do something.
        if kind == 'd' || !matches!(deed, '<' | '>' | 'c' | 'h' | '.') {
            return None;
        }
        // A second name is told as `path => other`, a link as `path -> target`.
        Some(Self { path: path.to_owned(), size, is_new_bytes: deed == '<' })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_from_what_rsync_prints() {
        let change = |path: &str, size, is_new_bytes| {
            Some(Change { path: path.to_owned(), size, is_new_bytes })
        };
        for (line, expected) in [
            ("<f+++++++++ 12 pool/a b", change("pool/a b", 12, true)),
            ("hf+++++++++ 3 by-hash/x", change("by-hash/x", 3, false)),
            ("cL+++++++++ 0 dists", change("dists", 0, false)),
            (".f..tp..... 4 keys/k", change("keys/k", 4, false)),
            ("cd+++++++++ 4096 pool/", None),
            (".d..t...... 4096 pool/", None),
            ("created 2 directories for a/b", None),
            ("", None),
        ] {
            assert_eq!(Change::read(line), expected, "{line}");
        }
    }
}
