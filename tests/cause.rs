//! The causes picked out of real logs, as builds of these failures printed them.
//!
//! `fixtures/cause/NAME.log` is the end of a log; the first line of `fixtures/cause/NAME.expected`
//! is what is to be said of it. `UPDATE=1` writes what is said now.

use std::fs;
use std::path::Path;

use perestroika::base::PackageName;
use perestroika::realise::cause::{Kind, pick};

#[test]
fn the_cause_of_real_failures_is_picked_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cause");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "log") {
            continue;
        }
        count += 1;
        let log = fs::read_to_string(&path).unwrap();
        let said = pick(&log).map_or_else(|| "nothing".to_owned(), |cause| cause.line());
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, format!("{said}\n")).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if expected.trim_end() != said {
            wrong.push(format!("{}\n  expected {expected}  said     {said}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 25, "only {count} logs");
}

#[test]
fn the_same_cause_has_one_fingerprint_in_every_package() {
    let name = |text: &str| text.parse::<PackageName>().unwrap();
    let log = |package: &str, line: u32| {
        format!(
            "/build/reproducible-path/{package}-1.0/src/{package}.c:{line}:10: fatal error: \
             zlib.h: No such file or directory\nmake: *** [Makefile:{line}: {package}.o] Error 1\n"
        )
    };
    let (one, two) = (pick(&log("alpha", 3)).unwrap(), pick(&log("beta", 17)).unwrap());
    assert_eq!(one.kind, Kind::Compiler);
    assert_eq!(one.text, "src/alpha.c:3:10: fatal error: zlib.h: No such file or directory");
    assert_eq!(one.fingerprint(&name("alpha")), two.fingerprint(&name("beta")));
    let other = pick("x.c:1: fatal error: png.h: No such file or directory\n").unwrap();
    assert_ne!(one.fingerprint(&name("alpha")), other.fingerprint(&name("alpha")));
}

#[test]
fn any_bytes_are_a_log() {
    for log in ["", "\n", "\u{1b}", "make: *** ", "FAIL: ", "1/1  FAIL ", ": error: ", "not ok"] {
        let _ = pick(log);
        let _ = pick(&log.repeat(1000));
    }
    let long = "x".repeat(1 << 20) + ": error: y";
    assert_eq!(pick(&long), None, "what is beyond the first part of a line is not read");
}
