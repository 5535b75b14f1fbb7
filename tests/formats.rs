//! Debian's formats beside the tools that own them: dpkg and its Perl modules (libdpkg-perl).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use perestroika::archive::deb::control::commented_paragraphs;
use perestroika::archive::deb::dependency::{Dependencies, architecture_matches};
use perestroika::archive::deb::version::Version;
use proptest::prelude::*;

#[test]
fn versions_sort_as_dpkg_sorts_them() {
    let sorted: Vec<&str> =
        "0~~ 0~~a 0~ 0 0a~1-1 0a 0a. 0+ 0.0~ 0.0 0.0.1 1~rc1 1~rc1-1 1-0~ 1 1-0. \
        1-1~bpo1 1-1 1-1+b1 1-1.1 1-2 1-10 1a 1a1 1a10 1aa 1b 1+git1 1+git1-1 1.02-5 1.2-3-4 1.10 \
        1.a 9 10 20241122 99999999999999999999999998 99999999999999999999999999 1:0~ 1:0 1:1:0 2:0 \
        2147483647:0"
            .split_whitespace()
            .collect();
    for (n, a) in sorted.iter().enumerate() {
        for (m, b) in sorted.iter().enumerate() {
            // Neighbours are asked of dpkg; the rest follows, order being transitive.
            if m == n || m == n + 1 {
                assert_eq!(theirs(a, b), Ok(n.cmp(&m)), "dpkg: {a} {b}");
            }
            assert_eq!(ours(a, b), Some(n.cmp(&m)), "{a} {b}");
        }
    }
    for (a, b) in [("1", "0:1"), ("1.0", "1.00"), ("1", "1-0"), ("00:01", "1"), ("0.", "0.0")] {
        assert_eq!(theirs(a, b), Ok(Ordering::Equal), "dpkg: {a} {b}");
        assert_eq!(ours(a, b), Some(Ordering::Equal), "{a} {b}");
    }
    for bad in ["1-", ":1", "a:1", "1:", "-1", "1 2", "2147483648:1", "1_2", "1-2_3", "1;"] {
        assert!(theirs(bad, "1").is_err(), "dpkg: {bad}");
        assert_eq!(ours(bad, "1"), None, "{bad}");
    }
    // dpkg warns and goes on. Archives have such versions, so we go on, too.
    assert!(theirs("a", "0").is_err_and(|warning| warning.contains(NO_DIGIT)));
    assert_eq!(ours("a", "0"), Some(Ordering::Greater));
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn any_two_versions_compare_as_dpkg_compares_them(a in version(), b in version()) {
        match theirs(&a, &b) {
            Ok(order) => prop_assert_eq!(ours(&a, &b), Some(order)),
            // It says no more than this one thing, so what else is wrong stays unknown.
            Err(warning) if warning.contains(NO_DIGIT) => {}
            Err(_) => prop_assert_eq!(ours(&a, &b), None),
        }
    }
}

/// Versions, near relatives of each other, and what only looks like one.
fn version() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "([01]:)?[0-2]([0-1a~.+]{0,4})(-[0-1a~.+]{1,3})?",
        2 => "[01a~.+:-]{1,6}",
        1 => "[0-9][!-~]{0,3}",
    ]
}

const NO_DIGIT: &str = "does not start with digit";

fn ours(a: &str, b: &str) -> Option<Ordering> {
    let (a, b): (Version, Version) = (a.parse().ok()?, b.parse().ok()?);
    Some(a.cmp(&b))
}

/// What dpkg says of two versions, unless it refuses or so much as warns.
fn theirs(a: &str, b: &str) -> Result<Ordering, String> {
    let is = |relation: &str| {
        let output = Command::new("dpkg")
            .args(["--compare-versions", "--", a, relation, b])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("dpkg runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(code @ (0 | 1)) if said.is_empty() => Ok(code == 0),
            _ => Err(format!("{said}{:?}", output.status)),
        }
    };
    Ok(match (is("lt")?, is("eq")?) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Equal,
        (false, false) => Ordering::Greater,
        (true, true) => return Err(format!("dpkg contradicts itself: {a} {b}")),
    })
}

#[test]
fn relations_are_read_and_reduced_as_dpkg_reads_them() {
    let perl = Perl::new();
    for (field, good) in [
        ("foo", true),
        ("foo (>= 1:2-3~a), bar | baz:any, qux:native (= 2)", true),
        ("foo[amd64]<!nocheck>|bar (<<2)[!amd64], baz", true),
        ("foo [linux-any] <stage1 cross> <!nodoc>, bar [!linux-any] | baz <nocheck>", true),
        ("foo [any-i386 hurd-any !amd64], bar [!hurd-any !any-arm]", true),
        (" foo ,, bar ,", true),
        ("foo (< 1), bar (> 1)", true),
        ("", true),
        ("foo bar", false),
        ("foo (1)", false),
        ("foo (>= 1", false),
        ("foo (>= 1) (<< 2)", false),
        ("foo [amd64", false),
        ("foo <a> [amd64]", false),
        ("foo [amd64] (>= 1)", false),
        ("foo | | bar", false),
        ("foo:", false),
        ("_foo", false),
    ] {
        for (architecture, profiles) in
            [("amd64", ""), ("hurd-i386", "nocheck cross"), ("armhf", "nodoc stage1 cross")]
        {
            let ours = reduced(field, architecture, profiles);
            assert_eq!(ours.is_some(), good, "{field}");
            assert_eq!(ours, perl.reduced(field, architecture, profiles), "{field}");
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn any_relations_are_reduced_as_dpkg_reduces_them(
        field in relations(),
        architecture in "(amd64|i386|x32|armhf|arm64|hurd-i386|kfreebsd-amd64|musl-linux-armhf|mips64el)",
        profiles in "(|nocheck|nodoc|nocheck nodoc|stage1 cross)",
    ) {
        static PERL: Mutex<Option<Perl>> = Mutex::new(None);
        let mut perl = PERL.lock().unwrap();
        let theirs = perl.get_or_insert_with(Perl::new).reduced(&field, &architecture, &profiles);
        prop_assert_eq!(reduced(&field, &architecture, &profiles), theirs, "{}", field);
    }
}

/// Relationship fields, odd but right.
fn relations() -> impl Strategy<Value = String> {
    let relation = "(foo|g\\+\\+|libx1\\.0-dev)(|:any|:native|:arm64)\
        ( ?\\( ?(<<|<=|=|>=|>>|<|>) ?([0-9]:)?1(\\.[0-9]|~rc|\\+b){0,2}(-[1-9])? ?\\))?\
        ( ?\\[ ?(!?(any|amd64|linux-any|any-arm|any-amd64|hurd-any|gnu-any-any|i386) ?){1}\
        (!?(amd64|kfreebsd-any|eabihf-gnu-any-any)){0,1} ?\\])?\
        ( <!?(nocheck|nodoc|cross)( !?(stage1|nodoc))?>){0,2} ?";
    prop::collection::vec(prop::collection::vec(relation, 1..=3), 0..=3).prop_map(|all| {
        let all: Vec<_> = all.into_iter().map(|alternatives| alternatives.join("| ")).collect();
        all.join(" ,")
    })
}

fn reduced(field: &str, architecture: &str, profiles: &str) -> Option<String> {
    let profiles: BTreeSet<String> = profiles.split_whitespace().map(str::to_owned).collect();
    let read: Dependencies = field.parse().ok()?;
    Some(read.reduce(&architecture.parse().unwrap(), &profiles).to_string())
}

#[test]
fn architecture_wildcards_mean_what_dpkg_means() {
    let wanted = [
        "any",
        "all",
        "amd64",
        "armhf",
        "linux-any",
        "hurd-any",
        "kfreebsd-any",
        "any-amd64",
        "any-i386",
        "any-arm",
        "any-mips64el",
        "any-powerpc",
        "gnu-any-any",
        "musl-any-any",
        "uclibc-any-any",
        "bsd-any-any",
        "sysv-any-any",
        "gnu-linux-any",
        "musl-linux-any",
        "any-any",
        "any-any-any",
        "any-any-any-any",
        "eabihf-any-any-any",
        "base-gnu-linux-any",
        "abi64-any-any-any",
        "x32-any-any-amd64",
        "any-any-any-any-any",
        "uclinux-any",
        "mint-any",
        "darwin-any",
        "linux-amd64",
        "x32",
    ];
    let script = r#"
        use Dpkg::Arch qw(debarch_is get_valid_arches);
        for my $name (get_valid_arches()) {
            print join(' ', $name, map { debarch_is($name, $_) ? 1 : 0 } @ARGV), "\n";
        }"#;
    let output =
        Command::new("perl").args(["-e", script]).args(wanted).output().expect("perl runs");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() > 100, "{}", String::from_utf8_lossy(&output.stderr));
    for line in text.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        for (wanted, theirs) in wanted.iter().zip(words) {
            assert_eq!(architecture_matches(name, wanted), theirs == "1", "{name} {wanted}");
        }
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn control_files_are_read_as_dpkg_reads_them(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join("\n") + "\n";
        let script = r#"
            use Dpkg::Control;
            open my $file, '<', \$ARGV[0];
            while (1) {
                my $paragraph = Dpkg::Control->new(type => CTRL_INFO_SRC);
                last unless eval { $paragraph->parse($file, 'text') };
                for my $name (sort keys %$paragraph) {
                    my $value = $paragraph->{$name};
                    $value =~ s/\s+/ /g;
                    $value =~ s/^ | $//g;
                    print lc $name, '=', $value, ';';
                }
                print "\n";
            }
            print "error\n" if $@;"#;
        let output = Command::new("perl").args(["-e", script, "--", &text]).output().expect("perl runs");
        let theirs = String::from_utf8(output.stdout).unwrap();

        let mut ours = String::new();
        for paragraph in commented_paragraphs(&text) {
            let Ok(paragraph) = paragraph else {
                ours.push_str("error\n");
                break;
            };
            let fields = paragraph.fields().map(|(name, value)| {
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                format!("{}={value};", name.to_lowercase())
            });
            let fields: BTreeSet<_> = fields.collect();
            ours.extend(fields);
            ours.push('\n');
        }
        prop_assert_eq!(ours, theirs, "{}", text);
    }
}

/// A line of a control file, or of something close to one.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "(Aa|Bb|Cc|Dd|Ee|Ff|Gg): ?[a-z,:#]{0,3} ?",
        3 => "[ \t][a-z,:#]{1,3} ?",
        1 => "#[a-z: ]{0,3}",
        2 => "[ \t]{0,2}",
        1 => "-[a-z]{1,2}: x",
    ]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// `Dpkg::Deps`, asked line by line.
struct Perl {
    child: Child,
    questions: ChildStdin,
    answers: Mutex<BufReader<ChildStdout>>,
}

impl Perl {
    fn new() -> Self {
        let script = r#"
            use Dpkg::Deps;
            $| = 1;
            while (my $line = <STDIN>) {
                chomp $line;
                my ($architecture, $profiles, $field) = split /\t/, $line, 3;
                my $read = eval { deps_parse($field, build_dep => 1, reduce_arch => 1,
                    reduce_profiles => 1, host_arch => $architecture, build_arch => $architecture,
                    build_profiles => [ split / /, $profiles ]) };
                print defined $read ? '=' . $read->output() : '!', "\n";
            }"#;
        let mut child = Command::new("perl")
            .args(["-e", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("perl runs");
        let questions = child.stdin.take().unwrap();
        let answers = Mutex::new(BufReader::new(child.stdout.take().unwrap()));
        Self { child, questions, answers }
    }

    /// The field as it is printed after reduction; `None` where it is refused.
    fn reduced(&self, field: &str, architecture: &str, profiles: &str) -> Option<String> {
        let mut answers = self.answers.lock().unwrap();
        writeln!(&self.questions, "{architecture}\t{profiles}\t{field}").unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "perl has no Dpkg::Deps: install libdpkg-perl");
        line.trim_end_matches('\n').strip_prefix('=').map(str::to_owned)
    }
}

impl Drop for Perl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
