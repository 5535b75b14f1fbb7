//! Building again, end to end: what is the same, what differs and in what, and that nothing of it
//! becomes a result.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use program::{Release, Run, shared_store, unique};
use serde_json::Value;

/// The release of one package without it.
fn empty() -> Release {
    let release = Release::copy_of("specs/single");
    std::fs::remove_file(release.path("hello.rhai")).unwrap();
    release
}

/// A package with this script, never built before.
fn package(name: &str, script: &str) -> String {
    format!(
        "package(#{{\n    name: \"{name}\",\n    version: \"1.0\",\n    summary: \"Test\",\n    \
         license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n    \
         source: dir(\"src/hello\"),\n    build: script(##\"\n{script}\n\"##),\n}})\n",
        unique()
    )
}

#[track_caller]
fn package_of<'a>(document: &'a Value, name: &str) -> &'a Value {
    let packages = document["packages"].as_array().unwrap();
    packages.iter().find(|package| package["name"] == name).unwrap()
}

fn verdicts(run: &Run) -> Vec<String> {
    let document = run.json();
    let word = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = document["packages"].as_array().unwrap().iter();
    packages.map(|one| format!("{} {}", word(one, "name"), word(one, "verdict"))).collect()
}

#[test]
fn what_differs_is_told_in_layers_and_never_becomes_a_result() {
    let release = empty();
    let steady = "install -D hello.c \"$DESTDIR/usr/share/steady/hello.c\"";
    let chance = "mkdir -p \"$DESTDIR/usr/share/chance\"\n\
                  cat /proc/sys/kernel/random/uuid > \"$DESTDIR/usr/share/chance/number\"";
    release.write("steady.rhai", &package("steady", steady));
    release.write("chance.rhai", &package("chance", chance));
    release.write("broken.rhai", &package("broken", "echo 'int f(' > x.c; cc -c x.c"));

    // Nothing was built yet, and -n builds nothing.
    let plan = release.run("reproduce", &["-n", "--json"]).ends_with(0).json();
    assert_eq!(package_of(&plan, "steady")["builds"], 2);
    let run = release.run("reproduce", &["--show", "steady"]).ends_with(0);
    assert!(run.out.contains("not built yet"), "{}", run.out);

    let run = release.run("reproduce", &["--json"]).ends_with(1);
    assert_eq!(verdicts(&run), ["broken failed", "chance differs", "steady reproduced"]);
    let document = run.json();
    assert!(package_of(&document, "broken")["cause"].as_str().unwrap().contains("x.c:1"));
    for output in package_of(&document, "steady")["outputs"].as_array().unwrap() {
        assert_eq!(output["verdict"], "reproduced");
        assert_eq!(output["old"], output["new"]);
    }
    let chance = package_of(&document, "chance");
    let deb = |document: &Value| {
        let outputs = document["outputs"].as_array().unwrap().iter();
        outputs.clone().find(|one| one["file"] == "chance_1.0_amd64.deb").unwrap().clone()
    };
    let output = deb(chance);
    assert_eq!(output["verdict"], "differs");
    let changes = output["difference"]["changes"].as_array().unwrap();
    let number = changes.iter().find(|change| {
        let at = change["at"].as_array().unwrap();
        at.last().is_some_and(|name| name == "./usr/share/chance/number")
    });
    assert_eq!(number.unwrap()["what"]["kind"], "text");
    assert_eq!(number.unwrap()["layer"], "files");

    // The record stays what it was: the next build uses the first, and so does the manifest.
    let adopted = output["old"]["blake3"].as_str().unwrap();
    let other = output["new"]["blake3"].as_str().unwrap();
    std::fs::remove_file(release.path("broken.rhai")).unwrap();
    let build = release.run("build", &["--json", "--offline"]).ends_with(0);
    assert_eq!(build.statuses(), ["chance cached", "steady cached"]);
    let built = deb(package_of(&build.json(), "chance"));
    assert_eq!(built["blake3"], adopted);
    let status = release.run("status", &["--json"]).ends_with(0).json();
    assert_eq!(package_of(&status, "chance")["status"], "built");

    // What it was is kept, also from collection, and shown.
    assert!(shared_store().join("objects").join(other).is_file());
    let collected = release.store(&["gc", "-n", "--json"]).ends_with(0).json();
    let path = format!("objects/{other}");
    let mut things = collected["things"].as_array().unwrap().iter();
    let thing = things.find(|thing| thing["path"] == path.as_str()).unwrap();
    assert_eq!(thing["removed"], false);
    assert_eq!(thing["because"], "what chance came to when it was built again");
    let shown = release.run("reproduce", &["--show", "chance", "--json"]).ends_with(0).json();
    assert_eq!(deb(package_of(&shown, "chance")), output);
    let text = release.run("reproduce", &["--show"]).ends_with(0).out;
    assert!(text.contains("steady 1.0   reproduced"), "{text}");
    assert!(text.contains("./usr/share/chance/number  text"), "{text}");

    // Once more, of what is there: it is counted.
    let plan = release.run("reproduce", &["-n", "--json", "steady"]).ends_with(0).json();
    assert_eq!(package_of(&plan, "steady")["builds"], 1);
    let run = release.run("reproduce", &["steady", "--offline"]).ends_with(0);
    assert!(run.out.contains("1 reproduced"), "{}", run.out);
    let text = release.run("reproduce", &["--show", "steady"]).ends_with(0).out;
    assert!(text.contains("2 times in a row"), "{text}");

    // The queue begins with what waited longest: chance, and builds nothing for the first time.
    release.write("later.rhai", &package("later", steady));
    let state = |name: &str| {
        let run = release.run("reproduce", &["--queue", "--status", "--json"]).ends_with(0);
        package_of(&run.json(), name).clone()
    };
    assert_eq!(state("later")["state"], "unbuilt");
    assert_eq!(
        (&state("steady")["state"], &state("steady")["times"]),
        (&"reproduced".into(), &2.into())
    );
    let since = state("chance")["since"].clone();
    let run = release.run("reproduce", &["--queue", "--progress", "plain", "--offline"]);
    let run = run.ends_with(1);
    let place = |name: &str| run.err.find(&format!("{name} 1.0: begins")).unwrap();
    assert!(place("chance") < place("steady"), "{}", run.err);
    assert!(run.err.contains("1 package left out: never built"), "{}", run.err);
    assert_eq!(state("steady")["times"], 3);
    assert_eq!((&state("chance")["state"], &state("chance")["since"]), (&"differs".into(), &since));
    assert_eq!(state("later")["state"], "unbuilt");
}

#[test]
fn each_leak_is_traced_to_its_cause() {
    let release = empty();
    let into = |name: &str, command: &str| {
        let folder = format!("\"$DESTDIR/usr/share/{name}\"");
        package(name, &format!("mkdir -p {folder}\n{command} > {folder}/leak"))
    };
    // A date, a host name, and the order in which a folder lists its files.
    release.write("dated.rhai", &into("dated", "date +%Y"));
    release.write("hosted.rhai", &into("hosted", "uname -n"));
    let many = "mkdir many; for n in $(seq 60); do : > many/file-$n; done; find many";
    release.write("ordered.rhai", &into("ordered", many));
    release.write("tight.rhai", &into("tight", "echo nothing"));

    let run = release.run("reproduce", &["--vary=time,host-name,file-order", "--json"]);
    let run = run.ends_with(1);
    let document = run.json();
    let first = package_of(&document, "dated");
    assert_eq!(first["attribution"]["not_varied"], serde_json::json!([]), "vary here what can be");
    let verdicts = verdicts(&run);
    assert_eq!(
        verdicts,
        ["dated differs", "hosted differs", "ordered differs", "tight reproduced"]
    );
    for (name, cause) in [("dated", "time"), ("hosted", "host-name"), ("ordered", "file-order")] {
        let attribution = &package_of(&document, name)["attribution"];
        let findings = attribution["findings"].as_array().unwrap();
        for finding in findings {
            assert_eq!(finding["causes"], serde_json::json!([cause]), "{name}: {attribution}");
        }
        let leak = |finding: &&Value| finding["at"].to_string().contains("/leak");
        assert!(findings.iter().any(|finding| leak(&finding)), "{name}: {attribution}");
    }
    assert_eq!(package_of(&document, "tight")["attribution"]["findings"], serde_json::json!([]));
    let text = release.run("reproduce", &["--show", "hosted"]).ends_with(0).out;
    assert!(text.contains("because of host-name"), "{text}");
    assert!(text.contains("+varied-host"), "{text}");
}
