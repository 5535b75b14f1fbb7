//! The program as its user runs it: a release folder, a store, and what came of a command.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use perestroika::base::Digest;
use serde_json::Value;

/// More memory than any command here needs; one that grows without end must fail, not swap.
const MEMORY: &str = "8000000";

/// A release folder and a store.
pub struct Desk {
    keep: tempfile::TempDir,
    store: PathBuf,
    flags: Vec<String>,
}

impl Desk {
    /// An empty folder, and a store of its own.
    pub fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        fs::create_dir(keep.path().join("release")).unwrap();
        let store = keep.path().join("store");
        Self { keep, store, flags: Vec::new() }
    }

    /// A copy of `specs/single`, pinned to a real archive, which these commands do not ask.
    pub fn single() -> Self {
        let desk = Self::new();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/single");
        for part in ["release.toml", "release.lock", "release.lock.d", "keys", "hello.rhai", "src"]
        {
            copy(&from.join(part), &desk.path(part));
        }
        Self { flags: vec!["--offline".to_owned()], ..desk }
    }

    /// The same with other flags for every command.
    pub fn with_flags<T: Into<String>>(self, flags: impl IntoIterator<Item = T>) -> Self {
        Self { flags: flags.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same with a store that others use too.
    pub fn with_store(self, store: impl Into<PathBuf>) -> Self {
        Self { store: store.into(), ..self }
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The host path of something in the release folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.keep.path().join("release").join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Replaces `old`, which must be there, in a file.
    pub fn replace(&self, path: &str, old: &str, new: &str) -> &Self {
        let text = self.read(path);
        assert!(text.contains(old), "no `{old}` in {text}");
        self.write(path, text.replacen(old, new, 1))
    }

    pub fn remove(&self, path: &str) -> &Self {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    /// Runs the program in the release folder.
    pub fn run(&self, words: &[&str]) -> Ran {
        self.run_as(&[], words)
    }

    /// The same, started by another program.
    pub fn run_as(&self, starter: &[&str], words: &[&str]) -> Ran {
        Ran::new(words, &self.command(starter, words).output().unwrap())
    }

    /// A command of the program in the release folder, with a home that is empty.
    pub fn command(&self, starter: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -S -v $0; exec \"$@\"", MEMORY]).args(starter);
        command.arg(env!("CARGO_BIN_EXE_perestroika")).args(words).args(&self.flags);
        command.arg("--store").arg(&self.store).current_dir(self.path(""));
        command.env("HOME", self.keep.path()).env("no_proxy", "127.0.0.1").stdin(Stdio::null());
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("PERESTROIKA_") || name.starts_with("XDG_")
        }) {
            command.env_remove(name);
        }
        command
    }

    /// Nothing in the store is other than its name says, and nothing half-done lies about.
    #[track_caller]
    pub fn store_is_intact(&self) -> &Self {
        let entries = |name: &str| {
            let listing = fs::read_dir(self.store.join(name)).into_iter().flatten();
            listing.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        for path in [entries("objects"), entries("json")].concat() {
            let name = path.file_name().unwrap().to_str().unwrap();
            let digest = Digest::of(&fs::read(&path).unwrap()).to_string();
            assert_eq!(name.trim_end_matches(".json"), digest, "{}", path.display());
        }
        assert_eq!(entries("quarantine"), [""; 0].map(PathBuf::from));
        self
    }

    /// How many files the store keeps.
    pub fn objects(&self) -> usize {
        fs::read_dir(self.store.join("objects")).map_or(0, Iterator::count)
    }
}

/// What came of a command.
pub struct Ran {
    pub what: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn new(words: &[&str], output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Self { what: words.join(" "), code: output.status.code(), out, err }
    }

    /// It ended with this code and said all of these on standard error.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        let told = format!("`{}` -> {:?}\n{}\n{}", self.what, self.code, self.out, self.err);
        assert_eq!(self.code, Some(code), "{told}");
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in {told}");
        }
        assert!(!self.err.contains("panicked"), "{told}");
        self
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.fails(0, &[])
    }

    /// The one document that `--json` prints.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.out).expect(&self.out);
        assert_eq!(document["format"], "perestroika/output/1");
        document
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
