//! What test-suites print of a test that failed.

/// The name of the test that the line says has failed.
///
/// Understood are automake and Python's unittest, ctest, meson, pytest, TAP (Perl's prove and
/// others), cargo and go.
pub fn failed(line: &str) -> Option<&str> {
    automake(line)
        .or_else(|| ctest(line))
        .or_else(|| meson(line))
        .or_else(|| pytest(line))
        .or_else(|| tap(line))
        .or_else(|| line.strip_prefix("--- FAIL: ").and_then(first_word))
        .or_else(|| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
}

/// `FAIL: bad.sh`, `ERROR: bad.sh`; unittest: `FAIL: test_x (tests.Sums)`.
fn automake(line: &str) -> Option<&str> {
    let (word, name) = line.split_once(": ")?;
    let name = name.trim();
    let alone = !name.contains(' ');
    let of_class =
        name.ends_with(')') && name.split_once(" (").is_some_and(|(test, _)| !test.contains(' '));
    match word {
        "FAIL" if !name.is_empty() => Some(name),
        "ERROR" if !name.is_empty() && (alone || of_class) => Some(name),
        _ => None,
    }
}

/// `  1 - sums (Failed)`, in the summary.
fn ctest(line: &str) -> Option<&str> {
    let (number, rest) = line.trim_start().split_once(" - ")?;
    let (name, how) = rest.rsplit_once(" (")?;
    let ends = [
        "Failed)",
        "Timeout)",
        "SEGFAULT)",
        "Subprocess aborted)",
        "Not Run)",
        "ILLEGAL)",
        "NUMERICAL)",
        "OTHER_FAULT)",
        "BAD_COMMAND)",
    ];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && ends.contains(&how)).then_some(name)
}

/// `1/2 sums FAIL   0.01s   exit status 1`; with suites `1/2 greet:unit / sums  TIMEOUT …`.
fn meson(line: &str) -> Option<&str> {
    let (count, rest) = line.trim_start().split_once(' ')?;
    let (one, all) = count.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(one) || !is_number(all) {
        return None;
    }
    let at = [" FAIL ", " TIMEOUT ", " ERROR ", " UNEXPECTEDPASS "]
        .iter()
        .filter_map(|word| rest.find(word))
        .min()?;
    Some(rest[..at].trim()).filter(|name| !name.is_empty())
}

/// `FAILED tests/test_add.py::test_add - assert 5 == 4`, `ERROR tests/test_add.py - …`.
fn pytest(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("FAILED ").or_else(|| line.strip_prefix("ERROR "))?;
    first_word(rest).filter(|name| name.contains(".py"))
}

/// `not ok 3 - adds`; what is marked as to be done may fail.
fn tap(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("not ok")?.trim_start();
    if rest.contains("# TODO") || rest.contains("# SKIP") {
        return None;
    }
    let name = rest.split_once(" - ").map_or(rest, |(_, name)| name);
    Some(name.trim()).filter(|name| !name.is_empty())
}

fn first_word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::failed;

    #[test]
    fn failed_tests_are_known_by_their_names() {
        for (line, name) in [
            ("FAIL: bad.sh", Some("bad.sh")),
            ("ERROR: crashes.sh", Some("crashes.sh")),
            ("ERROR: test_x (tests.Sums)", Some("test_x (tests.Sums)")),
            ("\t  1 - sums (Failed)", Some("sums")),
            ("  12 - long name (Timeout)", Some("long name")),
            ("1/1 sums FAIL            0.01s   exit status 1", Some("sums")),
            (
                "FAILED tests/test_add.py::test_add - assert 5 == 4",
                Some("tests/test_add.py::test_add"),
            ),
            ("ERROR tests/test_add.py - ModuleNotFoundError: x", Some("tests/test_add.py")),
            ("not ok 3 - adds", Some("adds")),
            ("--- FAIL: TestSums (0.00s)", Some("TestSums")),
            ("test sums::adds ... FAILED", Some("sums::adds")),
            ("XFAIL: known.sh", None),
            ("# FAIL:  1", None),
            ("PASS: good.sh", None),
            ("ERROR: Could not find a version that satisfies the requirement x", None),
            ("FAILED: met.p/main.c.o", None),
            ("not ok 3 - later # TODO", None),
            ("1/2 Test #1: sums ....   Passed    0.00 sec", None),
            ("1/1 sums OK              0.01s", None),
            ("", None),
        ] {
            assert_eq!(failed(line), name, "{line}");
        }
    }
}
