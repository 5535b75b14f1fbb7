//! Universes are written as lines: `name version`, then fields, with `;` between.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::base::Sha256;

fn packages(text: &str) -> Vec<Arc<BinaryPackage>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let packages = lines.map(|line| {
        let (title, fields) = line.split_once(';').unwrap_or((line, ""));
        let (name, version) = title.trim().split_once(' ').unwrap();
        let mut control = format!("Package: {name}\nVersion: {version}\n");
        if !fields.contains("Architecture:") {
            control.push_str("Architecture: amd64\n");
        }
        control.push_str(
            &fields.split(';').map(|field| format!("{}\n", field.trim())).collect::<String>(),
        );
        let file = format!("pool/{name}.deb");
        let package = BinaryPackage::from_control(control.trim(), &file, 1, Sha256::of(b""));
        Arc::new(package.unwrap())
    });
    packages.collect()
}

fn universe(text: &str) -> Universe {
    Universe::new(vec![packages(text)])
}

fn request(depends: &str) -> Request {
    Request {
        architecture: "amd64".parse().unwrap(),
        packages: Vec::new(),
        essential: false,
        depends: depends.parse().unwrap(),
        conflicts: Dependencies::default(),
    }
}

fn answer(universe: &Universe, request: &Request) -> String {
    match solve(universe, request) {
        Ok(chosen) => chosen.iter().map(|p| p.name.to_string()).collect::<Vec<_>>().join(" "),
        Err(error) => error.because.join("\n"),
    }
}

fn check(text: &str, depends: &str, expected: &str) {
    assert_eq!(answer(&universe(text), &request(depends)), expected, "{depends}");
}

#[test]
fn takes_the_first_alternative_and_nothing_recommended() {
    let text = "
        aa 1; Depends: bb | cc, dd
        bb 1; Recommends: ee
        cc 1
        dd 1; Suggests: ee
        ee 1";
    check(text, "aa", "aa bb dd");
    check(text, "xx | aa (>= 2) | dd", "dd");
    check(text, "", "");
}

#[test]
fn what_is_chosen_already_satisfies_packages() {
    let text = "
        aa 1; Depends: bb | cc
        bb 1
        cc 1
        dd 1; Depends: virtual
        vv 1; Provides: virtual
        ww 1; Provides: virtual; Priority: required";
    check(text, "cc, aa", "aa cc");
    check(text, "aa, cc", "aa bb cc");
    check(text, "dd", "dd ww");
    check(text, "vv, dd", "dd vv");
}

#[test]
fn the_request_gets_its_first_alternative_although_another_is_there() {
    let text = "
        base 1; Essential: yes; Depends: mawk | gawk
        mawk 1; Provides: awk
        gawk 1; Provides: awk";
    let mut request = request("gawk | awk");
    request.essential = true;
    assert_eq!(answer(&universe(text), &request), "base gawk mawk");
    request.depends = "awk | gawk".parse().unwrap();
    assert_eq!(answer(&universe(text), &request), "base mawk");
}

#[test]
fn chooses_among_providers_by_name_essence_protection_and_priority() {
    for (text, expected) in [
        ("vv 1; Priority: extra\nxx 1; Provides: vv; Essential: yes", "vv"),
        ("xx 1; Provides: vv; Essential: yes\nyy 1; Provides: vv; Priority: required", "xx"),
        ("xx 1; Provides: vv; Protected: yes\nyy 1; Provides: vv; Priority: required", "xx"),
        ("xx 1; Provides: vv; Priority: standard\nyy 1; Provides: vv", "xx"),
        ("xx 1; Provides: vv\nyy 1; Provides: vv", "yy"),
        ("yy 1; Provides: vv\nxx 1; Provides: vv", "yy"),
    ] {
        check(text, "vv", expected);
    }
}

#[test]
fn only_a_versioned_provides_satisfies_a_version() {
    let text = "
        xx 9; Provides: vv, ww (= 2)
        zz 1; Provides: ww";
    check(text, "ww (>= 2)", "xx");
    check(text, "ww", "zz");
    check(text, "vv (>= 1)", "`vv (>= 1)` is asked for\n`vv` is provided by `xx`, but not so");
}

#[test]
fn any_means_packages_that_allow_it() {
    let text = "
        aa 1; Multi-Arch: allowed
        bb 1; Multi-Arch: foreign
        cc 1; Architecture: all";
    check(text, "aa:any", "aa");
    check(
        text,
        "bb:any",
        "`bb:any` is asked for\n`bb` 1 is not for this qualifier (Multi-Arch: Foreign)",
    );
    check(text, "aa:native, bb:amd64, cc", "aa bb cc");
    check(
        text,
        "aa:i386",
        "`aa:i386` is asked for\n`aa` 1 is not for this qualifier (Multi-Arch: Allowed)",
    );
}

#[test]
fn a_name_has_one_candidate() {
    let one = packages("aa 1\nbb 2; Provides: old");
    let two = packages("aa 0:1\naa 3; Architecture: i386\nbb 1; Provides: older");
    let version = |universe: &Universe, name: &str| {
        let amd64 = "amd64".parse().unwrap();
        universe.candidate(name, &amd64).map(|package| package.version.to_string())
    };
    let universe = Universe::new(vec![one.clone(), two.clone()]);
    assert_eq!(version(&universe, "aa").as_deref(), Some("1"));
    assert_eq!(version(&universe, "bb").as_deref(), Some("2"));
    assert_eq!(answer(&universe, &request("old")), "bb");
    assert!(solve(&universe, &request("older")).is_err());
    let universe = Universe::new(vec![two, one]);
    assert_eq!(version(&universe, "aa").as_deref(), Some("0:1"));
    let universe = universe.replace(packages("bb 0.1; Provides: own\ncc 1"));
    assert_eq!(version(&universe, "bb").as_deref(), Some("0.1"));
    assert_eq!(answer(&universe, &request("own, cc")), "bb cc");
    assert!(solve(&universe, &request("old")).is_err());
}

#[test]
fn goes_back_where_the_first_choice_ends_in_a_conflict() {
    let text = "
        aa 1; Depends: xx | yy
        xx 1; Conflicts: zz
        yy 1
        zz 1
        bb 1; Depends: mm, zz
        mm 1; Depends: nn
        nn 1; Provides: virtual; Conflicts: virtual
        oo 1; Provides: virtual
        pp 1; Breaks: yy (<< 2)";
    check(text, "aa, bb", "aa bb mm nn yy zz");
    check(text, "nn", "nn");
    let mut with_conflicts = request("aa");
    with_conflicts.conflicts = "xx (<< 3), oo (>= 2)".parse().unwrap();
    assert_eq!(answer(&universe(text), &with_conflicts), "aa yy");
    check(
        text,
        "nn, oo",
        "`nn` is asked for\n`oo` is asked for\n`nn` 1 excludes `oo` 1 (Conflicts: virtual)",
    );
}

#[test]
fn explains_why_there_is_no_answer() {
    let text = "
        greet 1; Depends: libgreet1 (>= 1.2), helper
        libgreet1 1.1
        helper 2; Depends: tool | gadget
        tool 3; Conflicts: greet
        gadget 4; Depends: libgret-dev
        libgreet-dev 1";
    check(
        text,
        "greet",
        "`greet` is asked for\n\
         `greet` 1 needs `libgreet1 (>= 1.2)` (Depends)\n\
         `libgreet1` is there as 1.1 only",
    );
    let better = text.replace("libgreet1 1.1", "libgreet1 1.2");
    check(
        &better,
        "greet",
        "`greet` is asked for\n\
         `greet` 1 needs `helper` (Depends)\n\
         `helper` 2 needs `tool | gadget` (Depends)\n\
         `tool` 3 would do, but\n\
         `tool` 3 excludes `greet` 1 (Conflicts: greet)\n\
         `gadget` 4 would do, but\n\
         `gadget` 4 needs `libgret-dev` (Depends)\n\
         no package is or provides `libgret-dev` (there is `libgreet-dev`)",
    );
    let mut request = request("");
    request.packages = vec!["gret".parse().unwrap()];
    assert_eq!(
        answer(&universe(text), &request),
        "`gret` is asked for\nno package is or provides `gret` (there is `greet`)"
    );
    request.packages = vec!["tool".parse().unwrap()];
    request.conflicts = "tool".parse().unwrap();
    assert_eq!(
        answer(&universe(text), &request),
        "`tool` is asked for\n`tool` 3 must not be there (Build-Conflicts: tool)"
    );
}

#[test]
fn refuses_a_package_whose_relations_nobody_can_read() {
    let text = "Package: aa\nVersion: 1\nArchitecture: amd64\nDepends: b b\nProvides: vv\n\
        Filename: a.deb\nSize: 1\nSHA256: ";
    let text = format!("{text}{}\n", Sha256::of(b""));
    let universe = Universe::new(vec![crate::archive::deb::index::packages(&text).unwrap()]);
    assert_eq!(
        answer(&universe, &request("vv")),
        "`vv` is asked for\n`aa` 1 cannot be read: field `Depends`: in the relation `b b`: `b` \
         is not a package name: at least two of a-z, 0-9, `+`, `-` and `.`, the first a letter or \
         a digit"
    );
}

#[test]
fn a_chain_as_long_as_an_archive_is_followed() {
    let links: Vec<_> = (0..20_000).map(|n| format!("p{n:05} 1; Depends: p{:05}", n + 1)).collect();
    let text = links.join("\n");
    assert_eq!(answer(&universe(&text), &request("p00000")).lines().last(), Some("… and so on"));
    let text = format!("{text}\np20000 1");
    assert_eq!(solve(&universe(&text), &request("p00000")).unwrap().len(), 20_001);
}

#[test]
fn a_riddle_made_to_have_no_answer_ends() {
    // Eleven pigeons, ten holes: no proof by resolution is short.
    let mut text = String::new();
    let mut asked = Vec::new();
    for pigeon in 0..11 {
        let holes: Vec<_> = (0..10).map(|hole| format!("pigeon{pigeon}in{hole}")).collect();
        for (hole, name) in holes.iter().enumerate() {
            text.push_str(&format!("{name} 1; Provides: in{hole}; Conflicts: in{hole}\n"));
        }
        asked.push(holes.join(" | "));
    }
    assert!(solve(&universe(&text), &request(&asked.join(", "))).is_err());
}

/// A universe of ten packages in as many lines.
fn riddle() -> impl Strategy<Value = String> {
    const NAMES: [&str; 12] =
        ["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj", "va", "vb"];
    let relation =
        (0..NAMES.len(), prop_oneof![4 => Just(""), 1 => Just(" (>= 2)"), 1 => Just(" (<< 2)")])
            .prop_map(|(name, version)| format!("{}{version}", NAMES[name]));
    let alternatives =
        prop::collection::vec(relation.clone(), 1..=2).prop_map(|all| all.join(" | "));
    let package = (
        1..=2,
        prop::collection::vec(alternatives, 0..=2),
        prop::collection::vec(relation, 0..=1),
        prop_oneof![2 => Just(""), 1 => Just("va"), 1 => Just("vb (= 2)")],
    );
    prop::collection::vec(package, 10).prop_map(|packages| {
        let lines =
            packages.into_iter().enumerate().map(|(n, (version, depends, conflicts, provides))| {
                format!(
                    "{} {version}; Depends: {}; Conflicts: {}; Provides: {provides}",
                    NAMES[n],
                    depends.join(", "),
                    conflicts.join(", ")
                )
            });
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Whether `chosen` is a set in which all is well, read straight from the policy's words.
fn is_sound(chosen: &[&Arc<BinaryPackage>], depends: &Dependencies) -> bool {
    let does = |package: &BinaryPackage, relation: &crate::archive::deb::dependency::Relation| {
        (package.name == relation.name && relation.accepts(&package.version))
            || package.provides.get().unwrap().0.iter().flat_map(|all| &all.0).any(|provided| {
                provided.name == relation.name
                    && (relation.version.is_none()
                        || provided.version.as_ref().is_some_and(|(_, v)| relation.accepts(v)))
            })
    };
    let satisfied = |all: &Dependencies| {
        all.0.iter().all(|alternatives| {
            alternatives
                .0
                .iter()
                .any(|relation| chosen.iter().any(|package| does(package, relation)))
        })
    };
    satisfied(depends)
        && chosen.iter().all(|package| {
            satisfied(package.depends.get().unwrap())
                && package.conflicts.get().unwrap().0.iter().flat_map(|all| &all.0).all(
                    |relation| {
                        !chosen
                            .iter()
                            .any(|other| other.name != package.name && does(other, relation))
                    },
                )
        })
}

proptest! {
    #[test]
    fn finds_an_answer_exactly_where_there_is_one(text in riddle()) {
        let all = packages(&text);
        let universe = Universe::new(vec![all.clone()]);
        let request = request("aa, va | bb");
        match solve(&universe, &request) {
            Ok(chosen) => {
                let chosen: Vec<_> = chosen.iter().collect();
                prop_assert!(is_sound(&chosen, &request.depends), "{text}\n{chosen:?}");
            }
            Err(error) => {
                for set in 0..1_u32 << all.len() {
                    let chosen: Vec<_> =
                        all.iter().enumerate().filter(|(n, _)| set >> n & 1 == 1).map(|(_, p)| p).collect();
                    prop_assert!(!is_sound(&chosen, &request.depends), "{text}\n{error}\n{chosen:?}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_universe_does_not_matter(text in riddle()) {
        let mut all = packages(&text);
        let one = solve(&Universe::new(vec![all.clone()]), &request("aa, va"));
        all.reverse();
        let other = solve(&Universe::new(vec![all]), &request("aa, va"));
        let names = |result: Result<Vec<Arc<BinaryPackage>>, Unsolvable>| {
            result.map(|all| all.iter().map(|p| p.name.to_string()).collect::<BTreeSet<_>>())
        };
        prop_assert_eq!(names(one), names(other));
    }
}
