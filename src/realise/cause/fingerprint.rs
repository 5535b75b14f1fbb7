//! What a failure is called, whichever package it is met in.

/// A cause without what differs from package to package and from run to run.
pub fn normal(text: &str, package: &str) -> String {
    let text = without_place(text);
    let words = text.split_whitespace().map(|word| normal_word(word, package));
    words.collect::<Vec<_>>().join(" ")
}

/// The message of a compiler or linker without the place that it stands in front of:
/// `src/x.c:12:3: error: …`, `x.c:(.text+0xa): undefined …`, `./configure: 12: …`.
fn without_place(text: &str) -> &str {
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once(": ") {
        let is_place = !head.contains(' ') && head.contains(['.', '/', ':']);
        let is_number = !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_digit());
        if !is_place && !is_number {
            break;
        }
        rest = tail;
    }
    rest
}

/// A word with its folders, numbers and addresses taken out, and the package's own name.
fn normal_word(word: &str, package: &str) -> String {
    let base = match word.trim_end_matches('/').rsplit_once('/') {
        // What is quoted stays so.
        Some((head, base)) => {
            let quote = head.chars().next().filter(|c| !c.is_alphanumeric() && !"./".contains(*c));
            format!("{}{base}", quote.map(String::from).unwrap_or_default())
        }
        None => word.to_owned(),
    };
    let mut text = String::new();
    let mut run = String::new();
    for c in base.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() {
            run.push(c);
            continue;
        }
        text.push_str(&normal_run(&run));
        run.clear();
        if c != '\0' {
            text.push(c);
        }
    }
    let shape = normal_run_of(package);
    if package.len() > 2 { text.replace(&shape, "PACKAGE") } else { text }
}

/// The package's name as the runs of it come out.
fn normal_run_of(package: &str) -> String {
    let mut text = String::new();
    let mut run = String::new();
    for c in package.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() {
            run.push(c);
        } else {
            text.push_str(&normal_run(&run));
            run.clear();
            if c != '\0' {
                text.push(c);
            }
        }
    }
    text
}

/// Letters and digits that stand together: a number, a long hexadecimal number, or itself.
fn normal_run(run: &str) -> String {
    let digits = run.strip_prefix("0x").unwrap_or(run);
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_digit = digits.bytes().any(|byte| byte.is_ascii_digit());
    if run.is_empty() {
        String::new()
    } else if run.bytes().all(|byte| byte.is_ascii_digit()) {
        "N".to_owned()
    } else if is_hex && has_digit && (digits.len() >= 7 || digits.len() < run.len()) {
        "X".to_owned()
    } else {
        run.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn the_same_failure_of_two_packages_has_one_name() {
        for (one, two) in [
            ("src/a.c:12:3: error: unknown type `u8`", "b.c:7: error: unknown type `u8`"),
            (
                "m.c:(.text+0xa): undefined reference to `dlopen'",
                "x/y.c:(.text.f+0x1b): undefined reference to `dlopen'",
            ),
            (
                "its build needed more than 400 MiB of memory",
                "its build needed more than 3000 MiB of memory",
            ),
            ("alpha: missing files in alpha 1.2.3", "beta: missing files in beta 4.0.12"),
            ("cannot open /tmp/cc1A2b3C4d/x", "cannot open /var/tmp/other/x"),
            ("commit 0123456789abcdef is gone", "commit fedcba9876543210 is gone"),
            ("./configure: 2345: bison: not found", "./configure: 11: bison: not found"),
        ] {
            assert_eq!(normal(one, "alpha"), normal(two, "beta"), "{one}");
        }
    }

    #[test]
    fn different_failures_stay_apart() {
        for (one, two) in [
            ("a.c:1: fatal error: zlib.h: No such file", "a.c:1: fatal error: png.h: No such file"),
            ("undefined reference to `a'", "undefined reference to `b'"),
            ("bison: not found", "flex: not found"),
        ] {
            assert_ne!(normal(one, "x"), normal(two, "x"), "{one}");
        }
        assert_eq!(normal("", "x"), "");
    }
}
