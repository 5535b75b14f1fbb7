//! Ids are for ever: the same folder has the same ids on every machine and in every version of
//! this program. `fixtures/ids.txt` holds those of a made-up release with every kind of
//! derivation and every field, and of the releases in `specs/`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use perestroika::base::{Digest, HostPath, Json};
use perestroika::graph::{Derivation, Graph, Origin, lower};
use perestroika::spec::{self, lock};
use program::{copy_folder, here};

const RELEASES: [&str; 7] = [
    "fixtures/ids",
    "specs/customers/a",
    "specs/customers/b",
    "specs/customers/base",
    "specs/demo",
    "specs/single",
    "specs/toolbox",
];

const HEAD: &str = "\
# Ids that must never change; tests/ids.rs compares them.
#
# An id may only change together with what it names. If one changes although its release folder
# did not, that is a new version of a format (`perestroika/derivation/1`, `perestroika/tree/1`):
# raise it, and say so in the commit and to everybody who keeps records.
# UPDATE=1 writes this file anew.
";

fn graph(folder: &Path) -> Graph {
    let lock = lock::parse(&fs::read_to_string(folder.join("release.lock")).unwrap()).unwrap();
    let spec = spec::load(&HostPath::new(folder), Some(&lock)).unwrap();
    lower(&spec, &lock).unwrap()
}

/// What a node is called in this test, whatever it is made of.
fn label(graph: &Graph, derivation: &Derivation, origin: &Origin) -> String {
    match (derivation, origin) {
        (Derivation::Package(package), _) => format!("package {}", package.name),
        (Derivation::Release(_), _) => "release".to_owned(),
        (Derivation::Source(_), Origin::Dir { path, .. }) => format!("source {path}"),
        (Derivation::Source(_), Origin::Archive { .. }) => {
            let id = derivation.id();
            let user = graph.packages().find(|(_, package)| package.source == id).unwrap();
            format!("source of {}", user.1.name)
        }
        (Derivation::Root(_), Origin::Root { name, .. }) => format!("root {name}"),
        other => panic!("an origin of another kind: {other:?}"),
    }
}

/// The document of every node, by its label.
fn documents(folder: &Path) -> BTreeMap<String, Json> {
    let graph = graph(folder);
    let labelled = |node: &perestroika::graph::Node| {
        assert_eq!(node.id, node.derivation.id());
        (label(&graph, &node.derivation, &node.origin), node.derivation.to_json())
    };
    graph.nodes().map(labelled).collect()
}

fn ids(folder: &Path) -> BTreeMap<String, String> {
    ids_of(&graph(folder))
}

fn ids_of(graph: &Graph) -> BTreeMap<String, String> {
    let labelled = |node: &perestroika::graph::Node| {
        (label(graph, &node.derivation, &node.origin), node.id.to_string())
    };
    graph.nodes().map(labelled).collect()
}

#[test]
fn ids_are_what_they_have_always_been() {
    let mut text = HEAD.to_owned();
    for release in RELEASES {
        write!(text, "\n{release}\n").unwrap();
        for (label, id) in ids(&here(release)) {
            writeln!(text, "{id}  {label}").unwrap();
        }
    }
    text.push_str("\nfixtures/ids, in a round whose seed is the digest of `seed`\n");
    for (label, id) in ids_of(&graph(&here("fixtures/ids")).round(Digest::of(b"seed"))) {
        writeln!(text, "{id}  {label}").unwrap();
    }
    let frozen = here("fixtures/ids.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&frozen, &text).unwrap();
    }
    let expected = fs::read_to_string(&frozen).unwrap_or_default();
    let moved: String = text
        .lines()
        .filter(|line| !expected.lines().any(|known| known == *line))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(
        text == expected,
        "\nids changed:\n{moved}\n\
         If these release folders did not change, this is a NEW VERSION OF A FORMAT: every record \
         and every build of everybody becomes stale. Raise the version in the format tag, and say \
         so aloud in the commit. If a folder was changed on purpose: UPDATE=1."
    );
}

#[test]
fn a_seed_is_part_of_all_ids_but_those_of_sources() {
    let first = graph(&here("fixtures/ids"));
    let seeds = [Digest::of(b"one"), Digest::of(b"other")];
    let [one, other] = seeds.map(|seed| first.round(seed));
    assert_eq!(ids_of(&first.round(seeds[0])), ids_of(&one));
    for ((node, one), other) in first.nodes().zip(one.nodes()).zip(other.nodes()) {
        let ids = BTreeSet::from([node.id, one.id, other.id]);
        let is_source = matches!(node.derivation, Derivation::Source(_));
        assert_eq!(ids.len(), if is_source { 1 } else { 3 }, "{node:?}");
        let Json::Object(members) = one.derivation.to_json() else { panic!("an object") };
        let is_release = matches!(node.derivation, Derivation::Release(_));
        let seed = members.get("seed").cloned();
        assert_eq!(seed, (!is_source && !is_release).then(|| Json::text(seeds[0])));
    }
    // A round of a round is one of the release: seeds do not add up.
    assert_eq!(ids_of(&one.round(seeds[1])), ids_of(&other));
}

/// The members of a derivation that say which kind it is.
const TAGS: [&str; 3] = ["format", "kind", "unpack"];

/// Kind and name of every member of every derivation, and whether it is empty.
fn members(documents: &BTreeMap<String, Json>) -> BTreeMap<String, bool> {
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for document in documents.values() {
        let Json::Object(fields) = document else { panic!("a derivation is an object") };
        for (name, value) in fields {
            let empty = match value {
                Json::String(text) => text.is_empty(),
                Json::Array(items) => items.is_empty(),
                Json::Object(members) => members.is_empty(),
                Json::Integer(_) => false,
            };
            *found.entry(format!("{} {name}", kind(fields))).or_insert(true) &= empty;
        }
    }
    found
}

fn kind(fields: &BTreeMap<String, Json>) -> String {
    let text = |name: &str| match fields.get(name) {
        Some(Json::String(text)) => text.clone(),
        _ => String::new(),
    };
    format!("{} {}", text("kind"), text("unpack")).trim_end().to_owned()
}

#[test]
fn the_made_up_release_has_every_kind_and_every_field() {
    let members = members(&documents(&here("fixtures/ids")));
    let empty: Vec<&String> =
        members.iter().filter(|(_, empty)| **empty).map(|(name, _)| name).collect();
    assert!(empty.is_empty(), "never filled: {empty:?}");
    let kinds: BTreeSet<&str> =
        members.keys().map(|name| name.rsplit_once(' ').unwrap().0).collect();
    let known = ["package", "release", "root", "source dpkg-source", "source tree"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), known);
}

/// A copy of the made-up release in a folder of another name.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        copy_folder(&here("fixtures/ids"), &copy.folder());
        copy
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("elsewhere")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    #[track_caller]
    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = self.read(path);
        assert!(text.contains(old), "{path} has no `{old}`");
        self.write(path, &text.replacen(old, new, 1));
    }
}

/// Nothing that `edit` does counts.
#[track_caller]
fn same(what: &str, edit: impl FnOnce(&Copy)) {
    let copy = Copy::new();
    edit(&copy);
    assert_eq!(ids(&copy.folder()), ids(&here("fixtures/ids")), "{what} changed ids");
}

#[test]
fn the_name_of_the_folder_and_the_times_of_files_do_not_count() {
    same("another folder", |_| {});
    same("other times", |copy| {
        for file in ["release.toml", "release.lock", "src/tool/tool.c", "packages/own.rhai"] {
            let file = fs::File::options().append(true).open(copy.path(file)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(86400)).unwrap();
        }
    });
    same("other modes", |copy| {
        for (file, mode) in [("src/tool/tool.c", 0o600), ("src/own/run", 0o755), ("src/own", 0o700)]
        {
            fs::set_permissions(copy.path(file), fs::Permissions::from_mode(mode)).unwrap();
        }
    });
    same("an empty folder", |copy| fs::create_dir_all(copy.path("src/tool/empty/er")).unwrap());
    same("version control, output", |copy| {
        copy.write("src/tool/.git/HEAD", "ref: refs/heads/main\n");
        copy.write("out/tool_1.0-2_amd64.deb", "");
        copy.write("README", "Of the release.\n");
    });
}

#[test]
fn comments_and_positions_do_not_count() {
    same("comments and empty lines", |copy| {
        for file in ["release.toml", "release.lock"] {
            copy.write(file, &format!("\n\n# More.\n{}# Last.\n", copy.read(file)));
        }
        for file in ["packages/archive.rhai", "packages/own.rhai"] {
            copy.write(file, &format!("\n/* More.\n*/\n{}", copy.read(file)));
        }
    });
    same("other files, in another order", |copy| {
        let own = copy.read("packages/own.rhai");
        let (first, second) = own.split_once("    package(#{\n        name: \"tool\"").unwrap();
        copy.write("packages/zz.rhai", &format!("{}\n]\n", first.trim_end()));
        copy.write("aa.rhai", &format!("[\n    package(#{{\n        name: \"tool\"{second}"));
        fs::remove_file(copy.path("packages/own.rhai")).unwrap();
        fs::create_dir(copy.path("packages/deep")).unwrap();
        fs::rename(copy.path("packages/archive.rhai"), copy.path("packages/deep/c.rhai")).unwrap();
    });
}

#[test]
fn the_order_of_what_has_none_does_not_count() {
    same("keys of a spec", |copy| {
        copy.replace("packages/own.rhai", "        version: \"1.0\",\n", "");
        copy.replace("packages/own.rhai", "root: \"small\",", "root: \"small\", version: \"1.0\",");
    });
    same("packages of a root", |copy| {
        let (old, new) = ("\"build-essential\", \"fakeroot\"", "\"fakeroot\", \"build-essential\"");
        copy.replace("release.toml", old, new);
    });
    same("names from the seed", |copy| {
        copy.replace("packages/archive.rhai", "\"tool\", \"lib-doc\"", "\"lib-doc\", \"tool\"");
    });
    same("tables of the lock", |copy| {
        let lock = copy.read("release.lock");
        let at = lock.find("[source.upstream.lib]").unwrap();
        let to = lock.find("[source.upstream.user]").unwrap();
        let end = lock.find("[stdlib]").unwrap();
        let parts = [&lock[..at], &lock[to..end], &lock[end..], "\n", &lock[at..to]];
        copy.write("release.lock", &parts.concat());
    });
    same("tables of release.toml", |copy| {
        let text = copy.read("release.toml");
        let at = text.find("[root.base]").unwrap();
        let to = text.find("[root.small]").unwrap();
        let head = text.find("[release]").unwrap();
        let parts = [&text[..head], &text[at..to], &text[head..at], &text[to..]];
        copy.write("release.toml", &parts.concat());
    });
}

#[test]
fn labels_mirrors_and_evidence_do_not_count() {
    let edits = [
        ("release.toml", "mirrors = [\"https://upstream.example/archive\"]\n", ""),
        ("release.toml", "upstream.example/", "else.example/"),
        ("release.toml", "keys/upstream.pgp", "keys/other.pgp"),
        ("release.lock", "date = \"Sat, 11", "date = \"Mon, 13"),
        ("release.lock", "size = 50060337", "size = 50060338"),
        ("release.lock", "pool/main/u/user", "pool/main/other"),
        // The indexes of sources: what was taken from them is in the lock.
        ("release.lock", "main/source/Sources", "main/source/Other"),
        ("packages/archive.rhai", "they need a network", "another reason"),
        (
            "packages/own.rhai",
            "root: \"small\",",
            "root: \"small\", resources: #{ memory: \"2 GiB\", time: \"1h\", cores: 2 },",
        ),
    ];
    for (file, old, new) in edits {
        same(&format!("{file}: {new}"), |copy| copy.replace(file, old, new));
    }
    same("evidence", |copy| {
        let lock = copy.read("release.lock");
        let (_, rest) = lock.split_once("release = \"").unwrap();
        let digest = &rest[..64];
        copy.write("release.lock", &lock.replace(digest, &"0".repeat(64)));
    });
    let copy = Copy::new();
    for (file, old, new) in [
        ("release.toml", "[root.small]", "[root.tiny]"),
        ("packages/own.rhai", "root: \"small\"", "root: \"tiny\""),
    ] {
        copy.replace(file, old, new);
    }
    let without_label = |folder: &Path| ids(folder).into_values().collect::<BTreeSet<_>>();
    assert_eq!(without_label(&copy.folder()), without_label(&here("fixtures/ids")));
}

/// File, what is replaced in it, by what, and the nodes whose ids change because of it. The
/// release's own always does.
type Change = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ALL: &[&str] = &["package lib", "package own", "package tool", "package user"];
const CHANGES: &[Change] = &[
    ("release.toml", "\"frozen\"", "\"thawed\"", &["package tool", "package own", "package user"]),
    ("release.toml", "version = \"1.0\"", "version = \"1.1\"", &[]),
    ("release.toml", "\"nobody\"", "\"somebody\"", &[]),
    ("release.toml", "Frozen team", "Other team", &["package own", "package tool", "package user"]),
    ("release.toml", "greeting = \"hello\"", "greeting = \"bye\"", &["package user"]),
    (
        "release.toml",
        "\"fakeroot\"",
        "\"gcc\"",
        &["package lib", "package own", "package tool", "package user", "root base"],
    ),
    (
        "release.lock",
        "main/binary-amd64/Packages",
        "contrib/binary-amd64/Packages",
        &["package lib", "package own", "package tool", "package user", "root base", "root small"],
    ),
    (
        "release.lock",
        "suite = \"stable-security\"",
        "suite = \"stable-updates\"",
        &["package lib", "package own", "package tool", "package user", "root base", "root small"],
    ),
    (
        "release.lock",
        "lib_1.2-3.dsc",
        "lib_1.2-3a.dsc",
        &["package lib", "package own", "package tool", "package user", "source of lib"],
    ),
    (
        "release.lock",
        "size = 169084",
        "size = 169085",
        &["package lib", "package own", "package tool", "package user", "source of lib"],
    ),
    ("release.lock", "version = \"1:1.2-3\"", "version = \"1:1.2-4\"", ALL),
    ("release.lock", "version = \"3.0\"", "version = \"3.1\"", &["package user"]),
    ("release.lock", "pkg-config:native", "pkgconf:native", ALL),
    ("release.lock", "old-lib-dev (<< 1)", "old-lib-dev (<< 2)", ALL),
    ("release.lock", "{ name = \"lib1\"", "{ name = \"lib2\"", ALL),
    ("release.lock", "lib-virtual (= 1), ", "", &["package own"]),
    ("release.lock", "lib-doc, tool", "lib-doc, tools", &["package user"]),
    ("packages/archive.rhai", "+frozen1", "+frozen2", &["package user"]),
    ("packages/archive.rhai", "2026-11-22", "2026-11-23", &["package user"]),
    ("packages/archive.rhai", "Say hello.", "Say more.", &["package user"]),
    (
        "packages/archive.rhai",
        "        without_tests: \"they need a network\",\n",
        "",
        &["package user"],
    ),
    ("packages/archive.rhai", "GREETING", "FAREWELL", &["package user"]),
    ("packages/archive.rhai", "\"tool\", ", "", &["package user"]),
    ("packages/archive.rhai", "(>= 1) [amd64]", "(>= 2)", &["package user"]),
    ("packages/own.rhai", "root: \"base\"", "root: \"small\"", &["package own"]),
    ("packages/own.rhai", "version: \"1.0\"", "version: \"1.1\"", &["package own", "package tool"]),
    ("packages/own.rhai", "It does nothing.", "Much.", &["package own", "package tool"]),
    ("packages/own.rhai", "cc -o tool", "c99 -o tool", &["package own", "package tool"]),
    ("packages/own.rhai", "lib-dev (>= 1)", "lib-dev", &["package own", "package tool"]),
    ("src/own/run", "echo own", "echo more", &["package own", "source src/own"]),
    ("src/own/debian/control", "bad (<< 2)", "bad (<< 3)", &["package own", "source src/own"]),
    ("src/own/debian/changelog", "(2:1.5-1)", "(2:1.5-2)", &["package own", "source src/own"]),
    (
        "src/tool/tool.c",
        "return 0",
        "return 1",
        &["package own", "package tool", "source src/tool"],
    ),
];

/// Labels whose ids differ between two releases.
fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let labels: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    labels.into_iter().filter(|label| before.get(*label) != after.get(*label)).cloned().collect()
}

#[test]
fn what_counts_changes_exactly_the_ids_that_it_reaches() {
    let before = ids(&here("fixtures/ids"));
    let mut wrong = String::new();
    for (file, old, new, expected) in CHANGES {
        let copy = Copy::new();
        copy.replace(file, old, new);
        let mut expected: Vec<&str> = expected.to_vec();
        expected.push("release");
        expected.sort_unstable();
        let found = moved(&before, &ids(&copy.folder()));
        if found != expected {
            writeln!(wrong, "{file}: `{old}` -> `{new}` changed {found:?}\n  not {expected:?}")
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn kinds_and_names_of_files_count() {
    let before = ids(&here("fixtures/ids"));
    let check = |edit: fn(&Copy)| {
        let copy = Copy::new();
        edit(&copy);
        let expected = ["package own", "release", "source src/own"];
        assert_eq!(moved(&before, &ids(&copy.folder())), expected);
    };
    check(|copy| {
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(copy.path("src/own/run"), mode).unwrap();
    });
    check(|copy| {
        fs::remove_file(copy.path("src/own/also")).unwrap();
        fs::copy(copy.path("src/own/run"), copy.path("src/own/also")).unwrap();
    });
    check(|copy| {
        fs::remove_file(copy.path("src/own/also")).unwrap();
        symlink("./run", copy.path("src/own/also")).unwrap();
    });
    check(|copy| fs::rename(copy.path("src/own/run"), copy.path("src/own/walk")).unwrap());
    check(|copy| copy.write("src/own/more", ""));
}

#[test]
fn every_field_was_changed_by_some_change() {
    let before = documents(&here("fixtures/ids"));
    let mut untouched: BTreeSet<String> = members(&before)
        .into_keys()
        .filter(|name| !TAGS.contains(&name.rsplit_once(' ').unwrap().1))
        .collect();
    // Whatever is called otherwise, or built for another machine, is another node.
    for name in ["package name", "package architecture", "root architecture"] {
        assert!(untouched.remove(name), "{name}");
    }
    // The same for every builder of today.
    for name in ["package script", "package outputs"] {
        assert!(untouched.remove(name), "{name}");
    }
    for (file, old, new, _) in CHANGES {
        let copy = Copy::new();
        copy.replace(file, old, new);
        let after = documents(&copy.folder());
        for (label, document) in &before {
            let (Json::Object(old), Some(Json::Object(new))) = (document, after.get(label)) else {
                continue;
            };
            for (name, value) in old {
                if new.get(name) != Some(value) {
                    untouched.remove(&format!("{} {name}", kind(old)));
                }
            }
        }
    }
    assert!(untouched.is_empty(), "no change of the table reaches {untouched:?}");
}

#[test]
fn a_builder_of_ones_own_changes_script_and_outputs() {
    let before = documents(&here("fixtures/ids"));
    let copy = Copy::new();
    copy.write(
        "lib/own.rhai",
        "fn plain() {\n    recipe(#{ packaging: \"own\", script: \"make\\n\", outputs: [\"*.deb\"] })\n}\n",
    );
    copy.replace("packages/own.rhai", "[\n", "import \"lib/own\" as own;\n[\n");
    copy.replace("packages/own.rhai", "build: debian()", "build: own::plain()");
    let after = documents(&copy.folder());
    let (Json::Object(before), Json::Object(after)) =
        (&before["package own"], &after["package own"])
    else {
        panic!("a derivation is an object");
    };
    let differs: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert_eq!(differs, ["outputs", "script"]);
}
