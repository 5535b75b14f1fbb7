//! Locking a release over a real archive on this host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod gnupg;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::AtomicBool;

use jiff::{SignedDuration, Timestamp};
use perestroika::archive::deb::signature::{Reason, Refusal};
use perestroika::base::{HostPath, Sha256, Span};
use perestroika::fetch::{Client, Mirrors, Network, Patience, Places, Search};
use perestroika::pin::{self, Error, Locked, Moves, Request, Stale};
use perestroika::spec::lock::{self, IndexKind, Lock};
use perestroika::spec::model::{
    Builder, Located, Package, Packaging, Portability, Resources, Source,
};
use perestroika::spec::{Spec, release};
use perestroika::store::Store;
use upstream::{Archive, Behaviour, RELEASE};

/// A release folder over an archive.
struct Scene {
    archive: Archive,
    store: Store,
    keep: tempfile::TempDir,
    folder: HostPath,
    spec: Spec,
    stdlib: BTreeMap<String, String>,
    now: Timestamp,
    network: Network,
}

impl Scene {
    /// A release that rebuilds `alpha`.
    fn new() -> Self {
        Self::over(Archive::new())
    }

    fn over(archive: Archive) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let store = Store::open(&HostPath::new(keep.path().join("store"))).unwrap();
        let folder = HostPath::new(keep.path().join("release"));
        fs::create_dir_all(folder.join("keys")).unwrap();
        fs::write(folder.join("keys/test.pgp"), archive.keyring()).unwrap();
        let release = release::parse(RELEASE).unwrap();
        let packages = vec![rebuilt("alpha").into()];
        let stdlib = BTreeSet::from(["debian".to_owned()]);
        Self {
            archive,
            store,
            keep,
            folder,
            spec: Spec {
                release,
                packages,
                stdlib,
                remotes: Vec::new(),
                unpinned: Vec::new(),
                extends: Vec::new(),
                footprint: None,
            },
            stdlib: BTreeMap::from([("debian".to_owned(), "// first\n".to_owned())]),
            now: Timestamp::now(),
            network: Network::Online,
        }
    }

    fn lock(&self, moves: Moves<'_>) -> pin::Result<Locked> {
        let mirrors = [Mirrors::new(Search {
            archive: "test".to_owned(),
            suites: vec!["stable".to_owned()],
            keyring: Vec::new(),
            given: vec![self.archive.server.url.clone()],
            release: Vec::new(),
            places: Places::default(),
        })];
        let patience = Patience { attempts: 1, ..Patience::default() };
        let old = self.present();
        let request = Request {
            folder: &self.folder,
            spec: &self.spec,
            old: old.as_ref(),
            stdlib: &self.stdlib,
            store: &self.store,
            client: &Client::new(self.network, patience),
            mirrors: &mirrors,
            now: self.now,
            cancel: &AtomicBool::new(false),
        };
        pin::lock(&request, moves)
    }

    /// Locks, writes, and says what changed.
    fn locked(&self, moves: Moves<'_>) -> Vec<String> {
        let locked = self.lock(moves).unwrap();
        locked.write(&self.folder).unwrap();
        assert_eq!(self.present().unwrap(), locked.lock, "what is written reads back");
        assert_eq!(self.stale(), [""; 0]);
        locked.changes.iter().map(ToString::to_string).collect()
    }

    fn present(&self) -> Option<Lock> {
        let text = fs::read_to_string(self.folder.join("release.lock")).ok()?;
        Some(lock::parse(&text).unwrap())
    }

    fn stale(&self) -> Vec<String> {
        let stale = pin::check(&self.folder, &self.spec, self.present().as_ref());
        stale.iter().map(ToString::to_string).collect()
    }

    /// All files of the folder and their contents.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        fn below(folder: &std::path::Path, root: &HostPath, all: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    below(&entry.path(), root, all);
                } else {
                    let path = entry.path();
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    all.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        let mut all = BTreeMap::new();
        below(self.folder.as_path(), &self.folder, &mut all);
        all
    }
}

fn span() -> Span {
    Span { file: "packages/x.rhai".parse().unwrap(), line: 3, column: 5, length: 7 }
}

fn rebuilt(name: &str) -> Package {
    let name: perestroika::base::PackageName = name.parse().unwrap();
    Package {
        name: name.clone(),
        span: span(),
        below: Vec::new(),
        fields: BTreeMap::new(),
        version: None,
        revision: None,
        suffix: None,
        changes: None,
        summary: None,
        description: None,
        homepage: None,
        license: None,
        section: None,
        maintainer: None,
        source: Located { value: Source::Archive { name }, span: Some(span()) },
        extra: BTreeMap::new(),
        patches: Vec::new(),
        date: None,
        root: None,
        architectures: Vec::new(),
        on: BTreeMap::new(),
        build_depends: Vec::new(),
        build: Builder {
            name: "debian".to_owned(),
            packaging: Packaging::Own,
            depends: Vec::new(),
            architecture: Portability::Any,
            needs: Vec::new(),
            files: BTreeMap::new(),
            script: String::new(),
            script_any: None,
            outputs: Vec::new(),
        },
        env: BTreeMap::new(),
        binaries: Vec::new(),
        from_seed: Vec::new(),
        without_tests: None,
        resources: Resources::default(),
    }
}

#[test]
fn a_lock_pins_indexes_sources_and_stdlib_with_their_evidence() {
    let scene = Scene::new();
    assert_eq!(scene.stale(), ["there is no release.lock"]);
    let changes = scene.locked(Moves::Nothing);
    assert_eq!(changes.len(), 3);
    assert!(changes[0].starts_with("archive `test` suite `stable`: pinned to "), "{changes:?}");
    assert_eq!(changes[1], "source `alpha` of `test`: pinned to 1.0");
    assert!(changes[2].starts_with("stdlib `debian`: pinned to "));

    let files = scene.files();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "keys/test.pgp",
            "release.lock",
            "release.lock.d/stdlib/debian.rhai",
            "release.lock.d/test/stable.InRelease",
        ]
    );
    let evidence = scene.archive.in_release();
    assert_eq!(files["release.lock.d/test/stable.InRelease"], evidence);
    assert_eq!(files["release.lock.d/stdlib/debian.rhai"], b"// first\n");

    let lock = scene.present().unwrap();
    let suite = &lock.archives["test"].suites[0];
    assert_eq!(suite.release, Sha256::of(&evidence));
    let paths: Vec<&str> = suite.indexes.iter().map(|index| index.path.as_str()).collect();
    assert_eq!(paths, ["main/binary-amd64/Packages", "main/source/Sources"]);
    assert_eq!(suite.indexes[0].kind, IndexKind::Packages("amd64".parse().unwrap()));
    let source = lock.sources.values().next().unwrap();
    assert_eq!((source.version.as_str(), source.directory.as_str()), ("1.0", "pool/main"));
    let names: Vec<&str> = source.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["alpha_1.0.dsc", "alpha_1.0.tar.xz"]);
    let dsc = fs::read(scene.archive.root().join("pool/main/alpha_1.0.dsc")).unwrap();
    assert_eq!(source.files[0].sha256, Sha256::of(&dsc));
    assert_eq!(source.relations["Build-Depends"], "debhelper-compat (= 13), g++-beta <!nocheck>");
    assert_eq!(source.requires_root, None, "dpkg-source leaves it to debian/control");
    let binaries: Vec<_> = source
        .binaries
        .iter()
        .map(|one| (one.name.as_str(), &*one.architecture, &*one.profiles, &*one.provides))
        .collect();
    assert_eq!(
        binaries,
        [("alpha", "amd64", "", "alpha-api (= 1)"), ("alpha-doc", "all", "!nodoc", "")]
    );
}

#[test]
fn a_second_lock_changes_nothing_and_asks_nobody() {
    let mut scene = Scene::new();
    scene.locked(Moves::Nothing);
    let before = scene.files();
    scene.archive.server.requests();
    scene.archive.publish("2.0-1");
    scene.stdlib.insert("debian".to_owned(), "// second\n".to_owned());
    scene.network = Network::Offline;
    assert_eq!(scene.locked(Moves::Nothing), [""; 0]);
    assert_eq!(scene.files(), before);
    assert_eq!(scene.archive.server.requests(), [""; 0]);
}

#[test]
fn update_moves_what_it_is_told_to_and_nothing_else() {
    let mut scene = Scene::new();
    scene.locked(Moves::Nothing);
    scene.archive.publish("2.0-1");
    scene.stdlib.insert("debian".to_owned(), "// second\n".to_owned());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();

    let stdlib = scene.locked(Moves::Names(&names(&["stdlib"])));
    assert_eq!(stdlib.len(), 1);
    assert!(stdlib[0].starts_with("stdlib `debian`: ") && stdlib[0].contains(" -> "));
    assert_eq!(scene.files()["release.lock.d/stdlib/debian.rhai"], b"// second\n");

    let source = scene.locked(Moves::Names(&names(&["alpha"])));
    assert_eq!(source, [""; 0], "the pinned index has this version and no other");

    let archive = scene.locked(Moves::Names(&names(&["test"])));
    assert_eq!(archive.len(), 2);
    assert!(archive[0].starts_with("archive `test` suite `stable`: "), "{archive:?}");
    assert_eq!(archive[1], "source `alpha` of `test`: 1.0 -> 2.0");
    let evidence = &scene.files()["release.lock.d/test/stable.InRelease"];
    assert_eq!(*evidence, scene.archive.in_release());

    scene.archive.publish("3.0-1");
    let all = scene.locked(Moves::Everything);
    assert_eq!(all.len(), 2);
    assert_eq!(all[1], "source `alpha` of `test`: 2.0 -> 3.0");

    let error = scene.lock(Moves::Names(&names(&["alpa"]))).unwrap_err();
    let Error::Input(wrong) = error else { panic!("{error:?}") };
    assert_eq!(wrong[0].hints, ["`alpha` is"]);
}

#[test]
fn what_a_release_needs_no_more_is_dropped_and_what_is_new_is_added() {
    let mut scene = Scene::new();
    scene.locked(Moves::Nothing);
    scene.archive.publish("2.0-1");
    scene.spec.packages.clear();
    scene.spec.stdlib = BTreeSet::from(["script".to_owned()]);
    scene.stdlib.insert("script".to_owned(), "// script\n".to_owned());
    assert_eq!(
        scene.stale(),
        [
            "source `alpha` of archive `test` is pinned without need",
            "stdlib module `script` is not pinned",
            "stdlib module `debian` is pinned without need",
        ]
    );
    let changes = scene.locked(Moves::Nothing);
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(changes[0].starts_with("source `alpha` of `test`: dropped (1.0)"));
    let names: Vec<String> = scene.files().into_keys().collect();
    assert!(names.contains(&"release.lock.d/stdlib/script.rhai".to_owned()));
    assert!(!names.contains(&"release.lock.d/stdlib/debian.rhai".to_owned()), "{names:?}");

    // A new source comes from the pinned index, which is in the store, although a newer one exists.
    scene.spec.packages = vec![rebuilt("alpha").into()];
    assert_eq!(scene.stale(), ["source `alpha` of archive `test` is not pinned"]);
    scene.network = Network::Offline;
    assert_eq!(scene.locked(Moves::Nothing), ["source `alpha` of `test`: pinned to 1.0"]);

    scene.spec.release.archives.clear();
    scene.spec.packages.clear();
    let changes = scene.locked(Moves::Nothing);
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(!scene.folder.join("release.lock.d/test").as_path().exists());
}

#[test]
fn signatures_are_checked_when_a_pin_is_made() {
    let check = |scene: &Scene, expected: &str| {
        let error = scene.lock(Moves::Nothing).unwrap_err();
        let Error::Signature { refusal, .. } = &error else { panic!("{expected}: {error:?}") };
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(scene.files().into_keys().collect::<Vec<_>>(), ["keys/test.pgp"]);
        refusal.clone()
    };
    let mut scene = Scene::new();
    let file = String::from_utf8(scene.archive.in_release()).unwrap();
    let path = "dists/stable/InRelease";
    let serve = |text: String| {
        scene.archive.server.behave(path, Behaviour::Replace(text.into_bytes()));
    };
    serve(file.replace("Codename: test", "Codename: tess"));
    check(&scene, "the text was changed");
    serve(file.lines().skip(3).take_while(|line| !line.starts_with("--")).collect());
    assert_eq!(check(&scene, "not signed"), Refusal::Unsigned);
    serve(format!("Suite: evil\n{file}"));
    assert_eq!(check(&scene, "outside the signed part"), Refusal::UnsignedText);
    scene.archive.server.heal();
    let other = Archive::new();
    fs::write(scene.folder.join("keys/test.pgp"), other.keyring()).unwrap();
    let Refusal::Faults(faults) = check(&scene, "not in the keyring") else { panic!() };
    assert_eq!(faults[0].reason, Reason::UnknownKey);
    fs::write(scene.folder.join("keys/test.pgp"), scene.archive.keyring()).unwrap();
    scene.now = "2023-01-01T00:00:00Z".parse().unwrap();
    check(&scene, "the key was made after");
}

#[test]
fn signed_files_that_are_old_foreign_or_from_the_future_are_refused() {
    let scene = Scene::new();
    let hour = SignedDuration::from_hours(1);
    let check = |expected: &str| {
        let moves = Moves::Everything;
        let error = scene.lock(moves).unwrap_err();
        assert!(matches!(error, Error::Unreliable { .. }), "{expected}: {error:?}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    };
    let until = (scene.now - hour).strftime("Valid-Until: %a, %d %b %Y %H:%M:%S UTC\n");
    let packages = scene.archive.root().join("dists/stable/main/binary-amd64/Packages");
    let sources = scene.archive.root().join("dists/stable/main/source/Sources");
    for path in [&packages, &sources] {
        let xz = fs::read(path.with_extension("xz")).unwrap();
        let mut text = Vec::new();
        std::io::copy(&mut liblzma::read::XzDecoder::new(&xz[..]), &mut text).unwrap();
        fs::write(path, text).unwrap();
    }
    scene.archive.sign(scene.now - hour * 2, &until.to_string());
    check("was valid until");
    scene.archive.sign(scene.now + hour, "");
    check("is from the future");
    scene.archive.sign(scene.now, "");
    scene.locked(Moves::Nothing);
    scene.archive.sign(scene.now - hour, "");
    check("older at this mirror");
    let text = String::from_utf8(scene.archive.in_release()).unwrap();
    let text = text.lines().skip(3).take_while(|line| !line.starts_with("-----BEGIN"));
    let text = text.map(|line| format!("{line}\n")).collect::<String>();
    let text = text.replace("Suite: stable", "Suite: testing");
    let now = Timestamp::now().to_string();
    let signed = scene.archive.gnupg.clearsign(&text, &now, &[]);
    scene.archive.server.behave("dists/stable/InRelease", Behaviour::Replace(signed));
    check("calls itself `testing`, `test`");
}

#[test]
fn asking_for_what_is_not_there_is_an_error_with_its_place() {
    let mut scene = Scene::new();
    let check = |scene: &Scene, message: &str, hint: Option<&str>| {
        let error = scene.lock(Moves::Nothing).unwrap_err();
        let Error::Input(wrong) = &error else { panic!("{message}: {error:?}") };
        assert!(wrong[0].message.contains(message), "{wrong:?}");
        assert_eq!(wrong[0].hints.first().map(String::as_str), hint);
        wrong[0].places.first().map(|place| place.span.clone())
    };
    for (name, hint) in [
        ("alpa", Some("it has `alpha`")),
        ("alpha-doc", Some("the package `alpha-doc` is built from source `alpha`")),
        ("zzzzzz", None),
    ] {
        scene.spec.packages = vec![rebuilt(name).into()];
        let place = check(&scene, &format!("unknown source package `{name}`"), hint);
        assert_eq!(place, Some(span()));
    }
    scene.spec.packages.clear();
    let archive = scene.spec.release.archives.get_mut("test").unwrap();
    archive.components.push("contrib".to_owned());
    check(&scene, "has no component `contrib`: it has `main`", None);
    scene.spec.release.archives.get_mut("test").unwrap().components.pop();
    scene.spec.release.architectures.push("arm64".parse().unwrap());
    check(&scene, "has no packages of architecture `arm64`", None);
    scene.spec.release.architectures.pop();
    scene.spec.stdlib.insert("nothing".to_owned());
    let error = scene.lock(Moves::Nothing).unwrap_err();
    assert!(matches!(error, Error::Module(_)), "{error:?}");
    fs::remove_file(scene.folder.join("keys/test.pgp")).unwrap();
    assert!(check(&scene, "there is no keyring `keys/test.pgp`", None).is_some());
    fs::write(scene.folder.join("keys/test.pgp"), scene.archive.keyring()).unwrap();
    assert_eq!(scene.files().into_keys().collect::<Vec<_>>(), ["keys/test.pgp"]);
}

#[test]
fn kept_files_that_changed_are_noticed_and_come_back_where_they_can() {
    let scene = Scene::new();
    scene.locked(Moves::Nothing);
    let evidence = scene.folder.join("release.lock.d/test/stable.InRelease");
    let stdlib = scene.folder.join("release.lock.d/stdlib/debian.rhai");
    fs::remove_file(&evidence).unwrap();
    fs::write(&stdlib, "// changed\n").unwrap();
    let stale = scene.stale();
    assert_eq!(stale.len(), 2);
    assert!(stale[0].contains("missing") && stale[1].contains("expected"), "{stale:?}");
    let error = scene.lock(Moves::Nothing).unwrap_err();
    assert!(error.to_string().contains("`perestroika update stdlib`"), "{error}");
    fs::write(&stdlib, "// first\n").unwrap();
    assert_eq!(scene.locked(Moves::Nothing), [""; 0], "the mirror still has the same file");
    assert_eq!(fs::read(&evidence).unwrap(), scene.archive.in_release());

    fs::write(&evidence, "x").unwrap();
    scene.archive.publish("2.0-1");
    let error = scene.lock(Moves::Nothing).unwrap_err();
    assert!(error.to_string().contains("`perestroika update test`"), "{error}");
    scene.locked(Moves::Everything);
}

#[test]
fn a_failure_leaves_the_folder_as_it_was() {
    let scene = Scene::new();
    scene.locked(Moves::Nothing);
    let before = scene.files();
    scene.archive.publish("2.0-1");
    let sources = scene.archive.by_hash("main/source/Sources.xz");
    scene.archive.server.behave(&sources, Behaviour::Replace(b"tampered".to_vec()));
    let error = scene.lock(Moves::Everything).unwrap_err();
    assert!(error.to_string().contains("\n  expected "), "{error}");
    scene.archive.server.behave("dists/stable/InRelease", Behaviour::Status(503));
    let error = scene.lock(Moves::Everything).unwrap_err();
    assert!(matches!(error, Error::Fetch(_)), "{error:?}");
    assert_eq!(scene.files(), before);

    scene.archive.server.heal();
    let locked = scene.lock(Moves::Everything).unwrap();
    // A folder where release.lock should be replaced: the write fails, half-way files go.
    fs::remove_file(scene.folder.join("release.lock")).unwrap();
    fs::create_dir_all(scene.folder.join("release.lock/x")).unwrap();
    assert!(locked.write(&scene.folder).is_err());
    let left: Vec<String> = scene.files().into_keys().collect();
    assert!(left.iter().all(|name| !name.contains(".lock.d/.") && !name.contains("/.lock")));
    assert!(scene.keep.path().exists());
}

#[test]
fn nothing_is_stale_about_pins_alone() {
    let scene = Scene::new();
    scene.locked(Moves::Nothing);
    let lock = scene.present().unwrap();
    assert_eq!(pin::check(&scene.folder, &scene.spec, Some(&lock)), []);
    let mut other = lock;
    other.archives.get_mut("test").unwrap().suites[0].indexes.remove(0);
    let stale = pin::check(&scene.folder, &scene.spec, Some(&other));
    let title = "`main/binary-amd64/Packages` of suite `stable` of archive `test`";
    let [Stale { kind: pin::Kind::Missing, what, span: Some(span) }] = &*stale else {
        panic!("{stale:?}")
    };
    assert_eq!(what, title);
    assert_eq!(span.file.as_str(), "release.toml");
}
