//! The commands that answer questions, on releases whose packages are never built: eval of
//! packages, expressions and pictures, diff of states, update's forecast, why without builds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Stdio};

use common::Desk;
use serde_json::Value;

/// Three packages, each built with the one before; `base` from a folder, the others by hand.
fn chain() -> Desk {
    let desk = Desk::single();
    desk.remove("hello.rhai");
    desk.write(
        "packages/chain.rhai",
        r#"import "lib/names" as names;
let made = |name, needs| package(#{
    name: name,
    version: "1.0",
    summary: "Part of a chain",
    license: "MIT",
    changes: #{ date: "2026-11-22", text: "First." },
    source: dir("src/hello"),
    build_depends: needs,
    build: script("make"),
});
[
    made.call(names::base(), []),
    made.call("middle", ["base (>= 1)"]),
    made.call("top-most", ["middle", "debhelper | base"]),
    made.call("alone", []),
]
"#,
    );
    desk.write("lib/names.rhai", "fn base() { \"base\" }\n");
    desk
}

/// Runs git in the release folder as somebody in particular.
#[track_caller]
fn git(desk: &Desk, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Some One", "-c", "user.email=one@release.example"])
        .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"])
        .args(words)
        .current_dir(desk.path(""))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn commit(desk: &Desk, what: &str) {
    if !desk.path(".git").exists() {
        git(desk, &["init", "--quiet"]);
    }
    git(desk, &["add", "--all"]);
    git(desk, &["commit", "--quiet", "--message", what]);
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn every_field_says_where_it_came_from() {
    let desk = chain();
    let ran = desk.run(&["eval", "top-most", "--json"]).succeeds();
    let document = ran.json();
    let package = &document["packages"][0];
    assert_eq!(package["name"], "top-most");
    let fields = package["fields"].as_array().unwrap();
    let field = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
    let from = |name: &str, part: usize| &field(name)["parts"][part]["from"][0];

    // The fields are those of the derivation, with its values.
    assert_eq!(field("version")["value"], "1.0");
    assert_eq!(field("build_depends")["value"][1], "middle");
    assert_eq!(field("dependencies")["parts"].as_array().unwrap().len(), 2);
    let listed: Vec<&str> = fields.iter().map(|one| one["name"].as_str().unwrap()).collect();
    for name in ["architecture", "source", "root", "files", "script", "outputs", "from_seed"] {
        assert!(listed.contains(&name), "{listed:?}");
    }

    // Each kind of place.
    assert_eq!(from("version", 0)["kind"], "spec");
    assert_eq!(from("version", 0)["file"], "packages/chain.rhai");
    assert_eq!(from("version", 0)["line"], 4);
    assert_eq!(from("script", 0)["kind"], "stdlib");
    assert_eq!(from("root", 0)["kind"], "default");
    assert_eq!(field("root")["parts"][0]["from"][1]["kind"], "lock");
    assert_eq!(from("architecture", 0)["kind"], "release");
    assert_eq!(from("build_depends", 0)["kind"], "stdlib");
    assert_eq!(from("build_depends", 1)["kind"], "spec");
    let leads = from("dependencies", 0)["what"].as_str().unwrap();
    assert!(["`middle`", "`debhelper | base`"].contains(&leads), "{leads}");

    let text = desk.run(&["eval", "top-most"]).succeeds().out;
    for line in [
        "version           1.0                         packages/chain.rhai:4",
        "architecture      amd64                       release.toml: `architectures`",
        "build_depends     debhelper-compat (= 13)     stdlib: `script`",
    ] {
        assert!(text.lines().any(|one| one.trim_end() == line), "no `{line}` in\n{text}");
    }
}

#[test]
fn what_the_sources_own_packaging_says_is_found_in_it() {
    let desk = Desk::single();
    desk.remove("hello.rhai");
    desk.write(
        "own.rhai",
        "package(#{ name: \"own\", source: dir(\"src/own\"), build: debian() })\n",
    );
    desk.write(
        "src/own/debian/control",
        "Source: own\nMaintainer: A <a@release.example>\nBuild-Depends: debhelper-compat (= 13)\n\n\
         Package: own\nArchitecture: any\nDescription: x\n",
    );
    desk.write(
        "src/own/debian/changelog",
        "own (1.2-3) stable; urgency=medium\n\n  * New.\n\n \
         -- A <a@release.example>  Sun, 01 Nov 2026 12:00:00 +0000\n",
    );
    let module = "fn debian() { recipe(#{ packaging: \"own\", script: \"true\\n\", outputs: [\"*.deb\"] }) }\n";
    pin(&desk, "debian", module);
    let document = desk.run(&["eval", "own", "--json"]).succeeds().json();
    let fields = document["packages"][0]["fields"].as_array().unwrap();
    let place = |name: &str| {
        let field = fields.iter().find(|field| field["name"] == name).unwrap();
        let from = &field["parts"][0]["from"][0];
        let (file, line) = (from["file"].as_str().unwrap_or("-"), &from["line"]);
        format!("{} {file}:{line}", from["kind"].as_str().unwrap())
    };
    assert_eq!(place("version"), "packaging src/own/debian/changelog:1");
    assert_eq!(place("build_depends"), "packaging src/own/debian/control:3");
    assert_eq!(place("binaries"), "packaging src/own/debian/control:1");
    assert_eq!(place("source"), "spec own.rhai:1");
    assert_eq!(place("name"), "spec own.rhai:1");
}

/// Pins this text as a module of the stdlib.
fn pin(desk: &Desk, module: &str, text: &str) {
    desk.write(&format!("release.lock.d/stdlib/{module}.rhai"), text);
    let digest = perestroika::base::Sha256::of(text.as_bytes());
    let lock = desk.read("release.lock");
    let line = |line: &&str| !line.starts_with(&format!("{module} = "));
    let kept: String = lock.lines().filter(line).map(|line| format!("{line}\n")).collect();
    desk.write("release.lock", format!("{kept}{module} = \"{digest}\"\n"));
}

#[test]
fn graphviz_draws_what_the_tree_tells() {
    let desk = chain();
    let dot = desk.run(&["eval", "--dot"]).succeeds().out;
    let mut drawing = Command::new("dot")
        .args(["-Tplain"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut drawing.stdin.take().unwrap(), dot.as_bytes()).unwrap();
    let output = drawing.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{dot}", String::from_utf8_lossy(&output.stderr));
    let plain = String::from_utf8(output.stdout).unwrap();
    // Label of each node, and edges between labels (graphviz.org/docs/outputs/plain).
    let mut labels = std::collections::BTreeMap::new();
    let mut edges = Vec::new();
    for line in plain.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "node" => drop(labels.insert(words[1], words[6])),
            "edge" => edges.push((words[1], words[2])),
            _ => {}
        }
    }
    let mut told: Vec<String> =
        edges.iter().map(|(from, to)| format!("{} {}", labels[from], labels[to])).collect();
    told.sort();
    assert_eq!(labels.len(), 4, "{plain}");
    assert_eq!(
        told,
        [
            r#""middle\n1.0" "base\n1.0""#,
            r#""top-most\n1.0" "base\n1.0""#,
            r#""top-most\n1.0" "middle\n1.0""#,
        ],
        "{plain}"
    );
    // Of one package: it and what it needs.
    let part = desk.run(&["eval", "middle", "--dot"]).succeeds().out;
    assert_eq!(part.matches("label=").count(), 2, "{part}");
    desk.run(&["eval", "--dot", "--tree"]).fails(2, &["cannot be used with"]);
}

#[test]
fn expressions_see_what_specs_see() {
    let desk = chain();
    let check = |expression: &str, expected: &str| {
        let out = desk.run(&["eval", "-e", expression]).succeeds().out;
        assert_eq!(out.trim_end(), expected, "{expression}");
    };
    check("1 + 1", "2");
    check("[release.name, release.version]", r#"["single", "1.0"]"#);
    check("import \"lib/names\" as n; n::base() + \"ment\"", "\"basement\"");
    check("#{ a: (), b: [true, 'x'] }", r#"#{ a: (), b: [true, "x"] }"#);
    check("archive(\"zlib\")", "archive(#{ name: \"zlib\" })");
    let package = desk
        .run(&["eval", "-e", "package(#{ name: \"pp\", source: dir(\"src/hello\") })"])
        .succeeds()
        .out;
    for part in ["package(#{", "name: \"pp\"", "source: dir(#{", "path: \"src/hello\""] {
        assert!(package.contains(part), "{package}");
    }
    let document = desk.run(&["eval", "--json", "-e", "rebuild(\"zlib\")"]).succeeds().json();
    assert_eq!(document["value"]["package"]["name"], "zlib");

    // The packages of the release as all its layers leave them.
    desk.replace("release.toml", "[release]\n", "[release]\noverlays = [\"overlays/over.rhai\"]\n");
    desk.write("overlays/over.rhai", "prev(\"base\").with(#{ summary: \"Layered\" })\n");
    let layered = desk.run(&["eval", "-e", "prev(\"base\")"]).succeeds().out;
    assert!(layered.contains("summary: \"Layered\""), "{layered}");
    let document = desk.run(&["eval", "base", "--json"]).succeeds().json();
    let fields = document["packages"][0]["fields"].as_array().unwrap();
    let files = fields.iter().find(|field| field["name"] == "files").unwrap();
    assert!(files["value"]["debian/control"].as_str().unwrap().contains("Layered"));
    desk.run(&["eval", "-e", "prev(\"bass\")"]).fails(2, &["<expression>:1:6", "`base`"]);

    // What is wrong is shown in the expression, and not looked for in the folder.
    desk.write("<expression>", "not this\n");
    let wrong = desk.run(&["eval", "-e", "relese.version"]).fails(2, &["--> <expression>:1:1"]);
    assert!(wrong.err.contains("1 | relese.version"), "{}", wrong.err);
    let inner = desk.run(&["eval", "-e", "package(#{ nam: \"x\" })"]);
    inner.fails(2, &["unknown key `nam`", "<expression>:1:12", "did you mean `name`?"]);
    desk.run(&["eval", "-e", "git(\"https://git.example.org/x\", \"main\").commit"])
        .fails(2, &["is not pinned", "<expression>"]);
    let json = desk.run(&["eval", "--json", "-e", "\n  nowhere"]).json();
    assert_eq!(json["errors"][0]["file"], "<expression>");
    assert_eq!(json["errors"][0]["line"], 2);
    let deep = format!("{}1{}", "(".repeat(60_000), ")".repeat(60_000));
    desk.run(&["eval", "-e", &deep]).fails(2, &["nested too deeply"]);
    desk.run(&["eval", "-e", "1", "base"]).fails(2, &["not the package `base`"]);
}

#[test]
fn a_diff_tells_changed_inputs_from_what_they_bring_along() {
    let desk = chain();
    commit(&desk, "first");
    let same = desk.run(&["diff"]).succeeds();
    assert!(same.out.contains("nothing changed: 4 packages as before"), "{}", same.out);

    // One package's own field; what needs it changes with it, and nothing else.
    desk.replace(
        "packages/chain.rhai",
        "made.call(\"middle\", [\"base (>= 1)\"]),",
        "made.call(\"middle\", [\"base (>= 1)\", \"zlib1g-dev\"]),",
    );
    let ran = desk.run(&["diff", "--json"]).succeeds();
    let document = ran.json();
    assert_eq!(names(&document["changed"]), ["middle"]);
    assert_eq!(names(&document["cascade"]), ["top-most"]);
    assert_eq!(document["cascade"][0]["because"][0], "middle");
    let causes = document["changed"][0]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["build_depends", "files"]);
    assert_eq!(causes[0]["new"], "zlib1g-dev");
    assert_eq!(causes[0]["old"], Value::Null);
    assert_eq!(causes[0]["file"], "packages/chain.rhai");
    let text = desk.run(&["diff"]).succeeds().out;
    for part in [
        "middle  build_depends  + zlib1g-dev",
        "  top-most\n      because of middle",
        "2 as before",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }

    // A source that all share; a file that only came.
    git(&desk, &["checkout", "--quiet", "."]);
    desk.write("src/hello/new.c", "int x;\n");
    let document = desk.run(&["diff", "--json"]).succeeds().json();
    assert_eq!(document["changed"].as_array().unwrap().len(), 4);
    assert_eq!(document["cascade"].as_array().unwrap().len(), 0);
    assert_eq!(document["changed"][0]["causes"][0]["item"], "new.c");
    let text = desk.run(&["diff"]).succeeds().out;
    assert!(text.contains("changed for several\n    source  + new.c"), "{text}");
    assert!(text.contains("      alone, base, middle, top-most\n"), "{text}");
}

#[test]
fn a_diff_holds_any_two_states_against_each_other() {
    let desk = chain();
    commit(&desk, "first");
    git(&desk, &["tag", "v1"]);
    desk.write("src/hello/hello.c", "int main(void) { return 1; }\n");
    desk.replace("packages/chain.rhai", "    made.call(\"alone\", []),\n", "");
    commit(&desk, "second");
    desk.write("more.rhai", "package(#{ name: \"more\", version: \"1\", summary: \"x\", license: \"MIT\", changes: #{ date: \"2026-11-22\", text: \"x\" }, source: dir(\"src/hello\"), build: script(\"true\") })\n");

    let diff = |words: &[&str]| {
        let mut all = vec!["diff", "--json"];
        all.extend(words);
        let document = desk.run(&all).succeeds().json();
        ["changed", "added", "removed"].map(|key| names(&document[key]).join(" "))
    };
    assert_eq!(diff(&[]), ["", "more", ""]);
    assert_eq!(diff(&["v1"]), ["base middle top-most", "more", "alone"]);
    assert_eq!(diff(&["v1", "HEAD"]), ["base middle top-most", "", "alone"]);
    assert_eq!(diff(&["HEAD", "v1"]), ["base middle top-most", "alone", ""]);
    assert_eq!(diff(&["."]), ["", "more", ""]);
    assert_eq!(diff(&[".", "HEAD~1"]), ["base middle top-most", "more", "alone"]);
    assert_eq!(diff(&[".", "v1", "main"]), ["base middle top-most", "", "alone"]);

    // Another folder, which git need not know.
    let other = tempfile::tempdir().unwrap();
    let copy = other.path().join("copy");
    let copied = Command::new("cp").arg("-r").arg(desk.path("")).arg(&copy).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(copy.join(".git")).unwrap();
    std::fs::remove_file(copy.join("more.rhai")).unwrap();
    assert_eq!(diff(&[copy.to_str().unwrap()]), ["", "more", ""]);
    assert_eq!(diff(&[copy.to_str().unwrap(), "."]), ["", "more", ""]);
    // Each is called by its own name, whichever comes first.
    let copied = copy.to_str().unwrap();
    for (words, title) in [
        ([copied, "."], format!("· {copied} -> .\n")),
        ([".", copied], format!("· . -> {copied}\n")),
        (["main", "."], "-> working tree\n".to_owned()),
    ] {
        let text = desk.run(&["diff", words[0], words[1]]).succeeds().out;
        let first = text.lines().next().unwrap_or_default();
        assert!(format!("{first}\n").ends_with(&title), "{first}");
    }

    desk.run(&["diff", "v9"]).fails(2, &["`v9` is neither a folder nor a revision"]);
    desk.run(&["diff", "--output=x"]).fails(2, &["unexpected argument"]);
    desk.run(&["diff", "HEAD:packages"]).fails(2, &["neither a folder nor a revision"]);
    desk.run(&["diff", "src"]).fails(2, &["`src` has no release.toml"]);
}

#[test]
fn what_the_past_lacks_is_said() {
    let desk = chain();
    desk.run(&["diff"]).fails(2, &["git cannot read the repository", "git init"]);
    git(&desk, &["init", "--quiet"]);
    desk.run(&["diff"]).fails(2, &["`HEAD` is neither"]);
    // A repository that has other things only.
    desk.write("README", "x\n");
    git(&desk, &["add", "README"]);
    git(&desk, &["commit", "--quiet", "--message", "other"]);
    desk.run(&["diff"]).fails(2, &["there is no release in", "at `HEAD`"]);
    // A state that does not evaluate.
    desk.replace("packages/chain.rhai", "made.call(\"alone\", [])", "made.call(\"alone\", ())");
    commit(&desk, "bad");
    desk.replace("packages/chain.rhai", "made.call(\"alone\", ())", "made.call(\"alone\", [])");
    desk.run(&["diff"]).fails(
        2,
        &["the release cannot be evaluated as it was at `HEAD`", "because: packages/chain.rhai:"],
    );
}

#[test]
fn the_past_is_what_git_keeps_and_runs_nothing() {
    let desk = chain();
    // Everything by which a repository can make git run programs or show other contents.
    let evil = "touch ran; cat";
    desk.write(".gitattributes", "* filter=evil export-subst ident\nsrc/** export-ignore\n");
    desk.write("src/hello/id.c", "/* $Id$ $Format:%H$ */\n");
    std::os::unix::fs::symlink("id.c", desk.path("src/hello/link.c")).unwrap();
    desk.write("src/hello/run.sh", "#!/bin/sh\n");
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(desk.path("src/hello/run.sh"), set).unwrap();
    commit(&desk, "first");
    for (key, value) in [
        ("filter.evil.smudge", evil),
        ("filter.evil.clean", evil),
        ("filter.evil.process", evil),
        ("core.fsmonitor", evil),
        ("core.pager", evil),
        ("core.sshCommand", evil),
        ("core.hooksPath", "hooks"),
        ("core.attributesFile", ".gitattributes"),
    ] {
        git(&desk, &["config", key, value]);
    }
    let ran = desk.run(&["diff"]).succeeds();
    assert!(ran.out.contains("nothing changed: 4 packages as before"), "{}", ran.out);
    assert!(!desk.path("ran").exists());
    // A mode is a change.
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(desk.path("src/hello/run.sh"), set).unwrap();
    let text = desk.run(&["diff"]).succeeds().out;
    assert!(text.contains("source  run.sh"), "{text}");
}

#[test]
fn a_release_below_the_top_of_its_repository_has_a_past_too() {
    let desk = chain();
    let top = desk.path("..");
    let run = |words: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@release.example"])
            .args(words)
            .current_dir(&top)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["init", "--quiet"]);
    std::fs::write(top.join("large"), vec![b'x'; 1 << 20]).unwrap();
    run(&["add", "--all"]);
    run(&["commit", "--quiet", "--message", "all"]);
    desk.write("src/hello/hello.c", "int main(void) { return 2; }\n");
    let document = desk.run(&["diff", "--json"]).succeeds().json();
    assert_eq!(names(&document["changed"]).len(), 4);
    assert_eq!(document["changed"][0]["causes"][0]["item"], "hello.c");
}

#[test]
fn an_update_tells_what_it_rebuilds_before_anything_is_written() {
    let desk = chain();
    let current = include_str!("../stdlib/script.rhai");
    pin(&desk, "script", &current.replace("dpkg-buildpackage -us", "dpkg-buildpackage  -us"));
    let before = desk.read("release.lock");
    let ran = desk.run(&["update", "stdlib", "-n", "--json"]).succeeds();
    let document = ran.json();
    let change = &document["changes"][0];
    assert_eq!(change["pin"], "stdlib `script`");
    let changed: Vec<&str> = change["rebuilds"]["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(changed, ["alone", "base", "middle", "top-most"]);
    assert_eq!(document["rebuilds"]["packages"], 4);
    assert_eq!(document["rebuilds"]["unknown"], 4);
    assert_eq!(desk.read("release.lock"), before);
    let text = desk.run(&["update", "stdlib", "-n"]).succeeds().out;
    assert!(text.contains("    changes       alone, base, middle, top-most\n"), "{text}");
    assert!(
        text.contains("4 of 4 packages would be built anew; how long 4 of them take"),
        "{text}"
    );

    // The ids it foretells are those that it leads to.
    let old = desk.run(&["eval", "--json"]).succeeds().json();
    desk.run(&["update", "stdlib"]).succeeds();
    let new = desk.run(&["eval", "--json"]).succeeds().json();
    for at in 0..4 {
        assert_ne!(old["packages"][at]["derivation"], new["packages"][at]["derivation"]);
    }
    let text = desk.run(&["update", "stdlib", "-n"]).succeeds().out;
    assert!(text.contains("nothing moved"), "{text}");

    // A comment in a module moves the pin and nothing else.
    pin(&desk, "script", &format!("// Another comment.\n{current}"));
    let text = desk.run(&["update", "stdlib", "-n"]).succeeds().out;
    assert!(text.contains("    changes no package\n"), "{text}");
    assert!(text.contains("no package changes: 4 packages as before"), "{text}");
}

/// The beginning of a lock's indexes, with one of another architecture.
const SECOND_INDEX: &str = "indexes = [\n    { path = \"main/binary-i386/Packages\", kind = \
    \"packages\", architecture = \"i386\", size = 1, sha256 = \
    \"515e692f2c4121c6fcec444ef100cc18f79a991910615f3a88c8b7becfc94d2f\" },";

#[test]
fn why_tells_ways_within_the_release_without_a_store() {
    let desk = chain();
    let document = desk.run(&["why", "top-most", "base", "--json"]).succeeds().json();
    let paths = document["paths"].as_array().unwrap();
    let told: Vec<String> = paths.iter().map(|path| names(path).join(" ")).collect();
    assert_eq!(told, ["top-most base", "top-most middle base"]);
    let text = desk.run(&["why", "top-most", "base"]).succeeds().out;
    assert!(
        text.contains("\n\ntop-most\n  needs middle by `middle`, packages/chain.rhai:"),
        "{text}"
    );
    assert!(text.contains("\n    needs base by `base (>= 1)`, packages/chain.rhai:"), "{text}");
    let none = desk.run(&["why", "alone", "base"]).succeeds();
    assert!(none.out.contains("alone does not need base, as far as is known"), "{}", none.out);
    assert!(none.err.contains("not looked into: the build root of alone"), "{}", none.err);

    // Of several architectures, the first one answers.
    desk.run(&["update", "stdlib"]).succeeds();
    desk.replace("release.toml", "[\"amd64\"]", "[\"i386\", \"amd64\"]");
    desk.replace("release.lock", "indexes = [", SECOND_INDEX);
    let document = desk.run(&["why", "top-most", "base", "--json"]).succeeds().json();
    let paths = document["paths"].as_array().unwrap();
    let told: Vec<String> = paths.iter().map(|path| names(path).join(" ")).collect();
    assert_eq!(told, ["top-most base", "top-most middle base"]);
    let several = desk.run(&["why", "base", "--json"]).succeeds().json();
    assert_eq!(several["packages"].as_array().map(Vec::len), Some(2), "{several}");
    desk.replace("release.toml", "[\"i386\", \"amd64\"]", "[\"amd64\"]");
    desk.replace("release.lock", SECOND_INDEX, "indexes = [");

    let never = desk.run(&["why", "base"]).succeeds().out;
    assert!(never.contains("would be built: this store has no build of it"), "{never}");
    let alone = desk.run(&["why"]).succeeds().out;
    assert!(alone.contains("was not built with this store yet"), "{alone}");
    desk.run(&["why", "bass"]).fails(2, &["no package `bass`", "it has `base`"]);
    desk.run(&["why", "base", "middle", "alone"]).fails(2, &["at most two names"]);
}
