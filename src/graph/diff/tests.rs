use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::base::Sha256;
use crate::graph::lower;
use crate::spec::load_from;
use crate::spec::loader::Memory;
use crate::spec::lock::{IndexKind, Lock, LockedArchive, LockedIndex, LockedSuite};

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
"#;

/// A release over an index: for each package, the content of its source and the earlier packages
/// that it needs.
fn graph(index: u8, packages: &[(u8, BTreeSet<usize>)]) -> Graph {
    let mut files = BTreeMap::from([("release.toml".to_owned(), RELEASE.to_owned())]);
    for (place, (content, needs)) in packages.iter().enumerate() {
        let needs: Vec<String> =
            needs.iter().map(|need| format!("{:?}", name(*need).as_str())).collect();
        let spec = format!(
            "package(#{{ name: \"{}\", version: \"1\", summary: \"x\", license: \"MIT\",
                changes: #{{ date: \"2026-11-22\", text: \"x\" }}, source: dir(\"s{place}\"),
                build_depends: [{}], build: script(\"true\") }})",
            name(place),
            needs.join(", "),
        );
        files.insert(format!("p{place}.rhai"), spec);
        files.insert(format!("s{place}/file"), format!("{place} {content}"));
    }
    let path = |path: &String| path.parse().expect("a plain path");
    let files = files.iter().map(|(at, text)| (path(at), text.clone().into_bytes())).collect();
    let index = LockedIndex {
        path: "main/binary-amd64/Packages".to_owned(),
        kind: IndexKind::Packages("amd64".parse().expect("an architecture")),
        sha256: Sha256::of(&[index]),
        size: 1,
    };
    let suite = LockedSuite {
        suite: "stable".to_owned(),
        date: "Sat, 11 Jul 2026 10:16:37 UTC".to_owned(),
        release: Sha256::of(b"release"),
        indexes: vec![index],
    };
    let archive = LockedArchive { suites: vec![suite] };
    let lock = Lock {
        archives: BTreeMap::from([("upstream".to_owned(), archive)]),
        stdlib: BTreeMap::from([("script".to_owned(), Sha256::of(b"module"))]),
        ..Lock::default()
    };
    let spec = load_from(Arc::new(Memory(files)), None).expect("good specs");
    lower(&spec, &lock).expect("a good release")
}

fn name(place: usize) -> PackageName {
    format!("package{place}").parse().expect("a name")
}

fn packages() -> impl Strategy<Value = Vec<(u8, BTreeSet<usize>)>> {
    let one = (0..3u8, proptest::collection::btree_set(0..8usize, 0..4));
    proptest::collection::vec(one, 1..8).prop_map(|mut packages| {
        for (place, (_, needs)) in packages.iter_mut().enumerate() {
            needs.retain(|need| *need < place);
        }
        packages
    })
}

proptest! {
    #[test]
    fn what_did_not_change_itself_hangs_on_something_that_did(
        old in packages(),
        contents in proptest::collection::vec(0..3u8, 8),
    ) {
        let new: Vec<_> = old
            .iter()
            .zip(&contents)
            .map(|((_, needs), content)| (*content, needs.clone()))
            .collect();
        let (before, after) = (graph(0, &old), graph(0, &new));
        let found = graphs(&before, &after);
        prop_assert!(found.added.is_empty() && found.removed.is_empty());
        // By a walk of its own: who differs, and who needs somebody who does.
        let own: BTreeSet<usize> =
            (0..old.len()).filter(|place| old[*place].0 != new[*place].0).collect();
        let mut touched = own.clone();
        for (place, (_, needs)) in old.iter().enumerate() {
            if needs.iter().any(|need| touched.contains(need)) {
                touched.insert(place);
            }
        }
        let places: Vec<PackageName> = touched.iter().map(|place| name(*place)).collect();
        let mut changed: Vec<_> = found.changed.iter().map(|one| one.key.name.clone()).collect();
        changed.sort();
        prop_assert_eq!(changed, places);
        for one in &found.changed {
            let place = (0..8).find(|place| name(*place) == one.key.name).expect("known");
            prop_assert_eq!(!one.changes.is_empty(), own.contains(&place));
            prop_assert!(own.contains(&place) || !one.because.is_empty());
            let because = |key: &Key| own.iter().any(|place| name(*place) == key.name);
            prop_assert!(one.because.iter().all(because));
        }
    }

    #[test]
    fn a_graph_is_no_different_from_itself(packages in packages()) {
        prop_assert_eq!(graphs(&graph(1, &packages), &graph(1, &packages)), Comparison::default());
    }
}

#[test]
fn a_moved_index_and_a_lost_package_are_told_as_what_they_are() {
    let none = BTreeSet::new;
    let old = graph(0, &[(0, none()), (0, BTreeSet::from([0]))]);
    let new = graph(1, &[(0, none())]);
    let found = graphs(&old, &new);
    assert_eq!(found.removed.len(), 1);
    assert_eq!(found.changed.len(), 1);
    let change = &found.changed[0].changes[0];
    assert_eq!(change.field, "root");
    assert_eq!(change.item, "stable main/binary-amd64/Packages");
    assert_eq!(change.old, Some(Sha256::of(&[0]).to_string()));
}

#[test]
fn causes_go_down_to_the_nearest_packages_that_changed_themselves() {
    // 3 needs 2 needs 1 needs 0; 0 and 1 change.
    let chain = |zero, one| {
        let need = |place| BTreeSet::from([place]);
        graph(0, &[(zero, BTreeSet::new()), (one, need(0)), (0, need(1)), (0, need(2))])
    };
    let (old, new) = (chain(0, 0), chain(1, 1));
    let id = |graph: &Graph, place| {
        graph.package(name(place).as_str()).expect("it is there").0.id.to_string()
    };
    let (olds, news) = (documents(&old), documents(&new));
    let of = |place| {
        let found = causes(&id(&old, place), &id(&new, place), &olds, &news);
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(of(3), ["package1"]);
    assert_eq!(of(1), ["package1", "package0"]);
    // What is not known any more is all that can be said.
    let lost = causes(&id(&old, 3), &id(&new, 3), &|_| None, &news);
    assert_eq!(lost[0].1[0].field, "recipe");
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::object(members)
}

#[test]
fn documents_are_compared_member_by_member() {
    let text = |text: &str| Json::from(text);
    let list = |items: &[&str]| Json::array(items.iter().copied());
    let check = |old: Json, new: Json, expected: &[(&str, &str, Option<&str>, Option<&str>)]| {
        let found = recipes(&object([("f", old)]), &object([("f", new)]), &|_| None, &|_| None);
        let found: Vec<_> = found
            .changes
            .iter()
            .map(|one| (&*one.field, &*one.item, one.old.as_deref(), one.new.as_deref()))
            .collect();
        assert_eq!(found, expected);
    };
    check(text("a"), text("b"), &[("f", "", Some("a"), Some("b"))]);
    check(text("a"), text("a"), &[]);
    check(
        list(&["a", "b"]),
        list(&["b", "c"]),
        &[("f", "", None, Some("c")), ("f", "", Some("a"), None)],
    );
    check(list(&["a", "a"]), list(&["a"]), &[("f", "", Some("a"), None)]);
    check(list(&["a", "b"]), list(&["b", "a"]), &[("f", "order", Some("a, b"), Some("b, a"))]);
    check(
        object([("x", text("1")), ("y", text("2"))]),
        object([("y", text("3")), ("z", text("4"))]),
        &[
            ("f", "x", Some("1"), None),
            ("f", "y", Some("2"), Some("3")),
            ("f", "z", None, Some("4")),
        ],
    );
    let file = |path: &str, hash: &str| object([("path", text(path)), ("sha256", text(hash))]);
    check(
        Json::Array(vec![file("a", "1"), file("b", "2")]),
        Json::Array(vec![file("a", "3"), file("c", "2")]),
        &[
            ("f", "a", Some("1"), Some("3")),
            ("f", "b", Some("2"), None),
            ("f", "c", None, Some("2")),
        ],
    );
}

#[test]
fn build_roots_are_compared_by_the_versions_of_their_packages() {
    let package = |name: &str, version: &str, sha256: &str| {
        object([("name", name.into()), ("version", version.into()), ("sha256", sha256.into())])
    };
    let action = |layers: Vec<Vec<Json>>, contract: i64| {
        let root = Json::Array(layers.into_iter().map(Json::Array).collect());
        object([("root", root), ("contract", Json::Integer(contract))])
    };
    let old = action(vec![vec![package("aa", "1", "x")], vec![package("bb", "1", "x")]], 1);
    let new = action(vec![vec![package("aa", "2", "y"), package("bb", "1", "y")]], 2);
    let told: Vec<String> = actions(&old, &new)
        .iter()
        .map(|one| format!("{} {} {:?} {:?}", one.field, one.item, one.old, one.new))
        .collect();
    assert_eq!(
        told,
        [
            r#"contract  Some("1") Some("2")"#,
            r#"root aa Some("1") Some("2")"#,
            r#"root bb Some("x") Some("y")"#,
        ]
    );
}
