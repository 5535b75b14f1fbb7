//! The solver beside apt: for one universe and one request both must choose the same packages.

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

/// The whole archive this machine's apt knows: the base of every build root, and the build
/// dependencies of source packages small and large.
#[test]
fn chooses_what_apt_chooses_for_real_build_roots() {
    let architecture = native();
    let lists = apt_lists();
    let universe = Universe::new(vec![packages(&lists).expect("apt's lists are indexes")]);
    let base = base(&universe, &architecture);

    let sources = sources(&architecture);
    let mut index = lists;
    for source in &sources {
        // Debian's builders let apt install a package that depends on what is needed, keeping
        // only the first alternative of each (sbuild's `resolve_alternatives`).
        let depends = firsts(&source.depends, &universe, &architecture);
        index.push_str(&wish(&source.wish(), &depends, &source.conflicts));
    }
    let apt = Apt::new(&index, &architecture);

    let roots: Vec<&str> = base.iter().map(String::as_str).collect();
    let mut request = Request {
        architecture: architecture.clone(),
        packages: base.iter().map(|name| name.parse().unwrap()).collect(),
        essential: true,
        depends: Dependencies::default(),
        conflicts: Dependencies::default(),
    };
    let ours = titles(&solve(&universe, &request).expect("there is a base"));
    assert_eq!(ours, apt.install(&roots, &[]).expect("apt finds a base"), "base");

    let mut wrong = String::new();
    for source in &sources {
        request.depends = source.depends.clone();
        request.conflicts = source.conflicts.clone();
        let ours = solve(&universe, &request).map(|chosen| titles(&chosen));
        let mut names = roots.clone();
        let wish = source.wish();
        names.push(&wish);
        match (&ours, apt.install(&names, &[&wish])) {
            (Ok(ours), Ok(theirs)) if *ours == theirs => {}
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(theirs)) => {
                let (more, less) = (ours.difference(&theirs), theirs.difference(ours));
                writeln!(
                    wrong,
                    "{}: +{:?} -{:?}",
                    source.name,
                    Vec::from_iter(more),
                    Vec::from_iter(less)
                )
                .unwrap();
            }
            (Ok(_), Err(theirs)) => {
                writeln!(wrong, "{}: apt fails: {theirs}", source.name).unwrap()
            }
            (Err(ours), Ok(_)) => writeln!(wrong, "{}: we fail: {ours}", source.name).unwrap(),
        }
    }
    assert!(wrong.is_empty(), "{} sources\n{wrong}", sources.len());
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
        file("archive/Packages", index);
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
        let output = command.args(["-s", "-q", "install"]).args(names).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(text + &String::from_utf8_lossy(&output.stderr));
        }
        let mut all = BTreeSet::new();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("Inst ") else { continue };
            let (name, rest) = rest.split_once(' ').unwrap();
            let version = rest.trim_start_matches('(').split(' ').next().unwrap();
            if !without.contains(&name) {
                all.insert(format!("{name} {version}"));
            }
        }
        Ok(all)
    }
}
