use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn row(number: u32, text: &str) -> Row {
    Row { key: format!("{number:05}"), text: format!("Package: {number:05}\nNote: {text}\n\n") }
}

fn table(rows: impl IntoIterator<Item = Row>) -> Table {
    Table::new(Shape::Paragraphs).with(rows, &[])
}

fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let mut out = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut out).expect("its output");
    writer.join().expect("no panic").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    out
}

fn identity(table: &Table) -> Vec<*const Piece> {
    table.pieces.iter().map(Arc::as_ptr).collect()
}

#[test]
fn xz_and_gzip_unpack_every_form() {
    for rows in [0, 1, 127, 3000] {
        let table = table((0..rows).map(|number| row(number, "text")));
        let plain = table.plain();
        assert_eq!(piped("xz", &["-dc"], &table.xz().expect("xz")), plain, "{rows}");
        assert_eq!(piped("gzip", &["-dc"], &table.gzip().expect("gzip")), plain, "{rows}");
    }
}

#[test]
fn an_xz_stream_is_one_stream_that_is_taken_apart_again() {
    let table = table((0..3000).map(|number| row(number, "text")));
    assert!(table.pieces.len() > 5, "{}", table.pieces.len());
    let stream = table.xz().expect("xz");
    let blocks = xz::split(&stream).expect("blocks");
    assert_eq!(blocks.len(), table.pieces.len());
    assert_eq!(xz::stream(&blocks.iter().collect::<Vec<_>>()), stream);
    assert!(xz::split(&stream[..stream.len() - 1]).is_none());
    let two = [stream.clone(), stream].concat();
    assert!(xz::split(&two).is_none());
}

#[test]
fn one_row_more_makes_one_piece_anew() {
    let table = table((0..5000).map(|number| row(2 * number, "text")));
    let more = table.with([row(4001, "more")], &[]);
    let (before, after) = (identity(&table), identity(&more));
    let kept = after.iter().filter(|piece| before.contains(piece)).count();
    assert!(after.len() - kept <= 2, "{kept} of {}", after.len());
    assert_eq!(more.get("04001"), Some(&*row(4001, "more").text));
    let less = more.with([], &["04001".to_owned()]);
    assert_eq!(less.xz().expect("xz"), table.xz().expect("xz"));
}

proptest! {
    #[test]
    fn a_table_is_what_its_rows_are_however_it_came_about(
        first in prop::collection::btree_set(0..2000u32, 0..600),
        put in prop::collection::vec((0..2000u32, "[a-z]{1,3}"), 0..60),
        gone in prop::collection::vec(0..2000u32, 0..300),
    ) {
        let before = table(first.iter().map(|&number| row(number, "old")));
        let keys: Vec<String> = gone.iter().map(|number| format!("{number:05}")).collect();
        let rows = put.iter().map(|(number, text)| row(*number, text));
        let after = before.with(rows.clone(), &keys);

        let mut expected: std::collections::BTreeMap<String, Row> =
            first.iter().map(|&number| row(number, "old")).map(|row| (row.key.clone(), row)).collect();
        expected.retain(|key, _| !keys.contains(key));
        expected.extend(rows.map(|row| (row.key.clone(), row)));
        let expected: Vec<Row> = expected.into_values().collect();
        prop_assert_eq!(after.rows().map(|(key, text)| Row::of(key, text)).collect::<Vec<_>>(), expected.clone());
        let anew = table(expected.clone());
        prop_assert_eq!(after.pieces.len(), anew.pieces.len());
        let (plain, gzip, xz) = (after.plain(), after.gzip().unwrap(), after.xz().unwrap());
        prop_assert_eq!(&xz, &anew.xz().unwrap());
        let text = String::from_utf8(plain).unwrap();
        let read = Table::written(Shape::Paragraphs, &text, &gzip, &xz).expect("its own forms");
        prop_assert_eq!(read.gzip().unwrap(), gzip);
        let (again, back) = (read.with([row(77, "x")], &[]), after.with([row(77, "x")], &[]));
        prop_assert_eq!(again.xz().unwrap(), back.xz().unwrap());
        for row in &expected {
            prop_assert_eq!(after.get(&row.key), Some(row.text.as_str()));
        }
        for number in 0..2000 {
            let key = format!("{number:05}");
            let is_there = expected.binary_search_by(|row| row.key.cmp(&key)).is_ok();
            prop_assert_eq!(after.get(&key).is_some(), is_there);
        }
    }
}
