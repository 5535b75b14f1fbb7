//! What is said of a build, as the formats' own tools read it. They are Python's: tests/run
//! installs them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod gnupg;
mod program;
mod scene;
mod upstream;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use program::{PROGRAM, Release, Run, here, shared_store, unique};
use scene::{Alpha, Scene};
use serde_json::{Value, json};

/// Whether there are the tools; an error if there have to be.
fn validators() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/validators/bin/python");
    if python.is_file() {
        return Some(python);
    }
    let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
    assert!(
        !required.split([',', ' ']).any(|word| word == "validators"),
        "tests/run installs them"
    );
    std::io::stderr().write_all(b"SKIPPED: tests/run did not install the validators\n").unwrap();
    None
}

fn validate(python: &Path, script: &str, files: &[&Path]) -> Output {
    let script = here("tests/validators").join(script);
    Command::new(python).arg(script).args(files).output().unwrap()
}

/// What a tool prints of what is as it has to be.
#[track_caller]
fn valid(python: &Path, script: &str, files: &[&Path]) -> String {
    let output = validate(python, script, files);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two packages, of which the second is built with the first, built.
fn built() -> Release {
    let release = Release::copy_of("specs/single");
    fs::remove_file(release.path("hello.rhai")).unwrap();
    let package = |name: &str, license: &str, needs: &str| {
        let text = format!(
            "package(#{{ name: \"{name}\", version: \"1.0\", summary: \"Test\", license: \"{license}\", \
             build_depends: [{needs}], changes: #{{ date: \"2026-11-22\", text: \"{}\" }}, \
             source: dir(\"src/hello\"), build: script(##\"\n    \
             install -D hello.c \"$DESTDIR/usr/share/{name}/hello.c\"\n\"##) }})\n",
            unique()
        );
        release.write(&format!("{name}.rhai"), &text);
    };
    package("part", "MIT OR Apache-2.0", "");
    package("whole+", "GPL-2+", "\"part\"");
    release.run("build", &[]).ends_with(0);
    release
}

fn provenance(release: &Release, more: &[&str]) -> Run {
    let mut command = Command::new(PROGRAM);
    command.args(["audit", "provenance"]).arg(release.path("")).args(more);
    Run::of(command.arg("--store").arg(shared_store()))
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn others_read_what_a_build_says_of_itself() {
    let release = built();
    let folder = release.path("said");
    let write = || provenance(&release, &["-o", folder.to_str().unwrap()]).ends_with(0);
    write();
    let first = files(&folder);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let expected = [
        "part_1.0_amd64.buildinfo",
        "part_1.0_amd64.provenance.json",
        "part_1.0_amd64.spdx.json",
        "single_1.0.spdx.json",
        "whole+_1.0_amd64.buildinfo",
        "whole+_1.0_amd64.provenance.json",
        "whole+_1.0_amd64.spdx.json",
    ];
    assert_eq!(names, expected);
    // The same records give the same bytes, and so does the document.
    fs::remove_dir_all(&folder).unwrap();
    write();
    assert_eq!(files(&folder), first);
    let document = provenance(&release, &["--json"]).ends_with(0).json();
    let whole = document["packages"].as_array().unwrap().iter();
    let whole = whole.into_iter().find(|one| one["name"] == "whole+").unwrap();
    let of = |name: &str| serde_json::from_slice::<Value>(&first[name]).unwrap();
    assert_eq!(whole["provenance"], of("whole+_1.0_amd64.provenance.json"));
    assert_eq!(whole["spdx"], of("whole+_1.0_amd64.spdx.json"));
    assert_eq!(document["spdx"], of("single_1.0.spdx.json"));
    assert_eq!(
        whole["buildinfo"].as_str().unwrap().as_bytes(),
        first["whole+_1.0_amd64.buildinfo"]
    );

    let told = dpkg(&folder.join("whole+_1.0_amd64.buildinfo"));
    assert_eq!(told[..2], ["whole+ 1.0 amd64 source", "whole+_1.0.dsc whole+_1.0_amd64.deb"]);
    let installed: Vec<&str> = told[2].split(' ').collect();
    assert!(installed.contains(&"part=1.0") && installed.len() > 100, "{installed:?}");

    let Some(python) = validators() else { return };
    let key = release.path("builder.pub");
    let show = Command::new(PROGRAM).args(["key", "show", "--store"]).arg(shared_store()).output();
    fs::write(&key, show.unwrap().stdout).unwrap();
    let statement = |name: &str| -> Value {
        let file = folder.join(format!("{name}_1.0_amd64.provenance.json"));
        serde_json::from_str(&valid(&python, "provenance.py", &[&file, &key])).unwrap()
    };
    let (part, whole) = (statement("part"), statement("whole+"));
    let subject = |statement: &Value| -> BTreeMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let subject = statement["subject"].as_array().unwrap().iter();
        subject.map(|one| (text(&one["name"]), text(&one["digest"]["sha256"]))).collect()
    };
    let mut subjects = subject(&part);
    subjects.extend(subject(&whole));
    for (file, sha256) in release.debs() {
        assert_eq!(subjects.get(&file), Some(&sha256), "{file}");
    }
    let depended = |role: &str| -> Vec<Value> {
        let all = whole["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
        let of_role = all.iter().filter(|one| one["annotations"]["role"] == role);
        of_role.cloned().collect()
    };
    let root = depended("build-root");
    assert_eq!(root.len(), installed.len());
    assert_eq!((depended("action").len(), depended("source").len()), (1, 1));
    // Who distributes it is known of the archive's packages; the release's own are its subjects.
    let own: Vec<&Value> = root.iter().filter(|one| one["uri"].is_null()).collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["digest"]["sha256"], subject(&part)["part_1.0_amd64.deb"].as_str());
    let libc = root.iter().find(|one| one["name"] == "libc6").unwrap();
    let url = format!("pkg:deb/debian/libc6@{}?arch=amd64", libc["annotations"]["version"])
        .replace('"', "")
        .replace('+', "%2B");
    assert_eq!(libc["uri"], url);
    let isolation = &whole["predicate"]["buildDefinition"]["internalParameters"]["isolation"];
    assert_eq!(isolation["executor"], "native");

    // What is not what was signed is refused by them, too.
    let mut other = of("part_1.0_amd64.provenance.json");
    other["payload"] = of("whole+_1.0_amd64.provenance.json")["payload"].clone();
    let file = release.path("other.json");
    fs::write(&file, other.to_string()).unwrap();
    assert!(!validate(&python, "provenance.py", &[&file, &key]).status.success());

    let of_packages =
        [folder.join("part_1.0_amd64.spdx.json"), folder.join("single_1.0.spdx.json")];
    let files: Vec<&Path> = of_packages.iter().map(PathBuf::as_path).collect();
    let told = valid(&python, "spdx.py", &files);
    assert_eq!(told.lines().count(), 2, "{told}");
    bill_of_materials(&document["spdx"]);
    let info = folder.join("whole+_1.0_amd64.buildinfo");
    let told = valid(&python, "buildinfo.py", &[&info]);
    assert_eq!(told.lines().count(), installed.len());
    assert!(told.lines().any(|line| line == "part 1.0"), "{told}");
}

/// What dpkg reads of a `.buildinfo`: its source, version and architectures; its files; what was
/// installed.
fn dpkg(file: &Path) -> Vec<String> {
    const SCRIPT: &str = r#"
        my $info = Dpkg::Control->new(type => CTRL_FILE_BUILDINFO);
        $info->load($ARGV[0]);
        my $sums = Dpkg::Checksums->new();
        $sums->add_from_control($info);
        for my $file ($sums->get_files()) {
            die $file unless 3 == keys %{$sums->get_checksum($file)};
        }
        my $installed = deps_parse($info->{'Installed-Build-Depends'}, build_dep => 1) or die;
        print "$info->{'Source'} $info->{'Version'} $info->{'Architecture'}\n";
        print join(' ', sort $sums->get_files()), "\n";
        print join(' ', map { "$_->{package}=$_->{version}" } $installed->get_deps()), "\n";
    "#;
    let modules = ["-MDpkg::Control", "-MDpkg::Checksums", "-MDpkg::Deps"];
    let output =
        Command::new("perl").args(modules).args(["-e", SCRIPT]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn bill_of_materials(document: &Value) {
    let packages = document["packages"].as_array().unwrap();
    let of = |name: &str, file: &str| {
        let is = |one: &&Value| one["name"] == name && one["packageFileName"] == file;
        packages.iter().find(is).unwrap_or_else(|| panic!("no `{file}`"))
    };
    let part = of("part", "part_1.0_amd64.deb");
    assert_eq!(part["licenseDeclared"], "MIT OR Apache-2.0");
    let url = "pkg:deb/single/part@1.0?arch=amd64";
    assert_eq!(part["externalRefs"][0]["referenceLocator"], url);
    let whole = of("whole+", "whole+_1.0_amd64.deb");
    assert_eq!(whole["licenseDeclared"], "NOASSERTION");
    assert_eq!(whole["licenseComments"], "The spec states: GPL-2+");
    let source = of("whole+", "whole+_1.0.dsc");
    assert_eq!(source["primaryPackagePurpose"], "SOURCE");
    let related = |from: &Value, kind: &str, to: &Value| {
        let wanted = json!({
            "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to
        });
        document["relationships"].as_array().unwrap().contains(&wanted)
    };
    assert!(related(&whole["SPDXID"], "GENERATED_FROM", &source["SPDXID"]));
    // What one package built and the other was built with is one package of the release.
    assert!(related(&part["SPDXID"], "BUILD_DEPENDENCY_OF", &source["SPDXID"]));
    assert!(related(&json!("SPDXRef-Release"), "CONTAINS", &part["SPDXID"]));
    let libc = packages.iter().find(|one| one["name"] == "libc6").unwrap();
    assert!(related(&libc["SPDXID"], "BUILD_DEPENDENCY_OF", &source["SPDXID"]));
    assert!(!related(&json!("SPDXRef-Release"), "CONTAINS", &libc["SPDXID"]));
}

#[test]
fn nobody_signs_what_another_built_or_nobody_did() {
    let scene = Scene::new();
    let said = |more: &[&str]| scene.desk.run(&[&["audit", "provenance"], more].concat());
    said(&[]).fails(1, &["not built as the release is now: alpha, ", "`perestroika build`"]);
    // Records that no build in this store made.
    let scene = scene.built(&["alpha", "one", "two"], Alpha::Identical);
    scene.store().make_builder_key().unwrap();
    let said = |more: &[&str]| scene.desk.run(&[&["audit", "provenance"], more].concat());
    let ran = said(&["-o", "said"]).fails(1, &["not built with this store, so nothing is signed"]);
    assert!(
        ran.out.contains("7 files in said") && ran.out.contains("not built here"),
        "{}",
        ran.out
    );
    let files = files(&scene.desk.path("said"));
    assert!(files.keys().all(|name| !name.ends_with(".provenance.json")), "{:?}", files.keys());
    let document = said(&["--json", "one"]).fails(1, &[]).json();
    assert_eq!(document["errors"][0]["code"], "foreign");
    assert_eq!(document["packages"][0]["provenance"], Value::Null);

    // Their `.buildinfo` is what `audit archive` reads: all is as it was.
    let ran = scene.desk.run(&["audit", "archive", "alpha", "--json", "--buildinfo", "said"]);
    let inputs = ran.json()["packages"][0]["inputs"].clone();
    assert_eq!(inputs["buildinfo"], json!({ "same": inputs["packages"], "other": [] }));
}
