//! Our indexes beside those that apt-ftparchive writes for the same pool: what is different in
//! them is in a table here, with the reason, and everything else is the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod gnupg;
mod scene;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use gnupg::Gnupg;
use jiff::Timestamp;
use perestroika::archive::deb::package;
use perestroika::base::{Digest, HostPath, Sha256};
use perestroika::graph::Graph;
use perestroika::publish::generation::Reason;
use perestroika::publish::item::Item;
use perestroika::publish::sign::{Places, PublicFile, Signers};
use perestroika::publish::stage::{Contents, Stage};
use perestroika::publish::suite::change;
use perestroika::publish::{Published, Repository};
use perestroika::realise::record::{Output, Record};
use perestroika::spec::release::{Format, Rehearse, Suite};
use perestroika::store::Store;
use scene::Scene;

/// Fields that only one of the two writes, and why.
const PACKAGES: &[(&str, Side, &str)] = &[
    ("MD5sum", Side::Theirs, "no client needs it beside SHA256, and it can be forged"),
    ("SHA1", Side::Theirs, "no client needs it beside SHA256, and it can be forged"),
    ("SHA512", Side::Theirs, "SHA256 says the same in half the bytes"),
];

/// The same of source packages.
const SOURCES: &[(&str, Side, &str)] = &[
    ("Checksums-Sha1", Side::Theirs, "no client needs it beside SHA256, and it can be forged"),
    ("Checksums-Sha512", Side::Theirs, "SHA256 says the same in half the bytes"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

type Index = BTreeMap<String, BTreeMap<String, String>>;

/// The paragraphs of an index, by package: its fields, white space at the ends of values gone.
fn index(text: &str) -> Index {
    let mut all = Index::new();
    for paragraph in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in paragraph.lines() {
            if line.starts_with([' ', '\t']) {
                let value = fields.get_mut(&last).unwrap();
                value.push('\n');
                value.push_str(line);
            } else {
                let (name, value) = line.split_once(':').unwrap();
                name.clone_into(&mut last);
                assert!(fields.insert(name.to_owned(), value.trim().to_owned()).is_none());
            }
        }
        let name = fields["Package"].clone();
        assert!(all.insert(name.clone(), fields).is_none(), "{name} twice");
    }
    all
}

/// What is different and not in the table.
#[track_caller]
fn compare(ours: &Index, theirs: &Index, explained: &[(&str, Side, &str)]) {
    let names = |index: &Index| index.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs));
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (package, mine) in ours {
        let other = &theirs[package];
        let fields: BTreeSet<&String> = mine.keys().chain(other.keys()).collect();
        for field in fields {
            let side = match (mine.get(field), other.get(field)) {
                (Some(one), Some(two)) if one == two => continue,
                (Some(_), None) => Some(Side::Ours),
                (None, Some(_)) => Some(Side::Theirs),
                _ => None,
            };
            let known =
                explained.iter().position(|(name, on, _)| name == field && Some(*on) == side);
            match known {
                Some(known) => drop(used.insert(known)),
                None => wrong.push(format!(
                    "{package}: {field}\n  ours   {:?}\n  theirs {:?}",
                    mine.get(field),
                    other.get(field)
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(used.len(), explained.len(), "something is explained that is not different");
}

fn tool(program: &str, words: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const LONG: &str = "Description: odd package\n It has more than one line,\n .\n   some of them verbatim,\n .\n \
                    and Übergröße in it.\n";

/// Packages and a source package with fields that few have.
fn made(folder: &Path) {
    let deb = |name: &str, end: &str, version: &str, architecture: &str, fields: &str| {
        let tree = folder.join(name);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nSource: odd (1:2.0-1)\nVersion: {version}\n\
             Architecture: {architecture}\nMaintainer: Ann Ödd <ann@example.org>\n\
             Installed-Size: 7\n{fields}"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let share = tree.join(format!("usr/share/{name}"));
        fs::create_dir_all(share.join("with blank")).unwrap();
        fs::create_dir_all(tree.join("usr/share/common/empty")).unwrap();
        fs::write(share.join("with blank/two  blanks"), name).unwrap();
        fs::write(share.join("grüße"), name).unwrap();
        symlink("grüße", share.join("link")).unwrap();
        fs::hard_link(share.join("grüße"), share.join("zweiter")).unwrap();
        let plain = version.split_once(':').map_or(version, |(_, rest)| rest);
        let file = format!("{name}_{plain}_{architecture}.{end}");
        tool("dpkg-deb", &["--root-owner-group", "--build", name, &file], folder);
        fs::remove_dir_all(tree).unwrap();
    };
    deb(
        "odd",
        "deb",
        "1:2.0-1+b1",
        "amd64",
        &format!(
            "Pre-Depends: libc6 (>= 2.36)\nDepends: odd-doc (= 1:2.0-1) | other,\n third\n\
         Recommends: aa\nSuggests: bb\nEnhances: cc\nBreaks: dd (<< 1)\nConflicts: ee\nReplaces: dd\n\
         Provides: odd-api (= 2)\nBuilt-Using: gcc-12 (= 12.2.0-14)\nSection: libs\n\
         Priority: optional\nMulti-Arch: same\nHomepage: https://example.org/odd\n\
         Task: odd-desktop, odd-server\nTag: role::program, use::odd\nEssential: no\n\
         Python-Version: 3.11\nOriginal-Maintainer: Bo <bo@example.org>\nBugs: https://example.org\n{LONG}"
        ),
    );
    deb(
        "odd-doc",
        "deb",
        "1:2.0-1",
        "all",
        "Section: doc\nPriority: extra\nMulti-Arch: foreign\n\
         Description: one line\n",
    );
    deb(
        "odd-dbgsym",
        "deb",
        "1:2.0-1+b1",
        "amd64",
        "Section: debug\nPriority: optional\n\
         Auto-Built-Package: debug-symbols\nDepends: odd (= 1:2.0-1+b1)\n\
         Build-Ids: 0123456789012345678901234567890123456789\nDescription: symbols\n",
    );
    deb(
        "odd-udeb",
        "udeb",
        "1:2.0-1+b1",
        "amd64",
        "Section: debian-installer\nPriority: optional\n\
         Package-Type: udeb\nInstaller-Menu-Item: 100\nSubarchitecture: generic\nDescription: menu\n",
    );
    let tree = folder.join("odd-2.0");
    fs::create_dir_all(tree.join("debian/source")).unwrap();
    let write = |path: &str, text: &str| fs::write(tree.join(path), text).unwrap();
    write("file", "upstream\n");
    tool("tar", &["-czf", "odd_2.0.orig.tar.gz", "odd-2.0/file"], folder);
    write("debian/source/format", "3.0 (quilt)\n");
    write("debian/rules", "#!/usr/bin/make -f\n");
    fs::set_permissions(tree.join("debian/rules"), fs::Permissions::from_mode(0o755)).unwrap();
    write(
        "debian/changelog",
        "odd (1:2.0-1) stable; urgency=low\n\n  * Test.\n\n \
         -- Ann Ödd <ann@example.org>  Mon, 01 Jan 2024 00:00:00 +0000\n",
    );
    write(
        "debian/control",
        "Source: odd\nSection: libs\nPriority: optional\nMaintainer: Ann Ödd <ann@example.org>\n\
         Uploaders: Bo <bo@example.org>,\n Cy <cy@example.org>\nStandards-Version: 4.6.2\n\
         Build-Depends: debhelper-compat (= 13),\n gcc [!hurd-any] <!nocheck>\n\
         Build-Depends-Indep: doxygen\nBuild-Conflicts: bad\nHomepage: https://example.org/odd\n\
         Vcs-Browser: https://example.org/odd.git\nVcs-Git: https://example.org/odd.git -b main\n\
         Testsuite: autopkgtest\nRules-Requires-Root: no\n\n\
         Package: odd\nArchitecture: any\nMulti-Arch: same\nDescription: odd\n\n\
         Package: odd-doc\nArchitecture: all\nSection: doc\nBuild-Profiles: <!nodoc>\nDescription: odd\n\n\
         Package: odd-udeb\nArchitecture: linux-any\nPackage-Type: udeb\nSection: debian-installer\n\
         Description: odd\n",
    );
    tool("dpkg-source", &["--build", "odd-2.0"], folder);
    fs::remove_dir_all(tree).unwrap();
}

/// The record of a build that left these files.
fn record(store: &Store, folder: &Path, graph: &Graph) -> Record {
    let mut outputs = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let control = match file.rsplit('.').next() {
            Some("deb" | "udeb") => package::open(&*bytes).unwrap().0.paragraph().to_owned(),
            _ => String::new(),
        };
        outputs.push(Output {
            size: bytes.len() as u64,
            blake3: store.put(&bytes).unwrap(),
            sha256: Sha256::of(&bytes),
            file,
            control,
        });
    }
    outputs.sort();
    Record {
        action: Digest::of(b"action").to_string().parse().unwrap(),
        derivation: graph.release(),
        outputs,
        layers: Vec::new(),
        log: Digest::of(b""),
        receipt: BTreeMap::new(),
        circumstances: BTreeMap::new(),
        started: 0,
        elapsed: 1,
        cause: String::new(),
        causes: None,
        trace: None,
    }
}

fn signers(gnupg: &Gnupg, folder: &Path) -> Signers {
    gnupg.key("ours", "ed25519", "sign", "0");
    let secret = gnupg.run(gnupg::MADE, &["--export-secret-keys", "ours"], b"");
    let file = folder.join("secret");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let public = PublicFile { path: HostPath::new("ours.pgp"), bytes: gnupg.export(&["ours"]) };
    let places = Places { key_files: vec![HostPath::new(file)], gnupg_home: None };
    Signers::for_keys(&[public], &places, Timestamp::now()).unwrap()
}

/// A repository with all of this in the suite `stable`.
fn published(folder: &Path) -> Repository {
    let at = |part: &str| folder.join(part);
    fs::create_dir_all(at("made")).unwrap();
    made(&at("made"));
    let gnupg = Gnupg::new();
    let signers = signers(&gnupg, folder);
    let scene = Scene::new();
    let (graph, store) = (scene.graph(), scene.store());
    let repository = Repository::open_or_create(HostPath::new(at("repo"))).unwrap();
    let now = Timestamp::now();
    let mut stage = Stage::begin(&store, &repository, now).unwrap();
    let record = record(&store, &at("made"), &graph);
    let sign = |text: &str| Ok(signers.clear_sign(text, now)?);
    let none = |_: &str| None;
    let items =
        Item::of_record(&store, &graph, &record, graph.release(), "main", &none, &sign).unwrap();
    let architectures = ["amd64".to_owned()];
    let mut indexes = stage.indexes("stable").unwrap();
    let changes = change(&mut indexes, &store, "stable", &items, &[], &architectures).unwrap();
    stage.fill_pool(&items, &|| ()).unwrap();
    let suite = Suite {
        format: Format::Deb,
        component: "main".to_owned(),
        keys: Vec::new(),
        sees: Vec::new(),
        origin: None,
        label: None,
        codename: None,
        description: None,
        valid_days: None,
        url: None,
        rehearse: Rehearse::None,
    };
    let published = Published {
        name: "demo".to_owned(),
        version: "1.0".to_owned(),
        id: graph.release(),
        manifest: None,
    };
    let contents = Contents {
        indexes,
        changes,
        architectures: &architectures,
        published: Some((published, None)),
    };
    stage.put("stable", &suite, contents, &signers).unwrap();
    stage.finish(Reason::Publish, &signers).unwrap().switch().unwrap();
    repository
}

/// Path and packages of each line; a path may have blanks in it.
fn contents(text: &str) -> BTreeMap<String, Vec<String>> {
    let line = |line: &str| {
        let (path, packages) = line.rsplit_once([' ', '\t']).unwrap();
        let packages = packages.split(',').map(str::to_owned).collect();
        (path.trim_end().to_owned(), packages)
    };
    text.lines().map(line).collect()
}

#[test]
fn indexes_say_what_those_of_apt_ftparchive_say_of_the_same_pool() {
    let folder = tempfile::tempdir().unwrap();
    let repository = published(folder.path());
    let root = repository.root().as_path();
    let read = |path: &str| fs::read_to_string(root.join("dists/stable").join(path)).unwrap();

    let parts = ["main", "main/debian-installer", "debug"];
    let ours: String = parts.map(|part| read(&format!("{part}/binary-amd64/Packages"))).concat();
    let theirs = tool("apt-ftparchive", &["packages", "pool"], root);
    assert_eq!(index(&ours).len(), 4);
    compare(&index(&ours), &index(&theirs), PACKAGES);

    let ours = read("main/source/Sources");
    let theirs = tool("apt-ftparchive", &["sources", "pool"], root);
    assert_eq!(index(&ours).len(), 1);
    compare(&index(&ours), &index(&theirs), SOURCES);
    // Fields come in our order: the name first.
    assert!(ours.starts_with("Package: odd\n"), "{ours}");

    // Without an override file apt-ftparchive knows no sections, which the format has before the
    // name; and it leaves the installer's packages out.
    let bare = |lists: [&str; 2]| {
        let mut all = contents(&lists.map(read).concat());
        for packages in all.values_mut() {
            for package in packages {
                let (section, name) = package.split_once('/').unwrap();
                let known = if name == "odd" { "libs" } else { &name["odd-".len()..] };
                assert_eq!(section, if known == "dbgsym" { "debug" } else { known });
                *package = name.to_owned();
            }
        }
        all
    };
    let theirs = contents(&tool("apt-ftparchive", &["contents", "pool"], root));
    assert_eq!(theirs.len(), 12, "{theirs:?}");
    assert_eq!(bare(["main/Contents-amd64", "debug/Contents-amd64"]), theirs);
    let udebs = contents(&read("main/Contents-udeb-amd64"));
    assert_eq!(udebs.len(), 4);
    assert!(udebs.values().all(|packages| packages == &["debian-installer/odd-udeb"]));
}
