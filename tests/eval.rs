//! Text pairs: `fixtures/eval-ok-NAME.rhai` evaluates to the packages of `.expected`,
//! `fixtures/eval-err-NAME.rhai` to the rendered errors of it. A new case adds no Rust.
//!
//! A fixture is one spec file, or several: a line `//// PATH` begins the file PATH of the
//! release, or of one that it extends (`../base/PATH`). All share the same release.toml and
//! sources unless they bring their own. Run with
//! `UPDATE=1` to write the `.expected` files anew, and read the difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perestroika::base::{HostPath, ReleaseFolder, ReleasePath, Sha256};
use perestroika::cli::render::{self, COLUMNS, Color};
use perestroika::spec::loader::Memory;
use perestroika::spec::lock::Lock;
use perestroika::spec::model::{Builder, Located, Package, Packaging, Source};
use perestroika::spec::{Spec, load, load_from};

const RELEASE: &str = r#"
[release]
name = "demo"
version = "1.0"
maintainer = "Release team <release@example.org>"
architectures = ["amd64", "arm64"]

[archive.bookworm]
format = "deb"
suites = ["bookworm"]
components = ["main"]
keyring = "keys/debian.pgp"

[root.bookworm]
archive = "bookworm"

[parameters]
openstack = "2015.1"
jobs = 4
"#;

fn fixtures(prefix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = std::fs::read_dir(folder).expect("the folder of fixtures");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(prefix) && name.ends_with(".rhai")
        })
        .collect();
    found.sort();
    found
}

/// `../base/release.toml` is of an extended release, whose folder is what comes before the second
/// `/`; everything else is of the release itself.
fn release_path(text: &str) -> ReleasePath {
    let Some((name, inside)) = text.strip_prefix("../").and_then(|rest| rest.split_once('/'))
    else {
        return text.parse().expect("a plain path");
    };
    let folder: ReleaseFolder = format!("../{name}").parse().expect("a folder");
    folder.path(&inside.parse().expect("a plain path"))
}

/// The release that a fixture describes.
fn release(text: &str) -> Memory {
    let mut files = BTreeMap::new();
    let mut put = |path: &str, content: &str| {
        files.insert(release_path(path), content.as_bytes().to_vec());
    };
    put("release.toml", RELEASE);
    put("src/greet/greet.c", "int main(void) { return 0; }\n");
    put("src/own/main.c", "");
    put("src/own/debian/control", "Source: own\n");
    put("src/own/debian/changelog", "own (1.0-1) unstable; urgency=low\n");
    let mut parts = format!("\n{text}");
    if !parts.starts_with("\n////") {
        parts.insert_str(0, "\n//// test.rhai");
    }
    for part in parts.split("\n//// ").skip(1) {
        let (path, content) = part.split_once('\n').unwrap_or((part, ""));
        put(path, content);
    }
    Memory(files)
}

#[test]
fn good_specs_come_to_their_packages() {
    let cases = fixtures("eval-ok-");
    assert!(cases.len() >= 8, "{} cases", cases.len());
    run(&cases, |name, release| match load_from(Arc::new(release.clone()), None) {
        Ok(spec) => describe(&spec),
        Err(errors) => panic!("{name}:\n{}", rendered(release, &errors)),
    });
}

#[test]
fn bad_specs_come_to_errors_that_say_where_and_what() {
    let cases = fixtures("eval-err-");
    assert!(cases.len() >= 25, "{} cases", cases.len());
    run(&cases, |name, release| match load_from(Arc::new(release.clone()), None) {
        Ok(spec) => panic!("{name} is good:\n{}", describe(&spec)),
        Err(errors) => rendered(release, &errors),
    });
}

fn run(cases: &[PathBuf], evaluate: impl Fn(&str, &Memory) -> String) {
    let mut different = Vec::new();
    for path in cases {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let text = std::fs::read_to_string(path).expect("a readable fixture");
        let found = evaluate(name, &release(&text));
        let snapshot = path.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&snapshot, &found).expect("a writable folder");
        } else if std::fs::read_to_string(&snapshot).ok().as_deref() != Some(&found) {
            different.push(format!("== {name}\n{found}"));
        }
    }
    assert!(different.is_empty(), "not as expected:\n{}", different.join("\n"));
}

fn rendered(release: &Memory, errors: &[perestroika::base::Diagnostic]) -> String {
    let read = |path: &ReleasePath| {
        let bytes = release.0.get(path)?;
        String::from_utf8(bytes.clone()).ok()
    };
    render::diagnostics(errors, &read, Path::new(""), Color::Never, COLUMNS)
}

/// All that a spec says, without what it leaves out.
fn describe(spec: &Spec) -> String {
    let mut out = String::new();
    for package in &spec.packages {
        describe_package(&mut out, package);
    }
    writeln!(out, "stdlib {:?}", spec.stdlib).expect("strings take all");
    for remote in &spec.unpinned {
        let line = remote.span.as_ref().map(|span| span.line);
        writeln!(out, "unpinned {} at line {line:?}", remote.value).expect("strings take all");
    }
    out
}

fn describe_package(out: &mut String, package: &Package) {
    let span = &package.span;
    let source = describe_source(&package.source.value);
    let build = &package.build;
    let below: String = package
        .below
        .iter()
        .map(|span| format!(" over {}:{}:{}", span.file, span.line, span.column))
        .collect();
    let mut lines = vec![
        format!("{} at {}:{}:{}{below}", package.name, span.file, span.line, span.column),
        format!("source {source}"),
        format!("build {} {} needs {:?}", build.name, packaging_of(build), build.needs),
    ];
    for (file, text) in &build.files {
        let indented = text.trim_end().replace('\n', "\n    | ");
        lines.push(format!("file {file}\n    | {indented}"));
    }
    let mut say = |name: &str, value: String, empty: bool| {
        if !empty {
            lines.push(format!("{name} {value}"));
        }
    };
    let texts = [
        ("version", &package.version),
        ("revision", &package.revision),
        ("suffix", &package.suffix),
        ("summary", &package.summary),
        ("description", &package.description),
        ("homepage", &package.homepage),
        ("license", &package.license),
        ("section", &package.section),
        ("maintainer", &package.maintainer),
        ("without_tests", &package.without_tests),
        ("date", &package.date),
    ];
    for (name, text) in texts {
        say(name, format!("{text:?}"), text.is_none());
    }
    say("changes", format!("{:?}", package.changes), package.changes.is_none());
    say("root", format!("{:?}", package.root.as_ref().map(|at| &at.value)), package.root.is_none());
    say("architectures", format!("{:?}", package.architectures), package.architectures.is_empty());
    say("env", format!("{:?}", package.env), package.env.is_empty());
    say("binaries", describe_binaries(package), package.binaries.is_empty());
    say("resources", format!("{:?}", package.resources), package.resources == Default::default());
    for (path, source) in &package.extra {
        say("extra", format!("{path}: {}", describe_source(&source.value)), false);
    }
    for patch in &package.patches {
        let patch = &patch.value;
        say("patch", format!("{} as {} to {:?}", patch.path, patch.name, patch.to), false);
    }
    for name in &package.from_seed {
        say("from_seed", name.value.to_string(), false);
    }
    for item in &package.build_depends {
        let place = item.span.as_ref().map(|span| (span.line, span.column, span.length));
        say("build_depends", format!("{} at {place:?}", item.value), false);
    }
    out.push_str(&lines.join("\n  "));
    out.push('\n');
    let known = lines.join("\n  ");
    for (architecture, other) in &package.on {
        let mut text = String::new();
        describe_package(&mut text, other);
        for line in text.lines().filter(|line| !known.contains(line)) {
            writeln!(out, "  on {architecture}: {}", line.trim_start()).expect("strings take all");
        }
    }
}

/// Without the places of their relations.
fn describe_binaries(package: &Package) -> String {
    let told = package.binaries.iter().cloned().map(|mut binary| {
        let relations = std::mem::take(&mut binary.relations);
        let texts = |list: Vec<Located<String>>| -> Vec<String> {
            list.into_iter().map(|item| item.value).collect()
        };
        let relations: BTreeMap<_, _> =
            relations.into_iter().map(|(key, list)| (key, texts(list))).collect();
        let bare = format!("{binary:?}");
        bare.replace("relations: {}", &format!("relations: {relations:?}"))
    });
    format!("[{}]", told.collect::<Vec<_>>().join(", "))
}

fn packaging_of(build: &Builder) -> String {
    match &build.packaging {
        Packaging::Other(source) => describe_source(source),
        packaging => format!("{packaging:?}"),
    }
}

fn describe_source(source: &Source) -> String {
    match source {
        Source::Dir { path, tree, packaging } => {
            let files: Vec<_> = tree.entries().iter().map(|entry| entry.path.as_str()).collect();
            format!("dir {path} {files:?} packaging {}", packaging.is_some())
        }
        Source::Archive { name } => format!("archive {name}"),
        Source::Git { url, rev, pinned } => {
            format!("git {url} {rev} {:?}", pinned.as_ref().map(|pin| &pin.commit))
        }
        Source::Tarball(file) => format!("tarball {:?} {:?}", file.urls, file.sha256),
        Source::Fetched(file) => format!("fetched {:?} {:?}", file.urls, file.sha256),
        Source::File { path, size, sha256 } => format!("file {path} {size} {sha256}"),
    }
}

/// One spec file, which comes to packages or errors.
#[track_caller]
fn survives(name: &str, text: String) {
    let release = release(&format!("//// test.rhai\n{text}"));
    let outcome = match load_from(Arc::new(release.clone()), None) {
        Ok(spec) => format!("{} packages", spec.packages.len()),
        Err(errors) => errors[0].message.clone(),
    };
    assert!(!outcome.contains("broke off"), "{name} panicked inside");
}

#[test]
fn no_spec_takes_the_process_down() {
    let deep = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    survives("parentheses", deep("(", "1", ")", 60_000));
    survives("brackets", deep("[", "1", "]", 60_000));
    survives("maps", deep("#{a:", "1", "}", 40_000));
    survives("blocks", deep("{", "1", "}", 60_000));
    survives("ifs", deep("if true {", "1", "}", 20_000));
    survives("else ifs", format!("if false {{}} {}", "else if false {}".repeat(15_000)));
    survives("minuses", "-".repeat(100_000) + "1");
    survives("spaced minuses", "- ".repeat(100_000) + "1");
    survives("nots", "!".repeat(100_000) + "true");
    survives("sums", "1".to_owned() + &"+1".repeat(100_000));
    survives("powers", "2".to_owned() + &"**2".repeat(60_000));
    survives("ands", "true".to_owned() + &"&&true".repeat(40_000));
    survives("coalesces", "()".to_owned() + &"??()".repeat(60_000));
    survives("dots", "release".to_owned() + &".name".repeat(50_000));
    survives("indexes", "release".to_owned() + &"[0]".repeat(80_000));
    survives("calls", deep("f(", "1", ")", 60_000));
    survives("closures", deep("|x|", "1", "", 60_000));
    survives("comments", deep("/*", "1", "*/", 60_000));
    survives("interpolations", deep("`${", "1", "}`", 50_000));
    survives("switches", deep("switch 1 { _ =>", "1", "}", 10_000));
    survives("fors", deep("for i in [] {", "1", "}", 10_000));
    survives("namespaces", "a::".repeat(80_000) + "b()");
    survives("statements", "1;".repeat(100_000));
    survives("lines", "\n".repeat(70_000));
    survives("variables", (0..20_000).map(|i| format!("let v{i}=1;")).collect());
    survives("functions", (0..8_000).map(|i| format!("fn f{i}(){{}}")).collect());
    survives("nothing", String::new());
    survives("nul", "\0".to_owned());
    survives("one quote", "\"".to_owned());
    survives("raw quote", "#\"".to_owned());
    survives("one tick", "`${".to_owned());

    let looped = |start: &str, step: &str, end: &str| {
        format!("let a = {start}; for i in 0..10000000 {{ {step} }} {end}")
    };
    survives("nested lists", looped("[]", "a = [a];", "a"));
    survives("doubled lists", looped("[1]", "a = [a, a];", "a"));
    survives("pushed self", looped("[1]", "a.push(a);", "a"));
    survives("inserted self", looped("#{}", "a[`${i}`] = a;", "a"));
    survives("property assigned", looped("#{a:1}", "a.a = a;", "a"));
    survives("captured closures", looped("1", "let b = a; a = || b;", "a"));
    survives("captured maps", looped("1", "let b = a; a = #{ f: || b };", "a"));
    survives("closures in lists", looped("[]", "let b = a; a.push(|| b);", "a"));
    survives("shared itself", "let a = [1]; let f = || a; a.push(f); a.push(a); a".to_owned());
    survives("shared map", "let a = #{}; let f = || a; a.f = f; a.a = a; a".to_owned());
    survives("padded text", "let a = \"\"; a.pad(9000000000, 'x'); a".to_owned());
    survives("padded list", "let a = []; a.pad(9000000000, [1, 2]); a".to_owned());
    survives("ranges", "let a = []; for i in (0..9000000000).step(1) { a.push(i); } a".to_owned());
    survives("overflow", "9223372036854775807 + 1".to_owned());
    survives("division", "1 / 0".to_owned());
    survives("shift", "1 << 1000".to_owned());
    survives("power", "2 ** 1000".to_owned());
    survives("bad range", "\"abc\"[5..-7]".to_owned());
    survives("bad split", "\"abc\".split(-1)".to_owned());
    survives("chop", "let a = [1]; a.chop(-9223372036854775808); a".to_owned());
    survives("splice", "let a = [1]; a.splice(-9, 9999999999, [1]); a".to_owned());
    survives("sub_string", "\"é\".sub_string(1, 9223372036854775807)".to_owned());
    survives("split all", "let a = \"\"; a.pad(200000, 'x'); a.split(\"\")".to_owned());
    survives(
        "slow text",
        "let a = \"\"; a.pad(250000, 'x'); for i in 0..9999999 { a.contains(\"xy\"); }".to_owned(),
    );
    survives(
        "many packages",
        "let a = []; for i in 0..4500 { a.push(rebuild(`pkg${i}`)); } a".to_owned(),
    );
    survives("endless packages", "for i in 0..9999999 { rebuild(`pkg${i}`); }".to_owned());
    survives("endless folders", "for i in 0..9999999 { dir(\"src/greet\"); }".to_owned());
    survives("missing folders", "for i in 0..9999999 { dir(`src/${i}`); }".to_owned());
}

/// A release folder on disk with these files.
fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, HostPath) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, bytes) in [("release.toml", RELEASE.as_bytes())].iter().chain(files) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("writable");
        std::fs::write(path, bytes).expect("a writable folder");
    }
    let path = HostPath::new(folder.path());
    (folder, path)
}

#[track_caller]
fn fails(files: &[(&str, &[u8])], lock: Option<&Lock>, expected: &str) {
    let (folder, path) = folder(files);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/etc", link).expect("a writable folder");
    let errors = load(&path, lock).expect_err(expected);
    let text = rendered(&Memory::default(), &errors);
    assert!(text.contains(expected), "{text}");
}

#[test]
fn bad_files_are_errors_that_name_them() {
    fails(&[("a.rhai", b"()\n\xff")], None, "`a.rhai` is not UTF-8: see line 2\n--> a.rhai:2:1");
    fails(&[("a.rhai", &[b' '; 300_000])], None, "`a.rhai` is larger than 262144 bytes");
    fails(&[("a.rhai/x", b"")], None, "`a.rhai` is a folder, not a file");
    fails(&[("release.toml", b"\xff"), ("a.rhai", b"()")], None, "`release.toml` is not UTF-8");
    fails(&[], None, "the release has no spec");
    let spec = br#"package(#{ name: "one", source: dir("link"), build: debian() })"#;
    fails(&[("a.rhai", spec)], None, "`link` is a symbolic link");
    let spec = br#"package(#{ name: "one", source: dir("link/apt"), build: debian() })"#;
    fails(&[("a.rhai", spec)], None, "`link` is a symbolic link");
    let (_folder, path) = folder(&[]);
    let errors = load(&path.join("gone"), None).expect_err("no folder");
    assert!(errors[0].message.contains("cannot read"), "{errors:?}");
}

#[test]
fn a_pinned_stdlib_module_is_what_evaluates() {
    let text =
        b"fn debian() { recipe(#{ packaging: \"own\", script: \"make\", outputs: [\"*\"] }) }";
    let file = "release.lock.d/stdlib/debian.rhai";
    let lock = |sha256| {
        let stdlib = BTreeMap::from([("debian".to_owned(), sha256)]);
        Lock { stdlib, ..Lock::default() }
    };
    let good = lock(Sha256::of(text));
    let spec: (&str, &[u8]) = ("a.rhai", b"rebuild(\"zlib\")");
    let (_folder, path) = folder(&[spec, (file, text)]);
    let pinned = load(&path, Some(&good)).expect("a good copy");
    assert_eq!(pinned.packages[0].build.script, "make");
    let own = load(&path, None).expect("this program's own");
    assert_ne!(own.packages[0].build.script, "make");

    fails(&[spec, (file, text)], Some(&lock(Sha256::of(b""))), "is not what release.lock pins");
    fails(&[spec], Some(&good), "there is no `release.lock.d` in the release");
    let broken = lock(Sha256::of(b"fn"));
    fails(&[spec, (file, b"fn")], Some(&broken), "stdlib module `debian`");
}

#[test]
fn many_files_come_in_one_order() {
    let files: BTreeMap<ReleasePath, Vec<u8>> = (0..300)
        .map(|index| {
            let path = format!("packages/p{index:03}.rhai").parse().expect("a plain path");
            (path, format!("rebuild(\"pkg{index:03}\")").into_bytes())
        })
        .chain([("release.toml".parse().expect("a plain path"), RELEASE.as_bytes().to_vec())])
        .collect();
    let spec = load_from(Arc::new(Memory(files)), None).expect("good specs");
    let names: Vec<_> = spec.packages.iter().map(|package| package.name.to_string()).collect();
    let expected: Vec<_> = (0..300).map(|index| format!("pkg{index:03}")).collect();
    assert_eq!(names, expected);
}

const WORDS: [&str; 40] = [
    "package",
    "rebuild",
    "dir",
    "archive",
    "script",
    "debian",
    "release",
    ".with",
    ".add",
    "(",
    ")",
    "#{",
    "}",
    "[",
    "]",
    ",",
    ";",
    ":",
    "name",
    "source",
    "build",
    "\"zlib\"",
    "\"src/own\"",
    "let",
    "a",
    "=",
    "fn",
    "f",
    "for",
    "in",
    "0..3",
    "|x|",
    "+",
    "if",
    "else",
    "`${",
    "`",
    "import",
    " ",
    "\n",
];

proptest::proptest! {
    #[test]
    fn any_words_come_to_packages_or_errors(
        words in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..60),
    ) {
        let release = release(&format!("//// test.rhai\n{}", words.join(" ")));
        if let Err(errors) = load_from(Arc::new(release.clone()), None) {
            let text = rendered(&release, &errors);
            proptest::prop_assert!(text.contains("error: "));
            proptest::prop_assert!(!text.contains("broke off"), "{}", text);
        }
    }
}
