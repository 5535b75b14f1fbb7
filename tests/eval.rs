//! Text pairs: `fixtures/eval-ok-NAME.rhai` evaluates to the packages of `.expected`,
//! `fixtures/eval-err-NAME.rhai` to the rendered errors of it. A new case adds no Rust.
//!
//! A fixture is one spec file, or several: a line `//// PATH` begins the file PATH of the
//! release. All share the same release.toml and sources unless they bring their own. Run with
//! `UPDATE=1` to write the `.expected` files anew, and read the difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perestroika::base::ReleasePath;
use perestroika::cli::render::{self, Color};
use perestroika::spec::loader::Memory;
use perestroika::spec::model::{Package, Source};
use perestroika::spec::{Spec, load_from};

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

/// The release that a fixture describes.
fn release(text: &str) -> Memory {
    let mut files = BTreeMap::new();
    let mut put = |path: &str, content: &str| {
        let path: ReleasePath = path.parse().expect("a plain path");
        files.insert(path, content.as_bytes().to_vec());
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
    render::diagnostics(errors, &read, Path::new(""), Color::Never)
}

/// All that a spec says, without what it leaves out.
fn describe(spec: &Spec) -> String {
    let mut out = String::new();
    for package in &spec.packages {
        describe_package(&mut out, package);
    }
    writeln!(out, "stdlib {:?}", spec.stdlib).expect("strings take all");
    out
}

fn describe_package(out: &mut String, package: &Package) {
    let span = &package.span;
    let source = match &package.source.value {
        Source::Dir { path, tree, packaging } => {
            let files: Vec<_> = tree.entries().iter().map(|entry| entry.path.as_str()).collect();
            format!("dir {path} {files:?} packaging {}", packaging.is_some())
        }
        Source::Archive { name } => format!("archive {name}"),
    };
    let build = &package.build;
    let mut lines = vec![
        format!("{} at {}:{}:{}", package.name, span.file, span.line, span.column),
        format!("source {source}"),
        format!("build {} {:?} needs {:?}", build.name, build.packaging, build.needs),
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
    ];
    for (name, text) in texts {
        say(name, format!("{text:?}"), text.is_none());
    }
    say("changes", format!("{:?}", package.changes), package.changes.is_none());
    say("root", format!("{:?}", package.root.as_ref().map(|at| &at.value)), package.root.is_none());
    say("architectures", format!("{:?}", package.architectures), package.architectures.is_empty());
    say("env", format!("{:?}", package.env), package.env.is_empty());
    say("binaries", format!("{:?}", package.binaries), package.binaries.is_empty());
    say("resources", format!("{:?}", package.resources), package.resources == Default::default());
    for patch in &package.patches {
        say("patch", patch.value.to_string(), false);
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
}
