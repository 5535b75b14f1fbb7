//! What evaluation keeps from one run to the next: never seen in its results, and noticed only
//! by what is not read again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use perestroika::base::{DerivationId, Digest, HostPath, ReleaseFolder, ReleasePath, Sha256};
use perestroika::graph::{Outline, lower};
use perestroika::spec::loader::{Dir, Error, Folder, Kind, Loader, Memory, State};
use perestroika::spec::lock::{
    IndexKind, Lock, LockedArchive, LockedGit, LockedHistory, LockedIndex, LockedSuite,
};
use perestroika::spec::{Cache, Footprint, load_with, since, stdlib};
use program::{PROGRAM, Release};

const RELEASE: &str = r#"
[release]
name = "test"
version = "1.0"
maintainer = "Some team <team@release.example>"
architectures = ["amd64"]

[archive.upstream]
format = "deb"
suites = ["stable"]
components = ["main"]
keyring = "keys/upstream.pgp"

[root.stable]
archive = "upstream"

[parameters]
level = 1
"#;

const PROJECT: &str = "https://git.release.example/project";

/// What every package of the test says beside what it is about.
const REST: &str = r#"version: "1.0", license: "MIT",
    changes: #{ date: "2026-11-22", text: "New." }, build: script("make"),"#;

fn files() -> Vec<(&'static str, String)> {
    let package = |name, rest| format!("package(#{{ name: \"{name}\", {rest} {REST} }})\n");
    vec![
        ("release.toml", RELEASE.to_owned()),
        ("lib/common.rhai", "fn summary() { \"shared\" }\n".to_owned()),
        ("src/tool/tool.c", "int main(void) { return 0; }\n".to_owned()),
        ("src/other/file.txt", "text\n".to_owned()),
        ("packages/tool.rhai", package("tool", r#"summary: "A tool", source: dir("src/tool"),"#)),
        (
            "packages/shared.rhai",
            format!(
                "import \"lib/common\" as common;\n{}",
                package("shared", r#"summary: common::summary(), source: dir("src/other"),"#)
            ),
        ),
        (
            "packages/level.rhai",
            package("level", r#"summary: `level ${release.level}`, source: dir("src/other"),"#),
        ),
        (
            "packages/project.rhai",
            format!(
                "let code = git(\"{PROJECT}\", \"v1\");\n{}",
                package("project", r#"summary: `at ${code.commits}`, source: code,"#)
            ),
        ),
    ]
}

fn write(folder: &Path) {
    for (path, text) in files() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(folder.join("release.lock.d/stdlib")).unwrap();
    fs::write(folder.join("release.lock.d/stdlib/script.rhai"), stdlib::text("script").unwrap())
        .unwrap();
}

fn lock(folder: &Path) -> Lock {
    let index = LockedIndex {
        path: "main/binary-amd64/Packages".to_owned(),
        kind: IndexKind::Packages("amd64".parse().unwrap()),
        sha256: Sha256::of(b"packages"),
        size: 1,
    };
    let suite = LockedSuite {
        suite: "stable".to_owned(),
        date: "Sat, 11 Jul 2026 10:16:37 UTC".to_owned(),
        release: Sha256::of(b"release"),
        indexes: vec![index],
    };
    let git = LockedGit {
        commit: "1".repeat(40),
        date: "2026-11-22T00:00:00Z".to_owned(),
        tree: Digest::of(b"tree"),
        history: Some(LockedHistory { tag: "v1".to_owned(), commits: 3, log: Vec::new() }),
        packaging: None,
    };
    let text = fs::read(folder.join("release.lock.d/stdlib/script.rhai")).unwrap();
    Lock {
        archives: BTreeMap::from([("upstream".to_owned(), LockedArchive { suites: vec![suite] })]),
        git: BTreeMap::from([((PROJECT.to_owned(), "v1".to_owned()), Arc::new(git))]),
        stdlib: BTreeMap::from([("script".to_owned(), Sha256::of(&text))]),
        ..Lock::default()
    }
}

/// A loader that remembers what was read, and may say of all files that nothing has changed.
struct Watched {
    inner: Arc<dyn Loader>,
    read: Mutex<Vec<String>>,
    state: Option<State>,
}

impl Loader for Watched {
    fn specs(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        self.inner.specs(folder)
    }

    fn modules(&self, folder: &ReleaseFolder) -> Result<Vec<ReleasePath>, Error> {
        self.inner.modules(folder)
    }

    fn read(&self, path: &ReleasePath, limit: u64) -> Result<Vec<u8>, Error> {
        self.read.lock().unwrap().push(path.to_string());
        self.inner.read(path, limit)
    }

    fn state(&self, path: &ReleasePath, kind: Kind) -> Option<State> {
        self.state.or_else(|| self.inner.state(path, kind))
    }

    fn dir(&self, path: &ReleasePath) -> Result<Dir, Error> {
        self.read.lock().unwrap().push(path.to_string());
        self.inner.dir(path)
    }
}

fn opened(bytes: &[u8], now: i64) -> Cache {
    let bytes = bytes.to_owned();
    Cache::new(move || bytes.clone(), b"this program", now)
}

/// What a run came to.
#[derive(Debug)]
struct Run {
    ids: Vec<(String, DerivationId)>,
    /// What of the release was read, but for release.toml and the stdlib.
    read: Vec<String>,
    /// The cache for the next run.
    cache: Vec<u8>,
}

/// A moment long after every file was written, in nanoseconds.
const LATER: i64 = i64::MAX / 2;

fn run_with(
    loader: Arc<dyn Loader>,
    lock: &Lock,
    cache: &[u8],
    now: i64,
    state: Option<State>,
) -> Run {
    let watched = Arc::new(Watched { inner: loader, read: Mutex::default(), state });
    let kept = opened(cache, now);
    let watching: Arc<dyn Loader> = Arc::<Watched>::clone(&watched);
    let spec = load_with(watching, Some(lock), Some(&kept)).unwrap();
    let graph = lower(&spec, lock).unwrap();
    let mut read = std::mem::take(&mut *watched.read.lock().unwrap());
    read.retain(|path| path != "release.toml" && !path.starts_with("release.lock.d/"));
    read.sort();
    let ids = graph.packages().map(|(node, package)| (package.name.to_string(), node.id));
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    Run { ids, read, cache: kept.renewed().unwrap_or_else(|| cache.to_owned()) }
}

fn run(folder: &Path, cache: &[u8]) -> Run {
    let loader = Arc::new(Folder::new(HostPath::new(folder)));
    run_with(loader, &lock(folder), cache, LATER, None)
}

#[test]
fn nothing_is_read_again_where_nothing_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let first = run(folder.path(), &[]);
    assert!(first.read.contains(&"packages/tool.rhai".to_owned()), "{first:?}");
    let second = run(folder.path(), &first.cache);
    assert_eq!(second.ids, first.ids);
    assert_eq!(second.read, Vec::<String>::new());
    assert_eq!(second.cache, first.cache);
}

/// A change of something, whose package it shows in, and what is evaluated again.
type Change = (&'static str, fn(&Path), &'static [&'static str], &'static [&'static str]);

fn edit(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

const EVERYTHING: &[&str] = &[
    "lib/common.rhai",
    "packages/level.rhai",
    "packages/project.rhai",
    "packages/shared.rhai",
    "packages/tool.rhai",
    "src/other",
    "src/tool",
];

#[test]
fn a_change_of_anything_that_was_read_is_noticed() {
    let changes: [Change; 7] = [
        (
            "a spec",
            |folder| edit(folder, "packages/tool.rhai", "A tool", "B tool"),
            &["tool"],
            &["packages/tool.rhai", "src/tool"],
        ),
        (
            "a module",
            |folder| edit(folder, "lib/common.rhai", "shared", "common"),
            &["shared"],
            &["lib/common.rhai", "packages/shared.rhai", "src/other"],
        ),
        (
            "a file of a source",
            |folder| edit(folder, "src/tool/tool.c", "return 0", "return 1"),
            &["tool"],
            &["packages/tool.rhai", "src/tool"],
        ),
        (
            "a new file in a source of two packages",
            |folder| fs::write(folder.join("src/other/new"), "").unwrap(),
            &["level", "shared"],
            &["lib/common.rhai", "packages/level.rhai", "packages/shared.rhai", "src/other"],
        ),
        (
            "the executable bit of a source's file",
            |folder| {
                use std::os::unix::fs::PermissionsExt as _;
                let path = folder.join("src/tool/tool.c");
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            },
            &["tool"],
            &["packages/tool.rhai", "src/tool"],
        ),
        (
            "a parameter",
            |folder| edit(folder, "release.toml", "level = 1", "level = 2"),
            &["level"],
            EVERYTHING,
        ),
        (
            "the text of the stdlib",
            |folder| {
                edit(folder, "release.lock.d/stdlib/script.rhai", "sh -e debian", "sh -ex debian");
            },
            &["level", "project", "shared", "tool"],
            EVERYTHING,
        ),
    ];
    for (what, change, shows_in, read) in changes {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let before = run(folder.path(), &[]);
        change(folder.path());
        let (plain, kept) = (run(folder.path(), &[]), run(folder.path(), &before.cache));
        assert_eq!(kept.ids, plain.ids, "{what}");
        let changed: Vec<&str> = before
            .ids
            .iter()
            .zip(&plain.ids)
            .filter(|(old, new)| old != new)
            .map(|(old, _)| old.0.as_str())
            .collect();
        assert_eq!(changed, shows_in, "{what}");
        let mut evaluated = kept.read.clone();
        evaluated.dedup();
        assert_eq!(evaluated, read, "{what}");
        let again = run(folder.path(), &kept.cache);
        assert_eq!((again.ids, again.read), (plain.ids, Vec::new()), "{what}");
    }
}

#[test]
fn a_pin_that_moved_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let before = run(folder.path(), &[]);
    let mut moved = lock(folder.path());
    for pin in moved.git.values_mut() {
        Arc::make_mut(pin).history.as_mut().unwrap().commits = 4;
    }
    let loader = || Arc::new(Folder::new(HostPath::new(folder.path())));
    let plain = run_with(loader(), &moved, &[], LATER, None);
    let kept = run_with(loader(), &moved, &before.cache, LATER, None);
    assert_ne!(before.ids, plain.ids);
    assert_eq!(kept.ids, plain.ids);
}

#[test]
fn files_that_come_and_go_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let before = run(folder.path(), &[]);
    fs::remove_file(folder.path().join("packages/tool.rhai")).unwrap();
    let fewer = run(folder.path(), &before.cache);
    assert_eq!(fewer.ids, run(folder.path(), &[]).ids);
    assert_eq!(fewer.ids.len() + 1, before.ids.len());
    write(folder.path());
    assert_eq!(run(folder.path(), &fewer.cache).ids, before.ids);
}

#[test]
fn times_too_young_to_tell_are_not_trusted() {
    let text = |summary: &str| {
        let mut files: BTreeMap<ReleasePath, Vec<u8>> = BTreeMap::new();
        for (path, text) in self::files() {
            files.insert(path.parse().unwrap(), text.replace("A tool", summary).into_bytes());
        }
        let module = stdlib::text("script").unwrap();
        let path = "release.lock.d/stdlib/script.rhai".parse().unwrap();
        files.insert(path, module.as_bytes().to_vec());
        Arc::new(Memory(files))
    };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let lock = lock(folder.path());
    let now = 1_800_000_000_000_000_000;
    let state = |newest| Some(State { digest: Digest::of(b"the same"), newest });
    // Written in the same moment as it was read: the state cannot show that it was written again.
    let before = run_with(text("A tool"), &lock, &[], now, state(now));
    let after = run_with(text("B tool"), &lock, &before.cache, now + 1, state(now));
    assert_ne!(before.ids, after.ids);
    // Long ago: the state is believed.
    let before = run_with(text("A tool"), &lock, &[], now, state(0));
    let after = run_with(text("B tool"), &lock, &before.cache, now + 1, state(0));
    assert_eq!(before.ids, after.ids);
}

#[test]
fn another_program_evaluates_anew() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let lock = lock(folder.path());
    let cache = run(folder.path(), &[]).cache;
    let other = Cache::new(move || cache.clone(), b"another program", LATER);
    let loader = Arc::new(Folder::new(HostPath::new(folder.path())));
    let watched = Arc::new(Watched { inner: loader, read: Mutex::default(), state: None });
    let watching: Arc<dyn Loader> = Arc::<Watched>::clone(&watched);
    load_with(watching, Some(&lock), Some(&other)).unwrap();
    let read = watched.read.lock().unwrap();
    assert!(read.contains(&"packages/tool.rhai".to_owned()), "{read:?}");
}

#[test]
fn a_damaged_cache_is_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let good = run(folder.path(), &[]);
    let header = b"perestroika/eval/1\n".len() + 32;
    for at in (0..good.cache.len()).step_by(97) {
        let mut bytes = good.cache.clone();
        bytes[at] ^= 0x41;
        assert_eq!(run(folder.path(), &bytes).ids, good.ids, "byte {at}");
        // The same by someone who knows how the checksum is made: results may lie then, but
        // nothing breaks.
        if at >= header {
            let sum = *blake3::hash(&bytes[header..]).as_bytes();
            bytes[header - 32..header].copy_from_slice(&sum);
            let cache = opened(&bytes, LATER);
            let loader = Arc::new(Folder::new(HostPath::new(folder.path())));
            drop(load_with(loader, Some(&lock(folder.path())), Some(&cache)));
        }
    }
    for length in [0, 5, header - 1, header, header + 9, good.cache.len() - 1] {
        assert_eq!(run(folder.path(), &good.cache[..length]).ids, good.ids, "{length} bytes");
    }
}

#[test]
fn mistakes_are_told_each_time() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    fs::write(folder.path().join("packages/bad.rhai"), "package(#{ nam: \"x\" })").unwrap();
    let lock = lock(folder.path());
    let told = |cache: &[u8]| {
        let cache = opened(cache, LATER);
        let loader = Arc::new(Folder::new(HostPath::new(folder.path())));
        let errors = load_with(loader, Some(&lock), Some(&cache)).unwrap_err();
        (errors, cache.renewed().unwrap_or_default())
    };
    let (first, cache) = told(&[]);
    assert!(!cache.is_empty());
    assert_eq!(told(&cache).0, first);
}

/// The whole release, and its outline.
fn whole(folder: &Path, cache: &Cache) -> (Footprint, Outline) {
    let loader = Arc::new(Folder::new(HostPath::new(folder)));
    let spec = load_with(loader, Some(&lock(folder)), Some(cache)).unwrap();
    let graph = lower(&spec, &lock(folder)).unwrap();
    (spec.footprint.unwrap(), Outline::of(&graph))
}

/// A way to tell outlines apart that knows no order.
fn told(outline: &Outline) -> Vec<String> {
    let head = format!("{} {} {}", outline.name, outline.version, outline.release);
    let entries = outline.entries().into_iter().map(|entry| format!("{entry:?}"));
    [head].into_iter().chain(entries).collect()
}

#[test]
fn an_outline_that_is_brought_up_to_date_is_that_of_the_whole_release() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let put = |name: &str, rest: &str| {
        let spec = format!(
            "package(#{{ name: \"{name}\", summary: \"{name}\", source: dir(\"src/other\"), {rest} {REST} }})\n"
        );
        fs::write(folder.path().join(format!("packages/{name}.rhai")), spec).unwrap();
    };
    // Enough packages for a few to be a small part of them.
    (0..30).for_each(|number| put(&format!("p{number:02}"), ""));
    put("low", "");
    put("middle", r#"build_depends: ["low"],"#);
    put("high", r#"build_depends: ["middle"],"#);
    let changes: &[(&str, &dyn Fn(), bool)] = &[
        ("nothing", &|| {}, true),
        (
            "a comment",
            &|| edit(folder.path(), "packages/low.rhai", "package", "// Low.\npackage"),
            true,
        ),
        (
            "a version that two need",
            &|| edit(folder.path(), "packages/low.rhai", "1.0", "1.1"),
            true,
        ),
        ("a source", &|| fs::write(folder.path().join("src/tool/tool.c"), "").unwrap(), true),
        (
            "a source of all",
            &|| fs::write(folder.path().join("src/other/more"), "").unwrap(),
            false,
        ),
        ("a need", &|| put("p07", r#"build_depends: ["high", "elsewhere"],"#), true),
        ("a package that is offered", &|| put("elsewhere", ""), true),
        (
            "one that stands for another",
            &|| {
                put("stands", r#"binaries: [#{ name: "stands", provides: ["virtual"] }],"#);
                put("p08", r#"build_depends: ["virtual | low"],"#);
            },
            true,
        ),
        (
            "one that goes",
            &|| fs::remove_file(folder.path().join("packages/stands.rhai")).unwrap(),
            true,
        ),
        (
            "one of another name",
            &|| {
                edit(folder.path(), "packages/middle.rhai", "\"middle\"", "\"moved\"");
            },
            true,
        ),
        ("a release", &|| edit(folder.path(), "release.toml", "level = 1", "level = 2"), false),
    ];
    let mut cache = Vec::new();
    let first = opened(&cache, LATER);
    let (mut footprint, mut outline) = whole(folder.path(), &first);
    cache = first.renewed().unwrap_or(cache);
    for (what, change, quick) in changes {
        change();
        let kept = opened(&cache, LATER);
        let loader = Arc::new(Folder::new(HostPath::new(folder.path())));
        let lock = lock(folder.path());
        let since = since(loader, Some(&lock), &kept, &footprint);
        let renewed = since.and_then(|mut since| {
            let renewed = outline.renewed(&mut since, &lock)?;
            Some((since.footprint, renewed))
        });
        assert_eq!(renewed.is_some(), *quick, "{what}");
        let (expected_footprint, expected) = whole(folder.path(), &opened(&[], LATER));
        (footprint, outline) = renewed.unwrap_or((expected_footprint, expected.clone()));
        assert_eq!(told(&outline), told(&expected), "{what}");
    }
    // What cannot be is not taken in: the whole release says what is wrong with it.
    for (file, from, to) in [
        ("packages/high.rhai", "\"middle\"", "\"p07\""),
        ("packages/low.rhai", "license:", "nonsense:"),
        ("packages/low.rhai", "\"low\"", "\"high\""),
    ] {
        edit(folder.path(), file, from, to);
        let kept = opened(&cache, LATER);
        let loader = Arc::new(Folder::new(HostPath::new(folder.path())));
        let lock = lock(folder.path());
        let since = since(loader, Some(&lock), &kept, &footprint);
        let renewed = since.and_then(|mut since| outline.renewed(&mut since, &lock));
        assert!(renewed.is_none(), "{to}");
        edit(folder.path(), file, to, from);
    }
}

#[test]
fn the_list_of_packages_is_the_same_whatever_was_kept() {
    let release = Release::copy_of("specs/single");
    let keep = tempfile::tempdir().unwrap();
    let ask = |kept: &Path, more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("eval").arg(release.path("")).args(more).env("XDG_CACHE_HOME", kept);
        command.arg("--store").arg(keep.path().join("store"));
        let run = program::Run::of(&mut command).ends_with(0);
        assert!(run.err.contains("names not checked"), "{}", run.err);
        run.out
    };
    let none = Path::new("/dev/null");
    for (file, from, to) in [
        ("release.toml", "[release]", "# More.\n[release]"),
        ("release.lock", "version = 1", "# More.\nversion = 1"),
        ("src/hello/hello.c", "main", "main /* more */"),
        ("hello.rhai", "\"1.0\"", "\"1.1\""),
    ] {
        let expected = ask(none, &[]);
        for _ in 0..3 {
            assert_eq!(ask(keep.path(), &[]), expected);
            assert_eq!(ask(keep.path(), &["--json"]), ask(none, &["--json"]));
        }
        // What is damaged is not there.
        for kept in fs::read_dir(keep.path().join("perestroika/eval")).unwrap() {
            let kept = kept.unwrap().path();
            let bytes = fs::read(&kept).unwrap();
            fs::write(&kept, &bytes[..bytes.len() - 1]).unwrap();
        }
        assert_eq!(ask(keep.path(), &[]), expected);
        release.replace(file, from, to);
    }
}
