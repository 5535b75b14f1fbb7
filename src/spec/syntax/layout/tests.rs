use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let file: ReleasePath = "a.rhai".parse().expect("plain");
    let found = layout(&file, text).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
    assert_eq!(found, expected);
    assert_eq!(layout(&file, &found).as_deref(), Ok(expected), "the second time");
}

#[test]
fn white_space_between_tokens_is_one_blank_or_none() {
    check("let  x=1 ;x+ 2", "let x = 1;\nx + 2\n");
    check("f ( a,b ) . c ( ) [ 0 ]", "f(a, b).c()[0]\n");
    check("#{a :1 ,b:[ 1,2,], }", "#{ a: 1, b: [1, 2] }\n");
    check("if ! x&&y{ - 1 }else{a-1}", "if !x && y { -1 } else { a - 1 }\n");
    check("l.map( | x,y |x+y ).filter(||true)", "l.map(|x, y| x + y).filter(|| true)\n");
    check("import  \"lib/a\"  as a;a :: b( )", "import \"lib/a\" as a;\na::b()\n");
    check("for (a , i) in 0 .. 3{f(a)}", "for (a, i) in 0..3 { f(a) }\n");
    check("x ?. y ?? z; a !in b", "x?.y ?? z;\na !in b\n");
    check("switch x{1|2=>a,_=>{b}}", "switch x { 1 | 2 => a, _ => { b } }\n");
    check("( a+b )*c; return ( a )", "(a + b) * c;\nreturn (a)\n");
    check("", "");
    check("\u{feff}()", "\u{feff}()\n");
}

#[test]
fn what_its_author_broke_stays_broken() {
    check(
        "package(#{\nname:\"a\",\n\n\n  build:debian()})",
        "package(#{\n    name: \"a\",\n\n    build: debian(),\n})\n",
    );
    check(
        "[package(#{\nname:\"a\"}),\nb]",
        "[\n    package(#{\n        name: \"a\",\n    }),\n    b,\n]\n",
    );
    check(
        "prev(\"a\")\n.with(#{a:1})\n  .add(#{\nb:2})",
        "prev(\"a\")\n    .with(#{ a: 1 })\n    .add(#{\n        b: 2,\n    })\n",
    );
    check("let a = 1; let b = 2;\n\n\n\nb", "let a = 1;\nlet b = 2;\n\nb\n");
    check("fn f(a)\n{\na+\n1\n}\nf(1)", "fn f(a) {\n    a +\n        1\n}\nf(1)\n");
    check("if a{b}\nelse{\nc}", "if a { b } else {\n    c\n}\n");
    check(
        "package(#{\nname:\"a\",version:\"1\" ,\nbuild:b( )})",
        "package(#{\n    name: \"a\", version: \"1\",\n    build: b(),\n})\n",
    );
    check("[1,2,\n3,4]", "[\n    1, 2,\n    3, 4,\n]\n");
    check("#{a:#{\nb:1}, c:2,\n}", "#{\n    a: #{\n        b: 1,\n    },\n    c: 2,\n}\n");
    check("f(a,\n#{b:1})", "f(\n    a,\n    #{ b: 1 },\n)\n");
}

#[test]
fn what_is_wider_than_a_line_gets_broken() {
    let long = |count: usize| vec!["\"aaaaaaaaaaaaaaaa\""; count].join(", ");
    let below =
        |count: usize, indent: &str| format!("{indent}\"aaaaaaaaaaaaaaaa\",\n").repeat(count);
    check(&format!("[{}]", long(4)), &format!("[{}]\n", long(4)));
    check(&format!("[{}]", long(6)), &format!("[\n{}]\n", below(6, "    ")));
    check(&format!("rebuild([{}])", long(6)), &format!("rebuild([\n{}])\n", below(6, "    ")));
    check(&format!("f({})", long(6)), &format!("f(\n{})\n", below(6, "    ")));
    check(
        &format!("package(#{{name: \"a\", build_depends: [{}]}})", long(6)),
        &format!(
            "package(#{{\n    name: \"a\",\n    build_depends: [\n{}    ],\n}})\n",
            below(6, "        ")
        ),
    );
    check(
        &format!("a.with(#{{b: [{}]}}).add(#{{c: 1}})", long(4)),
        &format!("a.with(#{{\n    b: [{}],\n}}).add(#{{ c: 1 }})\n", long(4)),
    );
    // What goes on over lines has nothing behind it.
    check(
        &format!("[\n[{}], 1]", long(6)),
        &format!("[\n    [\n{}    ],\n    1,\n]\n", below(6, "        ")),
    );
    // What stands together and does not fit goes on below.
    check(&format!("[\n{}\n]", long(8)), &format!("[\n    {},\n    {},\n]\n", long(4), long(4)));
    let sum = ["aaaaaaaaaaaaaaaa"; 6].join(" + ");
    check(
        &format!("fn f(a) {{({sum})}}"),
        &format!("fn f(a) {{\n    (\n        {sum}\n    )\n}}\n"),
    );
}

#[test]
fn comments_keep_their_place() {
    check("// a\n\n\n// b\nx // c\n// d\n", "// a\n\n// b\nx // c\n// d\n");
    check(
        "[ // a\n1, // b\n// c\n\n2 // d\n// e\n]",
        "[\n    // a\n    1, // b\n    // c\n\n    2, // d\n    // e\n]\n",
    );
    check("#{\n// nothing\n}", "#{\n    // nothing\n}\n");
    check("f(a /* b */, /* c */ d)", "f(a /* b */, /* c */ d)\n");
    check("prev(\"a\")\n// why\n.with(#{})", "prev(\"a\")\n    // why\n    .with(#{})\n");
    check("fn f() {\n// a\nx\n// b\n}\nf()", "fn f() {\n    // a\n    x\n    // b\n}\nf()\n");
    check("let a = [1, // x\n2];a", "let a = [\n    1, // x\n    2,\n];\na\n");
    check("/* a\n   b */\nx", "/* a\n   b */\nx\n");
}

#[test]
fn strings_are_never_touched() {
    check("script ( #\"\n  a  \n\tb\n\"# )", "script(#\"\n  a  \n\tb\n\"#)\n");
    check("`a  ${ x+1 }\n  b`", "`a  ${ x+1 }\n  b`\n");
    check("#{a:script(#\"\nx\n\"#),b:1}", "#{\n    a: script(#\"\nx\n\"#),\n    b: 1,\n}\n");
}

#[test]
fn what_does_not_parse_or_would_change_is_refused() {
    let file: ReleasePath = "a.rhai".parse().expect("plain");
    let refused = |text: &str| layout(&file, text).expect_err("refused").code;
    assert_eq!(refused("package(#{ nmae"), "syntax");
    // The second line begins where the string began: what is before does not count.
    assert_eq!(refused("let   a = \"b\\\n              c\"; a"), "layout");
}

fn specs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if entry.is_dir() && !["out", "target"].contains(&name.as_str()) {
            specs(&entry, found);
        } else if name.ends_with(".rhai") && !name.starts_with("eval-err-") {
            found.push(entry);
        }
    }
}

/// The texts of all good specs, modules and fixtures.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut found = Vec::new();
    for folder in ["fixtures", "specs", "stdlib"] {
        specs(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found.sort();
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a text");
    // A fixture holds several files, also some that are never read.
    let file: ReleasePath = "a.rhai".parse().expect("plain");
    let texts: Vec<String> = found
        .iter()
        .map(read)
        .flat_map(|text| split(&text))
        .filter(|text| outline(&file, text).is_ok())
        .collect();
    assert!(texts.len() > 20, "{}", texts.len());
    texts
});

fn split(text: &str) -> Vec<String> {
    let mut files = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("//// ") {
            Some(name) if name.contains(".rhai") => files.push(String::new()),
            Some(_) => break,
            None => files.last_mut().expect("one").push_str(line),
        }
    }
    files
}

#[track_caller]
fn settles(text: &str) {
    let file: ReleasePath = "a.rhai".parse().expect("plain");
    let once = layout(&file, text).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
    let twice = layout(&file, &once).unwrap_or_else(|error| panic!("{once}\n{error:?}"));
    assert_eq!(twice, once, "of\n{text}");
}

#[test]
fn every_spec_of_the_repository_settles_at_once() {
    for text in TEXTS.iter() {
        settles(text);
    }
}

/// The text with other white space between its tokens: `choices` says which.
fn respaced(text: &str, choices: &[u8]) -> String {
    let mut choices = choices.iter().cycle();
    let mut out = String::new();
    let mut after_comment = false;
    for token in tokens(text) {
        if token.kind != Kind::Space {
            out.push_str(token.text(text));
        } else {
            let choice = choices.next().copied().unwrap_or_default();
            out.push_str(match choice % 6 {
                _ if after_comment => ["\n", "\n\n", "\n\n\n  "][usize::from(choice % 3)],
                0 => "\n",
                1 => "\n\n\n",
                2 => "\t",
                3 => "\r\n   ",
                _ => " ",
            });
        }
        after_comment = token.kind == Kind::Comment;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_spec_settles_whatever_its_white_space_was(
        choices in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        for text in TEXTS.iter() {
            settles(&respaced(text, &choices));
        }
    }
}
