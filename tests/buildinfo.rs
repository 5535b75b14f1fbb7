//! Building what a `.buildinfo` says, with exactly the packages that it lists.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fmt::Write as _;

use perestroika::archive::deb::index::packages;
use perestroika::base::HostPath;
use perestroika::spec::lock;
use perestroika::store::Store;
use program::{Release, Run, shared_store, unique};
use serde_json::{Value, json};

/// A release of one package that says whether there is a `hello` in its root.
fn release() -> Release {
    let release = Release::copy_of("specs/single");
    std::fs::remove_file(release.path("hello.rhai")).unwrap();
    release.write(
        "probe.rhai",
        &format!(
            "package(#{{ name: \"probe\", version: \"1.0\", summary: \"Test\", license: \"MIT\",\n\
             changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n\
             source: dir(\"src/hello\"), build: script(##\"\n\
             mkdir -p \"$DESTDIR/usr/share/probe\"\n\
             command -v hello > \"$DESTDIR/usr/share/probe/hello\" || true\n\"##) }})\n",
            unique()
        ),
    );
    release
}

/// A file as a distribution's builder writes it.
fn buildinfo(installed: &[(String, String)], outputs: &[(String, String)]) -> String {
    let mut text = String::from(
        "Format: 1.0\nSource: probe\nBinary: probe\nArchitecture: amd64\nVersion: 1.0\n\
         Checksums-Sha256:\n",
    );
    for (file, sha256) in outputs {
        let _ = writeln!(text, " {sha256} 1 {file}");
    }
    text.push_str("Build-Path: /build/reproducible-path/probe-1.0\nInstalled-Build-Depends:\n");
    let lines: Vec<String> =
        installed.iter().map(|(name, version)| format!(" {name} (= {version})")).collect();
    text.push_str(&lines.join(",\n"));
    text.push_str("\nEnvironment:\n LC_ALL=\"C.UTF-8\"\n");
    text
}

/// The version of a package in the pinned archive.
fn pinned_version(release: &Release, name: &str) -> String {
    let text = std::fs::read_to_string(release.path("release.lock")).unwrap();
    let lock = lock::parse(&text).unwrap();
    let index = &lock.archives["bookworm"].suites[0].indexes[0];
    let store = Store::open(&HostPath::new(shared_store())).unwrap();
    let object = store.find(&index.sha256).unwrap().unwrap();
    let text = String::from_utf8(store.read(&object.digest).unwrap()).unwrap();
    let found = packages(&text).unwrap();
    found.iter().find(|one| one.name.as_str() == name).unwrap().version.to_string()
}

fn words(value: &Value, keys: [&str; 2]) -> Vec<(String, String)> {
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let list = value.as_array().unwrap().iter();
    list.map(|one| (word(one, keys[0]), word(one, keys[1]))).collect()
}

#[test]
fn a_package_is_built_with_exactly_what_its_buildinfo_lists() {
    let release = release();
    let built = release.run("build", &["--json"]).ends_with(0).json();
    let outputs = words(&built["packages"][0]["outputs"], ["file", "sha256"]);
    let outputs: Vec<_> = outputs.into_iter().filter(|(file, _)| file.ends_with(".deb")).collect();
    assert!(!outputs.is_empty());
    let root = Run::of(
        std::process::Command::new(program::PROGRAM)
            .args(["root", "show"])
            .arg(release.path(""))
            .args(["probe", "--json", "--store"])
            .arg(shared_store()),
    );
    let root = root.ends_with(0).json();
    let layers = root["layers"].as_array().unwrap().iter();
    let installed: Vec<(String, String)> =
        layers.flat_map(|layer| words(&layer["packages"], ["name", "version"])).collect();
    let hello = ("hello".to_owned(), pinned_version(&release, "hello"));
    assert!(!installed.contains(&hello));

    let of = |text: &str| {
        release.write("infos/probe_1.0_amd64.buildinfo", text);
        let folder = release.path("infos");
        release.run("reproduce", &["--json", "--buildinfo", folder.to_str().unwrap()])
    };
    // With what it was built with the same comes out, and what a list leaves out of the base is
    // told of.
    let listed: Vec<_> = installed.iter().filter(|(name, _)| name != "make").cloned().collect();
    let same = of(&buildinfo(&listed, &outputs)).ends_with(0).json();
    let package = &same["packages"][0];
    assert_eq!((&package["name"], &package["verdict"]), (&json!("probe"), &json!("reproduced")));
    assert_eq!(package["inputs"]["listed"], listed.len());
    let beside = words(&package["inputs"]["beside"], ["name", "version"]);
    assert_eq!(beside.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["make"]);
    let verdicts = words(&package["outputs"], ["file", "verdict"]);
    assert!(verdicts.iter().all(|(_, verdict)| verdict == "reproduced"), "{verdicts:?}");

    // With one more it is another root, and other bytes: what is not held was listed all the same.
    let more = [installed.clone(), vec![hello]].concat();
    let other =
        [outputs.clone(), vec![("probe-doc_1.0_all.deb".to_owned(), "0".repeat(64))]].concat();
    let run = of(&buildinfo(&more, &other)).ends_with(1);
    let verdicts = words(&run.json()["packages"][0]["outputs"], ["file", "verdict"]);
    let verdict = |name: &str| {
        let found = verdicts.iter().find(|(file, _)| file == name);
        found.map(|(_, verdict)| verdict.as_str())
    };
    assert_eq!(verdict("probe_1.0_amd64.deb"), Some("differs"));
    assert_eq!(verdict("probe-doc_1.0_all.deb"), Some("failed"));

    // What cannot be had in that version is named, and nothing is built with another.
    let mut lost = installed.clone();
    lost[0].1 = "0:0.never".to_owned();
    let lost_name = lost[0].0.clone();
    let run = of(&buildinfo(&lost, &outputs)).ends_with(1);
    let package = &run.json()["packages"][0];
    assert_eq!(package["verdict"], "failed");
    let missing = words(&package["inputs"]["missing"], ["name", "version"]);
    assert_eq!(missing, [(lost_name.clone(), "0:0.never".to_owned())]);
    assert_eq!(package["outputs"], json!([]));
    let file = release.path("infos/probe_1.0_amd64.buildinfo");
    let told = release.run("reproduce", &["--buildinfo", file.to_str().unwrap()]).ends_with(1);
    assert!(told.out.contains(&format!("missing  {lost_name} 0:0.never")), "{}", told.out);
    assert!(told.out.contains("looked for in the pinned archive"), "{}", told.out);

    // The record stays what it was.
    let again = release.run("build", &["--json", "--offline"]).ends_with(0);
    assert_eq!(again.statuses(), ["probe cached"]);

    // What the release has no source of is refused.
    let newer = buildinfo(&installed, &outputs).replace("Version: 1.0", "Version: 2.0");
    let run = of(&newer).ends_with(2);
    assert!(run.out.contains("of version `2.0`, the release builds `1.0`"), "{}", run.out);
    let run = of(&newer.replace("Source: probe", "Source: unknown")).ends_with(2);
    assert!(run.out.contains("unknown"), "{}", run.out);
}
