//! The edges between the packages of a release, and what a package becomes on its way to a
//! derivation. Every release here is made up, and lies in memory.
#![expect(clippy::unwrap_used, reason = "aa test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use perestroika::base::{Diagnostic, HostPath, ReleasePath, Sha256};
use perestroika::cli::render::{self, COLUMNS, Color};
use perestroika::graph::derivation::Package;
use perestroika::graph::{Derivation, Graph, lower};
use perestroika::spec::loader::Memory;
use perestroika::spec::lock::{
    self, IndexKind, Lock, LockedArchive, LockedBinary, LockedFile, LockedIndex, LockedSource,
    LockedSuite,
};
use perestroika::spec::{self, load_from};

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
packages = ["build-essential"]
"#;

/// A release in memory: its files, and what it is pinned to.
#[derive(Clone)]
struct Release {
    files: BTreeMap<ReleasePath, Vec<u8>>,
    lock: Lock,
}

impl Release {
    /// One with these files, pinned to an archive of one index.
    fn new(files: &[(&str, &str)]) -> Self {
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
        let archives =
            BTreeMap::from([("upstream".to_owned(), LockedArchive { suites: vec![suite] })]);
        let stdlib = ["debian", "script"].map(|module| (module.to_owned(), Sha256::of(b"module")));
        let lock = Lock { archives, stdlib: stdlib.into(), ..Lock::default() };
        let mut release = Self { files: BTreeMap::new(), lock };
        release.put("release.toml", RELEASE);
        for (path, text) in files {
            release.put(path, text);
        }
        release
    }

    fn put(&mut self, path: &str, text: &str) {
        self.files.insert(path.parse().unwrap(), text.as_bytes().to_vec());
    }

    /// Pins a source package of the archive: `name architecture profiles` of each binary and what
    /// it provides.
    fn pin(&mut self, name: &str, version: &str, depends: &str, binaries: &[(&str, &str)]) {
        let file = |name: String| LockedFile { sha256: Sha256::of(name.as_bytes()), name, size: 7 };
        let binary = |(text, provides): &(&str, &str)| {
            let mut words = text.split(' ');
            LockedBinary {
                name: words.next().unwrap().parse().unwrap(),
                architecture: words.next().unwrap_or("any").to_owned(),
                profiles: words.next().unwrap_or_default().to_owned(),
                provides: (*provides).to_owned(),
            }
        };
        let source = LockedSource {
            version: version.to_owned(),
            directory: format!("pool/main/xx/{name}"),
            files: vec![file(format!("{name}.dsc")), file(format!("{name}.tar.xz"))],
            binaries: binaries.iter().map(binary).collect(),
            relations: BTreeMap::from([("Build-Depends".to_owned(), depends.to_owned())]),
            requires_root: None,
        };
        self.lock.sources.insert(("upstream".to_owned(), name.parse().unwrap()), source);
    }

    fn graph(&self) -> Result<Graph, Vec<Diagnostic>> {
        let spec = load_from(Arc::new(Memory(self.files.clone())), None)?;
        lower(&spec, &self.lock)
    }

    #[track_caller]
    fn good(&self) -> Graph {
        self.graph().unwrap_or_else(|errors| panic!("{}", self.rendered(&errors)))
    }

    #[track_caller]
    fn wrong(&self) -> String {
        match self.graph() {
            Ok(graph) => panic!("nothing is wrong: {}", edges(&graph)),
            Err(errors) => self.rendered(&errors),
        }
    }

    fn rendered(&self, errors: &[Diagnostic]) -> String {
        let read = |path: &ReleasePath| {
            self.files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        render::diagnostics(errors, &read, Path::new(""), Color::Never, COLUMNS)
    }
}

/// A package with packaging of its own: name; fields of its source paragraph; its binary
/// packages, each a name and perhaps more fields; more fields of its spec.
type Own<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

fn release_of(packages: &[Own<'_>]) -> Release {
    let mut release = Release::new(&[]);
    for (name, fields, binaries, spec) in packages {
        let mut control = format!("Source: {name}\n{fields}\n");
        for binary in *binaries {
            let any = if binary.contains("Architecture:") { "" } else { "\nArchitecture: any" };
            control.push_str(&format!("\nPackage: {binary}{any}\n"));
        }
        let changelog = format!(
            "{name} (1.2-3) stable; urgency=medium\n\n  * New.\n\n \
             -- Some One <one@release.example>  Sun, 01 Nov 2026 12:00:00 +0000\n"
        );
        release.put(&format!("src/{name}/debian/control"), &control.replace("\n\n\n", "\n\n"));
        release.put(&format!("src/{name}/debian/changelog"), &changelog);
        release.put(
            &format!("packages/{name}.rhai"),
            &format!(
                "package(#{{\n    name: \"{name}\",\n    source: dir(\"src/{name}\"),\n    \
                 build: debian(),\n    {spec}\n}})\n"
            ),
        );
    }
    release
}

/// `p -> q`, a word per edge, in the order of names.
fn edges(graph: &Graph) -> String {
    let mut found = Vec::new();
    for (_, package) in graph.packages() {
        for need in &package.dependencies {
            let Derivation::Package(need) = &graph.node(*need).unwrap().derivation else {
                panic!("a dependency is a package");
            };
            found.push(format!("{} -> {}", package.name, need.name));
        }
    }
    found.sort();
    found.join(", ")
}

#[track_caller]
fn check(packages: &[Own<'_>], expected: &str) {
    assert_eq!(edges(&release_of(packages).good()), expected);
}

fn package<'a>(graph: &'a Graph, name: &str) -> &'a Package {
    graph.package(name).unwrap().1
}

/// What `p` needs of `q` and `r` if these are its build dependencies.
#[track_caller]
fn needs(depends: &str, expected: &str) {
    let q: Own<'_> = ("qq", "", &["libq-dev\nProvides: qq-api (= 2), both", "qq-all"], "");
    let r: Own<'_> =
        ("rr", "", &["libr-dev\nProvides: both, libq-dev", "rr-all\nArchitecture: all"], "");
    let field = format!("Build-Depends: {depends}");
    check(&[("pp", &field, &["pp", "libp-dev"], ""), q, r], expected);
}

#[test]
fn a_dependency_leads_to_the_package_of_the_release_that_builds_it() {
    needs("libq-dev", "pp -> qq");
    needs("libq-dev (>= 1), libr-dev", "pp -> qq, pp -> rr");
    needs("rr-all", "pp -> rr");
    needs("debhelper-compat (= 13), zlib1g-dev", "");
}

#[test]
fn the_first_alternative_that_the_release_offers_counts() {
    needs("libq-dev | libr-dev", "pp -> qq");
    needs("libr-dev | libq-dev", "pp -> rr");
    needs("libelse-dev | libr-dev | libq-dev", "pp -> rr");
    needs("libelse-dev | libother-dev", "");
}

#[test]
fn what_is_provided_is_offered_unless_a_package_of_that_name_is_built() {
    needs("qq-api", "pp -> qq");
    needs("both", "pp -> qq, pp -> rr");
    needs("libq-dev", "pp -> qq");
}

#[test]
fn names_make_edges_whatever_version_or_architecture_they_are_wanted_in() {
    needs("libq-dev (>= 99)", "pp -> qq");
    needs("libq-dev:any", "pp -> qq");
    needs("libq-dev:native", "pp -> qq");
}

#[test]
fn a_dependency_of_other_architectures_makes_no_edge() {
    needs("libq-dev [arm64]", "");
    needs("libq-dev [!amd64]", "");
    needs("libq-dev [arm64] | libr-dev", "pp -> rr");
    needs("libq-dev [linux-any]", "pp -> qq");
    needs("libq-dev [arm64 amd64]", "pp -> qq");
}

#[test]
fn a_dependency_of_other_profiles_makes_no_edge() {
    needs("libq-dev <!nocheck>", "pp -> qq");
    needs("libq-dev <nocheck>", "");
    needs("libq-dev <stage1> <!nodoc>", "pp -> qq");
    let q: Own<'_> = ("qq", "", &["libq-dev"], "");
    let without = "without_tests: \"they need a network\",";
    check(&[("pp", "Build-Depends: libq-dev <!nocheck>", &["pp"], without), q], "");
    check(&[("pp", "Build-Depends: libq-dev <nocheck>", &["pp"], without), q], "pp -> qq");
}

#[test]
fn nobody_is_offered_what_it_builds_itself() {
    needs("libp-dev", "");
    needs("libp-dev | libq-dev", "pp -> qq");
}

#[test]
fn only_what_is_built_here_is_offered() {
    let p: Own<'_> = ("pp", "Build-Depends: libq-dev", &["pp"], "");
    check(&[p, ("qq", "", &["libq-dev\nArchitecture: arm64"], "")], "");
    check(&[p, ("qq", "", &["libq-dev\nArchitecture: arm64 amd64"], "")], "pp -> qq");
    check(&[p, ("qq", "", &["libq-dev\nArchitecture: linux-any"], "")], "pp -> qq");
    check(&[p, ("qq", "", &["libq-dev\nBuild-Profiles: <stage1>"], "")], "");
    check(&[p, ("qq", "", &["libq-dev\nBuild-Profiles: <!stage1>"], "")], "pp -> qq");
    let without = "without_tests: \"there are none\",";
    check(&[p, ("qq", "", &["libq-dev\nBuild-Profiles: <!nocheck>"], without)], "");
}

#[test]
fn every_field_of_build_dependencies_counts_and_no_conflict_does() {
    let q: Own<'_> = ("qq", "", &["libq-dev"], "");
    for field in ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"] {
        check(&[("pp", &format!("{field}: libq-dev"), &["pp"], ""), q], "pp -> qq");
    }
    for field in ["Build-Conflicts", "Build-Conflicts-Arch", "Build-Conflicts-Indep"] {
        check(&[("pp", &format!("{field}: libq-dev"), &["pp"], ""), q], "");
    }
    check(&[("pp", "", &["pp"], "build_depends: [\"libx, libq-dev (>= 1)\"],"), q], "pp -> qq");
}

#[test]
fn what_is_taken_from_the_seed_makes_no_edge() {
    let q: Own<'_> = ("qq", "", &["libq-dev"], "");
    let r: Own<'_> = ("rr", "", &["libr-dev"], "");
    let seed = "from_seed: [\"libq-dev\"],";
    check(&[("pp", "Build-Depends: libq-dev", &["pp"], seed), q], "");
    check(&[("pp", "Build-Depends: libq-dev | libr-dev", &["pp"], seed), q, r], "pp -> rr");
    let graph = release_of(&[("pp", "Build-Depends: libq-dev", &["pp"], seed), q]).good();
    assert_eq!(package(&graph, "pp").from_seed, ["libq-dev".parse().unwrap()]);
}

#[test]
fn rebuilt_sources_offer_what_the_lock_says_of_them() {
    let mut release =
        Release::new(&[("archive.rhai", r#"rebuild(["user", "virtual", "lib", "other"])"#)]);
    release.pin("user", "1.0-1", "debhelper, lib-dev, lib-virtual", &[("user", "")]);
    release.pin("lib", "2.0-1", "debhelper", &[("lib1", ""), ("lib-dev", "lib-api (= 2)")]);
    release.pin("virtual", "2.0-1", "lib-api, other-doc", &[("virt", "lib-virtual, lib-x")]);
    let doc = ("other-doc all !nodoc", "");
    release.pin("other", "1", "stage-dev, port-dev", &[doc, ("other-port arm64", "")]);
    assert_eq!(
        edges(&release.good()),
        "user -> lib, user -> virtual, virtual -> lib, virtual -> other"
    );
    release.pin("user", "1.0-1", "stage-dev, other-port", &[("user", "")]);
    release.pin("lib", "2.0-1", "debhelper", &[("lib-dev", ""), ("stage-dev any stage1", "")]);
    release.pin("virtual", "2.0-1", "", &[("virt", "")]);
    assert_eq!(edges(&release.good()), "");
}

#[test]
fn two_packages_that_build_one_binary_are_refused() {
    let release = release_of(&[("pp", "", &["libx"], ""), ("qq", "", &["libx"], "")]);
    assert_eq!(
        release.wrong(),
        "\
error: two packages of the release build `libx`
 --> packages/qq.rhai:1:1
  |
1 | package(#{
  | ^^^^^^^ `qq` does
  |
 ::: packages/pp.rhai:1:1
  |
1 | package(#{
  | ------- `pp` does too
"
    );
}

#[test]
fn a_cycle_is_told_with_the_whole_loop_and_its_lines() {
    let mut release = release_of(&[
        ("aa", "Build-Depends: libb-dev", &["liba-dev"], ""),
        (
            "bb",
            "",
            &["libb-dev"],
            "build_depends: [\n        \"zlib1g-dev\",\n        \"libc-dev | xx\",\n    ],",
        ),
        ("cc", "Build-Depends: liba-dev", &["libc-dev"], ""),
        ("dd", "Build-Depends: liba-dev", &["libd-dev"], ""),
    ]);
    assert_eq!(
        release.wrong(),
        "\
error: build dependencies go round: aa -> bb -> cc -> aa
 --> src/aa/debian/control:2:1
  |
2 | Build-Depends: libb-dev
  | ^^^^^^^^^^^^^ `aa` needs `libb-dev` of `bb`
  |
 ::: packages/bb.rhai:7:9
  |
7 |         \"libc-dev | xx\",
  |         --------------- `bb` needs `libc-dev` of `cc`
  |
 ::: src/cc/debian/control:2:1
  |
2 | Build-Depends: liba-dev
  | ------------- `cc` needs `liba-dev` of `aa`
  |
help: `from_seed: [\"liba-dev\"]` in `cc` takes it from the archive instead
"
    );
    let broken = "package(#{ name: \"cc\", source: dir(\"src/cc\"), build: debian(), \
                  from_seed: [\"liba-dev\"] })\n";
    release.put("packages/cc.rhai", broken);
    assert_eq!(edges(&release.good()), "aa -> bb, bb -> cc, dd -> aa");
}

#[test]
fn every_cycle_is_told() {
    let text = release_of(&[
        ("aa", "Build-Depends: libb-dev", &["liba-dev"], ""),
        ("bb", "Build-Depends: liba-dev", &["libb-dev"], ""),
        ("cc", "Build-Depends: libd-dev", &["libc-dev"], ""),
        ("dd", "Build-Depends: libc-dev", &["libd-dev"], ""),
    ])
    .wrong();
    assert!(text.contains("go round: aa -> bb -> aa"), "{text}");
    assert!(text.contains("go round: cc -> dd -> cc"), "{text}");
}

#[test]
fn the_demo_has_two_edges_and_no_cycle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/demo");
    let text = std::fs::read_to_string(folder.join("release.lock")).unwrap();
    let lock = lock::parse(&text).unwrap();
    let spec = spec::load(&HostPath::new(&folder), Some(&lock)).unwrap();
    let graph = lower(&spec, &lock).unwrap();
    assert_eq!(edges(&graph), "greet -> libgreet, libxslt -> libxml2");
}

#[test]
fn nodes_come_after_what_they_need_and_closures_are_whole() {
    let graph = release_of(&[
        ("aa", "Build-Depends: libb-dev, libc-dev", &["liba-dev"], ""),
        ("bb", "Build-Depends: libc-dev", &["libb-dev"], ""),
        ("cc", "", &["libc-dev"], ""),
        ("dd", "Build-Depends: libb-dev", &["libd-dev"], ""),
    ])
    .good();
    let id = |name: &str| graph.package(name).unwrap().0.id;
    let mut before = Vec::new();
    for node in graph.nodes() {
        for need in graph.needs(node.id) {
            assert!(before.contains(&need), "{need} comes before {}", node.id);
        }
        before.push(node.id);
    }
    assert_eq!(before.last(), Some(&graph.release()));
    let closure = graph.closure(id("dd"));
    assert!(closure.contains(&id("bb")) && closure.contains(&id("cc")));
    assert!(!closure.contains(&id("aa")) && !closure.contains(&id("dd")));
    let mut users = vec![id("bb"), id("aa"), graph.release()];
    users.sort_unstable();
    assert_eq!(graph.dependents(id("cc")), users);
}

#[test]
fn a_suffix_and_changes_make_a_new_version_of_a_rebuilt_package() {
    let mut release = Release::new(&[(
        "archive.rhai",
        r#"rebuild("lib").with(#{
            suffix: "+demo1",
            changes: #{ date: "2026-11-22", text: "Fix the first thing.\nAnd the second." },
        })"#,
    )]);
    release.pin("lib", "1:2.0-1", "debhelper", &[("lib1", "")]);
    let graph = release.good();
    let lib = package(&graph, "lib");
    assert_eq!(lib.version, "1:2.0-1+demo1");
    assert_eq!(
        lib.changelog,
        "lib (1:2.0-1+demo1) test; urgency=medium\n\n  * Fix the first thing.\n  \
         * And the second.\n\n \
         -- Some team <team@release.example>  Sun, 22 Nov 2026 00:00:00 +0000\n\n"
    );
    release.put("archive.rhai", r#"rebuild("lib")"#);
    let graph = release.good();
    let lib = package(&graph, "lib");
    assert_eq!((lib.version.as_str(), lib.changelog.as_str()), ("1:2.0-1", ""));
}

#[test]
fn tests_that_do_not_run_are_a_profile_and_an_option() {
    let fields = "Build-Depends: debhelper, check <!nocheck>, tool <nocheck>";
    let spec = "without_tests: \"they need a network\", env: #{ DEB_BUILD_OPTIONS: \"terse\" },";
    let graph =
        release_of(&[("pp", fields, &["pp", "p-tests\nBuild-Profiles: <!nocheck>"], spec)]).good();
    let p = package(&graph, "pp");
    assert_eq!(p.profiles, ["nocheck"]);
    assert_eq!(p.environment["DEB_BUILD_OPTIONS"], "terse nocheck");
    assert_eq!(p.build_depends, ["debhelper", "tool"]);
    assert_eq!(p.binaries, ["pp".parse().unwrap()]);
    let graph = release_of(&[("pp", fields, &["pp"], "")]).good();
    let p = package(&graph, "pp");
    assert_eq!((p.profiles.len(), p.environment.len()), (0, 0));
    assert_eq!(p.build_depends, ["debhelper", "check"]);
}

#[test]
fn dependencies_are_kept_as_written_but_for_what_does_not_apply() {
    let fields = "Build-Depends: libq-dev (>= 1.2~) | libr-dev [arm64], python3:any <!nopython>,\n \
                  gone [arm64]\nBuild-Depends-Indep: doc-tool\nBuild-Conflicts: bad (<< 2)";
    let graph = release_of(&[("pp", fields, &["pp"], "build_depends: [\"extra, more\"],")]).good();
    let p = package(&graph, "pp");
    assert_eq!(p.build_depends, ["libq-dev (>= 1.2~)", "python3:any", "doc-tool", "extra", "more"]);
    assert_eq!(p.build_conflicts, ["bad (<< 2)"]);
}

#[test]
fn packaging_is_generated_from_the_fields_alone() {
    let release = Release::new(&[
        ("src/tool/tool.c", ""),
        (
            "tool.rhai",
            r#"package(#{
                name: "tool", version: "1.0", revision: "2", suffix: "+x1",
                summary: "By hand", description: "First line.\n\nSecond part.",
                homepage: "https://tool.example", license: "MIT", section: "utils",
                maintainer: "Some One <one@release.example>",
                changes: #{ date: "2026-11-22T10:11:12Z", text: "New." },
                source: dir("src/tool"),
                build_depends: ["check <!nocheck>", "libx-dev (>= 2)"],
                build: script("make"),
            })"#,
        ),
    ]);
    let graph = release.good();
    let tool = package(&graph, "tool");
    assert_eq!(tool.version, "1.0-2+x1");
    assert_eq!(tool.changelog, "", "the generated one has everything");
    assert_eq!(tool.binaries, ["tool".parse().unwrap()]);
    assert_eq!(tool.build_depends, ["debhelper-compat (= 13)", "check", "libx-dev (>= 2)"]);
    let files: Vec<&str> = tool.files.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        [
            "debian/changelog",
            "debian/control",
            "debian/copyright",
            "debian/perestroika-build",
            "debian/rules",
            "debian/source/format"
        ]
    );
    assert_eq!(
        tool.files["debian/control"],
        "\
Source: tool
Section: utils
Priority: optional
Maintainer: Some One <one@release.example>
Build-Depends: debhelper-compat (= 13), check <!nocheck>, libx-dev (>= 2)
Standards-Version: 4.6.2
Homepage: https://tool.example
Rules-Requires-Root: no

Package: tool
Architecture: any
Depends: ${shlibs:Depends}, ${misc:Depends}
Description: By hand
 First line.
 .
 Second part.
"
    );
    assert_eq!(
        tool.files["debian/changelog"],
        "tool (1.0-2+x1) test; urgency=medium\n\n  * New.\n\n \
         -- Some One <one@release.example>  Sun, 22 Nov 2026 10:11:12 +0000\n"
    );
    assert_eq!(tool.files["debian/source/format"], "3.0 (quilt)\n");
}

/// What is wrong with package `p` with these fields, its packaging version 1.2-3.
#[track_caller]
fn refused(spec: &str, expected: &str) {
    let text = release_of(&[("pp", "", &["pp"], spec)]).wrong();
    assert!(text.contains(expected), "{spec}\n{text}");
}

#[test]
fn what_contradicts_the_packaging_is_refused() {
    refused("version: \"1.3\",", "the spec says version `1.3`, the packaging `1.2-3`");
    refused("suffix: \"+demo1\",", "`pp` needs `changes`");
    refused(
        "changes: #{ date: \"2026-11-22\", text: \"xx\" },",
        "`pp` has `changes` but keeps its version",
    );
    refused("root: \"stabel\",", "there is no root `stabel`");
    for version in ["1.2", "1.2-3"] {
        let spec = format!("version: \"{version}\",");
        assert_eq!(
            package(&release_of(&[("pp", "", &["pp"], &spec)]).good(), "pp").version,
            "1.2-3"
        );
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let mut release = release_of(&[
        ("pp", "", &["pp"], "version: \"9\","),
        ("qq", "Build-Depends: (", &["qq"], ""),
    ]);
    release.put("archive.rhai", "rebuild(\"lost\")");
    release.lock.archives.clear();
    let text = release.wrong();
    for expected in [
        "archive `upstream` is not pinned for amd64",
        "source `lost` of archive `upstream` is not pinned",
        "the spec says version `9`",
        "perestroika lock",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert_eq!(text.matches("error: ").count(), 4, "{text}");
}

#[test]
fn a_loop_and_a_bad_list_hide_nothing_else_that_is_wrong() {
    let text = release_of(&[
        ("aa", "", &["aa-dev"], "build_depends: [\"bb-dev\", \"x y\", \"c_c\", \"dd (> 1)\"],"),
        ("bb", "", &["bb-dev"], "build_depends: [\"aa-dev\"],"),
        ("cc", "", &["cc"], "version: \"9\","),
    ])
    .wrong();
    for told in [
        "in the relation `x y`",
        "--> packages/aa.rhai:5:31",
        "`c_c` is not a package name",
        "--> packages/aa.rhai:5:38",
        "build dependencies go round: aa -> bb -> aa",
        "the spec says version `9`, the packaging `1.2-3`",
    ] {
        assert!(text.contains(told), "no `{told}`:\n{text}");
    }
    assert_eq!(text.matches("error: ").count(), 4, "{text}");
}

#[test]
fn all_that_generated_packaging_lacks_is_told_at_once() {
    let mut release = release_of(&[]);
    release.put("src/x/main.c", "");
    release.put(
        "x.rhai",
        "package(#{\n    name: \"xx\", version: \"1\", summary: \"x\",\n    \
         source: dir(\"src/x\"), build: make(),\n    \
         binaries: [#{ name: \"xx\", depends: [\"libc6 (>>> 2)\"], recommends: [\"y z\"] }],\n})\n",
    );
    let text = release.wrong();
    for told in [
        "`xx` needs `license` and `date`",
        "help: add `license: \"MIT\"`",
        "`depends` of `xx`: in the relation `libc6 (>>> 2)`",
        "--> x.rhai:4:41",
        "`recommends` of `xx`: in the relation `y z`",
        "--> x.rhai:4:72",
    ] {
        assert!(text.contains(told), "no `{told}`:\n{text}");
    }
}
