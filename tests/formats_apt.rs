//! The solver beside apt: for one universe and one request both must choose the same packages.
//!
//! apt is asked as Debian's builders ask it: it installs a package made for the purpose that
//! depends on what is needed, with only the first possible alternative of each dependency.
//!
//! What differs on purpose:
//! - Asked for `a | b` directly, apt is content with a `b` that is there; we take `a`, as
//!   Debian's builders do (`the_request_gets_its_first_alternative_although_apt_is_content`).
//! - Where an alternative turns out to be impossible, apt forgets to put back what it chose on the
//!   way there, and may take that for a reason later; we do not
//!   (`what_was_given_up_leaves_no_trace_although_it_does_in_apt`).
//! - Among equally good providers apt takes the one its cache met last, which hangs on the order
//!   of the index and on who mentions whom; we go by name. Here apt's cache meets all names in
//!   order first, so both rules say the same. In bookworm itself that makes a difference for
//!   `libcurl4-dev` (nss where we take openssl), for one, in the roots of ffmpeg and
//!   llvm-toolchain-14.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use perestroika::archive::deb::control::{Paragraph, commented_paragraphs};
use perestroika::archive::deb::dependency::{Alternatives, Dependencies};
use perestroika::archive::deb::index::{BinaryPackage, packages};
use perestroika::archive::deb::solver::{Request, Universe, solve};
use perestroika::base::Architecture;
use proptest::prelude::*;
use rayon::prelude::*;

/// The whole archive this machine's apt knows: the base of every build root, and the build
/// dependencies of source packages small and large.
#[test]
fn chooses_what_apt_chooses_for_real_build_roots() {
    let architecture = native();
    let mut index = apt_lists();
    let universe = Universe::new(vec![packages(&index).expect("apt's lists are indexes")]);
    let base = base(&universe, &architecture);
    let roots: Vec<&str> = base.iter().map(String::as_str).collect();

    let sources = sources(&architecture);
    for source in &sources {
        let depends = firsts(&source.depends, &universe, &architecture);
        index.push_str(&wish(&source.wish(), &depends, &source.conflicts));
    }
    let apt = Apt::new(&index, &architecture);

    let request = Request {
        architecture,
        packages: base.iter().map(|name| name.parse().unwrap()).collect(),
        essential: true,
        depends: Dependencies::default(),
        conflicts: Dependencies::default(),
    };
    let ours = titles(&solve(&universe, &request).expect("there is a base"));
    assert_eq!(ours, apt.install(&roots, &[]).expect("apt finds a base"), "base");

    let differences = sources.par_iter().filter_map(|source| {
        let Source { depends, conflicts, .. } = source;
        let (depends, conflicts) = (depends.clone(), conflicts.clone());
        let ours = solve(&universe, &Request { depends, conflicts, ..request.clone() });
        let wish = source.wish();
        let names: Vec<_> = roots.iter().copied().chain([wish.as_str()]).collect();
        let ours = ours.map(|chosen| titles(&chosen)).map_err(|error| error.to_string());
        difference(&ours, &apt.install(&names, &[&wish]))
            .map(|what| format!("{}: {what}\n", source.name))
    });
    let differences: Vec<String> = differences.collect();
    assert!(differences.is_empty(), "of {} sources\n{}", sources.len(), differences.concat());
}

#[test]
fn the_request_gets_its_first_alternative_although_apt_is_content() {
    let text = "
        base 1; Depends: mawk | gawk
        gawk 1; Provides: awk
        mawk 1; Provides: awk";
    let (universe, apt) = both(text, &[("wish", "gawk | awk")]);
    let asked = ["base"];
    let ours = ours(&universe, &asked, "gawk | awk");
    assert_eq!(ours, Ok(set(&["base 1", "gawk 1", "mawk 1"])));
    assert_eq!(apt.install(&["base", "wish"], &["wish"]), Ok(set(&["base 1", "mawk 1"])));
}

#[test]
fn what_was_given_up_leaves_no_trace_although_it_does_in_apt() {
    let text = "
        first 1; Depends: second | third
        second 1; Depends: litter, fourth
        third 1
        fourth 1; Depends: nobody
        litter 1; Provides: virtual
        provider 1; Provides: virtual";
    let (universe, apt) = both(text, &[("wish", "first, virtual")]);
    let ours = ours(&universe, &[], "first, virtual");
    assert_eq!(ours, Ok(set(&["first 1", "provider 1", "third 1"])));
    let theirs = apt.install(&["wish"], &["wish"]);
    assert_eq!(theirs, Ok(set(&["first 1", "litter 1", "third 1"])));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Small made-up universes without conflicts and impossible packages: with them apt's answer
    /// hangs on what it tried before, and often is none where there is one.
    #[test]
    fn chooses_what_apt_chooses_in_made_up_universes(text in made_up()) {
        let wishes = ["aa", "va", "ee, vb", "ff, va (>= 2), dd:any"];
        let wishes: Vec<_> = wishes.iter().enumerate().map(|(n, w)| (format!("wish{n}"), *w)).collect();
        let named: Vec<_> = wishes.iter().map(|(name, wish)| (name.as_str(), *wish)).collect();
        let (universe, apt) = both(&possible(&text), &named);
        for (name, wish) in named {
            let ours = ours(&universe, &["gg"], wish);
            let theirs = apt.install(&["gg", name], &[name]);
            prop_assert_eq!(difference(&ours, &theirs), None, "{}: {}", wish, text);
        }
    }
}

/// Ten packages, a line each; what they are asked for never has a choice that rule 4 decides.
fn made_up() -> impl Strategy<Value = String> {
    const NAMES: [&str; 12] =
        ["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj", "va", "vb"];
    let suffix =
        prop_oneof![6 => Just(""), 1 => Just(" (>= 2)"), 1 => Just(" (<< 2)"), 1 => Just(":any")];
    let relation =
        (0..NAMES.len(), suffix).prop_map(|(name, suffix)| format!("{}{suffix}", NAMES[name]));
    let alternatives = prop::collection::vec(relation, 1..=3).prop_map(|all| all.join(" | "));
    let package = (
        1..=2,
        prop::collection::vec(alternatives, 0..=2),
        prop_oneof![Just(""), Just("va"), Just("vb"), Just("va (= 2), vb"), Just("vb (= 1)")],
        prop_oneof![4 => Just("optional"), 1 => Just("required"), 1 => Just("extra")],
        prop_oneof![Just("no"), Just("foreign"), Just("allowed"), Just("same")],
    );
    prop::collection::vec(package, 10).prop_map(|packages| {
        let mut text = String::new();
        for (n, (version, depends, provides, priority, multi_arch)) in
            packages.into_iter().enumerate()
        {
            let depends = depends.join(", ");
            writeln!(
                text,
                "{} {version}; Depends: {depends}; \
                 Provides: {provides}; Priority: {priority}; Multi-Arch: {multi_arch}",
                NAMES[n]
            )
            .unwrap();
        }
        text
    })
}

/// The lines of the packages that can be installed.
fn possible(text: &str) -> String {
    let universe = Universe::new(vec![packages(&index(text)).unwrap()]);
    let possible = |line: &&str| ours(&universe, &[&line[..2]], "").is_ok();
    text.lines().filter(possible).collect::<Vec<_>>().join("\n")
}

/// A universe written as lines (`name version; Field: value; …`), for us and for apt, which also
/// has the wishes.
fn both(text: &str, wishes: &[(&str, &str)]) -> (Universe, Apt) {
    let mut index = index(text);
    let universe = Universe::new(vec![packages(&index).unwrap()]);
    for (name, depends) in wishes {
        index.push_str(&wish(name, &depends.parse().unwrap(), &Dependencies::default()));
    }
    (universe, Apt::new(&index, &"amd64".parse().unwrap()))
}

fn index(text: &str) -> String {
    let mut index = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (title, fields) = line.split_once(';').unwrap_or((line, ""));
        let (name, version) = title.split_once(' ').unwrap();
        write!(index, "Package: {name}\nVersion: {version}\nArchitecture: amd64\n").unwrap();
        let fields = fields.split(';').map(str::trim).filter(|field| !field.ends_with(':'));
        for field in fields.filter(|field| !field.is_empty()) {
            writeln!(index, "{field}").unwrap();
        }
        writeln!(index, "Filename: {name}.deb\nSize: 1\nSHA256: {:064}\n", 0).unwrap();
    }
    index
}

fn ours(universe: &Universe, names: &[&str], depends: &str) -> Result<BTreeSet<String>, String> {
    let request = Request {
        architecture: "amd64".parse().unwrap(),
        packages: names.iter().map(|name| name.parse().unwrap()).collect(),
        essential: false,
        depends: depends.parse().unwrap(),
        conflicts: Dependencies::default(),
    };
    let chosen = solve(universe, &request).map_err(|error| error.to_string())?;
    Ok(titles(&chosen))
}

/// What differs, if anything does.
fn difference(
    ours: &Result<BTreeSet<String>, String>,
    theirs: &Result<BTreeSet<String>, String>,
) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if ours == theirs => None,
        (Err(_), Err(_)) => None,
        (Ok(ours), Ok(theirs)) => {
            let more: Vec<_> = ours.difference(theirs).collect();
            let less: Vec<_> = theirs.difference(ours).collect();
            Some(format!("only we choose {more:?}, only apt {less:?}"))
        }
        (Ok(ours), Err(theirs)) => Some(format!("only we find an answer: {ours:?}\n{theirs}")),
        (Err(ours), Ok(theirs)) => Some(format!("only apt finds an answer: {theirs:?}\n{ours}")),
    }
}

fn set(titles: &[&str]) -> BTreeSet<String> {
    titles.iter().map(|title| (*title).to_owned()).collect()
}

/// A source package's needs, reduced.
struct Source {
    name: String,
    depends: Dependencies,
    conflicts: Dependencies,
}

impl Source {
    fn wish(&self) -> String {
        format!("perestroika-wish-{}", self.name)
    }
}

fn sources(architecture: &Architecture) -> Vec<Source> {
    let text = include_str!("../fixtures/build-depends.control");
    let read = |paragraph: &Paragraph<'_>, kind: &str| {
        let fields = ["", "-Arch", "-Indep"]
            .map(|part| paragraph.get(&format!("{kind}{part}")).unwrap_or(""));
        let all: Dependencies = fields.join(",").parse().expect("a real relationship field");
        all.reduce(architecture, &BTreeSet::new())
    };
    let sources = commented_paragraphs(text).map(|paragraph| {
        let paragraph = paragraph.unwrap();
        Source {
            name: paragraph.get("Package").unwrap().to_owned(),
            depends: read(&paragraph, "Build-Depends"),
            conflicts: read(&paragraph, "Build-Conflicts"),
        }
    });
    sources.collect()
}

/// Of each dependency the first alternative that anything satisfies, else the first.
fn firsts(all: &Dependencies, universe: &Universe, architecture: &Architecture) -> Dependencies {
    let first = |alternatives: &Alternatives| {
        let possible =
            alternatives.0.iter().find(|r| !universe.satisfying(r, architecture).is_empty());
        Alternatives(vec![possible.unwrap_or(&alternatives.0[0]).clone()])
    };
    Dependencies(all.0.iter().map(first).collect())
}

/// The paragraph of a package that nobody has.
fn wish(name: &str, depends: &Dependencies, conflicts: &Dependencies) -> String {
    format!(
        "\nPackage: {name}\nVersion: 1\nArchitecture: all\nDepends: {depends}\nConflicts: {conflicts}\n\
         Filename: {name}.deb\nSize: 1\nSHA256: {:064}\n",
        0
    )
    .replace("Conflicts: \n", "")
    .replace("Depends: \n", "")
    .replace(":native", "")
}

/// The names of what every build root holds.
fn base(universe: &Universe, architecture: &Architecture) -> Vec<String> {
    let essential = universe.essential(architecture);
    let names = essential.iter().map(|package| package.name.as_str());
    names.chain(["build-essential", "fakeroot"]).map(str::to_owned).collect()
}

fn titles(chosen: &[Arc<BinaryPackage>]) -> BTreeSet<String> {
    chosen.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
}

fn native() -> Architecture {
    let output = run(Command::new("dpkg").arg("--print-architecture"));
    output.trim().parse().unwrap()
}

/// All binary package indexes that this machine's apt has downloaded, one after the other.
fn apt_lists() -> String {
    let files = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(FILENAME)",
        "Created-By: Packages",
    ]));
    let mut all = String::new();
    for file in files.lines().filter(|file| Path::new(file).exists()) {
        all.push_str(&run(Command::new("/usr/lib/apt/apt-helper").args(["cat-file", file])));
        all.push('\n');
    }
    assert!(!all.is_empty(), "apt has no package lists here: run `apt-get update` first");
    all
}

/// Packages that mention all names of `index` in order. apt numbers names as it meets them, and
/// takes the provider with the highest number where nothing else decides.
fn names_in_order(index: &str) -> String {
    let names: BTreeSet<&str> =
        index.lines().filter_map(|line| line.strip_prefix("Package: ")).collect();
    let mut text = String::new();
    for (n, names) in Vec::from_iter(names).chunks(500).enumerate() {
        write!(
            text,
            "Package: names{n}\nVersion: 1\nArchitecture: all\nSuggests: {}\n\
             Filename: names.deb\nSize: 1\nSHA256: {:064}\n\n",
            names.join(", "),
            0
        )
        .unwrap();
    }
    text
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// An apt of its own: an empty system, and one archive.
struct Apt {
    dir: tempfile::TempDir,
}

impl Apt {
    fn new(index: &str, architecture: &Architecture) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().display();
        for folder in [
            "archive",
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
            "var/log",
        ] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        file("archive/Packages", &(names_in_order(index) + index));
        file("var/lib/dpkg/status", "");
        file("etc/apt/sources.list", &format!("deb [trusted=yes] file:{path}/archive ./\n"));
        file(
            "apt.conf",
            &format!(
                "Dir \"{path}\";\nDir::State::status \"{path}/var/lib/dpkg/status\";\n\
             Dir::Bin::methods \"/usr/lib/apt/methods\";\n\
             #clear APT::Architectures;\nAPT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\nAPT::Install-Recommends \"false\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAPT::Get::Simulate \"false\";\n"
            ),
        );
        let apt = Self { dir };
        run(apt.command().args(["-q", "update"]));
        apt
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", self.dir.path().join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// What it would install for `names`, but for `without`; or what it says if it cannot.
    fn install(&self, names: &[&str], without: &[&str]) -> Result<BTreeSet<String>, String> {
        let mut command = self.command();
        let output = command.args(["-q", "--print-uris", "install"]).args(names).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(text + &String::from_utf8_lossy(&output.stderr));
        }
        let mut all = BTreeSet::new();
        // 'file:/…/foo.deb' foo_1%3a2-3_amd64.deb 12345 SHA256:…
        for line in text.lines().filter(|line| line.starts_with('\'')) {
            let file = line.split(' ').nth(1).unwrap();
            let (name, rest) = file.split_once('_').unwrap();
            let (version, _) = rest.rsplit_once('_').unwrap();
            if !without.contains(&name) {
                all.insert(format!("{name} {}", version.replace("%3a", ":")));
            }
        }
        Ok(all)
    }
}
