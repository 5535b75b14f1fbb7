//! Repositories made by the real reprepro and the real aptly, taken over, and read by the real apt.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod gnupg;
mod upstream;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Desk, Ran};
use gnupg::Gnupg;
use upstream::{Behaviour, Server, binary};

/// Suites of ours that others can become.
const SUITES: &str = r#"
[publish.stable]
format = "deb"
key = "keys/ours.pgp"

[publish.testing]
format = "deb"
key = "keys/ours.pgp"
"#;

/// A release that publishes to two suites, and a key of those whose repository it takes over.
struct Scene {
    desk: Desk,
    gnupg: Gnupg,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let (desk, gnupg) = (Desk::new(), Gnupg::new());
        for name in ["theirs", "ours", "stranger"] {
            gnupg.key(name, "ed25519", "sign", "0");
            desk.write(&format!("keys/{name}.pgp"), gnupg.export(&[name]));
        }
        let secret = gnupg.run(gnupg::MADE, &["--export-secret-keys", "ours"], b"");
        desk.write("../secret", secret);
        fs::set_permissions(desk.path("../secret"), fs::Permissions::from_mode(0o600)).unwrap();
        desk.write("keys/test.pgp", gnupg.export(&["stranger"]));
        desk.write("release.toml", format!("{}{SUITES}", upstream::RELEASE));
        desk.write("none.rhai", "[]");
        Self { desk, gnupg, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn tool(&self, program: &str, words: &[&str]) {
        let output = Command::new(program)
            .args(words)
            .env("GNUPGHOME", self.gnupg.home.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program} (Debian package {program}): {error}"));
        assert!(output.status.success(), "{program} {words:?}: {output:?}");
    }

    /// A repository of reprepro in `old` with a source package, its package, one for all
    /// architectures and one for the installer.
    fn reprepro(&self) -> PathBuf {
        let (old, made) = (self.path("old"), self.path("made"));
        fs::create_dir_all(old.join("conf")).unwrap();
        fs::create_dir_all(&made).unwrap();
        let key = self.gnupg.fingerprints("theirs").remove(0);
        let suite = |name: &str| {
            format!(
                "Origin: Old\nLabel: Old label\nSuite: {name}\nCodename: {name}\n\
                 Architectures: amd64 i386 source\nComponents: main extra\n\
                 UDebComponents: main\nContents: .gz\nSignWith: {key}\n\n"
            )
        };
        let text = suite("stable") + &suite("testing");
        fs::write(old.join("conf/distributions"), text).unwrap();
        let one = "Source: one (1.0-1)\nSection: misc\nPriority: optional\n";
        binary(&made, "one", "1.0-1", "amd64", one);
        binary(
            &made,
            "one-doc",
            "1:1.0-1",
            "all",
            "Source: one (1.0-1)\nSection: doc\nPriority: optional\n",
        );
        binary(&made, "two", "2.0", "i386", "Section: misc\nPriority: optional\n");
        binary(&made, "one-udeb", "1.0-1", "amd64", one);
        fs::rename(made.join("one-udeb_1.0-1_amd64.deb"), made.join("one-udeb_1.0-1_amd64.udeb"))
            .unwrap();
        upstream::source(&made, "one", "1.0-1");
        self.include("stable", "main", "includedeb", "one_1.0-1_amd64.deb");
        self.include("stable", "main", "includedeb", "one-doc_1:1.0-1_all.deb");
        self.include("stable", "main", "includeudeb", "one-udeb_1.0-1_amd64.udeb");
        self.include("stable", "main", "includedsc", "one_1.0.dsc");
        self.include("testing", "extra", "includedeb", "two_2.0_i386.deb");
        old
    }

    fn include(&self, suite: &str, component: &str, how: &str, file: &str) {
        let (file, old) = (format!("made/{file}"), "old");
        let section = ["-S", "misc", "-P", "optional"];
        let words = ["-s", "-b", old, "-C", component];
        self.tool("reprepro", &[&words[..], &section, &[how, suite, &file]].concat());
    }

    fn adopt(&self, words: &[&str]) -> Ran {
        let repo = self.path("repo");
        let key = self.desk.path("../secret");
        let place = ["--repo", repo.to_str().unwrap(), "--key-file", key.to_str().unwrap()];
        let how = ["--rehearse", "none"];
        self.desk.run(&[&["repo", "adopt"], words, &place, &how].concat())
    }

    /// `name version architecture` of all that apt sees in a suite of a repository.
    fn seen_by_apt(&self, repo: &Path, suite: &str, components: &str, key: &str) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        for folder in ["lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        let key = self.desk.path(&format!("keys/{key}.pgp"));
        let source = format!("[signed-by={}] file://{}", key.display(), repo.display());
        let lines =
            ["deb", "deb-src"].map(|kind| format!("{kind} {source} {suite} {components}\n"));
        fs::write(home.path().join("etc/sources.list"), lines.concat()).unwrap();
        fs::write(home.path().join("status"), "").unwrap();
        let at = |part: &str| home.path().join(part).display().to_string();
        let options = [
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc={}", at("etc")),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64,i386".to_owned(),
            "APT::Sandbox::User=".to_owned(),
        ];
        let apt = |program: &str, words: &[&str]| {
            let options = options.iter().flat_map(|option| ["-o", option]);
            Command::new(program).args(options).args(words).output().unwrap()
        };
        let text = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
        let updated = apt("apt-get", &["-qq", "update"]);
        assert!(updated.status.success(), "{updated:?}");
        let mut seen: Vec<String> = Vec::new();
        // Of a source that it does not know apt says so by failing.
        let sources = apt("apt-cache", &["showsrc", "--only-source", "one"]);
        for text in [text(apt("apt-cache", &["dumpavail"])), text(sources)] {
            for paragraph in text.split("\n\n") {
                let field = |name: &str| {
                    let line = paragraph.lines().find_map(|line| line.strip_prefix(name));
                    line.map(str::trim).unwrap_or_default().to_owned()
                };
                let words = ["Package:", "Version:", "Architecture:"].map(field);
                if !words[0].is_empty() {
                    seen.push(words.join(" "));
                }
            }
        }
        seen.sort();
        seen.dedup();
        seen
    }
}

#[test]
fn apt_sees_in_an_adopted_suite_what_it_saw_in_that_of_reprepro() {
    let scene = Scene::new();
    let old = scene.reprepro();
    let there = old.to_str().unwrap();
    // Signed beside it, as it was done before there was InRelease.
    fs::remove_file(old.join("dists/testing/InRelease")).unwrap();
    scene
        .adopt(&[there, "--keyring", "keys/stranger.pgp"])
        .fails(1, &["stable", "not in the keyring"]);
    let told = scene.adopt(&[there, "--keyring", "keys/theirs.pgp"]).succeeds();
    assert!(told.err.contains("origin = \"Old\"\nlabel = \"Old label\""), "{}", told.err);
    let repo = scene.path("repo");
    let before = scene.seen_by_apt(&old, "stable", "main extra", "theirs");
    assert_eq!(before, ["one 1.0 amd64 all", "one 1.0-1 amd64", "one-doc 1:1.0-1 all"]);
    assert_eq!(scene.seen_by_apt(&repo, "stable", "main extra", "ours"), before);
    assert_eq!(scene.seen_by_apt(&repo, "testing", "main extra", "ours"), ["two 2.0 i386"]);
    let udebs = repo.join("dists/stable/main/debian-installer/binary-amd64/Packages");
    let udebs = fs::read_to_string(udebs).unwrap();
    assert!(udebs.starts_with("Package: one-udeb\n"), "{udebs}");
    assert!(repo.join("pool/main/o/one/one-udeb_1.0-1_amd64.udeb").is_file());
    assert!(repo.join("dists/stable/main/Contents-amd64").is_file());

    let again = scene.adopt(&[there, "--keyring", "keys/theirs.pgp"]).succeeds();
    assert!(again.err.contains("all of this already") || again.out.contains("all of this already"));
}

#[test]
fn what_was_adopted_can_neither_go_back_nor_become_something_else() {
    let scene = Scene::new();
    let old = scene.reprepro();
    let there = old.to_str().unwrap();
    let take = |words: &[&str]| {
        scene.adopt(&[&[there, "stable", "--keyring", "keys/theirs.pgp"], words].concat())
    };
    take(&[]).succeeds();
    let made = scene.path("made");
    let replace = |version: &str, fields: &str| {
        let fields = format!("Source: one\nSection: misc\nPriority: optional\n{fields}");
        binary(&made, "one", version, "amd64", &fields);
        scene.tool("reprepro", &["-s", "-b", "old", "remove", "stable", "one", "one-doc"]);
        scene.include("stable", "main", "includedeb", &format!("one_{version}_amd64.deb"));
    };
    replace("0.9-1", "");
    take(&[]).fails(1, &["0.9-1", "older than 1.0-1", "generation 1"]);
    // A store that knows nothing reads it all again from the repository.
    fs::remove_dir_all(scene.desk.store()).unwrap();
    take(&[]).fails(1, &["0.9-1", "older than 1.0-1", "generation 1"]);
    replace("1.0-1", "Homepage: https://example.org\n");
    take(&[]).fails(1, &["one 1.0-1 (amd64) is not what generation 1 brought"]);
    replace("1.1-1", "");
    take(&[]).succeeds();
    let seen = scene.seen_by_apt(&scene.path("repo"), "stable", "main", "ours");
    assert_eq!(seen, ["one 1.1-1 amd64"]);
    replace("1.0-2", "");
    take(&["--allow-downgrade", "one", "--reason", "1.1 loses data"]).succeeds();
    let ledger = fs::read_to_string(scene.path("repo/.perestroika/ledger/3.json")).unwrap();
    assert!(ledger.contains("1.1 loses data"), "{ledger}");
}

#[test]
fn of_several_versions_that_aptly_lists_the_newest_is_taken_and_all_are_remembered() {
    let scene = Scene::new();
    let made = scene.path("made");
    fs::create_dir_all(&made).unwrap();
    for version in ["1.0-1", "1.0-10", "1.0-9"] {
        binary(&made, "one", version, "amd64", "Section: misc\n");
    }
    let config = format!(
        r#"{{"rootDir": "{}", "gpgProvider": "gpg", "architectures": ["amd64"]}}"#,
        scene.path("aptly").display()
    );
    fs::write(scene.path("aptly.conf"), config).unwrap();
    let key = scene.gnupg.fingerprints("theirs").remove(0);
    let aptly = |words: &[&str]| {
        scene.tool("aptly", &[&["-config=aptly.conf"], words].concat());
    };
    aptly(&["repo", "create", "-distribution=stable", "-component=main", "demo"]);
    aptly(&["repo", "add", "demo", "made"]);
    aptly(&["publish", "repo", "-batch", &format!("-gpg-key={key}"), "demo"]);
    let root = scene.path("aptly");
    let keys = ["--keyring", "keys/theirs.pgp"];
    scene.adopt(&[&[root.to_str().unwrap()], &keys[..]].concat()).fails(2, &["/public` is one"]);
    let public = root.join("public");
    let words = [&[public.to_str().unwrap()], &keys[..]].concat();
    let told = scene.adopt(&words).succeeds();
    assert!(told.err.contains("one 1.0-9 (amd64), one 1.0-1 (amd64)"), "{}", told.err);
    let seen = scene.seen_by_apt(&scene.path("repo"), "stable", "main", "ours");
    assert_eq!(seen, ["one 1.0-10 amd64"]);
    let ledger = fs::read_to_string(scene.path("repo/.perestroika/ledger/1.json")).unwrap();
    for version in ["1.0-1", "1.0-9", "1.0-10"] {
        assert!(ledger.contains(&format!("\"new\":\"{version}\"")), "{ledger}");
    }
    let again = scene.adopt(&words).succeeds();
    let told = format!("{}{}", again.out, again.err);
    assert!(told.contains("all of this already"), "{told}");
}

#[test]
fn a_damaged_file_is_named_and_nothing_becomes_public() {
    let scene = Scene::new();
    let old = scene.reprepro();
    let there = old.to_str().unwrap();
    let file = old.join("pool/main/o/one/one_1.0-1_amd64.deb");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let refused = scene.adopt(&[there, "stable", "--trust-folder"]);
    refused.fails(3, &["main/o/one/one_1.0-1_amd64.deb", "expected", "actual"]);
    assert!(fs::symlink_metadata(scene.path("repo/dists")).is_err());
    assert!(!scene.path("repo/pool/main/o/one/one_1.0-1_amd64.deb").exists());

    // What an earlier run has put into the store is right whatever becomes of the folder.
    fs::remove_dir_all(scene.desk.store()).unwrap();
    let index = old.join("dists/stable/main/binary-amd64/Packages");
    fs::write(index, "Package: other\n").unwrap();
    fs::remove_file(old.join("dists/stable/main/binary-amd64/Packages.gz")).unwrap();
    scene.adopt(&[there, "stable", "--trust-folder"]).fails(3, &["main/binary-amd64/Packages"]);
}

#[test]
fn an_adoption_that_was_killed_goes_on_where_it_was() {
    let scene = Scene::new();
    let old = scene.reprepro();
    let server = Server::new();
    let mut copy = Command::new("cp");
    copy.arg("-a").args([old.join("dists"), old.join("pool")]).arg(server.folder.path());
    assert!(copy.status().unwrap().success());
    let slow = "pool/main/o/one/one-doc_1.0-1_all.deb";
    server.behave(slow, Behaviour::Silence);
    let (repo, key) = (scene.path("repo"), scene.desk.path("../secret"));
    let words = [
        "repo",
        "adopt",
        &server.url,
        "stable",
        "--keyring",
        "keys/theirs.pgp",
        "--rehearse",
        "none",
        "--repo",
        repo.to_str().unwrap(),
        "--key-file",
        key.to_str().unwrap(),
    ];
    let mut child = scene.desk.command(&["setsid"], &words).stderr(Stdio::null()).spawn().unwrap();
    let is_asked = |requests: &[String]| requests.iter().any(|path| path.ends_with(slow));
    let mut requests = Vec::new();
    while !is_asked(&requests) {
        assert!(child.try_wait().unwrap().is_none(), "{requests:?}");
        requests.extend(server.requests());
        std::thread::yield_now();
    }
    Command::new("kill").args(["-9", "--", &format!("-{}", child.id())]).status().unwrap();
    child.wait().unwrap();
    assert!(fs::symlink_metadata(repo.join("dists")).is_err());

    server.heal();
    server.requests();
    scene.desk.run(&words).succeeds();
    let seen = scene.seen_by_apt(&repo, "stable", "main", "ours");
    assert_eq!(seen, ["one 1.0 amd64 all", "one 1.0-1 amd64", "one-doc 1:1.0-1 all"]);
    let asked = server.requests();
    assert!(is_asked(&asked), "{asked:?}");
    // Neither indexes nor files that are in the store come a second time.
    server.requests();
    fs::remove_dir_all(&repo).unwrap();
    scene.desk.run(&words).succeeds();
    let asked = server.requests();
    assert_eq!(asked, ["/debian/dists/stable/InRelease"]);
}

#[test]
fn a_url_is_never_taken_on_trust() {
    let scene = Scene::new();
    let server = Server::new();
    scene.adopt(&[&server.url, "stable", "--trust-folder"]).fails(2, &["folders of this machine"]);
    scene.adopt(&[&server.url, "stable"]).fails(2, &["--keyring"]);
}
