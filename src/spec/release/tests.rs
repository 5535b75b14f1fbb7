use super::*;

const DEMO: &str = r#"
[release]
name = "demo"
version = "1.0"
maintainer = "Release team <release@example.org>"
architectures = ["amd64"]

[archive.bookworm]
format = "deb"
suites = ["bookworm"]
components = ["main"]
keyring = "keys/debian.pgp"

[root.bookworm]
archive = "bookworm"
packages = ["build-essential", "fakeroot"]

[parameters]
openstack = "2015.1"
count = 3
debug = false
"#;

#[test]
fn reads_a_whole_release() {
    let release = parse(DEMO).expect("a release");
    assert_eq!((release.name.as_str(), release.version.as_str()), ("demo", "1.0"));
    assert_eq!(release.customer, "");
    let archive = &release.archives["bookworm"];
    assert_eq!(archive.keyring.value.as_str(), "keys/debian.pgp");
    assert_eq!(archive.keyring.span.as_ref().map(|span| (span.line, span.column)), Some((12, 11)));
    let packages: Vec<_> =
        release.roots["bookworm"].packages.iter().map(|at| at.value.as_str()).collect();
    assert_eq!(packages, ["build-essential", "fakeroot"]);
    assert_eq!(release.parameters["count"], toml::Value::Integer(3));
}

#[test]
fn a_release_may_ask_for_a_kind_of_executor_but_for_no_engine() {
    assert!(parse(DEMO).expect("a release").executor.is_none());
    let of = |more: &str| format!("{DEMO}\n[executor]\n{more}");
    for kind in ExecutorKind::ALL {
        let text = of(&format!("kind = \"{}\"\n", kind.as_str()));
        let executor = parse(&text).expect("a release").executor;
        assert_eq!(executor.map(|at| at.value), Some(kind));
    }
    let base = parse(&of("kind = \"docker\"\n")).expect("a release");
    let over = |more: &str| {
        let text = format!("[release]\nname = \"over\"\nextends = \"../demo\"\n{more}");
        let (release, errors) = read_over(&ReleaseFolder::default(), &text, Some(&base));
        assert_eq!(errors, []);
        release.and_then(|release| release.executor).map(|at| at.value)
    };
    assert_eq!(over(""), Some(ExecutorKind::Docker));
    assert_eq!(over("[executor]\nkind = \"native\"\n"), Some(ExecutorKind::Native));
    for (more, told) in [
        ("", "needs `kind`"),
        ("kind = \"dokcer\"\n", "one of `native`, `docker`"),
        ("kind = \"docker\"\nlabels = []\n", "unknown key `labels`"),
        (
            "kind = \"docker\"\n[executor.docker.hosts.theirs]\nhost = \"tcp://x:1\"\n",
            "does not say where container engines are",
        ),
    ] {
        let errors = parse(&of(more)).expect_err(more);
        assert!(errors[0].message.contains(told) && errors.len() == 1, "{errors:?}");
    }
}

#[test]
fn a_release_says_how_closed_it_has_to_be_or_its_base_does() {
    assert!(parse(DEMO).expect("a release").closure.is_none());
    let of = |level: &str| format!("{DEMO}\n[closure]\nrequire = \"{level}\"\n");
    for level in Level::ALL {
        let closure = parse(&of(level.as_str())).expect("a release").closure;
        assert_eq!(closure.map(|at| at.value), Some(level));
    }
    let base = parse(&of("own")).expect("a release");
    let over = |more: &str| {
        let text = format!("[release]\nname = \"over\"\nextends = \"../demo\"\n{more}");
        let (release, errors) = read_over(&ReleaseFolder::default(), &text, Some(&base));
        assert_eq!(errors, []);
        release.and_then(|release| release.closure).map(|at| at.value)
    };
    assert_eq!(over(""), Some(Level::Own));
    assert_eq!(over("[closure]\nrequire = \"sealed\"\n"), Some(Level::Sealed));
    let errors = parse(&of("sealled")).expect_err("no level");
    assert!(errors[0].message.contains("one of `sealed`, `own`, `self-hosted`"), "{errors:?}");
    assert_eq!(errors[0].hints, ["write `require = \"sealed\"`"]);
    let empty = parse(&format!("{DEMO}\n[closure]\n")).expect_err("nothing required");
    assert!(empty[0].message.contains("needs `require`"), "{empty:?}");
}

#[test]
fn a_release_says_whose_records_count_or_its_base_does() {
    assert_eq!(parse(DEMO).expect("a release").trust, None);
    let trusting = |keys: &str, need: u32| format!("[trust]\nbuilders = [{keys}]\nneed = {need}\n");
    let base = format!("{DEMO}\n{}", trusting("\"keys/a.pub\", \"keys/b.pub\"", 2));
    let base = parse(&base).expect("a release");
    let told = |trust: Option<Trust>| {
        let trust = trust.expect("it trusts somebody");
        let builders = trust.builders.iter().map(|at| at.value.to_string()).collect::<Vec<_>>();
        (builders.join(" "), trust.need.value)
    };
    assert_eq!(told(base.trust.clone()), ("keys/a.pub keys/b.pub".to_owned(), 2));
    let over = |more: &str| {
        let text = format!("[release]\nname = \"over\"\nextends = \"../demo\"\n{more}");
        let (release, errors) = read_over(&ReleaseFolder::default(), &text, Some(&base));
        assert_eq!(errors, []);
        told(release.and_then(|release| release.trust))
    };
    assert_eq!(over(""), ("keys/a.pub keys/b.pub".to_owned(), 2));
    assert_eq!(over(&trusting("\"c.pub\"", 1)), ("c.pub".to_owned(), 1));
}

/// `from` in the demo replaced by `to` gives exactly this one error at this line, and this hint.
#[track_caller]
fn check(from: &str, to: &str, message: &str, line: u32, hint: &str) {
    assert!(DEMO.contains(from), "{from}");
    let errors = parse(&DEMO.replacen(from, to, 1)).expect_err(message);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].message.contains(message), "{}", errors[0].message);
    assert_eq!(errors[0].places[0].span.line, line, "{errors:#?}");
    let hints = errors[0].hints.join("\n");
    assert!(if hint.is_empty() { hints.is_empty() } else { hints.contains(hint) }, "{hints}");
}

#[test]
fn says_what_is_wrong_and_where() {
    check("name = \"demo\"", "nane = 1\nname = \"demo\"", "unknown key `nane`", 3, "`name`");
    check("name = \"demo\"\n", "", "`[release]` needs `name`", 2, "");
    check("\"1.0\"", "1.0", "`version` must be a string, not a number with", 4, "");
    check("\"1.0\"", "\"a/b\"", "`version` is made of", 4, "");
    check("team <release", "team (release", "a name and an address", 5, "Release team <");
    check("[\"amd64\"]", "[]", "`architectures` is empty", 2, "");
    check("[\"amd64\"]", "[\"all\"]", "`all` is no architecture of a machine", 6, "");
    check("[\"amd64\"]", "[\"amd64\", \"amd64\"]", "there twice", 6, "");
    check("[\"amd64\"]", "\"amd64\"", "must be a list of strings, not a string", 6, "");
    check("\"deb\"", "\"rpm\"", "`rpm` are not supported by this version", 9, "");
    check("\"deb\"", "\"tar\"", "unknown format `tar`", 9, "");
    check("keyring = \"keys/debian.pgp\"\n", "", "`[archive.bookworm]` needs `keyring`", 8, "");
    check("keys/debian.pgp", "../debian.pgp", "not a path inside the release folder", 12, "");
    check("[\"main\"]", "[\"../..\"]", "cannot be one of `components`", 11, "");
    check(
        "archive = \"bookworm\"",
        "archive = \"bokworm\"",
        "no archive `bokworm`",
        15,
        "`bookworm`",
    );
    check("\"fakeroot\"", "\"Fakeroot\"", "is not a package name", 16, "");
    check("packages =", "seed = \"x\"\npackages =", "`seed` in `[root.bookworm]` is not", 16, "");
    check("packages =", "strata = [\"x\"]\npackages =", "each of `strata` must be a list", 16, "");
    check("packages =", "strata = [[]]\npackages =", "a list that is not empty", 16, "");
    let trust = |trust: &str, message: &str, line: u32| {
        check("[parameters]", &format!("[trust]\n{trust}\n[parameters]"), message, line, "");
    };
    trust("need = 1", "`[trust]` needs `builders`", 18);
    trust("builders = [\"a.pub\"]", "`[trust]` needs `need`", 18);
    trust("builders = []\nneed = 1", "`builders` is empty", 18);
    trust("builders = [\"a.pub\"]\nneed = 0", "`need` is at least 1", 20);
    trust("builders = [\"a.pub\"]\nneed = 2", "2 builders cannot agree: `builders` has 1", 20);
    trust("builders = [\"a.pub\"]\nneed = \"1\"", "an integer that is not negative, not", 20);
    trust("builders = [\"a\", \"a\"]\nneed = 1", "`a` is there twice", 19);
    trust("builders = [\"../a\"]\nneed = 1", "not a path inside the release folder", 19);
    let odd = "[trust]\nbuilders = [\"a\"]\nneed = 1\nkeys = 2\n[parameters]";
    check("[parameters]", odd, "unknown key `keys` in `[trust]`", 21, "`builders` and `need`");
    check("debug = false", "version = \"2\"", "`release.version` is the release's own", 21, "");
    check("debug = false", "a-b = \"2\"", "cannot be read as `release.a-b`", 21, "");
    check("debug = false", "debug = [1]", "must be a string, an integer", 21, "");
    check(
        "[archive.bookworm]",
        "[archive.\"../b\"]\n[archive.bookworm]",
        "`../b` cannot name an archive",
        8,
        "",
    );
}

#[test]
fn one_mistake_does_not_hide_another() {
    let text = DEMO.replace("\"1.0\"", "1").replace("\"deb\"", "3").replace("fakeroot", "_");
    let errors = parse(&text).expect_err("three mistakes");
    let lines: Vec<_> = errors.iter().map(|error| error.places[0].span.line).collect();
    assert_eq!(lines, [4, 9, 16]);
}

#[test]
fn syntax_errors_have_a_place() {
    let errors = parse("[release]\nname = demo\nversion = \n").expect_err("no TOML");
    assert!(errors.iter().all(|error| error.code == "syntax"), "{errors:?}");
    assert_eq!(errors[0].places[0].span.line, 2);
    assert!(parse("").is_err());
}
