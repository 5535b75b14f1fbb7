//! A release of which everything is there: how it is told, what makes the program look closer, and
//! (ignored, as it only measures) how long a large one takes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use common::Desk;
use perestroika::base::{ActionId, DerivationId, Digest, HostPath, Json, Sha256};
use perestroika::graph::lower;
use perestroika::realise::RESOLUTION_RULES;
use perestroika::realise::record::{Output, Record};
use perestroika::realise::universe::{offered_digest, offers_digest};
use perestroika::spec::{self, lock};
use perestroika::store::Store;

/// A release of so many packages, each of which needs up to three before it.
fn release(count: usize) -> Desk {
    let desk = Desk::single();
    desk.remove("hello.rhai");
    for shelf in 0..count.div_ceil(100) {
        let mut text = String::from("[\n");
        for number in shelf * 100..count.min((shelf + 1) * 100) {
            let below = [number / 2, number / 3, number.saturating_sub(7)];
            let needs = below.iter().filter(|below| **below < number);
            let needs: Vec<String> = needs.map(|below| format!("\"p{below}\"")).collect();
            writeln!(
                text,
                "package(#{{ name: \"p{number}\", version: \"1.0\", summary: \"One of many\", \
                 license: \"MIT\", changes: #{{ date: \"2026-11-22\", text: \"First.\" }}, \
                 source: dir(\"src/hello\"), build_depends: [{}], build: script(\"make\") }}),",
                needs.join(", ")
            )
            .unwrap();
        }
        desk.write(&format!("packages/{shelf}.rhai"), text + "]\n");
    }
    desk
}

/// Keeps a record of every package of the release, as if it had been built.
fn build_everything(desk: &Desk) {
    let folder = HostPath::new(desk.path(""));
    let lock = lock::parse(&desk.read("release.lock")).unwrap();
    let spec = spec::load(&folder, Some(&lock)).unwrap();
    let graph = lower(&spec, &lock).unwrap();
    let store = Store::open(&HostPath::new(desk.store())).unwrap();
    let packages: Vec<_> = graph.packages().collect();
    let debs = packages.iter().map(|(_, package)| package.name.as_str().as_bytes());
    let objects = store.put_many(debs).unwrap();
    let mut offers: BTreeMap<DerivationId, Digest> = BTreeMap::new();
    for ((node, package), blake3) in packages.into_iter().zip(objects) {
        let name = package.name.as_str();
        let offered = offered_digest(package.dependencies.iter().map(|need| offers[need]));
        let action = Json::object([("name", name.into()), ("root", Json::Array(Vec::new()))]);
        let action = ActionId::from_bytes(*store.put_json(&action).unwrap().as_bytes());
        let record = Record {
            action,
            derivation: node.id,
            outputs: vec![Output {
                file: format!("{name}_1.0-1_all.deb"),
                size: name.len() as u64,
                blake3,
                sha256: Sha256::of(name.as_bytes()),
                control: format!("Package: {name}\nVersion: 1.0-1\nArchitecture: all\n"),
            }],
            layers: Vec::new(),
            log: Digest::of(b""),
            receipt: BTreeMap::new(),
            circumstances: BTreeMap::new(),
            started: 0,
            elapsed: 1,
            cause: String::new(),
            causes: None,
            trace: None,
        };
        store.put_record(&action, &record.to_json()).unwrap();
        store.remember_resolution(&node.id, &offered, RESOLUTION_RULES, &action).unwrap();
        offers.insert(node.id, offers_digest(&record, &offered));
    }
}

#[test]
fn what_is_there_as_a_whole_is_not_looked_at_again_until_something_of_it_is_lost() {
    let desk = release(60);
    build_everything(&desk);
    let first = desk.run(&["build"]).succeeds();
    assert!(first.out.contains("60 packages: 60 cached, 0 to build\n 60 packages cached\n"));
    let closing = first.out.lines().last().unwrap().to_owned();
    assert!(closing.contains("MANIFEST.json"), "{closing}");
    let settled = |what: &str| {
        let ran = desk.run(&["build"]).succeeds();
        assert!(
            ran.out.contains("60 packages: all cached, nothing to build\n"),
            "{what}: {}",
            ran.out
        );
        assert_eq!(ran.out.lines().last(), Some(&*closing), "{what}");
    };
    settled("again");
    let looks = |what: &str| {
        let ran = desk.run(&["build"]).succeeds();
        assert!(ran.out.contains("60 cached, 0 to build"), "{what}: {}", ran.out);
        assert_eq!(ran.out.lines().last(), Some(&*closing), "{what}");
        settled(what);
    };

    fs::remove_file(desk.path("out/p7_1.0-1_all.deb")).unwrap();
    looks("a copy is gone");
    desk.write("out/p7_1.0-1_all.deb", "xx");
    looks("a copy has other bytes of the same length");
    assert_eq!(desk.read("out/p7_1.0-1_all.deb"), "p7");
    desk.write("out/MANIFEST.json", "{}");
    looks("the manifest is another");

    // What is lost of the store has to be built, and nothing is said to be there.
    let lost = desk.store().join("objects").join(Digest::of(b"p7").to_string());
    fs::remove_file(&lost).unwrap();
    let text = desk.run(&["build", "-n"]).succeeds().out;
    assert!(text.contains("build   p7 1.0 "), "{text}");
    assert!(!desk.run(&["build"]).out.contains("all cached"));

    let status = desk.run(&["status"]);
    assert_eq!(status.code, Some(1), "{}", status.err);
    let told = status.out.lines().filter(|line| line.starts_with("  unbuilt ")).count();
    assert!(told > 1 && status.out.lines().count() <= 24, "a screen: {}", status.out);
}

#[test]
#[ignore = "measures: PERESTROIKA_NODES=10000 cargo nextest run --test settled --run-ignored only"]
fn a_large_release_with_nothing_to_do_is_measured() {
    let count = std::env::var("PERESTROIKA_NODES").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(10_000);
    let desk = release(count);
    build_everything(&desk);
    let measure = |what: &str, words: &[&str]| {
        let began = Instant::now();
        desk.run(words).succeeds();
        eprintln!("{what:30} {:>7.0} ms", began.elapsed().as_secs_f64() * 1000.0);
    };
    eprintln!("{count} packages");
    measure("each one looked up", &["build", "--json"]);
    measure("each one looked up, again", &["build", "--json"]);
    measure("noted as a whole", &["build"]);
    measure("eval", &["eval", "--quiet"]);
    measure("status", &["status"]);
    measure("build", &["build"]);
    measure("build", &["build"]);
    measure("build -n", &["build", "-n"]);
}
