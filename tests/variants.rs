//! Releases that extend others, and releases of several architectures.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod gnupg;
mod program;
mod upstream;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use perestroika::base::{Diagnostic, HostPath, Sha256};
use perestroika::fetch::{Client, Mirrors, Network, Patience, Places, Search};
use perestroika::graph::derivation::Package;
use perestroika::graph::{Derivation, Graph, lower};
use perestroika::pin::{self, Locked, Moves};
use perestroika::spec::loader::Memory;
use perestroika::spec::lock::{self, IndexKind, Lock, LockedArchive, LockedIndex, LockedSuite};
use perestroika::spec::{self, Spec, load_from};
use perestroika::store::Store;
use program::{copy_folder, here};
use upstream::{Archive, RELEASE};

/// Release folders side by side.
struct Folders(tempfile::TempDir);

impl Folders {
    /// Copies of the customers' releases and their base.
    fn customers() -> Self {
        let folders = Self(tempfile::tempdir().unwrap());
        for name in ["base", "a", "b"] {
            copy_folder(&here("specs/customers").join(name), &folders.path(name));
        }
        folders
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn host(&self, name: &str) -> HostPath {
        HostPath::new(self.path(name))
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn lock(&self, name: &str) -> Option<Lock> {
        let text = fs::read_to_string(self.path(name).join("release.lock")).ok()?;
        Some(lock::parse(&text).unwrap())
    }

    fn spec(&self, name: &str) -> Result<Spec, Vec<Diagnostic>> {
        spec::load(&self.host(name), self.lock(name).as_ref())
    }

    fn graph(&self, name: &str) -> Result<Graph, Vec<Diagnostic>> {
        lower(&self.spec(name)?, &self.lock(name).unwrap())
    }

    fn stale(&self, name: &str) -> Vec<String> {
        let spec = self.spec(name).unwrap();
        let stale = pin::check(&self.host(name), &spec, self.lock(name).as_ref());
        stale.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn wrong(&self, name: &str, message: &str) {
        let errors = match self.spec(name) {
            Ok(_) => self.graph(name).map(drop).unwrap_err(),
            Err(errors) => errors,
        };
        let found: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        assert!(found.iter().any(|found| found.contains(message)), "{found:#?}");
    }
}

/// Ids of packages by name.
fn ids(graph: &Graph) -> BTreeMap<String, String> {
    let id = |(node, package): (&perestroika::graph::Node, &Package)| {
        (package.name.to_string(), node.id.to_string())
    };
    graph.packages().map(id).collect()
}

#[test]
fn variants_build_again_only_what_is_different() {
    let folders = Folders::customers();
    let [base, a, b] = ["base", "a", "b"].map(|name| ids(&folders.graph(name).unwrap()));
    let names = |ids: &BTreeMap<String, String>| ids.keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&base), "catdoc figlet platform-motd");
    assert_eq!(names(&a), "catdoc figlet platform-motd");
    assert_eq!(names(&b), "cowsay figlet platform-motd");
    assert_eq!(a["catdoc"], base["catdoc"]);
    assert_eq!(b["figlet"], base["figlet"]);
    assert_ne!(a["figlet"], base["figlet"]);
    for (one, other) in [(&a, &base), (&b, &base), (&a, &b)] {
        assert_ne!(one["platform-motd"], other["platform-motd"]);
    }
    let graph = folders.graph("a").unwrap();
    let (_, figlet) = graph.package("figlet").unwrap();
    assert_eq!(figlet.version, "2.2.5-3+a1");
    let patches: Vec<&str> = figlet.patches.iter().map(|patch| patch.name.as_str()).collect();
    assert_eq!(patches, ["tall-fonts.patch"]);
    let (_, motd) = graph.package("platform-motd").unwrap();
    assert_eq!(motd.environment["BANNER"], "Customer A");
    assert_eq!(motd.environment["SUPPORT"], "support@release.example, day and night");
    for name in ["base", "a", "b"] {
        assert_eq!(folders.stale(name), [""; 0], "{name}");
    }
}

#[test]
fn a_variant_is_stale_when_its_base_moved() {
    let folders = Folders::customers();
    type Change = fn(&str) -> String;
    let changes: [(&str, Change); 3] = [
        ("base/packages/motd.rhai", |text| format!("// One more line.\n{text}")),
        ("base/release.lock", |text| format!("{text}# One more line.\n")),
        ("base/lib/new.rhai", |_| "fn f() { 1 }\n".to_owned()),
    ];
    for (path, change) in changes {
        let before = fs::read_to_string(folders.path(path)).ok();
        folders.write(path, &change(before.as_deref().unwrap_or_default()));
        let stale = ["the extended release `../base` has changed since it was pinned"];
        assert_eq!(folders.stale("a"), stale, "{path}");
        folders.wrong("a", "`../base` has changed since it was pinned");
        match before {
            Some(text) => folders.write(path, &text),
            None => fs::remove_file(folders.path(path)).unwrap(),
        }
        assert_eq!(folders.stale("a"), [""; 0], "{path}");
    }
    // What is built of a folder is hashed wherever it is evaluated, and never locked.
    folders.write("base/src/motd/motd.in", "Another text.\n");
    assert_eq!(folders.stale("a"), [""; 0]);
    folders.graph("a").unwrap();
}

#[test]
fn nothing_outside_the_folders_of_releases_is_read() {
    let folders = Folders::customers();
    folders.write("secret/file", "secret");
    let spec = |path: &str| {
        format!("package(#{{ name: \"own\", source: dir(\"{path}\"), build: script(\"\") }})\n")
    };
    folders.write("base/packages/own.rhai", &spec("../secret"));
    folders.wrong("a", "`../secret` is not a path inside the release folder");
    folders.write("base/packages/own.rhai", &spec("src/link"));
    symlink("../../secret", folders.path("base/src/link")).unwrap();
    folders.wrong("a", "`../base/src/link` is a symbolic link");
    folders.write("base/packages/own.rhai", "import \"lib/../../secret/file\" as it;\n");
    folders.wrong("a", "is not below `lib/` of the release");
    // The folder of a release knows nothing of those that extend it.
    fs::remove_file(folders.path("base/packages/own.rhai")).unwrap();
    folders.write("a/packages/own.rhai", &spec("src/motd"));
    folders.wrong("a", "there is no `src` in the release");
}

/// The text of the base's release.toml.
fn base() -> String {
    RELEASE.replace("name = \"demo\"", "name = \"base\"")
}

/// A base and a variant over a real archive on this host.
struct Scene {
    archive: Archive,
    folders: Folders,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let archive = Archive::new();
        let folders = Folders(tempfile::tempdir().unwrap());
        folders.write("base/release.toml", &base());
        folders.write("base/alpha.rhai", "rebuild(\"alpha\")\n");
        fs::create_dir_all(folders.path("base/keys")).unwrap();
        fs::write(folders.path("base/keys/test.pgp"), archive.keyring()).unwrap();
        folders.write("variant/release.toml", "[release]\nname = \"v\"\nextends = \"../base\"\n");
        let store = Store::open(&folders.host("store")).unwrap();
        Self { archive, folders, store }
    }

    fn lock(&self, name: &str, moves: Moves<'_>) -> pin::Result<Locked> {
        let mirrors = [Mirrors::new(Search {
            archive: "test".to_owned(),
            suites: vec!["stable".to_owned()],
            keyring: Vec::new(),
            given: vec![self.archive.server.url.clone()],
            release: Vec::new(),
            places: Places::default(),
        })];
        let old = self.folders.lock(name);
        let debian = spec::stdlib::text("debian").unwrap();
        let request = pin::Request {
            folder: &self.folders.host(name),
            spec: &self.folders.spec(name).unwrap(),
            old: old.as_ref(),
            stdlib: &BTreeMap::from([("debian".to_owned(), debian.to_owned())]),
            store: &self.store,
            client: &Client::new(Network::Online, Patience { attempts: 1, ..Patience::default() }),
            mirrors: &mirrors,
            now: Timestamp::now(),
            cancel: &AtomicBool::new(false),
        };
        pin::lock(&request, moves)
    }

    /// Locks, writes, and gives the version that `alpha` is pinned to.
    #[track_caller]
    fn locked(&self, name: &str, moves: Moves<'_>) -> String {
        let locked = self.lock(name, moves).unwrap();
        locked.write(&self.folders.host(name)).unwrap();
        let lock = self.folders.lock(name).unwrap();
        assert_eq!(lock, locked.lock, "what is written reads back");
        lock.sources.values().next().unwrap().version.clone()
    }

    #[track_caller]
    fn refused(&self, name: &str, moves: Moves<'_>, message: &str) {
        let error = self.lock(name, moves).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_variant_takes_over_the_pins_of_its_base_and_moves_none() {
    let scene = Scene::new();
    scene.refused("variant", Moves::Nothing, "`../base` has no release.lock");
    assert_eq!(scene.locked("base", Moves::Nothing), "1.0");
    scene.archive.publish("2.0-1");
    assert_eq!(scene.locked("variant", Moves::Nothing), "1.0");
    let evidence = "release.lock.d/test/stable.InRelease";
    let kept = |name: &str| fs::read(scene.folders.path(name).join(evidence)).unwrap();
    assert_eq!(kept("variant"), kept("base"));
    assert_eq!(scene.folders.stale("variant"), [""; 0]);

    for name in ["test", "alpha"] {
        let names = [name.to_owned()];
        scene.refused("variant", Moves::Names(&names), &format!("`{name}` is pinned by `../base`"));
    }
    assert_eq!(scene.locked("variant", Moves::Everything), "1.0");

    assert_eq!(scene.locked("base", Moves::Everything), "2.0");
    assert_eq!(scene.folders.stale("variant").len(), 2, "{:?}", scene.folders.stale("variant"));
    assert_eq!(scene.locked("variant", Moves::Nothing), "2.0");
    assert_eq!(kept("variant"), kept("base"));
}

#[test]
fn an_archive_that_a_variant_defines_itself_is_its_own_to_pin() {
    let scene = Scene::new();
    scene.locked("base", Moves::Nothing);
    scene.archive.publish("2.0-1");
    let archive = RELEASE.split("[archive").nth(1).unwrap().split("[root").next().unwrap();
    let text = format!("[release]\nname = \"v\"\nextends = \"../base\"\n[archive{archive}");
    scene.folders.write("variant/release.toml", &text);
    fs::create_dir_all(scene.folders.path("variant/keys")).unwrap();
    fs::write(scene.folders.path("variant/keys/test.pgp"), scene.archive.keyring()).unwrap();
    assert_eq!(scene.locked("variant", Moves::Nothing), "2.0");
    scene.archive.publish("3.0-1");
    assert_eq!(scene.locked("variant", Moves::Names(&["test".to_owned()])), "3.0");
    assert_eq!(scene.folders.lock("base").unwrap().sources.values().next().unwrap().version, "1.0");
}

#[test]
fn a_base_whose_own_base_moved_is_locked_first() {
    let scene = Scene::new();
    scene.locked("base", Moves::Nothing);
    let middle = "[release]\nname = \"m\"\nextends = \"../base\"\n";
    scene.folders.write("middle/release.toml", middle);
    scene.folders.write("variant/release.toml", &middle.replace("base", "middle"));
    scene.locked("middle", Moves::Nothing);
    assert_eq!(scene.locked("variant", Moves::Nothing), "1.0");
    let extends = scene.folders.lock("variant").unwrap().extends;
    let folders: Vec<_> = extends.keys().map(ToString::to_string).collect();
    assert_eq!(folders, ["../base", "../middle"]);
    scene.folders.write("base/alpha.rhai", "// Moved.\nrebuild(\"alpha\")\n");
    scene.refused("variant", Moves::Nothing, "the lock of `../middle` is stale");
    scene.locked("middle", Moves::Nothing);
    scene.locked("variant", Moves::Nothing);
    assert_eq!(scene.folders.stale("variant"), [""; 0]);
}

/// The builds of a release of amd64 and i386, in memory: `name architecture` with their binary
/// packages, and what they need.
#[track_caller]
fn builds(files: &[(&str, &str)]) -> Result<Vec<String>, Vec<Diagnostic>> {
    let mut all = BTreeMap::from([(
        "release.toml".parse().unwrap(),
        base().replace("[\"amd64\"]", "[\"amd64\", \"i386\"]").into_bytes(),
    )]);
    for (path, text) in files {
        all.insert(path.parse().unwrap(), text.as_bytes().to_vec());
    }
    let index = |architecture: &str| LockedIndex {
        path: format!("main/binary-{architecture}/Packages"),
        kind: IndexKind::Packages(architecture.parse().unwrap()),
        sha256: Sha256::of(architecture.as_bytes()),
        size: 1,
    };
    let suite = LockedSuite {
        suite: "stable".to_owned(),
        date: "Sat, 11 Jul 2026 10:16:37 UTC".to_owned(),
        release: Sha256::of(b"release"),
        indexes: ["amd64", "i386"].map(index).to_vec(),
    };
    let lock = Lock {
        archives: BTreeMap::from([("test".to_owned(), LockedArchive { suites: vec![suite] })]),
        stdlib: ["debian", "script"].map(|it| (it.to_owned(), Sha256::of(b"module"))).into(),
        ..Lock::default()
    };
    let graph = lower(&load_from(Arc::new(Memory(all)), None)?, &lock)?;
    let title = |package: &Package| format!("{} {}", package.name, package.architecture);
    let mut found: Vec<String> = graph
        .packages()
        .map(|(_, package)| {
            let root = &graph.node(package.root).unwrap().derivation;
            let Derivation::Root(root) = root else { panic!("a root is one") };
            assert_eq!(root.architecture, package.architecture);
            let binaries: Vec<_> = package.binaries.iter().map(ToString::to_string).collect();
            let mut needs: Vec<_> = package
                .dependencies
                .iter()
                .map(|id| title(graph.node(*id).unwrap().derivation.package().unwrap()))
                .collect();
            needs.sort();
            let script = package.script.trim().trim_start_matches("dpkg-buildpackage -us -uc ");
            format!("{} [{}] {script} <- {}", title(package), binaries.join(" "), needs.join(", "))
        })
        .collect();
    found.sort();
    Ok(found)
}

const LIB: [(&str, &str); 3] = [
    ("lib.rhai", "package(#{ name: \"lib\", source: dir(\"src/lib\"), build: debian() })"),
    (
        "src/lib/debian/control",
        "Source: lib\nBuild-Depends-Indep: tool\n\nPackage: lib-dev\nArchitecture: any\n\n\
         Package: lib-data\nArchitecture: all\n",
    ),
    (
        "src/lib/debian/changelog",
        "lib (1.0-1) stable; urgency=medium\n\n  * New.\n\n \
         -- Some One <one@release.example>  Sun, 01 Nov 2026 12:00:00 +0000\n",
    ),
];

fn tool(more: &str) -> String {
    format!(
        "package(#{{ name: \"tool\", version: \"1.0\", summary: \"A tool\", license: \"MIT\",\n\
         changes: #{{ date: \"2026-11-22\", text: \"New.\" }}, source: dir(\"src/tool\"),\n\
         build: script(\"make\"), {more} }})"
    )
}

#[test]
fn the_first_architecture_builds_what_is_of_none() {
    let user = tool("build_depends: [\"lib-data\"]").replace("name: \"tool\"", "name: \"user\"");
    let tool = tool("");
    let mut files = LIB.to_vec();
    files.extend([("src/tool/a", ""), ("tool.rhai", &*tool), ("user.rhai", &*user)]);
    let found = builds(&files).unwrap();
    let expected = [
        "lib amd64 [lib-data lib-dev] -b <- tool amd64",
        "lib i386 [lib-dev] -B <- ",
        "tool amd64 [tool] -b <- ",
        "tool i386 [tool] -B <- ",
        "user amd64 [user] -b <- lib amd64",
        "user i386 [user] -B <- lib amd64",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_package_may_be_of_some_architectures_only_or_differ_on_one() {
    let limited = tool("architectures: [\"i386\"]");
    let found = builds(&[("src/tool/a", ""), ("tool.rhai", &limited)]).unwrap();
    assert_eq!(found, ["tool i386 [tool] -b <- "]);

    let depends = tool("build_depends: [\"lib-dev\"]");
    let different = format!("{depends}.on(\"i386\", #{{ build_depends: [] }})");
    let mut files = LIB.map(|(path, text)| (path, text.replace("-Indep: tool", ": make")));
    files.sort();
    let mut files: Vec<_> = files.iter().map(|(path, text)| (*path, &**text)).collect();
    files.extend([("src/tool/a", ""), ("tool.rhai", &*different)]);
    let found = builds(&files).unwrap();
    assert_eq!(found[2], "tool amd64 [tool] -b <- lib amd64");
    assert_eq!(found[3], "tool i386 [tool] -B <- ");
}

#[test]
fn a_way_of_building_that_cannot_leave_out_what_is_of_no_architecture_is_refused() {
    let recipe = "recipe(#{ packaging: \"generated\", script: \"x\", outputs: [\"*.deb\"] })";
    let own = tool("").replace("script(\"make\")", recipe);
    let errors = builds(&[("src/tool/a", ""), ("tool.rhai", &own)]).unwrap_err();
    assert!(errors[0].message.contains("builds for the first architecture only"), "{errors:?}");
    let limited = own.replace("build:", "architectures: [\"amd64\"], build:");
    let found = builds(&[("src/tool/a", ""), ("tool.rhai", &limited)]).unwrap();
    assert_eq!(found, ["tool amd64 [tool] x <- "]);
}

#[test]
fn a_package_is_built_for_both_architectures_that_this_machine_runs() {
    if !Path::new("/proc/sys/abi/vsyscall32").exists() {
        let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
        assert!(!required.contains("i386"), "this machine runs no programs of i386");
        eprintln!("SKIPPED: this machine runs no programs of i386");
        return;
    }
    let release = program::Release::copy_of("specs/single");
    release.replace("release.toml", "[\"amd64\"]", "[\"amd64\", \"i386\"]");
    let told = format!(
        "uname -m > machine # {}\n        \
         install -D machine \"$DESTDIR/usr/share/hello/machine\"\n        install -D hello",
        program::unique()
    );
    release.replace("hello.rhai", "install -D hello", &told);
    // The lock keeps what it has and gains the index of the second architecture.
    release.run("lock", &[]).ends_with(0);
    // The pinned stdlib is of before there were several architectures.
    let run = release.run("build", &[]).ends_with(2);
    assert!(run.err.contains("the pinned stdlib is of before that"), "{}", run.err);
    release.run("update", &["stdlib"]).ends_with(0);
    let run = release.run("build", &["--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["hello-single built", "hello-single built"]);
    let machines = [("amd64", "x86_64\n", 2), ("i386", "i686\n", 1)];
    for (architecture, machine, class) in machines {
        let deb = release.path("out").join(format!("hello-single_1.0_{architecture}.deb"));
        let unpacked = tempfile::tempdir().unwrap();
        let tool = std::process::Command::new("dpkg-deb")
            .arg("--extract")
            .args([&*deb, unpacked.path()])
            .status();
        assert!(tool.unwrap().success());
        let file = |path: &str| fs::read(unpacked.path().join(path)).unwrap();
        assert_eq!(file("usr/share/hello/machine"), machine.as_bytes());
        // The class of an ELF file: of 64 or of 32 bits.
        assert_eq!(file("usr/bin/hello-single")[4], class);
    }
}

#[test]
fn a_patch_is_held_against_the_archives_source_before_there_is_a_build_root() {
    let folders = Folders::customers();
    let path = "a/patches/figlet/tall-fonts.patch";
    let patch = fs::read_to_string(folders.path(path)).unwrap();
    let build = || {
        program::Run::of(
            std::process::Command::new(program::PROGRAM)
                .args(["build", "figlet", "--progress", "plain", "--store"])
                .arg(program::shared_store())
                .arg(folders.path("a")),
        )
    };
    for (old, new, words) in [
        ("too wide", "to wide", "tall-fonts.patch:9: `figlet.c` does not have the lines that it"),
        ("/figlet.c", "/fig.c", "tall-fonts.patch:7: `fig.c` is not there"),
    ] {
        folders.write(path, &patch.replace(old, new));
        let run = build().ends_with(2);
        assert!(run.err.contains(words), "no `{words}`: {}", run.err);
        assert!(!run.err.contains("figlet: build"), "{}", run.err);
    }
}

#[test]
fn building_for_a_machine_that_this_one_is_not_is_refused_at_once() {
    let folders = Folders::customers();
    let here = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let path = "base/release.toml";
    let text = fs::read_to_string(folders.path(path)).unwrap();
    folders.write(path, &text.replace("[\"amd64\"]", &format!("[\"{here}\"]")));
    let lock = fs::read_to_string(folders.path("base/release.lock")).unwrap();
    folders.write("base/release.lock", &lock.replace("amd64", here));
    let run = program::Run::of(
        std::process::Command::new(program::PROGRAM)
            .args(["build", "--offline", "--store"])
            .arg(folders.path("store"))
            .arg(folders.path("base")),
    );
    let wanted = format!("this machine cannot run programs of architecture `{here}`");
    assert!(run.err.contains(&wanted), "{}", run.err);
    assert_eq!(run.code, Some(3));
    assert!(!Path::exists(&folders.path("base/out")));
}
