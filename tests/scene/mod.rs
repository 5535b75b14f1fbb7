//! A release over a small signed archive, of which everything was built: made up, and kept as a
//! build would keep it.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use perestroika::archive::deb::index;
use perestroika::base::{DerivationId, Digest, HostPath, Sha256};
use perestroika::graph::{Graph, lower};
use perestroika::realise::action::Action;
use perestroika::realise::record::{Output, Record};
use perestroika::realise::universe::{Snapshot, offered_digest, offers_digest};
use perestroika::realise::{RESOLUTION_RULES, foresight};
use perestroika::spec::{self, lock};
use perestroika::store::{NewAttempt, Store, Verdict};

use crate::common::{Desk, Ran};
use crate::upstream::{self, Archive, RELEASE};

/// `alpha` is the archive's; `one` is built with it, `two` with the archive's `tool`, which
/// depends on `alpha` too.
pub const PACKAGES: &str = r#"
let made = |name, needs| package(#{
    name: name,
    version: "1.0",
    summary: "Part of a release",
    license: "MIT",
    changes: #{ date: "2026-11-22", text: "First." },
    source: dir("src"),
    build_depends: needs,
    build: script("make"),
});
[rebuild("alpha"), made.call("one", ["alpha"]), made.call("two", ["tool"])]
"#;

/// What `alpha` came out as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Alpha {
    /// The archive's own bytes.
    Identical,
    /// Others.
    Other,
}

/// A release over an archive of `core`, which every root has, `debhelper`, `g++-beta`, `tool` and
/// `alpha`.
pub struct Scene {
    pub archive: Archive,
    pub desk: Desk,
}

impl Scene {
    /// The release, pinned, of which nothing is built.
    pub fn new() -> Self {
        let archive = Archive::new();
        archive.publish("1.0");
        let pool = archive.root().join("pool/main");
        let helper = "Provides: debhelper-compat (= 13)\n";
        upstream::binary(&pool, "debhelper", "13", "all", helper);
        upstream::binary(&pool, "core", "1", "all", "Essential: yes\n");
        upstream::binary(&pool, "tool", "1", "amd64", "Depends: alpha\n");
        archive.index();
        let desk = Desk::new().with_flags([format!("--mirror=test={}", archive.server.url)]);
        desk.write("release.toml", RELEASE).write("packages/all.rhai", PACKAGES);
        desk.write("keys/test.pgp", archive.keyring()).write("src/Makefile", "all:\n");
        desk.run(&["lock"]).succeeds();
        Self { archive, desk }
    }

    /// Its graph.
    pub fn graph(&self) -> Graph {
        let folder = HostPath::new(self.desk.path(""));
        let lock = lock::parse(&self.desk.read("release.lock")).unwrap();
        let spec = spec::load(&folder, Some(&lock)).unwrap();
        lower(&spec, &lock).unwrap()
    }

    /// Its store.
    pub fn store(&self) -> Store {
        Store::open(&HostPath::new(self.desk.store())).unwrap()
    }

    /// Keeps a record of each of these packages, as if it had been built, and builds the rest of
    /// what a build leaves.
    pub fn built(self, names: &[&str], alpha: Alpha) -> Self {
        let (graph, store) = (self.graph(), self.store());
        let packages = self.archive.root().join("dists/stable/main/binary-amd64/Packages.xz");
        let text = Command::new("xz").arg("-dc").arg(packages).output().unwrap().stdout;
        let listed = index::packages(std::str::from_utf8(&text).unwrap()).unwrap();
        let snapshot = Snapshot::new("test".to_owned(), vec![listed]);
        let mut records: BTreeMap<DerivationId, Arc<Record>> = BTreeMap::new();
        let mut offers: BTreeMap<DerivationId, Digest> = BTreeMap::new();
        for (node, package) in graph.packages() {
            if !names.contains(&package.name.as_str()) {
                continue;
            }
            let root = foresight::packages(&graph, node.id, &snapshot, &records).unwrap();
            for one in root.iter().filter(|one| one.filename.contains('/')) {
                store.put(&fs::read(self.archive.root().join(&one.filename)).unwrap()).unwrap();
            }
            let action = Action::of(&graph, package, &[&root]);
            store.put_json(action.document()).unwrap();
            let record = Record {
                action: action.id(),
                derivation: node.id,
                outputs: package
                    .binaries
                    .iter()
                    .map(|name| self.output(&store, name.as_str(), &package.version, alpha))
                    .collect(),
                layers: Vec::new(),
                log: log(
                    &store,
                    &NewAttempt {
                        package: package.name.clone(),
                        derivation: node.id,
                        action: action.id(),
                    },
                ),
                receipt: BTreeMap::new(),
                circumstances: BTreeMap::new(),
                started: 0,
                elapsed: 1,
                cause: String::new(),
                causes: None,
                trace: None,
            };
            let offered = offered_digest(package.dependencies.iter().map(|need| offers[need]));
            keep(&store, node.id, &offered, &record);
            offers.insert(node.id, offers_digest(&record, &offered));
            records.insert(node.id, Arc::new(record));
        }
        drop(store);
        for entry in fs::read_dir(self.archive.root().join("pool/main")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "deb") {
                self.store().put(&fs::read(path).unwrap()).unwrap();
            }
        }
        self
    }

    fn output(&self, store: &Store, name: &str, version: &str, alpha: Alpha) -> Output {
        let architecture = if name == "alpha-doc" { "all" } else { "amd64" };
        let file = format!("{name}_{version}_{architecture}.deb");
        let theirs = self.archive.root().join("pool/main").join(&file);
        let bytes = match alpha {
            Alpha::Identical if name.starts_with("alpha") => fs::read(theirs).unwrap(),
            _ => {
                let folder = tempfile::tempdir().unwrap();
                upstream::binary(folder.path(), name, version, architecture, "Section: odd\n");
                fs::read(folder.path().join(&file)).unwrap()
            }
        };
        Output {
            size: bytes.len() as u64,
            blake3: store.put(&bytes).unwrap(),
            sha256: Sha256::of(&bytes),
            control: format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"),
            file,
        }
    }

    /// Everything is built.
    pub fn whole(alpha: Alpha) -> Self {
        let scene = Self::new().built(&["alpha", "one", "two"], alpha);
        let ran = scene.desk.run(&["build"]).succeeds();
        assert!(ran.out.contains("3 packages: 3 cached, 0 to build"), "{}", ran.out);
        scene
    }

    /// What `audit closure` says.
    pub fn closure(&self) -> Ran {
        self.desk.run(&["audit", "closure", "--json"])
    }

    /// Where the store keeps the output of this name.
    pub fn object(&self, file: &str) -> PathBuf {
        let bytes = fs::read(self.desk.path("out").join(file)).unwrap();
        self.desk.store().join("objects").join(Digest::of(&bytes).to_string())
    }
}

/// Keeps a record, and what it is of.
pub fn keep(store: &Store, id: DerivationId, offered: &Digest, record: &Record) {
    store.put_record(&record.action, &record.to_json()).unwrap();
    store.remember_resolution(&id, offered, RESOLUTION_RULES, &record.action).unwrap();
}

/// Keeps a log as a build does; gives its name.
fn log(store: &Store, attempt: &NewAttempt) -> Digest {
    let (attempt, mut writer) = store.start_attempt(attempt, 1 << 20).unwrap();
    writer.append(attempt.id().to_string().as_bytes()).unwrap();
    let log = writer.finish().unwrap();
    attempt.finish(Verdict::Built, "", Some(&log)).unwrap();
    log.digest
}

/// The commands of the README that begin with this.
pub fn readme_script(first: &str) -> String {
    let readme = include_str!("../../README.md");
    let at = readme.find(&format!("```sh\n{first}")).unwrap() + "```sh\n".len();
    let block = &readme[at..];
    block[..block.find("```").unwrap()].to_owned()
}
