//! Our canonical JSON beside `jq -cjS .`, and our ids beside `b3sum`: whoever has these two tools
//! can walk a release without this program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use perestroika::base::json::MAX_INTEGER;
use perestroika::base::{DerivationId, HostPath, Json};
use perestroika::graph;
use perestroika::spec::{self, lock};
use proptest::prelude::*;

/// What a tool prints when it is given these bytes.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{program}` does not start: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", output.status);
    output.stdout
}

fn jq(input: &[u8]) -> Vec<u8> {
    piped("jq", &["-cjS", "."], input)
}

fn b3sum(input: &[u8]) -> String {
    let digest = piped("b3sum", &["--no-names"], input);
    String::from_utf8(digest).unwrap().trim_end().to_owned()
}

/// jq prints our bytes from our bytes, and from every other way to write the same value.
#[track_caller]
fn check(value: &Json) {
    let ours = value.encode();
    let text = String::from_utf8_lossy(&ours).into_owned();
    assert_eq!(String::from_utf8_lossy(&jq(&ours)), text);
    let loose = loosely(value);
    assert_eq!(String::from_utf8_lossy(&jq(loose.as_bytes())), text, "written as {loose}");
    assert_eq!(Json::read(loose.as_bytes()).unwrap(), *value, "written as {loose}");
    assert_eq!(Json::read_canonical(&ours).unwrap(), *value);
}

/// The same value as somebody else would write it: every character escaped, keys backwards,
/// white space everywhere.
fn loosely(value: &Json) -> String {
    match value {
        Json::Integer(integer) => format!(" {integer}\n"),
        Json::String(text) => {
            let mut units = [0; 2];
            let escaped: String = text
                .chars()
                .flat_map(|character| character.encode_utf16(&mut units).to_vec())
                .map(|unit| format!("\\u{unit:04X}"))
                .collect();
            format!("\t\"{escaped}\" ")
        }
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(loosely).collect();
            format!(" [ {} ] ", items.join(" ,\r\n"))
        }
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| {
                format!("{}:{}", loosely(&Json::from(key)), loosely(value))
            };
            let members: Vec<String> = members.iter().rev().map(member).collect();
            format!("\n{{ {} }}", members.join(" , "))
        }
    }
}

/// Characters that are easily got wrong, and any other.
fn characters() -> impl Strategy<Value = char> {
    prop_oneof![
        prop::char::range('\0', '\u{20}'),
        prop::sample::select(vec![
            '"',
            '\\',
            '/',
            '<',
            '\'',
            '\u{7e}',
            '\u{7f}',
            '\u{80}',
            '\u{9f}',
            '\u{a0}',
            '\u{ad}',
            '\u{301}',
            '\u{7ff}',
            '\u{800}',
            '\u{2028}',
            '\u{2029}',
            '\u{d7ff}',
            '\u{e000}',
            '\u{feff}',
            '\u{fffd}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{10000}',
            '\u{1f600}',
            '\u{10ffff}',
        ]),
        any::<char>(),
        prop::char::range('a', 'c'),
    ]
}

fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(characters(), 0..12).prop_map(|all| all.into_iter().collect())
}

fn values() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(Json::Integer),
        (-1000_i64..1000).prop_map(Json::Integer),
        Just(Json::Integer(MAX_INTEGER)),
        Just(Json::Integer(-MAX_INTEGER)),
        texts().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::btree_map(texts(), inner, 0..8).prop_map(Json::Object),
        ]
    })
}

proptest! {
    // jq takes its time to start, so a case is many values. A list of them, because `jq -j` prints
    // a bare string without quotes; no document of ours is one.
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_has_the_bytes_that_jq_prints(values in prop::collection::vec(values(), 0..20)) {
        check(&Json::Array(values));
    }

    #[test]
    fn keys_have_the_order_that_jq_gives_them(keys in prop::collection::vec(texts(), 0..200)) {
        let value = |at| Json::Integer(i64::try_from(at).unwrap());
        let members: BTreeMap<_, _> =
            keys.into_iter().enumerate().map(|(at, key)| (key, value(at))).collect();
        check(&Json::Object(members));
    }
}

#[test]
fn every_character_up_to_u2fff_has_the_bytes_that_jq_prints() {
    let all = ('\0'..='\u{2fff}').map(|character| Json::from(character.to_string()));
    check(&Json::Array(all.collect()));
}

#[test]
fn one_character_of_every_page_has_the_bytes_that_jq_prints() {
    let all = (0..=0x10ff_u32).filter_map(|page| char::from_u32(page << 8 | 0xff));
    check(&Json::Array(all.map(|character| Json::from(character.to_string())).collect()));
}

#[test]
fn an_id_is_what_b3sum_prints_of_the_bytes() {
    for length in [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 100_000] {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        assert_eq!(DerivationId::of(&bytes).to_string(), b3sum(&bytes), "{length} bytes");
    }
}

#[test]
fn every_derivation_of_the_demo_is_what_jq_prints_and_named_by_b3sum() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/demo");
    let text = fs::read_to_string(folder.join("release.lock")).unwrap();
    let lock = lock::parse(&text).unwrap();
    let spec = spec::load(&HostPath::new(&folder), Some(&lock)).unwrap();
    let graph = graph::lower(&spec, &lock).unwrap();
    let mut seen = 0;
    for node in graph.nodes() {
        let document = node.derivation.to_json();
        check(&document);
        assert_eq!(node.id.to_string(), b3sum(&document.encode()));
        seen += 1;
    }
    // A root, five sources, five packages, the release.
    assert_eq!(seen, 12);
}
