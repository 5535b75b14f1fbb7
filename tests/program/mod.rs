//! The program under test, run on copies of releases.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of this")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program as cargo built it.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_perestroika");

/// The store that all tests share: what one of them fetched or put together, the others have.
pub fn shared_store() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("perestroika-store")
}

/// A file of the repository.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A word that no earlier run of a test had: what holds it was never built before.
pub fn unique() -> String {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("u{}x{}", time.as_nanos(), std::process::id())
}

/// A release in a folder of its own.
pub struct Release {
    /// Holds it.
    pub folder: tempfile::TempDir,
}

impl Release {
    /// A copy of a release of the repository, without what was built of it.
    pub fn copy_of(path: &str) -> Self {
        let release = Self { folder: tempfile::tempdir().unwrap() };
        copy_folder(&here(path), &release.path(""));
        release
    }

    /// A path in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("release").join(path)
    }

    /// Writes a file of it.
    pub fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// Replaces a part of a file that is there.
    #[track_caller]
    pub fn replace(&self, path: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(old), "{path} has no `{old}`");
        fs::write(self.path(path), text.replacen(old, new, 1)).unwrap();
    }

    /// Runs a command of the program on it, with the shared store.
    pub fn run(&self, command: &str, arguments: &[&str]) -> Run {
        Run::of(
            Command::new(PROGRAM)
                .arg(command)
                .arg(self.path(""))
                .args(arguments)
                .arg("--store")
                .arg(shared_store()),
        )
    }

    /// Runs a command of the shared store.
    pub fn store(&self, arguments: &[&str]) -> Run {
        let store = shared_store();
        Run::of(Command::new(PROGRAM).arg("store").args(arguments).arg("--store").arg(store))
    }

    /// SHA-256 of the binary packages in its `out` folder, by file name, as `sha256sum` says.
    pub fn debs(&self) -> BTreeMap<String, String> {
        debs(&self.path("out"))
    }
}

/// SHA-256 of the binary packages in a folder, by file name.
pub fn debs(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let debs: Vec<PathBuf> =
        entries.filter(|path| path.extension() == Some(OsStr::new("deb"))).collect();
    assert!(!debs.is_empty(), "{} has no packages", folder.display());
    let sums = Command::new("sha256sum").args(&debs).output().unwrap();
    assert!(sums.status.success());
    String::from_utf8(sums.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let (sum, path) = line.split_once("  ").unwrap();
            (path.rsplit_once('/').unwrap().1.to_owned(), sum.to_owned())
        })
        .collect()
}

/// Copies a folder: files with their modes, links as they are.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if entry.file_name() == "out" {
            continue;
        }
        if kind.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else if kind.is_dir() {
            copy_folder(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// What a run of the program came to.
pub struct Run {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Run {
    /// Runs a command that ends in the program.
    pub fn of(command: &mut Command) -> Self {
        let output: Output = command
            .env_remove("PERESTROIKA_STORE")
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The same run, which must have ended with this exit code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.out, self.err);
        self
    }

    /// The one JSON document that it printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.out, self.err))
    }

    /// `name status` of each package in the document, in the order of names.
    #[track_caller]
    pub fn statuses(&self) -> Vec<String> {
        let document = self.json();
        let word = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
        let packages = document["packages"].as_array().unwrap();
        let mut found: Vec<_> = packages
            .iter()
            .map(|package| format!("{} {}", word(package, "name"), word(package, "status")))
            .collect();
        found.sort();
        found
    }
}
