//! Releases in rounds, end to end: each round is built on what the one before left, its base
//! too, until one comes out as an earlier one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::process::Command;

use program::{PROGRAM, Release, Run, shared_store, unique};
use serde_json::{Value, json};

/// A release of no packages, whose roots have these beside those of every build.
fn empty(base: &str) -> Release {
    let release = Release::copy_of("specs/single");
    fs::remove_file(release.path("hello.rhai")).unwrap();
    let list = "\"fakeroot\"]";
    let more = format!("\"fakeroot\"{base}]\nstrata = [[\"debhelper\"]]");
    release.replace("release.toml", list, &more);
    release
}

/// A package that was never built before, whose version is below that of any archive: what its
/// script prints is `/usr/share/made/NAME`.
fn package(name: &str, fields: &str, script: &str) -> String {
    format!(
        "package(#{{\n    name: \"{name}\",\n    version: \"0.1\",\n    summary: \"Test\",\n    \
         license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n    \
         source: dir(\"src/hello\"),\n    {fields}\n    build: script(##\"\n\
         mkdir -p \"$DESTDIR/usr/share/made\"\n{script} > \"$DESTDIR/usr/share/made/{name}\"\n\
         \"##),\n}})\n",
        unique()
    )
}

/// `name verdict settled: status…` of each package.
#[track_caller]
fn standings(document: &Value) -> Vec<String> {
    let text = |value: &Value| value.to_string().replace('"', "");
    let standing = |package: &Value| {
        let rounds = package["rounds"].as_array().unwrap().iter();
        let rounds: Vec<String> = rounds.map(|round| text(&round["status"])).collect();
        let [name, verdict, settled] = ["name", "verdict", "settled"].map(|it| text(&package[it]));
        format!("{name} {verdict} {settled}: {}", rounds.join(" "))
    };
    let mut all: Vec<String> =
        document["packages"].as_array().unwrap().iter().map(standing).collect();
    all.sort();
    all
}

/// A document of the shared store.
#[track_caller]
fn kept(name: &Value) -> Value {
    let path = shared_store().join("json").join(format!("{}.json", name.as_str().unwrap()));
    let sum = Command::new("b3sum").arg("--no-names").arg(&path).output();
    if let Ok(sum) = sum {
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(sum.trim(), name.as_str().unwrap());
    }
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn fixpoint(release: &Release, arguments: &[&str]) -> Run {
    release.run("reproduce", &[&["--fixpoint"], arguments].concat())
}

#[test]
fn a_cycle_and_a_base_of_ones_own_settle_and_what_stays_the_same_is_not_built_again() {
    // A package of the release itself is in every build root.
    let release = empty(", \"dos2unix\"");
    release.write("base.rhai", &package("dos2unix", "", "echo base"));
    // Each of two is built with the other. One says what there was, the other repeats it.
    let versions = "dpkg-query --show tree dos2unix";
    let needs = "build_depends: [\"tree\"], from_seed: [\"tree\"],";
    release.write("figlet.rhai", &package("figlet", needs, versions));
    let tree = package("tree", "build_depends: [\"figlet\"],", "cat /usr/share/made/figlet");
    release.write("tree.rhai", &tree);

    let plan = fixpoint(&release, &["-n", "--json"]).ends_with(0).json();
    assert_eq!(plan["rounds"].as_array().unwrap().len(), 1);
    assert_eq!(plan["rounds"][0]["to_build"], 3);
    let document = fixpoint(&release, &["--json"]).ends_with(0).json();
    assert_eq!(
        standings(&document),
        [
            "dos2unix reproduced 1: built built same",
            "figlet reproduced 2: built built built",
            "tree reproduced 2: built built same",
        ]
    );
    assert_eq!(document["end"], "fixpoint");
    let moved: Vec<&Value> =
        document["rounds"].as_array().unwrap().iter().map(|round| &round["moved"]).collect();
    assert_eq!(moved, [0, 2, 0]);

    // From the id of a round to its seed, and to the packages there, by documents alone.
    let round = kept(&document["rounds"][2]["release"]);
    let recipe = kept(&round["packages"][0]);
    let root = kept(&recipe["root"]);
    assert_eq!((&recipe["seed"], &root["seed"]), (&root["seed"], &document["rounds"][2]["seed"]));
    let seed = kept(&root["seed"]);
    assert_eq!(seed["format"], "perestroika/seed/1");
    let names: Vec<&Value> =
        seed["packages"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["dos2unix", "figlet", "tree"]);

    // All that the release builds comes from itself there, and it is built in no other round.
    let closure = &document["closure"];
    assert_eq!((&closure["level"], &closure["own"]), (&"own".into(), &3.into()));
    let plan = fixpoint(&release, &["-n"]).ends_with(0);
    assert!(plan.out.contains("round 3 came out as round 2: nothing to build"), "{}", plan.out);

    // What the release is stays what the first round made, with the archive's packages.
    let build = release.run("build", &["--json", "--offline"]).ends_with(0);
    assert_eq!(build.statuses(), ["dos2unix cached", "figlet cached", "tree cached"]);
    let made = |name: &str| {
        let deb = release.path(&format!("out/{name}_0.1_amd64.deb"));
        let script = "dpkg-deb --fsys-tarfile \"$0\" | tar -xO \"./usr/share/made/$1\"";
        let output = Command::new("sh").args(["-c", script]).arg(deb).arg(name).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(made("tree"), made("figlet"));
    assert!(made("tree").contains("dos2unix\t7.") && !made("tree").contains("0.1"));
    let mut audit = Command::new(PROGRAM);
    audit.args(["audit", "closure", "--json"]).arg(release.path(""));
    let told = Run::of(audit.arg("--store").arg(shared_store())).ends_with(0).json();
    assert_eq!(told["certificate"]["level"], "sealed");
    assert_eq!(told["fixpoint"]["closure"], *closure);

    // A later round's files stay as long as the release does.
    let record = kept(&document["packages"][0]["rounds"][1]["record"]);
    let collected = release.store(&["gc", "-n", "--json"]).ends_with(0).json();
    for output in record["outputs"].as_array().unwrap() {
        let path = format!("objects/{}", output["blake3"].as_str().unwrap());
        let mut things = collected["things"].as_array().unwrap().iter();
        let thing = things.find(|thing| thing["path"] == path.as_str()).unwrap();
        assert_eq!(thing["removed"], false);
        let because = thing["because"].as_str().unwrap();
        assert!(because.starts_with("needed by single 1.0"), "{because}");
    }
}

#[test]
fn what_never_settles_is_told_with_what_differs_and_a_run_goes_on_where_one_stopped() {
    let release = empty("");
    // Is now this, now that.
    let switch = "n=$(cat /usr/share/made/sl || echo 0); echo $((1 - n))";
    release.write("sl.rhai", &package("sl", "build_depends: [\"sl\"],", switch));
    let document = fixpoint(&release, &["sl", "--rounds", "2", "--json"]).ends_with(1).json();
    assert_eq!(standings(&document), ["sl differs null: built built"]);
    assert_eq!(document["end"], "open");
    assert_eq!(document["errors"][0]["code"], "unsettled");
    let outputs = document["packages"][0]["outputs"].as_array().unwrap();
    let deb = outputs.iter().find(|one| one["file"] == "sl_0.1_amd64.deb").unwrap();
    let changes = deb["difference"]["changes"].as_array().unwrap().iter();
    let places: Vec<String> = changes.map(|change| change["at"].to_string()).collect();
    assert!(places.iter().any(|at| at.contains("./usr/share/made/sl")), "{places:?}");

    // What is there is not built again. The third round is the first again, and so on for ever.
    let document = fixpoint(&release, &["--json"]).ends_with(1).json();
    assert_eq!(standings(&document), ["sl differs null: there there built"]);
    assert_eq!((&document["end"], &document["circle"]), (&"circle".into(), &1.into()));
    let run = fixpoint(&release, &[]).ends_with(1);
    assert!(run.out.contains("round 3 came out as round 1"), "{}", run.out);
    assert!(run.out.contains("./usr/share/made/sl  text"), "{}", run.out);

    // What cannot be built with itself fails in the second round, and is a package all the same.
    let fails = "test ! -e /usr/share/made/pv\necho once";
    release.write("pv.rhai", &package("pv", "build_depends: [\"pv\"],", fails));
    let document = fixpoint(&release, &["pv", "--json"]).ends_with(1).json();
    assert_eq!(document["end"], "stopped");
    assert_eq!(document["rounds"].as_array().unwrap().len(), 1);
    assert_eq!(document["packages"][0]["verdict"], "failed");
    assert_eq!(document["errors"][0]["code"], "failed");
    assert_eq!(document["document"], json!(null), "nothing is kept of a round that stopped");
    let build = release.run("build", &["pv", "--json", "--offline"]).ends_with(0);
    assert_eq!(build.statuses(), ["pv cached"]);
}
